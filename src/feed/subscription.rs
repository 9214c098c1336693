//! One subscriber of the feed.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{
    Feed, Head, PAGE, Place,
    filter::Filter,
    pages::Pages,
    row::{Cursor, Row},
};
use crate::store::{
    Error, Store,
    planted::{self, Bug},
};

/// What a subscriber is sent.
#[derive(Debug)]
pub enum Delivery {
    /// An event.
    Event {
        /// The row that has the event.
        row: Arc<Row>,
        /// Its index in the row.
        index: usize,
    },
    /// Nothing was sent for a while. Everything before the cursor was.
    Heartbeat(Cursor),
    /// What comes next was deleted.
    Compacted,
    /// The database was set back to an earlier time, or is another one.
    Unknown,
}

/// One subscriber of the feed. It is not one any more when this is dropped.
pub struct Subscription {
    store: Store,
    pages: Pages,
    _place: Place,
    epoch: String,
    filter: Filter,
    heartbeat: Duration,
    cursor: Cursor,
    /// Rows after the cursor, in order.
    rows: VecDeque<Arc<Row>>,
    head: watch::Receiver<Head>,
    /// As the head said when the subscription began.
    set_back: u64,
    sent_at: Instant,
}

impl Subscription {
    pub(super) fn new(
        feed: Feed,
        place: Place,
        epoch: String,
        cursor: Cursor,
        filter: Filter,
        heartbeat: Duration,
    ) -> Self {
        let head = feed.0.head.subscribe();
        let set_back = head.borrow().set_back;
        let rows = VecDeque::new();
        let store = feed.0.store.clone();
        let (pages, sent_at) = (Pages::new(feed, PAGE), Instant::now());
        Self { store, pages, _place: place, epoch, filter, heartbeat, cursor, rows, head, set_back, sent_at }
    }

    /// Everything before this was delivered.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Goes on at this place instead.
    pub fn go_on_at(&mut self, cursor: Cursor) {
        self.cursor = cursor;
        self.rows.clear();
    }

    /// Waits for what is sent next. If the wait is dropped nothing is lost.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn next(&mut self) -> Result<Delivery, Arc<Error>> {
        loop {
            if let Some(delivery) = self.next_of_rows().await? {
                self.sent_at = Instant::now();
                return Ok(delivery);
            }
            // Noted before the rows are read, so that none is missed.
            let last = {
                let head = self.head.borrow_and_update();
                if head.set_back != self.set_back || !head.epoch.is_empty() && head.epoch != self.epoch {
                    return Ok(Delivery::Unknown);
                }
                head.position
            };
            self.rows = self.pages.after(self.cursor.after).await?;
            if !self.rows.is_empty() {
                continue;
            }
            if last > self.cursor.after {
                // There were rows, and they were deleted.
                return Ok(Delivery::Compacted);
            }
            tokio::select! {
                changed = self.head.changed() => if changed.is_err() {
                    // The feed is gone with its process.
                    std::future::pending::<()>().await;
                },
                () = tokio::time::sleep_until(self.sent_at + self.heartbeat) => return Ok(self.heartbeat()),
            }
        }
    }

    fn heartbeat(&mut self) -> Delivery {
        self.sent_at = Instant::now();
        if planted::has(Bug::HeartbeatAhead) {
            return Delivery::Heartbeat(Cursor::after(self.head.borrow().position));
        }
        Delivery::Heartbeat(self.cursor)
    }

    /// What is sent next of the rows that were read. `None`: the filter lets nothing more of them through.
    async fn next_of_rows(&mut self) -> Result<Option<Delivery>, Arc<Error>> {
        while let Some(row) = self.rows.front().cloned() {
            if row.position != self.cursor.after + 1 {
                return Ok(Some(Delivery::Compacted));
            }
            let index = self.cursor.sent as usize;
            let wanted = match row.entries.get(index) {
                Some(entry) => self.filter.wants(&row, entry, &self.store).await?,
                None => false,
            };
            // Nothing is awaited from here on, so that an event is either sent or still to be sent.
            self.cursor = Cursor::past(&row, index);
            if self.cursor.sent == 0 {
                self.rows.pop_front();
            }
            if wanted {
                return Ok(Some(Delivery::Event { row, index }));
            }
            if self.sent_at.elapsed() >= self.heartbeat {
                return Ok(Some(self.heartbeat()));
            }
        }
        Ok(None)
    }
}

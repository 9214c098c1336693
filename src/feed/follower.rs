//! A sink's reading of the feed: whole rows, in order.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Feed, Head, SINK_PAGE, pages::Pages, row::Row};
use crate::store::Error;

/// What a sink finds after its place in the feed.
#[derive(Debug)]
pub enum Found {
    /// The next rows.
    Rows(Vec<Arc<Row>>),
    /// What comes next was deleted.
    Compacted,
    /// The database was set back to an earlier time, or is another one. The place is to be read anew.
    Unknown,
}

/// Reads the feed for a sink. Passes come faster until it is dropped.
pub struct Follower {
    pages: Pages,
    _reads: Arc<()>,
    head: watch::Receiver<Head>,
    /// As the head said when the follower began.
    set_back: u64,
    /// Empty until it is known.
    epoch: String,
}

impl Follower {
    pub(super) fn new(feed: Feed, reads: Arc<()>) -> Self {
        let head = feed.0.head.subscribe();
        let Head { set_back, epoch, .. } = head.borrow().clone();
        Self { pages: Pages::new(feed, SINK_PAGE), _reads: reads, head, set_back, epoch }
    }

    /// Waits for rows after this position. If the wait is dropped nothing is lost.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn after(&mut self, position: i64) -> Result<Found, Error> {
        loop {
            // Noted before the rows are read, so that none is missed.
            let Head { position: last, epoch, set_back } = self.head.borrow_and_update().clone();
            if self.epoch.is_empty() {
                self.epoch.clone_from(&epoch);
            }
            if set_back != self.set_back || epoch != self.epoch {
                return Ok(Found::Unknown);
            }
            let rows = self.pages.after(position).await?;
            match rows.front() {
                Some(row) if row.position != position + 1 => return Ok(Found::Compacted),
                Some(_) => return Ok(Found::Rows(rows.into())),
                None if last > position => return Ok(Found::Compacted),
                None => {}
            }
            if self.head.changed().await.is_err() {
                // The feed is gone with its process.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The last position that is known here.
    #[must_use]
    pub fn last(&self) -> i64 {
        self.head.borrow().position
    }
}

//! The reading of the feed for a subscriber or a sink.

use std::{collections::VecDeque, sync::Arc};

use tokio_util::task::AbortOnDropHandle;

use super::{
    Feed,
    row::{Page, Row},
};
use crate::store::Error;

/// Reads the feed for one subscriber or sink. While it works on a page from the database, the next one is being read.
pub(super) struct Pages {
    feed: Feed,
    /// The most rows of a page.
    most: usize,
    ahead: Option<Ahead>,
}

/// The page after a position, which is being read or was.
struct Ahead {
    after: i64,
    page: AbortOnDropHandle<Result<Page, Error>>,
}

impl Pages {
    pub(super) fn new(feed: Feed, most: usize) -> Self {
        Self { feed, most, ahead: None }
    }

    /// The rows after this position, or some of them. If the wait is dropped nothing is lost.
    pub(super) async fn after(&mut self, position: i64) -> Result<VecDeque<Arc<Row>>, Error> {
        if let Some(rows) = self.feed.in_memory(position, self.most) {
            self.ahead = None;
            return Ok(rows);
        }
        self.ahead.take_if(|ahead| ahead.after != position);
        let read = match &mut self.ahead {
            Some(ahead) => (&mut ahead.page).await.ok().and_then(Result::ok),
            None => None,
        };
        self.ahead = None;
        // What was not there earlier, or could not be read, may be there now.
        let Page { rows, goes_on } = match read {
            Some(page) if !page.rows.is_empty() => page,
            _ => self.feed.rows_after(position, self.most).await?,
        };
        if let Some(last) = rows.back().filter(|_| goes_on) {
            self.ahead = Some(Ahead::begin(&self.feed, last.position, self.most));
        }
        Ok(rows)
    }
}

impl Ahead {
    fn begin(feed: &Feed, after: i64, most: usize) -> Self {
        let feed = feed.clone();
        Self { after, page: AbortOnDropHandle::new(tokio::spawn(async move { feed.rows_after(after, most).await })) }
    }
}

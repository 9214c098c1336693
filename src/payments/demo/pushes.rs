//! The stream of changes.

use std::{collections::VecDeque, pin::Pin};

use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::state::State;
use crate::pb::payments::v1::{Payment, WatchPaymentsResponse};

/// The changes that are read at once.
const BATCH: usize = 100;

pub(super) type Pushes = Pin<Box<dyn Stream<Item = Result<WatchPaymentsResponse, Status>> + Send>>;

/// Where one stream is.
struct Place {
    state: State,
    changed: watch::Receiver<u64>,
    /// The last change that was read.
    read: u64,
    waiting: VecDeque<WatchPaymentsResponse>,
}

/// The changes after this one. The first message has only the token.
pub(super) fn after(state: State, change: u64, shutdown: CancellationToken) -> Pushes {
    let first = WatchPaymentsResponse { payment: None, resume_token: state.token(change) };
    let place = Place { changed: state.subscribe(), state, read: change, waiting: VecDeque::from([first]) };
    let pushes = stream::unfold(place, async |mut place| Some((Ok(place.next().await?), place)));
    Box::pin(pushes.take_until(shutdown.cancelled_owned()))
}

impl Place {
    async fn next(&mut self) -> Option<WatchPaymentsResponse> {
        loop {
            if let Some(push) = self.waiting.pop_front() {
                return Some(push);
            }
            self.changed.borrow_and_update();
            self.fill();
            if self.waiting.is_empty() {
                self.changed.changed().await.ok()?;
            }
        }
    }

    fn fill(&mut self) {
        for change in self.state.changes(self.read, BATCH) {
            let resume_token = self.state.token(change.number);
            let push =
                |payment: Payment| WatchPaymentsResponse { payment: Some(payment), resume_token: resume_token.clone() };
            if change.doubled {
                self.waiting.push_back(push(change.payment.clone()));
            }
            self.waiting.push_back(push(change.payment));
            self.waiting.extend(change.earlier.map(push));
            self.read = change.number;
        }
    }
}

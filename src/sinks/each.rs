//! Delivery of messages each of which is confirmed by itself: many at once, and at most one unconfirmed for each aggregate.
//!
//! If an event fails and the next one of its aggregate arrives, a consumer that drops what it has had would lose the first.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, timeout_at};

use super::{
    message::Message,
    trouble::{Failure, Trouble},
};
use crate::store::planted::{self, Bug};

/// The most unconfirmed messages.
const UNCONFIRMED: usize = 256;
/// How long further messages are sent. Those that are left are sent next time, after the row of the sink was written.
const SENDING: Duration = Duration::from_secs(3);
/// The deadline of a confirmation.
pub(super) const CONFIRMATION: Duration = Duration::from_millis(2_500);

/// What became of messages.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Of each message, by its index: whether it was confirmed or refused. What is missing was not sent, or nothing is known.
    pub(super) verdicts: HashMap<usize, Result<(), String>>,
    /// Why the delivery ended early.
    pub(super) trouble: Option<Trouble>,
}

/// Publishes messages, and goes on with the next one of an aggregate when one is confirmed.
pub(super) async fn publish<'a, F>(messages: &[&'a Message], kind: &str, publish: impl Fn(&'a Message) -> F) -> Outcome
where
    F: Future<Output = Result<(), Failure>>,
{
    let begin = Instant::now();
    let mut waiting: HashMap<&str, VecDeque<usize>> = HashMap::new();
    let mut free = VecDeque::new();
    for (index, message) in messages.iter().enumerate() {
        let queue = waiting.entry(message.aggregate.as_str()).or_default();
        if queue.is_empty() || planted::has(Bug::SeveralUnconfirmed) {
            free.push_back(message.aggregate.as_str());
        }
        queue.push_back(index);
    }
    let mut outcome = Outcome::default();
    let mut unconfirmed = FuturesUnordered::new();
    loop {
        while outcome.trouble.is_none() && unconfirmed.len() < UNCONFIRMED && begin.elapsed() < SENDING {
            let Some(index) = free.pop_front().and_then(|aggregate| waiting.get_mut(aggregate)?.pop_front()) else {
                break;
            };
            let confirmed = publish(messages[index]);
            let deadline = Instant::now() + CONFIRMATION;
            unconfirmed.push(async move { (index, timeout_at(deadline, confirmed).await) });
        }
        let Some((index, confirmed)) = unconfirmed.next().await else { return outcome };
        match confirmed.unwrap_or_else(|_| Err(Failure::Trouble(Trouble::late(kind, CONFIRMATION)))) {
            Ok(()) => {
                outcome.verdicts.insert(index, Ok(()));
                let aggregate = messages[index].aggregate.as_str();
                let is_free = !planted::has(Bug::SeveralUnconfirmed);
                if is_free && waiting.get(aggregate).is_some_and(|queue| !queue.is_empty()) {
                    free.push_back(aggregate);
                }
            }
            // The others of its aggregate wait.
            Err(Failure::Refused(why)) => {
                outcome.verdicts.insert(index, Err(why));
            }
            // Nothing more is sent. What is confirmed meanwhile need not be sent again.
            Err(Failure::Trouble(trouble)) => {
                outcome.trouble.get_or_insert(trouble);
            }
        }
    }
}

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
pub(super) const UNCONFIRMED: usize = 512;
/// How long further messages are sent. Those that are left are sent next time, after the row of the sink was written.
pub(super) const SENDING: Duration = Duration::from_secs(3);
/// The deadline of a confirmation.
pub(super) const CONFIRMATION: Duration = Duration::from_millis(2_500);

/// What became of messages, by their indices. Of what is missing nothing is known, or it was not sent.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) confirmed: Vec<usize>,
    /// With the reasons.
    pub(super) refused: Vec<(usize, String)>,
    /// Why the delivery ended early.
    pub(super) trouble: Option<Trouble>,
}

/// In which order messages are published: the next one of an aggregate when the one before is confirmed.
pub(super) struct Order {
    /// The messages that may be sent.
    free: VecDeque<usize>,
    /// For each message, the next one of its aggregate.
    following: Vec<Option<usize>>,
}

impl Order {
    pub(super) fn new(messages: &[Message<'_>]) -> Self {
        let mut last_of = HashMap::with_capacity(messages.len());
        let mut order = Self { free: VecDeque::with_capacity(messages.len()), following: vec![None; messages.len()] };
        for (index, message) in messages.iter().enumerate() {
            let before = last_of.insert(message.aggregate(), index);
            match before.filter(|_| !planted::has(Bug::SeveralUnconfirmed)) {
                Some(before) => order.following[before] = Some(index),
                None => order.free.push_back(index),
            }
        }
        order
    }

    /// The index of the message that is sent next.
    pub(super) fn next(&mut self) -> Option<usize> {
        self.free.pop_front()
    }

    /// Lets the next message of the aggregate be sent.
    pub(super) fn confirmed(&mut self, index: usize) {
        self.free.extend(self.following[index]);
    }
}

impl Outcome {
    /// Whether another message may be sent while so many are unconfirmed.
    pub(super) fn goes_on(&self, begin: Instant, unconfirmed: usize) -> bool {
        self.trouble.is_none() && unconfirmed < UNCONFIRMED && begin.elapsed() < SENDING
    }

    /// Notes what is known of a message.
    pub(super) fn note(&mut self, index: usize, confirmed: Result<(), Failure>, order: &mut Order) {
        match confirmed {
            Ok(()) => {
                self.confirmed.push(index);
                order.confirmed(index);
            }
            // The others of its aggregate wait.
            Err(Failure::Refused(why)) => self.refused.push((index, why)),
            // Nothing more is sent. What is confirmed meanwhile need not be sent again.
            Err(Failure::Trouble(trouble)) => {
                self.trouble.get_or_insert(trouble);
            }
        }
    }
}

/// Publishes messages, with a future for each.
pub(super) async fn publish<'a, F>(
    messages: &'a [Message<'a>],
    kind: &str,
    publish: impl Fn(&'a Message<'a>) -> F,
) -> Outcome
where
    F: Future<Output = Result<(), Failure>>,
{
    let (begin, mut order, mut outcome) = (Instant::now(), Order::new(messages), Outcome::default());
    let mut unconfirmed = FuturesUnordered::new();
    loop {
        while outcome.goes_on(begin, unconfirmed.len()) {
            let Some(index) = order.next() else { break };
            let confirmed = publish(&messages[index]);
            let deadline = Instant::now() + CONFIRMATION;
            unconfirmed.push(async move { (index, timeout_at(deadline, confirmed).await) });
        }
        let Some((index, confirmed)) = unconfirmed.next().await else { return outcome };
        let late = |_| Err(Failure::Trouble(Trouble::late(kind, CONFIRMATION)));
        outcome.note(index, confirmed.unwrap_or_else(late), &mut order);
    }
}

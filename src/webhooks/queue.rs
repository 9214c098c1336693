//! The deliveries of one endpoint that are waiting, in memory. The database has them too, with their bodies.
//!
//! Deliveries with the same aggregate form a line, and only the first of a line is attempted. So at most one of an aggregate is
//! under way, and the others come in their order.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use chrono::{DateTime, Utc};

/// A delivery that is waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The number of the delivery. Numbers grow in the order of the feed.
    pub(super) number: i64,
    /// The aggregate of the event.
    pub(super) aggregate: Arc<str>,
    /// How often it was attempted.
    pub(super) attempts: u32,
    /// When it is attempted next, unless another one of its aggregate is before it.
    pub(super) next_time: DateTime<Utc>,
}

/// The deliveries that are waiting.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lines: HashMap<Arc<str>, VecDeque<Waiting>>,
    /// The aggregates whose first delivery is not under way, by when it is attempted.
    due: BTreeMap<(DateTime<Utc>, i64), Arc<str>>,
    length: usize,
}

impl Queue {
    /// How many deliveries are waiting or under way.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Adds a delivery after all others.
    pub(super) fn push(&mut self, waiting: Waiting) {
        let line = self.lines.entry(Arc::clone(&waiting.aggregate)).or_default();
        if line.is_empty() {
            self.due.insert((waiting.next_time, waiting.number), Arc::clone(&waiting.aggregate));
        }
        line.push_back(waiting);
        self.length += 1;
    }

    /// When the next delivery is attempted.
    pub(super) fn next_time(&self) -> Option<DateTime<Utc>> {
        self.due.first_key_value().map(|((time, _), _)| *time)
    }

    /// A delivery whose time has come. It counts as under way until it is settled.
    pub(super) fn take(&mut self, now: DateTime<Utc>) -> Option<Waiting> {
        self.next_time().filter(|time| *time <= now)?;
        let (_, aggregate) = self.due.pop_first()?;
        self.lines.get(&aggregate)?.front().cloned()
    }

    /// Removes a delivery that was under way. The next one of its aggregate may be attempted.
    pub(super) fn remove(&mut self, taken: &Waiting) {
        let Some(line) = self.lines.get_mut(&taken.aggregate) else { return };
        if line.pop_front().is_some() {
            self.length -= 1;
        }
        match line.front() {
            Some(next) => drop(self.due.insert((next.next_time, next.number), Arc::clone(&taken.aggregate))),
            None => drop(self.lines.remove(&taken.aggregate)),
        }
    }

    /// Puts a delivery back that was under way, to be attempted again.
    pub(super) fn put_back(&mut self, again: Waiting) {
        let Some(first) = self.lines.get_mut(&again.aggregate).and_then(VecDeque::front_mut) else { return };
        self.due.insert((again.next_time, again.number), Arc::clone(&again.aggregate));
        *first = again;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn waiting(number: i64, aggregate: &str, seconds: i64) -> Waiting {
        Waiting { number, aggregate: aggregate.into(), attempts: 0, next_time: at(seconds) }
    }

    #[test]
    fn of_an_aggregate_only_the_first_is_attempted() {
        let mut queue = Queue::default();
        for (number, aggregate) in [(1, "a"), (2, "a"), (3, "b"), (4, "a")] {
            queue.push(waiting(number, aggregate, 0));
        }
        let (first, other) = (queue.take(at(0)).unwrap(), queue.take(at(0)).unwrap());
        assert_eq!((first.number, other.number, queue.take(at(0))), (1, 3, None));
        // The first one is to be attempted again: those behind it wait, although their time has come.
        queue.put_back(Waiting { attempts: 1, next_time: at(60), ..first });
        queue.remove(&other);
        assert_eq!((queue.take(at(59)), queue.next_time(), queue.len()), (None, Some(at(60)), 3));
        let again = queue.take(at(60)).unwrap();
        assert_eq!((again.number, again.attempts), (1, 1));
        queue.remove(&again);
        let numbers = std::iter::from_fn(|| {
            let next = queue.take(at(60))?;
            queue.remove(&next);
            Some(next.number)
        });
        assert_eq!(numbers.collect::<Vec<_>>(), [2, 4]);
        assert_eq!((queue.len(), queue.next_time()), (0, None));
    }

    #[test]
    fn what_was_due_first_is_attempted_first() {
        let mut queue = Queue::default();
        queue.push(waiting(1, "a", 5));
        queue.push(waiting(2, "b", 3));
        queue.push(waiting(3, "c", 3));
        let numbers: Vec<_> = std::iter::from_fn(|| queue.take(at(5))).map(|taken| taken.number).collect();
        assert_eq!(numbers, [2, 3, 1]);
    }
}

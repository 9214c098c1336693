//! A connection whose requests are refused is not read for a while.
//!
//! To refuse a request costs nearly as much as to answer a simple one. So refusals are rationed: there are at most so many in a
//! second, evenly divided among the connections that cause them. A client that sends one bad request does not notice.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

/// Refusals in a second for each processor. They take about two percent of its time.
const REFUSALS_PER_SECOND: usize = 500;
/// A pause is not shorter. Until then refusals are added up.
const SHORTEST: Duration = Duration::from_millis(1);
/// How long the requests that were read after a pause have until it shows whether they are refused.
const PROBATION: Duration = Duration::from_millis(10);
/// A pause is not longer, so that a client is served in time when others stop. If that is too short for the refusals of a
/// connection, it has further pauses.
const LONGEST: Duration = Duration::from_secs(1);

/// How often requests are refused.
#[derive(Clone, Debug)]
pub(super) struct Ration {
    per_second: usize,
    /// The number of connections that are not read.
    paused: Arc<AtomicUsize>,
}

impl Default for Ration {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { per_second: REFUSALS_PER_SECOND * processors, paused: Arc::default() }
    }
}

impl Ration {
    #[cfg(test)]
    pub(super) fn per_second(&self) -> usize {
        self.per_second
    }

    /// The pause of a connection that has caused so many refusals, and for how many of them it is.
    fn pause(&self, refusals: usize) -> (Duration, usize) {
        let shared_by = self.paused.load(Relaxed) + 1;
        let refusals = refusals.min((self.per_second / shared_by).max(1));
        let millis = refusals * shared_by * 1_000 / self.per_second;
        (Duration::from_millis(millis as u64).min(LONGEST), refusals)
    }
}

/// The requests of a connection that were refused, without those for which it has had a pause.
#[derive(Debug)]
pub struct Refusals {
    number: AtomicUsize,
    ration: Ration,
}

impl Refusals {
    pub(super) fn new(ration: Ration) -> Self {
        Self { number: AtomicUsize::new(0), ration }
    }

    pub(super) fn note(&self) {
        self.number.fetch_add(1, Relaxed);
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.number.load(Relaxed) == 0
    }

    /// The time in which the connection is not to be read because of them, if they are enough for a pause.
    #[must_use]
    pub fn pause(&self) -> Option<Pause> {
        let number = self.number.load(Relaxed);
        if number == 0 {
            return None;
        }
        let (time, paid) = self.ration.pause(number);
        if time < SHORTEST {
            return None;
        }
        self.number.fetch_sub(paid, Relaxed);
        Some(Pause::new(&self.ration, time))
    }

    /// The time in which it shows whether the requests that were just read are refused.
    #[must_use]
    pub fn probation(&self) -> Pause {
        Pause::new(&self.ration, PROBATION)
    }
}

/// The time in which a connection is not read.
#[derive(Debug)]
pub struct Pause {
    paused: Arc<AtomicUsize>,
    sleep: Pin<Box<Sleep>>,
}

impl Pause {
    fn new(ration: &Ration, time: Duration) -> Self {
        ration.paused.fetch_add(1, Relaxed);
        Self { paused: Arc::clone(&ration.paused), sleep: Box::pin(sleep(time)) }
    }
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().poll(context)
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.paused.fetch_sub(1, Relaxed);
    }
}

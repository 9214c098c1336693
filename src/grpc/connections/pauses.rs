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
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::connection::Connection;

/// Refusals in a second for each processor. They take about two percent of its time.
const REFUSALS_PER_SECOND: usize = 1_000;
/// A pause is not shorter. Until then refusals are added up.
const SHORTEST: Duration = Duration::from_millis(1);
/// How long the requests that were read after a pause have until it shows whether they are refused.
const PROBATION: Duration = Duration::from_millis(10);
/// A pause is not longer, so that a client is served in time when others stop.
const LONGEST: Duration = Duration::from_secs(1);

/// How often requests are refused.
#[derive(Debug)]
pub(super) struct Ration {
    per_second: usize,
    /// The connections that are not read.
    paused: AtomicUsize,
}

impl Default for Ration {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { per_second: REFUSALS_PER_SECOND * processors, paused: AtomicUsize::new(0) }
    }
}

impl Ration {
    /// The pause of a connection that has caused so many refusals.
    fn pause(&self, refusals: usize) -> Duration {
        let shared_by = self.paused.load(Relaxed) + 1;
        let millis = refusals.saturating_mul(shared_by) * 1_000 / self.per_second;
        Duration::from_millis(millis as u64).min(LONGEST)
    }
}

impl Connection {
    /// Notes that a request of this connection was refused.
    pub(in crate::grpc) fn note_refusal(&self) {
        self.refusals.fetch_add(1, Relaxed);
    }

    /// Whether a request was refused since the last pause.
    #[must_use]
    pub fn has_refusals(&self) -> bool {
        self.refusals.load(Relaxed) > 0
    }

    /// Whether the connection is not to be read for a while, because of the requests that were refused.
    pub fn pause(self: &Arc<Self>) -> Option<Pause> {
        let refusals = self.refusals.load(Relaxed);
        if refusals == 0 {
            return None;
        }
        let time = self.shared.ration.pause(refusals);
        if time < SHORTEST {
            return None;
        }
        self.refusals.fetch_sub(refusals, Relaxed);
        Some(Pause::new(self, time))
    }

    /// The pause in which it shows whether the requests that were just read are refused.
    #[must_use]
    pub fn probation(self: &Arc<Self>) -> Pause {
        Pause::new(self, PROBATION)
    }
}

/// The time in which a connection is not read.
#[derive(Debug)]
pub struct Pause {
    connection: Arc<Connection>,
    sleep: Pin<Box<Sleep>>,
}

impl Pause {
    fn new(connection: &Arc<Connection>, time: Duration) -> Self {
        connection.shared.ration.paused.fetch_add(1, Relaxed);
        Self { connection: Arc::clone(connection), sleep: Box::pin(sleep(time)) }
    }
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        ready!(self.sleep.as_mut().poll(context));
        Poll::Ready(())
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.connection.shared.ration.paused.fetch_sub(1, Relaxed);
    }
}

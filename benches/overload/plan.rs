//! What the load does, phase by phase, and what it measures, window by window.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::contention::messages::NextSeats;

/// A window of time for which counts are kept.
pub(crate) const WINDOW: Duration = Duration::from_millis(100);
/// An honest call has this time. A later answer is no use to its caller.
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);
/// The same, as the service's option.
pub(crate) const DEADLINE_HEADER: &str = "1S";
/// Honest connections, and as many hostile ones.
pub(crate) const CONNECTIONS: usize = 64;
/// The calls that an honest client has in flight on a connection, as many as callers share one in the other benches. It gives up
/// further reservations by itself, as clients with a limit do, and confirms what it has reserved in any case.
pub(crate) const CLIENT_LIMIT: usize = 32;

/// How much honest clients call.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Demand {
    /// So many callers make a call when they have the answer to their last.
    Callers(usize),
    /// So many calls per second are made, whatever becomes of them.
    Rate(f64),
}

/// A part of the load.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Phase {
    pub(crate) length: Duration,
    pub(crate) honest: Demand,
    /// Hostile calls per second.
    pub(crate) hostile: f64,
}

/// The whole load.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) address: String,
    pub(crate) showtimes: Vec<String>,
    /// Seats of each showtime that were requested before.
    pub(crate) first: usize,
    pub(crate) seed: u64,
    pub(crate) phases: Vec<Phase>,
}

/// What happened in a window. Calls count where they were made, and served ones also where they were answered.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Calls that were answered OK in this window and in time.
    pub(crate) served: u32,
    /// Calls that were not answered OK.
    pub(crate) refused: u32,
    /// Calls without an answer in time.
    pub(crate) late: u32,
    /// Calls that a client gave up because it had too many in flight.
    pub(crate) given_up: u32,
    pub(crate) confirmations: u32,
    pub(crate) confirmations_served: u32,
    /// The longest time until an answer, in microseconds.
    pub(crate) longest: u32,
    /// Hostile calls that were sent.
    pub(crate) hostile: u32,
    /// Hostile calls that were answered.
    pub(crate) hostile_answered: u32,
    /// Hostile calls that were not sent, since the service read nothing from their connection.
    pub(crate) hostile_held_up: u32,
    /// Connections that the service closed.
    pub(crate) closed: u32,
}

/// The number of windows in this time.
pub(crate) fn number_of(time: Duration) -> usize {
    (time.as_millis() / WINDOW.as_millis()) as usize
}

/// What was measured.
#[derive(Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) windows: Vec<Window>,
    /// Seats that were requested in the showtime with the most.
    pub(crate) used: usize,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) start: Instant,
    pub(crate) seats: NextSeats,
    windows: Mutex<Vec<Window>>,
}

impl Shared {
    pub(crate) fn new(plan: Plan) -> Self {
        let windows = number_of(plan.phases.iter().map(|phase| phase.length).sum()) + 1;
        let seats = NextSeats::new(plan.showtimes.len(), plan.first);
        Self { plan, start: Instant::now(), seats, windows: Mutex::new(vec![Window::default(); windows]) }
    }

    /// The phase at this time, until the load ends.
    pub(crate) fn phase(&self, now: Instant) -> Option<&Phase> {
        let mut end = self.start;
        self.plan.phases.iter().find(|phase| {
            end += phase.length;
            now < end
        })
    }

    /// Counts something in the window of this time.
    pub(crate) fn count(&self, at: Instant, count: impl FnOnce(&mut Window)) {
        if let Some(window) = self.windows().get_mut(number_of(at - self.start)) {
            count(window);
        }
    }

    pub(crate) fn measured(&self) -> Measured {
        Measured { windows: self.windows().clone(), used: self.seats.highest() }
    }

    fn windows(&self) -> MutexGuard<'_, Vec<Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

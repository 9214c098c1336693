//! A circuit breaker: when most of the recent calls failed, it refuses calls for a while, then admits one call as a probe.
//!
//! A pure state machine: time is an argument, and no state changes by itself. While it is open no call is admitted, and
//! while it is half open one call at a time is. A result counts only in the generation in which its call was admitted, so
//! the late result of an older call neither closes nor reopens it.

use std::time::{Duration, Instant};

/// When the breaker opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// The number of failures among the latest `window` calls that opens it.
    pub(super) failures: u32,
    /// The number of latest calls that count, at most 64.
    pub(super) window: u32,
    /// How long it stays open. A probe without a result is given up after the same time.
    pub(super) open_for: Duration,
}

/// The state of a breaker as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerState {
    /// All calls are admitted.
    Closed,
    /// One call, the probe, is in flight.
    HalfOpen,
    /// No call is admitted.
    Open,
}

impl BreakerState {
    /// The value of the metric `boxoffice_breaker_state`.
    pub(super) fn gauge(self) -> u64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// `recent` has one bit for each of the latest results: 1 for a failure, the newest in the lowest bit.
    Closed {
        recent: u64,
    },
    Open {
        until: Instant,
    },
    HalfOpen {
        until: Instant,
    },
}

/// Permission for one call. The result of the call is reported with [`Breaker::record`].
#[derive(Debug)]
pub(super) struct Permit {
    generation: u64,
}

#[derive(Debug)]
pub(super) struct Breaker {
    settings: Settings,
    state: State,
    /// Rises with every change of state and every new probe.
    generation: u64,
}

impl Breaker {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, state: State::Closed { recent: 0 }, generation: 0 }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
            State::Open { .. } => BreakerState::Open,
        }
    }

    /// Admits a call, or returns how long the breaker refuses calls from now on.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Permit, Duration> {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until } | State::HalfOpen { until } if now < until => return Err(until - now),
            State::Open { .. } | State::HalfOpen { .. } => {
                self.change_to(State::HalfOpen { until: now + self.settings.open_for });
            }
        }
        Ok(Permit { generation: self.generation })
    }

    /// Reports the result of an admitted call.
    pub(super) fn record(&mut self, permit: &Permit, failed: bool, now: Instant) {
        if permit.generation != self.generation {
            return;
        }
        match self.state {
            State::Closed { recent } => {
                let window = u64::MAX >> (64 - self.settings.window.clamp(1, 64));
                let recent = ((recent << 1) | u64::from(failed)) & window;
                if recent.count_ones() >= self.settings.failures {
                    self.change_to(State::Open { until: now + self.settings.open_for });
                } else {
                    self.state = State::Closed { recent };
                }
            }
            State::HalfOpen { .. } if failed => self.change_to(State::Open { until: now + self.settings.open_for }),
            State::HalfOpen { .. } => self.change_to(State::Closed { recent: 0 }),
            // No permit has the generation of an open breaker.
            State::Open { .. } => {}
        }
    }

    fn change_to(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(2);

    fn breaker() -> Breaker {
        Breaker::new(Settings { failures: 3, window: 4, open_for: OPEN_FOR })
    }

    fn call(breaker: &mut Breaker, failed: bool, now: Instant) {
        let permit = breaker.admit(now).expect("admitted");
        breaker.record(&permit, failed, now);
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = breaker();
        (0..3).for_each(|_| call(&mut breaker, true, now));
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker
    }

    #[test]
    fn failures_far_apart_do_not_open_it() {
        let (mut breaker, now) = (breaker(), Instant::now());
        for _ in 0..10 {
            for failed in [true, false, true, false] {
                call(&mut breaker, failed, now);
            }
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn enough_failures_among_the_latest_open_it() {
        let (mut breaker, now) = (breaker(), Instant::now());
        for failed in [true, true, false, true] {
            call(&mut breaker, failed, now);
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.admit(now + OPEN_FOR / 2).unwrap_err(), OPEN_FOR / 2);
    }

    #[test]
    fn one_probe_passes_and_closes_it() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let probe = breaker.admit(now + OPEN_FOR).expect("admitted");
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(breaker.admit(now + OPEN_FOR).is_err(), "a second probe beside the first");
        breaker.record(&probe, false, now + OPEN_FOR);
        assert_eq!(breaker.state(), BreakerState::Closed);
        // The failures from before no longer count.
        call(&mut breaker, true, now + OPEN_FOR);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_again() {
        let now = Instant::now();
        let mut breaker = opened(now);
        call(&mut breaker, true, now + OPEN_FOR);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.admit(now + OPEN_FOR).is_err());
        assert!(breaker.admit(now + OPEN_FOR + OPEN_FOR).is_ok());
    }

    #[test]
    fn a_lost_probe_is_replaced_and_its_late_result_ignored() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let lost = breaker.admit(now + OPEN_FOR).expect("admitted");
        let probe = breaker.admit(now + OPEN_FOR + OPEN_FOR).expect("the first is given up");
        breaker.record(&lost, false, now + OPEN_FOR + OPEN_FOR);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.record(&probe, false, now + OPEN_FOR + OPEN_FOR);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_late_result_from_an_earlier_generation_does_not_count() {
        let (mut breaker, now) = (breaker(), Instant::now());
        let late = breaker.admit(now).expect("closed");
        (0..3).for_each(|_| call(&mut breaker, true, now));
        breaker.record(&late, false, now);
        assert_eq!(breaker.state(), BreakerState::Open);
        let probe = breaker.admit(now + OPEN_FOR).expect("admitted");
        breaker.record(&late, true, now + OPEN_FOR);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.record(&probe, false, now + OPEN_FOR);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}

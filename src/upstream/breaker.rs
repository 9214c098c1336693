//! A circuit breaker: when most of the recent calls failed, stop calling for a while, then let one call find out.
//!
//! A pure state machine: time is an argument and nothing happens by itself. It promises that while open nobody is
//! admitted, that while half open one call at a time is, and that a result counts only in the state in which its call was
//! admitted, so a straggler from before cannot close or reopen it.

use std::time::{Duration, Instant};

/// When it opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// So many failures open it…
    pub(super) failures: u32,
    /// …among so many of the latest calls, 64 at most.
    pub(super) window: u32,
    /// How long it stays open; a probe that never reports is given up after the same time.
    pub(super) rest: Duration,
}

/// What can be seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Calls pass.
    Closed,
    /// One call is finding out.
    HalfOpen,
    /// No call passes.
    Open,
}

impl Position {
    /// As the metric has it.
    pub(super) fn gauge(self) -> u64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// The latest results, a bit each, 1 for a failure, newest lowest.
#[derive(Clone, Copy, Debug)]
enum State {
    Closed { recent: u64 },
    Open { until: Instant },
    HalfOpen { until: Instant },
}

/// Leave for one call. Give it back with `record`.
#[derive(Debug)]
pub(super) struct Permit {
    era: u64,
}

#[derive(Debug)]
pub(super) struct Breaker {
    settings: Settings,
    state: State,
    /// Raised with every change of state and every new probe.
    era: u64,
}

impl Breaker {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, state: State::Closed { recent: 0 }, era: 0 }
    }

    pub(super) fn position(&self) -> Position {
        match self.state {
            State::Closed { .. } => Position::Closed,
            State::HalfOpen { .. } => Position::HalfOpen,
            State::Open { .. } => Position::Open,
        }
    }

    /// Lets a call pass, or says after how long to ask again.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Permit, Duration> {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until } | State::HalfOpen { until } if now < until => return Err(until - now),
            State::Open { .. } | State::HalfOpen { .. } => {
                self.turn(State::HalfOpen { until: now + self.settings.rest });
            }
        }
        Ok(Permit { era: self.era })
    }

    /// How the admitted call ended.
    pub(super) fn record(&mut self, permit: &Permit, failed: bool, now: Instant) {
        if permit.era != self.era {
            return;
        }
        match self.state {
            State::Closed { recent } => {
                let window = u64::MAX >> (64 - self.settings.window.clamp(1, 64));
                let recent = ((recent << 1) | u64::from(failed)) & window;
                if recent.count_ones() >= self.settings.failures {
                    self.turn(State::Open { until: now + self.settings.rest });
                } else {
                    self.state = State::Closed { recent };
                }
            }
            State::HalfOpen { .. } if failed => self.turn(State::Open { until: now + self.settings.rest }),
            State::HalfOpen { .. } => self.turn(State::Closed { recent: 0 }),
            // No permit is of an open breaker's era.
            State::Open { .. } => {}
        }
    }

    fn turn(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(2);

    fn breaker() -> Breaker {
        Breaker::new(Settings { failures: 3, window: 4, rest: REST })
    }

    fn call(breaker: &mut Breaker, failed: bool, now: Instant) {
        let permit = breaker.admit(now).expect("admitted");
        breaker.record(&permit, failed, now);
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = breaker();
        (0..3).for_each(|_| call(&mut breaker, true, now));
        assert_eq!(breaker.position(), Position::Open);
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
        assert_eq!(breaker.position(), Position::Closed);
    }

    #[test]
    fn enough_failures_among_the_latest_open_it() {
        let (mut breaker, now) = (breaker(), Instant::now());
        for failed in [true, true, false, true] {
            call(&mut breaker, failed, now);
        }
        assert_eq!(breaker.position(), Position::Open);
        assert_eq!(breaker.admit(now + REST / 2).unwrap_err(), REST / 2);
    }

    #[test]
    fn one_probe_passes_and_closes_it() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let probe = breaker.admit(now + REST).expect("rested");
        assert_eq!(breaker.position(), Position::HalfOpen);
        assert!(breaker.admit(now + REST).is_err(), "a second probe beside the first");
        breaker.record(&probe, false, now + REST);
        assert_eq!(breaker.position(), Position::Closed);
        // Forgotten, too: the old failures do not count any more.
        call(&mut breaker, true, now + REST);
        assert_eq!(breaker.position(), Position::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_again() {
        let now = Instant::now();
        let mut breaker = opened(now);
        call(&mut breaker, true, now + REST);
        assert_eq!(breaker.position(), Position::Open);
        assert!(breaker.admit(now + REST).is_err());
        assert!(breaker.admit(now + REST + REST).is_ok());
    }

    #[test]
    fn a_lost_probe_is_replaced_and_its_late_result_ignored() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let lost = breaker.admit(now + REST).expect("rested");
        let probe = breaker.admit(now + REST + REST).expect("the first is given up");
        breaker.record(&lost, false, now + REST + REST);
        assert_eq!(breaker.position(), Position::HalfOpen);
        breaker.record(&probe, false, now + REST + REST);
        assert_eq!(breaker.position(), Position::Closed);
    }

    #[test]
    fn a_straggler_from_before_does_not_count() {
        let (mut breaker, now) = (breaker(), Instant::now());
        let straggler = breaker.admit(now).expect("closed");
        (0..3).for_each(|_| call(&mut breaker, true, now));
        breaker.record(&straggler, false, now);
        assert_eq!(breaker.position(), Position::Open);
        let probe = breaker.admit(now + REST).expect("rested");
        breaker.record(&straggler, true, now + REST);
        assert_eq!(breaker.position(), Position::HalfOpen);
        breaker.record(&probe, false, now + REST);
        assert_eq!(breaker.position(), Position::Closed);
    }
}

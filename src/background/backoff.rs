//! Pauses between attempts that fail.

use std::time::Duration;

/// The most of the first pause, and of the longest. The most doubles with each pause.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(15);

/// Pauses that grow with each failure in a row, with full jitter, so that those who failed together do not come again together.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after another failure. `fraction` is random, from 0 to 1.
    pub fn pause(&mut self, fraction: f64) -> Duration {
        let most = FIRST.saturating_mul(1 << self.failures.min(20)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        most.mul_f64(fraction)
    }

    /// Begins anew after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..40).map(|_| backoff.pause(1.0)).collect();
        assert_eq!(pauses[..3], [FIRST, 2 * FIRST, 4 * FIRST]);
        assert_eq!(pauses[8..], [LONGEST; 32]);
        backoff.reset();
        assert_eq!(backoff.pause(0.5), FIRST / 2);
    }
}

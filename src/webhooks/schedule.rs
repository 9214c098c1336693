//! When a delivery that has failed is attempted again.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// The part of a pause that is added to it at random, at most, so that deliveries that have failed together do not come again
/// together.
const JITTER: f64 = 0.2;
/// The longest wait that an endpoint can ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);

/// The pauses between the attempts of a delivery.
#[derive(Clone, Debug)]
pub(super) struct Schedule(Vec<Duration>);

impl Schedule {
    pub(super) fn new(pauses: Vec<Duration>) -> Self {
        Self(pauses)
    }

    /// The pause after so many attempts, of which there was at least one; `None` if that was the last. An endpoint may ask for a
    /// longer one. `fraction` is random, from 0 to 1.
    pub(super) fn pause(&self, attempts: u32, retry_after: Option<Duration>, fraction: f64) -> Option<Duration> {
        let pause = self.0.get(attempts.saturating_sub(1) as usize)?.mul_f64(1.0 + JITTER * fraction);
        Some(pause.max(retry_after.unwrap_or_default()))
    }
}

/// Reads `Retry-After`, which is a number of seconds or a date.
pub(super) fn retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (DateTime::parse_from_rfc2822(text).ok()?.to_utc() - now).to_std().unwrap_or_default(),
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let schedule = Schedule::new([1, 10].map(Duration::from_secs).to_vec());
        assert_eq!(schedule.pause(1, None, 0.0), Some(Duration::from_secs(1)));
        assert_eq!(schedule.pause(1, None, 1.0), Some(Duration::from_millis(1_200)));
        assert_eq!(schedule.pause(2, None, 0.5), Some(Duration::from_secs(11)));
        assert_eq!(schedule.pause(3, None, 0.0), None);
        // What the endpoint asks for is the least, and does not add an attempt.
        assert_eq!(schedule.pause(1, Some(Duration::from_mins(1)), 0.0), Some(Duration::from_mins(1)));
        assert_eq!(schedule.pause(2, Some(Duration::from_secs(1)), 0.0), Some(Duration::from_secs(10)));
        assert_eq!(schedule.pause(3, Some(Duration::from_secs(1)), 0.0), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_at_most_a_day() {
        let now = DateTime::from_timestamp(784_111_777, 0).unwrap();
        let read = |text: &str| retry_after(text, now).map(|wait| wait.as_secs());
        assert_eq!(read("120"), Some(120));
        assert_eq!(read("9999999"), Some(86_400));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(read("Sun, 06 Nov 1994 08:40:00 GMT"), Some(0));
        assert_eq!(read("Sat, 06 Nov 2094 08:40:00 GMT"), Some(86_400));
        assert_eq!(read("soon"), None);
        assert_eq!(read("-1"), None);
    }
}

//! Which views are evicted.

use std::time::Duration;

use crate::domain::ids::ShowtimeId;

/// A view that was unused for this long is evicted.
const MAX_IDLE: Duration = Duration::from_mins(5);
/// If there are more views than this, the least recently used are evicted. A view of 600 seats takes 50 KB, and with the
/// frames that it keeps up to half a megabyte.
const MAX_VIEWS: usize = 4_000;

/// Which views to evict of those without watchers, given how long each was unused and how many views there are in all.
pub(super) fn to_evict(mut idle: Vec<(Duration, ShowtimeId)>, views: usize) -> impl Iterator<Item = ShowtimeId> {
    idle.sort_unstable_by(|one, other| other.cmp(one));
    let excess = views.saturating_sub(MAX_VIEWS);
    let is_evicted = move |(at, (idle, _)): &(usize, (Duration, ShowtimeId))| *at < excess || *idle >= MAX_IDLE;
    idle.into_iter().enumerate().take_while(is_evicted).map(|(_, (_, id))| id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn unused_for(seconds: impl IntoIterator<Item = u64>) -> Vec<(Duration, ShowtimeId)> {
        seconds.into_iter().map(|seconds| (Duration::from_secs(seconds), ShowtimeId(Clock::System.new_id()))).collect()
    }

    #[test]
    fn views_that_were_unused_for_five_minutes_are_evicted() {
        let idle = unused_for([0, 300, 299, 1_000]);
        let evicted: Vec<_> = to_evict(idle.clone(), 10).collect();
        assert_eq!(evicted, [idle[3].1, idle[1].1]);
    }

    #[test]
    fn of_too_many_the_least_recently_used_are_evicted_and_none_that_is_watched() {
        let idle = unused_for([5, 1, 9, 3]);
        let evicted: Vec<_> = to_evict(idle.clone(), MAX_VIEWS + 2).collect();
        assert_eq!(evicted, [idle[2].1, idle[0].1]);
        assert_eq!(to_evict(idle.clone(), MAX_VIEWS).count(), 0);
        assert_eq!(to_evict(idle, 2 * MAX_VIEWS).count(), 4, "all others are watched");
    }
}

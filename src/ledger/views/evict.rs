//! Views that nobody looks at are forgotten.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{ViewSlot, Views};
use crate::domain::ids::ShowtimeId;

/// Views are forgotten when nobody has looked at them for so long,
const COLD: Duration = Duration::from_mins(5);
/// or at once, the longest unused first, when there are more than this. Of 600 seats it takes some 50 KB, and
/// with what is kept for those who come late up to half a megabyte.
const VIEWS: usize = 4_000;

impl Views {
    /// Forgets what nobody looks at.
    pub(super) fn evict(&self) {
        let mut slots = self.0.slots.write().unwrap_or_else(PoisonError::into_inner);
        // One that has no view, and that nobody is loading, could not be loaded.
        slots.retain(|_, slot: &mut Arc<ViewSlot>| slot.view.get().is_some() || Arc::strong_count(slot) > 1);
        let idle = slots.iter().filter_map(|(id, slot)| Some((slot.view.get()?.idle()?, *id)));
        for id in forgettable(idle.collect(), slots.len()) {
            slots.remove(&id);
        }
    }
}

/// Which to forget of those that nobody watches, by how long ago anybody read them, when there are so many in all.
fn forgettable(mut idle: Vec<(Duration, ShowtimeId)>, all: usize) -> impl Iterator<Item = ShowtimeId> {
    idle.sort_unstable_by(|one, other| other.cmp(one));
    let too_many = all.saturating_sub(VIEWS);
    let forgotten = move |(at, (idle, _)): &(usize, (Duration, ShowtimeId))| *at < too_many || *idle >= COLD;
    idle.into_iter().enumerate().take_while(forgotten).map(|(_, (_, id))| id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn unused_for(seconds: impl IntoIterator<Item = u64>) -> Vec<(Duration, ShowtimeId)> {
        seconds.into_iter().map(|seconds| (Duration::from_secs(seconds), ShowtimeId(Clock::System.new_id()))).collect()
    }

    #[test]
    fn what_is_cold_is_forgotten() {
        let idle = unused_for([0, 300, 299, 1_000]);
        let cold: Vec<_> = forgettable(idle.clone(), 10).collect();
        assert_eq!(cold, [idle[3].1, idle[1].1]);
    }

    #[test]
    fn of_too_many_the_longest_unused_are_forgotten_and_none_that_is_watched() {
        let idle = unused_for([5, 1, 9, 3]);
        let most: Vec<_> = forgettable(idle.clone(), VIEWS + 2).collect();
        assert_eq!(most, [idle[2].1, idle[0].1]);
        assert_eq!(forgettable(idle.clone(), VIEWS).count(), 0);
        assert_eq!(forgettable(idle, 2 * VIEWS).count(), 4, "all others are watched");
    }
}

//! The task of each watched view that announces lapses when they happen, and changes whose announcement was postponed.

use std::{
    convert::Infallible,
    mem,
    sync::{Arc, Weak},
    time::Duration,
};

use super::{clock::ViewClock, view::View};
use crate::background::{NextRun, Task};

/// The longest time between two runs, so that the task notices when the last watcher has left.
const PERIOD: Duration = Duration::from_mins(1);
/// How long after a panic the task goes on.
const RETRY: Duration = Duration::from_secs(1);

/// Announces for as long as there are watchers.
pub(super) async fn run(clock: Weak<ViewClock>, view: Arc<View>) {
    let task = Task::new("announcement of lapsed holds", PERIOD).retry(RETRY).nudge(view.announcer());
    let mut running = false;
    task.run(async move || {
        if mem::replace(&mut running, true) {
            // The run before this one panicked.
            view.recover();
        }
        let next = announce(&clock, &view);
        running = false;
        Ok::<_, Infallible>(next)
    })
    .await;
}

fn announce(clock: &Weak<ViewClock>, view: &View) -> NextRun {
    let Some(clock) = clock.upgrade() else { return NextRun::Never };
    if view.may_stop_announcing() {
        return NextRun::Never;
    }
    let now = clock.now();
    let lapse = view.lapse(now).and_then(|next| (next - now).to_std().ok());
    let pauses = [lapse, view.announce_postponed()];
    pauses.into_iter().flatten().min().map_or(NextRun::Period, NextRun::Within)
}

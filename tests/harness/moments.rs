//! Moments of a clock that tests wait for, such as the end of a hold.

use chrono::{DateTime, Utc};
use tokio::sync::watch;

/// A clock that is read over and over, for tasks that act at different moments of it.
pub(crate) struct Moments(watch::Sender<DateTime<Utc>>);

impl Moments {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(DateTime::<Utc>::MIN_UTC))
    }

    /// Runs this work, and reads the clock until the work has ended.
    pub(crate) async fn run<T>(&self, read: impl AsyncFn() -> DateTime<Utc>, work: impl Future<Output = T>) -> T {
        let follow = async {
            loop {
                self.0.send_replace(read().await);
            }
        };
        tokio::select! {
            done = work => done,
            () = follow => unreachable!("the clock has no end"),
        }
    }

    /// Waits until the clock has been read at this moment or later.
    pub(crate) async fn at(&self, moment: DateTime<Utc>) {
        self.0.subscribe().wait_for(|now| *now >= moment).await.expect("the sender is here");
    }
}

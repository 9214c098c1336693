//! Periodic background tasks.
//!
//! A [`Task`] has a period and takes no input: each run reads what there is to do, so a run that was missed, repeated or cut
//! off costs nothing but time. A [`Nudge`] starts the next run early. A failure is logged when it begins and when it is over,
//! not once for each run. After a panic, which is logged, the task goes on. [`supervise`] is for a loop that never pauses by
//! itself: it starts the loop again after a panic. [`Backoff`] has the pauses of what is attempted until it succeeds.
//!
//! Deliberately absent: a registry of tasks, and spawning. The caller spawns the future, on a tracker if the end of the
//! process has to wait for it.

mod backoff;

#[cfg(test)]
mod tests;

pub use backoff::Backoff;

use std::{error::Error, pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    task,
    time::{self, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::telemetry::panics;

/// Starts the next run of a task before its period is over. Clones nudge the same task.
///
/// Nudges are not counted: those that arrive during a run lead to one more run.
#[derive(Clone, Debug, Default)]
pub struct Nudge(Arc<Notify>);

impl Nudge {
    /// Starts the next run now, or right after the run that is under way.
    pub fn send(&self) {
        self.0.notify_one();
    }
}

/// When a task runs next. A run that returns `()` means [`NextRun::Period`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextRun {
    /// After the period, or when the task is nudged.
    Period,
    /// After this time or the period, whichever is shorter, or when the task is nudged.
    Within(Duration),
    /// At once, but not before other tasks had a chance to run.
    Now,
    /// Never again, because what the task works on is gone.
    Never,
}

impl From<()> for NextRun {
    fn from((): ()) -> Self {
        Self::Period
    }
}

/// A task that runs periodically.
#[derive(Debug)]
#[must_use = "a task does nothing until `run` is awaited"]
pub struct Task {
    name: &'static str,
    period: Duration,
    retry: Duration,
    nudge: Option<Nudge>,
    shutdown: Option<CancellationToken>,
}

impl Task {
    /// A task that runs at once, and then `period` after the end of each run.
    ///
    /// Log lines begin with the name, as in "sweep of lapsed holds failed".
    pub fn new(name: &'static str, period: Duration) -> Self {
        Self { name, period, retry: period, nudge: None, shutdown: None }
    }

    /// Sets how long after a failure or a panic the next run starts; without this it is the period. Nudges do not shorten
    /// this time, so that a task that cannot succeed does not run each time something happens.
    pub fn retry(self, retry: Duration) -> Self {
        Self { retry, ..self }
    }

    /// Makes the task run when `nudge` is sent, besides its period.
    pub fn nudge(self, nudge: &Nudge) -> Self {
        Self { nudge: Some(nudge.clone()), ..self }
    }

    /// Ends the task when the token is cancelled. A run that is under way is finished first.
    pub fn shutdown(self, shutdown: CancellationToken) -> Self {
        Self { shutdown: Some(shutdown), ..self }
    }

    /// Runs `work` again and again, until the shutdown or until a run answers [`NextRun::Never`].
    ///
    /// `work` should be an `async move` closure that owns what it uses, which it may change from run to run. With one that
    /// borrows, the compiler cannot show that the future is `Send`, and it cannot be spawned.
    pub async fn run<N: Into<NextRun>, E: Error + 'static>(self, mut work: impl AsyncFnMut() -> Result<N, E>) {
        let mut failing = false;
        while !self.is_shut_down() {
            // A future that is passed on by value takes its size twice.
            match panics::catch_async(pin!(work())).await {
                Ok(Ok(next)) => {
                    if failing {
                        tracing::info!("{} works again", self.name);
                    }
                    failing = false;
                    match next.into() {
                        NextRun::Period => self.wait(self.period).await,
                        NextRun::Within(pause) => self.wait(pause.min(self.period)).await,
                        NextRun::Now => task::yield_now().await,
                        NextRun::Never => return,
                    }
                }
                Ok(Err(error)) => {
                    self.log_failure(&error, failing);
                    failing = true;
                    self.wait_to_retry().await;
                }
                Err(panic) => {
                    log_panic(self.name, &panic);
                    self.wait_to_retry().await;
                }
            }
        }
    }

    fn is_shut_down(&self) -> bool {
        self.shutdown.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// Waits for the time, a nudge or the shutdown.
    async fn wait(&self, pause: Duration) {
        let nudged = async {
            match &self.nudge {
                Some(nudge) => nudge.0.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.cancelled() => {}
            () = nudged => {}
            () = sleep(pause) => {}
        }
    }

    async fn wait_to_retry(&self) {
        // Whichever ends first ends the wait.
        let _late = time::timeout(self.retry, self.cancelled()).await;
    }

    async fn cancelled(&self) {
        match &self.shutdown {
            Some(shutdown) => shutdown.cancelled().await,
            None => std::future::pending().await,
        }
    }

    fn log_failure(&self, error: &(dyn Error + 'static), again: bool) {
        let (name, retry) = (self.name, self.retry);
        if again {
            tracing::debug!(error, "{name} failed again; next attempt in {retry:?}");
        } else {
            tracing::warn!(error, "{name} failed; it is attempted every {retry:?}, and logged when it works again");
        }
    }
}

/// Runs `work` until it returns. If it panics, the panic is logged, and `work` starts anew after the pause.
///
/// What the run held is dropped before the pause. As for [`Task::run`], `work` should be an `async move` closure.
pub async fn supervise(name: &'static str, pause: Duration, mut work: impl AsyncFnMut()) {
    while let Err(panic) = panics::catch_async(pin!(work())).await {
        log_panic(name, &panic);
        sleep(pause).await;
    }
}

fn log_panic(name: &str, panic: &str) {
    tracing::error!(target: "boxoffice::panic", panic, "{name} panicked");
}

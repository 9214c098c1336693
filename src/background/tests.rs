//! Periods, nudges, failures and panics, on a clock that moves only when every task waits.

use std::{
    convert::Infallible,
    io::{self, Write},
    sync::{Arc, LazyLock, Mutex},
};

use tokio::time::Instant;
use tracing::{Dispatch, subscriber::DefaultGuard};

use super::*;

const PERIOD: Duration = Duration::from_mins(1);
const RETRY: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
#[error("the disk is full")]
struct DiskFull;

/// The lines that were logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture() -> (Self, DefaultGuard) {
        // While there is one subscriber, tracing asks only the thread that comes first to a line whether it is wanted, and
        // remembers that for all threads. With two it asks both subscribers.
        static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));
        LazyLock::force(&SECOND);
        let log = Self::default();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(lines))
    }

    /// The level and the first word after the name of each line.
    fn about(&self, name: &str) -> Vec<(String, String)> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter_map(|line| {
            let (before, after) = line.split_once(&format!("{name} "))?;
            let word = |text: &str, place| text.split_whitespace().nth(place).unwrap_or_default().to_owned();
            Some((word(before, 1), word(after, 0).trim_end_matches(';').to_owned()))
        });
        lines.collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// When something happened, such as the beginning of a run, counted from the making of this value.
#[derive(Clone)]
struct Times(Instant, Arc<Mutex<Vec<Duration>>>);

impl Times {
    fn new() -> Self {
        Self(Instant::now(), Arc::default())
    }

    /// Notes the time, and answers how many times were noted before.
    fn note(&self) -> usize {
        let mut runs = self.1.lock().unwrap();
        runs.push(self.0.elapsed());
        runs.len() - 1
    }

    fn seconds(&self) -> Vec<u64> {
        self.1.lock().unwrap().iter().map(Duration::as_secs).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_run_is_at_once_and_the_others_a_period_after_the_end_of_the_one_before() {
    let runs = Times::new();
    let work = async || {
        let before = runs.note();
        sleep(Duration::from_secs(10)).await;
        Ok::<_, Infallible>(if before == 2 { NextRun::Never } else { NextRun::Period })
    };
    Task::new("count", PERIOD).run(work).await;
    assert_eq!(runs.seconds(), [0, 70, 140]);
}

#[tokio::test(start_paused = true)]
async fn a_task_can_be_spawned_and_changes_what_it_owns_from_run_to_run() {
    async fn add(to: &mut u32, by: &u32) -> Result<NextRun, DiskFull> {
        task::yield_now().await;
        *to += by;
        Ok(if *to < 30 { NextRun::Period } else { NextRun::Never })
    }
    let (runs, mut sum, step) = (Times::new(), 0, 10);
    tokio::spawn(Task::new("count", PERIOD).run(async move || add(&mut sum, &step).await)).await.unwrap();
    assert_eq!(runs.0.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn a_run_says_when_the_next_one_is_but_not_beyond_the_period() {
    let runs = Times::new();
    let answers = [NextRun::Within(Duration::from_secs(7)), NextRun::Now, NextRun::Within(2 * PERIOD), NextRun::Never];
    Task::new("count", PERIOD).run(async || Ok::<_, Infallible>(answers[runs.note()])).await;
    assert_eq!(runs.seconds(), [0, 7, 7, 67]);
}

#[tokio::test(start_paused = true)]
async fn between_runs_without_a_pause_others_have_their_turn() {
    let (runs, shutdown) = (Times::new(), CancellationToken::new());
    let task = Task::new("count", PERIOD).shutdown(shutdown.clone());
    let work = {
        let runs = runs.clone();
        async move || Ok::<_, Infallible>(if runs.note() < 1_000 { NextRun::Now } else { NextRun::Never })
    };
    let task = tokio::spawn(task.run(work));
    tokio::spawn(async move { shutdown.cancel() });
    task.await.unwrap();
    assert_eq!(runs.seconds(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_nudge_starts_the_next_run_and_those_that_come_during_a_run_lead_to_one_more() {
    let (runs, nudge) = (Times::new(), Nudge::default());
    let work = {
        let (runs, nudge) = (runs.clone(), nudge.clone());
        async move || {
            match runs.note() {
                1 => (0..3).for_each(|_| nudge.send()),
                3 => return Ok(NextRun::Never),
                _ => {}
            }
            Ok::<_, Infallible>(NextRun::Period)
        }
    };
    let task = tokio::spawn(Task::new("count", PERIOD).nudge(&nudge).run(work));
    sleep(Duration::from_secs(4)).await;
    nudge.send();
    task.await.unwrap();
    assert_eq!(runs.seconds(), [0, 4, 4, 64]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_the_wait_at_once_and_lets_a_run_finish() {
    let (start, shutdown) = (Instant::now(), CancellationToken::new());
    let (runs, mut finished) = (Times::new(), 0);
    let work = async || {
        runs.note();
        sleep(Duration::from_secs(10)).await;
        finished += 1;
        Ok::<_, Infallible>(())
    };
    let cancel = async {
        // The second run has begun 5 seconds before.
        sleep(Duration::from_secs(75)).await;
        shutdown.cancel();
    };
    tokio::join!(Task::new("count", PERIOD).shutdown(shutdown.clone()).run(work), cancel);
    assert_eq!((finished, start.elapsed().as_secs()), (2, 80));

    let (start, shutdown) = (Instant::now(), CancellationToken::new());
    let waiting = Task::new("count", PERIOD).shutdown(shutdown.clone()).run(async || Ok::<_, Infallible>(()));
    tokio::join!(waiting, async { shutdown.cancel() });
    assert_eq!(start.elapsed(), Duration::ZERO);

    let (runs, too_late) = (Times::new(), Task::new("count", PERIOD).shutdown(shutdown));
    let work = async || {
        runs.note();
        Ok::<_, Infallible>(())
    };
    too_late.run(work).await;
    assert!(runs.seconds().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_logged_when_it_begins_and_when_it_is_over() {
    let (log, _guard) = Log::capture();
    let runs = Times::new();
    let work = async || match runs.note() {
        0 | 4 | 6 => Ok(NextRun::Period),
        8 => Ok(NextRun::Never),
        _ => Err(DiskFull),
    };
    Task::new("tidy of the attic", PERIOD).retry(RETRY).run(work).await;
    assert_eq!(runs.seconds(), [0, 60, 65, 70, 75, 135, 140, 200, 205]);
    let line = |level: &str, word: &str| (level.to_owned(), word.to_owned());
    let (failed, works) = (line("WARN", "failed"), line("INFO", "works"));
    let expected = [failed.clone(), works.clone(), failed.clone(), works.clone(), failed, works];
    assert_eq!(log.about("tidy of the attic"), expected);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("the disk is full"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_failed_is_not_nudged_before_its_retry() {
    let (runs, nudge, shutdown) = (Times::new(), Nudge::default(), CancellationToken::new());
    let work = async || {
        nudge.send();
        if runs.note() < 1_000 { Err(DiskFull) } else { Ok(NextRun::Never) }
    };
    let cancel = async {
        sleep(Duration::from_secs(12)).await;
        shutdown.cancel();
    };
    let task = Task::new("count", PERIOD).retry(RETRY).nudge(&nudge).shutdown(shutdown.clone());
    tokio::join!(task.run(work), cancel);
    assert_eq!((runs.seconds(), runs.0.elapsed().as_secs()), (vec![0, 5, 10], 12));
}

#[tokio::test(start_paused = true)]
async fn without_a_retry_a_task_that_failed_runs_again_after_its_period() {
    let runs = Times::new();
    let work = async || if runs.note() == 0 { Err(DiskFull) } else { Ok(NextRun::Never) };
    Task::new("count", PERIOD).run(work).await;
    assert_eq!(runs.seconds(), [0, 60]);
}

#[tokio::test(start_paused = true)]
async fn after_a_panic_which_is_logged_a_task_goes_on() {
    let (log, _guard) = Log::capture();
    let runs = Times::new();
    let work = async || match runs.note() {
        0 => panic!("at once"),
        1 => {
            task::yield_now().await;
            panic!("half-way")
        }
        2 => Ok::<_, Infallible>(NextRun::Period),
        _ => Ok(NextRun::Never),
    };
    Task::new("tidy of the attic", PERIOD).retry(RETRY).run(work).await;
    assert_eq!(runs.seconds(), [0, 5, 10, 70]);
    let panicked = ("ERROR".to_owned(), "panicked".to_owned());
    assert_eq!(log.about("tidy of the attic"), [panicked.clone(), panicked]);
}

/// Something that a run holds, and when each of them was dropped.
struct Held(Times);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.note();
    }
}

#[tokio::test(start_paused = true)]
async fn a_supervised_loop_starts_anew_after_a_panic_and_ends_when_it_returns() {
    let (log, _guard) = Log::capture();
    let (runs, drops) = (Times::new(), Times::new());
    let looping = {
        let (runs, drops) = (runs.clone(), drops.clone());
        async move || {
            let (_held, before) = (Held(drops.clone()), runs.note());
            sleep(Duration::from_secs(1)).await;
            assert!(before >= 2, "the {before}. time");
        }
    };
    tokio::spawn(supervise("reading of the attic", RETRY, looping)).await.unwrap();
    assert_eq!((runs.seconds(), drops.seconds()), (vec![0, 6, 12], vec![1, 7, 13]));
    let panicked = ("ERROR".to_owned(), "panicked".to_owned());
    assert_eq!(log.about("reading of the attic"), [panicked.clone(), panicked]);
}

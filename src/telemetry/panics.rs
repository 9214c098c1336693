//! Panics are told once: by whoever caught them, else here.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    future::poll_fn,
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    pin::pin,
    task::Poll,
};

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static REPORT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Replaces the default hook, which would write to standard error past the log.
pub(super) fn install() {
    panic::set_hook(Box::new(|info| {
        let report = describe(info);
        if CATCHING.get() {
            REPORT.set(Some(report));
        } else {
            tell(&report);
        }
    }));
}

/// Runs `work`; if it panics, says why, and leaves telling it to the caller.
///
/// # Errors
/// The panic's message and place.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CATCHING.replace(true);
    // What was being worked on is never looked at again after a panic.
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(outer);
    outcome.map_err(|payload| REPORT.take().unwrap_or_else(|| message(payload.as_ref()).to_owned()))
}

/// The same for work that waits.
///
/// # Errors
/// The panic's message and place.
pub async fn caught<F: Future>(work: F) -> Result<F::Output, String> {
    let mut work = pin!(work);
    poll_fn(|context| match catch(|| work.as_mut().poll(context)) {
        Ok(polled) => polled.map(Ok),
        Err(report) => Poll::Ready(Err(report)),
    })
    .await
}

/// Tells of a panic that was caught where nobody waits for the outcome any more.
pub fn tell(report: &str) {
    tracing::error!(target: "boxoffice::panic", panic = report, "a task panicked");
}

/// Message and place on one line. No backtrace: resolving one would hold up everybody on this thread.
fn describe(info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
    format!("{}{place}", message(info.payload())).replace('\n', " | ")
}

fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

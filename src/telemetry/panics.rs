//! Panics are logged once: by the code that caught them, otherwise here.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    future::poll_fn,
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    pin::pin,
    task::Poll,
};

thread_local! {
    /// Whether this thread is inside `catch`.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    /// The panic that the hook saw inside `catch`.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Replaces the default hook, which would write to standard error past the log.
pub(super) fn install() {
    panic::set_hook(Box::new(|info| {
        let panic = describe(info);
        if CATCHING.get() {
            CAUGHT.set(Some(panic));
        } else {
            report(&panic);
        }
    }));
}

/// Runs `work`. A panic is returned and not logged: the caller reports it.
///
/// # Errors
/// The work panicked. The error is the panic's message and place.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CATCHING.replace(true);
    // Whatever the work left half done is not used after a panic.
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(outer);
    outcome.map_err(|payload| CAUGHT.take().unwrap_or_else(|| message(payload.as_ref()).to_owned()))
}

/// Runs a future like `catch`.
///
/// # Errors
/// The future panicked. The error is the panic's message and place.
pub async fn catch_async<F: Future>(work: F) -> Result<F::Output, String> {
    let mut work = pin!(work);
    poll_fn(|context| match catch(|| work.as_mut().poll(context)) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// Logs a panic that was caught.
pub fn report(panic: &str) {
    tracing::error!(target: "boxoffice::panic", panic, "a task panicked");
}

/// The panic's message and place on one line. Without a backtrace: resolving one would block every task on this thread.
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

//! Interruptions that are planted to show that a purchase or a refund which was interrupted anywhere is finished by another instance.
//!
//! Like the bugs in `planted.rs`, they are only in the program `boxoffice-planted`. In every other build `reach` does nothing.

#[cfg(feature = "planted-bugs")]
use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

/// When something happens to an instance, as it goes on with a purchase or a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// What is to be done is stored, and is not done yet.
    Before,
    /// The gateway has answered, and what came of it is not stored.
    Answered,
    /// It was done, and what came of it is stored.
    After,
}

/// What happens to the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// It dies, as in a power cut.
    Kill,
    /// It stands still until it gets SIGCONT.
    Stop,
}

#[cfg(feature = "planted-bugs")]
struct Planted {
    interruption: Interruption,
    step: String,
    moment: Moment,
    /// Whether it is still to come.
    is_due: AtomicBool,
}

#[cfg(feature = "planted-bugs")]
static PLANTED: OnceLock<Planted> = OnceLock::new();

/// Plants an interruption, which happens once. It is written like `kill capture answered`.
///
/// # Errors
/// It is not written so.
#[cfg(feature = "planted-bugs")]
pub fn plant(text: &str) -> Result<(), String> {
    let no = || format!("no interruption: {text:?}");
    let [interruption, step, moment] = text.split(' ').collect::<Vec<_>>().try_into().map_err(|_| no())?;
    let interruption = match interruption {
        "kill" => Interruption::Kill,
        "stop" => Interruption::Stop,
        _ => return Err(no()),
    };
    let moment = match moment {
        "before" => Moment::Before,
        "answered" => Moment::Answered,
        "after" => Moment::After,
        _ => return Err(no()),
    };
    let planted = Planted { interruption, step: step.to_owned(), moment, is_due: AtomicBool::new(true) };
    PLANTED.set(planted).map_err(|_| no())
}

/// Interrupts this process if that was planted for this step and moment.
#[cfg(feature = "planted-bugs")]
pub(crate) fn reach(step: &str, moment: Moment) {
    let Some(planted) = PLANTED.get().filter(|planted| planted.step == step && planted.moment == moment) else {
        return;
    };
    if !planted.is_due.swap(false, Ordering::SeqCst) {
        return;
    }
    let signal = match planted.interruption {
        Interruption::Kill => rustix::process::Signal::KILL,
        Interruption::Stop => rustix::process::Signal::STOP,
    };
    // The signal may come a moment after the call. This thread is then still here.
    let _sent = rustix::process::kill_process(rustix::process::getpid(), signal);
    std::thread::sleep(std::time::Duration::from_millis(50));
}

/// No interruption is planted in this build.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn reach(_: &str, _: Moment) {}

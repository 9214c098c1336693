//! Bugs that are planted so that the tests can show that they would be found.
//!
//! Only the program `boxoffice-planted` plants one, and only a build of the tests has that program and the feature
//! `planted-bugs`. Everywhere else `has` is `false` before anything runs, and what it guards is not compiled.

#[cfg(feature = "planted-bugs")]
use std::sync::OnceLock;

/// What may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A showtime is decided on without its lock.
    NoLock,
    /// The time to decide by is from before the wait for the lock.
    TimeBeforeLock,
    /// An answer is given, and then its change is committed.
    AnswerBeforeCommit,
}

impl Bug {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::NoLock, Self::TimeBeforeLock, Self::AnswerBeforeCommit];

    /// As a test names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoLock => "no-lock",
            Self::TimeBeforeLock => "time-before-lock",
            Self::AnswerBeforeCommit => "answer-before-commit",
        }
    }
}

#[cfg(feature = "planted-bugs")]
static PLANTED: OnceLock<Bug> = OnceLock::new();

/// Makes this wrong from now on. The first call counts.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Bug) {
    let _first = PLANTED.set(bug);
}

/// Whether this is wrong.
#[cfg(feature = "planted-bugs")]
pub(crate) fn has(bug: Bug) -> bool {
    PLANTED.get() == Some(&bug)
}

/// Nothing is.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn has(_: Bug) -> bool {
    false
}

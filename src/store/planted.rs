//! Bugs that are planted to show that the tests find them.
//!
//! Only the program `boxoffice-planted` plants one, and only a build of the tests has that program and the feature
//! `planted-bugs`. In every other build `has` is a constant `false`, and the code that it guards is not compiled.

#[cfg(feature = "planted-bugs")]
use std::sync::OnceLock;

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A showtime's commands are decided without its lock.
    NoLock,
    /// The time by which commands are decided is from before the wait for the lock.
    TimeBeforeLock,
    /// An answer is sent before its change is committed.
    AnswerBeforeCommit,
    /// A pass over the outbox looks only for transactions that are later than all that it has seen.
    LaterTransactionsOnly,
    /// The head of the feed is moved without its lock.
    HeadWithoutLock,
    /// A heartbeat has the token of the end of the feed.
    HeartbeatAhead,
    /// The position of a sink is advanced before the broker confirms.
    PositionBeforeConfirmation,
    /// Several events of a showtime are unconfirmed at once.
    SeveralUnconfirmed,
    /// Every seat costs what the first ticket type costs.
    FirstTypeForAll,
    /// Seats that are given back are free, but their reservation keeps them too.
    ReleasedSeatsKept,
    /// An exchange gives up the seats of a reservation before it is known whether the others can be had.
    ExchangeFreesFirst,
    /// Money that comes late takes seats that are blocked.
    LateTakesBlocked,
    /// Money that comes late takes seats that are sold.
    LateTakesSold,
    /// Seats are freed once the time of their payment is over, although it may still succeed.
    ReleaseWhilePaying,
    /// Each attempt at a call of the payment gateway has keys of its own.
    NewKeyForEachRetry,
    /// A payment of which the gateway says nothing counts as voided.
    NotFoundIsNotCharged,
    /// An instance that has lost a purchase to another one writes it all the same.
    NoFence,
    /// Money is taken before the seats are sold.
    CaptureBeforeConfirm,
    /// The seats of a purchase are given up before its payment is voided.
    FreeWhilePaymentMaySucceed,
    /// Seats stay sold although the money for them was not taken.
    LostCompensation,
    /// The list of a door has tickets that were voided as if they were not.
    VoidedTicketsListed,
    /// An exchange makes new tickets and leaves the first ones as they are.
    FirstTicketsKept,
    /// The seat of a ticket is not part of what is signed.
    SeatOutsideSignature,
    /// Refunds that are done or may be do not count for what is left of a payment.
    RefundBeyondCaptured,
    /// A ticket is used whatever its state is.
    UseWithoutCondition,
    /// A use is taken for a repetition if another device has used the ticket with the same nonce.
    NonceOfAnyDevice,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Self; 26] = [
        Self::NoLock,
        Self::TimeBeforeLock,
        Self::AnswerBeforeCommit,
        Self::LaterTransactionsOnly,
        Self::HeadWithoutLock,
        Self::HeartbeatAhead,
        Self::PositionBeforeConfirmation,
        Self::SeveralUnconfirmed,
        Self::FirstTypeForAll,
        Self::ReleasedSeatsKept,
        Self::ExchangeFreesFirst,
        Self::LateTakesBlocked,
        Self::LateTakesSold,
        Self::ReleaseWhilePaying,
        Self::NewKeyForEachRetry,
        Self::NotFoundIsNotCharged,
        Self::NoFence,
        Self::CaptureBeforeConfirm,
        Self::FreeWhilePaymentMaySucceed,
        Self::LostCompensation,
        Self::RefundBeyondCaptured,
        Self::VoidedTicketsListed,
        Self::FirstTicketsKept,
        Self::SeatOutsideSignature,
        Self::UseWithoutCondition,
        Self::NonceOfAnyDevice,
    ];

    /// The name that a test gives to the bug.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoLock => "no-lock",
            Self::TimeBeforeLock => "time-before-lock",
            Self::AnswerBeforeCommit => "answer-before-commit",
            Self::LaterTransactionsOnly => "later-transactions-only",
            Self::HeadWithoutLock => "head-without-lock",
            Self::HeartbeatAhead => "heartbeat-ahead",
            Self::PositionBeforeConfirmation => "position-before-confirmation",
            Self::SeveralUnconfirmed => "several-unconfirmed",
            Self::FirstTypeForAll => "first-type-for-all",
            Self::ReleasedSeatsKept => "released-seats-kept",
            Self::ExchangeFreesFirst => "exchange-frees-first",
            Self::LateTakesBlocked => "late-takes-blocked",
            Self::LateTakesSold => "late-takes-sold",
            Self::ReleaseWhilePaying => "release-while-paying",
            Self::NewKeyForEachRetry => "new-key-for-each-retry",
            Self::NotFoundIsNotCharged => "not-found-is-not-charged",
            Self::NoFence => "no-fence",
            Self::CaptureBeforeConfirm => "capture-before-confirm",
            Self::FreeWhilePaymentMaySucceed => "free-while-payment-may-succeed",
            Self::LostCompensation => "lost-compensation",
            Self::RefundBeyondCaptured => "refund-beyond-captured",
            Self::VoidedTicketsListed => "voided-tickets-listed",
            Self::FirstTicketsKept => "first-tickets-kept",
            Self::SeatOutsideSignature => "seat-outside-signature",
            Self::UseWithoutCondition => "use-without-condition",
            Self::NonceOfAnyDevice => "nonce-of-any-device",
        }
    }
}

#[cfg(feature = "planted-bugs")]
static PLANTED: OnceLock<Bug> = OnceLock::new();

/// Plants a bug. Only the first call has an effect.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Bug) {
    let _first = PLANTED.set(bug);
}

/// Whether this bug is planted.
#[cfg(feature = "planted-bugs")]
pub(crate) fn has(bug: Bug) -> bool {
    PLANTED.get() == Some(&bug)
}

/// No bug is planted in this build.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn has(_: Bug) -> bool {
    false
}

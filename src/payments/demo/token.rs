//! The tokens of the demo gateway: each makes it behave in one way. `docs/purchases.md` lists them for users.

/// What a token makes the gateway do. Only this is stored, never the text of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Token {
    /// Any other text: declined with `unknown_token`.
    Unknown = 0,
    /// Authorised at once.
    Ok = 1,
    /// Authorised, and the answer comes after two seconds.
    Slow = 2,
    /// Declined; the customer may try again.
    InsufficientFunds = 3,
    /// Declined; the customer may try another card.
    ExpiredCard = 4,
    /// The customer has to act.
    ActionRequired = 5,
    /// Authorised, and the call that did it is never answered.
    TimeoutAfterCharge = 6,
    /// The first call does nothing and is never answered. The second one works.
    TimeoutBeforeCharge = 7,
    /// Authorised, and the call that did it is answered UNAVAILABLE.
    LostReply = 8,
    /// Authorised, with pushes that come twice and out of order.
    DuplicatePush = 9,
    /// Authorised, and captures fail.
    CaptureFails = 10,
    /// Authorised, and refunds fail.
    RefundFails = 11,
    /// Every Authorize is answered INTERNAL and does nothing.
    Error = 12,
}

impl Token {
    /// Reads the text of a token.
    pub(super) fn read(text: &str) -> Self {
        match text {
            "tok_ok" => Self::Ok,
            "tok_slow" => Self::Slow,
            "tok_declined_insufficient_funds" => Self::InsufficientFunds,
            "tok_declined_expired_card" => Self::ExpiredCard,
            "tok_action_required" => Self::ActionRequired,
            "tok_timeout_after_charge" => Self::TimeoutAfterCharge,
            "tok_timeout_before_charge" => Self::TimeoutBeforeCharge,
            "tok_lost_reply" => Self::LostReply,
            "tok_duplicate_push" => Self::DuplicatePush,
            "tok_capture_fails" => Self::CaptureFails,
            "tok_refund_fails" => Self::RefundFails,
            "tok_error" => Self::Error,
            _ => Self::Unknown,
        }
    }

    /// The code of the decline, and whether another token may succeed. `None`: the payment is not declined.
    pub(super) fn decline(self) -> Option<(&'static str, bool)> {
        match self {
            Self::Unknown => Some(("unknown_token", false)),
            Self::InsufficientFunds => Some(("insufficient_funds", true)),
            Self::ExpiredCard => Some(("expired_card", true)),
            _ => None,
        }
    }
}

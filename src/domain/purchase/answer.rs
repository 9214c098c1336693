//! Answers of the payment gateway, as far as purchases depend on them.

/// How the gateway says that a payment stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayAnswer {
    /// It works on it.
    Pending,
    /// The customer has something to do.
    ActionRequired {
        /// Where.
        redirect_uri: String,
    },
    /// The money is kept for us.
    Authorized,
    /// It is declined for good.
    Declined {
        /// The gateway's code.
        code: String,
        /// Whether another token may succeed.
        retryable: bool,
    },
    /// It cannot succeed any more.
    Voided,
    /// The money is taken.
    Captured,
    /// The money was authorised, and is not taken.
    CaptureFailed {
        /// The gateway's code.
        code: String,
    },
}

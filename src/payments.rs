//! The payment gateway as the service calls it, and a demo gateway that fails like a real one.
//!
//! The contract is `payments.v1.Gateway`, whose rules stand in its proto file. [`Gateway`] is its client: each call is one
//! attempt with a deadline. The caller, who keeps the keys, decides whether and when to repeat it. A failure says whether
//! the outcome is known ([`Trouble`]). Whatever the gateway sends, what leaves this room is valid and bounded, and belongs to
//! the payment, the operation and the amount that were sent.
//!
//! Deliberately absent: retries, keys, and any knowledge of seats, reservations and purchases.

pub mod demo;
mod gateway;
mod money;
mod options;
mod pushes;
mod report;
#[cfg(test)]
mod tests;
mod trouble;

pub use self::{
    gateway::{Authorize, Gateway, Operation},
    options::{Options, SetupError},
    pushes::{Push, Pushes},
    report::{GatewayState, OperationKind, OperationReport, OperationState, Page, PaymentReport},
    trouble::{Refusal, Trouble},
};

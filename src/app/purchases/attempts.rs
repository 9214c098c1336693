//! How the metrics name the attempts at the steps of a purchase, and what came of them.

use chrono::{DateTime, Utc};

use crate::{
    app::Error,
    domain::{
        purchase::{Action, GatewayAnswer, Purchase, PurchaseState},
        seating::Command,
    },
    payments::Trouble,
    telemetry::metrics,
};

/// The step that is attempted.
pub(super) fn of_action(action: Action) -> &'static str {
    match action {
        Action::BeginPayment => "begin_payment",
        Action::Authorize => "authorize",
        Action::AskGateway => "ask",
        Action::Confirm => "confirm",
        Action::Capture => "capture",
        Action::Void => "void",
        Action::BeginRefund => "begin_refund",
        Action::Free => "free",
        Action::Wait(_) | Action::End => "none",
    }
}

/// The step that asks the ledger.
pub(super) fn of_command(command: &Command) -> &'static str {
    match command {
        Command::Pay { .. } => "begin_payment",
        Command::Confirm { .. } => "confirm",
        _ => "free",
    }
}

/// What the ledger has decided.
pub(super) fn of_decision<T>(decided: &Result<T, Error>) -> &'static str {
    match decided {
        Ok(_) => "done",
        Err(Error::Refused(_)) => "refused",
        Err(_) => "unknown",
    }
}

/// What the gateway has answered.
pub(super) fn of_answer(answer: &Result<GatewayAnswer, Trouble>) -> &'static str {
    match answer {
        Ok(GatewayAnswer::Declined { .. } | GatewayAnswer::CaptureFailed { .. }) | Err(Trouble::Differs { .. }) => {
            "failed"
        }
        Ok(GatewayAnswer::Pending) | Err(Trouble::Unknown { .. } | Trouble::NotFound) => "unknown",
        Ok(_) => "done",
        Err(Trouble::Refused { .. }) => "refused",
    }
}

/// Records that a purchase has ended or got stuck.
pub(super) fn ended(purchase: &Purchase, now: DateTime<Utc>) {
    let state = match purchase.state() {
        PurchaseState::Completed => "completed",
        PurchaseState::Compensated => "compensated",
        PurchaseState::Stuck => "stuck",
        PurchaseState::Running | PurchaseState::AwaitingCustomer => return,
    };
    metrics::purchase_ended(state, (now - purchase.facts.create_time).to_std().unwrap_or_default());
}

//! `boxoffice purchases`: what operators do with the purchases of a running service that are stuck.

use std::{fmt::Write as _, net::SocketAddr};

use tonic::{Status, transport::Channel};

use super::{
    failure::Failure,
    operator_calls::{PAGE, print_answer, write_note},
};
use crate::{
    config::PurchaseAction,
    pb::boxoffice::v1::{
        ListStuckPurchasesRequest, Purchase, PurchaseNoteAction, PurchaseOutcome, PurchaseState, PurchaseStep,
        PurchaseStepState, ResumePurchaseRequest, SettlePurchaseRequest, StuckPurchase,
        operations_client::OperationsClient,
    },
};

/// Asks the service, and prints its answer.
pub(super) fn run(address: SocketAddr, action: PurchaseAction) -> Result<(), Failure> {
    print_answer(address, async |channel| ask(channel, action).await)
}

async fn ask(channel: Channel, action: PurchaseAction) -> Result<String, Status> {
    let mut operations = OperationsClient::new(channel);
    let mut text = String::new();
    match action {
        PurchaseAction::List => {
            let mut request = ListStuckPurchasesRequest { page_size: PAGE, page_token: String::new() };
            loop {
                let page = operations.list_stuck_purchases(request.clone()).await?.into_inner();
                page.purchases.iter().for_each(|stuck| write_stuck(&mut text, stuck));
                request.page_token = page.next_page_token;
                if request.page_token.is_empty() {
                    break;
                }
            }
            if text.is_empty() {
                text.push_str("no purchase is stuck\n");
            }
        }
        PurchaseAction::Resume { id: purchase_id, note } => {
            let answer = operations.resume_purchase(ResumePurchaseRequest { purchase_id, note }).await?;
            answer.into_inner().purchase.iter().for_each(|purchase| write_purchase(&mut text, purchase));
        }
        PurchaseAction::Settle { id: purchase_id, completed, note } => {
            let outcome = if completed { PurchaseOutcome::Completed } else { PurchaseOutcome::Compensated };
            let request = SettlePurchaseRequest { purchase_id, outcome: outcome.into(), note };
            let answer = operations.settle_purchase(request).await?;
            answer.into_inner().purchase.iter().for_each(|purchase| write_purchase(&mut text, purchase));
        }
    }
    Ok(text)
}

fn write_purchase(text: &mut String, purchase: &Purchase) {
    let state = match purchase.state() {
        PurchaseState::Running | PurchaseState::Unspecified => "running",
        PurchaseState::AwaitingCustomer => "awaiting the customer",
        PurchaseState::Completed => "completed",
        PurchaseState::Compensated => "compensated",
        PurchaseState::Stuck => "stuck",
    };
    let _ = writeln!(text, "{} {} {state}", purchase.purchase_id, purchase.number);
}

/// A purchase with what failed, its payments as the gateway has them, and the notes.
fn write_stuck(text: &mut String, StuckPurchase { purchase, notes }: &StuckPurchase) {
    let Some(purchase) = purchase else { return };
    write_purchase(text, purchase);
    let all = purchase.steps.iter().flat_map(|step| [Some(step), step.compensation.as_deref()]).flatten();
    for PurchaseStep { attempts, message, name, .. } in all.filter(|step| step.state() == PurchaseStepState::Failed) {
        let name = crate::pb::boxoffice::v1::PurchaseStepName::try_from(*name).unwrap_or_default().as_str_name();
        let name = name.trim_start_matches("PURCHASE_STEP_NAME_");
        let _ = writeln!(text, "  {name} failed after {attempts} attempts: {message}");
    }
    for payment in &purchase.payments {
        let state = payment.state().as_str_name().trim_start_matches("PAYMENT_STATE_");
        let _ = writeln!(text, "  payment {} {state}", payment.payment_id);
    }
    for note in notes {
        let done = match note.action() {
            PurchaseNoteAction::Resumed | PurchaseNoteAction::Unspecified => "resumed",
            PurchaseNoteAction::SettledCompleted => "settled as completed",
            PurchaseNoteAction::SettledCompensated => "settled as compensated",
        };
        write_note(text, note.time.as_ref(), done, &note.note);
    }
}

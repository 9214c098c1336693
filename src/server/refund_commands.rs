//! `boxoffice refunds`: what operators do with the refunds of a running service that are stuck.

use std::{fmt::Write as _, net::SocketAddr};

use tonic::{Status, transport::Channel};

use super::{
    failure::Failure,
    operator_calls::{PAGE, print_answer, write_note},
};
use crate::{
    config::{RefundAction, RefundOutcome},
    domain::money::{Currency, Money},
    pb::{
        boxoffice::v1::{
            self as pb, ListStuckRefundsRequest, Refund, RefundNoteAction, RefundState, ResumeRefundRequest,
            SettleRefundRequest, StuckRefund, operations_client::OperationsClient,
        },
        google::r#type::Money as PbMoney,
    },
};

/// Asks the service, and prints its answer.
pub(super) fn run(address: SocketAddr, action: RefundAction) -> Result<(), Failure> {
    print_answer(address, async |channel| ask(channel, action).await)
}

async fn ask(channel: Channel, action: RefundAction) -> Result<String, Status> {
    let mut operations = OperationsClient::new(channel);
    let mut text = String::new();
    match action {
        RefundAction::List => {
            let mut request = ListStuckRefundsRequest { page_size: PAGE, page_token: String::new() };
            loop {
                let page = operations.list_stuck_refunds(request.clone()).await?.into_inner();
                page.refunds.iter().for_each(|stuck| write_stuck(&mut text, stuck));
                request.page_token = page.next_page_token;
                if request.page_token.is_empty() {
                    break;
                }
            }
            if text.is_empty() {
                text.push_str("no refund is stuck\n");
            }
        }
        RefundAction::Resume { id: refund_id, note } => {
            let answer = operations.resume_refund(ResumeRefundRequest { refund_id, note }).await?;
            answer.into_inner().refund.iter().for_each(|refund| write_refund(&mut text, refund));
        }
        RefundAction::Settle { id: refund_id, outcome, till, note } => {
            let outcome = match outcome {
                RefundOutcome::Done => pb::RefundOutcome::Done,
                RefundOutcome::PaidOut => pb::RefundOutcome::PaidOut,
                RefundOutcome::Failed => pb::RefundOutcome::Failed,
            };
            let request = SettleRefundRequest { refund_id, outcome: outcome.into(), till, note };
            let answer = operations.settle_refund(request).await?;
            answer.into_inner().refund.iter().for_each(|refund| write_refund(&mut text, refund));
        }
    }
    Ok(text)
}

fn write_refund(text: &mut String, refund: &Refund) {
    let state = match refund.state() {
        RefundState::Pending | RefundState::Unspecified => "pending",
        RefundState::Done => "done",
        RefundState::Failed => "failed",
        RefundState::Stuck => "stuck",
    };
    let _ = writeln!(text, "{} {} {state}", refund.refund_id, amount(refund.amount.as_ref()));
}

/// A refund with why it is stuck, what it belongs to, and the notes.
fn write_stuck(text: &mut String, stuck: &StuckRefund) {
    let Some(refund) = &stuck.refund else { return };
    write_refund(text, refund);
    let _ = writeln!(text, "  after {} attempts: {}", refund.attempts, refund.message);
    let _ = writeln!(text, "  payment {} of purchase {}", stuck.payment_id, stuck.purchase_id);
    let seats: Vec<_> = refund.seats.iter().map(|seat| format!("{}{}", seat.row, seat.number)).collect();
    if !seats.is_empty() {
        let are = if stuck.seats_given_up { "were given up before" } else { "are still sold" };
        let _ = writeln!(text, "  seats {} {are}", seats.join(" "));
    }
    for note in &stuck.notes {
        let done = match note.action() {
            RefundNoteAction::Resumed | RefundNoteAction::Unspecified => "resumed",
            RefundNoteAction::SettledDone => "settled as done",
            RefundNoteAction::SettledPaidOut => "settled as paid out",
            RefundNoteAction::SettledFailed => "settled as failed",
        };
        write_note(text, note.time.as_ref(), done, &note.note);
    }
}

/// An amount as people write it, such as `12.50 EUR`.
fn amount(sent: Option<&PbMoney>) -> String {
    let Some(PbMoney { currency_code, units, nanos }) = sent else { return String::new() };
    let Some(currency) = Currency::parse(currency_code) else { return format!("{units} {currency_code}") };
    let per_unit = currency.minor_per_unit();
    Money { currency, minor: units * per_unit + i64::from(*nanos) * per_unit / 1_000_000_000 }.to_string()
}

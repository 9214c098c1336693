//! Dead letters, purchases and refunds that are stuck, and what operators ask for.

use prost::Message as _;

use super::{
    common::{at_most, finish, page},
    purchases::purchase,
    refunds::refund,
    values::timestamp,
};
use crate::{
    app::{DeadLetter, DeadLetters, PageRequest, StuckPurchase, StuckRefund},
    domain::{
        ids::{PurchaseId, RefundId},
        purchase::{NoteAction, PurchaseNote, Settlement, check_till},
        refund::{RefundNote, RefundNoteAction, RefundSettlement},
        reservation::contains_card_number,
        violations::{Violations, printable},
    },
    pb::boxoffice::{
        events::v1::Event,
        v1::{self as pb, drop_dead_letters_request, redrive_dead_letters_request},
    },
};

/// The most characters of the name of a sink, and of the id of a letter.
const LONGEST_SINK: usize = 40;
const LONGEST_ID: usize = 80;
/// The most characters of a note.
const LONGEST_NOTE: usize = 500;

pub(crate) fn list_dead_letters(
    request: pb::ListDeadLettersRequest,
) -> Result<((String, bool), PageRequest), Violations> {
    let mut violations = Violations::new();
    at_most(&mut violations, "sink", &request.sink, LONGEST_SINK);
    if request.page_size < 0 {
        violations.add("page_size", "must not be negative");
    }
    let page = PageRequest { size: request.page_size, token: request.page_token };
    finish(violations, Some(((request.sink, request.dead_only), page)))
}

pub(crate) fn redrive_dead_letters(request: pb::RedriveDeadLettersRequest) -> Result<DeadLetters, Violations> {
    use redrive_dead_letters_request::DeadLetters::{AllOfSink, DeadLetterId};
    letters(request.dead_letters.map(|letters| match letters {
        DeadLetterId(id) => DeadLetters::One(id),
        AllOfSink(sink) => DeadLetters::OfSink(sink),
    }))
}

pub(crate) fn drop_dead_letters(request: pb::DropDeadLettersRequest) -> Result<DeadLetters, Violations> {
    use drop_dead_letters_request::DeadLetters::{AllOfSink, DeadLetterId};
    letters(request.dead_letters.map(|letters| match letters {
        DeadLetterId(id) => DeadLetters::One(id),
        AllOfSink(sink) => DeadLetters::OfSink(sink),
    }))
}

fn letters(letters: Option<DeadLetters>) -> Result<DeadLetters, Violations> {
    let mut violations = Violations::new();
    match &letters {
        None => violations.add("dead_letters", "must be dead_letter_id or all_of_sink"),
        Some(DeadLetters::One(id)) => at_most(&mut violations, "dead_letter_id", id, LONGEST_ID),
        Some(DeadLetters::OfSink(sink)) => at_most(&mut violations, "all_of_sink", sink, LONGEST_SINK),
    }
    finish(violations, letters)
}

pub(crate) fn dead_letter(letter: DeadLetter) -> pb::DeadLetter {
    let id = letter.id();
    let DeadLetter { stored, entry } = letter;
    let state = if stored.letter.refused.is_some() { pb::DeadLetterState::Dead } else { pb::DeadLetterState::Waiting };
    pb::DeadLetter {
        dead_letter_id: id,
        sink: stored.sink,
        state: state.into(),
        reason: stored.letter.refused.unwrap_or_default(),
        attempts: stored.letter.attempts,
        create_time: Some(timestamp(stored.write_time)),
        event_id: entry.id(),
        r#type: entry.event_type().to_owned(),
        data: Event::decode(&*entry.data()).ok(),
    }
}

/// Reads which page of a list without filters is asked for.
pub(crate) fn any_page(size: i32, token: String) -> Result<PageRequest, Violations> {
    let mut violations = Violations::new();
    let page = page(&mut violations, size, token);
    finish(violations, Some(page))
}

pub(crate) fn resume_purchase(request: pb::ResumePurchaseRequest) -> Result<(PurchaseId, String), Violations> {
    let mut violations = Violations::new();
    let id = violations.take("purchase_id", PurchaseId::parse(&request.purchase_id));
    violations.take("note", note(&request.note));
    finish(violations, id.map(|id| (id, request.note)))
}

pub(crate) fn settle_purchase(
    request: pb::SettlePurchaseRequest,
) -> Result<(PurchaseId, Settlement, String), Violations> {
    let mut violations = Violations::new();
    let id = violations.take("purchase_id", PurchaseId::parse(&request.purchase_id));
    violations.take("note", note(&request.note));
    let settlement = match request.outcome() {
        pb::PurchaseOutcome::Completed => Some(Settlement::Completed),
        pb::PurchaseOutcome::Compensated => Some(Settlement::Compensated),
        pb::PurchaseOutcome::Unspecified => {
            violations.add("outcome", "must be COMPLETED or COMPENSATED");
            None
        }
    };
    finish(violations, id.zip(settlement).map(|(id, settlement)| (id, settlement, request.note)))
}

fn note(note: &str) -> Result<(), Violations> {
    printable(note, LONGEST_NOTE)?;
    no_card_number(note)
}

fn no_card_number(text: &str) -> Result<(), Violations> {
    if contains_card_number(text) { Err(Violations::one("", "must not contain a card number")) } else { Ok(()) }
}

pub(crate) fn stuck_purchase(stuck: StuckPurchase) -> pb::StuckPurchase {
    let StuckPurchase { view, notes } = stuck;
    pb::StuckPurchase { purchase: Some(purchase(&view)), notes: notes.into_iter().map(purchase_note).collect() }
}

fn purchase_note(note: PurchaseNote) -> pb::PurchaseNote {
    let action = match note.action {
        NoteAction::Resumed => pb::PurchaseNoteAction::Resumed,
        NoteAction::SettledCompleted => pb::PurchaseNoteAction::SettledCompleted,
        NoteAction::SettledCompensated => pb::PurchaseNoteAction::SettledCompensated,
    };
    pb::PurchaseNote { time: Some(timestamp(note.time)), action: action.into(), note: note.text, caller: note.caller }
}

pub(crate) fn resume_refund(request: pb::ResumeRefundRequest) -> Result<(RefundId, String), Violations> {
    let mut violations = Violations::new();
    let id = violations.take("refund_id", RefundId::parse(&request.refund_id));
    violations.take("note", note(&request.note));
    finish(violations, id.map(|id| (id, request.note)))
}

pub(crate) fn settle_refund(
    request: pb::SettleRefundRequest,
) -> Result<(RefundId, RefundSettlement, String), Violations> {
    let mut violations = Violations::new();
    let id = violations.take("refund_id", RefundId::parse(&request.refund_id));
    violations.take("note", note(&request.note));
    violations.take("till", check_till(&request.till).and_then(|()| no_card_number(&request.till)));
    let outcome = request.outcome();
    if !request.till.is_empty() && outcome != pb::RefundOutcome::PaidOut {
        violations.add("till", "must be left out unless the outcome is PAID_OUT");
    }
    let settlement = match outcome {
        pb::RefundOutcome::Done => Some(RefundSettlement::Done),
        pb::RefundOutcome::PaidOut => Some(RefundSettlement::PaidOut { till: request.till }),
        pb::RefundOutcome::Failed => Some(RefundSettlement::Failed),
        pb::RefundOutcome::Unspecified => {
            violations.add("outcome", "must be DONE, PAID_OUT or FAILED");
            None
        }
    };
    finish(violations, id.zip(settlement).map(|(id, settlement)| (id, settlement, request.note)))
}

pub(crate) fn stuck_refund(StuckRefund { refund: stuck, notes }: StuckRefund) -> pb::StuckRefund {
    let facts = &stuck.facts;
    pb::StuckRefund {
        refund: Some(refund(&stuck)),
        payment_id: facts.payment_id.to_string(),
        purchase_id: facts.purchase_id.to_string(),
        reservation_id: facts.reservation_id.to_string(),
        seats_given_up: stuck.seats_are_given_up(),
        notes: notes.into_iter().map(refund_note).collect(),
    }
}

fn refund_note(note: RefundNote) -> pb::RefundNote {
    let action = match note.action {
        RefundNoteAction::Resumed => pb::RefundNoteAction::Resumed,
        RefundNoteAction::SettledDone => pb::RefundNoteAction::SettledDone,
        RefundNoteAction::SettledPaidOut => pb::RefundNoteAction::SettledPaidOut,
        RefundNoteAction::SettledFailed => pb::RefundNoteAction::SettledFailed,
    };
    pb::RefundNote { time: Some(timestamp(note.time)), action: action.into(), note: note.text, caller: note.caller }
}

pub(crate) fn retire_signing_key(request: pb::RetireSigningKeyRequest) -> Result<(u16, bool), Violations> {
    let mut violations = Violations::new();
    let key_id = u16::try_from(request.key_id).ok().filter(|id| *id > 0);
    let key_id = violations.take("key_id", key_id.ok_or_else(|| Violations::one("", "must be from 1 to 65535")));
    finish(violations, key_id.map(|key_id| (key_id, request.force)))
}

//! Refunds as they are stored.

use prost::Message as _;

use crate::{
    domain::{
        ids::{PaymentId, PurchaseId, RefundId, ReservationId, ShowtimeId},
        money::{Currency, Money},
        note::Note,
        prices::Split,
        refund::{BEGINNING, Chosen, Refund, RefundFacts, RefundNote, RefundNoteAction, RefundRecord, RefundState},
        seat_index::{RowLabel, SeatName},
    },
    store::{
        entities::{refund, refund_note},
        errors::Error,
    },
};

/// What the database never looks into.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Detail {
    #[prost(message, repeated, tag = "1")]
    seats: Vec<StoredSeat>,
    #[prost(int64, tag = "2")]
    sales: i64,
    #[prost(int64, tag = "3")]
    fees: i64,
    #[prost(int64, tag = "4")]
    tax: i64,
    #[prost(bool, tag = "5")]
    releases: bool,
    #[prost(bool, tag = "6")]
    owed: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct StoredSeat {
    #[prost(string, tag = "1")]
    row: String,
    #[prost(int32, tag = "2")]
    number: i32,
}

/// The state's name in its column.
pub(in crate::store) fn state_name(state: RefundState) -> &'static str {
    match state {
        RefundState::Pending => "pending",
        RefundState::Done => "done",
        RefundState::Failed => "failed",
        RefundState::Stuck => "stuck",
    }
}

fn state(name: &str) -> Option<RefundState> {
    let all = [RefundState::Pending, RefundState::Done, RefundState::Failed, RefundState::Stuck];
    all.into_iter().find(|state| state_name(*state) == name)
}

/// The name of what an operator did.
pub(in crate::store) fn note_action_name(action: RefundNoteAction) -> &'static str {
    match action {
        RefundNoteAction::Resumed => "resumed",
        RefundNoteAction::SettledDone => "settled_done",
        RefundNoteAction::SettledPaidOut => "settled_paid_out",
        RefundNoteAction::SettledFailed => "settled_failed",
    }
}

/// Reads what was kept of what an operator did.
pub(in crate::store) fn note(row: refund_note::Model) -> Result<RefundNote, Error> {
    let all = [
        RefundNoteAction::Resumed,
        RefundNoteAction::SettledDone,
        RefundNoteAction::SettledPaidOut,
        RefundNoteAction::SettledFailed,
    ];
    let refund_note::Model { note_id, create_time: time, caller, action, note: text, .. } = row;
    let action = all.into_iter().find(|known| note_action_name(*known) == action).ok_or_else(|| {
        let why = "the action is unknown".to_owned();
        Error::Unreadable { table: "refund_notes", key: note_id.to_string(), why }
    })?;
    Ok(Note { note_id, time, caller, action, text })
}

/// The bytes of the column `detail`.
pub(in crate::store) fn detail(facts: &RefundFacts) -> Vec<u8> {
    let seat = |name: &SeatName| StoredSeat { row: name.row.as_str().to_owned(), number: name.number };
    let Chosen { split: Split { sales, fees, tax }, seats, .. } = &facts.chosen;
    let (seats, RefundFacts { releases, owed, .. }) = (seats.iter().map(seat).collect(), facts);
    Detail { seats, sales: *sales, fees: *fees, tax: *tax, releases: *releases, owed: *owed }.encode_to_vec()
}

/// Reads a refund.
pub(in crate::store) fn refund(row: refund::Model) -> Result<Refund, Error> {
    let key = row.refund_id.to_string();
    read(row).ok_or_else(|| Error::Unreadable { table: "refunds", key, why: "a value is unknown".to_owned() })
}

fn read(row: refund::Model) -> Option<Refund> {
    let Detail { seats, sales, fees, tax, releases, owed } = Detail::decode(row.detail.as_slice()).ok()?;
    let seat = |seat: &StoredSeat| Some(SeatName { row: RowLabel::parse(&seat.row).ok()?, number: seat.number });
    let chosen = Chosen {
        amount: Money { currency: Currency::parse(&row.currency)?, minor: row.amount_minor },
        split: Split { sales, fees, tax },
        seats: seats.iter().map(seat).collect::<Option<_>>()?,
    };
    let facts = RefundFacts {
        refund_id: RefundId(row.refund_id),
        payment_id: PaymentId(row.payment_id),
        purchase_id: PurchaseId(row.purchase_id),
        reservation_id: ReservationId(row.reservation_id),
        showtime_id: ShowtimeId(row.showtime_id),
        chosen,
        releases,
        owed,
        till: row.till,
        reason: row.reason,
        create_time: row.create_time,
    };
    let state = state(&row.state)?;
    // An instance of the release before does not write the revision.
    let implied = if state == RefundState::Pending { BEGINNING } else { BEGINNING + 1 };
    let record = RefundRecord {
        state,
        waits: row.state == state_name(RefundState::Pending) && row.due_time.is_none(),
        attempts: u32::try_from(row.attempts).ok()?,
        failed_attempts: u32::try_from(row.failed_attempts).ok()?,
        message: row.message,
        end_time: row.end_time,
        last_event: row.event_revision.map_or(implied, |last| last.max(implied)),
    };
    Some(Refund::restore(facts, record))
}

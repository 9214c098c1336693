//! Refunds.

use super::{
    common::finish,
    seats::{MOST_SEATS, seat, seat_names},
    values::{amount, money, timestamp},
};
use crate::{
    app::NewRefund,
    domain::{
        ids::PaymentId,
        purchase::check_till,
        refund::{Refund, RefundState, RefundWish},
        violations::{Violations, printable},
    },
    pb::boxoffice::v1 as pb,
};

/// The most characters of a reason.
const MAX_REASON: usize = 200;

pub(crate) fn refund_payment(request: pb::RefundPaymentRequest) -> Result<NewRefund, Violations> {
    let mut violations = Violations::new();
    let payment_id = violations.take("payment_id", PaymentId::parse(&request.payment_id));
    let wish = violations.take("", wish(&request));
    violations.take("reason", printable(&request.reason, MAX_REASON));
    violations.take("till", check_till(&request.till));
    let (reason, till, force) = (request.reason, request.till, request.force);
    let new = payment_id.zip(wish).map(|(payment_id, wish)| NewRefund { payment_id, wish, reason, till, force });
    finish(violations, new)
}

fn wish(request: &pb::RefundPaymentRequest) -> Result<RefundWish, Violations> {
    let mut violations = Violations::new();
    let seats = violations.take("seats", seat_names(&request.seats, MOST_SEATS));
    let Some(wanted) = &request.amount else {
        let all = |seats: Vec<_>| if seats.is_empty() { RefundWish::All } else { RefundWish::Seats(seats) };
        return finish(violations, seats.map(all));
    };
    if !request.seats.is_empty() {
        violations.add("amount", "must be left out if seats are named");
    }
    let wanted = violations.take("amount", amount(wanted));
    if wanted.is_some_and(|wanted| wanted.minor == 0) {
        violations.add("amount", "must be more than zero");
    }
    finish(violations, wanted.map(RefundWish::Amount))
}

pub(crate) fn refund(refund: &Refund) -> pb::Refund {
    let (facts, record) = (&refund.facts, refund.record());
    let state = match record.state {
        RefundState::Pending => pb::RefundState::Pending,
        RefundState::Done => pb::RefundState::Done,
        RefundState::Failed => pb::RefundState::Failed,
        RefundState::Stuck => pb::RefundState::Stuck,
    };
    pb::Refund {
        refund_id: facts.refund_id.to_string(),
        amount: Some(money(facts.chosen.amount)),
        state: state.into(),
        reason: facts.reason.clone(),
        seats: facts.chosen.seats.iter().copied().map(seat).collect(),
        message: record.message.clone(),
        attempts: i32::try_from(record.attempts).unwrap_or(i32::MAX),
        create_time: Some(timestamp(facts.create_time)),
        end_time: record.end_time.map(timestamp),
        till: facts.till.clone().unwrap_or_default(),
    }
}

//! Purchases.

use super::{
    common::{at_most, finish, page},
    payments::{message, read_method},
    prices::tickets,
    reservations::{choice, reservation},
    values::{money, optional, timestamp},
};
use crate::{
    app::{
        BuyersPurchase, NamedPurchase, NewPurchase, NumberAndSecret, PageRequest, PaymentChoice, PaymentSource,
        PurchaseFilter, PurchaseRef, PurchaseView, Wanted,
    },
    domain::{
        ids::{PurchaseId, ReservationId, ShowtimeId},
        purchase::{
            Failure, FailureReason, PaymentMethod, PurchaseNumber, PurchaseState, Step, StepName, StepState, Work,
            check_till,
        },
        reservation::{CustomerId, MAX_TRANSACTION},
        seating::Wish,
        secret::PurchaseSecret,
        violations::{Violations, printable},
    },
    pb::boxoffice::v1 as pb,
};

/// The most characters of a gateway's token.
const MAX_TOKEN: usize = 256;
/// The most characters of a URI to return to.
const MAX_URI: usize = 1_024;
/// States that the contract accepts in one filter.
const MAX_STATES: usize = 8;

pub(crate) fn purchase_tickets(request: pb::PurchaseTicketsRequest) -> Result<NewPurchase, Violations> {
    let mut violations = Violations::new();
    let customer_id = violations.take("customer_id", CustomerId::parse(&request.customer_id));
    let wanted = violations.take("", wanted(&request));
    let payment = violations.take("payment", payment(request.payment));
    let payment = match payment {
        Some(None) => {
            violations.add("payment", "is required");
            None
        }
        given => given.flatten(),
    };
    let return_uri = request.return_uri;
    at_most(&mut violations, "return_uri", &return_uri, MAX_URI);
    let is_uri = return_uri.starts_with("https://") || return_uri.starts_with("http://");
    if !return_uri.is_empty() && (!is_uri || return_uri.contains(|one: char| one.is_control() || one.is_whitespace())) {
        violations.add("return_uri", "must be an http or https URI");
    }
    let new = wanted.zip(customer_id).zip(payment);
    let new = new.map(|((wanted, customer_id), payment)| NewPurchase { wanted, customer_id, payment, return_uri });
    finish(violations, new)
}

fn wanted(request: &pb::PurchaseTicketsRequest) -> Result<Wanted, Violations> {
    let mut violations = Violations::new();
    let reservation_id = violations.take("reservation_id", optional(&request.reservation_id, ReservationId::parse));
    let showtime_id = violations.take("showtime_id", optional(&request.showtime_id, ShowtimeId::parse));
    let tickets = violations.take("ticket_types", tickets(&request.ticket_types));
    if request.reservation_id.is_empty() {
        if request.seats.is_empty() && request.seat_count == 0 {
            violations.add("reservation_id", "must be given, unless seats or seat_count are");
        }
        let choice = violations.take("", choice(&request.seats, request.seat_count));
        if request.showtime_id.is_empty() {
            violations.add("showtime_id", "must be given, unless reservation_id is");
        }
        let wish = choice.zip(tickets);
        let wish = wish.map(|(choice, tickets)| Wish { choice, tickets, accessible: false, from_block: false });
        let wanted = showtime_id.flatten().zip(wish);
        return finish(violations, wanted.map(|(showtime_id, wish)| Wanted::Seats { showtime_id, wish }));
    }
    let others = [
        ("showtime_id", request.showtime_id.is_empty()),
        ("seats", request.seats.is_empty()),
        ("seat_count", request.seat_count == 0),
        ("ticket_types", request.ticket_types.is_empty()),
    ];
    for (field, _) in others.into_iter().filter(|(_, is_empty)| !is_empty) {
        violations.add(field, "must be left out if reservation_id is given");
    }
    if !request.seats.is_empty() || request.seat_count != 0 {
        violations.add("reservation_id", "must be left out if seats or seat_count are given");
    }
    finish(violations, reservation_id.flatten().map(Wanted::Reservation))
}

fn payment(choice: Option<pb::PaymentChoice>) -> Result<Option<PaymentChoice>, Violations> {
    let Some(pb::PaymentChoice { method, token, transaction_id, till }) = choice else { return Ok(None) };
    let mut violations = Violations::new();
    let method = violations.take("method", read_method(method));
    let is_cash = method == Some(PaymentMethod::Cash);
    let source = if is_cash || !transaction_id.is_empty() {
        if !token.is_empty() {
            violations.add("token", "must be left out for cash and with transaction_id: a till has taken the money");
        }
        if !transaction_id.is_empty() {
            violations.take("transaction_id", printable(&transaction_id, MAX_TRANSACTION));
        }
        violations.take("till", check_till(&till));
        PaymentSource::Till { till, transaction_id }
    } else {
        violations.take("token", printable(&token, MAX_TOKEN));
        if !till.is_empty() {
            violations.add("till", "must be left out, unless a till has taken the money: then transaction_id is given");
        }
        PaymentSource::Token(token)
    };
    finish(violations, method.map(|method| Some(PaymentChoice { method, source })))
}

/// Reads the purchase that a request names by its id, or by its number and its secret. `None`: it names none.
pub(super) fn named_purchase(
    purchase_id: &str,
    number: &str,
    secret: &str,
) -> Result<Option<NamedPurchase>, Violations> {
    let mut violations = Violations::new();
    let purchase_id = violations.take("purchase_id", optional(purchase_id, PurchaseId::parse));
    if !secret.is_empty() && number.is_empty() {
        violations.add("secret", "must be left out, unless number is given");
    }
    let proof = violations.take("", number_and_secret(number, secret));
    if let (Some(Some(_)), false) = (&purchase_id, number.is_empty()) {
        violations.add("purchase_id", "must be left out if number is given");
        violations.add("number", "must be left out if purchase_id is given");
    }
    let named = purchase_id.zip(proof);
    let named = named.map(|(id, proof)| id.map(NamedPurchase::Id).or(proof.map(NamedPurchase::Secret)));
    finish(violations, named)
}

fn number_and_secret(number: &str, secret: &str) -> Result<Option<NumberAndSecret>, Violations> {
    if number.is_empty() {
        return Ok(None);
    }
    let mut violations = Violations::new();
    let number = violations.take("number", PurchaseNumber::parse(number));
    let secret = violations.take("secret", PurchaseSecret::parse(secret));
    let both = number.zip(secret);
    finish(violations, both.map(|(number, secret)| Some(NumberAndSecret { number, secret })))
}

pub(crate) fn get_purchase(
    request: &pb::GetPurchaseRequest,
) -> Result<(NamedPurchase, Option<CustomerId>), Violations> {
    let mut violations = Violations::new();
    let named = violations.take("", named_purchase(&request.purchase_id, &request.number, &request.secret));
    let customer_id = violations.take("customer_id", optional(&request.customer_id, CustomerId::parse));
    if request.purchase_id.is_empty() && request.number.is_empty() {
        for field in ["purchase_id", "number"] {
            violations.add(field, "either purchase_id or number is required");
        }
    }
    finish(violations, named.flatten().zip(customer_id))
}

/// Reads the purchase that a request names, and the customer to whom it must belong.
pub(crate) fn purchase_ref(purchase_id: &str, customer_id: &str) -> Result<PurchaseRef, Violations> {
    let mut violations = Violations::new();
    let purchase_id = violations.take("purchase_id", PurchaseId::parse(purchase_id));
    let customer_id = violations.take("customer_id", optional(customer_id, CustomerId::parse));
    let both = purchase_id.zip(customer_id);
    finish(violations, both.map(|(purchase_id, customer_id)| PurchaseRef { purchase_id, customer_id }))
}

pub(crate) fn continue_purchase(
    request: pb::ContinuePurchaseRequest,
) -> Result<(PurchaseRef, Option<PaymentChoice>), Violations> {
    let mut violations = Violations::new();
    let which = violations.take("", purchase_ref(&request.purchase_id, &request.customer_id));
    let payment = violations.take("payment", payment(request.payment));
    if let Some(Some(PaymentChoice { source: PaymentSource::Till { .. }, .. })) = &payment {
        violations.add("payment", "must have a token: what a till has taken begins with PurchaseTickets");
    }
    finish(violations, which.zip(payment))
}

pub(crate) fn list_purchases(request: pb::ListPurchasesRequest) -> Result<(PurchaseFilter, PageRequest), Violations> {
    let mut violations = Violations::new();
    let customer_id = violations.take("customer_id", optional(&request.customer_id, CustomerId::parse));
    let showtime_id = violations.take("showtime_id", optional(&request.showtime_id, ShowtimeId::parse));
    let states = violations.take("states", states(&request.states));
    let page = page(&mut violations, request.page_size, request.page_token);
    let filter = customer_id.zip(showtime_id).zip(states);
    let filter = filter.map(|((customer_id, showtime_id), states)| PurchaseFilter { customer_id, showtime_id, states });
    finish(violations, filter.map(|filter| (filter, page)))
}

fn states(states: &[i32]) -> Result<Vec<PurchaseState>, Violations> {
    let mut violations = Violations::new();
    let mut read: Vec<PurchaseState> = Vec::new();
    if states.len() > MAX_STATES {
        violations.add("", format!("must have at most {MAX_STATES} states"));
    }
    for (index, state) in states.iter().enumerate().take(MAX_STATES) {
        let state = match pb::PurchaseState::try_from(*state) {
            Ok(pb::PurchaseState::Running) => PurchaseState::Running,
            Ok(pb::PurchaseState::AwaitingCustomer) => PurchaseState::AwaitingCustomer,
            Ok(pb::PurchaseState::Completed) => PurchaseState::Completed,
            Ok(pb::PurchaseState::Compensated) => PurchaseState::Compensated,
            Ok(pb::PurchaseState::Stuck) => PurchaseState::Stuck,
            Ok(pb::PurchaseState::Unspecified) | Err(_) => {
                violations.add(format!("[{index}]"), "must be a known state");
                continue;
            }
        };
        if !read.contains(&state) {
            read.push(state);
        }
    }
    finish(violations, Some(read))
}

/// A purchase in an answer to its buyer: with its secret and its code.
pub(crate) fn buyers_purchase(BuyersPurchase { view, secret, code }: &BuyersPurchase) -> pb::Purchase {
    pb::Purchase { secret: secret.to_text(), code: code.to_text(), ..purchase(view) }
}

/// A purchase in any other answer.
pub(crate) fn purchase(view: &PurchaseView) -> pb::Purchase {
    let PurchaseView { purchase, refunds, reservation: reserved } = view;
    let facts = &purchase.facts;
    let payments = purchase.payments().iter();
    let payments = payments
        .map(|payment| message((payment, refunds), facts.purchase_id, facts.reservation_id, &facts.customer_id));
    pb::Purchase {
        purchase_id: facts.purchase_id.to_string(),
        number: facts.number.to_string(),
        state: state(purchase.state()).into(),
        reservation: Some(reservation(reserved)),
        payments: payments.collect(),
        total: Some(money(purchase.total())),
        redirect_uri: purchase.redirect_uri().to_owned(),
        pay_until: purchase.pay_until().map(timestamp),
        create_time: Some(timestamp(facts.create_time)),
        complete_time: purchase.complete_time().map(timestamp),
        steps: purchase.steps().iter().map(step).collect(),
        failure: purchase.failure().map(failure),
        secret: String::new(),
        code: String::new(),
    }
}

fn state(state: PurchaseState) -> pb::PurchaseState {
    match state {
        PurchaseState::Running => pb::PurchaseState::Running,
        PurchaseState::AwaitingCustomer => pb::PurchaseState::AwaitingCustomer,
        PurchaseState::Completed => pb::PurchaseState::Completed,
        PurchaseState::Compensated => pb::PurchaseState::Compensated,
        PurchaseState::Stuck => pb::PurchaseState::Stuck,
    }
}

fn step(step: &Step) -> pb::PurchaseStep {
    let name = match step.name {
        StepName::ReserveSeats => pb::PurchaseStepName::ReserveSeats,
        StepName::Pay => pb::PurchaseStepName::Pay,
        StepName::ConfirmReservation => pb::PurchaseStepName::ConfirmReservation,
        StepName::Capture => pb::PurchaseStepName::Capture,
        StepName::IssueTickets => pb::PurchaseStepName::IssueTickets,
    };
    let compensation = step.compensation.as_ref().map(|work| Box::new(self::work(name, work)));
    pb::PurchaseStep { compensation, ..work(name, &step.work) }
}

fn work(name: pb::PurchaseStepName, work: &Work) -> pb::PurchaseStep {
    let state = match work.state {
        StepState::Pending => pb::PurchaseStepState::Pending,
        StepState::Running => pb::PurchaseStepState::Running,
        StepState::Done => pb::PurchaseStepState::Done,
        StepState::Failed => pb::PurchaseStepState::Failed,
    };
    pb::PurchaseStep {
        name: name.into(),
        state: state.into(),
        attempts: i32::try_from(work.attempts).unwrap_or(i32::MAX),
        message: work.message.clone(),
        start_time: work.start_time.map(timestamp),
        end_time: work.end_time.map(timestamp),
        compensation: None,
    }
}

fn failure(failure: &Failure) -> pb::PurchaseFailure {
    let reason = match failure.reason {
        FailureReason::PaymentDeclined => pb::PurchaseFailureReason::PaymentDeclined,
        FailureReason::PaymentRefused => pb::PurchaseFailureReason::PaymentRefused,
        FailureReason::PaymentExpired => pb::PurchaseFailureReason::PaymentExpired,
        FailureReason::NotSold => pb::PurchaseFailureReason::NotSold,
        FailureReason::CaptureFailed => pb::PurchaseFailureReason::CaptureFailed,
        FailureReason::Cancelled => pb::PurchaseFailureReason::Cancelled,
    };
    pb::PurchaseFailure {
        reason: reason.into(),
        decline_code: failure.decline_code.clone(),
        retryable: failure.retryable,
    }
}

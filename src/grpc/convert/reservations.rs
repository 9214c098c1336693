//! Reservations.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    auditoriums::auditorium,
    common::{finish, page},
    movies::movie,
    prices::{lines, tickets},
    seats::{MOST_SEATS, seat_names, seats},
    values::{duration, money, optional, time, timestamp},
};
use crate::{
    app::{PageRequest, Release, ReservationRef, ReservationView, Reserve, Rules, TillPayment},
    domain::{
        ids::{ReservationId, ShowtimeId},
        purchase::check_till,
        reservation::{CustomerId, Filter, Phase, Reservation, State, Tender},
        seat_index::SeatName,
        seating::{AccessibleSeats, Choice, OrphanRule, Wish},
        violations::{Violations, printable},
    },
    pb::boxoffice::v1 as pb,
};

/// The most characters of the reason of a release.
const MAX_REASON: usize = 200;
/// States that the contract accepts in one filter.
const MAX_STATES: usize = 8;

pub(crate) fn reserve(request: &pb::ReserveSeatsRequest) -> Result<Reserve, Violations> {
    let mut violations = Violations::new();
    let showtime_id = violations.take("showtime_id", ShowtimeId::parse(&request.showtime_id));
    let choice = violations.take("", choice(&request.seats, request.seat_count));
    let customer_id = violations.take("customer_id", CustomerId::parse(&request.customer_id));
    let tickets = violations.take("ticket_types", tickets(&request.ticket_types));
    let &pb::ReserveSeatsRequest { accessible, from_block, validate_only, .. } = request;
    if from_block && request.seats.is_empty() {
        violations.add("from_block", "must be left out unless seats are named");
    }
    let wanted =
        showtime_id.zip(choice).zip(customer_id).zip(tickets).map(|(((showtime_id, choice), customer_id), tickets)| {
            let wish = Wish { choice, tickets, accessible, from_block };
            Reserve { showtime_id, customer_id, wish, validate_only }
        });
    finish(violations, wanted)
}

pub(super) fn choice(seats: &[pb::Seat], count: i32) -> Result<Choice, Violations> {
    let mut violations = Violations::new();
    let best = u16::try_from(count).ok().filter(|count| usize::from(*count) <= MOST_SEATS);
    if best.is_none() {
        violations.add("seat_count", format!("must be from 0 to {MOST_SEATS}"));
    }
    let names = violations.take("seats", seat_names(seats, MOST_SEATS));
    match (seats.is_empty(), count == 0) {
        (true, true) => {
            violations.add("seats", "must name the seats, unless seat_count says how many");
            violations.add("seat_count", "must say how many seats, unless seats are named");
        }
        (false, false) => {
            violations.add("seats", "must be left out if seat_count is given");
            violations.add("seat_count", "must be left out if seats are named");
        }
        (true, false) | (false, true) => {}
    }
    let choice = if seats.is_empty() { best.map(Choice::Best) } else { names.map(Choice::Seats) };
    finish(violations, choice)
}

/// Reads the reservation that a request names, and the customer to whom it must belong.
pub(crate) fn reservation_ref(reservation_id: &str, customer_id: &str) -> Result<ReservationRef, Violations> {
    let mut violations = Violations::new();
    let reservation_id = violations.take("reservation_id", ReservationId::parse(reservation_id));
    let customer_id = violations.take("customer_id", optional(customer_id, CustomerId::parse));
    let both = reservation_id.zip(customer_id);
    finish(violations, both.map(|(reservation_id, customer_id)| ReservationRef { reservation_id, customer_id }))
}

/// Reads the reservation to confirm, how it was paid for, and whether that may be late.
pub(crate) fn confirm(request: pb::ConfirmReservationRequest) -> Result<(ReservationRef, TillPayment), Violations> {
    let mut violations = Violations::new();
    violations.take("till", check_till(&request.till));
    let reservation = violations.take("", reservation_ref(&request.reservation_id, &request.customer_id));
    if request.late && request.tender.is_none() {
        violations.add("tender", "is required with late");
    }
    let tender = violations.take("", tender(request.tender));
    let (till, late) = (request.till, request.late);
    let confirm =
        reservation.zip(tender).map(|(reservation, tender)| (reservation, TillPayment { tender, till, late }));
    finish(violations, confirm)
}

/// Reads the reservation, the seats to give back, why, and the till that pays their refund out.
pub(crate) fn release_seats(request: pb::ReleaseSeatsRequest) -> Result<(ReservationRef, Release), Violations> {
    let mut violations = Violations::new();
    let reservation = violations.take("", reservation_ref(&request.reservation_id, ""));
    let seats = violations.take("seats", seat_names(&request.seats, MOST_SEATS));
    violations.take("reason", printable(&request.reason, MAX_REASON));
    violations.take("till", check_till(&request.till));
    let (reason, till) = (request.reason, request.till);
    let release = reservation.zip(seats).map(|(reservation, seats)| (reservation, Release { seats, reason, till }));
    finish(violations, release)
}

/// Reads the reservation, and the seats that it is to have.
pub(crate) fn exchange_seats(
    request: &pb::ExchangeSeatsRequest,
) -> Result<(ReservationRef, Vec<SeatName>), Violations> {
    let mut violations = Violations::new();
    let reservation = violations.take("", reservation_ref(&request.reservation_id, &request.customer_id));
    if request.seats.is_empty() {
        violations.add("seats", "must name a seat");
    }
    let seats = violations.take("seats", seat_names(&request.seats, MOST_SEATS));
    finish(violations, reservation.zip(seats))
}

fn tender(tender: Option<pb::Tender>) -> Result<Option<Tender>, Violations> {
    let Some(pb::Tender { method, transaction_id }) = tender else { return Ok(None) };
    let mut violations = Violations::new();
    let tender = violations.take("tender", Tender::check(method, transaction_id));
    finish(violations, tender.map(Some))
}

pub(crate) fn list_reservations(request: pb::ListReservationsRequest) -> Result<(Filter, PageRequest), Violations> {
    let mut violations = Violations::new();
    let customer_id = violations.take("customer_id", optional(&request.customer_id, CustomerId::parse));
    let showtime_id = violations.take("showtime_id", optional(&request.showtime_id, ShowtimeId::parse));
    let phases = violations.take("", phases(request.state, &request.states));
    let created_after = violations.take("created_after", request.created_after.map(time).transpose());
    let created_before = violations.take("created_before", request.created_before.map(time).transpose());
    if request.customer_id.is_empty() && request.showtime_id.is_empty() && !request.refund_due {
        violations.add("customer_id", "must be given, unless showtime_id or refund_due is");
    }
    let page = page(&mut violations, request.page_size, request.page_token);
    let filter = customer_id.zip(showtime_id).zip(phases).zip(created_after).zip(created_before).map(
        |((((customer_id, showtime_id), phases), created_after), created_before)| Filter {
            customer_id,
            showtime_id,
            phases,
            refund_due: request.refund_due,
            created_after,
            created_before,
        },
    );
    finish(violations, filter.map(|filter| (filter, page)))
}

/// Reads the states of a filter: the single one, unless it is unspecified, and those of the list.
fn phases(state: i32, states: &[i32]) -> Result<Vec<Phase>, Violations> {
    let mut violations = Violations::new();
    let mut phases: Vec<_> = violations.take("state", phase(state)).flatten().into_iter().collect();
    if states.len() > MAX_STATES {
        violations.add("states", format!("must have at most {MAX_STATES} states"));
    }
    for (index, state) in states.iter().enumerate().take(MAX_STATES) {
        match phase(*state) {
            Ok(Some(phase)) if phases.contains(&phase) => {}
            Ok(Some(phase)) => phases.push(phase),
            Ok(None) | Err(_) => violations.add(format!("states[{index}]"), "must be a known state"),
        }
    }
    finish(violations, Some(phases))
}

fn phase(state: i32) -> Result<Option<Phase>, Violations> {
    match pb::ReservationState::try_from(state) {
        Ok(pb::ReservationState::Unspecified) => Ok(None),
        Ok(pb::ReservationState::Held) => Ok(Some(Phase::Held)),
        Ok(pb::ReservationState::Paying) => Ok(Some(Phase::Paying)),
        Ok(pb::ReservationState::Confirmed) => Ok(Some(Phase::Confirmed)),
        Ok(pb::ReservationState::Cancelled) => Ok(Some(Phase::Cancelled)),
        Ok(pb::ReservationState::Expired) => Ok(Some(Phase::Expired)),
        Err(_) => Err(Violations::one("", "must be a known state")),
    }
}

pub(crate) fn state(phase: Phase) -> pb::ReservationState {
    match phase {
        Phase::Held => pb::ReservationState::Held,
        Phase::Paying => pb::ReservationState::Paying,
        Phase::Confirmed => pb::ReservationState::Confirmed,
        Phase::Cancelled => pb::ReservationState::Cancelled,
        Phase::Expired => pb::ReservationState::Expired,
    }
}

pub(crate) fn reservation(view: &ReservationView) -> pb::Reservation {
    let ReservationView { reservation, plan, phase, as_of } = view;
    let (facts, sale) = (&plan.facts, reservation.sale());
    let cancel_time = match reservation.state() {
        State::Cancelled { at, .. } => Some(timestamp(*at)),
        State::Held | State::Paying(_) | State::Confirmed(_) | State::Expired => None,
    };
    let tender =
        |tender: &Tender| pb::Tender { method: tender.method.clone(), transaction_id: tender.transaction_id.clone() };
    let due = reservation.refund_due();
    pb::Reservation {
        lines: lines(plan, reservation),
        reservation_id: reservation.reservation_id.to_string(),
        showtime_id: reservation.showtime_id.to_string(),
        customer_id: reservation.customer_id.as_str().to_owned(),
        state: state(*phase).into(),
        seats: seats(&plan.seat_index, reservation.seats()),
        seat_count: reservation.seat_count().into(),
        auditorium: Some(auditorium(&facts.auditorium)),
        movie: Some(movie(&facts.movie.value, facts.movie.source, facts.movie.fetch_time)),
        total_price: Some(money(reservation.total())),
        create_time: Some(timestamp(reservation.create_time)),
        expire_time: Some(timestamp(reservation.expire_time())),
        time_left: (*phase == Phase::Held).then(|| time_left(reservation.expire_time(), *as_of)),
        start_time: Some(timestamp(facts.start_time)),
        confirm_time: sale.map(|sale| timestamp(sale.at)),
        cancel_time,
        tender: sale.and_then(|sale| sale.tender.as_ref()).map(tender),
        extended: reservation.extended(),
        revision: reservation.revision(),
        refund_due: due.map(|due| pb::RefundDue {
            amount: Some(money(reservation.remaining_total())),
            tender: Some(tender(&due.tender)),
            create_time: Some(timestamp(due.at)),
        }),
        pay_until: reservation.pay_until().map(timestamp),
        purchase_id: reservation.purchase_id().map(|id| id.to_string()).unwrap_or_default(),
    }
}

/// The reservation that a request with `validate_only` would have made.
pub(crate) fn validated(view: &ReservationView) -> pb::Reservation {
    pb::Reservation { reservation_id: String::new(), revision: 0, ..reservation(view) }
}

/// What came of a confirmation that was accepted. One that may not be late finds a sale as it should be, however it came about. What
/// was sold by a purchase was promised while its payment was under way, so it was not recovered.
pub(crate) fn verdict(reservation: &Reservation, late: bool) -> pb::ConfirmVerdict {
    match reservation.sale() {
        _ if !late => pb::ConfirmVerdict::Confirmed,
        _ if reservation.refund_due().is_some() => pb::ConfirmVerdict::RefundDue,
        Some(sale) if sale.at >= reservation.expire_time() && reservation.payment().is_none() => {
            pb::ConfirmVerdict::Recovered
        }
        _ => pb::ConfirmVerdict::Confirmed,
    }
}

pub(crate) fn rules(rules: &Rules) -> pb::Rules {
    let orphan_rule = match rules.seating.orphan_rule {
        OrphanRule::Allow => pb::OrphanRule::Allow,
        OrphanRule::Refuse => pb::OrphanRule::Refuse,
    };
    let (accessible_seats, open_before) = match rules.seating.accessible_seats {
        AccessibleSeats::Open => (pb::AccessibleSeats::Open, None),
        AccessibleSeats::OnRequest { open_before } => (pb::AccessibleSeats::OnRequest, Some(duration(open_before))),
    };
    pb::Rules {
        accessible_seats: accessible_seats.into(),
        accessible_seats_open_before: open_before,
        max_seats: rules.seating.max_seats.into(),
        max_customer_seats: rules.seating.max_customer_seats.into(),
        hold_duration: Some(duration(rules.hold_duration)),
        hold_extension: Some(duration(rules.seating.extension)),
        sales_closing: Some(duration(rules.seating.closing)),
        orphan_rule: orphan_rule.into(),
        turnaround: Some(duration(rules.turnaround)),
    }
}

/// The time until a hold lapses. It is never negative: a repeated request may be answered after the hold has lapsed.
fn time_left(expire_time: DateTime<Utc>, as_of: DateTime<Utc>) -> prost_types::Duration {
    let left = (expire_time - as_of).max(TimeDelta::zero());
    prost_types::Duration { seconds: left.num_seconds(), nanos: left.subsec_nanos() }
}

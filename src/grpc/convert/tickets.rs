//! Tickets.

use super::{
    common::{finish, page},
    purchases::named_purchase,
    seats::seat,
    values::{money, optional, timestamp},
};
use crate::{
    app::{
        CodeFormat, NamedPurchase, PageRequest, Shown, StoredKey, TicketFilter, TicketView, ToPrint, UsedTickets,
        Validated, ValidatedTickets,
    },
    domain::{
        ids::{ShowtimeId, TicketId},
        number::TicketNumber,
        reservation::CustomerId,
        seating::ShowtimePlan,
        ticket::{ScanText, Ticket, TicketState, WhyNot, check_device},
        violations::Violations,
    },
    pb::boxoffice::v1 as pb,
};

pub(crate) fn ticket_ref(ticket_id: &str, customer_id: &str) -> Result<(TicketId, Option<CustomerId>), Violations> {
    let mut violations = Violations::new();
    let ticket_id = violations.take("ticket_id", TicketId::parse(ticket_id));
    let customer_id = violations.take("customer_id", optional(customer_id, CustomerId::parse));
    finish(violations, ticket_id.zip(customer_id))
}

pub(crate) fn ticket_number(request: &pb::GetTicketByNumberRequest) -> Result<TicketNumber, Violations> {
    let mut violations = Violations::new();
    let number = violations.take("number", TicketNumber::parse(&request.number));
    finish(violations, number)
}

/// Which tickets are listed: those of a purchase that is named, if one is, and which of them.
type ListedTickets = (Option<NamedPurchase>, TicketFilter, PageRequest);

pub(crate) fn list_tickets(request: pb::ListTicketsRequest) -> Result<ListedTickets, Violations> {
    let mut violations = Violations::new();
    let customer_id = violations.take("customer_id", optional(&request.customer_id, CustomerId::parse));
    let named = violations.take("", named_purchase(&request.purchase_id, &request.number, &request.secret));
    let showtime_id = violations.take("showtime_id", optional(&request.showtime_id, ShowtimeId::parse));
    let page = page(&mut violations, request.page_size, request.page_token);
    let filters = [&request.customer_id, &request.purchase_id, &request.showtime_id, &request.number];
    if filters.into_iter().all(String::is_empty) {
        violations.add("customer_id", "one of customer_id, purchase_id, number and showtime_id is required");
    }
    let ids = named.zip(customer_id).zip(showtime_id);
    let which = ids.map(|((named, customer_id), showtime_id)| {
        (named, TicketFilter { customer_id, purchase_id: None, showtime_id }, page)
    });
    finish(violations, which)
}

pub(crate) fn ticket_code(
    request: &pb::GetTicketCodeRequest,
) -> Result<((TicketId, Option<CustomerId>), CodeFormat), Violations> {
    let mut violations = Violations::new();
    let which = violations.take("", ticket_ref(&request.ticket_id, &request.customer_id));
    let format = match request.format() {
        pb::CodeFormat::Svg => Some(CodeFormat::Svg),
        pb::CodeFormat::Png => Some(CodeFormat::Png),
        pb::CodeFormat::Text => Some(CodeFormat::Text),
        pb::CodeFormat::Unspecified => {
            violations.add("format", "must be SVG, PNG or TEXT");
            None
        }
    };
    finish(violations, which.zip(format))
}

pub(crate) fn ticket_page(request: &pb::GetTicketPageRequest) -> Result<(ToPrint, Option<CustomerId>), Violations> {
    let mut violations = Violations::new();
    let named = violations.take("", named_purchase(&request.purchase_id, &request.number, &request.secret));
    let ticket_id = violations.take("ticket_id", optional(&request.ticket_id, TicketId::parse));
    let customer_id = violations.take("customer_id", optional(&request.customer_id, CustomerId::parse));
    let ways =
        [("purchase_id", request.purchase_id.as_str()), ("number", &request.number), ("ticket_id", &request.ticket_id)];
    if ways.iter().filter(|(_, given)| !given.is_empty()).count() != 1 {
        for (field, _) in ways {
            violations.add(field, "exactly one of purchase_id, number and ticket_id is required");
        }
    }
    let which = named.zip(ticket_id);
    let which = which.and_then(|(named, id)| named.map(ToPrint::Purchase).or(id.map(ToPrint::Ticket)));
    finish(violations, which.zip(customer_id))
}

/// What a door shows: the code or the number, the showtime, and its device.
type AtDoor = (Shown, ShowtimeId, String);

pub(crate) fn validate_ticket(request: pb::ValidateTicketRequest) -> Result<AtDoor, Violations> {
    let mut violations = Violations::new();
    let shown = violations.take("", shown(request.code, request.number));
    let showtime_id = violations.take("showtime_id", ShowtimeId::parse(&request.showtime_id));
    violations.take("device", check_device(&request.device));
    finish(violations, shown.zip(showtime_id).map(|(shown, showtime_id)| (shown, showtime_id, request.device)))
}

/// A use: what is shown where, the nonce, and the number of tickets.
type Use = (AtDoor, String, u32);

pub(crate) fn use_ticket(request: pb::UseTicketRequest) -> Result<Use, Violations> {
    let mut violations = Violations::new();
    let shown = violations.take("", shown(request.code, request.number));
    let showtime_id = violations.take("showtime_id", ShowtimeId::parse(&request.showtime_id));
    violations.take("device", check_device(&request.device));
    violations.take("nonce", check_device(&request.nonce));
    let count = u32::try_from(request.count).map_err(|_| Violations::one("", "must not be negative"));
    let count = violations.take("count", count);
    let (device, nonce) = (request.device, request.nonce);
    let all = shown.zip(showtime_id).zip(count);
    finish(violations, all.map(|((shown, showtime_id), count)| ((shown, showtime_id, device), nonce, count)))
}

fn shown(code: String, number: String) -> Result<Shown, Violations> {
    match code_or_number(code, number)? {
        ScanText::Code(code) => Ok(Shown::Code(code)),
        ScanText::Number(number) => {
            let mut violations = Violations::new();
            let number = violations.take("number", TicketNumber::parse(&number));
            finish(violations, number.map(Shown::Number))
        }
    }
}

/// Reads which of the two fields is set.
pub(super) fn code_or_number(code: String, number: String) -> Result<ScanText, Violations> {
    match (code.is_empty(), number.is_empty()) {
        (false, true) => Ok(ScanText::Code(code)),
        (true, false) => Ok(ScanText::Number(number)),
        _ => {
            let mut violations = Violations::one("code", "either code or number is required");
            violations.add("number", "either code or number is required");
            Err(violations)
        }
    }
}

pub(super) fn state(state: TicketState) -> pb::TicketState {
    match state {
        TicketState::Issued => pb::TicketState::Issued,
        TicketState::Unpaid | TicketState::Blocked => pb::TicketState::Blocked,
        TicketState::Used => pb::TicketState::Used,
        TicketState::Voided | TicketState::Exchanged => pb::TicketState::Voided,
        TicketState::Refunded => pb::TicketState::Refunded,
    }
}

pub(super) fn ticket_type(plan: &ShowtimePlan, ticket: &Ticket) -> String {
    let ticket_type = plan.facts.prices.ticket_types.get(usize::from(ticket.ticket_type));
    ticket_type.map(|one| one.code.clone()).unwrap_or_default()
}

pub(super) fn showtime(plan: &ShowtimePlan) -> pb::TicketShowtime {
    let facts = &plan.facts;
    pb::TicketShowtime {
        showtime_id: facts.showtime_id.to_string(),
        movie_title: facts.movie.value.title.clone(),
        cinema: facts.auditorium.cinema.clone(),
        auditorium: facts.auditorium.name.clone(),
        start_time: Some(timestamp(facts.start_time)),
        end_time: Some(timestamp(facts.end_time)),
        time_zone: facts.auditorium.time_zone.name().to_owned(),
    }
}

pub(crate) fn ticket(TicketView { ticket, plan }: &TicketView) -> pb::Ticket {
    pb::Ticket {
        ticket_id: ticket.ticket_id.to_string(),
        number: ticket.number.to_string(),
        purchase_id: ticket.purchase_id.to_string(),
        reservation_id: ticket.reservation_id.to_string(),
        payment_id: ticket.payment_id.to_string(),
        showtime: Some(showtime(plan)),
        seat: Some(seat(ticket.seat_name)),
        ticket_type: ticket_type(plan, ticket),
        price: Some(money(ticket.price)),
        state: state(ticket.state).into(),
        code: ticket.code.to_text(),
        issue_time: Some(timestamp(ticket.issue_time)),
        use_time: ticket.used.as_ref().map(|used| timestamp(used.time)),
        use_device: ticket.used.as_ref().map(|used| used.device.clone()).unwrap_or_default(),
    }
}

pub(crate) fn used_tickets(used: &UsedTickets) -> pb::UseTicketResponse {
    let (first, tickets) = match used {
        UsedTickets::Shown(used) => (Some(ticket(used)), Vec::new()),
        UsedTickets::OfPurchase(used) => (used.first().map(ticket), used.iter().map(ticket).collect()),
    };
    pb::UseTicketResponse { ticket: first, admitted: true, tickets }
}

pub(super) fn flaw(why: WhyNot) -> pb::TicketFlaw {
    match why {
        WhyNot::NotGenuine => pb::TicketFlaw::NotGenuine,
        WhyNot::WrongShowtime => pb::TicketFlaw::WrongShowtime,
        WhyNot::Voided => pb::TicketFlaw::Voided,
        WhyNot::Refunded => pb::TicketFlaw::Refunded,
        WhyNot::Blocked => pb::TicketFlaw::Blocked,
        WhyNot::TooEarly => pb::TicketFlaw::TooEarly,
        WhyNot::TooLate => pb::TicketFlaw::TooLate,
        WhyNot::Used => pb::TicketFlaw::Used,
    }
}

pub(crate) fn validated_ticket(validated: &ValidatedTickets) -> pb::ValidateTicketResponse {
    let ValidatedTickets { first, of_purchase } = validated;
    let Validated { ticket: found, why } = first;
    pb::ValidateTicketResponse {
        valid: why.is_empty(),
        why: why.iter().map(|why| flaw(*why).into()).collect(),
        ticket: found.as_ref().map(ticket),
        tickets: of_purchase.iter().map(ticket).collect(),
    }
}

pub(crate) fn signing_key(key: &StoredKey) -> pb::SigningKey {
    pb::SigningKey {
        key_id: i32::from(key.key_id),
        public_key: key.public_key.clone(),
        create_time: Some(timestamp(key.create_time)),
        retire_time: key.retire_time.map(timestamp),
    }
}

//! The contract, read from its descriptors: every method, and a valid request for each.

use boxoffice::pb::{
    self,
    boxoffice::v1::{
        BlockReason, BlockSeatsRequest, CancelReservationRequest, CancelShowtimeRequest, CodeFormat,
        ConfirmReservationRequest, ContinuePurchaseRequest, CreateAuditoriumRequest, CreateShowtimeRequest,
        DropDeadLettersRequest, ExchangeSeatsRequest, GetAuditoriumRequest, GetCashUpRequest, GetDoorListRequest,
        GetHoldConversionRequest, GetMovieRequest, GetOccupancyRequest, GetPurchaseRequest, GetReservationRequest,
        GetSalesRequest, GetSeatMapRequest, GetShowtimeRequest, GetTicketByNumberRequest, GetTicketCodeRequest,
        GetTicketPageRequest, GetTicketRequest, Layout, ListAuditoriumsRequest, ListDeadLettersRequest,
        ListPaymentsRequest, ListPurchasesRequest, ListReservationsRequest, ListSeatBlocksRequest,
        ListShowtimesRequest, ListStuckPurchasesRequest, ListTicketsRequest, PaymentChoice, PaymentMethod,
        PurchaseOutcome, PurchaseState, PurchaseTicketsRequest, RefundOutcome, RefundPaymentRequest,
        ReleaseSeatsRequest, ReportDay, ReservationState, ReserveSeatsRequest, ResumePurchaseRequest,
        RetireSigningKeyRequest, Row, SalesGrouping, Scan, SearchMoviesRequest, Seat, SettlePurchaseRequest,
        SettleRefundRequest, ShowtimeState, SubscribeEventsRequest, Tender, UnblockSeatsRequest, UploadScansRequest,
        UseTicketRequest, ValidateTicketRequest, WatchPurchaseRequest, WatchSeatMapRequest, drop_dead_letters_request,
        subscribe_events_request::Start,
    },
};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};

use super::requests::{
    INCEPTION, euros, in_hours, new_auditorium, new_showtime, request_id, seconds, three_types, tickets, timestamp,
};

pub(crate) fn pool() -> DescriptorPool {
    DescriptorPool::decode(pb::DESCRIPTORS).expect("the descriptors are valid")
}

/// Returns every method of the services of `boxoffice.v1`.
pub(crate) fn methods(pool: &DescriptorPool) -> Vec<MethodDescriptor> {
    let services = pool.services().filter(|service| service.package_name() == "boxoffice.v1");
    services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// The path of a method, such as `/boxoffice.v1.Movies/GetMovie`.
pub(crate) fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// A valid request with every field set.
pub(crate) fn good_request(descriptor: &MessageDescriptor) -> DynamicMessage {
    let id = request_id;
    let bytes = match descriptor.name() {
        "CreateAuditoriumRequest" => {
            let row = |label: &str, numbers: &[i32]| Row {
                label: label.to_owned(),
                places: "ss_a.c".to_owned(),
                numbers: numbers.to_vec(),
            };
            let layout = Layout { rows: vec![row("A", &[4, 3, 2, 1]), row("B", &[])] };
            CreateAuditoriumRequest { layout: Some(layout), request_id: id(), ..new_auditorium() }.encode_to_vec()
        }
        "GetAuditoriumRequest" => GetAuditoriumRequest { auditorium_id: id() }.encode_to_vec(),
        "ListAuditoriumsRequest" => {
            ListAuditoriumsRequest { cinema: "Grand".to_owned(), page_size: 1, page_token: String::new() }
                .encode_to_vec()
        }
        "GetMovieRequest" => GetMovieRequest { movie_id: INCEPTION.to_owned() }.encode_to_vec(),
        "SearchMoviesRequest" => {
            SearchMoviesRequest { text: "in".to_owned(), page_size: 1, page_token: String::new() }.encode_to_vec()
        }
        "CreateShowtimeRequest" => {
            let request = new_showtime(&id(), in_hours(0));
            CreateShowtimeRequest { hold_duration: Some(seconds(60)), request_id: id(), ..request }.encode_to_vec()
        }
        "GetShowtimeRequest" => {
            GetShowtimeRequest { showtime_id: id(), at_least_revision: 1, include_sales: true }.encode_to_vec()
        }
        "ListShowtimesRequest" => ListShowtimesRequest {
            auditorium_id: id(),
            movie_id: INCEPTION.to_owned(),
            start_after: Some(timestamp(in_hours(0))),
            start_before: Some(timestamp(in_hours(1))),
            local_date: "2027-02-28".to_owned(),
            page_size: 1,
            page_token: String::new(),
            include_cancelled: true,
            cinema: "Grand".to_owned(),
            states: vec![ShowtimeState::Scheduled.into()],
        }
        .encode_to_vec(),
        "CancelShowtimeRequest" => {
            CancelShowtimeRequest { showtime_id: id(), request_id: id(), force: false, expected_revision: 1 }
                .encode_to_vec()
        }
        "GetOccupancyRequest" | "GetSalesRequest" | "GetHoldConversionRequest" => {
            good_request_for_reports(descriptor.name())
        }
        name => good_request_for_seats(name),
    };
    DynamicMessage::decode(descriptor.clone(), &*bytes).expect("what was encoded decodes")
}

fn good_request_for_reports(name: &str) -> Vec<u8> {
    let (from_date, to_date) = ("2027-02-27".to_owned(), "2027-02-28".to_owned());
    let (cinema, movie_id) = ("Grand".to_owned(), INCEPTION.to_owned());
    let (day, page_token) = (ReportDay::Showing.into(), String::new());
    match name {
        "GetOccupancyRequest" => GetOccupancyRequest {
            showtime_id: request_id(),
            auditorium_id: request_id(),
            cinema,
            movie_id,
            from_date,
            to_date,
            include_cancelled: true,
            page_size: 1,
            page_token,
        }
        .encode_to_vec(),
        "GetSalesRequest" => {
            let group_by = SalesGrouping::Movie.into();
            GetSalesRequest { group_by, day, from_date, to_date, cinema, movie_id, page_size: 1, page_token }
                .encode_to_vec()
        }
        _ => GetHoldConversionRequest { day, from_date, to_date, cinema, movie_id }.encode_to_vec(),
    }
}

/// A valid request with this field, where a request has it or another one.
pub(crate) fn good_request_with(descriptor: &MessageDescriptor, field: &str) -> DynamicMessage {
    let mut request = good_request(descriptor);
    if (descriptor.name(), field) == ("CreateShowtimeRequest", "price_list") {
        let list = CreateShowtimeRequest { price_list: Some(three_types()), ..CreateShowtimeRequest::default() };
        request.clear_field_by_name("price");
        request.merge(&list.encode_to_vec()[..]).expect("it is of this type");
    }
    // The hold of a reservation is bought without a showtime, and seats without a reservation.
    if (descriptor.name(), field) == ("PurchaseTicketsRequest", "showtime_id") {
        let of_hold = PurchaseTicketsRequest { reservation_id: request_id(), ..PurchaseTicketsRequest::default() };
        for field in ["showtime_id", "seats", "ticket_types"] {
            request.clear_field_by_name(field);
        }
        request.merge(&of_hold.encode_to_vec()[..]).expect("it is of this type");
    }
    if (descriptor.name(), field) == ("RefundPaymentRequest", "seats") {
        let seats = RefundPaymentRequest { seats: two_seats(), ..RefundPaymentRequest::default() };
        request.clear_field_by_name("amount");
        request.merge(&seats.encode_to_vec()[..]).expect("it is of this type");
    }
    request
}

fn good_request_for_seats(name: &str) -> Vec<u8> {
    let id = request_id;
    match name {
        "ReserveSeatsRequest" => {
            // Every field except `seat_count`, because a request names either seats or their number.
            let (showtime_id, request_id, customer_id) = (id(), id(), "ada".to_owned());
            ReserveSeatsRequest {
                showtime_id,
                seats: two_seats(),
                seat_count: 0,
                customer_id,
                request_id,
                validate_only: true,
                ticket_types: tickets("adult 1 child 1"),
                accessible: true,
                from_block: true,
            }
            .encode_to_vec()
        }
        "ConfirmReservationRequest" => {
            let tender = Some(Tender { method: "cash".to_owned(), transaction_id: "till 7".to_owned() });
            let (reservation_id, request_id, customer_id) = (id(), id(), "ada".to_owned());
            let till = "till 7".to_owned();
            ConfirmReservationRequest { reservation_id, request_id, customer_id, tender, late: true, till }
                .encode_to_vec()
        }
        "ReleaseSeatsRequest" => {
            let (reservation_id, request_id, reason) = (id(), id(), "the projector failed".to_owned());
            let till = "till 7".to_owned();
            ReleaseSeatsRequest { reservation_id, seats: two_seats(), reason, request_id, till }.encode_to_vec()
        }
        "ExchangeSeatsRequest" => {
            let (reservation_id, request_id, customer_id) = (id(), id(), "ada".to_owned());
            ExchangeSeatsRequest { reservation_id, seats: two_seats(), request_id, customer_id }.encode_to_vec()
        }
        // Both messages have the same fields.
        "CancelReservationRequest" | "ExtendReservationRequest" => {
            let (reservation_id, request_id, customer_id) = (id(), id(), "ada".to_owned());
            CancelReservationRequest { reservation_id, request_id, customer_id }.encode_to_vec()
        }
        "GetReservationRequest" => {
            GetReservationRequest { reservation_id: id(), customer_id: "ada".to_owned() }.encode_to_vec()
        }
        "ListReservationsRequest" => ListReservationsRequest {
            customer_id: "ada".to_owned(),
            showtime_id: id(),
            state: ReservationState::Held.into(),
            page_size: 1,
            page_token: String::new(),
            states: vec![ReservationState::Confirmed.into()],
            created_after: Some(timestamp(in_hours(0))),
            created_before: Some(timestamp(in_hours(1))),
            refund_due: true,
        }
        .encode_to_vec(),
        name => good_request_for_seat_maps(name),
    }
}

fn good_request_for_seat_maps(name: &str) -> Vec<u8> {
    let id = request_id;
    match name {
        "GetSeatMapRequest" => {
            GetSeatMapRequest { showtime_id: id(), at_least_revision: 1, include_seats: true }.encode_to_vec()
        }
        "WatchSeatMapRequest" => {
            WatchSeatMapRequest { showtime_id: id(), from_revision: 1, epoch: "e".to_owned() }.encode_to_vec()
        }
        "BlockSeatsRequest" => {
            let (showtime_id, request_id, reason) = (id(), id(), BlockReason::House.into());
            BlockSeatsRequest { showtime_id, seats: two_seats(), reason, note: "the band".to_owned(), request_id }
                .encode_to_vec()
        }
        "UnblockSeatsRequest" => {
            UnblockSeatsRequest { showtime_id: id(), seats: two_seats(), request_id: id() }.encode_to_vec()
        }
        "ListSeatBlocksRequest" => ListSeatBlocksRequest { showtime_id: id() }.encode_to_vec(),
        "GetRulesRequest" | "GetEventFeedRequest" => Vec::new(),
        name => good_request_for_purchases(name),
    }
}

fn good_request_for_purchases(name: &str) -> Vec<u8> {
    let id = request_id;
    let (customer_id, page_token) = ("ada".to_owned(), String::new());
    let payment = Some(PaymentChoice {
        method: PaymentMethod::CreditCard.into(),
        token: "tok_ok".to_owned(),
        ..PaymentChoice::default()
    });
    match name {
        // A request names a reservation, seats, or their number.
        "PurchaseTicketsRequest" => PurchaseTicketsRequest {
            reservation_id: String::new(),
            showtime_id: id(),
            seats: two_seats(),
            seat_count: 0,
            ticket_types: tickets("adult 1 child 1"),
            customer_id,
            payment,
            return_uri: "https://cinema.example/back".to_owned(),
            request_id: id(),
        }
        .encode_to_vec(),
        // All of these messages have the same fields.
        "WatchPurchaseRequest" | "CancelPurchaseRequest" | "GetPaymentRequest" | "GetReceiptRequest" => {
            WatchPurchaseRequest { purchase_id: id(), customer_id }.encode_to_vec()
        }
        // A request names the id, or the number and the secret.
        "GetPurchaseRequest" => {
            let (number, secret) = number_and_secret();
            GetPurchaseRequest { purchase_id: String::new(), customer_id, number, secret }.encode_to_vec()
        }
        "ContinuePurchaseRequest" => {
            ContinuePurchaseRequest { purchase_id: id(), customer_id, payment }.encode_to_vec()
        }
        "ListPurchasesRequest" => {
            let states = vec![PurchaseState::Stuck.into()];
            ListPurchasesRequest { customer_id, showtime_id: id(), states, page_size: 1, page_token }.encode_to_vec()
        }
        "ListPaymentsRequest" => {
            ListPaymentsRequest { customer_id, purchase_id: id(), page_size: 1, page_token }.encode_to_vec()
        }
        // A request names seats, an amount, or neither.
        "RefundPaymentRequest" => RefundPaymentRequest {
            payment_id: id(),
            seats: Vec::new(),
            amount: Some(euros(5, 500_000_000)),
            reason: "the projector failed".to_owned(),
            request_id: id(),
            till: String::new(),
            force: true,
        }
        .encode_to_vec(),
        "GetCashUpRequest" => {
            GetCashUpRequest { till: "till 7".to_owned(), local_date: "2026-05-01".to_owned() }.encode_to_vec()
        }
        name => good_request_for_tickets(name),
    }
}

fn good_request_for_tickets(name: &str) -> Vec<u8> {
    let (id, customer_id) = (request_id, "ada".to_owned());
    let device = "door 1".to_owned();
    match name {
        "GetTicketRequest" => GetTicketRequest { ticket_id: id(), customer_id }.encode_to_vec(),
        "GetTicketByNumberRequest" => GetTicketByNumberRequest { number: "TKT-7ZK4M-0QX3B".to_owned() }.encode_to_vec(),
        "ListTicketsRequest" => {
            let (purchase_id, showtime_id, page_token) = (String::new(), id(), String::new());
            let (number, secret) = number_and_secret();
            ListTicketsRequest { customer_id, purchase_id, showtime_id, page_size: 1, page_token, number, secret }
                .encode_to_vec()
        }
        "GetTicketCodeRequest" => {
            GetTicketCodeRequest { ticket_id: id(), format: CodeFormat::Svg.into(), customer_id }.encode_to_vec()
        }
        // A request names the purchase by its id or by its number and its secret, or a ticket.
        "GetTicketPageRequest" => {
            let (number, secret) = number_and_secret();
            GetTicketPageRequest { customer_id, number, secret, ..GetTicketPageRequest::default() }.encode_to_vec()
        }
        // A request has the code or the number.
        "ValidateTicketRequest" => ValidateTicketRequest {
            code: String::new(),
            number: "TKT-7ZK4M-0QX3B".to_owned(),
            showtime_id: id(),
            device,
        }
        .encode_to_vec(),
        "UseTicketRequest" => UseTicketRequest {
            code: String::new(),
            number: "TKT-7ZK4M-0QX3B".to_owned(),
            showtime_id: id(),
            device,
            nonce: "1".to_owned(),
            count: 0,
        }
        .encode_to_vec(),
        "GetDoorListRequest" | "WatchDoorRequest" => GetDoorListRequest { showtime_id: id() }.encode_to_vec(),
        // A scan has the code or the number.
        "UploadScansRequest" => {
            let scan_time = Some(timestamp(in_hours(1)));
            let (number, nonce) = ("TKT-7ZK4M-0QX3B".to_owned(), "1".to_owned());
            let scans = vec![Scan { code: String::new(), number, nonce, scan_time, count: 0 }];
            UploadScansRequest { device, scans }.encode_to_vec()
        }
        "ListSigningKeysRequest" => Vec::new(),
        name => good_request_for_events(name),
    }
}

fn good_request_for_events(name: &str) -> Vec<u8> {
    let id = request_id;
    match name {
        "SubscribeEventsRequest" => SubscribeEventsRequest {
            start: Some(Start::ResumeToken("a".to_owned())),
            types: vec!["ReservationConfirmed".to_owned()],
            showtime_ids: vec![id()],
            cinemas: vec!["Grand Palace".to_owned()],
        }
        .encode_to_vec(),
        "ListDeadLettersRequest" => {
            let (sink, page_token) = ("nats".to_owned(), String::new());
            ListDeadLettersRequest { sink, dead_only: true, page_size: 1, page_token }.encode_to_vec()
        }
        // Both messages have the same fields.
        "RedriveDeadLettersRequest" | "DropDeadLettersRequest" => {
            let dead_letters = Some(drop_dead_letters_request::DeadLetters::AllOfSink("nats".to_owned()));
            DropDeadLettersRequest { dead_letters }.encode_to_vec()
        }
        // Those of refunds have the same fields.
        "ListStuckPurchasesRequest" | "ListStuckRefundsRequest" => {
            ListStuckPurchasesRequest { page_size: 1, page_token: String::new() }.encode_to_vec()
        }
        "ResumePurchaseRequest" | "ResumeRefundRequest" => {
            ResumePurchaseRequest { purchase_id: id(), note: "it was repaired".to_owned() }.encode_to_vec()
        }
        "SettlePurchaseRequest" => {
            let (outcome, note) = (PurchaseOutcome::Compensated.into(), "nothing was taken".to_owned());
            SettlePurchaseRequest { purchase_id: id(), outcome, note }.encode_to_vec()
        }
        "SettleRefundRequest" => {
            let (outcome, note) = (RefundOutcome::PaidOut.into(), "in cash".to_owned());
            SettleRefundRequest { refund_id: id(), outcome, note, till: "till 7".to_owned() }.encode_to_vec()
        }
        "RotateSigningKeyRequest" => Vec::new(),
        "RetireSigningKeyRequest" => RetireSigningKeyRequest { key_id: 1, force: true }.encode_to_vec(),
        other => panic!("add a valid {other} here"),
    }
}

/// A number and a secret as those of a purchase.
fn number_and_secret() -> (String, String) {
    ("PUR-7ZK4M-0QX3B".to_owned(), "7ZK4M-0QX3B-NF1AS-SAK6S".to_owned())
}

fn two_seats() -> Vec<Seat> {
    [1, 2].map(|number| Seat { row: "A".to_owned(), number }).to_vec()
}

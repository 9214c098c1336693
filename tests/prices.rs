//! Price lists, ticket types, and the line of each seat of a reservation.

use boxoffice::pb::{
    boxoffice::{
        events::v1::event::Payload,
        v1::{
            CreateShowtimeRequest, GetReservationRequest, Line, ListReservationsRequest, PriceList, Reservation,
            ReserveSeatsRequest, Showtime, SubscribeEventsRequest, Supplement,
        },
    },
    google::r#type::Money,
};
use tonic::Code;

use crate::harness::{
    Server, World, assert_refused, assert_violates, euros,
    events::{subscribe, until},
    in_hours, new_showtime, request_id,
    requests::{money, three_types, ticket_type, tickets, two_types},
    seats::{best, confirm, name, reserve, showtime, showtime_with, these},
};

on_both_stores!(
    every_seat_has_a_line_and_their_sum_is_the_total,
    tickets_that_do_not_fit_are_refused_by_name,
    a_price_list_is_refused_for_every_flaw_at_its_field,
    a_repeated_request_has_the_same_tickets,
    a_showtime_with_a_price_has_one_ticket_type,
    taxes_are_rounded_in_currencies_of_any_decimals,
);

/// A showtime with this list. In row B the last two seats are premium.
async fn priced(server: &Server, list: PriceList) -> Showtime {
    let with_list = |request| CreateShowtimeRequest { price: None, price_list: Some(list), ..request };
    showtime_with(server, &[("A", "sssss"), ("B", "ssspp")], in_hours(0), with_list).await
}

fn with_tickets(request: ReserveSeatsRequest, text: &str) -> ReserveSeatsRequest {
    ReserveSeatsRequest { ticket_types: tickets(text), ..request }
}

/// The seat, the ticket type, and the price, supplement, fee, tax and total in cents.
fn read(line: &Line) -> (String, &str, [i64; 5]) {
    let amounts = [&line.price, &line.supplement, &line.fee, &line.tax, &line.total];
    let cents = |money: &Option<Money>| {
        money.as_ref().map_or(0, |money| money.units * 100 + i64::from(money.nanos) / 10_000_000)
    };
    (name(line.seat.as_ref().expect("a seat")), &line.ticket_type, amounts.map(cents))
}

async fn found(server: &Server, made: &Reservation) -> Reservation {
    let request = GetReservationRequest { reservation_id: made.reservation_id.clone(), ..Default::default() };
    let answer = server.reservations().get_reservation(request).await.expect("it is there");
    answer.into_inner().reservation.expect("the answer has the reservation")
}

async fn every_seat_has_a_line_and_their_sum_is_the_total(world: World) {
    let showtime = priced(&world, three_types()).await;
    assert_eq!(showtime.price_list, Some(three_types()));
    assert_eq!(showtime.price, Some(euros(12, 0)));
    // Tickets are given from left to right, in whatever order seats are named.
    let request = with_tickets(these(&showtime, "ada", "B5 B3 B4"), "child 2 adult 1");
    let checked = ReserveSeatsRequest { validate_only: true, ..request.clone() };
    let checked = reserve(&world, checked).await.expect("the seats are free");
    let made = reserve(&world, request).await.expect("the seats are free");
    let lines: Vec<_> = made.lines.iter().map(read).collect();
    let expected = [
        ("B3".to_owned(), "child", [800, 0, 75, 152, 875]),
        ("B4".to_owned(), "child", [800, 350, 75, 213, 1_225]),
        ("B5".to_owned(), "adult", [1_200, 350, 75, 282, 1_625]),
    ];
    assert_eq!(lines, expected);
    assert_eq!(made.total_price, Some(euros(37, 250_000_000)));
    assert_eq!((checked.lines, checked.total_price), (made.lines.clone(), made.total_price.clone()));
    let sold = confirm(&world, &made).await.expect("it is held");
    assert_eq!((&sold.lines, &sold.total_price), (&made.lines, &made.total_price));
    let mut events = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let kind = "ReservationConfirmed";
    let confirmed = until(&mut events, &showtime.showtime_id, sold.revision, kind).await.pop().expect("the last one");
    let Some(Payload::ReservationConfirmed(confirmed)) = confirmed.data.and_then(|event| event.payload) else {
        panic!("another event");
    };
    let in_event = confirmed.lines.iter().map(|line| (line.ticket_type.as_str(), line.total.clone(), line.tax.clone()));
    let in_answer = made.lines.iter().map(|line| (line.ticket_type.as_str(), line.total.clone(), line.tax.clone()));
    assert!(in_event.eq(in_answer), "{confirmed:?}");
    // Without tickets all seats are of the first type, and what is read from the database is the same.
    let adults = reserve(&world, best(&showtime, "bob", 2)).await.expect("seats are free");
    assert_eq!(adults.lines.iter().map(|line| line.ticket_type.as_str()).collect::<Vec<_>>(), ["adult", "adult"]);
    let server = world.restart().await;
    // The newest first.
    let lines_of_both = [adults.lines.clone(), sold.lines.clone()];
    for made in [sold, adults] {
        let found = found(&server, &made).await;
        assert_eq!((found.lines, found.total_price), (made.lines, made.total_price));
    }
    let request = ListReservationsRequest { showtime_id: showtime.showtime_id, ..Default::default() };
    let listed = server.reservations().list_reservations(request).await.expect("a list").into_inner().reservations;
    let listed: Vec<_> = listed.into_iter().map(|one| one.lines).collect();
    assert_eq!(listed, lines_of_both);
}

async fn tickets_that_do_not_fit_are_refused_by_name(world: World) {
    let showtime = priced(&world, three_types()).await;
    let refused =
        async |request, text| reserve(&world, with_tickets(request, text)).await.expect_err("the tickets do not fit");
    let status = refused(these(&showtime, "ada", "A1 A2"), "adult 1 student 1").await;
    assert_refused(&status, Code::InvalidArgument, "TICKET_TYPE_UNKNOWN");
    assert!(status.message().contains("adult, child, senior"), "{status:?}");
    for text in ["adult 1", "adult 1 child 2"] {
        let status = refused(these(&showtime, "ada", "A1 A2"), text).await;
        assert_refused(&status, Code::InvalidArgument, "TICKET_TYPES_DIFFER");
    }
    let status = refused(best(&showtime, "ada", 3), "child 2").await;
    assert_refused(&status, Code::InvalidArgument, "TICKET_TYPES_DIFFER");
    let status = refused(these(&showtime, "ada", "A1"), "Adult 1").await;
    assert_violates(&status, &["ticket_types[0].code"]);
    let status = refused(these(&showtime, "ada", "A1"), "adult 0").await;
    assert_violates(&status, &["ticket_types[0].count"]);
    // Seats that others have are not looked at before the tickets.
    reserve(&world, these(&showtime, "bob", "A1 A2")).await.expect("the seats are free");
    let status = refused(these(&showtime, "ada", "A1 A2"), "adult 1").await;
    assert_refused(&status, Code::InvalidArgument, "TICKET_TYPES_DIFFER");
}

async fn a_price_list_is_refused_for_every_flaw_at_its_field(world: World) {
    let auditorium = priced(&world, three_types()).await.auditorium.expect("an auditorium").auditorium_id;
    let create = async |price, price_list| {
        let request = new_showtime(&auditorium, in_hours(5));
        world.showtimes().create_showtime(CreateShowtimeRequest { price, price_list, ..request }).await
    };
    let refused = async |list| create(None, Some(list)).await.expect_err("the list has a flaw");
    assert_violates(&create(None, None).await.expect_err("no price"), &["price", "price_list"]);
    assert_violates(&create(Some(euros(9, 0)), Some(three_types())).await.expect_err("two"), &["price", "price_list"]);
    assert_violates(&refused(PriceList::default()).await, &["price_list.ticket_types"]);
    let mut flawed = three_types();
    "Adult".clone_into(&mut flawed.ticket_types[0].code);
    flawed.ticket_types[1].name = String::new();
    flawed.ticket_types[2].price = None;
    flawed.supplements[0].amount = Some(money("JPY", 100, 0));
    flawed.supplements.push(Supplement { kind: 9, amount: Some(euros(-1, 0)) });
    flawed.fee = Some(euros(0, 1));
    flawed.tax_basis_points = 10_001;
    let paths = [
        "price_list.ticket_types[0].code",
        "price_list.ticket_types[1].name",
        "price_list.ticket_types[2].price",
        "price_list.supplements[0].amount.currency_code",
        "price_list.supplements[1].kind",
        "price_list.supplements[1].amount.units",
        "price_list.fee.nanos",
        "price_list.tax_basis_points",
    ];
    assert_violates(&refused(flawed).await, &paths);
    let mut twice = three_types();
    "adult".clone_into(&mut twice.ticket_types[2].code);
    let unknown = Supplement { kind: 0, ..twice.supplements[0].clone() };
    twice.supplements.extend([unknown, twice.supplements[0].clone()]);
    let paths = ["ticket_types[2].code", "supplements[1].kind", "supplements[2].kind"];
    let paths = paths.map(|path| format!("price_list.{path}"));
    let paths = paths.each_ref().map(String::as_str);
    assert_violates(&refused(twice).await, &paths);
    let many = PriceList { ticket_types: vec![ticket_type("a", "A", euros(1, 0)); 21], ..three_types() };
    assert_violates(&refused(many).await, &["price_list.ticket_types*"]);
    create(None, Some(three_types())).await.expect("the list is valid");
}

async fn a_repeated_request_has_the_same_tickets(world: World) {
    let showtime = priced(&world, three_types()).await;
    let request = ReserveSeatsRequest { request_id: request_id(), ..these(&showtime, "ada", "A1 A2") };
    let request = with_tickets(request, "child 1 adult 1");
    let first = reserve(&world, request.clone()).await.expect("the seats are free");
    let again = reserve(&world, request.clone()).await.expect("it is repeated");
    assert_eq!((again.reservation_id, again.lines), (first.reservation_id, first.lines));
    let other = reserve(&world, with_tickets(request, "adult 2")).await.expect_err("the content differs");
    assert_refused(&other, Code::InvalidArgument, "REQUEST_ID_REUSED");
}

async fn a_showtime_with_a_price_has_one_ticket_type(world: World) {
    let showtime = showtime(&world).await;
    let standard = ticket_type("standard", "Standard", euros(9, 500_000_000));
    assert_eq!(showtime.price_list, Some(PriceList { ticket_types: vec![standard], ..PriceList::default() }));
    let made = reserve(&world, with_tickets(these(&showtime, "ada", "A1 A2"), "standard 2")).await;
    let made = made.expect("the seats are free");
    let line = |seat: &str| (seat.to_owned(), "standard", [950, 0, 0, 0, 950]);
    assert_eq!(made.lines.iter().map(read).collect::<Vec<_>>(), [line("A1"), line("A2")]);
    assert_eq!(two_types().ticket_types[0].price, showtime.price);
}

async fn taxes_are_rounded_in_currencies_of_any_decimals(world: World) {
    // The price, and the tax of 10 % that it contains.
    let prices = [
        (money("JPY", 1_800, 0), money("JPY", 164, 0)),
        (money("EUR", 9, 990_000_000), money("EUR", 0, 910_000_000)),
        (money("KWD", 3, 125_000_000), money("KWD", 0, 284_000_000)),
    ];
    for (price, tax) in prices {
        let ticket_types = vec![ticket_type("adult", "Adult", price.clone())];
        let showtime =
            priced(&world, PriceList { ticket_types, tax_basis_points: 1_000, ..PriceList::default() }).await;
        let made = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
        assert_eq!((&made.lines[0].tax, &made.lines[0].total), (&Some(tax), &Some(price.clone())));
        assert_eq!(made.total_price, Some(price));
    }
}

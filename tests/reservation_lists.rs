//! `ListReservations`: the reservations of a customer or of a showtime, with their current state.

use boxoffice::pb::boxoffice::v1::{
    CreateShowtimeRequest, ListReservationsRequest, ListReservationsResponse, Reservation, ReservationState, Showtime,
};
use tonic::Status;

use crate::harness::{
    Server, World, assert_violates, eventually, in_hours,
    requests::seconds,
    seats::{HALL, best, cancel, confirm, get, instant, lasting, reserve, showtime, showtime_with, state, these},
    tampered,
};

on_both_stores!(
    with |setup| setup.with("--sweep", "false");
    a_list_is_of_a_customer_or_a_showtime_or_both,
    pages_join_to_the_whole_list_the_newest_first,
    a_state_is_as_of_now,
    several_states_and_a_time_range_are_filters_like_the_others,
    a_list_of_everything_is_refused,
    a_token_is_valid_for_its_own_list_only,
    customer_ids_are_compared_exactly,
);

async fn a_list_is_of_a_customer_or_a_showtime_or_both(world: World) {
    let (one, other) = (showtime(&world).await, showtime(&world).await);
    let mut made = Vec::new();
    for (showtime, customer) in [(&one, "ada"), (&other, "ada"), (&one, "bob"), (&one, "ada")] {
        made.push(reserve(&world, best(showtime, customer, 2)).await.expect("there are free seats"));
    }
    let found = async |filter| -> Vec<usize> {
        let listed = list(&world, filter).await.expect("a list").reservations;
        let index = |one: &Reservation| made.iter().position(|made| made.reservation_id == one.reservation_id);
        listed.iter().map(|one| index(one).expect("the test made the reservation")).collect()
    };
    assert_eq!(found(customers("ada")).await, [3, 1, 0]);
    assert_eq!(found(customers("bob")).await, [2]);
    assert_eq!(found(customers("cyd")).await, [0; 0]);
    assert_eq!(found(showtimes(&one)).await, [3, 2, 0]);
    assert_eq!(found(ListReservationsRequest { customer_id: "ada".to_owned(), ..showtimes(&one) }).await, [3, 0]);
    // A list has all fields of a reservation.
    let listed = list(&world, customers("bob")).await.expect("a list").reservations;
    assert_eq!(listed.into_iter().map(lasting).collect::<Vec<_>>(), [lasting(made[2].clone())]);
}

async fn pages_join_to_the_whole_list_the_newest_first(world: World) {
    let showtimes = [showtime(&world).await, showtime(&world).await];
    for number in 0..14 {
        reserve(&world, best(&showtimes[number % 2], "ada", 1)).await.expect("there are free seats");
    }
    let whole = list(&world, customers("ada")).await.expect("a list").reservations;
    assert_eq!(whole.len(), 14);
    let order = |one: &Reservation| (instant(one.create_time), one.reservation_id.clone());
    assert!(whole.windows(2).all(|pair| order(&pair[0]) > order(&pair[1])), "not the newest first");
    for page_size in [1, 3, 13, 14, 200] {
        let mut joined = Vec::new();
        let mut request = ListReservationsRequest { page_size, ..customers("ada") };
        loop {
            let page = list(&world, request.clone()).await.expect("a page");
            assert!(page.reservations.len() <= usize::try_from(page_size).expect("a size"), "{page:?}");
            joined.extend(page.reservations.into_iter().map(|one| one.reservation_id));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
            // A reservation that is made meanwhile is newer, so it is on no later page.
            reserve(&world, best(&showtimes[0], &request.page_token, 1)).await.expect("there are free seats");
        }
        let ids: Vec<_> = whole.iter().map(|one| one.reservation_id.clone()).collect();
        assert_eq!(joined, ids, "in pages of {page_size}");
    }
}

async fn a_state_is_as_of_now(world: World) {
    let short_hold = |request| CreateShowtimeRequest { hold_duration: Some(seconds(2)), ..request };
    let showtime = showtime_with(&world, &HALL, in_hours(0), short_hold).await;
    let [sold, cancelled, expired] = ["A1", "A2", "A3"];
    let sold = reserve(&world, these(&showtime, "ada", sold)).await.expect("the seat is free");
    confirm(&world, &sold).await.expect("the reservation is held");
    let cancelled = reserve(&world, these(&showtime, "ada", cancelled)).await.expect("the seat is free");
    cancel(&world, &cancelled).await.expect("the reservation is held");
    let expired = reserve(&world, these(&showtime, "ada", expired)).await.expect("the seat is free");
    eventually("the hold has lapsed", async || {
        (state(&world, &expired).await == ReservationState::Expired).then_some(())
    })
    .await;
    // The hold of another showtime is longer.
    let held = reserve(&world, these(&crate::harness::seats::showtime(&world).await, "ada", "A1")).await;
    let held = held.expect("the seat is free");
    for (state, expected) in [
        (ReservationState::Held, vec![&held]),
        (ReservationState::Confirmed, vec![&sold]),
        (ReservationState::Cancelled, vec![&cancelled]),
        // The lapse is not recorded.
        (ReservationState::Expired, vec![&expired]),
        (ReservationState::Unspecified, vec![&held, &expired, &cancelled, &sold]),
    ] {
        let filter = ListReservationsRequest { state: state.into(), ..customers("ada") };
        let found = list(&world, filter).await.expect("a list").reservations;
        let ids = |list: Vec<&Reservation>| list.iter().map(|one| one.reservation_id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(found.iter().collect()), ids(expected), "{state:?}");
        for one in found {
            let single = get(&world, &one).await.expect("it is found");
            assert_eq!(one.time_left.is_some(), one.state() == ReservationState::Held, "{one:?}");
            assert_eq!(lasting(one), lasting(single));
        }
    }
}

async fn several_states_and_a_time_range_are_filters_like_the_others(world: World) {
    let showtime = showtime(&world).await;
    let mut made = Vec::new();
    for seat in ["A1", "A2", "A3"] {
        made.push(reserve(&world, these(&showtime, "ada", seat)).await.expect("the seat is free"));
    }
    confirm(&world, &made[0]).await.expect("the reservation is held");
    cancel(&world, &made[1]).await.expect("the reservation is held");
    let (held, sold, cancelled) = (ReservationState::Held, ReservationState::Confirmed, ReservationState::Cancelled);
    let with_states = |state: ReservationState, states: &[ReservationState]| ListReservationsRequest {
        state: state.into(),
        states: states.iter().map(|state| (*state).into()).collect(),
        ..customers("ada")
    };
    let between = |from: Option<usize>, until: Option<usize>| ListReservationsRequest {
        created_after: from.and_then(|at| made[at].create_time),
        created_before: until.and_then(|at| made[at].create_time),
        ..customers("ada")
    };
    let any = ReservationState::Unspecified;
    for (request, expected) in [
        (with_states(any, &[held, sold]), &[2, 0][..]),
        (with_states(any, &[cancelled]), &[1]),
        (with_states(held, &[cancelled]), &[2, 1]),
        (with_states(any, &[ReservationState::Expired]), &[]),
        (between(Some(1), None), &[2, 1]),
        (between(None, Some(2)), &[1, 0]),
        (between(Some(1), Some(2)), &[1]),
    ] {
        let found = list(&world, request.clone()).await.expect("a list").reservations;
        let index = |one: &Reservation| made.iter().position(|made| made.reservation_id == one.reservation_id);
        let found: Vec<_> = found.iter().filter_map(index).collect();
        assert_eq!(found, expected, "{request:?}");
    }
}

async fn a_list_of_everything_is_refused(world: World) {
    let empty = ListReservationsRequest::default();
    assert_violates(
        &list(&world, empty).await.expect_err("there is neither a customer nor a showtime"),
        &["customer_id"],
    );
    let invalid = ListReservationsRequest {
        customer_id: "x".repeat(129),
        showtime_id: "no".to_owned(),
        state: 9,
        page_size: -1,
        page_token: "x".repeat(513),
        states: vec![0, 9],
        created_after: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
        created_before: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
        refund_due: false,
    };
    let status = list(&world, invalid).await.expect_err("the request is invalid");
    assert_violates(
        &status,
        &[
            "customer_id",
            "showtime_id",
            "state",
            "page_size",
            "page_token",
            "states[0]",
            "states[1]",
            "created_after",
            "created_before",
        ],
    );
}

async fn a_token_is_valid_for_its_own_list_only(world: World) {
    let showtime = showtime(&world).await;
    for _ in 0..2 {
        reserve(&world, best(&showtime, "ada", 1)).await.expect("there are free seats");
    }
    let first = ListReservationsRequest { page_size: 1, ..customers("ada") };
    let token = list(&world, first.clone()).await.expect("a page").next_page_token;
    let next = ListReservationsRequest { page_token: token.clone(), ..first.clone() };
    assert_eq!(list(&world, next.clone()).await.expect("a page").reservations.len(), 1);
    for other in [
        ListReservationsRequest { customer_id: "bob".to_owned(), ..next.clone() },
        ListReservationsRequest { showtime_id: showtime.showtime_id.clone(), ..next.clone() },
        ListReservationsRequest { state: ReservationState::Held.into(), ..next.clone() },
        ListReservationsRequest { page_token: tampered(&token, 3), ..next },
    ] {
        assert_violates(&list(&world, other).await.expect_err("the token is for another list"), &["page_token"]);
    }
}

/// The case and the spaces of a customer id count, and it is not a pattern.
async fn customer_ids_are_compared_exactly(world: World) {
    let showtime = showtime(&world).await;
    let customer_ids = ["ada", "Ada", "ada ", "%", "ada|held", "Jos\u{e9}", "Jose", "'; --", &"x".repeat(128)];
    for customer_id in customer_ids {
        reserve(&world, best(&showtime, customer_id, 1)).await.expect("there are free seats");
    }
    for customer_id in customer_ids {
        let found = list(&world, customers(customer_id)).await.expect("a list").reservations;
        assert_eq!(found.iter().map(|one| &*one.customer_id).collect::<Vec<_>>(), [customer_id]);
    }
    // The ids are compared in NFC: a decomposed letter is the same as a composed one.
    let found = list(&world, customers("Jose\u{301}")).await.expect("a list").reservations;
    assert_eq!(found.iter().map(|one| &*one.customer_id).collect::<Vec<_>>(), ["Jos\u{e9}"]);
    let status = list(&world, customers("ada\u{200b}")).await.expect_err("the id has an invisible character");
    assert_violates(&status, &["customer_id"]);
}

fn customers(customer_id: &str) -> ListReservationsRequest {
    ListReservationsRequest { customer_id: customer_id.to_owned(), ..Default::default() }
}

fn showtimes(showtime: &Showtime) -> ListReservationsRequest {
    ListReservationsRequest { showtime_id: showtime.showtime_id.clone(), ..Default::default() }
}

async fn list(server: &Server, request: ListReservationsRequest) -> Result<ListReservationsResponse, Status> {
    Ok(server.reservations().list_reservations(request).await?.into_inner())
}

//! Lists for doors: all that a door needs without a network, and what changes in them.

use std::time::Duration;

use boxoffice::pb::boxoffice::v1::{
    CancelShowtimeRequest, DoorChanges, DoorList, DoorTicket, GetDoorListRequest, Showtime, TicketState,
    WatchDoorRequest, WatchDoorResponse, WatchSeatMapRequest, showtimes_client::ShowtimesClient,
    tickets_client::TicketsClient, watch_door_response::Event,
};
use chrono::TimeDelta;
use tonic::{Code, Streaming};

use crate::{
    harness::{
        Server, Store, assert_not_found, assert_refused, assert_violates,
        door::{OfflineDoor, door_list},
        eventually, request_id,
        seats::{instant, name},
        server::Setup,
        shop::Shop,
        staff::{exchange, release},
        world::World,
    },
    refunds::{of_these, refund, until_ended},
    tickets::{at_door, bought, client, open_doors, reservation, tickets, use_ticket},
};

in_both_shops!(
    a_door_needs_nothing_but_its_list_and_the_keys,
    a_list_that_is_loaded_anew_has_no_ticket_that_was_voided,
    a_door_sees_what_changes_in_its_list,
    the_list_of_an_unknown_showtime_is_not_found,
);

/// How soon a change must be seen.
const SOON: Duration = Duration::from_secs(20);

/// Each ticket's seat with its state, in the order of the list.
fn states(tickets: &[DoorTicket]) -> Vec<(String, TicketState)> {
    let seat = |ticket: &DoorTicket| name(ticket.seat.as_ref().expect("a ticket has its seat"));
    tickets.iter().map(|ticket| (seat(ticket), ticket.state())).collect()
}

fn of(seat: &str, state: TicketState) -> (String, TicketState) {
    (seat.to_owned(), state)
}

async fn watch(server: &Server, showtime: &Showtime) -> Streaming<WatchDoorResponse> {
    let request = WatchDoorRequest { showtime_id: showtime.showtime_id.clone() };
    client(server).watch_door(request).await.expect("the showtime exists").into_inner()
}

async fn next(watch: &mut Streaming<WatchDoorResponse>) -> Event {
    let message = tokio::time::timeout(SOON, watch.message()).await.expect("a message comes");
    message.expect("the server runs").expect("the watch goes on").event.expect("a message says something")
}

async fn first_list(watch: &mut Streaming<WatchDoorResponse>) -> DoorList {
    match next(watch).await {
        Event::List(list) => list,
        other => panic!("a watch begins with its list: {other:#?}"),
    }
}

/// The changes of these tickets, which may come in several messages.
async fn changes(watch: &mut Streaming<WatchDoorResponse>, count: usize) -> DoorChanges {
    let mut all = DoorChanges::default();
    while all.tickets.len() + all.removed_numbers.len() < count {
        match next(watch).await {
            Event::Changes(changes) => {
                all.tickets.extend(changes.tickets);
                all.removed_numbers.extend(changes.removed_numbers);
            }
            Event::Heartbeat(_) => {}
            Event::List(list) => panic!("only what has changed is sent: {list:#?}"),
        }
    }
    all
}

async fn a_door_needs_nothing_but_its_list_and_the_keys(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let bought = bought(server, &showtime, "A1 A2 A3", "tok_ok").await;
    let made = tickets(server, &bought.purchase_id).await;
    use_ticket(server, at_door(&made[1], &showtime, "1")).await.expect("it is issued");
    let list = door_list(server, &showtime.showtime_id).await;
    let (issued, used) = (TicketState::Issued, TicketState::Used);
    assert_eq!(states(&list.tickets), [of("A1", issued), of("A2", used), of("A3", issued)]);
    for (ticket, listed) in made.iter().zip(&list.tickets) {
        assert_eq!((&ticket.number, &ticket.ticket_type), (&listed.number, &listed.ticket_type));
        assert_eq!(ticket.purchase_id, listed.purchase_id);
    }
    assert_eq!(list.tickets[1].use_device, "door 1");
    assert_eq!(list.showtime, made[0].showtime);
    let door = OfflineDoor::load(server, &showtime.showtime_id, "door 2").await;
    let admitted: Vec<_> = made.iter().map(|ticket| door.admits(&ticket.code)).collect();
    assert_eq!(admitted, [true, false, true]);
    assert!(!door.admits(&made[0].code), "this door has admitted its holder");
    let door = OfflineDoor::load(server, &showtime.showtime_id, "door 4").await;
    let (from, until) = (instant(list.admit_from_time), instant(list.admit_until_time));
    let before_end = until - TimeDelta::milliseconds(1);
    for closed in [from - TimeDelta::milliseconds(1), until] {
        assert_eq!((door.admits_at(&made[0].code, closed), door.admits_at(&bought.code, closed)), (0, 0));
    }
    assert_eq!(door.admits_at(&made[2].code, from), 1);
    assert_eq!(door.admits_at(&bought.code, before_end), 1, "one was used, and one is inside");
    assert_eq!(door.admits_at(&bought.code, before_end), 0);
    let other = open_doors(server).await;
    let door = OfflineDoor::load(server, &other.showtime_id, "door 3").await;
    assert!(!door.admits(&made[0].code), "it is for another showtime");
}

async fn a_list_that_is_loaded_anew_has_no_ticket_that_was_voided(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let bought = bought(server, &showtime, "A1 A2 A3", "tok_ok").await;
    let first = tickets(server, &bought.purchase_id).await;
    exchange(server, reservation(&bought), "A2 A3 A4").await.expect("A4 is free");
    release(server, reservation(&bought), "A4").await.expect("it is sold");
    until_ended(server, &bought, 1).await;
    let door = OfflineDoor::load(server, &showtime.showtime_id, "door 1").await;
    assert!(first.iter().all(|ticket| !door.admits(&ticket.code)), "they were exchanged");
    let made = tickets(server, &bought.purchase_id).await;
    let admitted = made.iter().filter(|ticket| door.admits(&ticket.code)).map(|ticket| ticket.seat.clone());
    let admitted: Vec<_> = admitted.map(|seat| name(&seat.expect("a ticket has its seat"))).collect();
    assert_eq!(admitted, ["A2", "A3"]);
}

async fn a_door_sees_what_changes_in_its_list(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let sold = bought(server, &showtime, "A1 A2", "tok_ok").await;
    let made = tickets(server, &sold.purchase_id).await;
    let mut watch = watch(server, &showtime).await;
    let list = first_list(&mut watch).await;
    assert_eq!(states(&list.tickets), [of("A1", TicketState::Issued), of("A2", TicketState::Issued)]);
    use_ticket(server, at_door(&made[0], &showtime, "1")).await.expect("it is issued");
    let seen = changes(&mut watch, 1).await;
    assert_eq!(states(&seen.tickets), [of("A1", TicketState::Used)]);
    refund(server, of_these(&sold, "A2")).await.expect("it was paid");
    until_ended(server, &sold, 1).await;
    let mut gone = Vec::new();
    while gone.is_empty() {
        gone = changes(&mut watch, 1).await.removed_numbers;
    }
    assert_eq!(gone, [made[1].number.as_str()]);
    bought(server, &showtime, "B1", "tok_ok").await;
    let mut seen = Vec::new();
    while seen.last() != Some(&of("B1", TicketState::Issued)) {
        seen.extend(states(&changes(&mut watch, 1).await.tickets));
    }
    let showtime_id = showtime.showtime_id.clone();
    let cancel = CancelShowtimeRequest { showtime_id, force: true, ..CancelShowtimeRequest::default() };
    server.showtimes().cancel_showtime(cancel).await.expect("it is forced");
    assert_eq!(changes(&mut watch, 2).await.removed_numbers.len(), 2);
}

#[tokio::test]
async fn doors_that_watch_count_as_watchers() {
    let limited = |setup: Setup| setup.with("--max-watchers", "2").with("--max-caller-watchers", "1");
    let world = World::with(Store::Sqlite, limited).await;
    let showtime = open_doors(&world.server).await;
    let from = async |last| world.connect_from([127, 0, 0, last]).await;
    let watch_from = async |last| {
        let request = WatchDoorRequest { showtime_id: showtime.showtime_id.clone() };
        TicketsClient::new(from(last).await).watch_door(request).await
    };
    let first = watch_from(1).await.expect("nobody watches");
    let refused = watch_from(1).await.expect_err("one watches from this address");
    assert_refused(&refused, Code::ResourceExhausted, "WATCH_LIMIT");
    let of_map = WatchSeatMapRequest { showtime_id: showtime.showtime_id.clone(), ..WatchSeatMapRequest::default() };
    let of_map = ShowtimesClient::new(from(2).await).watch_seat_map(of_map).await.expect("one watches");
    let refused = watch_from(3).await.expect_err("two watch");
    assert_refused(&refused, Code::ResourceExhausted, "TOO_MANY_WATCHERS");
    drop(first);
    eventually("a watch is accepted again", async || watch_from(3).await.ok()).await;
    drop(of_map);
}

#[tokio::test]
async fn a_watch_without_changes_has_heartbeats_and_ends_with_the_server() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--watch-heartbeat", "200ms")).await;
    let showtime = open_doors(&world.server).await;
    let mut watch = watch(&world.server, &showtime).await;
    let mut before = first_list(&mut watch).await.as_of_time.expect("it is there");
    for _ in 0..3 {
        let Event::Heartbeat(heartbeat) = next(&mut watch).await else { panic!("nothing has changed") };
        let at = heartbeat.as_of_time.expect("it is there");
        assert!((at.seconds, at.nanos) >= (before.seconds, before.nanos));
        before = at;
    }
    world.server.stop().await;
    while let Some(message) = watch.message().await.expect("it ends without an error") {
        assert!(matches!(message.event, Some(Event::Heartbeat(_))));
    }
}

#[tokio::test]
async fn a_door_sees_what_other_instances_do() {
    let shop = Shop::open(Store::Postgres).await;
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let other = server.setup().clone().start().await;
    let mut watch = watch(&other, &showtime).await;
    assert_eq!(states(&first_list(&mut watch).await.tickets), []);
    let sold = bought(server, &showtime, "A1", "tok_ok").await;
    let mut seen = Vec::new();
    while seen.last() != Some(&of("A1", TicketState::Issued)) {
        seen.extend(states(&changes(&mut watch, 1).await.tickets));
    }
    let made = tickets(server, &sold.purchase_id).await;
    use_ticket(server, at_door(&made[0], &showtime, "1")).await.expect("it is issued");
    assert_eq!(states(&changes(&mut watch, 1).await.tickets), [of("A1", TicketState::Used)]);
}

async fn the_list_of_an_unknown_showtime_is_not_found(shop: Shop) {
    let mut client = client(&shop.server);
    let showtime_id = request_id();
    let request = GetDoorListRequest { showtime_id: showtime_id.clone() };
    let status = client.get_door_list(request).await.expect_err("there is none");
    assert_not_found(&status, "SHOWTIME_NOT_FOUND", &showtime_id);
    let request = WatchDoorRequest { showtime_id: showtime_id.clone() };
    let status = client.watch_door(request).await.expect_err("there is none");
    assert_not_found(&status, "SHOWTIME_NOT_FOUND", &showtime_id);
    let request = GetDoorListRequest { showtime_id: "7".to_owned() };
    assert_violates(&client.get_door_list(request).await.expect_err("it is no id"), &["showtime_id"]);
}

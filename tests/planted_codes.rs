//! The tests of tickets and of doors without a network are tested themselves: each bug that is planted for them is found.

use crate::{
    harness::{Server, Store, door::OfflineDoor, shop::Shop, staff::exchange},
    tickets::{at_door, bought, open_doors, reservation, tickets, use_ticket},
};

/// Sells two seats, exchanges them, loads the list of a door anew, and lists what is wrong at the doors then.
async fn anomalies(server: &Server) -> Vec<String> {
    let showtime = open_doors(server).await;
    let sold = bought(server, &showtime, "A2 A3", "tok_ok").await;
    let first = tickets(server, &sold.purchase_id).await;
    exchange(server, reservation(&sold), "A3 A4").await.expect("A4 is free");
    let all = tickets(server, &sold.purchase_id).await;
    let door = OfflineDoor::load(server, &showtime.showtime_id, "door 2").await;
    let mut found = Vec::new();
    for ticket in &all {
        let is_first = first.iter().any(|one| one.number == ticket.number);
        if door.admits(&ticket.code) == is_first {
            found.push(format!("a door without a network is wrong about {}", ticket.number));
        }
        if use_ticket(server, at_door(ticket, &showtime, &ticket.number)).await.is_ok() && is_first {
            found.push(format!("{} was exchanged, and its code admits", ticket.number));
        }
    }
    found
}

/// Fails unless an anomaly with this text is found with the bug, and none without it.
async fn assert_found(bug: &str, text: &str) {
    let shop = Shop::open(Store::Postgres).await;
    let with_bug = shop.server.setup().clone().with_bug(bug).start().await;
    let found = anomalies(&with_bug).await;
    assert!(found.iter().any(|anomaly| anomaly.contains(text)), "the bug {bug} is not found: {found:#?}");
    let found = anomalies(&shop.server).await;
    assert!(found.is_empty(), "something is found where there is no bug: {found:#?}");
}

#[tokio::test]
async fn a_voided_ticket_in_a_list_that_was_loaded_anew_is_found() {
    assert_found("voided-tickets-listed", "a door without a network is wrong").await;
}

#[tokio::test]
async fn a_ticket_whose_first_code_still_works_is_found() {
    assert_found("first-tickets-kept", "its code admits").await;
}

#[tokio::test]
async fn a_seat_outside_the_signature_is_found() {
    assert_found("seat-outside-signature", "a door without a network is wrong").await;
}

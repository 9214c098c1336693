//! Tickets at many doors at once, and at a service that is killed.

use std::sync::Arc;

use boxoffice::pb::boxoffice::v1::{
    PurchaseState, Showtime, Ticket, TicketState, UseTicketRequest, tickets_client::TicketsClient,
};
use futures_util::future::{join, join_all};
use tonic::{Code, Status, transport::Endpoint};

use crate::{
    harness::{
        Server, Store, assert_refused, assert_violates, eventually,
        proxy::Proxy,
        purchases::{buy, of_seats, until_state},
        seats::{confirm, reserve, these},
        server::Setup,
        shop::Shop,
        world::Storage,
    },
    tickets::{at_door, open_doors, tickets, use_ticket},
};

in_both_shops!(
    a_device_uses_one_ticket_with_a_nonce_and_others_do_not_suffer,
    one_of_a_thousand_doors_at_three_instances_admits_the_holder,
    a_use_whose_answer_died_with_the_service_is_answered_again,
);

/// Eight tickets of one purchase.
async fn eight_tickets(server: &Server, showtime: &Showtime, row: &str) -> Vec<Ticket> {
    let names: Vec<_> = (1..=8).map(|number| format!("{row}{number}")).collect();
    let begun = buy(server, of_seats(showtime, row, &names.join(" "), "tok_ok")).await.expect("the seats are free");
    let bought = until_state(server, &begun, PurchaseState::Completed).await;
    tickets(server, &bought.purchase_id).await
}

fn by_device(device: &str, ticket: &Ticket, showtime: &Showtime, nonce: &str) -> UseTicketRequest {
    UseTicketRequest { device: device.to_owned(), ..at_door(ticket, showtime, nonce) }
}

/// The uses arrive at once, so that some of them share a statement, which the nonce makes fail.
async fn a_device_uses_one_ticket_with_a_nonce_and_others_do_not_suffer(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    for row in ["A", "B", "C"] {
        let made = eight_tickets(server, &showtime, row).await;
        let nonce = |at: usize| if at < 5 { "the same".to_owned() } else { at.to_string() };
        let uses = made.iter().enumerate().map(|(at, ticket)| by_device(row, ticket, &showtime, &nonce(at)));
        let answers = join_all(uses.map(|request| use_ticket(server, request))).await;
        let (same, others) = answers.split_at(5);
        assert_eq!(same.iter().filter(|answer| answer.is_ok()).count(), 1, "{same:#?}");
        for status in same.iter().filter_map(|answer| answer.as_ref().err()) {
            assert_violates(status, &["nonce"]);
        }
        assert!(others.iter().all(Result::is_ok), "{others:#?}");
        let after = tickets(server, &made[0].purchase_id).await;
        assert_eq!(after.iter().filter(|ticket| ticket.state() == TicketState::Used).count(), 4, "{after:#?}");
    }
}

/// Every device has the same nonce, since a nonce belongs to its device.
async fn one_of_a_thousand_doors_at_three_instances_admits_the_holder(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let ticket = eight_tickets(server, &showtime, "A").await.remove(0);
    // SQLite is for one instance.
    let further = if shop.storage.is_postgres() { 2 } else { 0 };
    let further = join_all((0..further).map(|_| server.setup().clone().start())).await;
    // No connection may have so many requests in flight.
    let servers = std::iter::once(server).chain(&further).cycle().take(6);
    let channels = join_all(servers.map(Server::connect)).await;
    let uses = (0..1_000).map(|door| {
        let channel = channels[door % channels.len()].as_ref().expect("a connection").clone();
        let request = by_device(&format!("door {door}"), &ticket, &showtime, "1");
        async move {
            let answer = TicketsClient::new(channel).use_ticket(request).await?.into_inner();
            Ok::<_, Status>(answer.ticket.expect("the answer has the ticket"))
        }
    });
    let (admitted, refused): (Vec<_>, Vec<_>) = join_all(uses).await.into_iter().partition(Result::is_ok);
    assert_eq!((admitted.len(), refused.len()), (1, 999), "{admitted:#?}");
    let admitted = admitted[0].as_ref().expect("it was admitted");
    for answer in refused {
        let status = answer.expect_err("it was used");
        let about = assert_refused(&status, Code::FailedPrecondition, "TICKET_USED");
        assert_eq!(about["use_device"], admitted.use_device);
    }
    let after = tickets(server, &ticket.purchase_id).await.remove(0);
    assert_eq!(&after, admitted);
}

async fn a_use_whose_answer_died_with_the_service_is_answered_again(mut shop: Shop) {
    let showtime = open_doors(&shop.server).await;
    let ticket = eight_tickets(&shop.server, &showtime, "A").await.remove(0);
    // The device's call arrives, and its answer is held back.
    let proxy = Proxy::to(shop.server.address()).await;
    let channel = Endpoint::from_shared(format!("http://{}", proxy.url())).expect("an address").connect().await;
    let mut device = TicketsClient::new(channel.expect("a connection"));
    let request = by_device("door 1", &ticket, &showtime, "1");
    proxy.pause();
    let call = tokio::spawn({
        let request = request.clone();
        async move { device.use_ticket(request).await.is_ok() }
    });
    let used = eventually("the ticket is used", async || {
        let found = tickets(&shop.server, &ticket.purchase_id).await.remove(0);
        (found.state() == TicketState::Used).then_some(found)
    })
    .await;
    shop.server.kill();
    assert!(!call.is_finished(), "its answer is held back");
    call.abort();
    shop.server = shop.server.setup().clone().start().await;
    let status = use_ticket(&shop.server, by_device("door 2", &ticket, &showtime, "1")).await;
    assert_refused(&status.expect_err("it was used"), Code::FailedPrecondition, "TICKET_USED");
    assert_eq!(use_ticket(&shop.server, request).await.expect("it is repeated"), used);
}

/// A server with this setup on Postgres, and eight tickets that a till has sold, each for itself.
async fn at_till(setup: Setup) -> (Server, Showtime, Vec<Ticket>) {
    let server = setup.start().await;
    let showtime = open_doors(&server).await;
    let mut made = Vec::new();
    for number in 1..=8 {
        let held = reserve(&server, these(&showtime, &number.to_string(), &format!("A{number}"))).await;
        let sold = confirm(&server, &held.expect("the seat is free")).await.expect("it is held");
        made.extend(tickets(&server, &sold.purchase_id).await);
    }
    (server, showtime, made)
}

/// Another transaction has the row of one ticket until the others are used.
#[tokio::test]
async fn a_ticket_that_is_locked_keeps_no_other_ticket_waiting() {
    let storage = Storage::new(Store::Postgres).await;
    let (server, showtime, made) = at_till(storage.setup()).await;
    let (locked, others) = made.split_first().expect("there are tickets");
    let lock = format!("SELECT 1 FROM tickets WHERE ticket_id = '{}' FOR UPDATE", locked.ticket_id);
    let lock = storage.transaction(&lock).await;
    let (server, showtime) = (Arc::new(server), Arc::new(showtime));
    let waiting = tokio::spawn({
        let (server, request) = (Arc::clone(&server), by_device("door 1", locked, &showtime, "1"));
        async move { use_ticket(&server, request).await }
    });
    let uses = others.iter().map(|ticket| use_ticket(&server, by_device("door 2", ticket, &showtime, &ticket.number)));
    for answer in join_all(uses).await {
        answer.expect("it is not locked");
    }
    assert!(!waiting.is_finished(), "it is locked");
    lock.close().await.expect("the connection closes");
    waiting.await.expect("the call ends").expect("it is not locked any more");
}

/// Uses each ticket at two doors at once and then at a third one, and says of each double admission.
async fn double_admissions(setup: Setup) -> Vec<String> {
    let (server, showtime, made) = at_till(setup).await;
    let mut found = Vec::new();
    for ticket in &made {
        let at = |device: &str| use_ticket(&server, by_device(device, ticket, &showtime, &ticket.number));
        let (one, two) = join(at("door 1"), at("door 2")).await;
        let admitted = [one, two, at("door 3").await].iter().filter(|answer| answer.is_ok()).count();
        found.extend((admitted != 1).then(|| format!("{} has admitted {admitted} times", ticket.number)));
    }
    found
}

async fn assert_double_admissions(bug: &str) {
    let storage = Storage::new(Store::Postgres).await;
    let found = double_admissions(storage.setup().with_bug(bug)).await;
    assert!(!found.is_empty(), "the bug {bug} is not found");
    let storage = Storage::new(Store::Postgres).await;
    let found = double_admissions(storage.setup()).await;
    assert!(found.is_empty(), "something is found where there is no bug: {found:#?}");
}

#[tokio::test]
async fn a_use_without_its_condition_is_found() {
    assert_double_admissions("use-without-condition").await;
}

#[tokio::test]
async fn a_nonce_that_is_looked_up_without_its_device_is_found() {
    assert_double_admissions("nonce-of-any-device").await;
}

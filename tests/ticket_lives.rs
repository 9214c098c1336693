//! Ten thousand random lives of tickets, each compared with a model: sold, exchanged, given up, refunded, shown, used, scanned, cancelled
//! with their showtime, and signed by one key after another.
//!
//! Each purchase has a row of seats of its own, so the model knows every answer, while many purchases go on at once at several instances.

mod life;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use boxoffice::{
    clock::Clock,
    pb::boxoffice::v1::{
        CancelShowtimeRequest, Purchase, PurchaseState, RotateSigningKeyRequest, Showtime, TicketFlaw, TicketState,
    },
};
use chrono::{SubsecRound as _, TimeDelta};
use futures_util::future::join_all;

use self::life::{Known, Life, Seen, answered};
use crate::{
    harness::{
        Server, Store,
        door::door_list,
        load::Random,
        purchases::{buy, of_seats, purchase, until_state},
        request_id,
        seats::{confirm, reserve, showtime_with, these},
        shop::Shop,
    },
    tickets::flaws,
};

/// The lives at the same time.
const AT_ONCE: usize = 48;
/// The purchases of a showtime, each of which has a row of eight seats.
const ROWS: usize = 24;
/// One in so many showtimes is cancelled in the end.
const CANCELLED: usize = 3;
/// Before one in so many showtimes the tickets are signed by a new key.
const SIGNED_ANEW: usize = 8;
/// What happens in a life after the sale.
const EVENTS: usize = 9;

/// Sells four seats of a row: by the gateway, by one that gives no money back, or at a till.
async fn sold(server: &Server, showtime: &Showtime, row: &str, how: usize) -> Purchase {
    let names = format!("{row}1 {row}2 {row}3 {row}4");
    if how == 0 {
        let call = async || reserve(server, these(showtime, row, &names)).await;
        let held = answered(call).await.expect("they are free");
        let purchase_id = answered(async || confirm(server, &held).await).await.expect("they are held").purchase_id;
        return purchase(server, &Purchase { purchase_id, ..Purchase::default() }).await;
    }
    let token = if how == 1 { "tok_refund_fails" } else { "tok_ok" };
    let request = of_seats(showtime, row, &names, token);
    let begun = answered(async || buy(server, request.clone()).await).await.expect("they are free");
    until_state(server, &begun, PurchaseState::Completed).await
}

/// Lives of this showtime. Returns the number of tickets.
async fn lives(servers: &[Server], seen: &Seen, first: usize) -> usize {
    if first % SIGNED_ANEW == 1 {
        let rotated = servers[0].operations().rotate_signing_key(RotateSigningKeyRequest {}).await;
        rotated.expect("there is room for a key");
        seen.count("a new key");
    }
    let labels: Vec<_> = (b'A'..).take(ROWS).map(|label| char::from(label).to_string()).collect();
    let rows: Vec<_> = labels.iter().map(|label| (label.as_str(), "ssssssss")).collect();
    let soon = Clock::System.now().trunc_subsecs(0) + TimeDelta::minutes(30);
    let showtime = showtime_with(&servers[first % servers.len()], &rows, soon, |request| request).await;
    let of = &showtime;
    let lives = labels.iter().zip(0..).map(|(row, at): (_, usize)| async move {
        let mut random = Random::new((first * ROWS + at) as u64);
        let how = random.below(5);
        let purchase = sold(&servers[at % servers.len()], of, row, how).await;
        let (row, showtime, refunds_fail) = (row.clone(), of.clone(), how == 1);
        let (refunds, nonces, tickets) = (0, 0, Vec::new());
        let mut life = Life { servers, seen, random, showtime, row, purchase, refunds_fail, refunds, tickets, nonces };
        let first: Vec<_> = (1..=4).map(|number| format!("{}{number}", life.row)).collect();
        life.learn(&first, &[const { None }; 4]).await;
        for _ in 0..EVENTS {
            life.event().await;
        }
        life.check().await;
        life.tickets
    });
    let known = join_all(lives).await.concat();
    let list = door_list(&servers[0], &showtime.showtime_id).await;
    let listed = list.tickets.iter().map(|ticket| (ticket.number.as_str(), ticket.state()));
    let live = known.iter().filter(|known| matches!(known.state, TicketState::Issued | TicketState::Used));
    let live: BTreeMap<_, _> = live.map(|known| (known.number.as_str(), known.state)).collect();
    assert_eq!(listed.collect::<BTreeMap<_, _>>(), live);
    if first % CANCELLED == 1 {
        cancel(&servers[first % servers.len()], &showtime, &known).await;
        seen.count("a cancelled showtime");
    }
    known.len()
}

/// Cancels the showtime: none of its tickets admits anybody from then on, at any server.
async fn cancel(server: &Server, showtime: &Showtime, known: &[Known]) {
    let showtime_id = showtime.showtime_id.clone();
    let cancel = CancelShowtimeRequest { showtime_id, force: true, request_id: request_id(), ..Default::default() };
    let call = async || server.showtimes().cancel_showtime(cancel.clone()).await;
    answered(call).await.expect("it is forced");
    assert_eq!(door_list(server, &showtime.showtime_id).await.tickets, []);
    for ticket in known {
        let flaws = flaws(server, &ticket.code, showtime).await;
        let is_gone = matches!(flaws.first(), Some(TicketFlaw::Voided | TicketFlaw::Refunded));
        assert!(is_gone, "{ticket:?}: {flaws:?}");
    }
}

/// Lets tickets live until there were this many, and asserts that each thing that may happen to them has.
async fn live(servers: Vec<Server>, least: usize) -> Vec<Server> {
    let (seen, made, next) = (Seen::default(), AtomicUsize::new(0), AtomicUsize::new(0));
    let showtimes = (0..AT_ONCE / ROWS).map(|_| async {
        while made.load(Ordering::Relaxed) < least {
            let first = next.fetch_add(1, Ordering::Relaxed);
            made.fetch_add(Box::pin(lives(&servers, &seen, first)).await, Ordering::Relaxed);
        }
    });
    join_all(showtimes).await;
    let seen = seen.0.into_inner().expect("no panic");
    println!("{} tickets: {seen:#?}", made.load(Ordering::Relaxed));
    for what in [
        "TICKET_VOIDED",
        "TICKET_REFUNDED",
        "TICKET_USED",
        "a double admission",
        "a nonce of another ticket",
        "a refund of a used ticket that is refused",
        "a refund that fails",
        "a race",
        "a release",
        "a use of several",
        "a use that is repeated",
        "an exchange",
        "an exchange of a used ticket",
    ] {
        assert!(seen.get(what).is_some_and(|count| *count >= 10), "{what} was hardly seen: {seen:#?}");
    }
    for what in ["a cancelled showtime", "a new key"] {
        assert!(seen.contains_key(what), "{what} was not seen: {seen:#?}");
    }
    servers
}

#[tokio::test]
async fn ten_thousand_tickets_live_as_the_model_says_at_three_instances_on_postgres() {
    let shop = Shop::open(Store::Postgres).await;
    let (first, second) = (shop.server.setup().clone().start(), shop.server.setup().clone().start());
    let (first, second) = tokio::join!(first, second);
    let Shop { server, gateway, storage } = shop;
    let mut servers = live(vec![server, first, second], 10_000).await;
    Shop { server: servers.remove(0), gateway, storage }.assert_audit().await;
}

#[tokio::test]
async fn a_thousand_tickets_live_as_the_model_says_on_sqlite() {
    let shop = Shop::open(Store::Sqlite).await;
    let Shop { server, gateway, storage } = shop;
    let mut servers = live(vec![server], 1_000).await;
    Shop { server: servers.remove(0), gateway, storage }.assert_audit().await;
}

//! The secret and the code of a purchase: its buyer receives them, and they are accepted instead of an account.

use boxoffice::pb::boxoffice::v1::{
    GetPurchaseRequest, ListPurchasesRequest, ListTicketsRequest, Purchase, PurchaseState, Ticket, WatchPurchaseRequest,
};
use tonic::Status;

use crate::{
    harness::{
        Server, Store, assert_not_found, assert_violates,
        purchases::{buy, client, continue_with, give_up, of_hold, of_seats, purchase, until_state},
        seats::{confirm, reserve, these},
        shop::Shop,
        world::Storage,
    },
    tickets::{client as tickets_client, open_doors},
};

in_both_shops!(
    the_buyer_receives_the_secret_and_nobody_else_does,
    a_purchase_and_its_tickets_are_read_by_its_number_and_its_secret,
    a_purchase_is_named_in_one_way,
);

/// A number and a secret of the right form that belong to nothing.
const NO_NUMBER: &str = "PUR-7ZK4M-0QX3B";
const NO_SECRET: &str = "7ZK4M-0QX3B-NF1AS-SAK6S";

fn by_secret(number: &str, secret: &str) -> GetPurchaseRequest {
    let (number, secret) = (number.to_owned(), secret.to_owned());
    GetPurchaseRequest { number, secret, ..GetPurchaseRequest::default() }
}

async fn get(server: &Server, request: GetPurchaseRequest) -> Result<Purchase, Status> {
    let answer = client(server).get_purchase(request).await?.into_inner();
    Ok(answer.purchase.expect("the answer has the purchase"))
}

async fn list(server: &Server, request: ListTicketsRequest) -> Result<Vec<Ticket>, Status> {
    Ok(tickets_client(server).list_tickets(request).await?.into_inner().tickets)
}

async fn the_buyer_receives_the_secret_and_nobody_else_does(mut shop: Shop) {
    let showtime = open_doors(&shop.server).await;
    let server = &shop.server;
    let declined =
        buy(server, of_seats(&showtime, "ada", "A1", "tok_declined_do_not_honor")).await.expect("it is free");
    let continued = continue_with(server, &declined, None).await.expect("it waits for a token");
    let given_up = give_up(server, &declined).await.expect("it waits for a token");
    assert_eq!((declined.secret.len(), declined.code.len()), (23, 140), "{declined:#?}");
    let groups: Vec<_> = declined.secret.split('-').map(str::len).collect();
    assert_eq!(groups, [5; 4]);
    let read = purchase(server, &declined).await;
    for same in [&continued, &given_up, &read] {
        assert_eq!((&same.secret, &same.code), (&declined.secret, &declined.code));
    }
    let begun = buy(server, of_seats(&showtime, "ada", "A2", "tok_ok")).await.expect("the seat is free");
    assert!(begun.secret != declined.secret && begun.code != declined.code);
    until_state(server, &begun, PurchaseState::Completed).await;
    let held = reserve(server, these(&showtime, "bob", "B1")).await.expect("the seat is free");
    let at_till = confirm(server, &held).await.expect("it is held");
    let request = GetPurchaseRequest { purchase_id: at_till.purchase_id, ..GetPurchaseRequest::default() };
    let at_till = get(server, request).await.expect("a sale is a purchase");
    assert_eq!(at_till.secret.len(), 23);
    // Lists and watchers get none.
    let all = ListPurchasesRequest { showtime_id: showtime.showtime_id.clone(), ..ListPurchasesRequest::default() };
    let all = client(server).list_purchases(all).await.expect("a list").into_inner().purchases;
    assert!(all.len() == 3 && all.iter().all(|one| one.secret.is_empty() && one.code.is_empty()), "{all:#?}");
    let (purchase_id, customer_id) = (begun.purchase_id.clone(), String::new());
    let watching = client(server).watch_purchase(WatchPurchaseRequest { purchase_id, customer_id }).await;
    let message = watching.expect("it exists").into_inner().message().await.expect("a message");
    let watched = message.and_then(|message| message.purchase).expect("a message has the purchase");
    assert_eq!((watched.number, watched.secret, watched.code), (begun.number.clone(), String::new(), String::new()));
    // A secret and a code stay the same when the server starts again, and the log has none.
    let log = shop.server.console().to_string();
    assert!(!log.contains(&begun.secret) && !log.contains(&begun.code), "{log}");
    shop.server.stop().await;
    shop.server = shop.server.setup().clone().start().await;
    let read = purchase(&shop.server, &begun).await;
    assert_eq!((read.secret, read.code), (begun.secret, begun.code));
}

async fn a_purchase_and_its_tickets_are_read_by_its_number_and_its_secret(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let held = reserve(server, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    let begun = buy(server, of_hold(&held, "tok_ok")).await.expect("it is held");
    let bought = until_state(server, &begun, PurchaseState::Completed).await;
    let other = buy(server, of_seats(&showtime, "bob", "B1", "tok_ok")).await.expect("the seat is free");
    let spoken = |text: &str| text.to_lowercase().replace('0', "o").replace('1', "l").replace('-', " ");
    for (number, secret) in
        [(bought.number.clone(), bought.secret.clone()), (spoken(&bought.number), spoken(&bought.secret))]
    {
        assert_eq!(get(server, by_secret(&number, &secret)).await.expect("the secret is right"), bought);
        let request = ListTicketsRequest { number, secret, ..ListTicketsRequest::default() };
        let made = list(server, request.clone()).await.expect("the secret is right");
        assert!(made.len() == 2 && made.iter().all(|ticket| ticket.purchase_id == bought.purchase_id), "{made:#?}");
        let customer_id = "bob".to_owned();
        let others = list(server, ListTicketsRequest { customer_id, ..request }).await.expect("the secret is right");
        assert_eq!(others, []);
    }
    let of_bob = GetPurchaseRequest { customer_id: "bob".to_owned(), ..by_secret(&bought.number, &bought.secret) };
    assert_not_found(&get(server, of_bob).await.expect_err("it is not his"), "PURCHASE_NOT_FOUND", &bought.number);
    // A wrong secret is answered like a number that does not exist.
    for (number, secret) in [
        (&*bought.number, &*other.secret),
        (&*bought.number, NO_SECRET),
        (NO_NUMBER, &*bought.secret),
        (NO_NUMBER, NO_SECRET),
    ] {
        let status = get(server, by_secret(number, secret)).await.expect_err("one of them is wrong");
        assert_not_found(&status, "PURCHASE_NOT_FOUND", number);
        assert_eq!(status.message(), format!("there is no purchase {number}"));
        let (number, secret) = (number.to_owned(), secret.to_owned());
        let request = ListTicketsRequest { number: number.clone(), secret, ..ListTicketsRequest::default() };
        let status = list(server, request).await.expect_err("one of them is wrong");
        assert_not_found(&status, "PURCHASE_NOT_FOUND", &number);
    }
}

async fn a_purchase_is_named_in_one_way(shop: Shop) {
    let server = &shop.server;
    let purchase_id = crate::harness::request_id();
    for (request, violated) in [
        (by_secret("", ""), &["purchase_id", "number"][..]),
        (by_secret("", NO_SECRET), &["secret", "purchase_id", "number"]),
        (by_secret(NO_NUMBER, ""), &["secret"]),
        (by_secret("PUR-7ZK4M-0QX3C", "7ZK4M-0QX3B-NF1AS-SAK6"), &["number", "secret"]),
        (
            GetPurchaseRequest { purchase_id: purchase_id.clone(), ..by_secret(NO_NUMBER, NO_SECRET) },
            &["purchase_id", "number"],
        ),
        (GetPurchaseRequest { purchase_id: purchase_id.clone(), ..by_secret("", NO_SECRET) }, &["secret"]),
    ] {
        assert_violates(&get(server, request).await.expect_err("it is not valid"), violated);
    }
    let (number, secret) = (NO_NUMBER.to_owned(), NO_SECRET.to_owned());
    let both = ListTicketsRequest { purchase_id, number, ..ListTicketsRequest::default() };
    assert_violates(&list(server, both).await.expect_err("it is not valid"), &["purchase_id", "number", "secret"]);
    let half = ListTicketsRequest { secret, ..ListTicketsRequest::default() };
    assert_violates(&list(server, half).await.expect_err("it is not valid"), &["secret", "customer_id"]);
}

#[tokio::test]
async fn instances_that_start_at_once_tell_the_same_secrets() {
    let storage = Storage::new(Store::Postgres).await;
    let starts = (0..4).map(|_| storage.setup().start());
    let servers = futures_util::future::join_all(starts).await;
    let showtime = open_doors(&servers[0]).await;
    let held = reserve(&servers[0], these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let purchase_id = confirm(&servers[0], &held).await.expect("it is held").purchase_id;
    let mut secrets = Vec::new();
    for server in &servers {
        let request = GetPurchaseRequest { purchase_id: purchase_id.clone(), ..GetPurchaseRequest::default() };
        let bought = get(server, request).await.expect("it is sold");
        secrets.push((bought.secret, bought.code));
    }
    assert!(secrets.iter().all(|one| *one == secrets[0]), "{secrets:?}");
}

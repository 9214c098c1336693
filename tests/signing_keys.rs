//! The keys that sign the codes of tickets: made, rotated, retired.

use boxoffice::{
    domain::ticket::TicketCode,
    pb::boxoffice::v1::{
        ListSigningKeysRequest, RetireSigningKeyRequest, RotateSigningKeyRequest, SigningKey, Ticket, TicketFlaw,
    },
};
use tonic::{Code, Status};

use crate::{
    harness::{
        Server, Store, assert_not_found, assert_refused, assert_violates, door::OfflineDoor, eventually, shop::Shop,
        staff::exchange,
    },
    tickets::{at_door, bought, client, flaws, open_doors, reservation, tickets, use_ticket},
};

in_both_shops!(
    a_new_key_signs_and_the_codes_of_the_one_before_stay_good,
    a_key_is_retired_when_its_last_showtime_is_over_or_by_force,
    a_key_that_has_signed_the_code_of_a_purchase_is_in_use_also_when_its_tickets_are_exchanged,
    operators_use_the_command_for_keys,
);

fn key_of(ticket: &Ticket) -> i32 {
    i32::from(TicketCode::parse(&ticket.code).expect("it is a code").key_id())
}

async fn keys(server: &Server) -> Vec<SigningKey> {
    client(server).list_signing_keys(ListSigningKeysRequest {}).await.expect("a list").into_inner().keys
}

async fn rotate(server: &Server) -> SigningKey {
    let answer = server.operations().rotate_signing_key(RotateSigningKeyRequest {}).await.expect("there is room");
    answer.into_inner().key.expect("the answer has the key")
}

async fn retire(server: &Server, key_id: i32, force: bool) -> Result<SigningKey, Status> {
    let answer = server.operations().retire_signing_key(RetireSigningKeyRequest { key_id, force }).await?;
    Ok(answer.into_inner().key.expect("the answer has the key"))
}

/// Makes all keys older, so that none of them is so new that another instance might not know it.
async fn an_hour_later(shop: &Shop) {
    let earlier = if shop.storage.is_postgres() {
        "create_time - interval '1 hour'"
    } else {
        "strftime('%Y-%m-%d %H:%M:%f+00:00', create_time, '-1 hour')"
    };
    shop.storage.sql(&format!("UPDATE signing_keys SET create_time = {earlier}")).await.expect("there are keys");
}

async fn a_new_key_signs_and_the_codes_of_the_one_before_stay_good(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let before = bought(server, &showtime, "A1", "tok_ok").await;
    let key = rotate(server).await;
    assert_eq!(keys(server).await.iter().map(|key| key.key_id).collect::<Vec<_>>(), [1, 2]);
    let after = bought(server, &showtime, "A2", "tok_ok").await;
    let made = [tickets(server, &before.purchase_id).await, tickets(server, &after.purchase_id).await].concat();
    assert_eq!(made.iter().map(key_of).collect::<Vec<_>>(), [1, key.key_id]);
    let door = OfflineDoor::load(server, &showtime.showtime_id, "door 2").await;
    for ticket in &made {
        assert!(door.admits(&ticket.code));
        use_ticket(server, at_door(ticket, &showtime, &ticket.number)).await.expect("both keys are good");
    }
}

async fn a_key_is_retired_when_its_last_showtime_is_over_or_by_force(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let sold = bought(server, &showtime, "A1 A2", "tok_ok").await;
    let made = tickets(server, &sold.purchase_id).await;
    let status = retire(server, 1, true).await.expect_err("it signs");
    assert_refused(&status, Code::FailedPrecondition, "SIGNING_KEY_SIGNS");
    rotate(server).await;
    let status = retire(server, 1, true).await.expect_err("another instance may sign with it");
    assert_refused(&status, Code::FailedPrecondition, "SIGNING_KEY_SIGNS");
    an_hour_later(&shop).await;
    let status = retire(server, 1, false).await.expect_err("it is in use");
    assert_eq!(assert_refused(&status, Code::FailedPrecondition, "SIGNING_KEY_IN_USE")["tickets"], "2");
    use_ticket(server, at_door(&made[0], &showtime, "1")).await.expect("it is issued");
    let status = retire(server, 1, false).await.expect_err("it is in use");
    assert_eq!(assert_refused(&status, Code::FailedPrecondition, "SIGNING_KEY_IN_USE")["tickets"], "1");
    let retired = retire(server, 1, true).await.expect("by force");
    assert!(retired.retire_time.is_some());
    assert_eq!(retire(server, 1, false).await.expect("it is retired"), retired);
    assert_eq!(flaws(server, &made[1].code, &showtime).await, [TicketFlaw::NotGenuine]);
    let status = use_ticket(server, at_door(&made[1], &showtime, "2")).await.expect_err("its key is retired");
    assert_refused(&status, Code::FailedPrecondition, "TICKET_NOT_GENUINE");
    let door = OfflineDoor::load(server, &showtime.showtime_id, "door 2").await;
    assert!(!door.admits(&made[1].code));
    // Nothing of the next one is in use.
    rotate(server).await;
    an_hour_later(&shop).await;
    retire(server, 2, false).await.expect("it has signed nothing");
    assert_not_found(&retire(server, 7, false).await.expect_err("there is none"), "SIGNING_KEY_NOT_FOUND", "7");
    assert_violates(&retire(server, 0, false).await.expect_err("it is no number"), &["key_id"]);
}

async fn a_key_that_has_signed_the_code_of_a_purchase_is_in_use_also_when_its_tickets_are_exchanged(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let sold = bought(server, &showtime, "A1", "tok_ok").await;
    rotate(server).await;
    exchange(server, reservation(&sold), "A2").await.expect("A2 is free");
    an_hour_later(&shop).await;
    let long_ago = "UPDATE purchases SET create_time = '2020-01-01T00:00:00+00:00'";
    shop.storage.sql(long_ago).await.expect("there is one");
    let status = retire(server, 1, false).await.expect_err("the code of the purchase is printed");
    assert_eq!(assert_refused(&status, Code::FailedPrecondition, "SIGNING_KEY_IN_USE")["tickets"], "1");
    assert_eq!(flaws(server, &sold.code, &showtime).await, []);
}

async fn operators_use_the_command_for_keys(shop: Shop) {
    let run = |arguments: &[&str]| shop.server.operate("keys", arguments);
    let (code, printed) = run(&["list"]);
    assert_eq!((code, printed.lines().count()), (Some(0), 1), "{printed}");
    let (code, printed) = run(&["rotate"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.starts_with("2 "), "{printed}");
    let (code, printed) = run(&["retire", "1"]);
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("FailedPrecondition: the key signs"), "{printed}");
    an_hour_later(&shop).await;
    let (code, printed) = run(&["retire", "1", "--force"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains(" retired 20"), "{printed}");
    let (code, printed) = run(&["retire", "one"]);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("needs the number of a key"), "{printed}");
}

#[tokio::test]
async fn other_instances_learn_of_a_new_key_and_of_one_that_is_retired() {
    let shop = Shop::open(Store::Postgres).await;
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let other = server.setup().clone().start().await;
    let sold = bought(server, &showtime, "A1", "tok_ok").await;
    let made = tickets(server, &sold.purchase_id).await;
    rotate(server).await;
    eventually("the other instance knows the new key", async || (keys(&other).await.len() == 2).then_some(())).await;
    rotate(server).await;
    // It may not know the next one yet, and admits its codes all the same.
    let latest = bought(server, &showtime, "A3", "tok_ok").await;
    assert_eq!(key_of(&tickets(server, &latest.purchase_id).await[0]), 3);
    for code in [&tickets(server, &latest.purchase_id).await[0].code, &latest.code] {
        assert_eq!(flaws(&other, code, &showtime).await, []);
    }
    eventually("the other instance knows it", async || (keys(&other).await.len() == 3).then_some(())).await;
    let next = bought(&other, &showtime, "A2", "tok_ok").await;
    assert_eq!(key_of(&tickets(server, &next.purchase_id).await[0]), 3);
    an_hour_later(&shop).await;
    retire(server, 1, true).await.expect("by force");
    eventually("the other instance refuses the old one", async || {
        (flaws(&other, &made[0].code, &showtime).await == [TicketFlaw::NotGenuine]).then_some(())
    })
    .await;
}

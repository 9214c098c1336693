//! The code of a purchase: it admits the holders of all its tickets, each once.

use boxoffice::{
    domain::ticket::{CodeKind, TicketCode},
    pb::boxoffice::v1::{
        Purchase, RefundState, Reservation, Showtime, Ticket, TicketFlaw, TicketState, UseTicketRequest,
    },
    tickets::SigningKey,
};
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait as _, Statement};
use tonic::{Code, Status};

use crate::{
    harness::{
        Server, assert_refused, assert_violates,
        purchases::{buy, of_seats, purchase},
        seats::{confirm, instant, reserve, showtime, these},
        shop::Shop,
        staff::{exchange, release},
    },
    refunds::{of_these, refund, until_ended},
    tickets::{bought, client, flaws, open_doors, reservation, seat, tickets, validate},
};

in_both_shops!(
    the_code_of_a_purchase_admits_as_many_as_the_door_says_and_each_once,
    many_doors_with_the_code_of_a_purchase_use_each_ticket_once,
    a_use_of_the_code_of_a_purchase_that_is_repeated_is_answered_as_before,
    the_code_of_a_purchase_admits_no_ticket_that_is_invalid,
    a_forged_code_of_a_purchase_admits_nobody,
    a_code_of_a_purchase_is_good_until_its_key_is_retired,
    a_holder_who_is_inside_is_not_admitted_again_after_an_exchange,
    the_code_of_a_purchase_without_tickets_is_blocked,
);

async fn a_holder_who_is_inside_is_not_admitted_again_after_an_exchange(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let sold = bought(server, &showtime, "A1 A2", "tok_ok").await;
    let first = tickets(server, &sold.purchase_id).await;
    admit(server, at_door(&first[0].code, &showtime, "1", 0)).await.expect("it is issued");
    // A2 is kept, and A3 takes the place of A1, whose holder is inside.
    for (names, states) in
        [("A2 A3", [TicketState::Issued, TicketState::Used]), ("A3 A4", [TicketState::Used, TicketState::Issued])]
    {
        exchange(server, reservation(&sold), names).await.expect("they are free");
        let all = tickets(server, &sold.purchase_id).await;
        let live: Vec<_> = all.iter().filter(|ticket| ticket.state() != TicketState::Voided).collect();
        assert_eq!(live.iter().map(|ticket| seat(ticket)).collect::<Vec<_>>().join(" "), names);
        assert_eq!([live[0].state(), live[1].state()], states, "{live:#?}");
        let used = live.iter().find(|ticket| ticket.state() == TicketState::Used).expect("one is used");
        assert_eq!(instant(used.use_time), instant(all[0].use_time));
        let about = reason_of(admit(server, at_door(&used.code, &showtime, names, 0)).await, "TICKET_USED");
        assert_eq!(about["use_device"], "door 1");
    }
    let status = refund(server, of_these(&sold, "A3")).await.expect_err("its holder is inside");
    assert_refused(&status, Code::FailedPrecondition, "TICKET_USED");
    assert_eq!(seats(&admit(server, at_door(&sold.code, &showtime, "2", 0)).await.expect("one is left")), "A4");
    shop.assert_audit().await;
}

async fn the_code_of_a_purchase_without_tickets_is_blocked(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let begun = buy(server, of_seats(&showtime, "ada", "A1", "tok_action_required")).await.expect("it is free");
    assert_eq!(flaws(server, &begun.code, &showtime).await, [TicketFlaw::Blocked]);
    reason_of(admit(server, at_door(&begun.code, &showtime, "1", 0)).await, "TICKET_BLOCKED");
}

fn at_door(code: &str, showtime: &Showtime, nonce: &str, count: i32) -> UseTicketRequest {
    let (code, showtime_id) = (code.to_owned(), showtime.showtime_id.clone());
    let (device, nonce) = ("door 1".to_owned(), nonce.to_owned());
    UseTicketRequest { code, showtime_id, device, nonce, count, ..UseTicketRequest::default() }
}

async fn admit(server: &Server, request: UseTicketRequest) -> Result<Vec<Ticket>, Status> {
    let answer = client(server).use_ticket(request).await?.into_inner();
    assert!(answer.admitted);
    let ticket = answer.ticket.expect("the answer has the first ticket");
    match answer.tickets.first() {
        None => return Ok(vec![ticket]),
        Some(first) => assert_eq!(first, &ticket),
    }
    Ok(answer.tickets)
}

/// The seats of tickets, as in "A1 A2".
fn seats(tickets: &[Ticket]) -> String {
    tickets.iter().map(seat).collect::<Vec<_>>().join(" ")
}

fn reason_of(answer: Result<Vec<Ticket>, Status>, reason: &str) -> std::collections::HashMap<String, String> {
    assert_refused(&answer.expect_err("nobody is admitted"), Code::FailedPrecondition, reason)
}

async fn the_code_of_a_purchase_admits_as_many_as_the_door_says_and_each_once(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let bought = bought(server, &showtime, "A1 A2 A3 A4 A5", "tok_ok").await;
    let code = bought.code.as_str();
    let before = validate(server, code, &showtime).await;
    assert_eq!((seats(&before.tickets).as_str(), before.ticket.as_ref()), ("A1 A2 A3 A4 A5", before.tickets.first()));
    assert_eq!(seats(&admit(server, at_door(code, &showtime, "1", 2)).await.expect("five are left")), "A1 A2");
    let made = tickets(server, &bought.purchase_id).await;
    let used = reason_of(admit(server, at_door(&made[1].code, &showtime, "2", 0)).await, "TICKET_USED");
    assert_eq!(used["use_device"], "door 1");
    let one = admit(server, at_door(&made[3].code, &showtime, "3", 0)).await.expect("it is left");
    assert_eq!(seats(&one), "A4");
    assert_eq!(seats(&validate(server, code, &showtime).await.tickets), "A3 A5");
    let about = reason_of(admit(server, at_door(code, &showtime, "4", 3)).await, "TICKET_COUNT_EXCEEDS");
    assert_eq!(about["left"], "2");
    assert_eq!(seats(&validate(server, code, &showtime).await.tickets), "A3 A5");
    assert_eq!(seats(&admit(server, at_door(code, &showtime, "5", 0)).await.expect("two are left")), "A3 A5");
    let used = reason_of(admit(server, at_door(code, &showtime, "6", 0)).await, "TICKET_USED");
    assert_eq!(used["number"], made[0].number);
    assert_eq!(flaws(server, code, &showtime).await, [TicketFlaw::Used]);
    // A sale at a till has a code, too.
    let held = reserve(server, these(&showtime, "bob", "B1 B2")).await.expect("the seats are free");
    let at_till = confirm(server, &held).await.expect("it is held");
    let at_till = purchase(server, &Purchase { purchase_id: at_till.purchase_id, ..Purchase::default() }).await;
    assert_eq!(seats(&admit(server, at_door(&at_till.code, &showtime, "7", 0)).await.expect("it is sold")), "B1 B2");
    // A count is for the code of a purchase.
    for (code, count, violated) in
        [(code, -1, &["count"][..]), (&*made[0].code, 1, &["count"]), ("HELLO", 1, &["code", "count"])]
    {
        let status = admit(server, at_door(code, &showtime, "8", count)).await.expect_err("it is not valid");
        assert_violates(&status, violated);
    }
    shop.assert_audit().await;
}

async fn many_doors_with_the_code_of_a_purchase_use_each_ticket_once(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let bought = bought(server, &showtime, "A1 A2 A3 A4 A5 A6 A7 A8", "tok_ok").await;
    let doors = (0..40).map(|door| UseTicketRequest {
        device: format!("door {door}"),
        ..at_door(&bought.code, &showtime, "1", 1 + door % 3)
    });
    let answers = join_all(doors.map(|request| async move {
        let count = usize::try_from(request.count).expect("it is positive");
        (count, admit(server, request).await)
    }));
    let mut admitted = Vec::new();
    for (count, answer) in answers.await {
        match answer {
            Ok(used) => {
                assert_eq!(used.len(), count);
                admitted.extend(used);
            }
            Err(status) => {
                let reason = crate::harness::refusals::reason(&status);
                assert!(["TICKET_USED", "TICKET_COUNT_EXCEEDS"].contains(&&*reason), "{status:?}");
            }
        }
    }
    admitted.sort_by_key(|ticket| seats(std::slice::from_ref(ticket)));
    assert_eq!(seats(&admitted), "A1 A2 A3 A4 A5 A6 A7 A8");
    assert_eq!(tickets(server, &bought.purchase_id).await, admitted);
}

async fn a_use_of_the_code_of_a_purchase_that_is_repeated_is_answered_as_before(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let bought = bought(server, &showtime, "A1 A2 A3 A4", "tok_ok").await;
    let request = at_door(&bought.code, &showtime, "1", 2);
    // A device that gets no answer repeats the call while the first one may still be under way.
    let answers = join_all((0..20).map(|_| admit(server, request.clone()))).await;
    for answer in answers {
        assert_eq!(seats(&answer.expect("it is repeated")), "A1 A2");
    }
    assert_eq!(seats(&validate(server, &bought.code, &showtime).await.tickets), "A3 A4");
    for count in [1, 3] {
        let other = UseTicketRequest { count, ..request.clone() };
        assert_violates(&admit(server, other).await.expect_err("two were used"), &["nonce"]);
    }
    let next = UseTicketRequest { nonce: "2".to_owned(), ..request.clone() };
    assert_eq!(seats(&admit(server, next).await.expect("two are left")), "A3 A4");
    let again = admit(server, UseTicketRequest { count: 0, ..request.clone() }).await;
    assert_eq!(seats(&again.expect("it is repeated")), "A1 A2");
    // The nonce belongs to the tickets of this purchase.
    let other = self::bought(server, &showtime, "B1", "tok_ok").await;
    let elsewhere = UseTicketRequest { code: other.code.clone(), count: 0, ..request.clone() };
    assert_violates(&admit(server, elsewhere).await.expect_err("the nonce was used"), &["nonce"]);
    // It is answered as before, unless one of the tickets has become invalid.
    release(server, bought.reservation.as_ref().expect("a reservation"), "A2").await.expect("it is sold");
    until_ended(server, &bought, 1).await;
    let about = reason_of(admit(server, request).await, "TICKET_REFUNDED");
    assert_eq!(about["number"], tickets(server, &bought.purchase_id).await[1].number);
}

async fn the_code_of_a_purchase_admits_no_ticket_that_is_invalid(shop: Shop) {
    let (server, open) = (&shop.server, open_doors(&shop.server).await);
    let later = showtime(server).await;
    let early = bought(server, &later, "A1 A2", "tok_ok").await;
    assert_eq!(flaws(server, &early.code, &later).await, [TicketFlaw::TooEarly]);
    reason_of(admit(server, at_door(&early.code, &later, "1", 0)).await, "TICKET_TOO_EARLY");
    assert_eq!(flaws(server, &early.code, &open).await, [TicketFlaw::WrongShowtime]);
    reason_of(admit(server, at_door(&early.code, &open, "1", 0)).await, "TICKET_WRONG_SHOWTIME");
    let bought = bought(server, &open, "A1 A2 A3", "tok_refund_fails").await;
    shop.gateway.pause().await;
    refund(server, of_these(&bought, "A1")).await.expect("it was paid");
    assert_eq!(seats(&validate(server, &bought.code, &open).await.tickets), "A2 A3");
    assert_eq!(seats(&admit(server, at_door(&bought.code, &open, "2", 0)).await.expect("two are left")), "A2 A3");
    assert_eq!(flaws(server, &bought.code, &open).await, [TicketFlaw::Blocked, TicketFlaw::Used]);
    reason_of(admit(server, at_door(&bought.code, &open, "3", 0)).await, "TICKET_BLOCKED");
    shop.gateway.resume();
    assert_eq!(until_ended(server, &bought, 1).await.refunds[0].state(), RefundState::Failed);
    assert_eq!(seats(&admit(server, at_door(&bought.code, &open, "3", 1)).await.expect("it is left")), "A1");
    // After an exchange it admits with the new tickets.
    let exchanged = self::bought(server, &open, "B1 B2", "tok_ok").await;
    let reservation = exchanged.reservation.as_ref().expect("a reservation");
    exchange(server, reservation, "B2 B3").await.expect("B3 is free");
    assert_eq!(seats(&admit(server, at_door(&exchanged.code, &open, "4", 0)).await.expect("it is sold")), "B2 B3");
    let given_up = self::bought(server, &open, "C1", "tok_ok").await;
    let reservation_id = given_up.reservation.as_ref().expect("a reservation").reservation_id.clone();
    release(server, &Reservation { reservation_id, ..Reservation::default() }, "").await.expect("it is sold");
    until_ended(server, &given_up, 1).await;
    assert_eq!(flaws(server, &given_up.code, &open).await, [TicketFlaw::Refunded]);
    reason_of(admit(server, at_door(&given_up.code, &open, "5", 0)).await, "TICKET_REFUNDED");
}

/// The key that the service signs with.
async fn key(shop: &Shop, id: u16) -> SigningKey {
    let connection = shop.storage.connect().await;
    let sql = format!("SELECT seed FROM signing_keys WHERE key_id = {id}");
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(statement).await.expect("the key is read").expect("there is one");
    let seed: Vec<u8> = row.try_get("", "seed").expect("a seed");
    connection.close().await.expect("a connection closes");
    SigningKey::from_seed(id, &seed).expect("32 bytes")
}

async fn a_forged_code_of_a_purchase_admits_nobody(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let [one, other] =
        [bought(server, &showtime, "A1", "tok_ok").await, bought(server, &showtime, "A2", "tok_ok").await];
    let genuine = TicketCode::parse(&one.code).expect("it is a code");
    let of = |purchase: &Purchase| TicketCode::parse(&purchase.code).expect("it is a code");
    let id = genuine.purchase().expect("it is that of a purchase");
    assert_eq!(id.to_string(), one.purchase_id);
    let key = key(&shop, 1).await;
    assert_eq!(key.sign(CodeKind::Purchase, genuine.random(), id), genuine);
    // The key that signs tickets does not make the bits of a purchase.
    let bits = [[0; 8], of(&other).random()].map(|bits| key.sign(CodeKind::Purchase, bits, id));
    let stranger = SigningKey::from_seed(1, &[7; 32]).expect("32 bytes");
    let unknown = SigningKey::from_seed(2, &[7; 32]).expect("32 bytes");
    let by_others = [stranger, unknown].map(|key| key.sign(CodeKind::Purchase, genuine.random(), id));
    let as_ticket = [key.sign(CodeKind::Seat(0), genuine.random(), id)];
    let mut forged: Vec<_> = bits.into_iter().chain(by_others).chain(as_ticket).collect();
    for bit in (0..93 * 8).step_by(7) {
        let mut bytes = genuine.to_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        forged.extend(TicketCode::from_bytes(&bytes).ok());
    }
    assert!(forged.len() > 90, "{} codes", forged.len());
    for code in forged {
        assert_eq!(flaws(server, &code.to_text(), &showtime).await, [TicketFlaw::NotGenuine], "{code:?}");
        reason_of(admit(server, at_door(&code.to_text(), &showtime, "1", 0)).await, "TICKET_NOT_GENUINE");
    }
    admit(server, at_door(&one.code, &showtime, "1", 0)).await.expect("it was not used");
}

async fn a_code_of_a_purchase_is_good_until_its_key_is_retired(mut shop: Shop) {
    let showtime = open_doors(&shop.server).await;
    let old = bought(&shop.server, &showtime, "A1 A2", "tok_ok").await;
    let another = SigningKey::from_seed(2, &[9; 32]).expect("32 bytes");
    let bytes = |bytes: &[u8]| {
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        if shop.storage.is_postgres() { format!("'\\x{hex}'") } else { format!("x'{hex}'") }
    };
    let (seed, public_key) = (bytes(&[9; 32]), bytes(another.public_key()));
    let add = format!(
        "INSERT INTO signing_keys (key_id, seed, public_key, create_time) \
         SELECT 2, {seed}, {public_key}, create_time FROM signing_keys"
    );
    for change in [&*add, "UPDATE signing_keys SET retire_time = create_time WHERE key_id = 1"] {
        shop.server.stop().await;
        shop.storage.sql(change).await.expect("the statement is right");
        shop.server = shop.server.setup().clone().start().await;
        let server = &shop.server;
        let now = purchase(server, &old).await;
        assert!(now.secret == old.secret && now.code != old.code);
        if change == add {
            for (nonce, code) in [("1", &old.code), ("2", &now.code)] {
                admit(server, at_door(code, &showtime, nonce, 1)).await.expect("both keys are accepted");
            }
        } else {
            let fresh = bought(server, &showtime, "B1", "tok_ok").await;
            assert_eq!(flaws(server, &old.code, &showtime).await, [TicketFlaw::NotGenuine]);
            // Its tickets are those of the key that is retired.
            assert_eq!(flaws(server, &now.code, &showtime).await, [TicketFlaw::NotGenuine, TicketFlaw::Used]);
            admit(server, at_door(&fresh.code, &showtime, "3", 0)).await.expect("its key signs now");
        }
    }
}

//! Scans of devices that had no network: all are recorded, and a ticket that has admitted two people is flagged.

use boxoffice::{
    clock::Clock,
    pb::boxoffice::v1::{
        Scan, Ticket, TicketFlaw, TicketState, UploadScansRequest, UploadScansResponse, UseTicketRequest,
    },
};
use chrono::TimeDelta;
use futures_util::future::join_all;
use tonic::Code;

use crate::{
    harness::{
        assert_refused, assert_violates,
        door::{OfflineDoor, one, scan, upload},
        seats::instant,
        shop::Shop,
        staff::exchange,
        timestamp,
    },
    refunds::{of_these, refund, until_ended},
    tickets::{at_door, bought, client, flaws, open_doors, reservation, seat, tickets, use_ticket},
};

in_both_shops!(
    two_doors_without_a_network_admit_both_and_are_told,
    scans_are_recorded_once_however_often_they_are_uploaded,
    a_scan_is_recorded_whatever_is_wrong_with_its_ticket,
    a_use_whose_answer_was_lost_is_no_double_admission,
    a_ticket_that_was_blocked_when_it_was_scanned_is_used_when_it_is_issued,
    uploads_at_the_same_time_use_a_ticket_once,
    the_code_of_a_purchase_is_recorded_for_each_of_its_tickets,
    more_people_than_a_purchase_has_tickets_are_double_admissions,
    a_party_that_comes_one_after_another_uses_its_tickets_one_after_another,
    invalid_scans_are_refused_for_every_flaw_and_none_is_recorded,
);

/// A time some minutes ago.
fn ago(minutes: i64) -> prost_types::Timestamp {
    timestamp(Clock::System.now() - TimeDelta::minutes(minutes))
}

/// The devices of the only double admission, in their order.
fn devices(answer: &UploadScansResponse) -> Vec<&str> {
    let [double] = &answer.double_admissions[..] else { panic!("there is one: {answer:#?}") };
    double.admissions.iter().map(|admission| admission.device.as_str()).collect()
}

/// Which of the people of an upload came with a ticket that was used.
fn flags(answer: &UploadScansResponse) -> Vec<bool> {
    answer.results.iter().map(|result| result.double_admission).collect()
}

/// The seats of their tickets, as in "A1".
fn seats_of(answer: &UploadScansResponse) -> Vec<String> {
    answer.results.iter().map(|result| seat(result.ticket.as_ref().expect("there is one"))).collect()
}

async fn two_doors_without_a_network_admit_both_and_are_told(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let sold = bought(server, &showtime, "A1 A2", "tok_ok").await;
    let made = tickets(server, &sold.purchase_id).await;
    let first = OfflineDoor::load(server, &showtime.showtime_id, "door 1").await;
    let second = OfflineDoor::load(server, &showtime.showtime_id, "door 2").await;
    assert!(first.admits(&made[0].code) && second.admits(&made[0].code), "neither knows of the other");
    // The later one has its network back before the earlier one.
    let answer = upload(server, &second.device, &[scan(&made[0], "7", ago(5))]).await.expect("it is recorded");
    assert!(!one(&answer).double_admission && answer.double_admissions.is_empty());
    let used = one(&answer).ticket.as_ref().expect("there is one");
    assert_eq!((used.state(), used.use_device.as_str()), (TicketState::Used, "door 2"));
    let answer = upload(server, &first.device, &[scan(&made[0], "7", ago(9)), scan(&made[1], "8", ago(8))]).await;
    let answer = answer.expect("they are recorded");
    assert_eq!(answer.results.iter().map(|result| result.double_admission).collect::<Vec<_>>(), [true, false]);
    assert_eq!(answer.results[0].why().collect::<Vec<_>>(), [TicketFlaw::Used]);
    assert_eq!(devices(&answer), ["door 1", "door 2"]);
    // A door with a network has used the second ticket's neighbour before: it is refused there as always.
    let status = use_ticket(server, at_door(&made[1], &showtime, "9")).await.expect_err("it was used");
    assert_refused(&status, Code::FailedPrecondition, "TICKET_USED");
    shop.assert_audit().await;
}

async fn scans_are_recorded_once_however_often_they_are_uploaded(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let sold = bought(server, &showtime, "A1 A2", "tok_ok").await;
    let made = tickets(server, &sold.purchase_id).await;
    use_ticket(server, at_door(&made[1], &showtime, "1")).await.expect("it is issued");
    let scans = [scan(&made[0], "1", ago(9)), scan(&made[1], "2", ago(8)), scan(&made[0], "1", ago(9))];
    let answer = upload(server, "door 2", &scans).await.expect("they are recorded");
    assert_eq!(answer.results.len(), 3);
    assert_eq!(answer.results[0], answer.results[2], "one is in the upload twice");
    assert_eq!(devices(&answer), ["door 2", "door 1"]);
    let again = upload(server, "door 2", &scans).await.expect("it is repeated");
    assert_eq!(again, answer);
    // A nonce that was used for another ticket is a fault of the device. Its scan is recorded all the same.
    let other = bought(server, &showtime, "B1", "tok_ok").await;
    let other = tickets(server, &other.purchase_id).await;
    let answer = upload(server, "door 2", &[scan(&other[0], "1", ago(7))]).await.expect("it is recorded");
    assert!(!one(&answer).double_admission);
    assert_eq!(one(&answer).ticket.as_ref().expect("there is one").state(), TicketState::Used);
    let answer = upload(server, "door 3", &[scan(&other[0], "1", ago(6))]).await.expect("it is recorded");
    let nonces = answer.double_admissions[0].admissions.iter().map(|admission| admission.nonce.as_str());
    assert_eq!(nonces.collect::<Vec<_>>(), ["1", "1"], "the device's own");
}

async fn a_scan_is_recorded_whatever_is_wrong_with_its_ticket(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let sold = bought(server, &showtime, "A1", "tok_ok").await;
    let made = tickets(server, &sold.purchase_id).await;
    exchange(server, reservation(&sold), "A2").await.expect("A2 is free");
    let text = Scan { code: "HELLO".to_owned(), nonce: "2".to_owned(), scan_time: Some(ago(8)), ..Scan::default() };
    let misread = Scan { code: String::new(), number: "TKT-1".to_owned(), nonce: "3".to_owned(), ..text.clone() };
    let early = tickets(server, &sold.purchase_id).await.pop().expect("A2 has one");
    let by_number = Scan { code: String::new(), number: early.number.clone(), ..scan(&early, "4", ago(300)) };
    let scans = [scan(&made[0], "1", ago(9)), text, misread, by_number];
    let answer = upload(server, "door 1", &scans).await.expect("they are recorded");
    let why: Vec<Vec<_>> = answer.results.iter().map(|result| result.why().collect()).collect();
    let no_ticket = vec![TicketFlaw::NotGenuine];
    assert_eq!(why, [vec![TicketFlaw::Voided], no_ticket.clone(), no_ticket, vec![TicketFlaw::TooEarly]]);
    let states =
        answer.results.iter().map(|result| result.ticket.as_ref().map(boxoffice::pb::boxoffice::v1::Ticket::state));
    assert_eq!(states.collect::<Vec<_>>(), [Some(TicketState::Voided), None, None, Some(TicketState::Used)]);
    // A second person with the voided ticket is refused for both reasons.
    assert_eq!(flaws(server, &made[0].code, &showtime).await, [TicketFlaw::Voided, TicketFlaw::Used]);
    shop.assert_audit().await;
}

async fn a_use_whose_answer_was_lost_is_no_double_admission(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let sold = bought(server, &showtime, "A1", "tok_ok").await;
    let made = tickets(server, &sold.purchase_id).await;
    let used = use_ticket(server, at_door(&made[0], &showtime, "1")).await.expect("it is issued");
    let answer = upload(server, "door 1", &[scan(&made[0], "1", ago(0))]).await.expect("it is recorded");
    assert!(!one(&answer).double_admission && one(&answer).why.is_empty());
    assert_eq!(one(&answer).ticket.as_ref(), Some(&used));
    let answer = upload(server, "door 2", &[scan(&made[0], "1", ago(0))]).await.expect("it is recorded");
    assert!(one(&answer).double_admission, "a nonce belongs to its device");
}

async fn a_ticket_that_was_blocked_when_it_was_scanned_is_used_when_it_is_issued(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let sold = bought(server, &showtime, "A1", "tok_refund_fails").await;
    let made = tickets(server, &sold.purchase_id).await;
    shop.gateway.pause().await;
    refund(server, of_these(&sold, "A1")).await.expect("it was paid");
    let answer = upload(server, "door 1", &[scan(&made[0], "1", ago(1))]).await.expect("it is recorded");
    assert_eq!(one(&answer).why().collect::<Vec<_>>(), [TicketFlaw::Blocked]);
    assert_eq!(one(&answer).ticket.as_ref().expect("there is one").state(), TicketState::Blocked);
    shop.gateway.resume();
    until_ended(server, &sold, 1).await;
    let after = tickets(server, &sold.purchase_id).await;
    assert_eq!(after[0].state(), TicketState::Used);
    assert_eq!(instant(after[0].use_time), instant(one(&answer).ticket.as_ref().expect("there is one").use_time));
    shop.assert_audit().await;
}

async fn the_code_of_a_purchase_is_recorded_for_each_of_its_tickets(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let sold = bought(server, &showtime, "A1 A2 A3", "tok_ok").await;
    let made = tickets(server, &sold.purchase_id).await;
    use_ticket(server, at_door(&made[0], &showtime, "1")).await.expect("it is issued");
    let of_all = Ticket { code: sold.code.clone(), ..made[0].clone() };
    // One of the party comes with the code of all, and the answer to its door is lost.
    let request = UseTicketRequest { device: "door 4".to_owned(), count: 1, ..at_door(&of_all, &showtime, "9") };
    let used = use_ticket(server, request).await.expect("two are left");
    let answer = upload(server, "door 4", &[scan(&of_all, "9", ago(4))]).await.expect("it is recorded");
    assert_eq!((one(&answer).ticket.as_ref(), one(&answer).double_admission), (Some(&used), false));
    let answer = upload(server, "door 2", &[scan(&of_all, "1", ago(3))]).await.expect("it is recorded");
    assert_eq!(flags(&answer), [false], "one was not used");
    assert_eq!(upload(server, "door 2", &[scan(&of_all, "1", ago(3))]).await.expect("it is repeated"), answer);
    let answer = upload(server, "door 3", &[scan(&of_all, "1", ago(2))]).await.expect("it is recorded");
    assert_eq!((flags(&answer), answer.double_admissions.len()), (vec![true; 3], 3));
    let forged = Ticket { code: format!("{}000", &sold.code[..137]), ..made[0].clone() };
    let answer = upload(server, "door 3", &[scan(&forged, "2", ago(1))]).await.expect("it is recorded");
    assert_eq!(one(&answer).why().collect::<Vec<_>>(), [TicketFlaw::NotGenuine]);
}

/// Scans of the code of a purchase, each with how many were admitted.
fn of_party(code: &str, admitted: &[(i32, &str)]) -> Vec<Scan> {
    let (code, scan_time) = (code.to_owned(), Some(ago(1)));
    let of = |(count, nonce): &(i32, &str)| Scan { nonce: (*nonce).to_owned(), count: *count, ..Scan::default() };
    admitted.iter().map(of).map(|scan| Scan { code: code.clone(), scan_time, ..scan }).collect()
}

async fn a_party_that_comes_one_after_another_uses_its_tickets_one_after_another(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let sold = bought(server, &showtime, "A1 A2 A3", "tok_ok").await;
    let answer =
        upload(server, "door 1", &of_party(&sold.code, &[(1, "1"), (2, "2")])).await.expect("they are recorded");
    assert_eq!(flags(&answer), [false; 3]);
    assert_eq!(seats_of(&answer), ["A1", "A2", "A3"]);
    // Another door was shown the same code by one person.
    let answer = upload(server, "door 2", &of_party(&sold.code, &[(1, "1")])).await.expect("it is recorded");
    assert_eq!((flags(&answer), devices(&answer)), (vec![true], vec!["door 1", "door 2"]));
    // A device that says another number under the same name has admitted one more.
    let answer = upload(server, "door 2", &of_party(&sold.code, &[(2, "1")])).await.expect("it is recorded");
    assert_eq!((flags(&answer), answer.double_admissions.len()), (vec![true; 2], 2));
    shop.assert_audit().await;
}

async fn more_people_than_a_purchase_has_tickets_are_double_admissions(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let sold = bought(server, &showtime, "A1 A2", "tok_ok").await;
    let made = tickets(server, &sold.purchase_id).await;
    // The answer for one of the tickets was lost.
    use_ticket(server, at_door(&made[1], &showtime, "1")).await.expect("it is issued");
    let scans = of_party(&sold.code, &[(3, "1")]);
    let answer = upload(server, "door 1", &scans).await.expect("it is recorded");
    assert_eq!(flags(&answer), [false, false, true]);
    assert_eq!(seats_of(&answer), ["A2", "A1", "A2"]);
    assert_eq!(devices(&answer), ["door 1", "door 1"]);
    assert_eq!(upload(server, "door 1", &scans).await.expect("it is repeated"), answer);
    // Two people with one ticket.
    let other = bought(server, &showtime, "B1", "tok_ok").await;
    let other = tickets(server, &other.purchase_id).await;
    let answer = upload(server, "door 1", &[Scan { count: 2, ..scan(&other[0], "2", ago(1)) }]).await;
    let answer = answer.expect("it is recorded");
    assert_eq!((flags(&answer), devices(&answer)), (vec![false, true], vec!["door 1", "door 1"]));
    shop.assert_audit().await;
}

async fn uploads_at_the_same_time_use_a_ticket_once(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let sold = bought(server, &showtime, "A1 A2 A3 A4", "tok_ok").await;
    let made = tickets(server, &sold.purchase_id).await;
    let scans: Vec<_> = made.iter().map(|ticket| scan(ticket, &ticket.number, ago(3))).collect();
    // Each of ten devices uploads everything, and twice at the same time.
    let uploads = (0..20).map(|at| {
        let scans = scans.clone();
        async move { upload(server, &format!("door {}", at % 10), &scans).await.expect("they are recorded") }
    });
    let answers = join_all(uploads).await;
    for seat in 0..4 {
        let first: Vec<_> = answers.iter().filter(|answer| !answer.results[seat].double_admission).collect();
        assert_eq!(first.len(), 2, "one device was the first, in both of its uploads");
    }
    for (answer, twin) in answers.iter().zip(&answers[10..]) {
        assert_eq!(flags(answer), flags(twin));
    }
    let answer = upload(server, "door 0", &scans[..1]).await.expect("it is repeated");
    let again = upload(server, "door 1", &scans[..1]).await.expect("it is repeated");
    let double = answer.double_admissions.first().or(again.double_admissions.first()).expect("one of them is flagged");
    assert_eq!(double.admissions.len(), 10);
}

async fn invalid_scans_are_refused_for_every_flaw_and_none_is_recorded(shop: Shop) {
    let (server, showtime) = (&shop.server, open_doors(&shop.server).await);
    let sold = bought(server, &showtime, "A1", "tok_ok").await;
    let made = tickets(server, &sold.purchase_id).await;
    let both = Scan { number: made[0].number.clone(), nonce: String::new(), ..scan(&made[0], "1", ago(1)) };
    let long = Scan { code: "A".repeat(141), scan_time: None, count: 101, ..scan(&made[0], "2", ago(1)) };
    let status = upload(server, "", &[scan(&made[0], "3", ago(1)), both, long]).await.expect_err("they are not valid");
    let of_both = ["device", "scans[1].code", "scans[1].number", "scans[1].nonce"];
    let fields = [&of_both[..], &["scans[2].code", "scans[2].scan_time", "scans[2].count"]].concat();
    assert_violates(&status, &fields);
    assert!(flaws(server, &made[0].code, &showtime).await.is_empty());
    let party = |nonce: u8| Scan { count: 100, ..scan(&made[0], &nonce.to_string(), ago(1)) };
    let status = upload(server, "door 1", &(0..21).map(party).collect::<Vec<_>>()).await.expect_err("too many people");
    assert_violates(&status, &["scans"]);
    assert!(flaws(server, &made[0].code, &showtime).await.is_empty());
    let request = |scans| UploadScansRequest { device: "door 1".to_owned(), scans };
    for count in [0, 501] {
        let scans = vec![scan(&made[0], "1", ago(1)); count];
        let status = client(server).upload_scans(request(scans)).await.expect_err("too few or too many");
        assert_violates(&status, &["scans"]);
    }
}

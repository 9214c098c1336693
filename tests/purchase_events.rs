//! The events of purchases, payments and refunds: complete, in order, and with nothing that is secret.

use boxoffice::pb::boxoffice::{
    events::v1::{AggregateType, Event, PurchaseFailureReason, PurchaseStepName, event::Payload},
    v1::{
        CancelShowtimeRequest, CreateShowtimeRequest, FeedEvent, PurchaseOutcome, PurchaseState,
        PurchaseTicketsRequest, RefundState, SettlePurchaseRequest, SubscribeEventsRequest,
    },
};
use prost::Message as _;

use crate::{
    harness::{
        Redis, Store, euros,
        events::{assert_complete, next_event, subscribe},
        in_hours,
        purchase_events::{assert_agree, every_event, kinds, of_aggregate},
        purchases::{buy, card, continue_with, of_hold, of_seats, until_ended, until_state},
        redis_stream::{has, with_sink},
        reporting::Reporting,
        request_id,
        seats::{reserve, showtime, showtime_with, these},
        shop::{Shop, WrongShop},
        shoppers::ROWS,
        staff::release,
        webhooks::{Receiver, Webhooks},
        wrong_gateway::Wrong,
    },
    refunds,
};

in_both_shops!(
    a_completed_purchase_tells_each_step_in_order,
    each_payment_that_is_declined_is_told,
    a_purchase_that_waits_for_its_customer_tells_what_comes_next,
    what_is_undone_is_told_backwards,
    a_purchase_without_a_price_tells_that_it_is_paid,
    a_refund_tells_its_beginning_and_its_end,
    seats_that_are_given_up_tell_their_refunds,
    events_of_purchases_are_filtered_by_type_showtime_and_cinema,
    sinks_and_webhooks_deliver_the_events_of_purchases,
    reports_are_not_changed_by_the_events_of_purchases,
);
in_both_shops!(a_purchase_that_was_begun_without_events_has_those_of_what_comes_next,);
in_both_shops!(WrongShop:
    a_purchase_that_is_stuck_tells_so_and_what_became_of_it,
);

fn data(event: &FeedEvent) -> &Event {
    event.data.as_ref().expect("an event has data")
}

/// The payload of this kind, of the events of an aggregate.
fn payload(events: &[FeedEvent], id: &str, kind: &str) -> Payload {
    let found = of_aggregate(events, id).into_iter().find(|event| event.r#type.ends_with(kind));
    data(found.expect("there is such an event")).payload.clone().expect("it has a payload")
}

const STEPS_TO_PAY: [&str; 4] =
    ["PurchaseStarted", "PurchaseStepCompleted", "PaymentAuthorized", "PurchaseStepCompleted"];

async fn a_completed_purchase_tells_each_step_in_order(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let held = reserve(&shop.server, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    let return_uri = "https://shop.example/after-the-bank".to_owned();
    let request = PurchaseTicketsRequest { return_uri, ..of_hold(&held, "tok_ok") };
    let bought = buy(&shop.server, request).await.expect("the purchase begins");
    let other = buy(&shop.server, of_seats(&showtime, "bob", "B1", "tok_ok")).await.expect("the seat is free");
    let events = every_event(shop.server.events()).await;
    assert_agree(&events, &[bought.clone(), other.clone()]);
    let done = [
        "PurchaseStepCompleted",
        "PaymentCompleted",
        "PurchaseStepCompleted",
        "PurchaseStepCompleted",
        "PurchaseCompleted",
    ];
    for purchase in [&bought, &other] {
        assert_eq!(kinds(&events, &purchase.purchase_id), [&STEPS_TO_PAY[..], &done].concat());
    }
    let own = of_aggregate(&events, &bought.purchase_id);
    let steps = own.iter().filter_map(|event| match &data(event).payload {
        Some(Payload::PurchaseStepCompleted(completed)) => Some((completed.step(), completed.compensation)),
        _ => None,
    });
    let all = [
        PurchaseStepName::ReserveSeats,
        PurchaseStepName::Pay,
        PurchaseStepName::ConfirmReservation,
        PurchaseStepName::Capture,
        PurchaseStepName::IssueTickets,
    ];
    assert_eq!(steps.collect::<Vec<_>>(), all.map(|step| (step, false)));
    let (last, payment_id) = (own.last().expect("there are events"), &bought.payments[0].payment_id);
    assert_eq!(last.source, format!("/purchases/{}", bought.purchase_id));
    let revision = data(last).revision;
    assert_eq!((&last.id, &last.subject), (&format!("{}/{revision}/3", bought.purchase_id), &bought.purchase_id));
    for event in &own {
        let event = data(event);
        assert_eq!((event.aggregate_type(), &event.showtime_id), (AggregateType::Purchase, &showtime.showtime_id));
        assert!(event.traceparent.starts_with("00-"), "{event:?}");
        let text = format!("{event:?}{}", String::from_utf8_lossy(&event.encode_to_vec()));
        for secret in ["tok_ok", "after-the-bank", &bought.number] {
            assert!(!text.contains(secret), "{secret}: {event:?}");
        }
    }
    let Payload::PurchaseStarted(started) = payload(&events, &bought.purchase_id, "PurchaseStarted") else { panic!() };
    assert_eq!((started.customer_id.as_str(), &started.total_price), ("ada", &held.total_price));
    let Payload::PurchaseStarted(started) = payload(&events, &other.purchase_id, "PurchaseStarted") else { panic!() };
    assert_eq!(started.total_price, None, "the seats are held first");
    let paid = own.iter().find(|event| event.r#type.ends_with("PaymentCompleted")).expect("it is paid");
    let Some(Payload::PaymentCompleted(completed)) = &data(paid).payload else { panic!() };
    assert_eq!((&paid.subject, &completed.payment_id), (payment_id, payment_id));
    assert_eq!((&completed.amount, completed.method.as_str()), (&bought.total, "credit_card"));
    let Payload::PurchaseCompleted(ended) = payload(&events, &bought.purchase_id, "PurchaseCompleted") else {
        panic!()
    };
    assert_eq!((&ended.payment_id, &ended.total_price), (payment_id, &bought.total));
    assert_eq!(ended.reservation_id, held.reservation_id);
}

async fn each_payment_that_is_declined_is_told(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let request = of_seats(&showtime, "ada", "A1", "tok_declined_insufficient_funds");
    let declined = buy(&shop.server, request).await.expect("a decline is an answer");
    let bought = continue_with(&shop.server, &declined, Some(card("tok_ok"))).await.expect("it is tried");
    let bought = until_state(&shop.server, &bought, PurchaseState::Completed).await;
    let gone = buy(&shop.server, of_seats(&showtime, "bob", "B1", "tok_nobody_knows")).await.expect("it begins");
    let gone = until_state(&shop.server, &gone, PurchaseState::Compensated).await;
    let events = every_event(shop.server.events()).await;
    assert_agree(&events, &[bought.clone(), gone.clone()]);
    let told = kinds(&events, &bought.purchase_id);
    assert_eq!(told[2..4], ["PaymentDeclined", "PaymentAuthorized"]);
    for (purchase, code, retryable) in [(&bought, "insufficient_funds", true), (&gone, "unknown_token", false)] {
        let Payload::PaymentDeclined(declined) = payload(&events, &purchase.purchase_id, "PaymentDeclined") else {
            panic!()
        };
        assert_eq!((declined.decline_code.as_str(), declined.retryable), (code, retryable));
        assert_eq!(declined.payment_id, purchase.payments[0].payment_id);
    }
    let Payload::PurchaseCompensated(ended) = payload(&events, &gone.purchase_id, "PurchaseCompensated") else {
        panic!()
    };
    assert_eq!(
        (ended.reason(), ended.decline_code.as_str()),
        (PurchaseFailureReason::PaymentDeclined, "unknown_token")
    );
}

async fn a_purchase_that_waits_for_its_customer_tells_what_comes_next(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let waits = buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_action_required")).await.expect("it begins");
    assert_eq!(waits.state(), PurchaseState::AwaitingCustomer, "{waits:#?}");
    // A customer who comes back without having done anything changes nothing.
    continue_with(&shop.server, &waits, None).await.expect("it is asked");
    let events = every_event(shop.server.events()).await;
    assert_eq!(kinds(&events, &waits.purchase_id), STEPS_TO_PAY[..2]);
    for event in of_aggregate(&events, &waits.purchase_id) {
        assert!(!format!("{event:?}").contains("http"), "the address is the customer's: {event:?}");
    }
    shop.gateway.complete_action(&waits.payments[0].payment_id, true).await;
    continue_with(&shop.server, &waits, None).await.expect("it is asked");
    let bought = until_state(&shop.server, &waits, PurchaseState::Completed).await;
    let events = every_event(shop.server.events()).await;
    assert_agree(&events, std::slice::from_ref(&bought));
    assert_eq!(kinds(&events, &bought.purchase_id)[..4], STEPS_TO_PAY);
}

/// The events so far are made those of something else, as if a program without these events had begun the purchase.
async fn a_purchase_that_was_begun_without_events_has_those_of_what_comes_next(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let waits = buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_action_required")).await.expect("it begins");
    assert_complete(&every_event(shop.server.events()).await);
    let (own, other) = (waits.purchase_id.clone(), request_id());
    let move_events = if shop.storage.is_postgres() {
        format!(
            "UPDATE outbox SET aggregate = '{other}' WHERE aggregate = '{own}'; \
             UPDATE feed_segments SET aggregates = array_replace(aggregates, '{own}'::uuid, '{other}'::uuid)"
        )
    } else {
        let [own, other] = [&own, &other].map(|id| id.replace('-', ""));
        ["outbox", "feed"]
            .map(|table| format!("UPDATE {table} SET aggregate = X'{other}' WHERE aggregate = X'{own}'"))
            .join("; ")
    };
    let forget = "UPDATE purchases SET event_revision = 0, event_time = NULL";
    shop.storage.sql(&format!("{move_events}; {forget}")).await.expect("the events are another's");
    shop.gateway.complete_action(&waits.payments[0].payment_id, true).await;
    continue_with(&shop.server, &waits, None).await.expect("it is asked");
    until_state(&shop.server, &waits, PurchaseState::Completed).await;
    let events = every_event(shop.server.events()).await;
    assert_complete(&events);
    assert_eq!(kinds(&events, &other), STEPS_TO_PAY[..2]);
    let told = kinds(&events, &own);
    assert_eq!((told.first(), told.last()), (Some(&"PaymentAuthorized"), Some(&"PurchaseCompleted")));
}

async fn what_is_undone_is_told_backwards(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let begun = buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_capture_fails")).await.expect("it begins");
    let undone = until_state(&shop.server, &begun, PurchaseState::Compensated).await;
    let events = every_event(shop.server.events()).await;
    assert_agree(&events, std::slice::from_ref(&undone));
    let undone_steps =
        of_aggregate(&events, &undone.purchase_id).into_iter().filter_map(|event| match &data(event).payload {
            Some(Payload::PurchaseStepCompleted(completed)) if completed.compensation => Some(completed.step()),
            _ => None,
        });
    let expected = [PurchaseStepName::Pay, PurchaseStepName::ConfirmReservation, PurchaseStepName::ReserveSeats];
    assert_eq!(undone_steps.collect::<Vec<_>>(), expected);
    let Payload::PurchaseCompensated(ended) = payload(&events, &undone.purchase_id, "PurchaseCompensated") else {
        panic!()
    };
    assert_eq!(ended.reason(), PurchaseFailureReason::CaptureFailed);
}

async fn a_refund_tells_its_beginning_and_its_end(shop: Shop) {
    let bought = refunds::bought(&shop, "ada", "A1 A2", "tok_ok").await;
    let (_, begun) = refunds::refund(&shop.server, refunds::of_these(&bought, "A2")).await.expect("it was paid");
    refunds::until_ended(&shop.server, &bought, 1).await;
    let kept = refunds::bought(&shop, "bob", "B1", "tok_refund_fails").await;
    let (_, failed) = refunds::refund(&shop.server, refunds::all(&kept)).await.expect("it was paid");
    let payment = refunds::until_ended(&shop.server, &kept, 1).await;
    assert_eq!(payment.refunds[0].state(), RefundState::Failed);
    let shown = [until_ended(&shop.server, &bought).await, until_ended(&shop.server, &kept).await];
    let events = every_event(shop.server.events()).await;
    assert_agree(&events, &shown);
    assert_eq!(kinds(&events, &failed.refund_id), ["PaymentRefundStarted", "PaymentRefundFailed"]);
    let own = of_aggregate(&events, &begun.refund_id);
    let revisions: Vec<_> = own.iter().map(|event| (data(event).revision, data(event).aggregate_type())).collect();
    assert_eq!(revisions, [(1, AggregateType::Refund), (2, AggregateType::Refund)]);
    let (source, payment_id) = (format!("/refunds/{}", begun.refund_id), &bought.payments[0].payment_id);
    assert!(own.iter().all(|event| event.source == source && event.subject == *payment_id), "{own:#?}");
    let Payload::PaymentRefunded(refunded) = payload(&events, &begun.refund_id, "PaymentRefunded") else { panic!() };
    assert_eq!((&refunded.amount, refunded.customer_id.as_str()), (&begun.amount, "ada"));
    assert_eq!((&refunded.purchase_id, &refunded.refund_id), (&bought.purchase_id, &begun.refund_id));
    let seats: Vec<_> = refunded.seats.iter().map(|seat| (seat.row.as_str(), seat.number)).collect();
    assert_eq!(seats, [("A", 2)]);
}

async fn seats_that_are_given_up_tell_their_refunds(shop: Shop) {
    let showtime = showtime(&shop.server).await;
    let mut sales = Vec::new();
    for (customer, names) in [("ada", "A1 A2"), ("bob", "B1"), ("cem", "D1")] {
        sales.push(buy(&shop.server, of_seats(&showtime, customer, names, "tok_ok")).await.expect("they are free"));
    }
    release(&shop.server, sales[0].reservation.as_ref().expect("it has one"), "A1").await.expect("it is sold");
    let showtime_id = showtime.showtime_id.clone();
    let cancel = CancelShowtimeRequest { showtime_id, force: true, ..CancelShowtimeRequest::default() };
    shop.server.showtimes().cancel_showtime(cancel).await.expect("it is forced");
    let mut shown = Vec::new();
    for (sale, count) in sales.iter().zip([2, 1, 1]) {
        let payment = refunds::until_ended(&shop.server, sale, count).await;
        assert!(payment.refunds.iter().all(|refund| refund.state() == RefundState::Done), "{payment:#?}");
        shown.push(until_ended(&shop.server, sale).await);
    }
    let events = every_event(shop.server.events()).await;
    assert_agree(&events, &shown);
    let count = |kind: &str| events.iter().filter(|event| event.r#type.ends_with(kind)).count();
    assert_eq!((count("PaymentRefundStarted"), count("PaymentRefunded")), (4, 4));
    let begun = events.iter().find(|event| event.r#type.ends_with("PaymentRefundStarted")).expect("there are four");
    assert!(data(begun).traceparent.starts_with("00-"), "the request has caused it: {begun:?}");
}

async fn a_purchase_without_a_price_tells_that_it_is_paid(shop: Shop) {
    let price = Some(euros(0, 0));
    let free = |request| CreateShowtimeRequest { price, ..request };
    let showtime = showtime_with(&shop.server, &ROWS, in_hours(0), free).await;
    let bought = buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_ok")).await.expect("the seat is free");
    let bought = until_state(&shop.server, &bought, PurchaseState::Completed).await;
    let events = every_event(shop.server.events()).await;
    assert_agree(&events, std::slice::from_ref(&bought));
    let told = kinds(&events, &bought.purchase_id);
    assert!(!told.contains(&"PaymentAuthorized"), "the gateway is not asked: {told:?}");
    let paid = payload(&events, &bought.purchase_id, "PaymentCompleted");
    let Payload::PaymentCompleted(paid) = paid else { panic!("another payload: {paid:?}") };
    assert_eq!(paid.amount, bought.total);
}

async fn events_of_purchases_are_filtered_by_type_showtime_and_cinema(shop: Shop) {
    let showtimes = [showtime(&shop.server).await, showtime(&shop.server).await];
    let mut bought = Vec::new();
    for showtime in &showtimes {
        bought.push(buy(&shop.server, of_seats(showtime, "ada", "A1", "tok_ok")).await.expect("the seat is free"));
    }
    let [_, other] = &showtimes;
    let cinema = other.auditorium.clone().expect("a showtime has an auditorium").cinema;
    let by_showtime =
        SubscribeEventsRequest { showtime_ids: vec![other.showtime_id.clone()], ..SubscribeEventsRequest::default() };
    let by_cinema = SubscribeEventsRequest { cinemas: vec![cinema], ..by_showtime.clone() };
    let types = vec!["boxoffice.v1.PurchaseCompleted".to_owned(), "PurchaseStarted".to_owned()];
    for request in [by_showtime, by_cinema] {
        let request = SubscribeEventsRequest { types: types.clone(), ..request };
        let mut events = subscribe(&shop.server, request).await.expect("the feed is read");
        let two = [next_event(&mut events).await, next_event(&mut events).await];
        assert_eq!(kinds(&two, &bought[1].purchase_id), ["PurchaseStarted", "PurchaseCompleted"]);
    }
}

async fn sinks_and_webhooks_deliver_the_events_of_purchases(shop: Shop) {
    let redis = Redis::start().await;
    let setup = shop.server.setup().clone();
    shop.server.stop().await;
    let server = with_sink(setup, &redis).start().await;
    let showtime = showtime(&server).await;
    let bought = buy(&server, of_seats(&showtime, "ada", "A1", "tok_ok")).await.expect("the seat is free");
    refunds::refund(&server, refunds::all(&bought)).await.expect("it was paid");
    refunds::until_ended(&server, &bought, 1).await;
    let events = every_event(server.events()).await;
    for (entry, event) in has(&redis, &events).await.iter().zip(&events) {
        assert_eq!(Some(&entry.event), event.data.as_ref());
        let of_feed = [&event.source, &event.r#type, &event.subject].map(String::as_str);
        assert_eq!(["source", "type", "subject"].map(|name| entry.attribute(name)), of_feed);
        assert_eq!(entry.attribute("partitionkey"), data(event).aggregate_id);
    }
    let (all, paid) = (Receiver::start().await, Receiver::start().await);
    let store = if shop.storage.is_postgres() { Store::Postgres } else { Store::Sqlite };
    let webhooks = Webhooks::of(&server, store).await;
    webhooks.local("all", &all, "");
    webhooks.local("paid", &paid, "types = ['PaymentCompleted']");
    webhooks.once(&[]).await;
    // Those of an aggregate come in their order.
    let mut ids: Vec<_> = all.event_ids();
    let mut expected: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
    let aggregate = |id: &String| id.split('/').next().unwrap_or_default().to_owned();
    ids.sort_by_key(aggregate);
    expected.sort_by_key(aggregate);
    assert_eq!(ids, expected);
    let [request] = &paid.requests()[..] else { panic!("one payment was completed") };
    let body = request.event();
    assert_eq!(body["partitionkey"], bought.purchase_id.as_str());
    assert_eq!(body["data"]["aggregateType"], "AGGREGATE_TYPE_PURCHASE");
    assert_eq!(body["data"]["paymentCompleted"]["paymentId"], bought.payments[0].payment_id.as_str());
}

async fn reports_are_not_changed_by_the_events_of_purchases(shop: Shop) {
    let reports = Reporting::new(if shop.storage.is_postgres() { Store::Postgres } else { Store::Sqlite }).await;
    let showtime = showtime(&shop.server).await;
    let bought = buy(&shop.server, of_seats(&showtime, "ada", "A1 A2", "tok_ok")).await.expect("the seats are free");
    refunds::refund(&shop.server, refunds::of_these(&bought, "A1")).await.expect("it was paid");
    refunds::until_ended(&shop.server, &bought, 1).await;
    buy(&shop.server, of_seats(&showtime, "bob", "B1", "tok_nobody_knows")).await.expect("a decline is an answer");
    reports.catch_up(shop.server.address(), &["--batch", "3"]).await;
    reports.assert_equals(&shop.server, &[showtime]).await;
    let state = reports.rows("SELECT complete_since FROM projection").await;
    assert!(state[0]["complete_since"].is_null(), "no event is taken for one of an unknown showtime: {state:?}");
}

async fn a_purchase_that_is_stuck_tells_so_and_what_became_of_it(shop: WrongShop) {
    let showtime = showtime(&shop.server).await;
    shop.wrong.set(Wrong::CapturedAmount);
    let begun = buy(&shop.server, of_seats(&showtime, "ada", "A1", "tok_ok")).await.expect("it begins");
    let stuck = until_state(&shop.server, &begun, PurchaseState::Stuck).await;
    let events = every_event(shop.server.events()).await;
    assert_agree(&events, std::slice::from_ref(&stuck));
    let Payload::PurchaseStuck(told) = payload(&events, &stuck.purchase_id, "PurchaseStuck") else { panic!() };
    assert_eq!((told.step(), told.compensation), (PurchaseStepName::Capture, false));
    let request = SettlePurchaseRequest {
        purchase_id: stuck.purchase_id.clone(),
        outcome: PurchaseOutcome::Compensated.into(),
        note: "seen in the gateway's console".to_owned(),
    };
    shop.server.operations().settle_purchase(request).await.expect("it is stuck");
    let ended = until_state(&shop.server, &stuck, PurchaseState::Compensated).await;
    let events = every_event(shop.server.events()).await;
    assert_agree(&events, std::slice::from_ref(&ended));
}

//! The model of the money in the history's checker is tested itself: it finds nothing in what the service has done, and every change of it.

use boxoffice::pb::boxoffice::{
    events::v1::{Event, PurchaseStepName, event::Payload},
    v1::{FeedEvent, PurchaseState, events_client::EventsClient},
};

use crate::{
    harness::{
        history::check_money,
        purchase_events::every_event,
        purchases::{buy, card, continue_with, of_seats, until_state},
        seats::showtime,
        shop::Shop,
    },
    refunds::{of_these, refund, until_ended},
};

in_both_shops!(every_change_of_the_events_about_money_is_found);

/// What is changed of the events, and what the model says then.
type Change = (&'static str, fn(&mut Vec<Event>));

const CHANGES: [Change; 9] = [
    ("was taken before its seats were sold", |events| {
        let taken = position(events, |payload| matches!(payload, Payload::PaymentCompleted(_)));
        let event = events.remove(taken);
        let begun = position(events, |payload| matches!(payload, Payload::PaymentAuthorized(_)));
        events.insert(begun + 1, event);
        let sold = position(events, |payload| matches!(payload, Payload::ReservationConfirmed(_)));
        let event = events.remove(sold);
        events.insert(begun + 2, event);
    }),
    ("was taken twice", |events| repeat(events, |payload| matches!(payload, Payload::PaymentCompleted(_)))),
    ("may succeed", |events| {
        // The payment of the purchase whose capture failed is not voided.
        remove(events, is_voided);
    }),
    ("the seats are given up, and their payment may succeed", |events| {
        let voided = position(events, is_voided);
        let event = events.remove(voided);
        events.push(event);
    }),
    ("two payments of the purchase", |events| {
        let at = position(events, |payload| matches!(payload, Payload::PaymentAuthorized(_)));
        let mut second = events[at].clone();
        if let Some(Payload::PaymentAuthorized(payment)) = &mut second.payload {
            payment.payment_id.push('2');
        }
        events.insert(at + 1, second);
    }),
    ("the refund that ends is not under way", |events| {
        repeat(events, |payload| matches!(payload, Payload::PaymentRefunded(_)));
    }),
    ("more is given back than was taken", |events| {
        let at = position(events, |payload| matches!(payload, Payload::PaymentRefundStarted(_)));
        if let Some(Payload::PaymentRefundStarted(refund)) = &mut events[at].payload {
            refund.amount.iter_mut().for_each(|amount| amount.units += 100);
        }
    }),
    ("what was taken is not what the seats were sold for", |events| {
        let at = position(events, |payload| matches!(payload, Payload::ReservationConfirmed(_)));
        if let Some(Payload::ReservationConfirmed(sold)) = &mut events[at].payload {
            sold.total_price.iter_mut().for_each(|total| total.units += 1);
        }
    }),
    ("it has not ended, or in two ways", |events| {
        remove(events, |payload| matches!(payload, Payload::PurchaseCompensated(_)));
    }),
];

fn is_voided(payload: &Payload) -> bool {
    matches!(payload, Payload::PurchaseStepCompleted(step) if step.compensation && step.step() == PurchaseStepName::Pay)
}

fn position(events: &[Event], which: impl Fn(&Payload) -> bool) -> usize {
    let found = events.iter().position(|event| event.payload.as_ref().is_some_and(&which));
    found.expect("there is such an event")
}

fn remove(events: &mut Vec<Event>, which: impl Fn(&Payload) -> bool) {
    let at = position(events, which);
    events.remove(at);
}

fn repeat(events: &mut Vec<Event>, which: impl Fn(&Payload) -> bool) {
    let at = position(events, which);
    events.insert(at + 1, events[at].clone());
}

async fn every_change_of_the_events_about_money_is_found(shop: Shop) {
    let (server, showtime) = (&shop.server, showtime(&shop.server).await);
    let bought = buy(server, of_seats(&showtime, "ada", "A1 A2", "tok_ok")).await.expect("they are free");
    refund(server, of_these(&bought, "A1")).await.expect("it was paid");
    until_ended(server, &bought, 1).await;
    let undone = buy(server, of_seats(&showtime, "bob", "A5", "tok_capture_fails")).await.expect("it begins");
    until_state(server, &undone, PurchaseState::Compensated).await;
    let declined = buy(server, of_seats(&showtime, "cid", "B1", "tok_declined_expired_card")).await.expect("it begins");
    continue_with(server, &declined, Some(card("tok_ok"))).await.expect("it waits for a token");
    until_state(server, &declined, PurchaseState::Completed).await;
    let feed = every_event(EventsClient::new(server.channel())).await;
    let events: Vec<Event> = feed.into_iter().filter_map(|FeedEvent { data, .. }| data).collect();
    let charged = shop.gateway.payments().await;
    assert_eq!(check_money(events.iter(), &charged), Vec::<String>::new());
    for (expected, change) in CHANGES {
        let mut others = events.clone();
        change(&mut others);
        let found = check_money(others.iter(), &charged);
        assert!(found.iter().any(|anomaly| anomaly.contains(expected)), "{expected}: {found:#?}");
    }
    // The gateway has taken more than the events tell of.
    let mut others = charged;
    let captured = others.iter_mut().filter_map(|payment| payment.captured_amount.as_mut());
    captured.filter(|amount| amount.units > 0).for_each(|amount| amount.units += 1);
    let found = check_money(events.iter(), &others);
    assert!(found.iter().any(|anomaly| anomaly.contains("the gateway has")), "{found:#?}");
}

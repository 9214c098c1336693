//! A model of the money, from the events of the feed alone: what each purchase has authorised, taken and given back, and which seats it had
//! meanwhile. It shares no code with the service.
//!
//! Events that are committed together stand beside each other in the feed, in an order that says nothing. So the order is checked only of
//! what is committed one after the other: the money is taken after the seats were sold, and seats are given up after the payment for
//! them was voided.

use std::collections::{BTreeMap, HashMap};

use boxoffice::pb::{
    boxoffice::events::v1::{Event, PurchaseStepName, SeatsReleasedReason, event::Payload},
    payments::v1::Payment,
};

use crate::harness::money::{minor, taken};

/// One purchase as its events tell.
#[derive(Debug, Default)]
struct Bought {
    reservation_id: String,
    /// The payments that the gateway has authorised, with what became of them.
    authorized: BTreeMap<String, Fate>,
    /// What was taken, by payment.
    taken: BTreeMap<String, i64>,
    refunds: BTreeMap<String, Refund>,
    completed: bool,
    compensated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Voided,
    Taken,
}

#[derive(Debug)]
struct Refund {
    payment_id: String,
    amount: i64,
    state: RefundFate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RefundFate {
    Open,
    Done,
    Failed,
}

/// One reservation as its events tell.
#[derive(Debug, Default)]
struct Seats {
    /// What was paid for them, once they were sold.
    sold_for: Option<i64>,
    /// What the seats cost that were given back.
    given_back: i64,
}

/// Everything that the events so far tell.
#[derive(Default)]
struct MoneyModel {
    purchases: BTreeMap<String, Bought>,
    seats: HashMap<String, Seats>,
    anomalies: Vec<String>,
}

/// Lists every anomaly of the money in all events of the feed, compared at the end with all payments of the gateway. Nothing is under way.
pub(crate) fn check_money<'a>(events: impl Iterator<Item = &'a Event>, charged: &[Payment]) -> Vec<String> {
    let mut model = MoneyModel::default();
    for event in events {
        model.apply(event);
    }
    model.check_end(charged);
    model.anomalies
}

impl MoneyModel {
    fn apply(&mut self, event: &Event) {
        let Some(payload) = &event.payload else { return };
        match payload {
            Payload::PurchaseStarted(started) => {
                started.reservation_id.clone_into(&mut self.bought(&started.purchase_id).reservation_id);
            }
            Payload::PaymentAuthorized(payment) => self.authorized(&payment.purchase_id, &payment.payment_id),
            Payload::PurchaseStepCompleted(step) if step.step() == PurchaseStepName::Pay && step.compensation => {
                let open = self.bought(&step.purchase_id).authorized.values_mut().filter(|fate| **fate == Fate::Open);
                open.for_each(|fate| *fate = Fate::Voided);
            }
            Payload::PaymentCompleted(payment) => {
                self.completed(&payment.purchase_id, &payment.payment_id, minor(payment.amount.as_ref()));
            }
            Payload::PurchaseCompleted(ended) => self.bought(&ended.purchase_id).completed = true,
            Payload::PurchaseCompensated(ended) => self.bought(&ended.purchase_id).compensated = true,
            Payload::PaymentRefundStarted(refund) => {
                let begun = Refund {
                    payment_id: refund.payment_id.clone(),
                    amount: minor(refund.amount.as_ref()),
                    state: RefundFate::Open,
                };
                let before = self.bought(&refund.purchase_id).refunds.insert(refund.refund_id.clone(), begun);
                if before.is_some() {
                    self.note(event, "the refund has begun before");
                }
                self.check_refunds(event, &refund.purchase_id, &refund.payment_id);
            }
            Payload::PaymentRefunded(refund) => {
                self.refund_ends(event, &refund.purchase_id, &refund.refund_id, RefundFate::Done);
            }
            Payload::PaymentRefundFailed(refund) => {
                self.refund_ends(event, &refund.purchase_id, &refund.refund_id, RefundFate::Failed);
            }
            Payload::ReservationConfirmed(sold) => {
                let seats = self.seats.entry(sold.reservation_id.clone()).or_default();
                seats.sold_for = Some(minor(sold.total_price.as_ref()));
            }
            Payload::SeatsReleased(released) => {
                self.given_up(event, &released.reservation_id);
                if released.reason() == SeatsReleasedReason::GivenBack {
                    let seats = self.seats.entry(released.reservation_id.clone()).or_default();
                    seats.given_back += minor(released.amount.as_ref());
                }
            }
            _ => {}
        }
    }

    fn bought(&mut self, purchase_id: &str) -> &mut Bought {
        self.purchases.entry(purchase_id.to_owned()).or_default()
    }

    fn note(&mut self, event: &Event, what: &str) {
        self.anomalies.push(format!("{what}: {event:?}"));
    }

    /// At most one payment of a purchase may succeed.
    fn authorized(&mut self, purchase_id: &str, payment_id: &str) {
        let bought = self.bought(purchase_id);
        if bought.authorized.values().any(|fate| *fate != Fate::Voided) {
            let what = format!("two payments of the purchase {purchase_id} may succeed: {bought:?}");
            self.anomalies.push(what);
        }
        self.bought(purchase_id).authorized.insert(payment_id.to_owned(), Fate::Open);
    }

    /// The money of the gateway is taken once, and after the seats were sold.
    fn completed(&mut self, purchase_id: &str, payment_id: &str, amount: i64) {
        let bought = self.bought(purchase_id);
        let by_gateway = bought.authorized.insert(payment_id.to_owned(), Fate::Taken).is_some();
        let again = bought.taken.insert(payment_id.to_owned(), amount).is_some();
        let reservation_id = bought.reservation_id.clone();
        let is_sold = self.seats.get(&reservation_id).is_some_and(|seats| seats.sold_for.is_some());
        if by_gateway && !is_sold {
            self.anomalies.push(format!("money of {purchase_id} was taken before its seats were sold"));
        }
        if again {
            self.anomalies.push(format!("money of {purchase_id} was taken twice"));
        }
    }

    /// Seats are given up only when no payment for them can succeed any more.
    fn given_up(&mut self, event: &Event, reservation_id: &str) {
        let of = self.purchases.values().filter(|bought| bought.reservation_id == reservation_id);
        let open = of.filter(|bought| bought.authorized.values().any(|fate| *fate == Fate::Open)).count();
        if open > 0 {
            self.note(event, "the seats are given up, and their payment may succeed");
        }
    }

    fn refund_ends(&mut self, event: &Event, purchase_id: &str, refund_id: &str, state: RefundFate) {
        let known = self.bought(purchase_id).refunds.get_mut(refund_id);
        let is_open = known.as_ref().is_some_and(|refund| refund.state == RefundFate::Open);
        if let Some(refund) = known {
            refund.state = state;
        }
        if !is_open {
            self.note(event, "the refund that ends is not under way");
        }
    }

    /// The refunds of a payment that have not failed are together no more than was taken of it.
    fn check_refunds(&mut self, event: &Event, purchase_id: &str, payment_id: &str) {
        let bought = self.bought(purchase_id);
        let refunds = bought.refunds.values().filter(|one| one.payment_id == payment_id);
        let sum: i64 = refunds.filter(|one| one.state != RefundFate::Failed).map(|one| one.amount).sum();
        // What a purchase that fails has to give back was taken without an event.
        let most = bought.taken.get(payment_id).copied();
        if most.is_some_and(|most| sum > most) {
            self.note(event, "more is given back than was taken");
        }
    }

    fn check_end(&mut self, charged: &[Payment]) {
        let mut found = Vec::new();
        let charged: HashMap<_, _> = charged.iter().map(|payment| (payment.payment_key.as_str(), payment)).collect();
        for (id, bought) in &self.purchases {
            let mut note = |what: &str| found.push(format!("purchase {id}: {what}: {bought:?}"));
            if bought.completed == bought.compensated {
                note("it has not ended, or in two ways");
            }
            if bought.authorized.values().any(|fate| *fate == Fate::Open) {
                note("it has ended, and a payment may succeed");
            }
            if bought.refunds.values().any(|refund| refund.state == RefundFate::Open) {
                note("a refund has not ended");
            }
            let done = |payment_id: &str| -> i64 {
                let of = bought.refunds.values().filter(|one| one.payment_id == payment_id);
                of.filter(|one| one.state == RefundFate::Done).map(|one| one.amount).sum()
            };
            let by_gateway = bought.authorized.keys().filter_map(|payment_id| charged.get(payment_id.as_str()));
            for payment in by_gateway {
                let key = &payment.payment_key;
                let captured = bought.taken.get(key).copied().unwrap_or_default();
                let kept = taken(payment);
                if bought.completed && kept != captured - done(key) || bought.compensated && kept != 0 {
                    note(&format!("the gateway has {kept} of {key}"));
                }
            }
            if bought.completed {
                let taken: Vec<_> = bought.taken.values().copied().collect();
                let seats = self.seats.get(&bought.reservation_id);
                if seats.and_then(|seats| seats.sold_for).map(|sold| vec![sold]) != Some(taken) {
                    note(&format!("what was taken is not what the seats were sold for: {seats:?}"));
                }
                let of = |fate| -> i64 {
                    let refunds = bought.refunds.values().filter(|refund| refund.state == fate);
                    refunds.map(|refund| refund.amount).sum()
                };
                let given_back = seats.map_or(0, |seats| seats.given_back);
                let (done, failed) = (of(RefundFate::Done), of(RefundFate::Failed));
                if !(done..=done + failed).contains(&given_back) {
                    note(&format!("seats for {given_back} were given back, and {done} of their money"));
                }
            }
        }
        let known: Vec<_> = self.purchases.values().flat_map(|bought| bought.authorized.keys()).collect();
        let strange = charged.values().filter(|payment| taken(payment) != 0);
        let strange = strange.filter(|payment| !known.contains(&&payment.payment_key));
        found.extend(strange.map(|payment| format!("a charge belongs to no purchase: {payment:?}")));
        self.anomalies.extend(found);
    }
}

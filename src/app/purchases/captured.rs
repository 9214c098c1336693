//! Purchases that have failed although the gateway has taken their money: what begins its refund.

use chrono::{DateTime, Utc};

use super::{
    held::{Beside, Held},
    ledger::{NOT_PAID, captured},
};
use crate::{
    app::{App, Error},
    domain::{
        ids::RefundId,
        prices::Split,
        purchase::{MAX_PAYMENTS, Payment},
        refund::{Chosen, Refund, RefundFacts},
    },
    store::{Companion, RefundStart, RefundVersion, start_refunds},
};

impl App {
    /// What commits with the end of such a purchase: the money in the books, and the beginning of its refund. Seats that were sold begin
    /// their refund themselves when they are given up, or have begun it before. Money for seats that were never sold is an excess.
    pub(super) async fn refund_of_failed(&self, held: &Held, now: DateTime<Utc>) -> Result<Beside, Error> {
        if held.purchase.is_sold() {
            let purchase_id = held.purchase.facts.purchase_id;
            let known = self.0.store.payments((None, Some(purchase_id)), None, MAX_PAYMENTS as u64).await?;
            let rows = self.entries(held).await?;
            let of_changes = Some(self.refund_maker(known, (NOT_PAID, ""), held.trace));
            return Ok(Beside { rows, of_changes });
        }
        let Some(payment) = held.purchase.payment() else { return Ok(Beside::default()) };
        let mut rows = captured(payment, payment.excess_entries(), now);
        rows.extend(self.refund_of_excess(held, payment, now));
        Ok(Beside { rows, of_changes: None })
    }

    /// The rows that begin the refund of a payment for which no seats were sold. It has had no refund before.
    fn refund_of_excess(&self, held: &Held, payment: &Payment, now: DateTime<Utc>) -> Vec<Companion> {
        let facts = &held.purchase.facts;
        let refund = Refund::begin(RefundFacts {
            refund_id: RefundId(self.0.clock.new_id()),
            payment_id: payment.payment_id,
            purchase_id: facts.purchase_id,
            reservation_id: facts.reservation_id,
            showtime_id: facts.showtime_id,
            chosen: Chosen { amount: payment.amount, split: Split::default(), seats: Vec::new() },
            releases: false,
            // The customer has nothing for it.
            owed: true,
            till: None,
            reason: NOT_PAID.to_owned(),
            create_time: now,
        });
        let (version, customer_id) = (RefundVersion::Exactly(0), facts.customer_id.clone());
        let start = RefundStart { refund, version, customer_id, silent: false, force: false };
        start_refunds(&[start], None, held.trace)
    }
}

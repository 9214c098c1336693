//! A purchase that is worked on here, and how it is stored: by itself, or together with a change of seats.
//!
//! What is stored last is kept beside the purchase as it is now. The events of a write are what lies between the two, so it does not
//! matter in how many steps, and by whom, the purchase was changed in between.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::{attempts, changes::Seen};
use crate::{
    app::{App, Error, decisions::Decided},
    domain::{
        purchase::{Action, Purchase},
        reservation::Reservation,
        seating::Command,
    },
    ledger::{CompanionMaker, Request},
    store::{
        Companion, PurchaseWrite, StoredPurchase,
        outbox::{LastRevision, PurchaseEvents},
        update_purchase,
    },
    telemetry::{metrics, trace_parent::TraceParent},
};

/// A purchase that pauses for longer is dropped from memory, and is taken again when it is due.
pub(super) const NAP: TimeDelta = TimeDelta::seconds(2);

/// A purchase that is worked on here.
pub(super) struct Held {
    /// Shared with what is stored as long as both are the same: thousands may wait for the gateway.
    pub(super) purchase: Arc<Purchase>,
    /// As it is stored.
    stored: Arc<Purchase>,
    last_events: LastRevision,
    pub(super) fence: i64,
    /// Whether the last payment was not stored yet.
    pub(super) new_payment: bool,
    /// Whether another task began, and may have been interrupted anywhere.
    pub(super) taken_over: bool,
    /// The reservation as it was decided here last, so that it is not read.
    pub(super) reservation: Option<Decided>,
    pub(super) trace: Option<TraceParent>,
}

/// What commits together with a purchase and a change of its seats.
#[derive(Default)]
pub(super) struct Beside {
    /// These rows.
    pub(super) rows: Vec<Companion>,
    /// Rows of what was changed. There are none if nothing was.
    pub(super) of_changes: Option<CompanionMaker>,
}

impl Held {
    pub(super) fn new(stored: &StoredPurchase, trace: Option<TraceParent>) -> Self {
        let StoredPurchase { purchase, fence, last_events, .. } = stored;
        let purchase = Arc::new(purchase.clone());
        Self {
            stored: Arc::clone(&purchase),
            purchase,
            last_events: *last_events,
            fence: *fence,
            new_payment: false,
            taken_over: false,
            reservation: None,
            trace,
        }
    }

    /// The purchase, to be changed.
    pub(super) fn change(&mut self) -> &mut Purchase {
        Arc::make_mut(&mut self.purchase)
    }

    /// Gives up what has taken too long by now. Returns whether anything changed.
    pub(super) fn notice_time(&mut self, now: DateTime<Utc>) -> bool {
        let is_late = self.purchase.pay_until().is_some_and(|until| now >= until);
        is_late && self.change().notice_time(now)
    }

    /// What those get who wait for it in this process.
    pub(super) fn seen(&self) -> Seen {
        let reservation = self.reservation.as_ref();
        let reservation = reservation.map(|decided| (Arc::clone(&decided.reservation), decided.now));
        Seen { purchase: Arc::clone(&self.purchase), reservation }
    }

    /// The events that lead from what is stored to this.
    pub(super) fn events(&self, after: &Purchase, now: DateTime<Utc>) -> PurchaseEvents {
        PurchaseEvents::between(&self.stored, after, self.last_events, now, self.trace)
    }

    /// It was stored as it is now.
    fn was_stored(&mut self, last_events: LastRevision) {
        (self.stored, self.last_events, self.new_payment) = (Arc::clone(&self.purchase), last_events, false);
    }
}

impl App {
    /// Stores a purchase. Returns whether it is still worked on here.
    pub(super) async fn keep(&self, held: &mut Held, now: DateTime<Utc>) -> Result<bool, Error> {
        self.keep_with(held, Vec::new(), now).await
    }

    /// The same, with rows that commit together with it.
    pub(super) async fn keep_with(
        &self,
        held: &mut Held,
        beside: Vec<Companion>,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let write = self.write(held, now);
        let last_events = write.events.last();
        // On the heap, so that a purchase that waits for the gateway has no room for a write.
        let written = Box::pin(self.0.store.write_purchase(&write, beside)).await?;
        if written {
            held.was_stored(last_events);
            self.0.purchases.changes.note_stored(held.fence, held.seen());
        } else {
            self.0.purchases.changes.note(held.purchase.facts.purchase_id);
        }
        Ok(written)
    }

    /// Makes a purchase due now, so that another instance takes it at once.
    pub(super) async fn leave(&self, held: &Held, now: DateTime<Utc>) -> Result<(), Error> {
        let write = PurchaseWrite { due: Some(now), ..self.write(held, now) };
        Box::pin(self.0.store.write_purchase(&write, Vec::new())).await?;
        Ok(())
    }

    /// Submits a command that commits together with the purchase as it is after it. If the command changes nothing, because that was
    /// done before, the purchase is stored by itself. Returns the reservation, and whether the purchase is still worked on here.
    pub(super) async fn decide_with(
        &self,
        held: &mut Held,
        after: &Purchase,
        beside: Beside,
        command: Command,
    ) -> Result<(Arc<Reservation>, bool), Error> {
        let (facts, now) = (&after.facts, self.0.clock.now());
        let (due, events) = (self.due(after, now), held.events(after, now));
        let last_events = events.last();
        let mut rows =
            update_purchase(&PurchaseWrite { purchase: after, fence: held.fence, due, new_payment: false, events });
        rows.extend(beside.rows.iter().cloned());
        let step = attempts::of_command(&command);
        let request = Request {
            companions: rows,
            more_companions: beside.of_changes,
            trace: held.trace,
            ..Request::new(facts.showtime_id, command)
        };
        let decided = self.decided(request, Some(facts.reservation_id)).await;
        metrics::purchase_step(step, attempts::of_decision(&decided));
        let decided = decided?;
        let (reservation, changed) = (Arc::clone(&decided.reservation), decided.changed);
        (held.purchase, held.reservation) = (Arc::new(after.clone()), Some(decided));
        if !changed {
            return Ok((reservation, self.keep_with(held, beside.rows, now).await?));
        }
        held.was_stored(last_events);
        self.0.purchases.changes.note_stored(held.fence, held.seen());
        Ok((reservation, true))
    }

    /// How a purchase is stored that is worked on here.
    fn write<'a>(&self, held: &'a Held, now: DateTime<Utc>) -> PurchaseWrite<'a> {
        let Held { purchase, fence, new_payment, .. } = held;
        let (due, events) = (self.due(purchase, now), held.events(purchase, now));
        PurchaseWrite { purchase, fence: *fence, due, new_payment: *new_payment, events }
    }

    /// From when on another instance may take a purchase that was just stored here.
    pub(super) fn due(&self, purchase: &Purchase, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match purchase.next_action(now) {
            Action::End => None,
            Action::Wait(until) if until - now > NAP => Some(until),
            _ => Some(self.0.purchases.lease_end(now)),
        }
    }
}

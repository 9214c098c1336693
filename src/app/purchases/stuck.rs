//! What operators do with purchases that are stuck: they let them go on, or say how they end.
//!
//! Each of these actions is written together with a note, and only if the purchase is still stuck and unchanged since it was read. If
//! two operators act at once, the second one is refused.

use std::sync::Arc;

use super::{PurchaseRef, PurchaseView, attempts, held::Held};
use crate::{
    app::{App, Error, Origin, PageRequest, errors::PurchaseRefusal},
    domain::{
        ids::PurchaseId,
        purchase::{NoteAction, PurchaseNote, PurchaseState, Settlement},
    },
    ledger::Request,
    store::{PurchaseFilter, StoredPurchase, StuckWrite, settle_purchase},
    telemetry::trace_parent::TraceParent,
};

/// The most notes of one purchase that are listed: the last ones.
const MAX_NOTES: u64 = 20;

/// A purchase that is stuck, with what operators did so far.
pub struct StuckPurchase {
    /// The purchase.
    pub view: PurchaseView,
    /// The last notes, the oldest of them first.
    pub notes: Vec<PurchaseNote>,
}

/// A page of purchases that are stuck.
pub struct StuckPage {
    /// The purchases, the newest first.
    pub purchases: Vec<StuckPurchase>,
    /// The token of the next page, empty on the last one.
    pub next: String,
}

impl App {
    /// Reads a page of purchases that are stuck, the newest first.
    ///
    /// # Errors
    /// The page token is not of this list, or the store fails.
    pub async fn stuck_purchases(&self, origin: &Origin, page: &PageRequest) -> Result<StuckPage, Error> {
        let filter = PurchaseFilter { states: vec![PurchaseState::Stuck], ..PurchaseFilter::default() };
        let page = self.purchases(origin, &filter, page).await?;
        let mut purchases = Vec::with_capacity(page.purchases.len());
        for view in page.purchases {
            let notes = self.0.store.purchase_notes(view.purchase.facts.purchase_id, MAX_NOTES).await?;
            purchases.push(StuckPurchase { view, notes });
        }
        Ok(StuckPage { purchases, next: page.next })
    }

    /// Lets a purchase that is stuck go on from where it is. Waits a little for it to end.
    ///
    /// # Errors
    /// There is no such purchase, it is not stuck, or the store fails.
    pub async fn resume_purchase(&self, origin: &Origin, id: PurchaseId, note: String) -> Result<PurchaseView, Error> {
        let (app, note) = (self.clone(), self.new_note(origin, NoteAction::Resumed, note));
        let trace = origin.trace;
        let stored = self.detached(async move { app.resume_stuck(id, note, trace).await }).await?;
        self.settled(stored).await
    }

    /// Ends a purchase that is stuck, as the operator says.
    ///
    /// # Errors
    /// There is no such purchase, it is not stuck, its seats are not sold although it is to be completed, or the store fails.
    pub async fn settle_purchase(
        &self,
        origin: &Origin,
        id: PurchaseId,
        settlement: Settlement,
        note: String,
    ) -> Result<PurchaseView, Error> {
        let (app, note) = (self.clone(), self.new_note(origin, settlement.into(), note));
        let trace = origin.trace;
        let stored = self.detached(async move {
            let stuck = app.find_stuck(id).await?;
            match settlement {
                Settlement::Completed => app.complete_stuck(&stuck, &note, trace).await?,
                Settlement::Compensated => app.compensate_stuck(&stuck, &note, trace).await?,
            }
            app.0.purchases.changes.note(id);
            let settled = app.find_purchase(&PurchaseRef { purchase_id: id, customer_id: None }).await?;
            attempts::ended(&settled.purchase, app.0.clock.now());
            Ok(settled)
        });
        self.view_purchase(stored.await?).await
    }

    async fn resume_stuck(
        &self,
        id: PurchaseId,
        note: PurchaseNote,
        trace: Option<TraceParent>,
    ) -> Result<StoredPurchase, Error> {
        let stuck = self.find_stuck(id).await?;
        let permit = Arc::clone(&self.0.purchases.at_work).acquire_owned().await;
        let permit = permit.map_err(|_| Error::Lost("the purchases have ended".to_owned()))?;
        let mut purchase = stuck.purchase.clone();
        purchase.resume(note.time);
        let due = self.due(&purchase, note.time);
        let events = Held::new(&stuck, trace).events(&purchase, note.time);
        let last_events = events.last();
        let write = StuckWrite { purchase: &purchase, fence: stuck.fence, due, note: &note, events };
        if !self.0.store.write_stuck_purchase(&write, Vec::new()).await? {
            return Err(Error::Purchase(PurchaseRefusal::NotStuck));
        }
        let (fence, version) = (stuck.fence + 1, stuck.version + 1);
        let stored = StoredPurchase { purchase, fence, version, last_events, ..stuck };
        self.0.purchases.changes.note(id);
        self.work_on(Held::new(&stored, trace), permit);
        Ok(stored)
    }

    /// The money was taken. That is so only for seats that were sold. If they were given up since then, their refund has waited for this.
    async fn complete_stuck(
        &self,
        stuck: &StoredPurchase,
        note: &PurchaseNote,
        trace: Option<TraceParent>,
    ) -> Result<(), Error> {
        let facts = &stuck.purchase.facts;
        let found = self.0.store.reservation(facts.reservation_id, note.time).await?;
        let sold = found.ok_or_else(|| Error::no_reservation(facts.reservation_id))?.reservation;
        if !stuck.purchase.is_sold() || sold.purchase_id() != Some(facts.purchase_id) {
            return Err(Error::Purchase(PurchaseRefusal::NotSold));
        }
        let mut held = Held::new(stuck, trace);
        held.change().settle(Settlement::Completed, note.time);
        let entries = self.entries(&held).await?;
        let events = held.events(&held.purchase, note.time);
        let write = StuckWrite { purchase: &held.purchase, fence: stuck.fence, due: None, note, events };
        let written = self.0.store.write_stuck_purchase(&write, entries).await?;
        if written { Ok(()) } else { Err(Error::Purchase(PurchaseRefusal::NotStuck)) }
    }

    /// No money is taken, and the seats are given up. Both commit together, unless the seats were given up before.
    async fn compensate_stuck(
        &self,
        stuck: &StoredPurchase,
        note: &PurchaseNote,
        trace: Option<TraceParent>,
    ) -> Result<(), Error> {
        let facts = &stuck.purchase.facts;
        let not_stuck = || Error::Purchase(PurchaseRefusal::NotStuck);
        let mut after = stuck.purchase.clone();
        after.settle(Settlement::Compensated, note.time);
        let events = Held::new(stuck, trace).events(&after, note.time);
        let write = StuckWrite { purchase: &after, fence: stuck.fence, due: None, note, events };
        let command = Self::give_up(&stuck.purchase);
        let request =
            Request { companions: settle_purchase(&write), trace, ..Request::new(facts.showtime_id, command) };
        match self.decided(request, Some(facts.reservation_id)).await {
            Ok(_) | Err(Error::Refused(_)) => {}
            Err(error @ Error::Store(_)) => {
                // Somebody else may have been faster, and the purchase has another fence now.
                self.find_stuck(facts.purchase_id).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        // If no seat was given up, because the reservation has ended before, nothing was written.
        if self.0.store.write_stuck_purchase(&write, Vec::new()).await? {
            return Ok(());
        }
        let notes = self.0.store.purchase_notes(facts.purchase_id, MAX_NOTES).await?;
        if notes.iter().any(|kept| kept.note_id == note.note_id) { Ok(()) } else { Err(not_stuck()) }
    }

    async fn find_stuck(&self, purchase_id: PurchaseId) -> Result<StoredPurchase, Error> {
        let found = self.find_purchase(&PurchaseRef { purchase_id, customer_id: None }).await?;
        if found.purchase.is_stuck() { Ok(found) } else { Err(Error::Purchase(PurchaseRefusal::NotStuck)) }
    }

    fn new_note(&self, origin: &Origin, action: NoteAction, text: String) -> PurchaseNote {
        let (note_id, time) = (self.0.clock.new_id(), self.0.clock.now());
        PurchaseNote { note_id, time, caller: origin.caller.name().to_owned(), action, text }
    }
}

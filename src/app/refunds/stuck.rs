//! What operators do with refunds that are stuck: they let them go on, or say how they end.
//!
//! Each of these actions is written together with a note, and only if the refund is still stuck and unchanged since it was read. If
//! two operators act at once, the second one is refused.

use crate::{
    app::{
        App, Error, Origin, PageRequest,
        pages::{read_timed, write_timed},
    },
    domain::{
        ids::RefundId,
        note::Note,
        refund::{Refund, RefundNote, RefundNoteAction, RefundRefusal, RefundSettlement},
    },
    store::{RefundWrite, StoredRefund},
};

const STUCK_REFUNDS: &str = "stuck refunds";
/// The most notes of one refund that are listed: the last ones.
const MAX_NOTES: u64 = 20;

/// A refund that is stuck, with what operators did so far.
pub struct StuckRefund {
    /// The refund.
    pub refund: Refund,
    /// The last notes, the oldest of them first.
    pub notes: Vec<RefundNote>,
}

/// A page of refunds that are stuck.
pub struct StuckRefundPage {
    /// The refunds, the newest first.
    pub refunds: Vec<StuckRefund>,
    /// The token of the next page, empty on the last one.
    pub next: String,
}

impl App {
    /// Reads a page of refunds that are stuck, the newest first.
    ///
    /// # Errors
    /// The page token is not of this list, or the store fails.
    pub async fn stuck_refunds(&self, _origin: &Origin, page: &PageRequest) -> Result<StuckRefundPage, Error> {
        let limit = page.limit()?;
        let after = self.0.pages.cursor(STUCK_REFUNDS, "", &page.token)?.and_then(|cursor| read_timed(&cursor));
        let mut found = self.0.store.stuck_refunds(after, limit as u64 + 1).await?;
        let next = self.0.pages.cut((STUCK_REFUNDS, ""), &mut found, limit, |last| {
            write_timed(last.facts.create_time, last.facts.refund_id.0)
        });
        let mut refunds = Vec::with_capacity(found.len());
        for refund in found {
            let notes = self.0.store.refund_notes(refund.facts.refund_id, MAX_NOTES).await?;
            refunds.push(StuckRefund { refund, notes });
        }
        Ok(StuckRefundPage { refunds, next })
    }

    /// Lets a refund that is stuck go on: the gateway is asked again.
    ///
    /// # Errors
    /// There is no such refund, it is not stuck, or the store fails.
    pub async fn resume_refund(&self, origin: &Origin, id: RefundId, note: String) -> Result<Refund, Error> {
        let (app, note) = (self.clone(), self.note_of_refund(origin, RefundNoteAction::Resumed, note));
        self.detached(async move {
            // Seats that are given up meanwhile raise the fence, too.
            loop {
                let StoredRefund { mut refund, fence, .. } = app.find_stuck_refund(id).await?;
                let customer_id = app.refunded(&refund).await?.customer_id;
                refund.resume();
                let write = RefundWrite {
                    refund: &refund,
                    customer_id: &customer_id,
                    fence,
                    due: Some(note.time),
                    local_date: None,
                    silent: false,
                    note: Some(&note),
                };
                if app.0.store.write_refund(&write, note.time).await? {
                    app.0.refunds.begun.send();
                    return Ok(refund);
                }
            }
        })
        .await
    }

    /// Ends a refund that is stuck, as the operator says. If its seats are to be given up with it, they are given up in the same commit.
    ///
    /// # Errors
    /// There is no such refund, it is not stuck, or the store fails.
    pub async fn settle_refund(
        &self,
        origin: &Origin,
        id: RefundId,
        settlement: RefundSettlement,
        note: String,
    ) -> Result<Refund, Error> {
        let (app, note) = (self.clone(), self.note_of_refund(origin, (&settlement).into(), note));
        self.detached(async move {
            loop {
                let StoredRefund { mut refund, fence, .. } = app.find_stuck_refund(id).await?;
                let customer_id = app.refunded(&refund).await?.customer_id;
                refund.settle(settlement.clone(), note.time);
                match app.keep_refund(&refund, &customer_id, fence, Some(&note)).await {
                    Ok(true) => {
                        Self::note_end(&refund);
                        return Ok(refund);
                    }
                    // Another operator was faster, or seats were given up meanwhile.
                    Ok(false) => {}
                    Err(error) if error.is_fenced() => {}
                    Err(error) => return Err(error),
                }
            }
        })
        .await
    }

    async fn find_stuck_refund(&self, id: RefundId) -> Result<StoredRefund, Error> {
        let found = self.0.store.refund(id).await?.ok_or_else(|| Error::no_refund(id))?;
        if found.refund.is_stuck() { Ok(found) } else { Err(Error::Refund(RefundRefusal::NotStuck)) }
    }

    fn note_of_refund(&self, origin: &Origin, action: RefundNoteAction, text: String) -> RefundNote {
        let (note_id, time) = (self.0.clock.new_id(), self.0.clock.now());
        Note { note_id, time, caller: origin.caller.name().to_owned(), action, text }
    }
}

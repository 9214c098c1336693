//! Goes on with purchases: does what is to be done next, and stores what came of it before anything else.
//!
//! A task that works on a purchase has its fence. If a write finds another fence, another task has taken the purchase, and this
//! one ends. It also ends after an error of the store. What was stored last says what is to be done, and the task that looks for
//! purchases that are due goes on from there.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use tokio::{sync::OwnedSemaphorePermit, time};

use super::{
    attempts,
    held::{Beside, Held, NAP},
};
use crate::{
    app::{App, Error},
    background::{NextRun, Task},
    domain::{
        purchase::{Action, GatewayAnswer, Position, Purchase},
        seating::Refusal,
    },
    ledger::Request,
    payments::Trouble,
    store::{
        self,
        interruptions::{self, Moment},
        planted::{self, Bug},
    },
    telemetry::metrics,
};
use tokio_util::sync::CancellationToken;

/// How often purchases that are due are looked for.
const DUE_PERIOD: Duration = Duration::from_secs(1);
/// How often purchases and refunds that are stuck are counted, and up to how many.
const STUCK_PERIOD: Duration = Duration::from_secs(5);
const MAX_COUNTED: u64 = 1_000;
/// How many of them are taken at once.
const DUE_AT_ONCE: u64 = 256;

impl App {
    /// Looks for purchases that are due, and goes on with them, until the shutdown.
    pub async fn resume_purchases(self, shutdown: CancellationToken) {
        self.0.purchases.observe();
        let resumption = Task::new("resumption of purchases", DUE_PERIOD).shutdown(shutdown.clone());
        let counting = Task::new("count of stuck purchases and refunds", STUCK_PERIOD).shutdown(shutdown);
        let (app, store) = (self.clone(), self.0.store.clone());
        let resumption = resumption.run(async move || {
            let app = app.clone();
            Box::pin(async move { app.take_due().await }).await
        });
        let counting = counting.run(async move || {
            metrics::purchases_stuck(store.count_stuck_purchases(MAX_COUNTED).await?);
            metrics::refunds_stuck(store.count_stuck_refunds(MAX_COUNTED).await?);
            Ok::<_, store::Error>(())
        });
        tokio::join!(resumption, counting);
    }

    async fn take_due(&self) -> Result<NextRun, store::Error> {
        let due = self.0.store.due_purchases(self.0.clock.now(), DUE_AT_ONCE).await?;
        let more = due.len() as u64 == DUE_AT_ONCE;
        for due in due {
            // Where as much is worked on as may be, the others wait.
            let Ok(permit) = Arc::clone(&self.0.purchases.at_work).try_acquire_owned() else {
                return Ok(NextRun::Period);
            };
            let now = self.0.clock.now();
            let Some(fence) =
                self.0.store.take_purchase(due.purchase_id, (due.fence, None), self.0.purchases.lease_end(now)).await?
            else {
                continue;
            };
            let stored = match self.0.store.purchase(due.purchase_id).await {
                Ok(Some(stored)) => stored,
                Ok(None) => continue,
                // One that cannot be read does not keep the others waiting.
                Err(error @ store::Error::Unreadable { .. }) => {
                    tracing::error!(error = &error as &dyn StdError, "a purchase cannot be read");
                    continue;
                }
                Err(error) => return Err(error),
            };
            if stored.fence != fence {
                continue;
            }
            // A purchase that has paused has said so. Any other one was interrupted.
            let taken_over = stored.purchase.record().not_before.is_none();
            let mut held = Held::new(&stored, None);
            held.taken_over = taken_over;
            self.work_on(held, permit);
        }
        Ok(if more { NextRun::Now } else { NextRun::Period })
    }

    /// Goes on with a purchase in a task of its own.
    pub(super) fn work_on(&self, held: Held, permit: OwnedSemaphorePermit) {
        let (app, id) = (self.clone(), held.purchase.facts.purchase_id);
        let work = async move {
            if let Err(error) = Box::pin(app.work(held)).await {
                tracing::warn!(error = &error as &dyn StdError, purchase_id = %id, "a purchase pauses until it is due");
                app.0.purchases.changes.note(id);
            }
            drop(permit);
        };
        drop(self.0.tasks.spawn(work));
    }

    async fn work(&self, mut held: Held) -> Result<(), Error> {
        if held.taken_over && !self.begin_again(&mut held).await? {
            return Ok(());
        }
        loop {
            let now = self.0.clock.now();
            if held.notice_time(now) && !self.keep(&mut held, now).await? {
                return Ok(());
            }
            let goes_on = match held.purchase.next_action(now) {
                Action::End => {
                    attempts::ended(&held.purchase, now);
                    return Ok(());
                }
                Action::Wait(until) if until - now > NAP => return Ok(()),
                // At the end of the process the purchase is left to others at once.
                _ if self.0.tasks.is_closed() => return self.leave(&held, now).await,
                Action::Wait(until) => {
                    time::sleep((until - now).to_std().unwrap_or_default()).await;
                    true
                }
                action => self.act(&mut held, action).await?,
            };
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Does what is to be done next, and stores what came of it. Returns whether the purchase is still worked on here.
    async fn act(&self, held: &mut Held, action: Action) -> Result<bool, Error> {
        let step = attempts::of_action(action);
        interruptions::reach(step, Moment::Before);
        let goes_on = match action {
            Action::BeginPayment => self.begin_payment(held).await?,
            Action::Confirm => self.confirm_seats(held).await?,
            Action::Free => self.free_seats(held).await?,
            Action::BeginRefund => self.begin_refund_of(held).await?,
            Action::Authorize | Action::AskGateway | Action::Capture | Action::Void => {
                self.call_gateway(held, action).await?
            }
            Action::Wait(_) | Action::End => true,
        };
        interruptions::reach(step, Moment::After);
        Ok(goes_on)
    }

    /// Another task has begun what is to be done, and may have done it.
    async fn begin_again(&self, held: &mut Held) -> Result<bool, Error> {
        let now = self.0.clock.now();
        held.change().taken_over(now);
        if held.purchase.position() == Position::Authorizing || held.purchase.sells_without_gateway() {
            // The first task compares the price before it asks the gateway, and may have been interrupted before that.
            let found = self.0.store.reservation(held.purchase.facts.reservation_id, now).await?;
            if found.is_some_and(|found| found.reservation.remaining_total() != held.purchase.total()) {
                held.change().price_changed(now);
            }
        }
        self.keep(held, now).await
    }

    /// The seats were held for the purchase, and their payment begins.
    async fn begin_payment(&self, held: &mut Held) -> Result<bool, Error> {
        let now = self.0.clock.now();
        let (showtime_id, span) = (held.purchase.facts.showtime_id, self.0.purchases.options.pay_time);
        let total = self.reservation_of(held, now).await?.remaining_total();
        let mut after = Purchase::clone(&held.purchase);
        after.payment_begun(total, self.pay_until(showtime_id, span, now).await?, now);
        match self.decide_with(held, &after, Beside::default(), Self::pay(&after, span)).await {
            Ok((reservation, true)) if reservation.remaining_total() != total => {
                held.change().price_changed(now);
                self.keep(held, now).await
            }
            Ok((_, goes_on)) => Ok(goes_on),
            Err(Error::Refused(refused)) => {
                held.reservation = None;
                held.change().payment_not_begun(reason(&refused.why), now);
                self.keep(held, now).await
            }
            Err(error) => Err(error),
        }
    }

    /// Sells the seats. The rows of the purchase commit with the sale, so that either both are there or neither is.
    async fn confirm_seats(&self, held: &mut Held) -> Result<bool, Error> {
        if planted::has(Bug::CaptureBeforeConfirm) {
            let _asked_again_later = self.ask_gateway(&held.purchase, Action::Capture).await;
        }
        let now = self.0.clock.now();
        let mut after = Purchase::clone(&held.purchase);
        after.confirmed(now);
        // What the gateway takes is in the books once it has taken it.
        let without_gateway = held.purchase.sells_without_gateway();
        let rows = if without_gateway { self.entries(held).await? } else { Vec::new() };
        let confirm = Self::confirm_paid(&held.purchase);
        match self.decide_with(held, &after, Beside { rows, of_changes: None }, confirm).await {
            Ok((_, goes_on)) => Ok(goes_on),
            Err(Error::Refused(refused)) => {
                held.reservation = None;
                held.change().not_confirmed(reason(&refused.why), now);
                self.keep(held, now).await
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the seats up, which may have happened before.
    async fn free_seats(&self, held: &mut Held) -> Result<bool, Error> {
        let now = self.0.clock.now();
        let mut after = Purchase::clone(&held.purchase);
        after.freed(now);
        if held.purchase.is_sold() && planted::has(Bug::LostCompensation) {
            held.purchase = Arc::new(after);
            return self.keep(held, now).await;
        }
        let give_up = Self::give_up(&held.purchase);
        match self.decide_with(held, &after, Beside::default(), give_up).await {
            Ok((_, goes_on)) => Ok(goes_on),
            Err(Error::Refused(_)) => {
                (held.purchase, held.reservation) = (Arc::new(after), None);
                self.keep(held, now).await
            }
            Err(error) => Err(error),
        }
    }

    /// The gateway has taken the money of a purchase that has failed. The seats are given up, which may have happened before, and the refund
    /// begins in the same commit.
    async fn begin_refund_of(&self, held: &mut Held) -> Result<bool, Error> {
        let now = self.0.clock.now();
        let mut after = Purchase::clone(&held.purchase);
        after.refund_begun(now);
        let beside = self.refund_of_failed(held, now).await?;
        let rows = beside.rows.clone();
        let goes_on = match self.decide_with(held, &after, beside, Self::give_up(&held.purchase)).await {
            Ok((_, goes_on)) => goes_on,
            Err(Error::Refused(_)) => {
                (held.purchase, held.reservation) = (Arc::new(after), None);
                self.keep_with(held, rows, now).await?
            }
            Err(error) => return Err(error),
        };
        self.0.refunds.begun.send();
        Ok(goes_on)
    }

    /// Asks the gateway once, and stores what came of it.
    async fn call_gateway(&self, held: &mut Held, action: Action) -> Result<bool, Error> {
        if action == Action::Void && planted::has(Bug::FreeWhilePaymentMaySucceed) {
            let request = Request::new(held.purchase.facts.showtime_id, Self::give_up(&held.purchase));
            let _given_up_again_later = self.decided(request, None).await;
        }
        let answer = if action == Action::Void && self.takes_not_found_for_not_charged(&held.purchase).await {
            Ok(GatewayAnswer::Voided)
        } else {
            self.ask_gateway(&held.purchase, action).await
        };
        interruptions::reach(attempts::of_action(action), Moment::Answered);
        metrics::purchase_step(attempts::of_action(action), attempts::of_answer(&answer));
        let now = self.0.clock.now();
        match answer {
            Ok(GatewayAnswer::ActionRequired { redirect_uri }) if held.purchase.position() == Position::Authorizing => {
                return self.await_action(held, redirect_uri).await;
            }
            Ok(answer) => held.change().answered(answer, now),
            Err(Trouble::Unknown { message }) => held.change().unknown(&message, self.0.clock.fraction(), now),
            Err(Trouble::NotFound) => {
                held.change().unknown("the gateway does not know it", self.0.clock.fraction(), now);
            }
            Err(trouble @ Trouble::Refused { code, .. }) if action != Action::AskGateway && code.is_final() => {
                held.change().refused(&trouble.to_string(), now);
            }
            Err(trouble @ Trouble::Refused { .. }) => {
                held.change().unknown(&trouble.to_string(), self.0.clock.fraction(), now);
            }
            Err(trouble @ Trouble::Differs { .. }) => held.change().stick(&trouble.to_string(), now),
        }
        // The gateway has not decided yet. It may have been asked first by another instance, or before a restart. Pushes find it here from now on.
        if held.purchase.waits_for_gateway()
            && let Some(payment) = held.purchase.payment()
        {
            self.0.purchases.awaiting.insert(payment.payment_id, held.purchase.facts.purchase_id);
        }
        let entries = match held.purchase.position() {
            // That it is authorised commits with the sale of the seats. If that is interrupted, the gateway is asked again.
            Position::Confirming => return Ok(true),
            Position::Completed => self.entries(held).await?,
            _ => Vec::new(),
        };
        self.keep_with(held, entries, now).await
    }

    /// The customer has something to do, for which the seats are kept longer.
    async fn await_action(&self, held: &mut Held, redirect_uri: String) -> Result<bool, Error> {
        let now = self.0.clock.now();
        let span = self.0.purchases.options.action_time;
        let mut after = Purchase::clone(&held.purchase);
        let until = self.pay_until(after.facts.showtime_id, span, now).await?;
        after.await_action(redirect_uri, until, now);
        match self.decide_with(held, &after, Beside::default(), Self::pay(&after, span)).await {
            Ok((_, goes_on)) => {
                if let Some(payment) = held.purchase.payment() {
                    self.0.purchases.awaiting.insert(payment.payment_id, held.purchase.facts.purchase_id);
                }
                Ok(goes_on)
            }
            Err(Error::Refused(refused)) => {
                held.reservation = None;
                held.change().not_payable(reason(&refused.why), now);
                self.keep(held, now).await
            }
            Err(error) => Err(error),
        }
    }
}

/// Why the ledger refuses, for the steps of a purchase.
fn reason(why: &Refusal) -> &'static str {
    match why {
        Refusal::ShowtimeCancelled { .. } => "the showtime was cancelled",
        Refusal::SalesClosed { .. } => "the sale has closed",
        Refusal::Expired { .. } => "the hold has lapsed",
        _ => "the reservation is not held any more",
    }
}

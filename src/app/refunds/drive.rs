//! Goes on with refunds: asks the gateway, and stores what came of it before anything else.
//!
//! A refund is due as soon as it is stored, and the first instance that finds it takes it. Each write names the fence, as for
//! purchases. Each attempt asks for the same operation, so it does not matter where an earlier one was interrupted.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use tokio::{sync::OwnedSemaphorePermit, time};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{App, Error},
    background::{NextRun, Task},
    domain::{
        ids::ShowtimeId,
        purchase::{Payment, PaymentState},
        refund::{Refund, RefundAction, RefundAnswer, RefundNote, RefundState},
        reservation::CustomerId,
        seat_index::SeatName,
        seating::Command,
    },
    ledger::Request,
    payments::{Operation, OperationKind, OperationState, PaymentReport, Trouble},
    store::{
        self, RefundWrite, StoredPayment, StoredRefund,
        interruptions::{self, Moment},
        settle_refund,
    },
    telemetry::metrics,
};

/// A refund that pauses for longer is dropped from memory, and is taken again when it is due.
const NAP: TimeDelta = TimeDelta::seconds(2);
/// How often refunds that are due are looked for.
const DUE_PERIOD: Duration = Duration::from_secs(1);
/// Attempts to give the seats up while others give up seats of the same reservation.
const RELEASES: usize = 5;

impl App {
    /// Looks for refunds that are due, and goes on with them, until the shutdown.
    pub async fn resume_refunds(self, shutdown: CancellationToken) {
        let task = Task::new("resumption of refunds", DUE_PERIOD).nudge(&self.0.refunds.begun).shutdown(shutdown);
        task.run(async move || {
            let app = self.clone();
            Box::pin(async move { app.take_due_refunds().await }).await
        })
        .await;
    }

    async fn take_due_refunds(&self) -> Result<NextRun, store::Error> {
        // What is left to others when as much is worked on as may be is looked for again when some of it is done.
        let free = self.0.refunds.at_work.available_permits() as u64;
        if free == 0 {
            return Ok(NextRun::Period);
        }
        for due in self.0.store.due_refunds(self.0.clock.now(), free).await? {
            let Ok(permit) = Arc::clone(&self.0.refunds.at_work).try_acquire_owned() else { break };
            let lease = self.0.purchases.lease_end(self.0.clock.now());
            match self.0.store.take_refund(due, lease).await {
                Ok(Some(stored)) => self.work_on_refund(stored, permit),
                Ok(None) => {}
                // One that cannot be read does not keep the others waiting.
                Err(error @ store::Error::Unreadable { .. }) => {
                    tracing::error!(error = &error as &dyn StdError, "a refund cannot be read");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(NextRun::Period)
    }

    fn work_on_refund(&self, stored: StoredRefund, permit: OwnedSemaphorePermit) {
        let app = self.clone();
        let work = async move {
            let id = stored.refund.facts.refund_id;
            if let Err(error) = Box::pin(app.refund_until_pause(stored)).await {
                tracing::warn!(error = &error as &dyn StdError, refund_id = %id, "a refund pauses until it is due");
            }
            drop(permit);
            app.0.refunds.begun.send();
        };
        drop(self.0.tasks.spawn(work));
    }

    async fn refund_until_pause(&self, stored: StoredRefund) -> Result<(), Error> {
        let StoredRefund { mut refund, fence, .. } = stored;
        loop {
            let now = self.0.clock.now();
            // At the end of the process the refund is left to others at once.
            if self.0.tasks.is_closed() && refund.state() == RefundState::Pending {
                return self.leave_refund(&refund, fence, now).await;
            }
            match refund.next_action(now) {
                RefundAction::End => return Ok(()),
                RefundAction::Wait(until) if until - now > NAP => return Ok(()),
                RefundAction::Wait(until) => time::sleep((until - now).to_std().unwrap_or_default()).await,
                RefundAction::Ask => {
                    if !self.ask_for_refund(&mut refund, fence).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Makes a refund due now, so that another instance takes it at once.
    async fn leave_refund(&self, refund: &Refund, fence: i64, now: DateTime<Utc>) -> Result<(), Error> {
        let customer_id = &self.refunded(refund).await?.customer_id;
        self.0
            .store
            .write_refund(
                &RefundWrite {
                    refund,
                    customer_id,
                    fence,
                    due: Some(now),
                    local_date: None,
                    silent: false,
                    note: None,
                },
                now,
            )
            .await?;
        Ok(())
    }

    /// The payment of a refund.
    pub(super) async fn refunded(&self, refund: &Refund) -> Result<StoredPayment, Error> {
        let id = refund.facts.payment_id;
        self.0.store.payment(id).await?.ok_or_else(|| Error::no_payment(id))
    }

    /// Asks the gateway once, and stores what came of it. Returns whether the refund is still worked on here.
    async fn ask_for_refund(&self, refund: &mut Refund, fence: i64) -> Result<bool, Error> {
        let StoredPayment { payment, customer_id, .. } = self.refunded(refund).await?;
        match payment.state {
            // The till has paid it out.
            PaymentState::Completed | PaymentState::PartiallyRefunded if payment.at_till.is_some() => {
                refund.answered(RefundAnswer::Done, 0.0, self.0.clock.now());
            }
            PaymentState::Completed | PaymentState::PartiallyRefunded => {
                interruptions::reach("refund", Moment::Before);
                let answer = self.gateway_refund(&payment, refund).await;
                interruptions::reach("refund", Moment::Answered);
                refund.answered(answer, self.0.clock.fraction(), self.0.clock.now());
            }
            PaymentState::Pending | PaymentState::Processing | PaymentState::Authorized => {
                refund.payment_undecided(self.0.clock.now());
            }
            PaymentState::Declined | PaymentState::Voided | PaymentState::Failed | PaymentState::Refunded => {
                refund.nothing_taken(self.0.clock.now());
            }
        }
        let kept = self.keep_refund(refund, &customer_id, fence, None).await?;
        interruptions::reach("refund", Moment::After);
        if kept && refund.state() != RefundState::Pending {
            Self::note_end(refund);
        }
        Ok(kept)
    }

    /// Stores a refund, and gives up its seats if that is to be done. Returns whether it was as it had been read.
    pub(super) async fn keep_refund(
        &self,
        refund: &Refund,
        customer_id: &CustomerId,
        fence: i64,
        note: Option<&RefundNote>,
    ) -> Result<bool, Error> {
        let now = self.0.clock.now();
        let local_date = match (refund.state(), &refund.facts.till) {
            // What staff have paid out without a till is in no cash-up.
            (RefundState::Done, Some(till)) if note.is_some() && till.is_empty() => None,
            (RefundState::Done, Some(_)) => Some(self.local_date(refund.facts.showtime_id, now).await?),
            _ => None,
        };
        let due = self.refund_due(refund, now);
        let write = RefundWrite { refund, customer_id, fence, due, local_date, silent: false, note };
        if refund.state() == RefundState::Done && refund.facts.releases {
            for _ in 0..RELEASES {
                let seats = self.seats_to_release(refund, now).await?;
                if seats.is_empty() {
                    break;
                }
                let (facts, companions) = (&refund.facts, settle_refund(&write, now));
                let (reservation_id, reason) = (facts.reservation_id, facts.reason.clone());
                let release = Command::Release { reservation_id, seats, reason };
                let request = Request { companions, ..Request::new(facts.showtime_id, release) };
                match self.decided(request, Some(reservation_id)).await {
                    Ok(_) => return Ok(true),
                    // Another request has given up one of the seats.
                    Err(Error::Refused(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(self.0.store.write_refund(&write, now).await?)
    }

    /// The date where the cinema of a showtime is.
    async fn local_date(&self, showtime_id: ShowtimeId, now: DateTime<Utc>) -> Result<NaiveDate, Error> {
        let plan = self.plan_of(showtime_id).await?;
        Ok(plan.facts.auditorium.local_date(now))
    }

    /// The seats of a refund that its reservation still has.
    async fn seats_to_release(&self, refund: &Refund, now: DateTime<Utc>) -> Result<Vec<SeatName>, Error> {
        let facts = &refund.facts;
        let found = self.0.store.reservation(facts.reservation_id, now).await?;
        let found = found.ok_or_else(|| Error::no_reservation(facts.reservation_id))?.reservation;
        if found.phase(now) != crate::domain::reservation::Phase::Confirmed {
            return Ok(Vec::new());
        }
        let plan = self.plan_of(facts.showtime_id).await?;
        let own = found.seats().map(|seat| plan.seat_index.name(seat));
        Ok(own.filter(|name| facts.chosen.seats.contains(name)).collect())
    }

    /// Asks the gateway for the refund, once.
    async fn gateway_refund(&self, payment: &Payment, refund: &Refund) -> RefundAnswer {
        let operation = Operation {
            payment_key: payment.key(),
            operation_key: refund.operation_key(),
            amount: refund.facts.chosen.amount,
        };
        let report = match self.asked_for_refund(payment, &operation).await {
            Ok(report) => report,
            // The request is refused by its content, or by the state of the payment: to repeat it does not help.
            Err(trouble @ Trouble::Refused { code, .. }) if code.is_final() => {
                return RefundAnswer::Failed { code: trouble.to_string() };
            }
            Err(trouble @ Trouble::Differs { .. }) => return RefundAnswer::Differs { message: trouble.to_string() },
            Err(trouble) => return RefundAnswer::Unknown { message: trouble.to_string() },
        };
        match report.operation(&operation.operation_key).map(|operation| &operation.state) {
            Some(OperationState::Done) => RefundAnswer::Done,
            Some(OperationState::Failed { code }) => RefundAnswer::Failed { code: code.clone() },
            Some(OperationState::Pending) | None => RefundAnswer::Pending,
        }
    }

    /// The payment after the refund was asked for. An attempt before may have done it and had no answer, so a refusal is looked at a second
    /// time.
    async fn asked_for_refund(&self, payment: &Payment, operation: &Operation) -> Result<PaymentReport, Trouble> {
        let gateway = &self.0.purchases.options.gateway;
        let report = match gateway.refund(operation).await {
            Err(refused @ Trouble::Refused { code, .. }) if code.is_final() => {
                let found = gateway.payment(&operation.payment_key).await;
                match found {
                    Ok(report) if report.operation(&operation.operation_key).is_some() => {
                        let Operation { payment_key, operation_key, amount } = operation;
                        report.check(payment_key, operation_key, OperationKind::Refund, *amount)?;
                        report
                    }
                    Ok(_) | Err(Trouble::NotFound | Trouble::Refused { .. }) => return Err(refused),
                    Err(unknown) => return Err(unknown),
                }
            }
            answer => answer?,
        };
        report.check_whole(payment.amount)?;
        Ok(report)
    }

    /// From when on another instance may take a refund that is stored here.
    fn refund_due(&self, refund: &Refund, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match refund.next_action(now) {
            RefundAction::End => None,
            RefundAction::Wait(until) if until - now > NAP => Some(until),
            RefundAction::Wait(_) | RefundAction::Ask => Some(self.0.purchases.lease_end(now)),
        }
    }

    pub(super) fn note_end(refund: &Refund) {
        let (outcome, message) = (refund.state(), refund.record().message.as_str());
        let (refund_id, payment_id) = (refund.facts.refund_id, refund.facts.payment_id);
        match outcome {
            RefundState::Done | RefundState::Pending => metrics::refund("done"),
            RefundState::Failed => {
                tracing::warn!(%refund_id, %payment_id, message, "a refund has failed");
                metrics::refund("failed");
            }
            RefundState::Stuck => {
                tracing::error!(%refund_id, %payment_id, message, "a refund is stuck: an operator must look at it");
                metrics::refund("stuck");
            }
        }
    }
}

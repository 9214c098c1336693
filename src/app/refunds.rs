//! Use cases of refunds. What a refund gives back is decided by `domain::refund`. It is stored first, and then brought to its end
//! in `refunds/drive.rs`, by whichever instance finds it due.

mod drive;
mod stuck;
pub(super) mod work;

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::{Answer, App, Error, Origin};
use crate::{
    domain::{
        ids::{PaymentId, PurchaseId, RefundId},
        purchase::AtTill,
        refund::{
            Chosen, Refund, RefundFacts, RefundRefusal, RefundWish, blocked, choose, choose_released, left,
            releasing_of,
        },
        reservation::Reservation,
        seating::{Change, Command, ShowtimePlan},
        violations::Violations,
    },
    ledger::{CompanionMaker, Reply, Request},
    store::{
        self, Companion, RefundStart, RefundVersion, RequestKey, StoredPayment, exclude_refunds, give_up_first,
        planted::{self, Bug},
        start_refunds,
    },
    telemetry::trace_parent::TraceParent,
};

pub use stuck::{StuckRefund, StuckRefundPage};

/// Attempts to begin refunds while others of the same payments begin or end.
const ATTEMPTS: usize = 10;
/// The version that no payment has.
const NO_VERSION: i64 = -1;
/// The most payments of one purchase that are read.
const MAX_PAYMENTS: u64 = 100;

/// A request to give money back.
#[derive(Clone, Debug)]
pub struct NewRefund {
    /// The payment.
    pub payment_id: PaymentId,
    /// What is given back.
    pub wish: RefundWish,
    /// Why.
    pub reason: String,
    /// The till that pays it out; empty: the one that took the payment. Only for payments at tills.
    pub till: String,
}

/// What a request for a refund comes to.
enum Next {
    /// This refund begins, if its payment still has the version.
    Begin(Box<RefundStart>),
    /// This refund, which waits for a till, is paid out there.
    PayOut(RefundId, String),
}

/// A payment with one of its refunds.
#[derive(Clone, Debug)]
pub struct RefundedPayment {
    /// The payment.
    pub payment: StoredPayment,
    /// The refund.
    pub refund: Refund,
}

impl App {
    /// Begins a refund, and answers with it as it is then.
    ///
    /// # Errors
    /// There is no request id, nothing is given back, or the store fails.
    pub async fn refund_payment(&self, origin: &Origin, new: NewRefund) -> Result<Answer<RefundedPayment>, Error> {
        let missing = || Violations::one("request_id", "is required: without it, a repeated request would pay twice");
        let key = origin.key.clone().ok_or_else(missing)?;
        let (app, trace) = (self.clone(), origin.trace);
        self.detached(async move {
            let (refund_id, repeated) = app.begin_refund(&key, &new, trace).await?;
            let payment = app.0.store.payment(new.payment_id).await?;
            let payment = payment.ok_or_else(|| Error::no_payment(new.payment_id))?;
            let refund = payment.refunds.iter().find(|refund| refund.facts.refund_id == refund_id).cloned();
            let refund = refund.ok_or_else(|| Error::Lost("the payment has no such refund".to_owned()))?;
            Ok(Answer { value: RefundedPayment { payment, refund }, repeated })
        })
        .await
    }

    /// Stores a refund, unless the request came before. Returns its id, and whether the request came before.
    async fn begin_refund(
        &self,
        key: &RequestKey,
        new: &NewRefund,
        trace: Option<TraceParent>,
    ) -> Result<(RefundId, bool), Error> {
        for _ in 0..ATTEMPTS {
            if let Some(before) = self.refund_of(key).await? {
                return Ok((before, true));
            }
            let begun = match self.choose_refund(new).await {
                Ok(Next::Begin(start)) => {
                    let id = start.refund.facts.refund_id;
                    let begun = self.0.store.start_refund(*start, key, trace).await;
                    begun.map(|begun| begun.then_some(id)).map_err(Error::from)
                }
                Ok(Next::PayOut(id, till)) => {
                    let paid = self.0.store.pay_out(id, &till, key, self.0.clock.now()).await;
                    paid.map(|paid| paid.then_some(id)).map_err(Error::from)
                }
                Err(error) => Err(error),
            };
            match begun {
                Ok(Some(id)) => {
                    self.0.refunds.begun.send();
                    return Ok((id, false));
                }
                // Another refund of the payment has begun or ended since it was read.
                Ok(None) => {}
                // The same request may have come twice at once, and the other one has what is given back.
                Err(error @ Error::Refund(_)) => match self.refund_of(key).await? {
                    Some(before) => return Ok((before, true)),
                    None => return Err(error),
                },
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(store::Error::overloaded("too many refunds of this payment begin at once").into())
    }

    /// The refund that a request has begun.
    async fn refund_of(&self, key: &RequestKey) -> Result<Option<RefundId>, Error> {
        match self.0.store.refund_of_request(key).await? {
            Some(found) if found.fingerprint != key.fingerprint => Err(Error::RequestReused),
            found => Ok(found.map(|found| found.refund.facts.refund_id)),
        }
    }

    /// Decides on a refund by its payment. The payment is read before the reservation: if seats are given up in between, their
    /// refund raises the version.
    async fn choose_refund(&self, new: &NewRefund) -> Result<Next, Error> {
        let (id, now) = (new.payment_id, self.0.clock.now());
        let stored = self.0.store.payment(id).await?.ok_or_else(|| Error::no_payment(id))?;
        let till = payout(stored.payment.at_till.as_ref(), &new.till);
        if till.is_none() && !new.till.is_empty() {
            return Err(Violations::one("till", "must be left out: the gateway gives this payment back").into());
        }
        if let (RefundWish::All, Some(till)) = (&new.wish, &till)
            && let Some(waiting) = stored.refunds.iter().find(|refund| refund.record().waits)
        {
            return Ok(Next::PayOut(waiting.facts.refund_id, till.clone()));
        }
        let reservation = self.0.store.reservation(stored.reservation_id, now).await?;
        let reservation = reservation.ok_or_else(|| Error::no_reservation(stored.reservation_id))?.reservation;
        let plan = self.0.store.plan(reservation.showtime_id).await?;
        let plan = plan.ok_or_else(|| Error::no_showtime(reservation.showtime_id))?;
        let StoredPayment { payment, refunds, .. } = &stored;
        let counted = if planted::has(Bug::RefundBeyondCaptured) { &[] } else { &refunds[..] };
        let chosen =
            choose(&new.wish, payment, counted, &reservation, &plan.seat_index).map_err(|refusal| match refusal {
                RefundRefusal::OtherCurrency { currency } => {
                    let description = format!("must be {}, the currency of the payment", currency.code());
                    Error::Invalid(Violations::one("amount.currency_code", description))
                }
                refusal => Error::Refund(refusal),
            })?;
        let facts = RefundFacts {
            refund_id: RefundId(self.0.clock.new_id()),
            payment_id: id,
            purchase_id: stored.purchase_id,
            reservation_id: stored.reservation_id,
            showtime_id: reservation.showtime_id,
            releases: !chosen.seats.is_empty(),
            chosen,
            till,
            reason: new.reason.clone(),
            create_time: now,
        };
        let StoredPayment { customer_id, refund_version, .. } = stored;
        let version = RefundVersion::Exactly(refund_version);
        Ok(Next::Begin(Box::new(RefundStart { refund: Refund::begin(facts), version, customer_id, silent: false })))
    }

    /// Submits a command that gives up or exchanges seats. The refunds of those that are given up and that purchases have
    /// paid for commit with it. Seats are not exchanged while their refund is pending. Named is the purchase that the command is about.
    pub(super) async fn decide_with_refunds(
        &self,
        request: &Request,
        purchase: Option<PurchaseId>,
        (reason, till): (&str, &str),
    ) -> Result<Option<Reply>, Error> {
        for _ in 0..ATTEMPTS {
            let known = match (&request.command, purchase) {
                (Command::CancelShowtime { .. }, _) => {
                    self.complete_sales_of(request.showtime_id).await?;
                    self.0.store.refunded_payments(request.showtime_id).await?
                }
                (_, Some(_)) => self.0.store.payments((None, purchase), None, MAX_PAYMENTS).await?,
                // A reservation that is not paid for now may be by the time of the decision, but has no refunds then.
                (_, None) => Vec::new(),
            };
            let are_pending = in_the_way(&request.command, &known);
            let more_companions = Some(self.refund_maker(known, (reason, till), request.trace));
            match self.decide(Request { more_companions, ..request.clone() }).await {
                Err(error) if error.is_fenced() && are_pending => {
                    return Err(Error::Refund(RefundRefusal::SeatsPending));
                }
                // Another refund has begun or ended since the payments were read.
                Err(error) if error.is_fenced() => {}
                reply => {
                    // Without a reply nothing was changed, so no refund has begun.
                    if matches!(reply, Ok(Some(_))) {
                        self.0.refunds.begun.send();
                    }
                    return reply;
                }
            }
        }
        Err(store::Error::overloaded("too many refunds of these seats begin at once").into())
    }

    /// Makes the refunds of seats that are given up. A payment that is not known has had no refund.
    fn refund_maker(
        &self,
        known: Vec<StoredPayment>,
        (reason, till): (&str, &str),
        trace: Option<TraceParent>,
    ) -> CompanionMaker {
        let known: HashMap<_, _> = known.into_iter().map(|stored| (stored.payment.payment_id, stored)).collect();
        let (clock, reason, till) = (self.0.clock.clone(), reason.to_owned(), till.to_owned());
        CompanionMaker::new(move |plan, changes, now| {
            let refund = |change| {
                let (reservation, payment_id, purchase_id) = given_up(change)?;
                let known = known.get(&payment_id);
                let paid = known.and_then(|stored| stored.payment.at_till.as_ref());
                let is_at_till = purchase_id.is_at_till(reservation.reservation_id);
                let facts = RefundFacts {
                    refund_id: RefundId(clock.new_id()),
                    payment_id,
                    purchase_id,
                    reservation_id: reservation.reservation_id,
                    showtime_id: reservation.showtime_id,
                    chosen: released(plan, change, known)?,
                    releases: false,
                    till: payout(paid, &till).or_else(|| is_at_till.then(|| till.clone())),
                    reason: reason.clone(),
                    create_time: now,
                };
                // Nobody stands at the till when a showtime is cancelled.
                let waits = is_at_till && matches!(change, Change::Cancelled(_));
                let refund = if waits { Refund::begin_at_till(facts) } else { Refund::begin(facts) };
                let version = version_under_lock(known);
                Some(RefundStart { refund, version, customer_id: reservation.customer_id.clone(), silent: false })
            };
            let started: Vec<_> = changes.iter().filter_map(refund).collect();
            let mut rows = start_refunds(&started, None, trace);
            let starts = |id| started.iter().any(|start| start.refund.facts.payment_id == id);
            rows.extend(changes.iter().flat_map(|change| given_up_first(plan, change, &known, starts, now)));
            rows.extend(changes.iter().filter_map(|change| exchanged(change, &known)));
            rows
        })
    }
}

/// The reservation that gives up seats with this change, and the payment and the purchase by which they were sold.
fn given_up(change: &Change) -> Option<(&Reservation, PaymentId, PurchaseId)> {
    let (Change::Released { reservation, .. } | Change::Cancelled(reservation)) = change else { return None };
    let (payment_id, purchase_id) = sold_by(reservation)?;
    Some((reservation, payment_id, purchase_id))
}

/// The payment and the purchase by which seats were sold. A sale that was paid by the gateway names its payment as the transaction.
fn sold_by(reservation: &Reservation) -> Option<(PaymentId, PurchaseId)> {
    let (sale, id) = (reservation.sale()?, reservation.reservation_id);
    // What has no purchase in memory was given the one of a sale at a till since then.
    match reservation.purchase_id() {
        Some(purchase_id) if !purchase_id.is_at_till(id) => {
            Some((PaymentId::parse(&sale.tender.as_ref()?.transaction_id).ok()?, purchase_id))
        }
        _ => Some((PaymentId::at_till(id), PurchaseId::at_till(id))),
    }
}

/// The till that pays out a refund: the one that is named, or the one that took the payment. `None`: the gateway gives it back.
fn payout(paid: Option<&AtTill>, named: &str) -> Option<String> {
    paid.map(|paid| if named.is_empty() { paid.till.clone() } else { named.to_owned() })
}

/// The row that goes with an exchange of seats that were paid for. While a refund of them is pending, no payment has such a row.
fn exchanged(change: &Change, known: &HashMap<PaymentId, StoredPayment>) -> Option<Companion> {
    let Change::Exchanged { reservation, .. } = change else { return None };
    let (payment_id, _) = sold_by(reservation)?;
    let known = known.get(&payment_id);
    let is_pending = known.is_some_and(|stored| blocked(&stored.refunds).next().is_some());
    let version = if is_pending { RefundVersion::Exactly(NO_VERSION) } else { version_under_lock(known) };
    Some(exclude_refunds(payment_id, version))
}

/// The rows that go with seats that are given up before the refund is done that was to give them up: it only gives the money back from
/// then on. If it was to give up other seats as well, no payment has such a row.
fn given_up_first(
    plan: &ShowtimePlan,
    change: &Change,
    known: &HashMap<PaymentId, StoredPayment>,
    starts: impl Fn(PaymentId) -> bool,
    now: DateTime<Utc>,
) -> Vec<Companion> {
    let Some((reservation, payment_id, _)) = given_up(change) else { return Vec::new() };
    let Some(stored) = known.get(&payment_id) else { return Vec::new() };
    let name = |seat| plan.seat_index.name(seat);
    let seats: Vec<_> = match change {
        Change::Released { seats, .. } => seats.iter().map(|seat| name(*seat)).collect(),
        _ => reservation.seats().map(name).collect(),
    };
    let never = || exclude_refunds(payment_id, RefundVersion::Exactly(NO_VERSION));
    let row = |(refund, are_all): (&Refund, bool)| if are_all { give_up_first(refund, now) } else { never() };
    let mut rows: Vec<_> = releasing_of(&stored.refunds, &seats).map(row).collect();
    // A refund that begins excludes others already.
    if !rows.is_empty() && !starts(payment_id) {
        rows.push(exclude_refunds(payment_id, version_under_lock(Some(stored))));
    }
    rows
}

/// Whether seats cannot be given up or exchanged because a refund that is to give them up has not ended.
fn in_the_way(command: &Command, known: &[StoredPayment]) -> bool {
    known.iter().any(|StoredPayment { refunds, .. }| match command {
        Command::Exchange { .. } => blocked(refunds).next().is_some(),
        // Without seats, all that are left are given up.
        Command::Release { seats, .. } if !seats.is_empty() => {
            releasing_of(refunds, seats).any(|(_, are_all)| !are_all)
        }
        _ => false,
    })
}

/// The version that a payment must have if refunds of it begin under the lock of the showtime. If all refunds before were of seats that
/// were given up in the same way, further ones of these do not matter: what the seats that are left cost is left of the payment.
fn version_under_lock(known: Option<&StoredPayment>) -> RefundVersion {
    let Some(StoredPayment { refunds, refund_version, .. }) = known else { return RefundVersion::LikeThis(0) };
    if refunds.iter().all(Refund::seats_are_given_up) {
        RefundVersion::LikeThis(*refund_version)
    } else {
        RefundVersion::Exactly(*refund_version)
    }
}

/// What is given back for the seats that are given up with a change.
fn released(plan: &ShowtimePlan, change: &Change, known: Option<&StoredPayment>) -> Option<Chosen> {
    let name = |seat| plan.seat_index.name(seat);
    let refunds = known.map_or(&[][..], |stored| &stored.refunds);
    let left = known.map(|stored| left(&stored.payment, refunds));
    match change {
        Change::Released { reservation, seats, lines, .. } => {
            let seats = seats.iter().map(|seat| name(*seat)).zip(lines.iter().copied());
            choose_released(left, refunds, reservation.currency, seats)
        }
        Change::Cancelled(reservation) => {
            let live = reservation.all_lines().filter(|(one, _)| !one.released);
            choose_released(left, refunds, reservation.currency, live.map(|(one, line)| (name(one.seat), line)))
        }
        _ => None,
    }
}

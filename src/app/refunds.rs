//! Use cases of refunds. What a refund gives back is decided by `domain::refund`. It is stored first, and then brought to its end
//! in `refunds/drive.rs`, by whichever instance finds it due.

mod drive;
mod given_up;
mod stuck;
pub(super) mod work;

use std::collections::HashMap;

use self::given_up::{exchanged, given_up, given_up_first, in_the_way, released, sold_by, version_under_lock};
use super::{Answer, App, Error, Origin, errors::check_no_card_number};
use crate::{
    domain::{
        ids::{PaymentId, PurchaseId, RefundId},
        purchase::AtTill,
        refund::{Refund, RefundFacts, RefundRefusal, RefundWish, choose},
        reservation::State,
        seat_index::SeatName,
        seating::{Change, Command},
        ticket::TicketState,
        violations::Violations,
    },
    ledger::{CompanionMaker, Reply, Request},
    store::{
        self, RefundStart, RefundVersion, RequestKey, StoredPayment, TicketFilter, exclude_refunds,
        planted::{self, Bug},
        start_refunds,
    },
    telemetry::trace_parent::TraceParent,
};

pub use stuck::{StuckRefund, StuckRefundPage};

/// Attempts to begin refunds while others of the same payments begin or end.
const ATTEMPTS: usize = 10;
/// The most tickets of one purchase that are read: those of its seats, and those that exchanges have voided.
const MAX_TICKETS: u64 = 1_000;
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
    /// Whether the money is given back although a ticket of the seats was used.
    pub force: bool,
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
        check_no_card_number("reason", &new.reason)?;
        check_no_card_number("till", &new.till)?;
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
        let plan = self.plan_of(reservation.showtime_id).await?;
        let StoredPayment { payment, refunds, .. } = &stored;
        let counted = if planted::has(Bug::RefundBeyondCaptured) { &[] } else { &refunds[..] };
        // A purchase that has failed may have taken money without selling seats. The customer has nothing for it.
        let sold = sold_by(&reservation).is_some_and(|(payment_id, _)| payment_id == id).then_some(&reservation);
        let chosen = choose(&new.wish, payment, counted, sold, &plan.seat_index).map_err(|refusal| match refusal {
            RefundRefusal::OtherCurrency { currency } => {
                let description = format!("must be {}, the currency of the payment", currency.code());
                Error::Invalid(Violations::one("amount.currency_code", description))
            }
            refusal => Error::Refund(refusal),
        })?;
        // A showtime that was cancelled has given all seats up.
        let releases = !chosen.seats.is_empty() && matches!(reservation.state(), State::Confirmed(_));
        if releases && !new.force {
            self.check_unused(stored.purchase_id, &chosen.seats).await?;
        }
        let facts = RefundFacts {
            refund_id: RefundId(self.0.clock.new_id()),
            payment_id: id,
            purchase_id: stored.purchase_id,
            reservation_id: stored.reservation_id,
            showtime_id: reservation.showtime_id,
            releases,
            owed: sold.is_none(),
            chosen,
            till,
            reason: new.reason.clone(),
            create_time: now,
        };
        let StoredPayment { customer_id, refund_version, .. } = stored;
        let version = RefundVersion::Exactly(refund_version);
        Ok(Next::Begin(Box::new(RefundStart {
            refund: Refund::begin(facts),
            version,
            customer_id,
            silent: false,
            force: new.force,
        })))
    }

    /// Refuses a refund of seats whose tickets were used.
    async fn check_unused(&self, purchase_id: PurchaseId, seats: &[SeatName]) -> Result<(), Error> {
        let of_purchase = TicketFilter { purchase_id: Some(purchase_id), ..TicketFilter::default() };
        let tickets = self.0.store.tickets(&of_purchase, None, MAX_TICKETS).await?.into_iter();
        let used = tickets.filter(|ticket| ticket.state == TicketState::Used && seats.contains(&ticket.seat_name));
        let used: Vec<_> = used.map(|ticket| ticket.seat_name).collect();
        if used.is_empty() { Ok(()) } else { Err(Error::Refund(RefundRefusal::TicketUsed { seats: used })) }
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
    pub(super) fn refund_maker(
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
                    owed: false,
                    till: payout(paid, &till).or_else(|| is_at_till.then(|| till.clone())),
                    reason: reason.clone(),
                    create_time: now,
                };
                // Nobody stands at the till when a showtime is cancelled.
                let waits = is_at_till && matches!(change, Change::Cancelled(_));
                let refund = if waits { Refund::begin_at_till(facts) } else { Refund::begin(facts) };
                let version = version_under_lock(known);
                Some(RefundStart {
                    refund,
                    version,
                    customer_id: reservation.customer_id.clone(),
                    silent: false,
                    force: true,
                })
            };
            let started: Vec<_> = changes.iter().filter_map(refund).collect();
            let starts = |id| started.iter().any(|start| start.refund.facts.payment_id == id);
            let mut rows = Vec::new();
            let mut others = Vec::new();
            // Refunds are locked before their payments here, as by those who work on them.
            for change in changes {
                rows.extend(given_up_first(plan, change, &known, now));
                let payment_id = given_up(change).map(|(_, payment_id, _)| payment_id);
                // A refund that begins excludes others already.
                let known = payment_id.filter(|id| !starts(*id)).and_then(|id| known.get(&id));
                let known = known.filter(|stored| !stored.refunds.is_empty());
                others.extend(known.map(|one| exclude_refunds(one.payment.payment_id, version_under_lock(Some(one)))));
            }
            rows.extend(start_refunds(&started, None, trace));
            rows.extend(others);
            rows.extend(changes.iter().filter_map(|change| exchanged(change, &known)));
            rows
        })
    }
}

/// The till that pays out a refund: the one that is named, or the one that took the payment. `None`: the gateway gives it back.
fn payout(paid: Option<&AtTill>, named: &str) -> Option<String> {
    paid.map(|paid| if named.is_empty() { paid.till.clone() } else { named.to_owned() })
}

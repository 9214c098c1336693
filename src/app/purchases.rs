//! Use cases of purchases. What a purchase does next is decided by `domain::purchase`, and done in `purchases/drive.rs`.

mod attempts;
mod buyers;
mod captured;
mod changes;
mod drive;
mod gateway;
mod held;
mod ledger;
pub(super) mod parts;
mod pushes;
mod reads;
mod settled;
mod stuck;

use std::sync::Arc;

use chrono::{DateTime, Utc};

use self::{changes::Waiter, gateway::method_name, held::Held};
use super::{
    Answer, App, Error, Origin, ReservationRef, ReservationView,
    decisions::Decided,
    errors::{PurchaseRefusal, check_no_card_number},
};
use crate::{
    domain::{
        ids::{PaymentId, PurchaseId, ReservationId, ShowtimeId},
        money::Money,
        purchase::{
            AtTill, Payment, PaymentMethod, PaymentState, Position, Purchase, PurchaseFacts, PurchaseNumber,
            PurchaseState,
        },
        refund::Refund,
        reservation::CustomerId,
        seating::{Command, ShowtimePlan, Wish},
        violations::Violations,
    },
    ledger::Request,
    store::{
        self, RequestKey, StoredPurchase, insert_purchase,
        outbox::{LastRevision, PurchaseEvents},
    },
    telemetry::trace_parent::TraceParent,
};
pub use buyers::{BuyersPurchase, NamedPurchase, NumberAndSecret};
pub use parts::PaymentOptions;
pub use reads::{PaymentPage, PurchasePage, PurchaseWatch};
pub use stuck::{StuckPage, StuckPurchase};

/// What a customer buys.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// The seats of a hold.
    Reservation(ReservationId),
    /// Seats of a showtime, which are held first.
    Seats {
        /// The showtime.
        showtime_id: ShowtimeId,
        /// The seats.
        wish: Wish,
    },
}

/// How a customer pays.
#[derive(Clone, PartialEq, Eq)]
pub struct PaymentChoice {
    /// How the payment is made.
    pub method: PaymentMethod,
    /// What it is taken from.
    pub source: PaymentSource,
}

/// What a payment is taken from.
#[derive(Clone, PartialEq, Eq)]
pub enum PaymentSource {
    /// The gateway takes it from what this token of its stands for.
    Token(String),
    /// A till takes it, without the gateway.
    Till {
        /// The till; empty if it has no name.
        till: String,
        /// The till's name for the payment; may be empty.
        transaction_id: String,
    },
}

/// A request to buy seats.
#[derive(Clone)]
pub struct NewPurchase {
    /// What is bought.
    pub wanted: Wanted,
    /// The customer.
    pub customer_id: CustomerId,
    /// How it is paid for.
    pub payment: PaymentChoice,
    /// Where the customer goes after an action; may be empty.
    pub return_uri: String,
}

/// A purchase named by a caller.
#[derive(Clone, Debug)]
pub struct PurchaseRef {
    /// The purchase's id.
    pub purchase_id: PurchaseId,
    /// The customer to whom it must belong. `None` accepts any customer.
    pub customer_id: Option<CustomerId>,
}

/// A purchase with its reservation.
#[derive(Clone, Debug)]
pub struct PurchaseView {
    /// The purchase.
    pub purchase: Purchase,
    /// The refunds of its payments.
    pub refunds: Vec<Refund>,
    /// Its reservation.
    pub reservation: ReservationView,
}

impl App {
    /// Buys seats. Waits a little for the purchase to end, and answers with what it is then.
    ///
    /// # Errors
    /// There is no request id, the seats cannot be had, or the store fails.
    pub async fn purchase_tickets(&self, origin: &Origin, new: NewPurchase) -> Result<Answer<BuyersPurchase>, Error> {
        let missing = || Violations::one("request_id", "is required: without it, a repeated request would buy twice");
        let key = origin.key.clone().ok_or_else(missing)?;
        check_payment(&new.payment)?;
        check_no_card_number("return_uri", &new.return_uri)?;
        if self.0.purchases.looks_up_first()
            && let Some(found) = self.purchase_of(&key).await?
        {
            return Ok(Answer { value: self.for_buyer(self.settled(found).await?), repeated: true });
        }
        let (app, origin) = (self.clone(), origin.clone());
        match self.detached(async move { app.begin_purchase(&origin, &key, new).await }).await? {
            Begun::Now(stored, changes) => {
                Ok(Answer { value: self.for_buyer(self.settled_since(*stored, changes).await?), repeated: false })
            }
            Begun::Before(stored) => Ok(Answer { value: self.for_buyer(self.settled(*stored).await?), repeated: true }),
        }
    }

    /// Goes on with a purchase that waits for its customer.
    ///
    /// # Errors
    /// There is no such purchase, it waits for nothing, or the store fails.
    pub async fn continue_purchase(
        &self,
        origin: &Origin,
        which: PurchaseRef,
        choice: Option<PaymentChoice>,
    ) -> Result<BuyersPurchase, Error> {
        if let Some(choice) = &choice {
            check_payment(choice)?;
        }
        let (app, trace) = (self.clone(), origin.trace);
        let stored = self.detached(async move {
            app.change_purchase(&which, trace, |purchase, now| match choice.clone() {
                None => Ok(purchase.nudge()),
                Some(choice) => {
                    let payment_id = PaymentId(app.0.clock.new_id());
                    let payment = app.new_payment(payment_id, choice, purchase.total(), None);
                    purchase.try_payment(payment, now).map(|()| true)
                }
            })
            .await
        });
        Ok(self.for_buyer(self.settled(stored.await?).await?))
    }

    /// Gives up a purchase that waits for its customer.
    ///
    /// # Errors
    /// There is no such purchase, it does not wait for its customer, or the store fails.
    pub async fn cancel_purchase(&self, origin: &Origin, which: PurchaseRef) -> Result<BuyersPurchase, Error> {
        let (app, trace) = (self.clone(), origin.trace);
        let cancel = |purchase: &mut Purchase, now| match purchase.position() {
            Position::Compensated => Ok(false),
            _ => purchase.cancel(now).map(|()| true),
        };
        let stored = self.detached(async move { app.change_purchase(&which, trace, cancel).await }).await?;
        Ok(self.for_buyer(self.settled(stored).await?))
    }

    /// Makes the first commit of a purchase, and goes on with it in a task of its own.
    async fn begin_purchase(&self, origin: &Origin, key: &RequestKey, new: NewPurchase) -> Result<Begun, Error> {
        let permit = Arc::clone(&self.0.purchases.at_work).try_acquire_owned();
        let permit =
            permit.map_err(|_| store::Error::overloaded("this instance works on as many purchases as it may"))?;
        let first = Box::pin(self.first_commit(origin, key, new)).await;
        match first {
            Ok((purchase, decided, price_has_changed)) => {
                let stored = StoredPurchase {
                    last_events: LastRevision::of_new(&purchase),
                    purchase,
                    refunds: Vec::new(),
                    fence: 1,
                    version: 1,
                    fingerprint: key.fingerprint.to_vec(),
                };
                let changes = self.0.purchases.changes.subscribe(stored.purchase.facts.purchase_id).here();
                let mut held = Held::new(&stored, origin.trace);
                held.reservation = Some(decided);
                // Who waits gets the purchase as it is now, if nothing becomes of it in time.
                self.0.purchases.changes.note_stored(held.fence, held.seen());
                if price_has_changed {
                    held.change().price_changed(self.0.clock.now());
                }
                self.work_on(held, permit);
                Ok(Begun::Now(Box::new(stored), changes))
            }
            // The same request may have come before, and has the seats. The unique index of request ids stands behind that.
            Err(error) => match self.purchase_of(key).await? {
                Some(found) => {
                    self.0.purchases.look_up_first();
                    Ok(Begun::Before(Box::new(found)))
                }
                None => Err(error),
            },
        }
    }

    /// Makes the first commit of a purchase. Returns the purchase as it is stored, its reservation as it was decided, and whether its
    /// seats cost something else by then.
    async fn first_commit(
        &self,
        origin: &Origin,
        key: &RequestKey,
        new: NewPurchase,
    ) -> Result<(Purchase, Decided, bool), Error> {
        let now = self.0.clock.now();
        let NewPurchase { wanted, customer_id, payment, return_uri } = new;
        let new_id = || self.0.clock.new_id();
        let reservation_id = match wanted {
            Wanted::Reservation(reservation_id) => reservation_id,
            Wanted::Seats { .. } => ReservationId(new_id()),
        };
        let (purchase_id, payment_id) = match payment.source {
            PaymentSource::Till { .. } => (PurchaseId::at_till(reservation_id), PaymentId::at_till(reservation_id)),
            PaymentSource::Token(_) => (PurchaseId(new_id()), PaymentId(new_id())),
        };
        let number = PurchaseNumber::of(self.0.clock.random_bits());
        let facts = |showtime_id, reservation_id| PurchaseFacts {
            purchase_id,
            number,
            customer_id: customer_id.clone(),
            showtime_id,
            reservation_id,
            return_uri,
            create_time: now,
        };
        match wanted {
            Wanted::Reservation(reservation_id) => {
                let named = ReservationRef { reservation_id, customer_id: Some(customer_id.clone()) };
                let found = self.find(&named).await?.reservation;
                let total = found.remaining_total();
                let plan = self.0.store.plan(found.showtime_id).await?;
                let payment = self.new_payment(payment_id, payment, total, plan.as_deref());
                let mut purchase = Purchase::begin(facts(found.showtime_id, reservation_id), total, payment);
                let until = self.pay_until(found.showtime_id, self.0.purchases.options.pay_time, now).await?;
                purchase.payment_begun(total, until, now);
                let command = Self::pay(&purchase, self.0.purchases.options.pay_time);
                let events = PurchaseEvents::of_new(&purchase, origin.trace);
                let rows = insert_purchase(&purchase, Some(key), Some(self.0.purchases.lease_end(now)), &events);
                let request =
                    Request { companions: rows, trace: origin.trace, ..Request::new(found.showtime_id, command) };
                let decided = self.decided(request, Some(reservation_id)).await?;
                // Between the read and the decision the seats may have been exchanged for dearer ones.
                let price_has_changed = decided.reservation.remaining_total() != total;
                Ok((purchase, decided, price_has_changed))
            }
            Wanted::Seats { showtime_id, wish } => {
                let plan = self.plan_of(showtime_id).await?;
                let nothing = Money { currency: plan.facts.prices.currency, minor: 0 };
                let command = Command::Reserve { reservation_id, customer_id: customer_id.clone(), wish };
                let payment = self.new_payment(payment_id, payment, nothing, Some(&*plan));
                let purchase = Purchase::begin(facts(showtime_id, reservation_id), nothing, payment);
                let events = PurchaseEvents::of_new(&purchase, origin.trace);
                let rows = insert_purchase(&purchase, Some(key), Some(self.0.purchases.lease_end(now)), &events);
                let request = Request { companions: rows, trace: origin.trace, ..Request::new(showtime_id, command) };
                let decided = self.decided(request, None).await?;
                self.0.reservation_index.insert(reservation_id, showtime_id);
                Ok((purchase, decided, false))
            }
        }
    }

    /// Changes a purchase that waits, and goes on with it. `change` returns whether it changed anything.
    async fn change_purchase(
        &self,
        which: &PurchaseRef,
        trace: Option<TraceParent>,
        mut change: impl FnMut(&mut Purchase, DateTime<Utc>) -> Result<bool, Position>,
    ) -> Result<StoredPurchase, Error> {
        loop {
            let mut stored = self.find_purchase(which).await?;
            let now = self.0.clock.now();
            let payments = stored.purchase.payments().len();
            let refused = |_| Error::Purchase(PurchaseRefusal::of(stored.purchase.state()));
            if stored.purchase.state() == PurchaseState::Stuck {
                return Err(refused(stored.purchase.position()));
            }
            let mut changed = stored.purchase.clone();
            // A payment whose time has passed is given up first.
            let is_late = changed.notice_time(now);
            if !is_late && !change(&mut changed, now).map_err(refused)? {
                return Ok(stored);
            }
            let permit = Arc::clone(&self.0.purchases.at_work).acquire_owned().await;
            let permit = permit.map_err(|_| Error::Lost("the purchases have ended".to_owned()))?;
            let id = stored.purchase.facts.purchase_id;
            let seen = (stored.fence, Some(stored.version));
            let Some(fence) = self.0.store.take_purchase(id, seen, self.0.purchases.lease_end(now)).await? else {
                continue;
            };
            stored.fence = fence;
            let mut held = Held::new(&stored, trace);
            held.new_payment = changed.payments().len() > payments;
            held.purchase = Arc::new(changed);
            if !self.keep(&mut held, now).await? {
                continue;
            }
            stored.purchase = Purchase::clone(&held.purchase);
            self.work_on(held, permit);
            return Ok(stored);
        }
    }

    /// The purchase that a request has begun.
    async fn purchase_of(&self, key: &RequestKey) -> Result<Option<StoredPurchase>, Error> {
        match self.0.store.purchase_of_request(key).await? {
            Some(found) if found.fingerprint != key.fingerprint => Err(Error::RequestReused),
            found => Ok(found),
        }
    }

    fn new_payment(
        &self,
        payment_id: PaymentId,
        PaymentChoice { method, source }: PaymentChoice,
        amount: Money,
        plan: Option<&ShowtimePlan>,
    ) -> Payment {
        let now = self.0.clock.now();
        let (token, at_till) = match source {
            PaymentSource::Token(token) => (token, None),
            PaymentSource::Till { till, transaction_id } => {
                let local_date = plan.map(|plan| plan.facts.auditorium.local_date(now));
                let tender = method_name(method).to_lowercase();
                (String::new(), Some(AtTill { till, tender, transaction_id, local_date }))
            }
        };
        Payment {
            payment_id,
            method,
            token,
            amount,
            refunded_minor: 0,
            state: PaymentState::Pending,
            decline_code: String::new(),
            create_time: now,
            process_time: None,
            at_till,
        }
    }
}

/// A purchase whose first commit was made.
enum Begun {
    /// By this request. Every change of it is noted here.
    Now(Box<StoredPurchase>, Waiter),
    /// By the same request, which came before.
    Before(Box<StoredPurchase>),
}

/// Refuses a card number in what a payment is made with.
fn check_payment(choice: &PaymentChoice) -> Result<(), Error> {
    match &choice.source {
        PaymentSource::Token(token) => check_no_card_number("payment.token", token),
        PaymentSource::Till { till, transaction_id } => {
            check_no_card_number("payment.transaction_id", transaction_id)?;
            check_no_card_number("payment.till", till)
        }
    }
}

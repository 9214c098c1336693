//! Every sale is a purchase.
//!
//! A purchase by the gateway sells its seats itself. A sale at a till is confirmed in one request, and the rows of its purchase commit
//! with that. A sale that was made by a release without purchases gets its purchase afterwards: from a task that looks for such
//! sales, or from the request that gives up or exchanges its seats, whichever is first.

use std::{error::Error as StdError, time::Duration};

use chrono::{DateTime, NaiveDate, Utc};
use tokio_util::sync::CancellationToken;

use super::{App, Error, Origin};
use crate::{
    background::{NextRun, Task},
    clock::Clock,
    domain::{
        ids::{PaymentId, PurchaseId, RefundId, ShowtimeId},
        money::Money,
        prices::Split,
        purchase::{AtTill, Payment, PaymentMethod, PaymentState, Purchase, PurchaseFacts, PurchaseNumber},
        refund::{Chosen, Refund, RefundAnswer, RefundFacts},
        reservation::{Reservation, State, Tender},
        seating::{Change, ShowtimePlan},
    },
    ledger::CompanionMaker,
    store::{
        self, Companion, MoneyEntry, RefundStart, RefundVersion, RefundWrite, TillSum, insert_entries, insert_purchase,
        outbox::PurchaseEvents, settle_refund, start_refunds,
    },
    telemetry::trace_parent::TraceParent,
};

/// How often sales without a purchase are looked for, and how many at once.
const PERIOD: Duration = Duration::from_mins(1);
const PAGE: u64 = 200;
/// Why seats were given back before there were purchases.
const BEFORE: &str = "given back before refunds were recorded";
/// Why money is given back that came too late.
const TOO_LATE: &str = "the reservation had ended";

/// What a till has taken on a day, and what it has paid out.
#[derive(Clone, Debug)]
pub struct CashUp {
    /// A line for each way to pay.
    pub lines: Vec<CashUpLine>,
}

/// What a till has taken on a day in one way, and what it has paid out.
#[derive(Clone, Debug)]
pub struct CashUpLine {
    /// The method of payment.
    pub method: PaymentMethod,
    /// How it was paid, in the till's words.
    pub tender: String,
    /// What was taken, and in how many payments.
    pub sales: (i64, Money),
    /// What was paid out, and in how many refunds.
    pub refunds: (i64, Money),
}

impl App {
    /// Sums up what a till has taken on a day, and what it has paid out.
    ///
    /// # Errors
    /// The store fails.
    pub async fn cash_up(&self, _origin: &Origin, till: &str, local_date: NaiveDate) -> Result<CashUp, Error> {
        let (taken, paid_out) = Box::pin(self.0.store.cash_up(till, local_date)).await?;
        let mut lines: Vec<CashUpLine> = Vec::new();
        let both = taken.into_iter().map(|sum| (sum, true)).chain(paid_out.into_iter().map(|sum| (sum, false)));
        for (TillSum { method, tender, count, amount }, is_sale) in both {
            let is_same = |line: &CashUpLine| {
                (line.method, &line.tender, line.sales.1.currency) == (method, &tender, amount.currency)
            };
            let nothing = (0, Money { minor: 0, ..amount });
            let at = lines.iter().position(is_same).unwrap_or(lines.len());
            if at == lines.len() {
                lines.push(CashUpLine { method, tender, sales: nothing, refunds: nothing });
            }
            let line = &mut lines[at];
            *(if is_sale { &mut line.sales } else { &mut line.refunds }) = (count, amount);
        }
        Ok(CashUp { lines })
    }

    /// Makes the purchase of a sale at this till, and of money that was taken there too late.
    pub(super) fn sale_maker(&self, till: String, trace: Option<TraceParent>) -> CompanionMaker {
        let clock = self.0.clock.clone();
        CompanionMaker::new(move |plan, changes, now| {
            let rows = |change: &Change| match change {
                Change::Confirmed(sold) | Change::Recovered(sold) => {
                    let tender = sold.sale().and_then(|sale| sale.tender.as_ref());
                    let (purchase, entries) = purchase_of(&clock, sold, now, at_till(plan, tender, &till, now));
                    rows(&purchase, entries, now, &PurchaseEvents::of_new(&purchase, trace))
                }
                // If it was sold, the purchase of the sale has the money, and its refund has begun.
                Change::RefundDue(ended) if ended.sale().is_none() => {
                    let tender = ended.refund_due().map(|due| &due.tender);
                    late_rows(&clock, ended, now, at_till(plan, tender, &till, now), trace)
                }
                _ => Vec::new(),
            };
            changes.iter().flat_map(rows).collect()
        })
    }

    /// Looks for sales that have no purchase, and makes their purchases, until the shutdown.
    pub async fn complete_sales(self, shutdown: CancellationToken) {
        let task = Task::new("purchases of earlier sales", PERIOD).shutdown(shutdown);
        task.run(async move || {
            let app = self.clone();
            Box::pin(async move { app.complete_some_sales().await }).await
        })
        .await;
    }

    async fn complete_some_sales(&self) -> Result<NextRun, store::Error> {
        let sales = self.0.store.sales_without_purchase(None, PAGE).await?;
        let is_full = sales.len() as u64 == PAGE;
        let mut made = 0_u64;
        for sale in sales {
            match self.complete_sale(&sale).await {
                Ok(is_made) => made += u64::from(is_made),
                // One that cannot be completed does not keep the others waiting.
                Err(store::Error::Constraint(_)) => {}
                Err(error) => return Err(error),
            }
        }
        // If none of a full page could be completed, others would not be reached by trying at once.
        Ok(if is_full && made > 0 { NextRun::Now } else { NextRun::Period })
    }

    /// Makes the purchase of a sale, unless the sale has changed since it was read.
    async fn complete_sale(&self, sale: &Reservation) -> Result<bool, store::Error> {
        let result = self.0.store.complete_sale(sale, earlier_rows(&self.0.clock, sale)).await;
        if matches!(result, Ok(true)) {
            self.ticket_sale_or_log(sale).await;
        }
        if let Err(error @ store::Error::Constraint(_)) = &result {
            let reservation_id = sale.reservation_id;
            tracing::error!(error = error as &dyn StdError, %reservation_id, "a sale gets no purchase");
        }
        result
    }

    /// The purchase that a reservation is sold by, which is made now if the sale has none yet. `None`: it is not sold.
    pub(super) async fn purchase_of_sale(&self, reservation: &Reservation) -> Result<Option<PurchaseId>, Error> {
        if reservation.sale().is_some() && reservation.purchase_id().is_none() {
            self.complete_sale(reservation).await?;
            return Ok(Some(PurchaseId::at_till(reservation.reservation_id)));
        }
        Ok(reservation.purchase_id())
    }

    /// Makes the purchases of all sales of a showtime that have none. It fails if one cannot be made, because the sale would get no
    /// refund.
    pub(super) async fn complete_sales_of(&self, showtime_id: ShowtimeId) -> Result<(), Error> {
        loop {
            let sales = self.0.store.sales_without_purchase(Some(showtime_id), PAGE).await?;
            for sale in &sales {
                self.complete_sale(sale).await?;
            }
            if (sales.len() as u64) < PAGE {
                return Ok(());
            }
        }
    }
}

fn at_till(plan: &ShowtimePlan, tender: Option<&Tender>, till: &str, now: DateTime<Utc>) -> AtTill {
    AtTill::of(tender, till, Some(plan.facts.auditorium.local_date(now)))
}

fn payment(payment_id: PaymentId, amount: Money, paid: AtTill, time: DateTime<Utc>) -> Payment {
    Payment {
        payment_id,
        method: paid.method(),
        token: String::new(),
        amount,
        refunded_minor: 0,
        state: PaymentState::Pending,
        decline_code: String::new(),
        create_time: time,
        process_time: None,
        at_till: Some(paid),
    }
}

fn facts(
    clock: &Clock,
    purchase_id: PurchaseId,
    reservation: &Reservation,
    create_time: DateTime<Utc>,
) -> PurchaseFacts {
    PurchaseFacts {
        purchase_id,
        number: PurchaseNumber::of(clock.random_bits()),
        customer_id: reservation.customer_id.clone(),
        showtime_id: reservation.showtime_id,
        reservation_id: reservation.reservation_id,
        return_uri: String::new(),
        create_time,
    }
}

/// The rows of a purchase that has ended, with this money in the books.
fn rows(
    purchase: &Purchase,
    entries: Vec<(&'static str, i64)>,
    now: DateTime<Utc>,
    events: &PurchaseEvents,
) -> Vec<Companion> {
    let payment = purchase.payment().map(|payment| payment.payment_id);
    let entry = |(account, minor)| Some((payment?, "capture", MoneyEntry { account, minor }));
    let entries: Vec<_> = entries.into_iter().filter_map(entry).collect();
    let money = insert_entries(purchase.total().currency, &entries, now);
    insert_purchase(purchase, None, None, events).into_iter().chain(money).collect()
}

/// The purchase that a sale at a till is, and its money.
fn purchase_of(
    clock: &Clock,
    sold: &Reservation,
    time: DateTime<Utc>,
    paid: AtTill,
) -> (Purchase, Vec<(&'static str, i64)>) {
    let id = sold.reservation_id;
    let payment = payment(PaymentId::at_till(id), sold.total(), paid, time);
    let entries = payment.sale_entries(sold.lines().split());
    let facts = facts(clock, PurchaseId::at_till(id), sold, time);
    (Purchase::sold_at_till(facts, sold.total(), payment, time), entries)
}

/// The rows of a purchase without seats, whose money a till is to give back. Its ids are new, since the reservation may have had a
/// purchase before.
fn late_rows(
    clock: &Clock,
    ended: &Reservation,
    now: DateTime<Utc>,
    paid: AtTill,
    trace: Option<TraceParent>,
) -> Vec<Companion> {
    let amount = ended.remaining_total();
    if amount.minor == 0 {
        return Vec::new();
    }
    let till = paid.till.clone();
    let payment = payment(PaymentId(clock.new_id()), amount, paid, now);
    let (payment_id, entries) = (payment.payment_id, payment.excess_entries());
    let facts = facts(clock, PurchaseId(clock.new_id()), ended, now);
    let purchase = Purchase::paid_too_late(facts, amount, payment, now);
    let events = PurchaseEvents::of_new(&purchase, trace);
    let refund = Refund::begin_at_till(RefundFacts {
        refund_id: RefundId(clock.new_id()),
        payment_id,
        purchase_id: purchase.facts.purchase_id,
        reservation_id: ended.reservation_id,
        showtime_id: ended.showtime_id,
        chosen: Chosen { amount, split: Split::default(), seats: Vec::new() },
        releases: false,
        owed: false,
        till: Some(till),
        reason: TOO_LATE.to_owned(),
        create_time: now,
    });
    let start = RefundStart {
        refund,
        version: RefundVersion::Exactly(0),
        customer_id: ended.customer_id.clone(),
        silent: false,
        force: false,
    };
    let refund = start_refunds(&[start], None, trace);
    rows(&purchase, entries, now, &events).into_iter().chain(refund).collect()
}

/// The rows of the purchase of a sale from before there were purchases. It has no events: what happened was long ago. What was given
/// back by then counts as paid out.
fn earlier_rows(clock: &Clock, sale: &Reservation) -> Vec<Companion> {
    let Some(time) = sale.sale().map(|sale| sale.at) else { return Vec::new() };
    let tender = sale.sale().and_then(|sale| sale.tender.as_ref());
    let (purchase, entries) = purchase_of(clock, sale, time, AtTill::of(tender, "", None));
    let mut made = rows(&purchase, entries, time, &PurchaseEvents::none());
    let is_live = matches!(sale.state(), State::Confirmed(_));
    let gone = sale.all_lines().filter(|(one, _)| one.released || !is_live);
    let split: Split = gone.map(|(_, line)| line.split()).sum();
    if split.total() == 0 {
        return made;
    }
    let id = sale.reservation_id;
    let mut refund = Refund::begin(RefundFacts {
        refund_id: RefundId(clock.new_id()),
        payment_id: PaymentId::at_till(id),
        purchase_id: PurchaseId::at_till(id),
        reservation_id: id,
        showtime_id: sale.showtime_id,
        chosen: Chosen { amount: Money { currency: sale.currency, minor: split.total() }, split, seats: Vec::new() },
        releases: false,
        owed: false,
        till: Some(String::new()),
        reason: BEFORE.to_owned(),
        create_time: clock.now(),
    });
    let (refund_now, customer_id) = (refund.clone(), sale.customer_id.clone());
    made.extend(start_refunds(
        &[RefundStart {
            refund: refund_now,
            version: RefundVersion::Exactly(0),
            customer_id,
            silent: true,
            force: false,
        }],
        None,
        None,
    ));
    refund.answered(RefundAnswer::Done, 0.0, clock.now());
    let write = RefundWrite {
        refund: &refund,
        customer_id: &sale.customer_id,
        fence: 0,
        due: None,
        local_date: None,
        silent: true,
        note: None,
    };
    made.extend(settle_refund(&write, clock.now()));
    made
}

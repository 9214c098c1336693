//! The audit of the books: whether they balance, and whether the payment gateway says the same.
//!
//! It reads page by page, and each finding is passed on at once, so that its memory is bounded. It runs beside instances that
//! sell: purchases that have not ended are counted and not judged, and a difference from the gateway's report is looked at a second
//! time, since the report and the books are read one after the other.

mod books;

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};

use self::books::{booked, difference, is_open};
use crate::{
    domain::{ids::PaymentId, money::Money, purchase::PurchaseState},
    payments::{Gateway, PaymentReport, Trouble},
    store::{self, AuditedPayment, Store},
};

/// The purchases of a page.
const PAGE: u64 = 200;

/// A sale by a release without tickets has its tickets by then. The service looks for such sales each minute.
const TICKETS_WITHIN: TimeDelta = TimeDelta::hours(2);

/// Up to how many sales without a purchase are counted.
pub const MAX_COUNTED: u64 = 1_000;

/// What an audit has seen.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// Purchases that are completed.
    pub completed: u64,
    /// Purchases that are compensated.
    pub compensated: u64,
    /// Purchases that go on by themselves or wait for their customers. They are not judged.
    pub running: u64,
    /// Purchases that are stuck. They are not judged.
    pub stuck: u64,
    /// Sales from before there were purchases that have none yet, up to [`MAX_COUNTED`].
    pub without_purchase: u64,
    /// Sales that have no tickets yet, because they were made by a release without tickets. The service makes them.
    pub without_tickets: u64,
    /// What the books have of each currency, by its code.
    pub sums: BTreeMap<&'static str, Sums>,
    /// The number of findings.
    pub findings: u64,
    /// Payments that were taken before the audit began.
    taken: u64,
}

/// What the books have of one currency.
#[derive(Clone, Copy, Debug)]
pub struct Sums {
    /// What was captured.
    pub captured: Money,
    /// What was given back of it.
    pub refunded: Money,
}

/// What came of the comparison with the payment gateway.
#[derive(Clone, Debug)]
pub enum Comparison {
    /// The payments of its report were compared.
    Compared {
        /// How many.
        payments: u64,
    },
    /// The gateway cannot be reached, or failed in between.
    Unreachable(Trouble),
}

impl Audit {
    /// Checks the books. Each finding is passed to `report`.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn of_books(
        store: &Store,
        start: DateTime<Utc>,
        report: &mut impl FnMut(&str),
    ) -> Result<Self, store::Error> {
        let mut audit = Self::default();
        let first_key = store.signing_keys().await?.first().map(|key| key.create_time);
        let mut after = None;
        loop {
            let page = store.audited_purchases(after, PAGE).await?;
            for purchase in &page {
                audit.count(purchase.state);
                if is_open(purchase.state) {
                    continue;
                }
                // A sale from before the first key gets its tickets in its turn, and a later one that an older release made within minutes.
                let is_late = first_key.is_some_and(|first| first < purchase.create_time)
                    && purchase.create_time < start - TICKETS_WITHIN;
                let awaits_tickets = purchase.ticketed_seats.is_none() && !is_late;
                audit.without_tickets += u64::from(awaits_tickets && !purchase.live_seats.is_empty());
                purchase.payments.iter().for_each(|payment| audit.add(payment, start));
                for finding in books::purchase(purchase, awaits_tickets) {
                    audit.find(&finding, report);
                }
            }
            match page.last() {
                Some(last) if page.len() as u64 == PAGE => after = Some(last.purchase_id),
                _ => break,
            }
        }
        let entries = async |after| store.audited_entries(after, PAGE).await;
        let finding = |id| format!("payment {id}: there are entries, and no such payment");
        audit.find_strays(report, entries, finding).await?;
        let tickets = async |after| store.ticketed_purchases(after, PAGE).await;
        let finding = |id| format!("purchase {id}: there are tickets, and no such purchase");
        audit.find_strays(report, tickets, finding).await?;
        audit.without_purchase = store.count_sales_without_purchase(MAX_COUNTED).await?;
        Ok(audit)
    }

    /// Passes over all ids that rows name, page by page. Those of nothing are findings.
    async fn find_strays<I: Copy>(
        &mut self,
        report: &mut impl FnMut(&str),
        read: impl AsyncFn(Option<I>) -> Result<Vec<(I, bool)>, store::Error>,
        finding: impl Fn(I) -> String,
    ) -> Result<(), store::Error> {
        let mut after = None;
        loop {
            let page = read(after).await?;
            for (id, _) in page.iter().filter(|(_, exists)| !exists) {
                self.find(&finding(*id), report);
            }
            match page.last() {
                Some((last, _)) if page.len() as u64 == PAGE => after = Some(*last),
                _ => return Ok(()),
            }
        }
    }

    /// Compares the books with the gateway's report. Each finding is passed to `report`.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn compare(
        &mut self,
        store: &Store,
        gateway: &Gateway,
        start: DateTime<Utc>,
        report: &mut impl FnMut(&str),
    ) -> Result<Comparison, store::Error> {
        let (mut page_token, mut payments, mut taken) = (String::new(), 0, 0);
        loop {
            let page = match gateway.list(&page_token).await {
                Ok(page) => page,
                Err(trouble) => return Ok(Comparison::Unreachable(trouble)),
            };
            if page.unreadable > 0 {
                self.find(&format!("{} payments of the gateway's report cannot be read", page.unreadable), report);
            }
            payments += page.payments.len() as u64;
            let known = find_all(store, &page.payments).await?;
            let known: HashMap<_, _> = known.iter().map(|known| (known.payment.key(), known)).collect();
            for reported in &page.payments {
                let known = known.get(&reported.key).copied();
                taken += u64::from(known.is_some_and(|known| is_taken(known, start)));
                if difference(reported, known).is_none() {
                    continue;
                }
                match look_again(store, gateway, &reported.key).await? {
                    Ok(Some(finding)) => self.find(&finding, report),
                    Ok(None) => {}
                    Err(trouble) => return Ok(Comparison::Unreachable(trouble)),
                }
            }
            if page.next_page_token.is_empty() || page.next_page_token == page_token {
                break;
            }
            page_token = page.next_page_token;
        }
        if taken < self.taken
            && let Some(trouble) = self.find_missing(store, gateway, report).await?
        {
            return Ok(Comparison::Unreachable(trouble));
        }
        Ok(Comparison::Compared { payments })
    }

    /// The gateway's report has fewer payments than were taken: asks for each of them.
    async fn find_missing(
        &mut self,
        store: &Store,
        gateway: &Gateway,
        report: &mut impl FnMut(&str),
    ) -> Result<Option<Trouble>, store::Error> {
        let mut after = None;
        loop {
            let page = store.audited_purchases(after, PAGE).await?;
            let ended = page.iter().filter(|purchase| !is_open(purchase.state));
            for payment in ended.flat_map(|purchase| &purchase.payments).filter(|one| is_by_gateway(one)) {
                match gateway.payment(&payment.payment.key()).await {
                    Ok(now) if difference(&now, Some(payment)).is_some() => {
                        match look_again(store, gateway, &now.key).await? {
                            Ok(Some(finding)) => self.find(&finding, report),
                            Ok(None) => {}
                            Err(trouble) => return Ok(Some(trouble)),
                        }
                    }
                    Ok(_) => {}
                    Err(Trouble::NotFound) => {
                        let (id, amount) = (payment.payment.payment_id, payment.payment.amount);
                        self.find(
                            &format!("payment {id}: {amount} was taken, and the gateway does not know it"),
                            report,
                        );
                    }
                    Err(trouble) => return Ok(Some(trouble)),
                }
            }
            match page.last() {
                Some(last) if page.len() as u64 == PAGE => after = Some(last.purchase_id),
                _ => return Ok(None),
            }
        }
    }

    fn count(&mut self, state: PurchaseState) {
        match state {
            PurchaseState::Completed => self.completed += 1,
            PurchaseState::Compensated => self.compensated += 1,
            PurchaseState::Running | PurchaseState::AwaitingCustomer => self.running += 1,
            PurchaseState::Stuck => self.stuck += 1,
        }
    }

    fn add(&mut self, payment: &AuditedPayment, start: DateTime<Utc>) {
        self.taken += u64::from(is_taken(payment, start));
        if payment.entries.is_empty() {
            return;
        }
        let (booked, currency) = (booked(payment), payment.payment.amount.currency);
        let nothing = Money { currency, minor: 0 };
        let sums = self.sums.entry(currency.code()).or_insert(Sums { captured: nothing, refunded: nothing });
        sums.captured.minor += booked.captured;
        sums.refunded.minor += booked.refunded;
    }

    fn find(&mut self, finding: &str, report: &mut impl FnMut(&str)) {
        self.findings += 1;
        report(finding);
    }
}

/// Whether the books say that the gateway has taken money for a payment.
fn is_by_gateway(payment: &AuditedPayment) -> bool {
    payment.payment.at_till.is_none() && !payment.entries.is_empty()
}

/// Whether the gateway has taken money for a payment before this time.
fn is_taken(payment: &AuditedPayment, start: DateTime<Utc>) -> bool {
    is_by_gateway(payment) && payment.payment.process_time.is_some_and(|time| time < start)
}

/// Our payments to which these reports belong.
async fn find_all(store: &Store, reports: &[PaymentReport]) -> Result<Vec<AuditedPayment>, store::Error> {
    let ids: Vec<_> = reports.iter().filter_map(|report| PaymentId::parse(&report.key).ok()).collect();
    if ids.is_empty() { Ok(Vec::new()) } else { store.audited_payments(&ids).await }
}

/// Reads both sides anew, the gateway first and the books after it.
async fn look_again(
    store: &Store,
    gateway: &Gateway,
    key: &str,
) -> Result<Result<Option<String>, Trouble>, store::Error> {
    let now = match gateway.payment(key).await {
        Ok(now) => now,
        Err(trouble) => return Ok(Err(trouble)),
    };
    let known = find_all(store, std::slice::from_ref(&now)).await?;
    Ok(Ok(difference(&now, known.first())))
}

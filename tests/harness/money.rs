//! A model of the money beside that of the seats: compares purchases, the gateway's payments, the books and the seats.
//!
//! When nothing is under way any more, [`anomalies`] lists whatever cannot be if money is taken once and seats are sold for it, or
//! everything is undone.

use std::collections::{BTreeMap, HashMap, HashSet};

use boxoffice::pb::{
    google::r#type::Money,
    payments::v1::{Payment, PaymentState},
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, FromQueryResult, Statement, prelude::Uuid};

use super::purchases::Gateway;

#[derive(Debug, FromQueryResult)]
struct PurchaseRow {
    purchase_id: Uuid,
    reservation_id: Uuid,
    state: String,
    total_minor: i64,
    due_time: Option<DateTime<Utc>>,
}

#[derive(Debug, FromQueryResult)]
struct PaymentRow {
    payment_id: Uuid,
    purchase_id: Uuid,
    amount_minor: i64,
    state: String,
    token: String,
    refunded_minor: i64,
    /// How a till was paid. `None`: the gateway was.
    tender: Option<String>,
}

#[derive(Debug, FromQueryResult)]
struct RefundRow {
    payment_id: Uuid,
    amount_minor: i64,
    state: String,
}

impl PaymentRow {
    fn was_taken(&self) -> bool {
        ["completed", "partially_refunded", "refunded"].contains(&self.state.as_str())
    }

    /// What a till has taken.
    fn taken_at_till(&self) -> i64 {
        if self.tender.is_some() && self.was_taken() { self.amount_minor } else { 0 }
    }

    /// What a till has taken and not paid out.
    fn kept_at_till(&self) -> i64 {
        if self.tender.is_some() && self.was_taken() { self.amount_minor - self.refunded_minor } else { 0 }
    }
}

#[derive(Debug, FromQueryResult)]
struct ReservationRow {
    reservation_id: Uuid,
    purchase_id: Option<Uuid>,
    seat_count: i16,
    state: String,
    confirm_time: Option<DateTime<Utc>>,
    amendment: Option<Vec<u8>>,
}

#[derive(Debug, FromQueryResult)]
struct EntryRow {
    payment_id: Uuid,
    account: String,
    minor: i64,
}

#[derive(Debug, FromQueryResult)]
struct ClaimRow {
    reservation_id: Uuid,
}

/// Everything that is compared.
struct Records {
    purchases: Vec<PurchaseRow>,
    payments: Vec<PaymentRow>,
    reservations: HashMap<Uuid, ReservationRow>,
    refunds: Vec<RefundRow>,
    entries: Vec<EntryRow>,
    claims: HashMap<Uuid, usize>,
    /// What the gateway has, by key.
    charged: BTreeMap<String, Payment>,
}

/// Fails if there is an anomaly.
pub(crate) async fn assert_balanced(connection: &DatabaseConnection, gateway: &Gateway) {
    let anomalies = anomalies(connection, gateway).await;
    assert!(anomalies.is_empty(), "{} anomalies:\n{}", anomalies.len(), anomalies.join("\n"));
}

/// Lists every anomaly. Nothing may be under way.
pub(crate) async fn anomalies(connection: &DatabaseConnection, gateway: &Gateway) -> Vec<String> {
    let records = Records::read(connection, gateway).await;
    let mut found = Vec::new();
    for purchase in &records.purchases {
        records.check_purchase(purchase, &mut found);
    }
    records.check_refunds(&mut found);
    records.check_seats(&mut found);
    records.check_gateway(&mut found);
    records.check_books(&mut found);
    found
}

/// The amount in the smallest units of its currency.
pub(crate) fn minor(money: Option<&Money>) -> i64 {
    let Some(money) = money else { return 0 };
    let whole = match money.currency_code.as_str() {
        "JPY" => 1,
        "KWD" => 1_000,
        _ => 100,
    };
    money.units * whole + i64::from(money.nanos) * whole / 1_000_000_000
}

/// What the gateway has taken and not given back.
pub(crate) fn taken(payment: &Payment) -> i64 {
    minor(payment.captured_amount.as_ref()) - minor(payment.refunded_amount.as_ref())
}

fn is_live(payment: &Payment) -> bool {
    let undecided = [PaymentState::Pending, PaymentState::ActionRequired, PaymentState::Authorized];
    undecided.contains(&payment.state()) || taken(payment) != 0
}

impl Records {
    async fn read(connection: &DatabaseConnection, gateway: &Gateway) -> Self {
        let reservations: Vec<ReservationRow> = rows(
            connection,
            "SELECT reservation_id, purchase_id, seat_count, state, confirm_time, amendment FROM reservations",
        )
        .await;
        let mut claims = HashMap::new();
        for ClaimRow { reservation_id } in rows(connection, "SELECT reservation_id FROM seat_claims").await {
            *claims.entry(reservation_id).or_default() += 1;
        }
        let charged = gateway.payments().await.into_iter().map(|payment| (payment.payment_key.clone(), payment));
        Self {
            purchases: rows(
                connection,
                "SELECT purchase_id, reservation_id, state, total_minor, due_time FROM purchases",
            )
            .await,
            payments: rows(
                connection,
                "SELECT payment_id, purchase_id, amount_minor, state, token, refunded_minor, tender FROM payments",
            )
            .await,
            refunds: rows(connection, "SELECT payment_id, amount_minor, state FROM refunds").await,
            reservations: reservations.into_iter().map(|row| (row.reservation_id, row)).collect(),
            entries: rows(connection, "SELECT payment_id, account, minor FROM money_entries").await,
            claims,
            charged: charged.collect(),
        }
    }

    /// The seats of a purchase are sold and its money is taken, or neither.
    fn check_purchase(&self, purchase: &PurchaseRow, found: &mut Vec<String>) {
        let mut note = |what: &str| found.push(format!("{what}: {purchase:?}"));
        let payments: Vec<_> = self.payments.iter().filter(|one| one.purchase_id == purchase.purchase_id).collect();
        let charges = payments.iter().filter_map(|one| self.charged.get(&one.payment_id.to_string()));
        let charges: Vec<_> = charges.collect();
        let at_till = payments.iter().map(|one| one.taken_at_till());
        let captured = charges.iter().map(|one| minor(one.captured_amount.as_ref())).chain(at_till);
        let captured: Vec<_> = captured.filter(|minor| *minor != 0).collect();
        let reservation = self.reservations.get(&purchase.reservation_id);
        let own = reservation.filter(|one| one.purchase_id == Some(purchase.purchase_id));
        let live = charges.iter().filter(|one| is_live(one)).count();
        let is_given_back = self.refunds.iter().any(|one| payments.iter().any(|own| own.payment_id == one.payment_id));
        let was_taken = charges.iter().any(|one| minor(one.captured_amount.as_ref()) != 0);
        if was_taken && reservation.is_none_or(|its| its.confirm_time.is_none()) {
            note(&format!("money was taken for seats that were never sold: {charges:?}"));
        }
        match purchase.state.as_str() {
            "completed" => {
                let has_seats =
                    |own: &ReservationRow| own.state == "confirmed" || own.state == "cancelled" && is_given_back;
                if !own.is_some_and(has_seats) {
                    note(&format!("it is completed, and its seats are not sold for it: {reservation:?}"));
                }
                if captured != [purchase.total_minor] && purchase.total_minor != 0 {
                    note(&format!("it is completed, and what was taken is {captured:?}"));
                }
                if live > 1 {
                    note(&format!("it is completed, and another payment may still succeed: {charges:?}"));
                }
            }
            "compensated" => {
                if let Some(own) = own.filter(|own| !matches!(own.state.as_str(), "cancelled" | "expired")) {
                    note(&format!("it is compensated, and has its seats: {own:?}"));
                }
                if live > 0 {
                    note(&format!("it is compensated, and money is kept or taken: {charges:?}"));
                }
            }
            _ => note("it is not settled"),
        }
        if purchase.due_time.is_some() {
            note("it has ended, and somebody is to go on with it");
        }
        if payments.is_empty() || payments.iter().any(|one| !one.token.is_empty()) {
            note(&format!("it has ended, and a token is kept: {payments:?}"));
        }
    }

    /// Refunds have ended, and what they have given back is what was given back, and no more than was taken.
    fn check_refunds(&self, found: &mut Vec<String>) {
        let open = self.refunds.iter().filter(|one| !matches!(one.state.as_str(), "done" | "failed"));
        found.extend(open.map(|one| format!("a refund has not ended: {one:?}")));
        for payment in &self.payments {
            let own = self.refunds.iter().filter(|one| one.payment_id == payment.payment_id && one.state == "done");
            let sum: i64 = own.map(|one| one.amount_minor).sum();
            if sum != payment.refunded_minor {
                found.push(format!("its refunds gave back {sum}: {payment:?}"));
            }
            if payment.refunded_minor > payment.amount_minor {
                found.push(format!("more was given back than was taken: {payment:?}"));
            }
        }
    }

    /// No seats without their money, and every claim is of a reservation that has its seats.
    fn check_seats(&self, found: &mut Vec<String>) {
        let completed = self.purchases.iter().filter(|one| one.state == "completed");
        let completed: HashSet<_> = completed.map(|one| (one.purchase_id, one.reservation_id)).collect();
        for row in self.reservations.values() {
            if row.state == "confirmed" && row.purchase_id.is_none() {
                found.push(format!("a sale is no purchase: {row:?}"));
            }
            let sold_by = row.purchase_id.filter(|_| row.state == "confirmed");
            if sold_by.is_some_and(|purchase| !completed.contains(&(purchase, row.reservation_id))) {
                found.push(format!("seats are sold without their money: {row:?}"));
            }
            let claims = self.claims.get(&row.reservation_id).copied().unwrap_or_default();
            let right = match row.state.as_str() {
                "confirmed" if row.amendment.is_some() => true,
                "confirmed" | "held" | "paying" => usize::try_from(row.seat_count) == Ok(claims),
                _ => claims == 0,
            };
            if !right {
                found.push(format!("it has {claims} claims: {row:?}"));
            }
        }
        let strange = self.claims.keys().filter(|id| !id.is_nil() && !self.reservations.contains_key(id));
        found.extend(strange.map(|id| format!("a seat is claimed by no reservation: {id}")));
    }

    /// Every payment of the gateway is known, and both say the same of it.
    fn check_gateway(&self, found: &mut Vec<String>) {
        let known: HashMap<_, _> = self.payments.iter().map(|one| (one.payment_id.to_string(), one)).collect();
        for (key, charge) in &self.charged {
            let Some(payment) = known.get(key) else {
                found.push(format!("a charge belongs to no purchase: {charge:?}"));
                continue;
            };
            if minor(charge.amount.as_ref()) != payment.amount_minor {
                found.push(format!("the amounts differ: {payment:?}, {charge:?}"));
            }
            let states: &[_] = match charge.state() {
                PaymentState::Captured if taken(charge) == 0 => &["refunded"],
                PaymentState::Captured if minor(charge.refunded_amount.as_ref()) > 0 => &["partially_refunded"],
                PaymentState::Captured => &["completed"],
                PaymentState::Voided => &["voided", "failed"],
                PaymentState::Declined => &["declined", "voided"],
                _ => &[],
            };
            if !states.contains(&payment.state.as_str()) {
                found.push(format!("the states differ: {payment:?}, {charge:?}"));
            }
        }
        let unknown = |one: &&PaymentRow| {
            one.was_taken()
                && one.tender.is_none()
                && one.amount_minor != 0
                && !self.charged.contains_key(&one.payment_id.to_string())
        };
        found.extend(self.payments.iter().filter(unknown).map(|one| format!("it was never charged: {one:?}")));
    }

    /// The entries of each payment add up to nothing, and what the gateway has for us is what it has taken.
    fn check_books(&self, found: &mut Vec<String>) {
        let mut sums: BTreeMap<Uuid, (i64, i64, i64)> = BTreeMap::new();
        for EntryRow { payment_id, account, minor } in &self.entries {
            let (all, gateway, till) = sums.entry(*payment_id).or_default();
            *all += minor;
            *gateway += if account == "gateway" { *minor } else { 0 };
            *till += if account == "till" { *minor } else { 0 };
        }
        for (id, (all, gateway, till)) in &sums {
            let taken = self.charged.get(&id.to_string()).map_or(0, taken);
            let row = self.payments.iter().find(|one| one.payment_id == *id);
            let at_till = row.map_or(0, PaymentRow::kept_at_till);
            if (*all, *gateway, *till) != (0, taken, at_till) {
                found.push(format!(
                    "the books of {id} add up to {all}, the gateway owes {gateway} and has {taken}, \
                     the till owes {till} and has {at_till}"
                ));
            }
        }
        let unbooked = |one: &&PaymentRow| one.taken_at_till() != 0 && !sums.contains_key(&one.payment_id);
        found.extend(self.payments.iter().filter(unbooked).map(|one| format!("it is in no books: {one:?}")));
        let owes: i64 = sums.values().map(|(_, gateway, _)| gateway).sum();
        let has: i64 = self.charged.values().map(taken).sum();
        if owes != has {
            found.push(format!("by the books the gateway owes {owes}, and it has taken {has}"));
        }
    }
}

async fn rows<T: FromQueryResult>(connection: &DatabaseConnection, sql: &str) -> Vec<T> {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let found = connection.query_all_raw(statement).await.expect("the rows are read");
    found.iter().map(|row| T::from_query_result(row, "").expect("the row is readable")).collect()
}

//! What is wrong with the books. Pure.

use crate::{
    domain::{
        money::{Currency, Money},
        purchase::{GATEWAY, PaymentState, PurchaseState, REFUNDS, TILL},
    },
    payments::{GatewayState, PaymentReport},
    store::{AuditedEntry, AuditedPayment, AuditedPurchase},
};

const CAPTURE: &str = "capture";

/// What the entries of a payment say that the gateway or the till has done, in the smallest units of the currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Booked {
    pub(super) captured: i64,
    pub(super) refunded: i64,
    /// What the gateway has given back. An operator may say that something else was paid out in another way.
    pub(super) refunded_by_gateway: i64,
}

/// Whether the purchase goes on, or waits for an operator. What it has written so far is not all of it.
pub(super) fn is_open(state: PurchaseState) -> bool {
    match state {
        PurchaseState::Running | PurchaseState::AwaitingCustomer | PurchaseState::Stuck => true,
        PurchaseState::Completed | PurchaseState::Compensated => false,
    }
}

/// Whether money was taken and is in the books.
fn was_taken(state: PaymentState) -> bool {
    match state {
        PaymentState::Completed | PaymentState::PartiallyRefunded | PaymentState::Refunded => true,
        PaymentState::Pending
        | PaymentState::Processing
        | PaymentState::Authorized
        | PaymentState::Declined
        | PaymentState::Voided
        | PaymentState::Failed => false,
    }
}

/// Whether nothing more can become of a payment of which no money was taken.
fn is_decided(state: PaymentState) -> bool {
    matches!(state, PaymentState::Declined | PaymentState::Voided | PaymentState::Failed)
}

/// What the entries of a payment say.
pub(super) fn booked(payment: &AuditedPayment) -> Booked {
    let moved = payment.entries.iter().filter(|entry| [GATEWAY, TILL].contains(&entry.account.as_str()));
    let mut booked = Booked::default();
    for AuditedEntry { operation, account, minor, .. } in moved {
        if operation != CAPTURE {
            booked.refunded -= minor;
            booked.refunded_by_gateway -= if account == GATEWAY { *minor } else { 0 };
        } else if account == payment.payment.account() {
            booked.captured += minor;
        }
    }
    booked
}

/// What is wrong with a purchase that has ended.
pub(super) fn purchase(purchase: &AuditedPurchase, awaits_tickets: bool) -> Vec<String> {
    let mut found: Vec<String> = purchase.payments.iter().flat_map(entries).collect();
    let id = purchase.purchase_id;
    // A payment of which all was given back, or is about to be, may belong to a purchase that was undone.
    let kept =
        |one: &&AuditedPayment| matches!(one.payment.state, PaymentState::Completed | PaymentState::PartiallyRefunded);
    for payment in purchase.payments.iter().filter(kept) {
        let payment_id = payment.payment.payment_id;
        if purchase.state == PurchaseState::Compensated {
            if payment.is_refunding {
                continue;
            }
            found.push(format!("purchase {id} is compensated, and its payment {payment_id} has taken money"));
        } else if !purchase.was_sold {
            found.push(format!("payment {payment_id} has taken money, and no seats were sold under purchase {id}"));
        }
    }
    found.extend(differs_from_seats(purchase));
    found.extend(tickets(purchase, awaits_tickets));
    let taken = purchase.payments.iter().filter(|one| was_taken(one.payment.state)).count();
    match purchase.state {
        PurchaseState::Completed if taken != 1 => {
            found.push(format!("purchase {id} is completed with {taken} payments that took money, not with one"));
        }
        PurchaseState::Compensated if purchase.is_sold => {
            found.push(format!("purchase {id} is compensated, and its seats are sold"));
        }
        _ => {}
    }
    found
}

/// What is wrong with the tickets of a purchase: each seat that is still sold has one, and no other seat. One that awaits its tickets gets
/// them from a task.
fn tickets(purchase: &AuditedPurchase, awaits_tickets: bool) -> Vec<String> {
    let (id, mut found) = (purchase.purchase_id, Vec::new());
    let seats = purchase.live_seats.len();
    let Some(ticketed) = &purchase.ticketed_seats else {
        if seats > 0 && !awaits_tickets {
            found.push(format!("purchase {id}: {seats} seats are sold, and it has no tickets"));
        }
        return found;
    };
    let tickets = ticketed.len();
    if *ticketed != purchase.live_seats {
        found.push(format!(
            "purchase {id}: {seats} seats are sold, and its {tickets} tickets are not those of these seats"
        ));
    }
    if purchase.unpaid_tickets > 0 {
        let unpaid = purchase.unpaid_tickets;
        found.push(format!("purchase {id} has ended, and {unpaid} of its tickets wait for the money"));
    }
    found
}

/// What the books have for seats, fees and tax is what the seats cost that are still sold, and those that were given up without giving
/// their money back. What was given back for no seat, or is to be, may be for seats that were given up later, when nothing was left of
/// the payment.
fn differs_from_seats(purchase: &AuditedPurchase) -> Option<String> {
    let entries = purchase.payments.iter().flat_map(|payment| &payment.entries);
    let (mut earned, mut for_no_seat) = (0, 0);
    for AuditedEntry { account, minor, .. } in entries {
        match account.as_str() {
            GATEWAY | TILL => {}
            REFUNDS => for_no_seat += minor,
            _ => earned -= minor,
        }
    }
    let cost = purchase.live_minor + purchase.kept_minor;
    let most = cost + for_no_seat.max(0) + purchase.owed_minor;
    let is_right = (cost..=most).contains(&earned);
    let currency = purchase.payments.first()?.payment.amount.currency;
    let money = |minor| signed(Money { currency, minor });
    let (id, earned_for, cost_now) = (purchase.purchase_id, money(earned), money(cost));
    (!is_right).then(|| format!("purchase {id}: the books have {earned_for} for its seats, and they cost {cost_now}"))
}

/// What is wrong with the entries of a payment.
fn entries(audited: &AuditedPayment) -> Vec<String> {
    let payment = &audited.payment;
    let (id, currency) = (payment.payment_id, payment.amount.currency);
    let mut found = Vec::new();
    let mut operations: Vec<_> = audited.entries.iter().map(|entry| entry.operation.as_str()).collect();
    operations.sort_unstable();
    operations.dedup();
    for operation in operations {
        let of_operation = audited.entries.iter().filter(|entry| entry.operation == operation);
        let sum: i64 = of_operation.map(|entry| entry.minor).sum();
        if sum != 0 {
            let sum = signed(Money { currency, minor: sum });
            found.push(format!("payment {id}: the entries of {operation} add up to {sum}, not to nothing"));
        }
    }
    if audited.entries.iter().any(|entry| entry.currency != currency.code()) {
        found.push(format!("payment {id}: it has entries in another currency than {}", currency.code()));
    }
    if !was_taken(payment.state) {
        // A purchase that has ended has decided each of its payments.
        if audited.purchase_state.is_some_and(|state| !is_open(state)) && !is_decided(payment.state) {
            found.push(format!("payment {id} is {:?}, and its purchase has ended", payment.state));
        }
        if !audited.entries.is_empty() {
            found.push(format!("payment {id} is {:?}, and has entries", payment.state));
        }
        return found;
    }
    let Booked { captured, refunded, .. } = booked(audited);
    if captured != payment.amount.minor {
        let booked = signed(Money { currency, minor: captured });
        found.push(format!("payment {id}: {} was taken, and the books have {booked}", payment.amount));
    }
    if refunded != payment.refunded_minor {
        let (given, booked) =
            (Money { currency, minor: payment.refunded_minor }, signed(Money { currency, minor: refunded }));
        found.push(format!("payment {id}: {given} was given back, and the books have {booked}"));
    }
    found
}

/// How the gateway's report of a payment differs from the books. A payment of a purchase that goes on is not judged.
pub(super) fn difference(report: &PaymentReport, known: Option<&AuditedPayment>) -> Option<String> {
    let key = &report.key;
    let money = |minor| signed(Money { currency: report.currency, minor });
    let kept = report.captured_minor - report.refunded_minor;
    let may_succeed = match report.state {
        GatewayState::Pending | GatewayState::ActionRequired { .. } | GatewayState::Authorized { .. } => true,
        GatewayState::Declined { .. } | GatewayState::Voided | GatewayState::Captured => false,
    };
    let Some(known) = known else {
        let what = format!("payment {key}: the gateway has captured {} and it is not known here", money(kept));
        return (kept != 0).then_some(what);
    };
    if known.purchase_state.is_some_and(is_open) {
        return None;
    }
    if may_succeed {
        let (amount, state) = (money(report.amount_minor), known.payment.state);
        return Some(format!("payment {key}: the gateway may still take {amount}, and it is {state:?} here"));
    }
    if known.entries.is_empty() {
        let state = known.payment.state;
        let what = format!("payment {key}: the gateway has captured {} and it is {state:?} here", money(kept));
        return (kept != 0).then_some(what);
    }
    let here = booked(known);
    let currency: Currency = known.payment.amount.currency;
    if currency != report.currency {
        let codes = (report.currency.code(), currency.code());
        return Some(format!("payment {key}: the gateway has it in {}, the books in {}", codes.0, codes.1));
    }
    if here.captured != report.captured_minor {
        let (there, here) = (money(report.captured_minor), money(here.captured));
        return Some(format!("payment {key}: the gateway has captured {there}, the books have {here}"));
    }
    if here.refunded_by_gateway != report.refunded_minor && !known.is_refunding {
        let (there, here) = (money(report.refunded_minor), money(here.refunded_by_gateway));
        return Some(format!("payment {key}: the gateway has refunded {there}, the books have {here}"));
    }
    None
}

/// The amount with its sign in front. A price has none.
fn signed(money: Money) -> String {
    let amount = Money { minor: money.minor.saturating_abs(), ..money };
    if money.minor < 0 { format!("-{amount}") } else { amount.to_string() }
}

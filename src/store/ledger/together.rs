//! Rows of purchases, payments and tickets that commit with a batch: on Postgres all rows of a kind are written by one statement, with arrays
//! as values. A purchase has two rows in each of three batches, and a round trip for each of them would be most of a batch's time.

use sea_orm::prelude::Uuid;

use super::{
    companions::Companion,
    connection::PostgresTx,
    sql::{Sql, Text},
    writes::expect_rows,
};
use crate::store::{
    entities::{money_entry, payment, purchase, ticket},
    errors::Error,
    planted::{self, Bug},
    purchase_rows::{EventRow, PaymentRow, PurchaseRow, Row},
};

static NEW_PURCHASES: Text = Text::new();
static PURCHASES: Text = Text::new();
static NEW_PAYMENTS: Text = Text::new();
static PAYMENTS: Text = Text::new();
static ENTRIES: Text = Text::new();
static EVENTS: Text = Text::new();
static NEW_TICKETS: Text = Text::new();
static TICKETS_PAID: Text = Text::new();

/// Writes the rows of these companions that can be written together, and returns the other companions, in their order.
pub(super) async fn write<'c>(tx: &mut PostgresTx, companions: &'c [Companion]) -> Result<Vec<&'c Companion>, Error> {
    let (mut others, mut new_purchases, mut purchases) = (Vec::new(), Vec::new(), Vec::new());
    let (mut new_payments, mut payments) = (Vec::new(), Vec::new());
    let (mut entries, mut events) = (Vec::new(), Vec::new());
    let (mut new_tickets, mut tickets_paid) = (Vec::new(), Vec::new());
    for companion in companions {
        match companion.as_row() {
            None => others.push(companion),
            Some(Row::NewPurchase(row)) => new_purchases.push(&**row),
            Some(Row::Purchase(row)) => purchases.push(&**row),
            Some(Row::NewPayment(row)) => new_payments.push(&**row),
            Some(Row::Payment(row)) => payments.push(&**row),
            Some(Row::Entries(rows)) => entries.extend(rows.iter()),
            Some(Row::Events(row)) => events.push(&**row),
            Some(Row::NewTickets(rows)) => new_tickets.extend(rows.iter()),
            Some(Row::TicketsPaid(purchase_id)) => tickets_paid.push(*purchase_id),
        }
    }
    if !new_purchases.is_empty() {
        expect(insert_purchases(&new_purchases)?.execute(tx).await?, new_purchases.len())?;
    }
    if !purchases.is_empty() {
        expect(update_purchases(&purchases)?.execute(tx).await?, purchases.len())?;
    }
    if !new_payments.is_empty() {
        expect(insert_payments(&new_payments)?.execute(tx).await?, new_payments.len())?;
    }
    if !payments.is_empty() {
        expect(update_payments(&payments)?.execute(tx).await?, payments.len())?;
    }
    if !entries.is_empty() {
        expect(insert_entries(&entries)?.execute(tx).await?, entries.len())?;
    }
    if !events.is_empty() {
        expect(insert_events(&events)?.execute(tx).await?, events.len())?;
    }
    if !new_tickets.is_empty() {
        expect(insert_tickets(&new_tickets)?.execute(tx).await?, new_tickets.len())?;
    }
    if !tickets_paid.is_empty() {
        issue_tickets(&tickets_paid)?.execute(tx).await?;
    }
    Ok(others)
}

fn expect(rows: u64, expected: usize) -> Result<(), Error> {
    expect_rows(rows, expected as u64, "a row that goes with a change")
}

fn insert_purchases(rows: &[&purchase::Model]) -> Result<Sql, Error> {
    let mut sql = Sql::new(&NEW_PURCHASES);
    let id = sql.column(rows, |row| row.purchase_id)?;
    let number = sql.column(rows, |row| row.number.as_str())?;
    let customer = sql.column(rows, |row| row.customer_id.as_str())?;
    let showtime = sql.column(rows, |row| row.showtime_id)?;
    let reservation = sql.column(rows, |row| row.reservation_id)?;
    let currency = sql.column(rows, |row| row.currency.as_str())?;
    let total = sql.column(rows, |row| row.total_minor)?;
    let create = sql.column(rows, |row| row.create_time)?;
    let request = sql.column(rows, |row| row.request_id)?;
    let caller = sql.column(rows, |row| row.caller.as_str())?;
    let fingerprint = sql.column(rows, |row| &row.fingerprint[..])?;
    let state = sql.column(rows, |row| row.state.as_str())?;
    let fence = sql.column(rows, |row| row.fence)?;
    let version = sql.column(rows, |row| row.version)?;
    let due = sql.column(rows, |row| row.due_time)?;
    let detail = sql.column(rows, |row| &row.detail[..])?;
    let revision = sql.column(rows, |row| row.event_revision)?;
    let time = sql.column(rows, |row| row.event_time)?;
    sql.add(format_args!(
        "INSERT INTO purchases (purchase_id, number, customer_id, showtime_id, reservation_id, currency, total_minor, \
            create_time, request_id, caller, fingerprint, state, fence, version, due_time, detail, event_revision, event_time) \
        SELECT {id}, {number}, {customer}, {showtime}, {reservation}, {currency}, {total}, {create}, {request}, {caller}, \
            {fingerprint}, {state}, {fence}, {version}, {due}, {detail}, {revision}, {time}"
    ));
    Ok(sql)
}

fn update_purchases(rows: &[&PurchaseRow]) -> Result<Sql, Error> {
    let mut sql = Sql::new(&PURCHASES);
    let id = sql.column(rows, |row| row.purchase_id)?;
    let fence = sql.column(rows, |row| row.fence)?;
    let total = sql.column(rows, |row| row.total_minor)?;
    let state = sql.column(rows, |row| row.state)?;
    let due = sql.column(rows, |row| row.due_time)?;
    let detail = sql.column(rows, |row| &row.detail[..])?;
    let revision = sql.column(rows, |row| row.last_events.map(|last| last.number))?;
    let time = sql.column(rows, |row| row.last_events.and_then(|last| last.time))?;
    let fenced = if planted::has(Bug::NoFence) { "" } else { "AND p.fence = n.fence" };
    sql.add(format_args!(
        "UPDATE purchases p SET total_minor = n.total_minor, state = n.state, version = p.version + 1, \
            due_time = n.due_time, detail = n.detail, event_revision = COALESCE(n.event_revision, p.event_revision), \
            event_time = COALESCE(n.event_time, p.event_time) \
        FROM (SELECT {id} AS purchase_id, {fence} AS fence, {total} AS total_minor, {state} AS state, {due} AS due_time, \
            {detail} AS detail, {revision} AS event_revision, {time} AS event_time) AS n WHERE p.purchase_id = n.purchase_id {fenced}"
    ));
    Ok(sql)
}

fn insert_payments(rows: &[&payment::Model]) -> Result<Sql, Error> {
    let mut sql = Sql::new(&NEW_PAYMENTS);
    let id = sql.column(rows, |row| row.payment_id)?;
    let purchase = sql.column(rows, |row| row.purchase_id)?;
    let ordinal = sql.column(rows, |row| row.ordinal)?;
    let customer = sql.column(rows, |row| row.customer_id.as_str())?;
    let reservation = sql.column(rows, |row| row.reservation_id)?;
    let method = sql.column(rows, |row| row.method.as_str())?;
    let currency = sql.column(rows, |row| row.currency.as_str())?;
    let amount = sql.column(rows, |row| row.amount_minor)?;
    let create = sql.column(rows, |row| row.create_time)?;
    let refunded = sql.column(rows, |row| row.refunded_minor)?;
    let state = sql.column(rows, |row| row.state.as_str())?;
    let token = sql.column(rows, |row| row.token.as_str())?;
    let code = sql.column(rows, |row| row.decline_code.as_str())?;
    let process = sql.column(rows, |row| row.process_time)?;
    let version = sql.column(rows, |row| row.refund_version)?;
    let tender = sql.column(rows, |row| row.tender.as_deref())?;
    let transaction = sql.column(rows, |row| row.transaction_id.as_deref())?;
    let till = sql.column(rows, |row| row.till.as_deref())?;
    let date = sql.column(rows, |row| row.local_date)?;
    sql.add(format_args!(
        "INSERT INTO payments (payment_id, purchase_id, ordinal, customer_id, reservation_id, method, currency, \
            amount_minor, create_time, refunded_minor, state, token, decline_code, process_time, refund_version, \
            tender, transaction_id, till, local_date) \
        SELECT {id}, {purchase}, {ordinal}, {customer}, {reservation}, {method}, {currency}, {amount}, {create}, \
            {refunded}, {state}, {token}, {code}, {process}, {version}, {tender}, {transaction}, {till}, {date}"
    ));
    Ok(sql)
}

fn update_payments(rows: &[&PaymentRow]) -> Result<Sql, Error> {
    let mut sql = Sql::new(&PAYMENTS);
    let id = sql.column(rows, |row| row.payment_id)?;
    let amount = sql.column(rows, |row| row.amount_minor)?;
    let refunded = sql.column(rows, |row| row.refunded_minor)?;
    let state = sql.column(rows, |row| row.state)?;
    let token = sql.column(rows, |row| row.token.as_str())?;
    let code = sql.column(rows, |row| row.decline_code.as_str())?;
    let process = sql.column(rows, |row| row.process_time)?;
    sql.add(format_args!(
        "UPDATE payments y SET amount_minor = n.amount_minor, refunded_minor = n.refunded_minor, state = n.state, \
            token = n.token, decline_code = n.decline_code, process_time = n.process_time \
        FROM (SELECT {id} AS payment_id, {amount} AS amount_minor, {refunded} AS refunded_minor, {state} AS state, \
            {token} AS token, {code} AS decline_code, {process} AS process_time) AS n WHERE y.payment_id = n.payment_id"
    ));
    Ok(sql)
}

fn insert_entries(rows: &[&money_entry::Model]) -> Result<Sql, Error> {
    let mut sql = Sql::new(&ENTRIES);
    let payment = sql.column(rows, |row| row.payment_id)?;
    let operation = sql.column(rows, |row| row.operation.as_str())?;
    let account = sql.column(rows, |row| row.account.as_str())?;
    let currency = sql.column(rows, |row| row.currency.as_str())?;
    let minor = sql.column(rows, |row| row.minor)?;
    let create = sql.column(rows, |row| row.create_time)?;
    sql.add(format_args!(
        "INSERT INTO money_entries (payment_id, operation, account, currency, minor, create_time) \
        SELECT {payment}, {operation}, {account}, {currency}, {minor}, {create}"
    ));
    Ok(sql)
}

fn insert_events(rows: &[&EventRow]) -> Result<Sql, Error> {
    let mut sql = Sql::new(&EVENTS);
    let aggregate = sql.column(rows, |row| row.aggregate)?;
    let revision = sql.column(rows, |row| row.revision)?;
    let events = sql.column(rows, |row| &row.events[..])?;
    let time = sql.column(rows, |row| row.create_time)?;
    let count = sql.column(rows, |row| row.event_count)?;
    sql.add(format_args!(
        "INSERT INTO outbox (aggregate, seq, last_seq, events, create_time, event_count) \
        SELECT {aggregate}, {revision}, {revision}, {events}, {time}, {count}"
    ));
    Ok(sql)
}

fn insert_tickets(rows: &[&ticket::Model]) -> Result<Sql, Error> {
    let mut sql = Sql::new(&NEW_TICKETS);
    let id = sql.column(rows, |row| row.ticket_id)?;
    let number = sql.column(rows, |row| row.number.as_str())?;
    let purchase = sql.column(rows, |row| row.purchase_id)?;
    let payment = sql.column(rows, |row| row.payment_id)?;
    let reservation = sql.column(rows, |row| row.reservation_id)?;
    let showtime = sql.column(rows, |row| row.showtime_id)?;
    let customer = sql.column(rows, |row| row.customer_id.as_str())?;
    let seat = sql.column(rows, |row| row.seat)?;
    let row = sql.column(rows, |row| row.seat_row.as_str())?;
    let seat_number = sql.column(rows, |row| row.seat_number)?;
    let ticket_type = sql.column(rows, |row| row.ticket_type)?;
    let currency = sql.column(rows, |row| row.currency.as_str())?;
    let price = sql.column(rows, |row| row.price_minor)?;
    let code = sql.column(rows, |row| &row.code[..])?;
    let issue = sql.column(rows, |row| row.issue_time)?;
    let state = sql.column(rows, |row| row.state.as_str())?;
    sql.add(format_args!(
        "INSERT INTO tickets (ticket_id, number, purchase_id, payment_id, reservation_id, showtime_id, customer_id, \
            seat, seat_row, seat_number, ticket_type, currency, price_minor, code, issue_time, state) \
        SELECT {id}, {number}, {purchase}, {payment}, {reservation}, {showtime}, {customer}, {seat}, {row}, \
            {seat_number}, {ticket_type}, {currency}, {price}, {code}, {issue}, {state}"
    ));
    Ok(sql)
}

fn issue_tickets(purchases: &[Uuid]) -> Result<Sql, Error> {
    let mut sql = Sql::new(&TICKETS_PAID);
    let purchase = sql.column(purchases, |purchase| *purchase)?;
    sql.add(format_args!(
        "UPDATE tickets t SET state = CASE WHEN t.use_time IS NULL THEN 'issued' ELSE 'used' END FROM (SELECT {purchase} AS purchase_id) AS n \
        WHERE t.purchase_id = n.purchase_id AND t.state = 'unpaid'"
    ));
    Ok(sql)
}

//! Sales that have no purchase yet, and what tills have taken and paid out.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, ExprTrait as _, JoinType, PartialModelTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, QueryTrait as _, Select, sea_query::Expr,
};

use super::{
    entities::{payment, refund, reservation, showtime},
    errors::Error,
    handle::Store,
    ledger::Companion,
    rows::{
        purchase::{method, payment_state_name},
        refund::state_name,
        reservation::ReservationRow,
    },
    timing::read_named,
};
use crate::domain::{
    ids::{PurchaseId, ShowtimeId},
    money::{Currency, Money},
    purchase::{PaymentMethod, PaymentState},
    refund::RefundState,
    reservation::Reservation,
};

/// What a till has taken or paid out on one day in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TillSum {
    /// The method of payment.
    pub method: PaymentMethod,
    /// How it was paid, in the till's words.
    pub tender: String,
    /// How many payments or refunds.
    pub count: i64,
    /// What they come to.
    pub amount: Money,
}

/// The method, the tender, the currency, how many, and what they come to.
type SumRow = (String, String, String, i64, i64);

impl Store {
    /// Sales that have no purchase, of one showtime or of all.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn sales_without_purchase(&self, of: Option<ShowtimeId>, limit: u64) -> Result<Vec<Reservation>, Error> {
        read_named("sales_without_purchase", async {
            let pooled = self.0.reads.acquire().await?;
            let query = sales_without_purchase(of, limit).into_model::<ReservationRow>();
            let rows = pooled.read(query.all(pooled.connection)).await?;
            rows.into_iter().map(ReservationRow::reservation).collect()
        })
        .await
    }

    /// The number of sales that have no purchase, counted up to this limit.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn count_sales_without_purchase(&self, limit: u64) -> Result<u64, Error> {
        read_named("count_sales_without_purchase", async {
            let pooled = self.0.reads.acquire().await?;
            let ids = without_purchase(None).select_only().column(reservation::Column::ReservationId).limit(limit);
            let ids = ids.into_tuple::<sea_orm::prelude::Uuid>();
            Ok(pooled.read(ids.all(pooled.connection)).await?.len() as u64)
        })
        .await
    }

    /// Writes the rows of the purchase of a sale that had none. Returns whether they were written: the sale is as it was read, and
    /// still has none.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn complete_sale(&self, sale: &Reservation, rows: Vec<Companion>) -> Result<bool, Error> {
        let purchase_id = PurchaseId::at_till(sale.reservation_id);
        let named = reservation::Entity::update_many()
            .filter(reservation::Column::ReservationId.eq(sale.reservation_id.0))
            .filter(reservation::Column::Revision.eq(sale.revision()))
            .filter(reservation::Column::PurchaseId.is_null())
            .col_expr(reservation::Column::PurchaseId, Expr::value(purchase_id.0));
        let named = Companion::update(named.into_query(), 1);
        self.write_rows("complete_sale", &std::iter::once(named).chain(rows).collect::<Vec<_>>()).await
    }

    /// What a till has taken on a day, and what it has paid out.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn cash_up(&self, till: &str, local_date: NaiveDate) -> Result<(Vec<TillSum>, Vec<TillSum>), Error> {
        read_named("cash_up", async {
            let pooled = self.0.reads.acquire().await?;
            let taken = taken_at_till(till, local_date).into_tuple::<SumRow>();
            let paid_out = paid_out_at_till(till, local_date).into_tuple::<(String, String, String, i64)>();
            let taken = pooled.read(taken.all(pooled.connection)).await?;
            let refunds = pooled.read(paid_out.all(pooled.connection)).await?;
            // A till pays out seldom, so its refunds are summed up here.
            let mut paid_out = BTreeMap::new();
            for (method, tender, currency, minor) in refunds {
                let sum: &mut (i64, i64) = paid_out.entry((currency, method, tender)).or_default();
                *sum = (sum.0 + 1, sum.1 + minor);
            }
            let paid_out = paid_out.into_iter();
            let paid_out = paid_out.map(|((currency, method, tender), (count, minor))| {
                sum(till, (method, tender, currency, count, minor))
            });
            let taken = taken.into_iter().map(|row| sum(till, row)).collect::<Result<_, _>>()?;
            Ok((taken, paid_out.collect::<Result<_, _>>()?))
        })
        .await
    }
}

fn sum(till: &str, (method_name, tender, currency, count, minor): SumRow) -> Result<TillSum, Error> {
    let read = || {
        let amount = Money { currency: Currency::parse(&currency)?, minor };
        Some(TillSum { method: method(&method_name)?, tender, count, amount })
    };
    let why = "a value is unknown".to_owned();
    read().ok_or_else(|| Error::Unreadable { table: "payments", key: format!("till {till:?}"), why })
}

/// The query for sales that have no purchase.
pub(super) fn sales_without_purchase(of: Option<ShowtimeId>, limit: u64) -> Select<reservation::Entity> {
    ReservationRow::select_cols(without_purchase(of).inner_join(showtime::Entity).select_only())
        .order_by_asc(reservation::Column::ShowtimeId)
        .order_by_asc(reservation::Column::ReservationId)
        .limit(limit)
}

fn without_purchase(of: Option<ShowtimeId>) -> Select<reservation::Entity> {
    let query = reservation::Entity::find()
        .filter(reservation::Column::ConfirmTime.is_not_null())
        .filter(reservation::Column::PurchaseId.is_null());
    match of {
        Some(id) => query.filter(reservation::Column::ShowtimeId.eq(id.0)),
        None => query,
    }
}

/// The query for what a till has taken on a day.
pub(super) fn taken_at_till(till: &str, local_date: NaiveDate) -> Select<payment::Entity> {
    let taken = [PaymentState::Completed, PaymentState::PartiallyRefunded, PaymentState::Refunded];
    let query = payment::Entity::find().select_only().columns([
        payment::Column::Method,
        payment::Column::Tender,
        payment::Column::Currency,
    ]);
    query
        .expr(payment::Column::PaymentId.into_expr().count())
        .expr(payment::Column::AmountMinor.into_expr().sum().cast_as("bigint"))
        .filter(payment::Column::Till.eq(till))
        .filter(payment::Column::LocalDate.eq(local_date))
        .filter(payment::Column::State.is_in(taken.map(payment_state_name)))
        .group_by(payment::Column::Currency)
        .group_by(payment::Column::Method)
        .group_by(payment::Column::Tender)
        .order_by_asc(payment::Column::Currency)
        .order_by_asc(payment::Column::Method)
        .order_by_asc(payment::Column::Tender)
}

/// The query for what a till has paid out on a day.
pub(super) fn paid_out_at_till(till: &str, local_date: NaiveDate) -> Select<refund::Entity> {
    let query = refund::Entity::find()
        .join(
            JoinType::InnerJoin,
            refund::Entity::belongs_to(payment::Entity)
                .from(refund::Column::PaymentId)
                .to(payment::Column::PaymentId)
                .into(),
        )
        .select_only()
        .column(payment::Column::Method);
    query
        // An operator may say that a till has paid out what the gateway had taken.
        .expr(Expr::col((payment::Entity, payment::Column::Tender)).if_null(""))
        .columns([payment::Column::Currency])
        .column(refund::Column::AmountMinor)
        .filter(refund::Column::Till.eq(till))
        .filter(refund::Column::LocalDate.eq(local_date))
        .filter(refund::Column::State.eq(state_name(RefundState::Done)))
}

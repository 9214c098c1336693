//! Sums of sales. Amounts of different currencies are never added up.

use chrono::NaiveDate;
use sea_orm::{
    ColumnTrait as _, DatabaseTransaction, EntityTrait as _, FromQueryResult, QueryFilter as _, QueryOrder as _,
    QuerySelect,
    sea_query::{CaseStatement, Condition, Expr, ExprTrait as _, Func, Value},
};

use super::{
    super::{
        entities::{sale, showtime},
        error::Error,
    },
    filter::{ReportFilter, SalesGroup},
};

/// The last sum of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalesCursor {
    /// Its key.
    pub key: String,
    /// Its currency.
    pub currency: String,
}

/// The sales of one key in one currency. Amounts are in the currency's smallest units.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Sales {
    /// The id of the showtime, movie or auditorium, the cinema, or the date.
    pub key: String,
    /// The title of the movie or the name of the auditorium; else empty.
    pub name: String,
    /// The currency.
    pub currency: String,
    /// The number of seats that were sold, also those that were given back later.
    pub sold_seats: i64,
    /// Their price.
    pub sold_amount: i64,
    /// The number of seats that were given back.
    pub returned_seats: i64,
    /// Their price.
    pub returned_amount: i64,
}

pub(super) async fn page(
    tx: &DatabaseTransaction,
    group: SalesGroup,
    filter: &ReportFilter,
    after: Option<&SalesCursor>,
    limit: u64,
) -> Result<Vec<Sales>, Error> {
    let key = key(group);
    let currency = || sale::Column::Currency.into_expr();
    let mut query = sale::Entity::find().select_only();
    QuerySelect::query(&mut query).inner_join(
        showtime::Entity,
        Expr::col((sale::Entity, sale::Column::ShowtimeId)).equals((showtime::Entity, showtime::Column::ShowtimeId)),
    );
    let returned = || sale::Column::ReturnTime.into_expr();
    let given_back = CaseStatement::new().case(returned().is_not_null(), sale::Column::Price.into_expr()).finally(0);
    let mut query = query
        .expr_as(key.clone().cast_as("text"), "key")
        .expr_as(name(group), "name")
        .expr_as(currency(), "currency")
        .expr_as(whole(sale::Column::Price.into_expr().count()), "sold_seats")
        .expr_as(whole(sale::Column::Price.into_expr().sum()), "sold_amount")
        .expr_as(whole(returned().count()), "returned_seats")
        .expr_as(whole(Func::sum(given_back).into()), "returned_amount")
        .filter(filter.of_showtime())
        .filter(filter.of_days(sale::Column::SaleDate, sale::Column::ShowingDate));
    if let Some(after) = after {
        let last = value(group, &after.key);
        let same = Condition::all().add(key.clone().eq(last.clone())).add(currency().gt(&*after.currency));
        query = query.filter(Condition::any().add(key.clone().gt(last)).add(same));
    }
    let query = query.group_by(key.clone()).group_by(currency()).order_by_asc(key).order_by_asc(currency());
    Ok(query.limit(limit).into_model::<Sales>().all(tx).await?)
}

/// What sums are by.
fn key(group: SalesGroup) -> Expr {
    match group {
        SalesGroup::Showtime => sale::Column::ShowtimeId.into_expr(),
        SalesGroup::Movie => showtime::Column::MovieId.into_expr(),
        SalesGroup::Auditorium => showtime::Column::AuditoriumId.into_expr(),
        SalesGroup::Cinema => showtime::Column::Cinema.into_expr(),
        SalesGroup::DayOfSale => sale::Column::SaleDate.into_expr(),
        SalesGroup::DayOfShowing => sale::Column::ShowingDate.into_expr(),
    }
}

/// What people call it. A movie may have had several titles.
fn name(group: SalesGroup) -> Expr {
    match group {
        SalesGroup::Showtime | SalesGroup::Movie => showtime::Column::MovieTitle.into_expr().max(),
        SalesGroup::Auditorium => showtime::Column::AuditoriumName.into_expr().max(),
        SalesGroup::Cinema | SalesGroup::DayOfSale | SalesGroup::DayOfShowing => Expr::value(""),
    }
}

/// The key of a cursor, in the type of its column. The key was written by this program.
fn value(group: SalesGroup, key: &str) -> Value {
    match group {
        SalesGroup::DayOfSale | SalesGroup::DayOfShowing => key.parse::<NaiveDate>().ok().into(),
        SalesGroup::Showtime | SalesGroup::Movie | SalesGroup::Auditorium | SalesGroup::Cinema => key.into(),
    }
}

/// A sum or a number as 64 bits: Postgres adds them up to a decimal number.
fn whole(number: Expr) -> Expr {
    number.cast_as("bigint")
}

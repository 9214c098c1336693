//! What became of holds.

use sea_orm::{
    ColumnTrait as _, DatabaseTransaction, EntityTrait as _, FromQueryResult, QueryFilter as _, QuerySelect,
    sea_query::{Expr, ExprTrait as _},
};

use super::{
    super::{
        entities::{hold, showtime},
        error::Error,
    },
    filter::ReportFilter,
};

/// How many holds had an outcome.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct HoldCount {
    /// `held`, `confirmed`, `cancelled` or `expired`.
    pub outcome: String,
    /// The number of holds.
    pub holds: i64,
    /// The number of their seats.
    pub seats: i64,
}

pub(super) async fn count(tx: &DatabaseTransaction, filter: &ReportFilter) -> Result<Vec<HoldCount>, Error> {
    let mut query = hold::Entity::find().select_only();
    QuerySelect::query(&mut query).inner_join(
        showtime::Entity,
        Expr::col((hold::Entity, hold::Column::ShowtimeId)).equals((showtime::Entity, showtime::Column::ShowtimeId)),
    );
    let query = query
        .expr_as(hold::Column::Outcome.into_expr(), "outcome")
        .expr_as(hold::Column::Seats.into_expr().count().cast_as("bigint"), "holds")
        .expr_as(hold::Column::Seats.into_expr().sum().cast_as("bigint"), "seats")
        .filter(filter.of_showtime())
        .filter(filter.of_days(hold::Column::HoldDate, hold::Column::ShowingDate))
        .group_by(hold::Column::Outcome.into_expr());
    Ok(query.into_model::<HoldCount>().all(tx).await?)
}

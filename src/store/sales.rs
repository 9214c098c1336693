//! What was sold of a showtime, seat by seat.

use sea_orm::{
    EntityTrait as _, FromQueryResult, QuerySelect, Select,
    prelude::Uuid,
    sea_query::{Condition, Expr, ExprTrait as _, JoinType, Query},
};

use super::{
    entities::{
        reservation::{Column, Entity},
        seat_claim, standing,
    },
    errors::Error,
    handle::Store,
    rows::{amendment, prices::StoredLines},
    timing::read_named,
};
use crate::domain::{ids::ShowtimeId, prices::Line};

/// The lines of all seats of a showtime that are sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoldLines {
    /// The lines.
    pub lines: Vec<Line>,
    /// The showtime's revision.
    pub revision: i64,
}

/// A showtime and one of its sales. A showtime without sales has one row without a reservation.
#[derive(FromQueryResult)]
struct Row {
    at: i64,
    reservation_id: Option<Uuid>,
    seat_count: Option<i16>,
    total_minor: Option<i64>,
    lines: Option<Vec<u8>>,
    amendment: Option<Vec<u8>>,
}

impl Store {
    /// What was sold of a showtime, if there is one.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn sold_lines(&self, id: ShowtimeId) -> Result<Option<SoldLines>, Error> {
        read_named("get_sales", async {
            let pooled = self.0.reads.acquire().await?;
            let rows = pooled.read(sold(id).into_model::<Row>().all(pooled.connection)).await?;
            let Some(first) = rows.first() else { return Ok(None) };
            let mut sold = SoldLines { lines: Vec::new(), revision: first.at };
            for row in &rows {
                let Some(reservation_id) = row.reservation_id else { continue };
                let lines = row.lines().ok_or_else(|| Error::Unreadable {
                    table: "reservations",
                    key: reservation_id.to_string(),
                    why: "lines".to_owned(),
                })?;
                sold.lines.extend(lines);
            }
            Ok(Some(sold))
        })
        .await
    }
}

impl Row {
    /// The lines of the seats that were not given back.
    fn lines(&self) -> Option<Vec<Line>> {
        if let Some(stored) = &self.amendment {
            let amendment = amendment::decode(stored)?;
            let all = amendment.seats.iter().zip(amendment.lines.iter());
            return Some(all.filter(|(one, _)| !one.released).map(|(_, line)| line).collect());
        }
        let count = u16::try_from(self.seat_count?).ok()?;
        let lines = StoredLines::read_column(self.lines.as_deref(), count, self.total_minor?)?;
        Some(lines.iter().collect())
    }
}

/// The query for sales. It is one statement, so that all of it is of one moment. The sales are found by the claims, which are few,
/// while a showtime may have had many reservations.
pub(super) fn sold(id: ShowtimeId) -> Select<standing::Entity> {
    let claims = Query::select()
        .column(seat_claim::Column::ReservationId)
        .from(seat_claim::Entity)
        .and_where(Expr::col(seat_claim::Column::ShowtimeId).eq(id.0))
        .take();
    let is_sale = Condition::all()
        .add(Expr::col((Entity, Column::ReservationId)).in_subquery(claims))
        .add(Expr::col((Entity, Column::State)).eq("confirmed"));
    let mut query = standing::Entity::find_by_id(id.0)
        .select_only()
        .column_as(standing::Column::Revision, "at")
        .columns([Column::ReservationId, Column::SeatCount, Column::TotalMinor, Column::Lines, Column::Amendment]);
    QuerySelect::query(&mut query).join(JoinType::LeftJoin, Entity, is_sale);
    query
}

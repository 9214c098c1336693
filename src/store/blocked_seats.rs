//! The seats of a showtime that are kept back from sale, with the reasons.

use chrono::{DateTime, Utc};
use sea_orm::{
    EntityTrait as _, FromQueryResult, QuerySelect, Select,
    sea_query::{Expr, ExprTrait as _, JoinType},
};

use super::{
    entities::{
        blocked_seat::{Column, Entity},
        standing,
    },
    errors::Error,
    handle::Store,
    rows::blocked_seat::reason,
    timing::read_named,
};
use crate::domain::{ids::ShowtimeId, seating::Blockage};

/// Seats that one command has blocked, and that still are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedSeats {
    /// The numbers of the seats.
    pub seats: Vec<u16>,
    /// Why.
    pub blockage: Blockage,
    /// When they were blocked.
    pub create_time: DateTime<Utc>,
    /// The showtime's revision that blocked them.
    pub revision: i64,
}

/// The blocked seats of a showtime at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedSeatsAt {
    /// The seats, the ones that were blocked first in front.
    pub blocked: Vec<BlockedSeats>,
    /// The showtime's revision.
    pub revision: i64,
}

/// A showtime and one of its blocked seats. A showtime without any has one row without a seat.
#[derive(FromQueryResult)]
struct Row {
    at: i64,
    seat: Option<i16>,
    reason: Option<String>,
    note: Option<String>,
    create_time: Option<DateTime<Utc>>,
    revision: Option<i64>,
}

impl Store {
    /// The blocked seats of a showtime, if there is one.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn blocked_seats(&self, id: ShowtimeId) -> Result<Option<BlockedSeatsAt>, Error> {
        read_named("list_blocked_seats", async {
            let pooled = self.0.reads.acquire().await?;
            let rows = pooled.read(blocked_seats(id).into_model::<Row>().all(pooled.connection)).await?;
            let Some(first) = rows.first() else { return Ok(None) };
            let mut found = BlockedSeatsAt { blocked: Vec::new(), revision: first.at };
            // They are few, so they are sorted here: the key of the table has them by seat.
            let mut blocked: Vec<_> = rows.iter().filter(|row| row.seat.is_some()).collect();
            blocked.sort_unstable_by_key(|row| (row.revision, row.seat));
            for row in blocked {
                let (seat, one) = row.read().ok_or_else(|| Error::Unreadable {
                    table: "blocked_seats",
                    key: id.to_string(),
                    why: format!("seat {:?}", row.seat),
                })?;
                match found.blocked.last_mut() {
                    Some(last) if last.revision == one.revision && last.blockage == one.blockage => {
                        last.seats.push(seat);
                    }
                    _ => found.blocked.push(one),
                }
            }
            Ok(Some(found))
        })
        .await
    }
}

impl Row {
    fn read(&self) -> Option<(u16, BlockedSeats)> {
        let seat = u16::try_from(self.seat?).ok()?;
        let blockage = Blockage { reason: reason(self.reason.as_deref()?)?, note: self.note.clone()? };
        let (create_time, revision) = (self.create_time?, self.revision?);
        Some((seat, BlockedSeats { seats: vec![seat], blockage, create_time, revision }))
    }
}

/// The query for blocked seats. It is one statement, so that all of it is of one moment.
pub(super) fn blocked_seats(id: ShowtimeId) -> Select<standing::Entity> {
    let of_showtime = Expr::col((Entity, Column::ShowtimeId)).equals((standing::Entity, standing::Column::ShowtimeId));
    let mut query = standing::Entity::find_by_id(id.0)
        .select_only()
        .column_as(standing::Column::Revision, "at")
        .columns([Column::Seat, Column::Reason, Column::Note, Column::CreateTime, Column::Revision]);
    QuerySelect::query(&mut query).join(JoinType::LeftJoin, Entity, of_showtime);
    query
}

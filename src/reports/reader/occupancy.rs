//! How full showtimes are.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use sea_orm::{
    ColumnTrait as _, Condition, DatabaseTransaction, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
    sea_query::{Expr, ExprTrait as _},
};

use super::{
    super::{entities::showtime, error::Error},
    filter::ReportFilter,
};

/// The last showtime of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OccupancyCursor {
    /// When it starts.
    pub start_time: DateTime<Utc>,
    /// Its id.
    pub showtime_id: String,
}

/// A showtime and its seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// The id.
    pub showtime_id: String,
    /// The movie.
    pub movie_id: String,
    /// The title of the movie.
    pub movie_title: String,
    /// The cinema.
    pub cinema: String,
    /// The auditorium.
    pub auditorium_id: String,
    /// The name of the auditorium.
    pub auditorium_name: String,
    /// When it starts.
    pub start_time: DateTime<Utc>,
    /// The date of the start in the time zone of the cinema.
    pub local_date: NaiveDate,
    /// That time zone.
    pub time_zone: String,
    /// The number of seats.
    pub capacity: i32,
    /// The number of seats that are held.
    pub held: i32,
    /// The number of seats that are sold.
    pub sold: i32,
    /// When it was cancelled.
    pub cancel_time: Option<DateTime<Utc>>,
}

pub(super) async fn page(
    tx: &DatabaseTransaction,
    filter: &ReportFilter,
    after: Option<&OccupancyCursor>,
    limit: u64,
) -> Result<Vec<Occupancy>, Error> {
    let mut query = showtime::Entity::find().filter(filter.of_showtime());
    // A showtime has no day of sale.
    query = query.filter(filter.of_days(showtime::Column::LocalDate, showtime::Column::LocalDate));
    if !filter.include_cancelled {
        query = query.filter(showtime::Column::CancelTime.is_null());
    }
    query = query.filter(starts(filter));
    if let Some(OccupancyCursor { start_time, showtime_id }) = after {
        let last = Expr::tuple([Expr::value(*start_time), Expr::value(&**showtime_id)]);
        let this = [showtime::Column::StartTime, showtime::Column::ShowtimeId].map(Expr::col);
        query = query.filter(Expr::tuple(this).gt(last));
    }
    let query = query.order_by_asc(showtime::Column::StartTime).order_by_asc(showtime::Column::ShowtimeId);
    let found = query.limit(limit).all(tx).await?;
    Ok(found.into_iter().map(occupancy).collect())
}

/// The condition on the start that follows from the days. Rows are read in the order of their start, and without it all those before
/// the first day and after the last one would be read as well. No time zone is a day away from UTC.
fn starts(filter: &ReportFilter) -> Condition {
    let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
    let day_before = filter.from.and_then(|from| from.checked_sub_days(Days::new(1))).map(midnight);
    let two_days_after = filter.to.and_then(|to| to.checked_add_days(Days::new(2))).map(midnight);
    Condition::all()
        .add_option(day_before.map(|first| showtime::Column::StartTime.gte(first)))
        .add_option(two_days_after.map(|end| showtime::Column::StartTime.lt(end)))
}

fn occupancy(row: showtime::Model) -> Occupancy {
    Occupancy {
        showtime_id: row.showtime_id,
        movie_id: row.movie_id,
        movie_title: row.movie_title,
        cinema: row.cinema,
        auditorium_id: row.auditorium_id,
        auditorium_name: row.auditorium_name,
        start_time: row.start_time,
        local_date: row.local_date,
        time_zone: row.time_zone,
        capacity: row.capacity,
        held: row.held_seats,
        sold: row.sold_seats,
        cancel_time: row.cancel_time,
    }
}

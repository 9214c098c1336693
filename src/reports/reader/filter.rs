//! What a report is about.

use chrono::NaiveDate;
use sea_orm::{ColumnTrait, Condition};

use super::super::entities::showtime;

/// Which days the dates of a filter are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportDays {
    /// The day on which seats were sold, or held.
    #[default]
    Sale,
    /// The day of the showing.
    Showing,
}

/// By what sales are summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SalesGroup {
    /// By showtime.
    Showtime,
    /// By movie.
    Movie,
    /// By auditorium.
    Auditorium,
    /// By cinema.
    Cinema,
    /// By the day of the sale.
    DayOfSale,
    /// By the day of the showing.
    DayOfShowing,
}

/// What a report is about. What is none or empty filters nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportFilter {
    /// Which days the dates are.
    pub days: ReportDays,
    /// The first day.
    pub from: Option<NaiveDate>,
    /// The last day.
    pub to: Option<NaiveDate>,
    /// The cinema.
    pub cinema: String,
    /// The movie.
    pub movie_id: String,
    /// The auditorium.
    pub auditorium_id: String,
    /// The showtime.
    pub showtime_id: String,
    /// Whether cancelled showtimes count, for a report of showtimes.
    pub include_cancelled: bool,
}

impl ReportFilter {
    /// The condition on the showtime.
    pub(super) fn of_showtime(&self) -> Condition {
        let is = |column: showtime::Column, wanted: &str| (!wanted.is_empty()).then(|| column.eq(wanted));
        Condition::all()
            .add_option(is(showtime::Column::Cinema, &self.cinema))
            .add_option(is(showtime::Column::MovieId, &self.movie_id))
            .add_option(is(showtime::Column::AuditoriumId, &self.auditorium_id))
            .add_option(is(showtime::Column::ShowtimeId, &self.showtime_id))
    }

    /// The condition on the days, which are in one of these columns.
    pub(super) fn of_days<C: ColumnTrait>(&self, sale: C, showing: C) -> Condition {
        let column = if self.days == ReportDays::Sale { sale } else { showing };
        Condition::all().add_option(self.from.map(|from| column.gte(from))).add_option(self.to.map(|to| column.lte(to)))
    }
}

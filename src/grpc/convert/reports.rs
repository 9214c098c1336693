//! Reports and their filters.

use chrono::NaiveDate;

use super::{
    common::{at_most, finish, page},
    values::{local_date, optional, timestamp},
};
use crate::{
    app::{
        HoldCount, Occupancy, PageRequest, ReportDays, ReportFilter, ReportPage, ReportState, Sales, SalesGroup, Seen,
        hold_outcome,
    },
    domain::{
        ids::{AuditoriumId, ShowtimeId},
        movie::MovieId,
        violations::Violations,
    },
    pb::boxoffice::v1 as pb,
};

pub(crate) fn get_occupancy(request: pb::GetOccupancyRequest) -> Result<(ReportFilter, PageRequest), Violations> {
    let mut violations = Violations::new();
    violations.take("showtime_id", optional(&request.showtime_id, ShowtimeId::parse));
    violations.take("auditorium_id", optional(&request.auditorium_id, AuditoriumId::parse));
    movie_and_cinema(&mut violations, &request.movie_id, &request.cinema);
    let (from, to) = dates(&mut violations, &request.from_date, &request.to_date);
    let page = page(&mut violations, request.page_size, request.page_token);
    let filter = ReportFilter {
        days: ReportDays::Showing,
        from,
        to,
        cinema: request.cinema,
        movie_id: request.movie_id,
        // The tables have ids as the service writes them.
        auditorium_id: request.auditorium_id.to_ascii_lowercase(),
        showtime_id: request.showtime_id.to_ascii_lowercase(),
        include_cancelled: request.include_cancelled,
    };
    finish(violations, Some((filter, page)))
}

pub(crate) fn get_sales(request: pb::GetSalesRequest) -> Result<(SalesGroup, ReportFilter, PageRequest), Violations> {
    let mut violations = Violations::new();
    let group = violations.take("group_by", group(request.group_by));
    let days = violations.take("day", days(request.day));
    movie_and_cinema(&mut violations, &request.movie_id, &request.cinema);
    let (from, to) = dates(&mut violations, &request.from_date, &request.to_date);
    let page = page(&mut violations, request.page_size, request.page_token);
    let filter = ReportFilter {
        days: days.unwrap_or_default(),
        from,
        to,
        cinema: request.cinema,
        movie_id: request.movie_id,
        ..ReportFilter::default()
    };
    finish(violations, group.map(|group| (group, filter, page)))
}

pub(crate) fn get_hold_conversion(request: pb::GetHoldConversionRequest) -> Result<ReportFilter, Violations> {
    let mut violations = Violations::new();
    let days = violations.take("day", days(request.day));
    movie_and_cinema(&mut violations, &request.movie_id, &request.cinema);
    let (from, to) = dates(&mut violations, &request.from_date, &request.to_date);
    let filter = ReportFilter {
        days: days.unwrap_or_default(),
        from,
        to,
        cinema: request.cinema,
        movie_id: request.movie_id,
        ..ReportFilter::default()
    };
    finish(violations, Some(filter))
}

fn movie_and_cinema(violations: &mut Violations, movie_id: &str, cinema: &str) {
    violations.take("movie_id", optional(movie_id, MovieId::parse));
    at_most(violations, "cinema", cinema, 100);
}

fn dates(violations: &mut Violations, from: &str, to: &str) -> (Option<NaiveDate>, Option<NaiveDate>) {
    let from = violations.take("from_date", optional(from, local_date)).flatten();
    let to = violations.take("to_date", optional(to, local_date)).flatten();
    if from.zip(to).is_some_and(|(from, to)| to < from) {
        violations.add("to_date", "must not be before from_date");
    }
    (from, to)
}

fn group(group: i32) -> Result<SalesGroup, Violations> {
    match pb::SalesGrouping::try_from(group) {
        Ok(pb::SalesGrouping::Showtime) => Ok(SalesGroup::Showtime),
        Ok(pb::SalesGrouping::Movie) => Ok(SalesGroup::Movie),
        Ok(pb::SalesGrouping::Auditorium) => Ok(SalesGroup::Auditorium),
        Ok(pb::SalesGrouping::Cinema) => Ok(SalesGroup::Cinema),
        Ok(pb::SalesGrouping::DayOfSale) => Ok(SalesGroup::DayOfSale),
        Ok(pb::SalesGrouping::DayOfShowing) => Ok(SalesGroup::DayOfShowing),
        Ok(pb::SalesGrouping::Unspecified) | Err(_) => Err(Violations::one("", "must be a known grouping")),
    }
}

fn days(day: i32) -> Result<ReportDays, Violations> {
    match pb::ReportDay::try_from(day) {
        Ok(pb::ReportDay::Unspecified | pb::ReportDay::Sale) => Ok(ReportDays::Sale),
        Ok(pb::ReportDay::Showing) => Ok(ReportDays::Showing),
        Err(_) => Err(Violations::one("", "must be a known kind of day")),
    }
}

pub(crate) fn occupancy(page: ReportPage<Occupancy>) -> pb::GetOccupancyResponse {
    pb::GetOccupancyResponse {
        showtimes: page.rows.into_iter().map(showtime_occupancy).collect(),
        next_page_token: page.next,
        state: Some(state(page.state)),
    }
}

fn showtime_occupancy(row: Occupancy) -> pb::ShowtimeOccupancy {
    pb::ShowtimeOccupancy {
        showtime_id: row.showtime_id,
        movie_id: row.movie_id,
        movie_title: row.movie_title,
        cinema: row.cinema,
        auditorium_id: row.auditorium_id,
        auditorium_name: row.auditorium_name,
        start_time: Some(timestamp(row.start_time)),
        local_date: row.local_date.to_string(),
        time_zone: row.time_zone,
        capacity: row.capacity,
        held_seats: row.held,
        sold_seats: row.sold,
        cancel_time: row.cancel_time.map(timestamp),
    }
}

pub(crate) fn sales(page: ReportPage<Sales>) -> pb::GetSalesResponse {
    let row = |row: Sales| pb::SalesRow {
        key: row.key,
        name: row.name,
        currency_code: row.currency,
        sold_seats: row.sold_seats,
        sold_amount: row.sold_amount,
        returned_seats: row.returned_seats,
        returned_amount: row.returned_amount,
    };
    pb::GetSalesResponse {
        rows: page.rows.into_iter().map(row).collect(),
        next_page_token: page.next,
        state: Some(state(page.state)),
    }
}

pub(crate) fn hold_conversion(seen: &Seen<Vec<HoldCount>>) -> pb::GetHoldConversionResponse {
    let count = |outcome: &str| {
        let found = seen.value.iter().find(|count| count.outcome == outcome);
        Some(
            found.map_or_else(pb::HoldCount::default, |found| pb::HoldCount { holds: found.holds, seats: found.seats }),
        )
    };
    pb::GetHoldConversionResponse {
        confirmed: count(hold_outcome::CONFIRMED),
        cancelled: count(hold_outcome::CANCELLED),
        expired: count(hold_outcome::EXPIRED),
        held: count(hold_outcome::HELD),
        state: Some(state(seen.state)),
    }
}

fn state(state: ReportState) -> pb::ReportState {
    pb::ReportState {
        last_event_time: state.last_event.map(timestamp),
        check_time: state.checked.map(timestamp),
        complete_since_time: state.complete_since.map(timestamp),
    }
}

//! `Reports`: what it sums up equals the sums over the tables, which the test makes by itself, and the service sells without it.

use std::collections::BTreeMap;

use boxoffice::pb::boxoffice::v1::{
    GetHoldConversionRequest, GetHoldConversionResponse, GetOccupancyRequest, GetSalesRequest, HoldCount, ReportDay,
    SalesGrouping, SalesRow, Showtime, ShowtimeOccupancy,
};
use sea_orm::JsonValue;
use tonic::Code;

use crate::harness::{
    Server, Store, World, assert_refused, assert_violates,
    refusals::assert_retryable,
    reporting::Reporting,
    sales::{Dice, cancel_showtime, lapse, schedule, sell},
    seats::{best, confirm, instant, reserve, showtime},
    tampered,
    world::Storage,
};

/// A service with reports, and a reporting database that has random sales. The last two are dropped after the server.
struct Sold {
    server: Server,
    showtimes: Vec<Showtime>,
    reports: Reporting,
    _storage: Storage,
}

async fn sold(store: Store, seed: u64) -> Sold {
    let (storage, reports) = (Storage::new(store).await, Reporting::new(store).await);
    let server = storage.setup().with("--reports-url", reports.url()).start().await;
    let showtimes = schedule(&server).await;
    sell(&server, &showtimes, &mut Dice::new(seed), 200).await;
    cancel_showtime(&server, &showtimes[1]).await;
    lapse(&server, &showtimes).await;
    reports.assert_equals(&server, &showtimes).await;
    Sold { server, showtimes, reports, _storage: storage }
}

/// All pages of sales, read with this page size.
async fn sales(server: &Server, request: GetSalesRequest, page_size: i32) -> Vec<SalesRow> {
    let mut request = GetSalesRequest { page_size, ..request };
    let mut rows = Vec::new();
    loop {
        let page = server.reports().get_sales(request.clone()).await.expect("a report").into_inner();
        assert!(page.state.is_some_and(|state| state.last_event_time.is_some() && state.check_time.is_some()));
        rows.extend(page.rows);
        if page.next_page_token.is_empty() {
            return rows;
        }
        request.page_token = page.next_page_token;
    }
}

fn by(group_by: SalesGrouping) -> GetSalesRequest {
    GetSalesRequest { group_by: group_by.into(), ..GetSalesRequest::default() }
}

/// A line of `sales` with the columns of its showtime.
const LINES: &str = "SELECT sales.*, movie_id, movie_title, cinema, auditorium_id, auditorium_name \
                     FROM sales JOIN showtimes ON showtimes.showtime_id = sales.showtime_id";

fn text<'r>(row: &'r JsonValue, column: &str) -> &'r str {
    row[column].as_str().unwrap_or_else(|| panic!("{column} is a text: {row}"))
}

/// The sums of these lines by a column, made line by line.
fn sums<'r>(lines: impl Iterator<Item = &'r JsonValue>, key: &str, name: &str) -> Vec<SalesRow> {
    let mut sums: BTreeMap<(String, String), SalesRow> = BTreeMap::new();
    for line in lines {
        let (key, currency_code) = (text(line, key).to_owned(), text(line, "currency").to_owned());
        let name = if name.is_empty() { String::new() } else { text(line, name).to_owned() };
        let of = (key.clone(), currency_code.clone());
        let sum = sums.entry(of).or_insert(SalesRow { key, name, currency_code, ..SalesRow::default() });
        let price = line["price"].as_i64().expect("a price");
        sum.sold_seats += 1;
        sum.sold_amount += price;
        if !line["return_time"].is_null() {
            sum.returned_seats += 1;
            sum.returned_amount += price;
        }
    }
    sums.into_values().collect()
}

const GROUPINGS: [(SalesGrouping, &str, &str); 6] = [
    (SalesGrouping::Showtime, "showtime_id", "movie_title"),
    (SalesGrouping::Movie, "movie_id", "movie_title"),
    (SalesGrouping::Auditorium, "auditorium_id", "auditorium_name"),
    (SalesGrouping::Cinema, "cinema", ""),
    (SalesGrouping::DayOfSale, "sale_date", ""),
    (SalesGrouping::DayOfShowing, "showing_date", ""),
];

async fn sums_of_sales_equal_those_over_the_tables(store: Store) {
    let sold = sold(store, 11).await;
    let lines = sold.reports.rows(LINES).await;
    assert!(lines.iter().any(|line| !line["return_time"].is_null()) && lines.len() > 20, "{} lines", lines.len());
    for (grouping, key, name) in GROUPINGS {
        let expected = sums(lines.iter(), key, name);
        for page_size in [0, 1, 2] {
            assert_eq!(sales(&sold.server, by(grouping), page_size).await, expected, "{grouping:?}");
        }
        // Yen and euros are never added up.
        let currencies: Vec<_> = expected.iter().map(|row| &*row.currency_code).collect();
        assert!(currencies.contains(&"EUR") && currencies.contains(&"JPY"), "{expected:?}");
    }
    let (cinema, movie_id) = (text(&lines[0], "cinema"), text(&lines[0], "movie_id"));
    let request =
        GetSalesRequest { cinema: cinema.to_owned(), movie_id: movie_id.to_owned(), ..by(SalesGrouping::Showtime) };
    let of_both = |line: &&JsonValue| text(line, "cinema") == cinema && text(line, "movie_id") == movie_id;
    let expected = sums(lines.iter().filter(of_both), "showtime_id", "movie_title");
    assert_eq!(sales(&sold.server, request, 0).await, expected);
}

async fn dates_are_days_of_the_sale_or_of_the_showing(store: Store) {
    let sold = sold(store, 12).await;
    let lines = sold.reports.rows(LINES).await;
    for (day, column) in [(ReportDay::Sale, "sale_date"), (ReportDay::Showing, "showing_date")] {
        let mut dates: Vec<_> = lines.iter().map(|line| text(line, column)).collect();
        dates.sort_unstable();
        dates.dedup();
        for (from, to) in [(dates[0], dates[0]), (dates[0], dates[dates.len() - 1]), (dates[dates.len() - 1], "")] {
            let request = GetSalesRequest {
                day: day.into(),
                from_date: from.to_owned(),
                to_date: to.to_owned(),
                ..by(SalesGrouping::Cinema)
            };
            let within = |line: &&JsonValue| text(line, column) >= from && (to.is_empty() || text(line, column) <= to);
            let expected = sums(lines.iter().filter(within), "cinema", "");
            assert_eq!(sales(&sold.server, request, 0).await, expected, "{column} from {from} to {to}");
        }
    }
    // A showtime in Tokyo and one in Madrid at the same time may have different dates.
    for showtime in &sold.showtimes {
        let id = &showtime.showtime_id;
        let row = sold.reports.rows(&format!("SELECT local_date FROM showtimes WHERE showtime_id = '{id}'")).await;
        assert_eq!(text(&row[0], "local_date"), showtime.local_date);
    }
}

async fn occupancy(server: &Server, request: GetOccupancyRequest) -> Vec<ShowtimeOccupancy> {
    let mut request = request;
    let mut all = Vec::new();
    loop {
        let page = server.reports().get_occupancy(request.clone()).await.expect("a report").into_inner();
        all.extend(page.showtimes);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

async fn occupancy_is_that_of_the_service_page_by_page(store: Store) {
    let sold = sold(store, 13).await;
    let whole = occupancy(&sold.server, GetOccupancyRequest { include_cancelled: true, ..Default::default() }).await;
    assert_eq!(whole.len(), sold.showtimes.len());
    for showtime in &sold.showtimes {
        let found = whole.iter().find(|found| found.showtime_id == showtime.showtime_id).expect("it is listed");
        let auditorium = showtime.auditorium.as_ref().expect("an auditorium");
        assert_eq!((&found.auditorium_id, found.capacity), (&auditorium.auditorium_id, auditorium.seat_count));
        assert_eq!((&found.local_date, &found.time_zone), (&showtime.local_date, &auditorium.time_zone));
        assert_eq!(instant(found.start_time), instant(showtime.start_time));
        let now = crate::harness::seats::showtime_now(&sold.server, showtime).await;
        assert_eq!(found.capacity - found.held_seats - found.sold_seats, now.available_count);
        assert_eq!(found.cancel_time, now.cancel_time);
    }
    let order = |one: &ShowtimeOccupancy| (instant(one.start_time), one.showtime_id.clone());
    assert!(whole.windows(2).all(|pair| order(&pair[0]) < order(&pair[1])));
    let paged = GetOccupancyRequest { include_cancelled: true, page_size: 1, ..Default::default() };
    assert_eq!(occupancy(&sold.server, paged).await, whole);
    let scheduled: Vec<_> = whole.iter().filter(|one| one.cancel_time.is_none()).cloned().collect();
    assert_eq!(occupancy(&sold.server, GetOccupancyRequest::default()).await, scheduled);
    let one = scheduled[0].clone();
    let request = GetOccupancyRequest {
        showtime_id: one.showtime_id.to_uppercase(),
        auditorium_id: one.auditorium_id.clone(),
        cinema: one.cinema.clone(),
        movie_id: one.movie_id.clone(),
        from_date: one.local_date.clone(),
        to_date: one.local_date.clone(),
        ..Default::default()
    };
    assert_eq!(occupancy(&sold.server, request.clone()).await, [one]);
    let other = GetOccupancyRequest { cinema: "elsewhere".to_owned(), ..request };
    assert_eq!(occupancy(&sold.server, other).await, []);
}

async fn holds_are_counted_by_what_became_of_them(store: Store) {
    let sold = sold(store, 14).await;
    let count = async |request: GetHoldConversionRequest| {
        sold.server.reports().get_hold_conversion(request).await.expect("a report").into_inner()
    };
    let rows = sold.reports.rows("SELECT holds.*, cinema FROM holds JOIN showtimes USING (showtime_id)").await;
    let expected = |rows: &[&JsonValue], outcome: &str| {
        let of = rows.iter().filter(|row| text(row, "outcome") == outcome);
        let seats = of.clone().map(|row| row["seats"].as_i64().expect("a number")).sum();
        Some(HoldCount { holds: of.count() as i64, seats })
    };
    let check = |found: &GetHoldConversionResponse, rows: &[&JsonValue]| {
        assert_eq!(found.confirmed, expected(rows, "confirmed"));
        assert_eq!(found.cancelled, expected(rows, "cancelled"));
        assert_eq!(found.expired, expected(rows, "expired"));
        assert_eq!(found.held, expected(rows, "held"));
    };
    let all: Vec<_> = rows.iter().collect();
    let found = count(GetHoldConversionRequest::default()).await;
    check(&found, &all);
    assert!(found.expired.is_some_and(|expired| expired.holds > 0), "{found:?}");
    let (cinema, date) = (text(&rows[0], "cinema"), text(&rows[0], "showing_date"));
    let request = GetHoldConversionRequest {
        cinema: cinema.to_owned(),
        day: ReportDay::Showing.into(),
        from_date: date.to_owned(),
        to_date: date.to_owned(),
        ..Default::default()
    };
    let of_both = |row: &&JsonValue| text(row, "cinema") == cinema && text(row, "showing_date") == date;
    check(&count(request).await, &rows.iter().filter(of_both).collect::<Vec<_>>());
}

/// Makes a test on each kind of database.
macro_rules! on_both_databases {
    ($($test:ident),+ $(,)?) => {
        $(mod $test {
            #[tokio::test]
            async fn sqlite() {
                Box::pin(super::$test(crate::harness::Store::Sqlite)).await;
            }

            #[tokio::test]
            async fn postgres() {
                Box::pin(super::$test(crate::harness::Store::Postgres)).await;
            }
        })+
    };
}

on_both_databases!(
    sums_of_sales_equal_those_over_the_tables,
    dates_are_days_of_the_sale_or_of_the_showing,
    occupancy_is_that_of_the_service_page_by_page,
    holds_are_counted_by_what_became_of_them,
    seats_are_sold_while_the_reporting_database_cannot_be_used,
);

async fn seats_are_sold_while_the_reporting_database_cannot_be_used(store: Store) {
    // The database of reports has no tables before a projector has run.
    let (storage, reports) = (Storage::new(store).await, Reporting::new(store).await);
    let server = storage.setup().with("--reports-url", reports.url()).start().await;
    let refused = server.reports().get_sales(by(SalesGrouping::Movie)).await.expect_err("there are no tables");
    assert_retryable(&refused, "REPORTS_UNAVAILABLE");
    assert!(!refused.message().contains("relation") && !refused.message().contains("table"), "{refused:?}");
    let showtime = showtime(&server).await;
    let held = reserve(&server, best(&showtime, "ada", 2)).await.expect("there are seats");
    confirm(&server, &held).await.expect("the seats are held");
    reports.catch_up(server.address(), &[]).await;
    let rows = sales(&server, by(SalesGrouping::Showtime), 0).await;
    assert_eq!((rows.len(), rows[0].sold_seats, rows[0].sold_amount), (1, 2, 1900));
}

#[tokio::test]
async fn without_a_reporting_database_reports_are_refused_by_name() {
    let world = World::start(Store::Sqlite).await;
    let mut reports = world.reports();
    let refusals = [
        reports.get_occupancy(GetOccupancyRequest::default()).await.map(drop),
        reports.get_sales(by(SalesGrouping::Movie)).await.map(drop),
        reports.get_hold_conversion(GetHoldConversionRequest::default()).await.map(drop),
    ];
    for refused in refusals {
        assert_refused(&refused.expect_err("no database"), Code::FailedPrecondition, "REPORTS_NOT_CONFIGURED");
    }
}

#[tokio::test]
async fn a_page_token_is_valid_with_its_own_filters_only_and_dates_must_be_in_order() {
    let sold = sold(Store::Sqlite, 15).await;
    let mut reports = sold.server.reports();
    let request = GetSalesRequest { page_size: 1, ..by(SalesGrouping::Showtime) };
    let token = reports.get_sales(request.clone()).await.expect("a report").into_inner().next_page_token;
    for other in [
        GetSalesRequest { page_token: tampered(&token, 3), ..request.clone() },
        GetSalesRequest { page_token: token.clone(), cinema: "Grand".to_owned(), ..request.clone() },
        GetSalesRequest { page_token: token.clone(), ..by(SalesGrouping::Movie) },
    ] {
        assert_violates(&reports.get_sales(other).await.expect_err("the token is of another list"), &["page_token"]);
    }
    let (from_date, to_date) = ("2027-03-01".to_owned(), "2027-02-28".to_owned());
    let reversed = GetSalesRequest { from_date, to_date, ..request };
    assert_violates(&reports.get_sales(reversed).await.expect_err("the dates are reversed"), &["to_date"]);
}

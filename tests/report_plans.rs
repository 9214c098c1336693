//! Reports use indexes: where a filter is given, no report reads a large part of a table with many rows, and neither does a page.
//!
//! The counters of Postgres show what the running service did: which tables it has read from end to end, how many rows it has
//! read, and by which index.

use std::collections::BTreeMap;

use boxoffice::pb::boxoffice::v1::{
    GetHoldConversionRequest, GetOccupancyRequest, GetSalesRequest, ReportDay, SalesGrouping,
};

use crate::harness::{Server, Store, eventually, reporting::Reporting, world::Storage};

/// The number of showtimes: forty a day for a thousand days, a hundred of each movie, a hundred in each cinema, ten in each
/// auditorium. Each has two sales and two holds, made a week before. With fewer of them Postgres rightly reads all of them for a
/// join.
const SHOWTIMES: i64 = 40_000;
/// The last one of the first 25 days.
const EARLY: &str = "2030-01-25";
/// A day on which many showtimes start, long after the first one.
const DAY: &str = "2032-03-04";
/// The day of their sales.
const DAY_OF_SALE: &str = "2032-02-26";

/// A reporting database with many rows.
async fn with_many_rows(storage: &Storage) -> Reporting {
    let reports = Reporting::new(Store::Postgres).await;
    let server = storage.setup().start().await;
    reports.catch_up(server.address(), &[]).await;
    server.stop().await;
    let id = |number: &str| format!("lpad(({number})::text, 32, '0')::uuid::text");
    let showtimes = format!(
        "INSERT INTO showtimes SELECT {}, 'tt' || i / 100, 'Movie ' || i / 100, 'Cinema ' || i % 400, {}, \
         'Screen ' || i % 4000, start, start + interval '2 hours', (start AT TIME ZONE 'UTC')::date, 'UTC', 100, 950, 'EUR', \
         start - interval '30 days', NULL, 2, 2, 5, 0 FROM (SELECT i, timestamptz '2030-01-01 00:00+00' \
         + i * interval '36 minutes' AS start FROM generate_series(0, {SHOWTIMES} - 1) AS i) AS made ORDER BY i",
        id("i"),
        id("i % 4000"),
    );
    let sales = "INSERT INTO sales SELECT showtime_id || n, 'A' || n, 'A', n, showtime_id, price, currency, NULL, \
         start_time - interval '7 days', local_date - 7, local_date, NULL, NULL \
         FROM showtimes, generate_series(1, 2) AS n ORDER BY start_time, n";
    let holds = "INSERT INTO holds SELECT showtime_id || n, showtime_id, 1, start_time - interval '7 days', local_date - 7, \
         local_date, start_time, 'confirmed', start_time FROM showtimes, generate_series(1, 2) AS n ORDER BY start_time, n";
    for statement in [&*showtimes, sales, holds, "ANALYZE"] {
        reports.sql(statement).await;
    }
    reports
}

/// What the database has counted: for each table how often it was read from end to end and how many of its rows were read, and for
/// each index how often it was used.
async fn counters(reports: &Reporting) -> BTreeMap<String, i64> {
    // The counters of a session are complete when it has ended.
    let others = "SELECT 1 AS found FROM pg_stat_activity WHERE datname = current_database() AND \
                  backend_type = 'client backend' AND pid <> pg_backend_pid()";
    eventually("the other sessions have ended", async || reports.rows(others).await.is_empty().then_some(())).await;
    let counters = "SELECT 'scans of ' || relname AS name, seq_scan AS count FROM pg_stat_user_tables \
         UNION ALL SELECT 'rows of ' || relname, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables \
         UNION ALL SELECT indexrelname, idx_scan FROM pg_stat_user_indexes";
    let rows = reports.rows(counters).await;
    let counter = |row: &sea_orm::JsonValue| {
        (row["name"].as_str().expect("a name").to_owned(), row["count"].as_i64().expect("a number"))
    };
    rows.iter().map(counter).collect()
}

/// A report.
#[derive(Clone, Debug)]
enum Report {
    /// All pages.
    Occupancy(GetOccupancyRequest),
    /// The first two pages.
    Begun(GetOccupancyRequest),
    Sales(GetSalesRequest),
    Holds(GetHoldConversionRequest),
}

impl Report {
    /// Reads the report. Returns the number of its showtimes, sold seats or holds.
    async fn read(self, server: &Server) -> i64 {
        let mut reports = server.reports();
        match self {
            Self::Occupancy(request) => occupancy(server, request, usize::MAX).await,
            Self::Begun(request) => occupancy(server, request, 2).await,
            Self::Sales(request) => {
                let answer = reports.get_sales(request).await.expect("a report").into_inner();
                answer.rows.iter().map(|row| row.sold_seats).sum()
            }
            Self::Holds(request) => {
                let answer = reports.get_hold_conversion(request).await.expect("a report").into_inner();
                answer.confirmed.map_or(0, |confirmed| confirmed.holds)
            }
        }
    }
}

/// Reads at most so many pages. Returns the number of their showtimes.
async fn occupancy(server: &Server, request: GetOccupancyRequest, pages: usize) -> i64 {
    let mut request = GetOccupancyRequest { page_size: 200, ..request };
    let mut showtimes = 0;
    for _ in 0..pages {
        let page = server.reports().get_occupancy(request.clone()).await.expect("a report").into_inner();
        showtimes += page.showtimes.len() as i64;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    showtimes
}

/// The indexes by which showtimes of some days may be found. The first one has their order.
const BY_DAYS: &str = "showtimes_by_start or showtimes_by_date";

/// Reports with each filter and all showtimes, the indexes of which one finds their rows, and how many there are.
fn reports() -> Vec<(Report, &'static str, i64)> {
    let (cinema, movie_id, day) = ("Cinema 7".to_owned(), "tt300".to_owned(), DAY.to_owned());
    let (showtimes, sales, holds) =
        (GetOccupancyRequest::default, GetSalesRequest::default, GetHoldConversionRequest::default);
    let id = |number: i64| format!("00000000-0000-0000-0000-{number:012}");
    let by = |group: SalesGrouping| group.into();
    let sale = || (ReportDay::Sale.into(), DAY_OF_SALE.to_owned());
    let showing = || (ReportDay::Showing.into(), DAY.to_owned());
    let mut found = vec![
        (Report::Occupancy(GetOccupancyRequest { showtime_id: id(7), ..showtimes() }), "showtimes_pkey", 1),
        (Report::Occupancy(GetOccupancyRequest { auditorium_id: id(7), ..showtimes() }), "showtimes_by_auditorium", 10),
        (Report::Occupancy(GetOccupancyRequest { cinema: cinema.clone(), ..showtimes() }), "showtimes_by_cinema", 100),
        (
            Report::Occupancy(GetOccupancyRequest { movie_id: movie_id.clone(), ..showtimes() }),
            "showtimes_by_movie",
            100,
        ),
        (Report::Occupancy(GetOccupancyRequest { from_date: day.clone(), to_date: day, ..showtimes() }), BY_DAYS, 40),
        (Report::Occupancy(GetOccupancyRequest { to_date: EARLY.to_owned(), ..showtimes() }), BY_DAYS, 1_000),
        (Report::Begun(GetOccupancyRequest { from_date: DAY.to_owned(), ..showtimes() }), BY_DAYS, 400),
        (
            Report::Occupancy(GetOccupancyRequest {
                from_date: "2031-06-01".to_owned(),
                to_date: "2031-06-30".to_owned(),
                ..showtimes()
            }),
            BY_DAYS,
            1_200,
        ),
        (Report::Occupancy(showtimes()), "showtimes_by_start", SHOWTIMES),
    ];
    for ((day, date), of_sales, of_holds) in [
        (sale(), "sales_by_sale_date", "holds_by_hold_date"),
        (showing(), "sales_by_showing_date", "holds_by_showing_date"),
    ] {
        let (from_date, to_date, group_by) = (date.clone(), date, by(SalesGrouping::DayOfShowing));
        let request =
            GetHoldConversionRequest { day, from_date: from_date.clone(), to_date: to_date.clone(), ..holds() };
        found.push((Report::Holds(request), of_holds, 80));
        found.push((Report::Sales(GetSalesRequest { group_by, day, from_date, to_date, ..sales() }), of_sales, 80));
    }
    for (cinema, movie_id, group) in
        [(cinema, String::new(), SalesGrouping::Cinema), (String::new(), movie_id, SalesGrouping::Movie)]
    {
        let request = GetHoldConversionRequest { cinema: cinema.clone(), movie_id: movie_id.clone(), ..holds() };
        found.push((Report::Holds(request), "holds_by_showtime", 200));
        let request = GetSalesRequest { group_by: by(group), cinema, movie_id, ..sales() };
        found.push((Report::Sales(request), "sales_by_showtime", 200));
    }
    found
}

#[tokio::test]
async fn a_report_with_a_filter_reads_its_rows_by_an_index_and_few_others() {
    let storage = Storage::new(Store::Sqlite).await;
    let database = with_many_rows(&storage).await;
    let mut before = counters(&database).await;
    for (report, indexes, rows) in reports() {
        let server = storage.setup().with("--reports-url", database.url()).start().await;
        assert_eq!(report.clone().read(&server).await, rows, "{report:?}");
        server.stop().await;
        let after = counters(&database).await;
        let counted: BTreeMap<_, _> = after.iter().map(|(name, count)| (&**name, count - before[name])).collect();
        let is_used = indexes.split(" or ").any(|index| counted[index] > 0);
        assert!(is_used, "{report:?} does not use {indexes}: {counted:#?}");
        // A page may read and sort what all pages are about, but not what is before it.
        let most = SHOWTIMES / 4 + 8 * rows;
        for table in ["showtimes", "sales", "holds"] {
            assert_eq!(counted[&*format!("scans of {table}")], 0, "{report:?} reads all of {table}: {counted:#?}");
            assert!(counted[&*format!("rows of {table}")] < most, "{report:?}: {counted:#?}");
        }
        before = after;
    }
}

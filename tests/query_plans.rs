//! Filters use indexes: with many rows, no query reads a whole table or sorts it.
//!
//! The plans are of the very statements that the service sends. On Postgres the service asks for generic plans, so these are
//! checked too, and the database's own counters show what the running service did.

mod purchases;
mod rows;

use boxoffice::{
    domain::{
        ids::{AuditoriumId, ReservationId, ShowtimeId},
        movie::MovieId,
        reservation::{self, CustomerId, Phase},
        showtime::{self, Filter},
    },
    pb::boxoffice::v1::{
        CancelShowtimeRequest, ConfirmReservationRequest, GetAuditoriumRequest, GetShowtimeRequest,
        ListAuditoriumsRequest, ListReservationsRequest, ListShowtimesRequest, ReserveSeatsRequest, Showtime,
    },
    store::{Cursor, PLANNING, ReservationCursor, statements},
};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, Statement};

use self::rows::{FIRST, SHOWTIMES, beginning, id, with_many_rows};
use crate::harness::{
    Server, Store, eventually, in_hours, new_showtime, request_id,
    seats::{cancel, confirm, extend, get, reserve, these},
    staff::{block, blocked, confirm_late, exchange, release, unblock},
    timestamp,
};

/// Every query, by name. Lists have each filter and useful combinations of them, with the first page and a later one.
fn queries(backend: DbBackend) -> Vec<(String, Statement)> {
    let auditorium_id = Some(AuditoriumId(id(7)));
    let movie_id = Some(MovieId::parse("tt7").expect("an id"));
    let start_after = Some(beginning() + TimeDelta::hours(5));
    let start_before = Some(beginning() + TimeDelta::hours(8));
    let local_date = Some(beginning().date_naive());
    let cinema = Some("Cinema 7".to_owned());
    let states = vec![showtime::Phase::Scheduled, showtime::Phase::Cancelled];
    let all = Filter::default();
    let filters = [
        ("everything", all.clone()),
        ("also cancelled", Filter { include_cancelled: true, ..all.clone() }),
        ("states", Filter { states: states.clone(), ..all.clone() }),
        ("cinema", Filter { cinema: cinema.clone(), ..all.clone() }),
        ("cinema, states", Filter { cinema: cinema.clone(), states, ..all.clone() }),
        ("cinema, date", Filter { cinema: cinema.clone(), local_date, ..all.clone() }),
        ("cinema, movie", Filter { cinema: cinema.clone(), movie_id: movie_id.clone(), ..all.clone() }),
        ("cinema, between", Filter { cinema: cinema.clone(), start_after, start_before, ..all.clone() }),
        ("auditorium", Filter { auditorium_id, ..all.clone() }),
        ("movie", Filter { movie_id: movie_id.clone(), ..all.clone() }),
        ("date", Filter { local_date, ..all.clone() }),
        ("after", Filter { start_after, ..all.clone() }),
        ("before", Filter { start_before, ..all.clone() }),
        ("between", Filter { start_after, start_before, ..all.clone() }),
        ("auditorium, date", Filter { auditorium_id, local_date, ..all.clone() }),
        ("auditorium, movie", Filter { auditorium_id, movie_id: movie_id.clone(), ..all.clone() }),
        ("auditorium, between", Filter { auditorium_id, start_after, start_before, ..all.clone() }),
        ("movie, date", Filter { movie_id: movie_id.clone(), local_date, ..all.clone() }),
        ("movie, between", Filter { movie_id: movie_id.clone(), start_after, start_before, ..all.clone() }),
        (
            "all of them",
            Filter {
                cinema,
                auditorium_id,
                movie_id,
                start_after,
                start_before,
                local_date,
                include_cancelled: true,
                ..all
            },
        ),
    ];
    let later = Cursor { start_time: beginning() + TimeDelta::hours(6), showtime_id: ShowtimeId(id(FIRST + 6_500)) };
    let mut found = Vec::new();
    for (name, filter) in &filters {
        for (page, after) in [("first", None), ("later", Some(later))] {
            let name = format!("showtimes by {name}, {page} page");
            found.push((name, statements::showtimes(backend, filter, after, 51)));
        }
    }
    for (name, cinema) in [("everything", None), ("cinema", Some("Cinema 7"))] {
        for (page, after) in [("first", None), ("later", Some(AuditoriumId(id(75))))] {
            let name = format!("auditoriums by {name}, {page} page");
            found.push((name, statements::auditoriums(backend, cinema, after, 51)));
        }
    }
    found.extend(by_id(backend));
    found.extend(feed(backend));
    found.extend(reservation_lists(backend));
    found.extend(purchases::purchase_lists(backend));
    found
}

/// What is read of some showtimes.
fn by_id(backend: DbBackend) -> Vec<(String, Statement)> {
    let some = [ShowtimeId(id(FIRST + 1)), ShowtimeId(id(FIRST + 2))];
    let now = (backend == DbBackend::Sqlite).then(beginning);
    vec![
        ("standings by id".to_owned(), statements::standings_by_ids(backend, &some)),
        ("revisions by id".to_owned(), statements::revisions(backend, &some)),
        ("a seat map".to_owned(), statements::seat_map(backend, some[0])),
        ("blocked seats".to_owned(), statements::blocked_seats(backend, some[0])),
        ("what was sold".to_owned(), statements::sold(backend, some[0])),
        ("showtimes by id".to_owned(), statements::showtimes_by_ids(backend, &some)),
        ("showtimes with a lapse".to_owned(), statements::lapsed(backend, now, 256)),
    ]
}

/// What is read of the feed of events.
fn feed(backend: DbBackend) -> Vec<(String, Statement)> {
    let named = |name: &str, statement| (name.to_owned(), statement);
    let mut found = vec![named("the feed", statements::feed(backend, 7_000, 500))];
    found.push(named("the oldest events", statements::oldest_events(backend, 7_000, 500)));
    found.push(named("the number of events", statements::events_after(backend, 7_000)));
    found.extend((backend == DbBackend::Postgres).then(|| named("no position", statements::unnumbered_events())));
    found
}

/// Lists of a customer's reservations, of a showtime's and of both, and of those for which a refund is due: in each state, in
/// several, and of a range of time.
fn reservation_lists(backend: DbBackend) -> Vec<(String, Statement)> {
    let customer_id = Some(CustomerId::parse("customer 7").expect("a name"));
    let showtime_id = Some(ShowtimeId(id(FIRST + 7)));
    let later =
        ReservationCursor { create_time: beginning() + TimeDelta::hours(6), reservation_id: ReservationId(id(9)) };
    let mut found = Vec::new();
    for (name, customer_id, showtime_id, refund_due) in [
        ("customer", customer_id.clone(), None, false),
        ("showtime", None, showtime_id, false),
        ("customer, showtime", customer_id.clone(), showtime_id, false),
        ("refund due", None, None, true),
        ("customer, refund due", customer_id, None, true),
        ("showtime, refund due", None, showtime_id, true),
    ] {
        let of = |phases: &[Phase], range: [Option<DateTime<Utc>>; 2]| {
            let [created_after, created_before] = range;
            let (customer_id, phases) = (customer_id.clone(), phases.to_vec());
            reservation::Filter { customer_id, showtime_id, phases, created_after, created_before, refund_due }
        };
        let one = [Phase::Held, Phase::Confirmed, Phase::Cancelled, Phase::Expired, Phase::Paying];
        let range = [Some(beginning()), Some(beginning() + TimeDelta::hours(8))];
        let mut filters = vec![of(&[], [None; 2]), of(&one[..2], [None; 2]), of(&one, range), of(&[], range)];
        filters.extend(one.map(|phase| of(&[phase], [None; 2])));
        for filter in filters {
            for (page, after) in [("first", None), ("later", Some(later))] {
                let name = format!("reservations by {name}, {:?}, {page} page", filter.phases);
                found.push((name, statements::reservations(backend, &filter, after, 51, beginning())));
            }
        }
    }
    found
}

#[tokio::test]
async fn sqlite_follows_an_index_for_every_query() {
    let (world, _) = with_many_rows(Store::Sqlite).await;
    let connection = world.storage.connect().await;
    for (name, Statement { sql, values, .. }) in queries(DbBackend::Sqlite) {
        let explain = Statement { sql: format!("EXPLAIN QUERY PLAN {sql}"), values, db_backend: DbBackend::Sqlite };
        let plan = lines(&connection, explain, "detail").await;
        for line in &plan {
            let whole = line.starts_with("SCAN") && !line.contains(" USING ") && !line.contains("json_each");
            assert!(!whole && !line.contains("TEMP B-TREE"), "{name}: {line} in {plan:#?}");
        }
    }
    connection.close().await.expect("a connection closes");
}

#[tokio::test]
async fn postgres_follows_an_index_for_every_query() {
    let (world, _) = with_many_rows(Store::Postgres).await;
    let connection = world.storage.connect().await;
    connection.execute_unprepared("SET plan_cache_mode = force_generic_plan").await.expect("a setting");
    for (name, statement) in queries(DbBackend::Postgres) {
        let explain = Statement { sql: format!("EXPLAIN {}", statement.sql), ..statement.clone() };
        assert_indexed(&name, &lines(&connection, explain, "QUERY PLAN").await);
        assert_indexed(&format!("{name}, generic"), &generic(&connection, statement).await);
    }
    // With the service's own settings. Workers are not even used where they cost nothing, and sorts not where a customer has many rows.
    let costs = ["setup_cost", "tuple_cost"].map(|cost| format!("parallel_{cost}"));
    let sizes = ["table", "index"].map(|of| format!("min_parallel_{of}_scan_size"));
    let free = costs.into_iter().chain(sizes).map(|setting| format!("SET {setting} = 0"));
    for set in free.chain(PLANNING.map(|(setting, value)| format!("SET {setting} = {value}"))) {
        connection.execute_unprepared(&set).await.expect("a setting");
    }
    for (name, statement) in queries(DbBackend::Postgres) {
        let plan = generic(&connection, statement).await;
        assert!(!plan.iter().any(|line| line.contains("Gather")), "{name}: {plan:#?}");
    }
    for (name, statement) in reservation_lists(DbBackend::Postgres) {
        let plan = generic(&connection, statement).await;
        let sorts = |line: &String| line.contains("Sort  (") && !line.contains("Incremental Sort");
        assert!(!plan.iter().any(sorts), "{name}: {plan:#?}");
    }
    // Only the requested events are read, by their key.
    let plan = generic(&connection, statements::events_since(&[(ShowtimeId(id(FIRST)), 1)])).await;
    let by_key =
        |line: &String| line.contains("Index Cond: ((aggregate = known.aggregate) AND (seq > known.revision))");
    assert!(plan.iter().any(by_key), "{plan:#?}");
    connection.close().await.expect("a connection closes");
}

/// The plan of a statement that is prepared once for all values.
async fn generic(connection: &DatabaseConnection, Statement { sql, values, .. }: Statement) -> Vec<String> {
    let nulls = vec!["NULL"; values.map_or(0, |values| values.0.len())].join(", ");
    connection.execute_unprepared(&format!("PREPARE it AS {sql}")).await.expect("the statement is valid");
    let arguments = if nulls.is_empty() { String::new() } else { format!("({nulls})") };
    let explain = Statement::from_string(DbBackend::Postgres, format!("EXPLAIN EXECUTE it{arguments}"));
    let plan = lines(connection, explain, "QUERY PLAN").await;
    connection.execute_unprepared("DEALLOCATE it").await.expect("the statement is prepared");
    plan
}

/// Asserts that no table is read from end to end, and that what is sorted was found by an index.
fn assert_indexed(name: &str, plan: &[String]) {
    let rows = |line: &str| line.split("rows=").nth(1)?.split(' ').next()?.parse::<i64>().ok();
    for line in plan {
        let sorts = line.contains("Sort  (") && rows(line).is_none_or(|rows| rows > SHOWTIMES / 50);
        // The head of the feed is one row, and the catalog has a row for each database.
        let is_small = ["feed_head", "pg_database"].iter().any(|table| line.contains(&format!("Seq Scan on {table}")));
        let scans = line.contains("Seq Scan on") && !is_small;
        assert!(!scans && !sorts, "{name}: {line} in {plan:#?}");
    }
}

/// Every method is called on a running service, and no table is read from end to end.
#[tokio::test]
async fn postgres_counts_no_scan_of_a_table() {
    let (world, auditorium) = with_many_rows(Store::Postgres).await;
    let connection = world.storage.connect().await;
    let before = scans(&connection).await;
    let server = world.setup().clone().start().await;
    let filter = ListShowtimesRequest { page_size: 5, ..Default::default() };
    let on = beginning().date_naive().to_string();
    for filter in [
        filter.clone(),
        ListShowtimesRequest { auditorium_id: auditorium.clone(), ..filter.clone() },
        ListShowtimesRequest { movie_id: "tt7".to_owned(), ..filter.clone() },
        ListShowtimesRequest { cinema: "Cinema 7".to_owned(), ..filter.clone() },
        ListShowtimesRequest { local_date: on, ..filter.clone() },
        ListShowtimesRequest { start_after: Some(timestamp(beginning())), ..filter },
    ] {
        let page = server.showtimes().list_showtimes(filter.clone()).await.expect("a page").into_inner();
        assert!(!page.showtimes.is_empty(), "{filter:?}");
        if !page.next_page_token.is_empty() {
            let next = ListShowtimesRequest { page_token: page.next_page_token, ..filter };
            server.showtimes().list_showtimes(next).await.expect("a page");
        }
    }
    let list = ListAuditoriumsRequest { page_size: 5, ..Default::default() };
    let page = server.auditoriums().list_auditoriums(list.clone()).await.expect("a page").into_inner();
    let next = ListAuditoriumsRequest { page_token: page.next_page_token, ..list };
    server.auditoriums().list_auditoriums(next).await.expect("a page");
    server
        .auditoriums()
        .get_auditorium(GetAuditoriumRequest { auditorium_id: auditorium.clone() })
        .await
        .expect("it is found");
    let request = new_showtime(&auditorium, in_hours(9));
    let made = server.showtimes().create_showtime(request).await.expect("the slot is free").into_inner().showtime;
    let made = made.expect("the answer has the showtime");
    let showtime_id = made.showtime_id.clone();
    server.showtimes().create_showtime(new_showtime(&auditorium, in_hours(9))).await.expect_err("the slot is taken");
    call_reservation_methods(&server, &made).await;
    call_methods_for_staff(&server, &made).await;
    let get = GetShowtimeRequest { showtime_id: showtime_id.clone(), at_least_revision: 0, include_sales: true };
    server.showtimes().get_showtime(get).await.expect("it is found");
    let cancel = CancelShowtimeRequest { showtime_id, request_id: request_id(), force: true, expected_revision: 0 };
    server.showtimes().cancel_showtime(cancel).await.expect("the showtime is cancelled");
    server.stop().await;
    assert_eq!(scans(&connection).await, before);
    connection.close().await.expect("a connection closes");
}

/// Calls every method about reservations, with each of its outcomes.
async fn call_reservation_methods(server: &Server, showtime: &Showtime) {
    let [sold, cancelled, held] = ["A1", "A2", "B1"];
    let request = ReserveSeatsRequest { request_id: request_id(), ..these(showtime, "ada", sold) };
    let sold = reserve(server, request.clone()).await.expect("the seat is free");
    reserve(server, request).await.expect("a repeated request is answered");
    reserve(server, these(showtime, "bob", "A1 A2")).await.expect_err("one seat is held");
    let cancelled = reserve(server, these(showtime, "ada", cancelled)).await.expect("the seat is free");
    let held = reserve(server, these(showtime, "ada", held)).await.expect("the seat is free");
    extend(server, &held).await.expect("the reservation is held");
    cancel(server, &cancelled).await.expect("the reservation is held");
    let reservation_id = sold.reservation_id.clone();
    let confirm = ConfirmReservationRequest { reservation_id, request_id: request_id(), ..Default::default() };
    for _ in 0..2 {
        server.reservations().confirm_reservation(confirm.clone()).await.expect("it is held, or confirmed");
    }
    for reservation in [&sold, &cancelled, &held] {
        get(server, reservation).await.expect("it is found");
    }
    for (customer_id, showtime_id) in [("customer 7", ""), ("", &*showtime.showtime_id), ("ada", &showtime.showtime_id)]
    {
        let (customer_id, showtime_id) = (customer_id.to_owned(), showtime_id.to_owned());
        let list = ListReservationsRequest { customer_id, showtime_id, page_size: 2, ..Default::default() };
        let page = server.reservations().list_reservations(list.clone()).await.expect("a page").into_inner();
        assert_eq!(page.reservations.len(), 2, "{list:?}");
        let next = ListReservationsRequest { page_token: page.next_page_token, ..list };
        server.reservations().list_reservations(next).await.expect("a page");
    }
}

/// Calls every method about blocked seats, and about what becomes of a sale.
async fn call_methods_for_staff(server: &Server, showtime: &Showtime) {
    block(server, showtime, "A3 A4").await.expect("the seats are free");
    assert_eq!(blocked(server, showtime).await.blocks.len(), 1);
    unblock(server, showtime, "A3 A4").await.expect("the seats are blocked");
    let sold = reserve(server, these(showtime, "eve", "A3 A4")).await.expect("the seats are free");
    confirm(server, &sold).await.expect("it is held");
    exchange(server, &sold, "B4 B5").await.expect("the seats are free");
    release(server, &sold, "").await.expect("it is sold");
    let cancelled = reserve(server, these(showtime, "eve", "A3")).await.expect("the seat is free");
    cancel(server, &cancelled).await.expect("it is held");
    confirm_late(server, &cancelled, "card").await.expect("the money is noted");
    let list = ListReservationsRequest { refund_due: true, page_size: 2, ..Default::default() };
    let page = server.reservations().list_reservations(list.clone()).await.expect("a page").into_inner();
    let next = ListReservationsRequest { page_token: page.next_page_token, ..list };
    server.reservations().list_reservations(next).await.expect("a page");
}

/// Returns how often each table was read from end to end. The counters of a session are complete when it has ended, so this
/// function waits until all other sessions have.
async fn scans(connection: &DatabaseConnection) -> Vec<String> {
    let read = |sql: &str| lines(connection, Statement::from_string(DbBackend::Postgres, sql), "found");
    let others = "SELECT count(*)::text AS found FROM pg_stat_activity WHERE datname = current_database() AND \
                  backend_type = 'client backend' AND pid <> pg_backend_pid()";
    eventually("the other sessions have ended", async || (read(others).await == ["0"]).then_some(())).await;
    let counters = "SELECT relname || ' ' || seq_scan AS found FROM pg_stat_user_tables \
                    WHERE relname IN ('showtimes', 'auditoriums', 'reservations', 'seat_claims', 'blocked_seats') ORDER BY 1";
    read(counters).await
}

async fn lines(connection: &DatabaseConnection, statement: Statement, column: &str) -> Vec<String> {
    let rows = connection.query_all_raw(statement).await.unwrap_or_else(|error| panic!("{error}"));
    rows.iter().map(|row| row.try_get("", column).expect("a text")).collect()
}

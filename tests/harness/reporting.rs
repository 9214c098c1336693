//! Reporting databases and projectors, and a check of the tables against what the service says.

use std::{collections::BTreeMap, process::Command};

use boxoffice::pb::boxoffice::v1::{
    GetShowtimeRequest, Line, ListReservationsRequest, Reservation, ReservationState, Showtime, ShowtimeState,
};
use rustix::process::Signal;
use sea_orm::{ConnectionTrait as _, FromQueryResult as _, JsonValue, Statement};
use tempfile::TempDir;

use super::{
    DEADLINE, Database, Server, Store, process::Process, seats::name, server::binary, supervisor, within,
    world::connect,
};

/// The tables that are made of events, with the columns of their keys.
const TABLES: [(&str, &str); 3] =
    [("showtimes", "showtime_id"), ("sales", "reservation_id, seat"), ("holds", "reservation_id")];

/// A reporting database.
pub(crate) struct Reporting {
    // The fields are dropped in this order: the database before the folder.
    database: Option<Database>,
    folder: TempDir,
}

impl Reporting {
    pub(crate) async fn new(store: Store) -> Self {
        let database = match store {
            Store::Sqlite => None,
            Store::Postgres => Some(Database::create().await),
        };
        Self { database, folder: supervisor::folder("reports-") }
    }

    pub(crate) fn url(&self) -> String {
        match &self.database {
            Some(database) => database.url(),
            None => format!("sqlite://{}", self.folder.path().join("reports.db").display()),
        }
    }

    /// The database, which is on Postgres.
    pub(crate) fn database(&self) -> &Database {
        self.database.as_ref().expect("the reporting database is on Postgres")
    }

    /// A projector for the service at this address.
    pub(crate) fn command(&self, address: &str, flags: &[&str]) -> Command {
        let mut command = binary();
        command.args(["project", "--from", &format!("http://{address}"), "--database-url", &self.url()]).args(flags);
        command
    }

    pub(crate) fn start(&self, address: &str, flags: &[&str]) -> Process {
        Process::spawn("the projector", self.command(address, flags), Signal::KILL)
    }

    /// Runs a projector that must end by itself. Returns its exit code and what it prints.
    pub(crate) async fn end(&self, address: &str, flags: &[&str]) -> (Option<i32>, String) {
        let projector = self.start(address, flags);
        let code = projector.exit().await.code();
        projector.console().search(|_| None::<()>).await.expect_err("no line is searched for");
        (code, projector.console().to_string())
    }

    /// Projects everything that is in the feed.
    pub(crate) async fn catch_up(&self, address: &str, flags: &[&str]) {
        let (code, printed) = self.end(address, &[&["--once"], flags].concat()).await;
        assert_eq!(code, Some(0), "{printed}");
    }

    /// Runs a statement.
    pub(crate) async fn sql(&self, statement: &str) {
        let connection = connect(self.url()).await;
        connection.execute_unprepared(statement).await.expect("the statement is right");
        connection.close().await.expect("a connection closes");
    }

    /// The rows of a query.
    pub(crate) async fn rows(&self, query: &str) -> Vec<JsonValue> {
        let connection = connect(self.url()).await;
        let query = Statement::from_string(connection.get_database_backend(), query);
        let rows = JsonValue::find_by_statement(query).all(&connection).await.expect("the query is right");
        connection.close().await.expect("a connection closes");
        rows
    }

    /// Everything in the tables that are made of events.
    pub(crate) async fn dump(&self) -> Vec<JsonValue> {
        let mut dump = Vec::new();
        for (table, key) in TABLES {
            dump.extend(self.rows(&format!("SELECT * FROM {table} ORDER BY {key}")).await);
        }
        dump
    }

    /// Projects until the tables equal what the service says of these showtimes. Lapsed holds are recorded a little later.
    pub(crate) async fn assert_equals(&self, server: &Server, showtimes: &[Showtime]) {
        let mut difference = String::new();
        let what = "the tables equal what the service says";
        let equal = within(2 * DEADLINE, what, async || {
            self.catch_up(server.address(), &[]).await;
            let (said, projected) = (said(server, showtimes).await, self.projected().await);
            difference = format!("{said:#?}\n{projected:#?}");
            (said == projected).then_some(())
        });
        tokio::time::timeout(DEADLINE, equal).await.unwrap_or_else(|_| panic!("{difference}"));
    }

    /// The tables, in the form of [`said`].
    async fn projected(&self) -> Said {
        let mut said = Said::new();
        for row in self.rows("SELECT * FROM showtimes").await {
            let number = |column: &str| row[column].as_i64().expect("a number");
            let free = number("capacity") - number("held_seats") - number("sold_seats");
            let state = if row["cancel_time"].is_null() { "scheduled" } else { "cancelled" };
            said.insert(text(&row, "showtime_id"), format!("{state} at {}, {free} free", number("revision")));
        }
        for row in self.rows("SELECT * FROM holds").await {
            said.insert(text(&row, "reservation_id"), format!("{} {}", text(&row, "outcome"), row["seats"]));
        }
        let line = |row: &JsonValue| {
            let returned = if row["return_time"].is_null() { "" } else { " returned" };
            let (seat_row, currency) = (text(row, "seat_row"), text(row, "currency"));
            format!("; {seat_row}{} for {} {currency}{returned}", row["seat_number"], row["price"])
        };
        let rows = self.rows("SELECT * FROM sales").await;
        let mut lines: Vec<_> = rows.iter().map(|row| (text(row, "reservation_id"), line(row))).collect();
        lines.sort_unstable();
        for (reservation_id, line) in lines {
            said.entry(reservation_id).or_default().push_str(&line);
        }
        said
    }
}

fn text(row: &JsonValue, column: &str) -> String {
    row[column].as_str().expect("a text").to_owned()
}

/// What is known of showtimes and reservations, by id.
type Said = BTreeMap<String, String>;

async fn said(server: &Server, showtimes: &[Showtime]) -> Said {
    let mut said = Said::new();
    for Showtime { showtime_id, .. } in showtimes {
        let request =
            GetShowtimeRequest { showtime_id: showtime_id.clone(), at_least_revision: 0, include_sales: false };
        let found = server.showtimes().get_showtime(request).await.expect("the showtime exists").into_inner();
        let showtime = found.showtime.expect("the answer has the showtime");
        let cancelled = showtime.state() == ShowtimeState::Cancelled;
        let state = if cancelled { "cancelled" } else { "scheduled" };
        let (revision, free) = (showtime.revision, showtime.available_count);
        said.insert(showtime_id.clone(), format!("{state} at {revision}, {free} free"));
        for reservation in reservations(server, showtime_id).await {
            said.insert(reservation.reservation_id.clone(), of_reservation(&reservation));
        }
    }
    said
}

/// All reservations of a showtime.
pub(crate) async fn reservations(server: &Server, showtime_id: &str) -> Vec<Reservation> {
    let mut request =
        ListReservationsRequest { showtime_id: showtime_id.to_owned(), page_size: 200, ..Default::default() };
    let mut all = Vec::new();
    loop {
        let page = server.reservations().list_reservations(request.clone()).await.expect("a list").into_inner();
        all.extend(page.reservations);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

/// In the form of the tables: what became of the hold, and a line for each seat that was sold.
fn of_reservation(reservation: &Reservation) -> String {
    let sold = reservation.confirm_time.is_some();
    let outcome = match reservation.state() {
        _ if sold => "confirmed",
        ReservationState::Held | ReservationState::Paying => "held",
        ReservationState::Cancelled => "cancelled",
        ReservationState::Expired => "expired",
        state => panic!("{state:?}"),
    };
    // With seats that were given back.
    let held = format!("{outcome} {}", reservation.lines.len());
    if !sold {
        return held;
    }
    let line = |line: &Line| {
        let returned = if line.released || reservation.cancel_time.is_some() { " returned" } else { "" };
        let total = line.total.as_ref().expect("a price");
        // The smallest unit of these prices is a cent or a yen.
        let minor = if total.currency_code == "JPY" { 1 } else { 100 };
        let price = total.units * minor + i64::from(total.nanos) * minor / 1_000_000_000;
        format!("{} for {price} {}{returned}", name(line.seat.as_ref().expect("a seat")), total.currency_code)
    };
    let mut lines: Vec<_> = reservation.lines.iter().map(line).collect();
    lines.sort_unstable();
    lines.insert(0, held);
    lines.join("; ")
}

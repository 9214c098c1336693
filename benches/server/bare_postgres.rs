//! Bare Postgres, a baseline: the query behind a page of `ListShowtimes`, which reads the standings of 51 showtimes along an
//! index.
//!
//! There is no service and no gRPC, only connections that are never idle and one prepared statement. The ratios to the echo
//! move with the machine; this figure is how many such queries the database alone answers on it.

use boxoffice::store::PLANNING;
use chrono::{DateTime, Utc};
use sea_orm::sqlx::{self, ConnectOptions as _, PgConnection, postgres::PgConnectOptions};
use serde::{Deserialize, Serialize};

use crate::wire::{
    self,
    load::{Answer, Caller, drive},
    tally::Outcome,
};

/// Connections. There are more than processors, so that no processor waits for a client.
pub(crate) const CONNECTIONS: usize = 8;
/// A page of 50 and one more row, which shows whether there is another page.
const QUERY: &str = "
    SELECT showtimes.showtime_id, showtimes.state, showtimes.cancel_time, available_count, revision
    FROM showtimes JOIN standings ON standings.showtime_id = showtimes.showtime_id
    WHERE start_time >= $1 AND showtimes.state = 'scheduled'
    ORDER BY start_time, showtimes.showtime_id LIMIT 51";

/// A load on the database of a service that has the showtimes.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) url: String,
    pub(crate) connections: usize,
    pub(crate) seconds: f64,
}

impl Plan {
    /// Runs the plan in a process of its own.
    pub(crate) fn run(&self) -> Outcome {
        wire::run_role("bare-postgres", self)
    }
}

/// Runs the plan in this file and prints the outcome.
pub(crate) async fn run(file: &str) {
    let plan: Plan = wire::read_plan(file);
    let mut clients = Vec::new();
    for number in 0..plan.connections {
        let mut connection = connect(&plan.url).await;
        let starts = "SELECT DISTINCT start_time FROM showtimes ORDER BY start_time LIMIT 150";
        let starts =
            sqlx::query_scalar(starts).fetch_all(&mut connection).await.expect("the times at which showtimes start");
        clients.push(Client { connection, next: number * 31 % starts.len(), starts });
    }
    wire::print_result(&drive(plan.seconds, clients).await);
}

/// Plans follow indexes, as in the service.
async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().expect("an address");
    let options = options.options(PLANNING).disable_statement_logging();
    options.connect().await.expect("a connection")
}

/// A connection that reads one page after the other.
struct Client {
    connection: PgConnection,
    starts: Vec<DateTime<Utc>>,
    next: usize,
}

impl Caller for Client {
    async fn call(&mut self) -> Option<Answer> {
        let start = self.starts[self.next];
        self.next = (self.next + 1) % self.starts.len();
        let rows = sqlx::query(QUERY).bind(start).fetch_all(&mut self.connection).await.expect("rows");
        Some(Answer { bytes: 0, failed: rows.len() != 51 })
    }
}

//! One prepared UPDATE for each use, a baseline: a database client uses tickets by their ids, under the same condition as the
//! service, in the same table with the same indexes. There is no gRPC, no code and no rule.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use boxoffice::clock::Clock;
use sea_orm::{
    Database,
    sqlx::{self, ConnectOptions as _, PgConnection, postgres::PgConnectOptions},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::usable::usable;
use crate::wire::{
    self,
    load::{Answer, Caller, drive},
    tally::Outcome,
};

const UPDATE: &str = "UPDATE tickets SET state = 'used', use_time = $2, use_device = $3, use_nonce = $4, use_index = 0 \
    WHERE ticket_id = $1 AND state = 'issued'";

/// A load of updates.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) url: String,
    /// The first ticket.
    pub(crate) first: usize,
    /// Tickets that may be used.
    pub(crate) count: usize,
    /// Connections. None of them is ever idle.
    pub(crate) connections: usize,
    pub(crate) seconds: f64,
}

impl Plan {
    /// Runs the plan in a process of its own.
    pub(crate) fn run(&self) -> Outcome {
        wire::run_role("update", self)
    }
}

/// Runs the plan in this file and prints the outcome.
pub(crate) async fn run(file: &str) {
    let plan: Plan = wire::read_plan(file);
    let connection = Database::connect(&plan.url).await.expect("a connection");
    let tickets = usable(&connection, plan.first, plan.count).await;
    connection.close().await.expect("a connection closes");
    let ids = tickets.into_iter().map(|ticket| ticket.ticket_id).collect();
    let shared = Arc::new(Shared { ids, first: plan.first, next: AtomicUsize::new(0) });
    let options: PgConnectOptions = plan.url.parse().expect("an address");
    let options = options.disable_statement_logging();
    let mut clients = Vec::new();
    for _ in 0..plan.connections {
        let connection = options.connect().await.expect("a connection");
        clients.push(DatabaseClient { connection, shared: Arc::clone(&shared) });
    }
    wire::print_result(&drive(plan.seconds, clients).await);
}

struct Shared {
    ids: Vec<Uuid>,
    first: usize,
    next: AtomicUsize,
}

struct DatabaseClient {
    connection: PgConnection,
    shared: Arc<Shared>,
}

impl Caller for DatabaseClient {
    async fn call(&mut self) -> Option<Answer> {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let id = self.shared.ids.get(number)?;
        let number = self.shared.first + number;
        let update = sqlx::query(UPDATE).bind(id).bind(Clock::System.now());
        let update = update.bind(format!("door {}", number % 16)).bind(number.to_string());
        let used = update.execute(&mut self.connection).await.expect("a ticket is updated");
        assert_eq!(used.rows_affected(), 1, "used tickets");
        Some(Answer::default())
    }
}

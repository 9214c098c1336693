//! Doors that use tickets by code, each ticket once, with a nonce of its own.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use boxoffice::pb::boxoffice::v1::UseTicketRequest;
use bytes::Bytes;
use prost::Message as _;
use sea_orm::Database;
use serde::{Deserialize, Serialize};

use super::usable::{Usable, usable};
use crate::wire::{
    self,
    client::{Client, Method, prefixed_copy},
    load::{Answer, Caller, connect, drive},
    tally::Outcome,
};

const USE: &str = "/boxoffice.v1.Tickets/UseTicket";

/// A load of uses.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The database with the tickets.
    pub(crate) url: String,
    pub(crate) address: String,
    /// The first ticket.
    pub(crate) first: usize,
    /// Tickets that may be used.
    pub(crate) count: usize,
    pub(crate) in_flight: usize,
    pub(crate) seconds: f64,
}

impl Plan {
    /// Runs the plan in a process of its own.
    pub(crate) fn run(&self) -> Outcome {
        wire::run_role("doors", self)
    }
}

/// Runs the plan in this file and prints the outcome.
pub(crate) async fn run(file: &str) {
    let plan: Plan = wire::read_plan(file);
    let connection = Database::connect(&plan.url).await.expect("a connection");
    let tickets = usable(&connection, plan.first, plan.count).await;
    connection.close().await.expect("a connection closes");
    let requests = tickets.iter().enumerate().map(|(number, ticket)| request(plan.first + number, ticket));
    let shared = Arc::new(Shared { requests: requests.collect(), next: AtomicUsize::new(0) });
    let clients = connect(std::slice::from_ref(&plan.address), plan.in_flight).await.into_iter();
    let doors = clients.map(|client| Door { method: client.method(USE), client, shared: Arc::clone(&shared) });
    wire::print_result(&drive(plan.seconds, doors.collect()).await);
}

fn request(number: usize, ticket: &Usable) -> Bytes {
    let request = UseTicketRequest {
        code: ticket.code(),
        showtime_id: ticket.showtime_id.to_string(),
        device: format!("door {}", number % 16),
        nonce: number.to_string(),
        ..UseTicketRequest::default()
    };
    prefixed_copy(&request.encode_to_vec())
}

/// The requests of all doors, of which each is made once.
struct Shared {
    requests: Vec<Bytes>,
    next: AtomicUsize,
}

struct Door {
    client: Client,
    method: Method,
    shared: Arc<Shared>,
}

impl Caller for Door {
    async fn call(&mut self) -> Option<Answer> {
        let request = self.shared.requests.get(self.shared.next.fetch_add(1, Ordering::Relaxed))?.clone();
        let answer = self.client.unary(&self.method, request).await.unwrap_or_else(|status| panic!("{status:?}"));
        Some(Answer { bytes: answer.len(), failed: false })
    }
}

//! The load: honest and hostile connections in one process on one core.

use std::sync::Arc;

use rustix::thread::{CpuSet, sched_setaffinity};

use super::{
    honest, hostile,
    plan::{CONNECTIONS, DEADLINE_HEADER, Measured, Plan, Shared},
};
use crate::wire::{self, raw_client::encode_headers};

const RESERVE: &str = "/boxoffice.v1.Reservations/ReserveSeats";
const CONFIRM: &str = "/boxoffice.v1.Reservations/ConfirmReservation";
const LIST: &str = "/boxoffice.v1.Showtimes/ListShowtimes";

/// Puts this thread, and the processes that it starts, on a core.
pub(crate) fn pin(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).expect("a machine with two cores");
}

impl Plan {
    /// Runs the plan in a process of its own.
    pub(crate) fn run(&self) -> Measured {
        wire::run_role("overload", self)
    }
}

/// Runs the plan in this file and prints what it measured.
pub(crate) async fn run(file: &str) {
    let plan: Plan = wire::read_plan(file);
    let address = plan.address.clone();
    let [first, reserve, confirm] = encode_headers(&address, [RESERVE, RESERVE, CONFIRM], Some(DEADLINE_HEADER)).await;
    let honest = Arc::new(honest::Headers { first, reserve, confirm });
    let [first, list] = encode_headers(&address, [LIST, LIST], Some("30S")).await;
    let hostile = Arc::new(hostile::Headers { first, list });
    let shared = Arc::new(Shared::new(plan));
    let mut tasks = Vec::new();
    for number in 0..CONNECTIONS {
        tasks.push(tokio::spawn(honest::run(Arc::clone(&shared), Arc::clone(&honest), number)));
        tasks.push(tokio::spawn(hostile::run(Arc::clone(&shared), Arc::clone(&hostile), number)));
    }
    for task in tasks {
        task.await.expect("a connection ends");
    }
    wire::print_result(&shared.measured());
}

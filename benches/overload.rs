//! How the service bears ten times the load that it can serve, half of it hostile.
//!
//! The service has one core, on SQLite, and the load another. First as many honest callers as it takes find the most calls per
//! second that the service serves. Then five times as many come from honest clients, and then five times as many from clients
//! that mean harm as well. In the end a quarter comes, and nothing hostile.
//!
//! The service sells fewer seats per second when more are sold already, since the indexes of its database grow. So the peak
//! that the overload is compared with is measured before it, between its two halves and after it.
//!
//! `cargo bench --bench overload`; `docs/benchmarks.md` explains the figures.

#![expect(clippy::expect_used, clippy::cast_precision_loss, reason = "a bench says what it expected by panicking")]

#[path = "../tests"]
mod tests {
    #[macro_use]
    #[expect(dead_code, unused_imports, unused_macros, reason = "the tests use all of it")]
    pub(crate) mod harness;
}
#[expect(dead_code, reason = "another bench uses the rest")]
mod contention;
#[expect(dead_code, reason = "another bench uses the rest")]
mod wire;
mod overload {
    //! The load and what it measures.

    pub(crate) mod honest;
    pub(crate) mod hostile;
    pub(crate) mod load;
    pub(crate) mod pipe;
    pub(crate) mod plan;
    pub(crate) mod report;
}

use std::time::Duration;

use contention::deployment::{Prices, schedule, seed};
use harness::{Store, world::Storage};
use overload::{
    load::{self, pin},
    plan::{DEADLINE, Demand, Measured, Phase, Plan},
    report::{self, Figures},
};
use tests::harness;
use wire::{
    options::Options,
    service::{Program, Service},
};

/// Showtimes over which the load is spread, of 2,000 seats each.
const SHOWTIMES: usize = 400;
const AUDITORIUMS: usize = 20;
/// Callers with which the peak is looked for.
const CALLERS: [usize; 3] = [64, 256, 1_024];
/// A sale is a reservation and a confirmation. Of these the rate of a demand has the first.
const CALLS_OF_A_SALE: f64 = 2.0;
/// The cores of the service and of the load.
const SERVICE_CORE: usize = 0;
const LOAD_CORE: usize = 1;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    // One thread, since a process is started on the core of the thread that starts it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match arguments.first().map(String::as_str) {
        Some("overload") => runtime.block_on(load::run(&arguments[1])),
        _ => runtime.block_on(Box::pin(measure(&Options::parse(&arguments)))),
    }
}

async fn measure(options: &Options) {
    let programs = options.programs();
    for program in programs {
        let mut rounds = Vec::new();
        for round in 1..=options.rounds {
            eprintln!("round {round} of {}", options.rounds);
            rounds.push(Box::pin(measure_round(&program, options.seconds)).await);
        }
        report::print(&rounds);
    }
}

async fn measure_round(program: &Program, seconds: f64) -> Figures {
    let turn = Duration::from_secs_f64(seconds);
    let storage = Storage::new(Store::Sqlite).await;
    pin(SERVICE_CORE);
    let service = Service::start(program, storage.setup()).await;
    pin(LOAD_CORE);
    let showtimes = schedule(&service, AUDITORIUMS, SHOWTIMES, Prices::One).await;
    let plan = |first, phases| Plan {
        address: service.address.clone(),
        showtimes: showtimes.clone(),
        first,
        seed: seed(),
        phases,
    };
    let phase = |length, honest, hostile| Phase { length, honest, hostile };
    let search = CALLERS.map(|callers| phase(2 * turn, Demand::Callers(callers), 0.0));
    let Measured { windows, used } = plan(0, search.to_vec()).run();
    let (most, callers) = report::most(&windows, 2 * turn, &CALLERS);
    let peak = || phase(2 * turn, Demand::Callers(callers), 0.0);
    let overload = || phase(3 * turn, Demand::Rate(5.0 * most), 5.0 * most);
    let phases = [
        phase(2 * turn, Demand::Rate(most / 4.0 / CALLS_OF_A_SALE), 0.0),
        phase(3 * turn, Demand::Rate(5.0 * most), 0.0),
        peak(),
        overload(),
        peak(),
        overload(),
        phase(2 * turn + DEADLINE, Demand::Rate(most / 4.0 / CALLS_OF_A_SALE), 0.0),
        peak(),
    ];
    let watch = report::MemoryWatch::start(service.id());
    let Measured { windows, .. } = plan(used, phases.to_vec()).run();
    let memory = watch.finish();
    report::figures(&phases, &windows, &memory)
}

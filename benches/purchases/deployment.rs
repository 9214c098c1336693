//! A deployment: a database, a service that calls the bench's gateway, and thousands of showtimes with free seats.

use super::{buyers, gateway::Gateway};
use crate::{
    contention::{
        deployment::{Prices, SHOWTIMES, schedule, seed},
        load::{self, LoadResult, Workload},
    },
    harness::{Store, world::Storage},
    wire::{
        service::{Program, Service},
        tally::Outcome,
    },
};

const AUDITORIUMS: usize = 100;
/// The longest that a call of the gateway may take. A purchase that waits for the gateway waits in one call.
const GATEWAY_TIMEOUT: &str = "60s";
/// How long a payment may take: longer than the bench.
const PAY_TIME: &str = "1h";

/// A database, a service, and how far its seats are used up.
pub(crate) struct Deployment {
    // The service ends before its storage is removed.
    pub(crate) service: Service,
    pub(crate) storage: Storage,
    showtimes: Vec<String>,
    /// Seats of each showtime that were requested.
    used: usize,
    seed: u64,
}

impl Deployment {
    pub(crate) async fn start(program: &Program, gateway: &Gateway) -> Self {
        let storage = Storage::new(Store::Postgres).await;
        let setup = storage.setup().with("--payment-gateway-url", gateway.url());
        let setup = setup.with("--payment-gateway-timeout", GATEWAY_TIMEOUT).with("--pay-time", PAY_TIME);
        let service = Service::start(program, setup).await;
        let showtimes = schedule(&service, AUDITORIUMS, SHOWTIMES, Prices::One).await;
        Self { service, storage, showtimes, used: 0, seed: seed() }
    }

    /// Buys seats.
    pub(crate) fn buy(&mut self, in_flight: usize, seconds: f64) -> Outcome {
        let LoadResult { outcome, used } = self.purchases(in_flight, seconds).run();
        self.used = used;
        outcome
    }

    /// Begins purchases that the gateway does not answer, as many at once as may be in flight. Returns how many seconds it took.
    pub(crate) async fn begin(&mut self, count: usize, in_flight: usize) -> f64 {
        let (used, seconds) = buyers::begin(&self.purchases(in_flight, 0.0), count).await;
        self.used = used;
        seconds
    }

    /// Reserves seats.
    pub(crate) fn reserve(&mut self, in_flight: usize, seconds: f64) -> Outcome {
        let plan = load::Plan {
            workload: Workload::Reserve,
            addresses: vec![self.service.address.clone()],
            echo: false,
            showtimes: self.showtimes.clone(),
            first: self.used,
            in_flight,
            seconds,
            seed: self.next_seed(),
        };
        let LoadResult { outcome, used } = plan.run();
        self.used = used;
        outcome
    }

    fn purchases(&mut self, in_flight: usize, seconds: f64) -> buyers::Plan {
        buyers::Plan {
            address: self.service.address.clone(),
            showtimes: self.showtimes.clone(),
            first: self.used,
            in_flight,
            seconds,
            seed: self.next_seed(),
        }
    }

    fn next_seed(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(1);
        self.seed
    }
}

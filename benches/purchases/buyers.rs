//! Callers of `PurchaseTickets`: each buys three free neighbouring seats of a random showtime, in one call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use boxoffice::pb::boxoffice::v1::{
    PaymentChoice, PaymentMethod, PurchaseState, PurchaseTicketsRequest, PurchaseTicketsResponse, Seat,
};
use bytes::Bytes;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::{
    contention::{
        load::LoadResult,
        messages::{self, NextSeats, Random},
    },
    wire::{
        self,
        client::{Client, Method, prefixed_copy},
        load::{Answer, Caller, connect, drive},
    },
};

/// The seats of a purchase, as of the usual way.
const SEATS: usize = 3;

const PURCHASE: &str = "/boxoffice.v1.Purchases/PurchaseTickets";

/// A load of purchases that end at once.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) address: String,
    pub(crate) showtimes: Vec<String>,
    /// Seats of each showtime that were requested before.
    pub(crate) first: usize,
    pub(crate) in_flight: usize,
    pub(crate) seconds: f64,
    /// Seed of the random numbers. Each load on a database needs another one.
    pub(crate) seed: u64,
}

impl Plan {
    /// Runs the plan in a process of its own.
    pub(crate) fn run(&self) -> LoadResult {
        wire::run_role("buy", self)
    }
}

/// Runs the plan in this file and prints the result.
pub(crate) async fn run(file: &str) {
    let plan: Plan = wire::read_plan(file);
    let shared = Arc::new(Shared::new(&plan, PurchaseState::Completed));
    let outcome = drive(plan.seconds, shared.callers(&plan).await).await;
    wire::print_result(&LoadResult { outcome, used: shared.next_seats.highest() });
}

/// Begins so many purchases that do not end, as many at once as the plan says. Returns the seats that are used then, and the
/// seconds that it took.
pub(crate) async fn begin(plan: &Plan, count: usize) -> (usize, f64) {
    let start = Instant::now();
    let shared = Arc::new(Shared { left: AtomicUsize::new(count), ..Shared::new(plan, PurchaseState::Running) });
    let mut tasks = Vec::new();
    for mut caller in shared.callers(plan).await {
        tasks.push(tokio::spawn(async move { while caller.call().await.is_some() {} }));
    }
    for task in tasks {
        task.await.expect("a caller ends");
    }
    (shared.next_seats.highest(), start.elapsed().as_secs_f64())
}

/// State that all callers share.
struct Shared {
    showtimes: Vec<String>,
    next_seats: NextSeats,
    /// Purchases that may still be begun.
    left: AtomicUsize,
    /// The state in which a purchase is answered.
    expected: PurchaseState,
}

impl Shared {
    fn new(plan: &Plan, expected: PurchaseState) -> Self {
        let next_seats = NextSeats::new(plan.showtimes.len(), plan.first);
        Self { showtimes: plan.showtimes.clone(), next_seats, left: AtomicUsize::new(usize::MAX), expected }
    }

    async fn callers(self: &Arc<Self>, plan: &Plan) -> Vec<Buyer> {
        let clients = connect(std::slice::from_ref(&plan.address), plan.in_flight).await.into_iter().enumerate();
        let buyer = |(number, client): (usize, Client)| Buyer {
            method: client.method(PURCHASE),
            client,
            random: Random::new(plan.seed, number),
            shared: Arc::clone(self),
        };
        clients.map(buyer).collect()
    }
}

struct Buyer {
    client: Client,
    method: Method,
    random: Random,
    shared: Arc<Shared>,
}

impl Caller for Buyer {
    async fn call(&mut self) -> Option<Answer> {
        self.shared.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()?;
        let message = self.request()?;
        let answer = self.client.unary(&self.method, message).await.unwrap_or_else(|status| panic!("{status:?}"));
        let bytes = answer.len();
        let purchase = PurchaseTicketsResponse::decode(answer).expect("an answer").purchase.expect("a purchase");
        let is_expected = purchase.state() == self.shared.expected;
        Some(Answer { bytes, failed: !is_expected })
    }
}

impl Buyer {
    /// A request for free seats. `None` if there are no more.
    fn request(&mut self) -> Option<Bytes> {
        let showtimes = self.shared.showtimes.len();
        let first = self.random.below(showtimes);
        let free = |showtime| Some((showtime, self.shared.next_seats.take(showtime, SEATS)?));
        let (showtime, block) = (first..showtimes).chain(0..first).take(50).find_map(free)?;
        let seat = |(row, number): (u8, u8)| Seat { row: char::from(row).to_string(), number: number.into() };
        let payment = PaymentChoice {
            method: PaymentMethod::CreditCard.into(),
            token: "tok_ok".to_owned(),
            ..PaymentChoice::default()
        };
        let request = PurchaseTicketsRequest {
            showtime_id: self.shared.showtimes[showtime].clone(),
            seats: block.seats().map(seat).collect(),
            customer_id: messages::customer(&mut self.random),
            payment: Some(payment),
            request_id: self.random.uuid().to_string(),
            ..PurchaseTicketsRequest::default()
        };
        Some(prefixed_copy(&request.encode_to_vec()))
    }
}

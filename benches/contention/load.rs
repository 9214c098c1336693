//! The workloads on Reservations, and the same requests to a bare echo.
//!
//! An answer that the workload does not expect ends the bench with the status of the answer.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

use super::messages::{self, Block, NextSeats, Random, SEATS, SEATS_PER_ROW};
use crate::wire::{
    self,
    client::{Client, Method},
    echo,
    load::{Answer, Caller, connect, drive},
    tally::Outcome,
};

pub(crate) const RESERVE: &str = "/boxoffice.v1.Reservations/ReserveSeats";
const CONFIRM: &str = "/boxoffice.v1.Reservations/ConfirmReservation";
pub(crate) const CANCEL: &str = "/boxoffice.v1.Reservations/CancelReservation";

/// What the callers do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Workload {
    /// Each call reserves one to four free neighbouring seats of a random showtime.
    Reserve,
    /// The same, without a request id.
    ReserveWithoutId,
    /// The same with a request id, and the first seat as one ticket type and the others as another one.
    ReserveTypes,
    /// The same, and then a confirmation. The two calls count as one answer.
    ReserveAndConfirm,
    /// All callers use one showtime. Each has four neighbouring seats of its own, of which it reserves one to four and cancels
    /// them, again and again: without that, the 2,000 seats would be sold in a moment. Reservations and cancellations count as
    /// answers.
    OneShowtime,
    /// All callers want the same two seats, of which exactly one caller gets them. With its answer each caller goes on to the
    /// next two seats.
    SameSeats,
}

impl Workload {
    /// Whether it has showtimes of its own, apart from those over which the load is spread.
    pub(crate) fn is_contended(self) -> bool {
        matches!(self, Self::OneShowtime | Self::SameSeats)
    }
}

/// A workload on a deployment or on a bare echo.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) workload: Workload,
    /// The servers, which share the callers evenly.
    pub(crate) addresses: Vec<String>,
    /// Whether the servers are bare echoes.
    pub(crate) echo: bool,
    pub(crate) showtimes: Vec<String>,
    /// Seats of each showtime that were requested before.
    pub(crate) first: usize,
    pub(crate) in_flight: usize,
    pub(crate) seconds: f64,
    /// Seed of the random numbers. Each load on a database needs another one.
    pub(crate) seed: u64,
}

/// The result of a workload.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct LoadResult {
    pub(crate) outcome: Outcome,
    /// Seats that were requested in the showtime with the most; of [`Workload::SameSeats`], the showtimes that were used.
    pub(crate) used: usize,
}

impl Plan {
    /// Runs the plan in a process of its own.
    pub(crate) fn run(&self) -> LoadResult {
        wire::run_role("contend", self)
    }
}

/// Runs the plan in this file and prints the result.
pub(crate) async fn run(file: &str) {
    let plan: Plan = wire::read_plan(file);
    let shared = Arc::new(Shared::new(&plan));
    let clients = connect(&plan.addresses, plan.in_flight).await.into_iter().enumerate();
    let path = |method| if plan.echo { echo::PATH } else { method };
    let callers = clients.map(|(number, client)| ReservationCaller {
        reserve: client.method(path(RESERVE)),
        confirm: client.method(path(CONFIRM)),
        cancel: client.method(path(CANCEL)),
        client,
        number,
        random: Random::new(plan.seed, number),
        contest: 0,
        held: None,
        shared: Arc::clone(&shared),
    });
    let outcome = drive(plan.seconds, callers.collect()).await;
    let contests = shared.check_winners();
    let used = match plan.workload {
        Workload::SameSeats => (contests * 2).div_ceil(SEATS),
        _ => shared.next_seats.highest(),
    };
    wire::print_result(&LoadResult { outcome, used });
}

/// State that all callers share.
struct Shared {
    workload: Workload,
    echo: bool,
    showtimes: Vec<String>,
    next_seats: NextSeats,
    /// Callers that got the two seats of each contest.
    winners: Vec<AtomicU32>,
    /// Contests that at least one caller has entered.
    contests: AtomicUsize,
}

impl Shared {
    fn new(plan: &Plan) -> Self {
        let contests = if plan.workload == Workload::SameSeats { plan.showtimes.len() * SEATS / 2 } else { 0 };
        Self {
            workload: plan.workload,
            echo: plan.echo,
            showtimes: plan.showtimes.clone(),
            next_seats: NextSeats::new(plan.showtimes.len(), plan.first),
            winners: (0..contests).map(|_| AtomicU32::new(0)).collect(),
            contests: AtomicUsize::new(0),
        }
    }

    /// Checks that every contest has exactly one winner, and returns the number of contests.
    fn check_winners(&self) -> usize {
        let contests = self.contests.load(Ordering::Relaxed);
        for (number, winners) in self.winners[..contests].iter().enumerate().filter(|_| !self.echo) {
            assert_eq!(winners.load(Ordering::Relaxed), 1, "winners of contest {number} of {contests}");
        }
        contests
    }
}

struct ReservationCaller {
    client: Client,
    reserve: Method,
    confirm: Method,
    cancel: Method,
    number: usize,
    random: Random,
    /// The next contest that it enters.
    contest: usize,
    /// The reservation that it has at present.
    held: Option<String>,
    shared: Arc<Shared>,
}

impl Caller for ReservationCaller {
    async fn call(&mut self) -> Option<Answer> {
        let bytes = match self.shared.workload {
            Workload::Reserve | Workload::ReserveWithoutId | Workload::ReserveTypes => {
                self.reserve_anywhere().await?.len()
            }
            Workload::ReserveAndConfirm => {
                let held = messages::reservation_id(self.reserve_anywhere().await?);
                self.confirm_or_cancel(&held, true).await
            }
            Workload::OneShowtime => match self.held.take() {
                Some(held) => self.confirm_or_cancel(&held, false).await,
                None => self.reserve_own_seats().await,
            },
            Workload::SameSeats => self.enter_contest().await?,
        };
        Some(Answer { bytes, failed: false })
    }

    async fn finish(&mut self) {
        match self.shared.workload {
            Workload::OneShowtime => {
                if let Some(held) = self.held.take() {
                    self.confirm_or_cancel(&held, false).await;
                }
            }
            // Every caller enters every contest, so that each has a winner.
            Workload::SameSeats => {
                while self.contest < self.shared.contests.load(Ordering::Relaxed)
                    && self.enter_contest().await.is_some()
                {}
            }
            Workload::Reserve | Workload::ReserveWithoutId | Workload::ReserveTypes | Workload::ReserveAndConfirm => {}
        }
    }
}

impl ReservationCaller {
    /// Reserves seats of a random showtime, or of one after it if that is full. `None` if all are full.
    async fn reserve_anywhere(&mut self) -> Option<Bytes> {
        let count = 1 + self.random.below(4);
        let showtimes = self.shared.showtimes.len();
        let first = self.random.below(showtimes);
        let free = |showtime| Some((showtime, self.shared.next_seats.take(showtime, count)?));
        let (showtime, block) = (first..showtimes).chain(0..first).take(50).find_map(free)?;
        Some(self.reserve(showtime, block).await.unwrap_or_else(|status| panic!("{status:?}")))
    }

    async fn reserve_own_seats(&mut self) -> usize {
        let block = Block { first: self.number * 4, count: 1 + self.random.below(4) };
        let answer = self.reserve(0, block).await.unwrap_or_else(|status| panic!("{status:?}"));
        let bytes = answer.len();
        self.held = Some(messages::reservation_id(answer));
        bytes
    }

    /// Tries to reserve the seats of its next contest. `None` if there are no more contests.
    async fn enter_contest(&mut self) -> Option<usize> {
        let contest = self.contest;
        let block = Block { first: contest * 2 % SEATS, count: 2 };
        let showtime = contest * 2 / SEATS;
        if showtime == self.shared.showtimes.len() {
            return None;
        }
        self.contest += 1;
        self.shared.contests.fetch_max(self.contest, Ordering::Relaxed);
        match self.reserve(showtime, block).await {
            Ok(answer) => {
                self.shared.winners[contest].fetch_add(1, Ordering::Relaxed);
                Some(answer.len())
            }
            Err(status) if status.code() == Code::FailedPrecondition => Some(refusal_bytes(&status)),
            Err(status) => panic!("{status:?}"),
        }
    }

    async fn reserve(&mut self, showtime: usize, block: Block) -> Result<Bytes, Status> {
        debug_assert!(block.first % SEATS_PER_ROW + block.count <= SEATS_PER_ROW, "seats of one row");
        let request_id = (self.shared.workload != Workload::ReserveWithoutId).then(|| self.random.uuid());
        let customer = messages::customer(&mut self.random);
        let tickets = [("adult", 1), ("child", block.count as u8 - 1)];
        let tickets = match self.shared.workload {
            Workload::ReserveTypes if block.count > 1 => &tickets[..],
            Workload::ReserveTypes => &tickets[..1],
            _ => &[],
        };
        let showtime_id = &self.shared.showtimes[showtime];
        let message = messages::reserve(showtime_id, block.seats(), &customer, request_id, tickets);
        self.client.unary(&self.reserve, message).await
    }

    /// Returns the size of the answer.
    async fn confirm_or_cancel(&mut self, reservation: &str, confirm: bool) -> usize {
        let message = messages::confirm_or_cancel(reservation, Some(self.random.uuid()));
        let method = if confirm { &self.confirm } else { &self.cancel };
        self.client.unary(method, message).await.unwrap_or_else(|status| panic!("{status:?}")).len()
    }
}

/// Bytes of a refusal: its message, and its details in base64, as they are on the wire.
fn refusal_bytes(status: &Status) -> usize {
    status.message().len() + status.details().len().div_ceil(3) * 4
}

//! The load on Reservations, in its shapes, and the same load on a bare echo.
//!
//! Every answer that is not what the shape expects ends the bench with what the server said.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

use super::asked::{self, Block, Dice, Marks, PLACES, SEATS};
use crate::wire::{
    self, echo,
    line::{Line, Method},
    load::{Answer, Caller, Outcome, connect, drive},
};

pub(crate) const RESERVE: &str = "/boxoffice.v1.Reservations/ReserveSeats";
const CONFIRM: &str = "/boxoffice.v1.Reservations/ConfirmReservation";
pub(crate) const CANCEL: &str = "/boxoffice.v1.Reservations/CancelReservation";

/// What the callers do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Shape {
    /// One to four free neighbouring seats of any showtime, again and again.
    Reserve,
    /// The same, without a request id.
    ReserveUnnamed,
    /// The same, and then confirm: one answer is counted for both.
    Sell,
    /// One showtime for all. Its 2,000 seats would be gone in a moment, so each caller has four neighbouring ones to
    /// itself, of which it reserves one to four, cancels, and so on: an answer is a reservation or a cancellation.
    Hot,
    /// Everybody wants the same two seats, and the next two as soon as it was told who has these: exactly one gets them.
    Crowd,
}

/// What to do.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) shape: Shape,
    /// The servers, to share the callers evenly.
    pub(crate) addresses: Vec<String>,
    /// Whether they are bare echoes.
    pub(crate) echo: bool,
    pub(crate) showtimes: Vec<String>,
    /// Seats of each showtime that were asked for before.
    pub(crate) first: usize,
    pub(crate) in_flight: usize,
    pub(crate) seconds: f64,
    /// Where chance begins: another for each load on a database.
    pub(crate) seed: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) outcome: Outcome,
    /// Seats that were asked for in the fullest showtime; of a crowd, how many showtimes it came to.
    pub(crate) next: usize,
}

impl Plan {
    /// Has it done by a process of its own.
    pub(crate) fn run(&self) -> Told {
        wire::instruct("contend", self)
    }
}

/// Does what the plan in this file says, and prints what came of it.
pub(crate) async fn run(file: &str) {
    let plan: Plan = wire::instructions(file);
    let common = Arc::new(Common::new(&plan));
    let lines = connect(&plan.addresses, plan.in_flight).await.into_iter().enumerate();
    let path = |method| if plan.echo { echo::PATH } else { method };
    let asking = lines.map(|(caller, line)| Asking {
        reserve: line.method(path(RESERVE)),
        confirm: line.method(path(CONFIRM)),
        cancel: line.method(path(CANCEL)),
        line,
        caller,
        dice: Dice::new(plan.seed, caller),
        wave: 0,
        held: None,
        common: Arc::clone(&common),
    });
    let outcome = drive(plan.seconds, asking.collect()).await;
    let waves = common.check();
    let next = if plan.shape == Shape::Crowd { (waves * 2).div_ceil(SEATS) } else { common.marks.highest() };
    let told = Told { outcome, next };
    println!("{}", serde_json::to_string(&told).expect("what came of it, as text"));
}

/// What the callers share.
struct Common {
    shape: Shape,
    echo: bool,
    showtimes: Vec<String>,
    marks: Marks,
    /// Of a crowd: how many got the seats of each wave, and how many waves were begun.
    winners: Vec<AtomicU32>,
    waves: AtomicUsize,
}

impl Common {
    fn new(plan: &Plan) -> Self {
        let waves = if plan.shape == Shape::Crowd { plan.showtimes.len() * SEATS / 2 } else { 0 };
        Self {
            shape: plan.shape,
            echo: plan.echo,
            showtimes: plan.showtimes.clone(),
            marks: Marks::new(plan.showtimes.len(), plan.first),
            winners: (0..waves).map(|_| AtomicU32::new(0)).collect(),
            waves: AtomicUsize::new(0),
        }
    }

    /// Of a crowd, exactly one gets what all want. Answers with the number of waves.
    fn check(&self) -> usize {
        let waves = self.waves.load(Ordering::Relaxed);
        for (wave, winners) in self.winners[..waves].iter().enumerate().filter(|_| !self.echo) {
            assert_eq!(winners.load(Ordering::Relaxed), 1, "so many got the seats of wave {wave} of {waves}");
        }
        waves
    }
}

/// One who asks.
struct Asking {
    line: Line,
    reserve: Method,
    confirm: Method,
    cancel: Method,
    caller: usize,
    dice: Dice,
    wave: usize,
    held: Option<String>,
    common: Arc<Common>,
}

impl Caller for Asking {
    async fn call(&mut self) -> Option<Answer> {
        let bytes = match self.common.shape {
            Shape::Reserve | Shape::ReserveUnnamed => self.reserve().await?.len(),
            Shape::Sell => {
                let held = asked::reserved(self.reserve().await?);
                self.settle(&held, true).await
            }
            Shape::Hot => match self.held.take() {
                Some(held) => self.settle(&held, false).await,
                None => self.reserve_mine().await,
            },
            Shape::Crowd => self.compete().await?,
        };
        Some(Answer { bytes, failed: false })
    }

    async fn finish(&mut self) {
        match self.common.shape {
            Shape::Hot => {
                if let Some(held) = self.held.take() {
                    self.settle(&held, false).await;
                }
            }
            // A wave is whole when all have asked.
            Shape::Crowd => {
                while self.wave < self.common.waves.load(Ordering::Relaxed) && self.compete().await.is_some() {}
            }
            Shape::Reserve | Shape::ReserveUnnamed | Shape::Sell => {}
        }
    }
}

impl Asking {
    /// Reserves somewhere, unless all is taken.
    async fn reserve(&mut self) -> Option<Bytes> {
        let count = 1 + self.dice.below(4);
        let houses = self.common.showtimes.len();
        let drawn = self.dice.below(houses);
        let free = |house| Some((house, self.common.marks.take(house, count)?));
        let (house, block) = (drawn..houses).chain(0..drawn).take(50).find_map(free)?;
        Some(self.ask(house, block).await.unwrap_or_else(|status| panic!("{status:?}")))
    }

    async fn reserve_mine(&mut self) -> usize {
        let block = Block { first: self.caller * 4, count: 1 + self.dice.below(4) };
        let answer = self.ask(0, block).await.unwrap_or_else(|status| panic!("{status:?}"));
        let bytes = answer.len();
        self.held = Some(asked::reserved(answer));
        bytes
    }

    /// Asks for the seats of its wave, unless there are no more.
    async fn compete(&mut self) -> Option<usize> {
        let wave = self.wave;
        let block = Block { first: wave * 2 % SEATS, count: 2 };
        let house = wave * 2 / SEATS;
        if house == self.common.showtimes.len() {
            return None;
        }
        self.wave += 1;
        self.common.waves.fetch_max(self.wave, Ordering::Relaxed);
        match self.ask(house, block).await {
            Ok(answer) => {
                self.common.winners[wave].fetch_add(1, Ordering::Relaxed);
                Some(answer.len())
            }
            Err(status) if status.code() == Code::FailedPrecondition => Some(size(&status)),
            Err(status) => panic!("{status:?}"),
        }
    }

    async fn ask(&mut self, house: usize, block: Block) -> Result<Bytes, Status> {
        debug_assert!(block.first % PLACES + block.count <= PLACES, "one row");
        let request_id = (self.common.shape != Shape::ReserveUnnamed).then(|| self.dice.uuid());
        let customer = asked::customer(&mut self.dice);
        let message = asked::reserve(&self.common.showtimes[house], block.seats(), &customer, request_id);
        self.line.unary(&self.reserve, message).await
    }

    /// Confirms or cancels.
    async fn settle(&mut self, held: &str, confirm: bool) -> usize {
        let message = asked::settle(held, Some(self.dice.uuid()));
        let method = if confirm { &self.confirm } else { &self.cancel };
        self.line.unary(method, message).await.unwrap_or_else(|status| panic!("{status:?}")).len()
    }
}

/// Bytes of a refusal: its message, and its details as they travel, in base64.
fn size(status: &Status) -> usize {
    status.message().len() + status.details().len().div_ceil(3) * 4
}

//! Load: many callers that reserve free and taken seats, change each other's reservations, block seats, and repeat requests.

mod choose;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use boxoffice::pb::boxoffice::v1::{Auditorium, CreateShowtimeRequest, PriceList, SeatKind, Showtime, Supplement};
use chrono::TimeDelta;
use futures_util::future::join_all;
use sea_orm::DatabaseConnection;
use tokio::sync::watch;

use self::choose::Recent;
use super::{
    fleet::{Fleet, rows, schedule_with},
    history::{History, Operation, Outcome, database_time},
    requests::{euros, two_types},
    server::Setup,
};

/// The time for which a test locks a showtime, by the database's clock.
const LOCK_DURATION: TimeDelta = TimeDelta::milliseconds(40);
/// The number of calls between two such locks.
const CALLS_BETWEEN_LOCKS: usize = 150;

/// Pseudo-random numbers, the same in every run with the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number from 0 to `bound` - 1.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 33).expect("31 bits") % bound
    }
}

/// The requests that callers make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requests {
    All,
    /// Those that the release before knows as well. Showtimes have one price.
    OfTheReleaseBefore,
}

/// Schedules showtimes with long and with short holds, in large auditoriums and in small ones that fill up. The first one has two
/// ticket types, and premium seats on the right.
pub(crate) async fn showtimes(fleet: &Fleet) -> Vec<(Showtime, Auditorium)> {
    showtimes_for(fleet, Requests::All).await
}

/// Schedules showtimes for these requests.
pub(crate) async fn showtimes_for(fleet: &Fleet, requests: Requests) -> Vec<(Showtime, Auditorium)> {
    let mut showtimes = Vec::new();
    for (count, seats, hold) in [(12, 30, 1), (12, 30, 600), (6, 20, 2), (12, 30, 2), (2, 10, 1), (2, 10, 600)] {
        let mut layout = rows(count, seats);
        let price_list = (requests == Requests::All && showtimes.is_empty()).then(prices);
        if price_list.is_some() {
            layout.rows.iter_mut().for_each(|row| row.places.replace_range(22.., "pppppppppp"));
        }
        let with_list = |request: CreateShowtimeRequest| match price_list {
            Some(_) => CreateShowtimeRequest { price: None, price_list, ..request },
            None => request,
        };
        showtimes.push(schedule_with(fleet.channel(0), layout, hold, with_list).await);
    }
    showtimes
}

/// Two ticket types, a supplement for premium seats, a fee and a tax.
fn prices() -> PriceList {
    PriceList {
        supplements: vec![Supplement { kind: SeatKind::Premium.into(), amount: Some(euros(3, 500_000_000)) }],
        fee: Some(euros(0, 750_000_000)),
        tax_basis_points: 2_100,
        ..two_types()
    }
}

/// Options of a server under load. Holds lapse soon, even extended ones.
pub(crate) fn options(setup: Setup) -> Setup {
    setup.with("--hold-extension", "1s").with("--sweep-interval", "500ms")
}

/// Callers, and the showtimes that they reserve seats of.
pub(crate) struct Load {
    fleet: Arc<Fleet>,
    history: Arc<History>,
    showtimes: Vec<(Showtime, Auditorium)>,
    requests: Requests,
    recent: Mutex<Recent>,
    total_calls: usize,
    started: AtomicUsize,
    ended: watch::Sender<usize>,
    paused: watch::Sender<bool>,
}

impl Load {
    /// Prepares calls for these showtimes. The history records the showtimes from now on.
    pub(crate) fn new(fleet: Arc<Fleet>, history: Arc<History>, showtimes: Vec<(Showtime, Auditorium)>) -> Self {
        for (showtime, auditorium) in &showtimes {
            history.record(showtime, auditorium);
        }
        let (recent, started) = (Mutex::default(), AtomicUsize::new(0));
        let (ended, paused) = (watch::Sender::new(0), watch::Sender::new(false));
        let requests = Requests::All;
        Self { fleet, history, showtimes, requests, recent, total_calls: 0, started, ended, paused }
    }

    /// Makes these requests only.
    pub(crate) fn with(self, requests: Requests) -> Self {
        Self { requests, ..self }
    }

    /// Starts this many callers, which make this many calls together. The returned future ends when all callers have.
    pub(crate) fn start(mut self, calls: usize, callers: usize) -> (Arc<Self>, impl Future<Output = ()>) {
        self.total_calls = calls;
        let load = Arc::new(self);
        let tasks: Vec<_> = (0..callers).map(|caller| tokio::spawn(Arc::clone(&load).run_caller(caller))).collect();
        let all = async {
            for task in join_all(tasks).await {
                task.expect("a caller does not panic");
            }
        };
        (load, all)
    }

    /// Waits until this many calls have ended.
    pub(crate) async fn wait_for_calls(&self, calls: usize) {
        let mut ended = self.ended.subscribe();
        ended.wait_for(|ended| *ended >= calls.min(self.total_calls)).await.expect("the sender is here");
    }

    /// Stops callers from starting calls. Calls in flight go on.
    pub(crate) fn pause(&self) {
        self.paused.send_replace(true);
    }

    /// Lets callers start calls again.
    pub(crate) fn resume(&self) {
        self.paused.send_replace(false);
    }

    /// Locks the row of a random showtime every [`CALLS_BETWEEN_LOCKS`] calls, until all calls have ended. A lock lasts until a
    /// server has come to it, however slow the machine is, unless so many calls end without that.
    pub(crate) async fn lock_showtimes(&self, connection: &DatabaseConnection) {
        let mut random = Random::new(u64::MAX);
        loop {
            let calls = *self.ended.borrow();
            if calls >= self.total_calls {
                return;
            }
            let (showtime, _) = &self.showtimes[random.below(self.showtimes.len())];
            let until = database_time(connection).await + LOCK_DURATION;
            let lock = self.history.lock(connection, &showtime.showtime_id).await;
            tokio::select! {
                () = lock.wait_for_waiter() => {}
                () = self.wait_for_calls(calls + CALLS_BETWEEN_LOCKS) => {}
            }
            lock.wait_until_after(until).await;
            lock.release().await;
            self.wait_for_calls(calls + CALLS_BETWEEN_LOCKS).await;
        }
    }

    async fn run_caller(self: Arc<Self>, number: usize) {
        let mut random = Random::new(u64::try_from(number).expect("few callers"));
        let mut last: Option<(usize, Operation)> = None;
        while self.started.fetch_add(1, Ordering::Relaxed) < self.total_calls {
            let (at, operation) = match last.take() {
                Some(repeated) if random.below(20) == 0 => repeated,
                _ => self.choose(&mut random),
            };
            self.paused.subscribe().wait_for(|paused| !paused).await.expect("the sender is here");
            let showtime_id = &self.showtimes[at].0.showtime_id;
            let channel = self.fleet.channel(random.below(100));
            let outcome = self.history.call(channel, showtime_id, operation.clone()).await;
            self.look_at(at, &outcome, &mut random).await;
            self.recent.lock().unwrap_or_else(PoisonError::into_inner).note(at, &operation, outcome);
            last = Some((at, operation));
            self.ended.send_modify(|ended| *ended += 1);
        }
    }
    /// Reads now and then what was just changed. After the answer, every server shows the change at once.
    async fn look_at(&self, at: usize, outcome: &Outcome, random: &mut Random) {
        let showtime_id = &self.showtimes[at].0.showtime_id;
        let read = match outcome {
            Outcome::Changed { reservation, .. } if random.below(4) == 0 => Operation::get(&reservation.reservation_id),
            Outcome::Changed { revision, .. } | Outcome::Blocked { revision, .. } if random.below(8) == 0 => {
                Operation::GetSeatMap { at_least_revision: *revision }
            }
            _ => return,
        };
        self.history.call(self.fleet.channel(random.below(100)), showtime_id, read).await;
    }
}

//! Load: many callers that reserve free and taken seats, change each other's reservations, and repeat requests.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use boxoffice::pb::boxoffice::v1::{Auditorium, CreateShowtimeRequest, Showtime, TicketCount};
use chrono::TimeDelta;
use futures_util::future::join_all;
use sea_orm::DatabaseConnection;
use tokio::sync::watch;

use super::{
    fleet::{Fleet, rows, schedule_with},
    history::{History, Operation, Outcome, database_time},
    requests::two_types,
    server::Setup,
};

/// The number of latest reservations from which callers choose one to change or read.
const MAX_RECENT: usize = 200;
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

/// Schedules showtimes with long and with short holds, in large auditoriums and in small ones that fill up. The first one has two
/// ticket types.
pub(crate) async fn showtimes(fleet: &Fleet) -> Vec<(Showtime, Auditorium)> {
    showtimes_with(fleet, true).await
}

/// The same, with or without the two ticket types.
pub(crate) async fn showtimes_with(fleet: &Fleet, has_types: bool) -> Vec<(Showtime, Auditorium)> {
    let mut showtimes = Vec::new();
    for (count, seats, hold) in [(12, 30, 1), (12, 30, 600), (6, 20, 2), (12, 30, 2), (2, 10, 1), (2, 10, 600)] {
        let price_list = (has_types && showtimes.is_empty()).then(two_types);
        let with_list = |request: CreateShowtimeRequest| match price_list {
            Some(_) => CreateShowtimeRequest { price: None, price_list, ..request },
            None => request,
        };
        showtimes.push(schedule_with(fleet.channel(0), rows(count, seats), hold, with_list).await);
    }
    showtimes
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
    /// The latest reservations, the newest last, each with the index of its showtime.
    recent: Mutex<VecDeque<(usize, String)>>,
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
        Self { fleet, history, showtimes, recent, total_calls: 0, started, ended, paused }
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
            if let Outcome::Changed { reservation, .. } = outcome {
                if random.below(4) == 0 {
                    // After the answer, every server shows the change at once.
                    let get = Operation::get(&reservation.reservation_id);
                    self.history.call(self.fleet.channel(random.below(100)), showtime_id, get).await;
                }
                let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
                recent.push_back((at, reservation.reservation_id));
                if recent.len() > MAX_RECENT {
                    recent.pop_front();
                }
            }
            last = Some((at, operation));
            self.ended.send_modify(|ended| *ended += 1);
        }
    }

    /// Chooses the next operation and the index of its showtime.
    fn choose(&self, random: &mut Random) -> (usize, Operation) {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        // The smaller of two random numbers prefers the newest reservations, so that callers compete for them.
        let back = random.below(recent.len().max(1)).min(random.below(recent.len().max(1)));
        let Some((at, reservation_id)) = recent.iter().rev().nth(back) else { return self.reserve(random) };
        let operation = match random.below(100) {
            0..50 => return self.reserve(random),
            50..56 => Operation::confirm(reservation_id),
            56..62 => Operation::confirm_with(reservation_id, ["cash", "card"][random.below(2)]),
            62..74 => Operation::cancel(reservation_id),
            74..82 => Operation::extend(reservation_id),
            82..92 => Operation::get(reservation_id),
            _ => Operation::GetShowtime,
        };
        (*at, operation)
    }

    fn reserve(&self, random: &mut Random) -> (usize, Operation) {
        let (at, operation) = self.reserve_alike(random);
        let Operation::Reserve(mut request) = operation else { return (at, operation) };
        let count = i32::try_from(request.seats.len()).expect("few seats").max(request.seat_count);
        let children = i32::try_from(random.below(5)).expect("a small number").min(count);
        let has_types = self.showtimes[at].0.price_list.as_ref().is_some_and(|list| list.ticket_types.len() > 1);
        if has_types && children > 0 {
            let counts = [("child", children), ("adult", count - children)];
            let counts = counts.into_iter().filter(|(_, count)| *count > 0);
            request.ticket_types = counts.map(|(code, count)| TicketCount { code: code.to_owned(), count }).collect();
        }
        (at, Operation::Reserve(request))
    }

    /// A request for seats of the first ticket type.
    fn reserve_alike(&self, random: &mut Random) -> (usize, Operation) {
        // More than half of the reservations are for the first showtime.
        let at = random.below(self.showtimes.len()) * random.below(2);
        let (showtime, auditorium) = &self.showtimes[at];
        let count = i32::try_from(random.below(4)).expect("a small number") + 1;
        let customer = format!("customer {}", random.below(60));
        if random.below(6) == 0 {
            return (at, Operation::reserve_best(&showtime.showtime_id, &customer, count));
        }
        let rows = &auditorium.layout.as_ref().expect("a layout").rows;
        let row = &rows[random.below(rows.len())];
        // Every block has ten seats, and the requested seats are always in one block.
        let blocks = row.places.split('_').count();
        let block = i32::try_from(random.below(blocks) * 10).expect("a small number");
        let first = block + i32::try_from(random.below(7)).expect("a small number") + 1;
        (at, Operation::reserve(&showtime.showtime_id, &customer, &row.label, first..=first + count - 1))
    }
}

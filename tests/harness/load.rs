//! Callers who want everything at once: seats, other people's seats, and what they have asked for before.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use boxoffice::pb::boxoffice::v1::{Auditorium, Showtime};
use chrono::TimeDelta;
use futures_util::future::join_all;
use sea_orm::DatabaseConnection;
use tokio::sync::watch;

use super::{
    fleet::{Fleet, rows, schedule},
    history::{Deed, History, Told, clock},
    server::Setup,
};

/// Reservations that everybody knows of, the latest last.
const KNOWN: usize = 200;
/// How long an outsider locks a showtime, by the database's clock.
const LOCKED: TimeDelta = TimeDelta::milliseconds(40);
/// So many calls are made between two such locks.
const BETWEEN_LOCKS: usize = 150;

/// Random numbers, the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 up to, not including, `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 33).expect("31 bits") % sides
    }
}

/// Showtimes for a crowd: long holds and short ones, in houses that fill up and in houses that do not. Most are after the
/// first.
pub(crate) async fn showtimes(fleet: &Fleet) -> Vec<(Showtime, Auditorium)> {
    let mut showtimes = Vec::new();
    for (count, seats, hold) in [(12, 30, 1), (12, 30, 600), (6, 20, 2), (12, 30, 2), (2, 10, 1), (2, 10, 600)] {
        showtimes.push(schedule(fleet.channel(0), rows(count, seats), hold).await);
    }
    showtimes
}

/// Servers for a crowd: holds end soon even if they are prolonged.
pub(crate) fn options(setup: Setup) -> Setup {
    setup.with("--hold-extension", "1s").with("--sweep-interval", "500ms")
}

/// Callers at work on a few showtimes.
pub(crate) struct Load {
    fleet: Arc<Fleet>,
    history: Arc<History>,
    showtimes: Vec<(Showtime, Auditorium)>,
    known: Mutex<VecDeque<(usize, String)>>,
    wanted: usize,
    begun: AtomicUsize,
    done: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Load {
    /// Showtimes to call for. They are watched from now on.
    pub(crate) fn new(fleet: Arc<Fleet>, history: Arc<History>, showtimes: Vec<(Showtime, Auditorium)>) -> Self {
        for (showtime, auditorium) in &showtimes {
            history.watch(showtime, auditorium);
        }
        let (known, begun) = (Mutex::default(), AtomicUsize::new(0));
        let (done, open) = (watch::Sender::new(0), watch::Sender::new(true));
        Self { fleet, history, showtimes, known, wanted: 0, begun, done, open }
    }

    /// Makes so many calls, by so many callers at once. Meanwhile one may wait for [`Load::reached`].
    pub(crate) fn start(mut self, calls: usize, callers: usize) -> (Arc<Self>, impl Future<Output = ()>) {
        self.wanted = calls;
        let load = Arc::new(self);
        let tasks: Vec<_> = (0..callers).map(|caller| tokio::spawn(Arc::clone(&load).caller(caller))).collect();
        let all = async {
            for task in join_all(tasks).await {
                task.expect("a caller does not panic");
            }
        };
        (load, all)
    }

    /// Waits until so many calls have ended.
    pub(crate) async fn reached(&self, calls: usize) {
        let mut done = self.done.subscribe();
        done.wait_for(|done| *done >= calls.min(self.wanted)).await.expect("the sender is here");
    }

    /// Has callers begin nothing new for now, or go on.
    pub(crate) fn open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Locks a showtime from outside every now and then, until all calls have ended.
    pub(crate) async fn interfere(&self, connection: &DatabaseConnection) {
        let mut dice = Dice::new(u64::MAX);
        loop {
            let calls = *self.done.borrow();
            if calls >= self.wanted {
                return;
            }
            let (showtime, _) = &self.showtimes[dice.roll(self.showtimes.len())];
            let until = clock(connection).await + LOCKED;
            let lock = self.history.lock(connection, &showtime.showtime_id).await;
            lock.outlast(until).await;
            lock.release().await;
            self.reached(calls + BETWEEN_LOCKS).await;
        }
    }

    async fn caller(self: Arc<Self>, number: usize) {
        let mut dice = Dice::new(u64::try_from(number).expect("few callers"));
        let mut last: Option<(usize, Deed)> = None;
        while self.begun.fetch_add(1, Ordering::Relaxed) < self.wanted {
            let (at, deed) = match last.take() {
                Some(again) if dice.roll(20) == 0 => again,
                _ => self.choose(&mut dice),
            };
            self.open.subscribe().wait_for(|open| *open).await.expect("the sender is here");
            let showtime_id = &self.showtimes[at].0.showtime_id;
            let told = self.history.call(self.fleet.channel(dice.roll(100)), showtime_id, deed.clone()).await;
            if let Told::Done { reservation, .. } = told {
                if dice.roll(4) == 0 {
                    // Whoever was told anything can see it, at once and anywhere.
                    let read = Deed::read(&reservation.reservation_id);
                    self.history.call(self.fleet.channel(dice.roll(100)), showtime_id, read).await;
                }
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.push_back((at, reservation.reservation_id));
                if known.len() > KNOWN {
                    known.pop_front();
                }
            }
            last = Some((at, deed));
            self.done.send_modify(|done| *done += 1);
        }
    }

    fn choose(&self, dice: &mut Dice) -> (usize, Deed) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Mostly the latest, which others are after, too.
        let back = dice.roll(known.len().max(1)).min(dice.roll(known.len().max(1)));
        let Some((at, reservation_id)) = known.iter().rev().nth(back) else { return self.reserve(dice) };
        let deed = match dice.roll(100) {
            0..50 => return self.reserve(dice),
            50..56 => Deed::confirm(reservation_id),
            56..62 => Deed::confirm_by(reservation_id, ["cash", "card"][dice.roll(2)]),
            62..74 => Deed::cancel(reservation_id),
            74..82 => Deed::extend(reservation_id),
            82..92 => Deed::read(reservation_id),
            _ => Deed::Look,
        };
        (*at, deed)
    }

    fn reserve(&self, dice: &mut Dice) -> (usize, Deed) {
        // Half of all for the first showtime.
        let at = dice.roll(self.showtimes.len()) * dice.roll(2);
        let (showtime, auditorium) = &self.showtimes[at];
        let count = i32::try_from(dice.roll(4)).expect("a small number") + 1;
        let customer = format!("customer {}", dice.roll(60));
        if dice.roll(6) == 0 {
            return (at, Deed::best(&showtime.showtime_id, &customer, count));
        }
        let rows = &auditorium.layout.as_ref().expect("a layout").rows;
        let row = &rows[dice.roll(rows.len())];
        // From aisle to aisle there are ten seats: nobody asks for a block that is broken.
        let blocks = row.places.split('_').count();
        let block = i32::try_from(dice.roll(blocks) * 10).expect("a small number");
        let first = block + i32::try_from(dice.roll(7)).expect("a small number") + 1;
        (at, Deed::reserve(&showtime.showtime_id, &customer, &row.label, first..=first + count - 1))
    }
}

//! Load on one or several instances with a watcher at each. Watchers and seat maps must show the same at every revision.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use boxoffice::{
    clock::Clock,
    pb::boxoffice::v1::{Reservation, ReservationState, Seat, SeatState, Showtime, WatchSeatMapResponse},
};
use futures_util::future::join_all;
use tonic::Streaming;

use super::{
    Server, in_hours,
    seats::{best, cancel, confirm, extend, name, names, reserve, showtime_with},
    staff::{block, exchange, release, unblock},
    watching::{Copy, States, map, states, watch},
};

/// Enough seats for every caller of every round.
const ROWS: [(&str, &str); 6] = [
    ("A", "ssssssssssssssssssss"),
    ("B", "ssssssssssssssssssss"),
    ("C", "ssssssssssssssssssss"),
    ("D", "ssssssssssssssssssss"),
    ("E", "ssssssssssssssssssss"),
    ("F", "ssssssssssssssssssss"),
];
/// The time within which every watcher has every change, whatever failed before.
const CONVERGES_WITHIN: Duration = Duration::from_secs(2);

/// Instances on one database, with a watcher at each.
pub(crate) struct Convergence<'a> {
    servers: Vec<&'a Server>,
    pub(crate) showtime: Showtime,
    pub(crate) watching: Vec<(Copy, Streaming<WatchSeatMapResponse>)>,
    /// The seats at each revision, as the first map or watcher showed them.
    states: BTreeMap<i64, States>,
    /// Revisions at which a map was read under load.
    read: BTreeSet<i64>,
    /// Revisions that a watcher has had.
    watched: BTreeSet<i64>,
    /// The state of each seat by the answer with the highest revision.
    answered: BTreeMap<String, (i64, SeatState)>,
    /// The highest revision in any answer.
    last: i64,
    /// The seed of the next round.
    seed: u64,
}

impl<'a> Convergence<'a> {
    pub(crate) async fn start(servers: Vec<&'a Server>) -> Self {
        let seed = Clock::System.new_id().as_u64_pair().1;
        // The output of a test that fails is shown.
        println!("the first seed is {seed}");
        let showtime = showtime_with(servers[0], &ROWS, in_hours(0), |request| request).await;
        let watching = join_all(servers.iter().map(|server| start_watching(server, &showtime))).await;
        Self {
            servers,
            showtime,
            watching,
            states: BTreeMap::new(),
            read: BTreeSet::new(),
            watched: BTreeSet::new(),
            answered: BTreeMap::new(),
            last: 1,
            seed,
        }
    }

    /// Lets callers reserve one after the other, and change their reservations. After each change every watcher must have exactly
    /// that revision.
    pub(crate) async fn change_in_turn(&mut self, at: &[usize], callers: usize) {
        self.seed = self.seed.wrapping_add(1);
        for caller in 0..callers {
            let server = self.servers[at[caller % at.len()]];
            let customer = Customer::new(self.seed, caller);
            let held = customer.reserve(server, &self.showtime).await;
            self.converge_at(&[Shown::of(&held)]).await;
            let changed = customer.change(server, &self.showtime, &held).await;
            self.converge_at(&changed).await;
        }
    }

    async fn converge_at(&mut self, changed: &[Shown]) {
        for shown in changed {
            self.note_answer(shown);
        }
        self.converge().await;
        assert!(
            self.watching.iter().all(|(copy, _)| copy.revision == self.last),
            "a watcher has a revision that no caller made"
        );
    }

    /// Lets callers reserve at once at these instances, and change their reservations. Meanwhile maps are read from the same
    /// instances.
    pub(crate) async fn change(&mut self, at: &[usize], callers: usize) {
        self.seed = self.seed.wrapping_add(1);
        let servers: Vec<_> = at.iter().map(|at| self.servers[*at]).collect();
        let seed = self.seed;
        let (showtime, load_ended) = (&self.showtime, AtomicBool::new(false));
        let load = async {
            let calls = join_all((0..callers).map(async |caller| {
                let (server, customer) = (servers[caller % servers.len()], Customer::new(seed, caller));
                let held = customer.reserve(server, showtime).await;
                let changed = customer.change(server, showtime, &held).await;
                [vec![Shown::of(&held)], changed].concat()
            }));
            let changed = calls.await;
            load_ended.store(true, Ordering::SeqCst);
            changed
        };
        let read = servers.iter().map(async |server| {
            let mut maps = Vec::new();
            while !load_ended.load(Ordering::SeqCst) {
                maps.push(map(&mut server.showtimes(), &showtime.showtime_id, 0).await);
            }
            maps
        });
        let (changed, maps) = tokio::join!(load, join_all(read));
        for shown in changed.iter().flatten() {
            self.note_answer(shown);
        }
        for map in maps.into_iter().flatten() {
            self.read.insert(map.revision);
            self.compare(map.revision, states(&map));
        }
    }

    /// Waits until every watcher has the last revision, and compares what all of them and the maps have shown.
    pub(crate) async fn converge(&mut self) {
        let last = self.last;
        let arrive = self.watching.iter_mut().map(async |(copy, watching)| {
            let mut seen = vec![(copy.revision, copy.states.clone())];
            while copy.revision < last {
                copy.read(watching).await;
                seen.push((copy.revision, copy.states.clone()));
            }
            seen
        });
        let arrived =
            tokio::time::timeout(CONVERGES_WITHIN, join_all(arrive)).await.expect("every watcher has every change");
        // The first state is the one from before.
        self.watched.extend(arrived.iter().flat_map(|seen| &seen[1..]).map(|(revision, _)| *revision));
        let mut seen: Vec<_> = arrived.into_iter().flatten().collect();
        for server in &self.servers {
            let map = map(&mut server.showtimes(), &self.showtime.showtime_id, self.last).await;
            let states = states(&map);
            for (seat, shown) in &states {
                let answered = self.answered.get(seat).map_or(SeatState::Free, |(_, state)| *state);
                assert_eq!(*shown, answered, "{seat} differs from the answers at revision {}", map.revision);
            }
            seen.push((map.revision, states));
        }
        for (revision, states) in seen {
            self.compare(revision, states);
        }
    }

    /// The number of revisions at which a map that was read under load was compared with a watcher's copy.
    pub(crate) fn compared(&self) -> usize {
        self.read.intersection(&self.watched).count()
    }

    /// Notes the state of seats by an answer.
    fn note_answer(&mut self, Shown { revision, seats, state }: &Shown) {
        for seat in seats {
            let latest = self.answered.entry(name(seat)).or_insert((*revision, *state));
            if latest.0 < *revision {
                *latest = (*revision, *state);
            }
        }
        self.last = self.last.max(*revision);
    }

    /// Compares the seats at a revision with what was shown at it before.
    fn compare(&mut self, revision: i64, states: States) {
        match self.states.entry(revision) {
            Entry::Vacant(first) => drop(first.insert(states)),
            Entry::Occupied(before) => assert_eq!(*before.get(), states, "at revision {revision}"),
        }
    }
}

async fn start_watching(server: &Server, showtime: &Showtime) -> (Copy, Streaming<WatchSeatMapResponse>) {
    let mut watching = watch(&server.showtimes(), &showtime.showtime_id, 0, "").await.expect("the showtime exists");
    (Copy::begin(&mut watching).await, watching)
}

/// A customer that chooses at random.
struct Customer {
    name: String,
    random: u64,
}

impl Customer {
    fn new(seed: u64, caller: usize) -> Self {
        let mut hasher = DefaultHasher::new();
        (seed, caller).hash(&mut hasher);
        Self { name: format!("caller {caller} of {seed}"), random: hasher.finish() }
    }

    async fn reserve(&self, server: &Server, showtime: &Showtime) -> Reservation {
        let request = best(showtime, &self.name, 1 + (self.random % 2) as i32);
        reserve(server, request).await.expect("there are enough seats")
    }

    /// Confirms, extends or cancels the reservation, gives back the seats of the sale, exchanges them, or has them blocked for a while.
    async fn change(&self, server: &Server, showtime: &Showtime, held: &Reservation) -> Vec<Shown> {
        let free = |revision| Shown { revision, seats: held.seats.clone(), state: SeatState::Free };
        match self.random / 2 % 8 {
            0 => vec![Shown::of(&confirm(server, held).await.expect("the seats are held"))],
            1 => vec![Shown::of(&extend(server, held).await.expect("the seats are held"))],
            2 => {
                confirm(server, held).await.expect("the seats are held");
                vec![free(release(server, held, "").await.expect("the seats are sold").revision)]
            }
            3 => match exchange(server, held, &neighbours(&held.seats)).await {
                Ok(moved) => {
                    let cancelled = cancel(server, held).await.expect("the seats are held");
                    vec![free(moved.revision), Shown::of(&moved), Shown::of(&cancelled)]
                }
                // Somebody else has them.
                Err(_) => vec![Shown::of(&cancel(server, held).await.expect("the seats are held"))],
            },
            4 => {
                let cancelled = Shown::of(&cancel(server, held).await.expect("the seats are held"));
                let names = names(&held.seats);
                let Ok(blocked) = block(server, showtime, &names).await else { return vec![cancelled] };
                let unblocked = unblock(server, showtime, &names).await.expect("the seats are blocked");
                let state = SeatState::Blocked;
                vec![
                    cancelled,
                    Shown { revision: blocked.revision, seats: blocked.seats, state },
                    free(unblocked.revision),
                ]
            }
            _ => vec![Shown::of(&cancel(server, held).await.expect("the seats are held"))],
        }
    }
}

/// The seats right of these, or left of them at the end of a row.
fn neighbours(seats: &[Seat]) -> String {
    let count = i32::try_from(seats.len()).expect("few seats");
    let step = if seats[0].number + 2 * count <= 21 { count } else { -count };
    let beside = seats.iter().map(|seat| Seat { number: seat.number + step, ..seat.clone() });
    names(&beside.collect::<Vec<_>>())
}

/// The state of seats by an answer.
#[derive(Clone, Debug)]
struct Shown {
    revision: i64,
    seats: Vec<Seat>,
    state: SeatState,
}

impl Shown {
    fn of(reservation: &Reservation) -> Self {
        let state = match reservation.state() {
            ReservationState::Held | ReservationState::Paying => SeatState::Held,
            ReservationState::Confirmed => SeatState::Sold,
            _ => SeatState::Free,
        };
        Self { revision: reservation.revision, seats: reservation.seats.clone(), state }
    }
}

//! A crowd at one or several instances, watchers at each, and maps read meanwhile: all of them must see the same.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use boxoffice::{
    clock::Clock,
    pb::boxoffice::v1::{Reservation, ReservationState, SeatState, Showtime, WatchSeatMapResponse},
};
use futures_util::future::join_all;
use tonic::Streaming;

use super::{
    Server, in_hours,
    seats::{best, cancel, confirm, extend, name, reserve, showtime_with},
    watching::{Seen, States, map, states, watch},
};

/// Room for everybody in every act.
const HOUSE: [(&str, &str); 6] = [
    ("A", "ssssssssssssssssssss"),
    ("B", "ssssssssssssssssssss"),
    ("C", "ssssssssssssssssssss"),
    ("D", "ssssssssssssssssssss"),
    ("E", "ssssssssssssssssssss"),
    ("F", "ssssssssssssssssssss"),
];
/// In which everybody is to know everything, whatever failed before.
const CONVERGED: Duration = Duration::from_secs(2);

/// Instances on one database, and somebody who watches at each.
pub(crate) struct Stage<'a> {
    servers: Vec<&'a Server>,
    pub(crate) showtime: Showtime,
    pub(crate) watching: Vec<(Seen, Streaming<WatchSeatMapResponse>)>,
    /// What the watchers saw at each revision, and what maps showed.
    seen: BTreeMap<i64, States>,
    /// Revisions at which a map was read during an act, and those that somebody heard of who watches.
    shown: BTreeSet<i64>,
    heard: BTreeSet<i64>,
    /// How each seat stands that anybody was told about, by the answer with the highest revision.
    answered: BTreeMap<String, (i64, SeatState)>,
    last: i64,
    /// Where chance begins in the next act.
    seed: u64,
}

impl<'a> Stage<'a> {
    pub(crate) async fn set(servers: Vec<&'a Server>) -> Self {
        let seed = Clock::System.new_id().as_u64_pair().1;
        // It is shown if this goes wrong.
        println!("chance begins at {seed}");
        let showtime = showtime_with(servers[0], &HOUSE, in_hours(0), |request| request).await;
        let watching = join_all(servers.iter().map(|server| begin(server, &showtime))).await;
        Self {
            servers,
            showtime,
            watching,
            seen: BTreeMap::new(),
            shown: BTreeSet::new(),
            heard: BTreeSet::new(),
            answered: BTreeMap::new(),
            last: 1,
            seed,
        }
    }

    /// So many reserve one after the other, and do something with what they have. After each change everybody arrives at just
    /// that revision.
    pub(crate) async fn act_in_turn(&mut self, at: &[usize], crowd: usize) {
        self.seed = self.seed.wrapping_add(1);
        for caller in 0..crowd {
            let server = self.servers[at[caller % at.len()]];
            let customer = Customer::new(self.seed, caller);
            let held = customer.begin(server, &self.showtime).await;
            self.arrive_at(&held).await;
            self.arrive_at(&customer.go_on(server, &held).await).await;
        }
    }

    async fn arrive_at(&mut self, changed: &Reservation) {
        self.hear(changed);
        self.converge().await;
        assert!(self.watching.iter().all(|(seen, _)| seen.revision == changed.revision), "nobody else does anything");
    }

    /// A crowd reserves, sells, prolongs and gives up at these instances. Meanwhile maps are read at these, too.
    pub(crate) async fn act(&mut self, at: &[usize], crowd: usize) {
        self.seed = self.seed.wrapping_add(1);
        let servers: Vec<_> = at.iter().map(|at| self.servers[*at]).collect();
        let seed = self.seed;
        let (showtime, over) = (&self.showtime, AtomicBool::new(false));
        let load = async {
            let done = join_all((0..crowd).map(async |caller| {
                let (server, customer) = (servers[caller % servers.len()], Customer::new(seed, caller));
                let held = customer.begin(server, showtime).await;
                customer.go_on(server, &held).await
            }));
            let done = done.await;
            over.store(true, Ordering::SeqCst);
            done
        };
        let read = servers.iter().map(async |server| {
            let mut maps = Vec::new();
            while !over.load(Ordering::SeqCst) {
                maps.push(map(&mut server.showtimes(), &showtime.showtime_id, 0).await);
            }
            maps
        });
        let (done, maps) = tokio::join!(load, join_all(read));
        for reservation in &done {
            self.hear(reservation);
        }
        for map in maps.into_iter().flatten() {
            self.shown.insert(map.revision);
            self.note(map.revision, states(&map));
        }
    }

    /// Every watcher arrives at what there is, and saw on its way what maps showed.
    pub(crate) async fn converge(&mut self) {
        let last = self.last;
        let arrive = self.watching.iter_mut().map(async |(seen, watching)| {
            let mut noted = vec![(seen.revision, seen.states.clone())];
            while seen.revision < last {
                seen.read(watching).await;
                noted.push((seen.revision, seen.states.clone()));
            }
            noted
        });
        let arrived = tokio::time::timeout(CONVERGED, join_all(arrive)).await.expect("everybody knows everything");
        // Where somebody was before is nothing that was heard now.
        self.heard.extend(arrived.iter().flat_map(|noted| &noted[1..]).map(|(revision, _)| *revision));
        let mut noted: Vec<_> = arrived.into_iter().flatten().collect();
        for server in &self.servers {
            let map = map(&mut server.showtimes(), &self.showtime.showtime_id, self.last).await;
            let states = states(&map);
            for (seat, shown) in &states {
                let answered = self.answered.get(seat).map_or(SeatState::Free, |(_, state)| *state);
                assert_eq!(*shown, answered, "{seat} is not as was answered, at revision {}", map.revision);
            }
            noted.push((map.revision, states));
        }
        for (revision, states) in noted {
            self.note(revision, states);
        }
    }

    /// At how many revisions a map was held against what watchers had heard, while all this went on.
    pub(crate) fn met(&self) -> usize {
        self.shown.intersection(&self.heard).count()
    }

    /// What somebody was told last about a reservation.
    fn hear(&mut self, reservation: &Reservation) {
        let state = match reservation.state() {
            ReservationState::Held => SeatState::Held,
            ReservationState::Confirmed => SeatState::Sold,
            _ => SeatState::Free,
        };
        let revision = reservation.revision;
        for seat in &reservation.seats {
            let latest = self.answered.entry(name(seat)).or_insert((revision, state));
            if latest.0 < revision {
                *latest = (revision, state);
            }
        }
        self.last = self.last.max(revision);
    }

    /// At one revision everybody sees the same.
    fn note(&mut self, revision: i64, states: States) {
        match self.seen.entry(revision) {
            Entry::Vacant(first) => drop(first.insert(states)),
            Entry::Occupied(before) => assert_eq!(*before.get(), states, "at revision {revision}"),
        }
    }
}

async fn begin(server: &Server, showtime: &Showtime) -> (Seen, Streaming<WatchSeatMapResponse>) {
    let mut watching = watch(&server.showtimes(), &showtime.showtime_id, 0, "").await.expect("it is there");
    (Seen::begin(&mut watching).await, watching)
}

/// Who wants what it wants by chance.
struct Customer {
    name: String,
    dice: u64,
}

impl Customer {
    fn new(seed: u64, caller: usize) -> Self {
        let mut dice = DefaultHasher::new();
        (seed, caller).hash(&mut dice);
        Self { name: format!("caller {caller} of {seed}"), dice: dice.finish() }
    }

    async fn begin(&self, server: &Server, showtime: &Showtime) -> Reservation {
        let mine = best(showtime, &self.name, 1 + (self.dice % 2) as i32);
        reserve(server, mine).await.expect("there is room")
    }

    /// Answers with what it was told last.
    async fn go_on(&self, server: &Server, held: &Reservation) -> Reservation {
        let after = match self.dice / 2 % 4 {
            0 => confirm(server, held).await,
            1 | 2 => cancel(server, held).await,
            _ => extend(server, held).await,
        };
        after.expect("it is held")
    }
}

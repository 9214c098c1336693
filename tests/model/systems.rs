//! The systems that are compared with the model: the rules alone, and the ledger on each store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use boxoffice::{
    clock::{Clock, ManualClock},
    domain::{
        ids::{AuditoriumId, PurchaseId, RequestId, ReservationId, ShowtimeId},
        reservation::{Record, Reservation, Sale, State},
        seat_index::{BadChoice, SeatIndex},
        seating::{Command, Decision, Refusal, Seating, ShowtimePlan},
        showtime::{self, NewShowtime, Standing},
        violations::Violations,
    },
    ledger::{self, Ledger, Outcome, Reply, Request, TimeSource},
    store::{self, AuditoriumCreated, Database, RequestKey, Schedule, ShowtimeScheduled, Store},
};
use chrono::{DateTime, Utc};
use proptest::sample::Index;
use uuid::Uuid;

use super::turns::{Progress, Scenario, Turn, opening};
use crate::harness::{model::Answer, world::Storage};

/// Returns the refusal without the violations of an invalid choice, of which the model knows only the kind.
fn without_violations(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::BadChoice(bad) => Refusal::BadChoice(BadChoice { violations: Violations::new(), ..bad }),
        other => other,
    }
}

/// Returns the number of seats that no recorded hold and no sale has.
fn unclaimed(progress: &Progress) -> i32 {
    let claims = progress.model.reservations().iter().filter(|it| match it.state {
        State::Held | State::Paying(_) | State::Confirmed(_) => true,
        State::Cancelled { .. } | State::Expired => false,
    });
    let claimed: usize = claims.map(|it| Reservation::restore(it.clone()).seats().count()).sum();
    i32::from(progress.model.seat_count()) - (claimed + progress.model.blocked().len()) as i32
}

/// `domain::seating` without a store.
pub(super) struct InMemory {
    scenario: Scenario,
    seating: Seating,
}

impl InMemory {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let seat_index = Arc::new(SeatIndex::new(&scenario.auditorium.layout));
        let plan = Arc::new(ShowtimePlan { facts: Arc::new(scenario.facts.clone()), seat_index });
        let seating = Seating::new(plan, showtime::State::Scheduled, 1, opening(), [], []);
        Self { scenario: scenario.clone(), seating }
    }

    pub(super) fn take(&mut self, turn: &Turn) -> Answer {
        let seating = &mut self.seating;
        let now = seating.moment(&turn.command, turn.clock);
        let decision = seating.decide(&turn.command, &self.scenario.rules, now);
        let revision = match &decision {
            Ok(Decision { changes, reservation: Some(reservation) }) if changes.is_empty() => reservation.revision(),
            _ => seating.revision(),
        };
        match decision {
            Ok(Decision { changes, reservation }) => {
                let outcome = Ok(reservation.map(|reservation| (*reservation).clone()));
                if turn.validate_only {
                    return Answer { revision: seating.revision(), now, outcome };
                }
                seating.apply(&changes, now);
                Answer { revision: if changes.is_empty() { revision } else { seating.revision() }, now, outcome }
            }
            Err(refusal) => Answer { revision, now, outcome: Err(without_violations(refusal)) },
        }
    }

    /// Checks that the seating agrees with the model.
    pub(super) fn check(&self, progress: &Progress) {
        let model = &progress.model;
        assert_eq!(self.seating.unclaimed_count(), unclaimed(progress));
        let held = model.reservations().iter().filter(|it| it.state == State::Held);
        assert_eq!(self.seating.next_lapse(), held.map(|it| it.expire_time).min());
        for record in model.reservations() {
            let found = self.seating.reservation(record.reservation_id).map(|it| (**it).clone());
            assert_eq!(found, Some(Reservation::restore(record.clone())));
        }
    }
}

/// A database on which many showtimes are sold, one after the other.
pub(super) struct Stores {
    stores: Vec<Store>,
    /// The database is dropped after the stores.
    _storage: Storage,
}

impl Stores {
    /// Opens one database for this many instances.
    pub(super) async fn open(storage: Storage, instances: usize) -> Self {
        let database = if storage.is_postgres() {
            Database::Postgres(storage.database().url())
        } else {
            Database::Sqlite(storage.folder().join("model.db"))
        };
        let options = store::Options {
            database,
            connections: 4,
            timeout: Duration::from_secs(20),
            migrate: true,
            cached_showtimes: 100,
        };
        let mut stores = Vec::new();
        for _ in 0..instances {
            stores.push(Store::open(&options).await.expect("the store opens"));
        }
        Self { stores, _storage: storage }
    }
}

/// The ledgers of several instances, which take turns on one showtime.
pub(super) struct OnStores<'a> {
    stores: &'a [Store],
    ledgers: Vec<Ledger>,
    clock: ManualClock,
    showtime_id: ShowtimeId,
    scenario: Scenario,
    /// The number of the showtime in this process. It is part of the ids in the database, which the model does not know.
    run: u128,
    /// Requests that had an effect, and their answers.
    log: Vec<(Request, Answer)>,
    request_count: usize,
}

static RUNS: AtomicU64 = AtomicU64::new(1);

impl<'a> OnStores<'a> {
    pub(super) async fn new(Stores { stores, .. }: &'a Stores, scenario: &Scenario) -> Self {
        let run = u128::from(RUNS.fetch_add(1, Ordering::Relaxed));
        let showtime_id = schedule(&stores[0], run, scenario).await;
        let clock = ManualClock::new(opening());
        let rules = scenario.rules.clone();
        let options = ledger::Options {
            rules,
            writers: 1,
            memory: 1 << 24,
            watchers: ledger::WatchQuota { total: 1, per_caller: 1 },
            delta_channel: None,
        };
        let time = || TimeSource::Given(Clock::Manual(clock.clone()));
        let ledgers = stores.iter().map(|store| Ledger::start(store.clone(), time(), &options)).collect();
        Self { stores, ledgers, clock, showtime_id, scenario: scenario.clone(), run, log: Vec::new(), request_count: 0 }
    }

    pub(super) async fn take(&mut self, turn: &Turn, progress: &Progress) -> Answer {
        // An instance does not know the time of another's decision that changed nothing.
        let now = progress.model.latest();
        self.set_clock(if self.ledgers.len() > 1 { now } else { turn.clock });
        if let Some(index) = turn.repeated {
            self.repeat(index).await;
        }
        let key = RequestKey {
            caller: "model".to_owned(),
            method: "Test",
            request_id: RequestId(Uuid::from_u128(self.run << 64 | self.request_count as u128)),
            fingerprint: [7; 32],
        };
        let command = self.with_database_ids(&turn.command);
        let validate_only = turn.validate_only;
        let request = Request { key: Some(key), validate_only, ..Request::new(self.showtime_id, command) };
        let before = self.last_revision();
        let (answer, replayed) = self.answer(&request).await;
        assert!(!replayed, "{request:?}");
        if !validate_only && answer.outcome.is_ok() && answer.revision > before {
            self.log.push((request, answer.clone()));
        }
        answer
    }

    fn last_revision(&self) -> i64 {
        self.log.last().map_or(1, |(_, answer)| answer.revision)
    }

    /// Repeats a request. The repetition must have no effect and get the first answer.
    async fn repeat(&mut self, index: Index) {
        if self.log.is_empty() {
            return;
        }
        let (request, first) = index.get(&self.log).clone();
        let (again, replayed) = self.answer(&request).await;
        assert!(replayed, "{request:?}");
        assert_eq!((again.revision, again.outcome), (first.revision, first.outcome), "{request:?}");
        let other = RequestKey { fingerprint: [8; 32], ..request.key.clone().expect("it has a key") };
        let reply = self.submit(&Request { key: Some(other), ..request }).await;
        assert!(matches!(reply.outcome, Outcome::RequestReused), "{reply:?}");
    }

    async fn submit(&mut self, request: &Request) -> Reply {
        self.request_count += 1;
        let ledger = &self.ledgers[self.request_count % self.ledgers.len()];
        ledger.submit(request.clone()).await.expect("the ledger answers").expect("there is such a showtime")
    }

    /// Sends a request. Returns the answer with the model's ids, and whether it is the answer of an earlier request.
    async fn answer(&mut self, request: &Request) -> (Answer, bool) {
        let Reply { revision, now, outcome, .. } = self.submit(request).await;
        let (outcome, replayed) = match outcome {
            Outcome::Done(reservation) => (Ok(reservation), false),
            Outcome::Repeated(reservation) => (Ok(reservation), true),
            Outcome::Refused(refusal) => (Err(without_violations((*refusal).clone())), false),
            Outcome::RequestReused => panic!("{request:?} was taken for another request"),
        };
        let outcome = outcome.map(|reservation| reservation.map(|reservation| self.with_model_ids(&reservation)));
        (Answer { revision, now, outcome }, replayed)
    }

    /// Records the holds that have lapsed.
    pub(super) async fn sweep(&self, clock: DateTime<Utc>) {
        self.set_clock(clock);
        self.ledgers[0].sweep().await.expect("the store sweeps");
    }

    /// Checks that the database agrees with the model.
    pub(super) async fn check(&self, progress: &Progress) {
        let store = &self.stores[0];
        let showtime = store.showtime(self.showtime_id).await.expect("the store reads").expect("it is there");
        let state = showtime.standing.state;
        let Standing { available_count, revision, .. } = showtime.standing;
        let counts = (unclaimed(progress), progress.model.revision());
        assert_eq!((available_count, revision), counts, "the database has other counts than the model");
        assert_eq!(state, progress.model.state());
        let blocked = store.blocked_seats(self.showtime_id).await.expect("the store reads").expect("it is there");
        let mut blocked: Vec<_> = blocked.blocked.into_iter().flat_map(|one| one.seats).collect();
        blocked.sort_unstable();
        let mut expected = progress.model.blocked().to_vec();
        expected.sort_unstable();
        assert_eq!(blocked, expected);
        for reservation in progress.model.reservations() {
            let id = self.database_id(reservation.reservation_id);
            let found = store.reservation(id, progress.clock).await.expect("the store reads").expect("it is there");
            assert_eq!(self.with_model_ids(&found.reservation), Reservation::restore(reservation.clone()));
        }
    }

    fn set_clock(&self, to: DateTime<Utc>) {
        self.clock.advance(to - Clock::Manual(self.clock.clone()).now());
    }

    fn database_id(&self, id: ReservationId) -> ReservationId {
        ReservationId(Uuid::from_u128(self.run << 64 | id.0.as_u128()))
    }

    /// Returns the reservation with the model's ids.
    fn with_model_ids(&self, reservation: &Reservation) -> Reservation {
        let id = reservation.reservation_id.0.as_u128();
        assert_eq!(
            (reservation.showtime_id, id >> 64),
            (self.showtime_id, self.run),
            "of another showtime: {reservation:?}"
        );
        let reservation_id = ReservationId(Uuid::from_u128(id & u128::from(u64::MAX)));
        // A sale at a till is a purchase that has the id of the reservation.
        let sale = |sale: &Sale| {
            let at_till = sale.purchase_id == Some(PurchaseId::at_till(reservation.reservation_id));
            let purchase_id = if at_till { Some(PurchaseId::at_till(reservation_id)) } else { sale.purchase_id };
            Sale { purchase_id, ..sale.clone() }
        };
        let state = match reservation.state() {
            State::Confirmed(sold) => State::Confirmed(sale(sold)),
            State::Cancelled { at, sale: Some(sold) } => State::Cancelled { at: *at, sale: Some(sale(sold)) },
            state => state.clone(),
        };
        let is_paying = matches!(state, State::Paying(_));
        Reservation::restore(Record {
            reservation_id,
            showtime_id: self.scenario.facts.showtime_id,
            customer_id: reservation.customer_id.clone(),
            first_block: reservation.first_block,
            currency: reservation.currency,
            first_lines: reservation.first_lines.clone(),
            amendment: reservation.amendment().cloned(),
            create_time: reservation.create_time,
            first_expire_time: reservation.first_expire_time,
            expire_time: reservation.expire_time(),
            state,
            payment: reservation.payment().filter(|_| !is_paying),
            refund_due: reservation.refund_due().cloned(),
            first_revision: reservation.first_revision,
            revision: reservation.revision(),
        })
    }

    /// Returns the command with the database's ids.
    fn with_database_ids(&self, command: &Command) -> Command {
        let mut command = command.clone();
        match &mut command {
            Command::Reserve { reservation_id, .. }
            | Command::Pay { reservation_id, .. }
            | Command::StopPayment { reservation_id, .. }
            | Command::Confirm { reservation_id, .. }
            | Command::Cancel { reservation_id, .. }
            | Command::Extend { reservation_id, .. }
            | Command::Release { reservation_id, .. }
            | Command::Exchange { reservation_id, .. } => *reservation_id = self.database_id(*reservation_id),
            Command::Block { .. } | Command::Unblock { .. } | Command::Expire | Command::CancelShowtime { .. } => {}
        }
        command
    }
}

/// Schedules a showtime in an auditorium of its own.
async fn schedule(store: &Store, run: u128, Scenario { auditorium, facts, .. }: &Scenario) -> ShowtimeId {
    let auditorium_id = AuditoriumId(Uuid::from_u128(run));
    let created = store.create_auditorium(auditorium_id, auditorium, None, opening()).await;
    assert!(matches!(created, Ok(AuditoriumCreated::Created(_))), "an auditorium");
    let new = NewShowtime {
        movie_id: facts.movie.value.movie_id.clone(),
        auditorium_id,
        start_time: facts.start_time,
        duration: (facts.end_time - facts.start_time).to_std().expect("a span"),
        prices: facts.prices.clone(),
        hold_duration: Some(facts.hold_duration),
    };
    let schedule = Schedule {
        showtime_id: ShowtimeId(Uuid::from_u128(run << 64)),
        new: &new,
        movie: &facts.movie,
        slot: new.slot(Duration::ZERO),
        hold_duration: facts.hold_duration,
        now: opening(),
        trace: None,
    };
    match store.schedule(&schedule, None).await {
        Ok(ShowtimeScheduled::Scheduled(showtime)) => showtime.facts.showtime_id,
        _ => panic!("a showtime"),
    }
}

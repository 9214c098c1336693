//! Rows of other tables commit together with a change of the ledger, or not at all. The tests use rows of the table `settings`.

use std::{sync::Arc, time::Duration};

use boxoffice::{
    clock::Clock,
    domain::{
        ids::{RequestId, ReservationId, ShowtimeId},
        reservation::{CustomerId, Reservation},
        seat_index::{RowLabel, SeatName},
        seating::{AccessibleSeats, Choice, Command, OrphanRule, Rules, Seating, ShowtimePlan, Wish},
        showtime,
    },
    ledger::{self, Ledger, Outcome, Request, TimeSource},
    store::{
        self, Companion, Database, Error, LedgerConnection, LedgerWrites, LockWait, LockedShowtimes, RequestKey,
        ShowtimeAdvance, Store,
    },
};
use sea_orm::sea_query::{Expr, ExprTrait as _, Query};

use crate::harness::{World, create_auditorium, in_hours, new_showtime};

on_both_stores!(
    a_change_and_its_companions_commit_together,
    a_companion_that_fails_undoes_the_change,
    a_change_that_fails_undoes_its_companions,
    a_reservation_by_itself_takes_its_companions_along,
    the_ledger_writes_the_companions_of_accepted_changes_only,
    a_companion_that_fails_fails_its_request_only,
);

async fn a_change_and_its_companions_commit_together(world: World) {
    let fixture = Box::pin(Fixture::new(world)).await;
    fixture.commit(fixture.step(1), vec![insert("a"), update("a"), insert("b")]).await.expect("nothing conflicts");
    assert_eq!(fixture.revision().await, 2);
    assert_eq!(fixture.settings(["a", "b"]).await, [Some(vec![2]), Some(vec![1])]);
    // Companions commit without a change of a showtime, too.
    fixture.commit(LedgerWrites::default(), vec![insert("c")]).await.expect("the row is new");
    assert_eq!((fixture.revision().await, fixture.settings(["c"]).await), (2, [Some(vec![1])]));
    fixture.close().await;
}

async fn a_companion_that_fails_undoes_the_change(world: World) {
    let fixture = Box::pin(Fixture::new(world)).await;
    let failed =
        fixture.commit(fixture.step(1), vec![insert("a"), update("nothing")]).await.expect_err("no row was updated");
    assert!(matches!(failed, Error::Fenced(_)), "{failed:?}");
    let failed = fixture.commit(fixture.step(1), vec![insert("a"), insert("a")]).await.expect_err("a name is unique");
    assert!(matches!(failed, Error::Constraint(_)), "{failed:?}");
    assert!(failed.is_about_one(), "the error concerns one request, so that the batch is repeated one by one");
    assert_eq!((fixture.revision().await, fixture.settings(["a"]).await), (1, [None]));
    fixture.commit(fixture.step(1), vec![]).await.expect("the connection can be used again");
    fixture.close().await;
}

async fn a_change_that_fails_undoes_its_companions(world: World) {
    let fixture = Box::pin(Fixture::new(world)).await;
    let failed = fixture.commit(fixture.step(7), vec![insert("a")]).await.expect_err("the revision differs");
    assert!(matches!(failed, Error::Fenced(_)), "{failed:?}");
    assert_eq!((fixture.revision().await, fixture.settings(["a"]).await), (1, [None]));
    fixture.close().await;
}

/// On Postgres a reservation that is alone in its batch is written and committed in one message, which cannot have companions.
async fn a_reservation_by_itself_takes_its_companions_along(world: World) {
    let fixture = Box::pin(Fixture::new(world)).await;
    let (writes, undone) = fixture.reservation();
    fixture.commit(writes, vec![insert("a"), update("nothing")]).await.expect_err("no row was updated");
    let (writes, made) = fixture.reservation();
    fixture.commit(writes, vec![insert("b")]).await.expect("nothing conflicts");
    assert!(fixture.find(&undone).await.is_none() && fixture.find(&made).await.is_some());
    assert_eq!((fixture.revision().await, fixture.settings(["a", "b"]).await), (2, [None, Some(vec![1])]));
    fixture.close().await;
}

async fn the_ledger_writes_the_companions_of_accepted_changes_only(world: World) {
    let fixture = Box::pin(Fixture::new(world)).await;
    let ledger = fixture.start_ledger();
    let key = RequestKey {
        caller: "companions".to_owned(),
        method: "Test",
        request_id: RequestId(Clock::System.new_id()),
        fingerprint: [7; 32],
    };
    let first = Request { key: Some(key), ..fixture.reserve(1, insert("a")) };
    let reply = ledger.submit(first.clone()).await.expect("the ledger answers").expect("the showtime exists");
    assert!(matches!(reply.outcome, Outcome::Done(Some(_))), "{reply:?}");
    assert_eq!(fixture.settings(["a"]).await, [Some(vec![1])]);
    // A second insert of the same row would fail.
    let reply = ledger.submit(first).await.expect("the ledger answers").expect("the showtime exists");
    assert!(matches!(reply.outcome, Outcome::Repeated(Some(_))), "{reply:?}");
    let refused = fixture.reserve(1, insert("b"));
    let reply = ledger.submit(refused).await.expect("the ledger answers").expect("the showtime exists");
    assert!(matches!(reply.outcome, Outcome::Refused(_)), "{reply:?}");
    let validated = Request { validate_only: true, ..fixture.reserve(2, insert("b")) };
    let reply = ledger.submit(validated).await.expect("the ledger answers").expect("the showtime exists");
    assert!(matches!(reply.outcome, Outcome::Done(Some(_))), "{reply:?}");
    assert_eq!((fixture.revision().await, fixture.settings(["b"]).await), (2, [None]));
    ledger.drain().await;
    fixture.close().await;
}

async fn a_companion_that_fails_fails_its_request_only(world: World) {
    let fixture = Box::pin(Fixture::new(world)).await;
    let ledger = fixture.start_ledger();
    let reserve = |number: i32, name: &str| ledger.submit(fixture.reserve(number, insert(name)));
    let failing = ledger.submit(fixture.reserve(2, update("nothing")));
    let (one, failed, other) = tokio::join!(reserve(1, "a"), failing, reserve(3, "b"));
    for reply in [one, other] {
        let reply = reply.expect("the ledger answers").expect("the showtime exists");
        assert!(matches!(reply.outcome, Outcome::Done(Some(_))), "{reply:?}");
    }
    let error = failed.expect_err("no row was updated");
    assert!(matches!(*error, Error::Fenced(_)), "{error:?}");
    assert_eq!((fixture.revision().await, fixture.settings(["a", "b"]).await), (3, [Some(vec![1]), Some(vec![1])]));
    ledger.drain().await;
    fixture.close().await;
}

fn insert(name: &str) -> Companion {
    let mut insert = Query::insert();
    insert.into_table("settings").columns(["name", "value"]).values_panic([name.into(), vec![1_u8].into()]);
    Companion::insert(insert, 1)
}

fn update(name: &str) -> Companion {
    let mut update = Query::update();
    update.table("settings").value("value", vec![2_u8]).and_where(Expr::col("name").eq(name));
    Companion::update(update, 1)
}

fn wish(choice: Choice) -> Wish {
    Wish { choice, tickets: Vec::new(), accessible: false, from_block: false }
}

fn rules() -> Rules {
    Rules {
        max_seats: 10,
        max_customer_seats: 10,
        closing: Duration::ZERO,
        extension: Duration::ZERO,
        orphan_rule: OrphanRule::Allow,
        accessible_seats: AccessibleSeats::Open,
    }
}

/// A showtime without reservations, and the store and the connection that change it.
struct Fixture {
    store: Store,
    ledger: LedgerConnection,
    plan: Arc<ShowtimePlan>,
    /// The database is dropped after the store.
    world: World,
}

impl Fixture {
    async fn new(world: World) -> Self {
        let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
        let created = world.showtimes().create_showtime(new_showtime(&auditorium, in_hours(0))).await;
        let showtime = created.expect("the slot is free").into_inner().showtime.expect("it is in the answer");
        world.stop().await;
        let database = if world.storage.is_postgres() {
            Database::Postgres(world.storage.database().url())
        } else {
            Database::Sqlite(world.storage.file())
        };
        let options = store::Options {
            database,
            connections: 4,
            timeout: Duration::from_secs(20),
            migrate: false,
            cached_showtimes: 100,
        };
        let store = Store::open(&options).await.expect("the store opens");
        let id = ShowtimeId::parse(&showtime.showtime_id).expect("an id");
        let plan = store.plan(id).await.expect("it is read").expect("it was scheduled");
        Self { ledger: store.ledger_connection(), store, plan, world }
    }

    fn id(&self) -> ShowtimeId {
        self.plan.facts.showtime_id
    }

    /// A step from this revision to the next one, without other writes.
    fn step(&self, before: i64) -> LedgerWrites {
        let step = ShowtimeAdvance {
            showtime_id: self.id(),
            before,
            revision: before + 1,
            available_count: 11,
            next_lapse: None,
            decide_time: self.plan.facts.create_time,
            cancel_time: None,
            events: vec![],
            event_count: 0,
        };
        let mut writes = LedgerWrites::default();
        writes.advances.push(step);
        writes
    }

    /// A new reservation and its step.
    fn reservation(&self) -> (LedgerWrites, Arc<Reservation>) {
        let now = self.plan.facts.create_time;
        let seating = Seating::new(Arc::clone(&self.plan), showtime::State::Scheduled, 1, now, [], []);
        let rules = rules();
        let command = Command::Reserve {
            reservation_id: ReservationId(Clock::System.new_id()),
            customer_id: CustomerId::parse("ada").expect("a name"),
            wish: wish(Choice::Best(1)),
        };
        let made = seating.decide(&command, &rules, now).expect("all seats are free").reservation;
        let made = made.expect("it is in the decision");
        let mut writes = self.step(1);
        writes.make(&made, None);
        (writes, made)
    }

    /// A ledger on the same store.
    fn start_ledger(&self) -> Ledger {
        let options = ledger::Options {
            rules: rules(),
            writers: 1,
            memory: 1 << 20,
            watchers: ledger::WatchQuota { total: 1, per_caller: 1 },
            delta_channel: None,
        };
        Ledger::start(self.store.clone(), TimeSource::Database(Clock::System), &options)
    }

    /// A request for a seat of row A by its number, with a row that commits with the reservation.
    fn reserve(&self, number: i32, companion: Companion) -> Request {
        let row = RowLabel::parse("A").expect("a row");
        let command = Command::Reserve {
            reservation_id: ReservationId(Clock::System.new_id()),
            customer_id: CustomerId::parse("ada").expect("a name"),
            wish: wish(Choice::Seats(vec![SeatName { row, number }])),
        };
        Request { companions: vec![companion], ..Request::new(self.id(), command) }
    }

    async fn commit(&self, mut writes: LedgerWrites, companions: Vec<Companion>) -> Result<(), Error> {
        let (tx, LockedShowtimes { locked, .. }) =
            self.ledger.begin(&[self.id()], LockWait::Bounded).await.expect("the lock is free");
        assert_eq!(locked.len(), 1);
        writes.companions = companions;
        assert!(!writes.is_empty());
        tx.commit(&writes).await
    }

    async fn revision(&self) -> i64 {
        self.store.revisions(&[self.id()]).await.expect("it is read").at[0].1
    }

    async fn settings<const N: usize>(&self, names: [&str; N]) -> [Option<Vec<u8>>; N] {
        let mut values = [const { None }; N];
        for (value, name) in values.iter_mut().zip(names) {
            *value = self.store.setting(name).await.expect("it is read");
        }
        values
    }

    async fn find(&self, reservation: &Reservation) -> Option<Reservation> {
        let found = self.store.reservation(reservation.reservation_id, reservation.create_time).await;
        found.expect("it is read").map(|found| found.reservation)
    }

    async fn close(self) {
        self.store.close().await;
        drop(self.world);
    }
}

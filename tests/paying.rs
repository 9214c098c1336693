//! Seats that are being paid for are held on maps, in counts and for watchers until the ledger ends that, whatever the time is.
//!
//! No method begins a payment yet, so a ledger beside the service does.

use std::{sync::Arc, time::Duration};

use boxoffice::{
    clock::Clock,
    domain::{
        ids::{PurchaseId, ReservationId, ShowtimeId},
        reservation::{CustomerId, Phase, Reservation, Tender},
        seat_index::{RowLabel, SeatName},
        seat_map::Status,
        seating::{AccessibleSeats, Choice, Command, OrphanRule, Rules, Wish},
    },
    ledger::{self, Ledger, Outcome, Request, TimeSource, WatchMessage},
    pb::boxoffice::v1::{
        self as pb, ConfirmReservationRequest, ConfirmVerdict, CreateShowtimeRequest, ExchangeSeatsRequest,
        ListReservationsRequest, ReservationState, SeatState, SeatStatus, Showtime, watch_seat_map_response::Event,
    },
    store::{self, Database, Store as Tables},
};
use chrono::{DateTime, TimeDelta, Utc};
use tonic::Code;

use crate::harness::{
    DEADLINE, Server, Store, World, assert_refused, eventually, in_hours,
    requests::seconds,
    seats::{
        HALL, assert_unavailable, cancel, confirm, extend, get, instant, name, names, reserve, seats, showtime_with,
        these,
    },
    watching::{map, next, states, watch},
};

on_both_stores!(
    seats_stay_held_in_memory_until_the_payment_is_stopped,
    the_service_shows_and_refuses_what_is_being_paid_for,
    a_paid_reservation_keeps_its_purchase,
);

async fn seats_stay_held_in_memory_until_the_payment_is_stopped(world: World) {
    let beside = Box::pin(Beside::stopped(world)).await;
    let id = beside.showtime_id;
    let views = beside.ledger.views();
    let mut watch = views.watch(id, None, None).await.expect("the showtime exists");
    let WatchMessage::Snapshot(_) = watch.next(DEADLINE).await else { panic!("a watch begins with a snapshot") };
    let held = beside.reserve().await;
    let paying = beside.pay(&held, Duration::ZERO).await;
    let until = paying.pay_until().expect("a payment is under way");
    // The heartbeats come when the hold would have lapsed. None of the messages frees the seats.
    let mut last = None;
    loop {
        let at = match watch.next(Duration::from_millis(200)).await {
            WatchMessage::Delta(frame) => {
                assert!(frame.delta.seats.iter().all(|(_, status)| *status != Status::Free), "{frame:?}");
                last = Some(frame.delta.seats.clone());
                frame.at
            }
            WatchMessage::Heartbeat { now, .. } => now,
            other => panic!("{other:?}"),
        };
        if at > held.expire_time() {
            break;
        }
    }
    let seats: Vec<_> = held.seats().map(|seat| (seat, Status::Paying { until })).collect();
    assert_eq!(last.as_deref(), Some(&*seats));
    let snapshot = views.seat_map(id, 0).await.expect("it is read").expect("the showtime exists");
    assert!(snapshot.at > held.expire_time() && snapshot.at > until, "{snapshot:?}");
    assert!(held.seats().all(|seat| snapshot.seats[usize::from(seat)] == Status::Paying { until }));
    // What was lapsed would be recorded by the sweep.
    beside.ledger.sweep().await.expect("the store sweeps");
    assert_eq!(beside.read(&held).await.phase(snapshot.at + TimeDelta::days(1)), Phase::Paying);
    let ended = beside.stop(&held).await;
    let WatchMessage::Delta(frame) = watch.next(DEADLINE).await else { panic!("the seats are free") };
    let free: Vec<_> = held.seats().map(|seat| (seat, Status::Free)).collect();
    assert_eq!((frame.delta.revision, &frame.delta.seats), (ended.revision(), &free));
    let snapshot = views.seat_map(id, 0).await.expect("it is read").expect("the showtime exists");
    assert!(snapshot.seats.iter().all(|status| *status == Status::Free));
    drop(watch);
    beside.close().await;
}

/// The service starts on what the ledger has written. On Postgres the seats are freed beside it, on `SQLite` before the next start.
async fn the_service_shows_and_refuses_what_is_being_paid_for(world: World) {
    let beside = Box::pin(Beside::stopped(world)).await;
    let held = beside.reserve().await;
    let paying = beside.pay(&held, Duration::ZERO).await;
    let until = paying.pay_until();
    let world = beside.close().await;
    let server = world.setup().clone().start().await;
    let id = held.showtime_id.to_string();
    let client = server.showtimes();
    eventually("the hold would have lapsed", async || {
        let shown = map(&mut client.clone(), &id, 0).await;
        let seat = |label: &str| find(&shown.seats, label);
        for label in ["A1", "A2"] {
            assert_eq!((seat(label).state(), seat(label).held_until.map(at)), (SeatState::Held, until), "{shown:?}");
        }
        let counts = shown.counts.expect("the seats are counted");
        assert_eq!((counts.held, counts.free), (2, 32));
        (instant(shown.as_of_time) > held.expire_time()).then_some(())
    })
    .await;
    let mut watching = watch(&server.showtimes(), &id, 0, "").await.expect("the showtime exists");
    let Some(Event::Snapshot(shown)) = next(&mut watching).await else { panic!("a watch begins with a snapshot") };
    assert_eq!(states(&shown)["A2"], SeatState::Held);
    let message = pb::Reservation { reservation_id: held.reservation_id.to_string(), ..Default::default() };
    assert_shown_and_refused(&server, &message, &paying).await;
    server.stop().await;
    let beside = Box::pin(Beside::of(world, held.showtime_id)).await;
    beside.stop(&held).await;
    let world = beside.close().await;
    let server = world.setup().clone().start().await;
    let shown = map(&mut server.showtimes(), &id, 0).await;
    assert_eq!((shown.counts.expect("the seats are counted").free, shown.revision), (34, 4));
    let ended = get(&server, &message).await.expect("it is found");
    assert_eq!((ended.state(), ended.purchase_id), (ReservationState::Cancelled, purchase().to_string()));
    reserve(&server, these(&showtime_of(&id), "bob", "A1 A2")).await.expect("the seats are free");
    server.stop().await;
}

/// Asserts how a reservation is read and listed whose payment is under way, and what cannot be done with it.
async fn assert_shown_and_refused(server: &Server, message: &pb::Reservation, paying: &Reservation) {
    let found = get(server, message).await.expect("it is found");
    assert_eq!((found.state(), found.pay_until.map(at)), (ReservationState::Paying, paying.pay_until()));
    assert_eq!((found.purchase_id.as_str(), found.time_left), (&*purchase().to_string(), None));
    assert_eq!(instant(found.expire_time), paying.expire_time());
    for (state, expected) in
        [(ReservationState::Paying, 1), (ReservationState::Held, 0), (ReservationState::Expired, 0)]
    {
        let showtime_id = found.showtime_id.clone();
        let request = ListReservationsRequest { showtime_id, states: vec![state.into()], ..Default::default() };
        let page = server.reservations().list_reservations(request).await.expect("a list").into_inner();
        assert_eq!(page.reservations.len(), expected, "{state:?}");
    }
    let exchange = ExchangeSeatsRequest {
        reservation_id: found.reservation_id.clone(),
        seats: seats("B1 B2"),
        ..Default::default()
    };
    let exchanged = server.reservations().exchange_seats(exchange).await.map(drop);
    let others = [confirm(server, &found).await, cancel(server, &found).await, extend(server, &found).await];
    for refused in others.map(|answer| answer.map(drop)).into_iter().chain([exchanged]) {
        let status = refused.expect_err("it is being paid for");
        let about = assert_refused(&status, Code::FailedPrecondition, "PAYMENT_PENDING");
        let named = DateTime::parse_from_rfc3339(&about["pay_until"]).expect("a time").to_utc();
        assert_eq!((about["purchase_id"].as_str(), Some(named)), (&*found.purchase_id, paying.pay_until()));
        assert_eq!((&*about["revision"], &about["reservation_id"]), ("3", &found.reservation_id));
    }
    let status =
        reserve(server, these(&showtime_of(&found.showtime_id), "bob", "A2 A3")).await.expect_err("it is held");
    let unavailable = assert_unavailable(&status, "SEATS_UNAVAILABLE").seats;
    let [taken] = &*unavailable else { panic!("{unavailable:?}") };
    assert_eq!((taken.state(), taken.held_until.map(at)), (SeatState::Held, paying.pay_until()));
}

async fn a_paid_reservation_keeps_its_purchase(world: World) {
    let beside = Box::pin(Beside::stopped(world)).await;
    let held = beside.reserve().await;
    let paying = beside.pay(&held, Duration::from_secs(1)).await;
    eventually("the hold would have lapsed, and the payment's time is over", async || {
        let views = beside.ledger.views();
        let snapshot = views.seat_map(beside.showtime_id, 0).await.expect("it is read").expect("the showtime exists");
        (snapshot.at > held.expire_time()).then_some(())
    })
    .await;
    let sold = beside.confirm(&held).await;
    assert_eq!((sold.payment(), sold.sale().is_some()), (paying.payment(), true));
    assert_eq!(beside.read(&held).await, *sold);
    let world = beside.close().await;
    let server = world.setup().clone().start().await;
    let message = pb::Reservation { reservation_id: held.reservation_id.to_string(), ..Default::default() };
    let found = confirm(&server, &message).await.expect("it was confirmed before");
    assert_eq!((found.state(), &found.purchase_id), (ReservationState::Confirmed, &purchase().to_string()));
    assert_eq!((found.pay_until.map(at), names(&found.seats)), (paying.pay_until(), "A1 A2".to_owned()));
    // It was promised while its payment was under way, so it was not recovered, although it was sold after its expire time.
    let late = ConfirmReservationRequest {
        reservation_id: found.reservation_id.clone(),
        tender: Some(pb::Tender { method: "card".to_owned(), transaction_id: "42".to_owned() }),
        late: true,
        ..Default::default()
    };
    let answer = server.reservations().confirm_reservation(late).await.expect("the tender is the same").into_inner();
    assert_eq!((answer.verdict(), answer.reservation), (ConfirmVerdict::Confirmed, Some(found)));
    server.stop().await;
}

/// An instance follows what another one writes: here the ledger, which uses neither Redis nor the instance's memory.
#[tokio::test]
async fn another_instance_shows_what_is_being_paid_for() {
    let world = World::start(Store::Postgres).await;
    let showtime_id = schedule(&world).await;
    let id = showtime_id.to_string();
    let mut watching = watch(&world.showtimes(), &id, 0, "").await.expect("the showtime exists");
    let Some(Event::Snapshot(_)) = next(&mut watching).await else { panic!("a watch begins with a snapshot") };
    let beside = Box::pin(Beside::of(world, showtime_id)).await;
    let held = beside.reserve().await;
    let paying = beside.pay(&held, Duration::ZERO).await;
    let see = async |watching: &mut tonic::Streaming<pb::WatchSeatMapResponse>, revision: i64| loop {
        match next(watching).await.expect("the stream has not ended") {
            Event::Delta(delta) if delta.revision == revision => return delta,
            Event::Delta(_) | Event::Heartbeat(_) => {}
            other => panic!("{other:?}"),
        }
    };
    let delta = see(&mut watching, paying.revision()).await;
    let seat = find(&delta.seats, "A1");
    assert_eq!((seat.state(), seat.held_until.map(at)), (SeatState::Held, paying.pay_until()));
    let message = pb::Reservation { reservation_id: held.reservation_id.to_string(), ..Default::default() };
    let status = cancel(&beside.world, &message).await.expect_err("it is being paid for");
    assert_refused(&status, Code::FailedPrecondition, "PAYMENT_PENDING");
    let ended = beside.stop(&held).await;
    let delta = see(&mut watching, ended.revision()).await;
    assert_eq!(find(&delta.seats, "A1").state(), SeatState::Free);
    reserve(&beside.world, these(&showtime_of(&id), "bob", "A1 A2")).await.expect("the seats are free");
    beside.close().await;
}

fn purchase() -> PurchaseId {
    PurchaseId(uuid::Uuid::from_u128(77))
}

fn at(time: prost_types::Timestamp) -> DateTime<Utc> {
    instant(Some(time))
}

fn find<'a>(seats: &'a [SeatStatus], label: &str) -> &'a SeatStatus {
    seats.iter().find(|one| name(one.seat.as_ref().expect("a seat has a name")) == label).expect("there is such a seat")
}

/// The name of a showtime, as requests for seats need it.
fn showtime_of(id: &str) -> Showtime {
    Showtime { showtime_id: id.to_owned(), ..Default::default() }
}

/// A showtime whose holds last two seconds.
async fn schedule(world: &World) -> ShowtimeId {
    let brief = |request| CreateShowtimeRequest { hold_duration: Some(seconds(2)), ..request };
    let showtime = showtime_with(world, &HALL, in_hours(0), brief).await;
    ShowtimeId::parse(&showtime.showtime_id).expect("an id")
}

/// A ledger on the database of a service.
struct Beside {
    store: Tables,
    ledger: Ledger,
    showtime_id: ShowtimeId,
    /// The database is dropped after the store.
    world: World,
}

impl Beside {
    /// Schedules a showtime, and stops the service.
    async fn stopped(world: World) -> Self {
        let showtime_id = schedule(&world).await;
        world.stop().await;
        Box::pin(Self::of(world, showtime_id)).await
    }

    async fn of(world: World, showtime_id: ShowtimeId) -> Self {
        let database = if world.storage.is_postgres() {
            Database::Postgres(world.storage.database().url())
        } else {
            Database::Sqlite(world.storage.file())
        };
        let timeout = Duration::from_secs(20);
        let options = store::Options { database, connections: 4, timeout, migrate: false, cached_showtimes: 100 };
        let store = Tables::open(&options).await.expect("the store opens");
        let rules = Rules {
            max_seats: 10,
            max_customer_seats: 10,
            closing: Duration::ZERO,
            extension: Duration::ZERO,
            orphan_rule: OrphanRule::Allow,
            accessible_seats: AccessibleSeats::Open,
        };
        let options = ledger::Options {
            rules,
            writers: 1,
            memory: 1 << 20,
            watchers: ledger::WatchQuota { total: 1, per_caller: 1 },
            delta_channel: None,
        };
        let ledger = Ledger::start(store.clone(), TimeSource::Database(Clock::System), &options);
        Self { store, ledger, showtime_id, world }
    }

    async fn ask(&self, command: Command) -> Arc<Reservation> {
        let reply = self.ledger.submit(Request::new(self.showtime_id, command)).await;
        let reply = reply.expect("the ledger answers").expect("the showtime exists");
        let Outcome::Done(Some(reservation)) = reply.outcome else { panic!("{reply:?}") };
        reservation
    }

    /// Holds A1 A2.
    async fn reserve(&self) -> Arc<Reservation> {
        let row = RowLabel::parse("A").expect("a row");
        let choice = [1, 2].map(|number| SeatName { row, number }).to_vec();
        let wish = Wish { choice: Choice::Seats(choice), tickets: Vec::new(), accessible: false, from_block: false };
        let customer_id = CustomerId::parse("ada").expect("a name");
        let reservation_id = ReservationId(Clock::System.new_id());
        self.ask(Command::Reserve { reservation_id, customer_id, wish }).await
    }

    async fn pay(&self, of: &Reservation, span: Duration) -> Arc<Reservation> {
        let (reservation_id, purchase_id) = (of.reservation_id, purchase());
        self.ask(Command::Pay { reservation_id, customer_id: None, purchase_id, span }).await
    }

    async fn stop(&self, of: &Reservation) -> Arc<Reservation> {
        self.ask(Command::StopPayment { reservation_id: of.reservation_id, purchase_id: purchase() }).await
    }

    async fn confirm(&self, of: &Reservation) -> Arc<Reservation> {
        let (reservation_id, purchase_id) = (of.reservation_id, Some(purchase()));
        let tender = Some(Tender { method: "card".to_owned(), transaction_id: "42".to_owned() });
        let customer_id = None;
        self.ask(Command::Confirm { reservation_id, customer_id, tender, purchase_id, late: false }).await
    }

    async fn read(&self, of: &Reservation) -> Reservation {
        let found = self.store.reservation(of.reservation_id, of.create_time).await.expect("it is read");
        found.expect("it is there").reservation
    }

    async fn close(self) -> World {
        self.ledger.drain().await;
        self.store.close().await;
        self.world
    }
}

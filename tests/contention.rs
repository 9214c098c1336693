//! Many callers want the same seats, over several servers at once.

use std::collections::BTreeSet;

use boxoffice::pb::boxoffice::v1::{
    ConfirmReservationRequest, Reservation, ReservationState, SeatState, UnavailableSeat,
    reservations_client::ReservationsClient,
};
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait as _, DbBackend, Statement, TransactionTrait as _};
use tonic::Code;

use crate::harness::{
    Server, Store, World, assert_refused, create_auditorium, eventually,
    fleet::Fleet,
    history::{History, Operation, Outcome},
    in_hours, new_showtime,
    world::Storage,
};

on_both_stores!(the_unique_keys_alone_would_stop_a_double_sale);

#[tokio::test]
async fn of_five_hundred_callers_over_three_processes_one_gets_the_seats() {
    let storage = Storage::new(Store::Postgres).await;
    let fleet = Fleet::start(3, storage.setup()).await;
    let history = History::default();
    let id = history.schedule(fleet.channel(0), 3, 600).await;
    let calls = (0..500).map(|caller| {
        let operation = Operation::reserve(&id, &format!("caller {caller}"), "B", 4..=5);
        history.call(fleet.channel(caller), &id, operation)
    });
    let (mut won, mut refused) = (Vec::new(), Vec::new());
    for result in join_all(calls).await {
        match result {
            Outcome::Changed { reservation, .. } => won.push(*reservation),
            other => refused.push(other.expect_refusal("SEATS_UNAVAILABLE")),
        }
    }
    assert_eq!((won.len(), refused.len()), (1, 499));
    let held = |seat| UnavailableSeat { seat, state: SeatState::Held.into(), held_until: won[0].expire_time };
    let unavailable: Vec<_> = won[0].seats.iter().map(|seat| held(Some(seat.clone()))).collect();
    for refusal in refused {
        assert_eq!(refusal.code, Code::FailedPrecondition, "{refusal:?}");
        let detail = refusal.unavailable.as_ref().expect("the refusal names the seats");
        assert_eq!(detail.seats, unavailable, "{refusal:?}");
    }
    history.assert_holds(&storage.connect().await, &fleet.channels()).await;
}

/// Every caller reserves a range of seats in each of four showtimes. Half of the callers go from the first showtime to the
/// last, the others from the last to the first. Ranges overlap, and the two halves name their seats in opposite orders.
#[tokio::test]
async fn crossing_ranges_in_opposite_orders_neither_deadlock_nor_lose_an_update() {
    let storage = Storage::new(Store::Postgres).await;
    let fleet = Fleet::start(3, storage.setup()).await;
    let history = History::default();
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(history.schedule(fleet.channel(0), 3, 600).await);
    }
    let callers = (0..50).map(|caller| crossing(&fleet, &history, &ids, caller));
    let won: Vec<Reservation> = join_all(callers).await.into_iter().flatten().collect();
    let seats: Vec<_> =
        won.iter().flat_map(|one| one.seats.iter().map(|seat| (&one.showtime_id, seat.number))).collect();
    let different: BTreeSet<_> = seats.iter().collect();
    assert_eq!(different.len(), seats.len(), "a seat has two owners");
    // In a row of ten seats two or three blocks of three fit, whichever win.
    assert!((8..=12).contains(&won.len()), "{won:?}");
    history.assert_holds(&storage.connect().await, &fleet.channels()).await;
}

/// Runs one of these callers. It confirms each reservation at another server. Returns the confirmed reservations.
async fn crossing(fleet: &Fleet, history: &History, ids: &[String], caller: usize) -> Vec<Reservation> {
    let first = i32::try_from(caller % 8).expect("a small number") + 1;
    let backwards = caller % 2 == 1;
    let order: Vec<&String> = if backwards { ids.iter().rev().collect() } else { ids.iter().collect() };
    let calls = order.into_iter().enumerate().map(async |(turn, id)| {
        let mut operation = Operation::reserve(id, &format!("caller {caller}"), "A", first..=first + 2);
        if let (Operation::Reserve(request), true) = (&mut operation, backwards) {
            request.seats.reverse();
        }
        match history.call(fleet.channel(caller + turn), id, operation).await {
            Outcome::Changed { reservation, .. } => {
                let confirm = Operation::confirm(&reservation.reservation_id);
                Some(history.call(fleet.channel(caller + turn + 1), id, confirm).await.expect_reservation())
            }
            other => {
                other.expect_refusal("SEATS_UNAVAILABLE");
                None
            }
        }
    });
    join_all(calls).await.into_iter().flatten().collect()
}

#[tokio::test]
async fn either_the_confirmations_or_the_cancellations_win_over_three_processes() {
    let storage = Storage::new(Store::Postgres).await;
    let fleet = Fleet::start(3, storage.setup()).await;
    let history = History::default();
    let id = history.schedule(fleet.channel(0), 3, 600).await;
    let connection = storage.connect().await;
    for round in 1..=6 {
        let operation = Operation::reserve(&id, &format!("customer {round}"), "A", round..=round);
        let held = history.call(fleet.channel(0), &id, operation).await.expect_reservation();
        // All of these requests wait for the same lock.
        let lock = history.lock(&connection, &id).await;
        let calls = (0..12).map(|caller| {
            let reservation = &held.reservation_id;
            let operation =
                if caller % 2 == 0 { Operation::confirm(reservation) } else { Operation::cancel(reservation) };
            history.call(fleet.channel(caller), &id, operation)
        });
        let (results, ()) = tokio::join!(join_all(calls), async {
            lock.wait_for_waiter().await;
            lock.release().await;
        });
        let states: BTreeSet<_> = results.into_iter().filter_map(state).collect();
        assert_eq!(states.len(), 1, "{states:?}");
    }
    history.assert_holds(&connection, &fleet.channels()).await;
}

/// The state of the reservation after an accepted request.
fn state(result: Outcome) -> Option<i32> {
    match result {
        Outcome::Changed { reservation, .. } => Some(reservation.state),
        other => {
            other.expect_refusal("RESERVATION_NOT_HELD");
            None
        }
    }
}

/// A change by one server is seen by every other one at once, and any server can make the next change.
#[tokio::test]
async fn instances_are_equal_and_need_no_redis() {
    let storage = Storage::new(Store::Postgres).await;
    let fleet = Fleet::start(3, storage.setup()).await;
    let history = History::default();
    let id = history.schedule(fleet.channel(0), 3, 600).await;
    for turn in 0..6 {
        let row = ["A", "B", "C"][turn / 2];
        let first = i32::try_from(turn % 2).expect("a small number") * 2 + 1;
        let at = |step| fleet.channel(turn + step);
        let operation = Operation::reserve(&id, &format!("customer {turn}"), row, first..=first + 1);
        let held = history.call(at(0), &id, operation.clone()).await.expect_reservation();
        let reservation = &held.reservation_id;
        history
            .call(at(1), &id, Operation::reserve(&id, "another", row, first..=first))
            .await
            .expect_refusal("SEATS_UNAVAILABLE");
        let longer = history.call(at(1), &id, Operation::extend(reservation)).await.expect_reservation();
        let again = history.call(at(2), &id, Operation::extend(reservation)).await.expect_reservation();
        assert_eq!((again.expire_time, again.revision), (longer.expire_time, longer.revision));
        let sold = history.call(at(2), &id, Operation::confirm(reservation)).await.expect_reservation();
        assert_eq!(sold.state(), ReservationState::Confirmed);
        history.call(at(0), &id, Operation::cancel(reservation)).await.expect_refusal("RESERVATION_NOT_HELD");
        for step in 0..3 {
            history.call(at(step), &id, Operation::get(reservation)).await;
            history.call(at(step), &id, Operation::GetShowtime).await;
            // A repeated request gets its first answer from every server.
            let again = history.call(at(step), &id, operation.clone()).await.expect_reservation();
            assert_eq!(again.state(), ReservationState::Held);
        }
    }
    history.assert_holds(&storage.connect().await, &fleet.channels()).await;
}

/// The database refuses conflicting rows by itself, even if they are not written by the ledger.
async fn the_unique_keys_alone_would_stop_a_double_sale(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let showtime = world.showtimes().create_showtime(new_showtime(&auditorium, in_hours(0))).await;
    let id = showtime.expect("the slot is free").into_inner().showtime.expect("the showtime").showtime_id;
    let held = reserve(&world, Operation::reserve(&id, "customer", "A", 1..=2)).await;
    let refused = async |statement: &str, names: [&str; 2]| {
        let refused = world.storage.sql(statement).await.expect_err("the row conflicts").to_string();
        let name = names[usize::from(!world.storage.is_postgres())];
        assert!(refused.contains(name), "{refused} does not name {name}");
    };
    let other = if world.storage.is_postgres() { "gen_random_uuid()" } else { "randomblob(16)" };
    // Another reservation claims the same seat.
    refused(
        &format!("INSERT INTO seat_claims SELECT showtime_id, seat, {other} FROM seat_claims"),
        ["seat_claims_pkey", "seat_claims.showtime_id, seat_claims.seat"],
    )
    .await;
    // One request id makes two reservations.
    refused(
        &format!(
            "INSERT INTO reservations (reservation_id, showtime_id, customer_id, first_seat, seat_count, total_minor, \
             create_time, first_expire_time, expire_time, first_revision, request_id, caller, state, revision) \
             SELECT {other}, showtime_id, customer_id, first_seat, seat_count, total_minor, create_time, \
             first_expire_time, expire_time, first_revision, request_id, caller, state, revision FROM reservations"
        ),
        ["reservations_by_request", "reservations.request_id"],
    )
    .await;
    // Two changes have the same revision.
    refused(
        "INSERT INTO outbox (aggregate, seq, last_seq, events, create_time) \
         SELECT aggregate, seq, last_seq, events, create_time FROM outbox",
        ["outbox_pkey", "outbox.aggregate, outbox.seq"],
    )
    .await;
    // A claim of a free seat is accepted.
    world.storage.sql("DELETE FROM seat_claims").await.expect("the claims are deleted");
    let claim = format!("INSERT INTO seat_claims SELECT showtime_id, first_seat, {other} FROM reservations");
    world.storage.sql(&claim).await.expect("a free seat can be claimed");
    assert_eq!(held.seat_count, 2);
}

/// A second writer, past the lock, updates no row, and its transaction is then rolled back as a whole.
#[tokio::test]
async fn a_second_writer_changes_zero_rows_and_leaves_nothing() {
    let world = World::start(Store::Postgres).await;
    let history = History::default();
    let auditorium = create_auditorium(world.auditoriums()).await;
    let showtime = world.showtimes().create_showtime(new_showtime(&auditorium.auditorium_id, in_hours(0))).await;
    let showtime = showtime.expect("the slot is free").into_inner().showtime.expect("the showtime");
    history.record(&showtime, &auditorium);
    let id = &showtime.showtime_id;
    let held = history.call(world.channel(), id, Operation::reserve(id, "one", "A", 1..=1)).await.expect_reservation();
    let connection = world.storage.connect().await;
    // The trigger skips every row, so that the update changes none, as if another writer had been faster.
    let skip_row = "CREATE FUNCTION skip_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'";
    connection.execute_unprepared(skip_row).await.expect("a function");
    for table in ["standings", "reservations"] {
        let trigger = format!("CREATE TRIGGER first BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION skip_row()");
        connection.execute_unprepared(&trigger).await.expect("a trigger");
        let request = ConfirmReservationRequest { reservation_id: held.reservation_id.clone(), ..Default::default() };
        let confirmed = ReservationsClient::new(world.channel()).confirm_reservation(request).await;
        let status = confirmed.expect_err("it updated no row");
        assert_refused(&status, Code::Internal, "INTERNAL");
        connection.execute_unprepared(&format!("DROP TRIGGER first ON {table}")).await.expect("the trigger is dropped");
    }
    // The confirmation has left nothing, and later requests are accepted.
    history.call(world.channel(), id, Operation::confirm(&held.reservation_id)).await.expect_reservation();
    history.call(world.channel(), id, Operation::reserve(id, "two", "A", 2..=2)).await.expect_reservation();
    history.assert_holds(&connection, &[world.channel()]).await;
}

/// A reservation that is a batch of its own leaves nothing either when another writer is faster. The planted bug omits the
/// lock, which would keep the other writer out.
#[tokio::test]
async fn a_second_writer_alone_in_its_batch_leaves_nothing() {
    let storage = Storage::new(Store::Postgres).await;
    let server = storage.setup().with_bug("no-lock").start().await;
    let history = History::default();
    let id = &history.schedule(server.channel(), 3, 600).await;
    history.call(server.channel(), id, Operation::reserve(id, "one", "A", 1..=1)).await.expect_reservation();
    let (faster, observer) = (storage.connect().await, storage.connect().await);
    let first = faster.begin().await.expect("a transaction begins");
    let step = |by: i64| format!("UPDATE standings SET revision = revision + {by} WHERE showtime_id = '{id}'");
    first.execute_unprepared(&step(1)).await.expect("the row is locked");
    let Operation::Reserve(request) = Operation::reserve(id, "two", "A", 3..=3) else {
        unreachable!("the operation is a reservation")
    };
    let mut second = ReservationsClient::new(server.channel());
    let overtake = async {
        let waits = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
            AND query LIKE 'EXECUTE reserve (%'";
        let waits = || observer.query_one_raw(Statement::from_string(DbBackend::Postgres, waits));
        eventually("the write of the reservation waits", async || waits().await.expect("an answer")).await;
        first.commit().await.expect("the other writer commits first");
    };
    let (reserved, ()) = tokio::join!(second.reserve_seats(request), overtake);
    assert_refused(&reserved.expect_err("the revision has changed"), Code::Internal, "INTERNAL");
    // The reservation has left nothing.
    observer.execute_unprepared(&step(-1)).await.expect("the row is changed back");
    history.assert_holds(&observer, &[server.channel()]).await;
}

async fn reserve(server: &Server, operation: Operation) -> Reservation {
    let Operation::Reserve(request) = operation else { panic!("{operation:?} is not a reservation") };
    let answer = ReservationsClient::new(server.channel()).reserve_seats(request).await;
    answer.expect("the seats are free").into_inner().reservation.expect("the answer has the reservation")
}

/// Another transaction locks one showtime's row and does not end. Requests for that showtime are refused after a while and may
/// be repeated. All others are decided, also those of the same batch and the same writer.
#[tokio::test]
async fn a_showtime_that_stays_locked_holds_up_no_other() {
    let storage = Storage::new(Store::Postgres).await;
    let setup = storage.setup().with("--ledger-writers", "1").with("--database-timeout", "1s").with("--sweep", "false");
    let fleet = Fleet::start(1, setup).await;
    let history = History::default();
    let locked = &history.schedule(fleet.channel(0), 3, 600).await;
    let other = &history.schedule(fleet.channel(0), 3, 600).await;
    let lock = history.lock(&storage.connect().await, locked).await;
    for (row, customer) in [("A", "one"), ("B", "two")] {
        let reserve =
            |id, first| history.call(fleet.channel(0), id, Operation::reserve(id, customer, row, first..=first));
        let calls = (1..=5).flat_map(|first| [reserve(locked, first), reserve(other, first)]);
        for (at, result) in join_all(calls).await.into_iter().enumerate() {
            if at % 2 == 0 {
                result.expect_refusal("OVERLOADED");
            } else {
                result.expect_reservation();
            }
        }
    }
    lock.release().await;
    history.call(fleet.channel(0), locked, Operation::reserve(locked, "one", "A", 1..=5)).await.expect_reservation();
    history.assert_holds(&storage.connect().await, &fleet.channels()).await;
}

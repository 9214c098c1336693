//! Servers are killed, the database crashes, answers are lost, and rows stay locked. Every acknowledged change is kept, and
//! no request has its effect twice.

use std::sync::Arc;

use boxoffice::pb::boxoffice::v1::{
    CancelShowtimeRequest, ConfirmVerdict, ListPaymentsRequest, RefundState, Reservation,
    payments_client::PaymentsClient, reservations_client::ReservationsClient, showtimes_client::ShowtimesClient,
};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, Statement};
use tonic::Code;

use crate::harness::{
    Postgres, Server, Store, assert_refused, eventually,
    fleet::Fleet,
    history::{Call, History, Operation, Outcome, database_time, row_seats},
    load::{self, Load},
    moments::Moments,
    proxy::{Cut, Proxy},
    server::Setup,
    supervisor,
    world::{Storage, connect},
};

/// 10,000 random calls by 32 callers: reservations of free and of taken seats, repetitions and reads, while another transaction
/// locks a showtime now and then. Each server is killed once and started again. Near the end a showtime is cancelled with its
/// sales.
#[tokio::test]
async fn ten_thousand_random_calls_while_servers_are_killed_keep_every_promise() {
    let storage = Storage::new(Store::Postgres).await;
    let fleet = Arc::new(Fleet::start(3, load::options(storage.setup())).await);
    let history = Arc::new(History::default());
    let connection = storage.connect().await;
    let showtimes = load::showtimes(&fleet).await;
    let first = showtimes[0].0.showtime_id.clone();
    let (load, all) = Load::new(Arc::clone(&fleet), Arc::clone(&history), showtimes).start(10_000, 32);
    let kills = async {
        for (at, calls) in [(1, 2_500), (2, 5_000), (0, 7_500)] {
            load.wait_for_calls(calls).await;
            fleet.kill(at);
            load.wait_for_calls(calls + 500).await;
            fleet.restart(at).await;
        }
        load.wait_for_calls(9_000).await;
        let cancel =
            CancelShowtimeRequest { showtime_id: first, request_id: String::new(), force: true, expected_revision: 0 };
        ShowtimesClient::new(fleet.channel(1)).cancel_showtime(cancel).await.expect("the showtime is cancelled");
    };
    tokio::join!(all, kills, load.lock_showtimes(&connection));
    history.settle(fleet.channel(0)).await;
    history.assert_holds(&connection, &fleet.channels()).await;
    assert_everything_occurred(&history);
}

/// The random calls were not in vain.
fn assert_everything_occurred(history: &History) {
    // Every kind of refusal has occurred.
    for reason in [
        "SEATS_UNAVAILABLE",
        "RESERVATION_EXPIRED",
        "RESERVATION_NOT_HELD",
        "HOLD_LIMIT",
        "TENDER_DIFFERS",
        "SHOWTIME_CANCELLED",
        "RESERVATION_RELEASED",
        "SEAT_NOT_SOLD",
        "SEAT_NOT_BLOCKED",
        "SEATS_DIFFER",
    ] {
        let refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused(refusal) if refusal.reason == reason);
        assert!(history.calls().iter().any(|call| refused(&call.outcome)), "no call was refused with {reason}");
    }
    // So has every verdict, and every request was accepted at some time.
    for verdict in [ConfirmVerdict::Confirmed, ConfirmVerdict::Recovered, ConfirmVerdict::RefundDue] {
        let has = |outcome: &Outcome| matches!(outcome, Outcome::Changed { verdict: given, .. } if *given == verdict);
        assert!(history.calls().iter().any(|call| has(&call.outcome)), "no call had the verdict {verdict:?}");
    }
    let accepted = |which: fn(&Operation) -> bool| {
        let is_accepted = |call: &&Call| matches!(call.outcome, Outcome::Changed { .. } | Outcome::Blocked { .. });
        history.calls().iter().filter(is_accepted).any(|call| which(&call.operation))
    };
    assert!(accepted(|operation| matches!(operation, Operation::Release(of) if of.seats.is_empty())));
    assert!(accepted(|operation| matches!(operation, Operation::Release(of) if !of.seats.is_empty())));
    assert!(accepted(|operation| matches!(operation, Operation::Exchange(_))));
    assert!(accepted(|operation| matches!(operation, Operation::Block(_))));
    assert!(accepted(|operation| matches!(operation, Operation::Unblock(_))));
    assert!(accepted(|operation| matches!(operation, Operation::Reserve(of) if of.from_block)));
}

/// The database is killed under load, the second time while a batch is being decided.
#[tokio::test]
async fn a_batch_is_complete_or_absent_after_a_crash_of_the_database() {
    let folder = supervisor::folder("crash-");
    let mut postgres = Postgres::start(supervisor::root().join("postgres-that-crashes")).await;
    let setup = Setup::new(folder.path()).with("--database-url", postgres.url());
    let fleet = Arc::new(Fleet::start(2, load::options(setup)).await);
    let history = Arc::new(History::default());
    let showtimes = load::showtimes(&fleet).await;
    let id = showtimes[0].0.showtime_id.clone();
    let (load, all) = Load::new(Arc::clone(&fleet), Arc::clone(&history), showtimes).start(3_000, 24);
    let crash = async {
        load.wait_for_calls(1_000).await;
        postgres.crash().await;
        load.pause();
        postgres.restart().await;
        load.resume();
        load.wait_for_calls(2_000).await;
        // All requests for this showtime wait for its lock.
        let connection = connect(postgres.url()).await;
        let lock = history.lock(&connection, &id).await;
        lock.wait_for_waiter().await;
        postgres.crash().await;
        load.pause();
        postgres.restart().await;
        load.resume();
    };
    tokio::join!(all, crash);
    history.settle(fleet.channel(0)).await;
    history.assert_holds(&connect(postgres.url()).await, &fleet.channels()).await;
    let unknown = history.calls().iter().filter(|call| matches!(call.outcome, Outcome::Unknown(_))).count();
    let is_refused =
        |outcome: &Outcome| matches!(outcome, Outcome::Refused(refusal) if refusal.reason == "STORE_UNAVAILABLE");
    let refused = history.calls().iter().filter(|call| is_refused(&call.outcome)).count();
    assert!(unknown + refused > 0, "no call was affected by the crashes");
}

/// The answer to a commit is lost, or the commit itself. The caller is answered that the outcome is unknown. When the caller
/// repeats the request, the outcome is known, and the request has had its effect once in both cases.
#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_by_its_request_id() {
    let storage = Storage::new(Store::Postgres).await;
    let proxy = Proxy::start(&storage.database().url()).await;
    let fleet = Fleet::start(1, without_sweep(storage.setup()).with("--database-url", proxy.url())).await;
    // Without the head no positions are given to events, which is a commit as well.
    let head = storage.connect().await;
    head.execute_unprepared("BEGIN; SELECT * FROM feed_head FOR UPDATE").await.expect("the head is locked");
    let history = History::default();
    let id = &history.schedule(fleet.channel(0), 2, 600).await;
    for (cut, row) in [(Cut::AfterCommit, "A"), (Cut::BeforeCommit, "B")] {
        let call_with_cut = async |operation: Operation| {
            proxy.cut_at_next_commit(cut);
            let call = history.call(fleet.channel(0), id, operation.clone());
            let (outcome, ()) = tokio::join!(call, proxy.wait_for_cut());
            let Outcome::Unknown(status) = outcome else { panic!("{outcome:?}") };
            assert_refused(&status, Code::Unavailable, "OUTCOME_UNKNOWN");
            let repeated = eventually("the database answers again", async || {
                Some(history.call(fleet.channel(0), id, operation.clone()).await)
                    .filter(|outcome| matches!(outcome, Outcome::Changed { .. }))
            });
            let Outcome::Changed { reservation, replayed, .. } = repeated.await else { unreachable!("filtered") };
            assert_eq!(replayed, cut == Cut::AfterCommit, "{operation:?}");
            reservation.reservation_id
        };
        let sold = call_with_cut(Operation::reserve(id, "one", row, 1..=2)).await;
        call_with_cut(Operation::extend(&sold)).await;
        call_with_cut(Operation::confirm(&sold)).await;
        let cancelled = call_with_cut(Operation::reserve(id, "two", row, 3..=4)).await;
        call_with_cut(Operation::cancel(&cancelled)).await;
        call_with_cut(Operation::exchange(&sold, row_seats(row, 6..=7))).await;
        call_with_cut(Operation::confirm_late(&cancelled, "card")).await;
        call_with_cut(Operation::release(&sold, row_seats(row, 6..=6))).await;
        // Its refund is paid out by a commit of its own.
        eventually("the refund is paid out", async || {
            let mut payments = PaymentsClient::new(fleet.channel(0));
            let listed = payments.list_payments(ListPaymentsRequest::default()).await.ok()?.into_inner().payments;
            let mut refunds = listed.iter().flat_map(|payment| &payment.refunds).filter(|one| !one.seats.is_empty());
            refunds.all(|refund| refund.state() == RefundState::Done).then_some(())
        })
        .await;
    }
    history.assert_holds(&storage.connect().await, &fleet.channels()).await;
}

/// Holds lapse while requests for them wait for the showtime's lock. All of these requests are refused.
#[tokio::test]
async fn requests_that_wait_for_the_lock_while_the_hold_lapses_are_refused() {
    let storage = Storage::new(Store::Postgres).await;
    // Requests wait for a lock during a part of this time.
    let fleet = Fleet::start(3, without_sweep(storage.setup()).with("--database-timeout", "30s")).await;
    let history = History::default();
    let id = &history.schedule(fleet.channel(0), 1, 1).await;
    let connection = storage.connect().await;
    // On a busy machine a hold may lapse before the row is locked. Then new holds are made.
    let (lock, held) = eventually("the row is locked before a hold lapses", async || {
        let mut held = Vec::new();
        for (customer, first) in [("one", 1), ("two", 3), ("three", 5)] {
            let operation = Operation::reserve(id, customer, "A", first..=first + 1);
            held.push(history.call(fleet.channel(0), id, operation).await.expect_reservation());
        }
        let lock = history.lock(&connection, id).await;
        if database_time(&lock.transaction).await < expiry(&held[0]) {
            return Some((lock, held));
        }
        lock.release().await;
        None
    })
    .await;
    let late = [Operation::confirm, Operation::extend, Operation::cancel];
    let late = late
        .iter()
        .zip(&held)
        .enumerate()
        .map(|(at, (operation, held))| history.call(fleet.channel(at), id, operation(&held.reservation_id)));
    let (results, ()) = tokio::join!(join_all(late), async {
        lock.wait_for_waiter().await;
        lock.wait_until_after(expiry(&held[2])).await;
        lock.release().await;
    });
    for result in results {
        result.expect_refusal("RESERVATION_EXPIRED");
    }
    history.call(fleet.channel(1), id, Operation::reserve(id, "late", "A", 1..=6)).await.expect_reservation();
    history.assert_holds(&connection, &fleet.channels()).await;
}

/// Confirmations, and reservations of the same seats by others, from 30 ms before the end of a hold to 30 ms after it. By the
/// database's clock either the confirmation is in time or the seats are free, never both.
#[tokio::test]
async fn at_the_end_of_a_hold_its_seats_are_sold_or_free_and_never_both() {
    let storage = Storage::new(Store::Postgres).await;
    let fleet = Fleet::start(3, without_sweep(storage.setup())).await;
    let history = History::default();
    let id = &history.schedule(fleet.channel(0), 6, 1).await;
    let connection = storage.connect().await;
    let moments = Moments::new();
    let holds = (0..30_usize).map(|at| {
        let (row, first) = (["A", "B", "C", "D", "E", "F"][at / 5], i32::try_from(at % 5).expect("small") * 2 + 1);
        let operation = |customer: &str| Operation::reserve(id, &format!("{customer} {at}"), row, first..=first + 1);
        let (first, rival) = (operation("first"), operation("rival"));
        let (history, fleet, moments) = (&history, &fleet, &moments);
        async move {
            let held = history.call(fleet.channel(at), id, first).await.expect_reservation();
            // From 30 ms before the end to 30 ms after it. Whenever the calls come, one of the two is true.
            let offset = TimeDelta::milliseconds(2 * i64::try_from(at).expect("small") - 30);
            moments.at(expiry(&held) + offset).await;
            let confirm = history.call(fleet.channel(at + 1), id, Operation::confirm(&held.reservation_id));
            tokio::join!(confirm, history.call(fleet.channel(at + 2), id, rival))
        }
    });
    for (confirmed, taken) in moments.run(async || database_time(&connection).await, join_all(holds)).await {
        match confirmed {
            Outcome::Changed { .. } => drop(taken.expect_refusal("SEATS_UNAVAILABLE")),
            other => drop(other.expect_refusal("RESERVATION_EXPIRED")),
        }
    }
    history.assert_holds(&connection, &fleet.channels()).await;
}

#[tokio::test]
async fn a_hold_lapses_on_time_on_every_instance_without_a_sweep() {
    let storage = Storage::new(Store::Postgres).await;
    let fleet = Fleet::start(3, without_sweep(storage.setup())).await;
    let history = History::default();
    let id = &history.schedule(fleet.channel(0), 3, 1).await;
    let connection = storage.connect().await;
    let mut held = Vec::new();
    for (at, row) in ["A", "B", "C"].into_iter().enumerate() {
        let operation = Operation::reserve(id, &format!("first {row}"), row, 1..=2);
        held.push(history.call(fleet.channel(at), id, operation).await.expect_reservation());
    }
    wait_until_after(&connection, expiry(&held[2])).await;
    // Each instance has made one of the holds and gets requests for all of them.
    for at in 0..3 {
        for held in &held {
            for operation in [Operation::confirm, Operation::extend, Operation::cancel] {
                history
                    .call(fleet.channel(at), id, operation(&held.reservation_id))
                    .await
                    .expect_refusal("RESERVATION_EXPIRED");
            }
            history.call(fleet.channel(at), id, Operation::get(&held.reservation_id)).await;
        }
    }
    for (at, row) in ["B", "C", "A"].into_iter().enumerate() {
        history
            .call(fleet.channel(at), id, Operation::reserve(id, &format!("next {row}"), row, 1..=2))
            .await
            .expect_reservation();
    }
    history.assert_holds(&connection, &fleet.channels()).await;
}

/// Each lapse is recorded once, however many instances sweep, and the seats are free.
#[tokio::test]
async fn sweeps_of_several_instances_record_every_lapse_once() {
    let storage = Storage::new(Store::Postgres).await;
    let fleet = Fleet::start(3, storage.setup().with("--sweep-interval", "100ms")).await;
    let history = History::default();
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(history.schedule(fleet.channel(0), 5, 1).await);
    }
    let holds = (0..160_usize).map(|at| {
        let (id, row) = (&ids[at % 8], ["A", "B", "C", "D", "E"][at / 8 % 5]);
        let first = i32::try_from(at / 40).expect("small") * 2 + 1;
        history.call(fleet.channel(at), id, Operation::reserve(id, &format!("customer {at}"), row, first..=first + 1))
    });
    for result in join_all(holds).await {
        result.expect_reservation();
    }
    let connection = storage.connect().await;
    eventually("all lapses are recorded", async || (count(&connection, "seat_claims").await == 0).then_some(())).await;
    assert_eq!(count(&connection, "reservations WHERE state = 'expired'").await, 160);
    assert_eq!(count(&connection, "standings WHERE next_lapse IS NOT NULL OR available_count <> 50").await, 0);
    // The checker finds that each lapse has one event and one release of its seats.
    history.assert_holds(&connection, &fleet.channels()).await;
}

/// The test claims a seat without the ledger. A batch with a reservation of this seat fails when it is written. The other
/// requests of the batch succeed.
#[tokio::test]
async fn a_command_that_cannot_be_written_does_not_fail_its_batch() {
    let storage = Storage::new(Store::Postgres).await;
    let server = without_sweep(storage.setup()).start().await;
    let history = History::default();
    let id = &history.schedule(server.channel(), 2, 600).await;
    let connection = storage.connect().await;
    history.call(server.channel(), id, Operation::reserve(id, "first", "A", 1..=1)).await.expect_reservation();
    let lock = history.lock(&connection, id).await;
    let claim = format!("INSERT INTO seat_claims VALUES ('{id}', 4, gen_random_uuid())");
    lock.transaction.execute_unprepared(&claim).await.expect("a seat is claimed");
    let Operation::Reserve(conflicting) = Operation::reserve(id, "conflicting", "A", 5..=5) else {
        unreachable!("the operation is a reservation")
    };
    let mut client = ReservationsClient::new(server.channel());
    let seats = ["A", "B"].into_iter().flat_map(|row| (1..=10).map(move |number| (row, number)));
    let others = seats.filter(|seat| ![("A", 1), ("A", 5)].contains(seat)).map(|(row, number)| {
        let operation = Operation::reserve(id, &format!("customer of {row}{number}"), row, number..=number);
        history.call(server.channel(), id, operation)
    });
    let unlock = async {
        eventually("all 19 requests are under way", async || (active(&server).await >= 19.0).then_some(())).await;
        lock.wait_for_waiter().await;
        lock.release().await;
    };
    let (refused, results, ()) = tokio::join!(client.reserve_seats(conflicting), join_all(others), unlock);
    assert_refused(&refused.expect_err("the seat is claimed"), Code::Internal, "INTERNAL");
    for result in results {
        result.expect_reservation();
    }
    // The first request may have been a batch of its own. The others were one batch, which was then repeated one by one.
    let metrics = server.metrics().await;
    let small = metrics.sum("boxoffice_ledger_batch_bucket", &["le=\"16\""]).expect("batches are counted");
    let all = metrics.sum("boxoffice_ledger_batch_count", &[]).expect("batches are counted");
    assert!(small < all, "no batch had more than 16 requests");
    connection.execute_unprepared("DELETE FROM seat_claims WHERE seat = 4").await.expect("the claim is deleted");
    history.assert_holds(&connection, &[server.channel()]).await;
}

/// The number of requests under way.
async fn active(server: &Server) -> f64 {
    server.metrics().await.sum("boxoffice_request_active", &[]).unwrap_or_default()
}

fn without_sweep(setup: Setup) -> Setup {
    setup.with("--sweep", "false")
}

fn expiry(held: &Reservation) -> DateTime<Utc> {
    let time = held.expire_time.as_ref().expect("a hold ends");
    DateTime::from_timestamp(time.seconds, time.nanos.cast_unsigned()).expect("a time")
}

async fn wait_until_after(connection: &DatabaseConnection, time: DateTime<Utc>) {
    eventually("the hold has lapsed", async || (database_time(connection).await > time).then_some(())).await;
}

async fn count(connection: &DatabaseConnection, what: &str) -> i64 {
    let statement = Statement::from_string(DbBackend::Postgres, format!("SELECT count(*) AS rows FROM {what}"));
    let row = connection.query_one_raw(statement).await.expect("the table is there").expect("one row");
    row.try_get("", "rows").expect("a number")
}

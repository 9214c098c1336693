//! Records every call and its outcome, and checks afterwards that the database can have produced them.
//!
//! Every call goes through [`History::call`], which notes its start and end by one counter for all callers. The counter shows
//! which calls ended before which others started. When all callers have finished, [`History::settle`] repeats each request
//! whose outcome is unknown, and [`History::check`] lists every anomaly, that is, whatever cannot happen if the guarantees
//! hold. It checks that
//!
//! - every answer agrees with the database: the seats, the price, the times, and the change that it reports;
//! - a refused request left no trace, and a request without an answer had its whole effect once or none;
//! - each showtime has events for every revision without a gap, and each event is legal in the state that the events before it
//!   made: seats were free, and holds were live or had lapsed, by the database's clock;
//! - each refusal was right at the revision that it names, at some time during the call, and so was each seat map and each list
//!   of blocked seats;
//! - no call was decided at an older revision than one that was known before the call started;
//! - no call was decided while a test had the showtime's row locked ([`History::lock`]);
//! - at the end the tables agree with the last state, and every seat has at most one owner.
//!
//! Purchases change seats without a call for each change, and move money. [`History::assert_purchases_hold`] checks what can be checked
//! of them: the events and the tables of the seats as above, and a model of the money.

mod answers;
mod causes;
mod check;
mod lines;
mod money;
mod operations;
mod order;
mod records;
mod refusals;
mod replay;
#[cfg(test)]
mod replay_tests;
mod seat_maps;
mod send;
mod tables;
mod unavailable;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use boxoffice::{
    clock::Clock,
    pb::boxoffice::v1::{Auditorium, BlockedSeats, ConfirmVerdict, Reservation, Seat, SeatMap, Showtime},
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, Statement, TransactionTrait as _};
use tonic::{Status, transport::Channel};

pub(crate) use self::{
    money::check_money,
    operations::{Operation, row_seats},
    refusals::Refusal,
};
use self::{replay::SeatList, send::send};
use super::{
    eventually,
    fleet::{self, schedule},
};

/// What the caller knows after a call.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// A reservation was made or changed.
    Changed {
        reservation: Box<Reservation>,
        revision: i64,
        replayed: bool,
        /// What came of a confirmation.
        verdict: ConfirmVerdict,
    },
    /// Seats were blocked or unblocked.
    Blocked {
        seats: Vec<Seat>,
        revision: i64,
        replayed: bool,
    },
    /// A reservation was read.
    Reservation(Box<Reservation>),
    /// A showtime was read.
    Showtime {
        revision: i64,
        available_count: i32,
    },
    SeatMap(Box<SeatMap>),
    /// The blocked seats were read.
    SeatBlocks {
        blocks: Vec<BlockedSeats>,
        revision: i64,
    },
    /// The showtime's row was locked by a test.
    Locked {
        revision: i64,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    },
    Refused(Box<Refusal>),
    /// The request may or may not have had its effect.
    Unknown(Box<Status>),
}

/// One call from its start to its end.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) showtime_id: String,
    pub(crate) operation: Operation,
    pub(crate) started: Moment,
    pub(crate) ended: Moment,
    pub(crate) outcome: Outcome,
}

/// A point in time, by the history's counter and by the system clock, which the database reads too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    tick: u64,
    time: DateTime<Utc>,
}

/// A showtime whose calls are recorded.
struct RecordedShowtime {
    showtime: Showtime,
    seats: SeatList,
}

#[derive(Default)]
pub(crate) struct History {
    showtimes: Mutex<BTreeMap<String, RecordedShowtime>>,
    calls: Mutex<Vec<Call>>,
    ticks: AtomicU64,
}

impl Outcome {
    /// Returns the reservation of a change that must have succeeded.
    #[track_caller]
    pub(crate) fn expect_reservation(self) -> Reservation {
        match self {
            Self::Changed { reservation, .. } => *reservation,
            other => panic!("the change did not succeed: {other:?}"),
        }
    }

    /// Returns the refusal, which must have this reason.
    #[track_caller]
    pub(crate) fn expect_refusal(self, reason: &str) -> Refusal {
        match self {
            Self::Refused(refusal) if refusal.reason == reason => *refusal,
            other => panic!("not refused with {reason}: {other:?}"),
        }
    }
}

impl History {
    /// Records the showtime from now on. Calls may name recorded showtimes only.
    pub(crate) fn record(&self, showtime: &Showtime, auditorium: &Auditorium) {
        let seats = SeatList::new(auditorium.layout.as_ref().expect("an auditorium has a layout"));
        let recorded = RecordedShowtime { showtime: showtime.clone(), seats };
        guard(&self.showtimes).insert(showtime.showtime_id.clone(), recorded);
    }

    /// Schedules and records a showtime with this many rows of ten seats and holds of this many seconds. Returns its id.
    pub(crate) async fn schedule(&self, channel: Channel, rows: u8, hold_seconds: i64) -> String {
        let (showtime, auditorium) = schedule(channel, fleet::rows(rows, 10), hold_seconds).await;
        self.record(&showtime, &auditorium);
        showtime.showtime_id
    }

    /// Sends the request over this channel and records the call.
    pub(crate) async fn call(&self, channel: Channel, showtime_id: &str, operation: Operation) -> Outcome {
        assert!(guard(&self.showtimes).contains_key(showtime_id), "showtime {showtime_id} is not recorded");
        let started = self.now();
        let outcome = send(channel, showtime_id, &operation).await;
        self.add(showtime_id, operation, started, outcome.clone());
        outcome
    }

    /// Locks the showtime's row from outside the service, so that no change of the showtime can be decided until the release.
    pub(crate) async fn lock(&self, connection: &DatabaseConnection, showtime_id: &str) -> Lock<'_> {
        let started = self.now();
        let transaction = connection.begin().await.expect("a transaction begins");
        let sql = format!("SELECT revision FROM standings WHERE showtime_id = '{showtime_id}' FOR UPDATE");
        let row = transaction.query_one_raw(statement(sql)).await.expect("the row is locked").expect("there is a row");
        let revision = row.try_get("", "revision").expect("a revision");
        let from = database_time(&transaction).await;
        Lock { history: self, transaction, showtime_id: showtime_id.to_owned(), started, revision, from }
    }

    /// Repeats every request whose outcome is unknown until its outcome is known.
    pub(crate) async fn settle(&self, channel: Channel) {
        let calls = self.calls();
        let answered = |call: &Call| {
            let answered = matches!(call.outcome, Outcome::Changed { .. } | Outcome::Blocked { .. });
            answered.then(|| call.operation.request_id().to_owned())
        };
        let mut settled: HashSet<String> = calls.iter().filter_map(answered).collect();
        // Reads have no request id and are not repeated.
        settled.insert(String::new());
        for call in calls.iter().filter(|call| matches!(call.outcome, Outcome::Unknown(_))) {
            if !settled.insert(call.operation.request_id().to_owned()) {
                continue;
            }
            eventually("the repeated request is answered", async || {
                match self.call(channel.clone(), &call.showtime_id, call.operation.clone()).await {
                    Outcome::Unknown(_) => None,
                    Outcome::Refused(refusal) if refusal.is_temporary() => None,
                    outcome => Some(outcome),
                }
            })
            .await;
        }
    }

    /// Returns all calls so far, in the order in which they ended.
    pub(crate) fn calls(&self) -> Vec<Call> {
        guard(&self.calls).clone()
    }

    fn now(&self) -> Moment {
        Moment { tick: self.ticks.fetch_add(1, Ordering::SeqCst), time: Clock::System.now() }
    }

    fn add(&self, showtime_id: &str, operation: Operation, started: Moment, outcome: Outcome) {
        let call = Call { showtime_id: showtime_id.to_owned(), operation, started, ended: self.now(), outcome };
        guard(&self.calls).push(call);
    }
}

/// A showtime's row, locked by a test.
pub(crate) struct Lock<'a> {
    history: &'a History,
    /// The transaction that has the lock. Statements that run in it run while nothing is decided.
    pub(crate) transaction: DatabaseTransaction,
    showtime_id: String,
    started: Moment,
    revision: i64,
    from: DateTime<Utc>,
}

impl Lock<'_> {
    /// Waits until another session of the database waits for a lock.
    pub(crate) async fn wait_for_waiter(&self) {
        let sql = "SELECT count(*) AS waiting FROM pg_locks WHERE NOT granted \
                   AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
        eventually("a session waits for the lock", async || {
            let row = self.transaction.query_one_raw(statement(sql)).await.expect("pg_locks is read").expect("one row");
            (row.try_get::<i64>("", "waiting").expect("a number") > 0).then_some(())
        })
        .await;
    }

    /// Waits until the database's clock is past this time.
    pub(crate) async fn wait_until_after(&self, time: DateTime<Utc>) {
        let is_past = async || (database_time(&self.transaction).await > time).then_some(());
        eventually("the time is past", is_past).await;
    }

    pub(crate) async fn release(self) {
        let until = database_time(&self.transaction).await;
        self.transaction.commit().await.expect("the lock is released");
        let outcome = Outcome::Locked { revision: self.revision, from: self.from, until };
        self.history.add(&self.showtime_id, Operation::Lock, self.started, outcome);
    }
}

/// Reads the database's clock, which decides when a hold lapses.
pub(crate) async fn database_time(connection: &impl ConnectionTrait) -> DateTime<Utc> {
    let row = connection.query_one_raw(statement("SELECT clock_timestamp() AS now")).await;
    row.expect("the database's clock is read").expect("one row").try_get("", "now").expect("a time")
}

fn statement(sql: impl Into<String>) -> Statement {
    Statement::from_string(sea_orm::DbBackend::Postgres, sql)
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

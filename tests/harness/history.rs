//! What callers asked for and were told, written down as it happened, and held against what the database says afterwards.
//!
//! Every call goes through [`History::call`], which notes when it began and ended by one counter for all, so that one knows
//! which calls were over before which others began. When everybody has finished, [`History::settle`] asks again for what is
//! not known to have happened, and [`History::check`] looks for whatever could not have come about if the promises held:
//!
//! - every answer is found in the database, with the same seats, price and times, and so is the change that it tells of;
//! - what was refused left no trace, and what was not answered happened whole or not at all, and once;
//! - every showtime's events are there, one revision after the other, and each is legal on the state that the ones before
//!   it made: seats were free, holds were alive or over, by the database's clock;
//! - each refusal was right at the revision that it names, at some time within the call;
//! - what was over before something else began has no later revision; nobody was told of an older one than was known;
//! - nothing was decided while somebody else had the showtime's row locked ([`History::lock`]);
//! - at the end, the tables agree with the last state, and every seat has one owner.

mod check;
mod deeds;
#[cfg(test)]
mod known;
mod order;
mod records;
mod refusals;
mod replay;
mod tables;
mod told;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use boxoffice::{
    clock::Clock,
    pb::boxoffice::v1::{
        Auditorium, GetShowtimeRequest, Reservation, Showtime, reservations_client::ReservationsClient,
        showtimes_client::ShowtimesClient,
    },
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, Statement, TransactionTrait as _};
use tonic::{Response, Status, transport::Channel};

use self::replay::House;
pub(crate) use self::{deeds::Deed, refusals::Refused};
use super::{
    eventually,
    fleet::{self, schedule},
};

/// What they were told.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Done {
        reservation: Box<Reservation>,
        revision: i64,
        replayed: bool,
    },
    Read(Box<Reservation>),
    Looked {
        revision: i64,
        available_count: i32,
    },
    Locked {
        revision: i64,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    },
    Refused(Box<Refused>),
    /// It may have happened.
    Unknown(Box<Status>),
}

/// One call from its beginning to its end.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) showtime_id: String,
    pub(crate) deed: Deed,
    pub(crate) begun: Moment,
    pub(crate) ended: Moment,
    pub(crate) told: Told,
}

/// When something was: by the counter of the history, and by the clock that the database reads, too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    tick: u64,
    time: DateTime<Utc>,
}

/// A showtime that is watched.
struct Stage {
    showtime: Showtime,
    house: House,
}

#[derive(Default)]
pub(crate) struct History {
    stages: Mutex<BTreeMap<String, Stage>>,
    calls: Mutex<Vec<Call>>,
    ticks: AtomicU64,
}

impl Told {
    /// The reservation of an answer that must have come.
    #[track_caller]
    pub(crate) fn done(self) -> Reservation {
        match self {
            Self::Done { reservation, .. } => *reservation,
            other => panic!("not done: {other:?}"),
        }
    }

    /// The refusal that must have come, for this reason.
    #[track_caller]
    pub(crate) fn refused(self, reason: &str) -> Refused {
        match self {
            Self::Refused(refused) if refused.reason == reason => *refused,
            other => panic!("not refused with {reason}: {other:?}"),
        }
    }
}

impl History {
    /// From now on this showtime is watched. Calls may name no other.
    pub(crate) fn watch(&self, showtime: &Showtime, auditorium: &Auditorium) {
        let house = House::new(auditorium.layout.as_ref().expect("an auditorium has a layout"));
        let stage = Stage { showtime: showtime.clone(), house };
        locked(&self.stages).insert(showtime.showtime_id.clone(), stage);
    }

    /// A showtime of so many rows of ten seats, which are held for so many seconds: scheduled, and watched. Its id.
    pub(crate) async fn stage(&self, channel: Channel, rows: u8, hold: i64) -> String {
        let (showtime, auditorium) = schedule(channel, fleet::rows(rows, 10), hold).await;
        self.watch(&showtime, &auditorium);
        showtime.showtime_id
    }

    /// Asks over this channel, and writes down what becomes of it.
    pub(crate) async fn call(&self, channel: Channel, showtime_id: &str, deed: Deed) -> Told {
        assert!(locked(&self.stages).contains_key(showtime_id), "{showtime_id} is not watched");
        let begun = self.now();
        let told = send(channel, showtime_id, &deed).await;
        self.note(showtime_id, deed, begun, told.clone());
        told
    }

    /// Locks the showtime's row behind everybody's back: until it is let go, nobody can decide anything about the showtime.
    pub(crate) async fn lock(&self, connection: &DatabaseConnection, showtime_id: &str) -> Lock<'_> {
        let begun = self.now();
        let transaction = connection.begin().await.expect("a transaction begins");
        let lock = format!("SELECT revision FROM standings WHERE showtime_id = '{showtime_id}' FOR UPDATE");
        let row = transaction.query_one_raw(plain(lock)).await.expect("the row is locked").expect("there is a row");
        let revision = row.try_get("", "revision").expect("a revision");
        let from = clock(&transaction).await;
        Lock { history: self, transaction, showtime_id: showtime_id.to_owned(), begun, revision, from }
    }

    /// Asks again for everything of which it is not known whether it happened: now it is.
    pub(crate) async fn settle(&self, channel: Channel) {
        let calls = self.calls();
        let told = |call: &Call| matches!(call.told, Told::Done { .. }).then(|| call.deed.request_id().to_owned());
        let mut known: HashSet<String> = calls.iter().filter_map(told).collect();
        // What only reads is not worth the question.
        known.insert(String::new());
        for call in calls.iter().filter(|call| matches!(call.told, Told::Unknown(_))) {
            if !known.insert(call.deed.request_id().to_owned()) {
                continue;
            }
            eventually("an answer to the same request", async || {
                match self.call(channel.clone(), &call.showtime_id, call.deed.clone()).await {
                    Told::Unknown(_) => None,
                    Told::Refused(refused) if refused.is_for_now() => None,
                    told => Some(told),
                }
            })
            .await;
        }
    }

    /// All calls so far, in the order in which they ended.
    pub(crate) fn calls(&self) -> Vec<Call> {
        locked(&self.calls).clone()
    }

    fn now(&self) -> Moment {
        Moment { tick: self.ticks.fetch_add(1, Ordering::SeqCst), time: Clock::System.now() }
    }

    fn note(&self, showtime_id: &str, deed: Deed, begun: Moment, told: Told) {
        let call = Call { showtime_id: showtime_id.to_owned(), deed, begun, ended: self.now(), told };
        locked(&self.calls).push(call);
    }
}

/// A showtime's row, locked from outside.
pub(crate) struct Lock<'a> {
    history: &'a History,
    /// What else is done in here happens while nobody decides.
    pub(crate) transaction: DatabaseTransaction,
    showtime_id: String,
    begun: Moment,
    revision: i64,
    from: DateTime<Utc>,
}

impl Lock<'_> {
    /// Waits until somebody else waits for a lock, too.
    pub(crate) async fn awaited(&self) {
        let sql = "SELECT count(*) AS waiting FROM pg_locks WHERE NOT granted \
                   AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
        eventually("somebody waits for the lock", async || {
            let row = self.transaction.query_one_raw(plain(sql)).await.expect("locks are told").expect("one row");
            (row.try_get::<i64>("", "waiting").expect("a number") > 0).then_some(())
        })
        .await;
    }

    /// Waits until it is later than this, by the clock that decides.
    pub(crate) async fn outlast(&self, time: DateTime<Utc>) {
        let later = async || (clock(&self.transaction).await > time).then_some(());
        eventually("it is later", later).await;
    }

    pub(crate) async fn release(self) {
        let until = clock(&self.transaction).await;
        self.transaction.commit().await.expect("the lock goes");
        let told = Told::Locked { revision: self.revision, from: self.from, until };
        self.history.note(&self.showtime_id, Deed::Lock, self.begun, told);
    }
}

async fn send(channel: Channel, showtime_id: &str, deed: &Deed) -> Told {
    let mut client = ReservationsClient::new(channel.clone());
    let answer = match deed.clone() {
        Deed::Reserve(request) => {
            client.reserve_seats(request).await.map(|answer| done(answer, |it| (it.reservation, it.revision)))
        }
        Deed::Confirm(request) => {
            client.confirm_reservation(request).await.map(|answer| done(answer, |it| (it.reservation, it.revision)))
        }
        Deed::Cancel(request) => {
            client.cancel_reservation(request).await.map(|answer| done(answer, |it| (it.reservation, it.revision)))
        }
        Deed::Extend(request) => {
            client.extend_reservation(request).await.map(|answer| done(answer, |it| (it.reservation, it.revision)))
        }
        Deed::Read(request) => client.get_reservation(request).await.map(|answer| {
            Told::Read(Box::new(answer.into_inner().reservation.expect("the answer has the reservation")))
        }),
        Deed::Look => {
            let request = GetShowtimeRequest { showtime_id: showtime_id.to_owned(), at_least_revision: 0 };
            ShowtimesClient::new(channel).get_showtime(request).await.map(|answer| {
                let showtime = answer.into_inner().showtime.expect("the answer has the showtime");
                Told::Looked { revision: showtime.revision, available_count: showtime.available_count }
            })
        }
        Deed::Lock => unreachable!("a lock is no call"),
    };
    answer.unwrap_or_else(|status| match Refused::read(&status) {
        Some(refused) => Told::Refused(Box::new(refused)),
        None => Told::Unknown(Box::new(status)),
    })
}

fn done<T>(answer: Response<T>, parts: impl Fn(T) -> (Option<Reservation>, i64)) -> Told {
    let replayed = answer.metadata().contains_key("idempotent-replayed");
    let (reservation, revision) = parts(answer.into_inner());
    Told::Done { reservation: Box::new(reservation.expect("the answer has the reservation")), revision, replayed }
}

/// The time by which the database decides.
pub(crate) async fn clock(connection: &impl ConnectionTrait) -> DateTime<Utc> {
    let row = connection.query_one_raw(plain("SELECT clock_timestamp() AS now")).await;
    row.expect("the database tells the time").expect("one row").try_get("", "now").expect("a time")
}

fn plain(sql: impl Into<String>) -> Statement {
    Statement::from_string(sea_orm::DbBackend::Postgres, sql)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

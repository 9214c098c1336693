//! One batch: lock, look, decide, write, commit. See `store/ledger.rs` for what each step says to the database.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use chrono::{DateTime, Utc};

use super::{Outcome, Reply, Request, TimeSource, decision::BatchDecision, writer::Writer};
use crate::{
    domain::{
        ids::{ReservationId, ShowtimeId},
        reservation::{Reservation, State},
        seating::{Command, Seating},
        showtime,
    },
    store::{
        Error, LedgerStanding, LedgerTx, LockWait, LockedShowtime, LockedShowtimes, NewAnswer, PriorReservation,
        RequestKey, StoredAnswer, outbox,
        planted::{self, Bug},
    },
    telemetry::metrics,
};

/// Revisions that are followed change by change. Beyond it, reading who has which seat is less work.
const FOLLOWED: i64 = 256;

/// How a showtime stands that is as it was scheduled.
const NEW: LedgerStanding = LedgerStanding { state: showtime::State::Scheduled, decide_time: None, next_lapse: None };

/// Tells requests apart.
type KeyOf<'a> = (&'a str, &'a str, uuid::Uuid);

/// What was found out after the locks were had.
struct Lookup<'a> {
    /// The time to decide by.
    clock: DateTime<Utc>,
    /// By whose request and which id: what was answered, and to what.
    answers: HashMap<KeyOf<'a>, AnswerOnRecord>,
    locked: HashMap<ShowtimeId, LockedShowtime>,
}

/// An answer to a request that had an effect.
struct AnswerOnRecord {
    fingerprint: Vec<u8>,
    revision: i64,
    reservation: Option<Arc<Reservation>>,
}

impl Writer {
    pub(super) async fn transact(
        &mut self,
        asks: &[&Request],
        lock_wait: LockWait,
    ) -> Result<Vec<Option<Reply>>, Error> {
        let ids: BTreeSet<_> = asks.iter().map(|ask| ask.showtime_id).collect();
        let ids: Vec<_> = ids.into_iter().collect();
        let keyed = || asks.iter().filter(|ask| !ask.validate_only).filter_map(|ask| Some((*ask, ask.key.as_ref()?)));
        let is_reserve = |ask: &Request| matches!(ask.command, Command::Reserve { .. });
        let reserving: Vec<_> = keyed().filter(|(ask, _)| is_reserve(ask)).map(|(_, key)| key).collect();
        let others: Vec<_> = keyed().filter(|(ask, _)| !is_reserve(ask)).map(|(_, key)| key).collect();

        let (mut batch, looked) = self.line.begin(&ids, lock_wait).await?;
        let mut known = self.know(looked);
        let done = async {
            Self::recall_answers(&mut batch, &others, &mut known).await?;
            if self.duplicate_checks > 0 {
                Self::recall_made(&mut batch, &reserving, &mut known).await?;
            }
            self.load_seatings(&mut batch, &known).await?;
            self.recall(&mut batch, asks).await?;
            let mut decided = BatchDecision::default();
            let mut told = Vec::with_capacity(asks.len());
            for ask in asks {
                told.push(self.tell(ask, &mut known, &mut decided)?);
            }
            Self::replay_refused(&mut batch, asks, &mut told, &mut known, &mut decided).await?;
            self.finish(&mut decided, asks);
            Ok((told, decided))
        };
        match done.await {
            Ok((told, decided)) if decided.writes.is_empty() => {
                batch.rollback().await?;
                self.show(decided);
                Ok(told)
            }
            Ok((told, BatchDecision { writes, .. })) if planted::has(Bug::AnswerBeforeCommit) => {
                tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    batch.commit(&writes).await
                });
                Ok(told)
            }
            Ok((told, decided)) => {
                batch.commit(&decided.writes).await?;
                self.show(decided);
                Ok(told)
            }
            Err(error) => {
                batch.abandon(&error).await;
                Err(error)
            }
        }
    }

    /// Makes the views show what is about to be acknowledged.
    fn show(&self, decided: BatchDecision<'_>) {
        let steps = decided.writes.steps.iter().zip(decided.shown);
        self.views.tell(steps.map(|(step, delta)| (step.showtime_id, delta, step.decide_time)).collect());
        self.views.require(&decided.unchanged);
    }

    /// Puts together what was found out with the locks.
    fn know<'a>(&self, looked: LockedShowtimes) -> Lookup<'a> {
        let clock = match &self.time {
            TimeSource::Database(clock) => looked.now.unwrap_or_else(|| clock.now()),
            TimeSource::Given(clock) => clock.now(),
        };
        let by_id = |locked: LockedShowtime| (locked.showtime_id, locked);
        Lookup { clock, answers: HashMap::new(), locked: looked.locked.into_iter().map(by_id).collect() }
    }

    /// Learns what was reserved by these requests, if they were made before.
    async fn recall_made<'a>(
        batch: &mut LedgerTx,
        keys: &[&'a RequestKey],
        known: &mut Lookup<'a>,
    ) -> Result<(), Error> {
        for PriorReservation { caller, scoped_id, fingerprint, reservation } in batch.prior_reservations(keys).await? {
            let asked = |key: &&&RequestKey| key.scoped_id() == scoped_id && key.caller == caller;
            if let Some(key) = keys.iter().find(asked) {
                let reservation = reservation.as_made();
                let revision = reservation.revision();
                known.answers.insert(
                    key_of(key),
                    AnswerOnRecord { fingerprint, revision, reservation: Some(Arc::new(reservation)) },
                );
            }
        }
        Ok(())
    }

    /// Looks whether those that were refused were made before, and then answers what they were answered then. What had been
    /// made before and was not refused cannot be made twice: its key says no, and all is done again, with a look first.
    async fn replay_refused<'a>(
        batch: &mut LedgerTx,
        asks: &[&'a Request],
        told: &mut [Option<Reply>],
        known: &mut Lookup<'a>,
        decided: &mut BatchDecision<'_>,
    ) -> Result<(), Error> {
        let is_reserve = |ask: &Request| matches!(ask.command, Command::Reserve { .. }) && !ask.validate_only;
        let refused = asks.iter().zip(told).filter_map(|(ask, told)| {
            let (key, told) = (ask.key.as_ref().filter(|_| is_reserve(ask))?, told.as_mut()?);
            matches!(told.outcome, Outcome::Refused(_)).then_some((ask.showtime_id, key, told))
        });
        let refused: Vec<_> = refused.collect();
        let keys: Vec<_> = refused.iter().map(|(_, key, _)| *key).collect();
        Self::recall_made(batch, &keys, known).await?;
        for (id, key, told) in refused {
            if let Some((revision, outcome)) = known.replay(key) {
                decided.acknowledge(id, revision, &outcome);
                (told.revision, told.outcome) = (revision, outcome);
            }
        }
        Ok(())
    }

    /// Learns what was answered to these requests, if they were made before.
    async fn recall_answers<'a>(
        batch: &mut LedgerTx,
        keys: &[&'a RequestKey],
        known: &mut Lookup<'a>,
    ) -> Result<(), Error> {
        for StoredAnswer { caller, method, request_id, fingerprint, revision, reservation } in
            batch.answers(keys).await?
        {
            let asked = |key: &&&RequestKey| key_of(key) == (caller.as_str(), method.as_str(), request_id);
            if let Some(key) = keys.iter().find(asked) {
                known.answers.insert(key_of(key), AnswerOnRecord { fingerprint, revision, reservation });
            }
        }
        Ok(())
    }

    /// Learns who has which seat, where that is not known as of the revision that is locked.
    async fn load_seatings(&mut self, batch: &mut LedgerTx, known: &Lookup<'_>) -> Result<(), Error> {
        self.catch_up(batch, known).await?;
        let stale: Vec<_> = known.locked.values().filter(|locked| self.behind(locked) != Some(0)).copied().collect();
        if stale.is_empty() {
            return Ok(());
        }
        // A showtime that is as it was scheduled has nothing to read.
        let ids: Vec<_> = stale.iter().filter(|locked| locked.revision > 1).map(|locked| locked.showtime_id).collect();
        let (mut stands, mut live) = (HashMap::new(), HashMap::<_, Vec<_>>::new());
        if !ids.is_empty() {
            metrics::seatings_read(ids.len());
            stands.extend(batch.standings(&ids).await?);
            for reservation in batch.live_reservations(&ids).await? {
                live.entry(reservation.showtime_id).or_default().push(reservation);
            }
        }
        for LockedShowtime { showtime_id, revision } in stale {
            let Some(plan) = self.memory.plan(showtime_id).cloned() else { continue };
            let LedgerStanding { state, decide_time, next_lapse } = stands.get(&showtime_id).copied().unwrap_or(NEW);
            let latest = decide_time.max(self.memory.latest(showtime_id)).unwrap_or(plan.facts.create_time);
            let live = live.remove(&showtime_id).unwrap_or_default();
            self.memory.learn(Seating::new(plan, state, revision, latest, live), next_lapse);
        }
        Ok(())
    }

    /// How many revisions the memory of a showtime is behind, if there is any.
    fn behind(&self, locked: &LockedShowtime) -> Option<i64> {
        Some(locked.revision - self.memory.seating_at(locked.showtime_id)?)
    }

    /// Follows what other instances did, change by change, where that is little. Only they can have done anything, so there
    /// is nothing to follow on `SQLite`.
    async fn catch_up(&mut self, batch: &mut LedgerTx, known: &Lookup<'_>) -> Result<(), Error> {
        let near =
            |locked: &&LockedShowtime| self.behind(locked).is_some_and(|behind| (1..=FOLLOWED).contains(&behind));
        let near = known.locked.values().filter(near);
        let near: Vec<_> =
            near.filter_map(|at| Some((at.showtime_id, self.memory.seating_at(at.showtime_id)?))).collect();
        if near.is_empty() || !self.store.has_clock() {
            return Ok(());
        }
        for happened in batch.events_since(&near).await? {
            let id = ShowtimeId(happened.aggregate);
            if let Some(seating) = self.memory.seating(id)
                && !outbox::catch_up(seating, &happened.events)
            {
                self.memory.forget([id].into_iter());
            }
        }
        for (id, _) in near {
            let next = self.memory.seating(id).and_then(|seating| seating.next_lapse());
            let before = self.memory.next_lapse(id);
            self.memory.learn_lapse(id, [before, next].into_iter().flatten().min());
        }
        Ok(())
    }

    /// Learns of reservations that are asked about and are not live.
    async fn recall(&mut self, batch: &mut LedgerTx, asks: &[&Request]) -> Result<(), Error> {
        let mut unknown = Vec::new();
        for ask in asks {
            let Some(id) = named(&ask.command) else { continue };
            let Some(seating) = self.memory.seating(ask.showtime_id) else { continue };
            if seating.reservation(id).is_some() {
                continue;
            }
            match &ask.record {
                // It stays what it is.
                Some(record) if matches!(record.state(), State::Cancelled { .. } | State::Expired) => {
                    seating.recall(Arc::clone(record));
                }
                _ => unknown.push(id),
            }
        }
        if !unknown.is_empty() {
            for reservation in batch.reservations(&unknown).await? {
                if let Some(seating) = self.memory.seating(reservation.showtime_id) {
                    seating.recall(Arc::new(reservation));
                }
            }
        }
        Ok(())
    }

    /// Decides one command, after all that came before it.
    fn tell<'a>(
        &mut self,
        ask: &'a Request,
        known: &mut Lookup<'a>,
        decided: &mut BatchDecision<'a>,
    ) -> Result<Option<Reply>, Error> {
        let id = ask.showtime_id;
        let (Some(seating), Some(locked)) = (self.memory.seating(id), known.locked.get(&id)) else { return Ok(None) };
        let now = seating.moment(known.clock);
        let plan = Arc::clone(seating.plan());
        let told = |revision, outcome| Some(Reply { plan: Arc::clone(&plan), revision, now, outcome });
        let key = ask.key.as_ref().filter(|_| !ask.validate_only);
        if let Some(key) = key
            && let Some((revision, outcome)) = known.replay(key)
        {
            decided.acknowledge(id, revision, &outcome);
            return Ok(told(revision, outcome));
        }
        let decision = match decided.decide(seating, &ask.command, &self.rules, now) {
            Ok(decision) => decision,
            Err(refusal) => return Ok(told(seating.revision(), Outcome::Refused(refusal))),
        };
        let reservation = decision.reservation;
        if ask.validate_only {
            return Ok(told(seating.revision(), Outcome::Done(reservation)));
        }
        let mut revision = seating.revision();
        if !decision.changes.is_empty() {
            seating.apply(&decision.changes, now);
            revision = seating.revision();
            decided.note(&plan, locked, now, revision, ask, &decision.changes)?;
        } else if let Some(reservation) = &reservation {
            revision = reservation.revision();
            decided.unchanged.push((id, revision));
        }
        if let Some(key) = key {
            let kept =
                AnswerOnRecord { fingerprint: key.fingerprint.to_vec(), revision, reservation: reservation.clone() };
            known.answers.insert(key_of(key), kept);
            if !matches!(ask.command, Command::Reserve { .. }) {
                let (key, reservation) = (key.clone(), reservation.clone());
                decided.writes.answers.push(NewAnswer { key, revision, reservation, decide_time: now });
            }
        }
        Ok(told(revision, Outcome::Done(reservation)))
    }

    /// Completes the steps with where they lead to.
    fn finish(&mut self, decided: &mut BatchDecision<'_>, asks: &[&Request]) {
        let mut first_ends: HashMap<ShowtimeId, DateTime<Utc>> = HashMap::new();
        for (made, _) in &decided.writes.made {
            let first = first_ends.entry(made.showtime_id).or_insert(made.expire_time());
            *first = made.expire_time().min(*first);
        }
        for step in &mut decided.writes.steps {
            let before = self.memory.next_lapse(step.showtime_id);
            let Some(seating) = self.memory.seating(step.showtime_id) else { continue };
            step.revision = seating.revision();
            step.available_count = seating.unclaimed_count();
            // It may be too early: it is corrected by the sweep that finds nothing. Being constant, it spares an index.
            step.next_lapse = match before {
                Some(before) => first_ends.get(&step.showtime_id).map(|first| before.min(*first)).or(Some(before)),
                None => seating.next_lapse(),
            };
            self.memory.learn_lapse(step.showtime_id, step.next_lapse);
        }
        for ask in asks.iter().filter(|ask| matches!(ask.command, Command::Expire)) {
            let id = ask.showtime_id;
            let before = self.memory.next_lapse(id);
            let Some(seating) = self.memory.seating(id) else { continue };
            let next = seating.next_lapse();
            match decided.steps.get(&id) {
                Some(step) => decided.writes.steps[*step].next_lapse = next,
                None if next != before => decided.writes.lapses.push((id, next)),
                None => {}
            }
            self.memory.learn_lapse(id, next);
        }
    }
}

impl Lookup<'_> {
    /// What this request was answered, if it was made before.
    fn replay(&self, key: &RequestKey) -> Option<(i64, Outcome)> {
        let kept = self.answers.get(&key_of(key))?;
        let same = key.fingerprint.starts_with(&kept.fingerprint) && !kept.fingerprint.is_empty();
        let outcome = if same { Outcome::Replayed(kept.reservation.clone()) } else { Outcome::RequestReused };
        Some((kept.revision, outcome))
    }
}

fn key_of(key: &RequestKey) -> KeyOf<'_> {
    (&key.caller, key.method, key.request_id.0)
}

/// The reservation that a command is about.
fn named(command: &Command) -> Option<ReservationId> {
    match command {
        Command::Confirm { reservation_id, .. }
        | Command::Cancel { reservation_id, .. }
        | Command::Extend { reservation_id, .. } => Some(*reservation_id),
        Command::Reserve { .. } | Command::Expire | Command::CancelShowtime { .. } => None,
    }
}

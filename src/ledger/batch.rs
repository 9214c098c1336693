//! One batch in one transaction: lock, read what is missing, decide, write, commit.
//!
//! [`crate::store::LedgerTx`] has the statements for each step.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use chrono::{DateTime, Utc};

use super::{
    decision::BatchDecision,
    lookup::Lookup,
    planted::{freed_first, freed_while_paying},
    request::{Outcome, Reply, Request},
    writer::Writer,
};
use crate::{
    domain::{
        ids::{ReservationId, ShowtimeId},
        seating::{Command, Seating},
        showtime,
    },
    store::{
        Error, LedgerStanding, LedgerTx, LockWait, LockedShowtime, NewAnswer, RequestKey, outbox,
        planted::{self, Bug},
    },
    telemetry::metrics,
};

/// A seating that is more revisions behind than this is read anew, which is less work than replaying them.
const MAX_REPLAYED: i64 = 256;

/// The standing of a showtime that nothing has happened to.
const NEW: LedgerStanding = LedgerStanding { state: showtime::State::Scheduled, decide_time: None, next_lapse: None };

impl Writer {
    /// Decides these requests in one transaction. Replies are in the order of the requests; `None` is for a showtime that
    /// does not exist. The decision has been committed when this returns, and the views do not show it yet.
    pub(super) async fn transact<'a>(
        &mut self,
        requests: &[&'a Request],
        lock_wait: LockWait,
    ) -> Result<(Vec<Option<Reply>>, BatchDecision<'a>), Error> {
        let ids: BTreeSet<_> = requests.iter().map(|request| request.showtime_id).collect();
        let ids: Vec<_> = ids.into_iter().collect();
        let (mut tx, locked) = self.connection.begin(&ids, lock_wait).await?;
        let mut lookup = Lookup::new(&self.time, locked);
        match self.decide_all(&mut tx, requests, &mut lookup).await {
            Ok((replies, decision)) if decision.writes.is_empty() => {
                if decision.unchanged.is_empty() {
                    tx.rollback().await?;
                } else {
                    tx.acknowledge().await?;
                }
                Ok((replies, decision))
            }
            Ok((replies, BatchDecision { writes, .. })) if planted::has(Bug::AnswerBeforeCommit) => {
                tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    tx.commit(&writes).await
                });
                Ok((replies, BatchDecision::default()))
            }
            Ok((replies, decision)) => {
                tx.commit(&decision.writes).await?;
                self.store.events_written().send();
                Ok((replies, decision))
            }
            Err(error) => {
                tx.abandon(&error).await;
                Err(error)
            }
        }
    }

    async fn decide_all<'a>(
        &mut self,
        tx: &mut LedgerTx,
        requests: &[&'a Request],
        lookup: &mut Lookup<'a>,
    ) -> Result<(Vec<Option<Reply>>, BatchDecision<'a>), Error> {
        lookup.read_answers(tx, &keys(requests, |request| !request.reserves())).await?;
        if self.duplicate_checks > 0 {
            lookup.read_reservations(tx, &keys(requests, Request::reserves)).await?;
        }
        self.load_seatings(tx, lookup).await?;
        self.load_ended(tx, requests).await?;
        let mut decision = BatchDecision::default();
        let mut replies = Vec::with_capacity(requests.len());
        for request in requests {
            replies.push(self.decide(request, lookup, &mut decision)?);
        }
        look_up_refused(tx, requests, &mut replies, lookup, &mut decision).await?;
        self.complete_advances(&mut decision, requests);
        Ok((replies, decision))
    }

    /// Makes the views show what is about to be acknowledged.
    pub(super) fn update_views(&self, decision: BatchDecision<'_>) {
        let advances = decision.writes.advances.iter().zip(decision.deltas);
        self.views.apply(advances.map(|(advance, delta)| (advance.showtime_id, delta, advance.decide_time)).collect());
        self.views.require(&decision.unchanged);
    }

    /// Reads the seats of showtimes that are not in memory as of the revision that is locked.
    async fn load_seatings(&mut self, tx: &mut LedgerTx, lookup: &Lookup<'_>) -> Result<(), Error> {
        self.replay(tx, lookup).await?;
        let stale: Vec<_> =
            lookup.locked.values().filter(|locked| self.revisions_behind(locked) != Some(0)).copied().collect();
        if stale.is_empty() {
            return Ok(());
        }
        // At revision 1 nothing has happened, so there is nothing to read.
        let ids: Vec<_> = stale.iter().filter(|locked| locked.revision > 1).map(|locked| locked.showtime_id).collect();
        let (mut stands, mut live) = (HashMap::<_, LedgerStanding>::new(), HashMap::<_, Vec<_>>::new());
        let mut blocked = HashMap::<_, Vec<_>>::new();
        if !ids.is_empty() {
            metrics::seatings_read(ids.len());
            stands.extend(tx.standings(&ids).await?);
            for reservation in tx.live_reservations(&ids).await? {
                live.entry(reservation.showtime_id).or_default().push(reservation);
            }
            for (id, seat) in tx.blocked(&ids).await? {
                blocked.entry(id).or_default().push(seat);
            }
        }
        for LockedShowtime { showtime_id, revision } in stale {
            let Some(plan) = self.memory.plan(showtime_id).cloned() else { continue };
            let LedgerStanding { state, decide_time, next_lapse } = stands.get(&showtime_id).copied().unwrap_or(NEW);
            let changed_at = decide_time.unwrap_or(plan.facts.create_time);
            let live = live.remove(&showtime_id).unwrap_or_default();
            let blocked = blocked.remove(&showtime_id).unwrap_or_default();
            let mut seating = Seating::new(plan, state, revision, changed_at, live, blocked);
            self.memory.latest(showtime_id).into_iter().for_each(|time| seating.not_before(time));
            self.memory.insert(seating, next_lapse);
        }
        Ok(())
    }

    /// How far the seating in memory is behind the locked revision; `None` if there is none in memory.
    fn revisions_behind(&self, locked: &LockedShowtime) -> Option<i64> {
        Some(locked.revision - self.memory.revision(locked.showtime_id)?)
    }

    /// Replays the steps of other instances, if there are at most 256 revisions. On `SQLite` there are no other instances.
    async fn replay(&mut self, tx: &mut LedgerTx, lookup: &Lookup<'_>) -> Result<(), Error> {
        if !self.store.has_clock() {
            return Ok(());
        }
        let is_behind = |locked: &&LockedShowtime| {
            self.revisions_behind(locked).is_some_and(|behind| (1..=MAX_REPLAYED).contains(&behind))
        };
        let behind = lookup.locked.values().filter(is_behind);
        let behind: Vec<_> =
            behind.filter_map(|locked| Some((locked.showtime_id, self.memory.revision(locked.showtime_id)?))).collect();
        if behind.is_empty() {
            return Ok(());
        }
        for row in tx.events_since(&behind).await? {
            let id = ShowtimeId(row.aggregate);
            if let Some(seating) = self.memory.seating(id)
                && !outbox::replay(seating, &row.events)
            {
                self.memory.invalidate([id].into_iter());
            }
        }
        for (id, _) in behind {
            let next = self.memory.seating(id).and_then(|seating| seating.next_lapse());
            let before = self.memory.next_lapse(id);
            self.memory.set_next_lapse(id, [before, next].into_iter().flatten().min());
        }
        Ok(())
    }

    /// Reads the reservations that commands name and that are not live, so that the commands are refused by name.
    async fn load_ended(&mut self, tx: &mut LedgerTx, requests: &[&Request]) -> Result<(), Error> {
        let mut missing = Vec::new();
        for request in requests {
            let Some(id) = named_reservation(&request.command) else { continue };
            let Some(seating) = self.memory.seating(request.showtime_id) else { continue };
            if seating.reservation(id).is_none() {
                missing.push(id);
            }
        }
        if !missing.is_empty() {
            for reservation in tx.reservations(&missing).await? {
                if let Some(seating) = self.memory.seating(reservation.showtime_id) {
                    seating.recall(Arc::new(reservation));
                }
            }
        }
        Ok(())
    }

    /// Decides one request on the state that the requests before it have led to.
    fn decide<'a>(
        &mut self,
        request: &'a Request,
        lookup: &mut Lookup<'a>,
        decision: &mut BatchDecision<'a>,
    ) -> Result<Option<Reply>, Error> {
        let id = request.showtime_id;
        let (Some(seating), Some(locked)) = (self.memory.seating(id), lookup.locked.get(&id)) else { return Ok(None) };
        let now = seating.moment(&request.command, lookup.now);
        let plan = Arc::clone(seating.plan());
        let reply = |revision, outcome| Some(Reply { plan: Arc::clone(&plan), revision, now, outcome, changed: false });
        let key = request.effective_key();
        if let Some((revision, outcome)) = key.and_then(|key| lookup.stored_answer(key)) {
            decision.add_stored(id, revision, &outcome);
            return Ok(reply(revision, outcome));
        }
        if let Some(changes) = freed_while_paying(seating, now) {
            seating.apply(&changes, now);
            decision.add(&plan, locked, now, seating.revision(), request, &changes)?;
        }
        let decided = match decision.decide(seating, &request.command, &self.rules, now) {
            Ok(decided) => decided,
            Err(refusal) => {
                let revision = seating.revision();
                if let Some(changes) = freed_first(seating, &request.command, &refusal, now) {
                    seating.apply(&changes, now);
                    decision.add(&plan, locked, now, seating.revision(), request, &changes)?;
                }
                return Ok(reply(revision, Outcome::Refused(refusal)));
            }
        };
        let reservation = decided.reservation;
        let mut revision = seating.revision();
        if request.validate_only {
            return Ok(reply(revision, Outcome::Done(reservation)));
        }
        if !decided.changes.is_empty() {
            seating.apply(&decided.changes, now);
            revision = seating.revision();
            decision.add(&plan, locked, now, revision, request, &decided.changes)?;
        } else if let Some(reservation) = &reservation {
            revision = reservation.revision();
            decision.unchanged.push((id, revision));
        }
        if let Some(key) = key {
            lookup.insert(key, revision, reservation.clone());
            if !request.reserves() {
                let (key, reservation) = (key.clone(), reservation.clone());
                decision.writes.answers.push(NewAnswer { key, revision, reservation, decide_time: now });
            }
        }
        let changed = !decided.changes.is_empty();
        Ok(Some(Reply { plan, revision, now, outcome: Outcome::Done(reservation), changed }))
    }

    /// Fills in the end of each advance: the revision, the seats left, and the time of the next lapse.
    fn complete_advances(&mut self, decision: &mut BatchDecision<'_>, requests: &[&Request]) {
        let mut first_lapses: HashMap<ShowtimeId, DateTime<Utc>> = HashMap::new();
        for (made, _) in &decision.writes.made {
            let first = first_lapses.entry(made.showtime_id).or_insert(made.expire_time());
            *first = made.expire_time().min(*first);
        }
        for advance in &mut decision.writes.advances {
            let before = self.memory.next_lapse(advance.showtime_id);
            let Some(seating) = self.memory.seating(advance.showtime_id) else { continue };
            advance.revision = seating.revision();
            advance.available_count = seating.unclaimed_count();
            // It may be too early: a sweep that finds nothing corrects it. An unchanged value avoids an index update.
            advance.next_lapse = match before {
                Some(before) => first_lapses.get(&advance.showtime_id).map(|first| before.min(*first)).or(Some(before)),
                None => seating.next_lapse(),
            };
            self.memory.set_next_lapse(advance.showtime_id, advance.next_lapse);
        }
        for request in requests.iter().filter(|request| matches!(request.command, Command::Expire)) {
            let id = request.showtime_id;
            let Some(seating) = self.memory.seating(id) else { continue };
            let next = seating.next_lapse();
            match decision.advance_index.get(&id) {
                Some(advance) => decision.writes.advances[*advance].next_lapse = next,
                // The time in the database was too early, or the sweep had not found the showtime.
                None => decision.writes.lapses.push((id, next)),
            }
            self.memory.set_next_lapse(id, next);
        }
    }
}

/// Looks up the request ids of reservations that were refused. A repeated request is answered with its stored answer instead.
///
/// A repeated request that is not refused is not found here: its insert violates the unique index, and the batch is repeated
/// with a lookup first.
async fn look_up_refused<'a>(
    tx: &mut LedgerTx,
    requests: &[&'a Request],
    replies: &mut [Option<Reply>],
    lookup: &mut Lookup<'a>,
    decision: &mut BatchDecision<'_>,
) -> Result<(), Error> {
    let refused = requests.iter().zip(replies).filter_map(|(request, reply)| {
        let key = request.effective_key().filter(|_| request.reserves())?;
        let reply = reply.as_mut().filter(|reply| matches!(reply.outcome, Outcome::Refused(_)))?;
        Some((request.showtime_id, key, reply))
    });
    let refused: Vec<_> = refused.collect();
    let keys: Vec<_> = refused.iter().map(|(_, key, _)| *key).collect();
    lookup.read_reservations(tx, &keys).await?;
    for (id, key, reply) in refused {
        if let Some((revision, outcome)) = lookup.stored_answer(key) {
            decision.add_stored(id, revision, &outcome);
            (reply.revision, reply.outcome) = (revision, outcome);
        }
    }
    Ok(())
}

/// The request keys of these requests, as far as they are looked up at all.
fn keys<'a>(requests: &[&'a Request], which: impl Fn(&Request) -> bool) -> Vec<&'a RequestKey> {
    requests.iter().filter(|request| which(request)).filter_map(|request| request.effective_key()).collect()
}

/// The reservation that a command names.
fn named_reservation(command: &Command) -> Option<ReservationId> {
    match command {
        Command::Pay { reservation_id, .. }
        | Command::StopPayment { reservation_id, .. }
        | Command::Confirm { reservation_id, .. }
        | Command::Cancel { reservation_id, .. }
        | Command::Extend { reservation_id, .. }
        | Command::Release { reservation_id, .. }
        | Command::Exchange { reservation_id, .. } => Some(*reservation_id),
        Command::Reserve { .. }
        | Command::Block { .. }
        | Command::Unblock { .. }
        | Command::Expire
        | Command::CancelShowtime { .. } => None,
    }
}

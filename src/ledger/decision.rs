//! What a batch decided, put together for writing.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};

use super::{Outcome, Request};
use crate::{
    domain::{
        ids::ShowtimeId,
        seat_map::Delta,
        seating::{Change, Choice, Command, Decision, Refusal, Rules, Seating, ShowtimePlan},
    },
    store::{Error, LedgerWrites, LockedShowtime, ShowtimeStep, outbox},
};

/// What is decided, put together for writing.
#[derive(Default)]
pub(super) struct BatchDecision<'a> {
    pub(super) writes: LedgerWrites,
    /// What each of its steps shows.
    pub(super) shown: Vec<Delta>,
    /// Which of the steps is a showtime's.
    pub(super) steps: HashMap<ShowtimeId, usize>,
    /// Accepted requests that changed nothing, by showtime and the revision in the answer.
    pub(super) unchanged: Vec<(ShowtimeId, i64)>,
    /// The last refusal of each choice of seats and its revision, for those who want the same.
    refused: HashMap<(ShowtimeId, &'a Choice), (i64, Arc<Refusal>)>,
}

impl<'a> BatchDecision<'a> {
    /// Decides; of many who want the same seats, only the first refusal is thought through.
    pub(super) fn decide(
        &mut self,
        seating: &Seating,
        command: &'a Command,
        rules: &Rules,
        now: DateTime<Utc>,
    ) -> Result<Decision, Arc<Refusal>> {
        let Command::Reserve { choice, .. } = command else {
            return seating.decide(command, rules, now).map_err(Arc::new);
        };
        let (id, revision) = (seating.plan().facts.showtime_id, seating.revision());
        if let Some((at, refusal)) = self.refused.get(&(id, choice))
            && *at == revision
        {
            return Err(Arc::clone(refusal));
        }
        seating.decide(command, rules, now).map_err(|refusal| {
            let depends_on_seats_alone = matches!(refusal, Refusal::Unavailable(_) | Refusal::LeavesOrphan(_));
            let refusal = Arc::new(refusal);
            if depends_on_seats_alone {
                self.refused.insert((id, choice), (revision, Arc::clone(&refusal)));
            }
            refusal
        })
    }

    /// Notes that a request was answered as it was before. The revision in the answer to another request may be that of
    /// another showtime.
    pub(super) fn acknowledge(&mut self, id: ShowtimeId, revision: i64, outcome: &Outcome) {
        match outcome {
            Outcome::Done(_) | Outcome::Replayed(_) => self.unchanged.push((id, revision)),
            Outcome::RequestReused | Outcome::Refused(_) => {}
        }
    }

    /// Notes the changes of one command.
    pub(super) fn note(
        &mut self,
        plan: &ShowtimePlan,
        locked: &LockedShowtime,
        now: DateTime<Utc>,
        revision: i64,
        ask: &Request,
        changes: &[Change],
    ) -> Result<(), Error> {
        let writes = &mut self.writes;
        let shown = &mut self.shown;
        let step = *self.steps.entry(ask.showtime_id).or_insert_with(|| {
            shown.push(Delta::from(locked.revision));
            writes.steps.push(ShowtimeStep {
                showtime_id: ask.showtime_id,
                before: locked.revision,
                revision,
                available_count: 0,
                next_lapse: None,
                decide_time: now,
                cancel_time: None,
                events: Vec::new(),
            });
            writes.steps.len() - 1
        });
        outbox::add_changes(&mut writes.steps[step].events, plan, revision, now, ask.trace_id, changes);
        shown[step].revision = revision;
        for change in changes {
            shown[step].note(change);
            match change {
                Change::Reserved(made) => writes.make(made, ask.key.clone()),
                Change::Confirmed(now) | Change::Extended(now) => writes.change(now)?,
                Change::Cancelled(gone) | Change::Expired(gone) => {
                    writes.change(gone)?;
                    writes.released.push(Arc::clone(gone));
                }
                Change::ShowtimeCancelled { at, .. } => writes.steps[step].cancel_time = Some(*at),
            }
        }
        Ok(())
    }
}

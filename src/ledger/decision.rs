//! The decisions of one batch, ready to be written.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};

use super::{
    planted::{claims_nothing, sold_anyway},
    request::{Outcome, Request},
};
use crate::{
    domain::{
        ids::ShowtimeId,
        seat_map::Delta,
        seating::{Change, Command, Decision, Refusal, Rules, Seating, ShowtimePlan, Wish},
    },
    store::{
        Error, LedgerWrites, LockedShowtime, ShowtimeAdvance, outbox,
        planted::{self, Bug},
    },
};

/// What a request wants to hold.
type Wanted<'a> = (ShowtimeId, &'a Wish);

/// The decisions of one batch.
#[derive(Default)]
pub(super) struct BatchDecision<'a> {
    pub(super) writes: LedgerWrites,
    /// For each advance in `writes.advances`, at the same index, how it changes the seat map.
    pub(super) deltas: Vec<Delta>,
    /// The index of each showtime's advance.
    pub(super) advance_index: HashMap<ShowtimeId, usize>,
    /// Accepted requests that changed nothing: the showtime, and the revision in the answer. They acknowledge earlier commits.
    pub(super) unchanged: Vec<(ShowtimeId, i64)>,
    /// The last refusal of each choice of seats, with its revision, for other requests for the same seats.
    refusals: HashMap<Wanted<'a>, (i64, Arc<Refusal>)>,
}

impl<'a> BatchDecision<'a> {
    /// Decides one command. Of many requests for the same seats at the same revision, the refusal is computed once.
    pub(super) fn decide(
        &mut self,
        seating: &Seating,
        command: &'a Command,
        rules: &Rules,
        now: DateTime<Utc>,
    ) -> Result<Decision, Arc<Refusal>> {
        let Command::Reserve { wish, .. } = command else {
            let decided = seating.decide(command, rules, now).map_err(Arc::new)?;
            return Ok(sold_anyway(seating, decided, command, rules, now));
        };
        if planted::has(Bug::FirstTypeForAll) {
            let mut command = command.clone();
            if let Command::Reserve { wish, .. } = &mut command {
                wish.tickets.clear();
            }
            return seating.decide(&command, rules, now).map_err(Arc::new);
        }
        let (id, revision) = (seating.plan().facts.showtime_id, seating.revision());
        if let Some((at, refusal)) = self.refusals.get(&(id, wish))
            && *at == revision
        {
            return Err(Arc::clone(refusal));
        }
        seating.decide(command, rules, now).map_err(|refusal| {
            let depends_on_seats_alone =
                matches!(refusal, Refusal::Unavailable(_) | Refusal::LeavesOrphan(_) | Refusal::AccessibleOnly(_));
            let refusal = Arc::new(refusal);
            if depends_on_seats_alone {
                self.refusals.insert((id, wish), (revision, Arc::clone(&refusal)));
            }
            refusal
        })
    }

    /// Adds the changes of one command to its showtime's advance, and the rows that commit with them.
    pub(super) fn add(
        &mut self,
        plan: &ShowtimePlan,
        locked: &LockedShowtime,
        decide_time: DateTime<Utc>,
        revision: i64,
        request: &Request,
        changes: &[Change],
    ) -> Result<(), Error> {
        let (writes, deltas) = (&mut self.writes, &mut self.deltas);
        let advance = *self.advance_index.entry(request.showtime_id).or_insert_with(|| {
            deltas.push(Delta::from(locked.revision));
            writes.advances.push(ShowtimeAdvance {
                showtime_id: request.showtime_id,
                before: locked.revision,
                revision,
                available_count: 0,
                next_lapse: None,
                decide_time,
                cancel_time: None,
                events: Vec::new(),
                event_count: 0,
            });
            writes.advances.len() - 1
        });
        let row = &mut writes.advances[advance];
        row.event_count += outbox::add_changes(&mut row.events, plan, revision, decide_time, request.trace, changes);
        deltas[advance].revision = revision;
        writes.companions.extend_from_slice(&request.companions);
        if let Some(maker) = &request.more_companions {
            writes.companions.extend(maker.make(plan, changes, decide_time));
        }
        for change in changes {
            deltas[advance].note(change);
            match change {
                Change::Reserved(made) => writes.make(made, request.key.clone()),
                Change::Paying(now) | Change::Confirmed(now) | Change::Extended(now) | Change::RefundDue(now) => {
                    writes.change(now)?;
                }
                Change::Recovered(sold) => {
                    writes.change(sold)?;
                    writes.claim(sold, sold.seats().filter(|_| !claims_nothing()));
                }
                Change::Cancelled(ended) | Change::Expired(ended) => {
                    writes.change(ended)?;
                    writes.free(ended, ended.seats());
                }
                Change::Exchanged { reservation, before } => {
                    writes.change(reservation)?;
                    writes.free(reservation, before.iter().copied());
                    writes.claim(reservation, reservation.seats());
                }
                Change::Released { reservation, seats, .. } => {
                    if !planted::has(Bug::ReleasedSeatsKept) {
                        writes.change(reservation)?;
                    }
                    writes.free(reservation, seats.iter().copied());
                }
                Change::Blocked { seats, blockage } => {
                    writes.block((request.showtime_id, seats), blockage, decide_time, revision);
                }
                Change::Unblocked { seats } => writes.unblock(request.showtime_id, seats),
                Change::ShowtimeCancelled { at, .. } => writes.advances[advance].cancel_time = Some(*at),
            }
        }
        Ok(())
    }

    /// Notes that a repeated request gets its stored answer. If the request id was used with other content, the stored
    /// answer may be about another showtime, and its revision means nothing here.
    pub(super) fn add_stored(&mut self, id: ShowtimeId, revision: i64, outcome: &Outcome) {
        match outcome {
            Outcome::Done(_) | Outcome::Repeated(_) => self.unchanged.push((id, revision)),
            Outcome::RequestReused | Outcome::Refused(_) => {}
        }
    }
}

//! The rules, one function for each command.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Change, Choice, Command, Decision, Obstacle, OrphanRule, Refusal, Rules, Seating, Unavailable, choose::Free,
};
use crate::domain::{
    ids::ReservationId,
    prices::TicketCount,
    reservation::{CustomerId, Hold, NoLongerHeld, Phase, Reservation, State, Tender},
    seat_index::{BadChoice, Block},
    showtime,
};

/// The most lapses that one command records. The next command records the others.
const LAPSED_AT_ONCE: usize = 200;

impl Seating {
    /// Decides a command at a time that [`Seating::moment`] returned.
    ///
    /// # Errors
    /// The command is refused and changes nothing.
    pub fn decide(&self, command: &Command, rules: &Rules, now: DateTime<Utc>) -> Result<Decision, Refusal> {
        match command {
            Command::Reserve { reservation_id, customer_id, choice, tickets } => {
                self.reserve(*reservation_id, customer_id, (choice, tickets), rules, now)
            }
            Command::Confirm { reservation_id, customer_id, tender } => {
                let reservation = self.named(*reservation_id, customer_id.as_ref())?;
                self.confirm(reservation, tender.as_ref(), rules, now)
            }
            Command::Cancel { reservation_id, customer_id } => {
                self.cancel(self.named(*reservation_id, customer_id.as_ref())?, now)
            }
            Command::Extend { reservation_id, customer_id } => {
                self.extend(self.named(*reservation_id, customer_id.as_ref())?, rules, now)
            }
            Command::Expire => Ok(self.expire(now)),
            Command::CancelShowtime { force, expected_revision } => {
                self.cancel_showtime(*force, *expected_revision, now)
            }
        }
    }

    /// When the sale of the showtime closes.
    fn closes(&self, rules: &Rules) -> DateTime<Utc> {
        let closing = TimeDelta::from_std(rules.closing).unwrap_or(TimeDelta::MAX);
        self.plan.facts.start_time.checked_sub_signed(closing).unwrap_or(DateTime::<Utc>::MIN_UTC)
    }

    /// When a hold lapses that lasts for `span`, at the latest when the sale closes.
    fn lapse(&self, from: DateTime<Utc>, span: Duration, rules: &Rules) -> DateTime<Utc> {
        let closes = self.closes(rules);
        let end = TimeDelta::from_std(span).ok().and_then(|span| from.checked_add_signed(span));
        end.map_or(closes, |end| end.min(closes))
    }

    fn check_on_sale(&self, rules: &Rules, now: DateTime<Utc>) -> Result<(), Refusal> {
        if let showtime::State::Cancelled { at } = self.state {
            return Err(Refusal::ShowtimeCancelled { at });
        }
        let closes = self.closes(rules);
        if now >= closes { Err(Refusal::SalesClosed { at: closes }) } else { Ok(()) }
    }

    fn reserve(
        &self,
        reservation_id: ReservationId,
        customer_id: &CustomerId,
        (choice, tickets): (&Choice, &[TicketCount]),
        rules: &Rules,
        now: DateTime<Utc>,
    ) -> Result<Decision, Refusal> {
        self.check_on_sale(rules, now)?;
        let prices = &self.plan.facts.prices;
        // Whether the choice is valid is checked before whether seats are free.
        let named = match choice {
            Choice::Seats(names) => {
                Some(self.plan.seat_index.block(names, rules.max_seats).map_err(Refusal::BadChoice)?)
            }
            Choice::Best(count) if *count > rules.max_seats => {
                return Err(Refusal::BadChoice(BadChoice::too_many(rules.max_seats)));
            }
            Choice::Best(_) => None,
        };
        prices.check_tickets(tickets, choice.count()).map_err(Refusal::BadChoice)?;
        let block = if let Some(block) = named {
            self.free_block(block, rules, now)?
        } else {
            let none_free = || Refusal::Unavailable(Unavailable { seats: Vec::new(), offers: Vec::new() });
            Free::of(self, now).best(choice.count()).ok_or_else(none_free)?
        };
        let (has, until) = self.customer_seats(customer_id, now);
        if has + block.count > rules.max_customer_seats {
            return Err(Refusal::CustomerLimit { has, most: rules.max_customer_seats, until });
        }
        let lines = prices.lines(tickets, self.plan.seat_index.kinds(block));
        let revision = self.revision + 1;
        let hold = Hold {
            reservation_id,
            showtime_id: self.plan.facts.showtime_id,
            customer_id: customer_id.clone(),
            block,
            currency: prices.currency,
            lines,
            create_time: now,
            expire_time: self.lapse(now, self.plan.facts.hold_duration, rules),
        };
        let reservation = Arc::new(Reservation::hold(hold, revision));
        let mut changes = self.lapsed_in(block, now, revision);
        changes.push(Change::Reserved(Arc::clone(&reservation)));
        Ok(Decision { changes, reservation: Some(reservation) })
    }

    /// The block, if all of its seats are free and the orphan rule allows it.
    fn free_block(&self, block: Block, rules: &Rules, now: DateTime<Utc>) -> Result<Block, Refusal> {
        let obstacle = |seat| {
            let live = self.live_at(seat).filter(|live| !live.lapsed(now))?;
            Some((seat, live.until.map_or(Obstacle::Sold, |until| Obstacle::Held { until })))
        };
        let seats: Vec<_> = block.seats().filter_map(obstacle).collect();
        if !seats.is_empty() {
            let offers = Free::of(self, now).offers(block, rules.orphan_rule);
            return Err(Refusal::Unavailable(Unavailable { seats, offers }));
        }
        if rules.orphan_rule == OrphanRule::Refuse {
            let free = Free::of(self, now);
            let seats: Vec<_> = free.orphans(block).map(|seat| (seat, Obstacle::Orphan)).collect();
            if !seats.is_empty() && free.has_without_orphan(block.count) {
                return Err(Refusal::LeavesOrphan(Unavailable {
                    seats,
                    offers: free.offers(block, rules.orphan_rule),
                }));
            }
        }
        Ok(block)
    }

    /// The expiry of the holds whose seats a block takes. They have lapsed, because the block is free.
    fn lapsed_in(&self, block: Block, now: DateTime<Utc>, revision: i64) -> Vec<Change> {
        let mut lapsed: Vec<&Arc<Reservation>> = Vec::new();
        for seat in block.seats() {
            if let Some(live) = self.live_at(seat)
                && lapsed.last().is_none_or(|last| last.reservation_id != live.reservation.reservation_id)
            {
                lapsed.push(&live.reservation);
            }
        }
        lapsed.into_iter().filter_map(|reservation| expired(reservation, now, revision)).collect()
    }

    /// The reservation with this id, unless it belongs to another customer.
    fn named(&self, id: ReservationId, customer: Option<&CustomerId>) -> Result<&Arc<Reservation>, Refusal> {
        let belongs = |found: &&Arc<Reservation>| customer.is_none_or(|customer| found.customer_id == *customer);
        self.reservation(id).filter(belongs).ok_or(Refusal::NoReservation)
    }

    fn confirm(
        &self,
        reservation: &Arc<Reservation>,
        tender: Option<&Tender>,
        rules: &Rules,
        now: DateTime<Utc>,
    ) -> Result<Decision, Refusal> {
        if let State::Confirmed(sale) = reservation.state() {
            return if tender.is_none() || tender == sale.tender.as_ref() {
                Ok(unchanged(reservation))
            } else {
                Err(Refusal::TenderDiffers)
            };
        }
        reservation.check_held(now)?;
        self.check_on_sale(rules, now)?;
        let sold = (**reservation).clone().confirm(tender.cloned(), now, self.revision + 1)?;
        Ok(changed(sold, Change::Confirmed))
    }

    fn cancel(&self, reservation: &Arc<Reservation>, now: DateTime<Utc>) -> Result<Decision, Refusal> {
        if self.cancelled_by_customer(reservation) {
            return Ok(unchanged(reservation));
        }
        let cancelled = (**reservation).clone().cancel(now, self.revision + 1)?;
        Ok(changed(cancelled, Change::Cancelled))
    }

    /// Whether the reservation was cancelled, and not by the revision that cancelled the showtime, which is its last.
    fn cancelled_by_customer(&self, reservation: &Reservation) -> bool {
        let with_showtime = match self.state {
            showtime::State::Scheduled => false,
            showtime::State::Cancelled { .. } => reservation.revision() == self.revision,
        };
        matches!(reservation.state(), State::Cancelled { .. }) && !with_showtime
    }

    fn extend(&self, reservation: &Arc<Reservation>, rules: &Rules, now: DateTime<Utc>) -> Result<Decision, Refusal> {
        reservation.check_held(now)?;
        if reservation.extended() {
            return Ok(unchanged(reservation));
        }
        self.check_on_sale(rules, now)?;
        let expire_time = self.lapse(reservation.expire_time(), rules.extension, rules);
        if expire_time <= reservation.expire_time() {
            // The hold lasts until the sale closes.
            return Err(Refusal::SalesClosed { at: self.closes(rules) });
        }
        let extended = (**reservation).clone().extend(expire_time, now, self.revision + 1)?;
        Ok(changed(extended, Change::Extended))
    }

    fn expire(&self, now: DateTime<Utc>) -> Decision {
        let revision = self.revision + 1;
        let lapsed = self.live.iter().flatten().filter(|live| live.lapsed(now));
        let expired = lapsed.filter_map(|live| expired(&live.reservation, now, revision));
        Decision { changes: expired.take(LAPSED_AT_ONCE).collect(), reservation: None }
    }

    fn cancel_showtime(
        &self,
        force: bool,
        expected_revision: Option<i64>,
        now: DateTime<Utc>,
    ) -> Result<Decision, Refusal> {
        if let showtime::State::Cancelled { at } = self.state {
            return Err(Refusal::ShowtimeCancelled { at });
        }
        if now >= self.plan.facts.end_time {
            return Err(Refusal::ShowtimeOver { end: self.plan.facts.end_time });
        }
        if let Some(expected) = expected_revision
            && expected != self.revision
        {
            return Err(Refusal::RevisionDiffers { expected });
        }
        let sold = |reservation: &&Arc<Reservation>| reservation.phase(now) == Phase::Confirmed;
        let confirmed_count = self.live().filter(sold).count() as i32;
        if confirmed_count > 0 && !force {
            return Err(Refusal::HasSales { count: confirmed_count });
        }
        let revision = self.revision + 1;
        let ended = |reservation: &Arc<Reservation>| {
            let cancelled = (**reservation).clone().cancel_with_showtime(now, revision);
            cancelled.map(|cancelled| Change::Cancelled(Arc::new(cancelled))).or(expired(reservation, now, revision))
        };
        let mut changes: Vec<_> = self.live().filter_map(ended).collect();
        changes.push(Change::ShowtimeCancelled { at: now, confirmed_count });
        Ok(Decision { changes, reservation: None })
    }
}

/// The decision on a command whose effect the reservation already has.
fn unchanged(reservation: &Arc<Reservation>) -> Decision {
    Decision { changes: Vec::new(), reservation: Some(Arc::clone(reservation)) }
}

/// A decision that changes one reservation.
fn changed(reservation: Reservation, change: impl Fn(Arc<Reservation>) -> Change) -> Decision {
    let reservation = Arc::new(reservation);
    Decision { changes: vec![change(Arc::clone(&reservation))], reservation: Some(reservation) }
}

fn expired(reservation: &Reservation, now: DateTime<Utc>, revision: i64) -> Option<Change> {
    reservation.clone().expire(now, revision).map(|expired| Change::Expired(Arc::new(expired)))
}

impl From<NoLongerHeld> for Refusal {
    fn from(why: NoLongerHeld) -> Self {
        match why {
            NoLongerHeld::Lapsed { at } => Self::Expired { at },
            NoLongerHeld::Settled { phase } => Self::NotHeld { phase },
        }
    }
}

//! The rules, one function for each command.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    AccessibleSeats, Change, Choice, Command, Decision, Obstacle, OrphanRule, Refusal, Rules, Seating, Unavailable,
    Wish,
    choose::{Access, Free},
};
use crate::domain::{
    ids::ReservationId,
    layout::SeatKind,
    reservation::{CustomerId, Hold, NoLongerHeld, Paying, Phase, Reservation, Sale, State, Tender},
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
            Command::Reserve { reservation_id, customer_id, wish } => {
                self.reserve(*reservation_id, customer_id, wish, rules, now)
            }
            Command::Pay { reservation_id, customer_id, purchase_id, span } => {
                self.pay(self.named(*reservation_id, customer_id.as_ref())?, *purchase_id, *span, rules, now)
            }
            Command::StopPayment { reservation_id, purchase_id } => {
                self.stop_payment(self.named(*reservation_id, None)?, *purchase_id, now)
            }
            Command::Confirm { reservation_id, customer_id, tender, purchase_id, late } => {
                let reservation = self.named(*reservation_id, customer_id.as_ref())?;
                if let Some(purchase_id) = purchase_id {
                    return self.confirm_paid(reservation, tender.as_ref(), *purchase_id, now);
                }
                let has_ended = matches!(reservation.phase(now), Phase::Expired | Phase::Cancelled);
                match tender {
                    Some(tender) if *late && has_ended => self.confirm_late(reservation, tender, rules, now),
                    _ => self.confirm(reservation, tender.as_ref(), rules, now),
                }
            }
            Command::Cancel { reservation_id, customer_id } => {
                self.cancel(self.named(*reservation_id, customer_id.as_ref())?, now)
            }
            Command::Extend { reservation_id, customer_id } => {
                self.extend(self.named(*reservation_id, customer_id.as_ref())?, rules, now)
            }
            Command::Release { reservation_id, seats, reason } => {
                self.release(self.named(*reservation_id, None)?, seats, reason, now)
            }
            Command::Exchange { reservation_id, customer_id, seats } => {
                self.exchange(self.named(*reservation_id, customer_id.as_ref())?, seats, rules, now)
            }
            Command::Block { seats, blockage } => self.block(seats, blockage, now),
            Command::Unblock { seats } => self.unblock(seats, now),
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

    /// When a hold lapses, or a payment's time is over, that lasts for `span`: at the latest when the sale closes.
    pub(super) fn lapse(&self, from: DateTime<Utc>, span: Duration, rules: &Rules) -> DateTime<Utc> {
        let closes = self.closes(rules);
        let end = TimeDelta::from_std(span).ok().and_then(|span| from.checked_add_signed(span));
        end.map_or(closes, |end| end.min(closes))
    }

    pub(super) fn check_on_sale(&self, rules: &Rules, now: DateTime<Utc>) -> Result<(), Refusal> {
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
        wish: &Wish,
        rules: &Rules,
        now: DateTime<Utc>,
    ) -> Result<Decision, Refusal> {
        self.check_on_sale(rules, now)?;
        let prices = &self.plan.facts.prices;
        let Wish { choice, tickets, accessible, from_block } = wish;
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
        let access = self.access(*accessible, rules, now);
        let mut unblocked = Vec::new();
        let block = if let Some(block) = named {
            if *from_block {
                unblocked.extend(block.seats().filter(|seat| self.is_blocked(*seat)));
            }
            self.check_free(block, &unblocked, access, rules, now)?;
            block
        } else {
            let none_free = || Refusal::Unavailable(Unavailable { seats: Vec::new(), offers: Vec::new() });
            Free::of(self, &[], access, now).best(choice.count(), *accessible).ok_or_else(none_free)?
        };
        let (has, until) = self.customer_seats(customer_id, now);
        if has + block.count > rules.max_customer_seats {
            return Err(Refusal::CustomerLimit { has, most: rules.max_customer_seats, until });
        }
        let lines = prices.lines(tickets, self.plan.seat_index.kinds(block));
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
        let mut changes = self.lapsed_in(block.seats(), now);
        if !unblocked.is_empty() {
            changes.push(Change::Unblocked { seats: unblocked });
        }
        Ok(Decision::also(changes, Reservation::hold(hold, self.revision + 1), Change::Reserved))
    }

    /// Which seats may be had at a time by somebody who asks for accessible seats, or does not.
    fn access(&self, asked: bool, rules: &Rules, now: DateTime<Utc>) -> Access {
        let AccessibleSeats::OnRequest { open_before } = rules.accessible_seats else { return Access::Open };
        let before = TimeDelta::from_std(open_before).unwrap_or(TimeDelta::MAX);
        let opens = self.plan.facts.start_time.checked_sub_signed(before).unwrap_or(DateTime::<Utc>::MIN_UTC);
        match (now >= opens, asked) {
            (true, _) => Access::Open,
            (false, true) => Access::Asked,
            (false, false) => Access::NotAsked,
        }
    }

    /// Which seats a reservation may have instead of its own: accessible ones, if it has one.
    pub(super) fn access_like(&self, reservation: &Reservation, rules: &Rules, now: DateTime<Utc>) -> Access {
        let has_one = reservation.seats().any(|seat| self.plan.seat_index.kind(seat) == SeatKind::Accessible);
        self.access(has_one, rules, now)
    }

    /// Checks that all seats of a block can be had. `own` counts as free: seats that the caller has already, or that are blocked
    /// for the caller.
    pub(super) fn check_free(
        &self,
        block: Block,
        own: &[u16],
        access: Access,
        rules: &Rules,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let others = block.seats().filter(|seat| !own.contains(seat));
        let seats: Vec<_> = others.filter_map(|seat| Some((seat, self.obstacle(seat, now)?))).collect();
        let free = || Free::of(self, own, access, now);
        if !seats.is_empty() {
            return Err(Refusal::Unavailable(Unavailable { seats, offers: free().offers(block, rules.orphan_rule) }));
        }
        if access == Access::Open && rules.orphan_rule == OrphanRule::Allow {
            return Ok(());
        }
        let free = free();
        let seats: Vec<_> = free.kept_for_others(block).map(|seat| (seat, Obstacle::AccessibleOnly)).collect();
        if !seats.is_empty() {
            let offers = free.offers(block, rules.orphan_rule);
            return Err(Refusal::AccessibleOnly(Unavailable { seats, offers }));
        }
        if rules.orphan_rule == OrphanRule::Refuse {
            let seats: Vec<_> = free.orphans(block).map(|seat| (seat, Obstacle::Orphan)).collect();
            if !seats.is_empty() && free.has_without_orphan(block.count) {
                let offers = free.offers(block, rules.orphan_rule);
                return Err(Refusal::LeavesOrphan(Unavailable { seats, offers }));
            }
        }
        Ok(())
    }

    /// The expiry of the holds that have these seats. They have lapsed, because the seats are free.
    pub(super) fn lapsed_in(&self, seats: impl Iterator<Item = u16>, now: DateTime<Utc>) -> Vec<Change> {
        let mut lapsed: Vec<&Arc<Reservation>> = Vec::new();
        for seat in seats {
            if let Some(live) = self.live_at(seat)
                && !lapsed.iter().any(|other| other.reservation_id == live.reservation.reservation_id)
            {
                lapsed.push(&live.reservation);
            }
        }
        lapsed.into_iter().filter_map(|reservation| expired(reservation, now, self.revision + 1)).collect()
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
            return Self::confirmed_before(reservation, sale, tender);
        }
        reservation.check_held(now)?;
        self.check_on_sale(rules, now)?;
        let sold = (**reservation).clone().confirm(tender.cloned(), now, self.revision + 1)?;
        Ok(Decision::changed(sold, Change::Confirmed))
    }

    /// The decision on a second confirmation of a sale.
    pub(super) fn confirmed_before(
        reservation: &Arc<Reservation>,
        sale: &Sale,
        tender: Option<&Tender>,
    ) -> Result<Decision, Refusal> {
        if tender.is_none() || tender == sale.tender.as_ref() {
            Ok(Decision::unchanged(reservation))
        } else {
            Err(Refusal::TenderDiffers)
        }
    }

    fn cancel(&self, reservation: &Arc<Reservation>, now: DateTime<Utc>) -> Result<Decision, Refusal> {
        if self.cancelled_by_customer(reservation) {
            return Ok(Decision::unchanged(reservation));
        }
        let cancelled = (**reservation).clone().cancel(now, self.revision + 1)?;
        Ok(Decision::changed(cancelled, Change::Cancelled))
    }

    /// Whether the reservation was cancelled while it was held or paid for, and not with the showtime.
    fn cancelled_by_customer(&self, reservation: &Reservation) -> bool {
        match reservation.state() {
            State::Cancelled { at, sale: None } => self.state != showtime::State::Cancelled { at: *at },
            State::Cancelled { sale: Some(_), .. }
            | State::Held
            | State::Paying(_)
            | State::Confirmed(_)
            | State::Expired => false,
        }
    }

    fn extend(&self, reservation: &Arc<Reservation>, rules: &Rules, now: DateTime<Utc>) -> Result<Decision, Refusal> {
        reservation.check_held(now)?;
        if reservation.extended() {
            return Ok(Decision::unchanged(reservation));
        }
        self.check_on_sale(rules, now)?;
        let expire_time = self.lapse(reservation.expire_time(), rules.extension, rules);
        if expire_time <= reservation.expire_time() {
            // The hold lasts until the sale closes.
            return Err(Refusal::SalesClosed { at: self.closes(rules) });
        }
        let extended = (**reservation).clone().extend(expire_time, now, self.revision + 1)?;
        Ok(Decision::changed(extended, Change::Extended))
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

fn expired(reservation: &Reservation, now: DateTime<Utc>, revision: i64) -> Option<Change> {
    reservation.clone().expire(now, revision).map(|expired| Change::Expired(Arc::new(expired)))
}

impl From<NoLongerHeld> for Refusal {
    fn from(why: NoLongerHeld) -> Self {
        match why {
            NoLongerHeld::Lapsed { at } => Self::Expired { at },
            NoLongerHeld::Paying(Paying { purchase_id, pay_until }) => {
                Self::PaymentPending { purchase_id, until: pay_until }
            }
            NoLongerHeld::Settled { phase } => Self::NotHeld { phase },
        }
    }
}

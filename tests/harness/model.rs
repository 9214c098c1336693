//! A model of a showtime's seats: a list of reservations that is read from end to end for every command.
//!
//! It shares the types of the domain (commands, refusals, reservations) and none of its rules. The rules are written here a
//! second time, as plainly as possible and without regard to speed, so that both can be compared.

mod choosing;
mod paying;
mod prices;
mod sales;
mod seat_plan;

use std::time::Duration;

use boxoffice::domain::{
    ids::{PurchaseId, ReservationId},
    layout::Layout,
    reservation::{CustomerId, Phase, Record, Reservation, Sale, State, Tender},
    seat_index::{BadChoice, BadKind, SeatName},
    seating::{Choice, Command, Refusal, Rules, Wish},
    showtime::{self, Facts},
    violations::Violations,
};
use chrono::{DateTime, TimeDelta, Utc};

use self::seat_plan::SeatPlan;

/// A showtime and all its reservations.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    seat_plan: SeatPlan,
    facts: Facts,
    rules: Rules,
    cancelled: Option<DateTime<Utc>>,
    revision: i64,
    /// The latest time of a command.
    latest: DateTime<Utc>,
    /// The time of the latest change.
    changed_at: DateTime<Utc>,
    /// The reservations in the order in which they were made. The model changes them field by field.
    reservations: Vec<Record>,
    /// The reservations that were cancelled by a command, and not with the showtime.
    cancelled_by_customer: Vec<ReservationId>,
    /// The seats that are kept back from sale.
    blocked: Vec<u16>,
}

/// Who asks for seats: which accessible ones may be had, and which seats count as free.
#[derive(Clone, Debug, Default)]
struct Asking {
    /// Whether accessible seats are asked for.
    accessible: bool,
    /// Seats that the caller has, or that are blocked for the caller.
    own: Vec<u16>,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// The revision of the answer: the new one if the command changed anything.
    pub(crate) revision: i64,
    /// The time of the decision.
    pub(crate) now: DateTime<Utc>,
    /// The reservation that the command is about, or the refusal. Of an invalid choice the model knows only the kind.
    pub(crate) outcome: Result<Option<Reservation>, Refusal>,
}

impl Model {
    /// A showtime that was just scheduled.
    pub(crate) fn new(layout: &Layout, facts: Facts, rules: Rules) -> Self {
        let latest = facts.create_time;
        let (reservations, cancelled_by_customer, blocked) = (Vec::new(), Vec::new(), Vec::new());
        let seat_plan = SeatPlan::new(layout);
        let (cancelled, revision) = (None, 1);
        Self {
            seat_plan,
            facts,
            rules,
            cancelled,
            revision,
            latest,
            changed_at: latest,
            reservations,
            cancelled_by_customer,
            blocked,
        }
    }

    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }

    /// The latest time of a decision.
    pub(crate) fn latest(&self) -> DateTime<Utc> {
        self.latest
    }

    pub(crate) fn state(&self) -> showtime::State {
        self.cancelled.map_or(showtime::State::Scheduled, |at| showtime::State::Cancelled { at })
    }

    /// The reservations in the order in which they were made.
    pub(crate) fn reservations(&self) -> &[Record] {
        &self.reservations
    }

    /// The seats that are blocked.
    pub(crate) fn blocked(&self) -> &[u16] {
        &self.blocked
    }

    /// The number of seats.
    pub(crate) fn seat_count(&self) -> u16 {
        self.seat_plan.seat_count()
    }

    /// The name of a seat.
    pub(crate) fn name(&self, seat: u16) -> SeatName {
        self.seat_plan.name(seat)
    }

    /// Executes a command.
    pub(crate) fn execute(&mut self, command: &Command, clock: DateTime<Utc>) -> Answer {
        // A decision is never earlier than the one before.
        self.latest = self.latest.max(clock);
        let now = match command {
            // It is later than every change before.
            Command::CancelShowtime { .. } => self.latest.max(self.changed_at + TimeDelta::microseconds(1)),
            _ => self.latest,
        };
        let before = self.revision;
        let outcome = self.outcome(command, now);
        if self.revision > before {
            (self.latest, self.changed_at) = (now, now);
        }
        let revision = match &outcome {
            // A command without an effect is answered with the revision that had it.
            Ok(Some(reservation)) if self.revision == before => reservation.revision(),
            _ => self.revision,
        };
        Answer { revision, now, outcome }
    }

    /// The answer that a command would have.
    pub(crate) fn validate(&mut self, command: &Command, clock: DateTime<Utc>) -> Answer {
        self.latest = self.latest.max(clock);
        Answer { revision: self.revision, ..self.clone().execute(command, clock) }
    }

    fn outcome(&mut self, command: &Command, now: DateTime<Utc>) -> Result<Option<Reservation>, Refusal> {
        match command {
            Command::Reserve { reservation_id, customer_id, wish } => {
                self.reserve(*reservation_id, customer_id, wish, now).map(Some)
            }
            Command::Pay { .. } | Command::StopPayment { .. } | Command::Confirm { purchase_id: Some(_), .. } => {
                self.execute_payment(command, now).map(Some)
            }
            Command::Confirm { reservation_id, customer_id, tender, late, purchase_id: None } => {
                let at = self.find(*reservation_id, customer_id.as_ref())?;
                let record = &self.reservations[at];
                let lapsed = record.state == State::Held && record.expire_time <= now;
                let ended = lapsed || matches!(record.state, State::Cancelled { .. } | State::Expired);
                if *late && ended {
                    let tender = tender.as_ref().expect("a late confirmation has a tender");
                    return self.confirm_late(at, tender, now).map(Some);
                }
                self.confirm(at, tender.as_ref(), now).map(Some)
            }
            Command::Release { reservation_id, seats, .. } => {
                let at = self.find(*reservation_id, None)?;
                self.release(at, seats, now).map(Some)
            }
            Command::Exchange { reservation_id, customer_id, seats } => {
                let at = self.find(*reservation_id, customer_id.as_ref())?;
                self.exchange(at, seats, now).map(Some)
            }
            Command::Block { seats, .. } => self.block(seats, now).map(|()| None),
            Command::Unblock { seats } => self.unblock(seats, now).map(|()| None),
            Command::Cancel { reservation_id, customer_id } => {
                let at = self.find(*reservation_id, customer_id.as_ref())?;
                self.cancel(at, now).map(Some)
            }
            Command::Extend { reservation_id, customer_id } => {
                let at = self.find(*reservation_id, customer_id.as_ref())?;
                self.extend(at, now).map(Some)
            }
            Command::Expire => {
                let lapsed = |it: &Record| it.state == State::Held && it.expire_time <= now;
                if self.reservations.iter().any(lapsed) {
                    self.revision += 1;
                    self.record_lapses(now, |_| true);
                }
                Ok(None)
            }
            Command::CancelShowtime { force, expected_revision } => {
                self.cancel_showtime(*force, *expected_revision, now).map(|()| None)
            }
        }
    }

    fn closes(&self) -> DateTime<Utc> {
        self.facts.start_time - span(self.rules.closing)
    }

    fn must_be_on_sale(&self, now: DateTime<Utc>) -> Result<(), Refusal> {
        if let Some(at) = self.cancelled {
            return Err(Refusal::ShowtimeCancelled { at });
        }
        if now >= self.closes() {
            return Err(Refusal::SalesClosed { at: self.closes() });
        }
        Ok(())
    }

    fn reserve(
        &mut self,
        reservation_id: ReservationId,
        customer_id: &CustomerId,
        Wish { choice, tickets, accessible, from_block }: &Wish,
        now: DateTime<Utc>,
    ) -> Result<Reservation, Refusal> {
        self.must_be_on_sale(now)?;
        let wanted = self.wanted(choice)?;
        let types = prices::types(&self.facts.prices, tickets, wanted).map_err(bad)?;
        let own = if *from_block { self.blocked.clone() } else { Vec::new() };
        let asking = Asking { accessible: *accessible, own };
        let block = match choice {
            Choice::Seats(names) => self.named(names, &asking, now)?,
            Choice::Best(count) => self.best(*count, *accessible, now)?,
        };
        let customers: Vec<&Record> = self.live(now).filter(|it| it.customer_id == *customer_id).collect();
        let owned: u16 = customers.iter().map(|it| sales::seats(it).len() as u16).sum();
        if owned + block.count > self.rules.max_customer_seats {
            let held = customers.iter().filter(|it| it.state == State::Held);
            let until = held.map(|it| it.expire_time).min();
            return Err(Refusal::CustomerLimit { has: owned, most: self.rules.max_customer_seats, until });
        }
        let expire_time = (now + span(self.facts.hold_duration)).min(self.closes());
        self.revision += 1;
        self.record_lapses(now, |it| sales::seats(it).iter().any(|seat| block.seats().contains(seat)));
        self.blocked.retain(|seat| !block.seats().contains(seat));
        let record = Record {
            reservation_id,
            showtime_id: self.facts.showtime_id,
            customer_id: customer_id.clone(),
            first_block: block,
            currency: self.facts.prices.currency,
            first_lines: prices::lines(&self.facts.prices, &types, block.seats().map(|seat| self.seat_plan.kind(seat))),
            amendment: None,
            create_time: now,
            first_expire_time: expire_time,
            expire_time,
            state: State::Held,
            payment: None,
            refund_due: None,
            first_revision: self.revision,
            revision: self.revision,
        };
        self.reservations.push(record.clone());
        Ok(Reservation::restore(record))
    }

    /// The number of seats of a choice that is valid, whether or not seats are free.
    fn wanted(&self, choice: &Choice) -> Result<usize, Refusal> {
        let wanted = match choice {
            Choice::Seats(names) => {
                self.seat_plan.block(names).map_err(bad)?;
                names.len()
            }
            Choice::Best(count) => usize::from(*count),
        };
        if wanted > usize::from(self.rules.max_seats) { Err(bad(BadKind::TooMany)) } else { Ok(wanted) }
    }

    fn find(&self, id: ReservationId, customer: Option<&CustomerId>) -> Result<usize, Refusal> {
        let is_it = |it: &Record| it.reservation_id == id && (customer.is_none() || customer == Some(&it.customer_id));
        self.reservations.iter().position(is_it).ok_or(Refusal::NoReservation)
    }

    fn confirm(&mut self, at: usize, tender: Option<&Tender>, now: DateTime<Utc>) -> Result<Reservation, Refusal> {
        let record = &self.reservations[at];
        if let State::Confirmed(sale) = &record.state {
            let agrees = tender.is_none() || tender == sale.tender.as_ref();
            return if agrees { Ok(Reservation::restore(record.clone())) } else { Err(Refusal::TenderDiffers) };
        }
        must_be_held(record, now)?;
        self.must_be_on_sale(now)?;
        let purchase_id = Some(PurchaseId::at_till(record.reservation_id));
        let sale = Sale { at: now, tender: tender.cloned(), purchase_id };
        Ok(self.change(at, |it| it.state = State::Confirmed(sale)))
    }

    fn cancel(&mut self, at: usize, now: DateTime<Utc>) -> Result<Reservation, Refusal> {
        let record = &self.reservations[at];
        if self.cancelled_by_customer.contains(&record.reservation_id) {
            return Ok(Reservation::restore(record.clone()));
        }
        must_be_held(record, now)?;
        self.cancelled_by_customer.push(record.reservation_id);
        Ok(self.change(at, |it| it.state = State::Cancelled { at: now, sale: None }))
    }

    fn extend(&mut self, at: usize, now: DateTime<Utc>) -> Result<Reservation, Refusal> {
        let reservation = &self.reservations[at];
        must_be_held(reservation, now)?;
        if reservation.expire_time > reservation.first_expire_time {
            return Ok(Reservation::restore(reservation.clone()));
        }
        self.must_be_on_sale(now)?;
        let longer = (reservation.expire_time + span(self.rules.extension)).min(self.closes());
        if longer <= reservation.expire_time {
            return Err(Refusal::SalesClosed { at: self.closes() });
        }
        Ok(self.change(at, |it| it.expire_time = longer))
    }

    fn cancel_showtime(
        &mut self,
        force: bool,
        expected_revision: Option<i64>,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        if let Some(at) = self.cancelled {
            return Err(Refusal::ShowtimeCancelled { at });
        }
        if now >= self.facts.end_time {
            return Err(Refusal::ShowtimeOver { end: self.facts.end_time });
        }
        if let Some(expected) = expected_revision
            && expected != self.revision
        {
            return Err(Refusal::RevisionDiffers { expected });
        }
        let sold = self.reservations.iter().filter(|it| matches!(it.state, State::Confirmed(_))).count();
        if sold > 0 && !force {
            return Err(Refusal::HasSales { count: i32::try_from(sold).expect("few reservations") });
        }
        self.revision += 1;
        self.cancelled = Some(now);
        self.record_lapses(now, |_| true);
        for it in &mut self.reservations {
            let sale = match &it.state {
                State::Held | State::Paying(_) => None,
                State::Confirmed(sale) => Some(sale.clone()),
                State::Cancelled { .. } | State::Expired => continue,
            };
            it.payment = it.payment.or(paying::payment(it));
            it.state = State::Cancelled { at: now, sale };
            it.revision = self.revision;
        }
        Ok(())
    }

    /// The reservations that are sold or being paid for, or held and not lapsed.
    fn live(&self, now: DateTime<Utc>) -> impl Iterator<Item = &Record> {
        self.reservations.iter().filter(move |it| match it.state {
            State::Held => now < it.expire_time,
            State::Paying(_) | State::Confirmed(_) => true,
            State::Cancelled { .. } | State::Expired => false,
        })
    }

    /// Records lapsed holds at the current revision.
    fn record_lapses(&mut self, now: DateTime<Utc>, which: impl Fn(&Record) -> bool) {
        for it in &mut self.reservations {
            if it.state == State::Held && it.expire_time <= now && which(it) {
                it.state = State::Expired;
                it.revision = self.revision;
            }
        }
    }

    /// Changes one reservation, which raises the revision.
    fn change(&mut self, at: usize, change: impl FnOnce(&mut Record)) -> Reservation {
        self.revision += 1;
        let record = &mut self.reservations[at];
        change(record);
        record.revision = self.revision;
        Reservation::restore(record.clone())
    }
}

fn must_be_held(reservation: &Record, now: DateTime<Utc>) -> Result<(), Refusal> {
    match reservation.state {
        State::Held if now < reservation.expire_time => Ok(()),
        State::Held | State::Expired => Err(Refusal::Expired { at: reservation.expire_time }),
        State::Paying(paying) => Err(paying::pending(&paying)),
        State::Confirmed(_) => Err(Refusal::NotHeld { phase: Phase::Confirmed }),
        State::Cancelled { .. } => Err(Refusal::NotHeld { phase: Phase::Cancelled }),
    }
}

fn bad(kind: BadKind) -> Refusal {
    Refusal::BadChoice(BadChoice { kind, violations: Violations::new() })
}

fn span(span: Duration) -> TimeDelta {
    TimeDelta::from_std(span).expect("a span of some days at most")
}

//! Use cases of reservations. The ledger decides every change; reads come from the store.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};

use super::{
    Answer, App, Error, Origin, PageRequest, PurchaseRefusal,
    decisions::Accepted,
    errors::check_no_card_number,
    pages::{read_timed, write_timed},
};
use crate::{
    domain::{
        ids::{ReservationId, ShowtimeId},
        reservation::{CustomerId, Filter, Phase, Reservation, State, Tender},
        seat_index::SeatName,
        seating::{Command, Refusal, ShowtimePlan, Wish},
    },
    ledger::{CompanionMaker, Outcome, Reply, Request},
    store::{ReservationAt, ReservationCursor},
};

/// A request to hold seats.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// The showtime.
    pub showtime_id: ShowtimeId,
    /// The customer for whom the seats are held.
    pub customer_id: CustomerId,
    /// What is to be held.
    pub wish: Wish,
    /// Whether the request is only checked, and nothing is held.
    pub validate_only: bool,
}

/// A reservation named by a caller.
#[derive(Clone, Debug)]
pub struct ReservationRef {
    /// The reservation's id.
    pub reservation_id: ReservationId,
    /// The customer to whom it must belong. `None` accepts any customer.
    pub customer_id: Option<CustomerId>,
}

/// A reservation at a moment, together with its showtime.
#[derive(Clone, Debug)]
pub struct ReservationView {
    /// The reservation.
    pub reservation: Arc<Reservation>,
    /// Its showtime, and the seats of the auditorium.
    pub plan: Arc<ShowtimePlan>,
    /// The reservation's phase at `as_of`.
    pub phase: Phase,
    /// The moment of which the view is true.
    pub as_of: DateTime<Utc>,
}

/// A reservation after a change.
#[derive(Clone, Debug)]
pub struct ReservationChange {
    /// The reservation after the change.
    pub view: ReservationView,
    /// The showtime's revision that made the change.
    pub revision: i64,
    /// Whether nothing was changed, because the request was only to be checked.
    pub validate_only: bool,
}

/// Seats of a sale that are given back; all of them if none is named.
#[derive(Clone, Debug)]
pub struct Release {
    /// The seats.
    pub seats: Vec<SeatName>,
    /// Why.
    pub reason: String,
    /// The till that pays their refund out; empty: the one that took the payment.
    pub till: String,
}

/// What a caller says of how a reservation was paid for.
#[derive(Clone, Debug)]
pub struct TillPayment {
    /// How it was paid, if the caller names it.
    pub tender: Option<Tender>,
    /// The till; empty if it has no name.
    pub till: String,
    /// Whether the money was taken in any case.
    pub late: bool,
}

/// A page of reservations.
pub struct ReservationPage {
    /// The reservations, the newest first.
    pub reservations: Vec<ReservationView>,
    /// The token of the next page, empty on the last one.
    pub next: String,
}

const LIST: &str = "reservations";

impl App {
    /// Holds seats.
    ///
    /// # Errors
    /// The showtime does not exist, the rules refuse the seats, or the store fails.
    pub async fn reserve(&self, origin: &Origin, wanted: Reserve) -> Result<Answer<ReservationChange>, Error> {
        let Reserve { showtime_id, customer_id, wish, validate_only } = wanted;
        let reservation_id = ReservationId(self.0.clock.new_id());
        let command = Command::Reserve { reservation_id, customer_id, wish };
        let request = Request { validate_only, ..origin.command(showtime_id, command) };
        let reply = self.decide(request).await?.ok_or_else(|| Error::no_showtime(showtime_id))?;
        let mut answer = changed(reply, None)?;
        answer.value.validate_only = validate_only;
        if !validate_only {
            self.0.reservation_index.insert(answer.value.view.reservation.reservation_id, showtime_id);
        }
        Ok(answer)
    }

    /// Sells the seats of a hold, whose purchase commits with that. If it comes late, a hold that has ended is recovered, or the
    /// money is noted as due.
    ///
    /// # Errors
    /// The reservation does not exist or is not held any more, or the store fails.
    pub async fn confirm(
        &self,
        origin: &Origin,
        reservation: ReservationRef,
        payment: TillPayment,
    ) -> Result<Answer<ReservationChange>, Error> {
        let TillPayment { tender, till, late } = payment;
        check_no_card_number("till", &till)?;
        let sale = self.sale_maker(till, origin.trace);
        let confirm = |ReservationRef { reservation_id, customer_id }| Command::Confirm {
            reservation_id,
            customer_id,
            tender,
            purchase_id: None,
            late,
        };
        match self.change_with(origin, reservation, confirm, Some(sale)).await {
            // A purchase of these seats that a till was paid for has failed before, and has the id.
            Err(error) if error.is_taken_key() => Err(Error::Purchase(PurchaseRefusal::Ended)),
            confirmed => confirmed,
        }
    }

    /// Gives back seats of a sale, whose refund begins with that.
    ///
    /// # Errors
    /// The reservation does not exist or has not sold the seats, or the store fails.
    pub async fn release_seats(
        &self,
        origin: &Origin,
        reservation: ReservationRef,
        release: Release,
    ) -> Result<Answer<ReservationChange>, Error> {
        let Release { seats, reason, till } = release;
        check_no_card_number("reason", &reason)?;
        check_no_card_number("till", &till)?;
        let found = self.find(&reservation).await?.reservation;
        let reservation_id = reservation.reservation_id;
        let release = Command::Release { reservation_id, seats, reason: reason.clone() };
        let request = origin.command(found.showtime_id, release);
        let purchase = self.purchase_of_sale(&found).await?;
        let reply = Box::pin(self.decide_with_refunds(&request, purchase, (&reason, &till))).await?;
        changed_or_missing(reply, reservation_id)
    }

    /// Exchanges all seats of a reservation for others.
    ///
    /// # Errors
    /// The reservation does not exist or has ended, the rules refuse the seats, or the store fails.
    pub async fn exchange_seats(
        &self,
        origin: &Origin,
        reservation: ReservationRef,
        seats: Vec<SeatName>,
    ) -> Result<Answer<ReservationChange>, Error> {
        let found = self.find(&reservation).await?.reservation;
        let ReservationRef { reservation_id, customer_id } = reservation;
        let purchase = self.purchase_of_sale(&found).await?;
        let request = origin.command(found.showtime_id, Command::Exchange { reservation_id, customer_id, seats });
        let reply = Box::pin(self.decide_with_refunds(&request, purchase, ("", ""))).await?;
        changed_or_missing(reply, reservation_id)
    }

    /// Cancels a hold, which frees its seats.
    ///
    /// # Errors
    /// The reservation does not exist or is not held any more, or the store fails.
    pub async fn cancel(
        &self,
        origin: &Origin,
        reservation: ReservationRef,
    ) -> Result<Answer<ReservationChange>, Error> {
        let cancel = |ReservationRef { reservation_id, customer_id }| Command::Cancel { reservation_id, customer_id };
        self.change(origin, reservation, cancel).await
    }

    /// Extends a hold, once.
    ///
    /// # Errors
    /// The reservation does not exist, is not held any more or cannot be extended, or the store fails.
    pub async fn extend(
        &self,
        origin: &Origin,
        reservation: ReservationRef,
    ) -> Result<Answer<ReservationChange>, Error> {
        let extend = |ReservationRef { reservation_id, customer_id }| Command::Extend { reservation_id, customer_id };
        self.change(origin, reservation, extend).await
    }

    /// Reads one reservation as it is now.
    ///
    /// # Errors
    /// The reservation does not exist or belongs to another customer, or the store fails.
    pub async fn reservation(&self, _origin: &Origin, reservation: &ReservationRef) -> Result<ReservationView, Error> {
        let ReservationAt { reservation: found, now } = self.find(reservation).await?;
        let plan = self
            .0
            .store
            .plan(found.showtime_id)
            .await?
            .ok_or_else(|| Error::no_reservation(reservation.reservation_id))?;
        Ok(view_at(found, plan, now))
    }

    /// Reads a page of reservations, the newest first.
    ///
    /// # Errors
    /// The page token is not of this list and filter, or the store fails.
    pub async fn reservations(
        &self,
        _origin: &Origin,
        filter: &Filter,
        page: &PageRequest,
    ) -> Result<ReservationPage, Error> {
        let limit = page.limit()?;
        let signed = canonical(filter);
        let after = self.0.pages.cursor(LIST, &signed, &page.token)?.and_then(|cursor| read_timed(&cursor));
        let after = after.map(|(create_time, id)| ReservationCursor { create_time, reservation_id: ReservationId(id) });
        let now = self.0.clock.now();
        // Both reads are on the heap: the query builder makes their futures large.
        let read = Box::pin(self.0.store.reservations(filter, after, limit as u64 + 1, now));
        let mut found = read.await?;
        let next =
            self.0.pages.cut((LIST, &signed), &mut found, limit, |ReservationAt { reservation: last, .. }| {
                write_timed(last.create_time, last.reservation_id.0)
            });
        Ok(ReservationPage { reservations: self.view_all(found).await?, next })
    }

    /// The reservations of these ids as they are now, in any order.
    pub(super) async fn reservations_of(&self, ids: &[ReservationId]) -> Result<Vec<ReservationView>, Error> {
        let found = Box::pin(self.0.store.reservations_of(ids, self.0.clock.now())).await?;
        self.view_all(found).await
    }

    /// Each of these reservations with the plan of its showtime.
    async fn view_all(&self, found: Vec<ReservationAt>) -> Result<Vec<ReservationView>, Error> {
        let mut showtimes: Vec<_> = found.iter().map(|found| found.reservation.showtime_id).collect();
        showtimes.sort_unstable();
        showtimes.dedup();
        let plans = Box::pin(self.0.store.plans(&showtimes)).await?.into_iter();
        let plans: HashMap<_, _> = plans.map(|plan| (plan.facts.showtime_id, plan)).collect();
        let with_plan = |ReservationAt { reservation, now }| {
            let plan = plans.get(&reservation.showtime_id)?;
            Some(view_at(reservation, Arc::clone(plan), now))
        };
        Ok(found.into_iter().filter_map(with_plan).collect())
    }

    /// Submits a command about an existing reservation.
    async fn change(
        &self,
        origin: &Origin,
        reservation: ReservationRef,
        command: impl FnOnce(ReservationRef) -> Command,
    ) -> Result<Answer<ReservationChange>, Error> {
        self.change_with(origin, reservation, command, None).await
    }

    /// The same with rows that commit with the change.
    async fn change_with(
        &self,
        origin: &Origin,
        reservation: ReservationRef,
        command: impl FnOnce(ReservationRef) -> Command,
        more_companions: Option<CompanionMaker>,
    ) -> Result<Answer<ReservationChange>, Error> {
        let reservation_id = reservation.reservation_id;
        let showtime_id = match self.0.reservation_index.find(reservation_id) {
            Some(showtime_id) => showtime_id,
            None => self.find(&reservation).await?.reservation.showtime_id,
        };
        let request = Request { more_companions, ..origin.command(showtime_id, command(reservation)) };
        changed_or_missing(self.decide(request).await?, reservation_id)
    }

    /// Reads the reservation from the store, if it exists and belongs to the customer.
    pub(super) async fn find(&self, reservation: &ReservationRef) -> Result<ReservationAt, Error> {
        let found = self.0.store.reservation(reservation.reservation_id, self.0.clock.now()).await?;
        let belongs = |found: &ReservationAt| {
            reservation.customer_id.as_ref().is_none_or(|customer| found.reservation.customer_id == *customer)
        };
        found.filter(belongs).ok_or_else(|| Error::no_reservation(reservation.reservation_id))
    }
}

fn view_at(reservation: Reservation, plan: Arc<ShowtimePlan>, as_of: DateTime<Utc>) -> ReservationView {
    let phase = reservation.phase(as_of);
    ReservationView { reservation: Arc::new(reservation), plan, phase, as_of }
}

/// The ledger's reply as the answer to a request about one reservation.
fn changed_or_missing(reply: Option<Reply>, id: ReservationId) -> Result<Answer<ReservationChange>, Error> {
    match reply {
        Some(Reply { outcome: Outcome::Refused(why), .. }) if *why == Refusal::NoReservation => {
            Err(Error::no_reservation(id))
        }
        Some(reply) => changed(reply, Some(id)),
        None => Err(Error::no_reservation(id)),
    }
}

fn changed(reply: Reply, reservation_id: Option<ReservationId>) -> Result<Answer<ReservationChange>, Error> {
    let Accepted { plan, revision, now, reservation, repeated, .. } = Accepted::read(reply, reservation_id)?;
    let reservation = reservation.ok_or_else(|| Error::Lost("the ledger's reply has no reservation".to_owned()))?;
    // A repeated request gets the first answer again: HELD, even where the hold has lapsed since.
    let phase = match reservation.state() {
        State::Held => Phase::Held,
        State::Paying(_) => Phase::Paying,
        State::Confirmed(_) => Phase::Confirmed,
        State::Cancelled { .. } => Phase::Cancelled,
        State::Expired => Phase::Expired,
    };
    let view = ReservationView { reservation, plan, phase, as_of: now };
    Ok(Answer { value: ReservationChange { view, revision, validate_only: false }, repeated })
}

/// The filter as text. Page tokens are signed with it, so it must not change between versions.
fn canonical(filter: &Filter) -> String {
    let Filter { customer_id, showtime_id, phases, refund_due, created_after, created_before } = filter;
    let name = |phase: &Phase| match phase {
        Phase::Held => "held",
        Phase::Paying => "paying",
        Phase::Confirmed => "confirmed",
        Phase::Cancelled => "cancelled",
        Phase::Expired => "expired",
    };
    let mut which = phases.iter().map(name).collect::<Vec<_>>().join(",");
    // Without these three the text is as it was before they existed.
    which.push_str(if *refund_due { ";due" } else { "" });
    for (bound, time) in [(";from ", created_after), (";until ", created_before)] {
        which.extend(time.map(|time| format!("{bound}{}", time.to_rfc3339())));
    }
    let showtime_id = showtime_id.map(|id| id.to_string()).unwrap_or_default();
    // The customer's name may contain any character, `|` too, so it comes last.
    [showtime_id.as_str(), which.as_str(), customer_id.as_ref().map_or("", CustomerId::as_str)].join("|")
}

//! Reservations: the ledger decides about them, and the store remembers them.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{Answer, App, Error, Kind, PageRequest, RequestKey};
use crate::{
    domain::{
        ids::{ReservationId, ShowtimeId},
        reservation::{CustomerId, Filter, Phase, Reservation, State, Tender},
        seating::{Choice, Command, Refusal, ShowtimePlan},
    },
    ledger::{Outcome, Reply, Request},
    store::{ReservationAt, ReservationCursor},
};

/// What goes with a change, besides what is wanted.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// Under which request id.
    pub key: Option<RequestKey>,
    /// The trace of the request.
    pub trace_id: Option<u128>,
}

/// Seats that somebody wants to be held.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// Of this showtime,
    pub showtime_id: ShowtimeId,
    /// for this person,
    pub customer_id: CustomerId,
    /// which ones.
    pub choice: Choice,
    /// Only to find out what would come of it.
    pub validate_only: bool,
}

/// A reservation that exists, named by somebody.
#[derive(Clone, Debug)]
pub struct ReservationRef {
    /// Which one,
    pub reservation_id: ReservationId,
    /// and whose it must be, if that is said.
    pub customer_id: Option<CustomerId>,
}

/// A reservation with what belongs to it.
#[derive(Clone, Debug)]
pub struct ReservationView {
    /// What was reserved, by whom.
    pub reservation: Arc<Reservation>,
    /// Of which showtime, in which house.
    pub plan: Arc<ShowtimePlan>,
    /// Where it is in its life.
    pub phase: Phase,
    /// When that was so.
    pub as_of: DateTime<Utc>,
}

/// A reservation after a change.
#[derive(Clone, Debug)]
pub struct ReservationChange {
    /// As it then is.
    pub shown: ReservationView,
    /// The showtime's revision with this change.
    pub revision: i64,
}

/// A decision against what was wanted.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Why.
    pub why: Arc<Refusal>,
    /// Of which showtime, in which house.
    pub plan: Arc<ShowtimePlan>,
    /// The showtime's revision at which it was decided,
    pub revision: i64,
    /// and when.
    pub now: DateTime<Utc>,
    /// The reservation that was named, if one was.
    pub reservation_id: Option<ReservationId>,
}

/// A page of reservations.
pub struct ReservationPage {
    /// The newest first.
    pub reservations: Vec<ReservationView>,
    /// Empty on the last page.
    pub next: String,
}

const LIST: &str = "reservations";

impl App {
    /// Holds seats.
    ///
    /// # Errors
    /// There is no such showtime, the seats cannot be had, or the store fails.
    pub async fn reserve(&self, wanted: Reserve, origin: Origin) -> Result<Answer<ReservationChange>, Error> {
        let Reserve { showtime_id, customer_id, choice, validate_only } = wanted;
        let reservation_id = ReservationId(self.0.clock.new_id());
        let command = Command::Reserve { reservation_id, customer_id, choice };
        let Origin { key, trace_id } = origin;
        let told = self.ask(Request { showtime_id, command, key, record: None, validate_only, trace_id }).await?;
        let told = told.ok_or_else(|| Error::NotFound { kind: Kind::Showtime, id: showtime_id.to_string() })?;
        let decided = decided(told, None)?;
        if !validate_only {
            self.0.reservation_index.note(decided.value.shown.reservation.reservation_id, showtime_id);
        }
        Ok(decided)
    }

    /// Sells the seats of a hold.
    ///
    /// # Errors
    /// There is no such reservation, it is not held any more, or the store fails.
    pub async fn confirm(
        &self,
        named: ReservationRef,
        tender: Option<Tender>,
        origin: Origin,
    ) -> Result<Answer<ReservationChange>, Error> {
        self.change(named, origin, |ReservationRef { reservation_id, customer_id }| Command::Confirm {
            reservation_id,
            customer_id,
            tender,
        })
        .await
    }

    /// Gives up a hold.
    ///
    /// # Errors
    /// There is no such reservation, it is not held any more, or the store fails.
    pub async fn cancel(&self, named: ReservationRef, origin: Origin) -> Result<Answer<ReservationChange>, Error> {
        let cancel = |ReservationRef { reservation_id, customer_id }| Command::Cancel { reservation_id, customer_id };
        self.change(named, origin, cancel).await
    }

    /// Prolongs a hold.
    ///
    /// # Errors
    /// There is no such reservation, it is not held any more or was prolonged before, or the store fails.
    pub async fn extend(&self, named: ReservationRef, origin: Origin) -> Result<Answer<ReservationChange>, Error> {
        let extend = |ReservationRef { reservation_id, customer_id }| Command::Extend { reservation_id, customer_id };
        self.change(named, origin, extend).await
    }

    /// One reservation, as of now.
    ///
    /// # Errors
    /// There is none, it is somebody else's, or the store fails.
    pub async fn reservation(&self, named: &ReservationRef) -> Result<ReservationView, Error> {
        let ReservationAt { reservation, now } = self.find(named).await?;
        let plan = self.0.store.plan(reservation.showtime_id).await?.ok_or_else(|| missing(named))?;
        Ok(shown(reservation, plan, now))
    }

    /// A page of reservations.
    ///
    /// # Errors
    /// The page is asked for wrongly, or the store fails.
    pub async fn reservations(&self, filter: &Filter, page: &PageRequest) -> Result<ReservationPage, Error> {
        let limit = page.limit()?;
        let signed = canonical(filter);
        let after = self.0.pages.place(LIST, &signed, &page.token)?.and_then(|place| read_place(&place));
        let now = self.0.clock.now();
        let mut found = self.0.store.reservations(filter, after, limit as u64 + 1, now).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = match found.last() {
            Some(last) if more => self.0.pages.token(LIST, &signed, &write_place(&last.reservation)),
            _ => String::new(),
        };
        let mut showtimes: Vec<_> = found.iter().map(|found| found.reservation.showtime_id).collect();
        showtimes.sort_unstable();
        showtimes.dedup();
        let plans = self.0.store.plans(&showtimes).await?.into_iter();
        let plans: HashMap<_, _> = plans.map(|plan| (plan.facts.showtime_id, plan)).collect();
        let with_plan = |ReservationAt { reservation, now }| {
            let plan = plans.get(&reservation.showtime_id)?;
            Some(shown(reservation, Arc::clone(plan), now))
        };
        Ok(ReservationPage { reservations: found.into_iter().filter_map(with_plan).collect(), next })
    }

    /// Puts a command to the ledger. A caller's trace shows the wait; the transaction is shared with others.
    pub(super) async fn ask(&self, ask: Request) -> Result<Option<Reply>, Error> {
        let wait = tracing::info_span!("decide", otel.kind = "internal");
        Ok(self.0.ledger.ask(ask).instrument(wait).await?)
    }

    /// Has something done to a reservation that exists.
    async fn change(
        &self,
        named: ReservationRef,
        origin: Origin,
        command: impl FnOnce(ReservationRef) -> Command,
    ) -> Result<Answer<ReservationChange>, Error> {
        let (showtime_id, record) = if let Some(showtime_id) = self.0.reservation_index.find(named.reservation_id) {
            (showtime_id, None)
        } else {
            let reservation = self.find(&named).await?.reservation;
            (reservation.showtime_id, Some(Arc::new(reservation)))
        };
        let not_found = missing(&named);
        let reservation_id = named.reservation_id;
        let Origin { key, trace_id } = origin;
        let ask = Request { showtime_id, command: command(named), key, record, validate_only: false, trace_id };
        match self.ask(ask).await? {
            Some(Reply { outcome: Outcome::Refused(why), .. }) if *why == Refusal::NoReservation => Err(not_found),
            Some(told) => decided(told, Some(reservation_id)),
            None => Err(not_found),
        }
    }

    /// The reservation in the store, if it is there and theirs.
    async fn find(&self, named: &ReservationRef) -> Result<ReservationAt, Error> {
        let found = self.0.store.reservation(named.reservation_id, self.0.clock.now()).await?;
        let theirs = |found: &ReservationAt| {
            named.customer_id.as_ref().is_none_or(|customer| found.reservation.customer_id == *customer)
        };
        found.filter(theirs).ok_or_else(|| missing(named))
    }
}

fn missing(named: &ReservationRef) -> Error {
    Error::NotFound { kind: Kind::Reservation, id: named.reservation_id.to_string() }
}

fn shown(reservation: Reservation, plan: Arc<ShowtimePlan>, as_of: DateTime<Utc>) -> ReservationView {
    let phase = reservation.phase(as_of);
    ReservationView { reservation: Arc::new(reservation), plan, phase, as_of }
}

/// What the ledger told, as the answer to a request that is about one reservation.
fn decided(told: Reply, reservation_id: Option<ReservationId>) -> Result<Answer<ReservationChange>, Error> {
    let Reply { plan, revision, now, outcome } = told;
    let (reservation, replayed) = match outcome {
        Outcome::Done(Some(reservation)) => (reservation, false),
        Outcome::Replayed(Some(reservation)) => (reservation, true),
        Outcome::Done(None) | Outcome::Replayed(None) => {
            return Err(Error::Lost("the ledger told of no reservation".to_owned()));
        }
        Outcome::RequestReused => return Err(Error::RequestReused),
        Outcome::Refused(why) => return Err(Error::Refused(Refused { why, plan, revision, now, reservation_id })),
    };
    // As it was then: a hold that was answered is answered as a hold again, though it may be over by now.
    let phase = match reservation.state {
        State::Held => Phase::Held,
        State::Confirmed(_) => Phase::Confirmed,
        State::Cancelled { .. } => Phase::Cancelled,
        State::Expired => Phase::Expired,
    };
    Ok(Answer {
        value: ReservationChange { shown: ReservationView { reservation, plan, phase, as_of: now }, revision },
        replayed,
    })
}

/// The filter as text, the same in every version of this program: what a page token is signed with.
fn canonical(filter: &Filter) -> String {
    let Filter { customer_id, showtime_id, phase } = filter;
    let phase = match phase {
        None => "",
        Some(Phase::Held) => "held",
        Some(Phase::Confirmed) => "confirmed",
        Some(Phase::Cancelled) => "cancelled",
        Some(Phase::Expired) => "expired",
    };
    let showtime_id = showtime_id.map(|id| id.to_string()).unwrap_or_default();
    // A customer may be called anything, and comes last.
    [showtime_id.as_str(), phase, customer_id.as_ref().map_or("", CustomerId::as_str)].join("|")
}

fn write_place(last: &Reservation) -> Vec<u8> {
    let mut place = last.create_time.timestamp_micros().to_be_bytes().to_vec();
    place.extend_from_slice(last.reservation_id.0.as_bytes());
    place
}

fn read_place(place: &[u8]) -> Option<ReservationCursor> {
    let (made, id) = place.split_at_checked(8)?;
    Some(ReservationCursor {
        create_time: DateTime::from_timestamp_micros(i64::from_be_bytes(made.try_into().ok()?))?,
        reservation_id: ReservationId(Uuid::from_slice(id).ok()?),
    })
}

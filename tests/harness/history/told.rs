//! Answers: what one request came to over all its attempts, and whether that is what happened.

use std::collections::BTreeMap;

use boxoffice::pb::boxoffice::v1::{Reservation, ReservationState};

use super::{
    Call, Deed, Moment, Told,
    check::Course,
    replay::{Booking, Name, moment, seat},
};

/// All calls with one request id, in the order in which they ended.
pub(super) struct Request<'a>(Vec<&'a Call>);

/// What a request changed: this reservation, at this revision, and between which moments that was.
pub(super) struct Effect {
    pub(super) reservation_id: String,
    pub(super) revision: i64,
    pub(super) begun: Moment,
    pub(super) ended: Moment,
}

impl<'a> Request<'a> {
    pub(super) fn all(calls: impl Iterator<Item = &'a Call>) -> BTreeMap<&'a str, Self> {
        let mut found = BTreeMap::new();
        for call in calls.filter(|call| !call.deed.request_id().is_empty()) {
            found.entry(call.deed.request_id()).or_insert_with(|| Self(Vec::new())).0.push(call);
        }
        found
    }

    pub(super) fn showtime_id(&self) -> &str {
        &self.0[0].showtime_id
    }

    /// What it changed, if it changed anything, and what about its answers cannot be.
    pub(super) fn effect(&self, course: &Course) -> (Option<Effect>, Vec<String>) {
        let mut wrong = Vec::new();
        let answers: Vec<_> = self.0.iter().filter_map(|call| Answer::of(call)).collect();
        let Some(first) = answers.first() else {
            if self.0.iter().any(|call| matches!(call.told, Told::Unknown(_))) && !self.is_refused_at_last() {
                wrong.push("nobody asked what became of it".to_owned());
            }
            return (None, wrong);
        };
        let originals = answers.iter().filter(|answer| !answer.replayed).count();
        if originals > 1 {
            wrong.push(format!("it was done {originals} times"));
        }
        let unheard = self.0.iter().any(|call| matches!(call.told, Told::Unknown(_)));
        if originals == 0 && !unheard {
            wrong.push("it was answered as if it had been done before".to_owned());
        }
        for answer in &answers[1..] {
            if answer.plain() != first.plain() {
                wrong.push(format!("it was answered with {:?} and with {:?}", first.plain(), answer.plain()));
            }
        }
        let end = answers.iter().map(|answer| answer.call.ended.tick).min().unwrap_or_default();
        for call in self.0.iter().filter(|call| call.begun.tick > end) {
            if let Told::Refused(refused) = &call.told
                && !refused.is_for_now()
            {
                wrong.push(format!("it was done, and then refused: {refused:?}"));
            }
        }
        wrong.extend(first.check(course));
        let done = answers.iter().find(|answer| !answer.replayed).map(|answer| answer.call);
        let begun =
            done.map_or(self.0.iter().map(|call| call.begun).min_by_key(|begun| begun.tick), |done| Some(done.begun));
        let effect = Effect {
            reservation_id: first.reservation.reservation_id.clone(),
            revision: first.reservation.revision,
            begun: begun.unwrap_or(first.call.begun),
            ended: done.unwrap_or(first.call).ended,
        };
        (Some(effect), wrong)
    }

    fn is_refused_at_last(&self) -> bool {
        self.0.last().is_some_and(|call| matches!(call.told, Told::Refused(_)))
    }
}

struct Answer<'a> {
    call: &'a Call,
    reservation: &'a Reservation,
    revision: i64,
    replayed: bool,
}

impl<'a> Answer<'a> {
    fn of(call: &'a Call) -> Option<Self> {
        match &call.told {
            Told::Done { reservation, revision, replayed } => {
                Some(Self { call, reservation, revision: *revision, replayed: *replayed })
            }
            _ => None,
        }
    }

    /// Without what depends on the time of answering.
    fn plain(&self) -> Reservation {
        Reservation { time_left: None, ..self.reservation.clone() }
    }

    /// What it says happened did.
    fn check(&self, course: &Course) -> Option<String> {
        let (told, deed) = (self.reservation, &self.call.deed);
        let Some(booking) = course.booking(&told.reservation_id, told.revision) else {
            return Some(format!("acknowledged and not found: {told:?}"));
        };
        let own = self.revision == told.revision;
        let right = match deed {
            Deed::Reserve(request) => {
                let mut wanted: Vec<Name> = request.seats.iter().map(seat).collect();
                wanted.sort_by_key(|name| course.place(name));
                let size = usize::try_from(request.seat_count).expect("a count");
                let given = if wanted.is_empty() { booking.seats.len() == size } else { booking.seats == wanted };
                given && own && booking.first_revision == told.revision && booking.customer_id == request.customer_id
            }
            Deed::Confirm(request) => {
                let asked = request.tender.as_ref().is_none_or(|tender| tender.method == booking.tender_method);
                let sold = booking.state == ReservationState::Confirmed;
                sold && asked && request.reservation_id == told.reservation_id
            }
            Deed::Cancel(request) => {
                own && booking.state == ReservationState::Cancelled && request.reservation_id == told.reservation_id
            }
            Deed::Extend(request) => {
                let longer = booking.state == ReservationState::Held && booking.expire_time > booking.first_expire_time;
                own && longer && request.reservation_id == told.reservation_id
            }
            Deed::Read(_) | Deed::Look | Deed::Lock => false,
        };
        let same = agrees(told, booking, booking.state);
        (!right || !same).then(|| format!("{deed:?} was answered with {told:?}, but it is {booking:?}"))
    }
}

/// Whether a reservation is told as it was, in this state.
pub(super) fn agrees(told: &Reservation, booking: &Booking, state: ReservationState) -> bool {
    let seats: Vec<Name> = told.seats.iter().map(seat).collect();
    told.state() == state
        && seats == booking.seats
        && usize::try_from(told.seat_count) == Ok(seats.len())
        && told.customer_id == booking.customer_id
        && told.total_price.as_ref() == Some(&booking.total)
        && told.create_time.as_ref().and_then(moment) == Some(booking.create_time)
        && told.expire_time.as_ref().and_then(moment) == Some(booking.expire_time)
        && told.tender.as_ref().map_or("", |tender| &tender.method) == booking.tender_method
        && told.extended == (booking.expire_time != booking.first_expire_time)
}

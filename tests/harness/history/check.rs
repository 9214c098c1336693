//! The checker: puts the calls, the events and the tables side by side.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use boxoffice::pb::boxoffice::{
    events::v1::{Event, event::Payload},
    v1::{Reservation, ReservationState},
};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{DatabaseConnection, prelude::Uuid};
use tonic::transport::Channel;

use super::{
    Call, History, Stage, Told, locked,
    order::{Point, floors},
    records::Records,
    refusals::Span,
    replay::{Booking, Name, Seating, moment},
    tables::{check_list, check_request_ids, check_tables, list},
    told::{Effect, Request, agrees},
};

/// How a showtime went, from its events alone.
pub(super) struct Course {
    events: BTreeMap<i64, Vec<Event>>,
    /// When each revision was made; the first is 1.
    times: Vec<DateTime<Utc>>,
    /// Every reservation as each revision left it that changed it.
    lives: HashMap<String, BTreeMap<i64, Booking>>,
    last: Seating,
}

impl Course {
    /// The reservation as this revision made it.
    pub(super) fn booking(&self, id: &str, revision: i64) -> Option<&Booking> {
        self.lives.get(id)?.get(&revision)
    }

    pub(super) fn place(&self, name: &Name) -> Option<usize> {
        self.last.house.place(name)
    }

    fn time(&self, revision: i64) -> Option<DateTime<Utc>> {
        self.times.get(usize::try_from(revision - 1).ok()?).copied()
    }
}

impl History {
    /// Fails unless everything could have come about with all promises kept. Everybody has finished, and nothing is left
    /// unknown. `channels` lead to servers, which must tell what the database does.
    pub(crate) async fn assert_holds(&self, connection: &DatabaseConnection, channels: &[Channel]) {
        let wrong = self.check(connection, channels).await;
        let first = wrong.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
        assert!(wrong.is_empty(), "{} things cannot be, among them:\n{first}", wrong.len());
    }

    /// Everything that cannot have come about with all promises kept.
    pub(crate) async fn check(&self, connection: &DatabaseConnection, channels: &[Channel]) -> Vec<String> {
        let records = Records::read(connection).await;
        let calls = self.calls();
        let mut wrong = Vec::new();
        let stages = std::mem::take(&mut *locked(&self.stages));
        for (id, stage) in &stages {
            let theirs: Vec<&Call> = calls.iter().filter(|call| call.showtime_id == *id).collect();
            let found = check_showtime(&records, stage, &theirs);
            wrong.extend(found.into_iter().map(|what| format!("showtime {id}: {what}")));
            for channel in channels {
                let told = list(channel.clone(), id).await;
                wrong
                    .extend(check_list(&records, stage, &told).into_iter().map(|what| format!("list of {id}: {what}")));
            }
        }
        *locked(&self.stages) = stages;
        wrong
    }
}

fn check_showtime(records: &Records, stage: &Stage, calls: &[&Call]) -> Vec<String> {
    let id: Uuid = stage.showtime.showtime_id.parse().expect("an id");
    let (events, mut wrong) = records.events(id);
    let (course, found) = replay(stage, events, calls);
    wrong.extend(found);
    wrong.extend(check_tables(records, &course.last, id));
    let mut effects = Vec::new();
    for (request_id, request) in Request::all(calls.iter().copied()) {
        assert_eq!(request.showtime_id(), stage.showtime.showtime_id, "a request id is for one showtime");
        let (effect, found) = request.effect(&course);
        wrong.extend(found.into_iter().map(|what| format!("request {request_id}: {what}")));
        effects.extend(effect.map(|effect| (request_id, effect)));
    }
    wrong.extend(check_causes(&course, &effects));
    wrong.extend(check_request_ids(records, id, &effects));
    wrong.extend(check_order(&course, calls, &effects));
    wrong
}

/// Plays the events, and judges at each revision the calls that name it.
fn replay(stage: &Stage, events: BTreeMap<i64, Vec<Event>>, calls: &[&Call]) -> (Course, Vec<String>) {
    let price = stage.showtime.price.clone().unwrap_or_default();
    let hold = stage.showtime.hold_duration.as_ref().expect("a showtime says how long it holds");
    let hold = TimeDelta::new(hold.seconds, hold.nanos.cast_unsigned()).expect("a length of time");
    let mut seating = Seating::new(stage.house.clone(), price);
    let (mut times, mut lives, mut wrong) = (Vec::new(), HashMap::<_, BTreeMap<_, _>>::new(), Vec::new());
    let mut at: HashMap<i64, Vec<&Call>> = HashMap::new();
    for call in calls {
        match &call.told {
            Told::Looked { revision, .. } | Told::Locked { revision, .. } => {
                at.entry(*revision).or_default().push(call);
            }
            Told::Refused(refused) => {
                wrong.extend(refused.flaw());
                if let Some(revision) = refused.revision {
                    at.entry(revision).or_default().push(call);
                }
            }
            Told::Done { .. } | Told::Read(_) | Told::Unknown(_) => {}
        }
    }
    for (revision, step) in &events {
        wrong.extend(seating.step(step).into_iter().map(|what| format!("revision {revision}: {what}")));
        times.push(seating.time);
        for (id, booking) in seating.bookings.iter().filter(|(_, booking)| booking.revision == *revision) {
            if booking.first_revision == *revision && booking.expire_time != booking.create_time + hold {
                wrong.push(format!("revision {revision}: held for another time than {hold}: {booking:?}"));
            }
            lives.entry(id.clone()).or_default().insert(*revision, booking.clone());
        }
        let next = events.get(&(revision + 1)).and_then(|step| moment(step.first()?.time.as_ref()?));
        for call in at.remove(revision).unwrap_or_default() {
            let judged = judge(call, &seating, next.unwrap_or(DateTime::<Utc>::MAX_UTC));
            wrong.extend(judged.err().map(|what| format!("revision {revision}: {call:?}: {what}")));
        }
    }
    wrong.extend(at.into_iter().map(|(revision, calls)| format!("there is no revision {revision}: {:?}", calls[0])));
    (Course { events, times, lives, last: seating }, wrong)
}

/// Whether what was said of this state was true of it.
fn judge(call: &Call, seating: &Seating, next: DateTime<Utc>) -> Result<(), String> {
    let span = Span { from: seating.time.max(call.begun.time), to: next.min(call.ended.time) };
    match &call.told {
        Told::Refused(refused) if span.from <= span.to => refused.judge(call, seating, span),
        Told::Refused(_) => Err(format!("at no time during the call was it the revision: {span:?}")),
        Told::Locked { from, until, .. } => {
            let apart = seating.time <= *from && *until <= next;
            if apart { Ok(()) } else { Err(format!("decided under it, at {} or {next}", seating.time)) }
        }
        Told::Looked { available_count, .. } => {
            let owners = || seating.owners.values().filter_map(|id| seating.bookings.get(id));
            let free = seating.house.count() - owners().count();
            let lapsed = owners().filter(|owner| owner.is_over(call.ended.time)).count();
            let told = usize::try_from(*available_count).unwrap_or(usize::MAX);
            if (free..=free + lapsed).contains(&told) { Ok(()) } else { Err(format!("{free} and {lapsed} were free")) }
        }
        Told::Done { .. } | Told::Read(_) | Told::Unknown(_) => Ok(()),
    }
}

/// Every change was asked for, once.
fn check_causes(course: &Course, effects: &[(&str, Effect)]) -> Vec<String> {
    let mut causes: HashMap<(i64, &str), BTreeSet<&str>> = HashMap::new();
    let mut wrong = Vec::new();
    for (request_id, effect) in effects {
        causes.entry((effect.revision, &effect.reservation_id)).or_default().insert(request_id);
    }
    for (revision, step) in &course.events {
        let whole = step.iter().any(|event| matches!(event.payload, Some(Payload::ShowtimeCancelled(_))));
        for event in step {
            let (id, most) = match &event.payload {
                Some(Payload::ReservationCreated(event)) => (&event.reservation_id, 1),
                Some(Payload::ReservationConfirmed(event)) => (&event.reservation_id, usize::MAX),
                Some(Payload::ReservationExtended(event)) => (&event.reservation_id, usize::MAX),
                Some(Payload::ReservationCancelled(event)) if !whole => (&event.reservation_id, usize::MAX),
                _ => continue,
            };
            let count = causes.get(&(*revision, id)).map_or(0, BTreeSet::len);
            if count == 0 || count > most {
                wrong.push(format!("revision {revision} was asked for by {count} requests: {event:?}"));
            }
        }
    }
    wrong
}

/// Real time and the order of revisions agree.
fn check_order(course: &Course, calls: &[&Call], effects: &[(&str, Effect)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut points: Vec<Point> = Vec::new();
    let mut reads: Vec<(usize, &Call, &Reservation)> = Vec::new();
    for call in calls {
        let (known, decided) = match &call.told {
            Told::Done { revision, .. } => (*revision, None),
            Told::Read(reservation) => {
                reads.push((points.len(), call, reservation));
                (reservation.revision, None)
            }
            Told::Looked { revision, .. } | Told::Locked { revision, .. } => (*revision, Some(*revision)),
            Told::Refused(refused) => match refused.revision {
                Some(revision) => (revision, Some(revision)),
                None => continue,
            },
            Told::Unknown(_) => continue,
        };
        let what = format!("{:?}", call.deed);
        points.push(Point { begun: call.begun.tick, ended: call.ended.tick, known, decided, made: false, what });
    }
    for (request_id, effect) in effects {
        let Effect { reservation_id, revision, begun, ended } = effect;
        let same = |other: &&(&str, Effect)| (other.1.revision, &other.1.reservation_id) == (*revision, reservation_id);
        // Of several that confirm, cancel or extend the same reservation, one has the effect.
        let shared = effects.iter().filter(same).count() > 1;
        if !shared {
            let (known, decided) = (*revision, Some(*revision));
            let what = format!("request {request_id}");
            points.push(Point { begun: begun.tick, ended: ended.tick, known, decided, made: true, what });
        }
        let time = course.time(*revision);
        let in_time = time.is_some_and(|time| (shared || begun.time <= time) && time <= ended.time);
        if !in_time && time.is_some() {
            wrong.push(format!("request {request_id} was decided at {time:?}, and not from {begun:?} to {ended:?}"));
        }
    }
    let (floors, found) = floors(&points);
    wrong.extend(found);
    wrong.extend(calls.iter().filter(|call| is_denied(call, calls)).map(|call| format!("it was there: {call:?}")));
    for (at, call, told) in reads {
        let whole = course.lives.get(&told.reservation_id);
        let stale = whole.and_then(|life| life.range(told.revision + 1..=floors[at].max(told.revision + 1)).next());
        let stale = stale.filter(|(revision, _)| **revision <= floors[at]);
        let booking = course.booking(&told.reservation_id, told.revision);
        let right = booking.is_some_and(|booking| match (booking.state, told.state()) {
            (ReservationState::Held, ReservationState::Expired) => {
                booking.is_over(call.ended.time) && agrees(told, booking, ReservationState::Expired)
            }
            (ReservationState::Held, ReservationState::Held) => {
                !booking.is_over(call.begun.time) && agrees(told, booking, ReservationState::Held)
            }
            (settled, _) => agrees(told, booking, settled),
        });
        if !right || stale.is_some() {
            wrong.push(format!("{call:?}, but it was {booking:?}, and then, as was known, {stale:?}"));
        }
    }
    wrong
}

/// Whether a reservation was not found of which somebody had been told before.
fn is_denied(call: &Call, calls: &[&Call]) -> bool {
    let refused = matches!(&call.told, Told::Refused(refused) if refused.reason == "RESERVATION_NOT_FOUND");
    let told = |other: &&Call| match &other.told {
        Told::Done { reservation, .. } => Some(&*reservation.reservation_id) == call.deed.reservation_id(),
        _ => false,
    };
    refused && calls.iter().any(|other| other.ended.tick < call.begun.tick && told(other))
}

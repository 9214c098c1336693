//! Compares the calls, the events and the tables, and collects the anomalies.

use std::collections::{BTreeMap, HashMap};

use boxoffice::pb::{
    boxoffice::{
        events::v1::Event,
        v1::{FeedEvent, Reservation, ReservationState},
    },
    payments::v1::Payment,
};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{DatabaseConnection, prelude::Uuid};
use tonic::transport::Channel;

use super::{
    Call, History, Operation, Outcome, RecordedShowtime,
    answers::{Effect, Request, agrees},
    causes::check_causes,
    guard,
    lines::check_lines,
    money::check_money,
    order::{CallSpan, check_real_time},
    records::Records,
    refusals::Interval,
    replay::{Prices, ReplayedReservation, ReplayedShowtime, SeatName, datetime},
    seat_maps::{check_blocks, check_map},
    tables::{check_blocked, check_list, check_request_ids, check_tables, list},
};

/// All states of a showtime, from its events alone.
pub(super) struct Timeline {
    pub(super) events: BTreeMap<i64, Vec<Event>>,
    /// The time at which each revision was made. The first one is of revision 1.
    times: Vec<DateTime<Utc>>,
    /// Each reservation, at each revision that changed it.
    versions: HashMap<String, BTreeMap<i64, ReplayedReservation>>,
    pub(super) last: ReplayedShowtime,
}

impl Timeline {
    /// Returns the reservation as this revision made it.
    pub(super) fn reservation(&self, id: &str, revision: i64) -> Option<&ReplayedReservation> {
        self.versions.get(id)?.get(&revision)
    }

    /// Returns the reservation as it was before this revision.
    pub(super) fn reservation_before(&self, id: &str, revision: i64) -> Option<&ReplayedReservation> {
        self.versions.get(id)?.range(..revision).next_back().map(|(_, version)| version)
    }

    /// Returns the seats in the order of the layout.
    pub(super) fn sorted(&self, seats: Vec<SeatName>) -> Vec<SeatName> {
        self.last.seats.sorted(seats)
    }

    /// Whether sales have lines. Those of the release before have none.
    pub(super) fn has_lines(&self) -> bool {
        self.last.prices.has_lines
    }

    fn time(&self, revision: i64) -> Option<DateTime<Utc>> {
        self.times.get(usize::try_from(revision - 1).ok()?).copied()
    }
}

impl History {
    /// Fails if there is an anomaly. All callers must have finished, and no outcome may be unknown. `channels` lead to the
    /// servers whose lists are compared with the database.
    pub(crate) async fn assert_holds(&self, connection: &DatabaseConnection, channels: &[Channel]) {
        let anomalies = self.check(connection, channels).await;
        let first = anomalies.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
        assert!(anomalies.is_empty(), "{} anomalies, among them:\n{first}", anomalies.len());
    }

    /// Fails if there is an anomaly in the seats of the recorded showtimes, or in the money of all purchases. These are all events of the
    /// feed, and all payments of the gateway. Nothing may be under way.
    pub(crate) async fn assert_purchases_hold(
        &self,
        connection: &DatabaseConnection,
        events: &[FeedEvent],
        charged: &[Payment],
    ) {
        let records = Records::read(connection).await;
        let mut anomalies = check_money(events.iter().filter_map(|event| event.data.as_ref()), charged);
        for (id, recorded) in guard(&self.showtimes).iter() {
            let showtime_id: Uuid = id.parse().expect("an id");
            let (events, mut found) = records.events(showtime_id);
            let (timeline, illegal) = replay(recorded, events, &[]);
            found.extend(illegal);
            found.extend(check_tables(&records, &timeline.last, showtime_id));
            anomalies.extend(found.into_iter().map(|what| format!("showtime {id}: {what}")));
        }
        let first = anomalies.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
        assert!(anomalies.is_empty(), "{} anomalies, among them:\n{first}", anomalies.len());
    }

    /// Returns every anomaly.
    pub(crate) async fn check(&self, connection: &DatabaseConnection, channels: &[Channel]) -> Vec<String> {
        let records = Records::read(connection).await;
        let calls = self.calls();
        let mut anomalies = Vec::new();
        let showtimes = std::mem::take(&mut *guard(&self.showtimes));
        for (id, recorded) in &showtimes {
            let calls: Vec<&Call> = calls.iter().filter(|call| call.showtime_id == *id).collect();
            let (timeline, found) = check_showtime(&records, recorded, &calls);
            anomalies.extend(found.into_iter().map(|what| format!("showtime {id}: {what}")));
            let (lines, found) = check_lines(&timeline, &calls);
            anomalies.extend(found.into_iter().map(|what| format!("showtime {id}: {what}")));
            for channel in channels {
                // A bug can leave a row that cannot be read.
                let found = match list(channel.clone(), id).await {
                    Ok(list) => check_list(&timeline, &lines, &list),
                    Err(status) => vec![format!("there is none: {status:?}")],
                };
                anomalies.extend(found.into_iter().map(|what| format!("list of {id}: {what}")));
            }
        }
        *guard(&self.showtimes) = showtimes;
        anomalies
    }
}

fn check_showtime(records: &Records, recorded: &RecordedShowtime, calls: &[&Call]) -> (Timeline, Vec<String>) {
    let id: Uuid = recorded.showtime.showtime_id.parse().expect("an id");
    let (events, mut anomalies) = records.events(id);
    let (timeline, found) = replay(recorded, events, calls);
    anomalies.extend(found);
    anomalies.extend(check_tables(records, &timeline.last, id));
    let mut effects = Vec::new();
    for (request_id, request) in Request::group(calls.iter().copied()) {
        assert_eq!(request.showtime_id(), recorded.showtime.showtime_id, "a request id is used for one showtime only");
        let (effect, found) = request.effect(&timeline);
        anomalies.extend(found.into_iter().map(|what| format!("request {request_id}: {what}")));
        effects.extend(effect.map(|effect| (request_id, effect)));
    }
    anomalies.extend(check_causes(&timeline, &effects));
    anomalies.extend(check_request_ids(records, id, &effects));
    anomalies.extend(check_blocked(records, &timeline.last, id, &effects));
    anomalies.extend(check_order(&timeline, calls, &effects));
    (timeline, anomalies)
}

/// Replays the events, and checks the calls that name a revision against its state.
fn replay(recorded: &RecordedShowtime, events: BTreeMap<i64, Vec<Event>>, calls: &[&Call]) -> (Timeline, Vec<String>) {
    let hold = recorded.showtime.hold_duration.as_ref().expect("a showtime has a hold duration");
    let hold = TimeDelta::new(hold.seconds, hold.nanos.cast_unsigned()).expect("a duration");
    let mut showtime = ReplayedShowtime::new(recorded.seats.clone(), Prices::of(&recorded.showtime));
    let (mut times, mut anomalies) = (Vec::new(), Vec::new());
    let mut versions = HashMap::<_, BTreeMap<_, _>>::new();
    let mut calls_by_revision: HashMap<i64, Vec<&Call>> = HashMap::new();
    for call in calls {
        match &call.outcome {
            Outcome::Showtime { revision, .. }
            | Outcome::SeatBlocks { revision, .. }
            | Outcome::Locked { revision, .. } => calls_by_revision.entry(*revision).or_default().push(call),
            Outcome::SeatMap(map) => calls_by_revision.entry(map.revision).or_default().push(call),
            Outcome::Refused(refusal) => {
                anomalies.extend(refusal.check_form());
                if let Some(revision) = refusal.revision {
                    calls_by_revision.entry(revision).or_default().push(call);
                }
            }
            Outcome::Changed { .. } | Outcome::Blocked { .. } | Outcome::Reservation(_) | Outcome::Unknown(_) => {}
        }
    }
    for (revision, step) in &events {
        anomalies.extend(showtime.apply(step).into_iter().map(|what| format!("revision {revision}: {what}")));
        times.push(showtime.time);
        for (id, reservation) in showtime.reservations.iter().filter(|(_, one)| one.revision == *revision) {
            if reservation.first_revision == *revision && reservation.expire_time != reservation.create_time + hold {
                anomalies.push(format!("revision {revision}: not held for {hold}: {reservation:?}"));
            }
            versions.entry(id.clone()).or_default().insert(*revision, reservation.clone());
        }
        let next = events.get(&(revision + 1)).and_then(|step| datetime(step.first()?.time.as_ref()?));
        for call in calls_by_revision.remove(revision).unwrap_or_default() {
            let checked = check_call(call, &showtime, next.unwrap_or(DateTime::<Utc>::MAX_UTC));
            anomalies.extend(checked.err().map(|what| format!("revision {revision}: {call:?}: {what}")));
        }
    }
    for (revision, calls) in calls_by_revision {
        anomalies.push(format!("there is no revision {revision}: {:?}", calls[0]));
    }
    (Timeline { events, times, versions, last: showtime }, anomalies)
}

/// Checks the outcome of a call against the state at the revision that it names. `next` is the time of the next revision.
fn check_call(call: &Call, showtime: &ReplayedShowtime, next: DateTime<Utc>) -> Result<(), String> {
    let interval = Interval { from: showtime.time.max(call.started.time), to: next.min(call.ended.time) };
    match &call.outcome {
        // Seat maps may be behind.
        Outcome::Refused(refusal) if interval.from <= interval.to || is_map(call) => {
            refusal.check(call, showtime, interval)
        }
        Outcome::Refused(_) => Err(format!("the revision was not the latest at any time of the call: {interval:?}")),
        Outcome::Locked { from, until, .. } => {
            let undisturbed = showtime.time <= *from && *until <= next;
            if undisturbed {
                Ok(())
            } else {
                Err(format!("a revision was decided during the lock, at {} or {next}", showtime.time))
            }
        }
        Outcome::Showtime { available_count, .. } => {
            let owners = showtime.owners.values().filter_map(|id| showtime.reservations.get(id));
            let free = showtime.unclaimed();
            let lapsed = owners.filter(|owner| owner.has_ended(call.ended.time)).count();
            let answered = usize::try_from(*available_count).unwrap_or(usize::MAX);
            if (free..=free + lapsed).contains(&answered) {
                Ok(())
            } else {
                Err(format!("{free} seats were free, and the holds of {lapsed} had lapsed"))
            }
        }
        Outcome::SeatMap(map) => check_map(map, showtime),
        Outcome::SeatBlocks { blocks, .. } => check_blocks(blocks, showtime),
        Outcome::Changed { .. } | Outcome::Blocked { .. } | Outcome::Reservation(_) | Outcome::Unknown(_) => Ok(()),
    }
}

fn is_map(call: &Call) -> bool {
    matches!(call.operation, Operation::GetSeatMap { .. })
}

/// Checks that the order of revisions agrees with the real-time order of the calls.
fn check_order(timeline: &Timeline, calls: &[&Call], effects: &[(&str, Effect<'_>)]) -> Vec<String> {
    let mut anomalies = Vec::new();
    let mut spans: Vec<CallSpan> = Vec::new();
    let mut reads: Vec<(usize, &Call, &Reservation)> = Vec::new();
    for call in calls {
        let (reached, decided) = match &call.outcome {
            Outcome::Changed { revision, .. } | Outcome::Blocked { revision, .. } => (*revision, None),
            Outcome::SeatMap(map) => {
                if let Operation::GetSeatMap { at_least_revision } = call.operation
                    && map.revision < at_least_revision
                {
                    anomalies.push(format!("the map is older than was asked for: {call:?}"));
                }
                (map.revision, None)
            }
            Outcome::Reservation(reservation) => {
                reads.push((spans.len(), call, reservation));
                (reservation.revision, None)
            }
            Outcome::Showtime { revision, .. }
            | Outcome::SeatBlocks { revision, .. }
            | Outcome::Locked { revision, .. } => (*revision, Some(*revision)),
            Outcome::Refused(refusal) => match refusal.revision {
                Some(revision) => (revision, Some(revision).filter(|_| !is_map(call))),
                None => continue,
            },
            Outcome::Unknown(_) => continue,
        };
        let (started, ended, label) = (call.started.tick, call.ended.tick, format!("{:?}", call.operation));
        spans.push(CallSpan { started, ended, reached, decided, is_change: false, label });
    }
    for (request_id, effect) in effects {
        let Effect { reservation_id, revision, started, ended, .. } = effect;
        let same =
            |other: &&(&str, Effect<'_>)| (other.1.revision, &other.1.reservation_id) == (*revision, reservation_id);
        // Of several requests that find the same reservation as they want it, one has made it so.
        let shared = effects.iter().filter(same).count() > 1;
        if !shared {
            spans.push(CallSpan {
                started: started.tick,
                ended: ended.tick,
                reached: *revision,
                decided: Some(*revision),
                is_change: true,
                label: format!("request {request_id}"),
            });
        }
        let time = timeline.time(*revision);
        let in_time = time.is_some_and(|time| (shared || started.time <= time) && time <= ended.time);
        if !in_time && time.is_some() {
            anomalies.push(format!("request {request_id} was decided at {time:?}, not from {started:?} to {ended:?}"));
        }
    }
    let (known_at_start, found) = check_real_time(&spans);
    anomalies.extend(found);
    let lost = calls.iter().filter(|call| is_lost_reservation(call, calls));
    anomalies.extend(lost.map(|call| format!("a known reservation was not found: {call:?}")));
    for (at, call, answered) in reads {
        anomalies.extend(check_read(timeline, call, answered, known_at_start[at]));
    }
    anomalies
}

/// Checks a reservation that was read. `known` is the latest revision of the showtime that was known before the call.
fn check_read(timeline: &Timeline, call: &Call, answered: &Reservation, known: i64) -> Option<String> {
    let versions = timeline.versions.get(&answered.reservation_id);
    let newer = versions.and_then(|versions| versions.range(answered.revision + 1..).next());
    let missed = newer.filter(|(revision, _)| **revision <= known);
    let expected = timeline.reservation(&answered.reservation_id, answered.revision);
    let right = expected.is_some_and(|expected| match (expected.state, answered.state()) {
        (ReservationState::Held, ReservationState::Expired) => {
            expected.has_ended(call.ended.time) && agrees(answered, expected, ReservationState::Expired)
        }
        (ReservationState::Held, ReservationState::Held) => {
            !expected.has_ended(call.started.time) && agrees(answered, expected, ReservationState::Held)
        }
        (settled, _) => agrees(answered, expected, settled),
    });
    (!right || missed.is_some())
        .then(|| format!("a read is stale or wrong: {call:?}, the events give {expected:?}, known before: {missed:?}"))
}

/// Whether the call did not find a reservation that a caller had been answered with before.
fn is_lost_reservation(call: &Call, calls: &[&Call]) -> bool {
    let not_found = matches!(&call.outcome, Outcome::Refused(refusal) if refusal.reason == "RESERVATION_NOT_FOUND");
    let answered = |other: &&Call| match &other.outcome {
        Outcome::Changed { reservation, .. } => Some(&*reservation.reservation_id) == call.operation.reservation_id(),
        _ => false,
    };
    not_found && calls.iter().any(|other| other.ended.tick < call.started.tick && answered(other))
}

//! Compares the tables and the lists with the state that the events give.

use std::collections::{BTreeMap, HashMap};

use boxoffice::pb::boxoffice::v1::{
    BlockSeatsRequest, ListReservationsRequest, Reservation, ReservationState, reservations_client::ReservationsClient,
};
use sea_orm::prelude::Uuid;
use tonic::{Status, transport::Channel};

use super::{
    Operation,
    answers::{Effect, agrees},
    check::Timeline,
    lines::{Lines, are_right, has_types_of},
    records::{Records, state},
    replay::{ReplayedBlock, ReplayedShowtime, SeatName, nanos},
};

/// Checks that the tables have the reservations, claims and counts that the events give.
pub(super) fn check_tables(records: &Records, last: &ReplayedShowtime, id: Uuid) -> Vec<String> {
    let mut anomalies = Vec::new();
    let mut rows: HashMap<String, _> = HashMap::new();
    for row in records.reservations.iter().filter(|row| row.showtime_id == id) {
        rows.insert(row.reservation_id.to_string(), row);
    }
    for (id, reservation) in &last.reservations {
        let Some(row) = rows.remove(id) else {
            anomalies.push(format!("there is no row for {id}: {reservation:?}"));
            continue;
        };
        let (first, count) = (row.first_seat, reservation.first_seats.len());
        let seats = last.seats.names(usize::try_from(first).unwrap_or(usize::MAX), count);
        let same = seats == reservation.first_seats
            && usize::try_from(row.seat_count) == Ok(count)
            && i128::from(row.total_minor) * 10_000_000 == nanos(&reservation.first_total)
            && row.amendment.is_some() == reservation.is_amended
            && row.customer_id == reservation.customer_id
            && state(&row.state) == reservation.state
            && row.tender_method.as_deref().unwrap_or_default() == reservation.paid_by()
            && row.refund_due_time == reservation.refund_due.as_ref().map(|due| due.time)
            && (row.confirm_time, row.cancel_time) == (reservation.confirm_time, reservation.cancel_time)
            && (row.create_time, row.first_expire_time) == (reservation.create_time, reservation.first_expire_time)
            && (row.expire_time, row.revision) == (reservation.expire_time, reservation.revision)
            && row.first_revision == reservation.first_revision;
        if !same {
            anomalies.push(format!("the row is {row:?}, but the events give {reservation:?}"));
        }
    }
    anomalies.extend(rows.into_values().map(|row| format!("no event has created {row:?}")));
    let claims = records.claims.iter().filter(|claim| claim.showtime_id == id);
    let claims: BTreeMap<SeatName, String> = claims
        .filter_map(|claim| {
            let name = last.seats.names(usize::try_from(claim.seat).unwrap_or(usize::MAX), 1).pop();
            name.map(|name| (name, claim.reservation_id.to_string()))
        })
        .collect();
    // A claim without a reservation is of a seat that is blocked.
    let blocked = last.blocked.keys().map(|seat| (seat.clone(), Uuid::nil().to_string()));
    let expected: BTreeMap<SeatName, String> = last.owners.clone().into_iter().chain(blocked).collect();
    if claims != expected {
        anomalies.push(format!("the claims are {claims:?}, but the events give {expected:?}"));
    }
    let Some(row) = records.showtimes.iter().find(|row| row.showtime_id == id) else {
        return vec!["the showtime has no row".to_owned()];
    };
    let holds = last.reservations.values().filter(|reservation| reservation.state == ReservationState::Held);
    let first = holds.map(|reservation| reservation.expire_time).min();
    let free = last.unclaimed();
    let same = row.revision == last.revision
        && usize::try_from(row.available_count) == Ok(free)
        && (row.state == "cancelled") == last.cancelled
        // The stored time may be earlier than the first lapse, but not later.
        && first.is_none_or(|first| row.next_lapse.is_some_and(|next| next <= first))
        && row.decide_time.is_none_or(|time| time <= last.time || last.revision == 1);
    if !same {
        anomalies.push(format!(
            "the row is {row:?}, but the events give revision {}, {free} free seats, first lapse {first:?}",
            last.revision
        ));
    }
    anomalies
}

/// Checks that each reservation is stored with the id of the request that made it, and none with that of a refused request.
pub(super) fn check_request_ids(records: &Records, id: Uuid, effects: &[(&str, Effect<'_>)]) -> Vec<String> {
    let effects: HashMap<&str, &Effect<'_>> =
        effects.iter().map(|(request_id, effect)| (*request_id, effect)).collect();
    let rows = records.reservations.iter().filter(|row| row.showtime_id == id);
    rows.filter_map(|row| {
        let request_id = row.request_id?.to_string();
        let right = effects.get(&*request_id).is_some_and(|effect| {
            effect.reservation_id == row.reservation_id.to_string() && effect.revision == row.first_revision
        });
        (!right).then(|| format!("{row:?} is not the effect of its request"))
    })
    .collect()
}

/// Lists all reservations of a showtime, page by page.
pub(super) async fn list(channel: Channel, showtime_id: &str) -> Result<Vec<Reservation>, Status> {
    let mut client = ReservationsClient::new(channel);
    let mut request =
        ListReservationsRequest { showtime_id: showtime_id.to_owned(), page_size: 200, ..Default::default() };
    let mut reservations = Vec::new();
    loop {
        let page = client.list_reservations(request.clone()).await?.into_inner();
        reservations.extend(page.reservations);
        if page.next_page_token.is_empty() {
            return Ok(reservations);
        }
        request.page_token = page.next_page_token;
    }
}

/// Checks that the blocked seats are stored with the reason and the note of the request that blocked them.
pub(super) fn check_blocked(
    records: &Records,
    last: &ReplayedShowtime,
    id: Uuid,
    effects: &[(&str, Effect<'_>)],
) -> Vec<String> {
    let stored = records.blocked.iter().filter(|row| row.showtime_id == id);
    let stored: BTreeMap<SeatName, _> = stored
        .filter_map(|row| {
            let name = last.seats.names(usize::try_from(row.seat).unwrap_or(usize::MAX), 1).pop()?;
            let block = ReplayedBlock { revision: row.revision, time: row.create_time };
            Some((name, (block, row.reason.clone(), row.note.clone())))
        })
        .collect();
    let blocks: HashMap<i64, &BlockSeatsRequest> = effects
        .iter()
        .filter_map(|(_, effect)| match effect.operation {
            Operation::Block(request) => Some((effect.revision, request)),
            _ => None,
        })
        .collect();
    let expected: BTreeMap<SeatName, _> = last
        .blocked
        .iter()
        .filter_map(|(seat, block)| {
            let request = blocks.get(&block.revision)?;
            let reason = request.reason().as_str_name().trim_start_matches("BLOCK_REASON_").to_lowercase();
            Some((seat.clone(), (*block, reason, request.note.clone())))
        })
        .collect();
    let same = stored == expected && expected.len() == last.blocked.len();
    Vec::from_iter((!same).then(|| format!("blocked are {stored:?}, but the events give {:?}", last.blocked)))
}

/// Checks that the list has the reservations that the events give. A hold may have lapsed since the tables were read.
pub(super) fn check_list(timeline: &Timeline, lines: &Lines<'_>, list: &[Reservation]) -> Vec<String> {
    let mut anomalies = Vec::new();
    let listed: HashMap<&str, &Reservation> = list.iter().map(|one| (&*one.reservation_id, one)).collect();
    for (id, expected) in &timeline.last.reservations {
        let same = listed.get(&**id).is_some_and(|one| {
            let has_lapsed = expected.state == ReservationState::Held && one.state() == ReservationState::Expired;
            let state = if has_lapsed { ReservationState::Expired } else { expected.state };
            agrees(one, expected, state)
                && are_right(timeline, one, expected)
                && lines.get(&**id).is_none_or(|first| has_types_of(first, &one.lines))
                && (has_lapsed || one.revision == expected.revision)
        });
        if !same {
            anomalies.push(format!("{expected:?} is listed as {:?}", listed.get(&**id)));
        }
    }
    let count = timeline.last.reservations.len();
    if (count, count) != (list.len(), listed.len()) {
        anomalies.push(format!(
            "{count} reservations are listed as {}, with {} different ids",
            list.len(),
            listed.len()
        ));
    }
    anomalies
}

//! Compares the tables and the lists with the state that the events give.

use std::collections::{BTreeMap, HashMap};

use boxoffice::pb::boxoffice::v1::{
    ListReservationsRequest, Reservation, ReservationState, reservations_client::ReservationsClient,
};
use sea_orm::prelude::Uuid;
use tonic::transport::Channel;

use super::{
    RecordedShowtime,
    answers::Effect,
    lines::Lines,
    records::{Records, state},
    replay::{ReplayedShowtime, SeatName, is_live, nanos, seat_name},
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
        let seats = last.seats.names(usize::try_from(row.first_seat).unwrap_or(usize::MAX), reservation.seats.len());
        let same = seats == reservation.seats
            && usize::try_from(row.seat_count) == Ok(seats.len())
            && i128::from(row.total_minor) * 10_000_000 == nanos(&reservation.total)
            && row.customer_id == reservation.customer_id
            && state(&row.state) == reservation.state
            && row.tender_method.as_deref().unwrap_or_default() == reservation.tender_method
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
    if claims != last.owners {
        anomalies.push(format!("the claims are {claims:?}, but the events give {:?}", last.owners));
    }
    let Some(row) = records.showtimes.iter().find(|row| row.showtime_id == id) else {
        return vec!["the showtime has no row".to_owned()];
    };
    let holds = last.reservations.values().filter(|reservation| reservation.state == ReservationState::Held);
    let first = holds.map(|reservation| reservation.expire_time).min();
    let free = last.seats.count() - last.owners.len();
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
pub(super) fn check_request_ids(records: &Records, id: Uuid, effects: &[(&str, Effect)]) -> Vec<String> {
    let effects: HashMap<&str, &Effect> = effects.iter().map(|(request_id, effect)| (*request_id, effect)).collect();
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
pub(super) async fn list(channel: Channel, showtime_id: &str) -> Vec<Reservation> {
    let mut client = ReservationsClient::new(channel);
    let mut request =
        ListReservationsRequest { showtime_id: showtime_id.to_owned(), page_size: 200, ..Default::default() };
    let mut reservations = Vec::new();
    loop {
        let page = client.list_reservations(request.clone()).await.expect("a page").into_inner();
        reservations.extend(page.reservations);
        if page.next_page_token.is_empty() {
            return reservations;
        }
        request.page_token = page.next_page_token;
    }
}

/// Checks that the list has the reservations of the tables. A hold may have lapsed since the tables were read.
pub(super) fn check_list(
    records: &Records,
    recorded: &RecordedShowtime,
    lines: &Lines<'_>,
    list: &[Reservation],
) -> Vec<String> {
    let mut anomalies = Vec::new();
    let listed: HashMap<&str, &Reservation> = list.iter().map(|one| (&*one.reservation_id, one)).collect();
    let rows = records.reservations.iter().filter(|row| row.showtime_id.to_string() == recorded.showtime.showtime_id);
    let mut count = 0;
    for row in rows {
        count += 1;
        let same = listed.get(&*row.reservation_id.to_string()).is_some_and(|one| {
            let seats = recorded.seats.names(usize::try_from(row.first_seat).expect("a seat"), one.seats.len());
            let has_lapsed = state(&row.state) == ReservationState::Held && one.state() == ReservationState::Expired;
            one.seats.iter().map(seat_name).eq(seats)
                && one.customer_id == row.customer_id
                && lines.get(&*one.reservation_id).is_none_or(|lines| *lines == one.lines)
                && (one.state() == state(&row.state) || has_lapsed)
                && (!is_live(one.state()) || one.revision == row.revision)
        });
        if !same {
            anomalies.push(format!("{row:?} is listed as {:?}", listed.get(&*row.reservation_id.to_string())));
        }
    }
    if (count, count) != (list.len(), listed.len()) {
        anomalies.push(format!(
            "{count} reservations are listed as {}, with {} different ids",
            list.len(),
            listed.len()
        ));
    }
    anomalies
}

//! The tables and the lists, against what the events come to.

use std::collections::{BTreeMap, HashMap};

use boxoffice::pb::boxoffice::v1::{
    ListReservationsRequest, Reservation, ReservationState, reservations_client::ReservationsClient,
};
use sea_orm::prelude::Uuid;
use tonic::transport::Channel;

use super::{
    Stage,
    records::{Records, state},
    replay::{Name, Seating, is_live, minor, seat},
    told::Effect,
};

/// The tables say what the events do.
pub(super) fn check_tables(records: &Records, last: &Seating, id: Uuid) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut rows: HashMap<String, _> = HashMap::new();
    for row in records.reservations.iter().filter(|row| row.showtime_id == id) {
        rows.insert(row.reservation_id.to_string(), row);
    }
    for (id, booking) in &last.bookings {
        let Some(row) = rows.remove(id) else {
            wrong.push(format!("{id} is told of and not there: {booking:?}"));
            continue;
        };
        let seats = last.house.names(usize::try_from(row.first_seat).unwrap_or(usize::MAX), booking.seats.len());
        let same = seats == booking.seats
            && usize::try_from(row.seat_count) == Ok(seats.len())
            && i128::from(row.total_minor) * 10_000_000 == minor(&booking.total)
            && row.customer_id == booking.customer_id
            && state(&row.state) == booking.state
            && row.tender_method.as_deref().unwrap_or_default() == booking.tender_method
            && (row.create_time, row.first_expire_time) == (booking.create_time, booking.first_expire_time)
            && (row.expire_time, row.revision) == (booking.expire_time, booking.revision)
            && row.first_revision == booking.first_revision;
        if !same {
            wrong.push(format!("{row:?} is told of as {booking:?}"));
        }
    }
    wrong.extend(rows.into_values().map(|row| format!("nobody was told of {row:?}")));
    let claims = records.claims.iter().filter(|claim| claim.showtime_id == id);
    let claims: BTreeMap<Name, String> = claims
        .filter_map(|claim| {
            let name = last.house.names(usize::try_from(claim.seat).unwrap_or(usize::MAX), 1).pop();
            name.map(|name| (name, claim.reservation_id.to_string()))
        })
        .collect();
    if claims != last.owners {
        wrong.push(format!("the claims are {claims:?}, and not {:?}", last.owners));
    }
    let Some(row) = records.showtimes.iter().find(|row| row.showtime_id == id) else {
        return vec!["it is not there".to_owned()];
    };
    let holds = last.bookings.values().filter(|booking| booking.state == ReservationState::Held);
    let first = holds.map(|booking| booking.expire_time).min();
    let free = last.house.count() - last.owners.len();
    let same = row.revision == last.revision
        && usize::try_from(row.available_count) == Ok(free)
        && (row.state == "cancelled") == last.cancelled
        // It may be too early, and never too late.
        && first.is_none_or(|first| row.next_lapse.is_some_and(|next| next <= first))
        && row.decide_time.is_none_or(|time| time <= last.time || last.revision == 1);
    if !same {
        wrong.push(format!("{row:?}, but the events come to revision {}, {free} free, {first:?}", last.revision));
    }
    wrong
}

/// A reservation is kept under the id of the request that made it, and nothing is kept under one that was refused.
pub(super) fn check_request_ids(records: &Records, id: Uuid, effects: &[(&str, Effect)]) -> Vec<String> {
    let made: HashMap<&str, &Effect> = effects.iter().map(|(request_id, effect)| (*request_id, effect)).collect();
    let rows = records.reservations.iter().filter(|row| row.showtime_id == id);
    rows.filter_map(|row| {
        let request_id = row.request_id?.to_string();
        let right = made.get(&*request_id).is_some_and(|effect| {
            effect.reservation_id == row.reservation_id.to_string() && effect.revision == row.first_revision
        });
        (!right).then(|| format!("{row:?} is not what its request was told"))
    })
    .collect()
}

/// Every reservation of a showtime that the service lists.
pub(super) async fn list(channel: Channel, showtime_id: &str) -> Vec<Reservation> {
    let mut client = ReservationsClient::new(channel);
    let mut request =
        ListReservationsRequest { showtime_id: showtime_id.to_owned(), page_size: 200, ..Default::default() };
    let mut found = Vec::new();
    loop {
        let page = client.list_reservations(request.clone()).await.expect("a page").into_inner();
        found.extend(page.reservations);
        if page.next_page_token.is_empty() {
            return found;
        }
        request.page_token = page.next_page_token;
    }
}

/// The list, which is a little younger than the tables, has what they have.
pub(super) fn check_list(records: &Records, stage: &Stage, told: &[Reservation]) -> Vec<String> {
    let mut wrong = Vec::new();
    let listed: HashMap<&str, &Reservation> = told.iter().map(|one| (&*one.reservation_id, one)).collect();
    let rows = records.reservations.iter().filter(|row| row.showtime_id.to_string() == stage.showtime.showtime_id);
    let mut count = 0;
    for row in rows {
        count += 1;
        let same = listed.get(&*row.reservation_id.to_string()).is_some_and(|one| {
            let seats = stage.house.names(usize::try_from(row.first_seat).expect("a seat"), one.seats.len());
            let over = state(&row.state) == ReservationState::Held && one.state() == ReservationState::Expired;
            one.seats.iter().map(seat).eq(seats)
                && one.customer_id == row.customer_id
                && (one.state() == state(&row.state) || over)
                && (!is_live(one.state()) || one.revision == row.revision)
        });
        if !same {
            wrong.push(format!("{row:?} is told as {:?}", listed.get(&*row.reservation_id.to_string())));
        }
    }
    if (count, count) != (told.len(), listed.len()) {
        wrong.push(format!("{count} reservations are told as {}, {} of them different", told.len(), listed.len()));
    }
    wrong
}

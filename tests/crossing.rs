//! Many callers want seats that others give up at the same moment: by an exchange, or because they give them back.

use std::collections::BTreeSet;

use boxoffice::pb::boxoffice::v1::{Reservation, ReservationState, Seat};
use futures_util::future::join_all;
use tonic::transport::Channel;

use crate::harness::{
    Store, World,
    fleet::Fleet,
    history::{History, Operation, Outcome, row_seats},
    load::Random,
    world::Storage,
};

on_both_stores!(
    exchanges_that_cross_neither_deadlock_nor_lose_a_seat,
    of_five_hundred_callers_for_seats_that_are_given_back_one_gets_them,
);

/// How often two reservations want each other's seats.
const ROUNDS: usize = 20;
/// The number of callers that ask for each of the two exchanges at once.
const CALLERS: usize = 6;

async fn exchanges_that_cross_neither_deadlock_nor_lose_a_seat(world: World) {
    let history = History::default();
    cross(&history, &[world.channel()]).await;
    history.assert_holds(&world.storage.connect().await, &[world.channel()]).await;
}

#[tokio::test]
async fn exchanges_that_cross_over_two_instances_neither_deadlock_nor_lose_a_seat() {
    let storage = Storage::new(Store::Postgres).await;
    let fleet = Fleet::start(2, storage.setup()).await;
    let history = History::default();
    cross(&history, &fleet.channels()).await;
    history.assert_holds(&storage.connect().await, &fleet.channels()).await;
}

/// In each of two showtimes two reservations, a hold and a sale, want each other's seats, and a third one wants seats that are
/// free. Both showtimes are asked for at once, in opposite orders.
async fn cross(history: &History, channels: &[Channel]) {
    let channel = |at: usize| channels[at % channels.len()].clone();
    let ids = [history.schedule(channel(0), 3, 600).await, history.schedule(channel(0), 3, 600).await];
    let pairs = [start(history, channel(0), &ids[0]).await, start(history, channel(0), &ids[1]).await];
    for round in 0..ROUNDS {
        let callers = (0..CALLERS).map(async |caller| {
            let order = if caller % 2 == 0 { [0, 1] } else { [1, 0] };
            let calls = order.map(async |showtime: usize| {
                // Every other caller wants the one's seats for the other, and the other's for the one.
                let [one, other] = &pairs[showtime];
                let (of, to) = if (caller + round) % 4 < 2 { (one, "B") } else { (other, "A") };
                let operation = Operation::exchange(&of.reservation_id, row_seats(to, 3..=4));
                history.call(channel(caller + showtime), &ids[showtime], operation).await
            });
            join_all(calls).await
        });
        for outcome in join_all(callers).await.into_iter().flatten() {
            // Neither has the seats that it wants: the other one has them, and only an exchange of it could free them.
            outcome.expect_refusal("SEATS_UNAVAILABLE");
        }
    }
    // With seats that are free, both can get past each other.
    for (id, [one, other]) in ids.iter().zip(&pairs) {
        let moved = Operation::exchange(&one.reservation_id, row_seats("C", 3..=4));
        let wanted = Operation::exchange(&other.reservation_id, row_seats("A", 3..=4));
        let calls = [(0, moved), (1, wanted)].map(|(at, operation)| history.call(channel(at), id, operation));
        let [moved, wanted]: [Outcome; 2] = join_all(calls).await.try_into().expect("two outcomes");
        assert_has(&moved.expect_reservation(), one, &row_seats("C", 3..=4));
        // It came before the other one or after it.
        let seats = match wanted {
            Outcome::Changed { .. } => row_seats("A", 3..=4),
            refused => {
                refused.expect_refusal("SEATS_UNAVAILABLE");
                row_seats("B", 3..=4)
            }
        };
        for at in 0..channels.len() {
            match history.call(channel(at), id, Operation::get(&other.reservation_id)).await {
                Outcome::Reservation(read) => assert_has(&read, other, &seats),
                refused => panic!("{refused:?}"),
            }
        }
    }
}

/// A hold of the seats A3 and A4, and a sale of B3 and B4.
async fn start(history: &History, channel: Channel, id: &str) -> [Reservation; 2] {
    let reserve = async |customer: &str, row: &str| {
        let operation = Operation::reserve(id, customer, row, 3..=4);
        history.call(channel.clone(), id, operation).await.expect_reservation()
    };
    let (one, other) = (reserve("one", "A").await, reserve("other", "B").await);
    let confirm = Operation::confirm(&other.reservation_id);
    [one, history.call(channel.clone(), id, confirm).await.expect_reservation()]
}

/// Asserts that it is the reservation that it was, with these seats.
fn assert_has(now: &Reservation, before: &Reservation, seats: &[Seat]) {
    assert_eq!((&now.reservation_id, now.state()), (&before.reservation_id, before.state()));
    assert_eq!((&*now.seats, now.seat_count), (seats, before.seat_count));
}

/// Three reservations move around in one row, at two instances at once. A reservation that moves frees seats for the others.
#[tokio::test]
async fn every_reservation_has_as_many_seats_as_before_however_exchanges_overlap() {
    let storage = Storage::new(Store::Postgres).await;
    let fleet = Fleet::start(2, storage.setup()).await;
    let history = History::default();
    let id = &history.schedule(fleet.channel(0), 1, 600).await;
    let mut held = Vec::new();
    for first in [1, 4, 7] {
        let operation = Operation::reserve(id, &format!("customer {first}"), "A", first..=first + 1);
        held.push(history.call(fleet.channel(0), id, operation).await.expect_reservation());
    }
    let (mut random, mut accepted, mut refused) = (Random::new(1), 0, 0);
    for round in 0..ROUNDS {
        // Two different exchanges of each reservation, at both instances.
        let calls = (0..6).map(|at| {
            let first = i32::try_from(random.below(9)).expect("a small number") + 1;
            let operation = Operation::exchange(&held[at / 2].reservation_id, row_seats("A", first..=first + 1));
            history.call(fleet.channel(at), id, operation)
        });
        for outcome in join_all(calls).await {
            match outcome {
                Outcome::Changed { reservation, .. } => {
                    assert_eq!((reservation.seat_count, reservation.state()), (2, ReservationState::Held));
                    accepted += 1;
                }
                outcome => {
                    outcome.expect_refusal("SEATS_UNAVAILABLE");
                    refused += 1;
                }
            }
        }
        let mut seats = BTreeSet::new();
        for one in &held {
            match history.call(fleet.channel(round), id, Operation::get(&one.reservation_id)).await {
                Outcome::Reservation(read) => seats.extend(read.seats.iter().map(|seat| seat.number)),
                refused => panic!("{refused:?}"),
            }
        }
        assert_eq!(seats.len(), 6, "three reservations have two seats each: {seats:?}");
    }
    assert!(accepted > 0 && refused > 0, "{accepted} exchanges were accepted, and {refused} refused");
    history.assert_holds(&storage.connect().await, &fleet.channels()).await;
}

async fn of_five_hundred_callers_for_seats_that_are_given_back_one_gets_them(world: World) {
    let history = History::default();
    win_given_back(&history, &[world.channel()]).await;
    history.assert_holds(&world.storage.connect().await, &[world.channel()]).await;
}

#[tokio::test]
async fn of_five_hundred_callers_over_two_instances_for_seats_that_are_given_back_one_gets_them() {
    let storage = Storage::new(Store::Postgres).await;
    let fleet = Fleet::start(2, storage.setup()).await;
    let history = History::default();
    win_given_back(&history, &fleet.channels()).await;
    history.assert_holds(&storage.connect().await, &fleet.channels()).await;
}

/// Callers want seats that are sold. While they ask, two of its three seats are given back, and the one that gets them gives them
/// back in turn.
async fn win_given_back(history: &History, channels: &[Channel]) {
    let channel = |at: usize| channels[at % channels.len()].clone();
    let id = &history.schedule(channel(0), 2, 600).await;
    let first = Operation::reserve(id, "first", "A", 3..=5);
    let mut owner = history.call(channel(0), id, first).await.expect_reservation();
    for (callers, given_back) in [(500, row_seats("A", 3..=4)), (50, Vec::new())] {
        let confirm = Operation::confirm(&owner.reservation_id);
        history.call(channel(1), id, confirm).await.expect_reservation();
        // Of two requests one gives them back.
        let releases = join_all((0..2).map(|at| {
            let operation = Operation::release(&owner.reservation_id, given_back.clone());
            history.call(channel(at), id, operation)
        }));
        let (releases, mut won) = tokio::join!(releases, winners(history, channels, id, callers));
        let is_accepted = |outcome: &&Outcome| matches!(outcome, Outcome::Changed { .. });
        assert_eq!(releases.iter().filter(is_accepted).count(), 1, "{releases:?}");
        // A caller that came too early asks again.
        won.extend(winners(history, channels, id, callers).await);
        assert_eq!(won.len(), 1, "{won:?}");
        owner = won.remove(0);
        assert_eq!(owner.seats, row_seats("A", 3..=4));
    }
}

/// Lets so many callers ask for the seats A3 and A4 at once. Returns the reservations of those that get them.
async fn winners(history: &History, channels: &[Channel], id: &str, callers: usize) -> Vec<Reservation> {
    let calls = (0..callers).map(|caller| {
        let operation = Operation::reserve(id, &format!("caller {caller}"), "A", 3..=4);
        history.call(channels[caller % channels.len()].clone(), id, operation)
    });
    let won = join_all(calls).await.into_iter().filter_map(|outcome| match outcome {
        Outcome::Changed { reservation, .. } => Some(*reservation),
        refused => {
            refused.expect_refusal("SEATS_UNAVAILABLE");
            None
        }
    });
    won.collect()
}

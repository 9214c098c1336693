//! What a caller does next: at random, with the reservations and the blocked seats in the latest answers.

use std::{collections::VecDeque, sync::PoisonError};

use boxoffice::{
    clock::Clock,
    pb::boxoffice::v1::{Reservation, ReservationState, Seat, TicketCount},
};

use super::{Load, Random, Requests};
use crate::harness::{
    history::{Operation, Outcome, row_seats},
    requests::timestamp,
};

/// The number of latest reservations from which callers choose one to change or read.
const MAX_RECENT: usize = 200;
/// The number of latest blocks from which callers choose one.
const MAX_BLOCKS: usize = 20;
/// Every block of seats has this many.
const BLOCK: i32 = 10;

/// What the latest answers named, each with the index of its showtime, the newest last.
#[derive(Default)]
pub(super) struct Recent {
    reservations: VecDeque<(usize, Reservation)>,
    blocks: VecDeque<(usize, Vec<Seat>)>,
}

impl Recent {
    /// Takes note of an answer.
    pub(super) fn note(&mut self, at: usize, operation: &Operation, outcome: Outcome) {
        match (operation, outcome) {
            (_, Outcome::Changed { reservation, .. }) => self.reservations.push_back((at, *reservation)),
            (Operation::Block(_), Outcome::Blocked { seats, .. }) => self.blocks.push_back((at, seats)),
            _ => {}
        }
        if self.reservations.len() > MAX_RECENT {
            self.reservations.pop_front();
        }
        if self.blocks.len() > MAX_BLOCKS {
            self.blocks.pop_front();
        }
    }

    /// A reservation. The smaller of two random numbers prefers the newest ones, so that callers compete for them.
    fn reservation(&self, random: &mut Random) -> Option<&(usize, Reservation)> {
        let count = self.reservations.len().max(1);
        let back = random.below(count).min(random.below(count));
        self.reservations.iter().rev().nth(back)
    }

    /// A reservation that was held in its latest answer, and whose hold has lapsed by now.
    fn lapsed(&self, random: &mut Random) -> Option<&(usize, Reservation)> {
        let now = timestamp(Clock::System.now());
        let lapses = |one: &Reservation| one.expire_time.as_ref().is_some_and(|end| end.seconds < now.seconds);
        let has_lapsed = |(_, one): &&(usize, Reservation)| one.state() == ReservationState::Held && lapses(one);
        let all: Vec<_> = self.reservations.iter().filter(has_lapsed).collect();
        all.get(random.below(all.len().max(1))).copied()
    }

    fn block(&self, random: &mut Random) -> Option<&(usize, Vec<Seat>)> {
        self.blocks.get(random.below(self.blocks.len().max(1)))
    }
}

impl Load {
    /// Chooses the next operation and the index of its showtime.
    pub(super) fn choose(&self, random: &mut Random) -> (usize, Operation) {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((at, reservation)) = recent.reservation(random) else { return self.reserve(random) };
        let id = &reservation.reservation_id;
        let method = ["cash", "card"][random.below(2)];
        let operation = match random.below(100) {
            0..46 => return self.reserve(random),
            46..51 => Operation::confirm(id),
            51..57 => Operation::confirm_with(id, method),
            57..63 => Operation::cancel(id),
            63..68 => Operation::extend(id),
            68..72 => Operation::get(id),
            72..75 => Operation::GetShowtime,
            _ if self.requests == Requests::OfTheReleaseBefore => return self.reserve(random),
            75..77 => Operation::confirm_late(id, method),
            77..80 => return confirm_lapsed(&recent, method, random).unwrap_or_else(|| self.reserve(random)),
            80..87 => release(reservation, random),
            87..94 => self.exchange(*at, reservation, &recent, random),
            94..98 => return self.block(&recent, random),
            98..99 => Operation::ListSeatBlocks,
            _ => Operation::GetSeatMap { at_least_revision: 0 },
        };
        (*at, operation)
    }

    fn reserve(&self, random: &mut Random) -> (usize, Operation) {
        let (at, operation) = self.reserve_alike(random);
        let Operation::Reserve(mut request) = operation else { return (at, operation) };
        let count = i32::try_from(request.seats.len()).expect("few seats").max(request.seat_count);
        let children = i32::try_from(random.below(5)).expect("a small number").min(count);
        let has_types = self.showtimes[at].0.price_list.as_ref().is_some_and(|list| list.ticket_types.len() > 1);
        if has_types && children > 0 {
            let counts = [("child", children), ("adult", count - children)];
            let counts = counts.into_iter().filter(|(_, count)| *count > 0);
            request.ticket_types = counts.map(|(code, count)| TicketCount { code: code.to_owned(), count }).collect();
        }
        (at, Operation::Reserve(request))
    }

    /// A request for seats of the first ticket type.
    fn reserve_alike(&self, random: &mut Random) -> (usize, Operation) {
        let at = self.showtime(random);
        let showtime_id = &self.showtimes[at].0.showtime_id;
        let count = i32::try_from(random.below(4)).expect("a small number") + 1;
        let customer = customer(random);
        if random.below(6) == 0 {
            return (at, Operation::reserve_best(showtime_id, &customer, count));
        }
        let seats = self.seats(at, count, random);
        let (row, first) = (&seats[0].row, seats[0].number);
        (at, Operation::reserve(showtime_id, &customer, row, first..=first + count - 1))
    }

    /// More than half of the reservations are for the first showtime.
    fn showtime(&self, random: &mut Random) -> usize {
        random.below(self.showtimes.len()) * random.below(2)
    }

    /// So many neighbours, which are always in one block.
    fn seats(&self, at: usize, count: i32, random: &mut Random) -> Vec<Seat> {
        let rows = &self.showtimes[at].1.layout.as_ref().expect("a layout").rows;
        let row = &rows[random.below(rows.len())];
        let blocks = row.places.split('_').count();
        let block = i32::try_from(random.below(blocks)).expect("a small number") * BLOCK;
        let most = usize::try_from(BLOCK - count + 1).expect("few seats").min(7);
        let first = block + i32::try_from(random.below(most)).expect("a small number") + 1;
        row_seats(&row.label, first..=first + count - 1)
    }

    /// An exchange for seats that overlap the reservation's own, for those of another reservation, or for any others.
    fn exchange(&self, at: usize, reservation: &Reservation, recent: &Recent, random: &mut Random) -> Operation {
        let count = i32::try_from(reservation.seats.len()).expect("few seats").max(1);
        let other = recent.reservation(random).filter(|(other, _)| *other == at);
        let near = match random.below(3) {
            0 => reservation.seats.first(),
            1 => other.and_then(|(_, other)| other.seats.first()),
            _ => None,
        };
        let seats = match near {
            Some(Seat { row, number }) => {
                let step = i32::try_from(random.below(3)).expect("a small number") - 1;
                let block = (number - 1) / BLOCK * BLOCK;
                let first = (number + step).clamp(block + 1, block + BLOCK - count + 1);
                row_seats(row, first..=first + count - 1)
            }
            None => self.seats(at, count, random),
        };
        Operation::exchange(&reservation.reservation_id, seats)
    }

    /// Blocks seats, often those of a reservation that may have ended, gives blocked ones back to sale, or reserves them.
    fn block(&self, recent: &Recent, random: &mut Random) -> (usize, Operation) {
        let (what, known) = (random.below(4), recent.block(random));
        let Some((at, seats)) = known.filter(|_| what < 2) else {
            let (at, seats) = match recent.reservation(random) {
                Some((at, reservation)) if random.below(2) == 0 && !reservation.seats.is_empty() => {
                    (*at, reservation.seats.clone())
                }
                _ => {
                    let at = self.showtime(random);
                    let count = i32::try_from(random.below(3)).expect("a small number") + 1;
                    (at, self.seats(at, count, random))
                }
            };
            let note = format!("note {}", random.below(1_000));
            return (at, Operation::block(&self.showtimes[at].0.showtime_id, seats, &note));
        };
        let showtime_id = &self.showtimes[*at].0.showtime_id;
        let some = &seats[..=random.below(seats.len())];
        if what == 0 {
            return (*at, Operation::reserve_from_block(showtime_id, &customer(random), neighbours(some)));
        }
        (*at, Operation::unblock(showtime_id, some.to_vec()))
    }
}

/// The first seats, as far as they are neighbours. Between those of a sale, seats may have been given back.
fn neighbours(seats: &[Seat]) -> Vec<Seat> {
    let runs = seats.chunk_by(|left, right| left.row == right.row && left.number + 1 == right.number);
    runs.take(1).flatten().cloned().collect()
}

/// Money comes late for a hold that has lapsed.
fn confirm_lapsed(recent: &Recent, method: &str, random: &mut Random) -> Option<(usize, Operation)> {
    let (at, reservation) = recent.lapsed(random)?;
    Some((*at, Operation::confirm_late(&reservation.reservation_id, method)))
}

/// Gives back all seats or one of them.
fn release(reservation: &Reservation, random: &mut Random) -> Operation {
    let one = reservation.seats.get(random.below(2 * reservation.seats.len().max(1)));
    Operation::release(&reservation.reservation_id, one.cloned().into_iter().collect())
}

fn customer(random: &mut Random) -> String {
    format!("customer {}", random.below(60))
}

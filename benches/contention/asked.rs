//! What the load asks for: chance, seats that nobody asked for before, and messages, all of it cheaply made.
//!
//! The load shares the machine with the server. So messages are written by hand, field by field, into one buffer.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use uuid::{Builder, Uuid};

use crate::wire::line;

/// Rows of a house, "A" to "T".
pub(crate) const ROWS: usize = 20;
/// Seats in each of them: as many as a layout may have.
pub(crate) const PLACES: usize = 100;
/// Seats of a house.
pub(crate) const SEATS: usize = ROWS * PLACES;

/// Chance that costs next to nothing (splitmix64). Seeds that differ in any bit give strangers.
#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64, caller: usize) -> Self {
        let mut dice = Self(seed ^ (caller as u64).rotate_right(20));
        let mixed = dice.roll();
        Self(mixed)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below this one.
    pub(crate) fn below(&mut self, most: usize) -> usize {
        (self.roll() % most as u64) as usize
    }

    pub(crate) fn uuid(&mut self) -> Uuid {
        let bytes = (u128::from(self.roll()) << 64) | u128::from(self.roll());
        Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid()
    }
}

/// Neighbouring seats: so many, from this place on, counted from the first seat of the first row.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    pub(crate) first: usize,
    pub(crate) count: usize,
}

impl Block {
    /// Its seats by name: rows have one letter.
    pub(crate) fn seats(self) -> impl Iterator<Item = (u8, u8)> {
        (self.first..self.first + self.count).map(|place| (b'A' + (place / PLACES) as u8, (place % PLACES) as u8 + 1))
    }
}

/// Which seats of each house were asked for: all before a mark.
pub(crate) struct Marks(Vec<AtomicU32>);

impl Marks {
    pub(crate) fn new(houses: usize, first: usize) -> Self {
        Self((0..houses).map(|_| AtomicU32::new(first as u32)).collect())
    }

    /// Takes the next seats of this house, in one row, if it still has them.
    pub(crate) fn take(&self, house: usize, count: usize) -> Option<Block> {
        let first = |mark: u32| {
            let mark = mark as usize;
            let breaks = mark % PLACES + count > PLACES;
            if breaks { mark.next_multiple_of(PLACES) } else { mark }
        };
        let next = |mark| Some((first(mark) + count) as u32).filter(|end| *end as usize <= SEATS);
        let taken = self.0[house].fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        Some(Block { first: first(taken), count })
    }

    /// Where the fullest house has its mark.
    pub(crate) fn highest(&self) -> usize {
        self.0.iter().map(|mark| mark.load(Ordering::Relaxed)).max().unwrap_or_default() as usize
    }
}

/// Who asks, in the words that the service and the databases are given alike.
pub(crate) fn customer(dice: &mut Dice) -> String {
    format!("customer-{:012x}", dice.roll() >> 16)
}

/// A `ReserveSeatsRequest` for seats by the letter of their row and their number, which is below 128.
pub(crate) fn reserve(
    showtime_id: &str,
    seats: impl Iterator<Item = (u8, u8)>,
    customer_id: &str,
    request_id: Option<Uuid>,
) -> Bytes {
    let mut message = line::begin(160);
    text(&mut message, 1, showtime_id);
    for (row, number) in seats {
        message.put_slice(&[2 << 3 | 2, 5, 1 << 3 | 2, 1, row, 2 << 3, number]);
    }
    text(&mut message, 4, customer_id);
    identify(&mut message, 5, request_id);
    line::prefixed(message)
}

/// A `ConfirmReservationRequest` or a `CancelReservationRequest`, which begin alike.
pub(crate) fn settle(reservation_id: &str, request_id: Option<Uuid>) -> Bytes {
    let mut message = line::begin(80);
    text(&mut message, 1, reservation_id);
    identify(&mut message, 2, request_id);
    line::prefixed(message)
}

fn text(message: &mut BytesMut, field: u8, value: &str) {
    message.put_slice(&[field << 3 | 2, value.len() as u8]);
    message.put_slice(value.as_bytes());
}

fn identify(message: &mut BytesMut, field: u8, id: Option<Uuid>) {
    if let Some(id) = id {
        text(message, field, id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    }
}

/// As much of a `ReserveSeatsResponse` as is needed to go on; a `CancelReservationResponse` has the same.
#[derive(Clone, PartialEq, prost::Message)]
struct Reserved {
    #[prost(message, optional, tag = "1")]
    reservation: Option<Named>,
    #[prost(int64, tag = "2")]
    revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    reservation_id: String,
}

/// The id in the answer to `ReserveSeats`.
pub(crate) fn reserved(answer: Bytes) -> String {
    changed(answer).0
}

/// The id in the answer to `ReserveSeats` or `CancelReservation`, and the revision that the showtime has by it.
pub(crate) fn changed(answer: Bytes) -> (String, i64) {
    let reserved = Reserved::decode(answer).expect("an answer that names a reservation");
    (reserved.reservation.expect("a reservation").reservation_id, reserved.revision)
}

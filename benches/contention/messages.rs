//! What the requests of the load are made of: random numbers, seats that were not requested before, and encoded messages.
//!
//! The load shares the machine with the service. So messages are written field by field into one buffer, without prost.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use uuid::{Builder, Uuid};

use crate::wire::client::{message_buffer, prefixed};

/// Rows of an auditorium, "A" to "T".
pub(crate) const ROWS: usize = 20;
/// Seats of a row: the most that a layout allows.
pub(crate) const SEATS_PER_ROW: usize = 100;
/// Seats of an auditorium.
pub(crate) const SEATS: usize = ROWS * SEATS_PER_ROW;

/// A random number generator that costs next to nothing (splitmix64). Seeds that differ in any bit give unrelated numbers.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64, caller: usize) -> Self {
        let mut random = Self(seed ^ (caller as u64).rotate_right(20));
        let mixed = random.next();
        Self(mixed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn uuid(&mut self) -> Uuid {
        let bytes = (u128::from(self.next()) << 64) | u128::from(self.next());
        Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid()
    }
}

/// Neighbouring seats of one row. Seats are numbered from 0, row by row.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    pub(crate) first: usize,
    pub(crate) count: usize,
}

impl Block {
    /// The letter of the row and the number in the row, for each seat.
    pub(crate) fn seats(self) -> impl Iterator<Item = (u8, u8)> {
        let seats = self.first..self.first + self.count;
        seats.map(|seat| (b'A' + (seat / SEATS_PER_ROW) as u8, (seat % SEATS_PER_ROW) as u8 + 1))
    }
}

/// The next seat of each showtime that was not requested yet. All seats before it were.
pub(crate) struct NextSeats(Vec<AtomicU32>);

impl NextSeats {
    pub(crate) fn new(showtimes: usize, first: usize) -> Self {
        Self((0..showtimes).map(|_| AtomicU32::new(first as u32)).collect())
    }

    /// Takes the next seats of a showtime, in one row, if there are so many left.
    pub(crate) fn take(&self, showtime: usize, count: usize) -> Option<Block> {
        let first = |next: u32| {
            let next = next as usize;
            let crosses_rows = next % SEATS_PER_ROW + count > SEATS_PER_ROW;
            if crosses_rows { next.next_multiple_of(SEATS_PER_ROW) } else { next }
        };
        let advance = |next| Some((first(next) + count) as u32).filter(|end| *end as usize <= SEATS);
        let next = self.0[showtime].fetch_update(Ordering::Relaxed, Ordering::Relaxed, advance).ok()?;
        Some(Block { first: first(next), count })
    }

    /// The highest next seat of all showtimes.
    pub(crate) fn highest(&self) -> usize {
        self.0.iter().map(|next| next.load(Ordering::Relaxed)).max().unwrap_or_default() as usize
    }
}

/// A random customer id, of the same form for the service and for the databases.
pub(crate) fn customer(random: &mut Random) -> String {
    format!("customer-{:012x}", random.next() >> 16)
}

/// A `ReserveSeatsRequest` for seats by the letter of their row and their number, which must be below 128, and for tickets by their
/// codes and counts.
pub(crate) fn reserve(
    showtime_id: &str,
    seats: impl Iterator<Item = (u8, u8)>,
    customer_id: &str,
    request_id: Option<Uuid>,
    tickets: &[(&str, u8)],
) -> Bytes {
    let mut message = message_buffer(192);
    write_text(&mut message, 1, showtime_id);
    for (row, number) in seats {
        message.put_slice(&[2 << 3 | 2, 5, 1 << 3 | 2, 1, row, 2 << 3, number]);
    }
    write_text(&mut message, 4, customer_id);
    write_request_id(&mut message, 5, request_id);
    for (code, count) in tickets {
        message.put_slice(&[7 << 3 | 2, code.len() as u8 + 4]);
        write_text(&mut message, 1, code);
        message.put_slice(&[2 << 3, *count]);
    }
    prefixed(message)
}

/// A `ConfirmReservationRequest` or a `CancelReservationRequest`: their first two fields are the same.
pub(crate) fn confirm_or_cancel(reservation_id: &str, request_id: Option<Uuid>) -> Bytes {
    let mut message = message_buffer(80);
    write_text(&mut message, 1, reservation_id);
    write_request_id(&mut message, 2, request_id);
    prefixed(message)
}

fn write_text(message: &mut BytesMut, field: u8, value: &str) {
    message.put_slice(&[field << 3 | 2, value.len() as u8]);
    message.put_slice(value.as_bytes());
}

fn write_request_id(message: &mut BytesMut, field: u8, id: Option<Uuid>) {
    if let Some(id) = id {
        write_text(message, field, id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    }
}

/// The fields of a `ReserveSeatsResponse` that the load needs. A `CancelReservationResponse` has the same.
#[derive(Clone, PartialEq, prost::Message)]
struct Changed {
    #[prost(message, optional, tag = "1")]
    reservation: Option<ChangedReservation>,
    #[prost(int64, tag = "2")]
    revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ChangedReservation {
    #[prost(string, tag = "1")]
    reservation_id: String,
}

/// The reservation's id in the answer to `ReserveSeats`.
pub(crate) fn reservation_id(answer: Bytes) -> String {
    changed(answer).0
}

/// The reservation's id and the showtime's new revision in the answer to `ReserveSeats` or `CancelReservation`.
pub(crate) fn changed(answer: Bytes) -> (String, i64) {
    let Changed { reservation, revision } = Changed::decode(answer).expect("an answer with a reservation");
    (reservation.expect("a reservation").reservation_id, revision)
}

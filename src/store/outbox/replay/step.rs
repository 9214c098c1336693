//! The messages of steps, which are field 2 of a row of the outbox.

use crate::store::rows::prices::StoredLines;

/// A row of the outbox, without the public events.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Row {
    #[prost(message, repeated, tag = "2")]
    pub(super) steps: Vec<Step>,
}

/// The changes of one revision of a showtime.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Step {
    #[prost(uint32, tag = "1")]
    pub(super) format: u32,
    #[prost(int64, tag = "2")]
    pub(super) revision: i64,
    /// When the changes were decided, in microseconds since 1970.
    #[prost(int64, tag = "3")]
    pub(super) decide_time: i64,
    #[prost(message, repeated, tag = "4")]
    pub(super) changes: Vec<StepChange>,
}

/// A change of one reservation, or of the showtime.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StepChange {
    /// 16 bytes; empty if the showtime changed.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) reservation_id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub(super) first_seat: u32,
    #[prost(uint32, tag = "3")]
    pub(super) seat_count: u32,
    /// The seats, if they are not neighbours. `seat_count` is then 0.
    #[prost(uint32, repeated, tag = "16")]
    pub(super) seats: Vec<u32>,
    #[prost(oneof = "Kind", tags = "4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17")]
    pub(super) kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Kind {
    #[prost(message, tag = "4")]
    Held(NewHold),
    #[prost(message, tag = "5")]
    Confirmed(NewSale),
    /// The new `expire_time`, in microseconds since 1970.
    #[prost(int64, tag = "6")]
    Extended(i64),
    #[prost(message, tag = "7")]
    Cancelled(()),
    #[prost(message, tag = "8")]
    Expired(()),
    /// The number of confirmed reservations that were cancelled.
    #[prost(int32, tag = "9")]
    ShowtimeCancelled(i32),
    #[prost(message, tag = "10")]
    Exchanged(NewSeats),
    /// The seats that were given back.
    #[prost(message, tag = "11")]
    Released(SeatList),
    #[prost(message, tag = "12")]
    Recovered(Recovered),
    #[prost(message, tag = "13")]
    RefundDue(()),
    #[prost(message, tag = "14")]
    Blocked(SeatList),
    #[prost(message, tag = "15")]
    Unblocked(SeatList),
    /// Field 16 is `seats`.
    #[prost(message, tag = "17")]
    Paying(NewPayment),
}

/// A payment that began, or was given another time.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NewPayment {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) purchase_id: Vec<u8>,
    /// In microseconds since 1970.
    #[prost(int64, tag = "2")]
    pub(super) pay_until: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SeatList {
    #[prost(uint32, repeated, tag = "1")]
    pub(super) seats: Vec<u32>,
}

/// An exchange: the seats of the change are the new ones.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NewSeats {
    #[prost(uint32, repeated, tag = "1")]
    pub(super) before: Vec<u32>,
    /// The sum of the lines of a hold.
    #[prost(int64, tag = "2")]
    pub(super) total_minor: i64,
    /// The lines of a hold. `None`: all of them are plain.
    #[prost(message, optional, tag = "3")]
    pub(super) lines: Option<StoredLines>,
    /// When the hold lapses, in microseconds since 1970. `None`: the seats are sold.
    #[prost(int64, optional, tag = "4")]
    pub(super) expire_time: Option<i64>,
}

/// A hold that had expired and was sold after all.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Recovered {
    /// As it was made, with the latest expire time.
    #[prost(message, optional, tag = "1")]
    pub(super) hold: Option<NewHold>,
    #[prost(uint32, tag = "7")]
    pub(super) first_seat: u32,
    #[prost(uint32, tag = "8")]
    pub(super) seat_count: u32,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) amendment: Option<Vec<u8>>,
    /// In microseconds since 1970.
    #[prost(int64, tag = "3")]
    pub(super) create_time: i64,
    /// In microseconds since 1970.
    #[prost(int64, tag = "4")]
    pub(super) first_expire_time: i64,
    #[prost(int64, tag = "5")]
    pub(super) first_revision: i64,
    #[prost(message, optional, tag = "6")]
    pub(super) tender: Option<StepTender>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NewHold {
    #[prost(string, tag = "1")]
    pub(super) customer_id: String,
    /// The total price in the minor unit of the showtime's currency.
    #[prost(int64, tag = "2")]
    pub(super) total_minor: i64,
    /// When the hold lapses, in microseconds since 1970.
    #[prost(int64, tag = "3")]
    pub(super) expire_time: i64,
    /// `None`: all lines are plain.
    #[prost(message, optional, tag = "4")]
    pub(super) lines: Option<StoredLines>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NewSale {
    #[prost(message, optional, tag = "1")]
    pub(super) tender: Option<StepTender>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StepTender {
    #[prost(string, tag = "1")]
    pub(super) method: String,
    #[prost(string, tag = "2")]
    pub(super) transaction_id: String,
}

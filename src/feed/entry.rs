//! An event of the feed. The bytes that are stored are what is delivered, so the payload, which is the largest part, is only read for
//! its kind and its subject.

use std::sync::OnceLock;

use bytes::Bytes;
use prost::{DecodeError, Message};
use prost_types::Timestamp;

use crate::{pb::boxoffice::events::v1::AggregateType, store::Error};

/// The names of all kinds of events.
pub const KINDS: [&str; 13] = [
    "ShowtimeCreated",
    "ShowtimeCancelled",
    "ReservationCreated",
    "ReservationExtended",
    "ReservationPaying",
    "ReservationConfirmed",
    "ReservationCancelled",
    "ReservationExpired",
    "SeatsReleased",
    "SeatsExchanged",
    "RefundDue",
    "SeatsBlocked",
    "SeatsUnblocked",
];

/// What stands before the kind in the type of an event.
pub const NAMESPACE: &str = "boxoffice.v1.";

/// An event, and its message to subscribers once it was encoded.
#[derive(Debug)]
pub struct Entry {
    envelope: Envelope,
    /// The event as it was read: a part of the row's bytes.
    stored: Bytes,
    /// The fields that were added to the event when it was read. A letter has them in its bytes.
    added: Bytes,
    encoded: OnceLock<Bytes>,
}

/// `Event`, without what is only passed on.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Envelope {
    #[prost(string, tag = "1")]
    showtime_id: String,
    #[prost(int64, tag = "2")]
    pub(super) revision: i64,
    #[prost(int32, tag = "3")]
    ordinal: i32,
    #[prost(message, optional, tag = "4")]
    time: Option<Timestamp>,
    #[prost(string, tag = "7")]
    aggregate_id: String,
    #[prost(string, tag = "9")]
    traceparent: String,
    #[prost(oneof = "Payload", tags = "16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28")]
    payload: Option<Payload>,
}

/// The payload of `Event`, with what tells its subject.
#[derive(Clone, PartialEq, prost::Oneof)]
enum Payload {
    #[prost(message, tag = "16")]
    ShowtimeCreated(OfShowtime),
    #[prost(message, tag = "17")]
    ShowtimeCancelled(OfShowtime),
    #[prost(message, tag = "18")]
    ReservationCreated(OfReservation),
    #[prost(message, tag = "19")]
    ReservationConfirmed(OfReservation),
    #[prost(message, tag = "20")]
    ReservationCancelled(OfReservation),
    #[prost(message, tag = "21")]
    ReservationExpired(OfReservation),
    #[prost(message, tag = "22")]
    SeatsReleased(OfReservation),
    #[prost(message, tag = "23")]
    ReservationExtended(OfReservation),
    #[prost(message, tag = "24")]
    SeatsExchanged(OfReservation),
    #[prost(message, tag = "25")]
    RefundDue(OfReservation),
    #[prost(message, tag = "26")]
    SeatsBlocked(OfShowtime),
    #[prost(message, tag = "27")]
    SeatsUnblocked(OfShowtime),
    #[prost(message, tag = "28")]
    ReservationPaying(OfReservation),
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfShowtime {}

#[derive(Clone, PartialEq, prost::Message)]
struct OfReservation {
    #[prost(string, tag = "1")]
    reservation_id: String,
}

/// The fields of `Event` that are not stored, since the row has them.
#[derive(Clone, PartialEq, prost::Message)]
struct Added {
    #[prost(enumeration = "AggregateType", tag = "6")]
    aggregate_type: i32,
    #[prost(string, tag = "7")]
    aggregate_id: String,
    #[prost(int32, tag = "8")]
    revision_events: i32,
}

impl Envelope {
    /// The fields that are added to each event of a revision of a showtime that has so many.
    pub(super) fn added(&self, revision_events: usize) -> Bytes {
        let added = Added {
            aggregate_type: AggregateType::Showtime.into(),
            aggregate_id: self.showtime_id.clone(),
            revision_events: i32::try_from(revision_events).unwrap_or(i32::MAX),
        };
        added.encode_to_vec().into()
    }
}

impl Entry {
    pub(super) fn new(envelope: Envelope, stored: Bytes, added: Bytes) -> Self {
        Self { envelope, stored, added, encoded: OnceLock::new() }
    }

    /// Reads an event that was stored by itself.
    ///
    /// # Errors
    /// These bytes are no event.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let unreadable = |error: DecodeError| Error::Unreadable {
            table: "dead_letters",
            key: String::new(),
            why: error.to_string(),
        };
        let envelope = Envelope::decode(bytes).map_err(unreadable)?;
        Ok(Self::new(envelope, Bytes::copy_from_slice(bytes), Bytes::new()))
    }

    /// The event, as in `events.proto`.
    #[must_use]
    pub fn data(&self) -> Vec<u8> {
        // The fields of a message may be in any order.
        [&self.stored[..], &self.added[..]].concat()
    }

    /// The length of the data.
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.stored.len() + self.added.len()
    }

    /// The message to subscribers. It is the same for all, and encoded for the first.
    pub fn encoded(&self, encode: impl FnOnce() -> Bytes) -> Bytes {
        self.encoded.get_or_init(encode).clone()
    }

    /// The id of the event: the showtime, the revision, and the position among the events of the revision.
    #[must_use]
    pub fn id(&self) -> String {
        let Envelope { showtime_id, revision, ordinal, .. } = &self.envelope;
        format!("{showtime_id}/{revision}/{ordinal}")
    }

    /// The showtime as a source of events.
    #[must_use]
    pub fn source(&self) -> String {
        format!("/showtimes/{}", self.envelope.showtime_id)
    }

    /// What the event is of.
    #[must_use]
    pub fn aggregate(&self) -> &str {
        let Envelope { showtime_id, aggregate_id, .. } = &self.envelope;
        // The row's showtime, where it is added.
        if aggregate_id.is_empty() { showtime_id } else { aggregate_id }
    }

    /// When it happened.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        self.envelope.time
    }

    /// The trace of the request that caused it; empty if none did.
    #[must_use]
    pub fn traceparent(&self) -> &str {
        &self.envelope.traceparent
    }

    /// The type of the event; the namespace alone for one of a kind that this program does not know.
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        match self.envelope.payload {
            Some(Payload::ShowtimeCreated(_)) => "boxoffice.v1.ShowtimeCreated",
            Some(Payload::ShowtimeCancelled(_)) => "boxoffice.v1.ShowtimeCancelled",
            Some(Payload::ReservationCreated(_)) => "boxoffice.v1.ReservationCreated",
            Some(Payload::ReservationExtended(_)) => "boxoffice.v1.ReservationExtended",
            Some(Payload::ReservationPaying(_)) => "boxoffice.v1.ReservationPaying",
            Some(Payload::ReservationConfirmed(_)) => "boxoffice.v1.ReservationConfirmed",
            Some(Payload::ReservationCancelled(_)) => "boxoffice.v1.ReservationCancelled",
            Some(Payload::ReservationExpired(_)) => "boxoffice.v1.ReservationExpired",
            Some(Payload::SeatsReleased(_)) => "boxoffice.v1.SeatsReleased",
            Some(Payload::SeatsExchanged(_)) => "boxoffice.v1.SeatsExchanged",
            Some(Payload::RefundDue(_)) => "boxoffice.v1.RefundDue",
            Some(Payload::SeatsBlocked(_)) => "boxoffice.v1.SeatsBlocked",
            Some(Payload::SeatsUnblocked(_)) => "boxoffice.v1.SeatsUnblocked",
            None => NAMESPACE,
        }
    }

    /// The name of the event's kind; empty for one that this program does not know.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.event_type().strip_prefix(NAMESPACE).unwrap_or_default()
    }

    /// What the event is about: the id of the reservation, or else of the showtime.
    #[must_use]
    pub fn subject(&self) -> &str {
        match &self.envelope.payload {
            Some(
                Payload::ReservationCreated(of)
                | Payload::ReservationExtended(of)
                | Payload::ReservationPaying(of)
                | Payload::ReservationConfirmed(of)
                | Payload::ReservationCancelled(of)
                | Payload::ReservationExpired(of)
                | Payload::SeatsReleased(of)
                | Payload::SeatsExchanged(of)
                | Payload::RefundDue(of),
            ) => &of.reservation_id,
            Some(
                Payload::ShowtimeCreated(_)
                | Payload::ShowtimeCancelled(_)
                | Payload::SeatsBlocked(_)
                | Payload::SeatsUnblocked(_),
            )
            | None => &self.envelope.showtime_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::encoding::{WireType, encode_key};

    use super::*;

    #[test]
    fn every_payload_of_the_contract_is_known_with_its_subject() {
        let files = prost_types::FileDescriptorSet::decode(crate::pb::DESCRIPTORS).unwrap().file;
        let messages = files.into_iter().find(|file| file.package() == "boxoffice.events.v1").unwrap().message_type;
        let message = |name: &str| messages.iter().find(|message| message.name() == name).unwrap();
        let payloads: Vec<_> = message("Event").field.iter().filter(|field| field.oneof_index.is_some()).collect();
        assert_eq!(payloads.len(), KINDS.len());
        for payload in payloads {
            let kind = payload.type_name().rsplit('.').next().unwrap();
            let is_of_reservation = message(kind).field[0].name() == "reservation_id";
            // The field showtime_id with "a", and the payload, whose first field is "b" if it is a reservation's id.
            let mut bytes = vec![1 << 3 | 2, 1, b'a'];
            encode_key(payload.number().unsigned_abs(), WireType::LengthDelimited, &mut bytes);
            bytes.extend(if is_of_reservation { &[3, 1 << 3 | 2, 1, b'b'][..] } else { &[0] });
            let entry = Entry::decode(&bytes).unwrap();
            assert_eq!((entry.kind(), entry.subject()), (kind, if is_of_reservation { "b" } else { "a" }));
            assert_eq!(entry.event_type(), format!("{NAMESPACE}{kind}"));
            assert!(KINDS.contains(&kind), "{kind} cannot be asked for");
        }
        let unknown = Entry::decode(&[1 << 3 | 2, 1, b'a']).unwrap();
        assert_eq!((unknown.kind(), unknown.subject()), ("", "a"));
    }
}

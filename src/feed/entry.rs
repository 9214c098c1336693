//! An event of the feed. The bytes that are stored are what is delivered, so the payload, which is the largest part, is only read for
//! its kind and its subject.

use std::sync::OnceLock;

use bytes::Bytes;
use prost::{DecodeError, Message};
use prost_types::Timestamp;
use uuid::Uuid;

use crate::{domain::ids::ShowtimeId, pb::boxoffice::events::v1::AggregateType, store::Error};

/// The names of all kinds of events.
pub const KINDS: [&str; 25] = [
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
    "PurchaseStarted",
    "PurchaseStepCompleted",
    "PurchaseCompleted",
    "PurchaseCompensated",
    "PurchaseStuck",
    "PaymentAuthorized",
    "PaymentCompleted",
    "PaymentDeclined",
    "PaymentRefundStarted",
    "PaymentRefunded",
    "PaymentRefundFailed",
    "PaymentRefundStuck",
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
    /// Stored, unless the aggregate is a showtime.
    #[prost(enumeration = "AggregateType", tag = "6")]
    aggregate_type: i32,
    #[prost(string, tag = "7")]
    aggregate_id: String,
    #[prost(string, tag = "9")]
    traceparent: String,
    #[prost(
        oneof = "Payload",
        tags = "16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40"
    )]
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
    ReservationCreated(OfSubject),
    #[prost(message, tag = "19")]
    ReservationConfirmed(OfSubject),
    #[prost(message, tag = "20")]
    ReservationCancelled(OfSubject),
    #[prost(message, tag = "21")]
    ReservationExpired(OfSubject),
    #[prost(message, tag = "22")]
    SeatsReleased(OfSubject),
    #[prost(message, tag = "23")]
    ReservationExtended(OfSubject),
    #[prost(message, tag = "24")]
    SeatsExchanged(OfSubject),
    #[prost(message, tag = "25")]
    RefundDue(OfSubject),
    #[prost(message, tag = "26")]
    SeatsBlocked(OfShowtime),
    #[prost(message, tag = "27")]
    SeatsUnblocked(OfShowtime),
    #[prost(message, tag = "28")]
    ReservationPaying(OfSubject),
    #[prost(message, tag = "29")]
    PurchaseStarted(OfSubject),
    #[prost(message, tag = "30")]
    PurchaseStepCompleted(OfSubject),
    #[prost(message, tag = "31")]
    PurchaseCompleted(OfSubject),
    #[prost(message, tag = "32")]
    PurchaseCompensated(OfSubject),
    #[prost(message, tag = "33")]
    PurchaseStuck(OfSubject),
    #[prost(message, tag = "34")]
    PaymentAuthorized(OfSubject),
    #[prost(message, tag = "35")]
    PaymentCompleted(OfSubject),
    #[prost(message, tag = "36")]
    PaymentDeclined(OfSubject),
    #[prost(message, tag = "37")]
    PaymentRefundStarted(OfSubject),
    #[prost(message, tag = "38")]
    PaymentRefunded(OfSubject),
    #[prost(message, tag = "39")]
    PaymentRefundFailed(OfSubject),
    #[prost(message, tag = "40")]
    PaymentRefundStuck(OfSubject),
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfShowtime {}

/// A payload whose first field names its subject: a reservation, a purchase or a payment.
#[derive(Clone, PartialEq, prost::Message)]
struct OfSubject {
    #[prost(string, tag = "1")]
    id: String,
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
    /// Reads an event of a row, which has the id of the aggregate.
    pub(super) fn read(stored: &[u8], aggregate: Uuid) -> Result<Self, DecodeError> {
        let mut envelope = Self::decode(stored)?;
        if !envelope.is_of_showtime() {
            envelope.aggregate_id = aggregate.to_string();
        }
        Ok(envelope)
    }

    /// The showtime that the event is about.
    pub(super) fn showtime_id(&self) -> Option<ShowtimeId> {
        ShowtimeId::parse(&self.showtime_id).ok()
    }

    /// The fields that are added to each event of a revision that has so many.
    pub(super) fn added(&self, revision_events: usize) -> Bytes {
        let stored_type = AggregateType::Unspecified;
        let aggregate_type = if self.is_of_showtime() { AggregateType::Showtime } else { stored_type };
        let added = Added {
            aggregate_type: aggregate_type.into(),
            aggregate_id: self.aggregate().to_owned(),
            revision_events: i32::try_from(revision_events).unwrap_or(i32::MAX),
        };
        added.encode_to_vec().into()
    }

    fn is_of_showtime(&self) -> bool {
        [AggregateType::Unspecified, AggregateType::Showtime].map(i32::from).contains(&self.aggregate_type)
    }

    fn aggregate(&self) -> &str {
        // That of a showtime is added when the event is delivered.
        if self.aggregate_id.is_empty() { &self.showtime_id } else { &self.aggregate_id }
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

    /// The id of the event: the aggregate, the revision, and the position among the events of the revision.
    #[must_use]
    pub fn id(&self) -> String {
        let Envelope { revision, ordinal, .. } = &self.envelope;
        format!("{}/{revision}/{ordinal}", self.aggregate())
    }

    /// The aggregate as a source of events.
    #[must_use]
    pub fn source(&self) -> String {
        let kind = match self.envelope.aggregate_type() {
            AggregateType::Unspecified | AggregateType::Showtime => "showtimes",
            AggregateType::Purchase => "purchases",
            AggregateType::Refund => "refunds",
        };
        format!("/{kind}/{}", self.aggregate())
    }

    /// The id of the aggregate to which the event belongs.
    #[must_use]
    pub fn aggregate(&self) -> &str {
        self.envelope.aggregate()
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
            Some(Payload::PurchaseStarted(_)) => "boxoffice.v1.PurchaseStarted",
            Some(Payload::PurchaseStepCompleted(_)) => "boxoffice.v1.PurchaseStepCompleted",
            Some(Payload::PurchaseCompleted(_)) => "boxoffice.v1.PurchaseCompleted",
            Some(Payload::PurchaseCompensated(_)) => "boxoffice.v1.PurchaseCompensated",
            Some(Payload::PurchaseStuck(_)) => "boxoffice.v1.PurchaseStuck",
            Some(Payload::PaymentAuthorized(_)) => "boxoffice.v1.PaymentAuthorized",
            Some(Payload::PaymentCompleted(_)) => "boxoffice.v1.PaymentCompleted",
            Some(Payload::PaymentDeclined(_)) => "boxoffice.v1.PaymentDeclined",
            Some(Payload::PaymentRefundStarted(_)) => "boxoffice.v1.PaymentRefundStarted",
            Some(Payload::PaymentRefunded(_)) => "boxoffice.v1.PaymentRefunded",
            Some(Payload::PaymentRefundFailed(_)) => "boxoffice.v1.PaymentRefundFailed",
            Some(Payload::PaymentRefundStuck(_)) => "boxoffice.v1.PaymentRefundStuck",
            None => NAMESPACE,
        }
    }

    /// The name of the event's kind; empty for one that this program does not know.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.event_type().strip_prefix(NAMESPACE).unwrap_or_default()
    }

    /// What the event is about: the id of the reservation, the purchase or the payment, or else of the showtime.
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
                | Payload::RefundDue(of)
                | Payload::PurchaseStarted(of)
                | Payload::PurchaseStepCompleted(of)
                | Payload::PurchaseCompleted(of)
                | Payload::PurchaseCompensated(of)
                | Payload::PurchaseStuck(of)
                | Payload::PaymentAuthorized(of)
                | Payload::PaymentCompleted(of)
                | Payload::PaymentDeclined(of)
                | Payload::PaymentRefundStarted(of)
                | Payload::PaymentRefunded(of)
                | Payload::PaymentRefundFailed(of)
                | Payload::PaymentRefundStuck(of),
            ) => &of.id,
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
            let has_subject = ["reservation_id", "purchase_id", "payment_id"].contains(&message(kind).field[0].name());
            // The field showtime_id with "a", and the payload, whose first field is "b" if it is the subject's id.
            let mut bytes = vec![1 << 3 | 2, 1, b'a'];
            encode_key(payload.number().unsigned_abs(), WireType::LengthDelimited, &mut bytes);
            bytes.extend(if has_subject { &[3, 1 << 3 | 2, 1, b'b'][..] } else { &[0] });
            let entry = Entry::decode(&bytes).unwrap();
            assert_eq!((entry.kind(), entry.subject()), (kind, if has_subject { "b" } else { "a" }));
            assert_eq!(entry.event_type(), format!("{NAMESPACE}{kind}"));
            assert!(KINDS.contains(&kind), "{kind} cannot be asked for");
        }
        let unknown = Entry::decode(&[1 << 3 | 2, 1, b'a']).unwrap();
        assert_eq!((unknown.kind(), unknown.subject()), ("", "a"));
    }
}

//! An event as the body of a delivery: a `CloudEvent` in JSON.

use chrono::{DateTime, SecondsFormat};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, OneofDescriptor};
use serde::Serialize;

use crate::pb::{self, boxoffice::v1::FeedEvent};

/// The content type of a body.
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";
/// The package in front of the name of a type.
const PACKAGE: &str = "boxoffice.v1.";

/// Writes events as JSON, by the descriptors in this program.
#[derive(Clone, Debug)]
pub(super) struct Messages {
    event: MessageDescriptor,
    payload: OneofDescriptor,
}

/// The attributes of a `CloudEvent` and its data, in the order in which they are written.
#[derive(Serialize)]
struct CloudEvent<'e> {
    specversion: &'static str,
    id: &'e str,
    source: &'e str,
    r#type: &'e str,
    subject: &'e str,
    #[serde(skip_serializing_if = "String::is_empty")]
    time: String,
    datacontenttype: &'static str,
    partitionkey: &'e str,
    #[serde(skip_serializing_if = "str::is_empty")]
    traceparent: &'e str,
    data: DynamicMessage,
}

impl Messages {
    /// Reads the descriptors.
    pub(super) fn new() -> Result<Self, String> {
        let pool = DescriptorPool::decode(pb::DESCRIPTORS).map_err(|error| error.to_string())?;
        let event = pool.get_message_by_name("boxoffice.events.v1.Event").ok_or("there is no message Event")?;
        let payload = event.oneofs().find(|oneof| oneof.name() == "payload").ok_or("an Event has no payload")?;
        Ok(Self { event, payload })
    }

    /// The types of events that this program knows, without the package.
    pub(super) fn types(&self) -> impl Iterator<Item = String> + '_ {
        self.payload.fields().filter_map(|field| Some(field.kind().as_message()?.name().to_owned()))
    }

    /// The body for an event, unless it is of a type that this program does not know.
    pub(super) fn body(&self, event: &FeedEvent) -> Result<String, String> {
        let data = event.data.as_ref().filter(|data| data.payload.is_some());
        let data = data.ok_or_else(|| {
            format!("this program does not know events of the type {}: it is older than the service", event.r#type)
        })?;
        let encoded = data.encode_to_vec();
        let dynamic = DynamicMessage::decode(self.event.clone(), encoded.as_slice());
        let time =
            event.time.as_ref().and_then(|time| DateTime::from_timestamp(time.seconds, time.nanos.cast_unsigned()));
        let cloud_event = CloudEvent {
            specversion: "1.0",
            id: &event.id,
            source: &event.source,
            r#type: &event.r#type,
            subject: &event.subject,
            time: time.map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true)).unwrap_or_default(),
            datacontenttype: "application/json",
            partitionkey: &data.aggregate_id,
            traceparent: &data.traceparent,
            data: dynamic.map_err(|error| error.to_string())?,
        };
        serde_json::to_string(&cloud_event).map_err(|error| error.to_string())
    }
}

/// The name of a type without its package.
pub(super) fn short(name: &str) -> &str {
    name.strip_prefix(PACKAGE).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pb::boxoffice::events::v1::{Event, SeatsReleased, event::Payload};

    #[test]
    fn a_body_is_a_cloud_event_with_the_event_as_protobuf_writes_it_in_json() {
        let time = prost_types::Timestamp { seconds: 1, nanos: 500_000_000 };
        let data = Event {
            showtime_id: "s".to_owned(),
            aggregate_id: "s".to_owned(),
            revision: 7,
            time: Some(time),
            payload: Some(Payload::SeatsReleased(SeatsReleased {
                reservation_id: "r".to_owned(),
                reason: 2,
                ..Default::default()
            })),
            ..Default::default()
        };
        let event = FeedEvent {
            id: "s/7/0".to_owned(),
            source: "/showtimes/s".to_owned(),
            r#type: "boxoffice.v1.SeatsReleased".to_owned(),
            subject: "r".to_owned(),
            time: Some(time),
            data: Some(data),
            resume_token: String::new(),
        };
        let messages = Messages::new().unwrap();
        let body: Value = serde_json::from_str(&messages.body(&event).unwrap()).unwrap();
        let expected = json!({
            "specversion": "1.0",
            "id": "s/7/0",
            "source": "/showtimes/s",
            "type": "boxoffice.v1.SeatsReleased",
            "subject": "r",
            "time": "1970-01-01T00:00:01.500000Z",
            "datacontenttype": "application/json",
            "partitionkey": "s",
            "data": {
                "showtimeId": "s",
                "revision": "7",
                "time": "1970-01-01T00:00:01.500Z",
                "aggregateId": "s",
                "seatsReleased": {"reservationId": "r", "reason": "SEATS_RELEASED_REASON_LAPSED"},
            },
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn an_event_of_a_type_that_this_program_does_not_know_has_no_body() {
        let messages = Messages::new().unwrap();
        let event = FeedEvent { data: Some(Event::default()), ..Default::default() };
        assert!(messages.body(&event).unwrap_err().contains("older than the service"));
        assert!(messages.types().any(|name| name == "ReservationConfirmed"));
        assert_eq!(short("boxoffice.v1.SeatsReleased"), short("SeatsReleased"));
    }
}

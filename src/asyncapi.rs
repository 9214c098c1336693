//! The description of all ways on which events leave the service, as an `AsyncAPI` document. It is made from the descriptors of the
//! contracts, so it has every event, every field, and their comments.

use prost_reflect::prost_types::FieldOptions;
use prost_reflect::{
    DescriptorError, DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
};
use serde_json::{Map, Value, json};

use crate::pb;

/// The package in front of the name of a type.
const PACKAGE: &str = "boxoffice.v1.";

/// Writes the document.
///
/// # Errors
/// The descriptors of this program cannot be read.
pub fn document() -> Result<String, DescriptorError> {
    let pool = DescriptorPool::decode(pb::DESCRIPTORS)?;
    let event = pool.get_message_by_name("boxoffice.events.v1.Event");
    let events =
        event.iter().flat_map(MessageDescriptor::oneofs).flat_map(|payload| payload.fields().collect::<Vec<_>>());
    let events: Vec<_> = events.collect();
    let mut schemas = Map::new();
    if let Some(event) = &event {
        add_message(event, &mut schemas);
    }
    let messages: Map<_, _> = events.iter().map(|field| (name(field), message(field))).collect();
    let channels: Map<_, _> =
        CHANNELS.iter().map(|channel| (channel.key.to_owned(), channel.describe(&events))).collect();
    let operations = CHANNELS.iter().map(|Channel { key, .. }| {
        let operation = json!({"action": "send", "channel": {"$ref": format!("#/channels/{key}")}});
        (format!("send-{key}"), operation)
    });
    let traits = CHANNELS.iter().map(|channel| (channel.key.to_owned(), json!({"headers": channel.headers()})));
    let document = json!({
        "asyncapi": "3.1.0",
        "info": {
            "title": "Boxoffice: events",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What happened to showtimes, reservations, purchases and refunds. Payloads are described in the JSON of protobuf; where the \
                            content type is application/protobuf they are the message boxoffice.events.v1.Event.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/protobuf",
        "channels": channels,
        "operations": operations.collect::<Map<_, _>>(),
        "components": {"messages": messages, "messageTraits": traits.collect::<Map<_, _>>(), "schemas": schemas},
    });
    Ok(format!("{document:#}\n"))
}

/// The attributes of a `CloudEvent`.
const ATTRIBUTES: [(&str, &str); 8] = [
    ("specversion", "The version of CloudEvents, which is 1.0."),
    ("id", "Identifies the event."),
    ("source", "The aggregate to which the event belongs."),
    ("type", "The type of the event."),
    (
        "subject",
        "The id of the reservation, the purchase or the payment that the event is about, or else of the showtime.",
    ),
    ("time", "When the change was decided."),
    ("partitionkey", "The id of the aggregate."),
    ("traceparent", "The trace of the request that caused the change. Left out if no request did."),
];

/// What the attribute epoch says.
const EPOCH: &str = "The epoch of the database. When it changes, events may come again that are others.";

/// A way on which events leave.
struct Channel {
    key: &'static str,
    address: &'static str,
    description: &'static str,
    content_type: &'static str,
    /// What is in front of the names of attributes. `None`: they are in the payload.
    prefix: Option<&'static str>,
    /// Further headers.
    further: &'static [(&'static str, &'static str)],
}

const CHANNELS: [Channel; 6] = [
    Channel {
        key: "grpc",
        address: "boxoffice.v1.Events/SubscribeEvents",
        description: "A stream over gRPC, from any place in the feed on. The attributes are fields of boxoffice.v1.FeedEvent.",
        content_type: "application/grpc",
        prefix: None,
        further: &[],
    },
    Channel {
        key: "redis",
        address: "boxoffice:events",
        description: "A Redis stream. The attributes are fields of an entry, and the event is its field data.",
        content_type: "application/protobuf",
        prefix: Some(""),
        further: &[
            ("datacontenttype", "The content type of the data."),
            ("history", "Grows when the stream goes on with another history of the database."),
        ],
    },
    Channel {
        key: "rabbitmq",
        address: "boxoffice.v1.{event}",
        description: "The topic exchange boxoffice.events of RabbitMQ. The address is the routing key.",
        content_type: "application/protobuf",
        prefix: Some("cloudEvents_"),
        further: &[("cloudEvents_epoch", EPOCH)],
    },
    Channel {
        key: "nats",
        address: "boxoffice.events.{event}",
        description: "The stream BOXOFFICE of NATS JetStream. The address is the subject.",
        content_type: "application/protobuf",
        prefix: Some("ce-"),
        further: &[
            ("ce-epoch", EPOCH),
            ("content-type", "The content type of the data."),
            ("Nats-Msg-Id", "The id of the event and its time, by which the stream drops what comes twice."),
        ],
    },
    Channel {
        key: "kafka",
        address: "boxoffice.events",
        description: "A topic of Kafka. The key of a record is the id of the aggregate.",
        content_type: "application/protobuf",
        prefix: Some("ce_"),
        further: &[("ce_epoch", EPOCH), ("content-type", "The content type of the data.")],
    },
    Channel {
        key: "webhooks",
        address: "/",
        description: "A request to an HTTP endpoint, signed as Standard Webhooks has it. The body is a CloudEvent in JSON, and the event \
                      is its data.",
        content_type: "application/cloudevents+json",
        prefix: None,
        further: &[
            ("webhook-id", "Identifies the delivery."),
            ("webhook-timestamp", "When it was attempted, in seconds since 1970."),
            ("webhook-signature", "Signatures, separated by spaces."),
        ],
    },
];

impl Channel {
    fn headers(&self) -> Value {
        let attributes = self.prefix.into_iter().flat_map(|prefix| {
            ATTRIBUTES.iter().map(move |(name, description)| (format!("{prefix}{name}"), *description))
        });
        let further = self.further.iter().map(|(name, description)| ((*name).to_owned(), *description));
        let property = |(name, description)| (name, json!({"type": "string", "description": description}));
        json!({"type": "object", "properties": attributes.chain(further).map(property).collect::<Map<_, _>>()})
    }

    fn describe(&self, events: &[FieldDescriptor]) -> Value {
        let message = |field: &FieldDescriptor| {
            let mut message = message(field);
            message["contentType"] = self.content_type.into();
            message["traits"] = json!([{"$ref": format!("#/components/messageTraits/{}", self.key)}]);
            (name(field), message)
        };
        let mut channel = json!({
            "address": self.address,
            "description": self.description,
            "messages": events.iter().map(message).collect::<Map<_, _>>(),
        });
        if self.address.contains("{event}") {
            let names: Vec<_> = events.iter().map(name).collect();
            channel["parameters"] = json!({"event": {"description": "The type of the event.", "enum": names}});
        }
        if let Some(bindings) = self.bindings() {
            channel["bindings"] = bindings;
        }
        channel
    }

    fn bindings(&self) -> Option<Value> {
        match self.key {
            "rabbitmq" => Some(json!({"amqp": {
                "is": "routingKey",
                "exchange": {"name": "boxoffice.events", "type": "topic", "durable": true, "autoDelete": false},
            }})),
            "kafka" => Some(json!({"kafka": {"topic": self.address}})),
            _ => None,
        }
    }
}

/// The message of an event, which is a field of the payload.
fn message(field: &FieldDescriptor) -> Value {
    let event = format!("#/components/schemas/{}", field.parent_message().full_name());
    json!({
        "name": format!("{PACKAGE}{}", name(field)),
        "title": name(field),
        "summary": comment(&field.parent_file(), field.path()),
        "payload": {"allOf": [{"$ref": event}, {"type": "object", "required": [field.json_name()]}]},
    })
}

/// The name of an event.
fn name(field: &FieldDescriptor) -> String {
    field.kind().as_message().map(|message| message.name().to_owned()).unwrap_or_default()
}

/// Adds the schema of a message, and those of the messages in it.
fn add_message(message: &MessageDescriptor, schemas: &mut Map<String, Value>) {
    if schemas.contains_key(message.full_name()) {
        return;
    }
    // First, since a message may have itself in it.
    schemas.insert(message.full_name().to_owned(), Value::Null);
    let mut properties = Map::new();
    for field in message.fields() {
        let mut schema = schema(&field, schemas);
        if field.is_list() {
            schema = json!({"type": "array", "items": schema});
        }
        let description = comment(&field.parent_file(), field.path());
        // Beside a reference nothing else counts.
        let mut described = if schema.get("$ref").is_some() { json!({"allOf": [schema]}) } else { schema };
        described["description"] = description.into();
        if field.field_descriptor_proto().options.as_ref().is_some_and(FieldOptions::deprecated) {
            described["deprecated"] = true.into();
        }
        properties.insert(field.json_name().to_owned(), described);
    }
    let description = comment(&message.parent_file(), message.path());
    let schema = json!({"type": "object", "description": description, "properties": properties});
    schemas.insert(message.full_name().to_owned(), schema);
}

/// The schema of a value of the field, in the JSON of protobuf.
fn schema(field: &FieldDescriptor, schemas: &mut Map<String, Value>) -> Value {
    match field.kind() {
        Kind::Double | Kind::Float => json!({"type": "number"}),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer"}),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64 => {
            json!({"type": "string", "pattern": "^-?[0-9]+$"})
        }
        Kind::Bool => json!({"type": "boolean"}),
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        Kind::Enum(values) => json!({"type": "string", "enum": names(&values)}),
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Timestamp" => json!({"type": "string", "format": "date-time"}),
            "google.protobuf.Duration" => json!({"type": "string", "pattern": "^-?[0-9.]+s$"}),
            full_name => {
                add_message(&message, schemas);
                json!({"$ref": format!("#/components/schemas/{full_name}")})
            }
        },
    }
}

fn names(values: &EnumDescriptor) -> Vec<String> {
    values.values().map(|value| value.name().to_owned()).collect()
}

/// The comment above a declaration, in one line.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let locations = file.file_descriptor_proto().source_code_info.iter().flat_map(|info| &info.location);
    let comment =
        locations.filter(|location| location.path == path).find_map(|location| location.leading_comments.clone());
    comment.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

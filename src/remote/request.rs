//! What a call has in its metadata: the key of the caller, and the context of its trace.

use opentelemetry::{global, propagation::Injector};
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::secret::Secret;

/// The value of a header that must not be printed. `None`: the text has other characters than visible ASCII.
#[must_use]
pub fn header(secret: &Secret) -> Option<MetadataValue<Ascii>> {
    let visible = secret.expose().bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let mut value = MetadataValue::try_from(secret.expose()).ok().filter(|_| visible)?;
    value.set_sensitive(true);
    Some(value)
}

/// Adds the context of the current trace.
pub fn add_trace(metadata: &mut MetadataMap) {
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut Headers(metadata)));
}

/// Lets a propagator write into gRPC metadata.
struct Headers<'a>(&'a mut MetadataMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (key.parse::<MetadataKey<Ascii>>(), value.parse()) {
            self.0.insert(key, value);
        }
    }
}

//! Request ids: where a request carries one, and the fingerprint of its content.

use prost::Message;
use sha2::{Digest as _, Sha256};
use tonic::metadata::MetadataMap;

use crate::domain::{ids::RequestId, violations::Violations};

/// The metadata key that means the same as the field `request_id`.
const HEADER: &str = "idempotency-key";

/// Reads the request id from the field or from the metadata. A request may have none.
///
/// # Errors
/// The id is not a UUID, is the nil UUID, or differs between the two places.
pub(super) fn read(metadata: &MetadataMap, field: &str) -> Result<Option<RequestId>, Violations> {
    let header = match metadata.get(HEADER).map(|value| value.to_str()) {
        None => None,
        Some(Ok(text)) => Some(RequestId::parse(text).map_err(|flaws| under(HEADER, flaws))?),
        Some(Err(_)) => return Err(Violations::one(HEADER, "must be a UUID")),
    };
    let field = if field.is_empty() {
        None
    } else {
        Some(RequestId::parse(field).map_err(|flaws| under("request_id", flaws))?)
    };
    let id = match (field, header) {
        (Some(field), Some(header)) if field != header => {
            return Err(Violations::one("request_id", "must equal the idempotency-key metadata, or one be left out"));
        }
        (Some(id), _) | (None, Some(id)) => Some(id),
        (None, None) => None,
    };
    if id.is_some_and(|id| id.0.is_nil()) {
        return Err(Violations::one("request_id", "must not be the nil UUID"));
    }
    Ok(id)
}

/// A digest of a request's content without its request id.
pub(super) fn fingerprint(content: &impl Message) -> [u8; 32] {
    Sha256::digest(content.encode_to_vec()).into()
}

fn under(field: &str, flaws: Violations) -> Violations {
    let mut violations = Violations::new();
    violations.absorb(field, flaws);
    violations
}

//! Request ids: where they are found, and what they stand for.

use prost::Message;
use sha2::{Digest as _, Sha256};
use tonic::metadata::MetadataMap;

use crate::{
    app::RequestKey,
    domain::{ids::RequestId, violations::Violations},
};

/// The metadata key that means the same as the field.
const HEADER: &str = "idempotency-key";
/// Who asks, while nobody proves who they are.
const ANYONE: &str = "";

/// The key of a mutation, if its caller gave one, in the field or in the metadata. `content` is the request without it.
pub(super) fn key(
    metadata: &MetadataMap,
    field: &str,
    method: &'static str,
    content: &impl Message,
) -> Result<Option<RequestKey>, Violations> {
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
    let request_id = match (field, header) {
        (Some(field), Some(header)) if field != header => {
            return Err(Violations::one("request_id", "must equal the idempotency-key metadata, or one be left out"));
        }
        (None, None) => return Ok(None),
        (Some(id), _) | (None, Some(id)) => id,
    };
    if request_id.0.is_nil() {
        return Err(Violations::one("request_id", "must not be the nil UUID"));
    }
    let fingerprint = Sha256::digest(content.encode_to_vec()).into();
    Ok(Some(RequestKey { caller: ANYONE.to_owned(), method, request_id, fingerprint }))
}

fn under(field: &str, flaws: Violations) -> Violations {
    let mut violations = Violations::new();
    violations.absorb(field, flaws);
    violations
}

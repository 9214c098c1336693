//! Which request a change belongs to, so that a repeated request is recognised.

use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use crate::domain::ids::RequestId;

/// A request id with all that tells it from others, and the request's fingerprint.
#[derive(Clone, Debug)]
pub struct RequestKey {
    /// The caller. The same id of two callers means two requests.
    pub caller: String,
    /// The method. The same id of two methods means two requests.
    pub method: &'static str,
    /// The caller's id for this intention.
    pub request_id: RequestId,
    /// A digest of the request's content. A repeated request has the same.
    pub fingerprint: [u8; 32],
}

impl RequestKey {
    /// The request id scoped by caller, as it is stored with a reservation: the id itself for the caller without a name, and
    /// for each other caller another id. One narrow index finds it for every caller.
    ///
    /// The migrations 0004, whose text cannot change, call this `kept_as`.
    #[must_use]
    pub fn scoped_id(&self) -> Uuid {
        if self.caller.is_empty() {
            return self.request_id.0;
        }
        let digest = Sha256::new().chain_update(&self.caller).chain_update(self.request_id.0).finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Builder::from_custom_bytes(id).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_different_callers_do_not_meet() {
        let id = RequestId(Uuid::from_u128(7));
        let key = |caller: &str| RequestKey {
            caller: caller.to_owned(),
            method: "ReserveSeats",
            request_id: id,
            fingerprint: [0; 32],
        };
        let scoped = ["", "ada", "bob", "adab"].map(|caller| key(caller).scoped_id());
        assert_eq!(scoped[0], id.0, "without a name the id stays what it is");
        for (at, one) in scoped.iter().enumerate() {
            assert!(!scoped[..at].contains(one), "{scoped:?}");
            assert_eq!(*one, key(["", "ada", "bob", "adab"][at]).scoped_id(), "and always the same");
        }
    }
}

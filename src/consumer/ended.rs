//! Why a consumer cannot go on.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The stream cannot go on, and connecting again does not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// `EVENTS_COMPACTED`: events after the token were deleted.
    #[error("events that were not read yet are deleted (EVENTS_COMPACTED)")]
    Compacted {
        /// The token from which everything is read that is kept.
        oldest: String,
    },
    /// `EVENTS_UNKNOWN`: the token is of another database, or the database was set back to an earlier time.
    #[error("the service's database was set back or replaced, and may not have what was read before (EVENTS_UNKNOWN)")]
    Unknown {
        /// The token from which everything is read that is kept.
        oldest: String,
    },
    /// `TOKEN_MALFORMED`: the token is not one of this service.
    #[error("the stored token is none of this service's (TOKEN_MALFORMED)")]
    TokenMalformed,
    /// The service refuses the call.
    #[error("the service refuses the call: {code:?}: {message}")]
    Refused {
        /// The code of the refusal.
        code: Code,
        /// The message of the refusal.
        message: String,
    },
}

impl Ended {
    /// Reads a refusal. `None`: it passes.
    pub(super) fn read(status: &Status) -> Option<Self> {
        let (reason, metadata) =
            status.get_details_error_info().map(|info| (info.reason, info.metadata)).unwrap_or_default();
        let oldest = || metadata.get("oldest_token").cloned().unwrap_or_default();
        match (reason.as_str(), status.code()) {
            ("EVENTS_COMPACTED", _) => Some(Self::Compacted { oldest: oldest() }),
            ("EVENTS_UNKNOWN", _) => Some(Self::Unknown { oldest: oldest() }),
            ("TOKEN_MALFORMED", _) => Some(Self::TokenMalformed),
            (
                _,
                code @ (Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented),
            ) => Some(Self::Refused { code, message: status.message().to_owned() }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn refusal(code: Code, reason: &str) -> Status {
        let metadata = [("oldest_token".to_owned(), "t".to_owned())];
        Status::with_error_details(code, "m", ErrorDetails::with_error_info(reason, "boxoffice", metadata))
    }

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        let oldest = || "t".to_owned();
        let compacted = Ended::read(&refusal(Code::OutOfRange, "EVENTS_COMPACTED"));
        assert_eq!(compacted, Some(Ended::Compacted { oldest: oldest() }));
        let unknown = Ended::read(&refusal(Code::OutOfRange, "EVENTS_UNKNOWN"));
        assert_eq!(unknown, Some(Ended::Unknown { oldest: oldest() }));
        let malformed = Ended::read(&refusal(Code::InvalidArgument, "TOKEN_MALFORMED"));
        assert_eq!(malformed, Some(Ended::TokenMalformed));
        for code in [Code::InvalidArgument, Code::PermissionDenied, Code::Unauthenticated, Code::Unimplemented] {
            let refused = Ended::Refused { code, message: "m".to_owned() };
            assert_eq!(Ended::read(&Status::new(code, "m")), Some(refused));
        }
        for passes in [refusal(Code::Unavailable, "STORE_UNAVAILABLE"), Status::resource_exhausted("")] {
            assert_eq!(Ended::read(&passes), None);
        }
    }
}

//! Reading a refusal: its code, its reason, and the details that a caller can act upon.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Refused with this code, for this reason. Returns what else the `ErrorInfo` says.
pub(crate) fn assert_refused(status: &Status, code: Code, reason: &str) -> HashMap<String, String> {
    assert_eq!(status.code(), code, "{status:?}");
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("without ErrorInfo: {status:?}"));
    assert_eq!((&*info.reason, &*info.domain), (reason, "boxoffice"), "{status:?}");
    info.metadata
}

/// Refused as bad input, with a violation at each of these paths and at no other. A path that ends in `*` stands for all
/// that begin so.
pub(crate) fn assert_violates(status: &Status, paths: &[&str]) {
    assert_refused(status, Code::InvalidArgument, "INVALID_REQUEST");
    let found = violations(status);
    let fits = |path: &str, field: &str| path.strip_suffix('*').map_or(path == field, |start| field.starts_with(start));
    for path in paths {
        assert!(found.iter().any(|(field, _)| fits(path, field)), "nothing at {path}: {found:?}");
    }
    for (field, description) in &found {
        assert!(paths.iter().any(|path| fits(path, field)), "unexpected at {field}: {found:?}");
        assert!(!description.is_empty(), "no description at {field}");
    }
}

/// Every violation: the field and what is wrong there.
pub(crate) fn violations(status: &Status) -> Vec<(String, String)> {
    let found = status.get_details_bad_request().unwrap_or_else(|| panic!("without BadRequest: {status:?}"));
    found.field_violations.into_iter().map(|violation| (violation.field, violation.description)).collect()
}

/// Refused because there is no such thing, which is named.
pub(crate) fn assert_not_found(status: &Status, reason: &str, name: &str) {
    assert_refused(status, Code::NotFound, reason);
    let resource = status.get_details_resource_info().unwrap_or_else(|| panic!("without ResourceInfo: {status:?}"));
    assert_eq!(resource.resource_name, name, "{status:?}");
    assert!(!resource.resource_type.is_empty(), "{status:?}");
}

/// Refused for now, with a word on when to try again.
pub(crate) fn assert_try_again(status: &Status, reason: &str) {
    assert_refused(status, Code::Unavailable, reason);
    let delay = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
    assert!(delay.is_some(), "without RetryInfo: {status:?}");
}

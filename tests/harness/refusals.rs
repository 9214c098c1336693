//! Checks of a refusal: its code, its reason, and the details that a caller can act upon.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorInfo, StatusExt as _};

/// Asserts that a request was refused with this code and this reason. Returns the metadata of the `ErrorInfo`.
pub(crate) fn assert_refused(status: &Status, code: Code, reason: &str) -> HashMap<String, String> {
    assert_eq!(status.code(), code, "{status:?}");
    let info = info(status);
    assert_eq!((&*info.reason, &*info.domain), (reason, "boxoffice"), "{status:?}");
    info.metadata
}

/// The reason of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    info(status).reason
}

fn info(status: &Status) -> ErrorInfo {
    status.get_details_error_info().unwrap_or_else(|| panic!("without ErrorInfo: {status:?}"))
}

/// Asserts that a request was refused as bad input, with a violation at each of these paths and at no other. A path that ends
/// in `*` stands for all paths with this prefix.
pub(crate) fn assert_violates(status: &Status, paths: &[&str]) {
    assert_refused(status, Code::InvalidArgument, "INVALID_REQUEST");
    let found = violations(status);
    let fits = |path: &str, field: &str| path.strip_suffix('*').map_or(path == field, |start| field.starts_with(start));
    for path in paths {
        assert!(found.iter().any(|(field, _)| fits(path, field)), "no violation at {path}: {found:?}");
    }
    for (field, description) in &found {
        assert!(paths.iter().any(|path| fits(path, field)), "unexpected violation at {field}: {found:?}");
        assert!(!description.is_empty(), "no description at {field}");
    }
}

/// The field and the description of every violation.
pub(crate) fn violations(status: &Status) -> Vec<(String, String)> {
    let found = status.get_details_bad_request().unwrap_or_else(|| panic!("without BadRequest: {status:?}"));
    found.field_violations.into_iter().map(|violation| (violation.field, violation.description)).collect()
}

/// Asserts that a request was refused because the resource with this name does not exist.
pub(crate) fn assert_not_found(status: &Status, reason: &str, name: &str) {
    assert_refused(status, Code::NotFound, reason);
    let resource = status.get_details_resource_info().unwrap_or_else(|| panic!("without ResourceInfo: {status:?}"));
    assert_eq!(resource.resource_name, name, "{status:?}");
    assert!(!resource.resource_type.is_empty(), "{status:?}");
}

/// Asserts that a request was refused as UNAVAILABLE and says when it can be retried.
pub(crate) fn assert_retryable(status: &Status, reason: &str) {
    assert_refused(status, Code::Unavailable, reason);
    let delay = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
    assert!(delay.is_some(), "without RetryInfo: {status:?}");
}

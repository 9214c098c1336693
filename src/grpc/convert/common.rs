//! What conversions have in common: the end of a conversion, and the page that a list request asks for.

use crate::{app::PageRequest, domain::violations::Violations};

/// The value, if nothing is wrong with the request; else every violation.
pub(super) fn finish<T>(violations: Violations, value: Option<T>) -> Result<T, Violations> {
    match value {
        Some(value) if violations.is_empty() => Ok(value),
        _ => Err(violations),
    }
}

/// Reads the page that a list request asks for. Only the token's length is checked here: whether it is genuine depends on the
/// list and its filter.
pub(super) fn page(violations: &mut Violations, size: i32, token: String) -> PageRequest {
    if size < 0 {
        violations.add("page_size", "must not be negative");
    }
    at_most(violations, "page_token", &token, 512);
    PageRequest { size, token }
}

/// Refuses a text that is longer than the contract allows.
pub(super) fn at_most(violations: &mut Violations, field: &str, text: &str, most: usize) {
    if text.chars().count() > most {
        violations.add(field, format!("must have at most {most} characters"));
    }
}

/// Refuses a negative revision. 0 asks for no particular one.
pub(super) fn revision(violations: &mut Violations, field: &str, revision: i64) {
    if revision < 0 {
        violations.add(field, "must not be negative");
    }
}

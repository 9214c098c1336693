//! Causes of failures, in words for people.

use std::{error::Error, io};

/// The cause of an I/O error: `connection refused`, without the number that the standard library prints behind it.
#[must_use]
pub fn of_io(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

/// The innermost cause of an error. Outer ones may say no more than that something has failed.
#[must_use]
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.downcast_ref().map_or_else(|| inner.to_string(), of_io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_the_error_is_left_out() {
        assert_eq!(of_io(&io::Error::from_raw_os_error(111)), "connection refused");
        assert_eq!(of_io(&io::Error::from_raw_os_error(13)), "permission denied");
        assert_eq!(of_io(&io::Error::other("no such host")), "no such host");
    }

    #[test]
    fn the_innermost_cause_is_found() {
        #[derive(Debug, thiserror::Error)]
        #[error("transport error")]
        struct Outer(#[source] io::Error);
        assert_eq!(innermost(&Outer(io::Error::from_raw_os_error(111))), "connection refused");
        assert_eq!(innermost(&std::fmt::Error), std::fmt::Error.to_string());
    }
}

//! Causes of failures, in words for people.

use std::io;

/// The cause of an I/O error: `connection refused`, without the number that the standard library prints behind it.
#[must_use]
pub fn of_io(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
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
}

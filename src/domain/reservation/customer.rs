//! Customers, by the names that callers give them.

use std::{fmt, sync::Arc};

use crate::domain::violations::{Violations, printable};

/// The most characters of a customer id.
pub const MAX_CUSTOMER: usize = 128;

/// A caller's own name for a customer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CustomerId(Arc<str>);

impl CustomerId {
    /// Checks a customer id that a caller wrote.
    ///
    /// # Errors
    /// Names what is wrong with it, under an empty path.
    pub fn parse(text: &str) -> Result<Self, Violations> {
        printable(text, MAX_CUSTOMER)?;
        Ok(Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

//! Values that must not be shown: they print as asterisks, and only `expose` hands them out.

use std::{borrow::Cow, fmt};

use url::Url;

/// What stands in the place of a secret.
pub(super) const MASK: &str = "***";

/// A secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The secret itself, for whoever needs it. Not for logs, errors or traces.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// A URL that may hold a password. It prints without it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl {
    whole: String,
    masked: String,
}

impl SecretUrl {
    pub(super) fn new(text: &str, url: &Url) -> Self {
        Self { whole: text.to_owned(), masked: mask(url) }
    }

    /// The URL with its password, for whoever connects. Not for logs, errors or traces.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.whole
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked)
    }
}

/// Parts of a query that say where and how, and hold no secret.
const OPEN: [&str; 6] = ["application_name", "dbname", "host", "port", "protocol", "sslmode"];

/// Hides a password, what a query holds besides the `OPEN` parts (drivers take passwords there, too), and a user without a
/// password unless it is a database's: elsewhere that is where tokens are put.
fn mask(url: &Url) -> String {
    let mut masked = url.clone();
    // Setting fails only where there can be no user, and then there is none to hide.
    if url.password().is_some() {
        let _ = masked.set_password(Some(MASK));
    } else if !url.username().is_empty() && !url.scheme().starts_with("postgres") {
        let _ = masked.set_username(MASK);
    }
    if url.query().is_some() {
        let part = |(name, value): (Cow<'_, str>, Cow<'_, str>)| {
            if OPEN.contains(&name.as_ref()) { format!("{name}={value}") } else { format!("{name}={MASK}") }
        };
        masked.set_query(Some(&url.query_pairs().map(part).collect::<Vec<_>>().join("&")));
    }
    masked.set_fragment(None);
    masked.to_string()
}

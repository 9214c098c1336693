//! Values that are never printed: `Display` and `Debug` write asterisks, and only `expose` returns the value.

use std::{borrow::Cow, fmt};

use url::Url;

/// What is printed instead of a secret.
pub(super) const MASK: &str = "***";

/// A secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The secret in clear. It must not reach logs, errors or traces.
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

/// A URL that may hold a password. It is printed without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl {
    clear: String,
    masked: String,
}

impl SecretUrl {
    pub(super) fn new(text: &str, url: &Url) -> Self {
        Self { clear: text.to_owned(), masked: mask(url) }
    }

    /// The URL with its password, for connecting. It must not reach logs, errors or traces.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.clear
    }

    /// What stands before the first colon.
    pub(super) fn scheme(&self) -> &str {
        self.clear.split(':').next().unwrap_or_default()
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

/// Parameters of a query that say where and how to connect, and hold no secret.
const PUBLIC_PARAMETERS: [&str; 6] = ["application_name", "dbname", "host", "port", "protocol", "sslmode"];

/// Masks the password, and every parameter of the query that is not in `PUBLIC_PARAMETERS`, because drivers take passwords
/// there too. A user name without a password is masked unless the URL is a database's: elsewhere tokens are put there.
fn mask(url: &Url) -> String {
    let mut masked = url.clone();
    // Setting fails only for URLs that cannot have a user, and those have nothing to mask.
    if url.password().is_some() {
        let _ = masked.set_password(Some(MASK));
    } else if !url.username().is_empty() && !url.scheme().starts_with("postgres") {
        let _ = masked.set_username(MASK);
    }
    if url.query().is_some() {
        let parameter = |(name, value): (Cow<'_, str>, Cow<'_, str>)| {
            if PUBLIC_PARAMETERS.contains(&name.as_ref()) {
                format!("{name}={value}")
            } else {
                format!("{name}={MASK}")
            }
        };
        masked.set_query(Some(&url.query_pairs().map(parameter).collect::<Vec<_>>().join("&")));
    }
    masked.set_fragment(None);
    masked.to_string()
}

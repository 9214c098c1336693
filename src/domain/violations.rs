//! What is wrong with an input: every flaw, each under the path of its field.

use std::fmt;

/// One flaw: the path of the field, as the caller wrote it, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// `layout.rows[2].label`
    pub field: String,
    /// A whole sentence without its subject: "must have 1 to 100 characters".
    pub description: String,
}

/// Every flaw found so far. Checks add to it and go on, so that one answer can name them all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

/// More than this many are counted, not listed: an answer has a limit too.
const LISTED: usize = 100;

impl Violations {
    /// No flaw yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A single flaw.
    #[must_use]
    pub fn one(field: impl Into<String>, description: impl Into<String>) -> Self {
        let mut violations = Self::new();
        violations.add(field, description);
        violations
    }

    /// Notes a flaw.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        match self.0.len() {
            0..LISTED => self.0.push(Violation { field: field.into(), description: description.into() }),
            LISTED => self.0.push(Violation {
                field: String::new(),
                description: "has more violations than are listed here".to_owned(),
            }),
            _ => {}
        }
    }

    /// Takes over the flaws of a part, each path put under `prefix`.
    pub fn absorb(&mut self, prefix: &str, part: Self) {
        for Violation { field, description } in part.0 {
            let joint = if prefix.is_empty() || field.is_empty() || field.starts_with('[') { "" } else { "." };
            self.add(format!("{prefix}{joint}{field}"), description);
        }
    }

    /// Unwraps a part's value, or takes over its flaws.
    pub fn take<T>(&mut self, prefix: &str, part: Result<T, Self>) -> Option<T> {
        part.map_err(|flaws| self.absorb(prefix, flaws)).ok()
    }

    /// The flaws, in the order in which they were found.
    #[must_use]
    pub fn list(&self) -> &[Violation] {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Violation { field, description }) in self.0.iter().enumerate() {
            let joint = if index == 0 { "" } else { "; " };
            write!(f, "{joint}{field} {description}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

/// Checks a name that people read: printable, 1 to `most` characters.
///
/// # Errors
/// Says what is wrong, under an empty path.
pub fn printable(text: &str, most: usize) -> Result<(), Violations> {
    let length = text.chars().count();
    if length == 0 || length > most {
        return Err(Violations::one("", format!("must have 1 to {most} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(Violations::one("", "must have no control characters"));
    }
    if text.trim().is_empty() {
        return Err(Violations::one("", "must not be blank"));
    }
    Ok(())
}

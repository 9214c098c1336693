//! Violations: what is wrong with a request, each under the path of its field.

use std::fmt;

/// One violation of a field's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in the request, such as `layout.rows[2].label`.
    pub field: String,
    /// A sentence whose subject is the field, such as "must have 1 to 100 characters".
    pub description: String,
}

/// The violations found so far. A check adds its own and goes on, so that one answer names them all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

/// The most violations that are listed. The size of an answer is limited.
const LISTED: usize = 100;

impl Violations {
    /// No violations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A single violation.
    #[must_use]
    pub fn one(field: impl Into<String>, description: impl Into<String>) -> Self {
        let mut violations = Self::new();
        violations.add(field, description);
        violations
    }

    /// Adds a violation.
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

    /// Adds the violations of a part of the request, with `prefix` before each path.
    pub fn absorb(&mut self, prefix: &str, part: Self) {
        for Violation { field, description } in part.0 {
            let joint = if prefix.is_empty() || field.is_empty() || field.starts_with('[') { "" } else { "." };
            self.add(format!("{prefix}{joint}{field}"), description);
        }
    }

    /// The value of a part of the request. `None`: its violations were added.
    pub fn take<T>(&mut self, prefix: &str, part: Result<T, Self>) -> Option<T> {
        part.map_err(|violations| self.absorb(prefix, violations)).ok()
    }

    /// The violations in the order in which they were found.
    #[must_use]
    pub fn list(&self) -> &[Violation] {
        &self.0
    }

    /// Whether there are no violations.
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

/// Checks a text that people read: 1 to `most` characters, no control characters, not blank.
///
/// # Errors
/// The text breaks one of these rules. The path of the violation is empty.
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

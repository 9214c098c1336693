//! Notes of operators.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// What is kept of what an operator did with something that was stuck. `A` says what can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<A> {
    /// Identifies it. It begins with the time.
    pub note_id: Uuid,
    /// When it was done.
    pub time: DateTime<Utc>,
    /// Who did it. Empty: a caller that was not authenticated.
    pub caller: String,
    /// What was done.
    pub action: A,
    /// Why.
    pub text: String,
}

//! Those who compete for seats, and the ground on which they do.

pub(crate) mod asked;
pub(crate) mod cinema;
pub(crate) mod load;
pub(crate) mod past;
pub(crate) mod usual;
pub(crate) mod usual_sqlite;

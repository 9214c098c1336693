//! Reservations under load, the database clients that they are compared with, and the deployments of the service.

pub(crate) mod deployment;
pub(crate) mod load;
pub(crate) mod messages;
pub(crate) mod past;
pub(crate) mod usual;
pub(crate) mod usual_sqlite;

//! The tables as SeaORM entities, with the columns that the migrations have made.

#![expect(unreachable_pub, reason = "the derives ask for `pub`; the modules keep the entities in this room")]

pub(super) mod hold;
pub(super) mod projection;
pub(super) mod reports_migration;
pub(super) mod sale;
pub(super) mod showtime;

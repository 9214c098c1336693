//! The tables.

#![expect(unreachable_pub, reason = "the derives ask for `pub`; the modules keep the entities in this room")]

pub(super) mod delivery;
pub(super) mod endpoint;
pub(super) mod migration;
pub(super) mod process;

//! The tables as SeaORM entities, one file for each, with the columns that the migrations have made.
//!
//! A relation is named on both of its sides, which is SeaORM's form and the one place where files of this room name each
//! other in a circle. Not every relation has a foreign key in the database: the migrations say where one would cost too much.
//!
//! States are text here and not enums of SeaORM: a row with an unknown state then fails the caller that asked for it, and no
//! other caller that shares the query.

#![expect(unreachable_pub, reason = "the derives ask for `pub`; the modules keep the entities in this room")]

pub(super) mod auditorium;
pub(super) mod blocked_seat;
pub(super) mod dead_letter;
pub(super) mod feed;
pub(super) mod feed_head;
pub(super) mod money_entry;
pub(super) mod outbox;
pub(super) mod payment;
pub(super) mod purchase;
pub(super) mod purchase_note;
pub(super) mod refund;
pub(super) mod refund_note;
pub(super) mod request;
pub(super) mod reservation;
pub(super) mod schema_compatibility;
pub(super) mod schema_migration;
pub(super) mod seat_claim;
pub(super) mod secret;
pub(super) mod setting;
pub(super) mod showtime;
pub(super) mod signing_key;
pub(super) mod sink;
pub(super) mod standing;
pub(super) mod ticket;

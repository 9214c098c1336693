//! The ledger's transaction: lock showtimes, read what changed meanwhile, write what was decided, commit.
//!
//! The caller takes the steps in that order. Locks are taken in the order of ids, so that two batches never wait for each
//! other in a circle. The time is read by a statement of its own after the locks: one in the locking statement may be from
//! before the wait.
//!
//! This folder and the migrations have the only SQL that is written as text. Its statements are the ones that every
//! reservation, or the delivery of every event, waits for, and the form of each was measured: `docs/adr/0008-the-ledgers-own-connections.md` has
//! the figures. Everything else in the store goes through entities and the query builder.

pub(super) mod pool;
pub(super) mod positions;
pub(super) mod segments;
pub(super) mod since;

mod answers;
mod companions;
mod connection;
mod lock;
mod postgres;
mod reads;
mod single;
mod sql;
mod sqlite;
mod text;
mod together;
mod transaction;
mod writes;

pub use answers::StoredAnswer;
pub use companions::Companion;
pub use lock::{LockWait, LockedShowtime, LockedShowtimes};
pub use positions::Pass;
pub use reads::{LedgerStanding, PriorReservation};
pub use since::OutboxRow;
pub(super) use text::hex;
pub use transaction::{LedgerConnection, LedgerTx};
pub use writes::{Claim, LedgerWrites, NewAnswer, NewBlockedSeat, ShowtimeAdvance};

//! The database: the only room that knows SeaORM, SQL, and which database is used.
//!
//! One `Store` uses Postgres or SQLite. Its methods are named after the things of the domain and answer in the domain's types.
//! A refusal that follows from the data is a value; an `Error` means that the database cannot be used. Every transaction
//! has a name under which it is timed, and is repeated only when it certainly had no effect.
//!
//! | Where | What |
//! |---|---|
//! | `entities/` | the tables, one SeaORM entity each |
//! | `rows/` | what queries select, where that is not one whole table |
//! | `auditoriums`, `showtimes`, `reservations`, `seat_maps`, … | queries, by the thing that they are about |
//! | `dialect` | what differs between Postgres and SQLite in a query |
//! | `cache` | what never changes, in memory |
//! | `ledger/`, `feed` | the ledger's own transaction, and the order of events; with the migrations, the only SQL that is written as text |
//! | `migrations` | the schema |
//! | `handle`, `pools`, `recovery`, `transactions`, `commit` | how the database is opened and used |
//!
//! The files here import each other directly and never through this one, so that no two of them depend on each other.

pub mod interruptions;
pub mod outbox;
pub mod planted;
pub mod statements;

mod audit;
mod auditoriums;
mod blocked_seats;
mod books;
mod cache;
mod commit;
mod connect;
mod dead_letters;
mod deadline;
mod dialect;
mod entities;
mod errors;
mod feed;
mod handle;
mod ledger;
mod migrations;
mod payments;
mod plans;
mod pools;
mod purchase_rows;
mod purchase_writes;
mod purchases;
mod questions;
mod reader;
mod recovery;
mod refund_writes;
mod refunds;
mod request_key;
mod requests;
mod reservations;
mod row_batches;
mod rows;
mod rows_alone;
mod sales;
mod sales_at_tills;
mod scans;
mod seat_maps;
mod settings;
mod showtimes;
mod signing_keys;
mod sinks;
mod stuck_purchases;
mod stuck_refunds;
mod sweep;
mod ticket_reads;
mod ticket_uses;
mod ticket_writes;
mod tickets;
mod timing;
mod transactions;
mod value_rows;

pub use audit::{AuditedEntry, AuditedPayment, AuditedPurchase};
pub use auditoriums::AuditoriumCreated;
pub use blocked_seats::{BlockedSeats, BlockedSeatsAt};
pub use books::{MoneyEntry, insert_entries};
pub use dead_letters::{Letter, LetterChoice, LetterCounts, LetterPlace, StoredLetter};
pub use errors::Error;
pub use feed::{Deleted, FeedHead, FeedRow, Retention};
pub use handle::Store;
pub use ledger::{
    Claim, Companion, LedgerConnection, LedgerStanding, LedgerTx, LedgerWrites, LockWait, LockedShowtime,
    LockedShowtimes, NewAnswer, NewBlockedSeat, OutboxRow, Pass, PriorReservation, ShowtimeAdvance, StoredAnswer,
};
pub use payments::{StoredPayment, TimedCursor};
pub use pools::{Database, Options, PLANNING, Permit};
pub use purchase_writes::{PurchaseWrite, insert_purchase, update_purchase};
pub use purchases::{DuePurchase, PurchaseFilter, StoredPurchase};
pub use refund_writes::{
    RefundStart, RefundVersion, RefundWrite, exclude_refunds, give_up_first, settle_refund, start_refunds,
};
pub use refunds::StoredRefund;
pub use request_key::RequestKey;
pub use requests::SAMPLE_CALLER;
pub use reservations::{ReservationAt, ReservationCursor};
pub use sales::SoldLines;
pub use sales_at_tills::TillSum;
pub use seat_maps::{ReadMap, Revisions};
pub use showtimes::{Cursor, Schedule, ShowtimeScheduled};
pub use signing_keys::StoredKey;
pub use sinks::{ABANDONED, Letters, Progress, Sink};
pub use stuck_purchases::{StuckWrite, settle_purchase};
pub use ticket_writes::{insert_tickets, issue_if_completed, replace_tickets, void_all_tickets, void_tickets};
pub use tickets::{TicketFilter, UnticketedPage};

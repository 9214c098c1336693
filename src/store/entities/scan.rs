//! `scans`: whom devices have admitted without a network. A row is never updated.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "scans")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub scan_id: Uuid,
    /// Counts the tickets of one scan.
    #[sea_orm(primary_key, auto_increment = false)]
    pub part: i16,
    pub device: String,
    pub nonce: String,
    /// The code or the number.
    pub shown: String,
    pub scan_time: ChronoDateTimeUtc,
    pub upload_time: ChronoDateTimeUtc,
    /// `None`: there is no such ticket.
    pub ticket_id: Option<Uuid>,
    /// What was in the way, as names with commas. May be empty.
    pub why: String,
    /// Whether the ticket had been used already.
    pub is_double: bool,
}

impl ActiveModelBehavior for ActiveModel {}

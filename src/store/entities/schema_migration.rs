//! `schema_migrations`: the migrations that were applied.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "schema_migrations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i64,
    pub name: String,
    /// SHA-256 of the file's text, in hexadecimal digits.
    pub checksum: String,
    /// The time as the database writes it, which differs between the stores.
    pub apply_time: String,
}

impl ActiveModelBehavior for ActiveModel {}

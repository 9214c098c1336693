//! `schema_compatibility`: one row that says which programs can use the database.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "schema_compatibility")]
pub struct Model {
    /// Always 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i16,
    /// A program whose newest migration is this one, or a later one, can use the database.
    pub usable_from: i64,
}

impl ActiveModelBehavior for ActiveModel {}

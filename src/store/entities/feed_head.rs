//! `feed_head`: one row that says where the feed ends and begins. Only the columns that both stores have are here.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "feed_head")]
pub struct Model {
    /// Always 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i16,
    /// Rows of the feed up to this position were deleted.
    pub compacted: i64,
    /// How many events their commits had.
    pub compacted_events: i64,
    /// Differs between databases.
    pub epoch: String,
}

impl ActiveModelBehavior for ActiveModel {}

//! `webhook_process`: one row, with the process that delivers.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_process")]
pub struct Model {
    /// Always 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// Grows when another process begins.
    pub fence: i64,
    /// Grows while a process works.
    pub beat: i64,
    /// That process; empty when it has stopped in order.
    pub owner: String,
}

impl ActiveModelBehavior for ActiveModel {}

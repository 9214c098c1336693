//! `signing_keys`: the keys that sign the codes of tickets. The last one that is not retired signs.

use std::fmt;

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "signing_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: i32,
    /// Secret.
    pub seed: Vec<u8>,
    pub public_key: Vec<u8>,
    pub create_time: ChronoDateTimeUtc,
    /// From then on tickets of this key are refused. `None`: it is not retired.
    pub retire_time: Option<ChronoDateTimeUtc>,
}

/// Prints no secret.
impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Prints no secret.
impl fmt::Debug for ModelEx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl ActiveModelBehavior for ActiveModel {}

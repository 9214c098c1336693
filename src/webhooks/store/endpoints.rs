//! The state of an endpoint.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, Set,
    sea_query::{Expr, OnConflict},
};

use super::{
    connect::bounded,
    entities::endpoint::{self, Column},
    error::Error,
    open::Store,
};

/// What is stored of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndpointState {
    /// The resume token up to which events were queued, if any were.
    pub(crate) token: Option<String>,
    /// When it was disabled.
    pub(crate) disabled_time: Option<DateTime<Utc>>,
}

impl Store {
    /// The state of an endpoint, which is added if it is new.
    pub(crate) async fn endpoint(&self, name: &str) -> Result<EndpointState, Error> {
        bounded(async {
            let tx = self.begin().await?;
            let new = endpoint::ActiveModel {
                name: Set(name.to_owned()),
                token: Set(String::new()),
                disabled_time: Set(None),
                delivered: Set(0),
                failed: Set(0),
            };
            let ignored = OnConflict::column(Column::Name).do_nothing().to_owned();
            endpoint::Entity::insert(new).on_conflict(ignored).exec_without_returning(&tx).await?;
            let row = endpoint::Entity::find_by_id(name).one(&tx).await?;
            tx.commit().await?;
            let state = row.map(|row| EndpointState {
                token: Some(row.token).filter(|token| !token.is_empty()),
                disabled_time: row.disabled_time,
            });
            Ok::<_, Error>(state.unwrap_or(EndpointState { token: None, disabled_time: None }))
        })
        .await
    }

    /// Notes up to where an endpoint has read.
    pub(crate) async fn set_token(&self, name: &str, token: &str) -> Result<(), Error> {
        bounded(async {
            let tx = self.begin().await?;
            note_token(&tx, name, token).await?;
            Ok::<_, Error>(tx.commit().await?)
        })
        .await
    }

    /// Enables an endpoint again.
    pub(crate) async fn enable(&self, name: &str) -> Result<(), Error> {
        bounded(async {
            let tx = self.begin().await?;
            note_disabled(&tx, name, None).await?;
            Ok::<_, Error>(tx.commit().await?)
        })
        .await
    }
}

/// Notes since when an endpoint is disabled, or that it is not.
pub(super) async fn note_disabled(
    tx: &impl ConnectionTrait,
    name: &str,
    since: Option<DateTime<Utc>>,
) -> Result<(), Error> {
    let noted = endpoint::Entity::update_many().col_expr(Column::DisabledTime, Expr::value(since));
    noted.filter(Column::Name.eq(name)).exec(tx).await?;
    Ok(())
}

/// Notes up to where an endpoint has read, in the transaction of what was read.
pub(super) async fn note_token(tx: &impl ConnectionTrait, name: &str, token: &str) -> Result<(), Error> {
    let noted = endpoint::Entity::update_many().col_expr(Column::Token, Expr::value(token));
    noted.filter(Column::Name.eq(name)).exec(tx).await?;
    Ok(())
}

//! The schema, brought up to date. Migrations are only ever added.

use std::time::Duration;

use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait as _, QueryOrder as _, Set,
    sea_query::{ColumnDef, Index, IntoIden, Table},
};
use tokio::time::sleep;

use super::{
    connect::{begin, bounded},
    entities::{delivery, endpoint, migration, process},
    error::Error,
};

/// The newest migration.
const NEWEST: i32 = 1;
/// How often migrating is attempted. It fails when two processes begin on an empty database at once.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// Applies what is missing.
pub(super) async fn run(connection: &DatabaseConnection) -> Result<(), Error> {
    let mut attempt = 1;
    loop {
        match bounded(apply(connection)).await {
            Err(Error::Failed(_)) if attempt < ATTEMPTS => {
                attempt += 1;
                sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

/// Refuses a schema that this program does not have. Nothing is changed.
pub(super) async fn check(connection: &DatabaseConnection) -> Result<(), Error> {
    bounded(version(connection)).await.map(|_| ())
}

async fn apply(connection: &DatabaseConnection) -> Result<(), Error> {
    let versions =
        Table::create().table(migration::Entity).if_not_exists().col(key(migration::Column::Version).integer()).take();
    connection.execute(&versions).await?;
    for version in version(connection).await? + 1..=NEWEST {
        let tx = begin(connection).await?;
        // First, so that of two processes the second one waits here, and then fails.
        let applied = migration::ActiveModel { version: Set(version) };
        migration::Entity::insert(applied).exec_without_returning(&tx).await?;
        if version == 1 {
            first(&tx).await?;
        }
        tx.commit().await?;
    }
    Ok(())
}

async fn version(connection: &DatabaseConnection) -> Result<i32, Error> {
    let newest = migration::Entity::find().order_by_desc(migration::Column::Version).one(connection).await?;
    let database = newest.map_or(0, |row| row.version);
    if database > NEWEST { Err(Error::Newer { database, program: NEWEST }) } else { Ok(database) }
}

/// Processes, endpoints and deliveries.
async fn first(tx: &DatabaseTransaction) -> Result<(), DbErr> {
    let processes = Table::create()
        .table(process::Entity)
        .col(key(process::Column::Id).integer())
        .col(required(process::Column::Fence).big_integer())
        .col(required(process::Column::Beat).big_integer())
        .col(required(process::Column::Owner).text())
        .take();
    tx.execute(&processes).await?;
    let endpoints = Table::create()
        .table(endpoint::Entity)
        .col(key(endpoint::Column::Name).text())
        .col(required(endpoint::Column::Token).text())
        .col(ColumnDef::new(endpoint::Column::DisabledTime).timestamp_with_time_zone())
        .col(required(endpoint::Column::Delivered).big_integer())
        .col(required(endpoint::Column::Failed).big_integer())
        .take();
    tx.execute(&endpoints).await?;
    let deliveries = Table::create()
        .table(delivery::Entity)
        .col(required(delivery::Column::Endpoint).text())
        .col(required(delivery::Column::Number).big_integer())
        .col(required(delivery::Column::WebhookId).text())
        .col(required(delivery::Column::EventId).text())
        .col(required(delivery::Column::EventType).text())
        .col(required(delivery::Column::Aggregate).text())
        .col(required(delivery::Column::Body).text())
        .col(required(delivery::Column::Attempts).integer())
        .col(required(delivery::Column::NextTime).timestamp_with_time_zone())
        .col(required(delivery::Column::LastAnswer).text())
        .col(required(delivery::Column::CreateTime).timestamp_with_time_zone())
        .col(ColumnDef::new(delivery::Column::FailedTime).timestamp_with_time_zone())
        .primary_key(Index::create().col(delivery::Column::Endpoint).col(delivery::Column::Number))
        .take();
    tx.execute(&deliveries).await?;
    let ids = Index::create()
        .name("webhook_deliveries_webhook_id")
        .table(delivery::Entity)
        .col(delivery::Column::Endpoint)
        .col(delivery::Column::WebhookId)
        .unique()
        .take();
    tx.execute(&ids).await?;
    let failed = Index::create()
        .name("webhook_deliveries_failed_time")
        .table(delivery::Entity)
        .col(delivery::Column::FailedTime)
        .take();
    tx.execute(&failed).await?;
    Ok(())
}

fn key(name: impl IntoIden) -> ColumnDef {
    required(name).primary_key().take()
}

fn required(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).not_null().take()
}

//! What is printed about endpoints and failed deliveries.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, FromQueryResult, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};
use serde::Serialize;

use super::{
    connect::bounded,
    entities::{
        delivery::{self, Column},
        endpoint,
    },
    error::Error,
    open::Store,
};

/// The state of an endpoint.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct EndpointReport {
    /// The name.
    pub(crate) endpoint: String,
    /// How many deliveries the endpoint has confirmed.
    pub(crate) delivered: i64,
    /// How many deliveries are waiting.
    pub(crate) waiting: u64,
    /// When the next of them is attempted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_time: Option<DateTime<Utc>>,
    /// How many deliveries were given up.
    pub(crate) failed: i64,
    /// When the endpoint was disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disabled_time: Option<DateTime<Utc>>,
}

/// A delivery that was given up.
#[derive(Clone, Debug, FromQueryResult, Serialize)]
pub(crate) struct FailedDelivery {
    pub(crate) endpoint: String,
    pub(crate) webhook_id: String,
    pub(crate) event_id: String,
    pub(crate) event_type: String,
    pub(crate) attempts: i32,
    pub(crate) last_answer: String,
    pub(crate) failed_time: Option<DateTime<Utc>>,
}

impl Store {
    /// All endpoints that were ever configured, by name.
    pub(crate) async fn report(&self) -> Result<Vec<EndpointReport>, Error> {
        let endpoints = endpoint::Entity::find().order_by_asc(endpoint::Column::Name);
        let mut report = Vec::new();
        for row in bounded(endpoints.all(&self.0.connection)).await? {
            let waiting = delivery::Entity::find()
                .filter(Column::Endpoint.eq(row.name.as_str()))
                .filter(Column::FailedTime.is_null());
            let next = waiting.clone().order_by_asc(Column::NextTime);
            report.push(EndpointReport {
                waiting: bounded(waiting.count(&self.0.connection)).await?,
                next_time: bounded(next.one(&self.0.connection)).await?.map(|next| next.next_time),
                endpoint: row.name,
                delivered: row.delivered,
                failed: row.failed,
                disabled_time: row.disabled_time,
            });
        }
        Ok(report)
    }

    /// The deliveries that were given up last, the oldest of them first.
    pub(crate) async fn failed(&self, most: u64) -> Result<Vec<FailedDelivery>, Error> {
        let failed = delivery::Entity::find()
            .select_only()
            .columns([
                Column::Endpoint,
                Column::WebhookId,
                Column::EventId,
                Column::EventType,
                Column::Attempts,
                Column::LastAnswer,
                Column::FailedTime,
            ])
            .filter(Column::FailedTime.is_not_null())
            .order_by_desc(Column::FailedTime)
            .order_by_desc(Column::Number)
            .limit(most)
            .into_model::<FailedDelivery>();
        let mut failed = bounded(failed.all(&self.0.connection)).await?;
        failed.reverse();
        Ok(failed)
    }
}

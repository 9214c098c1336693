//! Deliveries: queued together with the place in the feed, and settled after their attempts.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, ExprTrait as _, FromQueryResult, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, Set,
    sea_query::{Expr, OnConflict},
};

use super::{
    connect::bounded,
    endpoints::{note_disabled, note_token},
    entities::{
        delivery::{self, Column},
        endpoint,
    },
    error::Error,
    open::Store,
};
use crate::webhooks::queue::Waiting;

/// An event for an endpoint.
#[derive(Clone, Debug)]
pub(crate) struct NewDelivery {
    pub(crate) number: i64,
    pub(crate) webhook_id: String,
    pub(crate) event_id: String,
    pub(crate) event_type: String,
    pub(crate) aggregate: String,
    pub(crate) body: String,
}

/// What is sent.
#[derive(Clone, Debug, FromQueryResult)]
pub(crate) struct Stored {
    pub(crate) number: i64,
    pub(crate) webhook_id: String,
    pub(crate) body: String,
}

/// What came of an attempt.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The endpoint has confirmed it.
    Delivered {
        /// The delivery as it was before.
        waiting: Waiting,
    },
    /// It is attempted again.
    Again {
        /// The delivery as it waits now.
        waiting: Waiting,
        /// What the endpoint has answered.
        answer: String,
    },
    /// It is given up.
    Failed {
        /// The delivery as it was given up.
        waiting: Waiting,
        /// What the endpoint has answered.
        answer: String,
    },
}

#[derive(FromQueryResult)]
struct WaitingRow {
    number: i64,
    aggregate: String,
    attempts: i32,
    next_time: DateTime<Utc>,
}

impl Store {
    /// The deliveries that are waiting, by number.
    pub(crate) async fn waiting(&self, name: &str) -> Result<Vec<Waiting>, Error> {
        let waiting = delivery::Entity::find()
            .select_only()
            .columns([Column::Number, Column::Aggregate, Column::Attempts, Column::NextTime])
            .filter(Column::Endpoint.eq(name))
            .filter(Column::FailedTime.is_null())
            .order_by_asc(Column::Number)
            .into_model::<WaitingRow>();
        let rows = bounded(waiting.all(&self.0.connection)).await?;
        let waiting = |row: WaitingRow| Waiting {
            number: row.number,
            aggregate: row.aggregate.into(),
            attempts: row.attempts.unsigned_abs(),
            next_time: row.next_time,
        };
        Ok(rows.into_iter().map(waiting).collect())
    }

    /// The last number of an endpoint's deliveries that are stored; 0 if there is none.
    pub(crate) async fn last_number(&self, name: &str) -> Result<i64, Error> {
        let last = delivery::Entity::find()
            .select_only()
            .column(Column::Number)
            .filter(Column::Endpoint.eq(name))
            .order_by_desc(Column::Number)
            .into_tuple::<i64>();
        Ok(bounded(last.one(&self.0.connection)).await?.unwrap_or_default())
    }

    /// Queues deliveries, and notes the token up to which events were read. One that is queued or was given up already is not
    /// queued again.
    pub(crate) async fn enqueue(
        &self,
        name: &str,
        deliveries: &[NewDelivery],
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let row = |new: &NewDelivery| delivery::ActiveModel {
            endpoint: Set(name.to_owned()),
            number: Set(new.number),
            webhook_id: Set(new.webhook_id.clone()),
            event_id: Set(new.event_id.clone()),
            event_type: Set(new.event_type.clone()),
            aggregate: Set(new.aggregate.clone()),
            body: Set(new.body.clone()),
            attempts: Set(0),
            next_time: Set(now),
            last_answer: Set(String::new()),
            create_time: Set(now),
            failed_time: Set(None),
        };
        bounded(async {
            let tx = self.begin().await?;
            note_token(&tx, name, token).await?;
            if !deliveries.is_empty() {
                let ignored = OnConflict::new().do_nothing().to_owned();
                let insert = delivery::Entity::insert_many(deliveries.iter().map(row)).on_conflict(ignored);
                insert.exec_without_returning(&tx).await?;
            }
            Ok::<_, Error>(tx.commit().await?)
        })
        .await
    }

    /// The bodies of these deliveries. One that is not waiting has none.
    pub(crate) async fn bodies(&self, name: &str, numbers: &[i64]) -> Result<Vec<Stored>, Error> {
        let bodies = delivery::Entity::find()
            .select_only()
            .columns([Column::Number, Column::WebhookId, Column::Body])
            .filter(Column::Endpoint.eq(name))
            .filter(Column::Number.is_in(numbers.iter().copied()))
            .filter(Column::FailedTime.is_null())
            .into_model::<Stored>();
        bounded(bodies.all(&self.0.connection)).await
    }

    /// Writes what came of attempts, and that the endpoint is disabled if it is.
    pub(crate) async fn settle(
        &self,
        name: &str,
        outcomes: &[Outcome],
        disabled_time: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        bounded(async {
            let tx = self.begin().await?;
            let (mut delivered, mut failed) = (Vec::new(), 0);
            for outcome in outcomes {
                let (waiting, answer, failed_time) = match outcome {
                    Outcome::Delivered { waiting } => {
                        delivered.push(waiting.number);
                        continue;
                    }
                    Outcome::Again { waiting, answer } => (waiting, answer, None),
                    Outcome::Failed { waiting, answer } => {
                        failed += 1;
                        (waiting, answer, Some(now))
                    }
                };
                let attempts = i32::try_from(waiting.attempts).unwrap_or(i32::MAX);
                let update = delivery::Entity::update_many()
                    .col_expr(Column::Attempts, Expr::value(attempts))
                    .col_expr(Column::NextTime, Expr::value(waiting.next_time))
                    .col_expr(Column::LastAnswer, Expr::value(answer.as_str()))
                    .col_expr(Column::FailedTime, Expr::value(failed_time));
                update.filter(of(name, [waiting.number])).exec(&tx).await?;
            }
            let count = delivered.len() as i64;
            if count > 0 {
                delivery::Entity::delete_many().filter(of(name, delivered)).exec(&tx).await?;
            }
            if disabled_time.is_some() {
                note_disabled(&tx, name, disabled_time).await?;
            }
            let counted = endpoint::Entity::update_many()
                .col_expr(endpoint::Column::Delivered, Expr::col(endpoint::Column::Delivered).add(count))
                .col_expr(endpoint::Column::Failed, Expr::col(endpoint::Column::Failed).add(failed));
            counted.filter(endpoint::Column::Name.eq(name)).exec(&tx).await?;
            Ok::<_, Error>(tx.commit().await?)
        })
        .await
    }

    /// Queues what was given up once more, with all attempts before it. Returns how many deliveries these are.
    pub(crate) async fn redeliver(&self, name: &str, now: DateTime<Utc>) -> Result<u64, Error> {
        bounded(async {
            let tx = self.begin().await?;
            let again = delivery::Entity::update_many()
                .col_expr(Column::Attempts, Expr::value(0))
                .col_expr(Column::NextTime, Expr::value(now))
                .col_expr(Column::FailedTime, Expr::value(None::<DateTime<Utc>>))
                .filter(Column::Endpoint.eq(name))
                .filter(Column::FailedTime.is_not_null());
            let count = again.exec(&tx).await?.rows_affected;
            let failed = Expr::col(endpoint::Column::Failed).sub(count as i64);
            let counted = endpoint::Entity::update_many().col_expr(endpoint::Column::Failed, failed);
            counted.filter(endpoint::Column::Name.eq(name)).exec(&tx).await?;
            tx.commit().await?;
            Ok::<_, Error>(count)
        })
        .await
    }

    /// Deletes deliveries that were given up before this time.
    pub(crate) async fn forget_failed(&self, before: DateTime<Utc>) -> Result<u64, Error> {
        bounded(async {
            let tx = self.begin().await?;
            let deleted = delivery::Entity::delete_many().filter(Column::FailedTime.lt(before)).exec(&tx).await?;
            tx.commit().await?;
            Ok::<_, Error>(deleted.rows_affected)
        })
        .await
    }
}

/// Deliveries of an endpoint.
fn of(name: &str, numbers: impl IntoIterator<Item = i64>) -> sea_orm::Condition {
    sea_orm::Condition::all().add(Column::Endpoint.eq(name)).add(Column::Number.is_in(numbers))
}

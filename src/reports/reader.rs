//! What is read from the tables: occupancy, sales, and what became of holds.

mod filter;
mod holds;
mod occupancy;
mod sales;

use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, EntityTrait as _};

use super::{
    database::{Database, Options, Use},
    entities::projection,
    error::Error,
};
pub use filter::{ReportDays, ReportFilter, SalesGroup};
pub use holds::HoldCount;
pub use occupancy::{Occupancy, OccupancyCursor};
pub use sales::{Sales, SalesCursor};

/// How current the tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportState {
    /// The time of the last event that is in the tables.
    pub last_event: Option<DateTime<Utc>>,
    /// When the projector last heard from the service.
    pub checked: Option<DateTime<Utc>>,
    /// Showtimes that were scheduled from this time on are in the tables; none: all of them.
    pub complete_since: Option<DateTime<Utc>>,
}

/// What was read, and how current it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<T> {
    /// What was read.
    pub value: T,
    /// How current it is.
    pub state: ReportState,
}

/// Reads reports.
#[derive(Clone)]
pub struct Reader(Database);

impl Reader {
    /// Nothing is connected before a report is asked for.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub async fn open(options: &Options) -> Result<Self, Error> {
        Ok(Self(Database::open(options, Use::Read).await?))
    }

    /// A page of showtimes by start, each with its seats.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn occupancy(
        &self,
        filter: &ReportFilter,
        after: Option<&OccupancyCursor>,
        limit: u64,
    ) -> Result<Seen<Vec<Occupancy>>, Error> {
        self.seen(async |tx| occupancy::page(tx, filter, after, limit).await).await
    }

    /// A page of sums of sales by key, and by currency within a key.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn sales(
        &self,
        group: SalesGroup,
        filter: &ReportFilter,
        after: Option<&SalesCursor>,
        limit: u64,
    ) -> Result<Seen<Vec<Sales>>, Error> {
        self.seen(async |tx| sales::page(tx, group, filter, after, limit).await).await
    }

    /// How many holds had each outcome.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn holds(&self, filter: &ReportFilter) -> Result<Seen<Vec<HoldCount>>, Error> {
        self.seen(async |tx| holds::count(tx, filter).await).await
    }

    async fn seen<T>(
        &self,
        report: impl AsyncFnOnce(&DatabaseTransaction) -> Result<T, Error>,
    ) -> Result<Seen<T>, Error> {
        let read = async |tx: &DatabaseTransaction| {
            let row = projection::Entity::find().one(tx).await?;
            let row = row.ok_or_else(|| Error::Foreign("projection".to_owned()))?;
            let state = ReportState {
                last_event: row.last_event_time,
                checked: row.check_time,
                complete_since: row.complete_since,
            };
            Ok(Seen { value: report(tx).await?, state })
        };
        self.0.read(read).await
    }
}

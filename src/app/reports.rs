//! Reports: what the reporting database says. The service sells all the same while that cannot be used.

use chrono::{DateTime, Utc};

use super::{App, Error, Origin, PageRequest, errors::ReportsRefusal};
use crate::reports::{
    self, HoldCount, Occupancy, OccupancyCursor, Reader, ReportFilter, ReportState, Sales, SalesCursor, SalesGroup,
    Seen,
};

const OCCUPANCY: &str = "occupancy";
const SALES: &str = "sales";

/// A page of a report.
#[derive(Debug)]
pub struct ReportPage<T> {
    /// What is on the page.
    pub rows: Vec<T>,
    /// The token of the next page. It is empty on the last one.
    pub next: String,
    /// How current the page is.
    pub state: ReportState,
}

impl App {
    /// A page of showtimes by start, each with its seats.
    ///
    /// # Errors
    /// The page is not one of this list, or there are no reports.
    pub async fn occupancy(
        &self,
        _origin: &Origin,
        filter: &ReportFilter,
        page: &PageRequest,
    ) -> Result<ReportPage<Occupancy>, Error> {
        let (reader, limit, list) = (self.reader()?, page.limit()?, format!("{filter:?}"));
        let after = self.0.pages.cursor(OCCUPANCY, &list, &page.token)?.and_then(|cursor| read_occupancy(&cursor));
        let seen = reader.occupancy(filter, after.as_ref(), limit as u64 + 1).await.map_err(unavailable)?;
        Ok(self.report_page(seen, limit, OCCUPANCY, &list, write_occupancy))
    }

    /// A page of sums of sales.
    ///
    /// # Errors
    /// The page is not one of this list, or there are no reports.
    pub async fn sales(
        &self,
        _origin: &Origin,
        group: SalesGroup,
        filter: &ReportFilter,
        page: &PageRequest,
    ) -> Result<ReportPage<Sales>, Error> {
        let (reader, limit, list) = (self.reader()?, page.limit()?, format!("{group:?} {filter:?}"));
        let after = self.0.pages.cursor(SALES, &list, &page.token)?.and_then(|cursor| read_sales(&cursor));
        let seen = reader.sales(group, filter, after.as_ref(), limit as u64 + 1).await.map_err(unavailable)?;
        Ok(self.report_page(seen, limit, SALES, &list, write_sales))
    }

    /// How many holds had each outcome.
    ///
    /// # Errors
    /// There are no reports.
    pub async fn hold_conversion(
        &self,
        _origin: &Origin,
        filter: &ReportFilter,
    ) -> Result<Seen<Vec<HoldCount>>, Error> {
        self.reader()?.holds(filter).await.map_err(unavailable)
    }

    fn reader(&self) -> Result<&Reader, Error> {
        self.0.reports.as_ref().ok_or(Error::Reports(ReportsRefusal::NotConfigured))
    }

    fn report_page<T>(
        &self,
        Seen { value: mut rows, state }: Seen<Vec<T>>,
        limit: usize,
        name: &str,
        filter: &str,
        cursor: impl FnOnce(&T) -> Vec<u8>,
    ) -> ReportPage<T> {
        let next = self.0.pages.cut((name, filter), &mut rows, limit, cursor);
        ReportPage { rows, next, state }
    }
}

fn unavailable(error: reports::Error) -> Error {
    Error::Reports(ReportsRefusal::Unavailable(error))
}

fn write_occupancy(last: &Occupancy) -> Vec<u8> {
    [&last.start_time.timestamp_micros().to_be_bytes(), last.showtime_id.as_bytes()].concat()
}

fn read_occupancy(cursor: &[u8]) -> Option<OccupancyCursor> {
    let (micros, id) = cursor.split_first_chunk()?;
    let start_time = DateTime::<Utc>::from_timestamp_micros(i64::from_be_bytes(*micros))?;
    Some(OccupancyCursor { start_time, showtime_id: String::from_utf8(id.to_vec()).ok()? })
}

fn write_sales(last: &Sales) -> Vec<u8> {
    // The code of a currency has three letters.
    [last.currency.as_bytes(), b"/", last.key.as_bytes()].concat()
}

fn read_sales(cursor: &[u8]) -> Option<SalesCursor> {
    let (currency, key) = std::str::from_utf8(cursor).ok()?.split_once('/')?;
    Some(SalesCursor { key: key.to_owned(), currency: currency.to_owned() })
}

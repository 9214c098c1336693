//! Reservations: as rows, and read one by one or listed along an index. Only the ledger writes them.
//!
//! A read says as of when it is true, by the clock that decides: the database's, or on SQLite the caller's.

use chrono::{DateTime, Utc};
use sea_orm::{DbBackend, FromQueryResult, Statement, Value, prelude::Uuid};
use serde::{Deserialize, Serialize};

use super::{Error, Store, transactions::look};
use crate::domain::{
    ids::{ReservationId, ShowtimeId},
    money::{Currency, Money},
    reservation::{CustomerId, Filter, Phase, Record, Reservation, Sale, State, Tender},
    seat_index::Block,
};

/// A reservation that was read.
#[derive(Clone, Debug)]
pub struct ReservationAt {
    /// As it was last written down,
    pub reservation: Reservation,
    /// and the time by which to judge it.
    pub now: DateTime<Utc>,
}

/// A place in a list: just after this reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservationCursor {
    /// It was made then,
    pub create_time: DateTime<Utc>,
    /// and is this one.
    pub reservation_id: ReservationId,
}

#[derive(FromQueryResult)]
struct FoundRow {
    #[sea_orm(nested)]
    row: ReservationRow,
    now: DateTime<Utc>,
}

/// All columns of a reservation, and its showtime's currency. Serialised, it is a stored answer.
#[derive(Clone, Debug, FromQueryResult, Serialize, Deserialize)]
pub(super) struct ReservationRow {
    pub(super) reservation_id: Uuid,
    pub(super) showtime_id: Uuid,
    pub(super) customer_id: String,
    pub(super) first_seat: i16,
    pub(super) seat_count: i16,
    pub(super) currency: String,
    pub(super) total_minor: i64,
    pub(super) create_time: DateTime<Utc>,
    pub(super) first_expire_time: DateTime<Utc>,
    pub(super) expire_time: DateTime<Utc>,
    pub(super) first_revision: i64,
    pub(super) state: String,
    pub(super) revision: i64,
    pub(super) confirm_time: Option<DateTime<Utc>>,
    pub(super) tender_method: Option<String>,
    pub(super) tender_transaction: Option<String>,
    pub(super) cancel_time: Option<DateTime<Utc>>,
}

/// The columns of a `ReservationRow`.
pub(super) const RESERVATION_COLUMNS: &str = "r.reservation_id, r.showtime_id, r.customer_id, r.first_seat, \
    r.seat_count, s.currency, r.total_minor, r.create_time, r.first_expire_time, r.expire_time, r.first_revision, r.state, \
    r.revision, r.confirm_time, r.tender_method, r.tender_transaction, r.cancel_time";

/// Where those columns come from.
pub(super) const FROM_RESERVATIONS: &str = "FROM reservations r JOIN showtimes s ON s.showtime_id = r.showtime_id";

impl ReservationRow {
    pub(super) fn of(reservation: &Reservation) -> Self {
        let sale = reservation.sale();
        let tender = sale.and_then(|sale| sale.tender.as_ref());
        let (state, cancel_time) = match reservation.state() {
            State::Held => ("held", None),
            State::Confirmed(_) => ("confirmed", None),
            State::Cancelled { at, .. } => ("cancelled", Some(*at)),
            State::Expired => ("expired", None),
        };
        Self {
            reservation_id: reservation.reservation_id.0,
            showtime_id: reservation.showtime_id.0,
            customer_id: reservation.customer_id.to_string(),
            first_seat: reservation.block.first as i16,
            seat_count: reservation.block.count as i16,
            currency: reservation.total.currency.code().to_owned(),
            total_minor: reservation.total.minor,
            create_time: reservation.create_time,
            first_expire_time: reservation.first_expire_time,
            expire_time: reservation.expire_time(),
            first_revision: reservation.first_revision,
            state: state.to_owned(),
            revision: reservation.revision(),
            confirm_time: sale.map(|sale| sale.at),
            tender_method: tender.map(|tender| tender.method.clone()),
            tender_transaction: tender.map(|tender| tender.transaction_id.clone()),
            cancel_time,
        }
    }

    pub(super) fn reservation(self) -> Result<Reservation, Error> {
        let id = self.reservation_id;
        let broken = |why: String| Error::Unreadable { table: "reservations", key: id.to_string(), why };
        let tender = match (self.tender_method, self.tender_transaction) {
            (Some(method), Some(transaction_id)) => Some(Tender { method, transaction_id }),
            (None, None) => None,
            _ => return Err(broken("half a tender".to_owned())),
        };
        let sale = self.confirm_time.map(|at| Sale { at, tender });
        let state = match (self.state.as_str(), sale, self.cancel_time) {
            ("held", None, None) => State::Held,
            ("expired", None, None) => State::Expired,
            ("confirmed", Some(sale), None) => State::Confirmed(sale),
            ("cancelled", sale, Some(at)) => State::Cancelled { at, sale },
            _ => return Err(broken(format!("state {:?}", self.state))),
        };
        let seats = (u16::try_from(self.first_seat), u16::try_from(self.seat_count));
        let (Ok(first), Ok(count)) = seats else { return Err(broken("seats".to_owned())) };
        let currency =
            Currency::parse(&self.currency).ok_or_else(|| broken(format!("currency {:?}", self.currency)))?;
        Ok(Reservation::restore(Record {
            reservation_id: ReservationId(id),
            showtime_id: ShowtimeId(self.showtime_id),
            customer_id: CustomerId::parse(&self.customer_id).map_err(|flaws| broken(flaws.to_string()))?,
            block: Block { first, count },
            total: Money { currency, minor: self.total_minor },
            create_time: self.create_time,
            first_expire_time: self.first_expire_time,
            expire_time: self.expire_time,
            state,
            first_revision: self.first_revision,
            revision: self.revision,
        }))
    }
}

impl FoundRow {
    fn found(self) -> Result<ReservationAt, Error> {
        Ok(ReservationAt { reservation: self.row.reservation()?, now: self.now })
    }
}

impl Store {
    /// A reservation as it stands. `now` counts where the database has no clock.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn reservation(&self, id: ReservationId, now: DateTime<Utc>) -> Result<Option<ReservationAt>, Error> {
        look("get_reservation", async {
            let held = self.0.reads.acquire().await?;
            let mut asked = Asked::new(self.0.reads.backend(), now);
            let id = asked.bind(id.0);
            let statement = asked.statement(&format!("r.reservation_id = {id}"));
            let row = held.read(FoundRow::find_by_statement(statement).one(held.connection)).await?;
            row.map(FoundRow::found).transpose()
        })
        .await
    }

    /// A page of reservations, the newest first. `now` counts where the database has no clock.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn reservations(
        &self,
        filter: &Filter,
        after: Option<ReservationCursor>,
        limit: u64,
        now: DateTime<Utc>,
    ) -> Result<Vec<ReservationAt>, Error> {
        look("list_reservations", async {
            let held = self.0.reads.acquire().await?;
            let statement = reservation_listing_statement(self.0.reads.backend(), filter, after, limit, now);
            let rows = held.read(FoundRow::find_by_statement(statement).all(held.connection)).await?;
            rows.into_iter().map(FoundRow::found).collect()
        })
        .await
    }
}

/// A query that is put together, and what it binds.
struct Asked {
    backend: DbBackend,
    values: Vec<Value>,
    /// By which holds are judged: no earlier than the showtime's last decision, and the same moment for the whole query.
    moment: String,
}

impl Asked {
    fn new(backend: DbBackend, now: DateTime<Utc>) -> Self {
        if backend == DbBackend::Postgres {
            let moment = "GREATEST(statement_timestamp(), n.decide_time)".to_owned();
            return Self { backend, values: Vec::new(), moment };
        }
        Self { backend, values: vec![now.into()], moment: "max($1, coalesce(n.decide_time, $1))".to_owned() }
    }

    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    fn statement(self, condition: &str) -> Statement {
        let moment = self.moment;
        let sql = format!(
            "SELECT {RESERVATION_COLUMNS}, {moment} AS now {FROM_RESERVATIONS} \
             JOIN standings n ON n.showtime_id = r.showtime_id WHERE {condition}"
        );
        Statement::from_sql_and_values(self.backend, sql, self.values)
    }
}

/// The query behind the lists. For a customer and for a showtime there is an index that ends in its order, but for those
/// that were made in one microsecond.
#[must_use]
pub fn reservation_listing_statement(
    backend: DbBackend,
    filter: &Filter,
    after: Option<ReservationCursor>,
    limit: u64,
    now: DateTime<Utc>,
) -> Statement {
    let mut asked = Asked::new(backend, now);
    let mut conditions = Vec::new();
    if let Some(id) = &filter.customer_id {
        let id = asked.bind(id.as_str());
        // Here the index is over a digest of the name.
        if backend == DbBackend::Postgres {
            conditions.push(format!("hashtextextended(r.customer_id, 0) = hashtextextended({id}, 0)"));
        }
        conditions.push(format!("r.customer_id = {id}"));
    }
    if let Some(id) = filter.showtime_id {
        conditions.push(format!("r.showtime_id = {}", asked.bind(id.0)));
    }
    let moment = asked.moment.clone();
    let phase = |phase: &Phase| match phase {
        Phase::Held => format!("r.state = 'held' AND r.expire_time > {moment}"),
        Phase::Expired => format!("(r.state = 'expired' OR (r.state = 'held' AND r.expire_time <= {moment}))"),
        Phase::Confirmed => "r.state = 'confirmed'".to_owned(),
        Phase::Cancelled => "r.state = 'cancelled'".to_owned(),
    };
    let phases: Vec<_> = filter.phases.iter().map(phase).collect();
    if !phases.is_empty() {
        conditions.push(format!("({})", phases.join(" OR ")));
    }
    for (compared, time) in [(">=", filter.created_after), ("<", filter.created_before)] {
        if let Some(time) = time {
            conditions.push(format!("r.create_time {compared} {}", asked.bind(time)));
        }
    }
    if let Some(ReservationCursor { create_time, reservation_id }) = after {
        let (time, id) = (asked.bind(create_time), asked.bind(reservation_id.0));
        conditions.push(format!("(r.create_time, r.reservation_id) < ({time}, {id})"));
    }
    if conditions.is_empty() {
        conditions.push("TRUE".to_owned());
    }
    let limit = asked.bind(limit as i64);
    let conditions = conditions.join(" AND ");
    asked.statement(&format!("{conditions} ORDER BY r.create_time DESC, r.reservation_id DESC LIMIT {limit}"))
}

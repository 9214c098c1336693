//! Tickets by the codes that doors have scanned: those that are scanned at the same time are read together.

use std::{collections::HashMap, sync::Arc};

use sea_orm::{
    ColumnTrait, Condition, DbBackend, EntityTrait as _, QueryTrait as _, Select,
    sea_query::{Expr, ExprTrait as _, JoinType},
};

use super::{
    entities::ticket,
    errors::Error,
    pools::Pool,
    questions::{Questions, Workers},
    rows::ticket::ticket as read,
    timing::timed,
    value_rows::{self, Values},
};
use crate::domain::ticket::{CodeKind, Ticket, TicketCode};

type Found = Result<Option<Ticket>, Arc<Error>>;

/// Reads tickets by their codes.
pub(super) type TicketReader = Questions<TicketCode, Found>;

/// Statements under way at once. More of them only take turns on the database's cores.
const READERS: Workers = Workers { count: 2, yields: 2 };

/// The columns of a code: where it says that its ticket is, and the code itself.
const SHOWTIME: &str = "of_showtime";
const SEAT: &str = "of_seat";
const CODE: &str = "of_code";

pub(super) fn start(pool: &Pool) -> TicketReader {
    let pool = pool.clone();
    Questions::start("a reader of tickets", READERS, move |codes| find(pool.clone(), codes))
}

/// The tickets with these codes, in their order. A row that cannot be read fails the callers that asked for it, and no others.
async fn find(pool: Pool, codes: Vec<TicketCode>) -> Vec<Found> {
    let bytes: Vec<_> = codes.iter().map(|code| code.to_bytes().to_vec()).collect();
    let rows = timed("get_tickets", async {
        let pooled = pool.acquire().await?;
        pooled.read(by_codes(pool.backend(), &codes).all(pooled.connection)).await
    });
    match rows.await {
        Ok(rows) => {
            let read = |row: ticket::Model| (row.code.clone(), read(row).map_err(Arc::new));
            let found: HashMap<_, _> = rows.into_iter().map(read).collect();
            bytes.iter().map(|code| found.get(code).cloned().transpose()).collect()
        }
        Err(error) => {
            let error = Arc::new(error);
            bytes.iter().map(|_| Err(Arc::clone(&error))).collect()
        }
    }
}

/// The query for the tickets with some of these codes. One that is asked for twice may be found twice.
pub(super) fn by_codes(backend: DbBackend, codes: &[TicketCode]) -> Select<ticket::Entity> {
    let asked = value_rows::table(backend, code_columns(codes.iter()));
    let mut tickets = ticket::Entity::find();
    tickets.query().join_subquery(JoinType::InnerJoin, asked, "asked", is_of_code("asked"));
    tickets
}

/// Codes as columns of a table.
pub(super) fn code_columns<'c>(codes: impl Iterator<Item = &'c TicketCode> + Clone) -> [(&'static str, Values); 3] {
    let seat = |code: &TicketCode| match code.kind() {
        CodeKind::Seat(seat) => i32::from(seat),
        // No ticket has such a code.
        CodeKind::Purchase => -1,
    };
    [
        (SHOWTIME, Values::Ids(codes.clone().map(TicketCode::showtime).collect())),
        (SEAT, Values::Numbers(codes.clone().map(seat).collect())),
        (CODE, Values::Bytes(codes.map(|code| code.to_bytes().to_vec()).collect())),
    ]
}

/// The condition that a ticket has the code of a row of this table.
pub(super) fn is_of_code(table: &'static str) -> Condition {
    let same =
        |column: ticket::Column, name: &'static str| Expr::col(column.as_column_ref()).eq(Expr::col((table, name)));
    Condition::all()
        .add(same(ticket::Column::ShowtimeId, SHOWTIME))
        .add(same(ticket::Column::Seat, SEAT))
        .add(same(ticket::Column::Code, CODE))
}

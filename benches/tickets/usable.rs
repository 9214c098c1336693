//! Tickets that can be used, as they are read from the database.

use boxoffice::domain::ticket::TicketCode;
use sea_orm::{DatabaseConnection, FromQueryResult, Statement};
use uuid::Uuid;

/// A ticket that can be used.
#[derive(FromQueryResult)]
pub(crate) struct Usable {
    pub(crate) ticket_id: Uuid,
    pub(crate) showtime_id: Uuid,
    code: Vec<u8>,
}

impl Usable {
    /// The code as it is scanned.
    pub(crate) fn code(&self) -> String {
        TicketCode::from_bytes(&self.code).expect("a code").to_text()
    }
}

/// The tickets with these numbers.
pub(crate) async fn usable(connection: &DatabaseConnection, first: usize, count: usize) -> Vec<Usable> {
    let backend = connection.get_database_backend();
    let query = "SELECT ticket_id, showtime_id, code FROM tickets WHERE ticket_id >= $1 AND ticket_id < $2";
    let bounds = [first, first + count].map(|number| id(number).into());
    let found = Usable::find_by_statement(Statement::from_sql_and_values(backend, query, bounds)).all(connection).await;
    let found = found.expect("the tickets are read");
    assert_eq!(found.len(), count, "tickets from {first}");
    found
}

/// The id of a ticket with this number. Ids grow, as those of the service do.
fn id(number: usize) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number as u128)
}

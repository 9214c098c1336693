//! A deployment: a database, a service, showtimes whose doors are open, and tickets for them.
//!
//! Tickets are written into the table as the service writes them, but without their sales: a hundred thousand sales would take a
//! minute. A door with a network compares a code with the one that is stored, so their signatures may be anything.

use std::time::Duration;

use boxoffice::{
    clock::Clock,
    pb::boxoffice::v1::{
        CreateAuditoriumRequest, GetDoorListRequest, Layout, Row, ValidateTicketRequest, ValidateTicketResponse,
        auditoriums_client::AuditoriumsClient, showtimes_client::ShowtimesClient, tickets_client::TicketsClient,
    },
};
use chrono::TimeDelta;
use futures_util::{StreamExt as _, stream};
use prost::Message as _;

use super::{doors, update, usable::usable};
use crate::{
    harness::{Store, new_auditorium, new_showtime, world::Storage},
    wire::{
        load,
        service::{Program, Service},
        tally::Outcome,
    },
};

/// Showtimes, each in an auditorium of its own, over which the tickets are spread.
pub(crate) const SHOWTIMES: usize = 128;
/// Rows and seats of each row of an auditorium: the most that a layout allows.
const ROWS: usize = 20;
const SEATS_PER_ROW: usize = 100;
/// Requests of the preparation that are in flight at once.
const AT_ONCE: usize = 32;
/// Tickets of which `ValidateTicket` is asked.
const VALIDATED: usize = 4_096;
/// Tickets in the list of a door: one for each seat of a large auditorium.
const LISTED: usize = 616;
/// The showtimes over which tickets are spread, each with one for each seat.
const SPREAD: &str = "n / 2000 % 128";
/// Tickets for each second of a turn of uses, more than are used on any machine so far.
const USES_PER_SECOND: usize = 40_000;
/// The same for a single caller.
const SINGLE_USES_PER_SECOND: usize = 10_000;
const VALIDATE: &str = "/boxoffice.v1.Tickets/ValidateTicket";
const LIST: &str = "/boxoffice.v1.Tickets/GetDoorList";

/// A database, a service, and how many tickets were written.
pub(crate) struct Deployment {
    /// Index of its program.
    pub(crate) program: usize,
    pub(crate) store: Store,
    // The service ends before its storage is removed.
    service: Service,
    storage: Storage,
    tickets: usize,
    validated: Vec<Vec<u8>>,
    listed: GetDoorListRequest,
}

impl Deployment {
    pub(crate) async fn start((number, program): (usize, &Program), store: Store) -> Self {
        let storage = Storage::new(store).await;
        let service = Service::start(program, storage.setup()).await;
        schedule(&service).await;
        // Its id is the last one, so that it has no other tickets.
        let listed = GetDoorListRequest { showtime_id: showtime(&service, SHOWTIMES).await };
        let mut deployment =
            Self { program: number, store, service, storage, tickets: 0, validated: Vec::new(), listed };
        deployment.write_tickets(LISTED, &SHOWTIMES.to_string()).await;
        let first = deployment.write_tickets(VALIDATED, SPREAD).await;
        let connection = deployment.storage.connect().await;
        for ticket in usable(&connection, first, VALIDATED).await {
            let request = ValidateTicketRequest {
                code: ticket.code(),
                showtime_id: ticket.showtime_id.to_string(),
                device: "door 1".to_owned(),
                ..ValidateTicketRequest::default()
            };
            deployment.validated.push(request.encode_to_vec());
        }
        connection.close().await.expect("a connection closes");
        deployment.check().await;
        deployment
    }

    /// Asserts that the tickets are what the service takes for tickets.
    async fn check(&self) {
        for request in self.validated.iter().step_by(VALIDATED / 8) {
            let request = ValidateTicketRequest::decode(&request[..]).expect("a request");
            let answer = TicketsClient::new(self.service.channel.clone()).validate_ticket(request).await;
            let ValidateTicketResponse { valid, why, .. } = answer.expect("an answer").into_inner();
            assert!(valid, "a ticket is not valid: {why:?}");
        }
        let answer = TicketsClient::new(self.service.channel.clone()).get_door_list(self.listed.clone()).await;
        let list = answer.expect("an answer").into_inner().list.expect("the list");
        assert_eq!(list.tickets.len(), LISTED, "the tickets of a door");
    }

    pub(crate) fn list(&self, in_flight: usize, seconds: f64) -> Outcome {
        let (address, path) = (self.service.address.clone(), LIST.to_owned());
        load::Plan { address, path, messages: vec![self.listed.encode_to_vec()], in_flight, seconds }.run()
    }

    pub(crate) fn validate(&self, in_flight: usize, seconds: f64) -> Outcome {
        let (address, path, messages) = (self.service.address.clone(), VALIDATE.to_owned(), self.validated.clone());
        load::Plan { address, path, messages, in_flight, seconds }.run()
    }

    pub(crate) async fn use_tickets(&mut self, in_flight: usize, seconds: f64) -> Outcome {
        let (first, count) = self.fresh(in_flight, seconds).await;
        let (url, address) = (self.storage.url(), self.service.address.clone());
        doors::Plan { url, address, first, count, in_flight, seconds }.run()
    }

    /// Uses tickets by a database client, while the service has nothing to do.
    pub(crate) async fn update(&mut self, connections: usize, seconds: f64) -> Outcome {
        let (first, count) = self.fresh(connections, seconds).await;
        update::Plan { url: self.storage.url(), first, count, connections, seconds }.run()
    }

    /// Writes tickets for a turn. Returns the number of the first one, and how many there are.
    async fn fresh(&mut self, in_flight: usize, seconds: f64) -> (usize, usize) {
        let rate = if in_flight == 1 { SINGLE_USES_PER_SECOND } else { USES_PER_SECOND };
        let milliseconds = Duration::from_secs_f64(seconds * (1.0 + load::WARM_UP)).as_millis() as usize;
        let count = rate * milliseconds / 1_000;
        let first = self.write_tickets(count, SPREAD).await;
        if self.store == Store::Postgres {
            // Autovacuum would have run by the time that there are so many tickets.
            self.storage.sql("VACUUM (ANALYZE) tickets").await.expect("statistics of the tickets");
            self.storage.sql("CHECKPOINT").await.expect("a checkpoint");
        }
        (first, count)
    }

    /// Writes tickets. `nth` is SQL for the showtime of the ticket with the number `n`.
    async fn write_tickets(&mut self, count: usize, nth: &str) -> usize {
        let first = self.tickets;
        self.tickets += count;
        let insert = match self.store {
            Store::Postgres => POSTGRES,
            Store::Sqlite => SQLITE,
        };
        let insert = insert.replace("$nth", nth).replace("$first", &first.to_string());
        let insert = insert.replace("$last", &(self.tickets - 1).to_string());
        self.storage.sql(&insert).await.expect("the tickets are written");
        first
    }
}

/// Neighbouring tickets are for neighbouring seats, and two of them are one purchase.
const POSTGRES: &str = r"
    INSERT INTO tickets (ticket_id, number, purchase_id, payment_id, reservation_id, showtime_id, customer_id, seat,
        seat_row, seat_number, ticket_type, currency, price_minor, code, issue_time, state)
    SELECT format('01900000-0000-7000-8000-%s', lpad(to_hex(n), 12, '0'))::uuid, reverse(lpad(n::text, 10, '0')), bought, bought, bought,
        showtime_id, 'customer-' || left(md5((n / 2)::text), 12), seat, chr(65 + seat / 100), seat % 100 + 1, 0, 'EUR', 950,
        '\x010001'::bytea || substr(uuid_send(gen_random_uuid()), 1, 8) || uuid_send(showtime_id) || int2send(seat::smallint)
            || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
            || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()),
        now(), 'issued'
    FROM (SELECT n, $nth AS nth, n % 2000 AS seat,
            format('01900000-0000-7000-9000-%s', lpad(to_hex(n / 2), 12, '0'))::uuid AS bought
        FROM generate_series($first, $last) AS n) AS numbered
    JOIN (SELECT showtime_id, row_number() OVER (ORDER BY showtime_id) - 1 AS nth FROM showtimes) AS open USING (nth)
    ORDER BY n";
const SQLITE: &str = "
    WITH RECURSIVE numbers (n) AS (SELECT $first UNION ALL SELECT n + 1 FROM numbers WHERE n < $last),
    open AS MATERIALIZED (SELECT showtime_id, row_number() OVER (ORDER BY showtime_id) - 1 AS nth FROM showtimes)
    INSERT INTO tickets (ticket_id, number, purchase_id, payment_id, reservation_id, showtime_id, customer_id, seat,
        seat_row, seat_number, ticket_type, currency, price_minor, code, issue_time, state)
    SELECT unhex(printf('01900000000070008000%012X', n)), printf('%010d', n), unhex(printf('01900000000070009000%012X', n / 2)),
        unhex(printf('01900000000070009000%012X', n / 2)), unhex(printf('01900000000070009000%012X', n / 2)),
        showtime_id, printf('customer-%012x', n / 2 * 7919), n % 2000, char(65 + n % 2000 / 100), n % 100 + 1, 0, 'EUR', 950,
        CAST(x'010001' || randomblob(8) || showtime_id || unhex(printf('%04X', n % 2000)) || randomblob(64) AS BLOB),
        strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now'), 'issued'
    FROM numbers JOIN open ON open.nth = $nth";

/// Schedules showtimes whose doors are open for longer than the bench takes.
async fn schedule(service: &Service) {
    let showtimes = (0..SHOWTIMES).map(|number| showtime(service, number));
    stream::iter(showtimes).buffered(AT_ONCE).collect::<Vec<_>>().await;
}

/// Schedules a showtime in an auditorium of its own. Returns its id.
async fn showtime(service: &Service, number: usize) -> String {
    let channel = service.channel.clone();
    let created = AuditoriumsClient::new(channel.clone()).create_auditorium(auditorium(number)).await;
    let auditorium = created.expect("an auditorium").into_inner().auditorium.expect("the auditorium");
    let new = new_showtime(&auditorium.auditorium_id, Clock::System.now() + TimeDelta::minutes(30));
    let created = ShowtimesClient::new(channel).create_showtime(new).await.expect("a showtime");
    created.into_inner().showtime.expect("the showtime").showtime_id
}

/// An auditorium without aisles.
fn auditorium(number: usize) -> CreateAuditoriumRequest {
    let row = |row| Row {
        label: char::from(b'A' + row as u8).to_string(),
        places: "s".repeat(SEATS_PER_ROW),
        numbers: Vec::new(),
    };
    let layout = Layout { rows: (0..ROWS).map(row).collect() };
    CreateAuditoriumRequest { name: format!("Screen {number}"), layout: Some(layout), ..new_auditorium() }
}

//! Postgres commits with synchronous replication, and no standby confirms. A commit whose wait for a standby ends early is
//! visible and may still be lost by a failover, so neither the first request nor a repeated one is acknowledged.

use boxoffice::pb::boxoffice::v1::{
    CancelShowtimeRequest, CreateAuditoriumRequest, CreateShowtimeRequest, ReserveSeatsRequest, Showtime,
};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, Statement};
use tempfile::TempDir;
use tonic::{Code, Response, Status};

use crate::harness::{
    Postgres, Server, assert_refused, create_auditorium, eventually, in_hours, new_auditorium, new_showtime,
    request_id,
    seats::{self, these},
    server::Setup,
    supervisor,
    world::connect,
};

/// The name under which a standby of the harness is known to its primary.
const STANDBY: &str = "walreceiver";

/// A service on a database that replicates synchronously, and has no standby.
struct Alone {
    // The server is dropped before its database.
    server: Server,
    connection: DatabaseConnection,
    postgres: Postgres,
    _folder: TempDir,
}

impl Alone {
    /// Starts the service, has it do this, and then begins to wait for a standby with every commit.
    async fn after<T>(name: &str, prepare: impl AsyncFnOnce(&Server) -> T) -> (Self, T) {
        let folder = supervisor::folder("alone-");
        let postgres = Postgres::start(supervisor::root().join(name)).await;
        let setup = Setup::new(folder.path())
            .with("--database-url", postgres.url())
            // No timeout ends a wait in this test, and warnings are noticed whatever is logged.
            .with("--database-timeout", "30s")
            .with("--log-level", "off");
        let server = setup.start().await;
        let prepared = prepare(&server).await;
        let connection = connect(postgres.url()).await;
        let alone = Self { server, connection, postgres, _folder: folder };
        alone.set(&format!("SET synchronous_standby_names = '{STANDBY}'")).await;
        alone.commits_wait().await;
        (alone, prepared)
    }

    async fn set(&self, setting: &str) {
        for statement in [&format!("ALTER SYSTEM {setting}"), "SELECT pg_reload_conf()"] {
            self.connection.execute_unprepared(statement).await.expect("a superuser may do this");
        }
    }

    /// Commits something again and again until it has to wait for a standby, and cancels that wait.
    async fn commits_wait(&self) {
        let url = self.postgres.url();
        let probe = tokio::spawn(async move {
            let connection = connect(url).await;
            loop {
                let mark = "SELECT pg_logical_emit_message(true, 'probe', '')";
                connection.execute_unprepared(mark).await.expect("a commit");
                tokio::task::yield_now().await;
            }
        });
        self.wait_for_waiting_commit().await;
        probe.abort();
        self.cancel_waiting_commit().await;
        eventually("the probe has ended", async || (self.waiting("pid").await == 0).then_some(())).await;
    }

    /// Counts the commits that wait for a standby, and evaluates this for each of them.
    async fn waiting(&self, expression: &str) -> i64 {
        let sql = format!("SELECT count({expression}) AS count FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
        let statement = Statement::from_string(DbBackend::Postgres, sql);
        let row = self.connection.query_one_raw(statement).await.expect("a query").expect("a row");
        row.try_get("", "count").expect("a number")
    }

    async fn wait_for_waiting_commit(&self) {
        eventually("a commit waits for a standby", async || (self.waiting("pid").await > 0).then_some(())).await;
    }

    async fn cancel_waiting_commit(&self) {
        let cancel = async || (self.waiting("pg_cancel_backend(pid)").await > 0).then_some(());
        eventually("a commit waits for a standby, and is cancelled", cancel).await;
    }

    /// Asserts that this request waits for a standby, and is not acknowledged when that wait is cancelled.
    async fn assert_not_acknowledged<T: std::fmt::Debug>(&self, call: impl Future<Output = Result<T, Status>>) {
        let (answer, ()) = tokio::join!(call, self.cancel_waiting_commit());
        let status = answer.expect_err("the change is not replicated");
        assert_refused(&status, Code::Unavailable, "OUTCOME_UNKNOWN");
    }
}

fn is_repeated<T>(answer: &Response<T>) -> bool {
    answer.metadata().get("idempotent-replayed").is_some_and(|mark| mark == "true")
}

/// Sends a request and repeats it, and asserts that neither is acknowledged. Returns how to repeat it once more.
macro_rules! assert_cancelled {
    ($alone:ident, $client:ident . $method:ident ( $request:expr )) => {{
        let (server, request) = (&$alone.server, $request);
        let call = async move || server.$client().$method(request.clone()).await;
        $alone.assert_not_acknowledged(call()).await;
        $alone.assert_not_acknowledged(call()).await;
        call
    }};
}

#[tokio::test]
async fn a_cancelled_commit_is_acknowledged_neither_at_first_nor_when_repeated() {
    let prepare = async |server: &Server| {
        let held = seats::showtime(server).await;
        let reservation = seats::reserve(server, these(&held, "ada", "A1 A2")).await.expect("the seats are free");
        let auditorium = create_auditorium(server.auditoriums()).await.auditorium_id;
        (held, reservation, seats::showtime(server).await, auditorium)
    };
    let (alone, (showtime, held, cancelled, auditorium)) = Alone::after("postgres-alone", prepare).await;

    let create = CreateAuditoriumRequest { request_id: request_id(), ..new_auditorium() };
    let create = assert_cancelled!(alone, auditoriums.create_auditorium(create));
    let schedule = CreateShowtimeRequest { request_id: request_id(), ..new_showtime(&auditorium, in_hours(0)) };
    let schedule = assert_cancelled!(alone, showtimes.create_showtime(schedule));
    let reserve = seats_of(&showtime, "B1 B2");
    let reserve = assert_cancelled!(alone, reservations.reserve_seats(reserve));
    let cancel = CancelShowtimeRequest {
        showtime_id: cancelled.showtime_id,
        request_id: request_id(),
        force: false,
        expected_revision: 0,
    };
    let cancel = assert_cancelled!(alone, showtimes.cancel_showtime(cancel));
    // Without a request id, a repeated confirmation finds the reservation confirmed.
    alone.assert_not_acknowledged(seats::confirm(&alone.server, &held)).await;
    alone.assert_not_acknowledged(seats::confirm(&alone.server, &held)).await;

    alone.set("RESET synchronous_standby_names").await;
    assert!(is_repeated(&create().await.expect("a repeated request is answered")));
    assert!(is_repeated(&schedule().await.expect("a repeated request is answered")));
    assert!(is_repeated(&reserve().await.expect("a repeated request is answered")));
    assert!(is_repeated(&cancel().await.expect("a repeated request is answered")));
    seats::confirm(&alone.server, &held).await.expect("a repeated request is answered");
    alone.server.stop().await;
}

fn seats_of(showtime: &Showtime, names: &str) -> ReserveSeatsRequest {
    ReserveSeatsRequest { request_id: request_id(), ..these(showtime, "bob", names) }
}

/// A crash of the server ends the wait of a commit, too. The change is visible after the restart, and no standby has it.
#[tokio::test]
async fn a_commit_that_waited_in_a_crash_is_acknowledged_when_a_standby_has_it() {
    let (mut alone, showtime) = Alone::after("postgres-that-waits", async |server| seats::showtime(server).await).await;
    let request = seats_of(&showtime, "A1 A2");
    let (mut client, call) = (alone.server.reservations(), request.clone());
    let first = tokio::spawn(async move { client.reserve_seats(call).await });
    alone.wait_for_waiting_commit().await;
    alone.postgres.crash().await;
    let status = first.await.expect("no panic").expect_err("the answer to the commit is lost");
    assert_refused(&status, Code::Unavailable, "OUTCOME_UNKNOWN");

    alone.postgres.restart().await;
    alone.connection = connect(alone.postgres.url()).await;
    alone.commits_wait().await;
    let taken = seats::reserve(&alone.server, seats_of(&showtime, "A1 A2")).await.expect_err("the change is visible");
    seats::assert_unavailable(&taken, "SEATS_UNAVAILABLE");
    let repeat = async || alone.server.reservations().reserve_seats(request.clone()).await;
    alone.assert_not_acknowledged(repeat()).await;

    let _standby = alone.postgres.standby(supervisor::root().join("postgres-that-joins")).await;
    let answer = repeat().await.expect("the standby has the change");
    assert!(is_repeated(&answer), "{answer:?}");
    alone.server.stop().await;
}

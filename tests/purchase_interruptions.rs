//! A purchase is interrupted at each of its steps: before what is to be done, after the gateway's answer, and after what came of it was
//! stored, forwards and while it is undone. The process is killed there, or stands still for longer than its lease. Another instance, or the
//! same one after a restart, finishes the purchase, and nobody is charged twice.

use boxoffice::{
    clock::Clock,
    pb::{
        boxoffice::v1::{
            ContinuePurchaseRequest, ListPurchasesRequest, Purchase, PurchaseState, ResumePurchaseRequest, Showtime,
            operations_client::OperationsClient, payments_client::PaymentsClient,
        },
        payments::v1::{OperationKind, PaymentState as GatewayState},
    },
};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, future::join_all, stream};
use rustix::process::Signal;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};
use tokio::task::JoinHandle;

use crate::harness::{
    Postgres, Server, Store, eventually, in_hours,
    money::assert_balanced,
    purchases::{
        Gateway, buy, card, client, continue_with, of_seats, purchase, until_refunded, until_state, watched_until,
    },
    seats::showtime_with,
    server::Setup,
    shop::audit,
    shoppers::ROWS,
    supervisor,
    world::{Storage, connect},
    wrong_gateway::{Wrong, WrongGateway},
};
use crate::purchase_edges::cancel_showtime;

/// What is paid with, and the step and the moment at which the process is interrupted.
const CASES: [Case; 29] = [
    ("tok_ok", "begin_payment", "before"),
    ("tok_ok", "begin_payment", "after"),
    ("tok_ok", "authorize", "before"),
    ("tok_ok", "authorize", "answered"),
    ("tok_ok", "authorize", "after"),
    ("tok_ok", "confirm", "before"),
    ("tok_ok", "confirm", "after"),
    ("tok_ok", "capture", "before"),
    ("tok_ok", "capture", "answered"),
    ("tok_ok", "capture", "after"),
    ("tok_lost_reply", "authorize", "answered"),
    ("tok_lost_reply", "authorize", "after"),
    ("tok_timeout_after_charge", "authorize", "answered"),
    (DECLINED, "authorize", "answered"),
    (DECLINED, "authorize", "after"),
    (ASKS, "authorize", "answered"),
    (ASKS, "authorize", "after"),
    (ASKS, "ask", "before"),
    (ASKS, "ask", "answered"),
    (ASKS, "ask", "after"),
    (CAPTURE_FAILS, "capture", "answered"),
    (CAPTURE_FAILS, "capture", "after"),
    (CAPTURE_FAILS, "void", "before"),
    (CAPTURE_FAILS, "void", "answered"),
    (CAPTURE_FAILS, "void", "after"),
    (CAPTURE_FAILS, "free", "before"),
    (CAPTURE_FAILS, "free", "after"),
    (NEVER, "free", "before"),
    (NEVER, "free", "after"),
];
const DECLINED: &str = "tok_declined_insufficient_funds";
const ASKS: &str = "tok_action_required";
const CAPTURE_FAILS: &str = "tok_capture_fails";
const NEVER: &str = "tok_nobody_knows";
/// The instances that are interrupted at the same time.
const AT_ONCE: usize = 20;
/// The promise: another instance has finished a purchase within this time of the end of its lease.
const TAKEOVER: TimeDelta = TimeDelta::seconds(10);

type Case = (&'static str, &'static str, &'static str);

/// With the deadline of a call that is set below, leases are shorter.
const LONGEST_LEASE: TimeDelta = TimeDelta::seconds(15);

/// A purchase at an instance that is to be interrupted.
struct Interrupted {
    case: Case,
    is_killed: bool,
    server: Server,
    customer: String,
}

impl Interrupted {
    /// Buys a seat at an instance of its own, and waits until that is interrupted.
    async fn begin(
        setup: Setup,
        case: Case,
        is_killed: bool,
        gateway: &Gateway,
        (showtime, customer): (Showtime, String),
    ) -> Self {
        let (token, step, moment) = case;
        let interruption = if is_killed { "kill" } else { "stop" };
        let server = setup.with_interruption(&format!("{interruption} {step} {moment}")).start().await;
        let (mut buys, request) = (client(&server), of_seats(&showtime, &customer, "A1", token));
        let call: JoinHandle<_> = tokio::spawn(async move { buys.purchase_tickets(request).await });
        if step == "ask" {
            let waits = call.await.expect("it does not panic").expect("it begins").into_inner().purchase;
            let waits = waits.expect("the answer has the purchase");
            gateway.complete_action(&waits.payments[0].payment_id, true).await;
            let (mut back, purchase_id) = (client(&server), waits.purchase_id);
            tokio::spawn(async move {
                let request = ContinuePurchaseRequest { purchase_id, ..Default::default() };
                let _is_interrupted = back.continue_purchase(request).await;
            });
        }
        if is_killed {
            assert_eq!(server.exit().await, None, "{case:?}: it was killed");
        } else {
            eventually("the instance stands still", async || server.is_stopped().then_some(())).await;
        }
        Self { case, is_killed, server, customer }
    }

    /// The purchase, as another instance shows it.
    async fn find(&self, at: &Server) -> Purchase {
        let request = ListPurchasesRequest { customer_id: self.customer.clone(), ..ListPurchasesRequest::default() };
        let found = client(at).list_purchases(request).await.expect("a list").into_inner().purchases;
        assert_eq!(found.len(), 1, "{:?}", self.case);
        found.into_iter().next().expect("there is one")
    }

    /// Waits until the purchase has ended as it should, and does what its customer does.
    async fn finish(&self, at: &Server, gateway: &Gateway, connection: &DatabaseConnection) -> Purchase {
        let begun = self.find(at).await;
        let lease_end = due_time(connection, &begun).await;
        let states = [
            PurchaseState::AwaitingCustomer,
            PurchaseState::Completed,
            PurchaseState::Compensated,
            PurchaseState::Stuck,
        ];
        let found = watched_until(at, &begun, &states).await;
        let ended = if found.state() == PurchaseState::AwaitingCustomer {
            let payment = if self.case.0 == DECLINED {
                Some(card("tok_ok"))
            } else {
                gateway.complete_action(&found.payments[0].payment_id, true).await;
                None
            };
            continue_with(at, &found, payment).await.expect("it waits");
            until_state(at, &begun, PurchaseState::Completed).await
        } else {
            found
        };
        let undone = [CAPTURE_FAILS, NEVER].contains(&self.case.0);
        let state = if undone { PurchaseState::Compensated } else { PurchaseState::Completed };
        assert_eq!(ended.state(), state, "{:?}: {ended:#?}", self.case);
        // A customer may take as long as he likes.
        if let Some(lease_end) = lease_end.filter(|_| ![DECLINED, ASKS].contains(&self.case.0)) {
            let end = instant(&ended);
            assert!(end <= lease_end + TAKEOVER, "{:?}: its lease ended at {lease_end}, and it at {end}", self.case);
        }
        ended
    }
}

fn instant(ended: &Purchase) -> DateTime<Utc> {
    crate::harness::seats::instant(ended.complete_time)
}

/// From when on another instance may take the purchase.
async fn due_time(connection: &DatabaseConnection, purchase: &Purchase) -> Option<DateTime<Utc>> {
    let backend = connection.get_database_backend();
    let id = uuid::Uuid::parse_str(&purchase.purchase_id).expect("an id");
    let place = if backend == sea_orm::DatabaseBackend::Postgres { "$1" } else { "?" };
    let sql = format!("SELECT due_time FROM purchases WHERE purchase_id = {place}");
    let found = connection.query_one_raw(Statement::from_sql_and_values(backend, sql, [id.into()])).await;
    found.expect("it can be read").expect("it is stored").try_get("", "due_time").expect("a time")
}

/// A setup with short leases, and of an instance with few connections.
fn quick(setup: Setup, gateway: &Gateway) -> Setup {
    let setup = setup.with("--payment-gateway-url", gateway.url()).with("--payment-gateway-timeout", "500ms");
    setup.with("--database-connections", "2").with("--ledger-writers", "1")
}

/// Each case, with whether the process is killed.
fn cases() -> impl Iterator<Item = (Case, bool)> {
    CASES.into_iter().flat_map(|case| [(case, true), (case, false)])
}

#[tokio::test]
async fn a_purchase_that_is_interrupted_anywhere_is_finished_by_another_instance() {
    let folder = supervisor::folder("interruptions-");
    let postgres = Postgres::start(supervisor::root().join("postgres-of-interruptions")).await;
    let gateway = Gateway::start(folder.path()).await;
    let setup = quick(Setup::new(folder.path()).with("--database-url", postgres.url()), &gateway);
    let connection = connect(postgres.url()).await;
    let other = setup.clone().with("--database-connections", "16").start().await;
    // An instance that stands still may have a lock of its showtime, so each has one of its own.
    let all: Vec<_> = cases().collect();
    let showtimes = all.iter().map(|_| showtime_with(&other, &ROWS[..1], in_hours(0), |request| request));
    let showtimes: Vec<_> = stream::iter(showtimes).buffered(4).collect().await;
    let all: Vec<_> = all.into_iter().zip(showtimes).enumerate().collect();
    for some in all.chunks(AT_ONCE) {
        let begin = |(at, ((case, is_killed), showtime))| {
            Interrupted::begin(setup.clone(), case, is_killed, &gateway, (showtime, format!("customer {at}")))
        };
        let interrupted = join_all(some.iter().cloned().map(begin)).await;
        let ended = join_all(interrupted.iter().map(|one| one.finish(&other, &gateway, &connection))).await;
        // What stood still goes on, and changes nothing.
        let woken = interrupted.iter().zip(&ended).filter(|(one, _)| !one.is_killed);
        for (one, before) in woken {
            one.server.signal(Signal::CONT);
            one.server.stop().await;
            assert_eq!(&purchase(&other, before).await, before, "{:?}", one.case);
        }
    }
    assert_charged_once(&gateway).await;
    assert_balanced(&connection, &gateway).await;
}

#[tokio::test]
async fn a_purchase_on_sqlite_that_is_interrupted_anywhere_is_finished_when_the_service_runs_again() {
    let one = async |(case, is_killed)| {
        let storage = Storage::new(Store::Sqlite).await;
        let gateway = Gateway::start(storage.folder()).await;
        let setup = quick(storage.setup(), &gateway);
        let first = setup.clone().start().await;
        let showtime = showtime_with(&first, &ROWS[..2], in_hours(0), |request| request).await;
        first.stop().await;
        let interrupted =
            Interrupted::begin(setup.clone(), case, is_killed, &gateway, (showtime, "ada".to_owned())).await;
        let connection = storage.connect().await;
        if is_killed {
            let again = setup.start().await;
            interrupted.finish(&again, &gateway, &connection).await;
        } else {
            // It stands still for longer than its lease. A purchase that waits for its customer has none.
            let begun = only_purchase(&connection).await;
            let lease_end =
                due_time(&connection, &begun).await.filter(|end| *end - Clock::System.now() < LONGEST_LEASE);
            let is_past = async || lease_end.is_none_or(|end| Clock::System.now() > end).then_some(());
            eventually("its lease has ended", is_past).await;
            interrupted.server.signal(Signal::CONT);
            interrupted.finish(&interrupted.server, &gateway, &connection).await;
        }
        assert_charged_once(&gateway).await;
        assert_balanced(&connection, &gateway).await;
    };
    stream::iter(cases()).map(|case| Box::pin(one(case))).buffer_unordered(AT_ONCE / 2).collect::<Vec<()>>().await;
}

/// How money that was taken comes to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GivenBack {
    /// The gateway takes it with the authorisation, and the showtime was cancelled before that.
    NeverSold,
    /// The gateway takes it, denies that, and admits it when it is asked to void it.
    Sold,
    /// Staff give it back.
    Refunded,
}

/// The money is given back once, however the process is interrupted as the refund begins, or as the gateway is asked for it.
#[tokio::test]
async fn money_is_given_back_once_however_the_process_is_interrupted() {
    let how = [GivenBack::NeverSold, GivenBack::Sold, GivenBack::Refunded];
    let runs = how.into_iter().flat_map(|how| {
        let (step, moments): (_, &[_]) = match how {
            GivenBack::Refunded => ("refund", &["before", "answered", "after"]),
            GivenBack::NeverSold | GivenBack::Sold => ("begin_refund", &["before", "after"]),
        };
        let runs = moments.iter().flat_map(move |moment| {
            ["kill", "stop"].map(|interruption| (interruption, format!("{interruption} {step} {moment}")))
        });
        runs.flat_map(move |run| [Store::Sqlite, Store::Postgres].map(|store| (how, run.clone(), store)))
    });
    let runs =
        runs.map(|(how, (interruption, text), store)| Box::pin(give_back(how, interruption == "kill", text, store)));
    stream::iter(runs).buffer_unordered(AT_ONCE / 2).collect::<Vec<()>>().await;
}

async fn give_back(how: GivenBack, is_killed: bool, interruption: String, store: Store) {
    let storage = Storage::new(store).await;
    let gateway = Gateway::start(storage.folder()).await;
    let wrong = WrongGateway::before(gateway.url());
    let setup = quick(storage.setup(), &gateway).with("--payment-gateway-url", wrong.url());
    let mut first = setup.clone().with_interruption(&interruption).start().await;
    let showtime = showtime_with(&first, &ROWS[..1], in_hours(0), |request| request).await;
    let request = of_seats(&showtime, "ada", "A1", "tok_ok");
    let begun = match how {
        GivenBack::NeverSold => {
            wrong.set(Wrong::CapturesAtOnce);
            gateway.pause().await;
            let begun = buy(&first, request).await.expect("it begins");
            cancel_showtime(&first, &showtime).await;
            gateway.resume();
            begun
        }
        GivenBack::Sold => {
            wrong.set(Wrong::DeniesCapture);
            let begun = buy(&first, request).await.expect("it begins");
            until_state(&first, &begun, PurchaseState::Stuck).await;
            wrong.set(Wrong::Nothing);
            let (mut resumes, purchase_id) = (OperationsClient::new(first.channel()), begun.purchase_id.clone());
            tokio::spawn(async move {
                let request = ResumePurchaseRequest { purchase_id, note: "they have it".to_owned() };
                let _is_interrupted = resumes.resume_purchase(request).await;
            });
            begun
        }
        GivenBack::Refunded => {
            let begun = buy(&first, request).await.expect("it begins");
            let bought = until_state(&first, &begun, PurchaseState::Completed).await;
            let (mut payments, request) = (PaymentsClient::new(first.channel()), crate::refunds::all(&bought));
            tokio::spawn(async move {
                let _is_interrupted = payments.refund_payment(request).await;
            });
            bought
        }
    };
    let again = if is_killed {
        assert_eq!(first.exit().await, None, "it was killed");
        Some(setup.start().await)
    } else {
        eventually("the instance stands still", async || first.is_stopped().then_some(())).await;
        if storage.is_postgres() {
            Some(setup.start().await)
        } else {
            first.signal(Signal::CONT);
            None
        }
    };
    let refunded = until_refunded(again.as_ref().unwrap_or(&first), &begun).await;
    assert_eq!(refunded.payments[0].refunds.len(), 1, "{how:?}, {interruption}: {refunded:#?}");
    if !is_killed {
        first.signal(Signal::CONT);
        first.stop().await;
    }
    if let Some(again) = again {
        again.stop().await;
    }
    first.kill();
    let given_back = gateway.payments().await.iter().map(|payment| payment.operations.clone()).collect::<Vec<_>>();
    let refunds = given_back.iter().flatten().filter(|one| one.kind() == OperationKind::Refund).count();
    assert_eq!(refunds, 1, "{how:?}, {interruption}: {given_back:#?}");
    let (code, printed) = audit(&storage, &gateway).await;
    assert_eq!(code, Some(0), "{how:?}, {interruption}: {printed}");
}

/// The id of the only purchase that is stored.
async fn only_purchase(connection: &DatabaseConnection) -> Purchase {
    let sql = "SELECT purchase_id FROM purchases";
    let found = connection.query_all_raw(Statement::from_string(connection.get_database_backend(), sql)).await;
    let found = found.expect("it can be read");
    assert_eq!(found.len(), 1);
    let id: uuid::Uuid = found[0].try_get("", "purchase_id").expect("an id");
    Purchase { purchase_id: id.to_string(), ..Purchase::default() }
}

/// Each payment was authorised once, and captured at most once.
async fn assert_charged_once(gateway: &Gateway) {
    for payment in gateway.payments().await {
        let done = |kind| payment.operations.iter().filter(|one| one.kind() == kind).count();
        let captured = usize::from(payment.state() == GatewayState::Captured);
        assert_eq!(done(OperationKind::Authorize), 1, "{payment:#?}");
        assert!(done(OperationKind::Capture) >= captured && done(OperationKind::Capture) <= 1, "{payment:#?}");
    }
}

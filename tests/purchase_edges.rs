//! The hard edges of purchases: late calls, wrong answers, showtimes that are cancelled, sales that close, customers who come back at
//! the last moment, and an instance that wakes up after another one has taken its purchase.

use std::time::Duration;

use boxoffice::{
    clock::Clock,
    pb::{
        boxoffice::v1::{
            CancelShowtimeRequest, ListPurchasesRequest, Purchase, PurchaseFailure, PurchaseFailureReason,
            PurchaseState, PurchaseStepName, PurchaseStepState, ReservationState, Showtime,
        },
        payments::v1::{Operation, OperationKind, PaymentState as GatewayState},
    },
};
use chrono::TimeDelta;
use futures_util::future::join_all;
use rustix::process::Signal;
use tonic::Code;

use crate::harness::{
    Server, Store, assert_refused, eventually,
    moments::Moments,
    money::{anomalies, assert_balanced},
    purchases::{
        Gateway, buy, client, continue_with, give_up, latency, no_faults, of_hold, of_seats, outage, purchase, step,
        until_ended, until_state,
    },
    seats::{HALL, assert_unavailable, instant, reserve, showtime, showtime_with, state, these},
    server::Setup,
    world::Storage,
    wrong_gateway::{Wrong, WrongGateway},
};

/// A payment gateway, and a setup of instances that use it.
pub(crate) struct Edge {
    pub(crate) gateway: Gateway,
    pub(crate) storage: Storage,
    pub(crate) setup: Setup,
}

impl Edge {
    /// Calls of the gateway have this deadline.
    pub(crate) async fn new(store: Store, timeout: &str) -> Self {
        let storage = Storage::new(store).await;
        let gateway = Gateway::start(storage.folder()).await;
        let setup = storage.setup().with("--payment-gateway-url", gateway.url());
        Self { setup: setup.with("--payment-gateway-timeout", timeout), gateway, storage }
    }

    /// The same, with a gateway in between that may answer wrongly.
    pub(crate) async fn behind_a_wrong_gateway(store: Store, timeout: &str) -> (Self, WrongGateway) {
        let mut edge = Self::new(store, timeout).await;
        let wrong = WrongGateway::before(edge.gateway.url());
        edge.setup = edge.setup.with("--payment-gateway-url", wrong.url());
        (edge, wrong)
    }

    pub(crate) async fn start(&self, options: &[(&str, &str)]) -> Server {
        options.iter().fold(self.setup.clone(), |setup, (flag, value)| setup.with(flag, *value)).start().await
    }

    async fn assert_balanced(&self) {
        assert_balanced(&self.storage.connect().await, &self.gateway).await;
    }

    pub(crate) async fn anomalies(&self) -> Vec<String> {
        anomalies(&self.storage.connect().await, &self.gateway).await
    }
}

/// The purchases whose reservations are in this state.
async fn count(server: &Server, state: ReservationState) -> usize {
    let all = client(server).list_purchases(ListPurchasesRequest::default()).await.expect("a list").into_inner();
    let states = all.purchases.into_iter().map(|one| one.reservation.map(|its| its.state()));
    states.filter(|one| *one == Some(state)).count()
}

/// Waits until the payments of so many purchases are under way.
pub(crate) async fn until_paying(server: &Server, purchases: usize) {
    let is_so = async || (count(server, ReservationState::Paying).await == purchases).then_some(());
    eventually("payments are under way", is_so).await;
}

fn reason(purchase: &Purchase) -> PurchaseFailureReason {
    purchase.failure.as_ref().map(PurchaseFailure::reason).unwrap_or_default()
}

pub(crate) async fn cancel_showtime(server: &Server, showtime: &Showtime) {
    let request =
        CancelShowtimeRequest { showtime_id: showtime.showtime_id.clone(), force: true, ..Default::default() };
    server.showtimes().cancel_showtime(request).await.expect("the showtime is cancelled");
}

/// The gateway never sees the payment before its time is over. The void is a tombstone: what comes after it is answered VOIDED.
#[tokio::test]
async fn an_authorization_that_comes_after_the_void_is_voided() {
    let edge = Edge::new(Store::Postgres, "500ms").await;
    let server = edge.start(&[("--pay-time", "1s")]).await;
    let showtime = showtime(&server).await;
    edge.gateway.set_faults(outage()).await;
    let begun = buy(&server, of_seats(&showtime, "ada", "A1", "tok_ok")).await.expect("it begins");
    eventually("its time has passed", async || purchase(&server, &begun).await.failure).await;
    let status = reserve(&server, these(&showtime, "bob", "A1")).await.expect_err("what is on its way may succeed");
    assert_unavailable(&status, "SEATS_UNAVAILABLE");
    edge.gateway.set_faults(no_faults()).await;
    let ended = until_ended(&server, &begun).await;
    assert_eq!((ended.state(), reason(&ended)), (PurchaseState::Compensated, PurchaseFailureReason::PaymentExpired));
    let tombstone = edge.gateway.payments().await.remove(0);
    assert_eq!(tombstone.operations.iter().map(Operation::kind).collect::<Vec<_>>(), [OperationKind::Void]);
    assert_eq!(edge.gateway.authorize_late(&tombstone, "tok_ok").await, GatewayState::Voided);
    assert_eq!(edge.gateway.states().await, [GatewayState::Voided]);
    edge.assert_balanced().await;
}

/// A gateway that answers wrongly is not asked again. The seats are neither sold nor given up: an operator decides.
#[tokio::test]
async fn an_answer_that_differs_from_what_was_asked_leaves_the_purchase_to_an_operator() {
    for wrong in [Wrong::AuthorizedAmount, Wrong::PaymentKey, Wrong::OperationKey, Wrong::CapturedAmount] {
        let storage = Storage::new(Store::Sqlite).await;
        let demo = Gateway::start(storage.folder()).await;
        let gateway = WrongGateway::before(demo.url());
        gateway.set(wrong);
        let server = storage.setup().with("--payment-gateway-url", gateway.url()).start().await;
        let showtime = showtime(&server).await;
        let held = reserve(&server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
        let stuck = buy(&server, of_hold(&held, "tok_ok")).await.expect("it begins");
        assert_eq!(stuck.state(), PurchaseState::Stuck, "{wrong:?}: {stuck:#?}");
        let captures = wrong == Wrong::CapturedAmount;
        let at = if captures { PurchaseStepName::Capture } else { PurchaseStepName::Pay };
        let failed = step(&stuck, at);
        assert_eq!(failed.state(), PurchaseStepState::Failed);
        assert!(failed.message.contains("differs"), "{failed:?}");
        let kept = if captures { ReservationState::Confirmed } else { ReservationState::Paying };
        assert_eq!(state(&server, &held).await, kept);
        let status = reserve(&server, these(&showtime, "bob", "A1")).await.expect_err("the seat is not free");
        assert_unavailable(&status, "SEATS_UNAVAILABLE");
        for refused in [give_up(&server, &stuck).await, continue_with(&server, &stuck, None).await] {
            assert_refused(&refused.expect_err("it is stuck"), Code::FailedPrecondition, "PURCHASE_STUCK");
        }
        let server = server.restart().await;
        assert_eq!(purchase(&server, &stuck).await, stuck);
        assert_eq!(gateway.calls(), 1 + usize::from(captures), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_showtime_that_is_cancelled_while_its_payments_are_under_way_sells_nothing() {
    for store in [Store::Sqlite, Store::Postgres] {
        let edge = Edge::new(store, "5s").await;
        let server = edge.start(&[]).await;
        let showtime = showtime(&server).await;
        let waits = async |seat| {
            let request = of_seats(&showtime, seat, seat, "tok_action_required");
            buy(&server, request).await.expect("it begins")
        };
        let (approved, given_up) = (waits("A1").await, waits("A3").await);
        edge.gateway.set_faults(latency(Duration::from_millis(800))).await;
        let buys = buy(&server, of_seats(&showtime, "cid", "A5", "tok_ok"));
        let cancels = async {
            until_paying(&server, 3).await;
            cancel_showtime(&server, &showtime).await;
        };
        let (authorized, ()) = tokio::join!(buys, cancels);
        let authorized = authorized.expect("it begins");
        edge.gateway.set_faults(no_faults()).await;
        edge.gateway.complete_action(&approved.payments[0].payment_id, true).await;
        continue_with(&server, &approved, None).await.expect("it is asked");
        give_up(&server, &given_up).await.expect("it waits");
        for (begun, why) in [
            (&approved, PurchaseFailureReason::NotSold),
            (&given_up, PurchaseFailureReason::Cancelled),
            (&authorized, PurchaseFailureReason::NotSold),
        ] {
            let ended = until_ended(&server, begun).await;
            assert_eq!((ended.state(), reason(&ended)), (PurchaseState::Compensated, why), "{ended:#?}");
        }
        assert_eq!(edge.gateway.states().await, [GatewayState::Voided; 3]);
        edge.assert_balanced().await;
    }
}

/// The sale closes while the gateway authorises: the seats were promised before, and are sold.
#[tokio::test]
async fn what_is_authorized_before_the_answer_comes_is_sold_after_the_sale_has_closed() {
    let edge = Edge::new(Store::Postgres, "20s").await;
    let server = edge.start(&[("--sales-closing", "15m")]).await;
    let closes = Clock::System.now() + TimeDelta::seconds(5);
    let showtime = showtime_with(&server, &HALL, closes + TimeDelta::minutes(15), |request| request).await;
    edge.gateway.set_faults(latency(Duration::from_secs(8))).await;
    let begun = buy(&server, of_seats(&showtime, "ada", "A1", "tok_ok")).await.expect("it begins in time");
    // The call that is under way stays as slow as it is.
    edge.gateway.set_faults(no_faults()).await;
    let ended = until_ended(&server, &begun).await;
    assert_eq!(ended.state(), PurchaseState::Completed, "{ended:#?}");
    assert!(instant(ended.complete_time) > closes, "{ended:#?}");
    let status = reserve(&server, these(&showtime, "bob", "A3")).await.expect_err("the sale has closed");
    assert_refused(&status, Code::FailedPrecondition, "SALES_CLOSED");
    edge.assert_balanced().await;
}

/// The close of the sale bounds both the time for the payment and that for the customer's action, so the second one is the same.
#[tokio::test]
async fn a_customer_has_to_act_shortly_before_the_sale_closes() {
    let edge = Edge::new(Store::Postgres, "2s").await;
    let server = edge.start(&[("--sales-closing", "15m")]).await;
    let start = Clock::System.now() + TimeDelta::minutes(16);
    let showtime = showtime_with(&server, &HALL, start, |request| request).await;
    let waits = buy(&server, of_seats(&showtime, "ada", "A1", "tok_action_required")).await.expect("it begins");
    assert_eq!(waits.state(), PurchaseState::AwaitingCustomer, "{waits:#?}");
    assert!(waits.redirect_uri.starts_with("http"), "{waits:?}");
    edge.gateway.complete_action(&waits.payments[0].payment_id, true).await;
    continue_with(&server, &waits, None).await.expect("it is asked");
    until_state(&server, &waits, PurchaseState::Completed).await;
    edge.assert_balanced().await;
}

/// Customers approve from 60 ms before `pay_until` to 60 ms after it, come back twice at once, give up at the same time, or never come.
/// Either the seats are sold and paid for, or nothing is taken.
#[tokio::test]
async fn at_the_end_of_the_time_for_a_payment_it_is_taken_or_not_and_never_both() {
    for store in [Store::Sqlite, Store::Postgres] {
        let edge = Edge::new(store, "2s").await;
        let server = edge.start(&[("--pay-action-time", "3s")]).await;
        let showtime = showtime(&server).await;
        let names = |row: &'static str, count: usize| (1..=count).map(move |number| format!("{row}{number}"));
        let moments = Moments::new();
        let purchases = names("A", 10).chain(names("B", 10)).chain(names("D", 8)).enumerate().map(|(at, seat)| {
            let (edge, server, showtime, moments) = (&edge, &server, &showtime, &moments);
            async move {
                let request = of_seats(showtime, &format!("customer {at}"), &seat, "tok_action_required");
                let waits = buy(server, request).await.expect("it begins");
                let offset = TimeDelta::milliseconds(5 * i64::try_from(at).expect("few") - 60);
                moments.at(instant(waits.pay_until) + offset).await;
                // Whenever the calls come, the purchase ends well. They may be refused.
                let back = || continue_with(server, &waits, None);
                let approves = edge.gateway.complete_action(&waits.payments[0].payment_id, true);
                let mut given_up = false;
                match at % 4 {
                    0 => drop(tokio::join!(approves, back(), back())),
                    1 => given_up = tokio::join!(approves, back(), give_up(server, &waits)).2.is_ok(),
                    2 => drop(approves.await),
                    _ => {}
                }
                let ended = until_ended(server, &waits).await;
                assert_ne!(ended.state(), PurchaseState::Stuck, "{ended:#?}");
                if given_up || at % 4 == 3 {
                    assert_eq!(ended.state(), PurchaseState::Compensated, "{ended:#?}");
                }
                if at % 4 == 3 {
                    assert_eq!(reason(&ended), PurchaseFailureReason::PaymentExpired, "{ended:#?}");
                }
            }
        });
        // The service judges the time by the clock of the machine. The clock is read after each of its answers.
        let read = async || {
            server.is_alive().await;
            Clock::System.now()
        };
        moments.run(read, join_all(purchases)).await;
        edge.assert_balanced().await;
    }
}

/// Customers who give up and customers whose approval is being noticed at the same time, at two instances.
#[tokio::test]
async fn who_gives_up_while_the_seats_are_being_sold_gets_them_or_is_not_charged() {
    let edge = Edge::new(Store::Postgres, "2s").await;
    let servers = [edge.start(&[]).await, edge.start(&[]).await];
    let showtime = showtime(&servers[0]).await;
    for round in 0..20 {
        let (row, number) = if round < 10 { ("A", round + 1) } else { ("B", round - 9) };
        let request =
            of_seats(&showtime, &format!("customer {round}"), &format!("{row}{number}"), "tok_action_required");
        let waits = buy(&servers[0], request).await.expect("it begins");
        edge.gateway.complete_action(&waits.payments[0].payment_id, true).await;
        let back = continue_with(&servers[0], &waits, None);
        let up = async {
            // The later the round, the more is read before, and the further the other customer has come.
            for _ in 0..round {
                purchase(&servers[1], &waits).await;
            }
            give_up(&servers[1], &waits).await
        };
        let (_, given_up) = tokio::join!(back, up);
        let ended = until_ended(&servers[1], &waits).await;
        let state = if given_up.is_ok() { PurchaseState::Compensated } else { PurchaseState::Completed };
        assert_eq!(ended.state(), state, "{ended:#?}");
    }
    edge.assert_balanced().await;
}

/// An instance is paused while its calls of the gateway are under way. Another one finishes its purchases. When the first one wakes
/// up, it changes nothing, and nobody is charged twice.
#[tokio::test]
async fn an_instance_that_wakes_up_after_its_purchases_were_taken_writes_nothing() {
    let edge = Edge::new(Store::Postgres, "1s").await;
    let changed = wake_up(&edge, edge.setup.clone()).await;
    assert_eq!(changed, Vec::<String>::new());
    edge.assert_balanced().await;
}

/// Lists the purchases that an instance with this setup has changed after it woke up.
pub(crate) async fn wake_up(edge: &Edge, setup: Setup) -> Vec<String> {
    let (first, other) = (setup.start().await, edge.start(&[]).await);
    let showtime = showtime(&other).await;
    edge.gateway.set_faults(latency(Duration::from_millis(700))).await;
    let start = |seat: &str| {
        let request = of_seats(&showtime, seat, seat, "tok_ok");
        let (mut instance, call) = (client(&first), request.clone());
        (tokio::spawn(async move { instance.purchase_tickets(call).await }), request)
    };
    let mut begun: Vec<_> = ["A1", "A3", "A5"].map(&start).into();
    // Money is being taken for the first three purchases, and the payments of the others are being authorised.
    eventually("some are sold", async || (count(&other, ReservationState::Confirmed).await == 3).then_some(())).await;
    begun.extend(["B1", "B3", "B5"].map(&start));
    until_paying(&other, 3).await;
    first.pause().await;
    edge.gateway.set_faults(no_faults()).await;
    let mut finished = Vec::new();
    for (_, request) in &begun {
        let found = buy(&other, request.clone()).await.expect("it was begun");
        finished.push(until_state(&other, &found, PurchaseState::Completed).await);
    }
    first.signal(Signal::CONT);
    for (call, _) in begun {
        let _may_have_failed = call.await.expect("it does not panic");
    }
    // What it had begun it has ended before a purchase that came later.
    let later = buy(&first, of_seats(&showtime, "eve", "D1", "tok_lost_reply")).await.expect("it is awake");
    until_state(&first, &later, PurchaseState::Completed).await;
    let mut changed = Vec::new();
    for before in finished {
        let after = purchase(&other, &before).await;
        if after != before {
            changed.push(format!("{before:?} became {after:?}"));
        }
    }
    changed
}

/// Pushes that come twice and in another order than what happened change nothing: they are only a reason to ask.
#[tokio::test]
async fn pushes_that_are_doubled_and_reversed_change_nothing() {
    for store in [Store::Sqlite, Store::Postgres] {
        let (edge, wrong) = Edge::behind_a_wrong_gateway(store, "2s").await;
        let begins = edge.start(&[]).await;
        let showtime = showtime(&begins).await;
        wrong.set(Wrong::Pushes);
        let mut begun = Vec::new();
        for (at, seat) in ["A1", "A3", "A5", "B1", "B3", "B5", "D1", "D3"].into_iter().enumerate() {
            let waits = buy(&begins, of_seats(&showtime, seat, seat, "tok_action_required")).await.expect("it begins");
            begun.push((waits, at % 4 != 3));
        }
        // The instance that gets the pushes has begun none of them.
        let server = begins.restart().await;
        for (waits, approves) in &begun {
            edge.gateway.complete_action(&waits.payments[0].payment_id, *approves).await;
        }
        for (waits, approves) in &begun {
            let state = if *approves { PurchaseState::Completed } else { PurchaseState::AwaitingCustomer };
            let found = eventually("the gateway was asked", async || {
                let now = purchase(&server, waits).await;
                (now.state() == state && now.redirect_uri.is_empty()).then_some(now)
            })
            .await;
            if !approves {
                give_up(&server, &found).await.expect("it was declined");
                until_state(&server, &found, PurchaseState::Compensated).await;
            }
        }
        // An authorisation of each, and the capture of those that were approved.
        assert_eq!(wrong.calls(), 8 + 6);
        edge.assert_balanced().await;
    }
}

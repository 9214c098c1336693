//! Many customers who buy, pay with any token, act, try again, give up, come back or stay away, while everything around them fails.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use boxoffice::pb::boxoffice::v1::{
    CancelReservationRequest, ConfirmReservationRequest, FeedEvent, ListPurchasesRequest, PaymentChoice, PaymentMethod,
    Purchase, PurchaseState, PurchaseTicketsRequest, Refund, RefundOutcome, RefundPaymentRequest, RefundState,
    ReleaseSeatsRequest, Reservation, ReserveSeatsRequest, SettleRefundRequest, Showtime, events_client::EventsClient,
    operations_client::OperationsClient, payments_client::PaymentsClient, purchases_client::PurchasesClient,
    reservations_client::ReservationsClient,
};
use futures_util::future::join_all;
use tokio::sync::watch;
use tonic::{Code, Status, transport::Channel};

use super::{
    Server,
    load::Random,
    purchase_events::{assert_agree, every_event},
    purchases::{act, card, continue_by, give_up_by, of_hold, of_seats},
    request_id,
    seats::{best, these},
    within,
};

/// Every token of the demo gateway but `tok_slow`, which only takes time, as often as it is drawn.
const TOKENS: [(&str, usize); 12] = [
    ("tok_ok", 10),
    ("tok_action_required", 5),
    ("tok_declined_insufficient_funds", 3),
    ("tok_lost_reply", 2),
    ("tok_duplicate_push", 2),
    ("tok_capture_fails", 2),
    ("tok_declined_expired_card", 1),
    ("tok_timeout_after_charge", 1),
    ("tok_timeout_before_charge", 1),
    ("tok_refund_fails", 1),
    ("tok_error", 1),
    ("tok_nobody_knows", 1),
];
/// How long everything that is under way may take to end: a lease, the time of a payment, and the pauses after failures.
const SETTLES_WITHIN: Duration = Duration::from_mins(3);

/// Instances of the service, and the customers who call them.
pub(crate) struct Shoppers {
    servers: Vec<Mutex<Server>>,
    gateway: String,
    showtimes: Vec<Showtime>,
    total: usize,
    started: AtomicUsize,
    ended: watch::Sender<usize>,
    /// The purchase that each request has begun.
    begun: Mutex<HashMap<String, String>>,
}

impl Shoppers {
    /// Prepares this many purchases of seats of these showtimes.
    pub(crate) fn new(servers: Vec<Server>, gateway: String, showtimes: Vec<Showtime>, total: usize) -> Self {
        let servers = servers.into_iter().map(Mutex::new).collect();
        let (started, ended, begun) = (AtomicUsize::new(0), watch::Sender::new(0), Mutex::default());
        Self { servers, gateway, showtimes, total, started, ended, begun }
    }

    /// Lets this many customers buy at once. Returns when all have ended.
    pub(crate) async fn run(&self, callers: usize) {
        join_all((0..callers).map(|caller| Box::pin(self.run_caller(caller)))).await;
    }

    /// Waits until this share of the purchases has been asked for.
    pub(crate) async fn wait_for(&self, percent: usize) {
        let mut ended = self.ended.subscribe();
        ended.wait_for(|ended| *ended * 100 >= percent * self.total).await.expect("the sender is here");
    }

    pub(crate) fn kill(&self, at: usize) {
        lock(&self.servers[at]).kill();
    }

    /// Starts a killed instance again, at another address.
    pub(crate) async fn restart(&self, at: usize) {
        let setup = lock(&self.servers[at]).setup().clone();
        let server = setup.start().await;
        *lock(&self.servers[at]) = server;
    }

    /// Gives up what waits for its customer, and waits until nothing is under way. Returns how many purchases are in each state.
    pub(crate) async fn settle(&self) -> BTreeMap<&'static str, usize> {
        within(SETTLES_WITHIN, "nothing is under way", async || {
            let waiting = self.list(&[PurchaseState::AwaitingCustomer]).await?;
            for purchase in &waiting {
                let _may_have_ended = give_up_by(self.client(0), purchase).await;
            }
            let running = self.list(&[PurchaseState::Running, PurchaseState::AwaitingCustomer]).await?;
            if !running.is_empty() {
                return None;
            }
            let payments = self.list(&[PurchaseState::Completed]).await?.into_iter().flat_map(|one| one.payments);
            let refunds: Vec<_> = payments.flat_map(|payment| payment.refunds).collect();
            for refund in refunds.iter().filter(|refund| refund.state() == RefundState::Stuck) {
                self.keep_the_money(refund).await;
            }
            let are_open = |refund: &Refund| matches!(refund.state(), RefundState::Pending | RefundState::Stuck);
            (!refunds.iter().any(are_open)).then_some(())
        })
        .await;
        let stuck = self.list(&[PurchaseState::Stuck]).await.expect("the purchases are listed");
        assert!(stuck.is_empty(), "purchases are stuck: {stuck:#?}");
        let mut states = BTreeMap::new();
        for purchase in self.list(&[]).await.expect("the purchases are listed") {
            *states.entry(purchase.state().as_str_name()).or_default() += 1;
        }
        states
    }

    /// An operator settles a refund that the gateway refuses, after its seats were given up.
    async fn keep_the_money(&self, refund: &Refund) {
        let (refund_id, note) = (refund.refund_id.clone(), "they do not give it back".to_owned());
        let request =
            SettleRefundRequest { refund_id, outcome: RefundOutcome::Failed.into(), note, till: String::new() };
        let _tried_again = OperationsClient::new(self.channel(0)).settle_refund(request).await;
    }

    /// Asserts that the events of all purchases have no gap, come once, and tell what became of each. Nothing is under way. Returns all
    /// events of the feed.
    pub(crate) async fn assert_events_agree(&self) -> Vec<FeedEvent> {
        let purchases = self.list(&[]).await.expect("the purchases are listed");
        let events = every_event(EventsClient::new(self.channel(0))).await;
        assert_agree(&events, &purchases);
        events
    }

    /// The purchases in these states. `None`: the store cannot be used yet.
    async fn list(&self, states: &[PurchaseState]) -> Option<Vec<Purchase>> {
        let states = states.iter().map(|state| (*state).into()).collect();
        let mut request = ListPurchasesRequest { states, page_size: 200, ..Default::default() };
        let mut all = Vec::new();
        loop {
            let page = self.client(0).list_purchases(request.clone()).await.ok()?.into_inner();
            all.extend(page.purchases);
            if page.next_page_token.is_empty() {
                return Some(all);
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn run_caller(&self, number: usize) {
        let mut random = Random::new(u64::try_from(number).expect("few callers"));
        while self.started.fetch_add(1, Ordering::Relaxed) < self.total {
            if let Some(bought) = self.buy(&mut random).await {
                let bought = self.react(bought, &mut random).await;
                if bought.state() == PurchaseState::Completed && random.below(5) == 0 {
                    self.give_back(&bought, &mut random).await;
                }
            }
            if random.below(5) == 0 {
                self.be_in_the_way(&mut random).await;
            }
            self.ended.send_modify(|ended| *ended += 1);
        }
    }

    /// Asks for a purchase until there is an answer, sometimes twice at once. `None`: it is refused.
    async fn buy(&self, random: &mut Random) -> Option<Purchase> {
        let showtime = &self.showtimes[random.below(self.showtimes.len())];
        let (customer, token) = (request_id(), token(random));
        let request = match random.below(3) {
            0 => {
                let count = i32::try_from(random.below(3)).expect("few") + 1;
                of_hold(&self.hold(best(showtime, &customer, count), random).await?, token)
            }
            1 => PurchaseTicketsRequest { seat_count: 2, ..of_seats(showtime, &customer, "", token) },
            _ => of_seats(showtime, &customer, &neighbours(random), token),
        };
        let at_till =
            PaymentChoice { method: PaymentMethod::Cash.into(), till: "till 1".to_owned(), ..Default::default() };
        let request = match random.below(8) {
            0 => PurchaseTicketsRequest { payment: Some(at_till), ..request },
            _ => request,
        };
        let (at, twice) = (random.below(2), random.below(8) == 0);
        if !twice {
            return self.ask(at, &request).await;
        }
        let (first, second) = tokio::join!(self.ask(at, &request), self.ask(at + 1, &request));
        first.or(second)
    }

    async fn hold(&self, request: ReserveSeatsRequest, random: &mut Random) -> Option<Reservation> {
        let request = ReserveSeatsRequest { request_id: request_id(), ..request };
        let answer = self.repeat(random.below(2), async |channel| {
            Ok(ReservationsClient::new(channel).reserve_seats(request.clone()).await?.into_inner())
        });
        answer.await.ok()?.reservation
    }

    async fn ask(&self, at: usize, request: &PurchaseTicketsRequest) -> Option<Purchase> {
        let answer = self.repeat(at, async |channel| {
            Ok(PurchasesClient::new(channel).purchase_tickets(request.clone()).await?.into_inner())
        });
        let purchase = answer.await.ok()?.purchase.expect("the answer has the purchase");
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let first = begun.entry(request.request_id.clone()).or_insert_with(|| purchase.purchase_id.clone());
        assert_eq!(*first, purchase.purchase_id, "one request has begun two purchases");
        Some(purchase)
    }

    /// Does what customers do whose purchase waits for them. Returns the purchase as it was seen last.
    async fn react(&self, mut purchase: Purchase, random: &mut Random) -> Purchase {
        for _ in 0..3 {
            if purchase.state() != PurchaseState::AwaitingCustomer {
                return purchase;
            }
            let (at, what) = (random.below(2), random.below(8));
            let acts = !purchase.redirect_uri.is_empty();
            let key = purchase.payments.last().expect("there is a payment").payment_id.clone();
            let next = match what {
                // Away for ever.
                0 => return purchase,
                1 => give_up_by(self.client(at), &purchase).await,
                // Two browser windows.
                2 if acts => {
                    let ((), next) =
                        tokio::join!(act(&self.gateway, &key, true), give_up_by(self.client(at), &purchase));
                    next
                }
                3 if acts => {
                    act(&self.gateway, &key, false).await;
                    continue_by(self.client(at), &purchase, None).await
                }
                4 if acts => {
                    act(&self.gateway, &key, true).await;
                    return purchase;
                }
                _ if acts => {
                    act(&self.gateway, &key, true).await;
                    let both = [
                        continue_by(self.client(at), &purchase, None),
                        continue_by(self.client(at + 1), &purchase, None),
                    ];
                    join_all(both).await.pop().expect("two answers")
                }
                _ => continue_by(self.client(at), &purchase, Some(card(token(random)))).await,
            };
            let Ok(next) = next else { return purchase };
            purchase = next;
        }
        purchase
    }

    /// Gives seats of a purchase back, or money, or both, sometimes in two ways at once.
    async fn give_back(&self, purchase: &Purchase, random: &mut Random) {
        let reservation = purchase.reservation.as_ref().expect("a purchase has its reservation");
        let payment = purchase.payments.last().expect("there is a payment");
        let seats: Vec<_> = reservation.seats.iter().take(random.below(2)).cloned().collect();
        let refund = RefundPaymentRequest {
            payment_id: payment.payment_id.clone(),
            seats: seats.clone(),
            reason: "fell ill".to_owned(),
            request_id: request_id(),
            ..RefundPaymentRequest::default()
        };
        let release = ReleaseSeatsRequest {
            reservation_id: reservation.reservation_id.clone(),
            seats,
            reason: "fell ill".to_owned(),
            request_id: request_id(),
            ..ReleaseSeatsRequest::default()
        };
        let at = random.below(2);
        let refunds =
            self.repeat(at, async |channel| PaymentsClient::new(channel).refund_payment(refund.clone()).await);
        let releases =
            self.repeat(at + 1, async |channel| ReservationsClient::new(channel).release_seats(release.clone()).await);
        // What is refused was given back by the other one.
        match random.below(3) {
            0 => drop(refunds.await),
            1 => drop(releases.await),
            _ => drop(tokio::join!(refunds, releases)),
        }
    }

    /// Holds seats for a moment, or buys them at the till.
    async fn be_in_the_way(&self, random: &mut Random) {
        let showtime = &self.showtimes[random.below(self.showtimes.len())];
        let Some(held) = self.hold(these(showtime, &request_id(), &neighbours(random)), random).await else { return };
        let mut client = ReservationsClient::new(self.channel(random.below(2)));
        let reservation_id = held.reservation_id;
        let _may_fail = if random.below(4) == 0 {
            let request = ConfirmReservationRequest { reservation_id, ..Default::default() };
            client.confirm_reservation(request).await.map(drop)
        } else {
            let request = CancelReservationRequest { reservation_id, ..Default::default() };
            client.cancel_reservation(request).await.map(drop)
        };
    }

    /// Repeats a call at one instance after the other until its outcome is known.
    async fn repeat<T>(&self, at: usize, call: impl AsyncFn(Channel) -> Result<T, Status>) -> Result<T, Status> {
        let mut at = at;
        within(SETTLES_WITHIN, "the request is answered", async || {
            at += 1;
            match call(self.channel(at)).await {
                Err(status) if is_temporary(&status) => None,
                known => Some(known),
            }
        })
        .await
    }

    fn client(&self, at: usize) -> PurchasesClient<Channel> {
        PurchasesClient::new(self.channel(at))
    }

    fn channel(&self, at: usize) -> Channel {
        lock(&self.servers[at % self.servers.len()]).channel()
    }
}

/// Whether the same request may still have another answer.
fn is_temporary(status: &Status) -> bool {
    !matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument | Code::NotFound)
}

fn token(random: &mut Random) -> &'static str {
    let mut left = random.below(TOKENS.iter().map(|(_, weight)| weight).sum());
    for (token, weight) in TOKENS {
        if left < weight {
            return token;
        }
        left -= weight;
    }
    TOKENS[0].0
}

/// The names of two neighbours in a row of an auditorium of [`ROWS`].
fn neighbours(random: &mut Random) -> String {
    let (row, first) = (ROWS[random.below(ROWS.len())].0, random.below(10) * 2 + 1);
    format!("{row}{first} {row}{}", first + 1)
}

/// The rows of an auditorium, of 20 seats each.
pub(crate) const ROWS: [(&str, &str); 16] = {
    const SEATS: &str = "ssssssssssssssssssss";
    const NAMES: &str = "ABCDEFGHIJKLMNOP";
    let mut rows = [("", SEATS); 16];
    let (mut at, mut rest) = (0, NAMES);
    while at < rows.len() {
        (rows[at].0, rest) = rest.split_at(1);
        at += 1;
    }
    rows
};

fn lock(server: &Mutex<Server>) -> std::sync::MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

//! One purchase whose tickets live, and what the model expects of them.

use std::{collections::BTreeMap, sync::Mutex};

use boxoffice::{
    clock::Clock,
    pb::boxoffice::v1::{Purchase, Showtime, Ticket, TicketState, UseTicketRequest, tickets_client::TicketsClient},
};
use chrono::SubsecRound as _;
use tonic::{Code, Status};

use crate::{
    harness::{
        Server, assert_refused, assert_violates,
        door::{one, scan, upload},
        eventually,
        load::Random,
        staff::{exchange, release},
        timestamp,
    },
    refunds::{of_these, refund, until_ended},
    tickets::{reservation, seat, tickets, use_ticket},
};

/// A ticket, as the model knows it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) number: String,
    pub(super) code: String,
    seat: String,
    pub(super) state: TicketState,
    /// The device and the nonce by which it was used.
    used: Option<(String, String)>,
}

/// What was seen in all lives, so that none of it is in vain.
#[derive(Default)]
pub(super) struct Seen(pub(super) Mutex<BTreeMap<&'static str, usize>>);

impl Seen {
    pub(super) fn count(&self, what: &'static str) {
        *self.0.lock().expect("no panic").entry(what).or_default() += 1;
    }
}

/// One purchase with its tickets.
pub(super) struct Life<'a> {
    pub(super) servers: &'a [Server],
    pub(super) seen: &'a Seen,
    pub(super) random: Random,
    pub(super) showtime: Showtime,
    pub(super) row: String,
    pub(super) purchase: Purchase,
    /// Whether the gateway refuses to give its money back.
    pub(super) refunds_fail: bool,
    pub(super) refunds: usize,
    pub(super) tickets: Vec<Known>,
    pub(super) nonces: usize,
}

/// Why a ticket in this state is not used, as `UseTicket` says it.
fn refusal(state: TicketState) -> &'static str {
    match state {
        TicketState::Voided => "TICKET_VOIDED",
        TicketState::Refunded => "TICKET_REFUNDED",
        TicketState::Blocked => "TICKET_BLOCKED",
        TicketState::Used => "TICKET_USED",
        TicketState::Issued | TicketState::Unspecified => "none",
    }
}

/// The answer of a server, which is asked again while it says that it is too busy and has changed nothing.
pub(super) async fn answered<T>(mut call: impl AsyncFnMut() -> Result<T, Status>) -> Result<T, Status> {
    eventually("an answer", async || match call().await {
        Err(busy) if busy.code() == Code::Unavailable && busy.message().contains("nothing was changed") => None,
        answer => Some(answer),
    })
    .await
}

impl<'a> Life<'a> {
    fn server(&mut self) -> &'a Server {
        &self.servers[self.random.below(self.servers.len())]
    }

    fn nonce(&mut self) -> String {
        self.nonces += 1;
        format!("{} {} {}", &self.showtime.showtime_id[24..], self.row, self.nonces)
    }

    fn request(&mut self, at: usize, nonce: String) -> UseTicketRequest {
        let by_number = self.random.below(4) == 0;
        let Known { number, code, .. } = &self.tickets[at];
        let (code, number) = if by_number { (String::new(), number.clone()) } else { (code.clone(), String::new()) };
        let device = format!("door {}", self.random.below(3));
        UseTicketRequest {
            code,
            number,
            showtime_id: self.showtime.showtime_id.clone(),
            device,
            nonce,
            ..Default::default()
        }
    }

    fn any(&mut self) -> usize {
        self.random.below(self.tickets.len())
    }

    /// Some of the seats that are sold, as names, with whether a ticket of theirs was used.
    fn some_seats(&mut self) -> Option<(String, bool)> {
        let live: Vec<_> = self.live().cloned().collect();
        let count = 1 + self.random.below(live.len().max(1));
        let chosen: Vec<_> = live.into_iter().take(count).collect();
        let names = chosen.iter().map(|ticket| ticket.seat.as_str()).collect::<Vec<_>>().join(" ");
        (!chosen.is_empty()).then(|| (names, chosen.iter().any(|ticket| ticket.state == TicketState::Used)))
    }

    fn live(&self) -> impl Iterator<Item = &Known> {
        self.tickets.iter().filter(|ticket| matches!(ticket.state, TicketState::Issued | TicketState::Used))
    }

    fn set(&mut self, seats: &str, state: TicketState) {
        for ticket in &mut self.tickets {
            let is_live = matches!(ticket.state, TicketState::Issued | TicketState::Used);
            if is_live && seats.split(' ').any(|seat| seat == ticket.seat) {
                ticket.state = state;
            }
        }
    }

    /// One thing that happens to its tickets.
    pub(super) async fn event(&mut self) {
        match self.random.below(12) {
            0 | 1 => self.exchange().await,
            2 => self.release().await,
            3 | 4 => self.refund().await,
            5 => self.scan().await,
            6 => self.use_again().await,
            7 => self.use_several().await,
            8 => self.race().await,
            _ => self.use_one().await,
        }
    }

    async fn use_one(&mut self) {
        let (at, nonce) = (self.any(), self.nonce());
        let request = self.request(at, nonce);
        let server = self.server();
        let answer = answered(async || use_ticket(server, request.clone()).await).await;
        self.check_use(at, &request, answer);
    }

    /// Two doors use a ticket at the same time, by two servers if there are several. One admits its holder.
    async fn race(&mut self) {
        let (at, nonces, server) = (self.any(), [self.nonce(), self.nonce()], self.server());
        let [first, second] = nonces.map(|nonce| self.request(at, nonce));
        let (first, second) = (first, UseTicketRequest { device: "door 8".to_owned(), ..second });
        let other = &self.servers[self.servers.len() - 1];
        let answers = tokio::join!(
            answered(async || use_ticket(server, first.clone()).await),
            answered(async || use_ticket(other, second.clone()).await)
        );
        if self.tickets[at].state == TicketState::Issued {
            self.seen.count("a race");
        }
        // The one that was admitted was first.
        if answers.1.is_ok() {
            self.check_use(at, &second, answers.1);
            self.check_use(at, &first, answers.0);
        } else {
            self.check_use(at, &first, answers.0);
            self.check_use(at, &second, answers.1);
        }
    }

    /// A device uses a ticket with a nonce that it has used before, for the same ticket or for another one.
    async fn use_again(&mut self) {
        let before = self.tickets.iter().find_map(|ticket| ticket.used.clone().filter(|(_, nonce)| !nonce.is_empty()));
        let (Some((device, nonce)), at) = (before, self.any()) else { return };
        let request = UseTicketRequest { device, ..self.request(at, nonce) };
        let server = self.server();
        let answer = answered(async || use_ticket(server, request.clone()).await).await;
        if self.tickets[at].state == TicketState::Issued {
            assert_violates(&answer.expect_err("the nonce was used"), &["nonce"]);
            self.seen.count("a nonce of another ticket");
        } else {
            self.check_use(at, &request, answer);
        }
    }

    /// A door uses some of the tickets of the purchase, or all that are left, with the code of the purchase.
    async fn use_several(&mut self) {
        let (count, nonce, server) = (self.random.below(4), self.nonce(), self.server());
        let request = UseTicketRequest {
            code: self.purchase.code.clone(),
            showtime_id: self.showtime.showtime_id.clone(),
            device: "door 7".to_owned(),
            nonce: nonce.clone(),
            count: i32::try_from(count).expect("few"),
            ..UseTicketRequest::default()
        };
        let call = async || TicketsClient::new(server.channel()).use_ticket(request.clone()).await;
        let answer = answered(call).await.map(|answer| answer.into_inner().tickets);
        let mut left: Vec<_> = self.tickets.iter_mut().filter(|ticket| ticket.state == TicketState::Issued).collect();
        left.sort_by(|one, other| one.seat.cmp(&other.seat));
        if left.is_empty() || count > left.len() {
            let status = answer.expect_err("too few are left");
            assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
            self.seen.count("a use of several that is refused");
            return;
        }
        left.truncate(if count == 0 { left.len() } else { count });
        let used = answer.expect("they are issued");
        let numbers = used.iter().map(|ticket| ticket.number.as_str());
        assert_eq!(numbers.collect::<Vec<_>>(), left.iter().map(|known| known.number.as_str()).collect::<Vec<_>>());
        for known in left {
            (known.state, known.used) = (TicketState::Used, Some(("door 7".to_owned(), nonce.clone())));
        }
        self.seen.count("a use of several");
    }

    fn check_use(&mut self, at: usize, request: &UseTicketRequest, answer: Result<Ticket, Status>) {
        let by = (request.device.clone(), request.nonce.clone());
        let known = &mut self.tickets[at];
        let is_repeated = known.state == TicketState::Used && known.used.as_ref() == Some(&by);
        if known.state == TicketState::Issued || is_repeated {
            let used = answer.unwrap_or_else(|status| panic!("{known:?}: {status:?}"));
            assert_eq!((used.number.as_str(), used.state()), (known.number.as_str(), TicketState::Used));
            self.seen.count(if is_repeated { "a use that is repeated" } else { "a use" });
            (known.state, known.used) = (TicketState::Used, Some(by));
            return;
        }
        let reason = refusal(known.state);
        let about = assert_refused(&answer.expect_err("it is not valid"), Code::FailedPrecondition, reason);
        assert_eq!(about.get("use_device"), known.used.as_ref().map(|(device, _)| device), "{known:?}");
        self.seen.count(reason);
    }

    async fn scan(&mut self) {
        let (at, nonce) = (self.any(), self.nonce());
        let device = format!("offline {}", self.random.below(3));
        let of = Ticket { code: self.tickets[at].code.clone(), ..Ticket::default() };
        let scans = [scan(&of, &nonce, timestamp(Clock::System.now().trunc_subsecs(3)))];
        let server = self.server();
        let answer = answered(async || upload(server, &device, &scans).await).await.expect("it is recorded");
        let known = &mut self.tickets[at];
        assert_eq!(one(&answer).double_admission, known.used.is_some(), "{known:?}: {answer:#?}");
        self.seen.count(if known.used.is_some() { "a double admission" } else { "a scan" });
        if known.used.is_none() {
            known.used = Some((device.clone(), nonce));
            if known.state == TicketState::Issued {
                known.state = TicketState::Used;
            }
        }
        assert_eq!(one(&answer).ticket.as_ref().expect("there is one").state(), known.state);
        let server = self.server();
        let again = answered(async || upload(server, &device, &scans).await).await.expect("it is repeated");
        assert_eq!(again, answer);
    }

    /// Exchanges all seats for as many others of the row, some of which it has already.
    async fn exchange(&mut self) {
        let count = self.live().count();
        if count == 0 {
            return;
        }
        let first = 1 + self.random.below(8 - count + 1);
        let names: Vec<_> = (first..first + count).map(|number| format!("{}{number}", self.row)).collect();
        let sold = reservation(&self.purchase).clone();
        let server = self.server();
        if answered(async || exchange(server, &sold, &names.join(" ")).await).await.is_err() {
            self.seen.count("an exchange that is refused");
            return;
        }
        let mut live: Vec<_> = self.live().map(|ticket| ticket.seat.clone()).collect();
        live.sort();
        if live == names {
            self.seen.count("an exchange for the same seats");
            return;
        }
        self.seen.count("an exchange");
        // A seat that is kept leaves its use to its new ticket, and the others in their order to those of the new seats.
        let users: BTreeMap<_, _> = self.live().map(|known| (known.seat.clone(), known.used.clone())).collect();
        let mut given_up = live.iter().filter(|seat| !names.contains(seat));
        let replaced =
            names.iter().map(|name| if live.contains(name) { name } else { given_up.next().expect("as many") });
        let used: Vec<_> =
            replaced.map(|seat| users[seat].clone().map(|(device, _)| (device, String::new()))).collect();
        let all = live.join(" ");
        self.set(&all, TicketState::Voided);
        self.learn(&names, &used).await;
    }

    /// Learns of new tickets, which are those of these seats, and of which some take the place of tickets that were used.
    pub(super) async fn learn(&mut self, names: &[String], used: &[Option<(String, String)>]) {
        let id = self.purchase.purchase_id.clone();
        let found = tickets(self.server(), &id).await;
        let is_new = |ticket: &&Ticket| !self.tickets.iter().any(|known| known.number == ticket.number);
        let new: Vec<_> = found.iter().filter(is_new).cloned().collect();
        assert_eq!(new.iter().map(seat).collect::<Vec<_>>(), names, "{found:#?}");
        for (ticket, used) in new.into_iter().zip(used.iter().cloned()) {
            let state = if used.is_some() { TicketState::Used } else { TicketState::Issued };
            assert_eq!(ticket.state(), state);
            if used.is_some() {
                self.seen.count("an exchange of a used ticket");
            }
            let seat = seat(&ticket);
            self.tickets.push(Known { number: ticket.number, code: ticket.code, seat, state, used });
        }
    }

    /// Staff give seats up, whether their tickets were used or not, and the money is given back.
    async fn release(&mut self) {
        let Some((names, _)) = self.some_seats().filter(|_| !self.refunds_fail) else { return };
        let sold = reservation(&self.purchase).clone();
        let server = self.server();
        answered(async || release(server, &sold, &names).await).await.expect("they are sold");
        self.seen.count("a release");
        self.refunds += 1;
        let (bought, count) = (self.purchase.clone(), self.refunds);
        until_ended(self.server(), &bought, count).await;
        self.set(&names, TicketState::Refunded);
    }

    async fn refund(&mut self) {
        let Some((names, is_used)) = self.some_seats() else { return };
        let force = self.random.below(3) == 0;
        let mut request = of_these(&self.purchase, &names);
        request.force = force;
        let server = self.server();
        let answer = answered(async || refund(server, request.clone()).await).await;
        if is_used && !force {
            let status = answer.expect_err("a ticket was used");
            assert_refused(&status, Code::FailedPrecondition, "TICKET_USED");
            self.seen.count("a refund of a used ticket that is refused");
            return;
        }
        answer.expect("it was paid");
        self.refunds += 1;
        let (bought, count) = (self.purchase.clone(), self.refunds);
        until_ended(self.server(), &bought, count).await;
        if self.refunds_fail {
            self.seen.count("a refund that fails");
        } else {
            self.seen.count("a refund");
            self.set(&names, TicketState::Refunded);
        }
    }

    /// Asserts that all tickets are as the model has them.
    pub(super) async fn check(&mut self) {
        let id = self.purchase.purchase_id.clone();
        let found = tickets(self.server(), &id).await;
        let mut found: Vec<_> = found
            .into_iter()
            .map(|ticket| (ticket.number.clone(), ticket.state(), ticket.use_device.clone()))
            .collect();
        let device = |known: &Known| known.used.as_ref().map(|(device, _)| device.clone()).unwrap_or_default();
        let known = self.tickets.iter().map(|known| (known.number.clone(), known.state, device(known)));
        let mut known: Vec<_> = known.collect();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        known.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(found, known);
    }
}

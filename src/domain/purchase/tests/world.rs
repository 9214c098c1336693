//! A gateway, a ledger and a store with set failures, and instances that go on with one purchase.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::events::Published;
use crate::domain::{
    ids::{PaymentId, PurchaseId, ReservationId, ShowtimeId},
    money::{Currency, Money},
    purchase::{
        Action, GatewayAnswer, Payment, PaymentMethod, PaymentState, Position, Purchase, PurchaseFacts, PurchaseNumber,
    },
    reservation::CustomerId,
};

/// What a token makes of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Ok,
    DeclinedForNow,
    DeclinedForGood,
    Action,
    CaptureFails,
}

/// What goes wrong with one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// It is refused for good.
    Refused,
    /// Nothing is done, and that is not known.
    Unknown,
    /// It is done, and that is not known.
    LostReply,
    /// The answer comes twice.
    Twice,
    /// The instance dies after the intent was stored, and another one takes over.
    DiesBefore,
    /// The same, and what the dead instance has sent comes late.
    DiesAndIsLate,
    /// The instance dies before it has stored what came of the action. The next intent is not stored either.
    DiesAfter,
}

/// What somebody else does before an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    None,
    Approves,
    Disapproves,
    ComesBack,
    GivesUp,
    Tries(Token),
    /// The showtime is cancelled, or the hold lapses before its payment has begun.
    SeatsAreLost,
    /// What was sent late comes.
    LateComes,
}

/// Where the seats are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seats {
    Held,
    Paying,
    Sold,
    /// Free, or somebody else's.
    Gone,
}

/// A payment at the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    Declined(bool),
    Action,
    Authorized,
    Voided,
    Captured,
    Refunded,
}

impl Charge {
    /// Whether money is kept or taken, or may be.
    pub(super) fn is_live(self) -> bool {
        matches!(self, Self::Action | Self::Authorized | Self::Captured)
    }
}

/// A call of the gateway, with everything that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    action: Action,
    key: String,
    operation_key: String,
    amount: Money,
    token: Token,
}

/// One purchase, and everything around it.
pub(super) struct World {
    pub(super) now: DateTime<Utc>,
    /// As it is stored.
    pub(super) purchase: Purchase,
    /// The events of everything that was stored.
    pub(super) published: Published,
    /// The payments at the gateway, by their keys.
    pub(super) charges: BTreeMap<String, Charge>,
    pub(super) seats: Seats,
    pub(super) actions: u32,
    tokens: BTreeMap<String, Token>,
    /// Every Authorize that was ever sent.
    authorized: BTreeMap<String, Call>,
    late: Vec<Call>,
}

pub(super) const PAY_TIME: TimeDelta = TimeDelta::minutes(2);

pub(super) fn euros(minor: i64) -> Money {
    Money { currency: Currency::parse("EUR").expect("a currency"), minor }
}

pub(super) fn payment(number: u128, amount: Money, now: DateTime<Utc>) -> Payment {
    Payment {
        payment_id: PaymentId(Uuid::from_u128(number)),
        method: PaymentMethod::CreditCard,
        token: "tok".to_owned(),
        amount,
        refunded_minor: 0,
        state: PaymentState::Pending,
        decline_code: String::new(),
        create_time: now,
        process_time: None,
        at_till: None,
    }
}

pub(super) fn begin(total: Money, now: DateTime<Utc>) -> Purchase {
    let facts = PurchaseFacts {
        purchase_id: PurchaseId(Uuid::from_u128(1)),
        number: PurchaseNumber::of([7; 8]),
        customer_id: CustomerId::restore("ada"),
        showtime_id: ShowtimeId(Uuid::from_u128(2)),
        reservation_id: ReservationId(Uuid::from_u128(3)),
        return_uri: String::new(),
        create_time: now,
    };
    Purchase::begin(facts, total, payment(100, total, now))
}

impl World {
    pub(super) fn new(total: Money, token: Token) -> Self {
        let now = DateTime::from_timestamp(1_700_000_000, 0).expect("a time");
        let purchase = begin(total, now);
        let tokens = BTreeMap::from([(purchase.payments()[0].key(), token)]);
        Self {
            now,
            published: Published::new(&purchase),
            purchase,
            tokens,
            charges: BTreeMap::new(),
            seats: Seats::Held,
            actions: 0,
            authorized: BTreeMap::new(),
            late: Vec::new(),
        }
    }

    /// Lets somebody do something. What cannot be done must change nothing.
    pub(super) fn happen(&mut self, event: Event) {
        let key = self.purchase.payment().expect("there is a payment").key();
        let mut changed = self.purchase.clone();
        changed.notice_time(self.now);
        let (before, position) = (changed.clone(), changed.position());
        let stuck = changed.record().stuck;
        match event {
            Event::None => return,
            Event::Approves | Event::Disapproves => {
                let approved = event == Event::Approves;
                let charge = if approved { Charge::Authorized } else { Charge::Declined(true) };
                self.charges.entry(key).and_modify(|one| *one = if *one == Charge::Action { charge } else { *one });
                return;
            }
            Event::LateComes => return self.deliver(),
            Event::SeatsAreLost => {
                self.seats = if self.seats == Seats::Sold { Seats::Sold } else { Seats::Gone };
                return;
            }
            Event::ComesBack => {
                assert_eq!(changed.nudge(), position == Position::AwaitingAction && !stuck);
            }
            Event::GivesUp => {
                let can = matches!(position, Position::AwaitingAction | Position::AwaitingToken) && !stuck;
                let given_up = changed.cancel(self.now);
                assert_eq!(given_up, if can { Ok(()) } else { Err(position) });
                assert!(can || changed == before, "it changed: {changed:?}");
            }
            Event::Tries(token) => {
                let next = payment(100 + changed.payments().len() as u128, changed.total(), self.now);
                self.tokens.insert(next.key(), token);
                let can = position == Position::AwaitingToken && !stuck;
                assert_eq!(changed.try_payment(next, self.now), if can { Ok(()) } else { Err(position) });
                assert!(can || changed == before, "it changed: {changed:?}");
            }
        }
        self.store(changed);
    }

    /// Stores the purchase, and what happened to it since it was stored last.
    pub(super) fn store(&mut self, after: Purchase) {
        self.published.add(&self.purchase, &after);
        self.purchase = after;
    }

    /// Does what is to be done next, or lets the time pass.
    pub(super) fn act(&mut self, fault: Fault) {
        self.now += TimeDelta::milliseconds(7);
        let mut held = self.purchase.clone();
        held.notice_time(self.now);
        self.store(held.clone());
        let action = held.next_action(self.now);
        self.actions += u32::from(!matches!(action, Action::Wait(_) | Action::End));
        match action {
            Action::End => {}
            Action::Wait(until) => self.now = until.max(self.now),
            Action::BeginPayment | Action::Confirm | Action::Free | Action::BeginRefund => {
                self.ask_ledger(action, fault);
            }
            action => self.ask_gateway(action, fault),
        }
    }

    /// The ledger commits a change of seats together with the purchase, or neither.
    fn ask_ledger(&mut self, action: Action, fault: Fault) {
        let (mut after, now) = (self.purchase.clone(), self.now);
        if fault == Fault::Refused && self.seats != Seats::Sold {
            self.seats = Seats::Gone;
        }
        match action {
            Action::BeginPayment if self.seats == Seats::Gone => after.payment_not_begun("lapsed", now),
            Action::BeginPayment => after.payment_begun(after.total(), now + PAY_TIME, now),
            Action::Confirm if self.seats == Seats::Gone => after.not_confirmed("cancelled", now),
            Action::Confirm => after.confirmed(now),
            Action::BeginRefund => after.refund_begun(now),
            _ => {
                self.assert_may_be_freed();
                after.freed(now);
            }
        }
        if !matches!(fault, Fault::Unknown | Fault::DiesBefore | Fault::DiesAndIsLate) {
            self.seats = match action {
                _ if self.seats == Seats::Gone => Seats::Gone,
                Action::BeginPayment => Seats::Paying,
                Action::Confirm => Seats::Sold,
                _ => Seats::Gone,
            };
            if action == Action::BeginRefund {
                // From here on the refund goes on by itself.
                let key = self.purchase.payment().expect("there is a payment").key();
                let charge = self.charges.insert(key, Charge::Refunded);
                assert_eq!(charge, Some(Charge::Captured), "nothing was taken that could be given back");
            }
            self.store(after);
        }
        if !matches!(fault, Fault::None | Fault::Twice | Fault::Refused) {
            self.take_over();
        }
    }

    fn ask_gateway(&mut self, action: Action, fault: Fault) {
        let payment = self.purchase.payment().expect("there is a payment");
        let name = match action {
            Action::Capture => "capture",
            Action::Void => "void",
            _ => "authorize",
        };
        let key = payment.key();
        let (operation_key, amount, token) = (payment.operation_key(name), payment.amount, self.tokens[&key]);
        let call = Call { action, key, operation_key, amount, token };
        assert!(action != Action::Capture || self.seats == Seats::Sold, "it captures before the seats are sold");
        if action == Action::Authorize {
            let first = self.authorized.entry(call.key.clone()).or_insert_with(|| call.clone());
            assert_eq!(*first, call, "an attempt differs from the first one");
        }
        let (mut after, now) = (self.purchase.clone(), self.now);
        let answer = match fault {
            Fault::DiesBefore => return self.take_over(),
            Fault::DiesAndIsLate => {
                self.late.push(call);
                return self.take_over();
            }
            Fault::DiesAfter => {
                self.execute(&call);
                return self.take_over();
            }
            Fault::Refused => {
                after.refused("not so", now);
                self.store(after);
                return;
            }
            Fault::Unknown => None,
            Fault::LostReply => {
                self.execute(&call);
                None
            }
            Fault::Twice => {
                self.execute(&call);
                self.execute(&call)
            }
            Fault::None => self.execute(&call),
        };
        match answer {
            None => after.unknown("who knows", 1.0, now),
            Some(GatewayAnswer::ActionRequired { .. }) if after.position() == Position::Authorizing => {
                if self.seats == Seats::Gone {
                    after.not_payable("cancelled", now);
                } else {
                    after.await_action("https://bank.example".to_owned(), now + PAY_TIME * 5, now);
                }
            }
            Some(answer) => {
                after.answered(answer.clone(), now);
                if fault == Fault::Twice && after.has_ended() {
                    after.answered(answer, now);
                }
            }
        }
        self.store(after);
    }

    /// What the gateway does. `None`: it has never seen the payment.
    fn execute(&mut self, call: &Call) -> Option<GatewayAnswer> {
        let charge = self.charges.get(&call.key).copied();
        let next = match (call.action, charge) {
            (Action::Authorize, None) => match call.token {
                Token::Ok | Token::CaptureFails => Charge::Authorized,
                Token::DeclinedForNow => Charge::Declined(true),
                Token::DeclinedForGood => Charge::Declined(false),
                Token::Action => Charge::Action,
            },
            (Action::Void, None | Some(Charge::Action | Charge::Authorized)) => Charge::Voided,
            (Action::Capture, Some(Charge::Authorized)) if call.token != Token::CaptureFails => Charge::Captured,
            (_, None) => return None,
            (_, Some(same)) => same,
        };
        self.charges.insert(call.key.clone(), next);
        let code = "no".to_owned();
        Some(match next {
            Charge::Authorized if call.action == Action::Capture => GatewayAnswer::CaptureFailed { code },
            Charge::Authorized => GatewayAnswer::Authorized,
            Charge::Declined(retryable) => GatewayAnswer::Declined { code, retryable },
            Charge::Action => GatewayAnswer::ActionRequired { redirect_uri: "https://bank.example".to_owned() },
            Charge::Voided => GatewayAnswer::Voided,
            Charge::Captured | Charge::Refunded => GatewayAnswer::Captured,
        })
    }

    fn take_over(&mut self) {
        if self.purchase.record().not_before.is_none() {
            let mut taken = self.purchase.clone();
            taken.taken_over(self.now);
            self.store(taken);
        }
    }

    /// What dead instances have sent comes now.
    pub(super) fn deliver(&mut self) {
        for call in std::mem::take(&mut self.late) {
            self.execute(&call);
        }
    }

    /// Seats are given up only when none of their payments can succeed any more.
    fn assert_may_be_freed(&self) {
        for key in self.authorized.keys() {
            let charge = self.charges.get(key);
            assert!(charge.is_some_and(|charge| !charge.is_live()), "it frees before it voids: {key}: {charge:?}");
        }
    }

    /// The payments of which money is kept or taken, or may be.
    pub(super) fn live(&self) -> usize {
        self.charges.values().filter(|charge| charge.is_live()).count()
    }
}

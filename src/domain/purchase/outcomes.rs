//! What came of an action, and where the purchase is then. This and `stuck.rs` are the only code that moves a purchase.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    ASK_EVERY, Failure, FailureReason, GatewayAnswer, MAX_ATTEMPTS, MAX_PAYMENTS, MAX_UNDECIDED, Payment, PaymentState,
    Position, Purchase, PurchaseFacts, Record, StepName, StepState, Steps, Work,
};
use crate::domain::money::Money;

/// The attempts after which the pause between two of them is the longest.
const LONGEST_AFTER: u32 = 9;
pub(super) const FREE_OF_CHARGE: &str = "nothing is to be paid";
pub(super) const PAID_AT_TILL: &str = "paid at the till";

impl Purchase {
    /// A purchase whose seats are held, or will be with its first commit.
    #[must_use]
    pub fn begin(facts: PurchaseFacts, total: Money, payment: Payment) -> Self {
        let mut steps = Steps::new();
        steps.work(StepName::ReserveSeats).attempt(facts.create_time);
        let record = Record {
            position: Position::Held,
            stuck: false,
            failed_attempts: 0,
            undecided_since: None,
            not_before: None,
            pay_until: None,
            redirect_uri: String::new(),
            sold: false,
            total,
            payments: vec![payment],
            steps,
            failure: None,
            complete_time: None,
        };
        Self { facts, record }
    }

    /// The ledger keeps the seats until the payment is decided. Seats that cost nothing, or are paid for at a till, are sold next.
    pub fn payment_begun(&mut self, total: Money, pay_until: DateTime<Utc>, now: DateTime<Utc>) {
        self.record.total = total;
        self.record.pay_until = Some(pay_until);
        self.record.steps.work(StepName::ReserveSeats).end(StepState::Done, "", now);
        if let Some(payment) = self.record.payments.last_mut() {
            payment.amount = total;
        }
        let next = match self.without_gateway() {
            Some(why) => {
                self.record.steps.work(StepName::Pay).end(StepState::Done, why, now);
                Position::Confirming
            }
            None => Position::Authorizing,
        };
        self.enter(next, now);
    }

    /// The seats cannot be paid for.
    pub fn payment_not_begun(&mut self, why: &str, now: DateTime<Utc>) {
        self.record.steps.work(StepName::ReserveSeats).end(StepState::Failed, why, now);
        self.decide_payment(PaymentState::Voided, "", now);
        self.fail(FailureReason::NotSold, Position::Freeing, now);
    }

    /// The seats cost something else than what was to be paid. The gateway was not asked yet.
    pub fn price_changed(&mut self, now: DateTime<Utc>) {
        self.decide_payment(PaymentState::Voided, "", now);
        self.record.steps.work(StepName::Pay).end(StepState::Failed, "the price has changed", now);
        self.fail(FailureReason::NotSold, Position::Freeing, now);
    }

    /// Another instance worked on it, and may have been interrupted anywhere. What it was about to do is attempted again.
    pub fn taken_over(&mut self, now: DateTime<Utc>) {
        self.record.not_before = None;
        if let Some(work) = self.present_work() {
            work.attempt(now);
        }
    }

    /// Gives up what has taken too long by now. Returns whether anything changed.
    pub fn notice_time(&mut self, now: DateTime<Utc>) -> bool {
        let is_late = self.pay_until().is_some_and(|until| now >= until) && !self.record.stuck;
        match self.record.position {
            Position::Authorizing | Position::AwaitingAction if is_late => {
                self.record.steps.work(StepName::Pay).end(StepState::Failed, "not decided in time", now);
                self.fail(FailureReason::PaymentExpired, Position::Voiding, now);
            }
            Position::AwaitingToken if is_late => {
                if let Some(failure) = &mut self.record.failure {
                    failure.retryable = false;
                }
                self.enter(Position::Freeing, now);
            }
            _ => return false,
        }
        true
    }

    /// The gateway has answered, whatever was asked.
    pub fn answered(&mut self, answer: GatewayAnswer, now: DateTime<Utc>) {
        match self.record.position {
            Position::Authorizing | Position::AwaitingAction => self.authorization(answer, now),
            Position::Capturing => self.capture(answer, now),
            Position::Voiding => self.voiding(&answer, now),
            Position::Held
            | Position::AwaitingToken
            | Position::Confirming
            | Position::Refunding
            | Position::Freeing
            | Position::Completed
            | Position::Compensated => {}
        }
    }

    fn authorization(&mut self, answer: GatewayAnswer, now: DateTime<Utc>) {
        match answer {
            GatewayAnswer::Authorized | GatewayAnswer::Captured | GatewayAnswer::CaptureFailed { .. } => {
                self.decide_payment(PaymentState::Authorized, "", now);
                self.record.failure = None;
                self.record.steps.work(StepName::Pay).end(StepState::Done, "", now);
                self.enter(Position::Confirming, now);
            }
            GatewayAnswer::Declined { code, retryable } => {
                self.decide_payment(PaymentState::Declined, &code, now);
                self.record.steps.work(StepName::Pay).end(StepState::Failed, &code, now);
                let in_time = self.pay_until().is_some_and(|until| now < until);
                let retryable = retryable && in_time && self.record.payments.len() < MAX_PAYMENTS;
                self.record.failure =
                    Some(Failure { reason: FailureReason::PaymentDeclined, decline_code: code, retryable });
                self.enter(if retryable { Position::AwaitingToken } else { Position::Freeing }, now);
            }
            GatewayAnswer::Voided => {
                self.decide_payment(PaymentState::Voided, "", now);
                self.record.steps.work(StepName::Pay).end(StepState::Failed, "voided", now);
                self.fail(FailureReason::PaymentRefused, Position::Freeing, now);
            }
            GatewayAnswer::ActionRequired { .. } | GatewayAnswer::Pending => self.ask_again(now),
        }
    }

    /// The customer has something to do, and has until `pay_until` for it.
    pub fn await_action(&mut self, redirect_uri: String, pay_until: DateTime<Utc>, now: DateTime<Utc>) {
        self.record.redirect_uri = redirect_uri;
        self.record.pay_until = Some(pay_until);
        if let Some(payment) = self.record.payments.last_mut() {
            payment.state = PaymentState::Processing;
        }
        self.record.position = Position::AwaitingAction;
        self.record.failed_attempts = 0;
        self.ask_again(now);
    }

    /// The gateway works on it. What has no end in `pay_until` is left to an operator after an hour.
    fn ask_again(&mut self, now: DateTime<Utc>) {
        let must_be_decided = matches!(self.record.position, Position::Capturing | Position::Voiding);
        let since = *self.record.undecided_since.get_or_insert(now);
        if must_be_decided && now - since >= MAX_UNDECIDED {
            self.stick("the gateway has not decided for an hour", now);
            return;
        }
        let pause = if self.record.position == Position::AwaitingAction { ASK_EVERY } else { self.growing_pause() };
        // An answer is no failure: it makes the pauses longer, and does not use up the attempts.
        self.record.failed_attempts = (self.record.failed_attempts + 1).min(LONGEST_AFTER);
        self.put_off(pause, now);
    }

    /// The next attempt is after this pause, unless the time for the payment ends before.
    fn put_off(&mut self, pause: TimeDelta, now: DateTime<Utc>) {
        let next = now + pause;
        self.record.not_before = Some(self.pay_until().map_or(next, |until| next.min(until)));
    }

    /// A pause that grows with the attempts, for a gateway that works on something.
    fn growing_pause(&self) -> TimeDelta {
        TimeDelta::from_std(self.pause(1.0)).unwrap_or_default()
    }

    fn capture(&mut self, answer: GatewayAnswer, now: DateTime<Utc>) {
        let code = match answer {
            GatewayAnswer::Captured => {
                self.decide_payment(PaymentState::Completed, "", now);
                self.record.steps.work(StepName::Capture).end(StepState::Done, "", now);
                self.enter(Position::Completed, now);
                return;
            }
            GatewayAnswer::Pending | GatewayAnswer::Authorized | GatewayAnswer::ActionRequired { .. } => {
                self.ask_again(now);
                return;
            }
            GatewayAnswer::CaptureFailed { code } | GatewayAnswer::Declined { code, .. } => code,
            GatewayAnswer::Voided => "voided".to_owned(),
        };
        self.record.steps.work(StepName::Capture).end(StepState::Failed, &code, now);
        self.record.failure =
            Some(Failure { reason: FailureReason::CaptureFailed, decline_code: code, retryable: false });
        self.enter(Position::Voiding, now);
    }

    fn voiding(&mut self, answer: &GatewayAnswer, now: DateTime<Utc>) {
        match answer {
            GatewayAnswer::Voided | GatewayAnswer::Declined { .. } => {
                self.decide_payment(self.given_up(), "", now);
                self.record.steps.compensation(StepName::Pay).end(StepState::Done, "", now);
                self.enter(Position::Freeing, now);
            }
            GatewayAnswer::Captured => {
                self.record.steps.compensation(StepName::Pay).end(StepState::Failed, "the money was taken", now);
                self.enter(Position::Refunding, now);
            }
            GatewayAnswer::Pending
            | GatewayAnswer::ActionRequired { .. }
            | GatewayAnswer::Authorized
            | GatewayAnswer::CaptureFailed { .. } => self.ask_again(now),
        }
    }

    /// The money was taken although the purchase has failed. Its refund has begun, and the seats are not kept any more.
    pub fn refund_begun(&mut self, now: DateTime<Utc>) {
        self.decide_payment(PaymentState::Completed, "", now);
        self.record.steps.compensation(StepName::Capture).end(StepState::Done, "a refund has begun", now);
        self.freed(now);
    }

    /// The seats are sold.
    pub fn confirmed(&mut self, now: DateTime<Utc>) {
        self.record.sold = true;
        self.record.steps.work(StepName::ConfirmReservation).end(StepState::Done, "", now);
        let next = match self.without_gateway() {
            Some(why) => {
                self.decide_payment(PaymentState::Completed, "", now);
                self.record.steps.work(StepName::Capture).end(StepState::Done, why, now);
                Position::Completed
            }
            None => Position::Capturing,
        };
        self.enter(next, now);
    }

    /// The seats cannot be sold.
    pub fn not_confirmed(&mut self, why: &str, now: DateTime<Utc>) {
        self.record.steps.work(StepName::ConfirmReservation).end(StepState::Failed, why, now);
        if self.without_gateway().is_some() {
            // The gateway has never heard of it. A till gives the money back at once.
            self.decide_payment(PaymentState::Voided, "", now);
            self.fail(FailureReason::NotSold, Position::Freeing, now);
        } else {
            self.fail(FailureReason::NotSold, Position::Voiding, now);
        }
    }

    /// The seats are not kept any more while the customer has something to do.
    pub fn not_payable(&mut self, why: &str, now: DateTime<Utc>) {
        self.record.steps.work(StepName::Pay).end(StepState::Failed, why, now);
        self.fail(FailureReason::NotSold, Position::Voiding, now);
    }

    /// The seats are free, or another customer has them: they are not kept for this purchase any more.
    pub fn freed(&mut self, now: DateTime<Utc>) {
        if self.record.sold {
            self.record.steps.compensation(StepName::ConfirmReservation).end(StepState::Done, "", now);
        }
        self.record.steps.compensation(StepName::ReserveSeats).end(StepState::Done, "", now);
        self.enter(Position::Compensated, now);
    }

    /// The outcome of an attempt is not known, so there will be another one after `pause`.
    pub fn unknown(&mut self, message: &str, fraction: f64, now: DateTime<Utc>) {
        let pause = TimeDelta::from_std(self.pause(fraction)).unwrap_or_default();
        self.record.failed_attempts += 1;
        let limited = matches!(self.record.position, Position::Authorizing | Position::AwaitingAction);
        if !limited && self.record.failed_attempts >= MAX_ATTEMPTS {
            self.stick(message, now);
            return;
        }
        self.put_off(pause, now);
        if let Some(work) = self.present_work() {
            work.note(message);
            work.attempts += 1;
        }
    }

    /// The gateway refuses a request by its content, and will refuse it again.
    pub fn refused(&mut self, message: &str, now: DateTime<Utc>) {
        match self.record.position {
            Position::Authorizing | Position::AwaitingAction => {
                self.record.steps.work(StepName::Pay).end(StepState::Failed, message, now);
                self.fail(FailureReason::PaymentRefused, Position::Voiding, now);
            }
            Position::Capturing => self.capture(GatewayAnswer::CaptureFailed { code: message.to_owned() }, now),
            _ => self.stick(message, now),
        }
    }

    /// The customer tries another token.
    ///
    /// # Errors
    /// It does not wait for one.
    pub fn try_payment(&mut self, payment: Payment, now: DateTime<Utc>) -> Result<(), Position> {
        if self.record.position != Position::AwaitingToken || self.record.stuck {
            return Err(self.record.position);
        }
        self.record.payments.push(payment);
        self.record.failure = None;
        self.enter(Position::Authorizing, now);
        Ok(())
    }

    /// The gateway says that something happened to the payment: it is asked at once, unless that is about to be done anyway. Returns
    /// whether anything has changed.
    pub fn pushed(&mut self, now: DateTime<Utc>) -> bool {
        let pauses = self.waits_for_gateway() && self.record.not_before.is_some_and(|time| now < time);
        if pauses {
            self.record.not_before = None;
        }
        pauses
    }

    /// The customer comes back: the gateway is asked at once. Returns whether that is of use.
    pub fn nudge(&mut self) -> bool {
        let waits = self.record.position == Position::AwaitingAction && !self.record.stuck;
        if waits {
            self.record.not_before = None;
        }
        waits
    }

    /// The customer gives up.
    ///
    /// # Errors
    /// It does not wait for its customer.
    pub fn cancel(&mut self, now: DateTime<Utc>) -> Result<(), Position> {
        match self.record.position {
            _ if self.record.stuck => return Err(self.record.position),
            Position::AwaitingToken => self.fail(FailureReason::Cancelled, Position::Freeing, now),
            Position::AwaitingAction => {
                self.record.steps.work(StepName::Pay).end(StepState::Failed, "cancelled", now);
                self.fail(FailureReason::Cancelled, Position::Voiding, now);
            }
            _ => return Err(self.record.position),
        }
        Ok(())
    }

    /// What a payment is of which no money was taken, and none will be: the gateway has refused it, or it was given up here.
    pub(super) fn given_up(&self) -> PaymentState {
        match self.record.failure.as_ref().map(|failure| failure.reason) {
            Some(FailureReason::PaymentRefused | FailureReason::CaptureFailed) => PaymentState::Failed,
            _ => PaymentState::Voided,
        }
    }

    fn fail(&mut self, reason: FailureReason, then: Position, now: DateTime<Utc>) {
        self.record.failure = Some(Failure { reason, decline_code: String::new(), retryable: false });
        self.enter(then, now);
    }

    /// The outcome of the present payment is known, as far as this goes.
    pub(super) fn decide_payment(&mut self, state: PaymentState, decline_code: &str, now: DateTime<Utc>) {
        if let Some(payment) = self.record.payments.last_mut().filter(|payment| payment.state != PaymentState::Declined)
        {
            payment.state = state;
            decline_code.clone_into(&mut payment.decline_code);
            payment.token.clear();
            payment.process_time = Some(now);
        }
    }

    /// Goes to a position. The first attempt at what is to be done there begins.
    pub(super) fn enter(&mut self, position: Position, now: DateTime<Utc>) {
        self.record.position = position;
        self.record.failed_attempts = 0;
        self.record.undecided_since = None;
        self.record.not_before = None;
        match position {
            Position::Completed | Position::Compensated => self.record.complete_time = Some(now),
            Position::AwaitingToken => {}
            _ => {
                if let Some(work) = self.present_work() {
                    work.attempt(now);
                }
            }
        }
    }

    /// The work that is under way at the present position.
    pub(super) fn present_work(&mut self) -> Option<&mut Work> {
        let (name, compensation) = self.present_step()?;
        let steps = &mut self.record.steps;
        Some(if compensation { steps.compensation(name) } else { steps.work(name) })
    }
}

//! What is published of a purchase: the events that lead from one stored state to the next.
//!
//! An event is derived from two stored states and not from what was done. So an attempt that is repeated, or a purchase that is
//! taken over, makes no event twice, and a write that changes nothing of interest makes none.

use super::{Payment, PaymentState, Position, Purchase, Step, StepName, StepState, Work};

/// One thing that happened to a purchase or to one of its payments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurchaseEvent<'a> {
    /// It was begun.
    Started,
    /// The gateway keeps the money for us.
    PaymentAuthorized(&'a Payment),
    /// The gateway declined the payment.
    PaymentDeclined(&'a Payment),
    /// The money was taken, or nothing was to be paid.
    PaymentCompleted(&'a Payment),
    /// A step was done, or undone.
    StepCompleted {
        /// Which step.
        step: StepName,
        /// Whether it was undone.
        compensation: bool,
    },
    /// The seats are sold and the money is taken.
    Completed,
    /// Everything is undone.
    Compensated,
    /// It cannot go on without an operator.
    Stuck,
}

impl Purchase {
    /// The events that lead from a stored state to this one, in order. `None`: nothing was stored before.
    #[must_use]
    pub fn events_since<'a>(&'a self, before: Option<&Purchase>) -> Vec<PurchaseEvent<'a>> {
        let mut events = Vec::new();
        if before.is_none() {
            events.push(PurchaseEvent::Started);
        }
        events.extend(self.payments().iter().filter_map(|payment| self.event_of_payment(payment, before)));
        // What was done at once, such as a sale at a till, has no steps that anybody could have followed.
        let is_at_once = before.is_none() && self.has_ended();
        let steps = if is_at_once { Vec::new() } else { self.steps() };
        let known = before.map(Purchase::steps).unwrap_or_default();
        let completed = |name: StepName, compensation, work: &Work| {
            let step = PurchaseEvent::StepCompleted { step: name, compensation };
            (work.state == StepState::Done && !is_done(&known, name, compensation)).then_some(step)
        };
        events.extend(steps.iter().filter_map(|step| completed(step.name, false, &step.work)));
        // What was done last is undone first.
        let undone = steps.iter().rev().filter_map(|step| Some((step.name, step.compensation.as_ref()?)));
        events.extend(undone.filter_map(|(name, work)| completed(name, true, work)));
        let enters = |position| self.position() == position && before.is_none_or(|one| one.position() != position);
        if enters(Position::Completed) {
            events.push(PurchaseEvent::Completed);
        }
        if enters(Position::Compensated) {
            events.push(PurchaseEvent::Compensated);
        }
        if self.is_stuck() && !before.is_some_and(Purchase::is_stuck) {
            events.push(PurchaseEvent::Stuck);
        }
        events
    }

    /// What happened to a payment. Money counts as taken when the purchase is complete: until then it may be undone.
    fn event_of_payment<'a>(&self, payment: &'a Payment, before: Option<&Purchase>) -> Option<PurchaseEvent<'a>> {
        let completes = |one: &Purchase| {
            one.position() == Position::Completed
                && one.payment().is_some_and(|last| last.payment_id == payment.payment_id)
        };
        if completes(self) {
            return (!before.is_some_and(completes)).then_some(PurchaseEvent::PaymentCompleted(payment));
        }
        let known = before.and_then(|before| before.payments().iter().find(|one| one.payment_id == payment.payment_id));
        if known.is_some_and(|known| known.state == payment.state) {
            return None;
        }
        match payment.state {
            PaymentState::Authorized => Some(PurchaseEvent::PaymentAuthorized(payment)),
            PaymentState::Declined => Some(PurchaseEvent::PaymentDeclined(payment)),
            PaymentState::Pending
            | PaymentState::Processing
            | PaymentState::Completed
            | PaymentState::PartiallyRefunded
            | PaymentState::Refunded
            | PaymentState::Voided
            | PaymentState::Failed => None,
        }
    }

    /// The step that is under way at the present position, and whether it is being undone.
    #[must_use]
    pub fn present_step(&self) -> Option<(StepName, bool)> {
        match self.position() {
            Position::Held => Some((StepName::ReserveSeats, false)),
            Position::Authorizing | Position::AwaitingAction => Some((StepName::Pay, false)),
            Position::Confirming => Some((StepName::ConfirmReservation, false)),
            Position::Capturing => Some((StepName::Capture, false)),
            Position::Voiding => Some((StepName::Pay, true)),
            Position::Refunding => Some((StepName::Capture, true)),
            Position::Freeing => Some((StepName::ReserveSeats, true)),
            Position::AwaitingToken | Position::Completed | Position::Compensated => None,
        }
    }
}

fn is_done(steps: &[Step], name: StepName, compensation: bool) -> bool {
    let step = steps.iter().find(|step| step.name == name);
    let work = step.and_then(|step| if compensation { step.compensation.as_ref() } else { Some(&step.work) });
    work.is_some_and(|work| work.state == StepState::Done)
}

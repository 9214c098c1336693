//! The events of a purchase: whatever happens, they tell its story once and in order.

use super::{
    now,
    world::{Fault, PAY_TIME, Token, World, begin, euros, payment},
    *,
};
use crate::domain::ids::PaymentId;

/// An event without what it borrows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Started,
    Authorized(PaymentId),
    Declined(PaymentId),
    Paid(PaymentId),
    Step(StepName, bool),
    Completed,
    Compensated,
    Stuck,
}

impl From<PurchaseEvent<'_>> for Told {
    fn from(event: PurchaseEvent<'_>) -> Self {
        match event {
            PurchaseEvent::Started => Self::Started,
            PurchaseEvent::PaymentAuthorized(payment) => Self::Authorized(payment.payment_id),
            PurchaseEvent::PaymentDeclined(payment) => Self::Declined(payment.payment_id),
            PurchaseEvent::PaymentCompleted(payment) => Self::Paid(payment.payment_id),
            PurchaseEvent::StepCompleted { step, compensation } => Self::Step(step, compensation),
            PurchaseEvent::Completed => Self::Completed,
            PurchaseEvent::Compensated => Self::Compensated,
            PurchaseEvent::Stuck => Self::Stuck,
        }
    }
}

/// The events of a purchase since it was inserted.
pub(super) struct Published(Vec<Told>);

impl Published {
    pub(super) fn new(purchase: &Purchase) -> Self {
        Self(told(None, purchase))
    }

    pub(super) fn add(&mut self, before: &Purchase, after: &Purchase) {
        self.0.extend(told(Some(before), after));
    }

    /// Asserts that the events tell of a purchase that has ended like this one, and of nothing else.
    pub(super) fn assert_tell_of(&self, purchase: &Purchase) {
        let events = &self.0;
        let count = |told: Told| events.iter().filter(|one| **one == told).count();
        assert_eq!((events.first(), count(Told::Started)), (Some(&Told::Started), 1), "{events:?}");
        let completed = purchase.position() == Position::Completed;
        let last = if completed { Told::Completed } else { Told::Compensated };
        assert_eq!((events.last(), count(last)), (Some(&last), 1), "{events:?}");
        assert_eq!(count(Told::Completed) + count(Told::Compensated), 1, "{events:?}");
        for told in events.iter().filter(|told| !matches!(told, Told::Stuck)) {
            assert_eq!(count(*told), 1, "{told:?} comes twice: {events:?}");
        }
        for payment in purchase.payments() {
            let id = payment.payment_id;
            let told = [Told::Declined(id), Told::Paid(id)].map(|told| count(told) == 1);
            let pays = completed && payment.state == PaymentState::Completed;
            assert_eq!(told, [payment.state == PaymentState::Declined, pays], "{payment:?}: {events:?}");
            let is_paid_for = payment.state == PaymentState::Completed && payment.amount.minor > 0;
            assert!(!is_paid_for || count(Told::Authorized(id)) == 1, "{payment:?}: {events:?}");
        }
        for Step { name, work, compensation } in &purchase.steps() {
            let is_done = |work: &Work| work.state == StepState::Done;
            let undone = compensation.as_ref().is_some_and(is_done);
            let done = [count(Told::Step(*name, false)), count(Told::Step(*name, true))].map(|count| count == 1);
            assert_eq!(done, [is_done(work), undone], "{name:?}: {events:?}");
        }
    }
}

fn told(before: Option<&Purchase>, after: &Purchase) -> Vec<Told> {
    after.events_since(before).into_iter().map(Told::from).collect()
}

const ID: PaymentId = PaymentId(uuid::Uuid::from_u128(100));

#[test]
fn a_purchase_that_goes_well_says_each_step_once() {
    let mut world = World::new(euros(950), Token::Ok);
    run(&mut world, &[]);
    let expected = [
        Told::Started,
        Told::Step(StepName::ReserveSeats, false),
        Told::Authorized(ID),
        Told::Step(StepName::Pay, false),
        Told::Step(StepName::ConfirmReservation, false),
        Told::Paid(ID),
        Told::Step(StepName::Capture, false),
        Told::Step(StepName::IssueTickets, false),
        Told::Completed,
    ];
    assert_eq!(world.published.0, expected);
}

#[test]
fn what_is_undone_is_said_backwards() {
    let mut world = World::new(euros(950), Token::CaptureFails);
    run(&mut world, &[]);
    let expected = [
        Told::Step(StepName::Pay, true),
        Told::Step(StepName::ConfirmReservation, true),
        Told::Step(StepName::ReserveSeats, true),
        Told::Compensated,
    ];
    assert_eq!(world.published.0[world.published.0.len() - 4..], expected);
}

/// A purchase that is inserted when everything is done has all its events at once.
#[test]
fn a_purchase_that_is_done_at_once_tells_no_steps() {
    let mut purchase = begin(euros(0), now());
    purchase.payment_begun(euros(0), now() + PAY_TIME, now());
    purchase.confirmed(now());
    assert_eq!(told(None, &purchase), [Told::Started, Told::Paid(ID), Told::Completed]);
}

#[test]
fn what_callers_do_not_see_makes_no_event() {
    let before = at(Position::Capturing);
    for change in [
        |purchase: &mut Purchase| purchase.unknown("who knows", 1.0, now()),
        |purchase: &mut Purchase| purchase.taken_over(now()),
        |purchase: &mut Purchase| purchase.answered(GatewayAnswer::Pending, now()),
    ] {
        let mut after = before.clone();
        change(&mut after);
        assert!(after != before && told(Some(&before), &after).is_empty(), "{after:?}");
    }
    let mut waits = at(Position::Authorizing);
    let before = waits.clone();
    waits.await_action("https://bank.example".to_owned(), now() + PAY_TIME, now());
    assert_eq!(told(Some(&before), &waits), []);
}

#[test]
fn each_time_that_an_operator_is_needed_is_said() {
    let before = at(Position::Voiding);
    let mut stuck = before.clone();
    stuck.stick("it differs", now());
    assert_eq!(told(Some(&before), &stuck), [Told::Stuck]);
    assert_eq!(stuck.present_step(), Some((StepName::Pay, true)));
    let mut resumed = stuck.clone();
    resumed.resume(now());
    assert_eq!(told(Some(&stuck), &resumed), []);
    let mut settled = stuck.clone();
    settled.settle(Settlement::Completed, now());
    let expected = [
        Told::Paid(ID),
        Told::Step(StepName::Capture, false),
        Told::Step(StepName::IssueTickets, false),
        Told::Completed,
    ];
    assert_eq!(told(Some(&stuck), &settled), expected);
}

#[test]
fn each_token_that_is_declined_is_said() {
    let mut world = World::new(euros(950), Token::DeclinedForNow);
    run(&mut world, &[(Event::None, Fault::None), (Event::None, Fault::None), (Event::Tries(Token::Ok), Fault::None)]);
    let second = payment(101, euros(950), now()).payment_id;
    let payments: Vec<_> =
        world.published.0.iter().filter(|told| !matches!(told, Told::Step(..) | Told::Started)).copied().collect();
    assert_eq!(payments, [Told::Declined(ID), Told::Authorized(second), Told::Paid(second), Told::Completed]);
}

//! The life of purchases, step by step, and whatever happens at any of them.

mod events;
mod world;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, Strategy, prop_assert, prop_assert_eq},
    prop_oneof, proptest,
    sample::select,
};

use self::world::{Charge, Event, Fault, PAY_TIME, Seats, Token, World, begin, euros, payment};
use super::*;

const TOKENS: [Token; 5] =
    [Token::Ok, Token::DeclinedForNow, Token::DeclinedForGood, Token::Action, Token::CaptureFails];
const FAULTS: [Fault; 8] = [
    Fault::None,
    Fault::Refused,
    Fault::Unknown,
    Fault::LostReply,
    Fault::Twice,
    Fault::DiesBefore,
    Fault::DiesAndIsLate,
    Fault::DiesAfter,
];
/// The most actions of a purchase after the last fault: each position is left after one, unless it waits for its customer. Then it
/// asks every 5 s for 10 minutes.
const ACTIONS_WITHOUT_FAULTS: u32 = 12 + 120;

fn config() -> ProptestConfig {
    ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() }
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::None),
        2 => Just(Event::Approves),
        1 => Just(Event::Disapproves),
        1 => Just(Event::ComesBack),
        1 => Just(Event::GivesUp),
        2 => select(&TOKENS[..]).prop_map(Event::Tries),
        1 => Just(Event::SeatsAreLost),
        1 => Just(Event::LateComes),
    ]
}

/// Goes on with a purchase through these faults, and then to its end.
fn run(world: &mut World, steps: &[(Event, Fault)]) {
    for (event, fault) in steps {
        world.happen(*event);
        world.act(*fault);
        assert_safe(world);
    }
    let most = world.actions + ACTIONS_WITHOUT_FAULTS;
    while !world.purchase.has_ended() {
        if world.purchase.record().stuck {
            let mut resumed = world.purchase.clone();
            resumed.resume(world.now);
            world.store(resumed);
        }
        world.act(Fault::None);
        assert_safe(world);
        assert!(world.actions <= most, "{} actions: {:?}", world.actions, world.purchase);
    }
    world.deliver();
    assert_safe(world);
    assert_ended(world);
    world.published.assert_tell_of(&world.purchase);
}

/// What is true at any time.
fn assert_safe(world: &World) {
    assert!(world.live() <= 1, "{:?}", world.charges);
    assert!(world.purchase.payments().len() <= MAX_PAYMENTS);
    let sold = world.purchase.is_sold() && world.purchase.position() != Position::Compensated;
    assert_eq!(sold, world.seats == Seats::Sold, "{:?}", world.purchase);
}

/// What is true at the end: the seats are sold and the money is taken, or neither.
fn assert_ended(world: &World) {
    let captured = world.charges.values().filter(|charge| **charge == Charge::Captured).count();
    let completed = world.purchase.state() == PurchaseState::Completed;
    let paid = usize::from(completed && world.purchase.total().minor > 0);
    assert_eq!((captured, world.live()), (paid, paid), "{:?} {:?}", world.charges, world.purchase);
    assert_eq!(world.seats, if completed { Seats::Sold } else { Seats::Gone }, "{:?}", world.purchase);
    assert!(world.purchase.total().minor > 0 || world.charges.is_empty(), "what costs nothing is charged");
    let last = world.purchase.payment().expect("there is a payment");
    let states: &[_] = if completed {
        &[PaymentState::Completed]
    } else {
        &[PaymentState::Declined, PaymentState::Voided, PaymentState::Failed, PaymentState::Completed]
    };
    let is_refunded = world.charges.get(&last.key()) == Some(&Charge::Refunded);
    assert_eq!(last.state == PaymentState::Completed, completed || is_refunded, "{last:?}");
    assert!(states.contains(&last.state) && last.token.is_empty() == (last.state != PaymentState::Pending), "{last:?}");
    assert!(world.purchase.complete_time().is_some() && world.purchase.pay_until().is_none());
    assert_eq!(world.purchase.failure().is_none(), completed, "{:?}", world.purchase);
    assert_eq!(world.purchase.next_action(world.now), Action::End);
    for Step { name, work, compensation } in &world.purchase.steps() {
        let undone = compensation.as_ref().map(|work| work.state);
        let running = [work.state, undone.unwrap_or_default()].contains(&StepState::Running);
        assert!(!running, "{name:?} is under way at the end: {:?}", world.purchase);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_the_seats_are_sold_and_the_money_is_taken_or_neither(
        token in select(&TOKENS[..]),
        total in select(&[0, 1, 2_850][..]),
        steps in vec((events(), select(&FAULTS[..])), 0..40),
    ) {
        run(&mut World::new(euros(total), token), &steps);
    }

    /// A gateway that is not reached for long leaves a purchase to an operator, unless its time limit ends it.
    #[test]
    fn an_outage_of_any_length_ends_well(
        token in select(&TOKENS[..]), before in 0..6_usize, fault in select(&[Fault::Unknown, Fault::LostReply][..]),
        length in 0..60_usize,
    ) {
        let mut steps = vec![(Event::None, Fault::None); before];
        steps.extend(vec![(Event::None, fault); length]);
        run(&mut World::new(euros(900), token), &steps);
    }

    #[test]
    fn pauses_grow_and_are_bounded(attempts in 0..100_u32, fraction in 0.0..=1.0_f64) {
        let mut purchase = begin(euros(1), now());
        purchase.record.failed_attempts = attempts;
        let (shorter, longest) = (purchase.pause(fraction), purchase.pause(1.0));
        prop_assert!(shorter <= longest && longest <= LONGEST_PAUSE.to_std().expect("it is positive"));
        purchase.record.failed_attempts += 1;
        prop_assert!(purchase.pause(1.0) >= longest);
        prop_assert_eq!(purchase.pause(0.0), Duration::ZERO);
    }
}

/// Each fault at each of the first steps, forwards and while the purchase is undone, and each pair of faults in a row.
#[test]
fn every_fault_at_every_step_forwards_and_backwards() {
    for token in TOKENS {
        for (at, first, second) in (0..10).flat_map(|at| {
            FAULTS.into_iter().flat_map(move |first| FAULTS.into_iter().map(move |second| (at, first, second)))
        }) {
            for events in [[Event::Approves, Event::None], [Event::None, Event::GivesUp], [Event::SeatsAreLost; 2]] {
                let mut steps = vec![(Event::None, Fault::None); at];
                steps.extend([(events[0], first), (events[1], second)]);
                run(&mut World::new(euros(950), token), &steps);
            }
        }
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).expect("a time")
}

/// A purchase at this position, whose payment has until then.
fn at(position: Position) -> Purchase {
    let mut purchase = begin(euros(950), now());
    purchase.payment_begun(euros(950), now() + PAY_TIME, now());
    purchase.record.position = position;
    if position == Position::AwaitingToken {
        let retryable = true;
        let decline_code = "insufficient_funds".to_owned();
        purchase.record.failure = Some(Failure { reason: FailureReason::PaymentDeclined, decline_code, retryable });
    }
    purchase
}

const POSITIONS: [Position; 11] = [
    Position::Held,
    Position::Authorizing,
    Position::AwaitingAction,
    Position::AwaitingToken,
    Position::Confirming,
    Position::Capturing,
    Position::Completed,
    Position::Voiding,
    Position::Refunding,
    Position::Freeing,
    Position::Compensated,
];

#[test]
fn only_who_is_waited_for_can_give_up_or_try_again() {
    for position in POSITIONS {
        for stuck in [false, true] {
            let mut before = at(position);
            before.record.stuck = stuck;
            let mut purchase = before.clone();
            let tries = position == Position::AwaitingToken && !stuck;
            let outcome = purchase.try_payment(payment(200, euros(950), now()), now());
            assert_eq!(outcome, if tries { Ok(()) } else { Err(position) });
            assert!(if tries { purchase.position() == Position::Authorizing } else { purchase == before });
            let (mut purchase, waits) = (before.clone(), position == Position::AwaitingAction && !stuck);
            let given_up = purchase.cancel(now());
            assert_eq!(given_up, if tries || waits { Ok(()) } else { Err(position) });
            let then = match position {
                // What was declined cannot succeed. What the customer has begun may.
                Position::AwaitingToken if tries => Position::Freeing,
                Position::AwaitingAction if waits => Position::Voiding,
                other => other,
            };
            assert_eq!(purchase.position(), then);
            assert_eq!(before.clone().nudge(), waits);
            let asks = [Position::Authorizing, Position::AwaitingAction, Position::Capturing, Position::Voiding];
            let mut pauses = before.clone();
            assert!(!pauses.pushed(now()), "it is asked anyway");
            pauses.record.not_before = Some(now() + TimeDelta::seconds(30));
            assert!(!pauses.clone().pushed(now() + TimeDelta::seconds(30)), "it is asked now");
            assert_eq!(pauses.pushed(now()), asks.contains(&position) && !stuck);
            assert_eq!(pauses.record.not_before.is_none(), asks.contains(&position) && !stuck);
        }
    }
}

#[test]
fn the_time_for_a_payment_ends_to_the_microsecond() {
    let (until, tick) = (now() + PAY_TIME, TimeDelta::microseconds(1));
    for position in POSITIONS {
        let then = match position {
            Position::Authorizing | Position::AwaitingAction => Position::Voiding,
            Position::AwaitingToken => Position::Freeing,
            other => other,
        };
        let mut purchase = at(position);
        assert!(!purchase.notice_time(until - tick), "{position:?}");
        for time in [until, until + tick] {
            let mut purchase = at(position);
            assert_eq!((purchase.notice_time(time), purchase.position()), (then != position, then));
            assert!(purchase.failure().is_none_or(|failure| !failure.retryable), "{:?}", purchase.failure());
        }
        purchase.record.stuck = true;
        assert!(!purchase.notice_time(until + tick), "an operator decides");
    }
    for (time, then) in [(until - tick, Position::AwaitingToken), (until, Position::Freeing)] {
        let mut purchase = at(Position::Authorizing);
        purchase.answered(GatewayAnswer::Declined { code: "no".to_owned(), retryable: true }, time);
        assert_eq!(purchase.position(), then);
    }
    // Nothing is put off beyond the end.
    let mut purchase = at(Position::Authorizing);
    for _ in 0..30 {
        purchase.unknown("who knows", 1.0, until - tick);
        assert!(matches!(purchase.next_action(until - tick), Action::Wait(then) if then <= until));
    }
}

/// What the gateway works on has no other end than its answer: after an hour it is stuck, and when it was resumed, after another one.
#[test]
fn a_capture_or_a_void_that_is_not_decided_within_an_hour_is_left_to_an_operator() {
    let (limit, tick) = (now() + TimeDelta::hours(1), TimeDelta::microseconds(1));
    for position in [Position::Capturing, Position::Voiding] {
        let mut purchase = at(position);
        // The hour begins with the first such answer.
        purchase.enter(position, now() - TimeDelta::hours(7));
        for minute in 0..60 {
            purchase.answered(GatewayAnswer::Pending, now() + TimeDelta::minutes(minute));
        }
        purchase.answered(GatewayAnswer::Pending, limit - tick);
        assert!(!purchase.is_stuck(), "{purchase:?}");
        purchase.answered(GatewayAnswer::Pending, limit);
        assert!(purchase.is_stuck() && purchase.position() == position, "{purchase:?}");
        purchase.resume(limit);
        assert!(matches!(purchase.next_action(limit), Action::Capture | Action::Void));
        purchase.answered(GatewayAnswer::Pending, limit);
        purchase.taken_over(limit);
        purchase.answered(GatewayAnswer::Pending, limit + TimeDelta::hours(1) - tick);
        assert!(!purchase.is_stuck(), "it has another hour");
        purchase.answered(GatewayAnswer::Pending, limit + TimeDelta::hours(1));
        assert!(purchase.is_stuck());
        purchase.resume(limit);
        let answer = if position == Position::Capturing { GatewayAnswer::Captured } else { GatewayAnswer::Voided };
        purchase.answered(answer, limit);
        assert!(!purchase.is_stuck() && purchase.position() != position);
    }
}

#[test]
fn what_costs_nothing_is_sold_without_the_gateway() {
    for fault in FAULTS {
        for at in 0..3 {
            let mut world = World::new(euros(0), Token::Ok);
            run(&mut world, &[vec![(Event::None, Fault::None); at], vec![(Event::None, fault)]].concat());
            let ended =
                if fault == Fault::Refused && at < 2 { PurchaseState::Compensated } else { PurchaseState::Completed };
            assert_eq!(world.purchase.state(), ended, "{fault:?} at {at}");
        }
    }
}

#[test]
fn the_tenth_decline_is_the_last_one() {
    let mut world = World::new(euros(950), Token::DeclinedForNow);
    run(&mut world, &[(Event::Tries(Token::DeclinedForNow), Fault::None); 40]);
    assert_eq!(world.purchase.payments().len(), MAX_PAYMENTS);
    assert_eq!(world.purchase.state(), PurchaseState::Compensated);
}

//! What holds in every auditorium and after any commands.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq},
    prop_oneof, proptest,
    sample::{Index, select},
};
use uuid::Uuid;

use super::{
    AccessibleSeats, Block, BlockReason, Blockage, Choice, Command, Decision, OrphanRule, PurchaseId, Refusal,
    ReservationId, Rules, Stage, Wish, customer, seat, tender, wish,
};
use crate::domain::{reservation::Phase, seat_index::SeatName, seating::Unavailable};

fn config() -> ProptestConfig {
    ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() }
}

/// A customer without seats.
const STRANGER: &str = "a stranger";

proptest! {
    #![proptest_config(config())]

    /// `Stage::ask` checks the seating after each command.
    #[test]
    fn no_command_at_any_time_panics_or_breaks_a_seating(
        rows in rows(), rules in wild_rules(), steps in vec((steps(), leaps()), 1..40),
    ) {
        let mut stage = stage(&rows, rules);
        for (step, to) in &steps {
            stage.now = *to;
            take(&mut stage, step);
        }
    }

    #[test]
    fn the_best_block_is_unbroken_and_free_and_leaves_no_orphan_where_another_leaves_none(
        (mut stage, count) in (played(), 1..6_u16),
    ) {
        let free = free_blocks(&stage, count);
        match ask(&mut stage, Choice::Best(count)) {
            Ok(block) => {
                prop_assert_eq!(block.count, count);
                prop_assert!(free.contains(&block), "{:?} is not free", stage.labels(block));
                prop_assert!(!leaves_orphan(&stage, block) || free.iter().all(|other| leaves_orphan(&stage, *other)));
            }
            Err(refusal) => {
                prop_assert_eq!(refusal, Refusal::Unavailable(Unavailable { seats: vec![], offers: vec![] }));
                prop_assert!(free.is_empty(), "{:?} could be had", free);
            }
        }
    }

    #[test]
    fn one_orphan_rule_decides_what_may_be_named_and_what_is_given((mut stage, count) in (played(), 1..6_u16)) {
        let free = free_blocks(&stage, count);
        let neat = free.iter().any(|block| !leaves_orphan(&stage, *block));
        for block in &free {
            let refused = stage.rules.orphan_rule == OrphanRule::Refuse && neat && leaves_orphan(&stage, *block);
            let named = Choice::Seats(names(&stage, *block));
            match ask(&mut stage, named) {
                Ok(given) => prop_assert!(!refused && given == *block),
                Err(Refusal::LeavesOrphan(why)) => {
                    prop_assert!(refused);
                    let seats: Vec<u16> = why.seats.iter().map(|(seat, _)| *seat).collect();
                    prop_assert_eq!(seats, orphans(&stage, *block));
                }
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }
        if let Ok(given) = ask(&mut stage, Choice::Best(count)) {
            let named = Choice::Seats(names(&stage, given));
            prop_assert_eq!(ask(&mut stage, named), Ok(given));
        }
    }

    #[test]
    fn what_is_offered_is_apart_and_can_be_had((mut stage, count, seats) in (played(), 1..6_u16, any::<Index>())) {
        let all = blocks(&stage, count);
        if all.is_empty() {
            return Ok(());
        }
        let wanted = *seats.get(&all);
        let choice = Choice::Seats(names(&stage, wanted));
        let offers = match ask(&mut stage, choice) {
            Ok(_) => return Ok(()),
            Err(Refusal::Unavailable(why) | Refusal::LeavesOrphan(why)) => {
                prop_assert!(!why.seats.is_empty());
                why.offers
            }
            Err(other) => panic!("{other:?}"),
        };
        prop_assert!(offers.len() <= 3);
        let mut taken = BTreeSet::new();
        for offer in &offers {
            prop_assert_eq!(offer.count, count);
            prop_assert!(offer.seats().all(|seat| taken.insert(seat)), "{:?}", offers);
            let choice = Choice::Seats(names(&stage, *offer));
            prop_assert_eq!(ask(&mut stage, choice), Ok(*offer));
        }
        if offers.len() < 3 {
            let apart = |block: &Block| block.seats().all(|seat| !taken.contains(&seat));
            for other in free_blocks(&stage, count).into_iter().filter(apart) {
                let choice = Choice::Seats(names(&stage, other));
                prop_assert!(ask(&mut stage, choice).is_err(), "{:?} was not offered", stage.labels(other));
            }
        }
    }
}

/// A step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Named(u8, Vec<(Index, bool)>),
    Neighbours(u8, Index, u16, Asking),
    Best(u8, u16, Asking),
    Confirm(Index, Option<u8>, bool),
    Payment(Index, Payment, u128),
    Cancel(Index, Option<u8>),
    Extend(Index, Option<u8>),
    Release(Index, Vec<Index>),
    Exchange(Index, Index),
    Block(Index, u16),
    Unblock(Index, u16),
    Expire,
    CancelShowtime(bool),
}

/// What is done about the payment of a purchase.
#[derive(Clone, Copy, Debug)]
enum Payment {
    Begin(Duration),
    Stop,
    Confirm,
}

/// Whether accessible seats are asked for, and whether blocked ones may be taken.
type Asking = (bool, bool);

fn steps() -> impl Strategy<Value = Step> {
    let who = || 0..3_u8;
    let whose = || prop_oneof![4 => Just(None), 1 => who().prop_map(Some)];
    let asking = || prop_oneof![3 => Just((false, false)), 1 => any::<(bool, bool)>()];
    prop_oneof![
        2 => (who(), vec((any::<Index>(), any::<bool>()), 0..4)).prop_map(|(who, seats)| Step::Named(who, seats)),
        6 => (who(), any::<Index>(), 1..5_u16, asking())
            .prop_map(|(who, first, count, asking)| Step::Neighbours(who, first, count, asking)),
        3 => (who(), 0..5_u16, asking()).prop_map(|(who, count, asking)| Step::Best(who, count, asking)),
        4 => (any::<Index>(), whose(), any::<bool>()).prop_map(|(of, whose, paid)| Step::Confirm(of, whose, paid)),
        2 => (any::<Index>(), whose()).prop_map(|(of, whose)| Step::Cancel(of, whose)),
        2 => (any::<Index>(), whose()).prop_map(|(of, whose)| Step::Extend(of, whose)),
        3 => (any::<Index>(), vec(any::<Index>(), 0..3)).prop_map(|(of, seats)| Step::Release(of, seats)),
        4 => (any::<Index>(), any::<Index>()).prop_map(|(of, first)| Step::Exchange(of, first)),
        1 => (any::<Index>(), 1..3_u16).prop_map(|(first, count)| Step::Block(first, count)),
        1 => (any::<Index>(), 1..3_u16).prop_map(|(first, count)| Step::Unblock(first, count)),
        2 => Just(Step::Expire),
        6 => (any::<Index>(), payments(), 1..3_u128)
            .prop_map(|(of, payment, purchase)| Step::Payment(of, payment, purchase)),
        1 => any::<bool>().prop_map(Step::CancelShowtime),
    ]
}

fn payments() -> impl Strategy<Value = Payment> {
    let spans = select(vec![Duration::ZERO, Duration::from_mins(2), Duration::from_mins(10), Duration::MAX]);
    prop_oneof![3 => spans.prop_map(Payment::Begin), 1 => Just(Payment::Stop), 1 => Just(Payment::Confirm)]
}

/// Asks for a step of a payment, whatever the answer.
fn take_payment(stage: &mut Stage, reservation_id: ReservationId, payment: Payment, purchase: u128) {
    let (purchase_id, customer_id) = (PurchaseId(Uuid::from_u128(purchase)), None);
    let command = match payment {
        Payment::Begin(span) => Command::Pay { reservation_id, customer_id, purchase_id, span },
        Payment::Stop => Command::StopPayment { reservation_id, purchase_id },
        Payment::Confirm => {
            let (tender, purchase_id) = (None, Some(purchase_id));
            Command::Confirm { reservation_id, customer_id, tender, purchase_id, late: false }
        }
    };
    let _answer = stage.ask(&command);
}

/// Asks for a step, whatever the answer.
fn take(stage: &mut Stage, step: &Step) {
    let who = |who: &u8| customer(["ann", "bob", "eve"][usize::from(*who)]);
    let whose = |whose: &Option<u8>| whose.as_ref().map(who);
    // One of them was never made.
    let ids = stage.last_id + 2 - 100;
    let of = |index: &Index| ReservationId(Uuid::from_u128(100 + index.index(ids as usize) as u128));
    let plan = Arc::clone(stage.seating.plan());
    let count = plan.seat_index.seat_count();
    let name = |seat: u16| plan.seat_index.name(seat % count);
    let neighbours = |first: &Index, many: u16| -> Vec<_> {
        let first = first.index(usize::from(count)) as u16;
        (first..first + many).map(name).collect()
    };
    let choice = match step {
        Step::Named(_, seats) => {
            let place = |(index, known): &(Index, bool)| match known {
                true => name(index.index(usize::from(count)) as u16),
                false => seat("Z99"),
            };
            Choice::Seats(seats.iter().map(place).collect())
        }
        Step::Neighbours(_, first, length, _) => Choice::Seats(neighbours(first, *length)),
        Step::Best(_, count, _) => Choice::Best(*count),
        _ => Choice::Best(0),
    };
    let _answer = match step {
        Step::Named(by, _) => stage.choose(who(by).as_str(), choice).map(drop),
        Step::Neighbours(by, .., (accessible, from_block)) | Step::Best(by, _, (accessible, from_block)) => {
            let from_block = *from_block && matches!(choice, Choice::Seats(_));
            let wish = Wish { accessible: *accessible, from_block, ..wish(choice) };
            stage.wish(who(by).as_str(), wish).map(drop)
        }
        Step::Confirm(index, by, paid) => {
            let tender = paid.then(|| tender("cash"));
            let (reservation_id, customer_id) = (of(index), whose(by));
            let (purchase_id, late) = (None, *paid);
            stage.ask(&Command::Confirm { reservation_id, customer_id, tender, purchase_id, late }).map(drop)
        }
        Step::Cancel(index, by) => {
            stage.ask(&Command::Cancel { reservation_id: of(index), customer_id: whose(by) }).map(drop)
        }
        Step::Extend(index, by) => {
            stage.ask(&Command::Extend { reservation_id: of(index), customer_id: whose(by) }).map(drop)
        }
        Step::Release(index, seats) => {
            let has: Vec<_> = stage.seating.reservation(of(index)).into_iter().flat_map(|one| one.seats()).collect();
            let seats = seats.iter().filter(|_| !has.is_empty()).map(|at| name(*at.get(&has))).collect();
            stage.ask(&Command::Release { reservation_id: of(index), seats, reason: "why".to_owned() }).map(drop)
        }
        Step::Exchange(index, first) => {
            let many = stage.seating.reservation(of(index)).map_or(1, |one| one.seat_count());
            let seats = neighbours(first, many);
            stage.ask(&Command::Exchange { reservation_id: of(index), customer_id: None, seats }).map(drop)
        }
        Step::Block(first, many) => {
            let blockage = Blockage { reason: BlockReason::House, note: String::new() };
            stage.ask(&Command::Block { seats: neighbours(first, *many), blockage }).map(drop)
        }
        Step::Unblock(first, many) => stage.ask(&Command::Unblock { seats: neighbours(first, *many) }).map(drop),
        Step::Payment(index, payment, purchase) => {
            take_payment(stage, of(index), *payment, *purchase);
            Ok(())
        }
        Step::Expire => stage.ask(&Command::Expire).map(drop),
        Step::CancelShowtime(force) => {
            stage.ask(&Command::CancelShowtime { force: *force, expected_revision: None }).map(drop)
        }
    };
}

fn rows() -> impl Strategy<Value = Vec<String>> {
    // Mostly plain seats, and at least one.
    vec("[s]{0,3}[s_]{0,3}[sacp_.]{0,3}s", 1..4)
}

fn orphan_rules() -> impl Strategy<Value = OrphanRule> {
    prop_oneof![Just(OrphanRule::Allow), Just(OrphanRule::Refuse)]
}

fn wild_rules() -> impl Strategy<Value = Rules> {
    let spans = || {
        let long = TimeDelta::MAX.to_std().unwrap();
        select(vec![Duration::ZERO, Duration::from_nanos(1), Duration::from_mins(10), long, Duration::MAX])
    };
    let some = || prop_oneof![4 => 0..8_u16, 1 => Just(u16::MAX)];
    let on_request = spans().prop_map(|open_before| AccessibleSeats::OnRequest { open_before });
    let accessible_seats = prop_oneof![Just(AccessibleSeats::Open), on_request];
    (some(), some(), spans(), spans(), orphan_rules(), accessible_seats).prop_map(
        |(max_seats, max_customer_seats, closing, extension, orphan_rule, accessible_seats)| Rules {
            max_seats,
            max_customer_seats,
            closing,
            extension,
            orphan_rule,
            accessible_seats,
        },
    )
}

/// Times around the showtime, and the earliest and the latest that there are.
fn leaps() -> impl Strategy<Value = DateTime<Utc>> {
    let near = (0..(9 * 60_i64)).prop_map(|minute| super::opening() + TimeDelta::minutes(minute));
    let soon = (0..30_i64).prop_map(|minute| super::opening() + TimeDelta::minutes(minute));
    let ends = select(vec![DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC, DateTime::UNIX_EPOCH]);
    prop_oneof![20 => soon, 4 => near, 1 => ends]
}

fn stage(rows: &[String], rules: Rules) -> Stage {
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    Stage::with(&rows, |usual| *usual = rules)
}

/// A showtime on sale in which some seats are held, sold and lapsed.
fn played() -> impl Strategy<Value = Stage> {
    let busy = || steps().prop_filter("it goes on", |step| !matches!(step, Step::CancelShowtime(_)));
    (rows(), orphan_rules(), vec((busy(), 0..5_i64), 0..12)).prop_map(|(rows, orphan_rule, steps)| {
        let mut stage = stage(&rows, Rules { max_customer_seats: 100, orphan_rule, ..super::rules() });
        for (step, minutes) in &steps {
            stage.now += TimeDelta::minutes(*minutes);
            take(&mut stage, step);
        }
        stage
    })
}

/// The block that a customer without seats would get now.
fn ask(stage: &mut Stage, choice: Choice) -> Result<Block, Refusal> {
    let now = stage.seating.moment(&Command::Expire, stage.now);
    let reservation_id = ReservationId(Uuid::from_u128(7));
    let customer_id = customer(STRANGER);
    let command = Command::Reserve { reservation_id, customer_id, wish: wish(choice) };
    let Decision { reservation, .. } = stage.seating.decide(&command, &stage.rules, now)?;
    Ok(reservation.expect("a reservation was asked for").first_block)
}

fn names(stage: &Stage, block: Block) -> Vec<SeatName> {
    stage.seating.plan().seat_index.names(block).collect()
}

/// Every block of this size, free or not.
fn blocks(stage: &Stage, count: u16) -> Vec<Block> {
    let all = 0..stage.seating.plan().seat_index.seat_count();
    all.map(|first| Block { first, count }).filter(|block| stage.seating.has_block(*block)).collect()
}

/// Every free block of this size.
fn free_blocks(stage: &Stage, count: u16) -> Vec<Block> {
    let now = stage.now.max(stage.seating.latest());
    let live =
        || stage.seating.live().filter(|one| matches!(one.phase(now), Phase::Held | Phase::Paying | Phase::Confirmed));
    let is_blocked = |block: &Block| block.seats().any(|seat| stage.seating.is_blocked(seat));
    let unblocked = blocks(stage, count).into_iter().filter(|block| !is_blocked(block));
    unblocked.filter(|block| !live().any(|one| one.seats().any(|seat| block.seats().contains(&seat)))).collect()
}

/// The free seats without a free neighbour, if this block is taken as well.
fn without_free_neighbour(stage: &Stage, taken: Option<Block>) -> BTreeSet<u16> {
    let all: BTreeSet<u16> = free_blocks(stage, 1).into_iter().map(|one| one.first).collect();
    let free: BTreeSet<u16> =
        all.into_iter().filter(|seat| !taken.is_some_and(|block| block.seats().contains(seat))).collect();
    let beside =
        |one: u16, other: u16| free.contains(&other) && stage.seating.has_block(Block { first: one, count: 2 });
    let alone = |seat: &u16| !beside(*seat, seat + 1) && !seat.checked_sub(1).is_some_and(|left| beside(left, left));
    free.iter().copied().filter(alone).collect()
}

/// The seats that have no free neighbour any more if this block is taken.
fn orphans(stage: &Stage, block: Block) -> Vec<u16> {
    without_free_neighbour(stage, Some(block)).difference(&without_free_neighbour(stage, None)).copied().collect()
}

fn leaves_orphan(stage: &Stage, block: Block) -> bool {
    !orphans(stage, block).is_empty()
}

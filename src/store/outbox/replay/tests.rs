//! Rows are replayed from their steps alone, whatever becomes of the public events beside them.

mod paying;

use std::time::Duration;

use chrono::TimeDelta;
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage as _, Value};
use uuid::Uuid;

use super::*;
use crate::{
    domain::{
        prices::{TicketCount, TicketType},
        seat_index::{RowLabel, SeatName},
        seat_map::{Followed, SeatMap},
        seating::{AccessibleSeats, Choice, Command, OrphanRule, Rules, ShowtimePlan, Wish, tests::plan},
        showtime,
    },
    pb::{self, boxoffice::events::v1 as events},
    store::outbox::add_changes,
};

const RULES: Rules = Rules {
    max_seats: 10,
    max_customer_seats: 10,
    closing: Duration::ZERO,
    extension: Duration::from_mins(5),
    orphan_rule: OrphanRule::Allow,
    accessible_seats: AccessibleSeats::Open,
};

/// The instance that makes the changes, and the rows that it writes: one for each decision.
struct Writer {
    seating: Seating,
    rows: Vec<Vec<u8>>,
}

fn start() -> DateTime<Utc> {
    plan(&["s"]).facts.create_time
}

fn fresh() -> Seating {
    Seating::new(plan(&["ssssss"]), showtime::State::Scheduled, 1, start(), [], [])
}

fn id(number: u128) -> ReservationId {
    ReservationId(Uuid::from_u128(number))
}

fn wish() -> Wish {
    Wish { choice: Choice::Best(1), tickets: Vec::new(), accessible: false, from_block: false }
}

fn tender() -> Tender {
    Tender { method: "card".to_owned(), transaction_id: "till 3/4711".to_owned() }
}

impl Writer {
    fn decide(&mut self, command: &Command, minute: i64) {
        let now = self.seating.moment(command, start() + TimeDelta::minutes(minute));
        let changes = self.seating.decide(command, &RULES, now).expect("the rules allow it").changes;
        self.seating.apply(&changes, now);
        let mut row = Vec::new();
        add_changes(&mut row, self.seating.plan(), self.seating.revision(), now, None, &changes);
        self.rows.push(row);
    }

    /// Every kind of change, at least once.
    fn with_every_change() -> Self {
        let mut writer = Self { seating: fresh(), rows: Vec::new() };
        let customer_id = |who: &str| CustomerId::parse(who).expect("a customer id");
        let row = RowLabel::parse("A").expect("a label");
        let name = |number| SeatName { row, number };
        let reserve = |number: u128, who: &str, seats: std::ops::RangeInclusive<i32>| Command::Reserve {
            reservation_id: id(number),
            customer_id: customer_id(who),
            wish: Wish { choice: Choice::Seats(seats.map(name).collect()), ..wish() },
        };
        let anybodys = |number| (id(number), None);
        let confirm = |number, tender| {
            let (reservation_id, customer_id) = anybodys(number);
            Command::Confirm { reservation_id, customer_id, tender, purchase_id: None, late: false }
        };
        let confirm_late = |number| {
            let (reservation_id, customer_id) = anybodys(number);
            Command::Confirm { reservation_id, customer_id, tender: Some(tender()), purchase_id: None, late: true }
        };
        writer.decide(&reserve(1, "ann", 1..=2), 0);
        writer.decide(&confirm(1, Some(tender())), 1);
        writer.decide(&reserve(2, "bob", 3..=3), 2);
        let (reservation_id, customer_id) = anybodys(2);
        writer.decide(&Command::Extend { reservation_id, customer_id }, 3);
        writer.decide(&reserve(3, "eve", 4..=6), 4);
        let (reservation_id, customer_id) = anybodys(3);
        writer.decide(&Command::Cancel { reservation_id, customer_id }, 5);
        writer.decide(&reserve(4, "joe", 4..=4), 6);
        writer.decide(&Command::Expire, 30);
        writer.decide(&reserve(5, "ann", 3..=6), 31);
        writer.decide(&reserve(6, "kim", 3..=6), 45);
        writer.decide(&confirm(6, None), 46);
        writer.change_what_is_sold(&reserve, &confirm_late, &name);
        writer.pay_for_seats(&reserve);
        writer.decide(&Command::CancelShowtime { force: true, expected_revision: None }, 120);
        writer
    }

    /// Every kind of change of what is sold, and of blocked seats. Seats 1 and 2 are sold, and seats 3 to 6.
    fn change_what_is_sold(
        &mut self,
        reserve: &impl Fn(u128, &str, std::ops::RangeInclusive<i32>) -> Command,
        confirm_late: &impl Fn(u128) -> Command,
        name: &impl Fn(i32) -> SeatName,
    ) {
        let seats = |numbers: &[i32]| numbers.iter().map(|number| name(*number)).collect::<Vec<_>>();
        let exchange = |number: u128, numbers: &[i32]| Command::Exchange {
            reservation_id: id(number),
            customer_id: None,
            seats: seats(numbers),
        };
        let release = Command::Release { reservation_id: id(6), seats: seats(&[4, 5]), reason: "why".to_owned() };
        self.decide(&release, 47);
        let blockage = Blockage { reason: BlockReason::Company, note: "a note".to_owned() };
        self.decide(&Command::Block { seats: seats(&[5, 4]), blockage }, 48);
        self.decide(&Command::Unblock { seats: seats(&[4, 5]) }, 49);
        self.decide(&exchange(1, &[4, 5]), 50);
        self.decide(&reserve(7, "lou", 1..=1), 51);
        self.decide(&exchange(7, &[2]), 52);
        self.decide(&confirm_late(7), 63);
        self.decide(&reserve(8, "ann", 1..=1), 64);
        let (reservation_id, customer_id) = (id(8), None);
        self.decide(&Command::Cancel { reservation_id, customer_id }, 65);
        self.decide(&confirm_late(8), 66);
        self.decide(&Command::Release { reservation_id: id(7), seats: Vec::new(), reason: "why".to_owned() }, 67);
    }

    /// All changes in one row, as a batch writes them.
    fn in_one_row(&self) -> Vec<u8> {
        self.rows.concat()
    }
}

/// All that a seating knows.
fn facts(seating: &Seating) -> impl PartialEq + std::fmt::Debug + use<> {
    // A reservation for which money is due is read anew when it is asked for.
    let known = |number| seating.reservation(id(number)).filter(|one| one.refund_due().is_none()).cloned();
    let reservations: Vec<_> = (1..=11).map(known).collect();
    let counted = (seating.unclaimed_count(), seating.live_count(), seating.next_lapse());
    (seating.revision(), seating.state(), seating.latest(), counted, reservations)
}

/// Replays rows on a fresh seating and on a fresh seat map.
fn replayed<'a>(rows: impl IntoIterator<Item = &'a Vec<u8>>) -> (Seating, SeatMap) {
    let mut seating = fresh();
    let mut map = SeatMap::new(plan(&["ssssss"]), 1, showtime::State::Scheduled, []);
    for row in rows {
        assert!(replay(&mut seating, row));
        let delta = delta(&map.plan().seat_index, row).expect("the row tells what it changes");
        assert_eq!(map.follow(&delta), Followed::Done);
    }
    (seating, map)
}

fn shown(map: &SeatMap) -> impl PartialEq + std::fmt::Debug + use<> {
    (map.revision(), map.cancelled(), map.at(start()).collect::<Vec<_>>())
}

/// The row with its public events replaced.
fn with_events(row: &[u8], events: &[u8]) -> Vec<u8> {
    let Row { steps } = Row::decode(row).expect("a row");
    [events, &Row { steps }.encode_to_vec()].concat()
}

#[test]
fn another_instance_comes_to_the_same_row_by_row_and_all_at_once() {
    let writer = Writer::with_every_change();
    let (seating, map) = replayed(&writer.rows);
    assert_eq!(facts(&seating), facts(&writer.seating));
    let (at_once, map_at_once) = replayed(&[writer.in_one_row()]);
    assert_eq!((facts(&at_once), shown(&map_at_once)), (facts(&seating), shown(&map)));
    let sold = seating.reservation(id(1)).expect("it is known");
    assert_eq!(sold.sale().and_then(|sale| sale.tender.clone()), Some(tender()));
    assert_eq!(seating.reservation(id(4)).map(|it| it.state().clone()), Some(State::Expired));
}

#[test]
fn public_events_can_lose_any_field_and_replay_comes_to_the_same() {
    let writer = Writer::with_every_change();
    let expected = (facts(&writer.seating), shown(&replayed(&writer.rows).1));
    let check = |rows: &[Vec<u8>], what: &str| {
        let (seating, map) = replayed(rows);
        assert_eq!((facts(&seating), shown(&map)), expected, "{what}");
    };
    let without: Vec<_> = writer.rows.iter().map(|row| with_events(row, &[])).collect();
    check(&without, "without events");
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).expect("descriptors");
    let descriptor = pool.get_message_by_name("boxoffice.events.v1.Events").expect("the message");
    let mut cleared = 0;
    for (at, row) in writer.rows.iter().enumerate() {
        let public = events::Events::decode(&**row).expect("events").encode_to_vec();
        let public = DynamicMessage::decode(descriptor.clone(), &*public).expect("events");
        for path in paths(&public) {
            let mut redacted = public.clone();
            clear(&mut redacted, &path);
            assert_ne!(redacted, public, "{path:?} was cleared");
            let mut rows = writer.rows.clone();
            rows[at] = with_events(row, &redacted.encode_to_vec());
            check(&rows, &format!("row {at} without {path:?}"));
            cleared += 1;
        }
    }
    assert!(cleared > 100, "only {cleared} fields were cleared");
}

/// Where a field is: the numbers of the fields on the way, and the items of repeated ones.
type Path = Vec<(u32, Option<usize>)>;

/// Every field that is set, also inside of others.
fn paths(message: &DynamicMessage) -> Vec<Path> {
    let mut found = Vec::new();
    for (field, value) in message.fields() {
        found.push(vec![(field.number(), None)]);
        let items: Vec<(Option<usize>, &DynamicMessage)> = match value {
            Value::Message(inner) => vec![(None, inner)],
            Value::List(items) => {
                let messages = items.iter().enumerate();
                messages.filter_map(|(at, item)| Some((Some(at), item.as_message()?))).collect()
            }
            _ => Vec::new(),
        };
        for (at, inner) in items {
            found.extend(paths(inner).into_iter().map(|path| [vec![(field.number(), at)], path].concat()));
        }
    }
    found
}

fn clear(message: &mut DynamicMessage, path: &[(u32, Option<usize>)]) {
    let Some(((number, at), rest)) = path.split_first() else { return };
    let field = message.descriptor().get_field(*number).expect("the field");
    if rest.is_empty() {
        return message.clear_field(&field);
    }
    let value = message.get_field_mut(&field);
    let inner = match at {
        Some(at) => value.as_list_mut().and_then(|items| items.get_mut(*at)).expect("the item"),
        None => value,
    };
    clear(inner.as_message_mut().expect("a message"), rest);
}

/// These bytes are in the outbox of running deployments: they must stay readable for one release at least.
#[test]
fn a_step_has_these_fields_and_no_others() {
    let writer = Writer::with_every_change();
    let minute = |minute: i64| (start() + TimeDelta::minutes(minute)).timestamp_micros();
    let change = |number: u128, (first_seat, seat_count), kind| StepChange {
        reservation_id: id(number).0.as_bytes().to_vec(),
        first_seat,
        seat_count,
        seats: Vec::new(),
        kind: Some(kind),
    };
    let hold = NewHold { customer_id: "ann".to_owned(), total_minor: 1_900, expire_time: minute(10), lines: None };
    let tender = StepTender { method: "card".to_owned(), transaction_id: "till 3/4711".to_owned() };
    let sale = NewSale { tender: Some(tender) };
    let expected = [
        (0, 2, 0, vec![change(1, (0, 2), Kind::Held(hold))]),
        (1, 3, 1, vec![change(1, (0, 2), Kind::Confirmed(sale))]),
        (3, 5, 3, vec![change(2, (2, 1), Kind::Extended(minute(17)))]),
        (5, 7, 5, vec![change(3, (3, 3), Kind::Cancelled(()))]),
        (7, 9, 30, vec![change(2, (2, 1), Kind::Expired(())), change(4, (3, 1), Kind::Expired(()))]),
    ];
    for (row, revision, at, changes) in expected {
        let step = Step { format: 1, revision, decide_time: minute(at), changes };
        assert_eq!(read(&writer.rows[row]), Some(vec![step]));
    }
    let steps = |row: &[u8]| Row::decode(row).expect("a row").encode_to_vec();
    let held_row = "1236080110021880a09f81eaf1b00322270a1000000000000000000000000000000001180222110a03616e6e10ec0e1880acac9f\
        ecf1b003";
    assert_eq!(steps(&writer.rows[0]), bytes(held_row));
    let sold_row = "123a080110031880aeed9deaf1b003222b0a100000000000000000000000000000000118022a150a130a0463617264120b74696c6c\
        20332f34373131";
    assert_eq!(steps(&writer.rows[1]), bytes(sold_row));
}

/// The rows of [`Writer::with_every_change`] from the release of seats on, as they were first written: they stay readable, too.
#[test]
fn changes_of_what_is_sold_have_the_third_format_and_these_bytes() {
    let writer = Writer::with_every_change();
    let first = 11;
    for (at, expected) in SALE_STEPS.into_iter().enumerate() {
        let row = &writer.rows[first + at];
        let steps = Row::decode(&**row).expect("a row");
        assert_eq!(steps.encode_to_vec(), bytes(expected), "row {}", first + at);
    }
}

/// Seats 4 and 5 are given back, blocked and unblocked; a sale is exchanged for them; a hold is made, exchanged and recovered.
const SALE_STEPS: [&str; 7] = [
    "122c0803100d1880b2f6c1f4f1b003221d0a10000000000000000000000000000000065a040a0203048201020205",
    "12150803100e1880c0c4def4f1b003220672040a020304",
    "12150803100f1880ce92fbf4f1b00322067a040a020304",
    "122f080310101880dce097f5f1b00322200a100000000000000000000000000000000152070a02000110ec0e8201020304",
    "1236080110111880eaaeb4f5f1b00322270a1000000000000000000000000000000007180122110a036c6f7510b6071880f6bbd2f7f1b0\
     03",
    "1236080310121880f8fcd0f5f1b00322270a1000000000000000000000000000000007520f0a010010b6072080f6bbd2f7f1b003820101\
     01",
    "12880108031013188092d88bf8f1b00322180a1000000000000000000000000000000007420082010101225f0a10000000000000000000\
     0000000000000762470a110a036c6f7510b6071880f6bbd2f7f1b00312070a02080118b6071880eaaeb4f5f1b0032080f6bbd2f7f1b003\
     281132130a0463617264120b74696c6c20332f34373131400182010101",
];

/// A hold by a price list. Without its lines it would be misread, so it has the later format. The lines are in `reservations`, too.
#[test]
fn a_hold_with_lines_has_the_second_format_and_these_bytes() {
    let seating = fresh();
    let ShowtimePlan { facts, seat_index } = seating.plan().as_ref();
    let mut facts = (**facts).clone();
    facts.prices.ticket_types[0].code = "adult".to_owned();
    facts.prices.ticket_types.push(TicketType { code: "child".to_owned(), name: "Child".to_owned(), minor: 600 });
    (facts.prices.fee, facts.prices.tax_basis_points) = (50, 1_000);
    let plan = Arc::new(ShowtimePlan { facts: Arc::new(facts), seat_index: Arc::clone(seat_index) });
    let priced = || Seating::new(Arc::clone(&plan), showtime::State::Scheduled, 1, start(), [], []);
    let mut writer = Writer { seating: priced(), rows: Vec::new() };
    let tickets = ["child", "adult"].map(|code| TicketCount { code: code.to_owned(), count: 1 }).to_vec();
    let customer_id = CustomerId::parse("ann").expect("a customer id");
    let wish = Wish { choice: Choice::Best(2), tickets, ..wish() };
    let reserve = Command::Reserve { reservation_id: id(1), customer_id, wish };
    writer.decide(&reserve, 0);
    let steps = read(&writer.rows[0]).expect("it can be read");
    assert_eq!(steps[0].format, 2);
    let Some(Kind::Held(NewHold { lines: Some(lines), total_minor, .. })) = &steps[0].changes[0].kind else {
        panic!("{steps:?}");
    };
    let expected = bytes("0a09080110d8042032283b0a0710b6072032285b");
    assert_eq!((lines.encode_to_vec(), *total_minor), (expected, 1_650));
    let mut seating = priced();
    assert!(replay(&mut seating, &writer.rows[0]));
    assert_eq!(seating.reservation(id(1)), writer.seating.reservation(id(1)));
}

/// The bytes that are written as hexadecimal digits.
fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[test]
fn what_cannot_be_followed_is_not_replayed() {
    let writer = Writer::with_every_change();
    let refused = |row: &[u8], what: &str| {
        assert!(!replay(&mut fresh(), row), "{what}");
    };
    let unseen = |row: &[u8], what: &str| {
        refused(row, what);
        assert_eq!(delta(&fresh().plan().seat_index, row), None, "{what}");
    };
    let changed = |change: fn(&mut Step)| {
        let mut row = Row::decode(&*writer.rows[0]).expect("a row");
        change(&mut row.steps[0]);
        row.encode_to_vec()
    };
    assert!(replay(&mut fresh(), &changed(|_| {})), "the row as it was written");
    unseen(&[], "an empty row");
    unseen(&[0xff], "no row at all");
    let public = events::Events::decode(&*writer.rows[0]).expect("events").encode_to_vec();
    unseen(&public, "the row of a version that wrote no steps");
    unseen(&changed(|step| step.format = FORMAT + 1), "the row of a later version");
    unseen(&changed(|step| step.format = 0), "no format");
    unseen(&changed(|step| step.changes[0].kind = None), "a change of an unknown kind");
    unseen(&changed(|step| step.changes[0].seat_count = 7), "more seats than there are");
    unseen(&changed(|step| step.changes[0].first_seat = u32::MAX), "a seat that is none");
    unseen(&changed(|step| step.changes[0].seat_count = 0), "no seats");
    unseen(&[&*writer.rows[0], &*writer.rows[2]].concat(), "a gap in the row");
    refused(&writer.rows[1], "a gap before the row");
    refused(&changed(|step| step.changes[0].reservation_id.clear()), "no reservation");
}

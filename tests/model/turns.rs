//! Random turns of a showtime: commands at times that are likely to conflict with earlier ones.

use std::{collections::HashMap, time::Duration};

use boxoffice::domain::{
    auditorium::{Auditorium, NewAuditorium},
    ids::{AuditoriumId, ReservationId, ShowtimeId},
    layout::{Layout, LayoutRow, SeatKind},
    money::{Currency, Money},
    movie::{Movie, MovieId, Source, Sourced},
    prices::{PriceList, TicketCount, TicketType},
    reservation::{CustomerId, Reservation, State, Tender},
    seat_index::{RowLabel, SeatName},
    seating::{AccessibleSeats, BlockReason, Blockage, Choice, Command, OrphanRule, Rules, Wish},
    showtime::{Encoded, Facts},
};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use proptest::{
    collection::vec,
    prelude::{BoxedStrategy, Just, Strategy, any},
    prop_oneof,
    sample::{Index, select},
    strategy::Union,
};
use proptest_state_machine::ReferenceStateMachine;
use uuid::Uuid;

use super::payments::payments;
use crate::harness::model::{Answer, Model};

/// The showtime starts one hour after it was scheduled and lasts two.
const START: TimeDelta = TimeDelta::hours(1);
const END: TimeDelta = TimeDelta::hours(3);
/// The number of turns before a showtime may be cancelled or its sale may close, after which most commands are refused.
const LATE: u32 = 25;
pub(super) const CUSTOMERS: [&str; 4] = ["ann", "bob", "eve", "joe"];

/// The time at which the showtime is scheduled.
pub(super) fn opening() -> DateTime<Utc> {
    let day = NaiveDate::from_ymd_opt(2030, 5, 1).and_then(|day| day.and_hms_opt(12, 0, 0));
    day.expect("a day").and_utc()
}

/// The auditorium, the showtime and the rules.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) auditorium: NewAuditorium,
    pub(super) facts: Facts,
    pub(super) rules: Rules,
}

/// A showtime after some turns.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) scenario: Scenario,
    pub(super) model: Model,
    pub(super) clock: DateTime<Utc>,
    /// The answer to the last turn.
    pub(super) answer: Option<Answer>,
    turns: u32,
    /// The number of reservations that were requested.
    request_count: u128,
}

/// The next command.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    /// The time on the clock. It may be earlier than that of the turn before.
    pub(super) clock: DateTime<Utc>,
    pub(super) command: Command,
    pub(super) validate_only: bool,
    /// An earlier request to repeat, in systems whose requests have ids.
    pub(super) repeated: Option<Index>,
}

/// The state machine that the systems are compared with.
pub(super) struct ShowtimeMachine;

impl ReferenceStateMachine for ShowtimeMachine {
    type State = Progress;
    type Transition = Turn;

    fn init_state() -> BoxedStrategy<Progress> {
        scenarios()
            .prop_map(|scenario| Progress {
                model: Model::new(&scenario.auditorium.layout, scenario.facts.clone(), scenario.rules.clone()),
                scenario,
                clock: opening(),
                answer: None,
                turns: 0,
                request_count: 0,
            })
            .boxed()
    }

    fn transitions(progress: &Progress) -> BoxedStrategy<Turn> {
        let repeated = prop_oneof![5 => Just(None), 1 => any::<Index>().prop_map(Some)];
        let validate_only = prop_oneof![9 => Just(false), 1 => Just(true)];
        (times(progress), commands(progress), validate_only, repeated)
            .prop_map(|(clock, command, validate_only, repeated)| Turn { clock, command, validate_only, repeated })
            .boxed()
    }

    fn apply(mut progress: Progress, turn: &Turn) -> Progress {
        let answer = if turn.validate_only {
            progress.model.validate(&turn.command, turn.clock)
        } else {
            progress.model.execute(&turn.command, turn.clock)
        };
        if let Command::Reserve { reservation_id, .. } = &turn.command {
            progress.request_count = progress.request_count.max(reservation_id.0.as_u128());
        }
        Progress { clock: turn.clock, answer: Some(answer), turns: progress.turns + 1, ..progress }
    }
}

fn scenarios() -> impl Strategy<Value = Scenario> {
    // Mostly plain seats, at least one in a row.
    let rows = vec("[s]{0,4}[sp_]{0,2}[sacp_.]{0,3}s", 1..4);
    let limits = (select(vec![1, 3, 4, 5]), select(vec![2, 5, 8, 20]));
    let hold = select(vec![30, 60, 300, 600]).prop_map(Duration::from_secs);
    let spans = (select(vec![0, 300]), select(vec![0, 1, 60, 60, 7200]));
    let orphan_rule = prop_oneof![Just(OrphanRule::Allow), Just(OrphanRule::Refuse)];
    let on_request = select(vec![0, 1_800, 3_600]).prop_map(Duration::from_secs);
    let accessible_seats = prop_oneof![
        1 => Just(AccessibleSeats::Open),
        1 => on_request.prop_map(|open_before| AccessibleSeats::OnRequest { open_before }),
    ];
    let choosing = (orphan_rule, accessible_seats);
    (rows, limits, hold, spans, choosing, price_lists()).prop_map(
        |(rows, (max_seats, max_customer_seats), hold_duration, (closing, extension), choosing, prices)| {
            let (orphan_rule, accessible_seats) = choosing;
            let (closing, extension) = (Duration::from_secs(closing), Duration::from_secs(extension));
            let rules = Rules { max_seats, max_customer_seats, closing, extension, orphan_rule, accessible_seats };
            let auditorium = auditorium(rows);
            Scenario { facts: facts(&auditorium, hold_duration, prices), auditorium, rules }
        },
    )
}

/// One price, or types, supplements, a fee and a tax, in currencies of 0, 2 and 3 decimal places.
fn price_lists() -> impl Strategy<Value = PriceList> {
    let currency = select(vec!["JPY", "EUR", "KWD"]).prop_map(|code| Currency::parse(code).expect("a currency"));
    let amounts = (0..5_000_i64, 0..3_000_i64, 0..500_i64, 0..100_i64);
    let list = (currency.clone(), amounts, select(vec![0, 700, 2_100, 10_000]), any::<bool>());
    let list = list.prop_map(|(currency, (adult, child, premium, fee), tax_basis_points, has_supplement)| {
        let of = |code: &str, minor| TicketType { code: code.to_owned(), name: code.to_owned(), minor };
        PriceList {
            currency,
            ticket_types: vec![of("adult", adult), of("child", child)],
            supplements: if has_supplement { vec![(SeatKind::Premium, premium)] } else { Vec::new() },
            fee,
            tax_basis_points,
        }
    });
    prop_oneof![
        1 => (currency, 0..5_000_i64).prop_map(|(currency, minor)| PriceList::plain(Money { currency, minor })),
        2 => list,
    ]
}

/// Tickets for a choice: none, as many as seats, or sometimes others.
fn tickets(choice: &Choice, has_types: bool) -> BoxedStrategy<Vec<TicketCount>> {
    let seats = match choice {
        Choice::Seats(names) => names.len() as u16,
        Choice::Best(count) => *count,
    };
    let first = if has_types { "adult" } else { "standard" };
    let of = |code: &str, count| TicketCount { code: code.to_owned(), count };
    let split = (0..=seats).prop_map(move |adults| {
        let counts = [of(first, adults), of(if has_types { "child" } else { first }, seats - adults)];
        counts.into_iter().filter(|ticket| ticket.count > 0).collect()
    });
    let any = vec((select(vec!["adult", "child", "standard", "senior"]), 1..4_u16), 1..3);
    let any = any.prop_map(move |counts| counts.into_iter().map(|(code, count)| of(code, count)).collect());
    prop_oneof![5 => Just(Vec::new()), 5 => split, 1 => any].boxed()
}

fn auditorium(rows: Vec<String>) -> NewAuditorium {
    let labelled = ["A", "B", "C", "D"].into_iter().zip(rows);
    let rows = labelled.map(|(label, places)| LayoutRow { label: label.to_owned(), places, numbers: Vec::new() });
    NewAuditorium {
        name: "Screen 1".to_owned(),
        cinema: "Grand Palace".to_owned(),
        time_zone: chrono_tz::UTC,
        layout: Layout::new(rows.collect()).expect("a layout"),
    }
}

fn facts(auditorium: &NewAuditorium, hold_duration: Duration, prices: PriceList) -> Facts {
    let movie = Movie {
        movie_id: MovieId::parse("tt1375666").expect("an id"),
        title: "Inception".to_owned(),
        full_title: "Inception (2010)".to_owned(),
        year: Some(2010),
        image_uri: String::new(),
        crew: String::new(),
        rating: None,
        rating_count: None,
        rank: None,
    };
    let auditorium = Auditorium {
        auditorium_id: AuditoriumId(Uuid::from_u128(1)),
        name: auditorium.name.clone(),
        cinema: auditorium.cinema.clone(),
        time_zone: auditorium.time_zone,
        layout: None,
        seat_count: auditorium.layout.seat_count(),
        create_time: opening(),
    };
    Facts {
        showtime_id: ShowtimeId(Uuid::from_u128(2)),
        movie: Sourced { value: movie, source: Source::Live, fetch_time: opening() },
        auditorium,
        start_time: opening() + START,
        end_time: opening() + END,
        local_date: (opening() + START).date_naive(),
        prices,
        hold_duration,
        create_time: opening(),
        encoded: Encoded::default(),
    }
}

/// Chooses the time of the next turn: the same time, a little later or earlier, or within a microsecond of the end of a hold,
/// of a payment's time or of the sale.
fn times(progress: &Progress) -> BoxedStrategy<DateTime<Utc>> {
    let clock = progress.clock;
    let micros = || (-1..=1_i64).prop_map(TimeDelta::microseconds);
    let ends = progress.model.reservations().iter().filter_map(|it| match it.state {
        State::Held => Some(it.expire_time),
        State::Paying(paying) => Some(paying.pay_until),
        _ => None,
    });
    let ends: Vec<_> = ends.filter(|end| *end >= clock).collect();
    let closes =
        progress.scenario.facts.start_time - TimeDelta::from_std(progress.scenario.rules.closing).expect("a span");
    let far = select(vec![closes, progress.scenario.facts.start_time, progress.scenario.facts.end_time]);
    let mut times = vec![
        (50, Just(clock).boxed()),
        (40, (1..40_i64).prop_map(move |seconds| clock + TimeDelta::seconds(seconds)).boxed()),
        (5, (1..30_i64).prop_map(move |seconds| clock - TimeDelta::seconds(seconds)).boxed()),
    ];
    if progress.turns > LATE {
        times.push((10, (far, micros()).prop_map(|(far, by)| far + by).boxed()));
    }
    if !ends.is_empty() {
        times.push((20, (select(ends), micros()).prop_map(|(end, by)| end + by).boxed()));
    }
    Union::new_weighted(times).boxed()
}

fn commands(progress: &Progress) -> BoxedStrategy<Command> {
    let existing: Vec<_> = progress.model.reservations().iter().map(|it| it.reservation_id).collect();
    let next = ReservationId(Uuid::from_u128(progress.request_count + 1));
    let has_types = progress.scenario.facts.prices.ticket_types.len() > 1;
    let choices = choices(&progress.model).prop_flat_map(move |choice| (tickets(&choice, has_types), Just(choice)));
    let asking = (prop_oneof![3 => Just(false), 1 => Just(true)], prop_oneof![4 => Just(false), 1 => Just(true)]);
    let wishes = (choices, asking).prop_map(|((tickets, choice), (accessible, from_block))| {
        let from_block = from_block && matches!(choice, Choice::Seats(_));
        Wish { choice, tickets, accessible, from_block }
    });
    let reserve = (customers(), wishes).prop_map(move |(customer_id, wish)| Command::Reserve {
        reservation_id: next,
        customer_id,
        wish,
    });
    let unknown = ReservationId(Uuid::from_u128(u128::from(u32::MAX)));
    // Most commands are about the latest reservations.
    let which = move || {
        let position = prop_oneof![
            6 => any::<Index>().prop_map(|index| index.index(3)),
            6 => any::<Index>().prop_map(|index| index.index(100)),
        ];
        let existing = existing.clone();
        position
            .prop_map(move |back| existing.iter().rev().nth(back % existing.len().max(1)).copied().unwrap_or(unknown))
    };
    let customer = || prop_oneof![6 => Just(None), 1 => customers().prop_map(Some)];
    let confirm =
        (which(), customer(), tenders(), any::<bool>()).prop_map(|(reservation_id, customer_id, tender, is_late)| {
            let late = is_late && tender.is_some();
            Command::Confirm { reservation_id, customer_id, tender, purchase_id: None, late }
        });
    let cancel =
        (which(), customer()).prop_map(|(reservation_id, customer_id)| Command::Cancel { reservation_id, customer_id });
    let extend =
        (which(), customer()).prop_map(|(reservation_id, customer_id)| Command::Extend { reservation_id, customer_id });
    let to_cancel = if progress.turns > LATE { 8 } else { 0 };
    let revision = progress.model.revision();
    let expected = prop_oneof![3 => Just(None), 3 => Just(Some(revision)), 2 => (-2..=2_i64).prop_map(move |by| Some(revision + by))];
    let cancel_showtime = (any::<bool>(), expected)
        .prop_map(|(force, expected_revision)| Command::CancelShowtime { force, expected_revision });
    prop_oneof![
        50 => reserve,
        24 => confirm,
        24 => payments(which(), customer(), tenders()),
        8 => cancel,
        12 => extend,
        14 => releases(&progress.model, which()),
        16 => exchanges(&progress.model, which(), customer()),
        8 => blocks(&progress.model),
        8 => Just(Command::Expire),
        to_cancel => cancel_showtime,
    ]
    .boxed()
}

/// The seats of each reservation.
fn seats_of_reservations(model: &Model) -> HashMap<ReservationId, Vec<u16>> {
    let all = model.reservations().iter().map(|it| Reservation::restore(it.clone()));
    all.map(|it| (it.reservation_id, it.seats().collect())).collect()
}

fn names(model: &Model) -> Vec<SeatName> {
    (0..model.seat_count()).map(|seat| model.name(seat)).collect()
}

/// Gives back seats that a reservation has, and sometimes others.
fn releases(model: &Model, which: impl Strategy<Value = ReservationId> + 'static) -> BoxedStrategy<Command> {
    let (has, names) = (seats_of_reservations(model), names(model));
    let others = vec(select(names.clone()), 0..2);
    let seats = (which, vec(any::<Index>(), 0..3), others);
    let release = seats.prop_map(move |(reservation_id, own, others)| {
        let has = has.get(&reservation_id).cloned().unwrap_or_default();
        let own = own.iter().filter(|_| !has.is_empty()).map(|index| names[usize::from(*index.get(&has))]);
        Command::Release { reservation_id, seats: own.chain(others).collect(), reason: "a reason".to_owned() }
    });
    release.boxed()
}

/// Exchanges the seats of a reservation, mostly for as many neighbours.
fn exchanges(
    model: &Model,
    which: impl Strategy<Value = ReservationId> + 'static,
    customer: impl Strategy<Value = Option<CustomerId>> + 'static,
) -> BoxedStrategy<Command> {
    let (has, names) = (seats_of_reservations(model), names(model));
    let seats = (which, customer, any::<Index>(), 0..10_u8);
    let exchange = seats.prop_map(move |(reservation_id, customer_id, first, other)| {
        let many = has.get(&reservation_id).map_or(1, Vec::len) + usize::from(other == 0);
        let first = first.index(names.len());
        let seats = names[first..names.len().min(first + many)].to_vec();
        Command::Exchange { reservation_id, customer_id, seats }
    });
    exchange.boxed()
}

/// Blocks any seats, and unblocks mostly blocked ones.
fn blocks(model: &Model) -> impl Strategy<Value = Command> + use<> {
    let some = |most: usize| vec(select(names(model)), 0..most);
    let blockage = || Blockage { reason: BlockReason::Maintenance, note: "a note".to_owned() };
    let block = some(3).prop_map(move |seats| Command::Block { seats, blockage: blockage() });
    let kept: Vec<_> = model.blocked().iter().map(|seat| model.name(*seat)).collect();
    let unblock = (vec(any::<Index>(), 0..3), some(2)).prop_map(move |(own, others)| {
        let own = own.iter().filter(|_| !kept.is_empty()).map(|index| *index.get(&kept));
        let mut seats: Vec<_> = own.collect();
        if seats.is_empty() {
            seats = others;
        }
        Command::Unblock { seats }
    });
    prop_oneof![block, unblock]
}

/// Chooses neighbouring seats in either order, or sometimes any seats.
fn choices(model: &Model) -> impl Strategy<Value = Choice> + use<> {
    let count = model.seat_count();
    let names: Vec<SeatName> = (0..count).map(|seat| model.name(seat)).collect();
    let unknown = SeatName { row: RowLabel::parse("ZZ").expect("a label"), number: 1 };
    let all = names.clone();
    let neighbours = (0..count, 1..5_u16, any::<bool>()).prop_map(move |(first, length, backwards)| {
        let block = first..count.min(first + length);
        let mut names: Vec<_> = block.map(|seat| all[usize::from(seat)]).collect();
        if backwards {
            names.reverse();
        }
        Choice::Seats(names)
    });
    let mut some = names;
    some.push(unknown);
    prop_oneof![
        12 => neighbours,
        6 => (0..7_u16).prop_map(Choice::Best),
        1 => vec(select(some), 0..4).prop_map(Choice::Seats),
    ]
}

fn customers() -> impl Strategy<Value = CustomerId> {
    select(CUSTOMERS.to_vec()).prop_map(|name| CustomerId::parse(name).expect("a name"))
}

fn tenders() -> impl Strategy<Value = Option<Tender>> {
    let tender = |method: &str, transaction_id: &str| {
        Some(Tender { method: method.to_owned(), transaction_id: transaction_id.to_owned() })
    };
    prop_oneof![3 => Just(None), 2 => Just(tender("cash", "")), 1 => Just(tender("card", "till 3/4711"))]
}

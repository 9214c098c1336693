//! The rules of seating, with a clock that the test moves: one file for each kind of command.

mod accessible;
mod blocking;
mod choosing;
mod ending;
mod exchanging;
mod holding;
mod late;
mod paying;
mod properties;
mod releasing;
mod reserving;

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use uuid::Uuid;

use super::{
    AccessibleSeats, BlockReason, Blockage, Change, Choice, Command, Decision, OrphanRule, Refusal, Rules, Seating,
    ShowtimePlan, Wish,
};
use crate::domain::{
    auditorium::Auditorium,
    ids::{AuditoriumId, PurchaseId, ReservationId, ShowtimeId},
    layout::{Layout, LayoutRow},
    money::Money,
    movie::{Movie, MovieId, Source, Sourced},
    prices::PriceList,
    reservation::{CustomerId, Phase, Reservation, Tender},
    seat_index::{Block, RowLabel, SeatIndex, SeatName},
    showtime::{Encoded, Facts, State},
};

const HOLD: Duration = Duration::from_mins(10);
const EXTENSION: Duration = Duration::from_mins(5);
const CLOSING: Duration = Duration::from_mins(15);
const MICRO: TimeDelta = TimeDelta::microseconds(1);

fn minutes(minutes: i64) -> TimeDelta {
    TimeDelta::minutes(minutes)
}

/// When every showtime of these tests is scheduled.
fn opening() -> DateTime<Utc> {
    NaiveDate::from_ymd_opt(2030, 5, 1).unwrap().and_hms_opt(12, 0, 0).unwrap().and_utc()
}

/// A showtime in an auditorium with these rows, A, B, C …: it starts six hours after [`opening`] and lasts two hours. A seat
/// costs 9.50 EUR.
pub(crate) fn plan(rows: &[&str]) -> Arc<ShowtimePlan> {
    let labelled = ('A'..='Z').zip(rows);
    let rows = labelled.map(|(label, places)| LayoutRow {
        label: label.to_string(),
        places: (*places).to_owned(),
        numbers: Vec::new(),
    });
    let layout = Layout::new(rows.collect()).unwrap();
    let movie = Movie {
        movie_id: MovieId::parse("tt1375666").unwrap(),
        title: "Inception".to_owned(),
        full_title: "Inception (2010)".to_owned(),
        year: Some(2010),
        image_uri: String::new(),
        crew: String::new(),
        rating: None,
        rating_count: None,
        rank: None,
    };
    let start_time = opening() + TimeDelta::hours(6);
    let auditorium = Auditorium {
        auditorium_id: AuditoriumId(Uuid::from_u128(1)),
        name: "Screen 1".to_owned(),
        cinema: "Grand Palace".to_owned(),
        time_zone: chrono_tz::UTC,
        layout: None,
        seat_count: layout.seat_count(),
        create_time: opening(),
    };
    let facts = Facts {
        showtime_id: ShowtimeId(Uuid::from_u128(2)),
        movie: Sourced { value: movie, source: Source::Live, fetch_time: opening() },
        auditorium,
        start_time,
        end_time: start_time + TimeDelta::hours(2),
        local_date: start_time.date_naive(),
        prices: PriceList::plain(Money::price("EUR", 9, 500_000_000).unwrap()),
        hold_duration: HOLD,
        create_time: opening(),
        encoded: Encoded::default(),
    };
    Arc::new(ShowtimePlan { facts: Arc::new(facts), seat_index: Arc::new(SeatIndex::new(&layout)) })
}

/// When the sale of a showtime of [`plan`] closes.
fn close() -> DateTime<Utc> {
    opening() + TimeDelta::hours(6) - TimeDelta::from_std(CLOSING).unwrap()
}

fn rules() -> Rules {
    Rules {
        max_seats: 10,
        max_customer_seats: 10,
        closing: CLOSING,
        extension: EXTENSION,
        orphan_rule: OrphanRule::Allow,
        accessible_seats: AccessibleSeats::Open,
    }
}

/// These seats, all of the first ticket type.
fn wish(choice: Choice) -> Wish {
    Wish { choice, tickets: Vec::new(), accessible: false, from_block: false }
}

fn customer(name: &str) -> CustomerId {
    CustomerId::parse(name).unwrap()
}

fn tender(method: &str) -> Tender {
    Tender { method: method.to_owned(), transaction_id: "42".to_owned() }
}

/// The name that a label such as "B7" stands for.
fn seat(label: &str) -> SeatName {
    let (row, number) = label.split_at(label.find(|character: char| !character.is_ascii_uppercase()).unwrap());
    SeatName { row: RowLabel::parse(row).unwrap(), number: number.parse().unwrap() }
}

/// The names that labels such as "A1 A2" stand for.
fn seats(labels: &str) -> Vec<SeatName> {
    labels.split_whitespace().map(seat).collect()
}

/// A showtime, its rules, and a clock that the test moves.
#[derive(Debug)]
struct Stage {
    seating: Seating,
    rules: Rules,
    now: DateTime<Utc>,
    last_id: u128,
}

impl Stage {
    fn new(rows: &[&str]) -> Self {
        let seating = Seating::new(plan(rows), State::Scheduled, 1, opening(), [], []);
        Self { seating, rules: rules(), now: opening(), last_id: 100 }
    }

    fn with(rows: &[&str], change: impl FnOnce(&mut Rules)) -> Self {
        let mut stage = Self::new(rows);
        change(&mut stage.rules);
        stage
    }

    /// A showtime with another price list.
    fn priced(rows: &[&str], prices: PriceList) -> Self {
        let ShowtimePlan { facts, seat_index } = &*plan(rows);
        let facts = Arc::new(Facts { prices, ..Facts::clone(facts) });
        let plan = Arc::new(ShowtimePlan { facts, seat_index: Arc::clone(seat_index) });
        Self { seating: Seating::new(plan, State::Scheduled, 1, opening(), [], []), ..Self::new(rows) }
    }

    /// Decides a command, makes its changes and checks the seating.
    fn ask(&mut self, command: &Command) -> Result<Decision, Refusal> {
        let now = self.seating.moment(command, self.now);
        let (before, unclaimed) = (self.seating.revision(), self.seating.unclaimed_count());
        let decision = self.seating.decide(command, &self.rules, now);
        if let Ok(Decision { changes, .. }) = &decision {
            self.seating.apply(changes, now);
            let raised = i64::from(!changes.is_empty());
            assert_eq!(self.seating.revision(), before + raised, "one decision is one step: {changes:?}");
            let counted = unclaimed + changes.iter().map(freed).sum::<i32>();
            assert_eq!(self.seating.unclaimed_count(), counted, "{changes:?}");
        }
        check(&self.seating);
        decision
    }

    fn named(&mut self, command: &Command) -> Result<Arc<Reservation>, Refusal> {
        self.ask(command).map(|decision| decision.reservation.expect("a reservation was asked about"))
    }

    fn choose(&mut self, who: &str, choice: Choice) -> Result<Arc<Reservation>, Refusal> {
        self.wish(who, wish(choice))
    }

    fn wish(&mut self, who: &str, wish: Wish) -> Result<Arc<Reservation>, Refusal> {
        self.last_id += 1;
        let reservation_id = ReservationId(Uuid::from_u128(self.last_id));
        let customer_id = customer(who);
        self.named(&Command::Reserve { reservation_id, customer_id, wish })
    }

    fn reserve(&mut self, who: &str, labels: &str) -> Result<Arc<Reservation>, Refusal> {
        self.choose(who, Choice::Seats(seats(labels)))
    }

    fn best(&mut self, who: &str, count: u16) -> Result<Arc<Reservation>, Refusal> {
        self.choose(who, Choice::Best(count))
    }

    fn confirm(&mut self, of: &Reservation) -> Result<Arc<Reservation>, Refusal> {
        let reservation_id = of.reservation_id;
        self.named(&Command::Confirm {
            reservation_id,
            customer_id: None,
            tender: None,
            purchase_id: None,
            late: false,
        })
    }

    fn confirm_late(&mut self, of: &Reservation, tender: Tender) -> Result<Arc<Reservation>, Refusal> {
        let reservation_id = of.reservation_id;
        self.named(&Command::Confirm {
            reservation_id,
            customer_id: None,
            tender: Some(tender),
            purchase_id: None,
            late: true,
        })
    }

    /// Pays for the purchase with this number.
    fn pay(&mut self, of: &Reservation, purchase: u128, span: Duration) -> Result<Arc<Reservation>, Refusal> {
        let (reservation_id, purchase_id) = (of.reservation_id, PurchaseId(Uuid::from_u128(purchase)));
        self.named(&Command::Pay { reservation_id, customer_id: None, purchase_id, span })
    }

    fn stop_payment(&mut self, of: &Reservation, purchase: u128) -> Result<Arc<Reservation>, Refusal> {
        let (reservation_id, purchase_id) = (of.reservation_id, PurchaseId(Uuid::from_u128(purchase)));
        self.named(&Command::StopPayment { reservation_id, purchase_id })
    }

    fn confirm_paid(&mut self, of: &Reservation, purchase: u128) -> Result<Arc<Reservation>, Refusal> {
        let (reservation_id, purchase_id) = (of.reservation_id, Some(PurchaseId(Uuid::from_u128(purchase))));
        let tender = Some(tender("card"));
        self.named(&Command::Confirm { reservation_id, customer_id: None, tender, purchase_id, late: false })
    }

    fn release(&mut self, of: &Reservation, labels: &str) -> Result<Arc<Reservation>, Refusal> {
        let (seats, reason) = (seats(labels), "the projector failed".to_owned());
        self.named(&Command::Release { reservation_id: of.reservation_id, seats, reason })
    }

    fn exchange(&mut self, of: &Reservation, labels: &str) -> Result<Arc<Reservation>, Refusal> {
        let (reservation_id, seats) = (of.reservation_id, seats(labels));
        self.named(&Command::Exchange { reservation_id, customer_id: None, seats })
    }

    fn block(&mut self, labels: &str) -> Result<Vec<Change>, Refusal> {
        let blockage = Blockage { reason: BlockReason::House, note: String::new() };
        self.ask(&Command::Block { seats: seats(labels), blockage }).map(|decision| decision.changes)
    }

    fn unblock(&mut self, labels: &str) -> Result<Vec<Change>, Refusal> {
        self.ask(&Command::Unblock { seats: seats(labels) }).map(|decision| decision.changes)
    }

    fn cancel(&mut self, of: &Reservation) -> Result<Arc<Reservation>, Refusal> {
        self.named(&Command::Cancel { reservation_id: of.reservation_id, customer_id: None })
    }

    fn extend(&mut self, of: &Reservation) -> Result<Arc<Reservation>, Refusal> {
        self.named(&Command::Extend { reservation_id: of.reservation_id, customer_id: None })
    }

    fn expire(&mut self) -> Vec<Change> {
        self.ask(&Command::Expire).expect("it is never refused").changes
    }

    fn labels(&self, block: Block) -> String {
        let names: Vec<_> = self.seating.plan().seat_index.names(block).map(|name| name.to_string()).collect();
        names.join(" ")
    }

    /// The seats that a reservation has.
    fn has(&self, reservation: &Reservation) -> String {
        let seat_index = &self.seating.plan().seat_index;
        reservation.seats().map(|seat| seat_index.name(seat).to_string()).collect::<Vec<_>>().join(" ")
    }

    fn offered(&self, offers: &[Block]) -> Vec<String> {
        offers.iter().map(|block| self.labels(*block)).collect()
    }

    /// The number of a seat in the auditorium.
    fn number(&self, label: &str) -> u16 {
        self.seating.plan().seat_index.block(&[seat(label)], 1).unwrap().first
    }
}

/// How many more seats are without a live reservation after the change.
fn freed(change: &Change) -> i32 {
    match change {
        Change::Reserved(reservation) | Change::Recovered(reservation) => -i32::from(reservation.seat_count()),
        Change::Cancelled(reservation) | Change::Expired(reservation) => i32::from(reservation.seat_count()),
        Change::Released { seats, .. } | Change::Unblocked { seats } => seats.len() as i32,
        Change::Blocked { seats, .. } => -(seats.len() as i32),
        Change::Paying(_)
        | Change::Confirmed(_)
        | Change::Extended(_)
        | Change::Exchanged { .. }
        | Change::RefundDue(_)
        | Change::ShowtimeCancelled { .. } => 0,
    }
}

/// What holds for every seating: a seat has at most one live reservation, and every count follows from these.
fn check(seating: &Seating) {
    let mut taken: HashMap<u16, ReservationId> = HashMap::new();
    for reservation in seating.live() {
        let id = reservation.reservation_id;
        assert!(matches!(reservation.phase(DateTime::<Utc>::MIN_UTC), Phase::Held | Phase::Paying | Phase::Confirmed));
        assert!(seating.has_block(reservation.first_block), "{reservation:?}");
        let is_kept = |seat| !seating.is_free(seat, DateTime::<Utc>::MAX_UTC);
        assert_eq!(reservation.phase(DateTime::<Utc>::MAX_UTC) != Phase::Expired, reservation.seats().all(is_kept));
        assert_eq!(reservation.all_seats().count(), reservation.lines().iter().count(), "{reservation:?}");
        for seat in reservation.seats() {
            assert_eq!(taken.insert(seat, id), None, "seat {seat} is taken twice");
        }
        assert!(seating.reservation(id).is_some_and(|found| Arc::ptr_eq(found, reservation)));
    }
    for seat in 0..seating.plan().seat_index.seat_count() {
        let found = seating.live_at(seat).map(|live| live.reservation.reservation_id);
        assert_eq!(found, taken.get(&seat).copied(), "seat {seat} points at its reservation");
    }
    let seats = 0..seating.plan().seat_index.seat_count();
    let blocked = seats.clone().filter(|seat| seating.is_blocked(*seat)).count();
    assert_eq!(seating.unclaimed_count(), seats.len() as i32 - taken.len() as i32 - blocked as i32);
    assert_eq!(seating.live_count(), seating.live().count());
    let held = seating.live().filter(|one| one.phase(DateTime::<Utc>::MIN_UTC) == Phase::Held);
    assert_eq!(seating.next_lapse(), held.map(|one| one.expire_time()).min());
}

impl Seating {
    /// Whether these seats of the auditorium are neighbours.
    fn has_block(&self, block: Block) -> bool {
        let seat_index = &self.plan.seat_index;
        let (first, end) = (block.first, block.first + block.count);
        block.count > 0 && seat_index.runs().iter().any(|run| run.start <= first && end <= run.end)
    }
}

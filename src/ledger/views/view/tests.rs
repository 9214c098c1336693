//! A view without a database: what those are told who come late, read slowly, or have a clock that is set back.

use chrono::TimeDelta;

use super::*;
use crate::domain::{seat_index::Block, seating, showtime};

const NOON: i64 = 12 * 3_600;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(NOON + second)
}

fn view() -> View {
    let map = SeatMap::new(seating::tests::plan(&["ssssssssss"]), 1, showtime::State::Scheduled, []);
    View::new(map, "epoch".into(), at(0), Instant::now())
}

/// One commit, after which this seat stands like this.
fn commit(view: &View, seat: u16, status: Status, now: i64) {
    let before = view.revision();
    let mut delta = Delta { revision: before + 1, ..Delta::from(before) };
    delta.set(Block { first: seat, count: 1 }, status);
    assert_eq!(view.follow(delta, at(now)), Followed::Done);
}

fn frame(next: (Next, u64)) -> (Arc<Frame>, u64) {
    match next {
        (Next::Frame(frame), number) => (frame, number),
        (Next::Nothing | Next::Everything, _) => panic!("there is a delta"),
    }
}

#[test]
fn those_who_are_equally_behind_share_one_delta() {
    let view = view();
    let (_, start) = view.everything(at(0));
    assert!(matches!(view.after(start), (Next::Nothing, _)));
    for seat in [3, 4, 3] {
        commit(&view, seat, if seat == 4 { Status::Sold } else { Status::Held { until: at(60) } }, 1);
    }
    commit(&view, 3, Status::Free, 2);
    let (one, end) = frame(view.after(start));
    let (other, _) = frame(view.after(start));
    assert!(Arc::ptr_eq(&one, &other));
    assert_eq!((one.delta.before, one.delta.revision), (1, 5));
    assert_eq!(one.delta.seats, [(3, Status::Free), (4, Status::Sold)]);
    assert!(matches!(view.after(end), (Next::Nothing, _)));
    // Who is one step behind gets that step.
    assert_eq!(frame(view.after(end - 1)).0.delta.before, 4);
}

#[test]
fn who_is_too_far_behind_gets_everything_and_nothing_is_kept_for_him() {
    let view = view();
    let (_, start) = view.everything(at(0));
    for step in 0..KEPT as i64 {
        commit(&view, 1, Status::Held { until: at(1_000 + step) }, 1);
    }
    assert!(matches!(view.after(start), (Next::Frame(_), _)));
    commit(&view, 1, Status::Sold, 1);
    assert!(matches!(view.after(start), (Next::Everything, _)));
    assert_eq!(view.inner().frames.len(), KEPT);
    assert!(view.since(1, "epoch", at(1)).is_none());
    assert_eq!(view.since(2, "epoch", at(1)).expect("it is kept").0.delta.seats, [(1, Status::Sold)]);
}

#[test]
fn after_a_panic_everybody_is_told_everything() {
    let view = view();
    let (_, start) = view.everything(at(0));
    commit(&view, 1, Status::Sold, 1);
    let (_, heard) = frame(view.after(start));
    assert!(matches!(view.after(heard), (Next::Nothing, _)));
    view.recover();
    for before in [start, heard] {
        assert!(matches!(view.after(before), (Next::Everything, _)));
    }
    let (snapshot, end) = view.everything(at(1));
    assert_eq!((snapshot.revision, snapshot.seats[1]), (2, Status::Sold));
    commit(&view, 2, Status::Sold, 2);
    assert_eq!(frame(view.after(end)).0.delta.before, 2);
}

#[test]
fn the_end_of_a_hold_is_told_once_and_again_to_those_who_come_back() {
    let view = view();
    commit(&view, 1, Status::Held { until: at(10) }, 0);
    let (_, start) = view.everything(at(0));
    assert_eq!(view.lapse(at(9)), Some(at(10)));
    assert!(matches!(view.after(start), (Next::Nothing, _)));
    assert_eq!(view.lapse(at(10)), None);
    let (told, end) = frame(view.after(start));
    assert_eq!((told.delta.before, told.delta.revision, &*told.delta.seats), (2, 2, &[(1, Status::Free)][..]));
    view.lapse(at(11));
    assert!(matches!(view.after(end), (Next::Nothing, _)));
    assert_eq!(view.since(2, "epoch", at(11)).expect("it is here").0.delta.seats, [(1, Status::Free)]);
    assert!(view.since(2, "another", at(11)).is_none());
}

#[test]
fn a_clock_that_is_set_back_takes_nothing_back() {
    let view = view();
    commit(&view, 1, Status::Held { until: at(10) }, 0);
    view.lapse(at(12));
    let snapshot = view.snapshot(at(5));
    assert_eq!((snapshot.at, snapshot.seats[1]), (at(12), Status::Free));
    commit(&view, 2, Status::Held { until: at(11) }, 6);
    let last = view.inner().number - 1;
    let (told, _) = frame(view.after(last));
    assert_eq!((told.at, &*told.delta.seats), (at(12), &[(2, Status::Free)][..]));
}

#[test]
fn a_database_that_went_back_is_shown_as_it_is() {
    let view = view();
    commit(&view, 1, Status::Sold, 1);
    // Who has heard everything hears it all again.
    let (_, start) = view.everything(at(1));
    let older = SeatMap::new(view.plan(), 1, showtime::State::Scheduled, []);
    view.replace(older.clone(), at(2), Instant::now());
    assert_eq!(view.revision(), 2, "an answer that was late is not believed");
    view.begin_anew(older, "later".into(), Instant::now());
    assert!(matches!(view.after(start), (Next::Everything, _)));
    let (snapshot, _) = view.everything(at(2));
    assert_eq!((snapshot.revision, &*snapshot.epoch, snapshot.seats[1]), (1, "later", Status::Free));
    assert!(view.since(2, "epoch", at(2)).is_none());
}

#[test]
fn what_comes_before_its_time_waits_for_what_it_follows() {
    let view = view();
    let (_, start) = view.everything(at(0));
    let step = |before: i64, seat: u16| {
        let seats = vec![(seat, Status::Sold)];
        Delta { revision: before + 1, seats, ..Delta::from(before) }
    };
    for (early, seat) in [(3, 3), (2, 2), (3, 3)] {
        assert_eq!(view.follow(step(early, seat), at(1)), Followed::Gap);
    }
    assert!(matches!(view.after(start), (Next::Nothing, _)));
    assert_eq!(view.follow(step(1, 1), at(2)), Followed::Done);
    let (all, _) = frame(view.after(start));
    assert_eq!((all.delta.before, all.delta.revision), (1, 4));
    assert_eq!(all.delta.seats, [1, 2, 3].map(|seat| (seat, Status::Sold)));
    assert!(view.inner().early.is_empty());
    // What is missing may never come: nobody waits for it with more than this.
    for early in 0..2 * EARLY as i64 {
        view.follow(step(10 + early, 1), at(3));
    }
    assert_eq!(view.inner().early.len(), EARLY);
}

#[test]
fn what_others_say_of_another_epoch_or_of_seats_that_are_not_there_is_not_believed() {
    let view = view();
    let said = |seat: u16| Delta { revision: 2, seats: vec![(seat, Status::Sold)], ..Delta::from(1) };
    view.hear("another", said(1), at(1));
    view.hear("epoch", said(10), at(1));
    assert_eq!(view.revision(), 1);
    view.hear("epoch", said(9), at(1));
    assert_eq!(view.revision(), 2);
}

#[test]
fn when_many_watch_and_much_happens_it_is_told_together() {
    let view = view();
    for _ in 0..2_000 {
        view.watched();
    }
    let (_, start) = view.everything(at(0));
    commit(&view, 1, Status::Sold, 1);
    // It had been quiet.
    let waited = view.announce_later();
    for seat in [2, 3] {
        commit(&view, seat, Status::Sold, 1);
    }
    assert!(waited.is_some() || view.announce_later().is_some());
    while view.announce_later().is_some() {
        std::thread::yield_now();
    }
    let mut told = Vec::new();
    let mut next = start;
    while let (Next::Frame(frame), after) = view.after(next) {
        told.push((frame.delta.before, frame.delta.revision));
        next = after;
    }
    assert!(told.len() < 3 && told.first().is_some_and(|(before, _)| *before == 1), "{told:?}");
    assert_eq!(told.last().map(|(_, revision)| *revision), Some(4));
}

/// A subscriber's copy of the map. It holds every message against the time that the message bears.
struct Copy {
    seats: Vec<Status>,
    next: u64,
}

impl Copy {
    fn begin(view: &View, now: DateTime<Utc>) -> Self {
        let (snapshot, next) = view.everything(now);
        Self { seats: snapshot.seats.clone(), next }
    }

    fn read(&mut self, view: &View) -> Arc<Frame> {
        let (frame, next) = frame(view.after(self.next));
        self.next = next;
        for (seat, status) in &frame.delta.seats {
            self.seats[usize::from(*seat)] = *status;
        }
        let lapsed = self.seats.iter().filter(|status| status.at(frame.at) != **status).count();
        assert_eq!(lapsed, 0, "holds have lapsed by {} and are shown: {:?}", frame.at, self.seats);
        frame
    }
}

#[test]
fn a_change_after_the_end_of_a_hold_carries_that_end() {
    let view = view();
    commit(&view, 1, Status::Held { until: at(10) }, 0);
    let mut copy = Copy::begin(&view, at(0));
    // No lapse was announced, since the process stood still.
    commit(&view, 2, Status::Sold, 11);
    let frame = copy.read(&view);
    assert_eq!((frame.at, &*frame.delta.seats), (at(11), &[(1, Status::Free), (2, Status::Sold)][..]));
    assert_eq!(view.lapse(at(12)), None);
    assert!(matches!(view.after(copy.next), (Next::Nothing, _)), "the end is announced once");
}

#[test]
fn a_seat_that_is_held_again_when_its_hold_ends_stays_held() {
    let view = view();
    commit(&view, 1, Status::Held { until: at(10) }, 0);
    let mut copy = Copy::begin(&view, at(0));
    commit(&view, 1, Status::Held { until: at(30) }, 11);
    assert_eq!(copy.read(&view).delta.seats, [(1, Status::Held { until: at(30) })]);
}

#[test]
fn joined_changes_bear_the_time_of_the_last_of_them() {
    let view = view();
    commit(&view, 1, Status::Held { until: at(10) }, 0);
    let mut copy = Copy::begin(&view, at(0));
    commit(&view, 2, Status::Held { until: at(20) }, 1);
    commit(&view, 3, Status::Sold, 2);
    // They are read late, and the lapse of seat 1 has not been announced yet.
    assert_eq!(copy.read(&view).at, at(2));
    assert_eq!(view.lapse(at(15)), Some(at(20)));
    assert_eq!(copy.read(&view).at, at(15));
}

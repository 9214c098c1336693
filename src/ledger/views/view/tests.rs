//! A view without a database: what a watcher gets that is behind, that resumes, or whose server's clock is set back.

use chrono::TimeDelta;

use super::{
    super::state::{MAX_EARLY, MAX_FRAMES},
    *,
};
use crate::domain::{seat_map::Status, seating, showtime};

const NOON: i64 = 12 * 3_600;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(NOON + second)
}

fn view() -> View {
    let map = SeatMap::new(seating::tests::plan(&["ssssssssss"]), 1, showtime::State::Scheduled, []);
    View::new(map, "epoch".into(), at(0), Instant::now())
}

/// One commit that leaves this seat with this status.
fn commit(view: &View, seat: u16, status: Status, now: i64) {
    let before = view.revision();
    let mut delta = Delta { revision: before + 1, ..Delta::from(before) };
    delta.set([seat].into_iter(), status);
    assert_eq!(view.follow(delta, at(now)), Followed::Done);
}

fn frame(next: (NextMessage, u64)) -> (Arc<Frame>, u64) {
    match next {
        (NextMessage::Frame(frame), number) => (frame, number),
        (NextMessage::Nothing | NextMessage::Snapshot, _) => panic!("there is a delta"),
    }
}

#[test]
fn watchers_that_are_equally_far_behind_share_one_delta() {
    let view = view();
    let (_, start) = view.snapshot_to_watch(at(0));
    assert!(matches!(view.announced_after(start), (NextMessage::Nothing, _)));
    for seat in [3, 4, 3] {
        commit(&view, seat, if seat == 4 { Status::Sold } else { Status::Held { until: at(60) } }, 1);
    }
    commit(&view, 3, Status::Free, 2);
    let (one, end) = frame(view.announced_after(start));
    let (other, _) = frame(view.announced_after(start));
    assert!(Arc::ptr_eq(&one, &other));
    assert_eq!((one.delta.before, one.delta.revision), (1, 5));
    assert_eq!(one.delta.seats, [(3, Status::Free), (4, Status::Sold)]);
    assert!(matches!(view.announced_after(end), (NextMessage::Nothing, _)));
    // A watcher that is one commit behind gets that commit.
    assert_eq!(frame(view.announced_after(end - 1)).0.delta.before, 4);
}

#[test]
fn a_watcher_that_is_too_far_behind_gets_a_snapshot_and_no_frames_are_kept_for_it() {
    let view = view();
    let (_, start) = view.snapshot_to_watch(at(0));
    for step in 0..MAX_FRAMES as i64 {
        commit(&view, 1, Status::Held { until: at(1_000 + step) }, 1);
    }
    assert!(matches!(view.announced_after(start), (NextMessage::Frame(_), _)));
    commit(&view, 1, Status::Sold, 1);
    assert!(matches!(view.announced_after(start), (NextMessage::Snapshot, _)));
    assert_eq!(view.state().frames.len(), MAX_FRAMES);
    assert!(view.since(1, "epoch", at(1)).is_none());
    assert_eq!(view.since(2, "epoch", at(1)).expect("it is kept").0.delta.seats, [(1, Status::Sold)]);
}

#[test]
fn after_a_panic_every_watcher_gets_a_snapshot() {
    let view = view();
    let (_, start) = view.snapshot_to_watch(at(0));
    commit(&view, 1, Status::Sold, 1);
    let (_, after) = frame(view.announced_after(start));
    assert!(matches!(view.announced_after(after), (NextMessage::Nothing, _)));
    view.recover();
    for before in [start, after] {
        assert!(matches!(view.announced_after(before), (NextMessage::Snapshot, _)));
    }
    let (snapshot, end) = view.snapshot_to_watch(at(1));
    assert_eq!((snapshot.revision, snapshot.seats[1]), (2, Status::Sold));
    commit(&view, 2, Status::Sold, 2);
    assert_eq!(frame(view.announced_after(end)).0.delta.before, 2);
}

#[test]
fn a_lapse_is_announced_once_and_again_to_a_watcher_that_resumes() {
    let view = view();
    commit(&view, 1, Status::Held { until: at(10) }, 0);
    let (_, start) = view.snapshot_to_watch(at(0));
    assert_eq!(view.lapse(at(9)), Some(at(10)));
    assert!(matches!(view.announced_after(start), (NextMessage::Nothing, _)));
    assert_eq!(view.lapse(at(10)), None);
    let (lapse, end) = frame(view.announced_after(start));
    assert_eq!((lapse.delta.before, lapse.delta.revision, &*lapse.delta.seats), (2, 2, &[(1, Status::Free)][..]));
    view.lapse(at(11));
    assert!(matches!(view.announced_after(end), (NextMessage::Nothing, _)));
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
    let number = view.state().next_frame - 1;
    let (last, _) = frame(view.announced_after(number));
    assert_eq!((last.at, &*last.delta.seats), (at(12), &[(2, Status::Free)][..]));
}

#[test]
fn a_database_that_was_restored_is_shown_as_it_is() {
    let view = view();
    commit(&view, 1, Status::Sold, 1);
    // A watcher that is up to date gets a snapshot, too.
    let (_, start) = view.snapshot_to_watch(at(1));
    let older = SeatMap::new(view.plan(), 1, showtime::State::Scheduled, []);
    view.replace(older.clone(), at(2), Instant::now());
    assert_eq!(view.revision(), 2, "an answer that is late is left out");
    view.restart(older, "later".into(), Instant::now());
    assert!(matches!(view.announced_after(start), (NextMessage::Snapshot, _)));
    let (snapshot, _) = view.snapshot_to_watch(at(2));
    assert_eq!((snapshot.revision, &*snapshot.epoch, snapshot.seats[1]), (1, "later", Status::Free));
    assert!(view.since(2, "epoch", at(2)).is_none());
}

#[test]
fn a_change_that_arrives_early_waits_for_the_one_that_it_follows_on() {
    let view = view();
    let (_, start) = view.snapshot_to_watch(at(0));
    let step = |before: i64, seat: u16| {
        let seats = vec![(seat, Status::Sold)];
        Delta { revision: before + 1, seats, ..Delta::from(before) }
    };
    for (early, seat) in [(3, 3), (2, 2), (3, 3)] {
        assert_eq!(view.follow(step(early, seat), at(1)), Followed::Gap);
    }
    assert!(matches!(view.announced_after(start), (NextMessage::Nothing, _)));
    assert_eq!(view.follow(step(1, 1), at(2)), Followed::Done);
    let (all, _) = frame(view.announced_after(start));
    assert_eq!((all.delta.before, all.delta.revision), (1, 4));
    assert_eq!(all.delta.seats, [1, 2, 3].map(|seat| (seat, Status::Sold)));
    assert!(view.state().early.is_empty());
    // The missing change may never arrive: no more than this many wait for it.
    for early in 0..2 * MAX_EARLY as i64 {
        view.follow(step(10 + early, 1), at(3));
    }
    assert_eq!(view.state().early.len(), MAX_EARLY);
}

#[test]
fn a_published_change_of_another_epoch_or_of_seats_that_do_not_exist_is_ignored() {
    let view = view();
    let published = |seat: u16| Delta { revision: 2, seats: vec![(seat, Status::Sold)], ..Delta::from(1) };
    view.follow_published("another", published(1), at(1));
    view.follow_published("epoch", published(10), at(1));
    assert_eq!(view.revision(), 1);
    view.follow_published("epoch", published(9), at(1));
    assert_eq!(view.revision(), 2);
}

#[test]
fn with_many_watchers_and_many_changes_several_are_announced_together() {
    let view = view();
    for _ in 0..2_000 {
        view.add_watcher();
    }
    let (_, start) = view.snapshot_to_watch(at(0));
    commit(&view, 1, Status::Sold, 1);
    // It was not postponed before.
    let waited = view.announce_postponed();
    for seat in [2, 3] {
        commit(&view, seat, Status::Sold, 1);
    }
    assert!(waited.is_some() || view.announce_postponed().is_some());
    while view.announce_postponed().is_some() {
        std::thread::yield_now();
    }
    let mut announced = Vec::new();
    let mut next = start;
    while let (NextMessage::Frame(frame), after) = view.announced_after(next) {
        announced.push((frame.delta.before, frame.delta.revision));
        next = after;
    }
    assert!(announced.len() < 3 && announced.first().is_some_and(|(before, _)| *before == 1), "{announced:?}");
    assert_eq!(announced.last().map(|(_, revision)| *revision), Some(4));
}

/// A watcher's copy of the map. It checks every message against the time that the message carries.
struct Copy {
    seats: Vec<Status>,
    next: u64,
}

impl Copy {
    fn begin(view: &View, now: DateTime<Utc>) -> Self {
        let (snapshot, next) = view.snapshot_to_watch(now);
        Self { seats: snapshot.seats.clone(), next }
    }

    fn read(&mut self, view: &View) -> Arc<Frame> {
        let (frame, next) = frame(view.announced_after(self.next));
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
fn a_change_after_a_lapse_carries_the_lapse() {
    let view = view();
    commit(&view, 1, Status::Held { until: at(10) }, 0);
    let mut copy = Copy::begin(&view, at(0));
    // No lapse was announced, since the process stood still.
    commit(&view, 2, Status::Sold, 11);
    let frame = copy.read(&view);
    assert_eq!((frame.at, &*frame.delta.seats), (at(11), &[(1, Status::Free), (2, Status::Sold)][..]));
    assert_eq!(view.lapse(at(12)), None);
    assert!(matches!(view.announced_after(copy.next), (NextMessage::Nothing, _)), "the lapse is announced once");
}

#[test]
fn a_seat_that_is_held_again_after_its_hold_lapsed_stays_held() {
    let view = view();
    commit(&view, 1, Status::Held { until: at(10) }, 0);
    let mut copy = Copy::begin(&view, at(0));
    commit(&view, 1, Status::Held { until: at(30) }, 11);
    assert_eq!(copy.read(&view).delta.seats, [(1, Status::Held { until: at(30) })]);
}

#[test]
fn joined_frames_have_the_time_of_the_last_of_them() {
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

#[test]
fn a_heartbeat_is_due_only_when_nothing_is_left_to_send() {
    let view = view();
    commit(&view, 1, Status::Held { until: at(10) }, 0);
    let (_, start) = view.snapshot_to_watch(at(0));
    let (none, _, until) = view.everything_after(start, at(9));
    assert!(matches!(none, NextMessage::Nothing) && until == at(9));
    // No task has announced the lapse.
    let (lapse, next, _) = view.everything_after(start, at(12));
    let (lapse, next) = frame((lapse, next));
    assert_eq!((lapse.at, &*lapse.delta.seats), (at(12), &[(1, Status::Free)][..]));
    let (none, _, until) = view.everything_after(next, at(11));
    assert!(matches!(none, NextMessage::Nothing) && until == at(12), "times do not run back");
}

//! One showtime's seat map in memory, and what was lately told of it.

mod announce;
mod subscribers;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, watch};

use super::{
    STALE,
    frames::{Frame, Snapshot},
};
use crate::{
    domain::{
        seat_map::{Delta, Followed, SeatMap, Status},
        seating::ShowtimePlan,
    },
    store::Error,
};

/// How old a snapshot may be that is handed out again: its time is to be near to now.
const FRESH: chrono::TimeDelta = chrono::TimeDelta::milliseconds(250);
/// Deltas that are kept for those who come late, at most,
const KEPT: usize = 512;
/// and seats in all of them together.
const KEPT_SEATS: usize = 8_192;
/// Deltas that came before the one that they follow, and wait for it, at most.
const EARLY: usize = 64;

/// What a watcher has to be told next.
pub(super) enum Next {
    Nothing,
    Frame(Arc<Frame>),
    /// So much that everything is simpler.
    Everything,
}

/// When the database was asked about a view, and what came of it.
pub(super) type Asked = (Instant, Result<(), Arc<Error>>);

/// The view of one showtime.
pub(super) struct View {
    /// Held by whoever asks the database about it: when that was last done, and what came of it, for those who waited.
    pub(super) reading: tokio::sync::Mutex<Option<Asked>>,
    inner: Mutex<Inner>,
    /// The number of the frame to come: rung when there is something to be told.
    wakeups: watch::Sender<u64>,
    /// Something is there that will have to be told later.
    pending: Notify,
    watchers: AtomicUsize,
    announcing: AtomicBool,
    /// The database knows of no such showtime any more.
    gone: AtomicBool,
}

struct Inner {
    epoch: Arc<str>,
    map: SeatMap,
    /// Holds that lapsed by then have been announced.
    lapses_announced: DateTime<Utc>,
    /// No hold that has not been announced lapses before this.
    next_lapse: Option<DateTime<Utc>>,
    /// The latest moment that anything was said of. Time goes forwards, whatever a clock says.
    latest: DateTime<Utc>,
    /// What came before its time.
    early: Vec<Delta>,
    frames: VecDeque<Arc<Frame>>,
    /// Seats in all of them.
    weight: usize,
    /// Of the frame to come.
    number: u64,
    /// Watchers are told those before this number,
    announced: u64,
    /// since then.
    announced_at: Instant,
    snapshot: Option<Arc<Snapshot>>,
    /// What was last put together for those who are behind: from which frame, and up to which.
    joined: Option<(u64, u64, Arc<Frame>)>,
    /// When the database last said that it is so.
    confirmed_at: Instant,
    used: Instant,
}

impl View {
    pub(super) fn new(map: SeatMap, epoch: Arc<str>, now: DateTime<Utc>, confirmed_at: Instant) -> Self {
        let inner = Inner {
            epoch,
            next_lapse: map.next_lapse(now),
            map,
            lapses_announced: now,
            latest: now,
            early: Vec::new(),
            frames: VecDeque::new(),
            weight: 0,
            number: 0,
            announced: 0,
            announced_at: confirmed_at,
            snapshot: None,
            joined: None,
            confirmed_at,
            used: confirmed_at,
        };
        let (watchers, announcing, gone) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(false));
        let (reading, wakeups) = (tokio::sync::Mutex::default(), watch::Sender::new(0));
        Self { reading, inner: Mutex::new(inner), wakeups, pending: Notify::new(), watchers, announcing, gone }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here should panic half-way. If it does, see `recover`.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn epoch(&self) -> Arc<str> {
        Arc::clone(&self.inner().epoch)
    }

    pub(super) fn plan(&self) -> Arc<ShowtimePlan> {
        Arc::clone(self.inner().map.plan())
    }

    pub(super) fn revision(&self) -> i64 {
        self.inner().map.revision()
    }

    /// The database said so when it was asked then.
    pub(super) fn confirm(&self, asked: Instant) {
        let mut inner = self.inner();
        inner.confirmed_at = inner.confirmed_at.max(asked);
    }

    /// For how long nobody has vouched for it.
    pub(super) fn unconfirmed_for(&self) -> Duration {
        self.inner().confirmed_at.elapsed()
    }

    /// Whether it is of late, and has this revision in it.
    pub(super) fn is_current(&self, at_least: i64) -> bool {
        self.inner().is_current(at_least, Instant::now())
    }

    /// As it stands, if that is so.
    pub(super) fn current(&self, at_least: i64, now: DateTime<Utc>) -> Option<Arc<Snapshot>> {
        let (mut inner, instant) = (self.inner(), Instant::now());
        inner.is_current(at_least, instant).then(|| {
            inner.used = instant;
            inner.taken(now)
        })
    }

    /// As it stands.
    pub(super) fn snapshot(&self, now: DateTime<Utc>) -> Arc<Snapshot> {
        let mut inner = self.inner();
        inner.used = Instant::now();
        inner.taken(now)
    }

    /// Takes in what came next, and tells it. What follows something that is missing waits for it, though not in vain: it is
    /// compared meanwhile.
    pub(super) fn follow(&self, delta: Delta, now: DateTime<Utc>) -> Followed {
        self.follow_in(self.inner(), delta, now)
    }

    /// Takes in what somebody says came next in this epoch.
    pub(super) fn hear(&self, epoch: &str, delta: Delta, now: DateTime<Utc>) {
        let inner = self.inner();
        let seats = inner.map.plan().seat_index.seat_count();
        if *inner.epoch == *epoch && delta.seats.iter().all(|(seat, _)| *seat < seats) {
            self.follow_in(inner, delta, now);
        }
    }

    fn follow_in(&self, mut inner: MutexGuard<'_, Inner>, delta: Delta, now: DateTime<Utc>) -> Followed {
        let followed = inner.map.follow(&delta);
        match followed {
            Followed::Done => {
                inner.tell(delta, now);
                inner.follow_early(now);
                self.announce(inner);
            }
            Followed::Gap if inner.early.len() < EARLY => inner.early.push(delta),
            Followed::Gap | Followed::Known => {}
        }
        followed
    }

    /// Takes in all of it, read anew. What is older than what is known is not believed.
    pub(super) fn replace(&self, map: SeatMap, now: DateTime<Utc>, asked: Instant) {
        let mut inner = self.inner();
        if map.revision() < inner.map.revision() {
            return;
        }
        inner.confirmed_at = inner.confirmed_at.max(asked);
        if map.revision() > inner.map.revision() {
            let delta = inner.map.towards(&map);
            inner.map = map;
            inner.tell(delta, now);
            inner.follow_early(now);
            self.announce(inner);
        }
    }

    /// Begins anew with what there is now, though it be older: the database is not what it was. Everybody is told everything.
    pub(super) fn begin_anew(&self, map: SeatMap, epoch: Arc<str>, asked: Instant) {
        let mut inner = self.inner();
        (inner.map, inner.epoch, inner.confirmed_at) = (map, epoch, asked);
        inner.tell_everything();
        self.announce(inner);
    }

    /// Something may have been told by halves.
    pub(super) fn recover(&self) {
        let mut inner = self.inner();
        inner.tell_everything();
        self.announce(inner);
    }

    /// Tells which holds have ended by now. Answers when the next one will.
    pub(super) fn lapse(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut inner = self.inner();
        let changed = inner.lapse(now);
        let next = inner.next_lapse;
        if changed {
            self.announce(inner);
        }
        next
    }

    /// What comes after the frames below this number as far as it is announced, and the number after it.
    pub(super) fn after(&self, number: u64) -> (Next, u64) {
        let mut inner = self.inner();
        let announced = inner.announced;
        inner.after(number, announced)
    }

    /// What a subscriber gets that is due a heartbeat: whatever it has not got, announced or not. If that is nothing, then
    /// there is none until the time that is returned.
    pub(super) fn heartbeat(&self, number: u64, now: DateTime<Utc>) -> (Next, u64, DateTime<Utc>) {
        let mut inner = self.inner();
        let now = inner.moment(now);
        let changed = inner.lapse(now);
        let end = inner.number;
        let (next, after) = inner.after(number, end);
        if changed {
            self.announce(inner);
        }
        (next, after, now)
    }

    /// Everything, and where to go on.
    pub(super) fn everything(&self, now: DateTime<Utc>) -> (Arc<Snapshot>, u64) {
        let mut inner = self.inner();
        (inner.taken(now), inner.number)
    }

    /// What followed this revision, if that is still known, and where to go on. Holds that have ended are told again:
    /// whether they were told before the watcher left is not known.
    pub(super) fn since(&self, revision: i64, epoch: &str, now: DateTime<Utc>) -> Option<(Arc<Frame>, u64)> {
        let mut inner = self.inner();
        let now = inner.moment(now);
        if *inner.epoch != *epoch {
            return None;
        }
        let mut delta = Delta::from(revision);
        let from = inner.frames.iter().position(|frame| frame.delta.before == revision);
        match from {
            Some(from) => inner.frames.iter().skip(from).for_each(|frame| delta.join(&frame.delta)),
            None if revision == inner.map.revision() => {}
            None => return None,
        }
        let ended: Vec<_> = inner.map.lapsed(DateTime::UNIX_EPOCH, now).map(|seat| (seat, Status::Free)).collect();
        delta.seats.extend(ended);
        delta.settle();
        delta.cancelled = inner.map.cancelled();
        Some((Frame::new(inner.map.plan(), delta, now), inner.number))
    }
}

impl Inner {
    fn is_current(&self, at_least: i64, now: Instant) -> bool {
        self.map.revision() >= at_least && now.saturating_duration_since(self.confirmed_at) <= STALE
    }

    fn taken(&mut self, now: DateTime<Utc>) -> Arc<Snapshot> {
        let at = self.moment(now);
        if let Some(snapshot) = &self.snapshot {
            let same = snapshot.number == self.number && snapshot.until.is_none_or(|until| at < until);
            if same && at - snapshot.at < FRESH {
                return Arc::clone(snapshot);
            }
        }
        let map = &self.map;
        let snapshot = Arc::new(Snapshot {
            plan: Arc::clone(map.plan()),
            epoch: Arc::clone(&self.epoch),
            revision: map.revision(),
            at,
            seats: map.at(at).collect(),
            cancelled: map.cancelled(),
            encoded: Default::default(),
            number: self.number,
            until: map.next_lapse(at),
        });
        self.snapshot = Some(Arc::clone(&snapshot));
        snapshot
    }

    fn moment(&mut self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.latest = self.latest.max(now);
        self.latest
    }

    /// Takes in what came too early before, as far as it is its time.
    fn follow_early(&mut self, now: DateTime<Utc>) {
        while let Some(next) = self.early.iter().position(|early| early.before == self.map.revision()) {
            let delta = self.early.swap_remove(next);
            if self.map.follow(&delta) == Followed::Done {
                self.tell(delta, now);
            }
        }
        let revision = self.map.revision();
        self.early.retain(|early| early.revision > revision);
    }

    /// Adds a frame for holds that have lapsed by now and were not announced, if there are any.
    fn lapse(&mut self, now: DateTime<Utc>) -> bool {
        let (now, before) = (self.moment(now), self.number);
        let seats = self.take_lapsed(now);
        if !seats.is_empty() {
            self.tell(Delta { seats, ..Delta::from(self.map.revision()) }, now);
        }
        self.number != before
    }

    /// The seats of holds that have lapsed by now and were not announced.
    fn take_lapsed(&mut self, now: DateTime<Utc>) -> Vec<(u16, Status)> {
        if self.next_lapse.is_none_or(|next| now < next) {
            return Vec::new();
        }
        let lapsed = self.map.lapsed(self.lapses_announced, now).map(|seat| (seat, Status::Free)).collect();
        (self.lapses_announced, self.next_lapse) = (now, self.map.next_lapse(now));
        lapsed
    }

    /// Adds a frame for what the map has followed. It carries the lapses up to its own time, so that a map with all frames up
    /// to this one shows no hold that is over by then.
    fn tell(&mut self, mut delta: Delta, now: DateTime<Utc>) {
        let now = self.moment(now);
        let ends = delta.seats.iter().filter_map(|(_, status)| status.held_until());
        self.next_lapse = ends.chain(self.next_lapse).min();
        let lapsed = self.take_lapsed(now);
        if !lapsed.is_empty() {
            delta.seats.extend(lapsed);
            delta.settle();
        }
        self.weight += delta.seats.len();
        self.frames.push_back(Frame::new(self.map.plan(), delta, now));
        self.number += 1;
        while self.frames.len() > KEPT || self.weight > KEPT_SEATS {
            let Some(gone) = self.frames.pop_front() else { break };
            self.weight -= gone.delta.seats.len();
        }
    }

    fn tell_everything(&mut self) {
        self.frames.clear();
        self.early.clear();
        (self.weight, self.joined, self.snapshot) = (0, None, None);
        self.next_lapse = self.map.next_lapse(self.lapses_announced);
        self.number += 1;
    }

    /// The number of the first frame that is kept.
    fn first(&self) -> u64 {
        self.number - self.frames.len() as u64
    }

    /// The frames from one number to another as one message.
    fn after(&mut self, number: u64, end: u64) -> (Next, u64) {
        if number >= end {
            return (Next::Nothing, number);
        }
        if number < self.first() {
            return (Next::Everything, number);
        }
        let (begin, count) = ((number - self.first()) as usize, (end - number) as usize);
        let mut frames = self.frames.iter().skip(begin).take(count);
        let Some(first) = frames.next() else { return (Next::Nothing, number) };
        if count == 1 {
            return (Next::Frame(Arc::clone(first)), end);
        }
        if let Some((from, to, frame)) = &self.joined
            && (*from, *to) == (number, end)
        {
            return (Next::Frame(Arc::clone(frame)), end);
        }
        let (mut delta, mut at) = (first.delta.clone(), first.at);
        for frame in frames {
            delta.join(&frame.delta);
            at = frame.at;
        }
        delta.settle();
        // A later time than that of the last frame would have lapses that are in none of them.
        let frame = Frame::new(self.map.plan(), delta, at);
        self.joined = Some((number, end, Arc::clone(&frame)));
        (Next::Frame(frame), end)
    }
}

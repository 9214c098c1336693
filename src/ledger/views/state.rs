//! The content of a view: the seat map, and the frames that watchers have yet to get. It has no lock and reads no clock.
//!
//! Consecutive frames have no gap, and their times never run back. A map with all frames up to one of them shows no
//! hold that has lapsed by that frame's time.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};

use super::frames::{Frame, Snapshot};
use crate::domain::seat_map::{Delta, Followed, SeatMap, Status};

/// A view that was not confirmed for this long is stale: it is confirmed before it is shown.
pub(super) const STALE_AFTER: Duration = Duration::from_secs(2);
/// A snapshot is shared for this long, so that its time is near to now.
const SNAPSHOT_AGE: TimeDelta = TimeDelta::milliseconds(250);
/// Frames that are kept for watchers that read slowly or resume.
pub(super) const MAX_FRAMES: usize = 512;
/// Seats in all kept frames together.
const MAX_FRAME_SEATS: usize = 8_192;
/// Deltas held until their predecessor arrives.
pub(super) const MAX_EARLY: usize = 64;

/// What a watcher gets next.
pub(super) enum NextMessage {
    /// Nothing yet.
    Nothing,
    Frame(Arc<Frame>),
    /// A snapshot, because the frames that it would need are no longer kept.
    Snapshot,
}

/// The content of a view.
pub(super) struct ViewState {
    pub(super) epoch: Arc<str>,
    pub(super) map: SeatMap,
    /// Every hold that had lapsed at this time is in a frame.
    lapses_framed: DateTime<Utc>,
    /// No hold that is not in a frame lapses before this.
    pub(super) next_lapse: Option<DateTime<Utc>>,
    /// Whether `next_lapse` has become earlier, so that the announcing task sleeps too long.
    pub(super) lapses_sooner: bool,
    /// The latest time of any message. Times of messages never run back, even if a clock does.
    latest: DateTime<Utc>,
    /// Deltas held until their predecessor arrives.
    pub(super) early: Vec<Delta>,
    pub(super) frames: VecDeque<Arc<Frame>>,
    /// Seats in all of `frames`.
    frame_seats: usize,
    /// Number of the next frame.
    pub(super) next_frame: u64,
    /// Frames below this number were announced to watchers.
    pub(super) announced: u64,
    /// When `announced` last advanced. Bounds how often watchers are woken.
    pub(super) announced_at: Instant,
    /// The snapshot that was last taken.
    snapshot: Option<Arc<Snapshot>>,
    /// The frames that were last joined for a watcher: from which number, up to which, and as what.
    joined: Option<(u64, u64, Arc<Frame>)>,
    /// When this view was last confirmed against the database.
    pub(super) confirmed_at: Instant,
    /// When this view was last read, or lost or gained a watcher.
    pub(super) used_at: Instant,
}

impl ViewState {
    pub(super) fn new(map: SeatMap, epoch: Arc<str>, now: DateTime<Utc>, confirmed_at: Instant) -> Self {
        Self {
            epoch,
            next_lapse: map.next_lapse(now),
            map,
            lapses_framed: now,
            lapses_sooner: false,
            latest: now,
            early: Vec::new(),
            frames: VecDeque::new(),
            frame_seats: 0,
            next_frame: 0,
            announced: 0,
            announced_at: confirmed_at,
            snapshot: None,
            joined: None,
            confirmed_at,
            used_at: confirmed_at,
        }
    }

    /// Whether the view has this revision and was confirmed lately.
    pub(super) fn is_current(&self, at_least: i64, now: Instant) -> bool {
        self.map.revision() >= at_least && now.saturating_duration_since(self.confirmed_at) <= STALE_AFTER
    }

    /// This time, or the latest that a message had, if that is later.
    pub(super) fn moment(&mut self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.latest = self.latest.max(now);
        self.latest
    }

    /// The whole map. Many readers share one snapshot.
    pub(super) fn snapshot(&mut self, now: DateTime<Utc>) -> Arc<Snapshot> {
        let at = self.moment(now);
        if let Some(snapshot) = &self.snapshot {
            let same = snapshot.next_frame == self.next_frame && snapshot.valid_until.is_none_or(|end| at < end);
            if same && at - snapshot.at < SNAPSHOT_AGE {
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
            next_frame: self.next_frame,
            valid_until: map.next_lapse(at),
        });
        self.snapshot = Some(Arc::clone(&snapshot));
        snapshot
    }

    /// Applies a delta. If its predecessor is missing, the delta is held until the predecessor arrives.
    pub(super) fn follow(&mut self, delta: Delta, now: DateTime<Utc>) -> Followed {
        let followed = self.map.follow(&delta);
        match followed {
            Followed::Done => {
                self.push(delta, now);
                self.follow_early(now);
            }
            Followed::Gap if self.early.len() < MAX_EARLY => self.early.push(delta),
            Followed::Gap | Followed::Known => {}
        }
        followed
    }

    fn follow_early(&mut self, now: DateTime<Utc>) {
        while let Some(next) = self.early.iter().position(|early| early.before == self.map.revision()) {
            let delta = self.early.swap_remove(next);
            if self.map.follow(&delta) == Followed::Done {
                self.push(delta, now);
            }
        }
        let revision = self.map.revision();
        self.early.retain(|early| early.revision > revision);
    }

    /// Takes over a later map of the same epoch, with one frame for everything between.
    pub(super) fn replace(&mut self, map: SeatMap, now: DateTime<Utc>) {
        let delta = self.map.towards(&map);
        self.map = map;
        self.push(delta, now);
        self.follow_early(now);
    }

    /// Takes over a map of another epoch, or an earlier one. Every watcher gets a snapshot next.
    pub(super) fn restart(&mut self, map: SeatMap, epoch: Arc<str>, confirmed_at: Instant) {
        (self.map, self.epoch, self.confirmed_at) = (map, epoch, confirmed_at);
        self.drop_frames();
    }

    /// Drops all frames, so that every watcher gets a snapshot next.
    pub(super) fn drop_frames(&mut self) {
        self.frames.clear();
        self.early.clear();
        (self.frame_seats, self.joined, self.snapshot) = (0, None, None);
        (self.next_lapse, self.lapses_sooner) = (self.map.next_lapse(self.lapses_framed), true);
        self.next_frame += 1;
    }

    /// Adds a frame for the holds that have lapsed by now and are in no frame. Returns whether there are any.
    pub(super) fn push_lapses(&mut self, now: DateTime<Utc>) -> bool {
        let now = self.moment(now);
        let seats = self.take_lapsed(now);
        let any = !seats.is_empty();
        if any {
            self.push(Delta { seats, ..Delta::from(self.map.revision()) }, now);
        }
        any
    }

    /// The seats of holds that have lapsed by now and are in no frame.
    fn take_lapsed(&mut self, now: DateTime<Utc>) -> Vec<(u16, Status)> {
        if self.next_lapse.is_none_or(|next| now < next) {
            return Vec::new();
        }
        let lapsed = self.map.lapsed(self.lapses_framed, now).map(|seat| (seat, Status::Free)).collect();
        (self.lapses_framed, self.next_lapse) = (now, self.map.next_lapse(now));
        lapsed
    }

    /// Adds a frame for a change that the map has followed, together with the lapses up to the frame's time.
    fn push(&mut self, mut delta: Delta, now: DateTime<Utc>) {
        let now = self.moment(now);
        let new_holds = delta.seats.iter().filter_map(|(_, status)| status.lapse());
        let next_lapse = new_holds.chain(self.next_lapse).min();
        self.lapses_sooner |= next_lapse != self.next_lapse;
        self.next_lapse = next_lapse;
        let lapsed = self.take_lapsed(now);
        if !lapsed.is_empty() {
            delta.seats.extend(lapsed);
            delta.settle();
        }
        self.frame_seats += delta.seats.len();
        self.frames.push_back(Frame::new(self.map.plan(), delta, now));
        self.next_frame += 1;
        while self.frames.len() > MAX_FRAMES || self.frame_seats > MAX_FRAME_SEATS {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.frame_seats -= oldest.delta.seats.len();
        }
    }

    /// The number of the oldest frame that is kept.
    fn oldest_frame(&self) -> u64 {
        self.next_frame - self.frames.len() as u64
    }

    /// The frames from one number to another as one message, and the number after them. Watchers that are equally far behind
    /// share the message.
    pub(super) fn frames_between(&mut self, number: u64, end: u64) -> (NextMessage, u64) {
        if number >= end {
            return (NextMessage::Nothing, number);
        }
        if number < self.oldest_frame() {
            return (NextMessage::Snapshot, number);
        }
        let (begin, count) = ((number - self.oldest_frame()) as usize, (end - number) as usize);
        let mut frames = self.frames.iter().skip(begin).take(count);
        let Some(first) = frames.next() else { return (NextMessage::Nothing, number) };
        if count == 1 {
            return (NextMessage::Frame(Arc::clone(first)), end);
        }
        if let Some((from, to, frame)) = &self.joined
            && (*from, *to) == (number, end)
        {
            return (NextMessage::Frame(Arc::clone(frame)), end);
        }
        let (mut delta, mut at) = (first.delta.clone(), first.at);
        for frame in frames {
            delta.join(&frame.delta);
            at = frame.at;
        }
        delta.settle();
        // The time of the last frame, not now: lapses since then are in later frames.
        let frame = Frame::new(self.map.plan(), delta, at);
        self.joined = Some((number, end, Arc::clone(&frame)));
        (NextMessage::Frame(frame), end)
    }

    /// Everything after this revision as one frame, and the number of the frame after it; `None` if the frames since then are
    /// no longer kept. All holds that have lapsed are in it, because it is not known whether the watcher got them.
    pub(super) fn since(&mut self, revision: i64, epoch: &str, now: DateTime<Utc>) -> Option<(Arc<Frame>, u64)> {
        let now = self.moment(now);
        if *self.epoch != *epoch {
            return None;
        }
        let mut delta = Delta::from(revision);
        let from = self.frames.iter().position(|frame| frame.delta.before == revision);
        match from {
            Some(from) => self.frames.iter().skip(from).for_each(|frame| delta.join(&frame.delta)),
            None if revision == self.map.revision() => {}
            None => return None,
        }
        let lapsed = self.map.lapsed(DateTime::UNIX_EPOCH, now);
        delta.seats.extend(lapsed.map(|seat| (seat, Status::Free)));
        delta.settle();
        delta.cancelled = self.map.cancelled();
        Some((Frame::new(self.map.plan(), delta, now), self.next_frame))
    }
}

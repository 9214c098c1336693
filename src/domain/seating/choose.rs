//! Choosing blocks: the best one, the ones nearest to a block that is not free, and which of them leave orphan seats.

use std::ops::Range;

use chrono::{DateTime, Utc};

use super::{OrphanRule, Seating};
use crate::domain::{
    layout::SeatKind,
    seat_index::{Block, SeatIndex},
};

/// The most blocks that a refusal offers.
const OFFERS: usize = 3;

/// How good a block is. Ranks are compared field by field; the lowest is the best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Whether the block leaves an orphan.
    leaves_orphan: bool,
    /// The number of seats that are of a kind that others need more, or not of the kind that is wanted.
    misfits: u16,
    /// The square of the distance from the target.
    distance: i32,
    /// The first seat. Of equal blocks, the one nearer to the screen is better, then the one further left.
    first: u16,
}

/// What the ranks of blocks are measured from.
struct Target {
    /// The row and the column where the middle of the block should be, times two.
    middle: (i32, i32),
    /// The numbers of seats of each special kind that the block should have.
    kinds: Kinds,
}

/// The number of accessible seats and the number of companion seats.
type Kinds = [u16; 2];

/// Which accessible and companion seats a choice may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// All.
    Open,
    /// Accessible seats, and companion seats together with the accessible seat beside them.
    Asked,
    /// None, except companion seats that are beside no accessible seat.
    NotAsked,
}

/// The free seats of an auditorium at one time.
pub(super) struct Free<'a> {
    seat_index: &'a SeatIndex,
    seats: Vec<bool>,
    access: Access,
}

impl<'a> Free<'a> {
    /// `own` counts as free.
    pub(super) fn of(seating: &'a Seating, own: &[u16], access: Access, now: DateTime<Utc>) -> Self {
        let seat_index = seating.plan.seat_index.as_ref();
        let mut seats: Vec<_> = (0..seat_index.seat_count()).map(|seat| seating.is_free(seat, now)).collect();
        for seat in own {
            seats[usize::from(*seat)] = true;
        }
        Self { seat_index, seats, access }
    }

    fn is_free(&self, seat: u16) -> bool {
        self.seats[usize::from(seat)]
    }

    /// The best free block of this size: near the middle of the auditorium, if possible without leaving an orphan. If accessible
    /// seats are asked for, it has one, and companion seats beside it if possible.
    pub(super) fn best(&self, count: u16, accessible: bool) -> Option<Block> {
        let wanted = if accessible { [1, count.saturating_sub(1)] } else { [0, 0] };
        let target = Target { middle: self.seat_index.centre, kinds: wanted };
        let fits = |block: &Block| !accessible || kinds(self.seat_index, *block)[0] > 0;
        self.blocks(count).filter(fits).min_by_key(|block| self.rank(*block, &target))
    }

    /// The seats of a block that are kept for those who ask for accessible seats, or that are not beside the accessible seat that
    /// they are for.
    pub(super) fn kept_for_others(&self, block: Block) -> impl Iterator<Item = u16> {
        let has = move |seat: u16| block.seats().contains(&seat) && self.seat_index.kind(seat) == SeatKind::Accessible;
        let is_kept = move |seat: &u16| match self.seat_index.kind(*seat) {
            SeatKind::Standard | SeatKind::Premium => false,
            SeatKind::Accessible => self.access == Access::NotAsked,
            SeatKind::Companion => {
                let together = seat.checked_sub(1).is_some_and(has) || has(seat + 1);
                self.seat_index.is_beside(*seat, SeatKind::Accessible) && !together
            }
        };
        let seats = if self.access == Access::Open { 0..0 } else { block.seats() };
        seats.filter(is_kept)
    }

    /// Free blocks of the same size to offer instead of this one. They have no seat in common, and the nearest comes first.
    /// Those that leave an orphan come last; where the orphan rule refuses them, they are left out.
    pub(super) fn offers(&self, wanted: Block, orphan_rule: OrphanRule) -> Vec<Block> {
        let target = Target { middle: middle(self.seat_index, wanted), kinds: kinds(self.seat_index, wanted) };
        let mut runs: Vec<_> =
            self.seat_index.runs().iter().map(|run| (self.row_distance(run, &target), run)).collect();
        runs.sort_unstable_by_key(|(distance, run)| (*distance, run.start));
        let mut ranked: Vec<Rank> = Vec::new();
        // The nearest rows come first. The search ends when no row further away can have a better block.
        for rows in runs.chunk_by(|one, next| one.0 == next.0) {
            let beyond = |worst: &Rank| !worst.leaves_orphan && worst.misfits == 0 && worst.distance < rows[0].0;
            if nearest(&mut ranked, wanted.count).get(OFFERS - 1).is_some_and(beyond) {
                break;
            }
            let blocks = rows.iter().flat_map(|(_, run)| self.blocks_of(run, wanted.count));
            ranked.extend(blocks.map(|block| self.rank(block, &target)));
        }
        let nearest = nearest(&mut ranked, wanted.count);
        let refused = orphan_rule == OrphanRule::Refuse && nearest.first().is_some_and(|best| !best.leaves_orphan);
        let offered = nearest.into_iter().take_while(|rank| !(refused && rank.leaves_orphan));
        offered.map(|rank| Block { first: rank.first, count: wanted.count }).collect()
    }

    /// Whether a free block of this size leaves no orphan.
    pub(super) fn has_without_orphan(&self, count: u16) -> bool {
        self.blocks(count).any(|block| !self.leaves_orphan(block))
    }

    /// The orphans that a block leaves if it is taken: free neighbours of the block that have no other free neighbour.
    pub(super) fn orphans(&self, block: Block) -> impl Iterator<Item = u16> {
        let run = self.seat_index.run_of(block.first);
        let (first, end) = (block.first, block.first + block.count);
        let free = |seat: Option<u16>| seat.is_some_and(|seat| run.contains(&seat) && self.is_free(seat));
        let before = |seat: u16, by: u16| seat.checked_sub(by);
        let left = (free(before(first, 1)) && !free(before(first, 2))).then(|| first - 1);
        let right = (free(Some(end)) && !free(Some(end + 1))).then_some(end);
        left.into_iter().chain(right)
    }

    fn leaves_orphan(&self, block: Block) -> bool {
        self.orphans(block).next().is_some()
    }

    /// Every free block of this size.
    fn blocks(&self, count: u16) -> impl Iterator<Item = Block> {
        self.seat_index.runs().iter().flat_map(move |run| self.blocks_of(run, count))
    }

    fn blocks_of(&self, run: &Range<u16>, count: u16) -> impl Iterator<Item = Block> {
        // The number of consecutive free seats up to this one.
        let mut length = 0;
        let blocks = run.clone().filter_map(move |seat| {
            length = if self.is_free(seat) { length + 1 } else { 0 };
            (count > 0 && length >= count).then(|| Block { first: seat + 1 - count, count })
        });
        blocks.filter(|block| self.access == Access::Open || self.kept_for_others(*block).next().is_none())
    }

    /// The square of the smallest distance that a block of this run can have.
    fn row_distance(&self, run: &Range<u16>, target: &Target) -> i32 {
        // Rows are about twice as far apart as neighbouring seats.
        let rows = 2 * (2 * i32::from(self.seat_index.position(run.start).row) - target.middle.0);
        rows * rows
    }

    fn rank(&self, block: Block, target: &Target) -> Rank {
        let kinds = kinds(self.seat_index, block).into_iter().zip(target.kinds);
        let misfits = kinds.map(|(has, should)| has.abs_diff(should)).sum();
        let columns = middle(self.seat_index, block).1 - target.middle.1;
        let distance = self.row_distance(&block.seats(), target) + columns * columns;
        Rank { leaves_orphan: self.leaves_orphan(block), misfits, distance, first: block.first }
    }
}

/// The best blocks that have no seat in common.
fn nearest(ranked: &mut [Rank], count: u16) -> Vec<Rank> {
    ranked.sort_unstable();
    let mut nearest: Vec<Rank> = Vec::with_capacity(OFFERS);
    for rank in ranked {
        if nearest.len() == OFFERS {
            break;
        }
        if nearest.iter().all(|other| other.first.abs_diff(rank.first) >= count) {
            nearest.push(*rank);
        }
    }
    nearest
}

/// The row and the column of the middle of a block, times two.
fn middle(seat_index: &SeatIndex, block: Block) -> (i32, i32) {
    let (first, last) = (seat_index.position(block.first), seat_index.position(block.first + block.count - 1));
    (2 * i32::from(first.row), i32::from(first.column) + i32::from(last.column))
}

fn kinds(seat_index: &SeatIndex, block: Block) -> Kinds {
    let mut kinds = [0, 0];
    for seat in block.seats() {
        match seat_index.position(seat).kind {
            SeatKind::Standard | SeatKind::Premium => {}
            SeatKind::Accessible => kinds[0] += 1,
            SeatKind::Companion => kinds[1] += 1,
        }
    }
    kinds
}

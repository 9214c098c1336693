//! Choosing seats for people: which block is the best, which comes nearest, which leaves somebody's seat alone.

use chrono::{DateTime, Utc};

use super::Seating;
use crate::domain::{
    house::{Block, House},
    layout::SeatKind,
};

/// So many other blocks are offered.
const OFFERS: usize = 3;

/// How good a block is: less is better. It leaves no seat alone; it spares the seats that some people need; it is near.
type Rank = (bool, u16, i32, u16);

/// The seats of a house that can be had at a moment.
pub(super) struct Free<'a> {
    house: &'a House,
    free: Vec<bool>,
}

impl<'a> Free<'a> {
    pub(super) fn of(seating: &'a Seating, now: DateTime<Utc>) -> Self {
        let house = seating.plan.house.as_ref();
        Self { house, free: (0..house.seat_count()).map(|seat| seating.is_free(seat, now)).collect() }
    }

    fn is_free(&self, seat: u16) -> bool {
        self.free[usize::from(seat)]
    }

    /// The best block of this size, if there is any.
    pub(super) fn best(&self, count: u16) -> Option<Block> {
        self.blocks(count).min_by_key(|block| self.rank(*block, self.house.centre))
    }

    /// Blocks of this size that share no seat, the nearest to `near` first; to the centre, if there is none. With
    /// `strands`, those that leave a seat alone are among them, at the end.
    pub(super) fn offers(&self, count: u16, near: Option<Block>, strands: bool) -> Vec<Block> {
        let target = near.map_or(self.house.centre, |block| middle(self.house, block));
        let mut offers: Vec<Block> = Vec::with_capacity(OFFERS);
        while offers.len() < OFFERS {
            let apart = |block: &Block| offers.iter().all(|offer| !offer.overlaps(*block));
            let next = self.blocks(count).filter(apart).min_by_key(|block| self.rank(*block, target));
            match next {
                Some(block) if strands || !self.strands(block) => offers.push(block),
                _ => break,
            }
        }
        offers
    }

    /// Whether some block of this size leaves no seat alone.
    pub(super) fn has_neat(&self, count: u16) -> bool {
        self.blocks(count).any(|block| !self.strands(block))
    }

    /// The free seats that a free block would leave alone: without a free neighbour, where they had one before.
    pub(super) fn stranded(&self, block: Block) -> impl Iterator<Item = u16> {
        let run = self.house.run_of(block.first);
        let (first, end) = (block.first, block.first + block.count);
        let free = |seat: Option<u16>| seat.is_some_and(|seat| run.contains(&seat) && self.is_free(seat));
        let before = |seat: u16, by: u16| seat.checked_sub(by);
        let left = (free(before(first, 1)) && !free(before(first, 2))).then(|| first - 1);
        let right = (free(Some(end)) && !free(Some(end + 1))).then_some(end);
        left.into_iter().chain(right)
    }

    fn strands(&self, block: Block) -> bool {
        self.stranded(block).next().is_some()
    }

    /// Every block of this size that is free from end to end.
    fn blocks(&self, count: u16) -> impl Iterator<Item = Block> {
        self.house.runs().iter().flat_map(move |run| {
            // How many free seats end here.
            let mut length = 0;
            run.clone().filter_map(move |seat| {
                length = if self.is_free(seat) { length + 1 } else { 0 };
                (count > 0 && length >= count).then(|| Block { first: seat + 1 - count, count })
            })
        })
    }

    fn rank(&self, block: Block, target: (i32, i32)) -> Rank {
        let special = block.seats().filter(|seat| self.house.spot(*seat).kind != SeatKind::Standard).count();
        let (row, column) = middle(self.house, block);
        // Rows are about twice as far apart as seats.
        let (rows, columns) = (2 * (row - target.0), column - target.1);
        (self.strands(block), special as u16, rows * rows + columns * columns, block.first)
    }
}

/// Twice the middle of a block: its row, and its column.
fn middle(house: &House, block: Block) -> (i32, i32) {
    let (first, last) = (house.spot(block.first), house.spot(block.first + block.count - 1));
    (2 * i32::from(first.row), i32::from(first.column) + i32::from(last.column))
}

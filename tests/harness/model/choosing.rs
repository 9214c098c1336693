//! Which seats a caller may have, as the model sees it, and what is offered instead.

use boxoffice::domain::{
    layout::SeatKind,
    reservation::State,
    seat_index::{Block, SeatName},
    seating::{AccessibleSeats, Obstacle, OrphanRule, Refusal, Unavailable},
};
use chrono::{DateTime, Utc};

use super::{Asking, Model, bad, sales, span};

impl Model {
    pub(super) fn named(&self, names: &[SeatName], asking: &Asking, now: DateTime<Utc>) -> Result<Block, Refusal> {
        let block = self.seat_plan.block(names).map_err(bad)?;
        // What is blocked for the caller is free only if it is named.
        let own = asking.own.iter().copied();
        let own = own.filter(|seat| !self.blocked.contains(seat) || block.seats().contains(seat)).collect();
        let asking = &Asking { own, ..asking.clone() };
        let others = block.seats().filter(|seat| !asking.own.contains(seat));
        let obstacles: Vec<_> = others.filter_map(|seat| Some((seat, self.obstacle(seat, now)?))).collect();
        if !obstacles.is_empty() {
            return Err(Refusal::Unavailable(self.unavailable(obstacles, block, asking, now)));
        }
        let kept: Vec<_> = block.seats().filter(|seat| self.is_kept(*seat, block, asking, now)).collect();
        if !kept.is_empty() {
            let seats = kept.into_iter().map(|seat| (seat, Obstacle::AccessibleOnly)).collect();
            return Err(Refusal::AccessibleOnly(self.unavailable(seats, block, asking, now)));
        }
        let free = self.free_for(asking, now);
        let orphans = self.seat_plan.orphans(&free, block);
        let all_leave_orphans =
            self.blocks_for(asking, block.count, now).iter().all(|other| self.seat_plan.leaves_orphan(&free, *other));
        if self.rules.orphan_rule == OrphanRule::Refuse && !orphans.is_empty() && !all_leave_orphans {
            let seats = orphans.into_iter().map(|seat| (seat, Obstacle::Orphan)).collect();
            return Err(Refusal::LeavesOrphan(self.unavailable(seats, block, asking, now)));
        }
        Ok(block)
    }

    /// Why a seat is not free.
    pub(super) fn obstacle(&self, seat: u16, now: DateTime<Utc>) -> Option<Obstacle> {
        if self.blocked.contains(&seat) {
            return Some(Obstacle::Blocked);
        }
        let owner = self.live(now).find(|it| sales::seats(it).contains(&seat))?;
        Some(match owner.state {
            State::Held => Obstacle::Held { until: owner.expire_time },
            State::Paying(paying) => Obstacle::Held { until: paying.pay_until },
            _ => Obstacle::Sold,
        })
    }

    /// Whether a seat of a block is kept for those who ask for accessible seats.
    pub(super) fn is_kept(&self, seat: u16, block: Block, asking: &Asking, now: DateTime<Utc>) -> bool {
        let AccessibleSeats::OnRequest { open_before } = self.rules.accessible_seats else { return false };
        if now >= self.facts.start_time - span(open_before) {
            return false;
        }
        let accessible_beside = self.seat_plan.beside(seat, SeatKind::Accessible);
        match self.seat_plan.kind(seat) {
            SeatKind::Standard | SeatKind::Premium => false,
            SeatKind::Accessible => !asking.accessible,
            SeatKind::Companion => {
                !accessible_beside.is_empty() && !accessible_beside.iter().any(|one| block.seats().contains(one))
            }
        }
    }

    /// The blocks of this size that could be had.
    pub(super) fn blocks_for(&self, asking: &Asking, count: u16, now: DateTime<Utc>) -> Vec<Block> {
        let mut blocks = self.seat_plan.free_blocks(&self.free_for(asking, now), count);
        blocks.retain(|block| !block.seats().any(|seat| self.is_kept(seat, *block, asking, now)));
        blocks
    }

    /// The seats that are not available, and up to three blocks: each the best that has no seat in common with those before.
    pub(super) fn unavailable(
        &self,
        seats: Vec<(u16, Obstacle)>,
        requested: Block,
        asking: &Asking,
        now: DateTime<Utc>,
    ) -> Unavailable {
        let free = self.free_for(asking, now);
        let mut left = self.blocks_for(asking, requested.count, now);
        let all_leave_orphans = left.iter().all(|block| self.seat_plan.leaves_orphan(&free, *block));
        if self.rules.orphan_rule == OrphanRule::Refuse && !all_leave_orphans {
            left.retain(|block| !self.seat_plan.leaves_orphan(&free, *block));
        }
        let mut offers: Vec<Block> = Vec::new();
        while offers.len() < 3 {
            let Some(next) = self.seat_plan.nearest(&free, &left, Some(requested)) else { break };
            offers.push(next);
            left.retain(|block| !block.overlaps(next));
        }
        Unavailable { seats, offers }
    }

    pub(super) fn best(&self, count: u16, accessible: bool, now: DateTime<Utc>) -> Result<Block, Refusal> {
        let asking = Asking { accessible, own: Vec::new() };
        let free = self.free_for(&asking, now);
        let blocks = self.blocks_for(&asking, count, now);
        let none = Refusal::Unavailable(Unavailable { seats: Vec::new(), offers: Vec::new() });
        if accessible {
            return self.seat_plan.best_accessible(&free, &blocks).ok_or(none);
        }
        self.seat_plan.nearest(&free, &blocks, None).ok_or(none)
    }

    /// Which seats are free for a caller.
    pub(super) fn free_for(&self, asking: &Asking, now: DateTime<Utc>) -> Vec<bool> {
        (0..self.seat_count()).map(|seat| asking.own.contains(&seat) || self.obstacle(seat, now).is_none()).collect()
    }
}

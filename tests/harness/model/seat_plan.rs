//! The seats of the model's auditorium, and which of them are neighbours.

use boxoffice::domain::{
    layout::{Layout, LayoutCell, SeatKind},
    seat_index::{BadKind, Block, RowLabel, SeatName},
};

/// A seat and its position.
#[derive(Clone, Debug)]
struct Seat {
    name: SeatName,
    kind: SeatKind,
    row: i32,
    column: i32,
}

/// The seats in the order of the layout.
#[derive(Clone, Debug)]
pub(super) struct SeatPlan {
    seats: Vec<Seat>,
    rows: i32,
    columns: i32,
}

impl SeatPlan {
    pub(super) fn new(layout: &Layout) -> Self {
        let mut seats = Vec::new();
        let mut columns = 0;
        for (row, layout_row) in (0..).zip(layout.rows()) {
            for (column, cell) in (0..).zip(&layout_row.cells) {
                columns = columns.max(column + 1);
                if let LayoutCell::Seat { number, kind } = *cell {
                    let name =
                        SeatName { row: RowLabel::parse(&layout_row.label).expect("a label of a layout"), number };
                    seats.push(Seat { name, kind, row, column });
                }
            }
        }
        Self { seats, rows: i32::try_from(layout.rows().len()).expect("few rows"), columns }
    }

    pub(super) fn seat_count(&self) -> u16 {
        u16::try_from(self.seats.len()).expect("few seats")
    }

    pub(super) fn kind(&self, seat: u16) -> SeatKind {
        self.seats[usize::from(seat)].kind
    }

    pub(super) fn name(&self, seat: u16) -> SeatName {
        self.seats[usize::from(seat)].name
    }

    /// Whether the seats are in one row with nothing between them.
    fn are_neighbours(&self, left: u16, right: u16) -> bool {
        let (left, right) = (&self.seats[usize::from(left)], &self.seats[usize::from(right)]);
        left.row == right.row && left.column + 1 == right.column
    }

    /// The block that consists of these seats, or the most important reason why they are none.
    pub(super) fn block(&self, names: &[SeatName]) -> Result<Block, BadKind> {
        let mut seats = Vec::new();
        for name in names {
            let found = (0..self.seat_count()).find(|seat| self.name(*seat) == *name);
            seats.push(found.ok_or(BadKind::Unknown)?);
        }
        seats.sort_unstable();
        let pairs = || seats.iter().zip(seats.iter().skip(1));
        if pairs().any(|(one, next)| one == next) {
            return Err(BadKind::Repeated);
        }
        if !pairs().all(|(one, next)| self.are_neighbours(*one, *next)) {
            return Err(BadKind::NotContiguous);
        }
        let first = *seats.first().ok_or(BadKind::Unknown)?;
        Ok(Block { first, count: u16::try_from(seats.len()).expect("few seats") })
    }

    /// Every block of this size whose seats are all free.
    pub(super) fn free_blocks(&self, free: &[bool], count: u16) -> Vec<Block> {
        let fits = |block: &Block| {
            let last = block.first + block.count - 1;
            last < self.seat_count()
                && block.seats().all(|seat| free[usize::from(seat)])
                && (block.first..last).all(|seat| self.are_neighbours(seat, seat + 1))
        };
        if count == 0 {
            return Vec::new();
        }
        (0..self.seat_count()).map(|first| Block { first, count }).filter(fits).collect()
    }

    /// The free seats that have a free neighbour and would have none if this block were taken.
    pub(super) fn orphans(&self, free: &[bool], block: Block) -> Vec<u16> {
        let mut after = free.to_vec();
        for seat in block.seats() {
            after[usize::from(seat)] = false;
        }
        let all = || 0..self.seat_count();
        let beside = |one: u16, other: u16| self.are_neighbours(one, other) || self.are_neighbours(other, one);
        let alone = |free: &[bool], seat: u16| {
            free[usize::from(seat)] && !all().any(|other| free[usize::from(other)] && beside(seat, other))
        };
        all().filter(|seat| alone(&after, *seat) && !alone(free, *seat)).collect()
    }

    pub(super) fn leaves_orphan(&self, free: &[bool], block: Block) -> bool {
        !self.orphans(free, block).is_empty()
    }

    /// The best of these blocks: it leaves no orphan if possible, has seats of the requested kinds, and is nearest to the
    /// requested block or to the middle of the auditorium. Of equal blocks it is the first.
    pub(super) fn nearest(&self, free: &[bool], blocks: &[Block], requested: Option<Block>) -> Option<Block> {
        let (row, column) = requested.map_or((self.rows - 1, self.columns - 1), |block| self.twice_the_middle(block));
        let kinds = requested.map_or((0, 0), |block| self.kinds(block));
        let worth = |block: &Block| {
            let (accessible, companion) = self.kinds(*block);
            let misfits = (accessible - kinds.0).abs() + (companion - kinds.1).abs();
            let (its_row, its_column) = self.twice_the_middle(*block);
            let distance = (2 * (its_row - row)).pow(2) + (its_column - column).pow(2);
            (self.leaves_orphan(free, *block), misfits, distance, block.first)
        };
        blocks.iter().copied().min_by_key(worth)
    }

    /// The best of these blocks for somebody who asks for an accessible seat: it has one, if possible exactly one and companion
    /// seats beside it.
    pub(super) fn best_accessible(&self, free: &[bool], blocks: &[Block]) -> Option<Block> {
        let worth = |block: &Block| {
            let (accessible, companion) = self.kinds(*block);
            let misfits = (accessible - 1).abs() + (companion - i32::from(block.count) + 1).abs();
            let (row, column) = self.twice_the_middle(*block);
            let distance = (2 * (row - self.rows + 1)).pow(2) + (column - self.columns + 1).pow(2);
            (self.leaves_orphan(free, *block), misfits, distance, block.first)
        };
        blocks.iter().copied().filter(|block| self.kinds(*block).0 > 0).min_by_key(worth)
    }

    /// The neighbours of a seat that are of this kind.
    pub(super) fn beside(&self, seat: u16, kind: SeatKind) -> Vec<u16> {
        let is_beside = |other: &u16| self.are_neighbours(*other, seat) || self.are_neighbours(seat, *other);
        (0..self.seat_count()).filter(is_beside).filter(|other| self.kind(*other) == kind).collect()
    }

    fn twice_the_middle(&self, block: Block) -> (i32, i32) {
        let ends = [block.first, block.first + block.count - 1].map(|seat| &self.seats[usize::from(seat)]);
        (ends[0].row + ends[1].row, ends[0].column + ends[1].column)
    }

    /// The number of accessible seats and the number of companion seats.
    fn kinds(&self, block: Block) -> (i32, i32) {
        let kinds = || block.seats().map(|seat| self.seats[usize::from(seat)].kind);
        let many = |kind| i32::try_from(kinds().filter(|it| *it == kind).count()).expect("few seats");
        (many(SeatKind::Accessible), many(SeatKind::Companion))
    }
}

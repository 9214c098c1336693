//! The last rows of the feed, in memory.

use std::{collections::VecDeque, sync::Arc};

use super::row::Row;

/// Most bytes of rows, as they are in the database. Decoded they take several times as much.
const MAX_BYTES: usize = 2 << 20;

/// The last rows of the feed. Their positions have no gaps.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// The position before the first row.
    before: i64,
    rows: VecDeque<Arc<Row>>,
    bytes: usize,
}

impl Ring {
    /// The position of the last row.
    pub(super) fn head(&self) -> i64 {
        self.before + self.rows.len() as i64
    }

    /// Begins anew after this position, without rows.
    pub(super) fn restart(&mut self, position: i64) {
        if !self.rows.is_empty() || self.before != position {
            *self = Self { before: position, ..Self::default() };
        }
    }

    /// Adds the rows that follow, and drops the oldest ones if there are too many.
    pub(super) fn extend(&mut self, rows: VecDeque<Arc<Row>>) {
        for row in rows {
            if row.position != self.head() + 1 {
                // Rows between were deleted.
                self.restart(row.position - 1);
            }
            self.bytes += row.bytes;
            self.rows.push_back(row);
            while self.bytes > MAX_BYTES
                && let Some(oldest) = self.rows.pop_front()
            {
                self.bytes -= oldest.bytes;
                self.before = oldest.position;
            }
        }
    }

    /// At most `most` rows after this position. `None`: they are not in memory.
    pub(super) fn after(&self, position: i64, most: usize) -> Option<VecDeque<Arc<Row>>> {
        let skipped = usize::try_from(position.checked_sub(self.before)?).ok()?;
        Some(self.rows.iter().skip(skipped).take(most).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::FeedRow;

    fn rows(positions: std::ops::RangeInclusive<i64>, bytes: usize) -> VecDeque<Arc<Row>> {
        let row = |position| {
            // A field of one byte array that the message does not have.
            let mut events = vec![0x12];
            prost::encoding::encode_varint(bytes as u64, &mut events);
            events.extend(vec![0; bytes]);
            Arc::new(Row::read(FeedRow { position, aggregate: uuid::Uuid::nil(), seq: 1, events }).unwrap())
        };
        positions.map(row).collect()
    }

    fn positions(ring: &Ring, after: i64) -> Option<Vec<i64>> {
        Some(ring.after(after, 100)?.iter().map(|row| row.position).collect())
    }

    #[test]
    fn rows_are_found_by_position() {
        let mut ring = Ring::default();
        ring.restart(4);
        ring.extend(rows(5..=8, 1));
        assert_eq!(positions(&ring, 3), None);
        assert_eq!(positions(&ring, 4), Some(vec![5, 6, 7, 8]));
        assert_eq!(positions(&ring, 7), Some(vec![8]));
        assert_eq!(positions(&ring, 8), Some(vec![]));
        assert_eq!(positions(&ring, 9), Some(vec![]));
    }

    #[test]
    fn the_oldest_rows_are_dropped_when_there_are_too_many() {
        let mut ring = Ring::default();
        ring.extend(rows(1..=10, MAX_BYTES / 4));
        assert_eq!(ring.head(), 10);
        assert_eq!(positions(&ring, 6), None);
        assert_eq!(positions(&ring, 7), Some(vec![8, 9, 10]));
    }

    #[test]
    fn rows_after_a_gap_begin_anew() {
        let mut ring = Ring::default();
        ring.extend(rows(1..=3, 1));
        ring.extend(rows(7..=8, 1));
        assert_eq!((positions(&ring, 5), positions(&ring, 6)), (None, Some(vec![7, 8])));
    }
}

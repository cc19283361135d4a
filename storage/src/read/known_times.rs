//! Time columns of blocks that a cursor decoded lately.
//!
//! The series of one scrape share a column, and a query reads them one after another: what is jittered takes longer to decode
//! than the values.

use crate::codec::{ChunkError, ChunkPlace, Shared, TimeColumnId};
use crate::model::BlockId;
use std::cell::RefCell;

/// So many columns are remembered, each in the place that its number has: the scrapes of some targets in some blocks.
const PLACES: usize = 64;
/// Longer ones are not; blocks have shorter ones. This and [`PLACES`] make 2 MiB.
const TIMES_MAX: usize = 4096;

/// Columns by place.
#[derive(Debug, Default)]
pub(super) struct KnownTimes {
    places: RefCell<Vec<Known>>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    column: Option<(BlockId, TimeColumnId)>,
    times: Vec<i64>,
}

/// What chunks of a block share, with the times remembered.
pub(super) struct Remembering<'a, S> {
    pub(super) shared: S,
    pub(super) block: BlockId,
    pub(super) known: &'a KnownTimes,
}

impl<S: Shared> Shared for Remembering<'_, S> {
    fn column(&self, id: TimeColumnId) -> Result<&[u8], ChunkError> {
        self.shared.column(id)
    }

    fn times(&self, id: TimeColumnId, count: usize, out: &mut Vec<i64>) -> Result<(), ChunkError> {
        if count > TIMES_MAX {
            return self.shared.times(id, count, out);
        }
        let column = Some((self.block, id));
        let places = &mut *self.known.places.borrow_mut();
        places.resize_with(PLACES, Known::default);
        let known = &mut places[(id.0 as usize).wrapping_add(self.block.0 as usize) % PLACES];
        if known.column != column || known.times.len() != count {
            known.column = None;
            known.times.clear();
            self.shared.times(id, count, &mut known.times)?;
            known.column = column;
        }
        out.extend_from_slice(&known.times);
        Ok(())
    }

    fn base(&self, place: ChunkPlace) -> Result<&[u8], ChunkError> {
        self.shared.base(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::encode_column;
    use std::cell::Cell;

    /// Columns of three times, the first of them the column's number; and how many were read.
    #[derive(Default)]
    struct Columns(Vec<Vec<u8>>, Cell<u32>);

    impl Shared for &Columns {
        fn column(&self, id: TimeColumnId) -> Result<&[u8], ChunkError> {
            self.1.set(self.1.get() + 1);
            self.0.get(id.0 as usize).map(Vec::as_slice).ok_or(ChunkError::NoColumn(id))
        }

        fn base(&self, place: ChunkPlace) -> Result<&[u8], ChunkError> {
            Err(ChunkError::NoBase(place.offset))
        }
    }

    #[test]
    fn a_column_is_decoded_once_while_its_place_is_its_own() {
        let mut columns = Columns::default();
        for i in 0..100 {
            columns.0.push(vec![]);
            encode_column(&[i, 1000, 2000], &mut columns.0[i as usize]);
        }
        let known = KnownTimes::default();
        let check = |block: u64, id: u32, reads: u32| {
            let mut out = vec![-1];
            let before = columns.1.get();
            Remembering { shared: &columns, block: BlockId(block), known: &known }
                .times(TimeColumnId(id), 3, &mut out)
                .unwrap();
            assert_eq!((out, columns.1.get() - before), (vec![-1, i64::from(id), 1000, 2000], reads));
        };
        check(1, 5, 1);
        check(1, 6, 1);
        check(1, 5, 0);
        check(2, 5, 1);
        check(2, 5, 0);
        // The place of 5 in block 1 is that of 69.
        check(1, 69, 1);
        check(1, 5, 1);
        check(1, 6, 1);
    }

    #[test]
    fn what_cannot_be_read_is_told_each_time() {
        let mut columns = Columns::default();
        columns.0.push(vec![]);
        encode_column(&[1, 2], &mut columns.0[0]);
        let known = KnownTimes::default();
        let times = |id, count, out: &mut Vec<i64>| {
            Remembering { shared: &columns, block: BlockId(1), known: &known }.times(
                TimeColumnId(id),
                count,
                out,
            )
        };
        let mut out = vec![];
        times(0, 2, &mut out).unwrap();
        for _ in 0..2 {
            assert_eq!(times(0, 3, &mut out), Err(ChunkError::ColumnCount { expected: 3, found: 2 }));
            assert_eq!(times(64, 2, &mut out), Err(ChunkError::NoColumn(TimeColumnId(64))));
        }
        times(0, 2, &mut out).unwrap();
        assert_eq!(out, [1, 2, 1, 2]);
    }
}

//! One shard of the head: its label index and its series, each behind its own lock.
//!
//! Lock order: index, then series. Samples of known series take the series lock alone; queries take the index for reading, a
//! thousand values at a time, and the series a thousand at a time. Nobody waits for the disk under either.

use super::series::SeriesTable;
use super::symbols::{HeadIndex, Released};
use crate::index::{Bitmap, LabelIndex, NameId, ValueId, Values};
use crate::model::{DurationMs, SeriesSlot, ShardId};
use parking_lot::{Mutex, RwLock};
use std::convert::Infallible;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Slots that are looked at in one hold of a lock.
pub(crate) const SLICE: u32 = 1024;

/// Values and slots that are given free in one hold of a lock: some milliseconds.
const RELEASED: usize = 8192;

/// One shard.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    pub(crate) index: RwLock<HeadIndex>,
    pub(crate) series: Mutex<SeriesTable>,
    /// Heap bytes of index and series, as whoever changed them last has told.
    index_bytes: AtomicUsize,
    series_bytes: AtomicUsize,
    /// Of `series_bytes` what may be moved to the head-chunk log at any time.
    buffer_bytes: AtomicUsize,
}

impl Shard {
    pub(crate) fn new(id: ShardId, window: DurationMs) -> Self {
        Self {
            id,
            index: RwLock::default(),
            series: Mutex::new(SeriesTable::new(id, window)),
            index_bytes: AtomicUsize::new(0),
            series_bytes: AtomicUsize::new(0),
            buffer_bytes: AtomicUsize::new(0),
        }
    }

    /// Calls `f` for each slice of the slots that there are now, with the series locked anew for each.
    pub(crate) fn for_each_slice(&self, mut f: impl FnMut(&mut SeriesTable, Range<u32>)) {
        let mut first = 0;
        loop {
            let mut series = self.series.lock();
            let end = series.slots().min(first + SLICE);
            if first >= end {
                return self.tell_series_bytes(&series);
            }
            f(&mut series, first..end);
            first = end;
        }
    }

    /// Whether `is_one` holds for any series.
    pub(crate) fn any_series(&self, is_one: impl Fn(&SeriesTable, SeriesSlot) -> bool) -> bool {
        let mut any = false;
        self.for_each_slice(|series, slots| any = any || slots.map(SeriesSlot).any(|s| is_one(series, s)));
        any
    }

    /// Removes the series that `may_leave` accepts (again, now under the locks). Their slots and values are free once
    /// [`Self::release`] is called.
    pub(crate) fn remove_series(&self, may_leave: impl Fn(&SeriesTable, SeriesSlot) -> bool) -> Released {
        let mut candidates = Vec::new();
        self.for_each_slice(|series, slots| {
            candidates.extend(slots.map(SeriesSlot).filter(|s| may_leave(series, *s)));
        });
        let mut released = Released::default();
        for slots in candidates.chunks(SLICE as usize / 4) {
            let mut index = self.index.write();
            let mut series = self.series.lock();
            for slot in slots {
                if may_leave(&series, *slot) {
                    series.remove(*slot);
                    index.remove(*slot, &mut released);
                }
            }
        }
        released
    }

    /// Lets slots and values of a removal be given again. No reader that ran during the removal may be left. A flush lets go of
    /// hundreds of thousands: no lock is held for all of them.
    pub(crate) fn release(&self, released: &Released) {
        for values in released.values().chunks(RELEASED) {
            self.index.write().release_values(values);
        }
        for name in released.names() {
            self.index.write().shrink_name(name);
        }
        let mut index = self.index.write();
        index.shrink_rows();
        self.tell_index_bytes(&index);
        drop(index);
        for slots in released.slots().chunks(RELEASED) {
            self.series.lock().reuse(slots);
        }
        self.tell_series_bytes(&self.series.lock());
    }

    /// Heap bytes, as last told: no lock is taken.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.index_bytes.load(Relaxed) + self.series_bytes.load(Relaxed)
    }

    /// Heap bytes of late samples and histograms, as last told: no lock is taken.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer_bytes.load(Relaxed)
    }

    /// Tells what the index takes, after a change and under its lock.
    pub(crate) fn tell_index_bytes(&self, index: &HeadIndex) {
        self.index_bytes.store(index.memory_bytes(), Relaxed);
    }

    /// Tells what the series take, after a change and under their lock.
    pub(crate) fn tell_series_bytes(&self, series: &SeriesTable) {
        self.series_bytes.store(series.memory_bytes(), Relaxed);
        self.buffer_bytes.store(series.buffer_bytes(), Relaxed);
    }

    /// Counts what both take. Walks the index's values.
    pub(crate) fn count_memory(&self) {
        let mut index = self.index.write();
        index.count_postings();
        self.tell_index_bytes(&index);
        self.tell_series_bytes(&self.series.lock());
    }
}

/// The index of a shard as selections read it: each call is one short hold of the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardLabels<'a>(pub(crate) &'a Shard);

impl LabelIndex for ShardLabels<'_> {
    type Error = Infallible;

    fn name_id(&self, name: &str) -> Result<Option<NameId>, Infallible> {
        Ok(self.0.index.read().name_id(name))
    }

    fn value_range(&self, name: NameId, _prefix: &str) -> Result<Range<u32>, Infallible> {
        Ok(0..self.0.index.read().value_count(name))
    }

    fn value_id(&self, name: NameId, value: &str) -> Result<Option<ValueId>, Infallible> {
        Ok(self.0.index.read().find_value(name, value))
    }

    fn values(&self, name: NameId, ids: Range<u32>, out: &mut Values) -> Result<(), Infallible> {
        self.0.index.read().copy_values(name, ids, out);
        Ok(())
    }

    fn counts(&self, name: NameId, ids: Range<u32>, out: &mut Vec<u64>) -> Result<(), Infallible> {
        self.0.index.read().count_series(name, ids, out);
        Ok(())
    }

    fn postings(&self, name: NameId, values: &[ValueId], out: &mut Bitmap) -> Result<(), Infallible> {
        self.0.index.read().union_postings(name, values, out);
        Ok(())
    }

    fn having(&self, name: NameId, out: &mut Bitmap) -> Result<(), Infallible> {
        self.0.index.read().union_having(Some(name), out);
        Ok(())
    }

    fn values_of(
        &self,
        name: NameId,
        series: &[u32],
        out: &mut Vec<Option<ValueId>>,
    ) -> Result<(), Infallible> {
        let index = self.0.index.read();
        let value = |slot: &u32| index.value_in(index.row(SeriesSlot(*slot))?, name);
        out.extend(series.iter().map(value));
        Ok(())
    }

    fn all(&self, out: &mut Bitmap) -> Result<(), Infallible> {
        self.0.index.read().union_having(None, out);
        Ok(())
    }
}

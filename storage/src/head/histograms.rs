//! Native histograms of a shard's head: of each series that has any, those in order and those that came late.
//!
//! They are kept plain and in a table of their own, so that a series of floats takes no byte for them; a few kilobytes of a series, then
//! they become a chunk of the head-chunk log.

use super::late::LateOutcome;
use crate::codec;
use crate::model::{
    DurationMs, Histogram, HistogramSample, SeriesSlot, TimestampMs, Window, merge_histograms,
};
use std::collections::HashMap;
use std::sync::Arc;

/// The histograms in order of a series are moved when they take more than this, or are as many: ten of sixty buckets. Chunks of a
/// block are longer, a cut puts them together.
const OPEN_BYTES_MAX: usize = 8 << 10;
const OPEN_MAX: usize = 120;
/// Late ones likewise.
const LATE_BYTES_MAX: usize = 8 << 10;
const LATE_MAX: usize = 32;

/// Histograms of a series, sorted by time, times unique. Readers take them as they are: an append copies what one still holds, so that
/// nobody copies the histograms of a thousand series under a shard's lock.
pub(crate) type Kept = Arc<Vec<HistogramSample>>;

/// The histograms of a shard that are not in the head-chunk log.
#[derive(Debug, Default)]
pub(crate) struct HeadHistograms {
    series: HashMap<SeriesSlot, OfSeries>,
    /// Series that have some in order.
    open: usize,
    bytes: usize,
}

/// Those of one series.
#[derive(Debug, Default)]
struct OfSeries {
    /// Of one window, and of shapes that may be one chunk.
    open: Kept,
    open_bytes: usize,
    late: Kept,
    late_bytes: usize,
}

impl HeadHistograms {
    /// Whether no series has any.
    pub(crate) fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Whether a series has any.
    pub(crate) fn has(&self, slot: SeriesSlot) -> bool {
        self.series.contains_key(&slot)
    }

    /// How many series have some in order.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// The newest in order of a series.
    pub(crate) fn newest(&self, slot: SeriesSlot) -> Option<TimestampMs> {
        self.series.get(&slot)?.open.last().map(|h| h.t)
    }

    /// Those of a series that came in order, and those that came late.
    pub(crate) fn get(&self, slot: SeriesSlot) -> [Option<&Kept>; 2] {
        let of = self.series.get(&slot);
        [of.map(|s| &s.open), of.map(|s| &s.late)].map(|kept| kept.filter(|some| !some.is_empty()))
    }

    /// The histogram of a series at a time.
    pub(crate) fn find(&self, slot: SeriesSlot, t: TimestampMs) -> Option<&Histogram> {
        let find = |some: &Kept| some.binary_search_by_key(&t, |h| h.t).ok();
        self.get(slot).into_iter().flatten().find_map(|some| find(some).map(|at| &some[at].h))
    }

    /// Whether a later histogram may stand behind those in order, in one chunk.
    pub(crate) fn takes(&self, slot: SeriesSlot, sample: &HistogramSample, window: DurationMs) -> bool {
        let Some(of) = self.series.get(&slot) else { return true };
        let Some(last) = of.open.last() else { return true };
        of.open.len() < OPEN_MAX
            && of.open_bytes + sample.h.memory_bytes() <= OPEN_BYTES_MAX
            && Window::of(last.t, window) == Window::of(sample.t, window)
            && codec::may_share_chunk(&last.h, &sample.h)
    }

    /// Adds a histogram behind those in order, which must take it.
    pub(crate) fn push(&mut self, slot: SeriesSlot, sample: HistogramSample) {
        let of = self.series.entry(slot).or_default();
        let bytes = sample.h.memory_bytes();
        self.open += usize::from(of.open.is_empty());
        self.bytes += bytes;
        of.open_bytes += bytes;
        Arc::make_mut(&mut of.open).push(sample);
    }

    /// Adds a late one; tells also whether the late ones are to be taken now.
    pub(crate) fn add_late(&mut self, slot: SeriesSlot, sample: &HistogramSample) -> (LateOutcome, bool) {
        if let Some(found) = self.find(slot, sample.t) {
            let is_same = found.total_cmp(&sample.h).is_eq();
            return (if is_same { LateOutcome::Duplicate } else { LateOutcome::Conflict }, false);
        }
        let of = self.series.entry(slot).or_default();
        let at = of.late.partition_point(|h| h.t < sample.t);
        Arc::make_mut(&mut of.late).insert(at, sample.clone());
        let bytes = sample.h.memory_bytes();
        self.bytes += bytes;
        of.late_bytes += bytes;
        (LateOutcome::Added, of.late.len() >= LATE_MAX || of.late_bytes >= LATE_BYTES_MAX)
    }

    /// Adds one whatever is there at its time: the merge rule decides, here or when both are read.
    pub(crate) fn settle(&mut self, slot: SeriesSlot, sample: &HistogramSample) {
        let of = self.series.entry(slot).or_default();
        let bytes = sample.h.memory_bytes();
        let late = Arc::make_mut(&mut of.late);
        let (added, removed) = match late.binary_search_by_key(&sample.t, |h| h.t) {
            Ok(at) => {
                let before = late[at].h.memory_bytes();
                let merged = merge_histograms(late[at].h.clone(), sample.h.clone());
                late[at].h = merged;
                (late[at].h.memory_bytes(), before)
            }
            Err(at) => {
                late.insert(at, sample.clone());
                (bytes, 0)
            }
        };
        of.late_bytes = of.late_bytes + added - removed;
        self.bytes = self.bytes + added - removed;
    }

    /// Takes those in order of a series.
    pub(crate) fn take_open(&mut self, slot: SeriesSlot) -> Vec<HistogramSample> {
        let Some(of) = self.series.get_mut(&slot) else { return Vec::new() };
        let taken = Arc::unwrap_or_clone(std::mem::take(&mut of.open));
        self.open -= usize::from(!taken.is_empty());
        self.bytes -= std::mem::take(&mut of.open_bytes);
        self.forget_empty(slot);
        taken
    }

    /// Takes those late ones of a series that are `wanted`.
    pub(crate) fn take_late(
        &mut self,
        slot: SeriesSlot,
        wanted: impl Fn(TimestampMs) -> bool,
    ) -> Vec<HistogramSample> {
        let Some(of) = self.series.get_mut(&slot) else { return Vec::new() };
        if !of.late.iter().any(|h| wanted(h.t)) {
            return Vec::new();
        }
        let taken: Vec<_> = Arc::make_mut(&mut of.late).extract_if(.., |h| wanted(h.t)).collect();
        let bytes: usize = taken.iter().map(|h| h.h.memory_bytes()).sum();
        of.late_bytes -= bytes;
        self.bytes -= bytes;
        self.forget_empty(slot);
        taken
    }

    fn forget_empty(&mut self, slot: SeriesSlot) {
        if self.series.get(&slot).is_some_and(|s| s.open.is_empty() && s.late.is_empty()) {
            self.series.remove(&slot);
        }
    }

    /// Gives back the room of series that are gone.
    pub(crate) fn shrink(&mut self) {
        if self.series.capacity() > 4 * self.series.len() + 64 {
            self.series.shrink_to(2 * self.series.len());
        }
    }

    /// The series that have any.
    pub(crate) fn slots(&self) -> Vec<SeriesSlot> {
        self.series.keys().copied().collect()
    }

    /// Heap bytes of the histograms.
    pub(crate) fn histogram_bytes(&self) -> usize {
        self.bytes
    }

    /// Heap bytes, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes + self.series.capacity() * size_of::<(SeriesSlot, OfSeries)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::any_histogram;
    use proptest::prelude::*;

    const WINDOW: DurationMs = DurationMs::hours(2);

    fn sample(t: i64, h: &Histogram) -> HistogramSample {
        HistogramSample { t: TimestampMs(t), h: h.clone() }
    }

    /// What there is, counted anew: bytes and series with some in order.
    fn counted(all: &HeadHistograms) -> (usize, usize) {
        let of_series =
            |s: &OfSeries| s.open.iter().chain(&*s.late).map(|h| h.h.memory_bytes()).sum::<usize>();
        let open = all.series.values().filter(|s| !s.open.is_empty()).count();
        (all.series.values().map(of_series).sum(), open)
    }

    proptest! {
        #[test]
        fn what_is_added_is_counted_found_and_taken(
            steps in proptest::collection::vec((0u32..3, 0u8..6, -50i64..50, any_histogram()), 1..60)
        ) {
            let mut all = HeadHistograms::default();
            let mut newest = [0i64; 3];
            let mut held = vec![];
            for (slot, what, t, h) in &steps {
                let (at, slot) = (*slot as usize, SeriesSlot(*slot));
                match what {
                    0..=2 => {
                        newest[at] += 1 + t.abs();
                        let sample = sample(newest[at], h);
                        if !all.takes(slot, &sample, WINDOW) {
                            prop_assert!(!all.take_open(slot).is_empty());
                        }
                        all.push(slot, sample.clone());
                        prop_assert!(all.find(slot, sample.t).is_some_and(|f| f.total_cmp(h).is_eq()));
                    }
                    3 => {
                        let late = sample(newest[at] - 1 - t.abs(), h);
                        let was_there = all.find(slot, late.t).map(|f| f.total_cmp(h).is_eq());
                        let want = match was_there {
                            None => LateOutcome::Added,
                            Some(true) => LateOutcome::Duplicate,
                            Some(false) => LateOutcome::Conflict,
                        };
                        prop_assert_eq!(all.add_late(slot, &late).0, want);
                    }
                    4 => all.settle(slot, &sample(newest[at], h)),
                    _ => {
                        let taken = all.take_late(slot, |late| late.0 % 2 == 0);
                        prop_assert!(taken.is_sorted_by(|a, b| a.t < b.t));
                    }
                }
                prop_assert_eq!((all.bytes, all.open()), counted(&all));
                for some in all.get(slot).into_iter().flatten() {
                    prop_assert!(!some.is_empty() && some.is_sorted_by(|a, b| a.t < b.t));
                }
                // A reader holds what there is now; nothing that follows changes it.
                let now = all.get(slot).map(|kept| kept.cloned());
                held.push((format!("{now:?}"), now));
            }
            for slot in (0..3).map(SeriesSlot) {
                all.take_open(slot);
                all.take_late(slot, |_| true);
                prop_assert!(!all.has(slot));
            }
            prop_assert_eq!((all.bytes, all.open(), all.is_empty()), (0, 0, true));
            let is_as_it_was = |(was, kept): &(String, [Option<Kept>; 2])| *was == format!("{kept:?}");
            prop_assert!(held.iter().all(is_as_it_was));
        }
    }

    #[test]
    fn room_of_series_that_are_gone_is_given_back() {
        let mut all = HeadHistograms::default();
        let h = crate::codec::take_histogram(crate::codec::ChunkKind::IntegerHistogram, &[0; 23]).unwrap();
        (0..10_000).for_each(|slot| all.push(SeriesSlot(slot), sample(1, &h)));
        (0..9_990).for_each(|slot| drop(all.take_open(SeriesSlot(slot))));
        let before = all.memory_bytes();
        all.shrink();
        assert!(all.memory_bytes() < before / 50, "{before} bytes became {}", all.memory_bytes());
        assert_eq!((all.open(), all.newest(SeriesSlot(9_999))), (10, Some(TimestampMs(1))));
    }
}

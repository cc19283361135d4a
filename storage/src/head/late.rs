//! Samples that came late: a short sorted buffer per series that has any.

use crate::model::{SeriesSlot, TimestampMs, merge_values};
use std::collections::HashMap;

/// A buffer is moved to the head-chunk log when it holds this many samples…
const LEN_MIN: usize = 32;
/// …or, for a series that keeps sending late ones, up to this many: each move doubles its room.
const LEN_MAX: usize = 512;

/// The late samples of one series, sorted by time, times unique.
#[derive(Clone, Debug)]
pub(crate) struct LateBuffer {
    samples: Vec<(TimestampMs, f64)>,
    room: usize,
}

/// What became of a late sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LateOutcome {
    Added,
    Duplicate,
    Conflict,
}

/// The late buffers of a shard.
#[derive(Debug, Default)]
pub(crate) struct LateBuffers {
    buffers: HashMap<SeriesSlot, LateBuffer>,
    samples: usize,
}

impl LateBuffers {
    /// Adds a sample; tells also whether the buffer is full now and is to be taken.
    pub(crate) fn add(&mut self, slot: SeriesSlot, t: TimestampMs, v: f64) -> (LateOutcome, bool) {
        let new = || LateBuffer { samples: Vec::new(), room: LEN_MIN };
        let buffer = self.buffers.entry(slot).or_insert_with(new);
        match buffer.samples.binary_search_by_key(&t, |s| s.0) {
            Ok(at) if buffer.samples[at].1.to_bits() == v.to_bits() => (LateOutcome::Duplicate, false),
            Ok(_) => (LateOutcome::Conflict, false),
            Err(at) => {
                buffer.samples.insert(at, (t, v));
                self.samples += 1;
                (LateOutcome::Added, buffer.samples.len() >= buffer.room)
            }
        }
    }

    /// Adds a sample whatever is there at its time: the merge rule decides. Tells whether the buffer is full now.
    pub(crate) fn settle(&mut self, slot: SeriesSlot, t: TimestampMs, v: f64) -> bool {
        let (outcome, full) = self.add(slot, t, v);
        if outcome == LateOutcome::Conflict
            && let Some((_, there)) =
                self.buffers.get_mut(&slot).and_then(|b| b.samples.iter_mut().find(|s| s.0 == t))
        {
            *there = merge_values(*there, v);
        }
        full
    }

    /// The samples of a series, sorted by time.
    pub(crate) fn get(&self, slot: SeriesSlot) -> &[(TimestampMs, f64)] {
        self.buffers.get(&slot).map_or(&[], |b| &b.samples)
    }

    /// Takes a series' samples that `wanted` accepts; the buffer's room doubles when it was full.
    pub(crate) fn take(
        &mut self,
        slot: SeriesSlot,
        wanted: impl Fn(TimestampMs) -> bool,
    ) -> Vec<(TimestampMs, f64)> {
        let Some(buffer) = self.buffers.get_mut(&slot) else { return Vec::new() };
        let full = buffer.samples.len() >= buffer.room;
        let taken: Vec<_> = buffer.samples.extract_if(.., |s| wanted(s.0)).collect();
        self.samples -= taken.len();
        if buffer.samples.is_empty() {
            // What stays is the room for the next ones, not their memory: every series of a backfill comes by here.
            buffer.samples = Vec::new();
        }
        if full {
            buffer.room = (buffer.room * 2).min(LEN_MAX);
        } else if buffer.samples.is_empty() {
            self.buffers.remove(&slot);
            self.give_back();
        }
        taken
    }

    /// The series that have late samples.
    pub(crate) fn slots(&self) -> Vec<SeriesSlot> {
        self.buffers.iter().filter(|(_, b)| !b.samples.is_empty()).map(|(slot, _)| *slot).collect()
    }

    /// A backfill is over some time: so is the table of its series.
    fn give_back(&mut self) {
        if self.buffers.len() * 8 < self.buffers.capacity() {
            self.buffers.shrink_to(self.buffers.len() * 2);
        }
    }

    /// Restores a series' samples from a checkpoint; they are sorted there.
    pub(crate) fn restore(&mut self, slot: SeriesSlot, samples: Vec<(TimestampMs, f64)>) {
        self.samples += samples.len();
        let room = LEN_MIN.max(samples.len() + 1);
        self.buffers.insert(slot, LateBuffer { samples, room });
    }

    /// Heap bytes of the samples, roughly: a buffer that grows is half full at the worst.
    pub(crate) fn sample_bytes(&self) -> usize {
        self.samples * 2 * size_of::<(TimestampMs, f64)>()
    }

    /// Heap bytes, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.buffers.capacity() * size_of::<(SeriesSlot, LateBuffer)>() + self.sample_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: SeriesSlot = SeriesSlot(3);

    #[test]
    fn samples_are_sorted_and_judged() {
        let mut late = LateBuffers::default();
        let mut check = |t, v, want| assert_eq!(late.add(SLOT, TimestampMs(t), v).0, want, "{t} {v}");
        check(20, 1.0, LateOutcome::Added);
        check(10, 2.0, LateOutcome::Added);
        check(20, 1.0, LateOutcome::Duplicate);
        check(20, 3.0, LateOutcome::Conflict);
        check(10, f64::NAN, LateOutcome::Conflict);
        assert_eq!(late.get(SLOT), [(TimestampMs(10), 2.0), (TimestampMs(20), 1.0)]);
        assert_eq!(late.take(SLOT, |t| t.0 > 15), [(TimestampMs(20), 1.0)]);
        assert_eq!(late.take(SLOT, |_| true), [(TimestampMs(10), 2.0)]);
        assert!(late.get(SLOT).is_empty());
    }

    #[test]
    fn what_the_log_has_is_settled_by_the_merge_rule() {
        let mut late = LateBuffers::default();
        for (v, want) in [(2.0, 2.0), (3.0, 3.0), (1.0, 3.0)] {
            assert!(!late.settle(SLOT, TimestampMs(20), v));
            assert_eq!(late.get(SLOT), [(TimestampMs(20), want)]);
        }
    }

    #[test]
    fn room_doubles_under_backfill() {
        let mut late = LateBuffers::default();
        let mut fills = vec![];
        for t in 0..2000 {
            if late.add(SLOT, TimestampMs(t), 0.0).1 {
                fills.push(late.take(SLOT, |_| true).len());
            }
        }
        assert_eq!(fills, [32, 64, 128, 256, 512, 512]);
        late.take(SLOT, |_| true);
        assert!(late.buffers.values().all(|b| b.samples.capacity() == 0));
    }
}

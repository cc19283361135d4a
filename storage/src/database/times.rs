//! What time it is: of windows, of series, of retention. All that asks the clock about data asks here.

use super::manifest::{BlockEntry, State};
use super::{Database, DatabaseOptions};
use crate::block::Tier;
use crate::compact::passage::{Passage, allowance};
use crate::compact::reference::{arrivals, known_at_start, reference};
use crate::head::Head;
use crate::model::{BlockId, DurationMs, TimestampMs, Window};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

impl Database {
    /// Samples beyond this close no window, and make no other series idle.
    pub(super) fn latest(&self) -> TimestampMs {
        if self.options.trust_clock { self.clock.now() } else { TimestampMs::MAX }
    }

    /// The time of the head's newest sample.
    pub(super) fn newest(&self) -> TimestampMs {
        self.head.newest().min(self.latest())
    }

    /// The time of the newest sample that was offered, by which windows are over and series idle: of all shards, and of what there
    /// was no room for. Else a head in which nothing new has room would stay as it is for ever.
    pub(super) fn newest_offered(&self) -> TimestampMs {
        let refused = TimestampMs(self.newest_refused.load(Relaxed));
        self.head.newest().max(refused).min(self.latest())
    }

    /// Notes the time of a sample for which there was no room.
    pub(super) fn note_refused(&self, t: TimestampMs) {
        self.newest_refused.fetch_max(t.0, Relaxed);
    }

    /// The time of the newest sample of head and blocks, by which days are over.
    pub(super) fn newest_of_all(&self, state: &State) -> TimestampMs {
        self.newest_claimed(state).min(self.latest())
    }

    /// What retention and grace count back from.
    pub(super) fn reference(&self, state: &State) -> TimestampMs {
        let (clock, newest) = (self.clock.now(), self.newest_claimed(state));
        let believed = self.passage.lock().believed(self.clock.monotonic(), clock, clock.min(newest));
        reference(clock, newest, raw_windows(state)).min(believed)
    }

    /// The newest sample known, of head and blocks, whatever the clock says.
    pub(super) fn newest_claimed(&self, state: &State) -> TimestampMs {
        newest_claimed(&self.head, state)
    }
}

/// What a start knows of the time, from what it found.
pub(super) fn passage_at_start(options: &DatabaseOptions, head: &Head, state: &State) -> Passage {
    let allowance = allowance(options.retention.shortest().min(options.delete_grace));
    let told = options.clock.now().min(newest_claimed(head, state));
    let known = known_at_start(told, raw_windows(state).chain(head.windows()), allowance);
    Passage::since(options.clock.monotonic(), known, allowance)
}

fn raw_windows(state: &State) -> impl Iterator<Item = Window> {
    state.blocks.values().filter(|b| b.tier == Tier::Raw).map(BlockEntry::window)
}

fn newest_claimed(head: &Head, state: &State) -> TimestampMs {
    // A sample of the head may have left since it was noted with a block; of a block at least one sample is known.
    let of_block = |b: &BlockEntry| {
        let first = b.window().start + DurationMs(1);
        b.arrived().map_or(first, |arrived| arrived.max(first))
    };
    state.blocks.values().map(of_block).max().unwrap_or(TimestampMs::MIN).max(head.newest())
}

impl State {
    /// When the newest data of each block came, as far as that is known.
    pub(super) fn arrivals(&self, now: TimestampMs) -> BTreeMap<BlockId, TimestampMs> {
        arrivals(self.blocks.values().map(|b| (BlockId(b.id), b.covered_as(), b.arrived())), now)
    }
}

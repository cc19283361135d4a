//! What goes on beside appending and reading: cuts, checkpoints, and letting go of what nobody needs.
//!
//! ```text
//! due      what to do next: a pure choice
//! cutting  windows of the head ─► blocks
//! commit   a checkpoint, and one edit that puts it in force with the blocks
//! retire   (beside this) what only older views want
//! ```

mod commit;
mod cutting;
mod due;

use super::backoff::Backoff;
use super::manifest::{Manifest, State};
use super::memory::{Admission, is_still_full, wants_flush};
use super::replay::Replayed;
use super::reserve::{Reserve, is_for_want_of_room};
use super::retire::RetireQueue;
use super::{CutError, Database};
use crate::head::series::IDLE;
use crate::head::shard::Shard;
use crate::model::{DurationMs, Lsn, TimestampMs};
use due::{Due, FLUSH_PAUSE, Situation, closed_until, due};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Idle series are looked for when the newest sample is so much newer than the last time: it walks all series.
const IDLE_LOOK_EVERY: DurationMs = DurationMs::mins(1);
/// How often the memory of postings, which is estimated in between, is counted.
const COUNT_EVERY: Duration = Duration::from_secs(60);
/// How often cuts and checkpoints are considered. Memory is judged at each tick.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The longest wait after cuts or checkpoints that failed: memory fills up meanwhile.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// The state of whoever maintains.
#[derive(Debug)]
pub(super) struct Maintenance {
    pub(super) manifest: Manifest,
    reserve: Reserve,
    pub(super) retired: RetireQueue,
    /// Windows that end by here have been cut.
    cut_until: TimestampMs,
    checkpoint_lsn: Lsn,
    /// Whether the checkpoint in force, or the head-chunk log beside it, was found damaged at the start.
    checkpoint_is_damaged: bool,
    checkpoint_bytes: u64,
    last_look: Option<Duration>,
    backoff: Backoff,
    last_count: Duration,
    /// The newest sample when idle series were last looked for.
    idle_looked_at: TimestampMs,
    /// The last flush for memory, if it did not help.
    last_flush: Option<Duration>,
}

impl Maintenance {
    pub(super) fn new(manifest: Manifest, reserve: Reserve, state: &State, replayed: &Replayed) -> Self {
        Self {
            manifest,
            reserve,
            retired: RetireQueue::default(),
            // Blocks do not tell: a flush may have taken a part of its newest window, and late samples may wait for theirs.
            cut_until: TimestampMs::MIN,
            checkpoint_lsn: replayed.checkpoint_lsn,
            checkpoint_is_damaged: !replayed.head_damage.is_empty(),
            checkpoint_bytes: state.checkpoint.as_ref().map_or(0, |c| c.bytes),
            last_look: None,
            backoff: Backoff::new(LOOK_EVERY, RETRY_MAX),
            last_count: Duration::ZERO,
            idle_looked_at: TimestampMs::MIN,
            last_flush: None,
        }
    }
}

impl Database {
    /// Does what is due, at most one cut or checkpoint. The background calls it every second.
    pub fn maintain(&self) {
        let mut m = self.maintenance.lock();
        self.retire(&mut m);
        if self.is_read_only() {
            return; // Nothing could be committed, and trying would rewrite whole blocks every few seconds.
        }
        let now = self.clock.monotonic();
        self.count_memory(&mut m, now);
        let memory_bytes = self.memory_bytes();
        if m.backoff.is_waiting(now) {
            return;
        }
        let looked_lately = m.last_look.is_some_and(|t| now.saturating_sub(t) < LOOK_EVERY);
        let may_wait = looked_lately && !wants_flush(memory_bytes, self.options.memory_budget);
        if may_wait && self.options.background {
            return;
        }
        m.last_look = Some(now);
        let newest = self.newest_offered();
        self.freeze_idle(&mut m, newest);
        // Where the clock was ahead and is right again, windows are closed that were not over.
        m.cut_until = m.cut_until.min(closed_until(newest, self.head.window));
        let wal = self.wal.stats();
        let situation = Situation {
            newest,
            cut_until: m.cut_until,
            window: self.head.window,
            memory_bytes,
            memory_budget: self.options.memory_budget,
            since_flush: m.last_flush.map(|t| now.saturating_sub(t)),
            log_bytes: if m.checkpoint_is_damaged {
                u64::MAX
            } else {
                self.wal.bytes_since(m.checkpoint_lsn)
            },
            checkpoint_bytes: m.checkpoint_bytes,
            checkpoint_min: self.options.checkpoint_bytes,
            log_wants_room: !wal.has_spare && wal.segments > 1,
        };
        let due = due(&situation);
        let result = match due {
            Due::Nothing => Ok(()),
            Due::Cut(until) => self.with_reserve(&mut m, |db, m| db.cut(m, until, None)),
            Due::Flush => self.with_reserve(&mut m, |db, m| db.cut(m, TimestampMs::MAX, None)),
            Due::Checkpoint => self.with_reserve(&mut m, Self::checkpoint),
        };
        let result = match result {
            Err(error)
                if is_for_want_of_room(&error) && due != Due::Checkpoint && situation.is_log_long() =>
            {
                tracing::error!(%error, "no room for a cut; a checkpoint takes less, and lets go of the log");
                self.checkpoint(&mut m)
            }
            result => result,
        };
        match result {
            Ok(()) => m.backoff.succeeded(),
            Err(CutError::Closed) => {}
            Err(error) => {
                m.backoff.failed(now);
                self.counters.maintenance_failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "maintenance failed; nothing is lost, it is tried again");
            }
        }
        self.counters.maintenance_retry_at(m.backoff.until());
        self.refuse_or_admit(&mut m, due == Due::Flush, now);
        self.keep_reserve(&mut m);
    }

    /// Counts what is estimated between requests, once a minute.
    fn count_memory(&self, m: &mut Maintenance, now: Duration) {
        if now.saturating_sub(m.last_count) >= COUNT_EVERY {
            m.last_count = now;
            self.head.shards.iter().for_each(Shard::count_memory);
        }
    }

    /// Moves the open chunks of idle series to the head-chunk log, once a minute of data. It looks again at once where the
    /// clock went back.
    fn freeze_idle(&self, m: &mut Maintenance, newest: TimestampMs) {
        let looked = m.idle_looked_at;
        if looked <= newest && looked > newest - IDLE_LOOK_EVERY && newest != TimestampMs::MIN {
            return;
        }
        m.idle_looked_at = newest;
        self.head.shards.iter().for_each(|s| {
            s.for_each_slice(|series, slots| series.freeze_idle(slots, newest - IDLE, &self.head.log));
        });
    }

    /// Does `work`, and where the disk has no room for it, once more in that of the reserve.
    pub(super) fn with_reserve(
        &self,
        m: &mut Maintenance,
        work: impl Fn(&Self, &mut Maintenance) -> Result<(), CutError>,
    ) -> Result<(), CutError> {
        match work(self, m) {
            Err(error) if is_for_want_of_room(&error) && m.reserve.release() => {
                self.counters.reserve_releases.fetch_add(1, Ordering::Relaxed);
                self.counters.reserve_bytes.store(0, Ordering::Relaxed);
                tracing::warn!(%error, "the disk is full: it is tried again in the room of the reserve");
                work(self, m)
            }
            result => result,
        }
    }

    /// Makes the reserve where it is missing or has become too short. The log's spare comes first: without it writes fail, without
    /// the reserve only what would free the disk.
    pub(super) fn keep_reserve(&self, m: &mut Maintenance) {
        if self.wal.stats().has_spare {
            m.reserve.keep(self.options.wal_segment_bytes.max(m.checkpoint_bytes));
        }
        self.counters.reserve_bytes.store(m.reserve.bytes(), Ordering::Relaxed);
    }

    /// New series are refused once a flush did not help, and admitted again when memory has been freed; refused again where it is used up
    /// while the next flush is far. Before a flush was tried nothing is refused: many senders drop what they are told to send later.
    fn refuse_or_admit(&self, m: &mut Maintenance, flushed: bool, now: Duration) {
        // Series whose samples are in blocks now leave before memory is judged.
        self.retire(m);
        let full = is_still_full(self.memory_bytes(), self.options.memory_budget);
        if flushed {
            m.last_flush = full.then_some(now);
        }
        let is_far = m.last_flush.is_some_and(|t| now.saturating_sub(t) < FLUSH_PAUSE);
        self.flush_is_far.store(is_far, Ordering::Relaxed);
        let refusing = full && (flushed || self.admission() == Admission::Refused);
        if self.refuse_new_series.swap(refusing, Ordering::Relaxed) != refusing {
            tracing::warn!(
                refusing,
                budget = self.options.memory_budget,
                "memory budget of the head: new series"
            );
        }
    }

    /// Moves everything in the head into blocks.
    pub fn flush(&self) -> Result<(), CutError> {
        let mut m = self.maintenance.lock();
        self.with_reserve(&mut m, |db, m| db.cut(m, TimestampMs::MAX, None))?;
        self.retire(&mut m);
        Ok(())
    }
}

//! What goes on beside appending and reading: cuts, checkpoints, and letting go of what nobody needs.
//!
//! What is due is a pure choice ([`due`]); one thread carries it out, another writes the head-chunk log's pages.

use super::backoff::Backoff;
use super::folders::{BLOCKS_DIR, CHECKPOINT_DIR, QUARANTINE_DIR};
use super::manifest::{BlockEntry, CheckpointEntry, Edit, MERGED_PLACE, Manifest, State};
use super::memory::{is_still_full, wants_flush};
use super::open::open_block;
use super::replay::Replayed;
use super::reserve::{Reserve, is_for_want_of_room};
use super::retire::{RetireQueue, Retired};
use super::write_out::{WRITE_OUT_EVERY, WriteOut};
use super::{CutError, Database, DatabaseOptions};
use crate::compact::cut::{self, Cutter, Written};
use crate::head::cuts::CutPositions;
use crate::head::log::HeadPos;
use crate::head::series::SeriesTable;
use crate::head::shard::Shard;
use crate::head::{CheckpointError, checkpoint};
use crate::io::step_back;
use crate::model::{BlockId, DurationMs, Lsn, TimeRange, TimestampMs, Window};
use crate::read::ViewState;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A window is cut when the newest sample is so far beyond its end.
const CUT_AFTER: DurationMs = DurationMs::mins(5);
/// After a flush that did not help, the next one waits so long.
const FLUSH_PAUSE: Duration = Duration::from_secs(300);
/// Idle series are looked for when the newest sample is so much newer than the last time: it walks all series.
const IDLE_LOOK_EVERY: DurationMs = DurationMs::mins(1);
/// How often the memory of postings, which is estimated in between, is counted.
const COUNT_EVERY: Duration = Duration::from_secs(60);
/// How often cuts and checkpoints are considered. Memory is judged at each tick.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The longest wait after cuts or checkpoints that failed: memory fills up meanwhile.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether blocks are to be merged or dropped.
const COMPACT_EVERY: Duration = Duration::from_secs(5);
/// How many periods a thread rests after a panic.
const PANIC_PAUSE: u32 = 60;

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

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Cut the windows that end by then.
    Cut(TimestampMs),
    /// Cut everything, since memory is used up.
    Flush,
    Checkpoint,
}

/// What the choice is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    pub(super) newest: TimestampMs,
    pub(super) cut_until: TimestampMs,
    pub(super) window: DurationMs,
    pub(super) memory_bytes: u64,
    pub(super) memory_budget: u64,
    /// Since the last flush for memory that did not help.
    pub(super) since_flush: Option<Duration>,
    /// Log since the last checkpoint.
    pub(super) log_bytes: u64,
    pub(super) checkpoint_bytes: u64,
    pub(super) checkpoint_min: u64,
    /// Whether the log has no segment to go on in, and others than the one that it writes to, which a checkpoint lets go.
    pub(super) log_wants_room: bool,
}

/// Chooses what to do next: a closed window first, then memory, then the length of the log.
pub(super) fn due(s: &Situation) -> Due {
    let closed = closed_until(s.newest, s.window);
    if closed > s.cut_until {
        return Due::Cut(closed);
    }
    if wants_flush(s.memory_bytes, s.memory_budget) && s.since_flush.is_none_or(|t| t >= FLUSH_PAUSE) {
        return Due::Flush;
    }
    if s.is_log_long() || s.log_wants_room { Due::Checkpoint } else { Due::Nothing }
}

impl Situation {
    fn is_log_long(&self) -> bool {
        self.log_bytes > self.checkpoint_min.max(self.checkpoint_bytes)
    }
}

/// The end of the newest window that is closed when `newest` is the newest sample.
fn closed_until(newest: TimestampMs, window: DurationMs) -> TimestampMs {
    match newest {
        TimestampMs::MIN => TimestampMs::MIN,
        newest => Window::of(newest - CUT_AFTER + DurationMs(1), window).start,
    }
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
    /// Starts the threads that maintain the directory.
    pub(super) fn start_threads(self: &Arc<Self>) -> io::Result<()> {
        self.start_thread("maintain", DatabaseOptions::TICK, |database| database.maintain())?;
        let mut stepped_back = false;
        self.start_thread("compact", COMPACT_EVERY, move |database| {
            if !std::mem::replace(&mut stepped_back, true) {
                step_back();
            }
            database.compact_due();
        })?;
        let mut write_out = WriteOut::new();
        self.start_thread("head-log", WRITE_OUT_EVERY, move |database| write_out.run(database))
    }

    /// Runs `work` every `period` until the database is closed or gone. A panic is told and counted, and ends but this run: a
    /// database whose head is never cut again would fill memory in silence.
    pub(super) fn start_thread(
        self: &Arc<Self>,
        name: &str,
        period: Duration,
        mut work: impl FnMut(&Self) + Send + 'static,
    ) -> io::Result<()> {
        let (stop, stopped) = crossbeam::channel::bounded::<()>(0);
        let database = Arc::downgrade(self);
        let run = move || {
            let mut wait = period;
            while let Err(crossbeam::channel::RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
                let Some(database) = database.upgrade() else { return };
                // What is half done is either not in force (blocks without an edit) or done again.
                let outcome = catch_unwind(AssertUnwindSafe(|| work(&database)));
                wait = if outcome.is_ok() { period } else { period * PANIC_PAUSE };
                if outcome.is_err() {
                    database.counters.panics.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(
                        thread = std::thread::current().name(),
                        "a fault of Cardinal: a background thread panicked; it goes on after a while"
                    );
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(run)?;
        self.threads.lock().push((stop, thread));
        Ok(())
    }

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
        let newest = self.newest();
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
        let latest = self.latest();
        self.head.shards.iter().for_each(|s| {
            s.for_each_slice(|series, slots| series.freeze_idle(slots, latest, &self.head.log));
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

    /// New series are refused once a flush did not help, and admitted again when memory has been freed. Before a flush was
    /// tried nothing is refused: many senders drop what they are told to send later.
    fn refuse_or_admit(&self, m: &mut Maintenance, flushed: bool, now: Duration) {
        // Series whose samples are in blocks now leave before memory is judged.
        self.retire(m);
        let full = is_still_full(self.memory_bytes(), self.options.memory_budget);
        if flushed {
            m.last_flush = full.then_some(now);
        }
        let refusing = full && (flushed || self.refuse_new_series.load(Ordering::Relaxed));
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

    /// Cuts the windows that end by `until`, some at a time: blocks, a checkpoint without what is in them, one edit. For a
    /// deletion, the head then forgets which values it had in the `deleted` range.
    pub(super) fn cut(
        &self,
        m: &mut Maintenance,
        until: TimestampMs,
        deleted: Option<TimeRange>,
    ) -> Result<(), CutError> {
        loop {
            let first_id = m.manifest.state().next_block_id(0);
            // No edit names them: what is there was left by a cut that failed and could not clean up either.
            self.discard_blocks(first_id);
            let result = self.cut_some(m, until, deleted, first_id);
            // A failed commit leaves open which state the disk holds: then what it may name stays, until the next start.
            if !matches!(result, Ok(_) | Err(CutError::Commit(_))) {
                self.discard_blocks(first_id);
            }
            if result? {
                m.cut_until = m.cut_until.max(until.min(closed_until(self.newest(), self.head.window)));
                return Ok(());
            }
        }
    }

    /// One cut; whether all windows that end by `until` are cut now.
    fn cut_some(
        &self,
        m: &mut Maintenance,
        until: TimestampMs,
        deleted: Option<TimeRange>,
        first_id: BlockId,
    ) -> Result<bool, CutError> {
        let started = self.clock.monotonic();
        let old = self.view.load_full();
        let idle = self.idle();
        let cutter = Cutter {
            fs: &self.fs,
            blocks_dir: &self.dir.join(BLOCKS_DIR),
            pace: &self.pace,
            head: &self.head,
            cuts: &old.cuts,
            until,
            deleted,
            first_id,
            newest_lsn: &|| self.wal.end(),
            is_closing: &|| self.is_closing(),
            on_damage: &|at, error| self.keep_damaged(at, &error),
        };
        let cut::Blocks { written, postponed, frozen } = cutter.write_blocks()?;
        let cut::Frozen { positions, doubted } = frozen;
        if written.is_empty() {
            if doubted {
                // Replay must decide as the head does from now on.
                self.checkpoint(m)?;
            }
            return Ok(true);
        }
        let blocks_dir = self.dir.join(BLOCKS_DIR);
        self.fs.sync_dir(&blocks_dir).map_err(|source| CutError::Io { path: blocks_dir, source })?;
        let is_cut = |start: &TimestampMs| *start + self.head.window <= until && !postponed.contains(start);
        let ended = old.cuts.windows().filter(is_cut);
        let cuts = old.cuts.after_cut(ended.chain(written.iter().map(|w| w.window.start)), &positions);
        let mut blocks = old.blocks.clone();
        let arrived = self.newest();
        let entries: Vec<BlockEntry> = written.iter().map(|w| entry(w, arrived)).collect();
        for (w, e) in written.iter().zip(&entries) {
            blocks.insert(w.id, Arc::new(open_block(&*self.fs, &self.dir, e)?));
        }
        self.commit(m, entries, &cuts)?;
        let samples: u64 = written.iter().map(|w| w.meta.samples).sum();
        self.counters.cut(written.len() as u64, samples, self.clock.monotonic().saturating_sub(started));
        let until_ms = (until != TimestampMs::MAX).then_some(until.0);
        tracing::info!(blocks = written.len(), samples, until_ms, "cut the head");
        let tombstones = m.manifest.state().tombstones_over(&old.tombstones, self.shards);
        self.view.store(Arc::new(ViewState {
            blocks,
            cuts: cuts.clone(),
            tombstones,
            aside: old.aside.clone(),
        }));
        // While windows are postponed no series is known to be in blocks as a whole.
        let until = if postponed.is_empty() { until } else { TimestampMs::MIN };
        m.retired.push(&old, Retired::Series { until, positions, cuts, idle });
        Ok(postponed.is_empty())
    }

    /// Keeps a copy of the segment that something damaged stands in, and counts it.
    fn keep_damaged(&self, at: HeadPos, error: &CutError) -> Result<(), CutError> {
        self.head.log.keep_copy(at, &self.dir.join(QUARANTINE_DIR)).map_err(CheckpointError::Log)?;
        self.counters.cut_corruptions.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%error, "samples of the head-chunk log are lost; a copy of the segment is in quarantine");
        Ok(())
    }

    /// Makes a checkpoint now.
    pub(super) fn checkpoint_now(&self) -> Result<(), CutError> {
        let mut m = self.maintenance.lock();
        self.checkpoint(&mut m)?;
        self.retire(&mut m);
        Ok(())
    }

    /// A checkpoint without a cut: bounds the log that a restart replays.
    fn checkpoint(&self, m: &mut Maintenance) -> Result<(), CutError> {
        let cuts = self.view.load().cuts.clone();
        self.commit(m, Vec::new(), &cuts)
    }

    /// Writes a checkpoint and commits it together with new blocks; then lets go of the log below it.
    fn commit(
        &self,
        m: &mut Maintenance,
        add_blocks: Vec<BlockEntry>,
        cuts: &CutPositions,
    ) -> Result<(), CutError> {
        let folder = self.dir.join(CHECKPOINT_DIR);
        let before = m.manifest.state().checkpoint.as_ref().map(|c| c.number);
        let number = m.manifest.state().next_sequence;
        let path = checkpoint::path_of(&folder, number);
        if self.fs.exists(&path).map_err(|source| CutError::Io { path: path.clone(), source })? {
            self.fs.remove_file(&path).map_err(|source| CutError::Io { path: path.clone(), source })?;
        }
        let written = self.write_checkpoint(&folder, number, cuts).inspect_err(|_| {
            // On a full disk the log needs the room.
            self.fs.remove_file(&path).ok();
        })?;
        let wal_segment = self.wal.first_segment_needed(written.oldest_lsn);
        let entry =
            CheckpointEntry { number, bytes: written.bytes, wal_segment, head_log_end: written.log_end };
        let edit = Edit { add_blocks, checkpoint: Some(entry), ..Edit::default() };
        m.manifest.commit(&edit).map_err(|e| CutError::Commit(Box::new(e)))?;
        self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
        (m.checkpoint_lsn, m.checkpoint_bytes) = (written.oldest_lsn, written.bytes);
        // The edit stands: what is left behind now is garbage at the next start.
        if let Err(error) = self.wal.drop_segments_below(wal_segment) {
            tracing::warn!(%error, "old log segments could not be removed");
        }
        if let Some(before) = before {
            let path = checkpoint::path_of(&folder, before);
            if let Err(error) = self.put_away_checkpoint(&path, m.checkpoint_is_damaged) {
                tracing::warn!(path = %path.display(), %error, "the old checkpoint could not be removed");
            }
        }
        m.checkpoint_is_damaged = false;
        Ok(())
    }

    /// Removes a checkpoint that is out of force; a damaged one is kept in quarantine, and whoever mends it may find more.
    fn put_away_checkpoint(&self, path: &Path, is_damaged: bool) -> io::Result<()> {
        if !is_damaged {
            return self.fs.remove_file(path);
        }
        let kept = self.dir.join(QUARANTINE_DIR).join(path.file_name().unwrap_or_default());
        match self.fs.rename(path, &kept) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed,
        }
    }

    fn write_checkpoint(
        &self,
        folder: &Path,
        number: u64,
        cuts: &CutPositions,
    ) -> Result<checkpoint::Written, CutError> {
        let newest_lsn = || self.wal.end();
        let written =
            checkpoint::write(&*self.fs, folder, number, &self.pace, &self.head, cuts, &newest_lsn)?;
        self.wal.flush()?;
        Ok(written)
    }

    /// Removes what a cut that failed has written. A merge may be writing beside it.
    fn discard_blocks(&self, first: BlockId) {
        let Ok(entries) = self.fs.read_dir(&self.dir.join(BLOCKS_DIR)) else { return };
        let ids = entries.iter().filter_map(|entry| BlockId::from_name(&entry.name));
        for id in ids.filter(|id| (first.0..first.0 + MERGED_PLACE).contains(&id.0)) {
            self.discard_block(id);
        }
    }

    /// Lets go of what no query can want any more.
    pub(super) fn retire(&self, m: &mut Maintenance) {
        while let Some(retired) = m.retired.pop() {
            match retired {
                Retired::Series { until, positions, cuts, idle } => {
                    self.retire_series(m, until, &positions, &cuts, idle)
                }
                Retired::Blocks(blocks) => blocks.iter().for_each(|id| self.discard_block(*id)),
                Retired::Ids(released) => {
                    released.iter().for_each(|(shard, released)| self.head.shard(*shard).release(released));
                }
            }
        }
    }

    fn retire_series(
        &self,
        m: &mut Maintenance,
        until: TimestampMs,
        positions: &[HeadPos],
        cuts: &CutPositions,
        idle: DurationMs,
    ) {
        let latest = self.latest();
        let mut left = Vec::new();
        for shard in &self.head.shards {
            let position = positions[shard.id.index()];
            let may_leave =
                |series: &SeriesTable, slot| series.may_leave(slot, until, latest, position, idle);
            let released = shard.remove_series(may_leave);
            if !released.is_empty() {
                left.push((shard.id, released));
            }
        }
        let series: usize = left.iter().map(|(_, r)| r.slots().len()).sum();
        self.counters.series_left.fetch_add(series as u64, Ordering::Relaxed);
        let old = self.view.load_full();
        let segments = self.head.log.forget(|window, end| cuts.covers(window, end));
        if let Err(error) = self.head.log.remove(&segments) {
            tracing::warn!(%error, "a segment of the head-chunk log could not be removed");
        }
        let cuts = match self.head.log.first_segment() {
            Some(first) => old.cuts.without_below(first),
            None => old.cuts.clone(),
        };
        self.view.store(Arc::new(ViewState { cuts, ..(*old).clone() }));
        m.retired.push(&old, Retired::Ids(left));
    }
}

fn entry(w: &Written, arrived: TimestampMs) -> BlockEntry {
    BlockEntry {
        id: w.id.0,
        tier: w.meta.tier,
        level: w.meta.level,
        window_start: w.window.start.0,
        window_ms: w.window.len.0,
        index_bytes: w.meta.index_bytes,
        chunks_bytes: w.meta.chunks_bytes,
        series: w.meta.series,
        samples: w.meta.samples,
        covered_as: None,
        arrived_ms: Some(arrived.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Situation = Situation {
        newest: TimestampMs(0),
        cut_until: TimestampMs(0),
        window: DurationMs::hours(2),
        memory_bytes: 10,
        memory_budget: 100,
        since_flush: None,
        log_bytes: 0,
        checkpoint_bytes: 0,
        checkpoint_min: 256,
        log_wants_room: false,
    };

    #[test]
    fn what_is_due() {
        let check = |change: fn(&mut Situation), want| {
            let mut s = QUIET;
            change(&mut s);
            assert_eq!(due(&s), want, "{s:?}");
        };
        let end = DurationMs::hours(2).0;
        check(|_| {}, Due::Nothing);
        check(|s| s.newest = TimestampMs(DurationMs::hours(2).0 + CUT_AFTER.0 - 1), Due::Nothing);
        check(|s| s.newest = TimestampMs(DurationMs::hours(2).0 + CUT_AFTER.0), Due::Cut(TimestampMs(end)));
        check(|s| s.newest = TimestampMs(DurationMs::hours(9).0), Due::Cut(TimestampMs(4 * end)));
        check(|s| (s.newest, s.cut_until) = (TimestampMs::MIN, TimestampMs::MIN), Due::Nothing);
        check(|s| s.memory_bytes = 101, Due::Flush);
        check(|s| (s.memory_bytes, s.since_flush) = (101, Some(FLUSH_PAUSE / 2)), Due::Nothing);
        check(|s| (s.memory_bytes, s.since_flush) = (101, Some(FLUSH_PAUSE)), Due::Flush);
        check(|s| s.log_bytes = 257, Due::Checkpoint);
        check(|s| (s.log_bytes, s.checkpoint_bytes) = (257, 300), Due::Nothing);
        check(|s| s.log_wants_room = true, Due::Checkpoint);
    }
}

//! The write-ahead log: one for all shards, so that one sync commits for all. The bytes are in `docs/format/wal.md`.
//!
//! ```text
//! reserve ──► (shard lock) append: LSN and a copy ──► (unlocked) ticket … resolved
//!                               │                                   ▲
//!                            buffer ──► writer thread: write, sync ─┘
//! ```
//!
//! - Nobody waits under a shard lock: the buffer's budget is taken before it, and appending is a copy.
//! - An LSN is assigned under the shard's lock, so that no sample precedes its series' registration in the log.
//! - What is acknowledged is durable. What was appended stays in memory until it is, so that a failed write or sync can be
//!   made good in another segment, once; after a second failure the log is read-only.
//!
//! [`replay`] reads a log back; [`inspect`] does the same and changes nothing.

mod batch;
mod buffer;
mod plan;
mod replace;
mod replay;
mod scan;
mod segment;
mod sync_times;
mod table;
mod ticket;
mod writer;

pub use batch::{
    BatchBuilder, BatchReader, HistogramRecord, LoggedSample, Record, RecordError, SamplesRecord,
};
pub use buffer::Reservation;
pub(crate) use replace::finish as finish_replacing;
pub use replay::{BareSegment, Corruption, ReplayReport, TornTail, UnreadableBytes, inspect, replay};
pub(crate) use replay::{Log, LogBatch};
pub use sync_times::SyncTimes;
pub use ticket::Ticket;

/// For fuzzing: bytes as a segment, and as the payload of a batch in one.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(bytes: &[u8]) {
    let scan = |bytes: &[u8]| scan::scan(bytes).map(|s| plan::plan(&[s]));
    let _ = scan(bytes);
    let mut segment = segment::Header { number: 1, first: Lsn(1) }.encode().to_vec();
    let at = segment.len();
    segment.extend(batch::wrap(bytes, Lsn(1)));
    let _ = scan(&segment);
    if let batch::Found::Batch(b) = batch::parse(&segment[at..]) {
        for record in b.records().flatten() {
            if let Record::Samples(samples) = record {
                samples.iter().for_each(drop);
            }
        }
    }
}

/// For fuzzing: computes the checksums of a segment anew, as far as the lengths of its batches lead.
#[cfg(feature = "fuzz")]
pub(crate) fn make_checksums_fit(file: &mut [u8]) {
    segment::Header::make_checksum_fit(file);
    let mut at = segment::HEADER_LEN;
    while let Some(len) = file.get_mut(at..).and_then(batch::make_checksum_fit) {
        at += len;
    }
}

/// The number of the oldest segment in `dir`.
pub(crate) fn first_segment(fs: &dyn Fs, dir: &Path) -> Option<u64> {
    segment::list(fs, dir).ok()?.first().copied()
}

use crate::io::{Fs, OpenMode, SystemClock};
use crate::model::Lsn;
use buffer::LogBuffer;
use parking_lot::Mutex;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use table::Table;
use ticket::Progress;
use writer::Writer;

/// When the log is synced, and what a resolved ticket promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// Before tickets resolve: what is acknowledged survives a power cut.
    Commit,
    /// At most so long after a write. Tickets resolve once the operating system has the bytes: a killed process loses
    /// nothing, a power cut the last interval.
    Interval(Duration),
}

/// How a log is kept.
#[derive(Clone, Copy, Debug)]
pub struct WalOptions {
    /// When it is synced.
    pub sync: SyncMode,
    /// The length of a segment; one of them is always allocated in advance.
    pub segment_bytes: u64,
    /// What the buffer may hold and promise: batches that are not durable yet.
    pub buffer_bytes_max: usize,
    /// How long [`Wal::reserve`] waits for room.
    pub busy_after: Duration,
}

/// Commit mode; 64 MiB segments, so that one in hundreds of commits makes a file; 64 MiB of buffer, which is seconds of the
/// fastest ingest; 3 s of patience, well below the time-out of senders.
impl Default for WalOptions {
    fn default() -> Self {
        Self {
            sync: SyncMode::Commit,
            segment_bytes: 64 << 20,
            buffer_bytes_max: 64 << 20,
            busy_after: Duration::from_secs(3),
        }
    }
}

/// Why the log does not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// The buffer stayed full. The caller may try again later.
    #[error("the log's buffer stayed full for {waited:?}: the disk does not keep up; send again later")]
    Busy {
        /// How long it was waited for.
        waited: Duration,
    },
    /// Two writes or syncs in a row failed. Nothing is taken until the next start.
    #[error(
        "the log is read-only, since writing it failed twice: {reason}; repair or free the disk, then restart"
    )]
    ReadOnly {
        /// Both failures.
        reason: Arc<str>,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// A segment or batch of a later version.
    #[error("{}: format version {found} at byte {offset}, this Cardinal knows 1: start the newer one", .file.display())]
    Newer {
        /// The segment.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// The version found.
        found: u32,
    },
    /// The disk failed.
    #[error("log: {0}")]
    Io(#[source] Arc<io::Error>),
}

impl From<io::Error> for WalError {
    fn from(e: io::Error) -> Self {
        Self::Io(Arc::new(e))
    }
}

/// What can be said of a log in numbers. Counts are since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WalStats {
    /// Segments on disk.
    pub segments: u64,
    /// Bytes of log on disk.
    pub bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Batches appended.
    pub batches: u64,
    /// Syncs, and how long they took.
    pub syncs: SyncTimes,
    /// Writes, syncs and allocations that failed.
    pub failures: u64,
    /// Bytes in the buffer, not durable yet.
    pub buffer_bytes: u64,
    /// Whether the next segment is allocated.
    pub has_spare: bool,
}

#[derive(Default)]
struct Counters {
    bytes: AtomicU64,
    batches: AtomicU64,
    syncs: sync_times::SyncTimer,
    failures: AtomicU64,
    has_spare: AtomicBool,
}

/// What the log's users and its writer share.
struct Shared {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    options: WalOptions,
    clock: SystemClock,
    buffer: Arc<LogBuffer>,
    progress: Arc<Progress>,
    table: Mutex<Table>,
    counters: Counters,
}

/// An open log.
pub struct Wal {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Wal {
    /// Opens the log for appending from `next_lsn` on, always in a new segment. What was replayed has to end right before
    /// it. All older segments are synced first: what they hold counts as durable from here on.
    ///
    /// # Panics
    /// When `next_lsn` is 0.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, options: WalOptions, next_lsn: Lsn) -> Result<Self, WalError> {
        assert!(next_lsn > Lsn(0), "LSNs count from 1");
        create_dir(&*fs, dir)?;
        let end = next_lsn.previous();
        let (table, next_number) = take_up(&*fs, dir)?;
        let shared = Arc::new(Shared {
            fs,
            dir: dir.into(),
            options,
            clock: SystemClock::default(),
            buffer: Arc::new(LogBuffer::new(options.buffer_bytes_max, next_lsn)),
            progress: Arc::new(Progress::new(end)),
            table: Mutex::new(table),
            counters: Counters::default(),
        });
        let writer = Writer::begin(Arc::clone(&shared), end, next_number)?;
        let thread = std::thread::Builder::new().name("wal".into()).spawn(move || writer.run())?;
        Ok(Self { shared, writer: Mutex::new(Some(thread)) })
    }

    /// Takes `bytes` of the buffer's budget. Before any shard lock: it may wait, up to [`WalOptions::busy_after`]. A
    /// request larger than the whole budget is let in when it is alone.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, WalError> {
        let reservation = Reservation::new(&self.shared.buffer, bytes, self.shared.options.busy_after)?;
        self.shared.progress.failure().map_or(Ok(reservation), Err)
    }

    /// Appends a batch and clears the builder. Meant to be called under a shard lock: it assigns the LSN, copies, and waits
    /// for no disk. An empty batch is none: the newest LSN is returned. After the log has ended the batch is dropped, and
    /// the ticket of its LSN fails.
    pub fn append(&self, batch: &mut BatchBuilder) -> Lsn {
        if batch.is_empty() {
            return self.end();
        }
        let lsn = self.shared.buffer.append(batch);
        batch.clear();
        self.shared.counters.batches.fetch_add(1, Relaxed);
        lsn
    }

    /// The newest LSN assigned.
    pub fn end(&self) -> Lsn {
        self.shared.buffer.end()
    }

    /// A promise of everything up to `lsn`. Also a request that added nothing, since all its samples were there, takes one
    /// for [`Wal::end`]: what it repeats may not be durable yet.
    pub fn ticket(&self, lsn: Lsn) -> Ticket {
        Ticket::new(Arc::clone(&self.shared.progress), lsn)
    }

    /// The newest LSN that is durable.
    pub fn synced(&self) -> Lsn {
        self.shared.progress.synced()
    }

    /// Whether the log takes nothing any more: after failures, or closed.
    pub fn is_read_only(&self) -> bool {
        self.shared.progress.failure().is_some()
    }

    /// The bytes of log above `lsn`, rounded up by a mebibyte at most; segments found at start count as a whole.
    pub fn bytes_since(&self, lsn: Lsn) -> u64 {
        self.shared.table.lock().bytes_since(lsn)
    }

    /// The first segment that a replay of what is above `lsn` has to read.
    pub fn first_segment_needed(&self, lsn: Lsn) -> u64 {
        self.shared.table.lock().first_needed(lsn)
    }

    /// Removes the segments below `segment`, never the current one. For when a durable checkpoint has what they hold.
    pub fn drop_segments_below(&self, segment: u64) -> Result<(), WalError> {
        let segment = segment.min(self.shared.table.lock().current());
        segment::remove_below(&*self.shared.fs, &self.shared.dir, segment)?;
        self.shared.table.lock().drop_below(segment);
        Ok(())
    }

    /// Waits until everything appended so far is synced, in every mode.
    pub fn flush(&self) -> Result<(), WalError> {
        let end = self.shared.buffer.want_sync();
        self.shared.progress.wait_until(|p| p.synced() >= end)
    }

    /// Syncs everything appended, and ends the log: what is appended later is dropped and its tickets fail. Again is
    /// success. The error is that of a log that became read-only.
    pub fn close(&self) -> Result<(), WalError> {
        self.shared.buffer.close();
        if let Some(thread) = self.writer.lock().take()
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
        match self.shared.progress.failure() {
            Some(WalError::Closed) | None => Ok(()),
            Some(e) => Err(e),
        }
    }

    /// Bytes that wait for the disk.
    pub fn buffer_bytes(&self) -> u64 {
        self.shared.buffer.held() as u64
    }

    /// The log in numbers.
    pub fn stats(&self) -> WalStats {
        let counters = &self.shared.counters;
        let (segments, bytes) = {
            let table = self.shared.table.lock();
            (table.len() as u64, table.bytes())
        };
        WalStats {
            segments,
            bytes,
            written_bytes: counters.bytes.load(Relaxed),
            batches: counters.batches.load(Relaxed),
            syncs: counters.syncs.read(),
            failures: counters.failures.load(Relaxed),
            buffer_bytes: self.buffer_bytes(),
            has_spare: counters.has_spare.load(Relaxed),
        }
    }
}

impl Drop for Wal {
    /// Closes. Errors have been told to those who held tickets.
    fn drop(&mut self) {
        let _ = self.close();
    }
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("dir", &self.shared.dir).field("end", &self.end()).finish_non_exhaustive()
    }
}

/// Makes the log's directory, durably.
fn create_dir(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    if fs.exists(dir)? {
        return Ok(());
    }
    fs.create_dir_all(dir)?;
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => fs.sync_dir(Path::new(".")),
        Some(parent) => fs.sync_dir(parent),
        None => Ok(()),
    }
}

/// The segments on disk, all synced, and the number for the next one.
fn take_up(fs: &dyn Fs, dir: &Path) -> Result<(Table, u64), WalError> {
    let mut table = Table::default();
    let numbers = segment::list(fs, dir)?;
    for &number in &numbers {
        let file = fs.open(&segment::path(dir, number), OpenMode::ReadWrite)?;
        let mut header = [0; segment::HEADER_LEN];
        let n = file.read_at(&mut header, 0)?;
        let first = match segment::Header::parse(&header[..n]) {
            segment::FoundHeader::Header(header) => header.first,
            _ => Lsn(0),
        };
        table.found(number, first, file.len()?);
        file.sync_data()?;
    }
    fs.sync_dir(dir)?;
    Ok((table, numbers.last().map_or(1, |n| n + 1)))
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;

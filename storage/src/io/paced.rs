//! Writing large files beside the log without stalling it.
//!
//! A disk that is handed hundreds of megabytes at once makes the log's next sync wait behind them: 140 to 270 ms were
//! measured, 9 to 41 with the pace kept here. So large files are written in steps, with little unsynced at any time, and no
//! faster than a rate that all of them share.

use super::{Clock, File, Fs, OpenMode};
use parking_lot::Mutex;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How much is written by one call, and gathered for it: a cut of history writes dozens of files side by side.
const STEP_BYTES: usize = 1 << 18;
/// How much of a file may be unsynced.
const UNSYNCED_BYTES_MAX: u64 = 8 << 20;

/// A rate that any number of writers share.
pub struct Pace {
    clock: Arc<dyn Clock>,
    bytes_per_second: u64,
    /// When what was let through so far may have been written.
    free_at: Mutex<Duration>,
}

impl Pace {
    /// Fast enough for any merge, and a fraction of what an SSD takes.
    pub const DEFAULT_BYTES_PER_SECOND: u64 = 80_000_000;

    /// A pace of so many bytes per second; at least one.
    pub fn new(clock: Arc<dyn Clock>, bytes_per_second: u64) -> Self {
        Self { clock, bytes_per_second: bytes_per_second.max(1), free_at: Mutex::new(Duration::ZERO) }
    }

    /// What it is measured with.
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Waits for the turn of `bytes`. What was not used while nobody wrote is not made up for.
    fn take_turn(&self, bytes: usize) {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let now = self.clock.monotonic();
        let turn = {
            let mut free_at = self.free_at.lock();
            let turn = now.max(*free_at);
            *free_at = turn + cost;
            turn
        };
        if turn > now {
            self.clock.sleep(turn - now);
        }
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pace({} bytes/s)", self.bytes_per_second)
    }
}

/// Writes a new file front to back at a [`Pace`]. Durable after [`PacedWriter::finish`], but for its directory entry.
#[derive(Debug)]
pub struct PacedWriter {
    file: Arc<dyn File>,
    pace: Arc<Pace>,
    /// Not written yet.
    pending: Vec<u8>,
    written: u64,
    synced: u64,
}

impl PacedWriter {
    /// Creates the file; `AlreadyExists` where there is one.
    pub fn create(fs: &dyn Fs, path: &Path, pace: &Arc<Pace>) -> io::Result<Self> {
        let file = fs.open(path, OpenMode::CreateNew)?;
        Ok(Self { file, pace: Arc::clone(pace), pending: Vec::new(), written: 0, synced: 0 })
    }

    /// Where the next byte goes.
    pub fn position(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Appends bytes. It may write, sync and wait: hold no lock. After an error the file is of no use.
    pub fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(STEP_BYTES - self.pending.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
            if self.pending.len() == STEP_BYTES {
                self.step()?;
            }
        }
        Ok(())
    }

    /// Writes and syncs the rest. How long the file is.
    pub fn finish(mut self) -> io::Result<u64> {
        self.step()?;
        self.file.sync_data()?;
        Ok(self.written)
    }

    fn step(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.pace.take_turn(self.pending.len());
        self.file.write_all_at(&self.pending, self.written)?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        if self.written - self.synced >= UNSYNCED_BYTES_MAX {
            self.file.sync_data()?;
            self.synced = self.written;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{FaultKind, ManualClock, SimFs};
    use crate::model::TimestampMs;

    fn pace(bytes_per_second: u64) -> (Arc<ManualClock>, Arc<Pace>) {
        let clock = Arc::new(ManualClock::new(TimestampMs(0)));
        (Arc::clone(&clock), Arc::new(Pace::new(clock, bytes_per_second)))
    }

    #[test]
    fn the_file_is_what_was_put_and_durable_in_steps() {
        let fs = SimFs::new(0);
        let (_, pace) = pace(1 << 40);
        let mut writer = PacedWriter::create(&fs, Path::new("x"), &pace).unwrap();
        fs.sync_dir(Path::new("")).unwrap();
        let bytes: Vec<u8> = (0..20u32 << 20).map(|i| (i >> 12) as u8).collect();
        for part in bytes.chunks(777_777) {
            writer.put(part).unwrap();
        }
        assert_eq!(writer.position(), bytes.len() as u64);
        let durable =
            |fs: &SimFs| fs.crash(0).open(Path::new("x"), OpenMode::Read).unwrap().read_all().unwrap();
        assert_eq!(durable(&fs).len() as u64, 2 * UNSYNCED_BYTES_MAX);
        assert_eq!(writer.finish().unwrap(), bytes.len() as u64);
        assert!(durable(&fs) == bytes);
    }

    #[test]
    fn writers_share_the_rate() {
        let fs = SimFs::new(0);
        let (clock, pace) = pace(10 << 20);
        let mut writers: Vec<PacedWriter> =
            ["a", "b"].iter().map(|name| PacedWriter::create(&fs, Path::new(name), &pace).unwrap()).collect();
        for _ in 0..2 {
            for writer in &mut writers {
                writer.put(&vec![1; 5 << 20]).unwrap();
            }
        }
        // Two seconds' bytes; the last step is let through and not waited for.
        assert_eq!(clock.monotonic().as_millis(), 1975);
        clock.advance(Duration::from_secs(60));
        let idle_until = clock.monotonic();
        writers[0].put(&vec![1; 2 << 20]).unwrap();
        assert_eq!((clock.monotonic() - idle_until).as_millis(), 175, "an idle minute is no credit");
    }

    #[test]
    fn errors_come_through() {
        let fs = SimFs::new(0);
        let (_, pace) = pace(1 << 40);
        let mut writer = PacedWriter::create(&fs, Path::new("x"), &pace).unwrap();
        fs.fail_at(fs.ops(), FaultKind::Enospc);
        assert_eq!(writer.put(&vec![0; 2 << 20]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}

//! Disk and clock, as the only way to both: one small trait each, a real implementation and one that tests own.
//!
//! What a power cut leaves is stated once, here; [`SimFs`] is the cruellest disk that keeps to it:
//!
//! - bytes written reach the disk by [`File::sync_data`], and by nothing else; until then each piece of them may be there or not;
//! - a file's length is made durable by the same call;
//! - a directory's entries (creations, renames, removals) are made durable by [`Fs::sync_dir`] of that directory;
//! - after a `sync_data` that failed, the bytes written before it may be gone while a second call succeeds.
//!   So nobody syncs a file again after it failed once: what matters is written anew, elsewhere.

mod clock;
mod fault;
mod map;
mod paced;
mod priority;
mod readable;
mod real;
mod region;
mod sim;
mod unmapped;

pub use clock::{Clock, ManualClock, ProcessorTime, SystemClock};
pub use fault::{MAP_FAULT_EXIT_CODE, note_map_faults};
pub use paced::{Pace, PacedWriter};
pub(crate) use priority::GivingWay;
pub use priority::step_back;
pub(crate) use readable::is_damage;
pub use readable::{Unreadable, map_readable, read_readable};
pub use real::RealFs;
pub use region::Region;
pub use sim::{FaultKind, SimFs};
pub use unmapped::Unmapped;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A file system. Every error names the path and what was tried.
pub trait Fs: Send + Sync + fmt::Debug {
    /// Creates a directory and those above it; success where it exists. Durable once the parents are synced.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// The entries of a directory, sorted by name. Names that are not UTF-8 are left out: none of ours is such.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Opens a file; any number of handles may be open at once.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// Renames a file or directory, atomically replacing a file that is at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; `NotFound` where there is none. Open handles and regions keep their bytes.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory and all below it; `NotFound` where there is none.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes the creations, renames and removals in this directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Whether there is a file or directory.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// How many bytes the file system of `path` has left for this process.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// A whole file as memory. Only for files that are closed, synced and never changed again.
    fn map(&self, path: &Path) -> io::Result<Region>;

    /// Takes the exclusive lock of the file at `path`, which is made where missing. `None` while another holder has it,
    /// in this process or another; released on drop, and by the end of the process.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DirLock>>>;
}

/// An open file. Positions are explicit, so that a handle may be shared.
pub trait File: Send + Sync + fmt::Debug {
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads at most `buf.len()` bytes; 0 at or beyond the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `buf`, extending the file where needed. After an error any part of it may have been written.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Reserves space for the first `len` bytes and makes the file at least that long, with zeroes where nothing was
    /// written: a full disk is met here (`StorageFull`), not by the writes that follow.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Cuts or extends (with zeroes) the file.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the bytes and the length durable. Never call it again on a file where it failed: see the module's text.
    fn sync_data(&self) -> io::Result<()>;

    /// Reads exactly `buf.len()` bytes; `UnexpectedEof` where the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => return Err(ended_early(offset, buf.len(), filled)),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reads the whole file. Memory follows what is read, not what the length claims.
    fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let filled = bytes.len();
            bytes.try_reserve(READ_STEP)?;
            bytes.resize(filled + READ_STEP, 0);
            let n = match self.read_at(&mut bytes[filled..], filled as u64) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
                Err(e) => return Err(e),
                Ok(0) => {
                    bytes.truncate(filled);
                    return Ok(bytes);
                }
                Ok(n) => n,
            };
            bytes.truncate(filled + n);
        }
    }
}

/// How much [`File::read_all`] asks for at once.
const READ_STEP: usize = 1 << 20;

fn ended_early(offset: u64, wanted: usize, found: usize) -> io::Error {
    let text = format!("the file ends early: {wanted} bytes expected at {offset}, {found} found");
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A new file, for reading and writing; `AlreadyExists` where there is one.
    CreateNew,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name within its directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// A held lock; dropping it releases.
pub trait DirLock: Send + Sync + fmt::Debug {}

/// `e` with what was tried and where in front; the kind stays.
fn at(path: &Path, tried: &str, e: io::Error) -> io::Error {
    let text = format!("{tried} {}: {e}", path.display());
    io::Error::new(e.kind(), Tried { text, code: code_of(&e) })
}

/// What was tried, where, and what came of it; and the operating system's number for that.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Tried {
    text: String,
    code: Option<i32>,
}

fn code_of(e: &io::Error) -> Option<i32> {
    let tried = || e.get_ref()?.downcast_ref::<Tried>()?.code;
    e.raw_os_error().or_else(tried)
}

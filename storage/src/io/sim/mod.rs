//! A file system in memory that fails on command and forgets what was not synced.
//!
//! It keeps two images: the *live* one, which programs see, and the *durable* one, which is what [`SimFs::crash`] starts
//! from. Between them lie the changes since the last sync. A power cut keeps or loses each of them by itself: every piece
//! of a write (cut at 4 KiB pages, and sometimes torn within), every change of length, every created, renamed or removed
//! directory entry. A rename within a directory is one change; one across directories is two, so that what was renamed may be in
//! either or in both, but never in none.
//!
//! Every mutating operation has an index, counted from 0 by [`SimFs::ops`]. A test runs a script once to learn how many
//! there are, then once per index, cutting or failing there. Reads are counted apart, by [`SimFs::reads`]; a range of a file
//! may be unreadable for good, as a bad sector is.

mod content;
mod node;
mod state;
mod survival;

use super::{DirEntry, DirLock, File, Fs, OpenMode, Region, at};
use node::{FileNode, NodeId};
use parking_lot::Mutex;
use state::State;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The simulated file system. Clones are the same disk.
#[derive(Clone)]
pub struct SimFs {
    state: Arc<Mutex<State>>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The operation fails with an input/output error and changes nothing. A failed `sync_data` however forgets the
    /// changes that it should have made durable (what reached the disk is drawn from the disk's seed), and the next one
    /// succeeds.
    Eio,
    /// The operation fails since the disk is full.
    Enospc,
    /// A write that stops in the middle, with an input/output error; as `Eio` for other operations.
    TornWrite,
    /// The operation succeeds, and the first read after it returns one wrong bit.
    BitFlip,
}

impl SimFs {
    /// An empty disk. The seed decides what a failed sync leaves; 0: nothing, 1: everything.
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))) }
    }

    /// How many mutating operations there were.
    pub fn ops(&self) -> u64 {
        self.state.lock().op_names.len() as u64
    }

    /// All mutating operations so far, as text: `sync wal/0000000000000001`.
    pub fn op_names(&self) -> Vec<String> {
        self.state.lock().op_names.clone()
    }

    /// Makes the operation with this index fail.
    pub fn fail_at(&self, index: u64, kind: FaultKind) {
        self.state.lock().faults.insert(index, kind);
    }

    /// Makes the operation with this index and all later ones fail.
    pub fn fail_from(&self, index: u64, kind: FaultKind) {
        self.state.lock().fail_from = Some((index, kind));
    }

    /// From this operation on, everything fails and nothing changes: the moment of the power cut.
    pub fn freeze_at(&self, index: u64) {
        self.state.lock().freeze_at = Some(index);
    }

    /// Whether the moment of [`Self::freeze_at`] has come.
    pub fn is_frozen(&self) -> bool {
        self.state.lock().check_frozen().is_err()
    }

    /// How many reads and maps there were.
    pub fn reads(&self) -> u64 {
        self.state.lock().reads
    }

    /// Makes the read or map with this index fail with an input/output error; the next one succeeds.
    pub fn fail_read(&self, index: u64) {
        self.state.lock().failing_reads.insert(index);
    }

    /// Makes these bytes of a file unreadable, as a bad sector is, until [`Self::heal`]: every read and map that meets them fails.
    pub fn make_unreadable(&self, path: &Path, bytes: Range<u64>) -> io::Result<()> {
        let mut state = self.state.lock();
        let node = state.find_file(path).map_err(|e| at(path, "make unreadable", e))?;
        state.unreadable.push((node, bytes));
        Ok(())
    }

    /// Makes opening and mapping this file fail with the operating system's error `code`, until [`Self::heal`].
    pub fn refuse_open(&self, path: &Path, code: i32) -> io::Result<()> {
        let mut state = self.state.lock();
        let node = state.find_file(path).map_err(|e| at(path, "refuse", e))?;
        state.refused.insert(node, code);
        Ok(())
    }

    /// Makes the disk so large: what would make a file longer than there is room for fails as on a full disk. `None`: without end,
    /// as it is at first.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// The bytes of all files that have a name.
    pub fn used(&self) -> u64 {
        self.state.lock().used()
    }

    /// Takes back every planned fault, freeze and capacity.
    pub fn heal(&self) {
        self.state.lock().heal();
    }

    /// The disk after a power cut now: a new file system that shares nothing with this one, without planned faults and locks. Of
    /// what was not synced, seed 0 keeps nothing, seed 1 everything, any other a draw.
    pub fn crash(&self, seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(self.state.lock().crashed(seed))) }
    }

    /// The disk as a killed process leaves it: a new file system that shares nothing with this one, without planned faults and
    /// locks, but with the same bad sectors. Nothing is lost yet; what was not synced still may be, by a power cut of the new one.
    pub fn kill(&self) -> Self {
        Self { state: Arc::new(Mutex::new(self.state.lock().killed())) }
    }

    /// Flips the bits of `mask` in one byte of a file, for good, as a rotting disk does.
    pub fn corrupt(&self, path: &Path, offset: u64, mask: u8) -> io::Result<()> {
        let mut state = self.state.lock();
        let node = state.find(path).map_err(|e| at(path, "corrupt", e))?;
        state.file_mut(node).map(|file| file.corrupt(offset, mask)).map_err(|e| at(path, "corrupt", e))
    }

    /// Runs one mutating operation under the planned faults.
    fn mutate<T>(
        &self,
        tried: &str,
        path: &Path,
        act: impl FnOnce(&mut State) -> io::Result<T>,
        on_fault: impl FnOnce(&mut State, FaultKind),
    ) -> io::Result<T> {
        let mut state = self.state.lock();
        let result = match state.begin(format!("{tried} {}", path.display())) {
            Ok(None) => act(&mut state),
            Ok(Some(kind)) => {
                on_fault(&mut state, kind);
                Err(state::error_of(kind))
            }
            Err(frozen) => Err(frozen),
        };
        result.map_err(|e| at(path, tried, e))
    }

    fn look<T>(
        &self,
        tried: &str,
        path: &Path,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state.lock();
        state.check_frozen().and_then(|()| act(&mut state)).map_err(|e| at(path, tried, e))
    }
}

impl Default for SimFs {
    fn default() -> Self {
        Self::new(0)
    }
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFs").field("ops", &self.ops()).finish_non_exhaustive()
    }
}

/// What an operation does to the disk when it fails and that is nothing.
fn unchanged(_: &mut State, _: FaultKind) {}

impl Fs for SimFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.mutate("create directory", path, |s| s.create_dir_all(path), unchanged)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.look("list", path, |s| s.list(path))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let node = match mode {
            OpenMode::CreateNew => self.mutate("create", path, |s| s.create_file(path), unchanged)?,
            _ => self.look("open", path, |s| s.openable(path))?,
        };
        Ok(Arc::new(SimFile { fs: self.clone(), node, path: path.into(), writable: mode != OpenMode::Read }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.mutate(&format!("rename to {}", to.display()), from, |s| s.rename(from, to), unchanged)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.mutate("remove", path, |s| s.remove_file(path), unchanged)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.mutate("remove directory", path, |s| s.remove_dir_all(path), unchanged)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.mutate("sync directory", path, |s| s.sync_dir(path), unchanged)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.look("look for", path, |s| Ok(s.find(path).is_ok()))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.look("ask for the space of", path, |s| Ok(s.free_bytes()))
    }

    fn map(&self, path: &Path) -> io::Result<Region> {
        self.look("map", path, |s| {
            let node = s.openable(path)?;
            let file = s.file_mut(node)?;
            if !file.is_synced() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "only a synced file may be mapped"));
            }
            let mut bytes = file.live.to_vec();
            s.begin_read(node, 0..bytes.len() as u64)?;
            s.flip_if_due(&mut bytes);
            Ok(Region::from_vec(bytes))
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        if !self.exists(path)? {
            self.open(path, OpenMode::CreateNew)?;
        }
        self.look("lock", path, |s| {
            let node = s.find_file(path)?;
            if !s.locked.insert(node) {
                return Ok(None);
            }
            let lock: Box<dyn DirLock> = Box::new(SimLock { fs: self.clone(), node });
            Ok(Some(lock))
        })
    }
}

/// A held lock of the simulated file system.
#[derive(Debug)]
struct SimLock {
    fs: SimFs,
    node: NodeId,
}

impl DirLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.fs.state.lock().locked.remove(&self.node);
    }
}

/// An open file of the simulated file system.
#[derive(Debug)]
struct SimFile {
    fs: SimFs,
    node: NodeId,
    path: PathBuf,
    writable: bool,
}

impl SimFile {
    /// Runs an operation after which the file is at least `len` bytes long.
    fn mutate(
        &self,
        tried: &str,
        len: u64,
        act: impl FnOnce(&mut FileNode),
        on_fault: impl FnOnce(&mut State, FaultKind),
    ) -> io::Result<()> {
        if !self.writable {
            let e = io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading");
            return Err(at(&self.path, tried, e));
        }
        let within =
            |s: &mut State| s.check_room(self.node, len).and_then(|()| s.file_mut(self.node).map(act));
        self.fs.mutate(tried, &self.path, within, on_fault)
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.fs.look("measure", &self.path, |s| Ok(s.file_mut(self.node)?.live.len()))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fs.look("read", &self.path, |s| {
            s.begin_read(self.node, offset..offset.saturating_add(buf.len() as u64))?;
            let n = s.file_mut(self.node)?.live.read(buf, offset);
            s.flip_if_due(&mut buf[..n]);
            Ok(n)
        })
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(buf.len() as u64).is_none() {
            return Err(at(&self.path, "write", io::ErrorKind::FileTooLarge.into()));
        }
        self.mutate(
            "write",
            offset + buf.len() as u64,
            |file| file.write(buf, offset),
            |state, kind| {
                if kind == FaultKind::TornWrite {
                    state.tear(self.node, buf, offset);
                }
            },
        )
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.mutate("allocate", len, |file| file.allocate(len), unchanged)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.mutate("set length of", len, |file| file.set_len(len), unchanged)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.mutate("sync", 0, |file| file.sync(), |state, _| state.forget_unsynced(self.node))
    }
}

#[cfg(test)]
mod tests;

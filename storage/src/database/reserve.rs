//! Room kept for commits (`docs/format/README.md`): a full disk must not stop the very work that frees it.

use super::CutError;
use crate::io::{Fs, OpenMode};
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const NAME: &str = "reserve";

/// A file that takes room until it is needed.
#[derive(Debug)]
pub(super) struct Reserve {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    /// What is held; 0 without a file.
    bytes: u64,
    /// Whether the last attempt to hold more failed: a full disk is told of once.
    is_short: bool,
}

impl Reserve {
    /// The reserve as the directory has it.
    pub(super) fn open(fs: Arc<dyn Fs>, dir: &Path) -> Self {
        let file = fs.open(&dir.join(NAME), OpenMode::Read);
        let bytes = file.and_then(|file| file.len()).unwrap_or(0);
        Self { fs, dir: dir.into(), bytes, is_short: false }
    }

    /// How much is held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Holds `wanted` bytes at least, if there is room for them.
    pub(super) fn keep(&mut self, wanted: u64) {
        if self.bytes >= wanted {
            return;
        }
        match self.hold(wanted) {
            Ok(()) => (self.bytes, self.is_short) = (wanted, false),
            Err(error) if self.is_short => tracing::debug!(%error, "no room for the reserve yet"),
            Err(error) => {
                self.is_short = true;
                tracing::warn!(%error, wanted, held = self.bytes, "no room for the reserve: free some space");
            }
        }
    }

    fn hold(&self, wanted: u64) -> io::Result<()> {
        let path = self.dir.join(NAME);
        let mode = if self.fs.exists(&path)? { OpenMode::ReadWrite } else { OpenMode::CreateNew };
        let file = self.fs.open(&path, mode)?;
        let held = file.allocate(wanted).and_then(|()| file.sync_data());
        if held.is_err() {
            // What was allocated before it failed would be missed elsewhere.
            match self.bytes {
                0 => self.fs.remove_file(&path)?,
                bytes => file.set_len(bytes)?,
            }
        }
        held.and_then(|()| self.fs.sync_dir(&self.dir))
    }

    /// Gives the room to whoever is next to write; whether there was any.
    pub(super) fn release(&mut self) -> bool {
        if self.bytes == 0 {
            return false;
        }
        let removed = self.fs.remove_file(&self.dir.join(NAME));
        if let Err(error) = &removed {
            tracing::warn!(%error, "the reserve could not be released");
            return false;
        }
        self.bytes = 0;
        // Some file systems give freed room out only after the removal is durable; without, the worst is one more failure.
        self.fs.sync_dir(&self.dir).ok();
        true
    }
}

/// Whether a cut or a checkpoint failed for want of room.
pub(super) fn is_for_want_of_room(error: &CutError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(says_no_room) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether the disk has no room, or allows none.
pub(super) fn says_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{FaultKind, SimFs};

    fn file_bytes(fs: &SimFs) -> Option<u64> {
        fs.open(Path::new(NAME), OpenMode::Read).and_then(|file| file.len()).ok()
    }

    #[test]
    fn it_is_made_grown_released_and_made_again() {
        let fs = SimFs::new(0);
        let open = || Reserve::open(Arc::new(fs.clone()), Path::new(""));
        let mut reserve = open();
        assert!(!reserve.release(), "there is nothing yet");
        reserve.keep(1000);
        reserve.keep(500);
        assert_eq!((reserve.bytes(), file_bytes(&fs.crash(0))), (1000, Some(1000)), "durable");
        assert_eq!(open().bytes(), 1000);
        reserve.keep(3000);
        assert_eq!(file_bytes(&fs), Some(3000));
        assert!(reserve.release());
        assert_eq!((reserve.bytes(), file_bytes(&fs)), (0, None));
        fs.set_capacity(Some(2000));
        reserve.keep(3000);
        assert_eq!((reserve.bytes(), file_bytes(&fs)), (0, None), "no room, nothing left behind");
        fs.set_capacity(Some(4000));
        reserve.keep(3000);
        reserve.keep(5000);
        assert_eq!((reserve.bytes(), file_bytes(&fs)), (3000, Some(3000)), "what is held is kept");
    }

    #[test]
    fn wherever_it_fails_it_holds_what_it_says() {
        for at in 0..4 {
            let fs = SimFs::new(0);
            let mut reserve = Reserve::open(Arc::new(fs.clone()), Path::new(""));
            fs.fail_at(fs.ops() + at, FaultKind::Enospc);
            reserve.keep(1000);
            assert!(file_bytes(&fs).unwrap_or(0) >= reserve.bytes(), "operation {at}");
            reserve.keep(1000);
            assert_eq!((reserve.bytes(), file_bytes(&fs)), (1000, Some(1000)), "operation {at}");
        }
    }

    #[test]
    fn want_of_room_is_told_from_other_errors() {
        let check = |kind: io::ErrorKind, expected: bool| {
            let io = |kind: io::ErrorKind| CutError::Io { path: "x".into(), source: kind.into() };
            let write = crate::block::WriteBlockError::Io { file: "x".into(), source: kind.into() };
            let manifest = super::super::ManifestError::Unwritable { path: "x".into(), source: kind.into() };
            let checkpoint = crate::head::CheckpointError::Io { path: "x".into(), source: kind.into() };
            for error in [
                io(kind),
                CutError::Write(write),
                CutError::Checkpoint(checkpoint),
                CutError::Commit(Box::new(manifest)),
            ] {
                assert_eq!(is_for_want_of_room(&error), expected, "{error}");
            }
        };
        check(io::ErrorKind::StorageFull, true);
        check(io::ErrorKind::QuotaExceeded, true);
        check(io::ErrorKind::PermissionDenied, false);
        assert!(!is_for_want_of_room(&CutError::Closed));
    }
}

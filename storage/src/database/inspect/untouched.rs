//! A disk that is read and never changed.

use crate::io::{DirEntry, DirLock, File, Fs, OpenMode, Region};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Reads what is there. What would only tidy up (folders made, leftovers removed) is passed over in silence; what would
/// write is an error.
#[derive(Debug)]
pub(in crate::database) struct Untouched(Arc<dyn Fs>);

impl Untouched {
    pub(in crate::database) fn new(fs: Arc<dyn Fs>) -> Self {
        Self(fs)
    }
}

fn refused(path: &Path) -> io::Error {
    let text = format!("{}: inspection does not write", path.display());
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, text)
}

impl Fs for Untouched {
    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        match self.0.read_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries,
        }
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        match mode {
            OpenMode::Read => self.0.open(path, mode),
            _ => Err(refused(path)),
        }
    }

    fn rename(&self, from: &Path, _to: &Path) -> io::Result<()> {
        Err(refused(from))
    }

    fn remove_file(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_dir_all(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.0.free_bytes(path)
    }

    fn map(&self, path: &Path) -> io::Result<Region> {
        self.0.map(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        Err(refused(path))
    }
}

//! A file system whose maps are copies: for files whose maps have faulted.

use super::{DirEntry, DirLock, File, Fs, OpenMode, Region};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Reads whole files where maps are asked for, so that a bad sector is damage, with zeros that no checksum fits, and not the end of
/// the process.
#[derive(Debug)]
pub struct Unmapped(pub Arc<dyn Fs>);

impl Fs for Unmapped {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.read_dir(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.0.open(path, mode)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }

    fn map(&self, path: &Path) -> io::Result<Region> {
        super::readable::region_of_readable(&*self.0, path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.0.free_bytes(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        self.0.lock(path)
    }
}

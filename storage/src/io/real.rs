//! The machine's file system.

use super::{DirEntry, DirLock, File, Fs, OpenMode, Region, at, map};
use fs4::FileExt as _;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

impl Fs for RealFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path).map_err(|e| at(path, "create directory", e))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let list = || -> io::Result<Vec<DirEntry>> {
            let mut entries = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                if let Ok(name) = entry.file_name().into_string() {
                    entries.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
                }
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        };
        list().map_err(|e| at(path, "list", e))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(mode != OpenMode::Read)
            .create_new(mode == OpenMode::CreateNew)
            .open(path)
            .map_err(|e| at(path, if mode == OpenMode::CreateNew { "create" } else { "open" }, e))?;
        Ok(Arc::new(RealFile { file, path: path.into() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).map_err(|e| at(from, &format!("rename to {}", to.display()), e))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(|e| at(path, "remove", e))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path).map_err(|e| at(path, "remove directory", e))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path).and_then(|dir| dir.sync_all()).map_err(|e| at(path, "sync directory", e))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists().map_err(|e| at(path, "look for", e))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        fs4::available_space(path).map_err(|e| at(path, "ask for the space of", e))
    }

    fn map(&self, path: &Path) -> io::Result<Region> {
        fs::File::open(path).and_then(|file| map::map_file(&file, path)).map_err(|e| at(path, "map", e))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|e| at(path, "open lock", e))?;
        match fs4::FileExt::try_lock(&file) {
            Ok(()) => Ok(Some(Box::new(RealLock { _file: file }))),
            Err(fs4::TryLockError::WouldBlock) => Ok(None),
            Err(fs4::TryLockError::Error(e)) => Err(at(path, "lock", e)),
        }
    }
}

/// An flock; closing the file releases it.
#[derive(Debug)]
struct RealLock {
    _file: fs::File,
}

impl DirLock for RealLock {}

#[derive(Debug)]
struct RealFile {
    file: fs::File,
    path: PathBuf,
}

impl RealFile {
    fn named(&self, tried: &'static str) -> impl Fn(io::Error) -> io::Error + '_ {
        move |e| at(&self.path, tried, e)
    }
}

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|m| m.len()).map_err(self.named("measure"))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset).map_err(self.named("read"))
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset).map_err(self.named("write"))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let reserve = || {
            self.file.allocate(len)?;
            if self.file.metadata()?.len() < len { self.file.set_len(len) } else { Ok(()) }
        };
        reserve().map_err(self.named("allocate"))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len).map_err(self.named("set length of"))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().map_err(self.named("sync"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_directories_do_as_told() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("a/b");
        let fs = RealFs;
        fs.create_dir_all(&dir).unwrap();
        let file = fs.open(&dir.join("x"), OpenMode::CreateNew).unwrap();
        file.write_all_at(b"hello", 3).unwrap();
        file.allocate(100_000).unwrap();
        assert_eq!(file.len().unwrap(), 100_000);
        file.set_len(8).unwrap();
        file.sync_data().unwrap();
        assert_eq!(file.read_all().unwrap(), b"\0\0\0hello");
        assert_eq!(&fs.map(&dir.join("x")).unwrap()[3..], b"hello");
        assert!(fs.map(&dir.join("x")).unwrap().is_mapped());
        let mut buf = [0; 3];
        assert_eq!(file.read_exact_at(&mut buf, 6).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        fs.rename(&dir.join("x"), &dir.join("y")).unwrap();
        fs.sync_dir(&dir).unwrap();
        assert_eq!(fs.read_dir(&dir).unwrap(), [DirEntry { name: "y".into(), is_dir: false }]);
        assert!(fs.exists(&dir.join("y")).unwrap() && !fs.exists(&dir.join("x")).unwrap());
        fs.remove_file(&dir.join("y")).unwrap();
        fs.remove_dir_all(&tmp.path().join("a")).unwrap();
        assert!(fs.read_dir(tmp.path()).unwrap().is_empty());
    }

    #[test]
    fn an_empty_file_maps_to_an_empty_region() {
        let tmp = tempfile::tempdir().unwrap();
        RealFs.open(&tmp.path().join("x"), OpenMode::CreateNew).unwrap();
        assert!(RealFs.map(&tmp.path().join("x")).unwrap().is_empty());
    }

    #[test]
    fn errors_name_the_path_and_keep_the_kind() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("missing");
        let e = RealFs.open(&path, OpenMode::ReadWrite).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::NotFound);
        assert!(e.to_string().contains("missing"), "{e}");
        RealFs.open(&path, OpenMode::CreateNew).unwrap();
        let e = RealFs.open(&path, OpenMode::CreateNew).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_lock_has_one_holder() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("LOCK");
        let held = RealFs.lock(&path).unwrap();
        assert!(held.is_some());
        assert!(RealFs.lock(&path).unwrap().is_none());
        drop(held);
        assert!(RealFs.lock(&path).unwrap().is_some());
    }
}

//! A segment that cannot be read as a whole goes to the quarantine, as it is; a copy of what can be read takes its place.
//!
//! ```text
//! copy to N.mended, synced ─► N.wal to quarantine/N.unreadable ─► N.mended to N.wal
//! ```
//!
//! A start that finds N.mended without N.wal takes the last step; one that finds both begins anew.

use super::segment;
use crate::io::{Fs, OpenMode, read_readable};
use std::io;
use std::path::{Path, PathBuf};

const COPY: &str = "mended";
const KEPT: &str = "unreadable";

/// Replaces a segment; returns where it is now.
pub(super) fn replace(fs: &dyn Fs, file: &Path, quarantine: &Path) -> io::Result<PathBuf> {
    let dir = file.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let (copy, name) = (file.with_extension(COPY), file.with_extension(KEPT));
    let kept = quarantine.join(name.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    super::create_dir(fs, quarantine)?;
    let mut bytes = Vec::new();
    read_readable(&*fs.open(file, OpenMode::Read)?, &mut bytes)?;
    write(fs, &copy, &bytes).and_then(|()| fs.sync_dir(dir)).inspect_err(|_| {
        // Half a copy takes room that is wanted.
        fs.remove_file(&copy).ok();
    })?;
    if fs.exists(&kept)? {
        fs.remove_file(&kept)?;
    }
    fs.rename(file, &kept)?;
    fs.sync_dir(quarantine)?;
    fs.rename(&copy, file)?;
    fs.sync_dir(dir)?;
    Ok(kept)
}

/// Finishes what a crash interrupted.
pub(crate) fn finish(fs: &dyn Fs, dir: &Path, quarantine: &Path) -> io::Result<()> {
    if !fs.exists(dir)? {
        return Ok(());
    }
    for entry in fs.read_dir(dir)?.iter().filter(|e| e.name.ends_with(&format!(".{COPY}"))) {
        let copy = dir.join(&entry.name);
        let file = copy.with_extension(segment::ENDING);
        let kept = copy.with_extension(KEPT);
        let is_kept = kept.file_name().map(|name| fs.exists(&quarantine.join(name))).transpose()?;
        match !fs.exists(&file)? && is_kept == Some(true) {
            true => fs.rename(&copy, &file)?,
            false => fs.remove_file(&copy)?,
        }
        fs.sync_dir(dir)?;
    }
    Ok(())
}

fn write(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs.exists(path)? {
        fs.remove_file(path)?;
    }
    let file = fs.open(path, OpenMode::CreateNew)?;
    file.write_all_at(bytes, 0)?;
    file.sync_data()
}

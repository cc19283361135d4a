//! What is behind the last valid edit: remains of one that a crash interrupted, or a committed one that is damaged.

use super::state::State;
use super::{ManifestError, NAME};
use crate::database::folders::{BLOCKS_DIR, CHECKPOINT_DIR, QUARANTINE_DIR, REBUILT_FILE};
use crate::head::checkpoint;
use crate::io::{File, Fs, OpenMode};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What is behind the last valid edit, for those who only look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remains {
    /// Where and how many, in words.
    pub(crate) text: String,
    /// Whether they may be of an edit that was committed.
    pub(crate) are_doubtful: bool,
}

/// Bytes at the end that are no edit are the remains of one that a crash interrupted, or one that was committed and is
/// damaged. A commit lets the checkpoint before it go, or blocks: where one is gone, the edit was committed, and everything
/// that it names must stay for whoever mends it.
pub(super) fn refuse_damage(
    fs: &dyn Fs,
    dir: &Path,
    state: &State,
    offset: u64,
) -> Result<(), ManifestError> {
    let checkpoint =
        state.checkpoint.as_ref().map(|c| checkpoint::path_of(&dir.join(CHECKPOINT_DIR), c.number));
    let blocks = state.blocks.keys().map(|id| dir.join(BLOCKS_DIR).join(id.to_string()));
    for path in checkpoint.into_iter().chain(blocks) {
        if !fs.exists(&path).map_err(|source| ManifestError::Io { path: path.clone(), source })? {
            let expected = format!("the edit that took {} out of force", path.display());
            let found = "a damaged one".into();
            return Err(ManifestError::Corrupt { path: dir.join(NAME), offset, expected, found });
        }
    }
    Ok(())
}

/// What an operator must know of an edit that was cut and may have been committed.
pub(super) fn doubt(path: &Path, offset: u64, kept: &Path) -> String {
    let (path, kept) = (path.display(), kept.display());
    format!(
        "{path}: the edit at {offset} was cut, since its checksum is wrong; it is whole in length, so that it may have been committed and damaged later. A deletion made last may be forgotten: look for what should be hidden, and delete it again. A copy is {kept}"
    )
}

/// Adds a line to the note that every start repeats until somebody removes it.
pub(super) fn note(fs: &dyn Fs, dir: &Path, line: &str) -> io::Result<()> {
    let path = dir.join(QUARANTINE_DIR).join(REBUILT_FILE);
    let mut text = match fs.exists(&path)? {
        true => fs.open(&path, OpenMode::Read)?.read_all()?,
        false => Vec::new(),
    };
    text.extend_from_slice(line.as_bytes());
    text.push(b'\n');
    keep(fs, dir, REBUILT_FILE, &text).map(|_| ())
}

/// Copies what is about to be cut.
pub(super) fn keep_remains(
    fs: &dyn Fs,
    dir: &Path,
    file: &dyn File,
    range: Range<u64>,
) -> io::Result<PathBuf> {
    let bytes = file.read_all()?;
    let remains = usize::try_from(range.start).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
    keep(fs, dir, &format!("{NAME}-{:016x}.torn", range.start), remains)
}

/// Writes a file into the quarantine, durable when it returns, in place of one of that name.
pub(in crate::database) fn keep(fs: &dyn Fs, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let folder = dir.join(QUARANTINE_DIR);
    fs.create_dir_all(&folder)?;
    let path = folder.join(name);
    if fs.exists(&path)? {
        fs.remove_file(&path)?;
    }
    let copy = fs.open(&path, OpenMode::CreateNew)?;
    copy.write_all_at(bytes, 0)?;
    copy.sync_data()?;
    fs.sync_dir(&folder)?;
    Ok(path)
}

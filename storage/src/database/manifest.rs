//! The `MANIFEST`: the only commit point of a data directory (`docs/format/manifest.md`).

mod edit;
mod reading;
mod remains;
mod state;
mod tombstone_entry;

use super::folders::NAMED_FOLDERS;
use crate::io::{File, Fs, OpenMode};
use arc_swap::ArcSwap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use edit::{BlockEntry, CheckpointEntry, Edit, Init};
pub(crate) use reading::salvage;
#[cfg(feature = "fuzz")]
pub(crate) use reading::{fuzz, make_checksums_fit};
pub(super) use remains::keep;
pub(crate) use state::{MERGED_PLACE, State};
#[cfg(test)]
pub(crate) use tombstone_entry::{MatcherEntry, Op};
pub(crate) use tombstone_entry::{TOMBSTONE_BYTES_MAX, TombstoneEntry};

use reading::{Read, Rest, VERSION, read};
use remains::{Remains, doubt, keep_remains, note, refuse_damage};

/// A longer manifest is written anew at start.
const REWRITE_BYTES: u64 = 1 << 20;
/// The file.
pub(super) const NAME: &str = "MANIFEST";
const NEW_NAME: &str = "MANIFEST.new";

/// Tombstones held at most; each query of a range that they touch looks at them.
pub(crate) const TOMBSTONES_MAX: usize = 1000;

/// Why the manifest could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The disk refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Not a manifest.
    #[error(
        "{path}: this is no Cardinal manifest; choose another directory, or, if it is the right one, restore the file from a backup or run `cardinal verify --repair`"
    )]
    NotAManifest {
        /// The file.
        path: PathBuf,
    },
    /// Made by another version.
    #[error(
        "{path}: the directory has format version {found}, this Cardinal reads version {VERSION}; use the version that made it, or start with an empty directory"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// An edit is damaged and valid ones follow it.
    #[error(
        "{path} offset {offset}: expected {expected}, found {found}; restore the file from a backup, or run `cardinal verify --repair`"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
    /// An edit that is whole, but says what this version does not know.
    #[error(
        "{path} offset {offset}: an edit that this Cardinal does not understand ({found}); use the version that wrote it"
    )]
    UnknownEdit {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is not understood.
        found: String,
    },
    /// The directory has data but no manifest.
    #[error(
        "{path}: there is {found}/ but no MANIFEST; restore it from a backup, or let `cardinal verify --repair` rebuild it from the blocks, or choose an empty directory"
    )]
    Missing {
        /// The directory.
        path: PathBuf,
        /// The folder that is there.
        found: &'static str,
    },
    /// An edit that no reader would take.
    #[error("{path}: an edit of {bytes} bytes is too long: {max} at most; it was not written", max = edit::BYTES_MAX)]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// The manifest could not be written, not even anew.
    #[error("{path}: {source}; nothing can be committed until the disk is well")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

/// The file, and the state that it holds.
#[derive(Debug)]
pub(crate) struct Manifest {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    file: Arc<dyn File>,
    len: u64,
    state: Arc<State>,
    /// The same, for those who only look and do not wait.
    committed: Arc<ArcSwap<State>>,
    /// Whether the last edit failed: then it is open which state the disk holds, and the file is not appended to.
    unsettled: bool,
    was_cut: bool,
}

impl Manifest {
    /// Opens the manifest of `dir`, or makes one with `init` where the directory is empty.
    pub(crate) fn open(fs: Arc<dyn Fs>, dir: &Path, init: &Init) -> Result<Self, ManifestError> {
        let path = dir.join(NAME);
        let at = |source| ManifestError::Io { path: path.clone(), source };
        if !fs.exists(&path).map_err(at)? {
            refuse_orphans(&*fs, dir)?;
            let state = State::new(init.clone());
            let (file, len) = write_anew(&*fs, dir, &state).map_err(at)?;
            let next_sequence = state.sequence_after_rewrite();
            return Ok(Self::with(fs, dir, file, len, State { next_sequence, ..state }));
        }
        let read = read(&*fs, &path)?;
        let (len, was_cut) = (read.last.end, read.len > read.last.end);
        let file = fs.open(&path, OpenMode::ReadWrite).map_err(at)?;
        if was_cut {
            refuse_damage(&*fs, dir, &read.state, len)?;
            let kept = keep_remains(&*fs, dir, &*file, len..read.len).map_err(at)?;
            if read.rest == Rest::Doubtful {
                note(&*fs, dir, &doubt(&path, len, &kept)).map_err(at)?;
            }
            tracing::warn!(file = %path.display(), offset = len, bytes = read.len - len, kept = %kept.display(), "cut the remains of an edit that a crash interrupted");
            file.set_len(len).map_err(at)?;
        }
        // Whoever wrote it may have been killed before its sync; what it does not name is about to be removed. That sync may also have
        // failed, and another one would write nothing: so the last edit is written again.
        let edit = file.read_all().map_err(at)?;
        let edit = edit.get(read.last.start as usize..len as usize).unwrap_or_default();
        file.write_all_at(edit, read.last.start).map_err(at)?;
        file.sync_data().and_then(|()| fs.sync_dir(dir)).map_err(at)?;
        let mut manifest = Self { was_cut, ..Self::with(fs, dir, file, len, read.state) };
        if len > REWRITE_BYTES {
            manifest.rewrite((*manifest.state).clone()).map_err(at)?;
        } else if !read.ends_marked {
            manifest.mark_last();
        }
        Ok(manifest)
    }

    fn with(fs: Arc<dyn Fs>, dir: &Path, file: Arc<dyn File>, len: u64, state: State) -> Self {
        let state = Arc::new(state);
        let committed = Arc::new(ArcSwap::new(state.clone()));
        Self { fs, dir: dir.into(), file, len, state, committed, unsettled: false, was_cut: false }
    }

    /// The state of `dir`'s manifest, for those who only look; and what is behind its last valid edit, if anything is. Damage that
    /// a start refuses is refused here, too.
    pub(crate) fn inspect(fs: &dyn Fs, dir: &Path) -> Result<(State, Option<Remains>), ManifestError> {
        let path = dir.join(NAME);
        let Read { state, last, len, rest, .. } = read(fs, &path)?;
        let valid = last.end;
        if valid == len {
            return Ok((state, None));
        }
        refuse_damage(fs, dir, &state, valid)?;
        let text = format!(
            "{}: {} bytes at {valid} are no valid edit; a start cuts them off",
            path.display(),
            len - valid
        );
        Ok((state, Some(Remains { text, are_doubtful: rest == Rest::Doubtful })))
    }

    /// Whether the remains of an edit were cut when it was opened. They may be those of an edit that was committed and has
    /// rotted since: what the state does not name is to be kept then.
    pub(crate) fn was_cut(&self) -> bool {
        self.was_cut
    }

    /// The fold of all edits so far.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Where the state stands after each commit, for those who only look.
    pub(crate) fn committed(&self) -> Arc<ArcSwap<State>> {
        self.committed.clone()
    }

    fn set(&mut self, state: State) {
        self.state = Arc::new(state);
        self.committed.store(self.state.clone());
    }

    /// Makes `edit` durable, then part of the state. After an error it is open whether the disk holds it: all files that it
    /// names must stay, and its sequence is not used again. The next edit settles the question, since it replaces the file.
    pub(crate) fn commit(&mut self, edit: &Edit) -> Result<(), ManifestError> {
        let mut next = (*self.state).clone();
        next.apply(edit);
        next.next_sequence += 2;
        let bytes = edit::encode(edit, self.state.next_sequence);
        if bytes.len() > edit::HEADER_BYTES + edit::BYTES_MAX {
            let bytes = bytes.len() - edit::HEADER_BYTES;
            return Err(ManifestError::TooLong { path: self.dir.join(NAME), bytes });
        }
        if !self.unsettled {
            match self.append(&bytes) {
                Ok(()) => {
                    self.set(next);
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(dir = %self.dir.display(), %error, "writing the manifest failed; writing it anew");
                }
            }
        }
        self.rewrite(next).map_err(|source| {
            self.unsettled = true;
            Arc::make_mut(&mut self.state).next_sequence += 1;
            ManifestError::Unwritable { path: self.dir.join(NAME), source }
        })
    }

    /// Appends an edit and, once it is synced, the mark that says so. Both are durable when it returns: were the mark still in
    /// memory when the next edit is written, a power cut could leave that one and not the mark, which would look like damage.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.len)?;
        self.file.sync_data()?;
        let mark = edit::mark(self.state.next_sequence + 1);
        let behind = self.len + bytes.len() as u64;
        self.file.write_all_at(&mark, behind)?;
        self.file.sync_data()?;
        self.len = behind + mark.len() as u64;
        Ok(())
    }

    /// Marks the last edit, which a start has synced. On a full disk there may be no room: then the next edit takes its place.
    fn mark_last(&mut self) {
        let mark = edit::mark(self.state.next_sequence);
        match self.file.write_all_at(&mark, self.len).and_then(|()| self.file.sync_data()) {
            Ok(()) => {
                self.len += mark.len() as u64;
                let next_sequence = self.state.next_sequence + 1;
                self.set(State { next_sequence, ..(*self.state).clone() });
            }
            Err(error) => {
                tracing::debug!(dir = %self.dir.display(), %error, "the manifest's last edit is not marked")
            }
        }
    }

    /// Makes another state durable, whatever edits would lead there.
    pub(crate) fn replace(&mut self, state: State) -> Result<(), ManifestError> {
        let path = self.dir.join(NAME);
        self.rewrite(state).map_err(|source| ManifestError::Unwritable { path, source })
    }

    fn rewrite(&mut self, state: State) -> io::Result<()> {
        let next_sequence = state.sequence_after_rewrite();
        let (file, len) = write_anew(&*self.fs, &self.dir, &state)?;
        (self.file, self.len, self.unsettled) = (file, len, false);
        self.set(State { next_sequence, ..state });
        Ok(())
    }
}

/// A directory without a manifest must not hold what one would name.
fn refuse_orphans(fs: &dyn Fs, dir: &Path) -> Result<(), ManifestError> {
    for found in NAMED_FOLDERS {
        let path = dir.join(found);
        let at = |source| ManifestError::Io { path: path.clone(), source };
        if fs.exists(&path).map_err(at)? && !fs.read_dir(&path).map_err(at)?.is_empty() {
            return Err(ManifestError::Missing { path: dir.into(), found });
        }
    }
    Ok(())
}

/// Writes `state` to a new file and renames it over the manifest. The mark at its end, true since nothing is renamed before it is
/// synced, has the sequence before the state's next one or a later one, so that block ids stay unique.
pub(crate) fn write_anew(fs: &dyn Fs, dir: &Path, state: &State) -> io::Result<(Arc<dyn File>, u64)> {
    let (new, path) = (dir.join(NEW_NAME), dir.join(NAME));
    if fs.exists(&new)? {
        fs.remove_file(&new)?;
    }
    let mut bytes = reading::header();
    let edits = state.as_edits();
    let first = state.sequence_after_rewrite() - edits.len() as u64;
    for (sequence, edit) in (first..).zip(&edits) {
        bytes.extend(edit::encode(edit, sequence));
    }
    let file = fs.open(&new, OpenMode::CreateNew)?;
    file.write_all_at(&bytes, 0)?;
    file.sync_data()?;
    fs.rename(&new, &path)?;
    fs.sync_dir(dir)?;
    Ok((file, bytes.len() as u64))
}

#[cfg(test)]
mod tests;

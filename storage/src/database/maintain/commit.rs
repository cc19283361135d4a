//! Checkpoints, and the edit that puts one in force together with blocks.

use super::Maintenance;
use crate::database::folders::{CHECKPOINT_DIR, QUARANTINE_DIR};
use crate::database::manifest::{BlockEntry, CheckpointEntry, Edit};
use crate::database::{CutError, Database};
use crate::head::checkpoint;
use crate::head::cuts::CutPositions;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

impl Database {
    /// Makes a checkpoint now.
    pub(in crate::database) fn checkpoint_now(&self) -> Result<(), CutError> {
        let mut m = self.maintenance.lock();
        self.checkpoint(&mut m)?;
        self.retire(&mut m);
        Ok(())
    }

    /// A checkpoint without a cut: bounds the log that a restart replays.
    pub(super) fn checkpoint(&self, m: &mut Maintenance) -> Result<(), CutError> {
        let cuts = self.view.load().cuts.clone();
        self.commit(m, Vec::new(), &cuts)
    }

    /// Writes a checkpoint and commits it together with new blocks; then lets go of the log below it.
    pub(super) fn commit(
        &self,
        m: &mut Maintenance,
        add_blocks: Vec<BlockEntry>,
        cuts: &CutPositions,
    ) -> Result<(), CutError> {
        let folder = self.dir.join(CHECKPOINT_DIR);
        let before = m.manifest.state().checkpoint.as_ref().map(|c| c.number);
        let number = m.manifest.state().next_sequence;
        let path = checkpoint::path_of(&folder, number);
        if self.fs.exists(&path).map_err(|source| CutError::Io { path: path.clone(), source })? {
            self.fs.remove_file(&path).map_err(|source| CutError::Io { path: path.clone(), source })?;
        }
        let written = self.write_checkpoint(&folder, number, cuts).inspect_err(|_| {
            // On a full disk the log needs the room.
            self.fs.remove_file(&path).ok();
        })?;
        let wal_segment = self.wal.first_segment_needed(written.oldest_lsn);
        let entry =
            CheckpointEntry { number, bytes: written.bytes, wal_segment, head_log_end: written.log_end };
        let edit = Edit { add_blocks, checkpoint: Some(entry), ..Edit::default() };
        m.manifest.commit(&edit).map_err(|e| CutError::Commit(Box::new(e)))?;
        self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
        (m.checkpoint_lsn, m.checkpoint_bytes) = (written.oldest_lsn, written.bytes);
        // The edit stands: what is left behind now is garbage at the next start.
        if let Err(error) = self.wal.drop_segments_below(wal_segment) {
            tracing::warn!(%error, "old log segments could not be removed");
        }
        if let Some(before) = before {
            let path = checkpoint::path_of(&folder, before);
            if let Err(error) = self.put_away_checkpoint(&path, m.checkpoint_is_damaged) {
                tracing::warn!(path = %path.display(), %error, "the old checkpoint could not be removed");
            }
        }
        m.checkpoint_is_damaged = false;
        Ok(())
    }

    /// Removes a checkpoint that is out of force; a damaged one is kept in quarantine, and whoever mends it may find more.
    fn put_away_checkpoint(&self, path: &Path, is_damaged: bool) -> io::Result<()> {
        if !is_damaged {
            return self.fs.remove_file(path);
        }
        let kept = self.dir.join(QUARANTINE_DIR).join(path.file_name().unwrap_or_default());
        match self.fs.rename(path, &kept) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed,
        }
    }

    fn write_checkpoint(
        &self,
        folder: &Path,
        number: u64,
        cuts: &CutPositions,
    ) -> Result<checkpoint::Written, CutError> {
        let newest_lsn = || self.wal.end();
        let written =
            checkpoint::write(&*self.fs, folder, number, &self.pace, &self.head, cuts, &newest_lsn)?;
        self.wal.flush()?;
        Ok(written)
    }
}

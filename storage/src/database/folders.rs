//! What stands where in a data directory.

use crate::model::BlockId;
use std::path::{Path, PathBuf};

pub(super) const WAL_DIR: &str = "wal";
pub(super) const HEAD_DIR: &str = "head";
pub(super) const CHECKPOINT_DIR: &str = "checkpoint";
pub(super) const BLOCKS_DIR: &str = "blocks";
/// What is damaged, or may be wanted by whoever mends damage. Nothing of it is served.
pub(super) const QUARANTINE_DIR: &str = "quarantine";
/// In the quarantine: what a repair that rebuilt the manifest has to say. Each start repeats it until somebody removes it.
pub(super) const REBUILT_FILE: &str = "MANIFEST.rebuilt";
/// All folders; each is there once the directory was opened.
pub(super) const FOLDERS: [&str; 5] = [WAL_DIR, HEAD_DIR, CHECKPOINT_DIR, BLOCKS_DIR, QUARANTINE_DIR];
/// Folders of what a manifest names: none of them has anything in it before there is one.
pub(super) const NAMED_FOLDERS: [&str; 4] = [BLOCKS_DIR, WAL_DIR, CHECKPOINT_DIR, HEAD_DIR];

/// The log of a data directory.
pub fn wal_dir(dir: &Path) -> PathBuf {
    dir.join(WAL_DIR)
}

/// One block of a data directory.
pub fn block_dir(dir: &Path, id: BlockId) -> PathBuf {
    dir.join(BLOCKS_DIR).join(id.to_string())
}

/// In the quarantine: says that a repair is about to move the block there. A start that finds the block out of force does so.
pub(super) fn mending_mark(dir: &Path, id: BlockId) -> PathBuf {
    dir.join(QUARANTINE_DIR).join(format!("{id}.mending"))
}

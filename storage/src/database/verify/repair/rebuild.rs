//! A manifest from what it named.

use super::{RepairError, io_at, tombstones};
use crate::block::BlockMeta;
use crate::database::folders::{BLOCKS_DIR, CHECKPOINT_DIR, REBUILT_FILE, wal_dir};
use crate::database::manifest::{self, BlockEntry, CheckpointEntry, Init, State, TombstoneEntry};
use crate::head::checkpoint;
use crate::io::{Fs, OpenMode};
use crate::model::{BlockId, TombstoneId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What was rebuilt.
pub(super) struct Rebuilt {
    /// In words.
    pub(super) said: String,
    /// What may be wrong with it, likewise.
    pub(super) warnings: Vec<String>,
}

/// Writes a manifest that names the blocks that there are, the newest checkpoint, and the deletions that can still be read; a
/// copy of the old one and a note are left in the quarantine. Blocks that others were made of are left out.
pub(super) fn manifest(fs: &dyn Fs, dir: &Path) -> Result<Rebuilt, RepairError> {
    let salvaged = manifest::salvage(fs, dir);
    let metas = metas(fs, dir)?;
    let newest = newest_checkpoint(fs, dir)?;
    let init = salvaged.as_ref().map(|s| s.init.clone());
    let init = init.or_else(|| newest.as_ref().map(|(_, init)| init.clone())).or_else(|| init_of(&metas));
    let init = init.ok_or_else(|| RepairError::Unknown { path: dir.into() })?;
    let merged: BTreeSet<u64> =
        metas.values().flat_map(|m| m.sources.iter()).filter_map(|s| id_of(s)).collect();
    let of_same = |(id, meta): (&u64, &BlockMeta)| {
        let same =
            meta.seed == init.seed && meta.shards == init.shards && meta.account_label == init.account_label;
        (same && !merged.contains(id)).then(|| (BlockId(*id), entry(*id, meta, salvaged.as_ref())))
    };
    let blocks: BTreeMap<BlockId, BlockEntry> = metas.iter().filter_map(of_same).collect();
    let checkpoint = newest.map(|(entry, _)| entry);
    let of_blocks = metas.keys().map(|id| id / 65536).max().unwrap_or(0);
    let of_checkpoint = checkpoint.as_ref().map_or(0, |c| c.number);
    let of_salvaged = salvaged.as_ref().map_or(0, |s| s.next_sequence);
    let next_sequence = of_blocks.max(of_checkpoint).max(of_salvaged).saturating_add(2).max(3);
    let mut state = State { blocks, checkpoint, next_sequence, ..State::new(init) };
    state.tombstones = deletions(salvaged, &state);
    let said = format!(
        "the manifest was rebuilt with {} blocks, {} and {} deletions",
        state.blocks.len(),
        state.checkpoint.as_ref().map_or("no checkpoint".into(), |c| format!("checkpoint {:016x}", c.number)),
        state.tombstones.len(),
    );
    let warnings = warnings(&state);
    let path = dir.join(manifest::NAME);
    // Copied, not moved: until the new one is there, the old one tells a further repair what it told this one.
    let old = fs.open(&path, OpenMode::Read).and_then(|f| f.read_all());
    if let Ok(old) = old {
        manifest::keep(fs, dir, &format!("{}.damaged", manifest::NAME), &old).map_err(io_at(&path))?;
    }
    let note = [&*warnings, &[String::new()]].concat().join("\n");
    manifest::keep(fs, dir, REBUILT_FILE, note.as_bytes()).map_err(io_at(&path))?;
    manifest::write_anew(fs, dir, &state).map_err(io_at(&path))?;
    Ok(Rebuilt { said, warnings })
}

/// The deletions that can be read. A damaged edit may have undone any of them: those that could be undone can be for another grace.
fn deletions(salvaged: Option<State>, rebuilt: &State) -> BTreeMap<TombstoneId, TombstoneEntry> {
    let Some(salvaged) = salvaged else { return BTreeMap::new() };
    let newest = rebuilt.blocks.values().map(|b| b.arrived_ms.unwrap_or(i64::MIN).max(b.window_start)).max();
    let renew = |t: TombstoneEntry| {
        let created_ms = if t.is_final { t.created_ms } else { t.created_ms.max(newest.unwrap_or(i64::MIN)) };
        (TombstoneId(t.id), TombstoneEntry { created_ms, ..t })
    };
    let tombstones = salvaged.tombstones.into_values().map(renew).collect();
    tombstones::mended(&State { tombstones, ..rebuilt.clone() })
}

fn warnings(state: &State) -> Vec<String> {
    let mut warnings = vec![
        "deletions that only the damaged part of the manifest knew of are forgotten: what they hid may be visible again; look for it, and delete it again".into(),
    ];
    if !state.tombstones.is_empty() {
        warnings.push("deletions that were undone may be in force again, where the damaged part knew that: undelete those that should not be, within delete.grace".into());
    }
    let kept = state.tombstones.values();
    warnings.extend(kept.map(|t| {
        format!(
            "kept is deletion {}{}",
            tombstones::told(t),
            if t.is_final { ", which cannot be undone" } else { "" }
        )
    }));
    warnings
}

fn id_of(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// The `meta.json` of all blocks that have a readable one.
fn metas(fs: &dyn Fs, dir: &Path) -> Result<BTreeMap<u64, BlockMeta>, RepairError> {
    let folder = dir.join(BLOCKS_DIR);
    if !fs.exists(&folder).map_err(io_at(&folder))? {
        return Ok(BTreeMap::new());
    }
    let entries = fs.read_dir(&folder).map_err(io_at(&folder))?;
    let meta = |name: &str| {
        let meta = BlockMeta::read(fs, &folder.join(name)).ok()?;
        Some((id_of(name).filter(|_| meta.id == name)?, meta))
    };
    Ok(entries.iter().filter_map(|e| meta(&e.name)).collect())
}

fn init_of(metas: &BTreeMap<u64, BlockMeta>) -> Option<Init> {
    // Merged blocks have longer windows than the head.
    let meta = metas.values().filter(|m| m.level == 0).min_by_key(|m| m.window_ms)?;
    Some(Init {
        seed: meta.seed,
        shards: meta.shards,
        account_label: meta.account_label.clone(),
        spread: 1,
        window_ms: meta.window_ms,
    })
}

fn entry(id: u64, meta: &BlockMeta, salvaged: Option<&State>) -> BlockEntry {
    let known = salvaged.and_then(|s| s.blocks.get(&BlockId(id)));
    BlockEntry {
        id,
        tier: meta.tier,
        level: meta.level,
        window_start: meta.window_start,
        window_ms: meta.window_ms,
        index_bytes: meta.index_bytes,
        chunks_bytes: meta.chunks_bytes,
        series: meta.series,
        samples: meta.samples,
        covered_as: known.map_or_else(|| of_sources(meta, salvaged), |k| k.covered_as),
        arrived_ms: known.and_then(|k| k.arrived_ms),
    }
}

/// By what deletions judge a block that the manifest says nothing of any more: the newest of what it was made of.
fn of_sources(meta: &BlockMeta, salvaged: Option<&State>) -> Option<u64> {
    let of_source = |id: u64| {
        let known = salvaged.and_then(|s| s.blocks.get(&BlockId(id)));
        known.map_or(id, |k| k.covered_as().0)
    };
    meta.sources.iter().filter_map(|s| id_of(s)).map(of_source).max()
}

/// The newest checkpoint that says how the directory was made. The log is replayed from its oldest segment: what is older
/// than the checkpoint is passed over.
fn newest_checkpoint(fs: &dyn Fs, dir: &Path) -> Result<Option<(CheckpointEntry, Init)>, RepairError> {
    let folder = dir.join(CHECKPOINT_DIR);
    if !fs.exists(&folder).map_err(io_at(&folder))? {
        return Ok(None);
    }
    let entries = fs.read_dir(&folder).map_err(io_at(&folder))?;
    let number = |name: &str| id_of(name.strip_suffix(".ckpt")?);
    let wal_segment = crate::wal::first_segment(fs, &wal_dir(dir)).unwrap_or(0);
    for number in entries.iter().rev().filter_map(|e| number(&e.name)) {
        let path = checkpoint::path_of(&folder, number);
        let Some((made, log_end)) = checkpoint::origin(fs, &path) else { continue };
        let file = fs.open(&path, OpenMode::Read).and_then(|f| f.len());
        let bytes = file.map_err(io_at(&path))?;
        let init = Init {
            seed: made.seed,
            shards: made.shards,
            account_label: made.account_label,
            spread: 1,
            window_ms: made.window_ms,
        };
        return Ok(Some((CheckpointEntry { number, bytes, wal_segment, head_log_end: log_end }, init)));
    }
    Ok(None)
}

//! The state that edits add up to.

use super::edit::{self, Bad, BlockEntry, CheckpointEntry, Edit, Init};
use super::{TOMBSTONE_BYTES_MAX, TombstoneEntry};
use crate::index::MatcherError;
use crate::model::{BlockId, TombstoneId};
use crate::read::Tombstone;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Of a state that is written anew, each edit has so many blocks and tombstones at most: some 3 and 4 MiB.
const BLOCKS_PER_EDIT: usize = 8192;
const TOMBSTONES_PER_EDIT: usize = 512;
const _: () = assert!(BLOCKS_PER_EDIT * 512 + TOMBSTONES_PER_EDIT * TOMBSTONE_BYTES_MAX < edit::BYTES_MAX);

/// The first place of a merged block among the ids of one sequence; those of cuts are below.
pub(crate) const MERGED_PLACE: u64 = 32768;

/// The fold of all edits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) init: Init,
    pub(crate) blocks: BTreeMap<BlockId, BlockEntry>,
    pub(crate) checkpoint: Option<CheckpointEntry>,
    pub(crate) tombstones: BTreeMap<TombstoneId, TombstoneEntry>,
    /// The number of the next edit.
    pub(crate) next_sequence: u64,
}

impl State {
    /// A directory with nothing in it.
    pub(crate) fn new(init: Init) -> Self {
        Self {
            init,
            blocks: BTreeMap::new(),
            checkpoint: None,
            tombstones: BTreeMap::new(),
            next_sequence: 1,
        }
    }

    pub(super) fn apply(&mut self, edit: &Edit) {
        for id in &edit.remove_blocks {
            self.blocks.remove(&BlockId(*id));
        }
        self.blocks.extend(edit.add_blocks.iter().map(|b| (BlockId(b.id), b.clone())));
        if let Some(checkpoint) = &edit.checkpoint {
            self.checkpoint = Some(checkpoint.clone());
        }
        for id in &edit.remove_tombstones {
            self.tombstones.remove(&TombstoneId(*id));
        }
        self.tombstones.extend(edit.add_tombstones.iter().map(|t| (TombstoneId(t.id), t.clone())));
    }

    /// The edits that make this state from nothing: `init`, one with the rest, or more where one would be too long, and a mark.
    pub(super) fn as_edits(&self) -> Vec<Edit> {
        let mut edits = vec![
            Edit { init: Some(self.init.clone()), ..Edit::default() },
            Edit { checkpoint: self.checkpoint.clone(), ..Edit::default() },
        ];
        edits.resize(self.edits_anew(), Edit::default());
        let (mut blocks, mut tombstones) = (self.blocks.values().cloned(), self.tombstones.values().cloned());
        for edit in edits.iter_mut().skip(1) {
            edit.add_blocks = blocks.by_ref().take(BLOCKS_PER_EDIT).collect();
            edit.add_tombstones = tombstones.by_ref().take(TOMBSTONES_PER_EDIT).collect();
        }
        edits
    }

    /// How many edits that takes.
    fn edits_anew(&self) -> usize {
        let blocks = self.blocks.len().div_ceil(BLOCKS_PER_EDIT);
        2 + blocks.max(self.tombstones.len().div_ceil(TOMBSTONES_PER_EDIT)).max(1)
    }

    /// The number of the edit that follows a file written anew: that of the state, or later where the file has more edits.
    pub(super) fn sequence_after_rewrite(&self) -> u64 {
        self.next_sequence.max(self.edits_anew() as u64 + 1)
    }

    /// The tombstones, compiled; those that `known` has are taken from there.
    pub(crate) fn compile_tombstones(
        &self,
        known: &BTreeMap<TombstoneId, Arc<Tombstone>>,
    ) -> Result<BTreeMap<TombstoneId, Arc<Tombstone>>, MatcherError> {
        let compile = |(id, entry): (&TombstoneId, &TombstoneEntry)| {
            let known = known.get(id).filter(|t| t.is_final == entry.is_final);
            Ok((*id, known.map_or_else(|| entry.compile().map(Arc::new), |t| Ok(t.clone()))?))
        };
        self.tombstones.iter().map(compile).collect()
    }

    /// An id for the `nth` block or tombstone of the next edit.
    pub(crate) fn next_block_id(&self, nth: u64) -> BlockId {
        BlockId(self.next_sequence * 65536 + nth)
    }

    /// An id for a block that is merged beside other edits; `nth` is never given twice by one process.
    pub(crate) fn merged_block_id(&self, nth: u64) -> BlockId {
        self.next_block_id(MERGED_PLACE + nth % MERGED_PLACE)
    }
}

/// Adds an edit to the state before it.
pub(super) fn fold(state: &mut Option<State>, edit: &Edit, sequence: u64) -> Result<(), Bad> {
    let bad = |expected: String, found: String| Err(Bad { expected, found });
    match (state.as_mut(), &edit.init) {
        (None, Some(init)) => {
            let init = init.clone();
            *state = Some(State { next_sequence: sequence + 1, ..State::new(init) });
        }
        (None, None) => return bad("an edit with `init`".into(), format!("edit {sequence}")),
        (Some(s), _) if s.next_sequence != sequence => {
            return bad(format!("edit {}", s.next_sequence), format!("edit {sequence}"));
        }
        (Some(_), Some(_)) => return bad("one `init`".into(), "another".into()),
        (Some(s), None) => {
            if let Some(id) = twice(&s.tombstones, &edit.add_tombstones) {
                let found = format!("another one of id {}", id.0);
                return bad("a deletion that is new, or final now and else as it was".into(), found);
            }
            s.apply(edit);
            s.next_sequence += 1;
        }
    }
    Ok(())
}

/// The id of two tombstones, or of one that is not what it was.
fn twice(known: &BTreeMap<TombstoneId, TombstoneEntry>, added: &[TombstoneEntry]) -> Option<TombstoneId> {
    let mut ids = BTreeSet::new();
    let mut is_wrong = |t: &TombstoneEntry| {
        let changes = |old: &TombstoneEntry| *t != TombstoneEntry { is_final: t.is_final, ..old.clone() };
        !ids.insert(t.id) || known.get(&TombstoneId(t.id)).is_some_and(changes)
    };
    added.iter().find(|t| is_wrong(t)).map(|t| TombstoneId(t.id))
}

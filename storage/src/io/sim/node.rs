//! Files and directories of the simulated disk: what programs see, what the disk has, and what lies between.

use super::content::{Content, pieces};
use super::survival::Survival;
use std::collections::BTreeMap;

/// A file or directory, by its number.
pub(super) type NodeId = usize;

#[derive(Clone)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

/// A file. `live` is `durable` with all of `pending` applied, unless a sync failed.
#[derive(Clone, Default)]
pub(super) struct FileNode {
    pub(super) live: Content,
    durable: Content,
    pending: Vec<Change>,
    /// How many of the pending changes were made by a process that was killed.
    inherited: usize,
}

#[derive(Clone)]
enum Change {
    Write { offset: u64, bytes: Box<[u8]> },
    Extend(u64),
    SetLen(u64),
}

impl FileNode {
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let end = offset + bytes.len() as u64;
        if end > self.live.len() {
            // A file's length and its bytes reach the disk separately: a longer file with zeroes is possible.
            self.pending.push(Change::Extend(end));
        }
        self.live.write(bytes, offset);
        self.pending.extend(
            pieces(bytes, offset).map(|(offset, piece)| Change::Write { offset, bytes: piece.into() }),
        );
    }

    pub(super) fn allocate(&mut self, len: u64) {
        self.live.extend(len);
        self.pending.push(Change::Extend(len));
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.live.set_len(len);
        self.pending.push(Change::SetLen(len));
    }

    /// Whether this process has synced all that it changed.
    pub(super) fn is_synced(&self) -> bool {
        self.pending.len() == self.inherited
    }

    /// What was changed so far was changed by another process.
    pub(super) fn inherit(&mut self) {
        self.inherited = self.pending.len();
    }

    /// All that was written reaches the disk.
    pub(super) fn sync(&mut self) {
        self.inherited = 0;
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.durable, &change);
        }
    }

    /// What survives reaches the disk, and the rest is forgotten: what a failed sync does, and a power cut.
    pub(super) fn settle(&mut self, survival: &mut Survival) {
        self.inherited = 0;
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Write { offset, bytes } => {
                    let kept = survival.kept_len(bytes.len());
                    if kept > 0 {
                        self.durable.write(&bytes[..kept], offset);
                    }
                }
                change if survival.keeps() => apply(&mut self.durable, &change),
                _ => {}
            }
        }
    }

    /// Changes bits in both images, as a disk that rots.
    pub(super) fn corrupt(&mut self, offset: u64, mask: u8) {
        for image in [&mut self.live, &mut self.durable] {
            let mut byte = [0];
            if image.read(&mut byte, offset) == 1 {
                image.write(&[byte[0] ^ mask], offset);
            }
        }
    }

    fn crashed(mut self, survival: &mut Survival) -> Self {
        self.settle(survival);
        self.live = self.durable.clone();
        self
    }
}

fn apply(image: &mut Content, change: &Change) {
    match change {
        Change::Write { offset, bytes } => image.write(bytes, *offset),
        Change::Extend(len) => image.extend(*len),
        Change::SetLen(len) => image.set_len(*len),
    }
}

/// A directory: names and what they name.
#[derive(Clone, Default)]
pub(super) struct DirNode {
    pub(super) live: BTreeMap<String, NodeId>,
    durable: BTreeMap<String, NodeId>,
    pending: Vec<EntryChange>,
    /// Of the last power cut: nodes that have left for another directory, and entries that have not come to be.
    left: Vec<NodeId>,
    lost: Vec<(String, NodeId)>,
}

/// One change of a directory; a rename within it is both halves at once, as it is atomic.
#[derive(Clone)]
pub(super) struct EntryChange {
    pub(super) removed: Option<String>,
    pub(super) inserted: Option<(String, NodeId)>,
    /// What is removed since it is renamed into another directory.
    pub(super) moved: Option<NodeId>,
}

impl EntryChange {
    fn apply(&self, entries: &mut BTreeMap<String, NodeId>) {
        if let Some(name) = &self.removed {
            entries.remove(name);
        }
        if let Some((name, node)) = &self.inserted {
            entries.insert(name.clone(), *node);
        }
    }
}

impl DirNode {
    pub(super) fn change(&mut self, change: EntryChange) {
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable);
        }
    }

    fn crashed(mut self, survival: &mut Survival) -> Self {
        for change in std::mem::take(&mut self.pending) {
            if survival.keeps() {
                change.apply(&mut self.durable);
                self.left.extend(change.moved);
            } else {
                self.lost.extend(change.inserted);
            }
        }
        self.live = self.durable.clone();
        self
    }
}

impl DirNode {
    /// What has left for another directory in a power cut.
    pub(super) fn take_left(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.left)
    }

    /// Takes in what has left another directory for this one: a rename loses nothing, it is in one of them or in both.
    pub(super) fn take_in(&mut self, left: &[NodeId]) {
        for (name, node) in std::mem::take(&mut self.lost).into_iter().filter(|(_, node)| left.contains(node))
        {
            self.durable.entry(name.clone()).or_insert(node);
            self.live.entry(name).or_insert(node);
        }
    }
}

impl Node {
    /// The node after a power cut.
    pub(super) fn crashed(&self, survival: &mut Survival) -> Self {
        match self.clone() {
            Node::File(file) => Node::File(file.crashed(survival)),
            Node::Dir(dir) => Node::Dir(dir.crashed(survival)),
        }
    }
}

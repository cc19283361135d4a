//! The simulated disk itself: nodes, names, planned faults. All under one lock.

use super::FaultKind;
use super::node::{DirNode, EntryChange, FileNode, Node, NodeId};
use super::survival::{Draws, Survival};
use crate::io::DirEntry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Component, Path};

/// The root directory's number.
const ROOT: NodeId = 0;

pub(super) struct State {
    /// Nodes are never freed: handles to removed files stay good, and tests are short.
    nodes: Vec<Node>,
    pub(super) locked: BTreeSet<NodeId>,
    pub(super) op_names: Vec<String>,
    pub(super) faults: BTreeMap<u64, FaultKind>,
    pub(super) fail_from: Option<(u64, FaultKind)>,
    pub(super) freeze_at: Option<u64>,
    pub(super) capacity: Option<u64>,
    pub(super) reads: u64,
    pub(super) failing_reads: BTreeSet<u64>,
    /// Bytes of files that cannot be read.
    pub(super) unreadable: Vec<(NodeId, Range<u64>)>,
    /// Files that cannot be opened, and why.
    pub(super) refused: BTreeMap<NodeId, i32>,
    flip_due: bool,
    draws: Draws,
    survival: Survival,
}

/// The error that an operation with this fault returns.
pub(super) fn error_of(kind: FaultKind) -> io::Error {
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;
    io::Error::from_raw_os_error(if kind == FaultKind::Enospc { ENOSPC } else { EIO })
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self::of(vec![Node::Dir(DirNode::default())], seed)
    }

    fn of(nodes: Vec<Node>, seed: u64) -> Self {
        Self {
            nodes,
            locked: BTreeSet::new(),
            op_names: Vec::new(),
            faults: BTreeMap::new(),
            fail_from: None,
            freeze_at: None,
            capacity: None,
            reads: 0,
            failing_reads: BTreeSet::new(),
            unreadable: Vec::new(),
            refused: BTreeMap::new(),
            flip_due: false,
            draws: Draws::new(seed),
            survival: Survival::new(seed),
        }
    }

    pub(super) fn heal(&mut self) {
        self.faults.clear();
        self.fail_from = None;
        self.freeze_at = None;
        self.capacity = None;
        self.failing_reads.clear();
        self.unreadable.clear();
        self.refused.clear();
        self.flip_due = false;
    }

    pub(super) fn crashed(&self, seed: u64) -> Self {
        let mut survival = Survival::new(seed);
        let mut nodes: Vec<Node> = self.nodes.iter().map(|node| node.crashed(&mut survival)).collect();
        let dir = |node: &mut Node| if let Node::Dir(dir) = node { dir.take_left() } else { Vec::new() };
        let left: Vec<NodeId> = nodes.iter_mut().flat_map(dir).collect();
        for node in &mut nodes {
            if let Node::Dir(dir) = node {
                dir.take_in(&left);
            }
        }
        Self { unreadable: self.unreadable.clone(), ..Self::of(nodes, seed) }
    }

    pub(super) fn killed(&self) -> Self {
        let mut nodes = self.nodes.clone();
        let files = nodes.iter_mut().filter_map(|n| if let Node::File(file) = n { Some(file) } else { None });
        files.for_each(FileNode::inherit);
        let unreadable = self.unreadable.clone();
        Self { draws: self.draws, survival: self.survival, unreadable, ..Self::of(nodes, 0) }
    }

    // ---- faults ----

    /// A file, unless it is not to be opened.
    pub(super) fn openable(&mut self, path: &Path) -> io::Result<NodeId> {
        let node = self.find_file(path)?;
        self.refused.get(&node).map_or(Ok(node), |code| Err(io::Error::from_raw_os_error(*code)))
    }

    /// Counts one read of these bytes, and fails where it is to.
    pub(super) fn begin_read(&mut self, node: NodeId, bytes: Range<u64>) -> io::Result<()> {
        let index = self.reads;
        self.reads += 1;
        let meets = |r: &Range<u64>| r.start < bytes.end && bytes.start < r.end;
        if self.failing_reads.remove(&index) || self.unreadable.iter().any(|(n, r)| *n == node && meets(r)) {
            return Err(error_of(FaultKind::Eio));
        }
        Ok(())
    }

    /// Counts one mutating operation and says which fault is planned for it.
    pub(super) fn begin(&mut self, name: String) -> io::Result<Option<FaultKind>> {
        let index = self.op_names.len() as u64;
        self.op_names.push(name);
        if self.freeze_at.is_some_and(|n| index >= n) {
            return Err(error_of(FaultKind::Eio));
        }
        let lasting = self.fail_from.filter(|(from, _)| index >= *from).map(|(_, kind)| kind);
        match self.faults.remove(&index).or(lasting) {
            Some(FaultKind::BitFlip) => {
                self.flip_due = true;
                Ok(None)
            }
            fault => Ok(fault),
        }
    }

    /// Fails once the freeze was reached.
    pub(super) fn check_frozen(&self) -> io::Result<()> {
        match self.freeze_at {
            Some(n) if self.op_names.len() as u64 > n => Err(error_of(FaultKind::Eio)),
            _ => Ok(()),
        }
    }

    pub(super) fn flip_if_due(&mut self, bytes: &mut [u8]) {
        if self.flip_due && !bytes.is_empty() {
            let byte = self.draws.below(bytes.len());
            bytes[byte] ^= 1 << self.draws.below(8);
            self.flip_due = false;
        }
    }

    /// Writes a beginning of `bytes`.
    pub(super) fn tear(&mut self, node: NodeId, bytes: &[u8], offset: u64) {
        let kept = self.draws.below(bytes.len().max(1));
        if let Some(Node::File(file)) = self.nodes.get_mut(node) {
            file.write(&bytes[..kept], offset);
        }
    }

    /// What a failed sync does: the changes count as written, though few of them, if any, are.
    pub(super) fn forget_unsynced(&mut self, node: NodeId) {
        if let Some(Node::File(file)) = self.nodes.get_mut(node) {
            file.settle(&mut self.survival);
        }
    }

    /// The lengths of all files that have a name.
    pub(super) fn used(&self) -> u64 {
        let (mut open, mut bytes) = (vec![ROOT], 0);
        while let Some(node) = open.pop() {
            match self.nodes.get(node) {
                Some(Node::Dir(dir)) => open.extend(dir.live.values()),
                Some(Node::File(file)) => bytes += file.live.len(),
                None => {}
            }
        }
        bytes
    }

    /// Fails where a file that becomes `len` bytes long would not fit any more.
    pub(super) fn check_room(&mut self, node: NodeId, len: u64) -> io::Result<()> {
        let grows = len.saturating_sub(self.file_mut(node)?.live.len());
        match self.capacity {
            Some(capacity) if grows > 0 && self.used() + grows > capacity => Err(error_of(FaultKind::Enospc)),
            _ => Ok(()),
        }
    }

    /// What the capacity leaves; no end without one.
    pub(super) fn free_bytes(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()))
    }

    // ---- names ----

    /// The node at `path`.
    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut node = ROOT;
        for name in names(path)? {
            node = *self.dir(node)?.live.get(name).ok_or_else(not_found)?;
        }
        Ok(node)
    }

    pub(super) fn find_file(&mut self, path: &Path) -> io::Result<NodeId> {
        let node = self.find(path)?;
        self.file_mut(node).map(|_| node)
    }

    /// The directory that `path` is in, and the last name of `path`.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(NodeId, &'a str)> {
        let name = names(path)?.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.find(path.parent().unwrap_or(Path::new("")))?;
        self.dir(parent).map(|_| (parent, name))
    }

    fn dir(&self, node: NodeId) -> io::Result<&DirNode> {
        match self.nodes.get(node) {
            Some(Node::Dir(dir)) => Ok(dir),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn dir_mut(&mut self, node: NodeId) -> io::Result<&mut DirNode> {
        match self.nodes.get_mut(node) {
            Some(Node::Dir(dir)) => Ok(dir),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn file_mut(&mut self, node: NodeId) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(node) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn insert(&mut self, dir: NodeId, name: &str, node: Node) -> io::Result<NodeId> {
        let id = self.nodes.len();
        self.nodes.push(node);
        self.dir_mut(dir)?.change(EntryChange {
            removed: None,
            inserted: Some((name.into(), id)),
            moved: None,
        });
        Ok(id)
    }

    fn remove(&mut self, dir: NodeId, name: &str) -> io::Result<()> {
        self.dir_mut(dir)?.change(EntryChange { removed: Some(name.into()), inserted: None, moved: None });
        Ok(())
    }

    // ---- operations ----

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut node = ROOT;
        for name in names(path)? {
            node = match self.dir(node)?.live.get(name) {
                Some(&child) => child,
                None => self.insert(node, name, Node::Dir(DirNode::default()))?,
            };
        }
        self.dir(node).map(|_| ())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let dir = self.dir(self.find(path)?)?;
        let is_dir = |node: NodeId| matches!(self.nodes.get(node), Some(Node::Dir(_)));
        Ok(dir.live.iter().map(|(name, &n)| DirEntry { name: name.clone(), is_dir: is_dir(n) }).collect())
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<NodeId> {
        let (dir, name) = self.parent(path)?;
        if self.dir(dir)?.live.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.insert(dir, name, Node::File(FileNode::default()))
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if names(to)?.starts_with(&names(from)?) && from != to {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let ((from_dir, from_name), (to_dir, to_name)) = (self.parent(from)?, self.parent(to)?);
        let node = *self.dir(from_dir)?.live.get(from_name).ok_or_else(not_found)?;
        self.check_replaceable(node, to)?;
        let (removed, inserted) = (Some(from_name.to_string()), Some((to_name.to_string(), node)));
        if from_dir == to_dir {
            self.dir_mut(from_dir)?.change(EntryChange { removed, inserted, moved: None });
        } else {
            self.dir_mut(to_dir)?.change(EntryChange { removed: None, inserted, moved: None });
            self.dir_mut(from_dir)?.change(EntryChange { removed, inserted: None, moved: Some(node) });
        }
        Ok(())
    }

    /// A file may take a file's place, and nothing else may take any.
    fn check_replaceable(&mut self, node: NodeId, to: &Path) -> io::Result<()> {
        let Ok(old) = self.find(to) else { return Ok(()) };
        match (self.file_mut(node).is_ok(), self.file_mut(old).is_ok()) {
            (true, true) => Ok(()),
            _ => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.find_file(path)?;
        let (dir, name) = self.parent(path)?;
        self.remove(dir, name)
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path)?;
        self.dir(node)?;
        let mut open = vec![node];
        while let Some(dir) = open.pop() {
            for (name, child) in self.dir(dir)?.live.clone() {
                if self.dir(child).is_ok() {
                    open.push(child);
                }
                self.remove(dir, &name)?;
            }
        }
        let (dir, name) = self.parent(path)?;
        self.remove(dir, name)
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path)?;
        self.dir_mut(node).map(DirNode::sync)
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// The names along a path from the root; relative paths start there too.
fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name.to_str().ok_or(io::ErrorKind::InvalidFilename)?),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}

//! Opening a data directory: lock, manifest, checkpoint, log, blocks.

use super::aliases::Aliases;
use super::faults::Faults;
use super::folders::{
    BLOCKS_DIR, CHECKPOINT_DIR, FOLDERS, HEAD_DIR, QUARANTINE_DIR, REBUILT_FILE, block_dir, mending_mark,
    wal_dir,
};
use super::limits::LimitKeeper;
use super::maintain::Maintenance;
use super::manifest::{self, BlockEntry, Init, Manifest, ManifestError, State};
use super::replay::{self, Mending, Replayed};
use super::reserve::{Reserve, says_no_room};
use super::times::passage_at_start;
use super::{Database, DatabaseOptions};
use crate::block::{Block, OpenBlockError};
use crate::head::cuts::CutPositions;
use crate::head::log::{HeadLog, HeadPos};
use crate::head::{CheckpointError, Head, HeadDamage, HeadLogError, HeadOptions, checkpoint};
use crate::io::{Fs, Pace, Unmapped};
use crate::model::{BlockId, DurationMs, Lsn, ShardCount, TimeRange, TimestampMs, Window};
use crate::read::ChangeLog;
use crate::read::Tombstones;
use crate::read::{BlockAside, ViewState};
use crate::wal::{self, Log, Wal, WalError};
use arc_swap::ArcSwap;
use crossbeam::queue::ArrayQueue;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Instant;

pub(super) const LOCK_FILE: &str = "LOCK";
/// Batch builders kept for reuse: as many as requests are likely to be appended at once.
const BATCHES: usize = 64;

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The disk refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{path} is in use by another Cardinal; stop it, or choose another data directory (data_dir)")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A setting differs from what the directory was made with.
    #[error(
        "{path} was made with {name} = {made_with}, the configuration says {configured}; set {name} to {made_with}, or choose an empty directory"
    )]
    Mismatch {
        /// The directory.
        path: PathBuf,
        /// The setting.
        name: &'static str,
        /// What the directory has.
        made_with: String,
        /// What was asked for.
        configured: String,
    },
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The head-chunk log.
    #[error(transparent)]
    HeadLog(#[from] HeadLogError),
    /// The log.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A block.
    #[error(transparent)]
    Block(#[from] OpenBlockError),
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_path_buf();
    move |source| OpenError::Io { path, source }
}

impl Database {
    /// Opens a data directory, and makes one where there is none. When it returns, everything that was ever acknowledged is
    /// visible.
    pub fn open(options: DatabaseOptions) -> Result<Arc<Self>, OpenError> {
        let fs = options.fs.clone();
        let dir = options.dir.clone();
        make_dir(&*fs, &dir)?;
        let lock_path = dir.join(LOCK_FILE);
        let lock = fs.lock(&lock_path).map_err(io_at(&lock_path))?;
        let lock = lock.ok_or_else(|| OpenError::Locked { path: dir.clone() })?;
        let manifest = Manifest::open(fs.clone(), &dir, &wanted(&options))?;
        let state = manifest.state().clone();
        let shards = check_settings(&dir, &options, &state)?;
        for folder in FOLDERS {
            let path = dir.join(folder);
            fs.create_dir_all(&path).map_err(io_at(&path))?;
        }
        fs.sync_dir(&dir).map_err(io_at(&dir))?;
        let garbage = if manifest.was_cut() { Garbage::Keep } else { Garbage::Remove };
        remove_garbage(&*fs, &dir, &state, garbage)?;
        let faults = Faults::read(&*fs, &dir).map_err(io_at(&dir))?;
        let head_fs = if faults.concern_head() { Arc::new(Unmapped(fs.clone())) } else { fs.clone() };
        let (head, cuts, mut replayed) = load_head(&head_fs, &dir, shards, &state, Mending::Mend)?;
        tell_damage(&replayed.head_damage);
        tell_rebuilt(&*fs, &dir);
        let (blocks, aside) = open_blocks(&*fs, &dir, state.blocks.values(), &faults)?;
        if !replayed.head_damage.is_empty() {
            // What told the newest sequence number may be lost: none is given twice.
            let of_blocks = blocks.values().filter_map(|b| b.spec().lsns).map(|r| r.last).max();
            replayed.newest_lsn = replayed.newest_lsn.max(of_blocks.unwrap_or_default());
        }
        head.fit_budget(options.memory_budget);
        let mut reserve = Reserve::open(fs.clone(), &dir);
        let wal = open_wal(&options, replayed.newest_lsn.next(), &mut reserve)?;
        tell_aside(&aside);
        let tombstones = state.tombstones_over(&Tombstones::default(), shards);
        let committed = manifest.committed();
        let passage = Mutex::new(passage_at_start(&options, &head, &state));
        let maintenance = Maintenance::new(manifest, reserve, &state, &replayed);
        note_damage(
            &head,
            &replayed,
            blocks.values().map(|b| b.spec().window.end()).max(),
            options.clock.now(),
        );
        let changes = Arc::new(ChangeLog::default());
        let newest = head.shards.iter().map(|shard| shard.series.lock().newest()).max();
        changes.advance(newest.unwrap_or(TimestampMs::MIN), options.clock.now());
        let database = Arc::new(Self {
            dir,
            fs,
            clock: options.clock.clone(),
            pace: Arc::new(Pace::new(options.clock.clone(), Pace::DEFAULT_BYTES_PER_SECOND)),
            shards,
            head: Arc::new(head),
            wal,
            view: ArcSwap::from_pointee(ViewState { blocks, cuts, aside, tombstones }),
            aliases: Mutex::new(Aliases::within(options.memory_budget)),
            limits: LimitKeeper::new(options.limits.clone(), options.memory_budget),
            batches: ArrayQueue::new(BATCHES),
            refuse_new_series: AtomicBool::new(false),
            flush_is_far: AtomicBool::new(false),
            newest_refused: AtomicI64::new(i64::MIN),
            passage,
            committed,
            maintenance: Mutex::new(maintenance),
            compaction: Mutex::default(),
            counters: super::stats::Counters::replayed(&replayed),
            changes,
            closing: Arc::new(AtomicBool::new(false)),
            threads: Mutex::default(),
            _lock: lock,
            options,
        });
        database.keep_reserve(&mut database.maintenance.lock());
        if database.options.background {
            database.start_threads().map_err(io_at(&database.dir))?;
        }
        Ok(database)
    }
}

/// Opens the log, on a full disk in the room of the reserve: what is stored must be there to be asked for.
fn open_wal(options: &DatabaseOptions, next: Lsn, reserve: &mut Reserve) -> Result<Wal, WalError> {
    let open = || Wal::open(options.fs.clone(), &wal_dir(&options.dir), options.wal(), next);
    match open() {
        Err(WalError::Io(error)) if says_no_room(&error) && reserve.release() => {
            tracing::warn!(%error, "the disk is full: the log begins in the room of the reserve; free some space");
            open()
        }
        result => result,
    }
}

fn make_dir(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
    let parents = || dir.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty());
    if !fs.exists(dir).map_err(io_at(dir))? {
        fs.create_dir_all(dir).map_err(io_at(dir))?;
        return parents().try_for_each(|parent| fs.sync_dir(parent).map_err(io_at(parent)));
    }
    if !fs.exists(&dir.join(manifest::NAME)).map_err(io_at(dir))? {
        // Whoever made it may have been killed before its name was durable. It may also be older than this process may see.
        for parent in parents() {
            if let Err(error) = fs.sync_dir(parent) {
                tracing::debug!(%error, "a directory above the data directory is not synced");
            }
        }
    }
    Ok(())
}

fn wanted(options: &DatabaseOptions) -> Init {
    Init {
        // The one place where chance comes in: a seed that nobody outside can know.
        seed: options.hash_seed.unwrap_or_else(|| RandomState::new().hash_one(options.dir.as_os_str())),
        shards: options.shards.get(),
        account_label: options.account_label.clone(),
        spread: 1,
        window_ms: options.window.0,
    }
}

fn check_settings(dir: &Path, options: &DatabaseOptions, state: &State) -> Result<ShardCount, OpenError> {
    let check = |name, made_with: String, configured: String| match made_with == configured {
        true => Ok(()),
        false => Err(OpenError::Mismatch { path: dir.into(), name, made_with, configured }),
    };
    let init = &state.init;
    check("account.label", init.account_label.clone(), options.account_label.clone())?;
    check("shards", init.shards.to_string(), options.shards.get().to_string())?;
    check("head.window", DurationMs(init.window_ms).to_string(), options.window.to_string())?;
    Ok(init.shard_count().unwrap_or(options.shards))
}

/// What becomes of files that the manifest does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Garbage {
    /// They go.
    Remove,
    /// They go to the quarantine: a damaged edit may have named them.
    Keep,
}

impl Garbage {
    fn put_away(self, fs: &dyn Fs, dir: &Path, path: &Path, is_dir: bool) -> io::Result<()> {
        let remove = |path: &Path| if is_dir { fs.remove_dir_all(path) } else { fs.remove_file(path) };
        if self == Self::Remove {
            return remove(path);
        }
        let quarantine = dir.join(QUARANTINE_DIR);
        let kept = quarantine.join(path.file_name().unwrap_or_default());
        if fs.exists(&kept)? {
            remove(&kept)?;
        }
        fs.rename(path, &kept)?;
        fs.sync_dir(&quarantine)?;
        tracing::warn!(path = %path.display(), kept = %kept.display(), "put away what the manifest does not name");
        Ok(())
    }
}

/// Removes what the manifest does not name: the remains of cuts and checkpoints that were not committed. Files of other names
/// are somebody's copies, and not ours to remove.
fn remove_garbage(fs: &dyn Fs, dir: &Path, state: &State, garbage: Garbage) -> Result<(), OpenError> {
    let blocks = dir.join(BLOCKS_DIR);
    for entry in fs.read_dir(&blocks).map_err(io_at(&blocks))? {
        let is_stray = |id: BlockId| !state.blocks.contains_key(&id);
        let Some(id) = BlockId::from_name(&entry.name).filter(|id| entry.is_dir && is_stray(*id)) else {
            continue;
        };
        let path = blocks.join(&entry.name);
        let mark = mending_mark(dir, id);
        if fs.exists(&mark).map_err(io_at(&mark))? {
            // A repair put another in its place, and was interrupted before it moved this one.
            Garbage::Keep.put_away(fs, dir, &path, true).map_err(io_at(&path))?;
            fs.remove_file(&mark).map_err(io_at(&mark))?;
        } else {
            tracing::info!(path = %path.display(), "a block that is not in force goes");
            garbage.put_away(fs, dir, &path, true).map_err(io_at(&path))?;
        }
    }
    let checkpoints = dir.join(CHECKPOINT_DIR);
    let in_force = state.checkpoint.as_ref().map(|c| checkpoint::path_of(&checkpoints, c.number));
    for entry in fs.read_dir(&checkpoints).map_err(io_at(&checkpoints))? {
        let path = checkpoints.join(&entry.name);
        let is_checkpoint = !entry.is_dir && entry.name.ends_with(".ckpt");
        if is_checkpoint && Some(&path) != in_force.as_ref() {
            garbage.put_away(fs, dir, &path, false).map_err(io_at(&path))?;
        }
    }
    Ok(())
}

pub(super) fn head_options(dir: &Path, shards: ShardCount, state: &State) -> HeadOptions {
    HeadOptions {
        seed: state.init.seed(),
        shards,
        account_label: state.init.account_label.as_str().into(),
        window: state.init.window(),
        log_dir: dir.join(HEAD_DIR),
    }
}

/// Loads the checkpoint in force, if any, and replays the log that follows it, which is read meanwhile.
pub(super) fn load_head(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    shards: ShardCount,
    state: &State,
    mending: Mending,
) -> Result<(Head, CutPositions, Replayed), OpenError> {
    let begun = Instant::now();
    let options = head_options(dir, shards, state);
    let first_segment = state.checkpoint.as_ref().map_or(0, |c| c.wal_segment);
    let wal_dir = wal_dir(dir);
    if mending == Mending::Mend {
        wal::finish_replacing(&**fs, &wal_dir, &dir.join(QUARANTINE_DIR)).map_err(WalError::from)?;
    }
    let (loaded, log) = std::thread::scope(|scope| {
        let log = scope.spawn(|| Log::read(&**fs, &wal_dir, first_segment));
        let loaded = load_checkpoint(fs, dir, state, &options);
        (loaded, log.join().expect("reading the log does not panic"))
    });
    let loaded = loaded?;
    let loaded_after = begun.elapsed();
    let mut replayed = replay::replay(log?, dir, first_segment, &loaded, mending)?;
    replayed.head_damage = loaded.damage.iter().map(ToString::to_string).collect();
    tracing::info!(
        series = loaded.head.shards.iter().map(|s| s.series.lock().live() as u64).sum::<u64>(),
        checkpoint_ms = loaded_after.as_millis(),
        log_ms = (begun.elapsed() - loaded_after).as_millis(),
        batches = replayed.batches,
        samples = replayed.samples,
        "loaded the head"
    );
    Ok((loaded.head, loaded.cuts, replayed))
}

fn load_checkpoint(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    state: &State,
    options: &HeadOptions,
) -> Result<checkpoint::Loaded, OpenError> {
    let Some(c) = &state.checkpoint else {
        let (log, _) = HeadLog::open(fs.clone(), &options.log_dir, &[], HeadPos::NONE, options.window)?;
        let slice_lsns = options.shards.iter().map(|_| Default::default()).collect();
        let head = Head::with_log(options, log);
        let cuts = CutPositions::default();
        return Ok(checkpoint::Loaded { head, cuts, newest_lsn: Lsn(0), slice_lsns, damage: Vec::new() });
    };
    let (folder, log_end) = (dir.join(CHECKPOINT_DIR), HeadPos(c.head_log_end));
    let blocks: Vec<Window> = state.blocks.values().map(BlockEntry::window).collect();
    let named =
        checkpoint::Named { dir: &folder, number: c.number, bytes: c.bytes, log_end, blocks: &blocks };
    Ok(checkpoint::load(fs.clone(), named, options)?)
}

pub(super) fn open_block(fs: &dyn Fs, dir: &Path, entry: &BlockEntry) -> Result<Block, OpenBlockError> {
    Block::open(fs, &block_dir(dir, BlockId(entry.id)), entry.index_bytes, entry.chunks_bytes)
}

/// The blocks that can be read, by id, and those that are set aside.
type OpenBlocks = (BTreeMap<BlockId, Arc<Block>>, Arc<[BlockAside]>);

/// Opens the blocks of the manifest. One that is damaged or missing is set aside and stays where it is: nothing of it is lost
/// that was not lost before, and all others serve.
pub(super) fn open_blocks<'a>(
    fs: &dyn Fs,
    dir: &Path,
    entries: impl Iterator<Item = &'a BlockEntry>,
    faults: &Faults,
) -> Result<OpenBlocks, OpenBlockError> {
    let (mut blocks, mut aside) = (BTreeMap::new(), Vec::new());
    for entry in entries {
        let id = BlockId(entry.id);
        if let Some(why) = faults.condemn(fs, dir, id) {
            aside.push(BlockAside { id, window: entry.window(), why });
            continue;
        }
        match open_block(fs, dir, entry) {
            Ok(block) => _ = blocks.insert(id, Arc::new(block)),
            Err(newer @ OpenBlockError::Version { .. }) => return Err(newer),
            Err(error) => {
                aside.push(BlockAside { id, window: entry.window(), why: error.to_string() });
            }
        }
    }
    Ok((blocks, aside.into()))
}

/// Lets answers say what the head lacks: of the times behind the newest block, or of the head where that begins earlier, up to now.
fn note_damage(head: &Head, replayed: &Replayed, newest_block: Option<TimestampMs>, now: TimestampMs) {
    let texts: Vec<String> = replayed.log_damage.iter().chain(&replayed.head_damage).cloned().collect();
    if texts.is_empty() {
        return;
    }
    let after = newest_block.unwrap_or(TimestampMs::MIN);
    let after = head.oldest().map_or(after, |oldest| after.min(Window::of(oldest, head.window).start));
    let range = TimeRange { after, until: now.max(head.newest()) };
    head.damage.set(HeadDamage { texts, range }).expect("a head is opened once");
}

fn tell_damage(head_damage: &[String]) {
    for damage in head_damage {
        tracing::error!(%damage, "the head is damaged; what is sound of it is served, and a checkpoint without the damage is made soon");
    }
}

/// What a repair could not keep, or a start may have cut, is told until somebody has seen to it.
fn tell_rebuilt(fs: &dyn Fs, dir: &Path) {
    let path = dir.join(QUARANTINE_DIR).join(REBUILT_FILE);
    let Ok(note) = fs.open(&path, crate::io::OpenMode::Read).and_then(|f| f.read_all()) else { return };
    for warning in String::from_utf8_lossy(&note).lines() {
        tracing::error!(%warning, file = %path.display(), "the manifest was damaged; remove the file once you have seen to it");
    }
}

fn tell_aside(aside: &[BlockAside]) {
    for block in aside {
        let (after, until) = (block.window.start.0, block.window.end().0);
        tracing::error!(block = %block.id, after_ms = after, until_ms = until, why = %block.why,
            "a block cannot be read and is set aside; everything else is served; `cardinal verify --repair` on the stopped server moves it away");
    }
}

impl Database {
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

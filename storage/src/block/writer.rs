//! Writes a block front to back, one shard after another.

use super::directory::{Directory, N_SECTIONS, Part, section};
use super::error::{WriteBlockError, offset_u32};
use super::paged::PagedWriter;
use super::rows::{ChunkEntry, CoarseTime};
use super::section::Extent;
use super::shard_builder::{LabelId, ShardBuilder};
use super::spec::{BlockMeta, BlockSpec};
use super::{CHUNKS_FILE, CHUNKS_MAGIC, FORMAT, INDEX_FILE, INDEX_MAGIC, META_FILE};
use crate::codec::TimeColumnId;
use crate::io::{Fs, OpenMode, Pace, SystemClock};
use crate::model::{LabelSet, Lsn, LsnRange, SeriesKey, ShardId, Window};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// Memory of time columns that a block stops at. The columns of a thousand targets that jitter, for a day, take some ten MiB.
const COLUMNS_BYTES_MAX: usize = 64 << 20;
/// What a column takes beside its bytes: entries of the table and of the list, two counts.
const COLUMN_OVERHEAD: usize = 64;

/// Writes one block into a directory of its own. Shards come in ascending order, series in ascending order of (key, labels)
/// within their shard. After an error the writer is of no more use and the directory is garbage.
///
/// Memory: the labels of one shard while it is written, and the time columns until the end.
pub struct BlockWriter {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    spec: BlockSpec,
    index: PagedWriter,
    chunks: PagedWriter,
    parts: Vec<Part>,
    shard: Option<OpenShard>,
    last_shard: Option<ShardId>,
    columns: Columns,
    /// Scratch.
    labels: Vec<LabelId>,
    meta: BlockMeta,
}

/// The shard that series are pushed to.
struct OpenShard {
    id: ShardId,
    builder: ShardBuilder,
    /// Where its chunks start.
    chunks_offset: u64,
}

/// Room for time columns that blocks written at the same time share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ColumnRoom(Arc<AtomicUsize>);

impl ColumnRoom {
    /// So many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    fn left(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Takes what there is, as far as it suffices.
    fn take(&self, bytes: usize) {
        self.0.store(self.left().saturating_sub(bytes), Relaxed);
    }
}

/// Distinct time columns in the order of their ids.
struct Columns {
    ids: HashMap<Arc<[u8]>, TimeColumnId>,
    columns: Vec<Arc<[u8]>>,
    room: ColumnRoom,
}

impl BlockWriter {
    /// Starts a block in `dir`, which is created and must have neither an index nor chunks. Writes as fast as the disk goes.
    pub fn create(fs: Arc<dyn Fs>, dir: &Path, spec: BlockSpec) -> Result<Self, WriteBlockError> {
        Self::create_paced(fs, dir, spec, &unpaced())
    }

    /// As [`BlockWriter::create`], at the pace that all large files beside a log share.
    pub fn create_paced(
        fs: Arc<dyn Fs>,
        dir: &Path,
        spec: BlockSpec,
        pace: &Arc<Pace>,
    ) -> Result<Self, WriteBlockError> {
        fs.create_dir_all(dir).map_err(|e| failed(dir, e))?;
        let open = |name: &str, magic| {
            let path = dir.join(name);
            PagedWriter::create(&*fs, &path, magic, pace).map_err(|e| failed(&path, e))
        };
        let (index, chunks) = (open(INDEX_FILE, INDEX_MAGIC)?, open(CHUNKS_FILE, CHUNKS_MAGIC)?);
        let meta = empty_meta(&spec);
        let dir = dir.to_owned();
        Ok(Self {
            fs,
            dir,
            spec,
            index,
            chunks,
            parts: Vec::new(),
            shard: None,
            last_shard: None,
            columns: Columns::new(ColumnRoom::new(COLUMNS_BYTES_MAX)),
            labels: Vec::new(),
            meta,
        })
    }

    /// Shares room for time columns with other blocks. To be called before there are any.
    #[must_use]
    pub fn with_column_room(mut self, room: ColumnRoom) -> Self {
        self.columns = Columns::new(room);
        self
    }

    /// Tells anew which LSN is the newest that may be in the block.
    pub fn set_newest_lsn(&mut self, newest: Lsn) {
        let lsns = self.spec.lsns.map(|l| LsnRange { last: newest, ..l });
        (self.spec.lsns, self.meta.lsns) = (lsns, lsns);
    }

    /// Begins a shard. Those without series may be left out.
    pub fn begin_shard(&mut self, shard: ShardId) -> Result<(), WriteBlockError> {
        let last = self.last_shard.replace(shard);
        if last.is_some_and(|l| l >= shard) || shard.0 >= self.spec.shards.get() {
            return Err(WriteBlockError::ShardOrder { shard });
        }
        self.end_shard()?;
        self.shard = Some(OpenShard {
            id: shard,
            builder: ShardBuilder::new(CoarseTime::new(self.spec.window)),
            chunks_offset: self.chunks.position(),
        });
        Ok(())
    }

    /// Adds a series of the shard begun last. Chunks should come in order of their first samples; they may overlap.
    pub fn push_series(
        &mut self,
        labels: &LabelSet,
        key: SeriesKey,
        chunks: &[ChunkEntry<'_>],
    ) -> Result<(), WriteBlockError> {
        let mut ids = std::mem::take(&mut self.labels);
        ids.clear();
        ids.extend(labels.iter().map_while(|l| self.label(l.name, l.value)));
        let pushed = self.push_ids(&ids, key, chunks);
        self.labels = ids;
        pushed
    }

    /// The number by which the shard begun last knows a label; `None` before the first one.
    pub fn label(&mut self, name: &str, value: &str) -> Option<LabelId> {
        self.shard.as_mut().map(|shard| shard.builder.label(name, value))
    }

    /// As [`Self::push_series`], with labels by the numbers that [`Self::label`] gave since the shard was begun, in order of
    /// their names: for callers that know which labels are the same.
    pub fn push_ids(
        &mut self,
        labels: &[LabelId],
        key: SeriesKey,
        chunks: &[ChunkEntry<'_>],
    ) -> Result<(), WriteBlockError> {
        let Self { shard: Some(shard), chunks: file, meta, dir, spec, .. } = self else {
            return Err(WriteBlockError::SeriesOrder { labels: "a series outside of shards".into() });
        };
        check(&shard.builder, spec.window, labels, key, chunks)?;
        let offset = file.position() - shard.chunks_offset;
        for chunk in chunks {
            offset_u32(chunk.bytes.len(), "the bytes of a chunk")?;
            file.put(chunk.bytes).map_err(|e| failed(&dir.join(CHUNKS_FILE), e))?;
            meta.samples += u64::from(chunk.samples);
        }
        shard.builder.push(labels, key, offset, chunks)?;
        meta.series += 1;
        meta.chunks += chunks.len() as u64;
        Ok(())
    }

    /// What is being written.
    pub fn spec(&self) -> &BlockSpec {
        &self.spec
    }

    /// Where the next chunk of the shard begun last will lie.
    pub fn chunk_offset(&self) -> u64 {
        self.chunks.position() - self.shard.as_ref().map_or(0, |s| s.chunks_offset)
    }

    /// The id of an encoded time column; equal columns have one.
    pub fn time_column(&mut self, encoded: &[u8]) -> TimeColumnId {
        self.columns.intern(encoded)
    }

    /// As [`BlockWriter::time_column`], within a bound of memory: `None` for a new column beyond it. Where each series has
    /// times of its own, columns save nothing.
    pub fn shared_column(&mut self, encoded: &[u8]) -> Option<TimeColumnId> {
        let Columns { ids, room, .. } = &self.columns;
        (room.left() > 0 || ids.contains_key(encoded)).then(|| self.time_column(encoded))
    }

    /// What the samples must lie in.
    pub fn window(&self) -> Window {
        self.spec.window
    }

    /// Whether no series was pushed.
    pub fn is_empty(&self) -> bool {
        self.meta.series == 0
    }

    /// Writes what is left, syncs the files and the directory. The block's own entry in the directory above is for the caller
    /// to sync, who also publishes the block.
    pub fn finish(mut self) -> Result<BlockMeta, WriteBlockError> {
        self.end_shard()?;
        let chunks_path = self.dir.join(CHUNKS_FILE);
        let columns_offset = self.columns.write(&mut self.chunks).map_err(|e| failed(&chunks_path, e))?;
        self.meta.time_columns = self.columns.columns.len() as u64;
        self.meta.chunks_bytes = self.chunks.finish(0..0).map_err(|e| failed(&chunks_path, e))?;
        let directory = Directory {
            spec: self.spec,
            chunks_len: self.meta.chunks_bytes,
            columns_offset,
            n_columns: offset_u32(self.columns.columns.len(), "time columns")?,
            parts: self.parts,
        };
        let path = self.dir.join(INDEX_FILE);
        self.meta.index_bytes = finish_index(self.index, &directory).map_err(|e| failed(&path, e))?;
        write_meta(&*self.fs, &self.dir.join(META_FILE), &self.meta)?;
        self.fs.sync_dir(&self.dir).map_err(|e| failed(&self.dir, e))?;
        Ok(self.meta)
    }

    /// Ends the shard begun last, if one is under way, and lets go of its memory.
    pub fn end_shard(&mut self) -> Result<(), WriteBlockError> {
        let Some(shard) = self.shard.take() else { return Ok(()) };
        let n_series = shard.builder.n_series();
        if n_series == 0 {
            return Ok(());
        }
        let mut part = Part { shard: shard.id, n_series, sections: [Extent::default(); N_SECTIONS] };
        for (i, bytes) in shard.builder.finish()?.iter().enumerate() {
            part.sections[i] = Extent { offset: self.index.position(), len: bytes.len() as u64 };
            self.index.put(bytes).map_err(|e| failed(&self.dir.join(INDEX_FILE), e))?;
        }
        let offset = shard.chunks_offset;
        part.sections[section::CHUNKS] = Extent { offset, len: self.chunks.position() - offset };
        self.parts.push(part);
        Ok(())
    }
}

/// Refuses a series that is not the next one, or lies outside the window.
fn check(
    builder: &ShardBuilder,
    window: Window,
    labels: &[LabelId],
    key: SeriesKey,
    chunks: &[ChunkEntry<'_>],
) -> Result<(), WriteBlockError> {
    if !builder.is_next(labels, key) {
        return Err(WriteBlockError::SeriesOrder { labels: builder.spell(labels).to_string() });
    }
    let inside =
        |c: &ChunkEntry<'_>| window.contains(c.first) && window.contains(c.last) && c.first <= c.last;
    match chunks.iter().find(|c| !inside(c)) {
        None => Ok(()),
        Some(c) => {
            let labels = builder.spell(labels).to_string();
            Err(WriteBlockError::OutsideWindow { labels, first: c.first, last: c.last, window })
        }
    }
}

impl Columns {
    fn new(room: ColumnRoom) -> Self {
        Self { ids: HashMap::new(), columns: Vec::new(), room }
    }

    fn intern(&mut self, encoded: &[u8]) -> TimeColumnId {
        if let Some(&id) = self.ids.get(encoded) {
            return id;
        }
        let id = TimeColumnId(self.columns.len() as u32);
        let column: Arc<[u8]> = encoded.into();
        self.columns.push(column.clone());
        self.room.take(column.len() + COLUMN_OVERHEAD);
        self.ids.insert(column, id);
        id
    }

    /// Writes columns and table; says where the table is.
    fn write(&self, file: &mut PagedWriter) -> io::Result<u64> {
        let mut table = Vec::with_capacity(self.columns.len() * 12);
        for column in &self.columns {
            table.extend_from_slice(&file.position().to_le_bytes());
            table.extend_from_slice(&(column.len() as u32).to_le_bytes());
            file.put(column)?;
        }
        let at = file.position();
        file.put(&table)?;
        Ok(at)
    }
}

/// No pace at all.
pub(super) fn unpaced() -> Arc<Pace> {
    Arc::new(Pace::new(Arc::new(SystemClock::default()), u64::MAX))
}

fn finish_index(mut index: PagedWriter, directory: &Directory) -> io::Result<u64> {
    let at = index.position();
    index.put(&directory.encode())?;
    let end = index.position();
    index.finish(at..end)
}

fn write_meta(fs: &dyn Fs, path: &Path, meta: &BlockMeta) -> Result<(), WriteBlockError> {
    let mut json = serde_json::to_vec_pretty(meta).expect("numbers and strings make JSON");
    json.push(b'\n');
    let write = || {
        let file = fs.open(path, OpenMode::CreateNew)?;
        file.write_all_at(&json, 0)?;
        file.sync_data()
    };
    write().map_err(|e| failed(path, e))
}

fn failed(path: &Path, source: io::Error) -> WriteBlockError {
    WriteBlockError::Io { file: path.to_owned(), source }
}

fn empty_meta(spec: &BlockSpec) -> BlockMeta {
    BlockMeta {
        format: FORMAT,
        id: spec.id.to_string(),
        tier: spec.tier,
        level: spec.level,
        window_start: spec.window.start.0,
        window_ms: spec.window.len.0,
        sources: spec.sources.iter().map(ToString::to_string).collect(),
        seed: spec.seed.0,
        account_label: spec.account_label.clone(),
        shards: spec.shards.get(),
        lsns: spec.lsns,
        index_bytes: 0,
        chunks_bytes: 0,
        series: 0,
        chunks: 0,
        samples: 0,
        time_columns: 0,
    }
}

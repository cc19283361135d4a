//! A block, open for reading.

use super::directory::{COLUMN_LEN, Directory, Part, Payloads, section};
use super::error::{Corruption, OpenBlockError};
use super::keys::{Keys, Run};
use super::names::Names;
use super::paged::PagedFile;
use super::rows::{ChunkRef, CoarseTime, Rows};
use super::section::{Extent, Section};
use super::series::SeriesReader;
use super::spec::BlockSpec;
use super::{CHUNKS_FILE, CHUNKS_MAGIC, INDEX_FILE, INDEX_MAGIC};
use crate::codec::{ChunkError, ChunkPlace, Shared, TimeColumnId};
use crate::index::{Bitmap, LabelIndex, Matcher, NameId, ValueId, Values, select};
use crate::io::Fs;
use crate::model::{LabelSet, SeriesKey, ShardId};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A block. Opening reads its directory only; pages are checked when they are first touched, so that damage makes
/// unreadable what lies on its page and nothing else. Memory: the directory and one bit per 64 KiB.
pub struct Block {
    dir: PathBuf,
    index: PagedFile,
    chunks: PagedFile,
    directory: Directory,
}

impl Block {
    /// Opens the block in `dir`, whose files were published with these lengths.
    pub fn open(
        fs: &dyn Fs,
        dir: &Path,
        index_bytes: u64,
        chunks_bytes: u64,
    ) -> Result<Self, OpenBlockError> {
        let index = PagedFile::open(fs, &dir.join(INDEX_FILE), INDEX_MAGIC, index_bytes)?;
        let chunks = PagedFile::open(fs, &dir.join(CHUNKS_FILE), CHUNKS_MAGIC, chunks_bytes)?;
        let at = index.directory();
        let section = Section::new(&index, Extent { offset: at.start, len: at.end - at.start });
        let payloads = Payloads { index: index.payload_len(), chunks: chunks.payload_len() };
        let directory = Directory::decode(section.cursor(0), payloads)?;
        if directory.chunks_len != chunks_bytes {
            let (expected, found) =
                (format!("chunks of {chunks_bytes} bytes"), directory.chunks_len.to_string());
            return Err(index.corruption(at.start, expected, found).into());
        }
        Ok(Self { dir: dir.to_owned(), index, chunks, directory })
    }

    /// What the block is. Its sources stand in `meta.json` only; here they are empty.
    pub fn spec(&self) -> &BlockSpec {
        &self.directory.spec
    }

    /// The block's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The number of series, from the directory.
    pub fn series_count(&self) -> u64 {
        self.directory.parts.iter().map(|p| u64::from(p.n_series)).sum()
    }

    /// The lengths of `index` and `chunks`.
    pub fn file_bytes(&self) -> (u64, u64) {
        (self.index.len(), self.chunks.len())
    }

    /// One shard's series; `None` if the block has none of it.
    pub fn shard(&self, shard: ShardId) -> Option<BlockShard<'_>> {
        let i = self.directory.parts.binary_search_by_key(&shard, |p| p.shard).ok()?;
        Some(BlockShard { block: self, part: &self.directory.parts[i] })
    }

    /// The shards that have series, in order.
    pub fn shards(&self) -> impl Iterator<Item = BlockShard<'_>> + '_ {
        self.directory.parts.iter().map(|part| BlockShard { block: self, part })
    }

    /// The encoded bytes of a time column.
    pub fn time_column(&self, id: TimeColumnId) -> Result<&[u8], Corruption> {
        let n = self.directory.n_columns;
        if id.0 >= n {
            let at = self.directory.columns_offset;
            return Err(self.chunks.corruption(at, format!("time column {}", id.0), format!("{n} columns")));
        }
        let at = self.directory.columns_offset.saturating_add(u64::from(id.0) * COLUMN_LEN);
        let entry = Section::new(&self.chunks, Extent { offset: at, len: COLUMN_LEN });
        self.chunks.bytes(entry.u64(0)?, u64::from(entry.u32(8)?))
    }

    /// How many time columns there are.
    pub fn time_columns(&self) -> u32 {
        self.directory.n_columns
    }

    /// Checks every page of both files and yields each that is damaged.
    pub fn verify(&self) -> impl Iterator<Item = Corruption> + '_ {
        [&self.index, &self.chunks].into_iter().flat_map(|f| (0..f.pages()).filter_map(|p| f.verify(p).err()))
    }

    /// Whether damage was met in the index since the block was opened: then each series' labels are worth a look before it
    /// is handed out.
    pub(crate) fn index_is_damaged(&self) -> bool {
        self.index.is_damaged()
    }

    /// Whether damage was met in either file since the block was opened.
    pub(crate) fn is_damaged(&self) -> bool {
        self.index.is_damaged() || self.chunks.is_damaged()
    }

    /// Damage of a time column.
    pub(super) fn columns_corruption(&self, id: TimeColumnId, error: &ChunkError) -> Corruption {
        let at = self.directory.columns_offset.saturating_add(u64::from(id.0) * COLUMN_LEN);
        self.chunks.corruption(at, format!("time column {}", id.0), error.to_string())
    }

    pub(super) fn index_directory(&self) -> Range<u64> {
        self.index.directory()
    }

    pub(super) fn chunks_payload_len(&self) -> u64 {
        self.chunks.payload_len()
    }

    pub(super) fn columns_offset(&self) -> u64 {
        self.directory.columns_offset
    }

    pub(super) fn chunks_path(&self) -> &Path {
        self.chunks.path()
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("dir", &self.dir).field("spec", self.spec()).finish()
    }
}

/// The series of one shard of a block: ordinals from 0, in order of (key, labels).
#[derive(Clone, Copy)]
pub struct BlockShard<'a> {
    block: &'a Block,
    part: &'a Part,
}

impl<'a> BlockShard<'a> {
    /// Which shard.
    pub fn id(&self) -> ShardId {
        self.part.shard
    }

    /// The block that it is of.
    pub fn block(&self) -> &'a Block {
        self.block
    }

    /// How many series it has.
    pub fn series_count(&self) -> u32 {
        self.part.n_series
    }

    /// The series that all `matchers` accept.
    pub fn select(&self, matchers: &[Matcher]) -> Result<Bitmap, Corruption> {
        select(self, matchers)
    }

    /// Reads series one after another; the way to read many.
    pub fn reader(&self) -> SeriesReader<'a> {
        SeriesReader::new(*self)
    }

    /// The key of a series.
    pub fn key(&self, ordinal: u32) -> Result<SeriesKey, Corruption> {
        self.reader().key(ordinal)
    }

    /// The labels of a series.
    pub fn labels(&self, ordinal: u32) -> Result<LabelSet, Corruption> {
        self.reader().labels(ordinal)
    }

    /// The label names, sorted; their ids count from 0.
    pub fn names(&self) -> impl Iterator<Item = Result<&'a str, Corruption>> + use<'a> {
        let (names, count) = (self.label_names(), self.label_names().count());
        let (n, error) = match count {
            Ok(n) => (n, None),
            Err(e) => (0, Some(Err(e))),
        };
        error.into_iter().chain((0..n).map(move |i| names.text(NameId(i))))
    }

    /// A label name.
    pub fn name(&self, name: NameId) -> Result<&'a str, Corruption> {
        self.label_names().text(name)
    }

    /// How many values a name has; their ids count from 0, in order of the values.
    pub fn value_count(&self, name: NameId) -> Result<u32, Corruption> {
        Ok(self.label_names().parts(name)?.dictionary.count)
    }

    /// Calls `f` with one value.
    pub fn with_value<R>(
        &self,
        name: NameId,
        value: ValueId,
        f: impl FnOnce(&str) -> R,
    ) -> Result<R, Corruption> {
        self.label_names().parts(name)?.dictionary.value(value.0, f)
    }

    /// The bytes of a chunk, their pages checked.
    pub fn chunk(&self, chunk: &ChunkRef) -> Result<&'a [u8], Corruption> {
        self.chunk_area().bytes(chunk.offset, u64::from(chunk.len))
    }

    /// Where a chunk that cannot be decoded is damaged: in its time column, if that cannot be read, else in itself.
    pub(crate) fn chunk_corruption(&self, chunk: &ChunkRef, error: &ChunkError) -> Corruption {
        if let ChunkError::NoColumn(id) = error
            && let Err(damage) = self.block.time_column(*id)
        {
            return damage;
        }
        self.chunk_area().corruption(chunk.offset, "a chunk", error.to_string())
    }

    /// Damage of the series table as a whole.
    pub(super) fn rows_corruption(&self, expected: String, found: String) -> Corruption {
        self.section(section::ROWS).corruption(0, expected, found)
    }

    pub(super) fn label_names(&self) -> Names<'a> {
        Names {
            names: self.section(section::NAMES),
            dictionaries: self.section(section::DICTIONARIES),
            postings: self.section(section::POSTINGS),
            restarts: self.section(section::RESTARTS),
        }
    }

    pub(super) fn schemas(&self) -> Section<'a> {
        self.section(section::SCHEMAS)
    }

    pub(super) fn rows(&self) -> Rows<'a> {
        let coarse = CoarseTime::new(self.block.spec().window);
        Rows::new(self.section(section::GROUPS), self.section(section::ROWS), coarse)
    }

    pub(super) fn keys(&self) -> Keys<'a> {
        Keys {
            accounts: self.section(section::ACCOUNTS),
            runs: self.section(section::RUNS),
            metrics: self.section(section::METRICS),
            families: self.section(section::FAMILIES),
            ranks: self.section(section::RANKS),
            le: self.section(section::LE),
            run: Run::default(),
        }
    }

    pub(super) fn check(&self, ordinal: u32) -> Result<(), Corruption> {
        let n = self.part.n_series;
        if ordinal < n {
            return Ok(());
        }
        Err(self.section(section::GROUPS).corruption(0, format!("series {ordinal}"), format!("{n} series")))
    }

    pub(super) fn part(&self) -> &'a Part {
        self.part
    }

    fn section(&self, i: usize) -> Section<'a> {
        Section::new(&self.block.index, self.part.sections[i])
    }

    fn chunk_area(&self) -> Section<'a> {
        Section::new(&self.block.chunks, self.part.sections[section::CHUNKS])
    }
}

/// What is damaged is, to a chunk, not there: the page's error is told by whoever reads that chunk or column itself.
impl Shared for BlockShard<'_> {
    fn column(&self, id: TimeColumnId) -> Result<&[u8], ChunkError> {
        self.block.time_column(id).map_err(|_| ChunkError::NoColumn(id))
    }

    fn base(&self, place: ChunkPlace) -> Result<&[u8], ChunkError> {
        let bytes = self.chunk_area().bytes(place.offset, u64::from(place.len));
        bytes.map_err(|_| ChunkError::NoBase(place.offset))
    }
}

impl LabelIndex for BlockShard<'_> {
    type Error = Corruption;

    fn name_id(&self, name: &str) -> Result<Option<NameId>, Corruption> {
        self.label_names().find(name)
    }

    fn value_range(&self, name: NameId, prefix: &str) -> Result<Range<u32>, Corruption> {
        self.label_names().parts(name)?.dictionary.prefix_range(prefix)
    }

    fn value_id(&self, name: NameId, value: &str) -> Result<Option<ValueId>, Corruption> {
        let (id, equal) = self.label_names().parts(name)?.dictionary.lower_bound(value.as_bytes())?;
        Ok(equal.then_some(ValueId(id)))
    }

    fn values(&self, name: NameId, ids: Range<u32>, out: &mut Values) -> Result<(), Corruption> {
        self.label_names().parts(name)?.dictionary.values(ids, out)
    }

    fn counts(&self, name: NameId, ids: Range<u32>, out: &mut Vec<u64>) -> Result<(), Corruption> {
        self.label_names().parts(name)?.series_counts(ids, out)
    }

    fn postings(&self, name: NameId, values: &[ValueId], out: &mut Bitmap) -> Result<(), Corruption> {
        self.label_names().parts(name)?.series_of(values, self.part.n_series, out)
    }

    fn having(&self, name: NameId, out: &mut Bitmap) -> Result<(), Corruption> {
        self.label_names().parts(name)?.having(self.part.n_series, out)
    }

    fn values_of(
        &self,
        name: NameId,
        series: &[u32],
        out: &mut Vec<Option<ValueId>>,
    ) -> Result<(), Corruption> {
        let mut reader = self.reader();
        for &ordinal in series {
            out.push(reader.value_id(ordinal, name)?);
        }
        Ok(())
    }

    fn all(&self, out: &mut Bitmap) -> Result<(), Corruption> {
        out.add_range(0..self.part.n_series);
        Ok(())
    }
}

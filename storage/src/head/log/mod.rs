//! The head-chunk log: chunks that have left the head's memory but are in no block yet.
//!
//! ```text
//! append ─► page in memory ─► full pages (immutable, in memory) ─► file ─► whole segment synced and mapped
//!           └──────────── a snapshot reads all of these ───────────────────────────────────┘
//! ```
//!
//! Appending is a copy under one short lock and never waits for the disk; [`HeadLog::write_out`] does the I/O, from a
//! thread of its own. Pages stay in memory until their segment is synced, so that a failed write or sync loses nothing:
//! the segment is then written anew to another file, which is renamed over the first.

pub(crate) mod record;
mod snapshot;

pub(crate) use record::HeadPos;
pub use snapshot::LogCorruption;
pub(crate) use snapshot::LogSnapshot;

use crate::io::{File, Fs, OpenMode, Region, is_damage, map_readable};
use crate::model::{TimestampMs, Window};
use parking_lot::Mutex;
use record::RecordHeader;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const MAGIC: &[u8; 8] = b"CRDLHCLG";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 32;
/// A record never crosses a page.
const PAGE_BYTES: usize = 256 * 1024;
/// Pages of a segment, and the fewest that it is closed with where memory is short.
const PAGES: usize = 64;
const PAGES_MIN: usize = 4;
const SEGMENT_BYTES: usize = PAGE_BYTES * PAGES;
const _: () = assert!(SEGMENT_BYTES == 1 << 24, "a position gives 24 bits to the offset");
/// The longest chunk that a page takes: far above what 512 samples need.
pub(crate) const CHUNK_BYTES_MAX: usize = PAGE_BYTES - HEADER_BYTES - record::HEADER_BYTES;

/// The part of a memory budget that the pages of one segment may take: all of them stay in memory until it is closed.
const BUDGET_PER_SEGMENT: u64 = 16;

/// Closed segments and their maps, ascending.
type Segments = Arc<Vec<(u32, Region)>>;

/// The log. See the module.
#[derive(Debug)]
pub(crate) struct HeadLog {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    state: Mutex<State>,
    /// Held while writing, so that one thread does.
    writer: Mutex<Writer>,
    window: crate::model::DurationMs,
    memory_bytes: AtomicU64,
}

#[derive(Debug)]
struct State {
    segment: u32,
    page: usize,
    /// A segment is closed with so many pages.
    pages_max: usize,
    buffer: Vec<u8>,
    /// Full pages of segments that are not mapped yet, ascending.
    full: Vec<FullPage>,
    segments: Segments,
    /// The windows that each segment has records of.
    windows: BTreeMap<u32, BTreeSet<TimestampMs>>,
}

#[derive(Clone, Debug)]
struct FullPage {
    segment: u32,
    page: usize,
    bytes: Arc<[u8]>,
}

#[derive(Debug, Default)]
struct Writer {
    /// The file of the segment being written, and how many of its pages are in it.
    file: Option<(u32, Arc<dyn File>, usize)>,
}

/// What stands behind the full pages of a segment that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail<'a> {
    /// More pages will: nothing is synced yet.
    Open,
    /// A page that is not full, and what there is of it is to be durable.
    Partial(&'a [u8]),
    /// Nothing.
    End,
}

/// What a segment still holds, as a checkpoint notes it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SegmentWindows {
    pub(crate) segment: u32,
    /// Starts of the windows, milliseconds.
    pub(crate) windows: Vec<i64>,
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeadLogError {
    /// The disk refused.
    #[error("head-chunk log {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A segment that the checkpoint names is missing or shorter than it says.
    #[error("head-chunk log {path}: expected {expected} bytes, found {found}")]
    TooShort {
        /// The file.
        path: PathBuf,
        /// Bytes that the checkpoint counts on.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A segment begins with other bytes.
    #[error("head-chunk log {path}: no segment of version 1")]
    NotASegment {
        /// The file.
        path: PathBuf,
    },
}

fn segment_path(dir: &Path, segment: u32) -> PathBuf {
    dir.join(format!("{segment:016x}.hcl"))
}

fn first_page(segment: u32) -> Vec<u8> {
    let mut page = Vec::with_capacity(PAGE_BYTES);
    page.extend_from_slice(MAGIC);
    page.extend_from_slice(&VERSION.to_le_bytes());
    page.extend_from_slice(&segment.to_le_bytes());
    page.resize(HEADER_BYTES, 0);
    page
}

/// A segment's bytes as far as there are any, and what is wrong with the file.
fn open_segment(fs: &dyn Fs, dir: &Path, segment: u32, needed: usize) -> (Region, Option<HeadLogError>) {
    let path = segment_path(dir, segment);
    let nothing = || Region::from_vec(Vec::new());
    let region = match map_readable(fs, &path) {
        Ok(region) => region,
        Err(source) => return (nothing(), Some(HeadLogError::Io { path, source })),
    };
    let needed = needed.max(HEADER_BYTES);
    if region.len() < needed {
        let (expected, found) = (needed as u64, region.len() as u64);
        return (region, Some(HeadLogError::TooShort { path, expected, found }));
    }
    if region[..HEADER_BYTES] == first_page(segment)[..] {
        return (region, None);
    }
    // Of another segment the records are well and those of others; of this one they are what they should be.
    let is_this = region[12..16] == segment.to_le_bytes();
    (if is_this { region } else { nothing() }, Some(HeadLogError::NotASegment { path }))
}

/// For fuzzing: computes the checksums of a segment's records anew, page by page as far as their lengths lead; `fit_chunk` does
/// it for chunks.
#[cfg(feature = "fuzz")]
pub(crate) fn make_checksums_fit(segment: &mut [u8], fit_chunk: fn(&mut [u8])) {
    for (number, page) in segment.chunks_mut(PAGE_BYTES).enumerate() {
        let mut rest = page.get_mut(if number == 0 { HEADER_BYTES } else { 0 }..).unwrap_or_default();
        while let Some((chunk, behind)) = record::make_checksum_fit(rest) {
            fit_chunk(chunk);
            rest = behind;
        }
    }
}

/// All records of a segment with their offsets. Damage ends its page.
pub(crate) fn records(
    segment: &[u8],
) -> impl Iterator<Item = (usize, Result<record::Record<'_>, record::RecordError>)> {
    segment.chunks(PAGE_BYTES).enumerate().flat_map(|(number, page)| {
        let mut at = if number == 0 { HEADER_BYTES } else { 0 };
        std::iter::from_fn(move || {
            let rest = page.get(at..).filter(|r| r.iter().take(record::HEADER_BYTES).any(|b| *b != 0))?;
            let offset = number * PAGE_BYTES + at;
            let record = record::read(rest);
            at = record.map_or(page.len(), |r| at + record::HEADER_BYTES + r.chunk.len());
            Some((offset, record))
        })
    })
}

impl HeadLog {
    /// Opens the log as a checkpoint describes it: segments of `kept` up to `end` are mapped, all other files are removed, and
    /// appending begins in a new segment. A segment that is missing, short or no segment is told, and what there is of it is
    /// read: records have their own checksums.
    pub(crate) fn open(
        fs: Arc<dyn Fs>,
        dir: &Path,
        kept: &[SegmentWindows],
        end: HeadPos,
        window: crate::model::DurationMs,
    ) -> Result<(Self, Vec<HeadLogError>), HeadLogError> {
        let at = |path: &Path, source| HeadLogError::Io { path: path.into(), source };
        fs.create_dir_all(dir).map_err(|e| at(dir, e))?;
        let names: BTreeSet<String> = kept.iter().map(|s| format!("{:016x}.hcl", s.segment)).collect();
        for entry in fs.read_dir(dir).map_err(|e| at(dir, e))? {
            if !names.contains(&entry.name) {
                let path = dir.join(&entry.name);
                fs.remove_file(&path).map_err(|e| at(&path, e))?;
            }
        }
        let (mut segments, mut damage) = (Vec::new(), Vec::new());
        for kept in kept {
            let needed = if kept.segment == end.segment() { end.offset() } else { HEADER_BYTES };
            let (region, found) = open_segment(&*fs, dir, kept.segment, needed);
            match found {
                Some(HeadLogError::Io { path, source }) if !is_damage(&source) => {
                    return Err(HeadLogError::Io { path, source });
                }
                found => damage.extend(found),
            }
            segments.push((kept.segment, region));
        }
        let segment = end.segment() + 1;
        let window_of = |start: &i64| TimestampMs(*start);
        let log = Self {
            fs,
            dir: dir.into(),
            state: Mutex::new(State {
                segment,
                page: 0,
                pages_max: PAGES,
                buffer: first_page(segment),
                full: Vec::new(),
                segments: Arc::new(segments),
                windows: kept
                    .iter()
                    .map(|s| (s.segment, s.windows.iter().map(window_of).collect()))
                    .collect(),
            }),
            writer: Mutex::default(),
            window,
            memory_bytes: AtomicU64::new(PAGE_BYTES as u64),
        };
        Ok((log, damage))
    }

    /// The segments that there are up to `end`, with the windows that their records lie in: for a checkpoint whose end is
    /// damaged. Reads all of them.
    pub(crate) fn find_segments(
        fs: &dyn Fs,
        dir: &Path,
        end: HeadPos,
        window: crate::model::DurationMs,
    ) -> Result<Vec<SegmentWindows>, HeadLogError> {
        let at = |source| HeadLogError::Io { path: dir.into(), source };
        fs.create_dir_all(dir).map_err(at)?;
        let mut found = Vec::new();
        for entry in fs.read_dir(dir).map_err(at)? {
            let number = entry.name.strip_suffix(".hcl").and_then(|n| u32::from_str_radix(n, 16).ok());
            let Some(segment) = number.filter(|n| *n <= end.segment()) else { continue };
            let (region, found_wrong) = open_segment(fs, dir, segment, 0);
            if let Some(HeadLogError::Io { path, source }) = found_wrong
                && !is_damage(&source)
            {
                return Err(HeadLogError::Io { path, source });
            }
            let of_record = |(_, record): (usize, Result<record::Record<'_>, _>)| {
                Some(Window::of(record.ok()?.header.first_t, window).start.0)
            };
            let windows: BTreeSet<i64> = records(&region).filter_map(of_record).collect();
            found.push(SegmentWindows { segment, windows: windows.into_iter().collect() });
        }
        Ok(found)
    }

    /// Closes segments earlier from here on where the memory budget is small.
    pub(crate) fn fit_budget(&self, budget: u64) {
        let pages = budget / BUDGET_PER_SEGMENT / PAGE_BYTES as u64;
        self.state.lock().pages_max =
            usize::try_from(pages).map_or(PAGES, |pages| pages.clamp(PAGES_MIN, PAGES));
    }

    /// Appends a record; returns its position. A copy under a short lock; no I/O.
    ///
    /// # Panics
    /// When the chunk exceeds [`CHUNK_BYTES_MAX`].
    pub(crate) fn append(&self, header: &RecordHeader, chunk: &[u8]) -> HeadPos {
        assert!(chunk.len() <= CHUNK_BYTES_MAX, "a head chunk fits into a page");
        let mut state = self.state.lock();
        if state.buffer.len() + record::HEADER_BYTES + chunk.len() > PAGE_BYTES {
            self.turn_page(&mut state);
        }
        let at = HeadPos::new(state.segment, state.page * PAGE_BYTES + state.buffer.len());
        record::write(&mut state.buffer, header, chunk);
        let window = Window::of(header.first_t, self.window).start;
        let segment = state.segment;
        state.windows.entry(segment).or_default().insert(window);
        at
    }

    fn turn_page(&self, state: &mut State) {
        state.buffer.resize(PAGE_BYTES, 0);
        let bytes: Arc<[u8]> = state.buffer[..].into();
        state.full.push(FullPage { segment: state.segment, page: state.page, bytes });
        self.memory_bytes.fetch_add(PAGE_BYTES as u64, Ordering::Relaxed);
        state.page += 1;
        state.buffer.clear();
        if state.page >= state.pages_max {
            state.segment += 1;
            state.page = 0;
            state.buffer = first_page(state.segment);
        }
    }

    /// The position that the next record gets at the earliest: everything appended before is below it.
    pub(crate) fn end(&self) -> HeadPos {
        let state = self.state.lock();
        HeadPos::new(state.segment, state.page * PAGE_BYTES + state.buffer.len().min(PAGE_BYTES - 1))
    }

    /// Everything that can be read now. The unfinished page is copied.
    pub(crate) fn snapshot(&self) -> LogSnapshot {
        let state = self.state.lock();
        let page = |p: &FullPage| (HeadPos::new(p.segment, p.page * PAGE_BYTES), p.bytes.clone());
        let mut pages: Vec<_> = state.full.iter().map(page).collect();
        pages.push((HeadPos::new(state.segment, state.page * PAGE_BYTES), state.buffer[..].into()));
        let end = HeadPos::new(
            state.segment,
            (state.page * PAGE_BYTES + state.buffer.len()).min(SEGMENT_BYTES - 1),
        );
        LogSnapshot::new(self.dir.clone(), state.segments.clone(), pages, end)
    }

    /// Writes full pages to their files; syncs and maps segments that are full. On an error nothing is lost: call again.
    pub(crate) fn write_out(&self) -> Result<(), HeadLogError> {
        let mut writer = self.writer.lock();
        self.write_full_pages(&mut writer)
    }

    fn write_full_pages(&self, writer: &mut Writer) -> Result<(), HeadLogError> {
        loop {
            let (next, pages, is_whole) = {
                let state = self.state.lock();
                let Some(first) = state.full.first() else { return Ok(()) };
                let segment = first.segment;
                let of_segment = |p: &&FullPage| p.segment == segment;
                let pages = state.full.iter().filter(of_segment).cloned().collect::<Vec<_>>();
                (segment, pages, segment < state.segment)
            };
            self.write_pages(writer, next, &pages, if is_whole { Tail::End } else { Tail::Open })?;
            if !is_whole {
                return Ok(());
            }
            self.close_segment(writer, next)?;
        }
    }

    /// Writes those of `pages` (all of the segment from its first) that are not in the file yet, then its tail.
    fn write_pages(
        &self,
        writer: &mut Writer,
        segment: u32,
        pages: &[FullPage],
        tail: Tail<'_>,
    ) -> Result<(), HeadLogError> {
        let path = segment_path(&self.dir, segment);
        let result: io::Result<()> = (|| {
            let (file, written) = match &writer.file {
                Some((s, file, written)) if *s == segment => (file.clone(), *written),
                _ => {
                    let file = self.fs.open(&path, OpenMode::CreateNew)?;
                    self.fs.sync_dir(&self.dir)?;
                    (file, 0)
                }
            };
            writer.file = Some((segment, file.clone(), written));
            for page in pages.iter().skip(written) {
                file.write_all_at(&page.bytes, (page.page * PAGE_BYTES) as u64)?;
            }
            writer.file = Some((segment, file.clone(), pages.len()));
            if let Tail::Partial(partial) = tail {
                file.write_all_at(partial, (pages.len() * PAGE_BYTES) as u64)?;
            }
            if tail != Tail::Open {
                file.sync_data()?;
            }
            Ok(())
        })();
        match result {
            Ok(()) => Ok(()),
            Err(first) => self.rewrite(writer, segment, pages, tail).map_err(|source| {
                tracing::debug!(%first, "writing the head-chunk log failed, and so did writing the segment anew");
                HeadLogError::Io { path, source }
            }),
        }
    }

    /// After a failed write or sync: the whole segment goes to another file, which takes the first one's name.
    fn rewrite(
        &self,
        writer: &mut Writer,
        segment: u32,
        pages: &[FullPage],
        tail: Tail<'_>,
    ) -> io::Result<()> {
        writer.file = None;
        let path = segment_path(&self.dir, segment);
        let new = path.with_extension("new");
        if self.fs.exists(&new)? {
            self.fs.remove_file(&new)?;
        }
        let file = self.write_new(&new, pages, tail).inspect_err(|_| {
            // Half a copy would take the last room of a full disk from those who could free some.
            self.fs.remove_file(&new).ok();
        })?;
        self.fs.rename(&new, &path)?;
        self.fs.sync_dir(&self.dir)?;
        writer.file = Some((segment, file, pages.len()));
        Ok(())
    }

    fn write_new(&self, path: &Path, pages: &[FullPage], tail: Tail<'_>) -> io::Result<Arc<dyn File>> {
        let file = self.fs.open(path, OpenMode::CreateNew)?;
        for page in pages {
            file.write_all_at(&page.bytes, (page.page * PAGE_BYTES) as u64)?;
        }
        if let Tail::Partial(partial) = tail {
            file.write_all_at(partial, (pages.len() * PAGE_BYTES) as u64)?;
        }
        file.sync_data()?;
        Ok(file)
    }

    fn close_segment(&self, writer: &mut Writer, segment: u32) -> Result<(), HeadLogError> {
        let path = segment_path(&self.dir, segment);
        let region = self.fs.map(&path).map_err(|source| HeadLogError::Io { path, source })?;
        writer.file = None;
        let mut state = self.state.lock();
        let mut segments = (*state.segments).clone();
        segments.push((segment, region));
        state.segments = Arc::new(segments);
        let before = state.full.len();
        state.full.retain(|p| p.segment != segment);
        let freed = (before - state.full.len()) * PAGE_BYTES;
        self.memory_bytes.fetch_sub(freed as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Makes everything appended so far durable; returns the end up to which it is, and what each segment holds.
    pub(crate) fn sync(&self) -> Result<(HeadPos, Vec<SegmentWindows>), HeadLogError> {
        let mut writer = self.writer.lock();
        self.write_full_pages(&mut writer)?;
        let (segment, pages, partial, windows) = {
            let state = self.state.lock();
            let segment = state.segment;
            // Segments that filled up since are complete in memory and come first.
            if state.full.first().is_some_and(|p| p.segment != segment) {
                drop(state);
                drop(writer);
                return self.sync();
            }
            let windows = state.windows.iter().map(|(segment, windows)| SegmentWindows {
                segment: *segment,
                windows: windows.iter().map(|w| w.0).collect(),
            });
            (segment, state.full.clone(), state.buffer.clone(), windows.collect())
        };
        let end = HeadPos::new(segment, (pages.len() * PAGE_BYTES + partial.len()).min(SEGMENT_BYTES - 1));
        self.write_pages(&mut writer, segment, &pages, Tail::Partial(&partial))?;
        Ok((end, windows))
    }

    /// Forgets windows that are cut: `is_cut(window start, end of segment)` tells whether all records of the window below that
    /// position are in blocks. Returns the oldest segments that hold nothing any more, for [`Self::remove`]. Only oldest ones,
    /// without gaps: a chain ends where a segment is gone, so nothing that is needed may stand in an older one.
    pub(crate) fn forget(&self, is_cut: impl Fn(TimestampMs, HeadPos) -> bool) -> Vec<u32> {
        let mut state = self.state.lock();
        let State { windows, segments, .. } = &mut *state;
        for (segment, windows) in windows.iter_mut() {
            let end = HeadPos::after_segment(*segment);
            windows.retain(|w| !is_cut(*w, end));
        }
        let empty = |s: &u32| windows.get(s).is_none_or(BTreeSet::is_empty);
        segments.iter().map(|s| s.0).take_while(empty).collect()
    }

    /// Deletes segments. No reader that may want them may be left.
    pub(crate) fn remove(&self, segments: &[u32]) -> Result<(), HeadLogError> {
        {
            let mut state = self.state.lock();
            let kept = state.segments.iter().filter(|s| !segments.contains(&s.0)).cloned().collect();
            state.segments = Arc::new(kept);
            for s in segments {
                state.windows.remove(s);
            }
        }
        for s in segments {
            let path = segment_path(&self.dir, *s);
            match self.fs.remove_file(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(|source| HeadLogError::Io { path, source })?,
            }
        }
        Ok(())
    }

    /// Copies the file of a position's segment to a folder, once.
    pub(crate) fn keep_copy(&self, at: HeadPos, folder: &Path) -> Result<(), HeadLogError> {
        let path = segment_path(&self.dir, at.segment());
        let copy = folder.join(format!("{:016x}.hcl", at.segment()));
        let copied = || -> io::Result<()> {
            if !self.fs.exists(&path)? || self.fs.exists(&copy)? {
                return Ok(());
            }
            let bytes = self.fs.map(&path)?;
            let file = self.fs.open(&copy, OpenMode::CreateNew)?;
            file.write_all_at(&bytes, 0)?;
            file.sync_data()?;
            self.fs.sync_dir(folder)
        };
        copied().map_err(|source| {
            self.fs.remove_file(&copy).ok();
            HeadLogError::Io { path: copy, source }
        })
    }

    /// The windows that each segment has records of, as far as it is known.
    pub(crate) fn windows(&self) -> Vec<(u32, TimestampMs)> {
        let state = self.state.lock();
        state.windows.iter().flat_map(|(segment, windows)| windows.iter().map(|w| (*segment, *w))).collect()
    }

    /// The oldest segment that is there.
    pub(crate) fn first_segment(&self) -> Option<u32> {
        let state = self.state.lock();
        let mapped = state.segments.first().map(|s| s.0);
        mapped.or(state.full.first().map(|p| p.segment)).or(Some(state.segment))
    }

    /// Bytes of pages in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of closed segments on disk.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.state.lock().segments.iter().map(|s| s.1.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests;

//! Reading a log back: scan all segments, choose, deliver, mend.
//!
//! Segments are read twice, once to find out what counts and once to deliver it, so that memory holds one at a time and
//! no batch is delivered before all that precede it are known to be there.

use super::batch::{self, BatchReader, Found};
use super::plan::{Cut, Delivery, Loss, Plan, plan};
use super::scan::{Scan, Span, scan};
use super::{WalError, replace, segment};
use crate::io::{Fs, OpenMode, Unreadable, read_readable};
use crate::model::Lsn;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// The oldest LSN delivered.
    pub first: Option<Lsn>,
    /// The newest LSN delivered.
    pub last: Option<Lsn>,
    /// How many batches were delivered.
    pub batches: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments read.
    pub segments: u64,
    /// The number of the first of them.
    pub first_segment: Option<u64>,
    /// Writes that a power cut interrupted: nothing of them was acknowledged.
    pub torn: Vec<TornTail>,
    /// What was durable once and is not readable.
    pub corruptions: Vec<Corruption>,
    /// Segments of which nothing is left; what they held is not known.
    pub bare: Vec<BareSegment>,
    /// What the disk does not deliver.
    pub unreadable: Vec<UnreadableBytes>,
    /// Where the oldest batch delivered begins.
    pub from: Option<(PathBuf, u64)>,
    /// Where the newest batch delivered ends.
    pub until: Option<(PathBuf, u64)>,
}

/// A segment without header or batch: it was made with a header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} offset 0: expected the header of a segment of the log, found {bytes} bytes without header or batch: what it held is lost",
    .file.display())]
pub struct BareSegment {
    /// The segment.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// A part of a segment that the disk does not deliver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} offset {offset}: expected {bytes} bytes of the log, found none that can be read ({error}): what they held is lost unless the disk delivers them again",
    .file.display())]
pub struct UnreadableBytes {
    /// The segment.
    pub file: PathBuf,
    /// Where.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
    /// What the disk said.
    pub error: String,
    /// Where the segment is now, as it was; a copy with zeros took its place. None where nothing was mended, or there was no room.
    pub kept: Option<PathBuf>,
}

/// The end of a segment that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub file: PathBuf,
    /// Where it was cut.
    pub offset: u64,
    /// How many bytes were cut off.
    pub bytes: u64,
    /// The copy; none where nothing was mended, or there was no room for it.
    pub kept: Option<PathBuf>,
}

/// A place where batches are lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {bytes} damaged bytes at {offset}; expected batch {}, found {}: those between are lost",
    .file.display(), .lost.start(), .lost.end().next())]
pub struct Corruption {
    /// The segment.
    pub file: PathBuf,
    /// Where.
    pub offset: u64,
    /// How many bytes; 0 where batches are missing between good ones, as when a segment is gone.
    pub bytes: u64,
    /// The batches that are lost, here or at the report's other places with the same range.
    pub lost: RangeInclusive<Lsn>,
    /// The copy in `quarantine/`.
    pub kept: Option<PathBuf>,
}

/// A batch within the bytes of its segment: what it holds can be read on any thread.
#[derive(Clone, Debug)]
pub(crate) struct LogBatch {
    pub(crate) lsn: Lsn,
    segment: Arc<Vec<u8>>,
    payload: Range<usize>,
}

impl LogBatch {
    /// What it holds.
    pub(crate) fn records(&self) -> BatchReader<'_> {
        BatchReader::new(self.segment.get(self.payload.clone()).unwrap_or_default())
    }
}

/// Reads all batches of the segments from `from_segment` on, in order of LSN and each once, then mends: torn tails are cut
/// off and kept as `.torn`, corrupt bytes are copied to `quarantine`. Report and mending follow the rules of
/// `docs/format/wal.md`; LSNs below the first batch found are the caller's to miss.
///
/// Nothing may have the log open. An error of `on_batch` ends it at once, and nothing is mended then.
pub fn replay<E: From<WalError>>(
    fs: &dyn Fs,
    dir: &Path,
    quarantine: &Path,
    from_segment: u64,
    on_batch: &mut dyn FnMut(Lsn, BatchReader<'_>) -> Result<(), E>,
) -> Result<ReplayReport, E> {
    replace::finish(fs, dir, quarantine).map_err(WalError::from)?;
    let mut log = Log::read(fs, dir, from_segment)?;
    log.deliver(&mut |run| run.iter().try_for_each(|batch| on_batch(batch.lsn, batch.records())))?;
    Ok(log.mend(quarantine)?)
}

/// As [`replay`], but changes nothing; also beside a running writer, whose last batches may then look torn.
pub fn inspect<E: From<WalError>>(
    fs: &dyn Fs,
    dir: &Path,
    from_segment: u64,
    on_batch: &mut dyn FnMut(Lsn, BatchReader<'_>) -> Result<(), E>,
) -> Result<ReplayReport, E> {
    let mut log = Log::read(fs, dir, from_segment)?;
    log.deliver(&mut |run| run.iter().try_for_each(|batch| on_batch(batch.lsn, batch.records())))?;
    Ok(log.into_report())
}

/// A log that was read once: what of it counts is known, and can be delivered.
pub(crate) struct Log<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    numbers: Vec<u64>,
    /// Where each segment's unused rest begins.
    ends: Vec<u64>,
    plan: Plan,
    /// The newest LSN that a batch says was durable.
    synced: Lsn,
    /// Batches delivered that none says were durable, by segment.
    unsynced: Vec<(usize, Span)>,
    report: ReplayReport,
}

impl<'a> Log<'a> {
    /// Scans the segments and decides.
    pub(crate) fn read(fs: &'a dyn Fs, dir: &'a Path, from_segment: u64) -> Result<Self, WalError> {
        let mut numbers = segment::list(fs, dir)?;
        numbers.retain(|&n| n >= from_segment);
        let mut bytes = Vec::new();
        let mut scans = Vec::with_capacity(numbers.len());
        let mut unreadable = Vec::new();
        for &number in &numbers {
            let file = segment::path(dir, number);
            for Unreadable { bytes, error } in load(fs, &file, &mut bytes)? {
                let (file, offset, bytes) = (file.clone(), bytes.start, bytes.end - bytes.start);
                unreadable.push(UnreadableBytes { file, offset, bytes, error, kept: None });
            }
            let newer =
                |e: super::scan::NewerVersion| WalError::Newer { file, offset: e.offset, found: e.found };
            scans.push(scan(&bytes).map_err(newer)?);
        }
        let mut log = Self::decide(fs, dir, numbers, &scans);
        log.report.unreadable = unreadable;
        Ok(log)
    }

    fn decide(fs: &'a dyn Fs, dir: &'a Path, numbers: Vec<u64>, scans: &[Scan]) -> Self {
        let report = ReplayReport {
            segments: numbers.len() as u64,
            first_segment: numbers.first().copied(),
            ..ReplayReport::default()
        };
        let ends = scans.iter().map(|s| s.end).collect();
        let synced = scans.iter().flat_map(|s| &s.runs).map(|run| run.synced).max().unwrap_or_default();
        let mut log =
            Self { fs, dir, numbers, ends, plan: plan(scans), synced, unsynced: Vec::new(), report };
        let torn = |cut: &Cut| TornTail {
            file: log.path(cut.segment),
            offset: cut.span.from,
            bytes: cut.span.to - cut.span.from,
            kept: None,
        };
        let lost = |loss: &Loss| {
            let corruption = |&(segment, span): &(usize, Span)| Corruption {
                file: log.path(segment),
                offset: span.from,
                bytes: span.to - span.from,
                lost: loss.lsns.clone(),
                kept: None,
            };
            loss.places.iter().map(corruption).collect::<Vec<_>>()
        };
        let torn = log.plan.cuts.iter().map(torn).collect();
        let corruptions = log.plan.losses.iter().flat_map(lost).collect();
        let bare = scans.iter().enumerate().filter(|(_, scan)| scan.is_bare());
        log.report.bare =
            bare.map(|(at, scan)| BareSegment { file: log.path(at), bytes: scan.len }).collect();
        log.report.torn = torn;
        log.report.corruptions = corruptions;
        log
    }

    fn path(&self, segment: usize) -> PathBuf {
        segment::path(self.dir, self.numbers[segment])
    }

    /// Gives all batches that count, in order of LSN and each once, a run of those of one segment at a time.
    pub(crate) fn deliver<E: From<WalError>>(
        &mut self,
        on_run: &mut dyn FnMut(Vec<LogBatch>) -> Result<(), E>,
    ) -> Result<(), E> {
        // While batches of one segment are still held the next one is read into the other's memory.
        let (mut bytes, mut other) = (Arc::default(), Arc::default());
        let mut loaded = None;
        for delivery in std::mem::take(&mut self.plan.deliver) {
            if loaded.replace(delivery.segment) != Some(delivery.segment) {
                std::mem::swap(&mut bytes, &mut other);
                load_shared(self.fs, &self.path(delivery.segment), &mut bytes).map_err(WalError::from)?;
            }
            on_run(self.run(&bytes, &delivery)?)?;
        }
        Ok(())
    }

    fn run(&mut self, segment: &Arc<Vec<u8>>, delivery: &Delivery) -> Result<Vec<LogBatch>, WalError> {
        let mut run = Vec::new();
        let mut at = delivery.span.from;
        let mut delivered: Option<(u64, u64)> = None;
        let mut unsynced: Option<Span> = None;
        while at < delivery.span.to {
            let here = segment.get(at as usize..).unwrap_or_default();
            let Found::Batch(b) = batch::parse(here) else {
                return Err(changed(&self.path(delivery.segment), at).into());
            };
            let until = at + b.len as u64;
            if delivery.lsns.contains(&b.lsn) {
                let payload = at as usize + batch::HEADER_LEN..until as usize;
                run.push(LogBatch { lsn: b.lsn, segment: segment.clone(), payload });
                delivered = Some((delivered.map_or(at, |(from, _)| from), until));
                if b.lsn > self.synced {
                    unsynced = Some(Span { from: unsynced.map_or(at, |s| s.from), to: until });
                }
                self.report.bytes += b.len as u64;
            }
            at = until;
        }
        self.unsynced.extend(unsynced.map(|span| (delivery.segment, span)));
        self.report.batches += run.len() as u64;
        self.report.first = self.report.first.or(run.first().map(|b| b.lsn));
        self.report.last = run.last().map(|b| b.lsn).or(self.report.last);
        if let Some((from, until)) = delivered {
            let file = self.path(delivery.segment);
            self.report.from.get_or_insert_with(|| (file.clone(), from));
            self.report.until = Some((file, until));
        }
        Ok(run)
    }

    /// What was found, for who mends nothing.
    pub(crate) fn into_report(self) -> ReplayReport {
        self.report
    }

    /// Mends what was found, as [`replay`] says.
    pub(crate) fn mend(mut self, quarantine: &Path) -> Result<ReplayReport, WalError> {
        self.keep_and_cut(quarantine)?;
        Ok(self.report)
    }

    fn keep_and_cut(&mut self, quarantine: &Path) -> io::Result<()> {
        // A segment that could not be replaced stays as it is: nothing is written where the disk fails.
        let mut untouched = Vec::new();
        for of_segment in self.report.unreadable.chunk_by_mut(|a, b| a.file == b.file) {
            match replace::replace(self.fs, &of_segment[0].file, quarantine) {
                Ok(kept) => of_segment.iter_mut().for_each(|u| u.kept = Some(kept.clone())),
                Err(error) => {
                    let file = of_segment[0].file.clone();
                    tracing::error!(%error, file = %file.display(), "a segment of the log that cannot be read as a whole could not be put away");
                    untouched.push(file);
                }
            }
        }
        for corruption in &mut self.report.corruptions {
            let span = Span { from: corruption.offset, to: corruption.offset + corruption.bytes };
            corruption.kept = keep(self.fs, &corruption.file, span, quarantine, "damaged");
        }
        for torn in self.report.torn.iter_mut().filter(|t| !untouched.contains(&t.file)) {
            let span = Span { from: torn.offset, to: torn.offset + torn.bytes };
            torn.kept = keep(self.fs, &torn.file, span, self.dir, "torn");
            let file = self.fs.open(&torn.file, OpenMode::ReadWrite)?;
            file.set_len(torn.offset)?;
            file.sync_data()?;
        }
        let is_touched = |segment: usize| !untouched.contains(&self.path(segment));
        let unsynced = self.unsynced.iter().filter(|(segment, _)| is_touched(*segment));
        unsynced.into_iter().try_for_each(|(segment, span)| self.write_again(*segment, *span))?;
        (0..self.numbers.len()).filter(|s| is_touched(*s)).for_each(|segment| self.trim(segment));
        Ok(())
    }

    /// Writes what may be in memory only once more, in its place: the sync of whoever wrote it may have failed, and the one that
    /// follows would then succeed without having written anything.
    fn write_again(&self, segment: usize, span: Span) -> io::Result<()> {
        let file = self.fs.open(&self.path(segment), OpenMode::ReadWrite)?;
        let len = usize::try_from(span.to - span.from).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len)?;
        bytes.resize(len, 0);
        file.read_exact_at(&mut bytes, span.from)?;
        file.write_all_at(&bytes, span.from)
    }

    /// Gives back what was allocated and not used: every restart begins a segment, and a crash leaves its last one as long as it
    /// was allocated. Where it fails nothing but room is lost.
    fn trim(&self, segment: usize) {
        let (path, end) = (self.path(segment), self.ends[segment]);
        let trimmed = self.fs.open(&path, OpenMode::ReadWrite).and_then(|file| match file.len()? > end {
            true => file.set_len(end),
            false => Ok(()),
        });
        if let Err(error) = trimmed {
            tracing::warn!(%error, file = %path.display(), "the unused end of a segment of the log could not be given back");
        }
    }
}

/// Reads a whole file into `bytes`, or into fresh memory where these are still held.
fn load_shared(fs: &dyn Fs, path: &Path, bytes: &mut Arc<Vec<u8>>) -> io::Result<()> {
    if let Some(free) = Arc::get_mut(bytes) {
        return load(fs, path, free).map(drop);
    }
    let mut fresh = Vec::new();
    load(fs, path, &mut fresh)?;
    *bytes = Arc::new(fresh);
    Ok(())
}

/// Reads a whole file into `bytes`, zeros for what cannot be read. What they held is overwritten without being zeroed first.
fn load(fs: &dyn Fs, path: &Path, bytes: &mut Vec<u8>) -> io::Result<Vec<Unreadable>> {
    read_readable(&*fs.open(path, OpenMode::Read)?, bytes)
}

fn changed(file: &Path, at: u64) -> io::Error {
    let text = format!("{}: the batch at {at} was readable and is not any more", file.display());
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Copies a part of a segment for inspection. It is no part of the log, so a failure (a full disk, say) stops nothing.
fn keep(fs: &dyn Fs, file: &Path, span: Span, dir: &Path, ending: &str) -> Option<PathBuf> {
    if span.from == span.to {
        return None;
    }
    let stem = file.file_stem()?.to_str()?;
    let path = dir.join(format!("{stem}-{:08x}.{ending}", span.from));
    match copy(fs, file, span, &path) {
        Ok(()) => Some(path),
        Err(error) => {
            tracing::warn!(%error, file = %file.display(), offset = span.from, "unreadable bytes of the log could not be kept");
            None
        }
    }
}

fn copy(fs: &dyn Fs, file: &Path, span: Span, to: &Path) -> io::Result<()> {
    let dir = to.parent().ok_or(io::ErrorKind::InvalidInput)?;
    super::create_dir(fs, dir)?;
    if fs.exists(to)? {
        fs.remove_file(to)?;
    }
    let mut bytes = Vec::new();
    load(fs, file, &mut bytes)?;
    let part = bytes.get(span.from as usize..span.to as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
    let copy = fs.open(to, OpenMode::CreateNew)?;
    copy.write_all_at(part, 0)?;
    copy.sync_data()?;
    fs.sync_dir(dir)
}

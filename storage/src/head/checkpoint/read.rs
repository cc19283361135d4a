//! Reading a checkpoint into a head, shard by shard in parallel.

use super::layout::{self, Bad, End, Frame, FrameKind, Preamble, SliceReader, bad};
use super::postings::read_postings;
use super::{CheckpointError, path_of};
use crate::head::cuts::{CutEntry, CutPositions};
use crate::head::log::{HeadLog, HeadLogError, HeadPos};
use crate::head::shard::{SLICE, Shard};
use crate::head::symbols::HeadIndex;
use crate::head::{Head, HeadOptions};
use crate::index::Bitmap;
use crate::io::{Fs, Region, is_damage, map_readable};
use crate::model::{Lsn, MetricMetadata, SeriesSlot, ShardCount, TimestampMs, Window};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A head as a checkpoint has it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) head: Head,
    pub(crate) cuts: CutPositions,
    pub(crate) newest_lsn: Lsn,
    /// Per shard: the LSN of each slice of slots. A record of the log whose LSN is not above it is in the slice already.
    pub(crate) slice_lsns: Vec<SliceLsns>,
    /// What could not be read and is not in the head.
    pub(crate) damage: Vec<CheckpointError>,
}

impl Loaded {
    /// The smallest LSN of a slice: what is above it the log has.
    pub(crate) fn oldest_lsn(&self) -> Lsn {
        self.slice_lsns.iter().flat_map(|l| &l.lsns).copied().min().unwrap_or(self.newest_lsn)
    }
}

/// The LSNs of one shard's slices, by slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct SliceLsns {
    lsns: Vec<Lsn>,
    /// Slots there were, free ones included.
    pub(crate) slots: u32,
}

impl SliceLsns {
    #[cfg(test)]
    pub(crate) fn new(lsns: Vec<Lsn>, slots: u32) -> Self {
        Self { lsns, slots }
    }

    /// Whether a log record of this slot is newer than what the checkpoint has of it.
    pub(crate) fn is_newer(&self, slot: SeriesSlot, lsn: Lsn) -> bool {
        self.lsns.get((slot.0 / SLICE) as usize).is_none_or(|slice| lsn > *slice)
    }

    fn set(&mut self, first_slot: u32, lsn: Lsn) {
        let at = (first_slot / SLICE) as usize;
        if self.lsns.len() <= at {
            self.lsns.resize(at + 1, Lsn(0));
        }
        self.lsns[at] = lsn;
    }
}

/// The frames of one shard with their offsets in the file.
#[derive(Default)]
struct ShardFrames<'a> {
    symbols: Option<(u64, &'a [u8])>,
    postings: Option<(u64, &'a [u8])>,
    slices: Vec<(u64, &'a [u8])>,
}

/// A checkpoint taken apart; what belongs to shards is still as it was written.
struct Parts<'a> {
    shards: Vec<ShardFrames<'a>>,
    metadata: Vec<MetricMetadata>,
    /// What stands near the beginning; the end says the same.
    cuts: Option<Vec<CutEntry>>,
    end: Option<End>,
    /// Whether the preamble is that of another directory's checkpoint.
    of_another: bool,
}

impl<'a> Parts<'a> {
    fn new(shards: ShardCount) -> Self {
        let shards = shards.iter().map(|_| ShardFrames::default()).collect();
        Self { shards, metadata: Vec::new(), cuts: None, end: None, of_another: false }
    }

    fn take(&mut self, offset: u64, frame: Frame<'a>, options: &HeadOptions) -> Result<(), Bad> {
        let Frame { kind, shard, payload } = frame;
        let fail = |what: &str| bad(what, "something else");
        let of_shard = self.shards.get_mut(shard as usize).ok_or_else(|| fail("a shard of the directory"));
        match kind {
            FrameKind::Preamble => {
                let checked = check_preamble(payload, options);
                self.of_another = checked.is_err();
                checked?;
            }
            FrameKind::Slice => of_shard?.slices.push((offset, payload)),
            FrameKind::Symbols => of_shard?.symbols = Some((offset, payload)),
            FrameKind::Postings => of_shard?.postings = Some((offset, payload)),
            FrameKind::Metadata => {
                let statements = layout::read_metadata(payload);
                self.metadata.extend(statements.ok_or_else(|| fail("metadata statements"))?);
            }
            FrameKind::Cuts => {
                self.cuts = Some(serde_json::from_slice(payload).map_err(|_| fail("cuts of version 1"))?);
            }
            FrameKind::End => {
                self.end = Some(serde_json::from_slice(payload).map_err(|_| fail("an end of version 1"))?);
            }
        }
        Ok(())
    }
}

/// A checkpoint as the manifest names it, and where it is to be found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    /// The end of the head-chunk log, which stands in the checkpoint's end as well.
    pub(crate) log_end: HeadPos,
    /// The windows of the blocks in force.
    pub(crate) blocks: &'a [Window],
}

/// Loads a checkpoint; the head-chunk log is opened as it says. What is damaged is left out and told in the result: a slice
/// costs its series, a shard's symbols all series of the shard, postings, cuts and the end cost nothing, since what they say can be
/// found again, unless both of the last are lost. Another version is an error, and a file that cannot be opened though
/// nothing says that it is damaged.
pub(crate) fn load(
    fs: Arc<dyn Fs>,
    named: Named<'_>,
    options: &HeadOptions,
) -> Result<Loaded, CheckpointError> {
    let path = path_of(named.dir, named.number);
    let mut damage = Vec::new();
    let region = match map_readable(&*fs, &path) {
        Ok(region) => region,
        Err(source) if is_damage(&source) => {
            damage.push(CheckpointError::Io { path: path.clone(), source });
            Region::from_vec(Vec::new())
        }
        Err(source) => return Err(CheckpointError::Io { path, source }),
    };
    layout::check_version(&region).map_err(|b| corrupt(&path, 8, b))?;
    let mut told = |offset, bad| damage.push(corrupt(&path, offset, bad));
    if region.len() as u64 != named.bytes {
        told(0, bad(format!("{} bytes", named.bytes), region.len().to_string()));
    }
    let mut parts = Parts::new(options.shards);
    for frame in layout::frames(&region, options.shards.get()) {
        let taken = frame.and_then(|(offset, f)| parts.take(offset, f, options).map_err(|b| (offset, b)));
        taken.unwrap_or_else(|(offset, bad)| told(offset, bad));
    }
    if parts.of_another {
        parts = Parts::new(options.shards);
    }
    let Parts { shards, metadata, cuts, end, .. } = parts;
    let end = end.filter(|e| e.is_plausible() && e.log_end == named.log_end.0);
    if end.is_none() {
        told(region.len() as u64, bad("a frame `end` as the manifest says", "none"));
    }
    let gaps = if damage.is_empty() { 0 } else { GAP_SLICES_MAX };
    let (log, found) = open_log(fs, named.log_end, end.as_ref(), options)?;
    let cuts = match end.as_ref().map(|e| &e.cuts).or(cuts.as_ref()) {
        Some(entries) => CutPositions::from_entries(entries),
        None => cut_where_blocks_are(&named, options),
    };
    damage.extend(found.into_iter().map(CheckpointError::from));
    let head = Head::with_log(options, log);
    let mut slice_lsns = Vec::with_capacity(head.shards.len());
    for (lsns, found) in load_shards(&head.shards, shards, gaps) {
        damage.extend(found.into_iter().map(|(offset, bad)| corrupt(&path, offset, bad)));
        slice_lsns.push(lsns);
    }
    let found: u64 = head.shards.iter().map(|s| s.series.lock().live() as u64).sum();
    if let Some(end) = end.as_ref().filter(|e| e.series != found) {
        damage.push(corrupt(&path, named.bytes, bad(format!("{} series", end.series), found.to_string())));
    }
    {
        let mut store = head.metadata.lock();
        metadata.iter().for_each(|m| {
            store.add(m, Duration::ZERO);
        });
    }
    let newest_slice = slice_lsns.iter().flat_map(|l| &l.lsns).copied().max().unwrap_or_default();
    let newest_lsn = end.map_or(newest_slice, |e| newest_slice.max(Lsn(e.newest_lsn)));
    Ok(Loaded { head, cuts, newest_lsn, slice_lsns, damage })
}

/// The cuts of a checkpoint that does not say them, neither near its beginning nor at its end: what the head-chunk log has of windows
/// with blocks counts as cut. What was deleted in a block must not come back from there, and nothing tells it from what came since.
fn cut_where_blocks_are(named: &Named<'_>, options: &HeadOptions) -> CutPositions {
    let positions = vec![named.log_end; usize::from(options.shards.get())];
    let len = options.window;
    let starts = |block: &Window| -> Vec<TimestampMs> {
        let first = Window::of(block.start, len).start;
        let next = |start: &TimestampMs| Some(*start + len).filter(|next| *next < block.end());
        std::iter::successors(Some(first), next).collect()
    };
    CutPositions::default().after_cut(named.blocks.iter().flat_map(starts), &positions)
}

/// Opens the head-chunk log as the checkpoint's end says, or, without one, with all segments up to the end that the manifest
/// knows.
fn open_log(
    fs: Arc<dyn Fs>,
    log_end: HeadPos,
    end: Option<&End>,
    options: &HeadOptions,
) -> Result<(HeadLog, Vec<HeadLogError>), CheckpointError> {
    let (dir, window) = (&options.log_dir, options.window);
    Ok(match end {
        Some(end) => HeadLog::open(fs, dir, &end.log_segments, HeadPos(end.log_end), window)?,
        None => {
            let log_end = if log_end.is_plausible() { log_end } else { HeadPos::NONE };
            let segments = HeadLog::find_segments(&*fs, dir, log_end, window)?;
            HeadLog::open(fs, dir, &segments, log_end, window)?
        }
    })
}

fn corrupt(path: &Path, offset: u64, Bad { expected, found }: Bad) -> CheckpointError {
    CheckpointError::Corrupt { path: path.into(), offset, expected, found }
}

fn check_preamble(payload: &[u8], options: &HeadOptions) -> Result<(), Bad> {
    let expected = Preamble {
        seed: options.seed.0,
        shards: options.shards.get(),
        account_label: options.account_label.to_string(),
        window_ms: options.window.0,
    };
    match serde_json::from_slice::<Preamble>(payload) {
        Ok(found) if found == expected => Ok(()),
        Ok(found) => Err(bad(format!("{expected:?} as in the manifest"), format!("{found:?}"))),
        Err(e) => Err(bad("a preamble of version 1", e.to_string())),
    }
}

/// Slices that may be missing between those of a shard once damage was found: a slot far out claims memory for all before it.
const GAP_SLICES_MAX: u32 = 1024;

/// The LSNs of a shard's slices, and what was left out.
type LoadedShard = (SliceLsns, Vec<(u64, Bad)>);

/// Loads all shards, on as many threads as there are cores.
fn load_shards(shards: &[Shard], frames: Vec<ShardFrames<'_>>, gaps: u32) -> Vec<LoadedShard> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(shards.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(shard), Some(frames)) = (shards.get(at), frames.get(at)) else { return done };
            done.push((at, load_shard(shard, frames, gaps)));
        }
    };
    let mut loaded: Vec<LoadedShard> = shards.iter().map(|_| Default::default()).collect();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            for (at, of_shard) in worker.join().expect("loading does not panic") {
                loaded[at] = of_shard;
            }
        }
    });
    loaded
}

/// Loads a shard. Slices that are left out have no LSN: all that the log has of their slots is replayed.
fn load_shard(shard: &Shard, frames: &ShardFrames<'_>, mut gaps: u32) -> LoadedShard {
    let (mut lsns, mut damage) = (SliceLsns::default(), Vec::new());
    let index = match frames.symbols {
        Some((offset, symbols)) => layout::read_symbols(symbols).ok_or((offset, "a contradiction")),
        None => Err((frames.slices.first().map_or(0, |s| s.0), "none")),
    };
    let mut index = match index {
        Ok(index) => index,
        Err(_) if frames.slices.is_empty() => return (lsns, damage),
        Err((offset, found)) => {
            damage.push((offset, bad(format!("the symbols of shard {}", shard.id), found)));
            return (lsns, damage);
        }
    };
    index.own_by(shard.index.read().account_label());
    let mut series = shard.series.lock();
    let mut live = Vec::new();
    let mut expected = 0;
    for (offset, payload) in &frames.slices {
        let mut fail = |found: &str| damage.push((*offset, bad("a slice of series", found)));
        let Some(mut slice) = SliceReader::new(payload) else {
            fail("a contradiction");
            continue;
        };
        let (first, len) = (slice.slots.start, slice.slots.len());
        let gap = (first / SLICE).checked_sub(expected).filter(|g| *g <= gaps);
        let (Some(gap), true, true) = (gap, first.is_multiple_of(SLICE), len <= SLICE as usize) else {
            fail("one of other slots");
            continue;
        };
        (gaps, expected) = (gaps - gap, first / SLICE + 1);
        lsns.set(first, Lsn(slice.lsn));
        lsns.slots = slice.slots.end;
        loop {
            let (state, row) = match slice.next() {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(()) => {
                    fail("a contradiction");
                    break;
                }
            };
            let slot = SeriesSlot(state.slot);
            if series.record(slot).is_some() || !index.is_valid_row(row) {
                fail("a series that cannot be");
            } else if let Err(error) = series.restore(&state) {
                fail(&error.to_string());
            } else {
                index.set_row(slot, row);
                live.push(slot.0);
            }
        }
    }
    series.find_restored(&live);
    damage.extend(restore_postings(&mut index, frames, &Bitmap::of(&live)));
    *shard.index.write() = index;
    (lsns, damage)
}

/// Restores the postings of `live` from their image, or makes them from the rows. What is wrong with the image costs nothing but
/// time.
fn restore_postings(index: &mut HeadIndex, frames: &ShardFrames<'_>, live: &Bitmap) -> Option<(u64, Bad)> {
    let image = frames.postings.map(|(at, image)| (at, read_postings(image, index, live)));
    let Some((offset, None)) = image else {
        if image.is_none() {
            index.post_rows();
        }
        return None;
    };
    index.post_rows();
    Some((offset, bad("the postings of the shard's rows", "others")))
}

/// How the directory of a checkpoint was made, and the end of its head-chunk log: for a directory whose manifest is lost.
pub(crate) fn origin(fs: &dyn Fs, path: &Path) -> Option<(Preamble, u64)> {
    let region = fs.map(path).ok()?;
    let (mut preamble, mut log_end) = (None, 0);
    for (_, frame) in layout::frames(&region, u16::MAX).filter_map(Result::ok) {
        match frame.kind {
            FrameKind::Preamble => preamble = serde_json::from_slice(frame.payload).ok(),
            FrameKind::End => {
                log_end = serde_json::from_slice::<End>(frame.payload).map_or(0, |e| e.log_end);
            }
            _ => {}
        }
    }
    Some((preamble?, log_end))
}

/// Counts the series of each shard in a checkpoint; what is damaged is added to `damage` and not counted.
pub(crate) fn count(
    fs: &dyn Fs,
    path: &Path,
    shards: u16,
    damage: &mut Vec<CheckpointError>,
) -> Result<Vec<u64>, CheckpointError> {
    let region = fs.map(path).map_err(|source| CheckpointError::Io { path: path.into(), source })?;
    let mut counts = vec![0; usize::from(shards)];
    for frame in layout::frames(&region, shards) {
        let counted = frame.and_then(|(at, frame)| count_in(&frame, &mut counts).map_err(|bad| (at, bad)));
        counted.unwrap_or_else(|(offset, bad)| damage.push(corrupt(path, offset, bad)));
    }
    Ok(counts)
}

fn count_in(frame: &Frame<'_>, counts: &mut [u64]) -> Result<(), Bad> {
    if frame.kind == FrameKind::Slice {
        let slice = SliceReader::new(frame.payload).ok_or_else(|| bad("a slice", "other bytes"))?;
        let count = counts.get_mut(frame.shard as usize);
        *count.ok_or_else(|| bad("a shard of the directory", frame.shard.to_string()))? += slice.series();
    }
    Ok(())
}

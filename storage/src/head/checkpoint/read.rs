//! Reading a checkpoint into a head, shard by shard in parallel.

use super::layout::{self, Bad, End, Frame, FrameKind, Preamble, SliceReader, bad};
use super::{CheckpointError, path_of};
use crate::head::cuts::CutPositions;
use crate::head::log::{HeadLog, HeadPos};
use crate::head::shard::{SLICE, Shard};
use crate::head::{Head, HeadOptions};
use crate::io::Fs;
use crate::model::{Lsn, MetricMetadata, SeriesSlot, ShardCount};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A head as a checkpoint has it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) head: Head,
    pub(crate) cuts: CutPositions,
    pub(crate) newest_lsn: Lsn,
    /// Per shard: the LSN of each slice of slots. A record of the log whose LSN is not above it is in the slice already.
    pub(crate) slice_lsns: Vec<SliceLsns>,
}

/// The LSNs of one shard's slices, by slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct SliceLsns(Vec<Lsn>);

impl SliceLsns {
    /// Whether a log record of this slot is newer than what the checkpoint has of it.
    pub(crate) fn is_newer(&self, slot: SeriesSlot, lsn: Lsn) -> bool {
        self.0.get((slot.0 / SLICE) as usize).is_none_or(|slice| lsn > *slice)
    }

    fn set(&mut self, first_slot: u32, lsn: Lsn) {
        let at = (first_slot / SLICE) as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, Lsn(0));
        }
        self.0[at] = lsn;
    }
}

/// The frames of one shard with their offsets in the file.
#[derive(Default)]
struct ShardFrames<'a> {
    symbols: Option<(u64, &'a [u8])>,
    slices: Vec<(u64, &'a [u8])>,
}

/// A checkpoint taken apart; what belongs to shards is still as it was written.
struct Parts<'a> {
    shards: Vec<ShardFrames<'a>>,
    metadata: Vec<MetricMetadata>,
    end: Option<End>,
}

impl<'a> Parts<'a> {
    fn new(shards: ShardCount) -> Self {
        let shards = shards.iter().map(|_| ShardFrames::default()).collect();
        Self { shards, metadata: Vec::new(), end: None }
    }

    fn take(&mut self, offset: u64, frame: Frame<'a>, options: &HeadOptions) -> Result<(), Bad> {
        let Frame { kind, shard, payload } = frame;
        let fail = |what: &str| bad(what, "something else");
        let of_shard = self.shards.get_mut(shard as usize).ok_or_else(|| fail("a shard of the directory"));
        match kind {
            FrameKind::Preamble => check_preamble(payload, options)?,
            FrameKind::Slice => of_shard?.slices.push((offset, payload)),
            FrameKind::Symbols => of_shard?.symbols = Some((offset, payload)),
            FrameKind::Metadata => {
                let statements = layout::read_metadata(payload);
                self.metadata.extend(statements.ok_or_else(|| fail("metadata statements"))?);
            }
            FrameKind::End => {
                self.end = Some(serde_json::from_slice(payload).map_err(|_| fail("an end of version 1"))?);
            }
        }
        Ok(())
    }
}

/// Loads checkpoint `number` of `bytes` length from `dir`; the head-chunk log is opened as it says.
pub(crate) fn load(
    fs: Arc<dyn Fs>,
    dir: &Path,
    number: u64,
    bytes: u64,
    options: &HeadOptions,
) -> Result<Loaded, CheckpointError> {
    let path = path_of(dir, number);
    let region = fs.map(&path).map_err(|source| CheckpointError::Io { path: path.clone(), source })?;
    let corrupt = |offset, bad| corrupt(&path, offset, bad);
    if region.len() as u64 != bytes {
        return Err(corrupt(0, bad(format!("{bytes} bytes"), format!("{}", region.len()))));
    }
    let mut parts = Parts::new(options.shards);
    for frame in layout::frames(&region) {
        let (offset, frame) = frame.map_err(|(offset, b)| corrupt(offset, b))?;
        parts.take(offset, frame, options).map_err(|b| corrupt(offset, b))?;
    }
    let Parts { shards, metadata, end } = parts;
    let end = end.ok_or_else(|| corrupt(bytes, bad("a frame `end`", "the end of the file")))?;
    let log = HeadLog::open(fs, &options.log_dir, &end.log_segments, HeadPos(end.log_end), options.window)?;
    let head = Head::with_log(options, log);
    let slice_lsns = load_shards(&head.shards, shards).map_err(|(offset, bad)| corrupt(offset, bad))?;
    let found: u64 = head.shards.iter().map(|s| s.series.lock().live() as u64).sum();
    if found != end.series {
        return Err(corrupt(bytes, bad(format!("{} series", end.series), format!("{found}"))));
    }
    {
        let mut store = head.metadata.lock();
        metadata.iter().for_each(|m| {
            store.add(m);
        });
    }
    Ok(Loaded {
        head,
        cuts: CutPositions::from_entries(&end.cuts),
        newest_lsn: Lsn(end.newest_lsn),
        slice_lsns,
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

/// Loads all shards, on as many threads as there are cores.
fn load_shards(shards: &[Shard], frames: Vec<ShardFrames<'_>>) -> Result<Vec<SliceLsns>, (u64, Bad)> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(shards.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(shard), Some(frames)) = (shards.get(at), frames.get(at)) else { return Ok(done) };
            done.push((at, load_shard(shard, frames)?));
        }
    };
    let mut lsns = vec![SliceLsns::default(); shards.len()];
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            for (at, of_shard) in worker.join().expect("loading does not panic")? {
                lsns[at] = of_shard;
            }
        }
        Ok(lsns)
    })
}

fn load_shard(shard: &Shard, frames: &ShardFrames<'_>) -> Result<SliceLsns, (u64, Bad)> {
    let mut lsns = SliceLsns::default();
    let Some((offset, symbols)) = frames.symbols else {
        let first = frames.slices.first().map_or(0, |s| s.0);
        return if frames.slices.is_empty() {
            Ok(lsns)
        } else {
            Err((first, bad("symbols of the shard", "none")))
        };
    };
    let mut index = layout::read_symbols(symbols).ok_or((offset, bad("symbols", "a contradiction")))?;
    let mut series = shard.series.lock();
    for (number, (offset, payload)) in frames.slices.iter().enumerate() {
        let fail = || (*offset, bad("a slice of series", "a contradiction"));
        let mut slice = SliceReader::new(payload).ok_or_else(fail)?;
        // Slices without gaps: a slot far out would claim memory for all before it.
        if u64::from(slice.slots.start) != number as u64 * u64::from(SLICE)
            || slice.slots.len() > SLICE as usize
        {
            return Err(fail());
        }
        lsns.set(slice.slots.start, Lsn(slice.lsn));
        while let Some((state, row)) = slice.next().map_err(|()| fail())? {
            let slot = SeriesSlot(state.slot);
            if series.record(slot).is_some() || !index.is_valid_row(row) {
                return Err(fail());
            }
            series.restore(&state).map_err(|e| (*offset, bad("an open chunk", e.to_string())))?;
            index.insert(slot, row);
        }
    }
    *shard.index.write() = index;
    Ok(lsns)
}

/// Counts the series of each shard in a checkpoint, checking every frame.
pub(crate) fn count(fs: &dyn Fs, path: &Path, shards: u16) -> Result<Vec<u64>, CheckpointError> {
    let region = fs.map(path).map_err(|source| CheckpointError::Io { path: path.into(), source })?;
    let mut counts = vec![0; usize::from(shards)];
    for frame in layout::frames(&region) {
        let counted = frame.and_then(|(at, frame)| count_in(&frame, &mut counts).map_err(|bad| (at, bad)));
        counted.map_err(|(offset, bad)| corrupt(path, offset, bad))?;
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

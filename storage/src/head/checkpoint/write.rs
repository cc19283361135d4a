//! Writing a checkpoint.

use super::layout::{self, End, FrameKind, Preamble};
use super::{CheckpointError, path_of, postings};
use crate::head::Head;
use crate::head::cuts::CutPositions;
use crate::head::log::{HeadLog, HeadPos, SegmentWindows};
use crate::head::series::SeriesState;
use crate::head::shard::{SLICE, Shard};
use crate::index::Bitmap;
use crate::io::{Fs, Pace, PacedWriter};
use crate::model::{Lsn, SeriesSlot, TimestampMs};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Metadata statements per frame are bounded by bytes.
const METADATA_FRAME_BYTES: usize = 1 << 20;

/// A checkpoint that is on disk, but not in force yet.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    /// The smallest LSN of a slice: what is above it must be replayed.
    pub(crate) oldest_lsn: Lsn,
    pub(crate) log_end: u64,
}

/// The file, and the frame being built.
struct Out {
    file: PacedWriter,
    frame: Vec<u8>,
}

impl Out {
    fn frame(&mut self, kind: FrameKind, shard: u32, payload: &[u8]) -> io::Result<()> {
        self.frame.clear();
        layout::put_frame(&mut self.frame, kind, shard, payload);
        self.file.put(&self.frame)
    }
}

/// Writes checkpoint `number` of `head` into `dir`; `cuts` say what of the head-chunk log is in blocks. `newest_lsn` gives the log's
/// newest LSN; it is asked under each slice's lock. File, directory and head-chunk log are synced.
pub(crate) fn write(
    fs: &dyn Fs,
    dir: &Path,
    number: u64,
    pace: &Arc<Pace>,
    head: &Head,
    cuts: &CutPositions,
    newest_lsn: &dyn Fn() -> Lsn,
) -> Result<Written, CheckpointError> {
    let path = path_of(dir, number);
    let io = |path: &PathBuf, source| CheckpointError::Io { path: path.clone(), source };
    let file = PacedWriter::create(fs, &path, pace).map_err(|e| io(&path, e))?;
    let mut out = Out { file, frame: Vec::new() };
    out.file.put(&layout::file_header()).map_err(|e| io(&path, e))?;
    let (mut oldest, mut newest, mut series) = (newest_lsn(), Lsn(0), 0);
    let preamble = Preamble {
        seed: head.seed.0,
        shards: head.shards.len() as u16,
        account_label: head.account_label.to_string(),
        window_ms: head.window.0,
    };
    out.frame(FrameKind::Preamble, 0, &json(&preamble)).map_err(|e| io(&path, e))?;
    let cut_entries = cuts.to_entries();
    out.frame(FrameKind::Cuts, 0, &json(&cut_entries)).map_err(|e| io(&path, e))?;
    for shard in &head.shards {
        let written = write_shard(&mut out, shard, &head.log, newest_lsn).map_err(|e| io(&path, e))?;
        (oldest, newest) = (oldest.min(written.oldest), newest.max(written.newest));
        series += written.series;
    }
    newest = newest.max(write_metadata(&mut out, head, newest_lsn).map_err(|e| io(&path, e))?);
    let (log_end, mut log_segments) = head.log.sync()?;
    drop_cut_segments(&mut log_segments, cuts);
    let end = End { series, newest_lsn: newest.0, log_end: log_end.0, log_segments, cuts: cut_entries };
    out.frame(FrameKind::End, 0, &json(&end)).map_err(|e| io(&path, e))?;
    let bytes = out.file.finish().and_then(|n| fs.sync_dir(dir).map(|()| n)).map_err(|e| io(&path, e))?;
    Ok(Written { bytes, oldest_lsn: oldest, log_end: log_end.0 })
}

/// Drops the oldest segments, as far as all of their records are cut: no start that finds these cuts wants them, and they are
/// removed as soon as no query reads them.
fn drop_cut_segments(segments: &mut Vec<SegmentWindows>, cuts: &CutPositions) {
    let is_cut = |s: &SegmentWindows| {
        s.windows.iter().all(|w| cuts.covers(TimestampMs(*w), HeadPos::after_segment(s.segment)))
    };
    let wanted = segments.iter().position(|s| !is_cut(s)).unwrap_or(segments.len());
    segments.drain(..wanted);
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain structs with string keys")
}

struct ShardWritten {
    oldest: Lsn,
    newest: Lsn,
    series: u64,
}

fn write_shard(
    out: &mut Out,
    shard: &Shard,
    log: &HeadLog,
    newest_lsn: &dyn Fn() -> Lsn,
) -> io::Result<ShardWritten> {
    let id = u32::from(shard.id.0);
    let mut written = ShardWritten { oldest: Lsn(u64::MAX), newest: Lsn(0), series: 0 };
    let mut states: Vec<SeriesState<'_>> = Vec::new();
    let mut payload = Vec::new();
    let mut slots_written = Bitmap::new();
    let mut first = 0;
    loop {
        states.clear();
        let (lsn, slots) = {
            let mut series = shard.series.lock();
            let end = series.slots().min(first + SLICE);
            if first >= end {
                break;
            }
            series.copy_states(first..end, log, &mut states);
            (newest_lsn(), first..end)
        };
        payload.clear();
        layout::put_slice_head(&mut payload, lsn.0, &slots, states.len());
        {
            let index = shard.index.read();
            for state in &states {
                let row =
                    index.row(SeriesSlot(state.slot)).expect("nothing leaves while a checkpoint is written");
                layout::put_series(&mut payload, state, row);
            }
        }
        written.oldest = written.oldest.min(lsn);
        written.newest = written.newest.max(lsn);
        written.series += states.len() as u64;
        slots_written.extend(states.iter().map(|s| s.slot));
        out.frame(FrameKind::Slice, id, &payload)?;
        first = slots.end;
        // What was registered since a slice that is not full has slots of that slice, and is newer: it is replayed.
        if !first.is_multiple_of(SLICE) {
            break;
        }
    }
    payload.clear();
    let mut image = Vec::new();
    {
        // Of one moment, so that each value has its list.
        let index = shard.index.read();
        layout::put_symbols(&mut payload, &index);
        postings::put_postings(&mut image, &index, &slots_written);
    }
    out.frame(FrameKind::Symbols, id, &payload)?;
    out.frame(FrameKind::Postings, id, &image)?;
    Ok(written)
}

fn write_metadata(out: &mut Out, head: &Head, newest_lsn: &dyn Fn() -> Lsn) -> io::Result<Lsn> {
    let (items, lsn) = {
        let metadata = head.metadata.lock();
        (metadata.iter().cloned().collect::<Vec<_>>(), newest_lsn())
    };
    let mut payload = Vec::new();
    for item in &items {
        layout::put_metadata(&mut payload, item);
        if payload.len() >= METADATA_FRAME_BYTES {
            out.frame(FrameKind::Metadata, 0, &payload)?;
            payload.clear();
        }
    }
    if !payload.is_empty() {
        out.frame(FrameKind::Metadata, 0, &payload)?;
    }
    Ok(lsn)
}

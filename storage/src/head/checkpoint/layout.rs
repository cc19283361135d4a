//! The bytes of a checkpoint (`docs/format/checkpoint.md`): frames, and what is in those of one shard.

use crate::head::cuts::CutEntry;
use crate::head::log::{HeadPos, SegmentWindows};
use crate::head::series::SeriesState;
use crate::head::symbols::HeadIndex;
use crate::model::{
    FILE_HEADER_BYTES, FoundHeader, MetricKind, MetricMetadata, TimestampMs, check_file_header, varint,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::ops::Range;

const MAGIC: &[u8; 8] = b"CRDLCKPT";
const VERSION: u32 = 1;
pub(super) const FRAME_HEADER_BYTES: usize = 16;
const FRAME_CHECKED_BYTES: usize = 12;
/// Of a series' flags.
const LAST_IN_DOUBT: u8 = 1;
/// That sample is a native histogram.
const LAST_IS_HISTOGRAM: u8 = 2;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FrameKind {
    Preamble = 1,
    Slice = 2,
    Symbols = 3,
    Metadata = 4,
    End = 5,
    Postings = 6,
    Cuts = 7,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preamble {
    pub(crate) seed: u64,
    pub(crate) shards: u16,
    pub(crate) account_label: String,
    pub(crate) window_ms: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    pub(super) series: u64,
    pub(super) newest_lsn: u64,
    pub(super) log_end: u64,
    pub(super) log_segments: Vec<SegmentWindows>,
    pub(super) cuts: Vec<CutEntry>,
}

impl End {
    /// Whether positions can be those of a log: the next segment has a number, and segments ascend to the end's.
    pub(super) fn is_plausible(&self) -> bool {
        let end = HeadPos(self.log_end);
        let segments = || self.log_segments.iter().map(|s| s.segment);
        end.is_plausible() && segments().is_sorted_by(|a, b| a < b) && segments().all(|s| s <= end.segment())
    }
}

pub(super) fn file_header() -> [u8; FILE_HEADER_BYTES] {
    crate::model::file_header(MAGIC, VERSION)
}

/// Refuses a file that another version wrote. One with a damaged header is read as far as it goes.
pub(super) fn check_version(file: &[u8]) -> Result<(), Bad> {
    match check_file_header(file, MAGIC, VERSION) {
        FoundHeader::Other(found) => Err(bad(format!("version {VERSION}"), format!("version {found}"))),
        FoundHeader::This | FoundHeader::Damaged => Ok(()),
    }
}

/// Appends a frame.
pub(super) fn put_frame(out: &mut Vec<u8>, kind: FrameKind, shard: u32, payload: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[kind as u8, 0, 0, 0]);
    out.extend_from_slice(&shard.to_le_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out[start..]), payload);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
}

/// A frame as read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) kind: FrameKind,
    pub(super) shard: u32,
    pub(super) payload: &'a [u8],
}

/// What is wrong with bytes: what should be there, and what is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) expected: String,
    pub(super) found: String,
}

pub(super) fn bad(expected: impl Into<String>, found: impl Into<String>) -> Bad {
    Bad { expected: expected.into(), found: found.into() }
}

/// The frames of a file with their offsets; of damage, where it begins, and then the next frame behind it.
pub(super) fn frames(file: &[u8], shards: u16) -> Frames<'_> {
    let header = match check_file_header(file, MAGIC, VERSION) {
        FoundHeader::This => None,
        _ => Some((0, bad("the header of a checkpoint of version 1", "other bytes"))),
    };
    // Candidates for frames may be many, overlap, and claim any length.
    let checks_left = 4 * file.len() + (1 << 20);
    Frames { file, at: FILE_HEADER_BYTES, shards, header, checks_left }
}

/// See [`frames`].
pub(super) struct Frames<'a> {
    file: &'a [u8],
    at: usize,
    shards: u16,
    /// What is wrong with the file's header.
    header: Option<(u64, Bad)>,
    /// How many more bytes may be run through a checksum in search of the frame behind damage.
    checks_left: usize,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<(u64, Frame<'a>), (u64, Bad)>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(damage) = self.header.take() {
            return Some(Err(damage));
        }
        let (offset, mut rest) = (self.at, self.file.get(self.at..).filter(|r| !r.is_empty())?);
        Some(match take_frame(&mut rest) {
            Ok(frame) => {
                self.at = self.file.len() - rest.len();
                Ok((offset as u64, frame))
            }
            Err(bad) => {
                self.at = self.next_frame().unwrap_or(self.file.len());
                Err((offset as u64, bad))
            }
        })
    }
}

impl Frames<'_> {
    /// Where the next frame behind a damaged one begins: where its length says, if that is so, else the next place that
    /// has a frame.
    fn next_frame(&mut self) -> Option<usize> {
        let header = self.file.get(self.at..self.at + FRAME_HEADER_BYTES)?;
        let claimed = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let claimed = self.at.checked_add(FRAME_HEADER_BYTES)?.checked_add(claimed)?;
        if self.is_frame(claimed) == Some(true) {
            return Some(claimed);
        }
        for at in self.at + 1..self.file.len().saturating_sub(FRAME_HEADER_BYTES - 1) {
            if self.is_frame(at)? {
                return Some(at);
            }
        }
        None
    }

    /// Whether a frame begins there; `None` once the search has cost enough.
    fn is_frame(&mut self, at: usize) -> Option<bool> {
        let Some(mut rest) = self.file.get(at..) else { return Some(false) };
        let Some(header) = rest.first_chunk::<FRAME_HEADER_BYTES>() else { return Some(false) };
        let shard = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let plausible = (1..=7).contains(&header[0])
            && header[1..4] == [0; 3]
            && shard < u32::from(self.shards)
            && length <= rest.len() - FRAME_HEADER_BYTES;
        if !plausible {
            return Some(false);
        }
        self.checks_left = self.checks_left.checked_sub(length + FRAME_HEADER_BYTES)?;
        Some(take_frame(&mut rest).is_ok())
    }
}

/// Reads the frame at the front of `bytes`, and moves past it.
fn take_frame<'a>(bytes: &mut &'a [u8]) -> Result<Frame<'a>, Bad> {
    let cut_off = || bad("a whole frame", "the end of the file");
    let (header, rest) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>().ok_or_else(cut_off)?;
    let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let payload = rest.get(..u32_at(8) as usize).ok_or_else(cut_off)?;
    let found = crc32c::crc32c_append(crc32c::crc32c(&header[..FRAME_CHECKED_BYTES]), payload);
    if found != u32_at(12) {
        return Err(bad(format!("checksum {:08x}", u32_at(12)), format!("{found:08x}")));
    }
    use FrameKind::{Cuts, End, Metadata, Postings, Preamble, Slice, Symbols};
    let kinds = [Preamble, Slice, Symbols, Metadata, End, Postings, Cuts];
    let kind = kinds.into_iter().find(|k| *k as u8 == header[0]);
    let kind = kind.ok_or_else(|| bad("a frame of kind 1 to 7", format!("kind {}", header[0])))?;
    *bytes = &rest[payload.len()..];
    Ok(Frame { kind, shard: u32_at(4), payload })
}

/// Appends names, values and schemas.
pub(super) fn put_symbols(out: &mut Vec<u8>, index: &HeadIndex) {
    let names: Vec<_> = index.names().collect();
    varint::put(out, names.len() as u64);
    for (name, values) in names {
        varint::put_bytes(out, name.as_bytes());
        let values: Vec<_> = values.collect();
        varint::put(out, values.len() as u64);
        values.iter().for_each(|v| varint::put_bytes(out, v.as_bytes()));
    }
    let schemas: Vec<_> = index.schemas().collect();
    varint::put(out, schemas.len() as u64);
    for schema in schemas {
        varint::put(out, schema.len() as u64);
        schema.iter().for_each(|n| varint::put(out, u64::from(n.0)));
    }
}

/// Reads a count of things that take at least `least` bytes each, so that memory follows what is there.
fn take_count(bytes: &mut &[u8], least: usize) -> Option<usize> {
    let n = usize::try_from(varint::take(bytes)?).ok()?;
    (n.checked_mul(least)? <= bytes.len()).then_some(n)
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(varint::take_bytes(bytes)?).ok()
}

/// Reads names, values and schemas into an index without series.
pub(super) fn read_symbols(mut bytes: &[u8]) -> Option<HeadIndex> {
    let bytes = &mut bytes;
    let n = take_count(bytes, 2)?;
    let mut names = Vec::with_capacity(n);
    for _ in 0..n {
        let name = take_text(bytes)?;
        let n = take_count(bytes, 1)?;
        let values = (0..n).map(|_| take_text(bytes)).collect::<Option<Vec<_>>>()?;
        names.push((name, values));
    }
    let n = take_count(bytes, 1)?;
    let mut schemas = Vec::with_capacity(n);
    for _ in 0..n {
        let n = take_count(bytes, 1)?;
        let schema = (0..n).map(|_| u32::try_from(varint::take(bytes)?).ok()).collect::<Option<Vec<_>>>()?;
        schemas.push(schema);
    }
    if !bytes.is_empty() {
        return None;
    }
    HeadIndex::restore(names, schemas)
}

/// Appends the head of a slice; its series follow.
pub(super) fn put_slice_head(out: &mut Vec<u8>, lsn: u64, slots: &Range<u32>, series: usize) {
    out.extend_from_slice(&lsn.to_le_bytes());
    out.extend_from_slice(&slots.start.to_le_bytes());
    out.extend_from_slice(&(slots.end - slots.start).to_le_bytes());
    out.extend_from_slice(&(series as u32).to_le_bytes());
}

/// Appends a series of a slice.
pub(super) fn put_series(out: &mut Vec<u8>, state: &SeriesState<'_>, row: &[u8]) {
    out.extend_from_slice(&state.slot.to_le_bytes());
    let in_doubt = if state.last_in_doubt { LAST_IN_DOUBT } else { 0 };
    let flags = in_doubt | if state.last_is_histogram { LAST_IS_HISTOGRAM } else { 0 };
    out.extend_from_slice(&[state.generation, flags]);
    out.extend_from_slice(&state.fingerprint.to_le_bytes());
    out.extend_from_slice(&state.family.to_le_bytes());
    out.extend_from_slice(&state.last_t.to_le_bytes());
    out.extend_from_slice(&state.last_bits.to_le_bytes());
    out.extend_from_slice(&state.tail.to_le_bytes());
    varint::put_bytes(out, row);
    varint::put_bytes(out, &state.open);
    varint::put(out, state.late.len() as u64);
    for (t, v) in &state.late {
        varint::put(out, varint::zigzag(state.last_t.wrapping_sub(t.0)));
        out.extend_from_slice(&v.to_bits().to_le_bytes());
    }
}

/// The most late samples of one series: several times what its buffer may hold. A chunk must take them all.
const LATE_MAX: usize = 4096;

/// A slice's head, and the series in it still to be read.
pub(super) struct SliceReader<'a> {
    pub(super) lsn: u64,
    pub(super) slots: Range<u32>,
    left: u32,
    bytes: &'a [u8],
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

impl<'a> SliceReader<'a> {
    pub(super) fn new(mut bytes: &'a [u8]) -> Option<Self> {
        let lsn = u64::from_le_bytes(take(&mut bytes)?);
        let first = u32::from_le_bytes(take(&mut bytes)?);
        let end = first.checked_add(u32::from_le_bytes(take(&mut bytes)?))?;
        let left = u32::from_le_bytes(take(&mut bytes)?);
        Some(Self { lsn, slots: first..end, left, bytes })
    }

    /// How many series are still to be read.
    pub(super) fn series(&self) -> u64 {
        u64::from(self.left)
    }

    /// The next series with its row; `Ok(None)` at the end, `Err` where bytes are missing or left over.
    pub(super) fn next(&mut self) -> Result<Option<(SeriesState<'a>, &'a [u8])>, ()> {
        if self.left == 0 {
            return if self.bytes.is_empty() { Ok(None) } else { Err(()) };
        }
        self.left -= 1;
        let series = self.read().ok_or(())?;
        if !self.slots.contains(&series.0.slot) {
            return Err(());
        }
        Ok(Some(series))
    }

    fn read(&mut self) -> Option<(SeriesState<'a>, &'a [u8])> {
        let b = &mut self.bytes;
        let slot = u32::from_le_bytes(take(b)?);
        let [generation, flags] = take(b)?;
        let mut state = SeriesState {
            slot,
            generation,
            last_in_doubt: flags & LAST_IN_DOUBT != 0,
            last_is_histogram: flags & LAST_IS_HISTOGRAM != 0,
            fingerprint: u128::from_le_bytes(take(b)?),
            family: u64::from_le_bytes(take(b)?),
            last_t: i64::from_le_bytes(take(b)?),
            last_bits: u64::from_le_bytes(take(b)?),
            tail: u64::from_le_bytes(take(b)?),
            ..SeriesState::default()
        };
        let row = varint::take_bytes(b)?;
        state.open = Cow::Borrowed(varint::take_bytes(b)?);
        let n = take_count(b, 9).filter(|n| *n <= LATE_MAX)?;
        for _ in 0..n {
            let t = state.last_t.wrapping_sub(varint::unzigzag(varint::take(b)?));
            state.late.push((TimestampMs(t), f64::from_bits(u64::from_le_bytes(take(b)?))));
        }
        state.late.is_sorted_by(|a, b| a.0 < b.0).then_some((state, row))
    }
}

/// For fuzzing: computes the checksums of a file's frames anew, as far as their lengths lead.
#[cfg(feature = "fuzz")]
pub(crate) fn make_checksums_fit(file: &mut [u8]) {
    let mut at = FILE_HEADER_BYTES;
    while let Some(frame) = file.get_mut(at..).filter(|f| f.len() >= FRAME_HEADER_BYTES) {
        let len =
            FRAME_HEADER_BYTES + u32::from_le_bytes([frame[8], frame[9], frame[10], frame[11]]) as usize;
        let Some((header, payload)) = frame.get_mut(..len).map(|f| f.split_at_mut(FRAME_HEADER_BYTES)) else {
            return;
        };
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..FRAME_CHECKED_BYTES]), payload);
        header[FRAME_CHECKED_BYTES..].copy_from_slice(&crc.to_le_bytes());
        at += len;
    }
}

/// For fuzzing: bytes as a file, and as the payload of frames.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(bytes: &[u8]) {
    frames(bytes, 16).for_each(drop);
    let _ = read_symbols(bytes);
    let _ = read_metadata(bytes);
    let mut table =
        crate::head::series::SeriesTable::new(crate::model::ShardId(0), crate::model::DurationMs(7_200_000));
    if let Some(mut slice) = SliceReader::new(bytes) {
        while let Ok(Some((state, _))) = slice.next() {
            if state.slot < 4096 && table.record(crate::model::SeriesSlot(state.slot)).is_none() {
                let _ = table.restore(&state);
            }
        }
    }
}

pub(super) fn put_metadata(out: &mut Vec<u8>, item: &MetricMetadata) {
    varint::put_bytes(out, item.family.as_bytes());
    out.push(item.kind.number());
    varint::put_bytes(out, item.unit.as_bytes());
    varint::put_bytes(out, item.help.as_bytes());
}

pub(super) fn read_metadata(mut bytes: &[u8]) -> Option<Vec<MetricMetadata>> {
    let bytes = &mut bytes;
    let mut items = Vec::new();
    while !bytes.is_empty() {
        let family = take_text(bytes)?.into();
        let [kind] = take(bytes)?;
        let (unit, help) = (take_text(bytes)?.into(), take_text(bytes)?.into());
        items.push(MetricMetadata { family, kind: MetricKind::from_number(kind), unit, help });
    }
    Some(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LabelSet, SeriesSlot};
    use proptest::prelude::*;

    fn index() -> HeadIndex {
        let mut index = HeadIndex::default();
        let labels = LabelSet::from_pairs([("__name__", "up"), ("job", "x")]).unwrap();
        let row = index.row_of(&labels).unwrap();
        index.insert(SeriesSlot(0), &row);
        index
    }

    fn state() -> SeriesState<'static> {
        SeriesState {
            slot: 1,
            generation: 2,
            fingerprint: 3,
            family: 4,
            last_t: 5,
            last_bits: 6,
            last_in_doubt: true,
            last_is_histogram: false,
            tail: 7,
            open: b"open"[..].into(),
            late: vec![(TimestampMs(2), 1.0), (TimestampMs(4), -1.0)],
        }
    }

    #[test]
    fn golden_frame() {
        let mut out = vec![];
        put_frame(&mut out, FrameKind::Slice, 9, b"xy");
        let head = b"\x02\0\0\0\x09\0\0\0\x02\0\0\0";
        let mut want = head.to_vec();
        want.extend_from_slice(&crc32c::crc32c(b"\x02\0\0\0\x09\0\0\0\x02\0\0\0xy").to_le_bytes());
        want.extend_from_slice(b"xy");
        assert_eq!(out, want);
        assert_eq!(file_header(), *b"CRDLCKPT\x01\0\0\0\xb8\x70\xd8\xb6");
    }

    #[test]
    fn a_version_is_believed_where_the_header_is_sound() {
        let check = |file: &[u8], version_is_known, damage| {
            assert_eq!(check_version(file).is_ok(), version_is_known, "{file:?}");
            assert_eq!(frames(file, 4).filter(Result::is_err).count(), damage, "{file:?}");
        };
        check(&file_header(), true, 0);
        check(b"CRDLCKPT\x01\0\0\0\0\0\0\0", true, 0);
        check(b"CRDLCKPT\x03\0\0\0\0\0\0\0", true, 1);
        check(&crate::model::file_header(MAGIC, 2), false, 1);
        let mut flipped = file_header();
        flipped[8] ^= 2;
        check(&flipped, true, 1);
    }

    #[test]
    fn golden_symbols() {
        let mut out = vec![];
        put_symbols(&mut out, &index());
        assert_eq!(out, b"\x02\x08__name__\x01\x02up\x03job\x01\x01x\x01\x02\x00\x01");
        assert_eq!(read_symbols(&out).unwrap().names().count(), 2);
    }

    #[test]
    fn golden_slice() {
        let mut out = vec![];
        put_slice_head(&mut out, 11, &(0..1024), 1);
        put_series(&mut out, &state(), b"row");
        let mut want = b"\x0b\0\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\x01\0\0\0".to_vec();
        want.extend_from_slice(b"\x01\0\0\0\x02\x01\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0");
        want.extend_from_slice(b"\x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x03row\x04open\x02");
        want.extend_from_slice(b"\x06\0\0\0\0\0\0\xf0\x3f\x02\0\0\0\0\0\0\xf0\xbf");
        assert_eq!(out, want);
        let mut slice = SliceReader::new(&out).unwrap();
        assert_eq!((slice.lsn, slice.slots.clone(), slice.series()), (11, 0..1024, 1));
        let (found, row) = slice.next().unwrap().unwrap();
        assert_eq!(
            (found.slot, found.last_in_doubt, found.open, found.late, row),
            (1, true, state().open, state().late, &b"row"[..])
        );
        assert!(slice.next().unwrap().is_none());
    }

    #[test]
    fn metadata_round_trip() {
        let item = MetricMetadata {
            family: "m".into(),
            kind: MetricKind::Gauge,
            unit: "s".into(),
            help: "text".into(),
        };
        let mut out = vec![];
        put_metadata(&mut out, &item);
        assert_eq!(out, b"\x01m\x02\x01s\x04text");
        assert_eq!(read_metadata(&out).unwrap(), [item]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = take_frame(&mut &bytes[..]);
            frames(&bytes, 4).for_each(drop);
            let _ = read_symbols(&bytes);
            let _ = read_metadata(&bytes);
            if let Some(mut slice) = SliceReader::new(&bytes) {
                while let Ok(Some(_)) = slice.next() {}
            }
        }

        #[test]
        fn damaged_symbols_and_slices_do_not_panic(at: usize, flip in 1u8..) {
            let mut symbols = vec![];
            put_symbols(&mut symbols, &index());
            let n = symbols.len();
            symbols[at % n] ^= flip;
            let _ = read_symbols(&symbols);
            let mut slice = vec![];
            put_slice_head(&mut slice, 11, &(0..1024), 1);
            put_series(&mut slice, &state(), b"row");
            let n = slice.len();
            slice[at % n] ^= flip;
            if let Some(mut slice) = SliceReader::new(&slice) {
                while let Ok(Some(_)) = slice.next() {}
            }
        }
    }
}

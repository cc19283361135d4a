//! The bytes of a batch: builder → layout → reader. The page is `docs/format/wal.md`.
//!
//! ```text
//! magic 4 | version 1 | flags 1 | reserved 2 | length 4 | crc32c 4 | lsn 8 | synced 8 | records
//! record: type 1 | flags 1 | shard 2 | length 4 | body
//! ```

use crate::codec::ChunkKind;
use crate::model::{Lsn, MetricKind, SeriesSlot, ShardId, TimestampMs, varint};

/// Not text, so that a search for the next batch rarely stops at a label.
const MAGIC: [u8; 4] = [0xd7, 0x43, 0x57, 0x42];
const VERSION: u8 = 1;

const VERSION_AT: usize = 4;
const FLAGS_AT: usize = VERSION_AT + 1;
const RESERVED_AT: usize = FLAGS_AT + 1;
const LENGTH_AT: usize = RESERVED_AT + 2;
const CRC_AT: usize = LENGTH_AT + 4;
const LSN_AT: usize = CRC_AT + 4;
const SYNCED_AT: usize = LSN_AT + 8;
/// The bytes of a batch before its payload.
pub(super) const HEADER_LEN: usize = SYNCED_AT + 8;

const RECORD_HEADER_LEN: usize = 8;
const SAMPLE_LEN: usize = 4 + 1 + 8;

const REGISTRATION: u8 = 1;
const SAMPLES: u8 = 2;
const METADATA: u8 = 4;
const INTEGER_HISTOGRAM: u8 = 6;
const FLOAT_HISTOGRAM: u8 = 7;

/// The records of one batch as they gather. Reusable: nothing is allocated per sample once it has grown.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    /// Room for the header, then the records; empty without any.
    bytes: Vec<u8>,
    run: Option<Run>,
}

/// The samples record that is still growing.
#[derive(Clone, Copy, Debug)]
struct Run {
    shard: ShardId,
    t: TimestampMs,
    record_at: usize,
}

impl BatchBuilder {
    /// Says which label set a slot stands for from now on. `section` is canonical.
    pub fn registration(&mut self, shard: ShardId, slot: SeriesSlot, generation: u8, section: &[u8]) {
        let at = self.begin_record(REGISTRATION, shard);
        self.bytes.extend_from_slice(&slot.0.to_le_bytes());
        self.bytes.push(generation);
        self.bytes.extend_from_slice(section);
        self.end_record(at);
    }

    /// Adds a sample. Samples of one shard and time that follow one another share a header.
    #[inline]
    pub fn sample(&mut self, shard: ShardId, slot: SeriesSlot, generation: u8, t: TimestampMs, v: f64) {
        if !self.run.is_some_and(|run| run.t == t && run.shard == shard) {
            self.begin_run(shard, t);
        }
        let mut sample = [0; SAMPLE_LEN];
        sample[..4].copy_from_slice(&slot.0.to_le_bytes());
        sample[4] = generation;
        sample[5..].copy_from_slice(&v.to_bits().to_le_bytes());
        self.bytes.extend_from_slice(&sample);
    }

    /// Adds a histogram, encoded as on its own.
    pub fn histogram(
        &mut self,
        shard: ShardId,
        (slot, generation): (SeriesSlot, u8),
        t: TimestampMs,
        (kind, encoded): (ChunkKind, &[u8]),
    ) {
        let kind = if kind == ChunkKind::IntegerHistogram { INTEGER_HISTOGRAM } else { FLOAT_HISTOGRAM };
        let at = self.begin_record(kind, shard);
        self.bytes.extend_from_slice(&slot.0.to_le_bytes());
        self.bytes.push(generation);
        self.bytes.extend_from_slice(&t.0.to_le_bytes());
        self.bytes.extend_from_slice(encoded);
        self.end_record(at);
    }

    /// Says what is known of a metric family.
    pub fn metadata(&mut self, family: &str, kind: MetricKind, unit: &str, help: &str) {
        let at = self.begin_record(METADATA, ShardId(0));
        self.bytes.push(kind.number());
        for text in [family, unit, help] {
            varint::put_bytes(&mut self.bytes, text.as_bytes());
        }
        self.end_record(at);
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes that the batch takes in the log.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.run = None;
    }

    fn begin_run(&mut self, shard: ShardId, t: TimestampMs) {
        let record_at = self.begin_record(SAMPLES, shard);
        self.bytes.extend_from_slice(&t.0.to_le_bytes());
        self.run = Some(Run { shard, t, record_at });
    }

    fn begin_record(&mut self, kind: u8, shard: ShardId) -> usize {
        self.end_run();
        if self.bytes.is_empty() {
            self.bytes.resize(HEADER_LEN, 0);
        }
        let at = self.bytes.len();
        let [lo, hi] = shard.0.to_le_bytes();
        self.bytes.extend_from_slice(&[kind, 0, lo, hi, 0, 0, 0, 0]);
        at
    }

    fn end_run(&mut self) {
        if let Some(run) = self.run.take() {
            self.end_record(run.record_at);
        }
    }

    fn end_record(&mut self, at: usize) {
        let body = self.bytes.len() - at - RECORD_HEADER_LEN;
        let body = u32::try_from(body).expect("requests are bounded far below 4 GiB");
        self.bytes[at + 4..at + RECORD_HEADER_LEN].copy_from_slice(&body.to_le_bytes());
    }

    /// The samples records so far.
    #[cfg(test)]
    pub(crate) fn built_samples(&mut self) -> impl Iterator<Item = SamplesRecord<'_>> {
        let payload = self.finish(Lsn(1)).get(HEADER_LEN..).unwrap_or_default();
        BatchReader::new(payload).filter_map(|r| match r {
            Ok(Record::Samples(samples)) => Some(samples),
            _ => None,
        })
    }

    /// The whole batch but for what [`seal`] fills in.
    pub(super) fn finish(&mut self, lsn: Lsn) -> &[u8] {
        self.end_run();
        let length =
            u32::try_from(self.bytes.len() - HEADER_LEN).expect("requests are bounded far below 4 GiB");
        let header = &mut self.bytes[..HEADER_LEN];
        header[..VERSION_AT].copy_from_slice(&MAGIC);
        header[VERSION_AT] = VERSION;
        header[LENGTH_AT..CRC_AT].copy_from_slice(&length.to_le_bytes());
        header[LSN_AT..SYNCED_AT].copy_from_slice(&lsn.0.to_le_bytes());
        &self.bytes
    }
}

/// The length and LSN of the batch that `bytes`, which [`BatchBuilder::finish`] made, begin with; `None` at their end.
pub(super) fn next_built(bytes: &[u8]) -> Option<(usize, Lsn)> {
    let header = bytes.first_chunk::<HEADER_LEN>()?;
    Some((HEADER_LEN + u32_at(header, LENGTH_AT) as usize, Lsn(u64_at(header, LSN_AT))))
}

/// A batch with any payload.
#[cfg(feature = "fuzz")]
pub(super) fn wrap(payload: &[u8], lsn: Lsn) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN];
    bytes[..VERSION_AT].copy_from_slice(&MAGIC);
    bytes[VERSION_AT] = VERSION;
    bytes[LENGTH_AT..CRC_AT].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes[LSN_AT..SYNCED_AT].copy_from_slice(&lsn.0.to_le_bytes());
    bytes.extend_from_slice(payload);
    seal(&mut bytes, lsn.previous());
    bytes
}

/// Computes the checksum of the batch at the start of `bytes` anew; its length.
#[cfg(feature = "fuzz")]
pub(super) fn make_checksum_fit(bytes: &mut [u8]) -> Option<usize> {
    let header = bytes.first_chunk::<HEADER_LEN>().filter(|h| h.starts_with(&MAGIC))?;
    let len = HEADER_LEN + u32_at(header, LENGTH_AT) as usize;
    let batch = bytes.get_mut(..len)?;
    let crc = checksum(batch);
    batch[CRC_AT..LSN_AT].copy_from_slice(&crc.to_le_bytes());
    Some(len)
}

/// Completes a batch: what was durable before it, and the checksum.
pub(super) fn seal(batch: &mut [u8], synced: Lsn) {
    batch[SYNCED_AT..HEADER_LEN].copy_from_slice(&synced.0.to_le_bytes());
    let crc = checksum(batch);
    batch[CRC_AT..LSN_AT].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(batch: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&batch[..CRC_AT]), &batch[LSN_AT..])
}

/// What stands at a place of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A batch whose checksum is right.
    Batch(Batch<'a>),
    /// A batch whose checksum is right, in a form that this version does not know.
    Newer(u8),
    /// No batch. The claimed length is what looking at it has cost.
    Nothing { checked: usize },
}

/// A batch whose checksum is right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch<'a> {
    pub(super) lsn: Lsn,
    pub(super) synced: Lsn,
    /// With the header.
    pub(super) len: usize,
    payload: &'a [u8],
}

/// Looks for a batch at the very start of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Found<'_> {
    let Some(header) = bytes.first_chunk::<HEADER_LEN>().filter(|h| h.starts_with(&MAGIC)) else {
        return Found::Nothing { checked: 0 };
    };
    let length = u32_at(header, LENGTH_AT) as usize;
    let Some(batch) = length.checked_add(HEADER_LEN).and_then(|len| bytes.get(..len)) else {
        return Found::Nothing { checked: 0 };
    };
    if checksum(batch) != u32_at(header, CRC_AT) {
        return Found::Nothing { checked: batch.len() };
    }
    if header[VERSION_AT] != VERSION || header[FLAGS_AT..LENGTH_AT] != [0; LENGTH_AT - FLAGS_AT] {
        return Found::Newer(header[VERSION_AT]);
    }
    Found::Batch(Batch {
        lsn: Lsn(u64_at(header, LSN_AT)),
        synced: Lsn(u64_at(header, SYNCED_AT)),
        len: batch.len(),
        payload: &batch[HEADER_LEN..],
    })
}

#[cfg(any(test, feature = "fuzz"))]
impl<'a> Batch<'a> {
    pub(super) fn records(&self) -> BatchReader<'a> {
        BatchReader::new(self.payload)
    }
}

/// The first place at or after `from` where a batch could begin.
pub(super) fn find_magic(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|&b| b == MAGIC[0])?;
        if bytes[at..].starts_with(&MAGIC) {
            return Some(at);
        }
        at += 1;
    }
}

/// The `N` bytes at a constant place of a header that is long enough for it.
fn array<const N: usize>(header: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    header[at..at + N].try_into().expect("constant places lie within the header")
}

fn u32_at(header: &[u8; HEADER_LEN], at: usize) -> u32 {
    u32::from_le_bytes(array(header, at))
}

fn u64_at(header: &[u8; HEADER_LEN], at: usize) -> u64 {
    u64::from_le_bytes(array(header, at))
}

/// The records of a batch in the order in which they were added. Ends after the first error.
#[derive(Clone, Debug)]
pub struct BatchReader<'a> {
    rest: &'a [u8],
    offset: usize,
    failed: bool,
}

impl<'a> BatchReader<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload, offset: 0, failed: false }
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A slot stands for this label set from here on.
    Registration {
        /// The shard.
        shard: ShardId,
        /// The slot in it.
        slot: SeriesSlot,
        /// Which of the slot's series.
        generation: u8,
        /// The label section; canonical, if the writer kept to its contract: checked by who makes labels of it.
        section: &'a [u8],
    },
    /// Samples of one shard and time.
    Samples(SamplesRecord<'a>),
    /// A histogram.
    Histogram(HistogramRecord<'a>),
    /// What is known of a metric family.
    Metadata {
        /// The family's name.
        family: &'a str,
        /// Its kind.
        kind: MetricKind,
        /// The unit, may be empty.
        unit: &'a str,
        /// The description, may be empty.
        help: &'a str,
    },
    /// A record of a type that this version does not know.
    Unknown {
        /// The type.
        kind: u8,
    },
}

/// Samples of one shard and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SamplesRecord<'a> {
    /// The shard.
    pub shard: ShardId,
    /// The time of all of them.
    pub t: TimestampMs,
    samples: &'a [[u8; SAMPLE_LEN]],
}

/// One histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistogramRecord<'a> {
    /// The shard.
    pub shard: ShardId,
    /// The slot in it.
    pub slot: SeriesSlot,
    /// Which of the slot's series.
    pub generation: u8,
    /// The time.
    pub t: TimestampMs,
    /// Which kind it is.
    pub kind: ChunkKind,
    /// The histogram on its own, still to be decoded.
    pub encoded: &'a [u8],
}

/// One sample of a [`SamplesRecord`].
#[derive(Clone, Copy, Debug)]
pub struct LoggedSample {
    /// The shard.
    pub shard: ShardId,
    /// The slot in it.
    pub slot: SeriesSlot,
    /// Which of the slot's series.
    pub generation: u8,
    /// The time.
    pub t: TimestampMs,
    /// The value.
    pub v: f64,
}

impl SamplesRecord<'_> {
    /// The samples in the order in which they were added.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = LoggedSample> + '_ {
        self.samples.iter().map(|&[s0, s1, s2, s3, generation, v @ ..]| LoggedSample {
            shard: self.shard,
            slot: SeriesSlot(u32::from_le_bytes([s0, s1, s2, s3])),
            generation,
            t: self.t,
            v: f64::from_bits(u64::from_le_bytes(v)),
        })
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }
}

/// Why the bytes of a batch, though its checksum is right, are no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record that cannot be read at byte {offset} of the batch's payload: {reason}")]
pub struct RecordError {
    /// Where the record begins.
    pub offset: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl<'a> Iterator for BatchReader<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        let before = self.rest.len();
        let result =
            take_record(&mut self.rest).map_err(|reason| RecordError { offset: self.offset, reason });
        self.offset += before - self.rest.len();
        self.failed = result.is_err();
        Some(result)
    }
}

fn take_record<'a>(rest: &mut &'a [u8]) -> Result<Record<'a>, &'static str> {
    let (&[kind, flags, shard_lo, shard_hi, l0, l1, l2, l3], tail) =
        rest.split_first_chunk::<RECORD_HEADER_LEN>().ok_or("its header is cut off")?;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let (body, tail) = tail.split_at_checked(length).ok_or("its body is cut off")?;
    *rest = tail;
    let shard = ShardId(u16::from_le_bytes([shard_lo, shard_hi]));
    match kind {
        _ if flags != 0 => Ok(Record::Unknown { kind }),
        REGISTRATION => registration(shard, body),
        SAMPLES => samples(shard, body),
        INTEGER_HISTOGRAM => histogram(shard, ChunkKind::IntegerHistogram, body),
        FLOAT_HISTOGRAM => histogram(shard, ChunkKind::FloatHistogram, body),
        METADATA => metadata(body).ok_or("metadata is cut off or not UTF-8"),
        _ => Ok(Record::Unknown { kind }),
    }
}

fn registration(shard: ShardId, body: &[u8]) -> Result<Record<'_>, &'static str> {
    let (&[s0, s1, s2, s3, generation], section) =
        body.split_first_chunk::<5>().ok_or("a registration is cut off")?;
    let slot = SeriesSlot(u32::from_le_bytes([s0, s1, s2, s3]));
    Ok(Record::Registration { shard, slot, generation, section })
}

fn samples(shard: ShardId, body: &[u8]) -> Result<Record<'_>, &'static str> {
    let (&t, rest) = body.split_first_chunk::<8>().ok_or("samples without a time")?;
    match rest.as_chunks::<SAMPLE_LEN>() {
        (samples, []) => {
            Ok(Record::Samples(SamplesRecord { shard, t: TimestampMs(i64::from_le_bytes(t)), samples }))
        }
        _ => Err("the last sample is cut off"),
    }
}

fn histogram(shard: ShardId, kind: ChunkKind, body: &[u8]) -> Result<Record<'_>, &'static str> {
    const CUT_OFF: &str = "a histogram is cut off";
    let (&[s0, s1, s2, s3, generation], rest) = body.split_first_chunk::<5>().ok_or(CUT_OFF)?;
    let (&t, encoded) = rest.split_first_chunk::<8>().ok_or(CUT_OFF)?;
    let slot = SeriesSlot(u32::from_le_bytes([s0, s1, s2, s3]));
    let t = TimestampMs(i64::from_le_bytes(t));
    Ok(Record::Histogram(HistogramRecord { shard, slot, generation, t, kind, encoded }))
}

fn metadata(body: &[u8]) -> Option<Record<'_>> {
    let (&kind, mut rest) = body.split_first()?;
    let mut text = || std::str::from_utf8(varint::take_bytes(&mut rest)?).ok();
    let (family, unit, help) = (text()?, text()?, text()?);
    let kind = MetricKind::from_number(kind);
    rest.is_empty().then_some(Record::Metadata { family, kind, unit, help })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(b: &mut BatchBuilder, lsn: u64, synced: u64) -> Vec<u8> {
        let mut bytes = b.finish(Lsn(lsn)).to_vec();
        seal(&mut bytes, Lsn(synced));
        bytes
    }

    #[test]
    fn golden() {
        let mut b = BatchBuilder::default();
        b.registration(ShardId(3), SeriesSlot(7), 1, b"\x0a");
        b.sample(ShardId(3), SeriesSlot(7), 1, TimestampMs(1000), 1.0);
        b.sample(ShardId(3), SeriesSlot(8), 0, TimestampMs(1000), -0.0);
        b.metadata("up", MetricKind::Gauge, "", "x");
        let bytes = batch(&mut b, 5, 4);
        let want = [
            &b"\xd7\x43\x57\x42\x01\0\0\0\x47\0\0\0"[..],
            b"\xb1\x37\x17\xa9",
            b"\x05\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0",
            b"\x01\0\x03\0\x06\0\0\0\x07\0\0\0\x01\x0a",
            b"\x02\0\x03\0\x22\0\0\0\xe8\x03\0\0\0\0\0\0",
            b"\x07\0\0\0\x01\0\0\0\0\0\0\xf0\x3f",
            b"\x08\0\0\0\0\0\0\0\0\0\0\0\x80",
            b"\x04\0\0\0\x07\0\0\0\x02\x02up\0\x01x",
        ]
        .concat();
        assert_eq!(bytes, want, "{bytes:x?}");
    }

    #[test]
    fn runs_share_a_header_while_shard_and_time_stay() {
        let mut b = BatchBuilder::default();
        for (shard, t) in [(0, 1), (0, 1), (1, 1), (1, 2), (0, 1)] {
            b.sample(ShardId(shard), SeriesSlot(0), 0, TimestampMs(t), 0.0);
        }
        let bytes = batch(&mut b, 1, 0);
        let Found::Batch(parsed) = parse(&bytes) else { panic!("no batch") };
        let runs: Vec<usize> = parsed
            .records()
            .map(|r| match r.unwrap() {
                Record::Samples(s) => s.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(runs, [2, 1, 1, 1]);
        b.clear();
        assert_eq!((b.is_empty(), b.len()), (true, 0));
    }

    #[test]
    fn what_is_no_batch_is_told_apart() {
        let mut b = BatchBuilder::default();
        b.metadata("up", MetricKind::Gauge, "", "");
        let good = batch(&mut b, 5, 4);
        let check = |change: &dyn Fn(&mut Vec<u8>), want: Found<'_>| {
            let mut bytes = good.clone();
            change(&mut bytes);
            assert_eq!(parse(&bytes), want);
        };
        let nothing = |checked| Found::Nothing { checked };
        check(&|b| b[0] = 0, nothing(0));
        check(&|b| b.truncate(b.len() - 1), nothing(0));
        check(&|b| b.truncate(HEADER_LEN - 1), nothing(0));
        check(&|b| b[LENGTH_AT..CRC_AT].fill(0xff), nothing(0));
        for at in VERSION_AT..good.len() {
            if !(LENGTH_AT..CRC_AT).contains(&at) {
                check(&|b| b[at] ^= 1, nothing(good.len()));
            }
        }
        let reseal = |b: &mut Vec<u8>| seal(b, Lsn(4));
        check(
            &|b| {
                b[VERSION_AT] = 2;
                reseal(b)
            },
            Found::Newer(2),
        );
        check(
            &|b| {
                b[FLAGS_AT] = 1;
                reseal(b)
            },
            Found::Newer(1),
        );
    }

    #[test]
    fn malformed_records_are_refused_and_unknown_ones_skipped() {
        let check = |payload: &[u8], want: Result<Record<'_>, &str>| {
            let mut reader = BatchReader { rest: payload, offset: 0, failed: false };
            match (reader.next().unwrap(), want) {
                (Ok(found), Ok(want)) => assert_eq!(found, want),
                (Err(e), Err(want)) => {
                    assert!(e.to_string().contains(want), "{e}");
                    assert!(reader.next().is_none());
                }
                (found, want) => panic!("{found:?}, not {want:?}"),
            }
        };
        check(b"\x02\0\0\0\x08\0\0", Err("header is cut off"));
        check(b"\x02\0\0\0\x09\0\0\0aaaaaaaa", Err("body is cut off"));
        check(b"\x02\0\0\0\xff\xff\xff\xffaaaaaaaa", Err("body is cut off"));
        check(b"\x02\0\0\0\x07\0\0\0aaaaaaa", Err("without a time"));
        check(b"\x02\0\0\0\x09\0\0\0aaaaaaaaa", Err("sample is cut off"));
        check(b"\x01\0\0\0\x04\0\0\0aaaa", Err("registration is cut off"));
        check(b"\x04\0\0\0\x02\0\0\0\0\x05", Err("metadata"));
        check(b"\x06\0\0\0\x0c\0\0\0aaaaabbbbbbb", Err("histogram is cut off"));
        check(b"\x07\0\0\0\x04\0\0\0aaaa", Err("histogram is cut off"));
        let histogram = HistogramRecord {
            shard: ShardId(3),
            slot: SeriesSlot(7),
            generation: 1,
            t: TimestampMs(-2),
            kind: ChunkKind::FloatHistogram,
            encoded: b"xyz",
        };
        let golden = b"\x07\0\x03\0\x10\0\0\0\x07\0\0\0\x01\xfe\xff\xff\xff\xff\xff\xff\xffxyz";
        check(golden, Ok(Record::Histogram(histogram)));
        let mut b = BatchBuilder::default();
        b.histogram(ShardId(3), (SeriesSlot(7), 1), TimestampMs(-2), (ChunkKind::FloatHistogram, b"xyz"));
        assert_eq!(b.finish(Lsn(1))[HEADER_LEN..], golden[..]);
        check(b"\x04\0\0\0\x05\0\0\0\0\x01\xff\0\0", Err("metadata"));
        check(b"\x63\0\0\0\x01\0\0\0a", Ok(Record::Unknown { kind: 0x63 }));
        check(b"\x02\x01\0\0\x01\0\0\0a", Ok(Record::Unknown { kind: 2 }));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Registration(u16, u32, u8, Vec<u8>),
        Sample(u16, u32, u8, i64, u64),
        Histogram(u16, u32, u8, i64, bool, Vec<u8>),
        Metadata(String, MetricKind),
    }

    const KINDS: [ChunkKind; 2] = [ChunkKind::IntegerHistogram, ChunkKind::FloatHistogram];

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (any::<u16>(), any::<u32>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40))
                .prop_map(|(a, b, c, d)| Step::Registration(a, b, c, d)),
            (0u16..3, any::<u32>(), any::<u8>(), -1i64..2, any::<u64>())
                .prop_map(|(a, b, c, d, e)| Step::Sample(a, b, c, d, e)),
            (any::<(u16, u32, u8, i64, bool)>(), proptest::collection::vec(any::<u8>(), 0..40))
                .prop_map(|((a, b, c, d, e), f)| Step::Histogram(a, b, c, d, e, f)),
            ("\\PC{0,200}", any::<u8>()).prop_map(|(a, b)| Step::Metadata(a, MetricKind::from_number(b))),
        ]
    }

    proptest! {
        #[test]
        fn round_trip(steps in proptest::collection::vec(step(), 1..40), lsn: u64, synced: u64) {
            let mut b = BatchBuilder::default();
            for s in &steps {
                match s {
                    Step::Registration(shard, slot, g, section) => b.registration(ShardId(*shard), SeriesSlot(*slot), *g, section),
                    Step::Sample(shard, slot, g, t, v) => b.sample(ShardId(*shard), SeriesSlot(*slot), *g, TimestampMs(*t), f64::from_bits(*v)),
                    Step::Histogram(shard, slot, g, t, kind, encoded) => {
                        let (of, kind) = ((SeriesSlot(*slot), *g), KINDS[usize::from(*kind)]);
                        b.histogram(ShardId(*shard), of, TimestampMs(*t), (kind, encoded));
                    }
                    Step::Metadata(text, kind) => b.metadata(text, *kind, "s", text),
                }
            }
            let bytes = batch(&mut b, lsn, synced);
            prop_assert_eq!(next_built(&bytes), Some((bytes.len(), Lsn(lsn))));
            let Found::Batch(parsed) = parse(&bytes) else { panic!("no batch") };
            prop_assert_eq!((parsed.lsn, parsed.synced, parsed.len), (Lsn(lsn), Lsn(synced), bytes.len()));
            let mut want = steps.into_iter();
            for record in parsed.records() {
                match record.unwrap() {
                    Record::Registration { shard, slot, generation, section } => {
                        let Some(Step::Registration(a, b, c, d)) = want.next() else { panic!() };
                        prop_assert_eq!((shard.0, slot.0, generation, section), (a, b, c, &d[..]));
                    }
                    Record::Samples(run) => for s in run.iter() {
                        let Some(Step::Sample(a, b, c, d, e)) = want.next() else { panic!() };
                        prop_assert_eq!((s.shard.0, s.slot.0, s.generation, s.t.0, s.v.to_bits()), (a, b, c, d, e));
                    },
                    Record::Histogram(h) => {
                        let Some(Step::Histogram(a, b, c, d, e, f)) = want.next() else { panic!() };
                        prop_assert_eq!((h.shard.0, h.slot.0, h.generation, h.t.0), (a, b, c, d));
                        prop_assert_eq!((h.kind, h.encoded), (KINDS[usize::from(e)], &f[..]));
                    }
                    Record::Metadata { family, kind, unit, help } => {
                        let Some(Step::Metadata(a, b)) = want.next() else { panic!() };
                        prop_assert_eq!((family, kind, unit, help), (&a[..], b, "s", &a[..]));
                    }
                    Record::Unknown { kind } => panic!("{kind}"),
                }
            }
            prop_assert!(want.next().is_none());
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(mut bytes: Vec<u8>, framed: bool) {
            if framed && bytes.len() >= HEADER_LEN {
                let length = (bytes.len() - HEADER_LEN) as u32;
                bytes[..4].copy_from_slice(&MAGIC);
                bytes[VERSION_AT..LENGTH_AT].copy_from_slice(&[1, 0, 0, 0]);
                bytes[LENGTH_AT..CRC_AT].copy_from_slice(&length.to_le_bytes());
                seal(&mut bytes, Lsn(0));
            }
            if let Found::Batch(b) = parse(&bytes) {
                b.records().for_each(drop);
            }
            find_magic(&bytes, 0);
        }
    }
}

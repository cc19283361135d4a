//! The in-place walk of an uncompressed `WriteRequest`.
//!
//! No label is copied and nothing is allocated per series: a series is the bytes of its label section, whose hash finds it
//! in the head, and a range of one flat list of samples. Only where other fields stand between the labels of a series are
//! they copied together, so that their hash covers all of them.
//!
//! What is malformed refuses the whole request, since nothing after it can be trusted. What labels mean is not looked at
//! here, but for the account, which picks the shard; the insides of exemplars are not read, and those of histograms later.

use crate::labels::{LABEL, RawLabel, read_label, take_plain_label};
use crate::section_hash::SectionHash;
use crate::wire::{Key, Malformed, Reader, Result};
use cardinal_storage::database::AppendRow;
use cardinal_storage::model::{
    Fingerprint, HashSeed, Sample, ShardCount, ShardId, TimestampMs, shard_of_account, shard_of_fingerprint,
};
use std::ops::Range;

const TIMESERIES: Key = Key::len(1);
const METADATA: Key = Key::len(3);
const SAMPLE: Key = Key::len(2);
const EXEMPLAR: Key = Key::len(3);
const HISTOGRAM: Key = Key::len(4);
const VALUE: Key = Key::fixed64(1);
const TIMESTAMP: Key = Key::varint(2);

/// What decides where series go: fixed for a data directory.
#[derive(Clone, Debug)]
pub struct Routing {
    hash: SectionHash,
    shards: ShardCount,
    account_label: String,
}

impl Routing {
    /// Routing by the value of `account_label`, to one of `shards`; `seed` is that of fingerprints.
    pub fn new(seed: HashSeed, shards: ShardCount, account_label: &str) -> Self {
        Self { hash: SectionHash::new(seed), shards, account_label: account_label.into() }
    }
}

/// The most that one request may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkLimits {
    /// Samples, histograms included.
    pub samples_max: u32,
    /// Metadata items that are kept; more are left out, since trouble with metadata never fails a request.
    pub metadata_max: u32,
}

/// Why a request was not walked to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// The bytes are no `WriteRequest`.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// There are more samples than a request may have.
    #[error("the request has more than {max} samples; lower the sender's max_samples_per_send")]
    TooManySamples {
        /// The limit.
        max: u32,
    },
    /// Offsets would not fit in 32 bits.
    #[error("the request has {len} bytes uncompressed, more than can be addressed; send less at once")]
    TooLong {
        /// The request's length.
        len: usize,
    },
}

/// Scratch of the walk, to be used again for the next request.
#[derive(Debug, Default)]
pub struct Walk {
    rows: Vec<Row>,
    samples: Vec<Sample>,
    /// Label sections that had to be copied together, one after another.
    gathered: Vec<u8>,
    metadata: Vec<Range<u32>>,
    counts: WalkCounts,
    /// Series that have histograms, which are `samples` of theirs; and where each histogram stands in the body.
    histogram_rows: Vec<Row>,
    histograms: Vec<Range<u32>>,
}

/// What a request held besides samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkCounts {
    /// Exemplars, which are not stored.
    pub exemplars: u64,
    /// Metadata items, those beyond the limit included.
    pub metadata: u64,
}

/// One series that has samples.
#[derive(Clone, Debug)]
struct Row {
    wire: Fingerprint,
    shard: ShardId,
    section: Section,
    account: Span,
    samples: Range<u32>,
}

/// Where the account stands in the body.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: u32,
    len: u32,
}

impl Span {
    /// Of a part of `body`, whose length fits in 32 bits.
    fn of(part: &[u8], body: &[u8]) -> Self {
        let from = if part.is_empty() { 0 } else { part.as_ptr().addr() - body.as_ptr().addr() };
        Self { from: from as u32, len: part.len() as u32 }
    }

    fn bytes(self, body: &[u8]) -> &[u8] {
        &body[self.from as usize..][..self.len as usize]
    }
}

/// Where a label section stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Section {
    Body(Range<u32>),
    Gathered(Range<u32>),
}

/// A request that has been walked: its series, borrowed from its bytes.
#[derive(Debug)]
pub struct Walked<'a> {
    body: &'a [u8],
    walk: &'a mut Walk,
}

impl Walk {
    /// Walks `body` to its end. Series without samples are left out.
    pub fn read<'a>(
        &'a mut self,
        body: &'a [u8],
        routing: &Routing,
        limits: WalkLimits,
    ) -> Result<Walked<'a>, WalkError> {
        self.clear();
        if u32::try_from(body.len()).is_err() {
            return Err(WalkError::TooLong { len: body.len() });
        }
        let mut reader = Reader::new(body);
        while !reader.is_empty() {
            match reader.key()? {
                TIMESERIES => self.series(reader.message()?, body, routing, limits)?,
                METADATA => self.metadata(reader.message()?, limits),
                other => reader.skip(other, &[1, 3])?,
            }
        }
        Ok(Walked { body, walk: self })
    }

    /// Heap bytes that are kept for the next request.
    pub fn memory_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
            + self.samples.capacity() * size_of::<Sample>()
            + self.gathered.capacity()
            + (self.metadata.capacity() + self.histograms.capacity()) * size_of::<Range<u32>>()
            + self.histogram_rows.capacity() * size_of::<Row>()
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.samples.clear();
        self.gathered.clear();
        self.metadata.clear();
        self.histogram_rows.clear();
        self.histograms.clear();
        self.counts = WalkCounts::default();
    }

    fn metadata(&mut self, message: Reader<'_>, limits: WalkLimits) {
        self.counts.metadata += 1;
        if self.metadata.len() < limits.metadata_max as usize {
            self.metadata.push(place_of(message));
        }
    }

    #[inline]
    fn series(
        &mut self,
        mut message: Reader<'_>,
        body: &[u8],
        routing: &Routing,
        limits: WalkLimits,
    ) -> Result<(), WalkError> {
        let samples_from = self.samples.len() as u32;
        let histograms_from = self.histograms.len() as u32;
        let account_label = routing.account_label.as_bytes();
        let mut account: &[u8] = &[];
        let section_from = message.offset() as u32;
        let mut fields = message.rest();
        while let Some(label) = take_plain_label(&mut fields) {
            if label.name == account_label {
                account = label.value;
            }
        }
        message.advance_to(fields);
        let mut section = Section::Body(section_from..message.offset() as u32);
        while !message.is_empty() {
            let from = message.offset();
            match message.key()? {
                LABEL => {
                    let RawLabel { name, value } = read_label(message.message()?)?;
                    if name == account_label {
                        account = value;
                    }
                    self.extend_section(&mut section, from as u32..message.offset() as u32, body);
                }
                other => self.value(other, &mut message, limits)?,
            }
        }
        let histograms = histograms_from..self.histograms.len() as u32;
        if !histograms.is_empty() {
            let row = self.row(section.clone(), account, histograms, body, routing);
            self.histogram_rows.push(row);
        }
        let samples = samples_from..self.samples.len() as u32;
        if !samples.is_empty() {
            let row = self.row(section, account, samples, body, routing);
            self.rows.push(row);
        }
        Ok(())
    }

    /// Takes what is no label: a sample, or what is counted only.
    #[inline]
    fn value(&mut self, key: Key, message: &mut Reader<'_>, limits: WalkLimits) -> Result<(), WalkError> {
        match key {
            SAMPLE => {
                self.check_room(limits)?;
                let sample = message.message()?;
                self.samples.push(match plain_sample(sample.rest()) {
                    Some(sample) => sample,
                    None => read_sample(sample)?,
                });
            }
            EXEMPLAR => {
                message.message()?;
                self.counts.exemplars += 1;
            }
            HISTOGRAM => {
                self.check_room(limits)?;
                self.histograms.push(place_of(message.message()?));
            }
            other => message.skip(other, &[1, 2, 3, 4])?,
        }
        Ok(())
    }

    #[inline]
    fn row(
        &self,
        section: Section,
        account: &[u8],
        samples: Range<u32>,
        body: &[u8],
        routing: &Routing,
    ) -> Row {
        let wire = routing.hash.of(self.section(&section, body));
        let shard = match account {
            [] => shard_of_fingerprint(wire, routing.shards),
            account => shard_of_account(account, routing.shards),
        };
        Row { wire, shard, section, account: Span::of(account, body), samples }
    }

    /// Whether one more sample or histogram may come: asked before each, so that none sizes the list beyond the limit.
    #[inline]
    fn check_room(&self, limits: WalkLimits) -> Result<(), WalkError> {
        if ((self.samples.len() + self.histograms.len()) as u64) < u64::from(limits.samples_max) {
            return Ok(());
        }
        Err(WalkError::TooManySamples { max: limits.samples_max })
    }

    /// Adds a label to a section: by its place where it follows the last one directly, else by copying both together.
    fn extend_section(&mut self, section: &mut Section, label: Range<u32>, body: &[u8]) {
        let bytes = |range: &Range<u32>| &body[range.start as usize..range.end as usize];
        let from = match section {
            Section::Body(range) if range.start == range.end => {
                *range = label;
                return;
            }
            Section::Body(range) if range.end == label.start => {
                range.end = label.end;
                return;
            }
            Section::Gathered(range) => range.start,
            Section::Body(range) => {
                let from = self.gathered.len() as u32;
                self.gathered.extend_from_slice(bytes(range));
                from
            }
        };
        self.gathered.extend_from_slice(bytes(&label));
        *section = Section::Gathered(from..self.gathered.len() as u32);
    }

    fn section<'a>(&'a self, section: &Section, body: &'a [u8]) -> &'a [u8] {
        let (bytes, range) = match section {
            Section::Body(range) => (body, range),
            Section::Gathered(range) => (&self.gathered[..], range),
        };
        &bytes[range.start as usize..range.end as usize]
    }
}

/// Where a message stands in the body, whose length fits in 32 bits.
fn place_of(message: Reader<'_>) -> Range<u32> {
    let from = message.offset();
    from as u32..(from + message.rest().len()) as u32
}

/// A sample message in the form that practically all have: value, then a timestamp of six bytes, which those between 1971
/// and 2109 take.
#[inline]
fn plain_sample(message: &[u8]) -> Option<Sample> {
    let &[0x09, ref rest @ ..] = message else { return None };
    let (value, rest) = rest.split_first_chunk::<8>()?;
    let &[0x10, a, b, c, d, e, f @ 0..0x80] = rest else { return None };
    if a & b & c & d & e < 0x80 {
        return None;
    }
    let low = |byte: u8| i64::from(byte & 0x7f);
    let t = low(a) | low(b) << 7 | low(c) << 14 | low(d) << 21 | low(e) << 28 | low(f) << 35;
    Some(Sample { t: TimestampMs(t), v: f64::from_le_bytes(*value) })
}

/// Reads any sample message.
fn read_sample(mut message: Reader<'_>) -> Result<Sample> {
    let mut sample = Sample { t: TimestampMs(0), v: 0.0 };
    while !message.is_empty() {
        match message.key()? {
            VALUE => sample.v = f64::from_bits(message.fixed64()?),
            TIMESTAMP => sample.t = TimestampMs(message.varint()? as i64),
            other => message.skip(other, &[1, 2])?,
        }
    }
    Ok(sample)
}

impl<'a> Walked<'a> {
    /// The series that have samples, in the order in which they came. The same series may occur more than once.
    pub fn series(&self) -> impl ExactSizeIterator<Item = AppendRow<'_>> {
        self.walk.rows.iter().map(|row| self.append_row(row))
    }

    fn append_row(&self, row: &Row) -> AppendRow<'_> {
        AppendRow {
            wire: row.wire,
            section: self.walk.section(&row.section, self.body),
            account: row.account.bytes(self.body),
            shard: row.shard,
            samples: row.samples.clone(),
        }
    }

    /// The series that have native histograms, likewise; their samples are [`Self::histograms`].
    pub fn histogram_series(&self) -> impl ExactSizeIterator<Item = AppendRow<'_>> {
        self.walk.histogram_rows.iter().map(|row| self.append_row(row))
    }

    /// The messages of the histograms of all series, one series after another, not decoded.
    pub fn histograms(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.walk.histograms.iter().map(|range| &self.body[range.start as usize..range.end as usize])
    }

    /// The samples of all series, one series after another.
    pub fn samples(&self) -> &[Sample] {
        &self.walk.samples
    }

    /// The metadata messages, to be decoded by prost.
    pub fn metadata(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.walk.metadata.iter().map(|range| &self.body[range.start as usize..range.end as usize])
    }

    /// What else there was.
    pub fn counts(&self) -> WalkCounts {
        self.walk.counts
    }

    /// Removes the samples that `keep` refuses, and with them series that have none left. `keep` sees each sample with the
    /// section of its series.
    pub fn retain_samples(&mut self, mut keep: impl FnMut(&[u8], Sample) -> bool) {
        let mut rows = std::mem::take(&mut self.walk.rows);
        let mut samples = std::mem::take(&mut self.walk.samples);
        let mut kept = 0;
        for row in &mut rows {
            let section = self.walk.section(&row.section, self.body);
            let from = kept;
            for i in row.samples.clone() {
                let sample = samples[i as usize];
                if keep(section, sample) {
                    samples[kept as usize] = sample;
                    kept += 1;
                }
            }
            row.samples = from..kept;
        }
        samples.truncate(kept as usize);
        rows.retain(|row| !row.samples.is_empty());
        (self.walk.rows, self.walk.samples) = (rows, samples);
    }
}

#[cfg(test)]
mod tests;

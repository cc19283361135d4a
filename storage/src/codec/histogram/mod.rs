//! Encoding 16: native histograms, one column per bucket; and a histogram on its own, as the log has it.
//!
//! ```text
//! samples ─► shape (schema, bounds, layouts; which bucket is which column) ─► columns ─► integer streams, or doubles
//! ```
//!
//! Writer and reader of the layouts *Encoding 16* and *A histogram on its own* in `docs/format/chunk.md`.

mod columns;
mod shape;
mod single;

pub use single::{put_histogram, take_histogram};

use super::chunk::{self, ChunkKind, Encoding, PutTimes};
use super::error::{ChunkError, take_u8};
use super::ints::{self, IntScratch, IntStream};
use super::seal::{EncoderHint, Times, encode_values};
use super::{Packing, plain, runs, times};
use crate::model::{Counts, Histogram, HistogramSample, ResetHint, TimestampMs, varint};
use columns::{put_counts, take_counts};
use shape::Shape;

/// What the samples of a chunk may weigh together, and how many cells its columns may have: 2 MiB once decoded.
const WEIGHT_MAX: usize = 1 << 18;
const CELLS_MAX: usize = 1 << 18;
/// Columns of a sample that are no buckets, and some room.
const COLUMNS_BESIDE: usize = 8;
/// A chunk is long enough with so many samples or so much weight: who wants one of them decodes all.
const SAMPLES_GOOD: usize = 240;
const WEIGHT_GOOD: usize = 1 << 15;

/// In place of a hint: each sample has its own.
const HINTS_DIFFER: u8 = 255;

/// How many of `samples`, from the first on, may be one chunk: at least one of any.
pub fn histogram_run(samples: &[HistogramSample]) -> usize {
    let Some(first) = samples.first() else { return 0 };
    let (mut weight, mut columns) = (0, 0);
    let mut before = None;
    for (n, sample) in samples.iter().enumerate() {
        let h = &sample.h;
        if before.is_none_or(|before| !shape::has_layout_of(h, before)) {
            columns += shape::buckets(h);
        }
        weight += shape::weight(h);
        let fits = || weight <= WEIGHT_GOOD && (n + 1) * (columns + COLUMNS_BESIDE) <= CELLS_MAX;
        if n > 0 && !(n < SAMPLES_GOOD && fits() && may_share_chunk(h, &first.h)) {
            return n;
        }
        before = Some(h);
    }
    samples.len()
}

/// Whether two histograms may be in one chunk.
pub fn may_share_chunk(a: &Histogram, b: &Histogram) -> bool {
    kind_of(a) == kind_of(b) && shape::is_of_one_chunk(a, b)
}

/// What a chunk of such histograms is.
pub fn kind_of(h: &Histogram) -> ChunkKind {
    match h.counts {
        Counts::Integer(_) => ChunkKind::IntegerHistogram,
        Counts::Float(_) => ChunkKind::FloatHistogram,
    }
}

/// Appends the samples as a chunk in the whole form: times strictly ascending, each sound by its own `check`, and as many as
/// [`histogram_run`] allows.
///
/// # Panics
/// When there are none, or more.
pub fn seal_histograms(samples: &[HistogramSample], times: Times, packing: Packing, out: &mut Vec<u8>) {
    assert!(!samples.is_empty() && histogram_run(samples) == samples.len(), "samples of one chunk");
    debug_assert!(samples.is_sorted_by(|a, b| a.t < b.t), "times ascend strictly");
    let shape = Shape::of(samples);
    let mut values = Vec::new();
    let mut scratch = IntScratch::new(packing);
    shape.put(&mut scratch, &mut values);
    put_hints(samples, &mut scratch, &mut values);
    let sums: Vec<f64> = samples.iter().map(|s| s.h.sum).collect();
    put_doubles(&sums, packing, &mut values);
    put_counts(samples, &shape, packing, &mut scratch, &mut values);
    let mut grid = Vec::new();
    let times = match times {
        Times::Column(id) => PutTimes::Column(id),
        Times::Inline => {
            let t: Vec<i64> = samples.iter().map(|s| s.t.0).collect();
            times::encode_grid(&t, &mut grid);
            PutTimes::Inline(&grid)
        }
    };
    let kind = kind_of(&samples[0].h);
    chunk::put_whole((kind, Encoding::Histograms), samples.len(), times, &values, out);
}

/// Appends the samples of a section, which are at `times`. On error `out` may have grown.
pub(super) fn decode(
    kind: ChunkKind,
    mut section: &[u8],
    times: &[i64],
    out: &mut Vec<HistogramSample>,
) -> Result<(), ChunkError> {
    let (count, section) = (times.len(), &mut section);
    if count * COLUMNS_BESIDE > CELLS_MAX {
        return Err(TOO_LARGE);
    }
    let shape = Shape::take(section, count)?;
    let hints = take_hints(section, count)?;
    let mut sums = Vec::with_capacity(count);
    take_doubles(section, count, &mut sums)?;
    let counts = take_counts(kind, section, &shape, count)?;
    if !section.is_empty() {
        return Err(ChunkError::Malformed("bytes follow the histograms"));
    }
    out.reserve(count);
    for (row, &t) in times.iter().enumerate() {
        let counts = counts.row(row, shape.layout(row));
        out.push(HistogramSample {
            t: TimestampMs(t),
            h: shape.histogram(row, hints[row], sums[row], counts),
        });
    }
    Ok(())
}

const TOO_LARGE: ChunkError = ChunkError::Malformed("a chunk of histograms is larger than any writer makes");

fn put_hints(samples: &[HistogramSample], scratch: &mut IntScratch, out: &mut Vec<u8>) {
    let hints = || samples.iter().map(|s| s.h.reset_hint);
    let first = samples[0].h.reset_hint;
    if hints().all(|h| h == first) {
        return out.push(first.number());
    }
    out.push(HINTS_DIFFER);
    let hints: Vec<i64> = hints().map(|h| i64::from(h.number())).collect();
    ints::encode(&hints, None, scratch, out);
}

fn take_hints(section: &mut &[u8], count: usize) -> Result<Vec<ResetHint>, ChunkError> {
    const UNKNOWN: ChunkError = ChunkError::Malformed("a histogram has an impossible reset hint");
    let hint = |n: i64| u8::try_from(n).ok().and_then(ResetHint::from_number).ok_or(UNKNOWN);
    match take_u8(section)? {
        HINTS_DIFFER => take_ints(section, count)?.into_iter().map(hint).collect(),
        all => Ok(vec![hint(i64::from(all))?; count]),
    }
}

/// The numbers of an integer stream.
fn take_ints(section: &mut &[u8], count: usize) -> Result<Vec<i64>, ChunkError> {
    let mut stream = IntStream::take(section, count)?;
    let mut numbers = vec![0; count];
    stream.fill(&mut numbers);
    Ok(numbers)
}

/// Appends a column of doubles.
fn put_doubles(values: &[f64], packing: Packing, out: &mut Vec<u8>) {
    let mut section = Vec::new();
    let encoding = encode_values(values, packing, &mut EncoderHint::default(), &mut section);
    out.push(encoding.number());
    varint::put_bytes(out, &section);
}

/// Appends the doubles of a column to `out`.
fn take_doubles(section: &mut &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), ChunkError> {
    let encoding = Encoding::from_number(take_u8(section)?);
    let values =
        varint::take_bytes(section).ok_or(ChunkError::Malformed("a column of doubles is cut off"))?;
    match encoding {
        Encoding::Runs => runs::decode(values, count, out),
        encoding => plain::decode(encoding, values, count, out)
            .unwrap_or(Err(ChunkError::Malformed("a column of doubles has an unknown encoding"))),
    }
}

#[cfg(test)]
mod tests;

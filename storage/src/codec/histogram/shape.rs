//! What the histograms of a chunk have in common, and which bucket of each is in which column.

use super::super::error::{ChunkError, take_array, take_u8, take_varint, take_zigzag};
use super::super::ints::{self, IntScratch};
use super::{CELLS_MAX, COLUMNS_BESIDE, TOO_LARGE, WEIGHT_MAX, take_ints};
use crate::model::{
    BUCKETS_MAX, BucketCounts, BucketSpan, Counts, Histogram, HistogramError, HistogramSample, ResetHint,
    varint,
};

/// What a sample weighs beside its buckets, spans and bounds.
const WEIGHT_BESIDE: usize = 16;

/// How many buckets a histogram has.
pub(super) fn buckets(h: &Histogram) -> usize {
    match &h.counts {
        Counts::Integer(c) => c.positive.len() + c.negative.len(),
        Counts::Float(c) => c.positive.len() + c.negative.len(),
    }
}

/// What a sample weighs.
pub(super) fn weight(h: &Histogram) -> usize {
    buckets(h) + weight_beside(h)
}

fn weight_beside(h: &Histogram) -> usize {
    h.positive_spans.len() + h.negative_spans.len() + h.custom_bounds.len() + WEIGHT_BESIDE
}

/// Whether two histograms have the same buckets, if the rest of their shapes is the same.
pub(super) fn has_layout_of(a: &Histogram, b: &Histogram) -> bool {
    (&a.positive_spans, &a.negative_spans) == (&b.positive_spans, &b.negative_spans)
}

/// Whether two histograms may be in one chunk, whatever their buckets.
pub(super) fn is_of_one_chunk(a: &Histogram, b: &Histogram) -> bool {
    let bits = |h: &Histogram| (h.schema, h.zero_threshold.to_bits());
    let bounds = |h: &Histogram| h.custom_bounds.iter().map(|b| b.to_bits()).collect::<Vec<_>>();
    bits(a) == bits(b)
        && a.custom_bounds.len() == b.custom_bounds.len()
        && (a.custom_bounds.is_empty() || bounds(a) == bounds(b))
}

/// The spans of some samples, and the column of each of their buckets.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) positive_spans: Vec<BucketSpan>,
    pub(super) negative_spans: Vec<BucketSpan>,
    /// Of the positive buckets, then of the negative ones.
    pub(super) places: Vec<usize>,
    /// How many of them are positive.
    pub(super) positives: usize,
}

/// The shape of a chunk's histograms.
#[derive(Debug)]
pub(super) struct Shape {
    schema: i8,
    zero_threshold: f64,
    custom_bounds: Vec<f64>,
    layouts: Vec<Layout>,
    /// The layout of each sample; empty where there is one.
    which: Vec<i64>,
    /// How many columns of buckets there are.
    pub(super) columns: usize,
}

impl Shape {
    /// That of samples which may be in one chunk.
    pub(super) fn of(samples: &[HistogramSample]) -> Self {
        let first = &samples[0].h;
        let mut layouts: Vec<Layout> = Vec::new();
        let mut which = Vec::with_capacity(samples.len());
        let mut last = 0;
        for HistogramSample { h, .. } in samples {
            let is =
                |l: &Layout| (&l.positive_spans, &l.negative_spans) == (&h.positive_spans, &h.negative_spans);
            if !layouts.get(last).is_some_and(is) {
                last = layouts.iter().position(is).unwrap_or(layouts.len());
            }
            if last == layouts.len() {
                layouts.push(Layout::new(h.positive_spans.clone(), h.negative_spans.clone()));
            }
            which.push(last as i64);
        }
        let columns = place(&mut layouts);
        Self {
            schema: first.schema,
            zero_threshold: first.zero_threshold,
            custom_bounds: first.custom_bounds.clone(),
            which: if layouts.len() > 1 { which } else { Vec::new() },
            layouts,
            columns,
        }
    }

    pub(super) fn put(&self, scratch: &mut IntScratch, out: &mut Vec<u8>) {
        out.push(self.schema as u8);
        out.extend_from_slice(&self.zero_threshold.to_bits().to_le_bytes());
        put_bounds(&self.custom_bounds, out);
        varint::put(out, self.layouts.len() as u64);
        for layout in &self.layouts {
            put_spans(&layout.positive_spans, out);
            put_spans(&layout.negative_spans, out);
        }
        if !self.which.is_empty() {
            ints::encode(&self.which, None, scratch, out);
        }
    }

    /// Reads the shape of `count` samples, and moves past it. What it makes a reader take memory for is bounded then.
    pub(super) fn take(section: &mut &[u8], count: usize) -> Result<Self, ChunkError> {
        let schema = take_u8(section)? as i8;
        let zero_threshold = f64::from_le_bytes(take_array(section)?);
        let mut probe = empty(schema, zero_threshold, take_bounds(section)?);
        let n = usize::try_from(take_varint(section)?).ok().filter(|n| (1..=count).contains(n));
        let n =
            n.ok_or(ChunkError::Malformed("a chunk of histograms has an impossible number of layouts"))?;
        let (mut layouts, mut weight) = (Vec::new(), 0);
        for _ in 0..n {
            (probe.positive_spans, probe.negative_spans) = (take_spans(section)?, take_spans(section)?);
            probe.check_layout().map_err(no_layout)?;
            let buckets = span_buckets(&probe.positive_spans) + span_buckets(&probe.negative_spans);
            weight += buckets as usize + weight_beside(&probe);
            if weight > WEIGHT_MAX {
                return Err(TOO_LARGE);
            }
            let (positive, negative) = (&mut probe.positive_spans, &mut probe.negative_spans);
            layouts.push(Layout::new(std::mem::take(positive), std::mem::take(negative)));
        }
        let which = if n > 1 { take_ints(section, count)? } else { Vec::new() };
        if which.iter().any(|w| *w < 0 || *w >= n as i64) {
            return Err(ChunkError::Malformed("a histogram has a layout that is not there"));
        }
        let columns = place(&mut layouts);
        let Histogram { custom_bounds, .. } = probe;
        let shape = Self { schema, zero_threshold, custom_bounds, layouts, which, columns };
        let cells = (columns + COLUMNS_BESIDE).saturating_mul(count);
        let weight = (0..count).map(|row| shape.weight(row)).fold(0, usize::saturating_add);
        if cells > CELLS_MAX || weight > WEIGHT_MAX {
            return Err(TOO_LARGE);
        }
        Ok(shape)
    }

    /// The layout of a sample.
    pub(super) fn layout(&self, row: usize) -> &Layout {
        &self.layouts[self.which.get(row).map_or(0, |w| *w as usize)]
    }

    fn weight(&self, row: usize) -> usize {
        let layout = self.layout(row);
        let spans = layout.positive_spans.len() + layout.negative_spans.len();
        layout.places.len() + spans + self.custom_bounds.len() + WEIGHT_BESIDE
    }

    /// The histogram of a sample.
    pub(super) fn histogram(&self, row: usize, reset_hint: ResetHint, sum: f64, counts: Counts) -> Histogram {
        let layout = self.layout(row);
        Histogram {
            schema: self.schema,
            reset_hint,
            zero_threshold: self.zero_threshold,
            sum,
            positive_spans: layout.positive_spans.clone(),
            negative_spans: layout.negative_spans.clone(),
            custom_bounds: self.custom_bounds.clone(),
            counts,
        }
    }
}

impl Layout {
    fn new(positive_spans: Vec<BucketSpan>, negative_spans: Vec<BucketSpan>) -> Self {
        let positives = span_buckets(&positive_spans) as usize;
        Self { positive_spans, negative_spans, places: Vec::new(), positives }
    }
}

/// Gives each bucket that any of the layouts has a column; how many there are.
fn place(layouts: &mut [Layout]) -> usize {
    let union = |spans: fn(&Layout) -> &[BucketSpan]| {
        let mut all: Vec<i64> = layouts.iter().flat_map(|l| indices(spans(l))).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let (positive, negative) = (union(|l| &l.positive_spans), union(|l| &l.negative_spans));
    for layout in layouts {
        let find = |all: &[i64], index| all.binary_search(&index).expect("the union has all indices");
        let positives = indices(&layout.positive_spans).map(|i| find(&positive, i));
        let negatives = indices(&layout.negative_spans).map(|i| positive.len() + find(&negative, i));
        layout.places = positives.chain(negatives).collect();
    }
    positive.len() + negative.len()
}

/// The indices of the buckets of sound spans, ascending.
fn indices(spans: &[BucketSpan]) -> impl Iterator<Item = i64> {
    let mut end = 0;
    spans.iter().flat_map(move |span| {
        let start = end + i64::from(span.offset);
        end = start + i64::from(span.length);
        start..end
    })
}

fn span_buckets(spans: &[BucketSpan]) -> u64 {
    spans.iter().map(|s| u64::from(s.length)).sum()
}

/// A histogram without buckets.
pub(super) fn empty(schema: i8, zero_threshold: f64, custom_bounds: Vec<f64>) -> Histogram {
    let counts = BucketCounts { count: 0, zero: 0, positive: Vec::new(), negative: Vec::new() };
    Histogram {
        schema,
        reset_hint: ResetHint::Unknown,
        zero_threshold,
        sum: 0.0,
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        custom_bounds,
        counts: Counts::Integer(counts),
    }
}

/// For [`Result::map_err`]: what no writer makes.
pub(super) fn no_layout(_: HistogramError) -> ChunkError {
    ChunkError::Malformed("a histogram has spans, bounds or a schema that there cannot be")
}

pub(super) fn put_spans(spans: &[BucketSpan], out: &mut Vec<u8>) {
    varint::put(out, spans.len() as u64);
    for span in spans {
        varint::put(out, varint::zigzag(i64::from(span.offset)));
        varint::put(out, u64::from(span.length));
    }
}

pub(super) fn take_spans(bytes: &mut &[u8]) -> Result<Vec<BucketSpan>, ChunkError> {
    const IMPOSSIBLE: ChunkError = ChunkError::Malformed("a histogram has an impossible span");
    let n = take_count(bytes, 2)?;
    let mut spans = Vec::with_capacity(n);
    for _ in 0..n {
        let offset = i32::try_from(take_zigzag(bytes)?).map_err(|_| IMPOSSIBLE)?;
        let length = u32::try_from(take_varint(bytes)?).map_err(|_| IMPOSSIBLE)?;
        spans.push(BucketSpan { offset, length });
    }
    Ok(spans)
}

pub(super) fn put_bounds(bounds: &[f64], out: &mut Vec<u8>) {
    varint::put(out, bounds.len() as u64);
    bounds.iter().for_each(|b| out.extend_from_slice(&b.to_bits().to_le_bytes()));
}

pub(super) fn take_bounds(bytes: &mut &[u8]) -> Result<Vec<f64>, ChunkError> {
    let n = take_count(bytes, 8)?;
    (0..n).map(|_| take_array(bytes).map(f64::from_le_bytes)).collect()
}

/// How many things of at least `least` bytes each follow, if so many may and can.
fn take_count(bytes: &mut &[u8], least: usize) -> Result<usize, ChunkError> {
    let n =
        usize::try_from(take_varint(bytes)?).ok().filter(|n| *n <= BUCKETS_MAX && n * least <= bytes.len());
    n.ok_or(ChunkError::Malformed("a histogram has more spans or bounds than there can be"))
}

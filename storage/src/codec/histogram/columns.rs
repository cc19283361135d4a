//! The counts of a chunk's histograms, column by column.

use super::super::Packing;
use super::super::chunk::ChunkKind;
use super::super::error::ChunkError;
use super::super::ints::{self, IntScratch};
use super::shape::{Layout, Shape};
use super::{put_doubles, take_doubles, take_ints};
use crate::model::{BucketCounts, Counts, HistogramSample};

/// All counts of some samples: a number of each, and a column for each bucket that any has.
#[derive(Debug)]
struct Matrix<C> {
    rows: usize,
    /// Of integers what the count is above all else; of floats the count.
    counts: Vec<C>,
    zeros: Vec<C>,
    /// Column after column.
    cells: Vec<C>,
}

/// The counts of a chunk that was read.
#[derive(Debug)]
pub(super) struct ChunkCounts(Kinds);

#[derive(Debug)]
enum Kinds {
    Integer(Matrix<u64>),
    Float(Matrix<f64>),
}

impl<C: Copy + Default> Matrix<C> {
    fn new(rows: usize, columns: usize) -> Self {
        let (counts, zeros) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        Self { rows, counts, zeros, cells: vec![C::default(); rows * columns] }
    }

    /// Adds the counts of the next sample.
    fn push(&mut self, count: C, of: &BucketCounts<C>, layout: &Layout) {
        let row = self.counts.len();
        self.counts.push(count);
        self.zeros.push(of.zero);
        for (place, c) in layout.places.iter().zip(of.positive.iter().chain(&of.negative)) {
            self.cells[place * self.rows + row] = *c;
        }
    }

    fn columns(&self) -> impl Iterator<Item = &[C]> {
        [&self.counts[..], &self.zeros].into_iter().chain(self.cells.chunks(self.rows))
    }

    /// The counts of a sample.
    fn row(&self, row: usize, layout: &Layout) -> BucketCounts<C> {
        let (positive, negative) = layout.places.split_at(layout.positives);
        let of = |places: &[usize]| places.iter().map(|p| self.cells[p * self.rows + row]).collect();
        BucketCounts {
            count: self.counts[row],
            zero: self.zeros[row],
            positive: of(positive),
            negative: of(negative),
        }
    }
}

/// The observations that are in buckets, as wrapping goes.
fn in_buckets(counts: &BucketCounts<u64>) -> u64 {
    counts.positive.iter().chain(&counts.negative).fold(counts.zero, |sum, c| sum.wrapping_add(*c))
}

/// Appends the counts of samples of one kind.
pub(super) fn put_counts(
    samples: &[HistogramSample],
    shape: &Shape,
    packing: Packing,
    scratch: &mut IntScratch,
    out: &mut Vec<u8>,
) {
    let mut integers = Matrix::new(samples.len(), shape.columns);
    let mut floats = Matrix::new(samples.len(), shape.columns);
    for (row, sample) in samples.iter().enumerate() {
        match &sample.h.counts {
            Counts::Integer(c) => integers.push(c.count.wrapping_sub(in_buckets(c)), c, shape.layout(row)),
            Counts::Float(c) => floats.push(c.count, c, shape.layout(row)),
        }
    }
    if floats.counts.is_empty() {
        let mut column = Vec::with_capacity(samples.len());
        for counts in integers.columns() {
            column.clear();
            column.extend(counts.iter().map(|c| *c as i64));
            ints::encode(&column, None, scratch, out);
        }
    } else {
        floats.columns().for_each(|column| put_doubles(column, packing, out));
    }
}

/// Reads the counts of `rows` samples, and moves past them. The shape bounds them.
pub(super) fn take_counts(
    kind: ChunkKind,
    section: &mut &[u8],
    shape: &Shape,
    rows: usize,
) -> Result<ChunkCounts, ChunkError> {
    Ok(ChunkCounts(match kind {
        ChunkKind::IntegerHistogram => Kinds::Integer(take_integers(section, shape.columns, rows)?),
        _ => Kinds::Float(take_floats(section, shape.columns, rows)?),
    }))
}

fn take_integers(section: &mut &[u8], columns: usize, rows: usize) -> Result<Matrix<u64>, ChunkError> {
    let mut column = || Ok(take_ints(section, rows)?.into_iter().map(|c| c as u64));
    let (counts, zeros) = (column()?.collect(), column()?.collect());
    let mut cells = Vec::with_capacity(rows * columns);
    for _ in 0..columns {
        cells.extend(column()?);
    }
    Ok(Matrix { rows, counts, zeros, cells })
}

fn take_floats(section: &mut &[u8], columns: usize, rows: usize) -> Result<Matrix<f64>, ChunkError> {
    let mut m =
        Matrix { rows, counts: Vec::new(), zeros: Vec::new(), cells: Vec::with_capacity(rows * columns) };
    take_doubles(section, rows, &mut m.counts)?;
    take_doubles(section, rows, &mut m.zeros)?;
    for _ in 0..columns {
        take_doubles(section, rows, &mut m.cells)?;
    }
    Ok(m)
}

impl ChunkCounts {
    /// The counts of a sample.
    pub(super) fn row(&self, row: usize, layout: &Layout) -> Counts {
        match &self.0 {
            Kinds::Integer(m) => {
                let mut counts = m.row(row, layout);
                counts.count = counts.count.wrapping_add(in_buckets(&counts));
                Counts::Integer(counts)
            }
            Kinds::Float(m) => Counts::Float(m.row(row, layout)),
        }
    }
}

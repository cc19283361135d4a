//! What a query answers.

use crate::explain::Explanation;
use crate::native::FloatHistogram;
use cardinal_storage::model::{LabelSet, TimestampMs};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a series is at one time.
#[derive(Clone, Debug)]
pub enum SampleValue {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

impl SampleValue {
    /// The number, if it is one.
    pub fn float(&self) -> Option<f64> {
        match self {
            Self::Float(v) => Some(*v),
            Self::Histogram(_) => None,
        }
    }
}

impl fmt::Display for SampleValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(v) => v.fmt(f),
            Self::Histogram(h) => h.fmt(f),
        }
    }
}

/// One series of an instant vector.
#[derive(Clone, Debug)]
pub struct VectorSample {
    /// The labels; unique within the vector.
    pub labels: LabelSet,
    /// The evaluation time.
    pub t: TimestampMs,
    /// The value at it.
    pub v: SampleValue,
}

/// One series of a range result.
#[derive(Clone, Debug)]
pub struct MatrixSeries {
    /// The labels; unique within the matrix.
    pub labels: LabelSet,
    /// The numbers in ascending time.
    pub points: Vec<(TimestampMs, f64)>,
    /// The native histograms in ascending time, at no time of `points`; one of the two is never empty.
    pub histograms: Vec<(TimestampMs, Arc<FloatHistogram>)>,
}

/// The result of a query. Samples that the storage gave are the same to the bit, NaN payloads included.
#[derive(Clone, Debug)]
pub enum Value {
    /// One number at one time.
    Scalar {
        /// The evaluation time.
        t: TimestampMs,
        /// The number.
        v: f64,
    },
    /// A string literal.
    String {
        /// The evaluation time.
        t: TimestampMs,
        /// Its bytes; PromQL strings need not be UTF-8, so what is not was replaced.
        s: String,
    },
    /// An instant vector. In order where the outermost function sorts (`sort`, `topk` and their like), else in no
    /// promised order.
    Vector(Vec<VectorSample>),
    /// A range vector, or the result of a range query; sorted by labels.
    Matrix(Vec<MatrixSeries>),
}

impl Value {
    /// `scalar`, `string`, `vector` or `matrix`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Scalar { .. } => "scalar",
            Self::String { .. } => "string",
            Self::Vector(_) => "vector",
            Self::Matrix(_) => "matrix",
        }
    }

    /// How many series it has; `None` for scalars and strings.
    pub fn series_count(&self) -> Option<usize> {
        match self {
            Self::Scalar { .. } | Self::String { .. } => None,
            Self::Vector(v) => Some(v.len()),
            Self::Matrix(m) => Some(m.len()),
        }
    }

    /// Drops all series beyond the first `limit` (0 keeps all); whether any were dropped.
    pub fn truncate(&mut self, limit: usize) -> bool {
        let over = limit > 0 && self.series_count().is_some_and(|n| n > limit);
        match self {
            Self::Vector(v) if over => v.truncate(limit),
            Self::Matrix(m) if over => m.truncate(limit),
            _ => {}
        }
        over
    }
}

/// A result with what is to be said about it.
#[derive(Clone, Debug)]
pub struct Output {
    /// The result.
    pub value: Value,
    /// Warnings, sorted: the result may not be what was meant. Each begins with `PromQL warning:`.
    pub warnings: Vec<String>,
    /// Remarks, sorted. Each begins with `PromQL info:`.
    pub infos: Vec<String>,
    /// What the query cost.
    pub stats: QueryStats,
    /// What it was going to do and did, if that was asked for.
    pub explanation: Option<Box<Explanation>>,
}

impl Output {
    /// The answer to what was not run.
    pub(crate) fn nothing(is_range: bool, explanation: Option<Box<Explanation>>) -> Self {
        let value = if is_range { Value::Matrix(Vec::new()) } else { Value::Vector(Vec::new()) };
        Self { value, warnings: Vec::new(), infos: Vec::new(), stats: QueryStats::default(), explanation }
    }
}

/// What a query cost.
#[derive(Clone, Debug, Default)]
pub struct QueryStats {
    /// Samples that fell into a selector's window, counted once per evaluation step.
    pub samples_queryable: u64,
    /// Of these: samples that the window of the step before did not hold.
    pub samples_read: u64,
    /// Samples that the storage gave, whether or not any step looked at them.
    pub samples_decoded: u64,
    /// Chunks that they came from.
    pub chunks: u64,
    /// The bytes of these chunks.
    pub chunk_bytes: u64,
    /// The most samples held at once.
    pub samples_peak: u64,
    /// Series that the selectors matched.
    pub series: u64,
    /// What each step looked at, if that was asked for.
    pub steps: Option<StepSamples>,
    /// Parsing, checking and planning.
    pub prepare: Duration,
    /// Evaluation.
    pub eval: Duration,
    /// Sorting of the result.
    pub sort: Duration,
}

/// What each step of a query looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepSamples {
    /// Per step and its time: as [`QueryStats::samples_queryable`].
    pub queryable: Vec<(TimestampMs, u64)>,
    /// Per step and its time: as [`QueryStats::samples_read`].
    pub read: Vec<(TimestampMs, u64)>,
}

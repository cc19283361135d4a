//! The words that all of Cardinal shares: times, samples, labels, identities, windows, the order of the log and the merge
//! rule.

mod excerpt;
mod file_header;
mod histogram;
mod ids;
mod labels;
mod lsn;
mod metadata;
mod sample;
mod time;
pub mod varint;

pub use excerpt::excerpt;
pub(crate) use file_header::{FILE_HEADER_BYTES, FoundHeader, check_file_header, file_header};
#[cfg(test)]
pub(crate) use histogram::testing::any_histogram;
pub use histogram::{
    BUCKETS_MAX, BucketCounts, BucketSpan, CUSTOM_SCHEMA, Counts, EXPONENTIAL_SCHEMAS, Histogram,
    HistogramError, HistogramSample, ResetHint, Side, merge_histograms,
};
pub use ids::{
    BlockId, Fingerprint, HashSeed, SeriesKey, SeriesSlot, ShardCount, ShardId, TombstoneId, le_rank,
    shard_of_account, shard_of_fingerprint,
};
pub(crate) use labels::put_label;
pub use labels::{Label, LabelSet, LabelSetBuilder, LabelSetError, SectionError, SectionIter};
pub use lsn::{Lsn, LsnRange};
pub use metadata::{MetricKind, MetricMetadata};
pub use sample::{STALE_NAN_BITS, Sample, is_stale, merge_values, stale_nan};
pub use time::{DurationMs, TimeRange, TimestampMs, Window};

/// The label that carries a metric's name.
pub const METRIC_NAME: &str = "__name__";

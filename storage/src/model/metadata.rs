//! What senders say about a metric family: its kind, unit and help text.

/// The kind of a metric family, by remote write's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MetricKind {
    /// Not said.
    #[default]
    Unknown = 0,
    /// Only grows, but for resets.
    Counter = 1,
    /// Goes up and down.
    Gauge = 2,
    /// Cumulative buckets, sum and count.
    Histogram = 3,
    /// A histogram whose buckets go up and down.
    GaugeHistogram = 4,
    /// Quantiles, sum and count.
    Summary = 5,
    /// Facts as labels of a constant 1.
    Info = 6,
    /// One series per state.
    StateSet = 7,
}

impl MetricKind {
    /// The number on disk, which is remote write's.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The kind of a number; what is not known is [`Self::Unknown`].
    pub fn from_number(n: u8) -> Self {
        use MetricKind::*;
        [Unknown, Counter, Gauge, Histogram, GaugeHistogram, Summary, Info, StateSet]
            .get(usize::from(n))
            .copied()
            .unwrap_or_default()
    }

    /// The name that APIs use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }
}

/// One statement about a family. Different senders may differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricMetadata {
    /// The family's name: `x` for `x_bucket`, `x_sum` and `x_count`.
    pub family: String,
    /// Its kind.
    pub kind: MetricKind,
    /// Its unit, often empty.
    pub unit: String,
    /// What it means.
    pub help: String,
}

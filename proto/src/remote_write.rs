//! Remote write 1.0: `prometheus.WriteRequest` and what it holds.
//!
//! Field numbers and types are the protocol's. Times are milliseconds since the Unix epoch. Senders sort labels by name,
//! receivers must not rely on it.

/// One request's body, before compression with snappy's block format.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WriteRequest {
    /// Series with their samples. The same labels may occur more than once.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    /// What senders know about metric families; often a request of its own.
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<MetricMetadata>,
}

/// One series and its new points.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TimeSeries {
    /// The labels, the metric's name (`__name__`) among them.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Points with one float each.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// Samples of events behind the series, with labels of their own.
    #[prost(message, repeated, tag = "3")]
    pub exemplars: Vec<Exemplar>,
    /// Points with one native histogram each.
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<Histogram>,
}

/// One name with its value.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Label {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The value; empty means the same as no label.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// One float at one time.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Sample {
    /// The value; a staleness marker is a NaN of particular bits.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since the epoch.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

/// One event behind a series, such as a trace.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Exemplar {
    /// What identifies the event.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// The event's value.
    #[prost(double, tag = "2")]
    pub value: f64,
    /// Milliseconds since the epoch.
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

/// One native histogram at one time. It is a float histogram exactly where `count` is its float arm.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Histogram {
    /// The number of observations.
    #[prost(oneof = "HistogramCount", tags = "1, 2")]
    pub count: Option<HistogramCount>,
    /// The sum of observations.
    #[prost(double, tag = "3")]
    pub sum: f64,
    /// The resolution: -4 to 8, or -53 for custom buckets.
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    /// Half the width of the bucket around zero.
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    /// The number of observations in the bucket around zero.
    #[prost(oneof = "HistogramZeroCount", tags = "6, 7")]
    pub zero_count: Option<HistogramZeroCount>,
    /// Where the buckets below zero stand.
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<BucketSpan>,
    /// Integer histograms: each negative bucket's count less that of the one before.
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    /// Float histograms: each negative bucket's count.
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    /// Where the buckets above zero stand.
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    /// Integer histograms: each positive bucket's count less that of the one before.
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    /// Float histograms: each positive bucket's count.
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    /// Whether a counter reset lies before this point.
    #[prost(enumeration = "ResetHint", tag = "14")]
    pub reset_hint: i32,
    /// Milliseconds since the epoch.
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    /// Upper bounds of custom buckets.
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
}

/// The number of observations of a [`Histogram`].
#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub enum HistogramCount {
    /// Of an integer histogram.
    #[prost(uint64, tag = "1")]
    Int(u64),
    /// Of a float histogram.
    #[prost(double, tag = "2")]
    Float(f64),
}

/// The number of observations around zero of a [`Histogram`].
#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub enum HistogramZeroCount {
    /// Of an integer histogram.
    #[prost(uint64, tag = "6")]
    Int(u64),
    /// Of a float histogram.
    #[prost(double, tag = "7")]
    Float(f64),
}

/// A run of consecutive buckets.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct BucketSpan {
    /// The gap to the end of the run before; for the first, the index of its first bucket.
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    /// How many buckets.
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

/// Whether a counter reset lies before a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ResetHint {
    /// Not known: compare with the point before.
    Unknown = 0,
    /// There is one.
    Yes = 1,
    /// There is none.
    No = 2,
    /// The histogram is a gauge, to which resets do not apply.
    Gauge = 3,
}

/// What is known about one metric family.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MetricMetadata {
    /// Its type.
    #[prost(enumeration = "MetricType", tag = "1")]
    pub r#type: i32,
    /// The family's name: `x` for the series `x_bucket`.
    #[prost(string, tag = "2")]
    pub metric_family_name: String,
    /// A sentence for people.
    #[prost(string, tag = "4")]
    pub help: String,
    /// The unit of its values.
    #[prost(string, tag = "5")]
    pub unit: String,
}

/// The type of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MetricType {
    /// Not known.
    Unknown = 0,
    /// Only grows, but for resets.
    Counter = 1,
    /// Goes up and down.
    Gauge = 2,
    /// Counts by bucket.
    Histogram = 3,
    /// Counts by bucket that go up and down.
    GaugeHistogram = 4,
    /// Quantiles computed by the sender.
    Summary = 5,
    /// Facts as labels, value 1.
    Info = 6,
    /// One series for each state, 1 for the current one.
    StateSet = 7,
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    fn check<M: Message + Default + PartialEq + std::fmt::Debug>(message: M, bytes: &[u8]) {
        assert_eq!(message.encode_to_vec(), bytes);
        assert_eq!(M::decode(bytes).unwrap(), message);
    }

    #[test]
    fn golden_series() {
        let series = TimeSeries {
            labels: vec![Label { name: "a".into(), value: "1".into() }],
            samples: vec![Sample { value: 1.5, timestamp: 300 }],
            exemplars: vec![Exemplar { labels: vec![], value: 2.0, timestamp: 1 }],
            histograms: vec![],
        };
        check(
            WriteRequest { timeseries: vec![series], metadata: vec![] },
            b"\x0a\x23\x0a\x06\x0a\x01a\x12\x011\x12\x0c\x09\0\0\0\0\0\0\xf8\x3f\x10\xac\x02\x1a\x0b\x11\0\0\0\0\0\0\0\x40\x18\x01",
        );
    }

    #[test]
    fn golden_metadata() {
        let metadata = MetricMetadata {
            r#type: MetricType::Counter.into(),
            metric_family_name: "m".into(),
            help: "h".into(),
            unit: "s".into(),
        };
        check(
            WriteRequest { timeseries: vec![], metadata: vec![metadata] },
            b"\x1a\x0b\x08\x01\x12\x01m\x22\x01h\x2a\x01s",
        );
    }

    #[test]
    fn golden_histogram() {
        let histogram = Histogram {
            count: Some(HistogramCount::Int(3)),
            schema: -53,
            zero_count: Some(HistogramZeroCount::Int(0)),
            positive_spans: vec![BucketSpan { offset: -1, length: 2 }],
            positive_deltas: vec![1, -1],
            reset_hint: ResetHint::Gauge.into(),
            timestamp: 5,
            custom_values: vec![2.0],
            ..Default::default()
        };
        check(
            histogram,
            b"\x08\x03\x20\x69\x30\x00\x5a\x04\x08\x01\x10\x02\x62\x02\x02\x01\x70\x03\x78\x05\x82\x01\x08\0\0\0\0\0\0\0\x40",
        );
    }
}

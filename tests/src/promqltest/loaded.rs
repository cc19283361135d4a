//! What a script has loaded so far, as series.

use super::histogram::{from_classic, stored};
use super::script::Load;
use super::series::Point;
use cardinal_query::native::FloatHistogram;
use cardinal_query::source::MemorySeries;
use cardinal_storage::model::{
    HistogramSample, LabelSet, LabelSetBuilder, METRIC_NAME, ResetHint, TimestampMs, is_stale,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was loaded so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Loaded(BTreeMap<LabelSet, BTreeMap<i64, Sample>>);

#[derive(Clone, Debug)]
enum Sample {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl Loaded {
    /// Adds series whose points are one step apart from 0. A sample that is there already stays, as one that comes late
    /// does in the reference.
    pub(super) fn add(&mut self, load: &Load) -> Result<(), String> {
        for series in &load.series {
            let samples = self.0.entry(series.labels.clone()).or_default();
            for (t, point) in (0..).map(|i| i * load.step.0).zip(&series.points) {
                match point {
                    Point::Missing => continue,
                    Point::Float(v) => samples.entry(t).or_insert(Sample::Float(*v)),
                    Point::Histogram(w) => samples.entry(t).or_insert(Sample::Histogram(Arc::clone(&w.h))),
                };
            }
        }
        if load.with_native { self.add_native(load) } else { Ok(()) }
    }

    /// Adds the classic histograms of a load as native ones.
    fn add_native(&mut self, load: &Load) -> Result<(), String> {
        let mut classics: BTreeMap<LabelSet, BTreeMap<i64, Classic>> = BTreeMap::new();
        for series in &load.series {
            let Some((base, part)) = classic_part(&series.labels) else { continue };
            let times = classics.entry(base).or_default();
            for (t, point) in (0..).map(|i| i * load.step.0).zip(&series.points) {
                if let Point::Float(v) = point {
                    times.entry(t).or_default().set(part, *v);
                }
            }
        }
        for (labels, times) in classics {
            let samples = self.0.entry(labels).or_default();
            for (t, classic) in times {
                let h = from_classic(classic.buckets, classic.count, classic.sum)?;
                samples.entry(t).or_insert(Sample::Histogram(Arc::new(h)));
            }
        }
        Ok(())
    }

    /// All series that have samples, sorted by labels.
    pub(super) fn series(&self) -> Vec<MemorySeries> {
        self.0.iter().filter(|(_, samples)| !samples.is_empty()).map(|(l, s)| of(l, s)).collect()
    }
}

fn of(labels: &LabelSet, samples: &BTreeMap<i64, Sample>) -> MemorySeries {
    let (t, v, histograms) = (Vec::new(), Vec::new(), Vec::new());
    let mut series = MemorySeries { labels: labels.clone(), t, v, histograms };
    let mut before: Option<&FloatHistogram> = None;
    for (&t, sample) in samples {
        match sample {
            Sample::Float(v) => {
                series.t.push(t);
                series.v.push(*v);
                before = None;
            }
            Sample::Histogram(h) => {
                let h = &**h;
                let stored = stored(h, hint(h, before));
                series.histograms.push(HistogramSample { t: TimestampMs(t), h: stored });
                before = Some(h).filter(|h| !is_stale(h.sum));
            }
        }
    }
    series
}

/// What the reference's storage keeps of a hint: that no reset lies between neighbours in one chunk, which ends where the
/// shape changes and where a reset is seen. What begins a chunk is not known to come after a reset, or not.
fn hint(h: &FloatHistogram, before: Option<&FloatHistogram>) -> ResetHint {
    if h.reset_hint == ResetHint::Gauge {
        return ResetHint::Gauge;
    }
    let continues = |before: &FloatHistogram| {
        let plain = FloatHistogram { reset_hint: ResetHint::Unknown, ..h.clone() };
        before.reset_hint != ResetHint::Gauge
            && before.schema == h.schema
            && before.zero_threshold == h.zero_threshold
            && before.custom_bounds == h.custom_bounds
            && !plain.is_reset_after(before)
    };
    match before {
        Some(before) if h.reset_hint != ResetHint::Reset && continues(before) => ResetHint::NotReset,
        _ => ResetHint::Unknown,
    }
}

/// A classic histogram at one time.
#[derive(Clone, Debug, Default)]
struct Classic {
    /// Cumulative counts by upper bound, ascending.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// What a series of a classic histogram holds.
#[derive(Clone, Copy)]
enum Part {
    Bucket(f64),
    Count,
    Sum,
}

impl Classic {
    fn set(&mut self, part: Part, v: f64) {
        match part {
            Part::Count => self.count = Some(v),
            Part::Sum => self.sum = v,
            Part::Bucket(bound) => {
                let at = self.buckets.partition_point(|(b, _)| *b < bound);
                if self.buckets.get(at).is_none_or(|(b, _)| *b != bound) {
                    self.buckets.insert(at, (bound, v));
                }
            }
        }
    }
}

/// The labels of the native histogram that a series of a classic one belongs to, and what it is of it.
fn classic_part(labels: &LabelSet) -> Option<(LabelSet, Part)> {
    let name = labels.metric_name();
    let (base, part) = if let Some(base) = name.strip_suffix("_bucket") {
        let bound: f64 = labels.get("le")?.parse().ok()?;
        (base, Part::Bucket(bound))
    } else if let Some(base) = name.strip_suffix("_count") {
        (base, Part::Count)
    } else {
        (name.strip_suffix("_sum")?, Part::Sum)
    };
    let mut builder: LabelSetBuilder = labels.to_builder();
    builder.set(METRIC_NAME, base);
    builder.remove("le");
    Some((builder.build().ok()?, part))
}

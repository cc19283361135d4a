//! What a query remarks about its own result: warnings and infos.

use super::float_text::general;
use super::remarks::{Operation, Remark, Remarks};
use crate::Position;
use crate::native::Nan;
use crate::parse::Span;
use cardinal_storage::model::TimestampMs;
use std::collections::BTreeMap;

/// Remarks, each text once: of equal ones, the last place in the query is shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    notes: BTreeMap<(Severity, String), Detail>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Warning,
    Info,
}

#[derive(Clone, Copy, Debug)]
struct Detail {
    span: Span,
    fixes: Option<Fixes>,
}

/// How many histograms had counts that fell from one bucket to the next, where, when, and by how much at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixes {
    pub(crate) count: u64,
    pub(crate) first: TimestampMs,
    pub(crate) last: TimestampMs,
    pub(crate) bucket_min: f64,
    pub(crate) bucket_max: f64,
    pub(crate) difference_max: f64,
}

impl Fixes {
    /// All of both.
    pub(crate) fn merge(self, o: Self) -> Self {
        Self {
            count: self.count + o.count,
            first: self.first.min(o.first),
            last: self.last.max(o.last),
            bucket_min: self.bucket_min.min(o.bucket_min),
            bucket_max: self.bucket_max.max(o.bucket_max),
            difference_max: self.difference_max.max(o.difference_max),
        }
    }
}

impl Notes {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// Takes in all of `other`.
    pub(crate) fn merge(&mut self, other: Self) {
        other.notes.into_iter().for_each(|((severity, text), detail)| self.add(severity, text, detail));
    }

    /// A parameter that is no quantile.
    pub(crate) fn invalid_quantile(&mut self, q: f64, span: Span) {
        self.warn(format!("quantile value should be between 0 and 1, got {}", general(q)), span);
    }

    /// A parameter that is no ratio.
    pub(crate) fn invalid_ratio(&mut self, r: f64, capped: f64, span: Span) {
        let (r, capped) = (general(r), general(capped));
        self.warn(format!("ratio value should be between -1 and 1, got {r}, capping to {capped}"), span);
    }

    /// A `le` label that is missing or no number.
    pub(crate) fn bad_bucket(&mut self, metric: &str, le: &str, span: Span) {
        let text = format!("bucket label \"le\" is missing or has a malformed value of {le:?}");
        self.warn(for_metric(text, metric), span);
    }

    /// A sorting function in a range query.
    pub(crate) fn sort_in_range(&mut self, span: Span) {
        let text = "sort is ineffective for range queries since results are always ordered by labels";
        self.warn(text.into(), span);
    }

    /// A rate of what is no counter by its name.
    pub(crate) fn possible_non_counter(&mut self, metric: &str, span: Span) {
        let text = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket";
        self.info(format!("{text}: {metric:?}"), span);
    }

    /// An operator that what is on its sides (`float`, `histogram`) does not have.
    pub(crate) fn incompatible_types(&mut self, left: &str, operator: &str, right: &str, span: Span) {
        let text = "incompatible sample types encountered for binary operator";
        self.info(format!("{text} {operator:?}: {left} {operator} {right}"), span);
    }

    /// An operator between exponential and custom buckets.
    pub(crate) fn incompatible_buckets(&mut self, operator: &str, span: Span) {
        self.warn(format!("incompatible bucket layout encountered for binary operator {operator}"), span);
    }

    /// Floats and histograms in one group.
    pub(crate) fn mixed_group(&mut self, span: Span) {
        self.warn("encountered a mix of histograms and floats for aggregation".into(), span);
    }

    /// Histograms in an aggregation of floats.
    pub(crate) fn ignored_in_aggregation(&mut self, aggregation: &str, span: Span) {
        self.info(format!("ignored histogram in {aggregation} aggregation"), span);
    }

    /// Classic and native histograms with the same labels.
    pub(crate) fn mixed_classic(&mut self, metric: &str, span: Span) {
        let text = "vector contains a mix of classic and native histograms";
        self.warn(for_metric(text.into(), metric), span);
    }

    /// Observations of NaN that a quantile had to do with.
    pub(crate) fn nan_in_quantile(&mut self, nan: Nan, metric: &str, span: Span) {
        let what = match nan {
            Nan::Nothing => return,
            Nan::Skewed => "result is skewed higher",
            Nan::Result => "result is NaN",
        };
        let text = format!("input to histogram_quantile has NaN observations, {what}");
        self.info(for_metric(text, metric), span);
    }

    /// Observations of NaN, which are in no fraction.
    pub(crate) fn nan_in_fraction(&mut self, metric: &str, span: Span) {
        let text = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
        self.info(for_metric(text.into(), metric), span);
    }

    /// What was met among the histograms of a metric.
    pub(crate) fn remarks(&mut self, remarks: &mut Remarks, metric: &str, span: Span) {
        remarks.drain().for_each(|r| self.remark(r, metric, span));
    }

    /// One remark on the histograms of a metric.
    pub(crate) fn remark(&mut self, remark: Remark, metric: &str, span: Span) {
        let name = |text: &str| format!("{text} {metric:?}");
        let operation = |text: &str, o: Operation| format!("{text} {}", o.name());
        match remark {
            Remark::MixedWithFloats => {
                self.warn(name("encountered a mix of histograms and floats for metric name"), span);
            }
            Remark::MixedSchemas => self.warn(
                name(
                    "vector contains a mix of histograms with exponential and custom buckets schemas for \
                     metric name",
                ),
                span,
            ),
            Remark::NotCounter => {
                self.warn(name("this native histogram metric is not a counter:"), span);
            }
            Remark::NotGauge => self.warn(name("this native histogram metric is not a gauge:"), span),
            Remark::Ignored => self.info(
                name("ignored histograms in a range containing both floats and histograms for metric name"),
                span,
            ),
            Remark::Reconciled(o) => {
                self.info(operation("mismatched custom buckets were reconciled during", o), span);
            }
            Remark::Collision(o) => {
                self.warn(operation("conflicting counter resets during histogram", o), span);
            }
        }
    }

    /// Histograms whose counts were not monotonic.
    pub(crate) fn forced_monotonicity(&mut self, metric: &str, fixes: Fixes, span: Span) {
        let text = "input to histogram_quantile needed to be fixed for monotonicity (see \
                    https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
        let text = for_metric(text.into(), metric);
        self.add(Severity::Info, text, Detail { span, fixes: Some(fixes) });
    }

    /// Warnings and infos as texts, with places in `query`.
    pub(crate) fn texts(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let of = |wanted: Severity| {
            let all = self.notes.iter().filter(|((s, _), _)| *s == wanted);
            all.map(|((s, text), detail)| render(*s, text, detail, query)).collect()
        };
        (of(Severity::Warning), of(Severity::Info))
    }

    fn warn(&mut self, text: String, span: Span) {
        self.add(Severity::Warning, text, Detail { span, fixes: None });
    }

    fn info(&mut self, text: String, span: Span) {
        self.add(Severity::Info, text, Detail { span, fixes: None });
    }

    fn add(&mut self, severity: Severity, text: String, mut detail: Detail) {
        let key = (severity, text);
        if let Some(before) = self.notes.get(&key) {
            // The place that is shown must not depend on what was evaluated first.
            detail.span = detail.span.max(before.span);
            detail.fixes = match (before.fixes, detail.fixes) {
                (Some(a), Some(b)) => Some(a.merge(b)),
                (a, b) => b.or(a),
            };
        }
        self.notes.insert(key, detail);
    }
}

fn for_metric(text: String, metric: &str) -> String {
    if metric.is_empty() { text } else { format!("{text} for metric name {metric:?}") }
}

fn render(severity: Severity, text: &str, detail: &Detail, query: &str) -> String {
    let kind = match severity {
        Severity::Warning => "warning",
        Severity::Info => "info",
    };
    let position = Position::of(query, detail.span.start as usize);
    let fixes = detail.fixes.map(|f| {
        format!(
            ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
            general(f.bucket_min),
            general(f.bucket_max),
            super::float_text::general_rounded(f.difference_max, 2),
            f.count,
            second(f.first),
            second(f.last),
        )
    });
    format!("PromQL {kind}: {text}{} ({position})", fixes.unwrap_or_default())
}

/// The time in RFC 3339, to the second.
fn second(t: TimestampMs) -> String {
    let seconds = t.0 / 1000;
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s"), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_the_reference() {
        let span = Span { start: 5, end: 9 };
        let mut notes = Notes::default();
        notes.invalid_quantile(1.5, span);
        notes.possible_non_counter("up", span);
        notes.possible_non_counter("up", Span { start: 2, end: 3 });
        let fixes = Fixes {
            count: 1,
            first: TimestampMs(0),
            last: TimestampMs(0),
            bucket_min: 1.0,
            bucket_max: 1.0,
            difference_max: 0.5,
        };
        notes.remark(Remark::NotGauge, "h", span);
        notes.remark(Remark::Reconciled(Operation::Addition), "h", span);
        notes.forced_monotonicity("", fixes, span);
        notes.forced_monotonicity("", Fixes { last: TimestampMs(60_000), bucket_max: 5.0, ..fixes }, span);
        let (warnings, infos) = notes.texts("0123456789");
        assert_eq!(
            warnings,
            [
                "PromQL warning: quantile value should be between 0 and 1, got 1.5 (1:6)",
                "PromQL warning: this native histogram metric is not a gauge: \"h\" (1:6)",
            ]
        );
        assert_eq!(
            infos,
            [
                "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile), from buckets 1 to 5, with a max diff of 0.5, over 2 samples from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z (1:6)",
                "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"up\" (1:6)",
                "PromQL info: mismatched custom buckets were reconciled during addition (1:6)",
            ]
        );
    }
}

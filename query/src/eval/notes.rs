//! What a query remarks about its own result: warnings and infos.

use super::float_text::general;
use crate::Position;
use crate::parse::Span;
use cardinal_storage::model::TimestampMs;
use std::collections::BTreeMap;

/// Remarks, each text once: of equal ones, the place noted last is shown.
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

    /// An operator that floats do not have.
    pub(crate) fn incompatible_types(&mut self, operator: &str, span: Span) {
        let text = "incompatible sample types encountered for binary operator";
        self.info(format!("{text} {operator:?}: float {operator} float"), span);
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
        if let Some(Detail { fixes: Some(before), .. }) = self.notes.get(&key) {
            detail.fixes = detail.fixes.map(|f| before.merge(f));
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
        notes.forced_monotonicity("", fixes, span);
        notes.forced_monotonicity("", Fixes { last: TimestampMs(60_000), bucket_max: 5.0, ..fixes }, span);
        let (warnings, infos) = notes.texts("0123456789");
        assert_eq!(warnings, ["PromQL warning: quantile value should be between 0 and 1, got 1.5 (1:6)"]);
        assert_eq!(
            infos,
            [
                "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile), from buckets 1 to 5, with a max diff of 0.5, over 2 samples from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z (1:6)",
                "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"up\" (1:3)",
            ]
        );
    }
}

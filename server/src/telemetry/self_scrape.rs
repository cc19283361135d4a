//! Cardinal's own metrics as samples: reads back the text that [`super::Telemetry::encode`] wrote, and sends it the way that every sender's
//! samples go.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cardinal_proto::remote_write::{Label, MetricMetadata, MetricType, Sample, TimeSeries, WriteRequest};
use cardinal_storage::model::{LabelSet, LabelSetBuilder, METRIC_NAME, TimestampMs};
use prost::Message;
use tokio::time::{MissedTickBehavior, interval};

use crate::http::AppState;

/// Stores the server's own metrics `every` so often, until the task is ended.
pub async fn run(state: Arc<AppState>, every: Duration, address: SocketAddr) {
    let instance = address.to_string();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = store(&state, &instance).await {
            tracing::warn!(error, "own metrics not stored");
        }
    }
}

async fn store(state: &AppState, instance: &str) -> Result<(), String> {
    let Some(core) = state.core().cloned() else { return Ok(()) };
    let text = format!("up 1\n{}", state.exposition());
    let samples = read_exposition(&text, &[("instance", instance), ("job", "cardinal")]);
    let body = write_request(&samples, read_metadata(&text), state.clock.now())?;
    let permit = core.writer.admit(body.len()).map_err(|e| e.to_string())?;
    let written = tokio::task::spawn_blocking(move || core.writer.write(&body, permit));
    let response = written.await.map_err(|e| e.to_string())?;
    response.durable().await.map(drop).map_err(|e| e.to_string())
}

/// The body of a write request with these samples.
fn write_request(
    samples: &[ScrapedSample],
    metadata: Vec<MetricMetadata>,
    now: TimestampMs,
) -> Result<Vec<u8>, String> {
    let series = |sample: &ScrapedSample| TimeSeries {
        labels: sample.labels.iter().map(|l| Label { name: l.name.into(), value: l.value.into() }).collect(),
        samples: vec![Sample { value: sample.v, timestamp: now.0 }],
        ..TimeSeries::default()
    };
    let request = WriteRequest { timeseries: samples.iter().map(series).collect(), metadata };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).map_err(|e| e.to_string())
}

/// One sample of the exposition.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapedSample {
    /// Its labels, name included.
    pub labels: LabelSet,
    /// Its value.
    pub v: f64,
}

/// Reads our own OpenMetrics text and adds `extra` labels to every sample. Only what our encoder writes is understood: no
/// timestamps, no exemplars; a line that is anything else is left out.
pub fn read_exposition(text: &str, extra: &[(&str, &str)]) -> Vec<ScrapedSample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| read_line(line, extra)).collect()
}

/// Reads types and help of our own OpenMetrics text. A counter goes by the name of its series, as it does from the older text format:
/// that is where people look for it.
pub fn read_metadata(text: &str) -> Vec<MetricMetadata> {
    let mut families = BTreeMap::<&str, MetricMetadata>::new();
    for (name, text, put) in text.lines().filter_map(read_statement) {
        put(families.entry(name).or_default(), text);
    }
    let named = families.into_iter().map(|(name, mut family)| {
        let total = if family.r#type() == MetricType::Counter { "_total" } else { "" };
        family.metric_family_name = format!("{name}{total}");
        family
    });
    named.collect()
}

/// What a line says of a family: its name, a text, and where that goes.
type Statement<'a> = (&'a str, &'a str, fn(&mut MetricMetadata, &str));

fn read_statement(line: &str) -> Option<Statement<'_>> {
    let (keyword, rest) = line.strip_prefix("# ")?.split_once(' ')?;
    let (name, text) = rest.split_once(' ')?;
    match keyword {
        "HELP" => Some((name, text, |family, text| family.help = text.to_owned())),
        "TYPE" => Some((name, text, |family, text| family.set_type(type_named(text)))),
        _ => None,
    }
}

fn type_named(name: &str) -> MetricType {
    match name {
        "counter" => MetricType::Counter,
        "gauge" => MetricType::Gauge,
        "histogram" => MetricType::Histogram,
        "info" => MetricType::Info,
        _ => MetricType::Unknown,
    }
}

fn read_line(line: &str, extra: &[(&str, &str)]) -> Option<ScrapedSample> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = LabelSetBuilder::default();
    labels.push(METRIC_NAME, name);
    for (name, value) in extra {
        labels.push(name, value);
    }
    if let Some(inside) = rest.strip_prefix('{') {
        rest = read_labels(inside, &mut labels)?;
    }
    let v = rest.strip_prefix(' ')?.parse().ok()?;
    Some(ScrapedSample { labels: labels.build().ok()?, v })
}

/// Reads `name="value",...}` and returns what follows.
fn read_labels<'a>(mut rest: &'a str, labels: &mut LabelSetBuilder) -> Option<&'a str> {
    loop {
        if let Some(end) = rest.strip_prefix('}') {
            return Some(end);
        }
        let (name, quoted) = rest.strip_prefix(',').unwrap_or(rest).split_once("=\"")?;
        let (value, end) = read_quoted(quoted)?;
        labels.push(name, &value);
        rest = end;
    }
}

fn read_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Readings, Telemetry};
    use std::time::Duration;

    #[test]
    fn lines() {
        let check = |line: &str, expected: Option<(&[(&str, &str)], f64)>| {
            let expected = expected.map(|(labels, v)| ScrapedSample {
                labels: LabelSet::from_pairs(labels.iter().copied()).expect("valid"),
                v,
            });
            assert_eq!(read_line(line, &[]), expected, "{line}");
        };
        check("up 1", Some((&[("__name__", "up")], 1.0)));
        check("a{b=\"c\",d=\"e,}\"} 2.5", Some((&[("__name__", "a"), ("b", "c"), ("d", "e,}")], 2.5)));
        check("a{b=\"q\\\"\\\\\\n\"} +Inf", Some((&[("__name__", "a"), ("b", "q\"\\\n")], f64::INFINITY)));
        check("a{} 1", Some((&[("__name__", "a")], 1.0)));
        check("a{b=\"c} 1", None);
        check("a one", None);
        check("", None);
    }

    #[test]
    fn every_line_that_we_write_is_understood() {
        let telemetry = Telemetry::new();
        telemetry.request("/", 200, Duration::from_millis(3));
        let text = telemetry.encode(Readings::default());
        let samples = read_exposition(&text, &[("job", "cardinal")]);
        assert_eq!(samples.len(), text.lines().filter(|line| !line.starts_with('#')).count());
        assert!(samples.iter().all(|s| s.labels.get("job") == Some("cardinal")));
    }

    #[test]
    fn families_have_types_and_help() {
        let telemetry = Telemetry::new();
        telemetry.request("/", 200, Duration::from_millis(3));
        let families = read_metadata(&telemetry.encode(Readings::default()));
        let check = |name: &str, kind, help: &str| {
            let family = families.iter().find(|f| f.metric_family_name == name).expect(name);
            assert_eq!((family.r#type(), family.help.as_str()), (kind, help));
        };
        check("cardinal_http_requests_total", MetricType::Counter, "HTTP requests by route and status.");
        let help = "Time from request to answer.";
        check("cardinal_http_request_duration_seconds", MetricType::Histogram, help);
        assert!(families.iter().all(|f| f.r#type() != MetricType::Unknown && !f.help.is_empty()));
    }
}

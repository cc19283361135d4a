//! The metrics that Cardinal counts itself, all under `cardinal_`.

use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::process::Process;

/// Upper bounds of durations, from a cached label list to a query that times out.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0];

/// Labels of one kind of request. Paths are those of the routes, so that nobody outside can add series.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpLabels {
    /// The route: `/api/v1/label/{name}/values`.
    pub path: String,
    /// The status.
    pub code: u16,
}

/// Label of the path alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabels {
    path: String,
}

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    /// The reason, one word of a fixed list.
    pub reason: &'static str,
}

/// All counters, and the registry that writes them out.
#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    http_requests: Family<HttpLabels, Counter>,
    http_seconds: Family<PathLabels, Histogram, fn() -> Histogram>,
    /// Samples that were written.
    pub samples_written: Counter,
    /// Bytes of write requests as they came, compressed.
    pub write_bytes: Counter,
    /// Series and samples that were refused for what they are.
    pub samples_refused: Family<RefusalLabels, Counter>,
    /// Write requests that were sent away as a whole.
    pub writes_refused: Family<RefusalLabels, Counter>,
    /// Queries that were sent away or cut short by a limit.
    pub queries_refused: Family<RefusalLabels, Counter>,
    /// Samples that queries read.
    pub query_samples_read: Counter,
}

impl Telemetry {
    /// Everything at zero. `collectors` are asked at each scrape.
    pub fn new(collectors: Vec<Box<dyn Collector>>) -> Self {
        let mut registry = Registry::with_prefix("cardinal");
        let info = [("version", env!("CARGO_PKG_VERSION"))];
        registry.sub_registry_with_labels(info.map(|(k, v)| (k.into(), v.into())).into_iter()).register(
            "build_info",
            "Always 1; the version is in its label",
            ConstGauge::new(1i64),
        );
        let telemetry = Self {
            http_requests: Family::default(),
            http_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            samples_written: Counter::default(),
            write_bytes: Counter::default(),
            samples_refused: Family::default(),
            writes_refused: Family::default(),
            queries_refused: Family::default(),
            query_samples_read: Counter::default(),
            registry: Registry::default(),
        };
        telemetry.register(&mut registry);
        for collector in collectors {
            registry.register_collector(collector);
        }
        Self { registry, ..telemetry }
    }

    fn register(&self, to: &mut Registry) {
        to.register("http_requests", "HTTP requests by route and status", self.http_requests.clone());
        to.register(
            "http_request_duration_seconds",
            "Time from request to answer",
            self.http_seconds.clone(),
        );
        to.register("samples_written", "Samples that were accepted and logged", self.samples_written.clone());
        to.register("write_bytes", "Bytes of write requests, compressed", self.write_bytes.clone());
        to.register("samples_refused", "Refused for what they are, by reason", self.samples_refused.clone());
        to.register(
            "write_requests_refused",
            "Write requests refused as a whole, by reason",
            self.writes_refused.clone(),
        );
        to.register(
            "queries_refused",
            "Queries refused or cut short by a limit, by reason",
            self.queries_refused.clone(),
        );
        to.register("query_samples_read", "Samples that queries read", self.query_samples_read.clone());
    }

    /// Counts one request.
    pub fn request(&self, path: &str, code: u16, took: Duration) {
        self.http_requests.get_or_create(&HttpLabels { path: path.to_owned(), code }).inc();
        self.http_seconds.get_or_create(&PathLabels { path: path.to_owned() }).observe(took.as_secs_f64());
    }

    /// Everything in OpenMetrics text, the process's own figures included.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        let mut process = Registry::default();
        process.register_collector(Box::new(Process));
        let end = text.trim_end_matches("# EOF\n").len();
        text.truncate(end);
        encode(&mut text, &process).expect("writing to a string does not fail");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_scrape_sees() {
        let telemetry = Telemetry::new(Vec::new());
        telemetry.request("/api/v1/query", 200, Duration::from_millis(3));
        telemetry.samples_written.inc_by(7);
        telemetry.samples_refused.get_or_create(&RefusalLabels { reason: "too_old" }).inc();
        let text = telemetry.encode();
        let has = |line: &str| assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        has(&format!("cardinal_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
        has("cardinal_http_requests_total{path=\"/api/v1/query\",code=\"200\"} 1");
        has("cardinal_http_request_duration_seconds_bucket{le=\"0.005\",path=\"/api/v1/query\"} 1");
        has("cardinal_samples_written_total 7");
        has("cardinal_samples_refused_total{reason=\"too_old\"} 1");
        assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
        assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1);
    }
}

//! The metrics that Cardinal counts itself, all under `cardinal_`.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Readings;
use super::process::Process;

/// What the names of our own metrics begin with.
const PREFIX: &str = "cardinal";

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
    /// Write requests that were not answered with success.
    pub writes_refused: Family<RefusalLabels, Counter>,
    /// Queries that were sent away or cut short by a limit.
    queries_refused: Family<RefusalLabels, Counter>,
    /// Samples that queries read.
    pub query_samples_read: Counter,
}

impl Telemetry {
    /// Everything at zero.
    pub fn new() -> Self {
        let telemetry = Self {
            http_requests: Family::default(),
            http_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            writes_refused: Family::default(),
            queries_refused: Family::default(),
            query_samples_read: Counter::default(),
            registry: Registry::default(),
        };
        let mut registry = Registry::with_prefix(PREFIX);
        telemetry.register(&mut registry);
        Self { registry, ..telemetry }
    }

    fn register(&self, to: &mut Registry) {
        let info = ("version".into(), env!("CARGO_PKG_VERSION").into());
        let build = ConstGauge::new(1i64);
        to.sub_registry_with_label(info).register(
            "build_info",
            "Always 1; the version is in its label",
            build,
        );
        to.register("http_requests", "HTTP requests by route and status", self.http_requests.clone());
        let help = "Time from request to answer";
        to.register("http_request_duration_seconds", help, self.http_seconds.clone());
        let help = "Write requests refused, in whole or part, or sent away to come again, by reason";
        to.register("write_refusals", help, self.writes_refused.clone());
        let help = "Queries refused or cut short by a limit, by reason";
        to.register("queries_refused", help, self.queries_refused.clone());
        to.register("query_samples_read", "Samples that queries read", self.query_samples_read.clone());
    }

    /// Counts one request.
    pub fn request(&self, path: &str, code: u16, took: Duration) {
        self.http_requests.get_or_create(&HttpLabels { path: path.to_owned(), code }).inc();
        self.http_seconds.get_or_create(&PathLabels { path: path.to_owned() }).observe(took.as_secs_f64());
    }

    /// Counts a query that a limit ended.
    pub fn refused_query(&self, reason: &'static str) {
        self.queries_refused.get_or_create(&RefusalLabels { reason }).inc();
    }

    /// Everything in OpenMetrics text: what is counted here, `readings`, and the process's own figures.
    pub fn encode(&self, readings: Readings) -> String {
        let mut read = Registry::with_prefix(PREFIX);
        read.register_collector(Box::new(readings));
        let mut process = Registry::default();
        process.register_collector(Box::new(Process));
        let mut text = String::new();
        for registry in [&self.registry, &read, &process] {
            encode_registry(&mut text, registry).expect("writing to a string does not fail");
        }
        encode_eof(&mut text).expect("writing to a string does not fail");
        text
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cardinal_ingest::WriteStats;
    use cardinal_storage::database::{AccountRefusals, Stats};

    #[test]
    fn what_a_scrape_sees() {
        let telemetry = Telemetry::new();
        telemetry.request("/api/v1/query", 200, Duration::from_millis(3));
        telemetry.query_samples_read.inc_by(7);
        telemetry.queries_refused.get_or_create(&RefusalLabels { reason: "timeout" }).inc();
        let text = telemetry.encode(Readings {
            stats: Some(Stats::default()),
            writes: Some(WriteStats::default()),
            accounts: Some((
                vec![(AccountRefusals { account: "a".into(), series: 3, series_created: 0 }, 9)],
                AccountRefusals::default(),
            )),
            ..Readings::default()
        });
        let has = |line: &str| assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        has(&format!("cardinal_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
        has("cardinal_http_requests_total{path=\"/api/v1/query\",code=\"200\"} 1");
        has("cardinal_http_request_duration_seconds_bucket{le=\"0.005\",path=\"/api/v1/query\"} 1");
        has("cardinal_query_samples_read_total 7");
        has("cardinal_queries_refused_total{reason=\"timeout\"} 1");
        has("cardinal_ready 1.0");
        has("cardinal_samples_refused_total{reason=\"conflict\"} 0");
        has("cardinal_account_samples_refused_total{account=\"a\",reason=\"series_limit\"} 3");
        has("cardinal_other_account_samples_refused_total{reason=\"series_created_limit\"} 0");
        has("cardinal_account_series{account=\"a\"} 9.0");
        assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
        assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1);
    }

    #[test]
    fn names_are_unique() {
        let readings = Readings {
            stats: Some(Stats::default()),
            writes: Some(WriteStats::default()),
            ..Readings::default()
        };
        let text = Telemetry::new().encode(readings);
        let mut names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}

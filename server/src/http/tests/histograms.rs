//! Native histograms from a write request to the answer of a query.

use super::*;
use cardinal_proto::remote_write::{BucketSpan, Histogram, HistogramCount, HistogramZeroCount};

/// A histogram with as many observations in (1, 2], and one at zero, `age` seconds ago.
fn histogram(count: u64, age: i64) -> Histogram {
    Histogram {
        count: Some(HistogramCount::Int(count + 1)),
        sum: count as f64 * 1.5,
        zero_threshold: 0.25,
        zero_count: Some(HistogramZeroCount::Int(1)),
        positive_spans: vec![BucketSpan { offset: 1, length: 1 }],
        positive_deltas: vec![count as i64],
        timestamp: NOW.0 - age * 1000,
        ..Histogram::default()
    }
}

#[tokio::test]
async fn histograms_are_stored_and_answered() {
    let server = Server::open(&[]);
    let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
    let series = TimeSeries {
        labels: vec![label("__name__", "h"), label("account", "7")],
        histograms: vec![histogram(10, 120), histogram(30, 60), histogram(50, 0)],
        ..TimeSeries::default()
    };
    let message = WriteRequest { timeseries: vec![series], ..WriteRequest::default() };
    assert_eq!(server.send(write_request(&message)).await.status(), 204);
    for place in ["head", "block"] {
        let data = server.data("/api/v1/query?query=h").await;
        let buckets = json!([[3, "-0.25", "0.25", "1"], [0, "1", "2", "50"]]);
        let expected = json!({"count": "51", "sum": "75", "buckets": buckets});
        assert_eq!(data["result"][0]["histogram"], json!([1_000_000, expected]), "{place}");
        let path = "/api/v1/query_range?query=h&start=999880&end=1000000&step=60";
        let data = server.data(path).await;
        assert_eq!(data["result"][0]["histograms"].as_array().map(Vec::len), Some(3), "{place}");
        assert_eq!(data["result"][0].get("values"), None, "{place}");
        for (query, expected) in [
            ("histogram_count(increase(h[2m]))", "40"),
            ("histogram_quantile(0.9, sum(rate(h[2m])))", "1.8660659830736148"),
            ("histogram_fraction(0, 2, h)", "1"),
            ("count_over_time(h[5m])", "3"),
        ] {
            let data = server.data(&format!("/api/v1/query?query={query}")).await;
            assert_eq!(data["result"][0]["value"][1], json!(expected), "{query} in {place}");
        }
        let flushed = server.send(request(Method::POST, "/api/v1/admin/tsdb/flush", "")).await;
        assert!(flushed.status().is_success());
    }
}

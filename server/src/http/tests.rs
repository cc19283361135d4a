//! The API over a real database in a temporary directory.

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response, StatusCode};
use cardinal_ingest::{WriteOptions, Writer};
use cardinal_proto::remote_write::{Label, MetricMetadata, Sample, TimeSeries, WriteRequest};
use cardinal_storage::database::{Database, DatabaseOptions};
use cardinal_storage::io::ManualClock;
use cardinal_storage::model::TimestampMs;
use prost::Message;
use serde_json::{Value, json};
use tower::ServiceExt;

mod explain;
mod histograms;
mod queries;

use super::*;
use crate::config::{Sources, resolve};

/// The present of these tests: 1,000,000 s.
const NOW: TimestampMs = TimestampMs(1_000_000_000);

struct Server {
    state: Arc<AppState>,
    _directory: tempfile::TempDir,
}

impl Server {
    /// A server whose database is not open.
    fn closed(settings: &[(&'static str, &str)]) -> Self {
        let flags = settings.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        let resolved = resolve(&Sources { flags, ..Sources::default() }).expect("valid settings");
        let directory = tempfile::tempdir().expect("a directory");
        let state = AppState::new(resolved.config, Arc::new(ManualClock::new(NOW)));
        Self { state, _directory: directory }
    }

    fn open(settings: &[(&'static str, &str)]) -> Self {
        let server = Self::closed(settings);
        let options = DatabaseOptions {
            delete_grace: server.state.config.delete_grace,
            clock: server.state.clock.clone(),
            limits: server.state.config.limits_series.clone(),
            background: false,
            wal_segment_bytes: 1 << 20,
            ..DatabaseOptions::new(server._directory.path().join("data"))
        };
        let database = Database::open(options).expect("opens");
        let clock = server.state.clock.clone();
        let writer = Arc::new(Writer::new(database.clone(), clock, WriteOptions::default()));
        server.state.open(Core { database, writer });
        server
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        router(self.state.clone()).oneshot(request).await.expect("infallible")
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = self.send(request(Method::GET, path, "")).await;
        (response.status(), json_of(response).await)
    }

    async fn data(&self, path: &str) -> Value {
        let (status, answer) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer["data"].clone()
    }

    /// Checks status, type and text of an error.
    async fn refuses(&self, path: &str, status: u16, kind: &str, text: &str) {
        let (found, answer) = self.get(path).await;
        assert_eq!((found.as_u16(), &answer["errorType"]), (status, &json!(kind)), "{path}: {answer}");
        assert_eq!(answer["error"], text, "{path}");
    }

    /// Writes one sample per series, `age` seconds ago.
    async fn write(&self, series: &[(&[(&str, &str)], f64)], age: i64) -> Response<Body> {
        let timeseries = series.iter().map(|(labels, value)| TimeSeries {
            labels: labels.iter().map(|(n, v)| Label { name: (*n).into(), value: (*v).into() }).collect(),
            samples: vec![Sample { value: *value, timestamp: NOW.0 - age * 1000 }],
            ..TimeSeries::default()
        });
        self.send(write_request(&WriteRequest {
            timeseries: timeseries.collect(),
            ..WriteRequest::default()
        }))
        .await
    }
}

fn request(method: Method, path: &str, form: &str) -> Request<Body> {
    let path = path.replace('{', "%7B").replace('}', "%7D").replace('"', "%22").replace(' ', "%20");
    let builder = Request::builder().method(method).uri(path);
    let builder = match form {
        "" => builder,
        _ => builder.header("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
    };
    builder.body(Body::from(form.to_owned())).expect("a request")
}

fn write_request(message: &WriteRequest) -> Request<Body> {
    let body = snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).expect("small");
    Request::post("/api/v1/write")
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "snappy")
        .header("content-length", body.len())
        .body(Body::from(body))
        .expect("a request")
}

fn header(response: &Response<Body>, name: &str) -> String {
    response.headers()[name].to_str().expect("ASCII").to_owned()
}

async fn text_of(response: Response<Body>) -> String {
    let bytes = to_bytes(response.into_body(), 1 << 30).await.expect("a body");
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

async fn json_of(response: Response<Body>) -> Value {
    let text = text_of(response).await;
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[tokio::test]
async fn what_was_written_is_there_for_the_next_query() {
    let server = Server::open(&[]);
    let up = |v| [("__name__", "up"), ("account", "7"), ("instance", v)];
    let (a, b) = (up("a"), up("b"));
    let response = server.write(&[(&a, 1.0), (&b, 0.5)], 30).await;
    assert_eq!((response.status(), text_of(response).await.as_str()), (StatusCode::NO_CONTENT, ""));
    let sum = server.data("/api/v1/query?query=sum(up)").await;
    assert_eq!(sum, json!({"resultType": "vector", "result": [{"metric": {}, "value": [1_000_000, "1.5"]}]}));
    let range =
        server.data("/api/v1/query_range?query=up{instance=\"b\"}&start=999960&end=1000000&step=20").await;
    let metric = json!({"__name__": "up", "account": "7", "instance": "b"});
    let values = json!([[999_980, "0.5"], [1_000_000, "0.5"]]);
    assert_eq!(range, json!({"resultType": "matrix", "result": [{"metric": metric, "values": values}]}));
}

#[tokio::test]
async fn labels_values_and_series() {
    let server = Server::open(&[]);
    let series: Vec<_> = ["x", "y", "z"].map(|v| [("__name__", "m"), ("http.status", v)]).into();
    let series: Vec<(&[(&str, &str)], f64)> = series.iter().map(|s| (&s[..], 1.0)).collect();
    assert_eq!(server.write(&series, 0).await.status(), 204);
    assert_eq!(server.data("/api/v1/labels").await, json!(["__name__", "http.status"]));
    assert_eq!(server.data("/api/v1/labels?match[]=none").await, json!([]));
    assert_eq!(server.data("/api/v1/label/U__http_2e_status/values").await, json!(["x", "y", "z"]));
    assert_eq!(
        server.data("/api/v1/label/http.status/values?match[]=m&start=1").await,
        json!(["x", "y", "z"])
    );
    let (_, cut) = server.get("/api/v1/label/http.status/values?limit=2").await;
    assert_eq!(cut["data"], json!(["x", "y"]));
    assert_eq!(cut["warnings"], json!(["results truncated due to limit"]));
    let (_, whole) = server.get("/api/v1/label/http.status/values?limit=3").await;
    assert_eq!(whole["warnings"], Value::Null);
    let found = server
        .data("/api/v1/series?match[]={\"http.status\"=\"x\"}&match[]=m{\"http.status\"=~\"x|y\"}")
        .await;
    assert_eq!(found.as_array().map(Vec::len), Some(2));
    server.refuses("/api/v1/series", 400, "bad_data", "no match[] parameter provided").await;
    let (status, answer) = server.get("/api/v1/labels?match[]={a=~\".*\"}").await;
    let text = answer["error"].as_str().expect("a text");
    assert_eq!(
        (status, text),
        (
            StatusCode::BAD_REQUEST,
            "invalid parameter \"match[]\": match[] must contain at least one non-empty matcher"
        )
    );
}

#[tokio::test]
async fn grafanas_health_check_and_forms() {
    let server = Server::open(&[]);
    let expected = json!({"resultType": "scalar", "result": [4, "2"]});
    assert_eq!(server.data("/api/v1/query?query=1%2B1&time=4").await, expected);
    let posted = request(Method::POST, "/api/v1/query?time=9&nocache=1", "query=1%2B1&time=4");
    assert_eq!(json_of(server.send(posted).await).await["data"], expected);
    let info = server.data("/api/v1/status/buildinfo").await;
    assert_eq!((&info["version"], info.get("features")), (&json!("3.14.0"), None));
    let posted = request(Method::POST, "/api/v1/status/buildinfo", "");
    assert_eq!(server.send(posted).await.status(), 200);
}

#[tokio::test]
async fn errors_have_their_types_and_statuses() {
    let server = Server::open(&[]);
    let (status, answer) = server.get("/api/v1/query?query=sum(").await;
    assert_eq!((status.as_u16(), &answer["errorType"]), (400, &json!("bad_data")));
    let text = answer["error"].as_str().expect("a text");
    assert!(text.starts_with("invalid parameter \"query\": 1:5: parse error: "), "{text}");
    let text =
        "invalid parameter \"time\": invalid time value for 'time': cannot parse \"x\" to a valid timestamp";
    server.refuses("/api/v1/query?query=1&time=x", 400, "bad_data", text).await;
    let text = "invalid parameter \"timeout\": cannot parse \"x\" to a valid duration";
    server.refuses("/api/v1/query?query=1&timeout=x", 400, "bad_data", text).await;
    let text = "invalid parameter \"query\": invalid expression type \"range vector\" for range query, \
                must be Scalar or instant Vector";
    server.refuses("/api/v1/query_range?query=a[1m]&start=0&end=1&step=1", 400, "bad_data", text).await;
    let text = "invalid label name: what the path holds is not UTF-8";
    server.refuses("/api/v1/label/%FF/values", 400, "bad_data", text).await;
    let text = "exceeded maximum resolution of 11,000 points per timeseries. \
                Try decreasing the query resolution (?step=XX)";
    server.refuses("/api/v1/query_range?query=1&start=0&end=11001&step=1", 400, "bad_data", text).await;
    let many = server.data("/api/v1/query_range?query=1&start=0&end=11000&step=1").await;
    assert_eq!(many["result"][0]["values"].as_array().map(Vec::len), Some(11_001));
    assert_eq!(server.data("/api/v1/query?query=1&step=x&unknown=1").await["resultType"], "scalar");
}

#[tokio::test]
async fn matching_errors_are_execution_errors() {
    let server = Server::open(&[]);
    let series = [[("__name__", "a"), ("x", "1")], [("__name__", "a"), ("x", "2")]];
    let series: Vec<(&[(&str, &str)], f64)> = series.iter().map(|s| (&s[..], 1.0)).collect();
    assert_eq!(server.write(&series, 0).await.status(), 204);
    let (status, answer) = server.get("/api/v1/query?query=a%20%2B%20on()%20a").await;
    assert_eq!((status.as_u16(), &answer["errorType"]), (422, &json!("execution")), "{answer}");
}

#[tokio::test]
async fn methods_paths_and_origins() {
    let server = Server::open(&[]);
    let status = async |method: Method, path: &str| server.send(request(method, path, "")).await;
    let refused = status(Method::GET, "/api/v1/write").await;
    assert_eq!((refused.status().as_u16(), header(&refused, "allow")), (405, "POST".to_owned()));
    let refused = status(Method::DELETE, "/api/v1/query").await;
    assert_eq!((refused.status().as_u16(), header(&refused, "allow")), (405, "GET,HEAD,POST".to_owned()));
    assert_eq!(status(Method::GET, "/api/v1/nothing").await.status(), 404);
    assert_eq!(status(Method::HEAD, "/-/ready").await.status(), 200);
    assert_eq!(status(Method::GET, "/-/healthy").await.status(), 200);
    assert!(text_of(status(Method::GET, "/").await).await.contains("http://127.0.0.1:9460/api/v1/write"));
    for (host, shown) in [("db.example.net:80", "db.example.net:80"), ("<b>", "127.0.0.1:9460")] {
        let mut home = request(Method::GET, "/", "");
        home.headers_mut().insert("host", HeaderValue::from_static(host));
        assert!(text_of(server.send(home).await).await.contains(&format!("http://{shown}/api/v1/write")));
    }
    for path in ["/api/v1/query", "/api/v1/nothing"] {
        let mut options = request(Method::OPTIONS, path, "");
        options.headers_mut().insert("origin", HeaderValue::from_static("http://grafana"));
        let response = server.send(options).await;
        assert_eq!(
            (response.status().as_u16(), header(&response, "access-control-allow-origin")),
            (204, "*".to_owned())
        );
    }
    let vary = |response: &Response<Body>| {
        let all = response.headers().get_all("vary").iter();
        all.map(|v| v.to_str().expect("ASCII").to_owned()).collect::<Vec<_>>()
    };
    for small in ["/api/v1/labels", "/api/v1/query?query=("] {
        assert_eq!(vary(&status(Method::GET, small).await), ["accept-encoding", "Origin"], "{small}");
    }
    assert_eq!(vary(&status(Method::GET, "/-/healthy").await), ["Origin"]);
}

#[tokio::test]
async fn before_the_database_is_open() {
    let server = Server::closed(&[]);
    for path in ["/-/ready", "/api/v1/query?query=1", "/api/v1/status/buildinfo"] {
        let response = server.send(request(Method::GET, path, "")).await;
        assert_eq!(
            (response.status().as_u16(), header(&response, "x-prometheus-stopping")),
            (503, "false".to_owned())
        );
        assert_eq!(text_of(response).await, "Service Unavailable");
    }
    assert_eq!(server.send(write_request(&WriteRequest::default())).await.status(), 503);
    assert_eq!(server.send(request(Method::GET, "/-/healthy", "")).await.status(), 200);
    let metrics = text_of(server.send(request(Method::GET, "/metrics", "")).await).await;
    assert!(metrics.contains("\ncardinal_ready 0.0\n"), "{metrics}");
    server.state.stop();
    let response = server.send(request(Method::GET, "/-/ready", "")).await;
    assert_eq!(&response.headers()["x-prometheus-stopping"], "true");
}

#[tokio::test]
async fn write_requests_that_are_refused() {
    let server = Server::open(&[]);
    let send = async |content_type: &str, encoding: &str, body: &[u8]| {
        let request = Request::post("/api/v1/push")
            .header("content-type", content_type)
            .header("content-encoding", encoding)
            .body(Body::from(body.to_vec()));
        server.send(request.expect("a request")).await.status().as_u16()
    };
    assert_eq!(send("application/json", "snappy", b"broken").await, 415);
    assert_eq!(send("application/x-protobuf", "zstd", b"broken").await, 415);
    let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    assert_eq!(send(v2, "snappy", b"broken").await, 415);
    assert_eq!(send("application/x-protobuf", "snappy", b"broken").await, 400);
    let mut long = write_request(&WriteRequest::default());
    long.headers_mut().insert("content-length", HeaderValue::from(1u64 << 40));
    assert_eq!(server.send(long).await.status(), 400);
    let mut cut = write_request(&WriteRequest::default());
    cut.headers_mut().insert("content-length", HeaderValue::from(9));
    let broken = || futures_util::stream::once(async { Err::<Vec<u8>, _>(std::io::Error::other("gone")) });
    *cut.body_mut() = Body::from_stream(broken());
    assert_eq!(server.send(cut).await.status(), 400);
    let metrics = text_of(server.send(request(Method::GET, "/metrics", "")).await).await;
    for (reason, n) in [("media_type", 3), ("malformed", 1), ("request_bytes", 1), ("body_cut", 1)] {
        let line = format!("\ncardinal_write_refusals_total{{reason=\"{reason}\"}} {n}\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
    let partly: [(&[(&str, &str)], f64); 2] = [(&[("__name__", "good")], 1.0), (&[("no", "name")], 1.0)];
    let response = server.write(&partly, 0).await;
    assert_eq!(response.status(), 400);
    let text = text_of(response).await;
    assert!(text.contains("no=\"name\""), "{text}");
    assert_eq!(server.data("/api/v1/query?query=good").await["result"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_gives_its_place_back() {
    let server = Server::open(&[]);
    let stuck = Request::post("/api/v1/write")
        .header("content-length", "1000")
        .body(Body::from_stream(futures_util::stream::pending::<Result<&[u8], std::io::Error>>()));
    let response = server.send(stuck.expect("a request")).await;
    assert_eq!((response.status().as_u16(), header(&response, "retry-after")), (503, "1".to_owned()));
    let core = server.state.core().expect("open");
    assert_eq!(core.writer.stats().in_flight_bytes, 0);
}

#[tokio::test]
async fn metadata_and_head_statistics() {
    let server = Server::open(&[]);
    assert_eq!(server.write(&[(&[("__name__", "x_total"), ("a", "b")], 1.0)], 0).await.status(), 204);
    let item = MetricMetadata {
        r#type: 1,
        metric_family_name: "x_total".into(),
        help: "counts <x>".into(),
        unit: String::new(),
    };
    let message = WriteRequest { metadata: vec![item], ..WriteRequest::default() };
    assert_eq!(server.send(write_request(&message)).await.status(), 204);
    let expected = json!({"x_total": [{"type": "counter", "unit": "", "help": "counts <x>"}]});
    assert_eq!(server.data("/api/v1/metadata").await, expected);
    assert_eq!(server.data("/api/v1/metadata?metric=none").await, json!({}));
    assert_eq!(server.data("/api/v1/metadata?limit=0").await, json!({}));
    for all in ["limit=-1", "limit_per_metric=-1", "limit_per_metric=0", "limit=-1&limit_per_metric=-1"] {
        assert_eq!(server.data(&format!("/api/v1/metadata?{all}")).await, expected, "{all}");
    }
    let head = server.data("/api/v1/status/tsdb").await;
    assert_eq!((&head["headStats"]["numSeries"], &head["headStats"]["minTime"]), (&json!(1), &json!(NOW.0)));
    assert_eq!(head["seriesCountByMetricName"], json!([{"name": "x_total", "value": 1}]));
    assert_eq!(head["seriesCountByLabelValuePair"].as_array().map(Vec::len), Some(2));
    let text = "invalid parameter \"limit\": limit must be between 1 and 10000";
    server.refuses("/api/v1/status/tsdb?limit=0", 400, "bad_data", text).await;
    assert_eq!(head["counted"], json!({"source": "head", "parts": 1, "series": 1, "distinctSeries": true}));
    let blocks = server.data("/api/v1/status/tsdb?source=blocks").await;
    assert_eq!((&blocks["counted"]["parts"], &blocks["seriesCountByMetricName"]), (&json!(0), &json!([])));
    let text = "invalid parameter \"source\": \"disk\" is not one of head, blocks, all";
    server.refuses("/api/v1/status/tsdb?source=disk", 400, "bad_data", text).await;
}

#[tokio::test]
async fn flush_moves_the_head_into_blocks() {
    let server = Server::open(&[]);
    assert_eq!(server.write(&[(&[("__name__", "x")], 1.0)], 0).await.status(), 204);
    let flushed = server.send(request(Method::POST, "/api/v1/admin/tsdb/flush", "")).await;
    assert_eq!(flushed.status(), 204);
    let metrics = text_of(server.send(request(Method::GET, "/metrics", "")).await).await;
    assert!(metrics.contains("\ncardinal_blocks 1.0\n"), "{metrics}");
    assert_eq!(server.data("/api/v1/query?query=x").await["result"][0]["value"], json!([1_000_000, "1"]));
    let refusing = Server::open(&[("admin.enabled", "false")]);
    let refused = refusing.send(request(Method::POST, "/api/v1/admin/tsdb/flush", "")).await;
    assert_eq!(refused.status(), 500);
    assert_eq!(json_of(refused).await["errorType"], "unavailable");
}

#[tokio::test]
async fn compact_merges_the_blocks_of_a_day() {
    let server = Server::open(&[]);
    let post = |call: &str| request(Method::POST, &format!("/api/v1/admin/tsdb/{call}"), "");
    for name in ["x", "y"] {
        assert_eq!(server.write(&[(&[("__name__", name)], 1.0)], 0).await.status(), 204);
        assert_eq!(server.send(post("flush")).await.status(), 204);
    }
    let metrics = text_of(server.send(request(Method::GET, "/metrics", "")).await).await;
    assert!(metrics.contains("\ncardinal_overlapping_windows 1.0\n"), "{metrics}");
    assert_eq!(server.send(post("compact")).await.status(), 204);
    let metrics = text_of(server.send(request(Method::GET, "/metrics", "")).await).await;
    assert!(metrics.contains("\ncardinal_blocks 1.0\n"), "{metrics}");
    assert!(metrics.contains("\ncardinal_compactions_total{result=\"merged\"} 1\n"), "{metrics}");
    assert!(metrics.contains("\ncardinal_level_blocks{tier=\"raw\",level=\"1\"} 1.0\n"), "{metrics}");
    let both = server.data("/api/v1/query?query={__name__=~%22x|y%22}").await;
    assert_eq!(both["result"].as_array().map(Vec::len), Some(2));
    let refusing = Server::open(&[("admin.enabled", "false")]);
    assert_eq!(json_of(refusing.send(post("compact")).await).await["errorType"], "unavailable");
}

#[tokio::test]
async fn deletions_hide_at_once_and_can_be_undone() {
    let server = Server::open(&[]);
    let admin = |call: &str| request(Method::POST, &format!("/api/v1/admin/tsdb/{call}"), "");
    let series: [(&[(&str, &str)], f64); 2] =
        [(&[("__name__", "x"), ("account", "1")], 1.0), (&[("__name__", "x"), ("account", "2")], 2.0)];
    assert_eq!(server.write(&series, 0).await.status(), 204);
    let found = async || server.data("/api/v1/query?query=count(x)").await["result"][0]["value"][1].clone();
    let refused = async |call: &str, status: u16, text: &str| {
        let response = server.send(admin(call)).await;
        assert_eq!(response.status(), status, "{call}");
        let answer = json_of(response).await;
        assert!(answer["error"].as_str().is_some_and(|e| e.contains(text)), "{call}: {answer}");
    };
    refused("delete_series", 400, "no match[] parameter provided").await;
    refused("delete_series?match[]={}", 400, "at least one non-empty matcher").await;
    refused("delete_series?match[]=x&start=5&end=4", 400, "must not be before start").await;
    refused("delete_series?match[]=x&start=yesterday", 400, "invalid time value for 'start'").await;
    let long = format!("delete_series?match[]=x{{a=%22{}%22}}", "x".repeat(9000));
    refused(&long, 400, "of 8192 at most").await;
    refused("undelete", 400, "the id of a deletion is needed").await;
    refused("undelete?id=7", 404, "there is no deletion 7").await;
    assert_eq!(found().await, "2");

    let deleted = server.send(admin("delete_series?match[]={account=%221%22}&end=1000060.5")).await;
    assert_eq!(deleted.status(), 204);
    assert_eq!(found().await, "1");
    let labels = server.data("/api/v1/label/account/values").await;
    assert_eq!(labels, json!(["2"]));
    assert_eq!(server.data("/api/v1/series?match[]=x").await.as_array().map(Vec::len), Some(1));
    let listed = server.data("/api/v1/admin/tsdb/deletions").await;
    let id = listed[0]["id"].as_u64().expect("an id");
    let expected = json!([{"id": id, "selector": "{account=\"1\"}", "start": null, "end": 1_000_060.5,
        "created": 1_000_000.0, "undeletableUntil": 1_086_400.0, "state": "hidden"}]);
    assert_eq!(listed, expected);
    let metrics = text_of(server.send(request(Method::GET, "/metrics", "")).await).await;
    assert!(metrics.contains("\ncardinal_tombstones 1.0\n"), "{metrics}");
    assert!(metrics.contains("\ncardinal_deletions_total 1.0\n"), "{metrics}");

    assert_eq!(server.send(admin(&format!("undelete?id={id}"))).await.status(), 204);
    assert_eq!(found().await, "2");
    assert_eq!(server.data("/api/v1/admin/tsdb/deletions").await, json!([]));
    let put = request(Method::PUT, "/api/v1/admin/tsdb/delete_series?match[]=x{account=%222%22}", "");
    assert_eq!(server.send(put).await.status(), 204);
    assert_eq!(server.send(admin("clean_tombstones")).await.status(), 204);
    assert_eq!(server.data("/api/v1/admin/tsdb/deletions").await, json!([]));
    assert_eq!(found().await, "1");
    let refusing = Server::open(&[("admin.enabled", "false")]);
    for call in ["delete_series?match[]=x", "undelete?id=1", "clean_tombstones"] {
        assert_eq!(json_of(refusing.send(admin(call)).await).await["errorType"], "unavailable", "{call}");
    }
}

#[tokio::test]
async fn too_many_deletions_are_refused_and_final_ones_stay() {
    let server = Server::open(&[("delete.grace", "0s")]);
    let admin = |call: &str| request(Method::POST, &format!("/api/v1/admin/tsdb/{call}"), "");
    assert_eq!(server.write(&[(&[("__name__", "x")], 1.0)], 0).await.status(), 204);
    let selectors: String = (0..1001).map(|i| format!("match[]=x{{n=\"{i}\"}}&")).collect();
    let many = request(Method::POST, "/api/v1/admin/tsdb/delete_series", &selectors);
    let refused = server.send(many).await;
    assert_eq!(refused.status(), 422);
    assert!(text_of(refused).await.contains("of 1000 at most"));
    assert_eq!(server.send(admin("delete_series?match[]=x")).await.status(), 204);
    let listed = server.data("/api/v1/admin/tsdb/deletions").await;
    assert_eq!(listed[0]["state"], "final");
    let refused = server.send(admin(&format!("undelete?id={}", listed[0]["id"]))).await;
    assert_eq!(refused.status(), 400);
    assert!(text_of(refused).await.contains("cannot be undone any more"));
}

#[tokio::test]
async fn limits_stats_and_compression() {
    let server = Server::open(&[]);
    let names: Vec<_> = (0..50).map(|i| i.to_string()).collect();
    let series: Vec<_> = names.iter().map(|n| [("__name__", "m"), ("n", n.as_str())]).collect();
    let series: Vec<(&[(&str, &str)], f64)> = series.iter().map(|s| (&s[..], 1.0)).collect();
    assert_eq!(server.write(&series, 0).await.status(), 204);
    let (_, cut) = server.get("/api/v1/query?query=m&limit=3&stats=all").await;
    assert_eq!(cut["data"]["result"].as_array().map(Vec::len), Some(3));
    assert_eq!(cut["warnings"], json!(["results truncated due to limit"]));
    assert_eq!(cut["data"]["stats"]["samples"]["samplesRead"], 50);
    let mut zipped = request(Method::GET, "/api/v1/query?query=m", "");
    zipped.headers_mut().insert("accept-encoding", HeaderValue::from_static("gzip"));
    let response = server.send(zipped).await;
    assert_eq!(&response.headers()["content-encoding"], "gzip");
    let vary: Vec<_> = response.headers().get_all("vary").iter().collect();
    assert_eq!(vary, ["accept-encoding", "Origin"], "each once");
    let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    assert!(bytes.starts_with(&[0x1f, 0x8b]) && bytes.len() < 1500, "{} bytes", bytes.len());
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_query() {
    let server = Server::open(&[("query.timeout", "1h"), ("query.max_samples", "1000000000000")]);
    let path = "/api/v1/query_range?query=sum_over_time(vector(1)[30d:1s])&start=0&end=11000&step=1";
    let mut query = Box::pin(server.get(path));
    while server.state.gate.running() == 0 {
        let pending =
            std::future::poll_fn(|cx| std::task::Poll::Ready(query.as_mut().poll(cx).is_pending())).await;
        assert!(pending, "28 billion samples take longer than this");
        tokio::task::yield_now().await;
    }
    drop(query);
    let metrics = text_of(server.send(request(Method::GET, "/metrics", "")).await).await;
    assert!(metrics.contains("\ncardinal_queries_refused_total{reason=\"canceled\"} 1\n"), "{metrics}");
    let counted = "\ncardinal_http_requests_total{path=\"/api/v1/query_range\",code=\"499\"} 1\n";
    assert!(metrics.contains(counted), "{metrics}");
    for _ in 0..6000 {
        if server.state.gate.running() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the query still runs a minute after its client has gone");
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_ended() {
    let server = Server::open(&[("query.max_samples", "1000000000000")]);
    let path =
        "/api/v1/query_range?query=sum_over_time(vector(1)[30d:1s])&start=0&end=11000&step=1&timeout=100ms";
    server.refuses(path, 503, "timeout", "query timed out in expression evaluation").await;
    let metrics = text_of(server.send(request(Method::GET, "/metrics", "")).await).await;
    assert!(metrics.contains("\ncardinal_queries_refused_total{reason=\"timeout\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn every_limit_that_a_query_reaches_is_counted() {
    let server = Server::open(&[("query.max_samples", "10")]);
    let deep = "(".repeat(300);
    let pattern = "(((x{100}){100}){100}){100}y%2B";
    let long = "a".repeat(5000);
    let reach = async |path: &str, status: u16, reason: &str| {
        let line = |n: u32| format!("\ncardinal_queries_refused_total{{reason=\"{reason}\"}} {n}\n");
        let (found, answer) = server.get(path).await;
        assert_eq!(found.as_u16(), status, "{reason}: {answer}");
        let metrics = text_of(server.send(request(Method::GET, "/metrics", "")).await).await;
        assert!(metrics.contains(&line(1)), "{reason}: {metrics}");
    };
    reach("/api/v1/query_range?query=up&start=0&end=11001&step=1", 400, "points").await;
    reach(&format!("/api/v1/query?query={deep}"), 400, "query_depth").await;
    reach(&format!("/api/v1/query?query={{a=~\"{pattern}\"}}"), 400, "pattern").await;
    reach("/api/v1/query_range?query=vector(1)&start=0&end=1000&step=1", 422, "max_samples").await;
    reach(&format!("/api/v1/label/{long}/values"), 400, "label_name_bytes").await;
    let posted = async |bytes: usize, reason: &str| {
        let form = Request::post("/api/v1/query").header("content-type", "application/x-www-form-urlencoded");
        let body = format!("query={}", "1".repeat(bytes));
        assert_eq!(
            server.send(form.body(Body::from(body)).expect("a request")).await.status(),
            400,
            "{reason}"
        );
        let metrics = text_of(server.send(request(Method::GET, "/metrics", "")).await).await;
        let line = format!("\ncardinal_queries_refused_total{{reason=\"{reason}\"}} 1\n");
        assert!(metrics.contains(&line), "{metrics}");
    };
    posted(2 << 20, "query_bytes").await;
    posted(5 << 20, "form_bytes").await;
    // The same limit, reached in a selector.
    let (status, _) = server.get(&format!("/api/v1/series?match[]={{a=~\"{pattern}\"}}")).await;
    assert_eq!(status, 400);
    let metrics = text_of(server.send(request(Method::GET, "/metrics", "")).await).await;
    assert!(metrics.contains("\ncardinal_queries_refused_total{reason=\"pattern\"} 2\n"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_form_that_stalls_is_given_up() {
    let server = Server::open(&[]);
    let stalled = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let form = Request::post("/api/v1/query").header("content-type", "application/x-www-form-urlencoded");
    let response = server.send(form.body(stalled).expect("a request")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn features_of_the_language_are_switched_by_their_setting() {
    let gated = [
        ("sort_by_label(up, \"job\")", "experimental-functions"),
        ("up[1m * 2]", "duration-expressions"),
        ("up * fill(0) up", "fill"),
    ];
    let on = Server::open(&[]);
    let off = Server::open(&[("query.features", "none")]);
    for (query, feature) in gated {
        let path = format!("/api/v1/query?query={query}");
        on.data(&path).await;
        let (status, answer) = off.get(&path).await;
        assert_eq!((status.as_u16(), &answer["errorType"]), (400, &json!("bad_data")), "{query}: {answer}");
        let text = answer["error"].as_str().unwrap_or_default();
        assert!(text.contains("not enabled"), "{feature}: {text}");
    }
    let delayed = Server::open(&[("query.features", "delayed-name-removal")]);
    let query = r#"label_replace(rate({__name__=~"a|b"}[5m]), "from", "$1", "__name__", "(.*)")"#;
    for (server, fails) in [(on, true), (delayed, false)] {
        for name in ["a", "b"] {
            server.write(&[(&[("__name__", name)], 1.0)], 60).await;
            server.write(&[(&[("__name__", name)], 2.0)], 30).await;
        }
        let (status, answer) = server.get(&format!("/api/v1/query?query={query}")).await;
        assert_eq!(status != 200, fails, "{answer}");
    }
}

#[tokio::test]
async fn own_metrics_come_in_the_format_that_is_asked_for() {
    let server = Server::open(&[]);
    let ask = async |accept: &str| {
        let mut request = request(Method::GET, "/metrics", "");
        request.headers_mut().insert("accept", accept.parse().expect("a header"));
        let response = server.send(request).await;
        let media_type = response.headers()["content-type"].to_str().expect("text").to_owned();
        (media_type, text_of(response).await)
    };
    let (media_type, text) = ask("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2").await;
    assert_eq!(media_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.contains("# TYPE cardinal_wal_batches counter\n") && text.ends_with("# EOF\n"), "{text}");
    assert!(text.contains("cardinal_wal_sync_seconds_bucket{le=\"+Inf\"} "), "{text}");
    let (media_type, text) = ask("*/*").await;
    assert_eq!(media_type, "text/plain; version=0.0.4; charset=utf-8");
    assert!(
        text.contains("# TYPE cardinal_wal_batches_total counter\n") && !text.contains("# EOF"),
        "{text}"
    );
}

#[tokio::test]
async fn what_there_is_none_of_is_empty() {
    let server = Server::open(&[]);
    assert_eq!(server.data("/api/v1/rules?type=alert").await, json!({"groups": []}));
    assert_eq!(server.data("/api/v1/alerts").await, json!({"alerts": []}));
    assert_eq!(server.data("/api/v1/query_exemplars?query=up&start=1&end=2").await, json!([]));
    let (status, _) = server.get("/api/v1/query_exemplars?query=up(").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn accounts_at_their_limit_are_answered_and_named() {
    let server =
        Server::open(&[("limits.series", "2"), ("limits.accounts", "big=series:3 series_created:9/1m")]);
    let send = async |account: &str, names: &[&str]| {
        let series: Vec<_> = names.iter().map(|name| [("__name__", *name), ("account", account)]).collect();
        let series: Vec<(&[(&str, &str)], f64)> = series.iter().map(|labels| (&labels[..], 1.0)).collect();
        server.write(&series, 0).await
    };
    assert_eq!(send("small", &["a", "b"]).await.status(), 204);
    let refused = send("small", &["a", "b", "c"]).await;
    assert_eq!((refused.status().as_u16(), refused.headers().get("retry-after")), (400, None));
    assert_eq!(
        text_of(refused).await,
        "samples written: 2, refused: 1 (1 series limit): c{account=\"small\"}: account \"small\" has the 2 series of \
         limits.series; new ones are refused until others are idle and leave\n"
    );
    assert_eq!(send("big", &["a", "b", "c"]).await.status(), 204);
    let status = server.data("/api/v1/status/accounts?limit=1").await;
    assert_eq!((&status["accountCount"], &status["activeSeries"]), (&json!(2), &json!(5)));
    assert_eq!(
        status["accounts"],
        json!([{
            "account": "big", "activeSeries": 3, "share": 0.6, "seriesCreated": 3,
            "limits": {"series": 3, "seriesCreated": "9/1m"},
            "samplesRefused": {"series": 0, "seriesCreated": 0},
            "seriesCountByMetricName": [
                {"name": "a", "value": 1}, {"name": "b", "value": 1}, {"name": "c", "value": 1}
            ],
        }])
    );
    let metrics = text_of(server.send(request(Method::GET, "/metrics", "")).await).await;
    let line = "\ncardinal_account_samples_refused_total{account=\"small\",reason=\"series_limit\"} 1\n";
    assert!(metrics.contains(line), "{metrics}");
    assert!(metrics.contains("\ncardinal_account_series{account=\"small\"} 2.0\n"), "{metrics}");
}

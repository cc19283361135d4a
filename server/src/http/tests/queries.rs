//! Queries that are listed, killed and limited.

use super::*;
use std::task::Poll;
use std::time::Duration;

/// Takes hours unless it is ended.
const ENDLESS: &str = "/api/v1/query_range?query=sum_over_time(vector(1)[30d:1s])&start=0&end=11000&step=1";

async fn until_listed(server: &Server, n: usize, query: &mut std::pin::Pin<Box<impl Future>>) {
    while server.state.queries.running().len() < n || server.state.gate.running() == 0 {
        let pending = std::future::poll_fn(|cx| Poll::Ready(query.as_mut().poll(cx).is_pending())).await;
        assert!(pending, "28 billion samples take longer than this");
        tokio::task::yield_now().await;
    }
}

async fn kill(server: &Server, id: &str) -> Response<Body> {
    server.send(request(Method::DELETE, &format!("/api/v1/status/queries/{id}"), "")).await
}

#[tokio::test]
async fn queries_are_listed_and_killed() {
    let server = Server::open(&[
        ("query.timeout", "1h"),
        ("query.max_samples", "1000000000000"),
        ("query.concurrency", "1"),
    ]);
    let mut first = Box::pin(server.get(ENDLESS));
    until_listed(&server, 1, &mut first).await;
    let mut second = Box::pin(server.get("/api/v1/query?query=up&time=7"));
    until_listed(&server, 2, &mut second).await;

    let active = server.data("/api/v1/status/queries").await["active"].clone();
    assert_eq!((&active[0]["id"], &active[0]["state"]), (&json!(1), &json!("running")), "{active}");
    assert_eq!((&active[0]["end"], &active[0]["step"]), (&json!(11_000.0), &json!(1.0)), "{active}");
    assert_eq!((&active[1]["state"], &active[1]["time"]), (&json!("queued"), &json!(7.0)), "{active}");

    // The one in line leaves it at once, the other one soon: it has thousands of windows of millions of samples to go.
    for (id, query) in [("2", second), ("1", first)] {
        assert_eq!(kill(&server, id).await.status(), 204);
        let (status, answer) = tokio::time::timeout(Duration::from_secs(60), query).await.expect("ended");
        assert_eq!((status.as_u16(), &answer["errorType"]), (499, &json!("canceled")), "{answer}");
        let text = format!("query was canceled: it was killed (DELETE /api/v1/status/queries/{id})");
        assert_eq!(answer["error"], text);
    }
    assert_eq!(kill(&server, "1").await.status(), 404);
    assert_eq!(kill(&server, "x").await.status(), 400);
    let listed = server.data("/api/v1/status/queries").await;
    assert_eq!(listed["active"], json!([]));
    assert_eq!(listed["slowest"][0]["result"], "canceled", "{listed}");
    let metrics = text_of(server.send(request(Method::GET, "/metrics", "")).await).await;
    assert!(metrics.contains("\ncardinal_queries_refused_total{reason=\"killed\"} 2\n"), "{metrics}");
}

#[tokio::test]
async fn killing_needs_the_admin_calls() {
    let server = Server::open(&[("admin.enabled", "false")]);
    let response = kill(&server, "1").await;
    assert_eq!(response.status(), 500);
    assert_eq!(json_of(response).await["errorType"], "unavailable");
}

#[tokio::test]
async fn series_and_bytes_are_limited() {
    let series: Vec<_> = ["1", "2", "3"].map(|v| [("__name__", "up"), ("instance", v)]).into();
    let series: Vec<(&[(&str, &str)], f64)> = series.iter().map(|s| (&s[..], 1.0)).collect();
    let check = async |setting: (&'static str, &str), query: &str, text: Option<&str>| {
        let server = Server::open(&[setting]);
        assert_eq!(server.write(&series, 0).await.status(), 204);
        let path = format!("/api/v1/query?query={query}");
        let Some(text) = text else {
            server.data(&path).await;
            return;
        };
        server.refuses(&path, 422, "execution", text).await;
        let reason = setting.0.strip_prefix("query.").expect("a limit of queries");
        let metrics = text_of(server.send(request(Method::GET, "/metrics", "")).await).await;
        let counted = format!("\ncardinal_queries_refused_total{{reason=\"{reason}\"}} 1\n");
        assert!(metrics.contains(&counted), "{metrics}");
    };
    let series_text = "the query selects too many series: the limit is 5; name the metric and an account, ask for a shorter \
                       range, or raise query.max_series";
    check(("query.max_series", "5"), "up", None).await;
    check(("query.max_series", "5"), "up%20%2B%20up", Some(series_text)).await;
    check(("query.max_series", "5"), "up[1m]", None).await;
    check(("query.max_series", "off"), "up%20%2B%20up", None).await;
    let bytes_text = "the query reads too much: the limit is 2 bytes of chunks; select fewer series or a shorter range, or \
                      raise query.max_bytes";
    check(("query.max_bytes", "2"), "up", Some(bytes_text)).await;
    check(("query.max_bytes", "1KiB"), "up", None).await;
}

#[tokio::test]
async fn what_is_asked_again_is_not_evaluated_again() {
    let server = Server::open(&[]);
    let up: &[(&str, &str)] = &[("__name__", "up"), ("account", "1")];
    for age in (0..60).rev().map(|minutes| minutes * 60) {
        assert_eq!(server.write(&[(up, age as f64)], age).await.status(), 204);
    }
    let counts = async || {
        let metrics = text_of(server.send(request(Method::GET, "/metrics", "")).await).await;
        ["hit", "partial", "miss", "unfit"].map(|outcome| {
            let line = format!("cardinal_query_cache_queries_total{{outcome=\"{outcome}\"}} ");
            let n = metrics.lines().find_map(|l| l.strip_prefix(&line)).expect("counted");
            n.parse::<u32>().expect("a number")
        })
    };
    let path = "/api/v1/query_range?query=sum(up)&start=997000&end=999000&step=10";
    let first = server.data(path).await;
    assert_eq!(server.data(path).await, first);
    assert_eq!(counts().await, [1, 0, 1, 0]);
    // Further back there is nothing yet, and no further ahead.
    let longer = "/api/v1/query_range?query=sum(up)&start=996000&end=1000000&step=10";
    let whole = server.data(longer).await;
    assert_eq!(server.data(&format!("{longer}&nocache=1")).await, whole);
    assert_eq!(counts().await, [1, 1, 1, 0]);
    // What came late is seen.
    assert_eq!(server.write(&[(&[("__name__", "up"), ("account", "2")], 1000.0)], 2000).await.status(), 204);
    let changed = server.data(path).await;
    assert_ne!(changed, first);
    assert_eq!(server.data(&format!("{path}&nocache=1")).await, changed);
    assert_eq!(counts().await, [1, 2, 1, 0]);
    server.data("/api/v1/query_range?query=sum(up+@+end())&start=997000&end=999000&step=10").await;
    server.data("/api/v1/query?query=sum(up)").await;
    assert_eq!(counts().await, [1, 2, 1, 1]);
}

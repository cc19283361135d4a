//! What is not the API: the first page, health, and metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::state::AppState;
use crate::telemetry::plain_text;

const OPENMETRICS: &str = "application/openmetrics-text";
const OPENMETRICS_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const PLAIN_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Says whether the server goes away (`true`) or is on its way up (`false`).
const STOPPING: &str = "x-prometheus-stopping";

/// The process lives.
pub(super) async fn healthy() -> &'static str {
    "Cardinal is Healthy.\n"
}

/// Requests for data are answered, writes included.
pub(super) async fn ready(State(state): State<Arc<AppState>>) -> Response {
    match state.core() {
        None => unavailable(&state),
        Some(core) if core.database.is_read_only() => {
            let text = "Cardinal is read-only: the disk failed. Queries go on; see the log.\n";
            (StatusCode::SERVICE_UNAVAILABLE, [(STOPPING, "false")], text).into_response()
        }
        Some(_) => "Cardinal is Ready.\n".into_response(),
    }
}

/// The answer to everything that needs the database while it is not open.
pub(super) fn unavailable(state: &AppState) -> Response {
    let stopping = if state.is_stopping() { "true" } else { "false" };
    (StatusCode::SERVICE_UNAVAILABLE, [(STOPPING, stopping)], "Service Unavailable").into_response()
}

/// Cardinal's own metrics: as OpenMetrics to those who name it, else in the format that everybody reads.
pub(super) async fn metrics(State(state): State<Arc<AppState>>, headers: HeaderMap) -> Response {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let text = state.exposition();
    let (media_type, text) = match accepted.any(|accept| accept.contains(OPENMETRICS)) {
        true => (OPENMETRICS_TYPE, text),
        false => (PLAIN_TYPE, plain_text(&text)),
    };
    ([(header::CONTENT_TYPE, media_type), (header::VARY, HeaderValue::from_static("accept"))], text)
        .into_response()
}

/// Where to go from here.
pub(super) async fn home(State(state): State<Arc<AppState>>, headers: HeaderMap) -> Html<String> {
    let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok()).filter(|host| is_host(host));
    let listen = state.config.listen.to_string();
    Html(HOME.replace("{version}", env!("CARGO_PKG_VERSION")).replace("{address}", asked.unwrap_or(&listen)))
}

/// Whether a `Host` header may stand on a page as it is.
fn is_host(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    (1..=255).contains(&text.len()) && text.bytes().all(plain)
}

/// What nobody knows.
pub(super) async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "404 page not found; / lists what there is\n").into_response()
}

const HOME: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Cardinal</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:46em;margin:2em auto;padding:0 1em}pre{background:#8881;padding:.7em;overflow:auto}</style>
<h1>Cardinal {version}</h1>
<p>A time-series database for platforms that tag every metric with an account.</p>
<h2>First steps</h2>
<ol>
<li>Let Prometheus write here:
<pre>remote_write:
  - url: http://{address}/api/v1/write</pre>
<li>Add a data source of type <em>Prometheus</em> to Grafana, with the URL <code>http://{address}</code>.
<li>Ask something: <a href="/api/v1/query?query=count({__name__!=%22%22})">how many series are there?</a>
or <code>cardinal query up</code>.
</ol>
<h2>Here</h2>
<ul>
<li><a href="/api/v1/label/__name__/values">metrics that are stored</a>
<li><a href="/api/v1/status/tsdb">what there is most of</a>
<li><a href="/metrics">Cardinal's own metrics</a>
<li><a href="/-/ready">ready?</a> <a href="/-/healthy">healthy?</a>
</ul>
</html>
"#;

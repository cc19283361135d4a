//! Remote write: headers before bodies, bytes in flight bounded, an answer only once everything is durable.

use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cardinal_ingest::Refusal;
use tokio::time::timeout;

use super::state::AppState;
use crate::telemetry::RefusalLabels;

/// The message that is understood.
const PROTO: &str = "prometheus.WriteRequest";

/// How long a body may take to come. Until then its bytes count as in flight, so that a sender that has gone silently
/// must not hold them for ever. Senders themselves give up after 30 s.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Takes one request.
pub(super) async fn write(State(state): State<Arc<AppState>>, request: Request) -> Response {
    match take(&state, request).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refused) => {
            state.telemetry.writes_refused.get_or_create(&RefusalLabels { reason: refused.reason }).inc();
            refused.into_response()
        }
    }
}

async fn take(state: &AppState, request: Request) -> Result<(), Refused> {
    let not_open = || Refused::new(503, "not_open", "the database is not open");
    let core = state.core().cloned().ok_or_else(not_open)?;
    let (parts, body) = request.into_parts();
    check_headers(&parts.headers).map_err(|reason| Refused::new(415, "media_type", reason))?;
    let bytes_max = core.writer.body_bytes_max();
    let length = content_length(&parts.headers);
    if length.is_some_and(|n| n > bytes_max) {
        return Err(too_large(bytes_max));
    }
    let permit = core.writer.admit(length.unwrap_or(bytes_max))?;
    let body = timeout(BODY_TIMEOUT, to_bytes(body, bytes_max)).await.map_err(|_| too_slow())?;
    let body = body.map_err(|error| unread(&error, length, bytes_max))?;
    let written = tokio::task::spawn_blocking(move || core.writer.write(&body, permit)).await;
    let failed = |_| Refused::new(500, "failed", "the request could not be stored: see the log");
    written.map_err(failed)?.durable().await?;
    Ok(())
}

/// The schema is told by the content type alone; without one, or without its parameter, it is version 1.
fn check_headers(headers: &HeaderMap) -> Result<(), String> {
    let get = |name| headers.get(name).map_or(Some(""), |v: &HeaderValue| v.to_str().ok()).unwrap_or("?");
    let media_type = get(header::CONTENT_TYPE);
    let mut parts = media_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    if !essence.is_empty() && !essence.eq_ignore_ascii_case("application/x-protobuf") {
        return Err(format!("content type {media_type:?} is not application/x-protobuf"));
    }
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.eq_ignore_ascii_case("proto") && value != PROTO {
            return Err(format!("message {value:?} is not understood: only {PROTO} (remote write 1.0) is"));
        }
    }
    match get(header::CONTENT_ENCODING) {
        "" => Ok(()),
        snappy if snappy.eq_ignore_ascii_case("snappy") => Ok(()),
        other => Err(format!("content encoding {other:?} is not snappy")),
    }
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A body whose length was told and allowed ended before its end; another one was too long, or did.
fn unread(error: &axum::Error, length: Option<usize>, bytes_max: usize) -> Refused {
    match length {
        Some(_) => Refused::new(400, "body_cut", format!("the body could not be read to its end: {error}")),
        None => too_large(bytes_max),
    }
}

/// 400 rather than 413: some senders take anything but 400 and 415 for a reason to try for ever.
fn too_large(bytes_max: usize) -> Refused {
    let message = format!(
        "the body is not complete, or longer than {bytes_max} bytes: send less at once, or raise ingest.request_bytes"
    );
    Refused::new(400, "request_bytes", message)
}

/// 503 rather than 408: it is no fault of the samples, and they must not be dropped.
fn too_slow() -> Refused {
    let message = format!("the body did not come within {} s; send it again", BODY_TIMEOUT.as_secs());
    Refused { retry_after: Some(Duration::from_secs(1)), ..Refused::new(503, "body_timeout", message) }
}

/// An answer other than success.
struct Refused {
    status: u16,
    reason: &'static str,
    message: String,
    retry_after: Option<Duration>,
}

impl Refused {
    fn new(status: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into(), retry_after: None }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let retry_after = refusal.retry_after();
        Self { status: refusal.status(), reason: refusal.reason(), message, retry_after }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, format!("{}\n", self.message)).into_response();
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_are_taken_and_not() {
        let check = |content_type: &str, encoding: &str, taken: bool| {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::CONTENT_TYPE, content_type), (header::CONTENT_ENCODING, encoding)]
            {
                if !value.is_empty() {
                    headers.insert(name, HeaderValue::from_str(value).expect("a header"));
                }
            }
            assert_eq!(check_headers(&headers).is_ok(), taken, "{content_type} {encoding}");
        };
        check("application/x-protobuf", "snappy", true);
        check("application/x-protobuf;proto=prometheus.WriteRequest", "snappy", true);
        check("application/x-protobuf; proto=prometheus.WriteRequest", "", true);
        check("", "snappy", true);
        check("application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy", false);
        check("Application/X-Protobuf;Proto=prometheus.WriteRequest", "Snappy", true);
        check("application/x-protobuf;PROTO=io.prometheus.write.v2.Request", "snappy", false);
        check("application/x-protobuf;proto=Prometheus.writerequest", "snappy", false);
        check("application/x-protobuf;proto", "snappy", false);
        check("application/x-protobuf;charset=utf-8", "snappy", true);
        check("application/json", "snappy", false);
        check("application/x-protobuf2", "snappy", false);
        check("application/x-protobuf", "zstd", false);
        check("application/x-protobuf", "gzip", false);
    }
}

//! Remote write: headers before bodies, bytes in flight bounded, an answer only once everything is durable.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cardinal_ingest::Refusal;

use super::state::AppState;

/// The message that is understood.
const PROTO: &str = "prometheus.WriteRequest";

/// Takes one request.
pub(super) async fn write(State(state): State<Arc<AppState>>, request: Request) -> Response {
    let Some(core) = state.core().cloned() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the database is not open");
    };
    let (parts, body) = request.into_parts();
    if let Err(reason) = check_headers(&parts.headers) {
        return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &reason);
    }
    let bytes_max = core.writer.body_bytes_max();
    let length = content_length(&parts.headers);
    if length.is_some_and(|n| n > bytes_max) {
        return too_large(bytes_max);
    }
    let permit = match core.writer.admit(length.unwrap_or(bytes_max)) {
        Ok(permit) => permit,
        Err(refusal) => return refused(&refusal),
    };
    let Ok(body) = to_bytes(body, bytes_max).await else { return too_large(bytes_max) };
    let written = tokio::task::spawn_blocking(move || core.writer.write(&body, permit)).await;
    let Ok(response) = written else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be stored: see the log");
    };
    match response.durable().await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refused(&refusal),
    }
}

/// The schema is told by the content type alone; without one, or without its parameter, it is version 1.
fn check_headers(headers: &HeaderMap) -> Result<(), String> {
    let get = |name| headers.get(name).map_or(Some(""), |v: &HeaderValue| v.to_str().ok()).unwrap_or("?");
    let media_type = get(header::CONTENT_TYPE);
    let mut parts = media_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    if !essence.is_empty() && essence != "application/x-protobuf" {
        return Err(format!("content type {media_type:?} is not application/x-protobuf"));
    }
    for parameter in parts {
        if let Some(proto) = parameter.strip_prefix("proto=").filter(|proto| *proto != PROTO) {
            return Err(format!("message {proto:?} is not understood: only {PROTO} (remote write 1.0) is"));
        }
    }
    match get(header::CONTENT_ENCODING) {
        "" | "snappy" => Ok(()),
        other => Err(format!("content encoding {other:?} is not snappy")),
    }
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// 400 rather than 413: some senders take anything but 400 and 415 for a reason to try for ever.
fn too_large(bytes_max: usize) -> Response {
    let message = format!(
        "the body is not complete, or longer than {bytes_max} bytes: send less at once, or raise ingest.request_bytes"
    );
    text(StatusCode::BAD_REQUEST, &message)
}

fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = text(status, &refusal.to_string());
    if let Some(wait) = refusal.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    response
}

fn text(status: StatusCode, message: &str) -> Response {
    (status, format!("{message}\n")).into_response()
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
        check("application/json", "snappy", false);
        check("application/x-protobuf2", "snappy", false);
        check("application/x-protobuf", "zstd", false);
        check("application/x-protobuf", "gzip", false);
    }
}

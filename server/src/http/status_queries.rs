//! `status/queries`: what runs, what was slow, and ending what runs too long.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::error::{ApiError, ErrorKind};
use super::queries::{Asked, AskedTimes, Finished, Running, SLOWEST_KEPT};
use super::state::AppState;

/// The queries that wait or run, oldest first, and the slowest of those that are over.
pub(super) async fn list(State(state): State<Arc<AppState>>) -> Response {
    let body = json!({"status": "success", "data": {
        "active": state.queries.running().iter().map(|r| active(r)).collect::<Vec<_>>(),
        "slowest": state.queries.slowest().iter().map(slow).collect::<Vec<_>>(),
        "slowestKept": SLOWEST_KEPT,
    }});
    ([(header::CONTENT_TYPE, super::JSON)], body.to_string()).into_response()
}

/// Ends one of those that run.
pub(super) async fn kill(
    State(state): State<Arc<AppState>>,
    id: Path<String>,
) -> Result<StatusCode, ApiError> {
    if !state.config.admin_enabled() {
        return Err(ApiError::new(ErrorKind::Unavailable, "admin APIs disabled: set admin.enabled to true"));
    }
    let number = id.parse::<u64>().map_err(|_| {
        ApiError::bad_data(format!(
            "{:?} is not the id of a query: GET /api/v1/status/queries lists them",
            *id
        ))
    })?;
    if state.queries.kill(number) {
        tracing::info!(id = number, "killed a query");
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(ApiError::new(ErrorKind::NotFound, format!("query {number} does not run: it is over, or never was")))
}

fn active(running: &Running) -> Value {
    let mut fields = asked(running.id, &running.asked, running.came.0);
    let state = if running.has_turn.load(Ordering::Relaxed) { "running" } else { "queued" };
    fields.insert("state".into(), state.into());
    fields.insert("elapsedSeconds".into(), running.began.elapsed().as_secs_f64().into());
    fields.insert("seriesRead".into(), running.progress.series().into());
    fields.insert("samplesRead".into(), running.progress.samples_decoded().into());
    fields.insert("samplesHeld".into(), running.progress.samples_held().into());
    fields.insert("chunkBytesRead".into(), running.progress.chunk_bytes().into());
    Value::Object(fields)
}

fn slow(finished: &Finished) -> Value {
    let mut fields = asked(finished.id, &finished.asked, finished.came.0);
    fields.insert("durationSeconds".into(), finished.took.as_secs_f64().into());
    fields.insert("seriesRead".into(), finished.series.into());
    fields.insert("samplesRead".into(), finished.samples.into());
    fields.insert("peakSamples".into(), finished.held_max.into());
    let result = finished.error.as_ref().map_or("success", |(kind, _)| kind.name());
    fields.insert("result".into(), result.into());
    if let Some((_, message)) = &finished.error {
        fields.insert("error".into(), message.as_str().into());
    }
    Value::Object(fields)
}

fn asked(id: u64, asked: &Asked, came: i64) -> Map<String, Value> {
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let mut fields = Map::new();
    fields.insert("id".into(), id.into());
    fields.insert("query".into(), asked.text.as_str().into());
    if asked.is_cut {
        fields.insert("queryIsCut".into(), true.into());
    }
    match asked.times {
        AskedTimes::Instant(t) => _ = fields.insert("time".into(), seconds(t.0).into()),
        AskedTimes::Range(steps) => {
            fields.insert("start".into(), seconds(steps.start.0).into());
            fields.insert("end".into(), seconds(steps.end.0).into());
            fields.insert("step".into(), seconds(steps.step.0).into());
        }
    }
    fields.insert("client".into(), asked.client.map(|c| c.to_string()).into());
    fields.insert("came".into(), seconds(came).into());
    fields
}

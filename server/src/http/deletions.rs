//! Deleting series, undoing it, and what is deleted.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use cardinal_storage::database::{Database, DeleteError, Deletion, UndeleteError};
use cardinal_storage::model::{TimestampMs, TombstoneId};
use serde_json::{Value, json};

use super::admin::{ask, compaction_failed, run};
use super::error::{ApiError, ErrorKind};
use super::params::Params;
use super::selector::{selector_texts, selectors};
use super::state::AppState;

/// Hides the samples between `start` and `end` of the series that any `match[]` accepts.
pub(super) async fn delete(
    State(state): State<Arc<AppState>>,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let (texts, range) = (selector_texts(&params), params.range());
    run(&state, move |database| {
        if texts.is_empty() {
            return Err(ApiError::bad_data("no match[] parameter provided"));
        }
        let (selectors, range) = (selectors(&texts)?, range?);
        database.delete_series(&selectors, range).map(drop).map_err(|e| deletion_failed(&e))
    })
    .await
}

/// Shows a deletion's data again.
pub(super) async fn undelete(
    State(state): State<Arc<AppState>>,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let text = params.get("id").to_owned();
    run(&state, move |database| {
        let id = text.parse().map(TombstoneId);
        let id = id.map_err(|_| {
            ApiError::parameter("id", "the id of a deletion is needed, as `deletions` lists it")
        })?;
        database.undelete(id).map_err(|e| undeletion_failed(&e))
    })
    .await
}

/// Reclaims what is deleted, whatever its grace; answers when it is done.
pub(super) async fn clean(State(state): State<Arc<AppState>>) -> Result<StatusCode, ApiError> {
    run(&state, |database| database.clean_tombstones().map_err(|e| compaction_failed(&e))).await
}

/// The deletions in force, oldest first.
pub(super) async fn list(State(state): State<Arc<AppState>>) -> Result<Response, ApiError> {
    let deletions = ask(&state, |database| Ok(listed(database))).await?;
    let body = json!({"status": "success", "data": deletions});
    Ok(([(header::CONTENT_TYPE, super::JSON)], body.to_string()).into_response())
}

fn listed(database: &Database) -> Vec<Value> {
    database.deletions().iter().map(|deletion| entry(deletion, database.can_undelete(deletion))).collect()
}

/// Times are seconds, as everywhere in this API; `null` stands for no bound.
fn entry(deletion: &Deletion, can_be_undone: bool) -> Value {
    let tombstone = &deletion.tombstone;
    let matchers: Vec<String> = tombstone.matchers.iter().map(ToString::to_string).collect();
    json!({
        "id": tombstone.id.0,
        "selector": format!("{{{}}}", matchers.join(",")),
        "start": seconds(TimestampMs(tombstone.range.after.0.saturating_add(1))),
        "end": seconds(tombstone.range.until),
        "created": seconds(tombstone.created),
        "undeletableUntil": seconds(deletion.undeletable_until),
        "state": if can_be_undone { "hidden" } else { "final" },
    })
}

/// Beyond the year 10,000 nobody meant a time.
fn seconds(t: TimestampMs) -> Option<f64> {
    const BOUND_MS: u64 = 253_402_300_800_000;
    (t.0.unsigned_abs() < BOUND_MS).then_some(t.0 as f64 / 1000.0)
}

fn deletion_failed(error: &DeleteError) -> ApiError {
    let kind = match error {
        DeleteError::TooLong { .. } => ErrorKind::BadData,
        DeleteError::TooMany { .. } => ErrorKind::Execution,
        DeleteError::ReadOnly => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    ApiError::new(kind, error.to_string())
}

fn undeletion_failed(error: &UndeleteError) -> ApiError {
    let kind = match error {
        UndeleteError::Unknown(_) => ErrorKind::NotFound,
        UndeleteError::Final(_) => ErrorKind::BadData,
        UndeleteError::ReadOnly => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    ApiError::new(kind, error.to_string())
}

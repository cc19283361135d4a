//! `admin/*`: calls that change what is stored, or how.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use cardinal_storage::database::{CompactError, Database};

use super::error::{ApiError, ErrorKind};
use super::state::AppState;

/// Moves everything from the head into blocks; answers when it is done.
pub(super) async fn flush(State(state): State<Arc<AppState>>) -> Result<StatusCode, ApiError> {
    run(&state, |database| database.flush().map_err(|e| ApiError::new(ErrorKind::Internal, e.to_string())))
        .await
}

/// Merges blocks until there is nothing left to merge, and drops what is past retention; answers when it is done.
pub(super) async fn compact(State(state): State<Arc<AppState>>) -> Result<StatusCode, ApiError> {
    run(&state, |database| database.compact().map_err(|e| compaction_failed(&e))).await
}

pub(super) fn compaction_failed(error: &CompactError) -> ApiError {
    let kind = match error {
        CompactError::ReadOnly | CompactError::Closed | CompactError::NoSpace { .. } => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Internal,
    };
    ApiError::new(kind, error.to_string())
}

/// Runs what an admin call does on a thread that may block.
pub(super) async fn run(
    state: &AppState,
    act: impl FnOnce(&Database) -> Result<(), ApiError> + Send + 'static,
) -> Result<StatusCode, ApiError> {
    ask(state, act).await.map(|()| StatusCode::NO_CONTENT)
}

/// The same, with an answer.
pub(super) async fn ask<T: Send + 'static>(
    state: &AppState,
    act: impl FnOnce(&Database) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if !state.config.admin_enabled() {
        return Err(ApiError::new(ErrorKind::Unavailable, "admin APIs disabled: set admin.enabled to true"));
    }
    let core = state.core().cloned();
    let core = core.ok_or_else(|| ApiError::new(ErrorKind::Unavailable, "the database is not open"))?;
    match tokio::task::spawn_blocking(move || act(&core.database)).await {
        Ok(done) => done,
        Err(_) => Err(ApiError::new(ErrorKind::Internal, "a fault of Cardinal: see the log")),
    }
}

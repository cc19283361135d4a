//! `admin/*`: calls that change what is stored, or how.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::error::{ApiError, ErrorKind};
use super::state::AppState;

/// Moves everything from the head into blocks; answers when it is done.
pub(super) async fn flush(State(state): State<Arc<AppState>>) -> Result<StatusCode, ApiError> {
    if !state.config.admin_enabled() {
        return Err(ApiError::new(ErrorKind::Unavailable, "admin APIs disabled: set admin.enabled to true"));
    }
    let core = state.core().cloned();
    let core = core.ok_or_else(|| ApiError::new(ErrorKind::Unavailable, "the database is not open"))?;
    let flushed = tokio::task::spawn_blocking(move || core.database.flush()).await;
    match flushed {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT),
        Ok(Err(error)) => Err(ApiError::new(ErrorKind::Internal, error.to_string())),
        Err(_) => Err(ApiError::new(ErrorKind::Internal, "the flush failed: see the log")),
    }
}

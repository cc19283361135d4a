//! Running a query's work: in turn, off the async threads, ended when the client goes away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::{IntoResponse, Response};
use cardinal_query::{CancelToken, QueryOptions};

use super::error::{ApiError, ErrorKind, Limit};
use super::params::Params;
use super::render::{Gone, Sink, StatsWanted};
use super::state::{AppState, Core};

/// How long a client may take over 64 KiB of an answer before it is taken for gone.
const READER_PATIENCE: Duration = Duration::from_secs(30);

/// What one piece of work is given.
pub(super) struct Task {
    /// The server's parts.
    pub(super) state: Arc<AppState>,
    /// The open database.
    pub(super) core: Core,
    /// Where the answer goes.
    pub(super) sink: Sink,
    /// Bounds, and the end when the client goes away.
    pub(super) options: QueryOptions,
    /// How long the work waited for its turn.
    pub(super) queued: Duration,
    /// When the request came.
    pub(super) began: Instant,
}

impl Task {
    /// Statistics as far as they are known now.
    pub(super) fn stats(&self, wanted: bool) -> StatsWanted {
        StatsWanted { wanted, queued: self.queued, total: self.began.elapsed() }
    }
}

/// Ends a query when the handler is dropped, as it is when the client goes away, and counts it then.
struct CancelOnDrop {
    token: CancelToken,
    state: Arc<AppState>,
    is_answered: bool,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.token.cancel();
        if !self.is_answered {
            self.state.telemetry.refused_query(Limit::Canceled.name());
        }
    }
}

/// Waits for a turn, runs `work` on a thread that may block, and answers with what it puts into the task's sink.
pub(super) async fn run<F>(state: Arc<AppState>, params: &Params, work: F) -> Result<Response, ApiError>
where
    F: FnOnce(Task) -> Result<(), ApiError> + Send + 'static,
{
    let began = Instant::now();
    let core = state.core().cloned().ok_or_else(not_ready)?;
    let timeout = params.timeout()?.map_or(state.config.query_timeout, |t| t.min(state.config.query_timeout));
    let turn = state.gate.enter(timeout).await?;
    let mut cancel = CancelOnDrop { token: CancelToken::default(), state: state.clone(), is_answered: false };
    let options = QueryOptions {
        lookback: params.lookback()?,
        timeout: Some(timeout.saturating_sub(turn.queued)),
        cancel: cancel.token.clone(),
        ..QueryOptions::default()
    };
    let (sink, answer) = Sink::new(READER_PATIENCE);
    let task = Task { state, core, sink, options, queued: turn.queued, began };
    let job = tokio::task::spawn_blocking(move || {
        let outcome = work(task);
        drop(turn);
        outcome
    });
    if let Ok(answer) = answer.await {
        cancel.is_answered = true;
        return Ok(answer.into_response());
    }
    // The sink went away without an answer: the work failed, or panicked.
    let outcome = job
        .await
        .unwrap_or_else(|_| Err(ApiError::new(ErrorKind::Internal, "the query failed: see the log")));
    cancel.is_answered = true;
    let error =
        outcome.err().unwrap_or_else(|| ApiError::new(ErrorKind::Internal, "the query gave no answer"));
    Err(error)
}

/// What is answered while there is no database; the router's own check comes first, so that this is a rare race.
fn not_ready() -> ApiError {
    ApiError::new(ErrorKind::Unavailable, "the database is not open")
}

impl From<Gone> for ApiError {
    fn from(_: Gone) -> Self {
        Self::new(ErrorKind::Canceled, "the client went away").limit(Limit::Canceled)
    }
}

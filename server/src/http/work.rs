//! Running a query's work: in turn, off the async threads, ended when the client goes away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::response::{IntoResponse, Response};
use cardinal_query::{CancelToken, QueryOptions};
use cardinal_storage::model::DurationMs;
use cardinal_storage::read::View;

use super::error::{ApiError, ErrorKind, Limit};
use super::gate::Turn;
use super::params::Params;
use super::queries::{Asked, Listed};
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
    /// What is stored, searched until the client goes away or the time is over.
    pub(super) fn view(&self) -> View {
        let cancel = self.options.cancel.clone();
        let deadline = self.options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let is_late = move || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        self.core.database.view().until(move || cancel.is_canceled() || is_late())
    }

    /// Statistics as far as they are known now.
    pub(super) fn stats(&self, wanted: bool) -> StatsWanted {
        StatsWanted { wanted, queued: self.queued, total: self.began.elapsed() }
    }
}

/// Ends a query when the handler is dropped without an answer, as it is when the client goes away, and counts it then.
struct CancelOnDrop {
    token: CancelToken,
    state: Arc<AppState>,
    is_answered: bool,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if !self.is_answered {
            self.token.cancel();
            self.state.telemetry.refused_query(Limit::Canceled.name());
        }
    }
}

/// Waits for a turn, runs `work` on a thread that may block, and answers with what it puts into the task's sink.
pub(super) async fn run<F>(state: Arc<AppState>, params: &Params, work: F) -> Result<Response, ApiError>
where
    F: FnOnce(Task) -> Result<(), ApiError> + Send + 'static,
{
    run_listed(state, params, None, work).await
}

/// The same for a query, which is listed and can be killed while it waits and works.
pub(super) async fn run_query<F>(
    state: Arc<AppState>,
    params: &Params,
    asked: Asked,
    work: F,
) -> Result<Response, ApiError>
where
    F: FnOnce(Task) -> Result<(), ApiError> + Send + 'static,
{
    let listed = state.queries.list(asked, state.clock.now());
    run_listed(state, params, Some(listed), work).await
}

async fn run_listed<F>(
    state: Arc<AppState>,
    params: &Params,
    listed: Option<Listed>,
    work: F,
) -> Result<Response, ApiError>
where
    F: FnOnce(Task) -> Result<(), ApiError> + Send + 'static,
{
    let began = Instant::now();
    let Entered { turn, core, timeout, lookback } = match enter(&state, params, listed.as_ref()).await {
        Ok(entered) => entered,
        Err(error) => return Err(end(listed, Err(error)).err().unwrap_or_else(no_answer)),
    };
    let (token, progress) = listed.as_ref().map_or_else(Default::default, |listed| {
        listed.running.has_turn.store(true, Ordering::Relaxed);
        (listed.running.cancel.clone(), listed.running.progress.clone())
    });
    let options = QueryOptions {
        lookback,
        timeout: Some(timeout.saturating_sub(turn.queued)),
        cancel: token.clone(),
        progress,
        ..QueryOptions::default()
    };
    let mut cancel = CancelOnDrop { token: token.clone(), state: state.clone(), is_answered: false };
    let (sink, answer) = Sink::new(READER_PATIENCE, token);
    let task = Task { state, core, sink, options, queued: turn.queued, began };
    let job = tokio::task::spawn_blocking(move || {
        let outcome = end(listed, work(task));
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
    Err(outcome.err().unwrap_or_else(no_answer))
}

/// What there is once work may begin.
struct Entered {
    turn: Turn,
    core: Core,
    timeout: Duration,
    lookback: Option<DurationMs>,
}

/// Waits for a turn, unless the query is killed before.
async fn enter(state: &AppState, params: &Params, listed: Option<&Listed>) -> Result<Entered, ApiError> {
    let lookback = params.lookback()?;
    let core = state.core().cloned().ok_or_else(not_ready)?;
    let timeout = params.timeout()?.map_or(state.config.query_timeout, |t| t.min(state.config.query_timeout));
    let turn = match listed {
        None => state.gate.enter(timeout).await?,
        Some(listed) => tokio::select! {
            turn = state.gate.enter(timeout) => turn?,
            // What is said instead, the list knows.
            () = listed.running.killed() => return Err(no_answer()),
        },
    };
    Ok(Entered { turn, core, timeout, lookback })
}

fn end(listed: Option<Listed>, outcome: Result<(), ApiError>) -> Result<(), ApiError> {
    match listed {
        Some(listed) => listed.end(outcome),
        None => outcome,
    }
}

fn no_answer() -> ApiError {
    ApiError::new(ErrorKind::Internal, "the query gave no answer")
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

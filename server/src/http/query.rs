//! `query` and `query_range`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use cardinal_query::explain::Explain;
use cardinal_query::{Output, QueryError};

use super::error::ApiError;
use super::explain;
use super::listen::Client;
use super::params::{Params, Steps};
use super::queries::{Asked, AskedTimes};
use super::render::put_query;
use super::state::AppState;
use super::work::{Task, run_query};

/// What an answer says when `limit` cut it short.
pub(super) const TRUNCATED: &str = "results truncated due to limit";
const STATS_DEPRECATED: &str =
    "the 'stats' parameter accepts 'true' or 'all'; other values mean 'true' for now and will be refused";

/// One instant.
pub(super) async fn instant(
    State(state): State<Arc<AppState>>,
    client: Option<Extension<Client>>,
    params: Params,
) -> Result<Response, ApiError> {
    let at = params.instant(state.clock.now())?;
    let wanted = Wanted::of(&params)?;
    let asked = Asked::new(&wanted.query, AskedTimes::Instant(at), address(client));
    run_query(state, &params, asked, move |mut task| {
        task.options.step_stats = wanted.stats == "all";
        task.options.explain = wanted.explain;
        let source = task.view();
        let output = task.state.engine.instant(&source, &wanted.query, at, &task.options);
        answer(task, output, &wanted)
    })
    .await
}

/// A range of steps.
pub(super) async fn range(
    State(state): State<Arc<AppState>>,
    client: Option<Extension<Client>>,
    params: Params,
) -> Result<Response, ApiError> {
    let steps = params.steps()?;
    let Steps { start, end, step } = steps;
    let wanted = Wanted::of(&params)?;
    let asked = Asked::new(&wanted.query, AskedTimes::Range(steps), address(client));
    run_query(state, &params, asked, move |mut task| {
        task.options.step_stats = wanted.stats == "all";
        task.options.explain = wanted.explain;
        task.options.no_cache = wanted.no_cache;
        let source = task.view();
        let output = task.state.engine.range(&source, &wanted.query, start, end, step, &task.options);
        answer(task, output, &wanted)
    })
    .await
}

fn address(client: Option<Extension<Client>>) -> Option<SocketAddr> {
    client.map(|Extension(Client(address))| address)
}

/// What is asked for beside the times.
struct Wanted {
    query: String,
    limit: usize,
    stats: String,
    explain: Explain,
    no_cache: bool,
}

impl Wanted {
    fn of(params: &Params) -> Result<Self, ApiError> {
        let limit = params.limit()?.unwrap_or(0);
        let (query, stats) = (params.get("query").to_owned(), params.get("stats").to_owned());
        let no_cache = !matches!(params.get("nocache"), "" | "0" | "false");
        Ok(Self { query, limit, stats, explain: explain::wanted(params)?, no_cache })
    }
}

fn answer(mut task: Task, output: Result<Output, QueryError>, wanted: &Wanted) -> Result<(), ApiError> {
    let mut output = output?;
    task.state.telemetry.query_samples_read.inc_by(output.stats.samples_decoded);
    if output.value.truncate(wanted.limit) {
        output.warnings.push(TRUNCATED.to_owned());
    }
    if !matches!(wanted.stats.as_str(), "" | "true" | "all") {
        output.warnings.push(STATS_DEPRECATED.to_owned());
    }
    let stats = task.stats(!wanted.stats.is_empty());
    put_query(&mut task.sink, &output, stats)?;
    Ok(task.sink.finish()?)
}

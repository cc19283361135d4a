//! `labels`, `label/<name>/values` and `series`.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;

use super::error::ApiError;
use super::json::{put_labels, put_string, separate};
use super::label_name::label_name;
use super::params::Params;
use super::query::TRUNCATED;
use super::render::{Gone, Sink, put_remarks};
use super::selector::{selector_texts, selectors};
use super::state::AppState;
use super::work::run;

/// The names of labels.
pub(super) async fn names(State(state): State<Arc<AppState>>, params: Params) -> Result<Response, ApiError> {
    let (texts, range, limit) = (selector_texts(&params), params.range()?, params.limit()?);
    run(state, &params, move |task| {
        let selectors = selectors(&texts)?;
        let view = task.view();
        let names = view.label_names(&selectors, range, one_more(limit))?;
        Ok(put_texts(task.sink, names, limit, view.warnings())?)
    })
    .await
}

/// The values of one label.
pub(super) async fn values(
    State(state): State<Arc<AppState>>,
    name: Result<Path<String>, PathRejection>,
    params: Params,
) -> Result<Response, ApiError> {
    let Path(name) =
        name.map_err(|_| ApiError::bad_data("invalid label name: what the path holds is not UTF-8"))?;
    let name = label_name(&name)?;
    let (texts, range, limit) = (selector_texts(&params), params.range()?, params.limit()?);
    run(state, &params, move |task| {
        let selectors = selectors(&texts)?;
        let view = task.view();
        let values = view.label_values(&name, &selectors, range, one_more(limit))?;
        Ok(put_texts(task.sink, values, limit, view.warnings())?)
    })
    .await
}

/// The label sets of series.
pub(super) async fn series(State(state): State<Arc<AppState>>, params: Params) -> Result<Response, ApiError> {
    let (texts, range, limit) = (selector_texts(&params), params.range()?, params.limit()?);
    if texts.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    run(state, &params, move |task| {
        let selectors = selectors(&texts)?;
        let view = task.view();
        let series = view.series(&selectors, range, one_more(limit))?;
        let put = |sink: &mut Sink, labels: &_| put_labels(sink.buffer(), labels);
        Ok(put_all(task.sink, series, limit, view.warnings(), put)?)
    })
    .await
}

/// One beyond the limit shows that there is more.
fn one_more(limit: Option<usize>) -> Option<usize> {
    limit.map(|n| n.saturating_add(1))
}

fn put_texts(
    sink: Sink,
    texts: Vec<String>,
    limit: Option<usize>,
    warnings: Vec<String>,
) -> Result<(), Gone> {
    put_all(sink, texts, limit, warnings, |sink, text| put_string(sink.buffer(), text))
}

/// Writes a list piece by piece, cut at the limit.
fn put_all<T>(
    mut sink: Sink,
    mut items: Vec<T>,
    limit: Option<usize>,
    mut warnings: Vec<String>,
    put: impl Fn(&mut Sink, &T),
) -> Result<(), Gone> {
    let cut = limit.is_some_and(|n| items.len() > n);
    items.truncate(limit.unwrap_or(usize::MAX));
    sink.buffer().extend_from_slice(b"{\"status\":\"success\",\"data\":[");
    for (i, item) in items.iter().enumerate() {
        separate(sink.buffer(), i);
        put(&mut sink, item);
        sink.offer()?;
    }
    sink.buffer().push(b']');
    warnings.extend(cut.then(|| TRUNCATED.to_owned()));
    put_remarks(sink.buffer(), "warnings", &warnings);
    sink.buffer().push(b'}');
    sink.finish()
}

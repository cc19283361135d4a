//! `status/*`: what the server is, and what the head holds.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use cardinal_storage::database::{AccountUsage, AccountsUsage, SeriesMax, Stats};
use cardinal_storage::read::{Cardinality, Counted};
use serde_json::{Value, json};

use super::error::ApiError;
use super::params::Params;
use super::render::put_success;
use super::state::AppState;
use super::work::run;

/// The version of Prometheus whose API this is: clients switch on it.
const API_VERSION: &str = "3.14.0";
/// Entries of each list of `status/tsdb`, unless asked otherwise, and at most.
const LIST_DEFAULT: usize = 10;
const LIST_MAX: usize = 10_000;

/// What was built. There is no `features` map: clients would take us for another product.
pub(super) async fn buildinfo() -> Response {
    let body = json!({"status": "success", "data": {
        "version": API_VERSION,
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "cardinalVersion": env!("CARGO_PKG_VERSION"),
    }});
    ([(header::CONTENT_TYPE, super::JSON)], body.to_string()).into_response()
}

/// The head in numbers, and what it has most of; with `source`, what blocks have most of.
pub(super) async fn tsdb(State(state): State<Arc<AppState>>, params: Params) -> Result<Response, ApiError> {
    let limit = limit(&params)?;
    let range = params.range()?;
    let counted = match params.get("source") {
        "" | "head" => Counted::Head,
        "blocks" => Counted::Blocks(range),
        "all" => Counted::All(range),
        other => {
            let text = format!("{other:?} is not one of head, blocks, all");
            return Err(ApiError::parameter("source", text));
        }
    };
    run(state, &params, move |mut task| {
        let database = &task.core.database;
        let view = database.view();
        let found = view.cardinality(counted, limit);
        let data = tsdb_value(&database.stats(), counted, &found);
        put_success(task.sink.buffer(), &view.warnings(), |out| {
            out.extend_from_slice(data.to_string().as_bytes());
        });
        Ok(task.sink.finish()?)
    })
    .await
}

/// The accounts with most series in the head.
pub(super) async fn accounts(
    State(state): State<Arc<AppState>>,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = limit(&params)?;
    run(state, &params, move |mut task| {
        let data = accounts_value(&task.core.database.accounts(limit, LIST_DEFAULT));
        put_success(task.sink.buffer(), &[], |out| out.extend_from_slice(data.to_string().as_bytes()));
        Ok(task.sink.finish()?)
    })
    .await
}

fn accounts_value(usage: &AccountsUsage) -> Value {
    let account = |a: &AccountUsage| {
        json!({
            "account": a.account,
            "activeSeries": a.series,
            "share": a.series as f64 / usage.series.max(1) as f64,
            "seriesCreated": a.created,
            "limits": max_value(&a.max),
            "samplesRefused": {"series": a.refused.series, "seriesCreated": a.refused.series_created},
            "seriesCountByMetricName": list(&a.metrics),
        })
    };
    json!({
        "accountCount": usage.accounts,
        "activeSeries": usage.series,
        "limits": max_value(&usage.max),
        "accounts": usage.greatest.iter().map(account).collect::<Vec<_>>(),
    })
}

/// Limits; `null` where there is none.
fn max_value(max: &SeriesMax) -> Value {
    json!({"series": max.active, "seriesCreated": max.created.map(|rate| rate.to_string())})
}

/// How many entries each list may have.
fn limit(params: &Params) -> Result<usize, ApiError> {
    let limit = params.number("limit")?.unwrap_or(LIST_DEFAULT);
    if !(1..=LIST_MAX).contains(&limit) {
        return Err(ApiError::parameter("limit", format!("limit must be between 1 and {LIST_MAX}")));
    }
    Ok(limit)
}

fn tsdb_value(stats: &Stats, counted: Counted, found: &Cardinality) -> Value {
    // As in the reference, an empty head spans from the end of time to its beginning.
    let oldest = stats.head.oldest.map_or(i64::MAX, |t| t.0);
    let newest = stats.head.newest.map_or(i64::MIN, |t| t.0);
    json!({
        "headStats": {
            "numSeries": stats.head.series,
            "numLabelPairs": found.pairs,
            "chunkCount": stats.head.open_chunks,
            "minTime": oldest,
            "maxTime": newest,
        },
        "seriesCountByMetricName": list(&found.series_by_metric),
        "labelValueCountByLabelName": list(&found.values_by_label),
        "memoryInBytesByLabelName": list(&found.bytes_by_label),
        "seriesCountByLabelValuePair": list(&found.series_by_pair),
        "seriesCountByLabelName": list(&found.series_by_label),
        "seriesCountByAccount": list(&found.series_by_account),
        "counted": {
            "source": match counted {
                Counted::Head => "head",
                Counted::Blocks(_) => "blocks",
                Counted::All(_) => "all",
            },
            "parts": found.parts,
            "series": found.series,
            "distinctSeries": found.parts <= 1,
        },
    })
}

fn list(top: &[(String, u64)]) -> Value {
    top.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

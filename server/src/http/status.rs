//! `status/*`: what the server is, and what the head holds.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use cardinal_storage::database::{Cardinality, Stats};
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

/// The head in numbers, and what it has most of.
pub(super) async fn tsdb(State(state): State<Arc<AppState>>, params: Params) -> Result<Response, ApiError> {
    let limit = params.number("limit")?.unwrap_or(LIST_DEFAULT);
    if !(1..=LIST_MAX).contains(&limit) {
        return Err(ApiError::parameter("limit", format!("limit must be between 1 and {LIST_MAX}")));
    }
    run(state, &params, move |mut task| {
        let database = &task.core.database;
        let data = tsdb_value(&database.stats(), &database.cardinality(limit));
        put_success(task.sink.buffer(), &[], |out| out.extend_from_slice(data.to_string().as_bytes()));
        Ok(task.sink.finish()?)
    })
    .await
}

fn tsdb_value(stats: &Stats, found: &Cardinality) -> Value {
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
    })
}

fn list(top: &[(String, u64)]) -> Value {
    top.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

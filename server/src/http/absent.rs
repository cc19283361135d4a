//! What a Prometheus may have and this server has none of: rules, alerts, exemplars. Grafana asks for them when a data source is
//! added or a panel drawn, and takes "none" for an answer, but "not found" for a fault of the server.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use cardinal_query::parse::{Features, parse};

use super::error::ApiError;
use super::params::Params;

/// Groups of rules: none are evaluated here.
pub(super) async fn rules() -> Response {
    success(r#"{"status":"success","data":{"groups":[]}}"#)
}

/// Alerts: without rules none fires.
pub(super) async fn alerts() -> Response {
    success(r#"{"status":"success","data":{"alerts":[]}}"#)
}

/// Exemplars of a query's series: none are stored. A query that is none is refused all the same.
pub(super) async fn exemplars(params: Params) -> Result<Response, ApiError> {
    params.range()?;
    let query = params.get("query");
    parse(query, &Features::default())
        .map_err(|e| ApiError::bad_data(format!("{}: parse error: {e}", e.position(query))))?;
    Ok(success(r#"{"status":"success","data":[]}"#))
}

fn success(body: &'static str) -> Response {
    ([(header::CONTENT_TYPE, super::JSON)], body).into_response()
}

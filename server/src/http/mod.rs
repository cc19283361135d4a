//! The HTTP API: Prometheus' paths, parameters and answers.
//!
//! ```text
//! observe (count, time) → cors → routes → ready? → compress → handler
//! ```
//!
//! Handlers read parameters ([`params`]), wait for a turn ([`gate`]) and work on threads that may block ([`work`]); what they answer is
//! written by [`render`], what they refuse by [`error`].

mod absent;
mod admin;
mod cors;
mod deletions;
pub mod error;
mod explain;
mod form;
pub mod gate;
pub mod json;
mod label_name;
mod labels;
pub mod listen;
mod metadata;
pub mod number;
mod pages;
pub mod params;
mod queries;
mod query;
pub mod render;
mod selector;
mod state;
mod status;
mod status_queries;
mod work;
mod write;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post, put};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use error::{ErrorKind, Limit};

pub use selector::{SelectorError, selector};
pub use state::{AppState, Core};

/// The media type of the API's answers.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Every route.
pub fn router(state: Arc<AppState>) -> Router {
    let reading = Router::new()
        .route("/api/v1/query", read(query::instant))
        .route("/api/v1/query_range", read(query::range))
        .route("/api/v1/labels", read(labels::names))
        .route("/api/v1/label/{name}/values", read(labels::values))
        .route("/api/v1/series", read(labels::series))
        .route("/api/v1/metadata", read(metadata::metadata))
        .route("/api/v1/query_exemplars", read(absent::exemplars))
        .route("/api/v1/rules", get(absent::rules))
        .route("/api/v1/alerts", get(absent::alerts))
        .route("/api/v1/status/tsdb", read(status::tsdb))
        .route("/api/v1/status/accounts", read(status::accounts))
        .route("/api/v1/status/buildinfo", read(status::buildinfo))
        .route("/api/v1/status/queries", get(status_queries::list))
        .route("/api/v1/status/queries/{id}", delete(status_queries::kill))
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
        .layer(map_response(varies_by_encoding));
    let data = Router::new()
        .route("/api/v1/write", post(write::write))
        .route("/api/v1/push", post(write::write))
        .route("/api/v1/admin/tsdb/flush", post(admin::flush).merge(put(admin::flush)))
        .route("/api/v1/admin/tsdb/delete_series", post(deletions::delete).merge(put(deletions::delete)))
        .route("/api/v1/admin/tsdb/clean_tombstones", post(deletions::clean).merge(put(deletions::clean)))
        .route("/api/v1/admin/tsdb/deletions", get(deletions::list))
        .route("/api/v1/admin/tsdb/undelete", post(deletions::undelete).merge(put(deletions::undelete)))
        .route("/api/v1/admin/tsdb/compact", post(admin::compact).merge(put(admin::compact)))
        .merge(reading)
        .layer(from_fn_with_state(state.clone(), when_ready));
    Router::new()
        .route("/", get(pages::home))
        .route("/metrics", get(pages::metrics))
        .route("/-/healthy", get(pages::healthy))
        .route("/-/ready", get(pages::ready))
        .merge(data)
        .fallback(pages::not_found)
        .layer(from_fn(cors::cors))
        .layer(from_fn_with_state(state.clone(), observe))
        .with_state(state)
}

/// GET and POST, which some clients use without looking.
fn read<H, T>(handler: H) -> MethodRouter<Arc<AppState>>
where
    H: axum::handler::Handler<T, Arc<AppState>>,
    T: 'static,
{
    get(handler.clone()).post(handler)
}

/// Nothing that needs the database is tried before it is open, or once the server stops.
async fn when_ready(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    match state.core() {
        Some(_) => next.run(request).await,
        None => pages::unavailable(&state),
    }
}

/// Says of every answer that another encoding may be had, of those too that are too small to be compressed: a cache between here and
/// the client must not take the one for all.
async fn varies_by_encoding(mut response: Response) -> Response {
    const ENCODING: HeaderValue = HeaderValue::from_static("accept-encoding");
    if response.headers().get_all(header::VARY).iter().all(|vary| vary != ENCODING) {
        response.headers_mut().append(header::VARY, ENCODING);
    }
    response
}

/// Counts and times every request by its route, and counts limits that were reached.
async fn observe(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let canceled = ErrorKind::Canceled.status();
    let mut observed = Observed { state: state.clone(), path, began: Instant::now(), status: canceled };
    let response = next.run(request).await;
    if let Some(limit) = response.extensions().get::<Limit>() {
        state.telemetry.refused_query(limit.name());
    }
    observed.status = response.status();
    response
}

/// A request, counted when dropped: the server drops those whose client goes away, and they were work as well.
struct Observed {
    state: Arc<AppState>,
    path: Option<String>,
    began: Instant,
    status: StatusCode,
}

impl Drop for Observed {
    fn drop(&mut self) {
        let path = self.path.as_deref().unwrap_or("other");
        self.state.telemetry.request(path, self.status.as_u16(), self.began.elapsed());
    }
}

#[cfg(test)]
mod tests;

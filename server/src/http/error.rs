//! What the API answers when it has no answer: one table of error types and statuses.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cardinal_query::{QueryError, QueryLimit, source::SourceError};
use cardinal_storage::read::ReadError;

use super::json;

/// The `errorType` of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A parameter is missing or makes no sense, the query does not parse.
    BadData,
    /// The query parses but cannot be answered.
    Execution,
    /// The client has gone.
    Canceled,
    /// It took too long, or would have to wait too long.
    Timeout,
    /// The storage failed.
    Internal,
    /// There is no such thing.
    NotFound,
    /// Switched off, or not possible now.
    Unavailable,
}

/// Kinds, their names and their statuses. Clients know these pairs, the odd ones included.
const TABLE: [(ErrorKind, &str, u16); 7] = [
    (ErrorKind::BadData, "bad_data", 400),
    (ErrorKind::Execution, "execution", 422),
    (ErrorKind::Canceled, "canceled", 499),
    (ErrorKind::Timeout, "timeout", 503),
    (ErrorKind::Internal, "internal", 500),
    (ErrorKind::NotFound, "not_found", 404),
    (ErrorKind::Unavailable, "unavailable", 500),
];

impl ErrorKind {
    /// The name in `errorType`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().2).expect("the table holds valid statuses: a test asks for each")
    }

    fn row(self) -> (Self, &'static str, u16) {
        *TABLE.iter().find(|row| row.0 == self).expect("every kind has a row: a test asks for each")
    }
}

/// An error on its way to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Decides type and status.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
    /// Seconds after which it is worth trying again.
    pub retry_after: Option<u32>,
    /// The limit that was reached, if that is the cause.
    pub limit: Option<Limit>,
}

/// A limit of queries, and of all that takes its turn among them. An answer that one of them caused has it among its extensions, where it
/// is counted: one place for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of a form.
    FormBytes,
    /// Time until a form has arrived.
    FormTime,
    /// Bytes of a label name in a path.
    LabelNameBytes,
    /// Points of each series of a range query.
    Points,
    /// Queries in line.
    Queue,
    /// Time in line, or to find series.
    QueueTime,
    /// Patience with clients: this one went away.
    Canceled,
    /// Somebody's patience with the query: it was killed.
    Killed,
    /// One of the query itself.
    Query(QueryLimit),
}

impl Limit {
    /// The reason in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::FormBytes => "form_bytes",
            Self::FormTime => "form_timeout",
            Self::LabelNameBytes => "label_name_bytes",
            Self::Points => "points",
            Self::Queue => "queue_full",
            Self::QueueTime | Self::Query(QueryLimit::Time) => "timeout",
            Self::Canceled => "canceled",
            Self::Killed => "killed",
            Self::Query(QueryLimit::QueryBytes) => "query_bytes",
            Self::Query(QueryLimit::QueryDepth) => "query_depth",
            Self::Query(QueryLimit::Pattern) => "pattern",
            Self::Query(QueryLimit::Samples) => "max_samples",
            Self::Query(QueryLimit::Series) => "max_series",
            Self::Query(QueryLimit::ChunkBytes) => "max_bytes",
        }
    }
}

impl ApiError {
    /// An error of that kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None, limit: None }
    }

    /// A request that makes no sense.
    pub fn bad_data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadData, message)
    }

    /// A parameter that makes no sense.
    pub fn parameter(name: &str, message: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {message}"))
    }

    /// The same, caused by a limit.
    pub fn limit(mut self, limit: impl Into<Option<Limit>>) -> Self {
        self.limit = limit.into();
        self
    }

    /// The same, worth trying again after `seconds`.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let kind = match &error {
            QueryError::Parse { .. } | QueryError::BadRequest(_) => {
                let limit = error.limit().map(Limit::Query);
                return Self::parameter("query", error).limit(limit);
            }
            QueryError::Execution { .. }
            | QueryError::TooManySamples { .. }
            | QueryError::TooManySeries { .. }
            | QueryError::TooManyBytes { .. } => ErrorKind::Execution,
            QueryError::Timeout => ErrorKind::Timeout,
            QueryError::Canceled => ErrorKind::Canceled,
            _ => ErrorKind::Internal,
        };
        let canceled = (kind == ErrorKind::Canceled).then_some(Limit::Canceled);
        Self::new(kind, error.to_string()).limit(error.limit().map(Limit::Query).or(canceled))
    }
}

impl From<SourceError> for ApiError {
    fn from(error: SourceError) -> Self {
        Self::new(ErrorKind::Internal, error.to_string())
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Stopped => {
                Self::new(ErrorKind::Timeout, "it took too long to find the series").limit(Limit::QueueTime)
            }
            error => Self::new(ErrorKind::Internal, error.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = b"{\"status\":\"error\",\"errorType\":".to_vec();
        json::put_string(&mut body, self.kind.name());
        body.extend_from_slice(b",\"error\":");
        json::put_string(&mut body, &self.message);
        body.push(b'}');
        let mut response = (self.kind.status(), [(header::CONTENT_TYPE, super::JSON)], body).into_response();
        if let Some(limit) = self.limit {
            response.extensions_mut().insert(limit);
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cardinal_query::Position;

    #[test]
    fn every_kind_has_its_name_and_status() {
        let check = |kind: ErrorKind, name: &str, status: u16| {
            assert_eq!((kind.name(), kind.status().as_u16()), (name, status));
        };
        check(ErrorKind::BadData, "bad_data", 400);
        check(ErrorKind::Execution, "execution", 422);
        check(ErrorKind::Canceled, "canceled", 499);
        check(ErrorKind::Timeout, "timeout", 503);
        check(ErrorKind::Internal, "internal", 500);
        check(ErrorKind::NotFound, "not_found", 404);
        check(ErrorKind::Unavailable, "unavailable", 500);
    }

    #[test]
    fn every_limit_is_in_the_page_of_limits() {
        use Limit::{Canceled, FormBytes, FormTime, Killed, LabelNameBytes, Points, Query, Queue, QueueTime};
        use QueryLimit::{ChunkBytes, Pattern, QueryBytes, QueryDepth, Samples, Series, Time};
        let page = include_str!("../../../docs/limits.md");
        let of_queries = [QueryBytes, QueryDepth, Pattern, Samples, Series, ChunkBytes, Time].map(Query);
        let all = [FormBytes, FormTime, LabelNameBytes, Points, Queue, QueueTime, Canceled, Killed];
        for limit in all.iter().chain(&of_queries) {
            assert!(page.contains(&format!("\n| `{}` |", limit.name())), "{}", limit.name());
        }
    }

    #[test]
    fn query_errors_become_api_errors() {
        let check = |error: QueryError, kind: ErrorKind, message: &str| {
            let error = ApiError::from(error);
            assert_eq!((error.kind, error.message.as_str()), (kind, message));
        };
        let parse = QueryError::Parse {
            position: Position { line: 1, column: 4 },
            message: "no".into(),
            limit: None,
        };
        check(parse, ErrorKind::BadData, "invalid parameter \"query\": 1:4: parse error: no");
        check(QueryError::BadRequest("no".into()), ErrorKind::BadData, "invalid parameter \"query\": no");
        let execution = QueryError::Execution { position: None, message: "no".into() };
        check(execution, ErrorKind::Execution, "no");
        check(QueryError::Timeout, ErrorKind::Timeout, "query timed out in expression evaluation");
        check(QueryError::Storage(SourceError::new("disk")), ErrorKind::Internal, "disk");
    }

    #[tokio::test]
    async fn the_envelope() {
        let response = ApiError::bad_data("a < b").retry_after(3).into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["retry-after"], "3");
        let body = axum::body::to_bytes(response.into_body(), 1000).await.expect("a body");
        assert_eq!(body, r#"{"status":"error","errorType":"bad_data","error":"a \u003c b"}"#);
    }
}

//! Why a query has no answer.

use crate::parse::ParseError;
use crate::source::SourceError;
use std::fmt;

/// A place in the text of a query, both from 1; columns count bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The byte within the line.
    pub column: u32,
}

impl Position {
    /// Where the byte `offset` of `query` stands.
    pub fn of(query: &str, offset: usize) -> Self {
        let before = &query.as_bytes()[..offset.min(query.len())];
        let newlines = before.iter().filter(|&&b| b == b'\n').count();
        let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
        let fit = |n: usize| u32::try_from(n + 1).unwrap_or(u32::MAX);
        Self { line: fit(newlines), column: fit(before.len() - line_start) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A bound of every query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryLimit {
    /// [`Limits::query_bytes_max`](crate::Limits).
    QueryBytes,
    /// [`ParseLimits::depth_max`](crate::parse::ParseLimits).
    QueryDepth,
    /// The size of a regular expression.
    Pattern,
    /// [`Limits::samples_max`](crate::Limits).
    Samples,
    /// [`Limits::series_max`](crate::Limits).
    Series,
    /// [`Limits::bytes_max`](crate::Limits).
    ChunkBytes,
    /// [`Limits::timeout`](crate::Limits).
    Time,
}

/// Why a query has no answer. Over HTTP: `Parse` and `BadRequest` are `bad_data` (400), `Execution`, `TooManySamples`,
/// `TooManySeries` and `TooManyBytes` are `execution` (422),
/// `Timeout` is `timeout` (503), `Canceled` is `canceled` (499), `Storage` is `internal` (500).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The query is not PromQL, or uses what is switched off.
    #[error("{position}: parse error: {message}")]
    Parse {
        /// Where.
        position: Position,
        /// What is wrong there.
        message: String,
        /// The limit that it goes beyond, if that is all that is wrong.
        limit: Option<QueryLimit>,
    },
    /// The request cannot be meant: a range of strings, a query beyond the length limit.
    #[error("{0}")]
    BadRequest(String),
    /// The query is PromQL, but these series have no answer to it.
    #[error("{message}{}", position.map(|p| format!(" ({p})")).unwrap_or_default())]
    Execution {
        /// Where in the query, if one place is to blame.
        position: Option<Position>,
        /// The cause.
        message: String,
    },
    /// More samples would be held at once than allowed.
    #[error(
        "query processing would load too many samples into memory in query execution: the limit is {limit}; \
         select fewer series or a shorter range, or raise query.max_samples"
    )]
    TooManySamples {
        /// The limit.
        limit: u64,
    },
    /// More series were found than allowed.
    #[error(
        "the query selects too many series: the limit is {limit}; name the metric and an account, ask for a shorter range, \
         or raise query.max_series"
    )]
    TooManySeries {
        /// The limit.
        limit: u64,
    },
    /// More chunks would be read than allowed.
    #[error(
        "the query reads too much: the limit is {limit} bytes of chunks; select fewer series or a shorter range, or raise \
         query.max_bytes"
    )]
    TooManyBytes {
        /// The limit.
        limit: u64,
    },
    /// The query ran out of time.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// The client left, or the server is stopping.
    #[error("query was canceled in expression evaluation")]
    Canceled,
    /// The storage failed.
    #[error("{0}")]
    Storage(#[from] SourceError),
}

impl QueryError {
    /// What is wrong with the text of `query`.
    pub(crate) fn of_text(error: &ParseError, query: &str) -> Self {
        Self::Parse { position: error.position(query), message: error.to_string(), limit: error.limit }
    }

    /// The limit that the query went beyond, if that is why it has no answer.
    pub fn limit(&self) -> Option<QueryLimit> {
        match self {
            Self::Parse { limit, .. } => *limit,
            Self::TooManySamples { .. } => Some(QueryLimit::Samples),
            Self::TooManySeries { .. } => Some(QueryLimit::Series),
            Self::TooManyBytes { .. } => Some(QueryLimit::ChunkBytes),
            Self::Timeout => Some(QueryLimit::Time),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_bytes_from_one() {
        let check = |query: &str, offset, line, column| {
            assert_eq!(Position::of(query, offset), Position { line, column }, "{query:?} at {offset}");
        };
        check("", 0, 1, 1);
        check("sum(x)", 4, 1, 5);
        check("a\nb", 1, 1, 2);
        check("a\nb", 2, 2, 1);
        check("ä\n\nb", 5, 3, 2);
        check("x", 99, 1, 2);
    }
}

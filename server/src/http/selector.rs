//! Selectors in parameters: `match[]`.

use cardinal_query::QueryLimit;
use cardinal_query::parse::ast;
use cardinal_query::parse::parse_selector;
use cardinal_storage::index::Matcher;

use super::error::{ApiError, Limit};
use super::params::Params;

/// Every `match[]` as it came.
pub(super) fn selector_texts(params: &Params) -> Vec<String> {
    params.all("match[]").map(str::to_owned).collect()
}

/// The selectors of every `match[]`. Large regular expressions take a while: for threads that may block.
pub(super) fn selectors(texts: &[String]) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let refused =
        |e: SelectorError| ApiError::parameter("match[]", &e.message).limit(e.limit.map(Limit::Query));
    texts.iter().map(|text| selector(text).map_err(refused)).collect()
}

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SelectorError {
    /// What is wrong, and where.
    pub message: String,
    /// The limit that it goes beyond, if that is all that is wrong.
    pub limit: Option<QueryLimit>,
}

/// The matchers of one selector; at least one of them does not match the empty string.
pub fn selector(text: &str) -> Result<Vec<Matcher>, SelectorError> {
    let parsed = parse_selector(text).map_err(|e| SelectorError {
        message: format!("{}: parse error: {e}", e.position(text)),
        limit: e.limit,
    })?;
    let matchers: Vec<_> = parsed.iter().map(matcher).collect::<Result<_, _>>()?;
    if matchers.iter().all(Matcher::matches_empty) {
        // The reference's words, whatever the selector came in.
        let message = "match[] must contain at least one non-empty matcher".into();
        return Err(SelectorError { message, limit: None });
    }
    Ok(matchers)
}

fn matcher(parsed: &ast::Matcher) -> Result<Matcher, SelectorError> {
    parsed.compile().map_err(|e| SelectorError {
        message: e.to_string(),
        limit: e.too_large.then_some(QueryLimit::Pattern),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_merged_and_checked() {
        let found =
            selectors(&selector_texts(&Params::parse(Some("match[]=up&match[]={a=~\"b.*\",c!=\"\"}"), b"")))
                .expect("valid");
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
        assert!(selectors(&[]).expect("none").is_empty());
    }

    #[test]
    fn what_matches_everything_or_nothing_known_is_refused() {
        let check = |text: &str, expected: &str| {
            let error = selector(text).map(drop).expect_err(text);
            assert!(error.message.starts_with(expected), "{text}: {error}");
        };
        check("{}", "match[] must contain at least one non-empty matcher");
        check("{a=~\".*\"}", "match[] must contain at least one non-empty matcher");
        check("up[5m]", "1:3: parse error: ");
        check("{a=~\"(\"}", "1:");
    }
}

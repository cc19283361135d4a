//! Matchers: conditions on one label, as PromQL writes them between braces.

use super::pattern::Pattern;
use crate::model::{LabelSet, excerpt};
use std::fmt;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl fmt::Display for MatchOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        })
    }
}

/// A condition on the value of one label; a series without the label has the empty value.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: Box<str>,
    op: MatchOp,
    value: Box<str>,
    /// What is compared with, the sense of `op` left aside.
    pattern: Pattern,
}

/// Why a matcher was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid regular expression {pattern:?} for label {name:?}: {reason}")]
pub struct MatcherError {
    /// The label.
    pub name: String,
    /// The expression, or its beginning.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
    /// Whether it is larger than expressions may be, rather than wrong.
    pub too_large: bool,
}

impl Matcher {
    /// A matcher. Regular expressions are anchored at both ends, and `.` matches newlines.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, MatcherError> {
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => Pattern::Literals(Box::new([value.into()])),
            MatchOp::Regex | MatchOp::NotRegex => Pattern::new(value).map_err(|e| {
                let pattern = excerpt(value).into_owned();
                MatcherError { name: name.into(), pattern, reason: e.reason, too_large: e.too_large }
            })?,
        };
        Ok(Self { name: name.into(), op, value: value.into(), pattern })
    }

    /// The matcher `name="value"`.
    pub fn equal(name: &str, value: &str) -> Self {
        let pattern = Pattern::Literals(Box::new([value.into()]));
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), pattern }
    }

    /// The label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The value or expression as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a series with this value is accepted.
    pub fn matches(&self, value: &str) -> bool {
        self.pattern.matches(value) != self.is_negative()
    }

    /// Whether a series without the label is accepted.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// Whether no series at all is refused, as by `=~".*"`.
    pub fn matches_everything(&self) -> bool {
        matches!(self.pattern, Pattern::Everything) && !self.is_negative()
    }

    /// The values that are accepted, sorted, where the matcher lists them: `=`, and `=~` with an alternation of plain
    /// strings. What an owner of the label can be told by, for example.
    pub fn literals(&self) -> Option<&[Box<str>]> {
        match &self.pattern {
            Pattern::Literals(l) if !self.is_negative() => Some(l),
            _ => None,
        }
    }

    /// Whether it accepts what its pattern does *not* match.
    pub(super) fn is_negative(&self) -> bool {
        matches!(self.op, MatchOp::NotEqual | MatchOp::NotRegex)
    }

    pub(super) fn pattern(&self) -> &Pattern {
        &self.pattern
    }
}

/// Equal where they were written equally.
impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl std::hash::Hash for Matcher {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.name, self.op, &self.value).hash(state);
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op, self.value)
    }
}

/// Whether all `matchers` accept a series with these labels: what every selection is equal to. A label that is not there
/// counts as empty.
pub fn accepts(matchers: &[Matcher], labels: &LabelSet) -> bool {
    matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matching() {
        let check = |op, pattern: &str, value: &str, want: bool| {
            let m = Matcher::new("a", op, pattern).unwrap();
            assert_eq!(m.matches(value), want, "{m} on {value:?}");
        };
        check(MatchOp::Equal, "x", "x", true);
        check(MatchOp::Equal, "x", "", false);
        check(MatchOp::NotEqual, "x", "", true);
        check(MatchOp::NotEqual, "x", "x", false);
        check(MatchOp::Regex, "x|", "", true);
        check(MatchOp::Regex, "x.+", "xy", true);
        check(MatchOp::NotRegex, "x.+", "xy", false);
        check(MatchOp::NotRegex, ".+", "", true);
        check(MatchOp::NotRegex, ".*", "x", false);
    }

    #[test]
    fn an_error_names_label_and_expression() {
        let e = Matcher::new("host", MatchOp::Regex, "a(").unwrap_err().to_string();
        assert!(e.starts_with(r#"invalid regular expression "a(" for label "host": "#), "{e}");
    }

    #[test]
    fn literals_are_those_accepted() {
        let literals = |op, v| Matcher::new("a", op, v).unwrap().literals().map(|l| l.len());
        assert_eq!(literals(MatchOp::Regex, "1|2|3"), Some(3));
        assert_eq!(literals(MatchOp::Equal, "1|2|3"), Some(1));
        assert_eq!(literals(MatchOp::NotRegex, "1|2|3"), None);
        assert_eq!(literals(MatchOp::Regex, "1.+"), None);
    }
}

//! A tombstone as the manifest names it.

use crate::index::{MatchOp, Matcher, MatcherError};
use crate::model::{TimeRange, TimestampMs, TombstoneId};
use crate::read::Tombstone;
use serde::{Deserialize, Serialize};

/// Bytes that an entry takes at most: 1000 of them fit into one edit beside the blocks.
pub(crate) const TOMBSTONE_BYTES_MAX: usize = 8 << 10;

/// A deletion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TombstoneEntry {
    pub(crate) id: u64,
    pub(crate) matchers: Vec<MatcherEntry>,
    /// Milliseconds, inclusive.
    pub(crate) start: i64,
    /// Milliseconds, inclusive.
    pub(crate) end: i64,
    pub(crate) created_ms: i64,
    /// Whether it cannot be undone any more.
    #[serde(default, rename = "final", skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_final: bool,
}

/// A matcher as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MatcherEntry {
    pub(crate) name: String,
    pub(crate) op: Op,
    pub(crate) value: String,
}

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Op {
    #[serde(rename = "=")]
    Equal,
    #[serde(rename = "!=")]
    NotEqual,
    #[serde(rename = "=~")]
    Regex,
    #[serde(rename = "!~")]
    NotRegex,
}

/// The pairs of [`Op`] and [`MatchOp`].
const OPS: [(Op, MatchOp); 4] = [
    (Op::Equal, MatchOp::Equal),
    (Op::NotEqual, MatchOp::NotEqual),
    (Op::Regex, MatchOp::Regex),
    (Op::NotRegex, MatchOp::NotRegex),
];

impl TombstoneEntry {
    /// The entry of a tombstone.
    pub(crate) fn of(tombstone: &Tombstone) -> Self {
        let matcher = |m: &Matcher| MatcherEntry {
            name: m.name().into(),
            op: OPS.iter().find(|(_, op)| *op == m.op()).map_or(Op::Equal, |(op, _)| *op),
            value: m.value().into(),
        };
        Self {
            id: tombstone.id.0,
            matchers: tombstone.matchers.iter().map(matcher).collect(),
            start: tombstone.range.after.0.saturating_add(1),
            end: tombstone.range.until.0,
            created_ms: tombstone.created.0,
            is_final: tombstone.is_final,
        }
    }

    /// The tombstone, its expressions compiled.
    pub(crate) fn compile(&self) -> Result<Tombstone, MatcherError> {
        let op =
            |m: &MatcherEntry| OPS.iter().find(|(op, _)| *op == m.op).map_or(MatchOp::Equal, |(_, op)| *op);
        let matcher = |m: &MatcherEntry| Matcher::new(&m.name, op(m), &m.value);
        Ok(Tombstone {
            id: TombstoneId(self.id),
            matchers: self.matchers.iter().map(matcher).collect::<Result<_, _>>()?,
            range: TimeRange::closed(TimestampMs(self.start), TimestampMs(self.end)),
            created: TimestampMs(self.created_ms),
            is_final: self.is_final,
        })
    }

    /// The bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        serde_json::to_vec(self).map_or(usize::MAX, |json| json.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_and_back() {
        let matchers = vec![
            Matcher::equal("account", "7"),
            Matcher::new("zone", MatchOp::NotRegex, "e.+").expect("valid"),
        ];
        let range = TimeRange::closed(TimestampMs(-5), TimestampMs(70));
        let mut tombstone =
            Tombstone { id: TombstoneId(65536), matchers, range, created: TimestampMs(9), is_final: false };
        let mut golden = String::from(
            r#"{"id":65536,"matchers":[{"name":"account","op":"=","value":"7"},{"name":"zone","op":"!~","value":"e.+"}],"start":-5,"end":70,"created_ms":9}"#,
        );
        for is_final in [false, true] {
            tombstone.is_final = is_final;
            if is_final {
                golden.insert_str(golden.len() - 1, r#","final":true"#);
            }
            let entry = TombstoneEntry::of(&tombstone);
            assert_eq!(serde_json::to_string(&entry).expect("JSON"), golden);
            assert_eq!(entry.bytes(), golden.len());
            let back: TombstoneEntry = serde_json::from_str(&golden).expect("an entry");
            assert_eq!(back.compile().expect("valid"), tombstone);
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let check = |json: &str| assert!(serde_json::from_str::<TombstoneEntry>(json).is_err(), "{json}");
        check(r#"{"id":1,"matchers":[{"name":"a","op":"~","value":""}],"start":0,"end":0,"created_ms":0}"#);
        check(r#"{"id":1,"matchers":[],"start":0,"end":0,"created_ms":0,"more":1}"#);
    }
}

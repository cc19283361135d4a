//! From the labels of a series never seen before to its identity: validation, then the canonical form.
//!
//! Runs once per series and sender, so clarity comes before speed; but sections that are canonical already, as most
//! senders write them, are taken without looking at any label twice.

use crate::labels::{RawLabel, raw_labels, series_text};
use cardinal_storage::database::{RefusalClass, Refused, Resolve};
use cardinal_storage::model::{LabelSet, METRIC_NAME};

/// How large the labels of a series may be. A series beyond any limit is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelLimits {
    /// Labels of one series, its name included, those with empty values not: 64. A label more is a dimension more, and
    /// ordinary series have a dozen.
    pub names_max: usize,
    /// Bytes of a label's name: 1 KiB.
    pub name_bytes_max: usize,
    /// Bytes of a label's value: 8 KiB. Longer ones are messages or stack traces, each of them its own series.
    pub value_bytes_max: usize,
}

impl Default for LabelLimits {
    fn default() -> Self {
        Self { names_max: 64, name_bytes_max: 1 << 10, value_bytes_max: 8 << 10 }
    }
}

/// What a label of a canonical section takes at least: six bytes of encoding, a name and a value.
const LABEL_BYTES_MIN: usize = 8;

/// Validates labels and brings them into their canonical form.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resolver {
    /// What is refused as too large.
    pub limits: LabelLimits,
}

/// Why labels name no series that can be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum LabelFault {
    #[error("it has no metric name (label __name__)")]
    NoMetricName,
    #[error("a label name is empty")]
    EmptyName,
    #[error("label name {0:?} is not UTF-8")]
    NameUtf8(String),
    #[error("the value of label {0:?} is not UTF-8")]
    ValueUtf8(String),
    #[error("label name {0:?} occurs twice")]
    Duplicate(String),
    #[error("it has more than {0} labels")]
    TooMany(usize),
    #[error("a label name has {len} bytes, more than {max}")]
    NameTooLong { len: usize, max: usize },
    #[error("the value of label {name:?} has {len} bytes, more than {max}")]
    ValueTooLong { name: String, len: usize, max: usize },
    #[error("its labels are malformed")]
    Malformed,
}

impl LabelFault {
    fn class(&self) -> RefusalClass {
        match self {
            Self::TooMany(_) | Self::NameTooLong { .. } | Self::ValueTooLong { .. } => {
                RefusalClass::LabelLimit
            }
            _ => RefusalClass::InvalidLabels,
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, section: &[u8]) -> Result<LabelSet, Refused> {
        self.labels(section).map_err(|fault| Refused {
            class: fault.class(),
            message: format!("{}: {fault}", series_text(section)),
        })
    }
}

impl Resolver {
    fn labels(&self, section: &[u8]) -> Result<LabelSet, LabelFault> {
        let labels = match LabelSet::from_section(section) {
            Ok(labels) if self.is_within_limits(section.len()) => labels,
            Ok(labels) => {
                for (i, label) in labels.iter().enumerate() {
                    self.check_size(i + 1, label.name, label.value)?;
                }
                labels
            }
            Err(_) => self.canonical(section)?,
        };
        if labels.get(METRIC_NAME).is_none() {
            return Err(LabelFault::NoMetricName);
        }
        Ok(labels)
    }

    /// Whether a canonical section is too short to exceed any limit, as most are: then no label need be measured.
    fn is_within_limits(&self, section_len: usize) -> bool {
        let LabelLimits { names_max, name_bytes_max, value_bytes_max } = self.limits;
        let names_bytes_min = names_max.saturating_mul(LABEL_BYTES_MIN);
        section_len <= name_bytes_max.min(value_bytes_max).min(names_bytes_min)
    }

    /// Sorts, drops empty values, and checks what a canonical section cannot have wrong.
    fn canonical(&self, section: &[u8]) -> Result<LabelSet, LabelFault> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        let mut count = 0;
        for label in raw_labels(section) {
            let (name, value) = text(label.map_err(|_| LabelFault::Malformed)?)?;
            count += usize::from(!value.is_empty());
            self.check_size(count, name, value)?;
            pairs.push((name, value));
        }
        pairs.sort_unstable();
        if let Some(twice) = pairs.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(LabelFault::Duplicate(twice[0].0.into()));
        }
        LabelSet::from_pairs(pairs).map_err(|_| LabelFault::EmptyName)
    }

    fn check_size(&self, count: usize, name: &str, value: &str) -> Result<(), LabelFault> {
        let LabelLimits { names_max, name_bytes_max, value_bytes_max } = self.limits;
        if count > names_max {
            return Err(LabelFault::TooMany(names_max));
        }
        if name.len() > name_bytes_max {
            return Err(LabelFault::NameTooLong { len: name.len(), max: name_bytes_max });
        }
        if value.len() > value_bytes_max {
            let (name, len) = (name.into(), value.len());
            return Err(LabelFault::ValueTooLong { name, len, max: value_bytes_max });
        }
        Ok(())
    }
}

/// A label as text. The fault names the label, so the name is looked at first.
fn text(label: RawLabel<'_>) -> Result<(&str, &str), LabelFault> {
    let shown = || String::from_utf8_lossy(label.name.get(..64).unwrap_or(label.name)).into_owned();
    let name = std::str::from_utf8(label.name).map_err(|_| LabelFault::NameUtf8(shown()))?;
    let value = std::str::from_utf8(label.value).map_err(|_| LabelFault::ValueUtf8(shown()))?;
    if name.is_empty() {
        return Err(LabelFault::EmptyName);
    }
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cardinal_storage::model::varint;
    use proptest::prelude::*;

    fn section(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut out = vec![];
        for (name, value) in pairs {
            let mut label = vec![0x0a];
            varint::put_bytes(&mut label, name);
            label.push(0x12);
            varint::put_bytes(&mut label, value);
            out.push(0x0a);
            varint::put_bytes(&mut out, &label);
        }
        out
    }

    fn resolve(pairs: &[(&[u8], &[u8])]) -> Result<LabelSet, Refused> {
        Resolver::default().resolve(&section(pairs))
    }

    #[test]
    fn labels_become_canonical() {
        let check = |pairs: &[(&[u8], &[u8])], want: &str| {
            assert_eq!(resolve(pairs).unwrap().to_string(), want);
        };
        check(&[(b"__name__", b"up")], "up");
        check(&[(b"__name__", b"up"), (b"a", b"1")], r#"up{a="1"}"#);
        check(&[(b"b", b"2"), (b"__name__", b"up"), (b"a", b"1")], r#"up{a="1", b="2"}"#);
        check(&[(b"__name__", b"up"), (b"a", b"")], "up");
        check(&[(b"__name__", "h\u{e4}user.z\u{e4}hler".as_bytes())], "h\u{e4}user.z\u{e4}hler");
        check(&[(b"__name__", b"up"), (b"with space", b"two\nlines")], r#"up{with space="two\nlines"}"#);
    }

    #[test]
    fn every_way_to_write_a_series_is_the_same_series() {
        let canonical = resolve(&[(b"__name__", b"up"), (b"a", b"1")]).unwrap();
        let long_varints = b"\x0a\x8f\x00\x0a\x08__name__\x12\x82\x00up\x0a\x06\x12\x011\x0a\x01a";
        assert_eq!(Resolver::default().resolve(long_varints), Ok(canonical));
    }

    #[test]
    fn invalid_labels_are_refused_by_name() {
        let check = |pairs: &[(&[u8], &[u8])], want: &str| {
            let refused = resolve(pairs).unwrap_err();
            assert_eq!((refused.class, &*refused.message), (RefusalClass::InvalidLabels, want));
        };
        check(&[], "{}: it has no metric name (label __name__)");
        check(&[(b"a", b"1")], r#"{a="1"}: it has no metric name (label __name__)"#);
        check(&[(b"__name__", b"")], "{}: it has no metric name (label __name__)");
        check(&[(b"__name__", b"up"), (b"", b"1")], r#"up{="1"}: a label name is empty"#);
        check(&[(b"", b""), (b"__name__", b"up")], r#"up{=""}: a label name is empty"#);
        check(
            &[(b"__name__", b"up"), (b"a", b"1"), (b"a", b"1")],
            r#"up{a="1", a="1"}: label name "a" occurs twice"#,
        );
        check(
            &[(b"__name__", b"up"), (b"a", b""), (b"a", b"1")],
            r#"up{a="", a="1"}: label name "a" occurs twice"#,
        );
        check(
            &[(b"__name__", b"up"), (b"a\xff", b"1")],
            "up{a\u{fffd}=\"1\"}: label name \"a\u{fffd}\" is not UTF-8",
        );
        check(
            &[(b"__name__", b"up"), (b"a", b"\xff")],
            "up{a=\"\u{fffd}\"}: the value of label \"a\" is not UTF-8",
        );
        check(&[(b"__name__", b"up\xff")], "up\u{fffd}{}: the value of label \"__name__\" is not UTF-8");
    }

    #[test]
    fn labels_beyond_the_limits_are_refused_sorted_or_not() {
        let limits = LabelLimits { names_max: 2, name_bytes_max: 8, value_bytes_max: 4 };
        let check = |rest: &[(&[u8], &[u8])], want: Option<&str>| {
            let mut pairs = [&[(&b"__name__"[..], &b"up"[..])], rest].concat();
            for _ in 0..2 {
                let got = Resolver { limits }.resolve(&section(&pairs)).map_err(|r| (r.class, r.message));
                match (want, got) {
                    (None, got) => assert!(got.is_ok(), "{got:?}"),
                    (Some(want), got) => {
                        let (class, message) = got.unwrap_err();
                        assert_eq!(class, RefusalClass::LabelLimit);
                        assert!(message.ends_with(want), "{message}");
                    }
                }
                pairs.reverse();
            }
        };
        check(&[(b"a", b"1234")], None);
        check(&[(b"a", b"1"), (b"empty", b"")], None);
        check(&[(b"a", b"1"), (b"b", b"2")], Some(": it has more than 2 labels"));
        check(&[(b"a_long_name", b"1")], Some(": a label name has 11 bytes, more than 8"));
        check(&[(b"a", b"12345")], Some(": the value of label \"a\" has 5 bytes, more than 4"));
    }

    proptest! {
        #[test]
        fn what_is_resolved_is_a_valid_series(bytes: Vec<u8>) {
            if let Ok(labels) = Resolver::default().resolve(&bytes) {
                prop_assert!(LabelSet::from_section(labels.section()).is_ok());
                prop_assert!(!labels.metric_name().is_empty());
            }
        }

        #[test]
        fn order_does_not_matter(
            pairs in proptest::collection::btree_map("[a-z]{1,3}", "[a-z]{0,3}", 0..6),
            by in any::<proptest::sample::Index>(),
        ) {
            let mut pairs: Vec<(&[u8], &[u8])> =
                pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
            pairs.push((b"__name__", b"up"));
            let sorted = resolve(&pairs).unwrap();
            let by = by.index(pairs.len());
            pairs.rotate_left(by);
            prop_assert_eq!(resolve(&pairs).unwrap(), sorted);
        }
    }
}

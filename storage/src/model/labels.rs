//! Label sets in their canonical form, which is also their identity.
//!
//! The *canonical label section* is remote write 1.0's encoding of the labels: for each label, sorted by name,
//! `0x0a len (0x0a len name 0x12 len value)`, with minimal varints and without empty values. Two series are the same
//! exactly where these bytes are.

use super::varint;
use super::{Fingerprint, HashSeed, METRIC_NAME, SeriesKey, le_rank};
use std::fmt;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// One name with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label<'a> {
    /// The name.
    pub name: &'a str,
    /// The value, not empty.
    pub value: &'a str,
}

/// A set of labels: sorted by name (bytewise), names unique and not empty, values not empty. One allocation.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct LabelSet {
    section: Box<[u8]>,
}

/// Why labels make no set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelSetError {
    /// A name occurs twice.
    #[error("label name {0:?} occurs twice")]
    Duplicate(String),
    /// A name is empty.
    #[error("a label name is empty")]
    EmptyName,
    /// A name does not come after the one before it, where sorted names were asked for.
    #[error("label name {0:?} is out of order")]
    Unsorted(String),
}

/// Why bytes are no canonical label section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a canonical label section at byte {offset}: {reason}")]
pub struct SectionError {
    /// Where, from the start of the section.
    pub offset: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

impl LabelSet {
    /// The set without labels.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Takes a canonical section after checking it whole. The error says where it is not canonical.
    pub fn from_section(section: &[u8]) -> Result<Self, SectionError> {
        let mut previous: Option<&str> = None;
        let mut rest = SectionIter::new(section);
        loop {
            let offset = rest.offset();
            match rest.next() {
                None => return Ok(Self { section: section.into() }),
                Some(Err(e)) => return Err(e),
                Some(Ok(label)) => {
                    let fail = |reason| Err(SectionError { offset, reason });
                    if label.name.is_empty() {
                        return fail("an empty name");
                    }
                    if label.value.is_empty() {
                        return fail("an empty value");
                    }
                    if previous.is_some_and(|p| p >= label.name) {
                        return fail("names out of order");
                    }
                    previous = Some(label.name);
                }
            }
        }
    }

    /// Builds a set of labels in any order; see [`LabelSetBuilder`].
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, LabelSetError> {
        let mut b = LabelSetBuilder::default();
        for (name, value) in pairs {
            b.push(name, value);
        }
        b.build()
    }

    /// Builds a set of labels that come in order of their names. Empty values are dropped.
    pub fn from_sorted<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, LabelSetError> {
        let mut section = Vec::with_capacity(256);
        let mut previous = "";
        for (name, value) in pairs {
            match name {
                "" => return Err(LabelSetError::EmptyName),
                _ if name <= previous => return Err(LabelSetError::Unsorted(name.into())),
                _ if value.is_empty() => {}
                _ => put_label(&mut section, name, value),
            }
            previous = name;
        }
        Ok(Self { section: section.into() })
    }

    /// The canonical section.
    pub fn section(&self) -> &[u8] {
        &self.section
    }

    /// The labels in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = Label<'_>> + '_ {
        SectionIter::new(&self.section)
            .map(|l| l.expect("a label set's section was checked when it was made"))
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|l| l.name == name).map(|l| l.value)
    }

    /// The metric's name, empty without one.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// Whether there are no labels.
    pub fn is_empty(&self) -> bool {
        self.section.is_empty()
    }

    /// The number of labels.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// A builder that starts with these labels.
    pub fn to_builder(&self) -> LabelSetBuilder {
        LabelSetBuilder { pairs: self.iter().map(|l| (l.name.into(), l.value.into())).collect() }
    }

    /// The set's identity under `seed`.
    pub fn fingerprint(&self, seed: HashSeed) -> Fingerprint {
        Fingerprint::of_section(&self.section, seed)
    }

    /// The key that orders the series within its shard. `account_label` names the label that owns it.
    pub fn key(&self, account_label: &str, seed: HashSeed) -> SeriesKey {
        let mut family = Xxh3::with_seed(seed.0);
        let mut key = SeriesKey { account: 0, name: 0, family: 0, le: 0 };
        let mut rest = SectionIter::new(&self.section);
        loop {
            let from = rest.offset();
            let Some(Ok(label)) = rest.next() else { break };
            if label.name == METRIC_NAME {
                key.name = xxh3_64(label.value.as_bytes());
            }
            if label.name == account_label {
                key.account = xxh3_64(label.value.as_bytes());
            }
            if label.name == "le" {
                key.le = le_rank(Some(label.value));
            } else {
                family.update(&self.section[from..rest.offset()]);
            }
        }
        key.family = family.digest();
        key
    }
}

/// Compares label by label, name before value, as Prometheus sorts results.
impl Ord for LabelSet {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for LabelSet {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// As PromQL writes it: `name{a="1", b="2"}`.
impl fmt::Display for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric_name())?;
        let mut labels = self.iter().filter(|l| l.name != METRIC_NAME).peekable();
        if labels.peek().is_none() && !self.metric_name().is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        for (i, l) in labels.enumerate() {
            write!(f, "{}{}={:?}", if i == 0 { "" } else { ", " }, l.name, l.value)?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads the labels of a section one by one; checks the encoding, not the order.
#[derive(Clone, Debug)]
pub struct SectionIter<'a> {
    section: &'a [u8],
    offset: usize,
}

impl<'a> SectionIter<'a> {
    /// Starts at the front of `section`.
    pub fn new(section: &'a [u8]) -> Self {
        Self { section, offset: 0 }
    }

    /// How many bytes have been read.
    pub fn offset(&self) -> usize {
        self.offset
    }

    fn read(&mut self) -> Result<Label<'a>, SectionError> {
        let fail = |reason| SectionError { offset: self.offset, reason };
        let rest = &self.section[self.offset..];
        let mut at = rest;
        let body = tagged(&mut at, 0x0a).ok_or(fail("no label"))?;
        let mut inner = body;
        let name = tagged(&mut inner, 0x0a).ok_or(fail("no name"))?;
        let value = tagged(&mut inner, 0x12).ok_or(fail("no value"))?;
        let canonical =
            2 + varint::len(name.len() as u64) + varint::len(value.len() as u64) + name.len() + value.len();
        if !inner.is_empty() || body.len() != canonical {
            return Err(fail("trailing bytes or a varint longer than necessary"));
        }
        let used = rest.len() - at.len();
        if used != 1 + varint::len(body.len() as u64) + body.len() {
            return Err(fail("a varint longer than necessary"));
        }
        let utf8 = |b| std::str::from_utf8(b).map_err(|_| fail("not UTF-8"));
        let label = Label { name: utf8(name)?, value: utf8(value)? };
        self.offset += used;
        Ok(label)
    }
}

/// Ends after the first error.
impl<'a> Iterator for SectionIter<'a> {
    type Item = Result<Label<'a>, SectionError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.section.len() {
            return None;
        }
        let label = self.read();
        if label.is_err() {
            self.offset = self.section.len();
        }
        Some(label)
    }
}

fn tagged<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (&first, rest) = bytes.split_first()?;
    if first != tag {
        return None;
    }
    *bytes = rest;
    varint::take_bytes(bytes)
}

/// Collects labels in any order into a [`LabelSet`].
#[derive(Clone, Debug, Default)]
pub struct LabelSetBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelSetBuilder {
    /// Adds a label without looking at those already there.
    pub fn push(&mut self, name: &str, value: &str) {
        self.pairs.push((name.into(), value.into()));
    }

    /// Sets `name` to `value` in place of what it had; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        if !value.is_empty() {
            self.push(name, value);
        }
    }

    /// Removes `name` if it is there.
    pub fn remove(&mut self, name: &str) {
        self.pairs.retain(|(n, _)| n != name);
    }

    /// Sorts by name, drops empty values, and refuses empty or repeated names.
    pub fn build(mut self) -> Result<LabelSet, LabelSetError> {
        self.pairs.sort();
        if let Some(w) = self.pairs.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(LabelSetError::Duplicate(w[0].0.clone()));
        }
        if self.pairs.first().is_some_and(|(n, _)| n.is_empty()) {
            return Err(LabelSetError::EmptyName);
        }
        let mut section = Vec::new();
        for (name, value) in self.pairs.iter().filter(|(_, v)| !v.is_empty()) {
            put_label(&mut section, name, value);
        }
        Ok(LabelSet { section: section.into() })
    }
}

/// Appends one label in the canonical encoding.
pub(crate) fn put_label(section: &mut Vec<u8>, name: &str, value: &str) {
    let body =
        2 + varint::len(name.len() as u64) + varint::len(value.len() as u64) + name.len() + value.len();
    section.push(0x0a);
    varint::put(section, body as u64);
    section.push(0x0a);
    varint::put_bytes(section, name.as_bytes());
    section.push(0x12);
    varint::put_bytes(section, value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn golden_section() {
        let s = set(&[("b", "2"), ("__name__", "up"), ("empty", "")]);
        assert_eq!(s.section(), b"\x0a\x0e\x0a\x08__name__\x12\x02up\x0a\x06\x0a\x01b\x12\x012");
        assert_eq!(s.to_string(), r#"up{b="2"}"#);
        assert_eq!((s.len(), s.get("b"), s.get("empty"), s.metric_name()), (2, Some("2"), None, "up"));
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        let check = |section: &[u8], reason: &str| {
            let e = LabelSet::from_section(section).unwrap_err();
            assert!(e.to_string().contains(reason), "{e}");
        };
        check(b"\x0a\x06\x0a\x01b\x12\x012\x0a\x06\x0a\x01a\x12\x012", "out of order");
        check(b"\x0a\x06\x0a\x01b\x12\x012\x0a\x06\x0a\x01b\x12\x012", "out of order");
        check(b"\x0a\x05\x0a\x01b\x12\x00", "empty value");
        check(b"\x0a\x86\x00\x0a\x01b\x12\x012", "longer than necessary");
        check(b"\x0a\x07\x0a\x01b\x12\x012", "no label");
        check(b"\x0a\x06\x0a\x01b\x12\x01\xff", "UTF-8");
        assert_eq!(LabelSet::from_pairs([("a", "1"), ("a", "2")]), Err(LabelSetError::Duplicate("a".into())));
        assert_eq!(LabelSet::from_pairs([("", "1")]), Err(LabelSetError::EmptyName));
    }

    #[test]
    fn a_familys_series_share_all_of_the_key_but_le() {
        let key =
            |le| set(&[("__name__", "x_bucket"), ("account", "1"), ("le", le)]).key("account", HashSeed(7));
        let (a, b) = (key("1"), key("+Inf"));
        assert_eq!((a.account, a.name, a.family), (b.account, b.name, b.family));
        assert!(a < b);
        assert_ne!(
            a.family,
            set(&[("__name__", "x_count"), ("account", "1")]).key("account", HashSeed(7)).family
        );
    }

    proptest! {
        #[test]
        fn round_trip(pairs in proptest::collection::btree_map("[a-z]{1,5}", "\\PC{1,200}", 0..6)) {
            let s = LabelSet::from_pairs(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))).unwrap();
            prop_assert_eq!(&LabelSet::from_section(s.section()).unwrap(), &s);
            prop_assert_eq!(&s.to_builder().build().unwrap(), &s);
            prop_assert!(s.iter().map(|l| (l.name, l.value)).eq(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = LabelSet::from_section(&bytes);
        }
    }
}

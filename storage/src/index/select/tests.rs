use super::*;
use crate::index::{MatchOp, accepts};
use crate::model::{Label, LabelSet};
use proptest::prelude::*;
use std::cell::Cell;
use std::convert::Infallible;
use std::ops::Range;

/// An index like the head's: values in the order of their arrival.
#[derive(Default)]
struct Model {
    series: Vec<LabelSet>,
    names: Vec<(String, Vec<String>)>,
    /// How many values were read.
    read: Cell<usize>,
}

impl Model {
    fn new(series: Vec<LabelSet>) -> Self {
        let mut model = Self::default();
        for Label { name, value } in series.iter().flat_map(LabelSet::iter) {
            let at = model.names.iter().position(|(n, _)| n == name).unwrap_or_else(|| {
                model.names.push((name.into(), vec![]));
                model.names.len() - 1
            });
            if !model.names[at].1.iter().any(|v| v == value) {
                model.names[at].1.push(value.into());
            }
        }
        Self { series, ..model }
    }

    fn naive(&self, matchers: &[Matcher]) -> Vec<u32> {
        (0..).zip(&self.series).filter(|(_, s)| accepts(matchers, s)).map(|(i, _)| i).collect()
    }

    fn text(&self, name: NameId, value: ValueId) -> &str {
        &self.names[name.0 as usize].1[value.0 as usize]
    }
}

impl LabelIndex for Model {
    type Error = Infallible;

    fn name_id(&self, name: &str) -> Result<Option<NameId>, Infallible> {
        Ok(self.names.iter().position(|(n, _)| n == name).map(|i| NameId(i as u32)))
    }

    fn value_range(&self, name: NameId, _: &str) -> Result<Range<u32>, Infallible> {
        Ok(0..self.names[name.0 as usize].1.len() as u32)
    }

    fn value_id(&self, name: NameId, value: &str) -> Result<Option<ValueId>, Infallible> {
        Ok(self.names[name.0 as usize].1.iter().position(|v| v == value).map(|i| ValueId(i as u32)))
    }

    fn values(&self, name: NameId, ids: Range<u32>, out: &mut Values) -> Result<(), Infallible> {
        assert!(ids.len() <= SCAN_VALUES);
        self.read.set(self.read.get() + ids.len());
        ids.for_each(|id| out.push(self.text(name, ValueId(id))));
        Ok(())
    }

    fn counts(&self, name: NameId, ids: Range<u32>, out: &mut Vec<u64>) -> Result<(), Infallible> {
        let label = &self.names[name.0 as usize].0;
        let count = |id| {
            let text = Some(self.text(name, ValueId(id)));
            self.series.iter().filter(|s| s.get(label) == text).count() as u64
        };
        out.extend(ids.map(count));
        Ok(())
    }

    fn postings(&self, name: NameId, values: &[ValueId], out: &mut Bitmap) -> Result<(), Infallible> {
        assert!(values.len() <= SCAN_VALUES);
        let label = &self.names[name.0 as usize].0;
        for (i, s) in (0..).zip(&self.series) {
            if values.iter().any(|&v| s.get(label) == Some(self.text(name, v))) {
                out.add(i);
            }
        }
        Ok(())
    }

    fn having(&self, name: NameId, out: &mut Bitmap) -> Result<(), Infallible> {
        let label = &self.names[name.0 as usize].0;
        (0..).zip(&self.series).filter(|(_, s)| s.get(label).is_some()).for_each(|(i, _)| out.add(i));
        Ok(())
    }

    fn values_of(
        &self,
        name: NameId,
        series: &[u32],
        out: &mut Vec<Option<ValueId>>,
    ) -> Result<(), Infallible> {
        assert!(series.len() <= SCAN_VALUES);
        let label = &self.names[name.0 as usize].0;
        for &s in series {
            out.push(match self.series[s as usize].get(label) {
                Some(v) => self.value_id(name, v)?,
                None => None,
            });
        }
        Ok(())
    }

    fn all(&self, out: &mut Bitmap) -> Result<(), Infallible> {
        out.add_range(0..self.series.len() as u32);
        Ok(())
    }
}

fn set(pairs: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(pairs.iter().copied()).unwrap()
}

fn matcher(name: &str, op: &str, value: &str) -> Matcher {
    let op = match op {
        "=" => MatchOp::Equal,
        "!=" => MatchOp::NotEqual,
        "=~" => MatchOp::Regex,
        _ => MatchOp::NotRegex,
    };
    Matcher::new(name, op, value).unwrap()
}

fn selected(model: &Model, matchers: &[Matcher]) -> Vec<u32> {
    let Ok(found) = select(model, matchers);
    found.to_vec()
}

#[test]
fn absence_is_the_empty_value() {
    let model = Model::new(vec![
        set(&[("n", "1")]),
        set(&[("n", "1"), ("i", "a")]),
        set(&[("n", "1"), ("i", "b")]),
        set(&[("n", "2")]),
        set(&[("n", "2.5")]),
    ]);
    let check = |matchers: &[(&str, &str, &str)], want: &[u32]| {
        let matchers: Vec<_> = matchers.iter().map(|(n, o, v)| matcher(n, o, v)).collect();
        assert_eq!(selected(&model, &matchers), want, "{matchers:?}");
    };
    check(&[], &[0, 1, 2, 3, 4]);
    check(&[("n", "=", "1")], &[0, 1, 2]);
    check(&[("n", "=", "1"), ("i", "=", "a")], &[1]);
    check(&[("n", "=", "1"), ("i", "=", "missing")], &[]);
    check(&[("missing", "=", "")], &[0, 1, 2, 3, 4]);
    check(&[("missing", "!=", "")], &[]);
    check(&[("missing", "=", "x")], &[]);
    check(&[("missing", "!=", "x")], &[0, 1, 2, 3, 4]);
    check(&[("i", "=", "")], &[0, 3, 4]);
    check(&[("i", "!=", "")], &[1, 2]);
    check(&[("n", "=", "1"), ("i", "!=", "a")], &[0, 2]);
    check(&[("i", "=~", ".*")], &[0, 1, 2, 3, 4]);
    check(&[("i", "!~", ".*")], &[]);
    check(&[("i", "=~", ".+")], &[1, 2]);
    check(&[("i", "!~", ".+")], &[0, 3, 4]);
    check(&[("n", "=~", "^1$")], &[0, 1, 2]);
    check(&[("n", "=~", "2.*"), ("i", "=~", "a?")], &[3, 4]);
    check(&[("n", "=~", "1|2.5")], &[0, 1, 2, 4]);
    check(&[("n", "!~", "1|2.5")], &[3]);
    check(&[("i", "=~", "a|")], &[0, 1, 3, 4]);
    check(&[("i", "!~", "a|")], &[2]);
    check(&[("i", "=~", "[^a]?")], &[0, 2, 3, 4]);
    check(&[("n", "=~", "2.*"), ("n", "!=", "2")], &[4]);
}

#[test]
fn few_series_left_means_their_values_are_looked_up() {
    let series = (0..5000).map(|i| set(&[("account", &(i / 2).to_string()), ("call", &format!("c{i}"))]));
    let model = Model::new(series.collect());
    let check = |op, pattern, want: &[u32]| {
        model.read.set(0);
        assert_eq!(selected(&model, &[matcher("call", op, pattern), matcher("account", "=", "7")]), want);
        assert_eq!(model.read.get(), 2);
    };
    check("=~", "c1.*4", &[14]);
    check("!~", "c1.*4", &[15]);
    check("=~", "(c.*4)?", &[14]);
    model.read.set(0);
    assert_eq!(selected(&model, &[matcher("call", "=~", "c.*999")]), [999, 1999, 2999, 3999, 4999]);
    assert_eq!(model.read.get(), 5000);
}

#[test]
fn lists_of_plain_strings_read_no_values() {
    let model = Model::new((0..3000).map(|i| set(&[("a", &i.to_string())])).collect());
    let list = (0..2000).map(|i| (i * 2).to_string()).collect::<Vec<_>>().join("|");
    assert_eq!(selected(&model, &[matcher("a", "=~", &list)]).len(), 1500);
    assert_eq!(selected(&model, &[matcher("a", "!~", &list)]).len(), 1500);
    assert_eq!(model.read.get(), 0);
}

#[test]
fn matchers_that_keep_all_read_no_values() {
    let model = Model::new((0..3000).map(|i| set(&[("a", &i.to_string()), ("n", "x")])).collect());
    for (op, value) in [("=~", ".+"), ("!=", ""), ("=~", ".*"), ("!~", ""), ("=~", "(.+)")] {
        assert_eq!(
            selected(&model, &[matcher("n", "=", "x"), matcher("a", op, value)]).len(),
            3000,
            "{op}{value}"
        );
    }
    for (op, value) in [("=", ""), ("!~", ".+"), ("!~", ".*"), ("=~", "")] {
        assert_eq!(selected(&model, &[matcher("a", op, value)]).len(), 0, "{op}{value}");
    }
    assert_eq!(model.read.get(), 0);
}

pub(crate) fn label_sets() -> impl Strategy<Value = Vec<LabelSet>> {
    let value = prop_oneof!["", "[ab]{1,2}", "x[0-9]"];
    let one = proptest::collection::btree_map("[nio]", value, 0..4);
    proptest::collection::vec(one, 0..40).prop_map(|sets| {
        sets.iter()
            .map(|s| LabelSet::from_pairs(s.iter().map(|(n, v)| (n.as_str(), v.as_str()))).unwrap())
            .collect()
    })
}

pub(crate) fn matchers() -> impl Strategy<Value = Vec<Matcher>> {
    let value = prop_oneof![
        "",
        "[ab]{1,2}",
        "a\\.\\*",
        "\\.\\+",
        "\\.\\*",
        "\\.\\*b\\.\\*",
        "x\\[0-5\\]",
        "\\|a\\|b",
        "\\(a\\.\\)\\?",
        "a\\|x\\.\\+"
    ];
    let one = ("[niom]", prop_oneof!["=", "!=", "=~", "!~"], value);
    proptest::collection::vec(one.prop_map(|(n, o, v)| matcher(&n, &o, &v)), 0..4)
}

proptest! {
    #[test]
    fn agrees_with_the_definition(series in label_sets(), matchers in matchers()) {
        let model = Model::new(series);
        prop_assert_eq!(selected(&model, &matchers), model.naive(&matchers));
    }
}

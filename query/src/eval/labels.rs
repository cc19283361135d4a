//! Label sets made from others: kept, dropped, set, joined.

use crate::source::Grouping;
use cardinal_storage::model::{LabelSet, LabelSetBuilder, METRIC_NAME, SectionIter};

/// The labels whose names `keep` accepts. Works on the encoded section: no label is allocated for itself.
pub(crate) fn filtered(labels: &LabelSet, keep: impl Fn(&str) -> bool) -> LabelSet {
    let section = labels.section();
    let mut out = Vec::with_capacity(section.len());
    let mut rest = SectionIter::new(section);
    loop {
        let from = rest.offset();
        let Some(Ok(label)) = rest.next() else { break };
        if keep(label.name) {
            out.extend_from_slice(&section[from..rest.offset()]);
        }
    }
    LabelSet::from_section(&out).expect("labels of a valid set, in their order, are a valid set")
}

/// Whether the label says what is measured rather than where: the name, and type and unit where they are labels.
pub(crate) fn is_metadata(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// Whether the labels name a type or a unit, which go with the metric name.
pub(crate) fn has_type_or_unit(labels: &LabelSet) -> bool {
    labels.iter().take_while(|l| l.name <= "__unit__").any(|l| l.name != METRIC_NAME && is_metadata(l.name))
}

/// The labels without the metric name, type and unit: what remains when values have become something else.
pub(crate) fn without_name(labels: &LabelSet) -> LabelSet {
    filtered(labels, |name| !is_metadata(name))
}

/// The labels that `grouping` keeps.
pub(crate) fn grouped(labels: &LabelSet, grouping: &Grouping) -> LabelSet {
    filtered(labels, |name| grouping.keeps(name))
}

/// The labels with `changes` (name, value) applied in turn; an empty value removes the label.
pub(crate) fn with<'a>(labels: &LabelSet, changes: impl IntoIterator<Item = (&'a str, &'a str)>) -> LabelSet {
    let mut builder = labels.to_builder();
    changes
        .into_iter()
        .filter(|(name, _)| !name.is_empty())
        .for_each(|(name, value)| builder.set(name, value));
    finish(builder)
}

/// Builds a set of labels of which none occurs twice.
pub(crate) fn finish(builder: LabelSetBuilder) -> LabelSet {
    builder.build().expect("every label was set once, under a name")
}

/// The labels in braces, the metric name among them, as error messages of the reference show them.
pub(crate) fn braced(labels: &LabelSet) -> String {
    let pairs: Vec<_> = labels.iter().map(|l| format!("{}={:?}", l.name, l.value)).collect();
    format!("{{{}}}", pairs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_made_from_sets() {
        let labels = LabelSet::from_pairs([("__name__", "m"), ("a", "1"), ("b", "2")]).unwrap();
        assert_eq!(without_name(&labels).to_string(), r#"{a="1", b="2"}"#);
        assert_eq!(grouped(&labels, &Grouping::by(["b".into(), "c".into()])).to_string(), r#"{b="2"}"#);
        assert_eq!(grouped(&labels, &Grouping::without(["b".into()])).to_string(), r#"m{a="1"}"#);
        assert_eq!(with(&labels, [("a", ""), ("c", "3")]).to_string(), r#"m{b="2", c="3"}"#);
        assert_eq!(braced(&labels), r#"{__name__="m", a="1", b="2"}"#);
    }
}

//! Grouping series by some of their labels, on symbol ids: texts are looked at once per combination of ids.

use crate::model::{LabelSet, LabelSetBuilder};
use hashbrown::HashMap;
use std::fmt;

/// A series' labels as ids of the source (head or block) that it was found in: name and value, names in order.
pub(crate) type RowIds = Vec<(u32, u32)>;

/// Numbers the groups of one grouping over the sources of one cursor: dense from 0, in order of first appearance.
pub struct Grouper {
    keeps: Box<dyn Fn(&str) -> bool + Send>,
    /// By the source's number.
    sources: Vec<SourceGroups>,
    groups: HashMap<LabelSet, u32>,
    key: RowIds,
}

/// What is known of one source.
#[derive(Default)]
struct SourceGroups {
    /// Per name id: whether it counts, once known.
    kept: Vec<Option<bool>>,
    /// The group of the labels that count.
    groups: HashMap<Box<[(u32, u32)]>, u32>,
    /// Those of the row before, and their group: series of one account come together.
    last: Option<(RowIds, u32)>,
}

impl SourceGroups {
    fn remember(&mut self, key: &RowIds, group: u32) {
        let (last, of_last) = self.last.get_or_insert_default();
        last.clone_from(key);
        *of_last = group;
    }
}

impl fmt::Debug for Grouper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grouper").field("groups", &self.groups.len()).finish_non_exhaustive()
    }
}

impl Grouper {
    /// Groups by the labels whose names `keeps` accepts.
    pub fn new(keeps: impl Fn(&str) -> bool + Send + 'static) -> Self {
        Self { keeps: Box::new(keeps), sources: Vec::new(), groups: HashMap::new(), key: Vec::new() }
    }

    /// The group of a row of `source`; `name` gives the text of a name id, `labels` the row's labels.
    pub(crate) fn group<E>(
        &mut self,
        source: u32,
        row: &[(u32, u32)],
        name: impl Fn(u32) -> Result<String, E>,
        labels: impl FnOnce() -> Result<LabelSet, E>,
    ) -> Result<u32, E> {
        let Self { keeps, sources, groups, key } = self;
        if sources.len() <= source as usize {
            sources.resize_with(source as usize + 1, SourceGroups::default);
        }
        let of_source = &mut sources[source as usize];
        key.clear();
        for label in row {
            let at = label.0 as usize;
            if of_source.kept.len() <= at {
                of_source.kept.resize(at + 1, None);
            }
            let kept = match of_source.kept[at] {
                Some(kept) => kept,
                None => *of_source.kept[at].insert(keeps(&name(label.0)?)),
            };
            if kept {
                key.push(*label);
            }
        }
        if let Some((_, group)) = of_source.last.as_ref().filter(|(last, _)| last == key) {
            return Ok(*group);
        }
        if let Some(group) = of_source.groups.get(&key[..]).copied() {
            of_source.remember(key, group);
            return Ok(group);
        }
        let mut kept = LabelSetBuilder::default();
        labels()?.iter().filter(|l| keeps(l.name)).for_each(|l| kept.push(l.name, l.value));
        let kept = kept.build().expect("a part of a label set is one");
        let next = groups.len() as u32;
        let group = *groups.entry(kept).or_insert(next);
        of_source.groups.insert(key[..].into(), group);
        of_source.remember(key, group);
        Ok(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_group_whatever_their_ids() {
        let mut grouper = Grouper::new(|name| name == "zone");
        let names = ["job", "zone"];
        let mut group = |source, row: &[(u32, u32)], zone: &str| {
            let labels = || LabelSet::from_pairs([("job", "x"), ("zone", zone)]).map_err(|_| ());
            grouper.group(source, row, |n| Ok::<_, ()>(names[n as usize].into()), labels).unwrap()
        };
        assert_eq!(group(0, &[(0, 5), (1, 7)], "us"), 0);
        assert_eq!(group(0, &[(0, 6), (1, 7)], "us"), 0);
        assert_eq!(group(0, &[(0, 5), (1, 8)], "eu"), 1);
        assert_eq!(group(1, &[(0, 5), (1, 1)], "us"), 0);
        assert_eq!(group(1, &[(0, 5)], ""), 2);
    }
}

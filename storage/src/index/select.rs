//! Which series a list of matchers accepts.
//!
//! Every matcher becomes a step that either *keeps* the series of some values, or *drops* them (which is how those without
//! the label stay in): a matcher that accepts the empty value drops what it refuses, any other keeps what it accepts. Keeping
//! steps run before dropping ones, since the first kept set bounds all work after it, and cheap ones before dear ones:
//! single values, lists of values, presence of the label, values of one prefix, all values.
//!
//! The order also makes the selection right while series are being added: whatever a dropping step looks at was there
//! when the set was first read, and a series that came later is in no set.

use super::pattern::Pattern;
use super::{Bitmap, LabelIndex, Matcher, NameId, SCAN_VALUES, ValueId, Values};
use std::collections::BTreeSet;

/// A dictionary is walked unless it is this many times longer than the list of series left; then their own values are
/// looked up instead. An estimate: a look-up in a block reads a row and, for each distinct value, up to 16 entries.
const LOOKUP_COST: u64 = 16;

/// The series that all `matchers` accept.
///
/// Without matchers it is all series. Costs one postings list per value accepted; regular expressions that are no list of
/// plain strings run over the values of their label, or over those that the series left so far have, whichever is less.
pub fn select<I: LabelIndex>(index: &I, matchers: &[Matcher]) -> Result<Bitmap, I::Error> {
    let mut steps = Vec::with_capacity(matchers.len());
    for matcher in matchers.iter().filter(|m| !m.matches_everything()) {
        match (index.name_id(matcher.name())?, matcher.matches_empty()) {
            (Some(name), _) => steps.push(Step::new(name, matcher)),
            (None, true) => {}
            (None, false) => return Ok(Bitmap::new()),
        }
    }
    steps.sort_by_key(Step::rank);
    let mut left = None;
    for step in &steps {
        let next = Selection { index, step }.apply(left.take())?;
        if next.is_empty() {
            return Ok(next);
        }
        left = Some(next);
    }
    match left {
        Some(left) => Ok(left),
        None => all(index),
    }
}

fn all<I: LabelIndex>(index: &I) -> Result<Bitmap, I::Error> {
    let mut out = Bitmap::new();
    index.all(&mut out)?;
    Ok(out)
}

/// What one matcher does.
struct Step<'m> {
    name: NameId,
    matcher: &'m Matcher,
    /// Keeps the series of the values, or drops them.
    keep: bool,
    values: StepValues<'m>,
}

/// Which values a step is about.
enum StepValues<'m> {
    /// These.
    Listed(&'m [Box<str>]),
    /// All.
    Any,
    /// Those that the pattern decides for, to be found among the values with this prefix.
    Scanned { prefix: &'m str },
}

impl<'m> Step<'m> {
    fn new(name: NameId, matcher: &'m Matcher) -> Self {
        let keep = !matcher.matches_empty();
        // Keeping looks for accepted values and dropping for refused ones; a negative matcher accepts what does not match.
        let hits = keep != matcher.is_negative();
        let values = match matcher.pattern() {
            Pattern::Literals(l) if hits => StepValues::Listed(l),
            // Only the empty string stands outside `.+`, and only it (if anything) decides for or against absence.
            Pattern::NonEmpty | Pattern::Everything if hits => StepValues::Any,
            Pattern::Literals(l) if l.iter().all(|v| v.is_empty()) => StepValues::Any,
            Pattern::Everything => StepValues::Listed(&[]),
            pattern if hits => StepValues::Scanned { prefix: pattern.prefix() },
            _ => StepValues::Scanned { prefix: "" },
        };
        Self { name, matcher, keep, values }
    }

    fn rank(&self) -> (bool, u8) {
        let cost = match &self.values {
            StepValues::Listed(l) if l.len() == 1 => 0,
            StepValues::Listed(_) => 1,
            StepValues::Any => 2,
            StepValues::Scanned { prefix } if !prefix.is_empty() => 3,
            StepValues::Scanned { prefix: _ } => 4,
        };
        (!self.keep, cost)
    }

    fn wants(&self, value: &str) -> bool {
        !value.is_empty() && self.matcher.matches(value) == self.keep
    }
}

/// One step over one index.
struct Selection<'a, 'm, I> {
    index: &'a I,
    step: &'a Step<'m>,
}

impl<I: LabelIndex> Selection<'_, '_, I> {
    /// What the step leaves of `left`, where `None` stands for all series.
    fn apply(&self, left: Option<Bitmap>) -> Result<Bitmap, I::Error> {
        let left = match (left, self.step.keep) {
            (None, true) => return self.series(),
            (None, false) => all(self.index)?,
            (Some(left), _) => left,
        };
        if let StepValues::Scanned { prefix } = self.step.values {
            let range = self.index.value_range(self.step.name, prefix)?;
            if left.cardinality().saturating_mul(LOOKUP_COST) < range.len() as u64 {
                return self.filter(left);
            }
        }
        let found = self.series()?;
        Ok(if self.step.keep { left.and(&found) } else { left.andnot(&found) })
    }

    /// All series of the step's values.
    fn series(&self) -> Result<Bitmap, I::Error> {
        let mut out = Bitmap::new();
        match self.step.values {
            StepValues::Any => self.index.having(self.step.name, &mut out)?,
            StepValues::Listed(values) => {
                let mut ids = Vec::with_capacity(values.len().min(SCAN_VALUES));
                for value in values.iter().filter(|v| !v.is_empty()) {
                    ids.extend(self.index.value_id(self.step.name, value)?);
                    self.flush(&mut ids, SCAN_VALUES, &mut out)?;
                }
                self.flush(&mut ids, 1, &mut out)?;
            }
            StepValues::Scanned { prefix } => self.scan(prefix, &mut out)?,
        }
        Ok(out)
    }

    fn scan(&self, prefix: &str, out: &mut Bitmap) -> Result<(), I::Error> {
        let range = self.index.value_range(self.step.name, prefix)?;
        let mut texts = Values::default();
        let mut ids = Vec::new();
        for from in range.clone().step_by(SCAN_VALUES) {
            let slice = from..range.end.min(from.saturating_add(SCAN_VALUES as u32));
            texts.clear();
            self.index.values(self.step.name, slice.clone(), &mut texts)?;
            debug_assert_eq!(texts.len(), slice.len());
            ids.extend(
                slice.zip(texts.iter()).filter(|(_, v)| self.step.wants(v)).map(|(id, _)| ValueId(id)),
            );
            self.flush(&mut ids, 1, out)?;
        }
        Ok(())
    }

    fn flush(&self, ids: &mut Vec<ValueId>, at: usize, out: &mut Bitmap) -> Result<(), I::Error> {
        if ids.len() >= at {
            self.index.postings(self.step.name, ids, out)?;
            ids.clear();
        }
        Ok(())
    }

    /// Looks at the values that the series of `left` have, each distinct one once.
    fn filter(&self, mut left: Bitmap) -> Result<Bitmap, I::Error> {
        let series = left.to_vec();
        let mut ids = Vec::with_capacity(series.len());
        for slice in series.chunks(SCAN_VALUES) {
            self.index.values_of(self.step.name, slice, &mut ids)?;
        }
        debug_assert_eq!(ids.len(), series.len());
        let wanted = self.wanted(ids.iter().flatten().copied().collect())?;
        for (series, id) in series.iter().zip(&ids) {
            if id.is_some_and(|id| wanted.binary_search(&id).is_ok()) != self.step.keep {
                left.remove(*series);
            }
        }
        Ok(left)
    }

    /// Those of `ids` whose text the step is about.
    fn wanted(&self, ids: BTreeSet<ValueId>) -> Result<Vec<ValueId>, I::Error> {
        let mut wanted = Vec::new();
        let mut text = Values::default();
        for id in ids {
            text.clear();
            self.index.values(self.step.name, id.0..id.0.saturating_add(1), &mut text)?;
            if text.iter().next().is_some_and(|v| self.step.wants(v)) {
                wanted.push(id);
            }
        }
        Ok(wanted)
    }
}

#[cfg(test)]
pub(super) mod tests;

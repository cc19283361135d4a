//! Other forms of label sections: from their hash to the series' fingerprint.

use crate::model::{Fingerprint, ShardId};
use std::collections::HashMap;

/// Forms remembered, where the memory budget is not small. A sender that does not sort its labels has one per series; beyond this number
/// all are forgotten at once and learnt again, which costs a parse each.
const FORMS_MAX: usize = 1 << 20;
/// The part of the memory budget that they may take.
const BUDGET_PART: u64 = 8;
/// What a form takes in a table that has just grown.
const FORM_BYTES: u64 = 2 * size_of::<(Fingerprint, Alias)>() as u64;

/// The series that another form means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alias {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) shard: ShardId,
}

/// The bounded table of forms.
#[derive(Debug)]
pub(crate) struct Aliases {
    forms_max: usize,
    forms: HashMap<Fingerprint, Alias>,
    forgotten: u64,
}

impl Aliases {
    /// An empty table that takes no more than a part of the memory budget.
    pub(crate) fn within(budget: u64) -> Self {
        let forms = usize::try_from(budget / BUDGET_PART / FORM_BYTES).unwrap_or(FORMS_MAX);
        Self { forms_max: forms.clamp(1, FORMS_MAX), forms: HashMap::new(), forgotten: 0 }
    }

    /// All forms, for whoever looks whether their series are still there.
    pub(crate) fn all(&self) -> Vec<(Fingerprint, Alias)> {
        self.forms.iter().map(|(wire, alias)| (*wire, *alias)).collect()
    }

    /// Forgets forms of series that have left.
    pub(crate) fn forget(&mut self, wires: &[Fingerprint]) {
        for wire in wires {
            self.forms.remove(wire);
        }
        if self.forms.len() * 4 < self.forms.capacity() {
            self.forms.shrink_to(self.forms.len() * 2);
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.forms.len() as u64
    }

    /// Forms forgotten at the limit so far.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    pub(crate) fn get(&self, wire: Fingerprint) -> Option<Alias> {
        self.forms.get(&wire).copied()
    }

    pub(crate) fn extend(&mut self, forms: impl Iterator<Item = (Fingerprint, Alias)>) {
        for (wire, alias) in forms {
            if self.forms.len() >= self.forms_max {
                self.forgotten += self.len();
                self.forms.clear();
            }
            self.forms.insert(wire, alias);
        }
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        (self.forms.capacity() * size_of::<(Fingerprint, Alias)>()) as u64
    }
}

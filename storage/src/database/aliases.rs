//! Other forms of label sections: from their hash to the series' fingerprint.

use crate::model::{Fingerprint, ShardId};
use std::collections::HashMap;

/// Forms remembered. A sender that does not sort its labels has one per series; beyond this number all are forgotten at
/// once and learnt again, which costs a parse each.
const FORMS_MAX: usize = 1 << 20;

/// The series that another form means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alias {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) shard: ShardId,
}

/// The bounded table of forms.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    forms: HashMap<Fingerprint, Alias>,
    forgotten: u64,
}

impl Aliases {
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
            if self.forms.len() >= FORMS_MAX {
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

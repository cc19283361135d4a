//! `label_replace` and `label_join`.

use super::Evaluator;
use super::labels::with;
use super::rows::{RowLabels, Rows};
use crate::QueryError;
use crate::plan::Relabel;
use cardinal_storage::model::{LabelSet, METRIC_NAME};

impl Evaluator<'_> {
    /// Rewrites the labels of all rows. Series that become equal are one, unless they meet at a step.
    pub(crate) fn relabel(&self, relabel: &Relabel, mut rows: Rows) -> Result<Rows, QueryError> {
        for l in rows.labels_mut() {
            rewrite(relabel, l);
        }
        self.merge_equal_labels(rows)
    }
}

fn rewrite(relabel: &Relabel, row: &mut RowLabels) {
    let (target, value) = match relabel {
        Relabel::Replace { target, replacement, source, regex } => {
            match replaced(regex, row.labels.get(source).unwrap_or(""), replacement) {
                Some(value) => (target, value),
                None => return,
            }
        }
        Relabel::Join { target, separator, sources } => (target, joined(&row.labels, separator, sources)),
    };
    row.labels = with(&row.labels, [(target.as_str(), value.as_str())]);
    // A name given on purpose stays, though an operation before took the old one.
    row.drop_name &= target != METRIC_NAME;
}

/// `replacement` with `$1` and its like filled in; nothing where the whole of `value` does not match.
fn replaced(regex: &regex_automata::meta::Regex, value: &str, replacement: &str) -> Option<String> {
    let mut captures = regex.create_captures();
    regex.captures(value, &mut captures);
    captures.is_match().then(|| captures.interpolate_string(value, replacement))
}

fn joined(labels: &LabelSet, separator: &str, sources: &[String]) -> String {
    let values: Vec<_> = sources.iter().map(|s| labels.get(s).unwrap_or("")).collect();
    values.join(separator)
}

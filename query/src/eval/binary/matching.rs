//! Which rows of two vectors belong together: those with equal signatures.

use crate::QueryError;
use crate::eval::budget::{Ticker, Watch};
use crate::eval::labels::grouped;
use crate::eval::rows::Rows;
use crate::parse::ast::VectorMatching;
use crate::source::Grouping;
use cardinal_storage::model::{LabelSet, METRIC_NAME};
use std::collections::HashMap;

/// What looking up a row's signature counts as, in samples.
const ROW: usize = 64;

/// The rows of both sides that share a signature.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    pub(super) left: Vec<usize>,
    pub(super) right: Vec<usize>,
}

/// The labels that must agree.
pub(super) fn signature(matching: &VectorMatching) -> Grouping {
    let labels = matching.labels.iter().cloned();
    if matching.on { Grouping::by(labels) } else { Grouping::without(labels.chain([METRIC_NAME.to_owned()])) }
}

/// All rows of both sides by signature, in order of first appearance.
pub(super) fn pair(
    left: &Rows,
    right: &Rows,
    signature: &Grouping,
    watch: &Watch,
) -> Result<Vec<Pairing>, QueryError> {
    let mut ticker = Ticker::new(watch);
    let mut number_of: HashMap<LabelSet, usize> = HashMap::with_capacity(left.len().max(right.len()));
    let mut pairings: Vec<Pairing> = Vec::new();
    for (rows, is_left) in [(left, true), (right, false)] {
        for i in 0..rows.len() {
            ticker.tick(ROW)?;
            let key = grouped(&rows.labels(i).labels, signature);
            let number = *number_of.entry(key).or_insert(pairings.len());
            if number == pairings.len() {
                pairings.push(Pairing::default());
            }
            let pairing = &mut pairings[number];
            if is_left { pairing.left.push(i) } else { pairing.right.push(i) }
        }
    }
    Ok(pairings)
}

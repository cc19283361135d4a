//! `sort` and its like. They order instant vectors; the result of a range query is ordered by labels anyway.

use super::rows::Rows;
use super::{Evaluator, Grid};
use crate::QueryError;
use crate::parse::Span;
use crate::plan::{NodeId, SortOrder};
use cardinal_storage::model::LabelSet;
use std::cmp::Ordering;

impl Evaluator<'_> {
    /// Orders the rows of `vector`.
    pub(crate) fn sort(
        &self,
        order: &SortOrder,
        vector: NodeId,
        grid: &Grid,
        span: Span,
    ) -> Result<Rows, QueryError> {
        let mut rows = self.vector(vector, grid)?;
        if matches!(order, SortOrder::Value { .. }) {
            rows = floats_alone(rows)?;
        }
        if grid.start != grid.end {
            self.note(|n| n.sort_in_range(span));
            return Ok(rows);
        }
        let mut numbers: Vec<usize> = (0..rows.len()).collect();
        match order {
            SortOrder::Value { descending } => {
                let values: Vec<f64> =
                    (0..rows.len()).map(|i| rows.values(i).next().map_or(f64::NAN, |(_, v)| v)).collect();
                numbers.sort_by(|&a, &b| by_value(values[a], values[b], *descending));
            }
            SortOrder::Labels { names, descending } => numbers.sort_by(|&a, &b| {
                let order = by_labels(&rows.labels(a).labels, &rows.labels(b).labels, names);
                if *descending { order.reverse() } else { order }
            }),
        }
        rows.reorder(&numbers);
        Ok(rows)
    }
}

/// Histograms have no order: only floats are sorted by value, and kept.
fn floats_alone(rows: Rows) -> Result<Rows, QueryError> {
    if (0..rows.len()).all(|i| rows.histograms(i).is_empty()) {
        return Ok(rows);
    }
    rows.transform(|_, row| {
        row.take_histograms();
        Ok(())
    })
}

/// Ascending or descending; NaN last in both.
pub(crate) fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    let order = a.partial_cmp(&b).map(|o| if descending { o.reverse() } else { o });
    order.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn by_labels(a: &LabelSet, b: &LabelSet, names: &[String]) -> Ordering {
    let value = |l: &LabelSet, name: &str| l.get(name).unwrap_or("").to_owned();
    let differ = names.iter().map(|n| natural(&value(a, n), &value(b, n))).find(|o| o.is_ne());
    differ.unwrap_or_else(|| a.cmp(b))
}

/// The order in which people number things: runs of digits compare as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a.as_bytes(), b.as_bytes());
    while let (Some(p), Some(q)) = (x.first(), y.first()) {
        let order = if p.is_ascii_digit() && q.is_ascii_digit() {
            number(digits(&mut x)).cmp(&number(digits(&mut y)))
        } else {
            x = &x[1..];
            y = &y[1..];
            p.cmp(q)
        };
        if order.is_ne() {
            return order;
        }
    }
    x.len().cmp(&y.len()).then_with(|| a.cmp(b))
}

/// Takes the digits at the front.
fn digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let n = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (front, rest) = text.split_at(n);
    *text = rest;
    front
}

/// A run of digits as what orders it: without leading zeros, the longer is the greater.
fn number(digits: &[u8]) -> (usize, &[u8]) {
    let zeros = digits.iter().take_while(|&&b| b == b'0').count();
    (digits.len() - zeros, &digits[zeros..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_compare_as_numbers() {
        let check = |a: &str, b: &str, want: Ordering| assert_eq!(natural(a, b), want, "{a} {b}");
        check("a2", "a10", Ordering::Less);
        check("a10b", "a10a", Ordering::Greater);
        check("1.10.0", "1.9.9", Ordering::Greater);
        check("007", "7", Ordering::Less);
        check("", "a", Ordering::Less);
        check("x", "x", Ordering::Equal);
    }

    #[test]
    fn nan_is_last_either_way() {
        for descending in [false, true] {
            assert_eq!(by_value(f64::NAN, 1.0, descending), Ordering::Greater);
            assert_eq!(by_value(1.0, f64::NAN, descending), Ordering::Less);
        }
        assert_eq!(by_value(1.0, 2.0, true), Ordering::Greater);
    }
}

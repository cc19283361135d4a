//! `and`, `or`, `unless`.

use super::Operation;
use super::matching::{pair, signature};
use crate::QueryError;
use crate::eval::Evaluator;
use crate::eval::rows::{RowBuf, Rows};
use crate::parse::ast::BinaryOp;

impl Evaluator<'_> {
    /// Combines two sets of series step by step: rows of one side are kept where the other has, or has not, any
    /// with the same signature.
    pub(super) fn set_operator(
        &self,
        call: &Operation<'_>,
        left: Rows,
        right: Rows,
    ) -> Result<Rows, QueryError> {
        if call.op != BinaryOp::Or {
            return self.keep(call, &left, &right);
        }
        let added = self.keep(call, &right, &left)?;
        let mut all = left;
        all.append(added);
        self.merge_equal_labels(all)
    }

    fn keep(&self, call: &Operation<'_>, rows: &Rows, other: &Rows) -> Result<Rows, QueryError> {
        let wanted = call.op == BinaryOp::And;
        let mut out = Rows::new(rows.steps(), &self.budget);
        let (mut seen, mut row) = (RowBuf::new(rows.steps()), RowBuf::new(rows.steps()));
        let mut numbers = Vec::new();
        for p in pair(rows, other, &signature(call.matching), &self.watch)? {
            self.watch.check()?;
            seen.clear();
            p.right.iter().flat_map(|&j| other.occupied(j)).for_each(|step| seen.set(step, 1.0));
            for i in p.left {
                rows.load(i, &mut row);
                row.retain(|step| seen.has(step) == wanted);
                if !row.is_empty() {
                    numbers.push(i);
                    out.push(rows.labels(i).clone(), &row)?;
                }
            }
        }
        // Back into the order that the rows had.
        let mut order: Vec<usize> = (0..numbers.len()).collect();
        order.sort_unstable_by_key(|&i| numbers[i]);
        out.reorder(&order);
        Ok(out)
    }
}

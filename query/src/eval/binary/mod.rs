//! Operators between vectors, and between vectors and scalars where no pipeline does it.

mod arithmetic;
mod histograms;
mod matching;
mod set;

use super::labels::without_name;
use super::map::Map;
use super::notes::Notes;
use super::rows::Rows;
use super::{Evaluator, Grid};
use crate::QueryError;
use crate::parse::Span;
use crate::parse::ast::{BinaryOp, VectorMatching};
use crate::plan::{NodeId, Op};

/// What a chain of operators does next to the vector on its left.
enum Link {
    /// A function of each value.
    Map(NodeId),
    /// An operator with another vector on its right.
    Vector(NodeId),
}

impl Evaluator<'_> {
    /// A chain of operators that leans left: followed in a loop, since it may be long.
    pub(crate) fn chain(&self, id: NodeId, grid: &Grid) -> Result<Rows, QueryError> {
        let mut links = Vec::new();
        let mut at = id;
        loop {
            if let Some(vector) = self.map_operand(at) {
                links.push(Link::Map(at));
                at = vector;
            } else if let Op::VectorBinary { lhs, .. } = &self.plan.node(at).op {
                links.push(Link::Vector(at));
                at = *lhs;
                // What remains may be a pipeline, which is cheaper than its operators one by one. Looked for here
                // alone: below a per-value operation there is none where there was none above it.
                if self.pipeline(at, grid)?.is_some() {
                    break;
                }
            } else {
                break;
            }
        }
        let began = self.trace.begin();
        let mut rows = self.vector(at, grid)?;
        let mut links = links.into_iter().rev().peekable();
        while let Some(link) = links.next() {
            self.watch.check()?;
            let (done, of) = match link {
                Link::Map(id) => (self.map_rows(&self.map(id, grid)?, rows)?, id),
                Link::Vector(id) => (self.between(id, rows, grid)?, id),
            };
            rows = done;
            // Who asked for the last one notes it.
            if links.peek().is_some() {
                self.trace.node(self.plan.node(of).span, began, rows.len());
            }
        }
        Ok(rows)
    }

    /// Applies a function to all values of rows.
    fn map_rows(&self, map: &Map, rows: Rows) -> Result<Rows, QueryError> {
        let dropped = map.drops_name();
        let mut notes = Notes::default();
        let rows = rows.transform(|labels, row| {
            map.apply(row, &mut notes);
            if dropped {
                labels.drop_name = true;
                if !self.delayed {
                    labels.labels = without_name(&labels.labels);
                }
            }
            Ok(())
        })?;
        if !notes.is_empty() {
            self.note(|n| n.merge(notes));
        }
        if dropped && !self.delayed { self.merge_equal_labels(rows) } else { Ok(rows) }
    }

    fn between(&self, id: NodeId, left: Rows, grid: &Grid) -> Result<Rows, QueryError> {
        let node = self.plan.node(id);
        let Op::VectorBinary { op, rhs, matching, return_bool, .. } = &node.op else {
            unreachable!("only operators between vectors come here")
        };
        let right = self.vector(*rhs, grid)?;
        let call = Operation { op: *op, matching, return_bool: *return_bool, span: node.span };
        if op.is_set() { self.set_operator(&call, left, right) } else { self.arithmetic(&call, left, right) }
    }
}

/// An operator between two vectors.
pub(super) struct Operation<'a> {
    op: BinaryOp,
    matching: &'a VectorMatching,
    return_bool: bool,
    span: Span,
}

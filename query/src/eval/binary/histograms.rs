//! Operators of which at least one side is a native histogram.

use crate::SampleValue;
use crate::eval::map::{float_and_histogram, histogram_and_float};
use crate::eval::notes::Notes;
use crate::eval::remarks::{Operation, Remark, Remarks};
use crate::eval::rows::RowBuf;
use crate::native::FloatHistogram;
use crate::parse::Span;
use crate::parse::ast::BinaryOp;
use cardinal_storage::model::ResetHint;
use std::sync::Arc;

/// What a row has at a step.
pub(super) fn sample(row: &RowBuf, step: usize) -> Option<SampleValue> {
    match row.get(step) {
        Some(v) => Some(SampleValue::Float(v)),
        None => row.histogram(step).map(|h| SampleValue::Histogram(Arc::clone(h))),
    }
}

/// An operator, and where it stands in the query.
pub(super) struct HistogramOperator {
    pub(super) op: BinaryOp,
    pub(super) span: Span,
}

impl HistogramOperator {
    /// Applies it: the result, and for a comparison the left side with whether it holds. Nothing where the two sides do not
    /// go together.
    pub(super) fn apply(
        &self,
        left: SampleValue,
        right: SampleValue,
        remarks: &mut Remarks,
        notes: &mut Notes,
    ) -> Option<(Arc<FloatHistogram>, bool)> {
        use SampleValue::{Float, Histogram};
        let op = self.op;
        match (left, right) {
            (Histogram(l), Histogram(r)) => self.of_two(l, &r, remarks, notes),
            (Histogram(mut h), Float(v)) => match histogram_and_float(op, &mut h, v) {
                true => Some((h, true)),
                false => self.refuse("histogram", "float", notes),
            },
            (Float(v), Histogram(mut h)) => match float_and_histogram(op, v, &mut h) {
                true => Some((h, true)),
                false => self.refuse("float", "histogram", notes),
            },
            (Float(_), Float(_)) => None,
        }
    }

    /// Whether the two sides go together.
    pub(super) fn goes(&self, left: &SampleValue, right: &SampleValue) -> bool {
        use SampleValue::{Float, Histogram};
        let op = self.op;
        match (left, right) {
            (Float(_), Float(_)) => !op.is_trim(),
            (Float(_), Histogram(_)) => op == BinaryOp::Mul,
            (Histogram(_), Float(_)) => op.is_trim() || matches!(op, BinaryOp::Mul | BinaryOp::Div),
            (Histogram(l), Histogram(r)) => match op {
                BinaryOp::Add | BinaryOp::Sub => {
                    let hints = [l.reset_hint, r.reset_hint];
                    let collision = hints.contains(&ResetHint::Reset) && hints.contains(&ResetHint::NotReset);
                    l.is_custom() == r.is_custom() && !collision
                }
                _ => matches!(op, BinaryOp::Eq | BinaryOp::Ne),
            },
        }
    }

    fn of_two(
        &self,
        mut l: Arc<FloatHistogram>,
        r: &FloatHistogram,
        remarks: &mut Remarks,
        notes: &mut Notes,
    ) -> Option<(Arc<FloatHistogram>, bool)> {
        let operation = match self.op {
            BinaryOp::Add => Operation::Addition,
            BinaryOp::Sub => Operation::Subtraction,
            BinaryOp::Eq => {
                let same = l.same(r);
                return Some((l, same));
            }
            BinaryOp::Ne => {
                let differ = !l.same(r);
                return Some((l, differ));
            }
            _ => return self.refuse("histogram", "histogram", notes),
        };
        let h = Arc::make_mut(&mut l);
        let outcome = match operation {
            Operation::Subtraction => h.subtract(r),
            _ => h.add(r),
        };
        let Ok(outcome) = outcome else {
            notes.incompatible_buckets(self.op.symbol(), self.span);
            return None;
        };
        if outcome.collision {
            remarks.add(Remark::Collision(operation));
            return None;
        }
        if outcome.reconciled {
            remarks.add(Remark::Reconciled(operation));
        }
        if operation == Operation::Subtraction {
            h.reset_hint = ResetHint::Gauge;
        }
        h.compact();
        Some((l, true))
    }

    fn refuse<T>(&self, left: &str, right: &str, notes: &mut Notes) -> Option<T> {
        notes.incompatible_types(left, self.op.symbol(), right, self.span);
        None
    }
}

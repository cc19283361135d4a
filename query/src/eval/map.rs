//! Functions of each value of a row: the same for series that stream through a pipeline and for rows that are held.

use super::Grid;
use super::math::{self, MathFunction};
use super::notes::Notes;
use super::rows::{RowBuf, StepHistogram};
use crate::native::{FloatHistogram, Keep};
use crate::parse::Span;
use crate::parse::ast::BinaryOp;
use crate::plan::HistogramStatistic;
use std::sync::Arc;

/// A function of each value, its scalar arguments known at each step.
pub(crate) enum Map {
    Math(MathFunction),
    Clamp {
        low: Option<Vec<f64>>,
        high: Option<Vec<f64>>,
    },
    Round(Vec<f64>),
    Negate,
    EvaluationTime(Grid),
    /// A number that a histogram has; floats have none.
    Statistic(HistogramStatistic),
    Scalar {
        op: BinaryOp,
        scalar: Vec<f64>,
        scalar_left: bool,
        return_bool: bool,
        span: Span,
    },
}

impl Map {
    /// Applies it to all values and histograms of a row.
    pub(crate) fn apply(&self, row: &mut RowBuf, notes: &mut Notes) {
        if !row.has_histograms() {
            return self.apply_to_values(row, notes);
        }
        let histograms = row.take_histograms();
        self.apply_to_values(row, notes);
        self.apply_to_histograms(histograms, row, notes);
    }

    fn apply_to_values(&self, row: &mut RowBuf, notes: &mut Notes) {
        match self {
            Self::Math(f) => row.map(|_, v| f.apply(v)),
            Self::Clamp { low, high } => row.filter_map(|i, v| {
                let low = low.as_ref().map_or(f64::NEG_INFINITY, |l| l[i]);
                math::clamp(v, low, high.as_ref().map_or(f64::INFINITY, |h| h[i]))
            }),
            Self::Round(unit) => row.map(|i, v| math::round(v, unit[i])),
            Self::Negate => row.map(|_, v| -v),
            Self::EvaluationTime(grid) => row.map(|i, _| grid.at(i).0 as f64 / 1000.0),
            Self::Statistic(_) => row.clear_values(),
            Self::Scalar { op: op @ (BinaryOp::TrimLower | BinaryOp::TrimUpper), span, .. } => {
                if !row.has_no_values() {
                    notes.incompatible_types("float", op.symbol(), "float", *span);
                }
                row.clear_values();
            }
            Self::Scalar { op, scalar, scalar_left, return_bool, .. } => row.filter_map(|i, v| {
                let (a, b) = if *scalar_left { (scalar[i], v) } else { (v, scalar[i]) };
                let (result, holds) = math::binary(*op, a, b);
                match (op.is_comparison(), return_bool) {
                    (true, true) => Some(f64::from(u8::from(holds))),
                    // A filter keeps the vector's value, on whichever side it stands.
                    (true, false) => holds.then_some(v),
                    (false, _) => Some(result),
                }
            }),
        }
    }

    /// Puts what becomes of histograms into the row, which has none.
    fn apply_to_histograms(&self, histograms: Vec<StepHistogram>, row: &mut RowBuf, notes: &mut Notes) {
        for (step, mut h) in histograms {
            match self {
                // Functions of numbers know no histograms.
                Self::Math(_) | Self::Clamp { .. } | Self::Round(_) => {}
                Self::EvaluationTime(grid) => row.set(step, grid.at(step).0 as f64 / 1000.0),
                Self::Statistic(statistic) => row.set(step, statistic.of(&h)),
                Self::Negate => {
                    Arc::make_mut(&mut h).multiply(-1.0);
                    row.set_histogram(step, h);
                }
                Self::Scalar { op, scalar, scalar_left: false, span, .. } => {
                    match histogram_and_float(*op, &mut h, scalar[step]) {
                        true => row.set_histogram(step, h),
                        false => notes.incompatible_types("histogram", op.symbol(), "float", *span),
                    }
                }
                Self::Scalar { op, scalar, span, .. } => match float_and_histogram(*op, scalar[step], &mut h)
                {
                    true => row.set_histogram(step, h),
                    false => notes.incompatible_types("float", op.symbol(), "histogram", *span),
                },
            }
        }
    }

    /// Whether the metric name goes with it.
    pub(crate) fn drops_name(&self) -> bool {
        match self {
            Self::Scalar { op, return_bool, .. } => !op.keeps_name() || *return_bool,
            _ => true,
        }
    }
}

/// Applies an operator to a histogram and a number on its right; whether there is such a one.
pub(crate) fn histogram_and_float(op: BinaryOp, h: &mut Arc<FloatHistogram>, v: f64) -> bool {
    match op {
        BinaryOp::TrimUpper => Arc::make_mut(h).trim(v, Keep::Below),
        BinaryOp::TrimLower => Arc::make_mut(h).trim(v, Keep::Above),
        BinaryOp::Mul | BinaryOp::Div => {
            let h = Arc::make_mut(h);
            if op == BinaryOp::Mul {
                h.multiply(v)
            } else {
                h.divide(v)
            }
            h.compact();
        }
        _ => return false,
    }
    true
}

/// Applies an operator to a histogram and a number on its left; whether there is such a one.
pub(crate) fn float_and_histogram(op: BinaryOp, v: f64, h: &mut Arc<FloatHistogram>) -> bool {
    op == BinaryOp::Mul && histogram_and_float(op, h, v)
}

impl HistogramStatistic {
    /// Takes the number.
    fn of(self, h: &FloatHistogram) -> f64 {
        match self {
            Self::Count => h.count,
            Self::Sum => h.sum,
            Self::Average => h.sum / h.count,
            Self::Variance => h.variance(),
            Self::Deviation => h.variance().sqrt(),
        }
    }
}

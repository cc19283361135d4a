//! Parameters of range functions that are out of range: remarked on, or refused, where a window holds samples, and only
//! there: over nothing any parameter will do.

use super::Evaluator;
use super::range::{RangeFunction, Span as Window};
use crate::QueryError;
use crate::parse::Span;

/// The steps with a parameter that is out of range, until it was met.
#[derive(Clone, Debug)]
pub(crate) struct Misuse {
    steps: Vec<usize>,
    /// What the message points at.
    span: Span,
}

impl Misuse {
    /// What is wrong with the parameters of `function`, each known at each step.
    pub(crate) fn of(function: RangeFunction, params: &[Vec<f64>], span: Span) -> Self {
        let wrong = |v: &f64| match function {
            RangeFunction::Quantile => !(0.0..=1.0).contains(v),
            RangeFunction::Smoothing => *v <= 0.0 || *v >= 1.0,
            _ => false,
        };
        let steps = params.first().map_or(0, Vec::len);
        let steps = (0..steps).filter(|&i| params.iter().any(|p| wrong(&p[i]))).collect();
        Self { steps, span }
    }

    /// Looks at the windows over the histograms of a series. What is refused is refused though they give nothing; a remark
    /// is on floats alone.
    pub(crate) fn check_histograms(
        &mut self,
        eval: &Evaluator<'_>,
        function: RangeFunction,
        params: &[Vec<f64>],
        windows: &[Window],
    ) -> Result<(), QueryError> {
        match function {
            RangeFunction::Smoothing => self.check(eval, function, params, windows),
            _ => Ok(()),
        }
    }

    /// Looks at the windows of a series.
    pub(crate) fn check(
        &mut self,
        eval: &Evaluator<'_>,
        function: RangeFunction,
        params: &[Vec<f64>],
        windows: &[Window],
    ) -> Result<(), QueryError> {
        let span = self.span;
        let mut met = Ok(());
        self.steps.retain(|&step| {
            if met.is_err() || windows[step].is_empty() {
                return true;
            }
            match function {
                RangeFunction::Smoothing => met = Err(refused(eval, params, step, span)),
                _ => eval.note(|n| n.invalid_quantile(params[0][step], span)),
            }
            false
        });
        met
    }
}

fn refused(eval: &Evaluator<'_>, params: &[Vec<f64>], step: usize, span: Span) -> QueryError {
    let (smoothing, trend) = (params[0][step], params[1][step]);
    let (factor, short, v) = match smoothing <= 0.0 || smoothing >= 1.0 {
        true => ("smoothing", "sf", smoothing),
        false => ("trend", "tf", trend),
    };
    eval.error(span, format!("invalid {factor} factor. Expected: 0 < {short} < 1, got: {v:.6}"))
}

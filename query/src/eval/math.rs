//! Functions of one number.

use super::dates::DatePart;
use crate::parse::ast::BinaryOp;

/// A function from a value to a value, the same at every step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MathFunction {
    /// A function of the number alone.
    Plain(fn(f64) -> f64),
    /// A part of the date that the number is, in seconds.
    Date(DatePart),
}

impl MathFunction {
    /// Applies it.
    #[inline]
    pub(crate) fn apply(self, v: f64) -> f64 {
        match self {
            Self::Plain(f) => f(v),
            Self::Date(part) => part.of(v),
        }
    }
}

/// The sign of `v`; zeros and NaN stay as they are.
pub(crate) fn sgn(v: f64) -> f64 {
    if v < 0.0 {
        -1.0
    } else if v > 0.0 {
        1.0
    } else {
        v
    }
}

/// Degrees to radians.
pub(crate) fn rad(v: f64) -> f64 {
    v * std::f64::consts::PI / 180.0
}

/// Radians to degrees.
pub(crate) fn deg(v: f64) -> f64 {
    v * 180.0 / std::f64::consts::PI
}

/// Rounded to the nearest multiple of `unit`, halves up.
pub(crate) fn round(v: f64, unit: f64) -> f64 {
    let inverse = 1.0 / unit;
    (v * inverse + 0.5).floor() / inverse
}

/// The greater number; NaN if either is, unless the other is `+Inf`. Unlike [`f64::max`], which prefers numbers.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { b } else { a }
    } else if a > b {
        a
    } else {
        b
    }
}

/// The smaller number; the mirror image of [`max`].
pub(crate) fn min(a: f64, b: f64) -> f64 {
    -max(-a, -b)
}

/// `v` between `low` and `high`; nothing where they are the wrong way round.
pub(crate) fn clamp(v: f64, low: f64, high: f64) -> Option<f64> {
    (high >= low || high.is_nan() || low.is_nan()).then(|| max(low, min(high, v)))
}

/// An operator on two numbers: the result, and for a comparison the left one with whether it holds.
#[inline]
pub(crate) fn binary(op: BinaryOp, a: f64, b: f64) -> (f64, bool) {
    match op {
        BinaryOp::Add => (a + b, true),
        BinaryOp::Sub => (a - b, true),
        BinaryOp::Mul => (a * b, true),
        BinaryOp::Div => (a / b, true),
        BinaryOp::Mod => (a % b, true),
        BinaryOp::Pow => (a.powf(b), true),
        BinaryOp::Atan2 => (a.atan2(b), true),
        BinaryOp::Eq => (a, a == b),
        BinaryOp::Ne => (a, a != b),
        BinaryOp::Lt => (a, a < b),
        BinaryOp::Le => (a, a <= b),
        BinaryOp::Gt => (a, a > b),
        BinaryOp::Ge => (a, a >= b),
        // Trimming is for histograms, set operators are for vectors: numbers give nothing.
        BinaryOp::TrimUpper | BinaryOp::TrimLower | BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => {
            (a, false)
        }
    }
}

/// An operator on two scalars; comparisons give 1 or 0.
pub(crate) fn scalar_binary(op: BinaryOp, a: f64, b: f64) -> f64 {
    let (v, holds) = binary(op, a, b);
    if op.is_comparison() { f64::from(u8::from(holds)) } else { v }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_hold_on_to_nan() {
        assert!(max(1.0, f64::NAN).is_nan() && min(f64::NAN, 1.0).is_nan());
        assert_eq!(max(f64::NAN, f64::INFINITY), f64::INFINITY);
        assert_eq!(min(f64::NAN, f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert!(max(-0.0, 0.0).is_sign_positive() && min(0.0, -0.0).is_sign_negative());
        assert_eq!(clamp(5.0, 1.0, 3.0), Some(3.0));
        assert_eq!(clamp(5.0, 3.0, 1.0), None);
        assert!(clamp(5.0, f64::NAN, 3.0).is_some_and(f64::is_nan));
    }

    #[test]
    fn rounding_goes_up_at_halves() {
        let check = |v: f64, unit: f64, want: f64| assert_eq!(round(v, unit), want, "{v} to {unit}");
        check(2.5, 1.0, 3.0);
        check(-2.5, 1.0, -2.0);
        check(14.0, 5.0, 15.0);
        check(0.0025, 0.001, 0.003);
    }

    #[test]
    fn operators() {
        let check =
            |op, a: f64, b: f64, want: f64| assert_eq!(scalar_binary(op, a, b), want, "{a} {op:?} {b}");
        check(BinaryOp::Mod, -7.0, 3.0, -1.0);
        check(BinaryOp::Pow, 2.0, 10.0, 1024.0);
        check(BinaryOp::Le, 2.0, 2.0, 1.0);
        check(BinaryOp::Ne, f64::NAN, f64::NAN, 1.0);
        check(BinaryOp::Atan2, 0.0, -1.0, std::f64::consts::PI);
    }
}

//! Lengths of time in a query, computed from the step and range of the query where they are expressions.

use std::fmt;

use cardinal_storage::model::DurationMs;

use super::error::ParseError;
use super::span::Span;

/// The longest length of time: what fits into nanoseconds in 64 bits, some 292 years.
const SECONDS_MAX: f64 = i64::MAX as f64 / 1e9;

/// The length of a window, step or offset.
#[derive(Clone, Debug, PartialEq)]
pub enum Length {
    /// Written as a number or duration.
    Fixed {
        /// The length, cut to whole milliseconds.
        length: DurationMs,
        /// Where it stands.
        span: Span,
    },
    /// Computed when the query's step and range are known.
    Computed(Box<DurationExpr>),
}

/// What a duration expression may refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryTimes {
    /// The distance of the evaluations (`step()`); zero in an instant query.
    pub step: DurationMs,
    /// The time from the first to the last evaluation (`range()`); zero in an instant query.
    pub range: DurationMs,
}

/// What a length is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthUse {
    /// A window or a step: greater than zero.
    Positive,
    /// An offset: any sign.
    Offset,
}

impl Length {
    /// The length in a query with these times. Fails with its place where it is not positive but must be, out of
    /// range, or no number.
    pub fn resolve(&self, times: QueryTimes, what: LengthUse) -> Result<DurationMs, ParseError> {
        match self {
            Self::Fixed { length, .. } => Ok(*length),
            Self::Computed(expr) => expr.length(times, what),
        }
    }

    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            Self::Fixed { span, .. } => *span,
            Self::Computed(expr) => expr.span(),
        }
    }
}

/// An operator of a duration expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
}

impl DurationOp {
    /// The operator as it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
        }
    }
}

/// A function of a duration expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationFunction {
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `min_of(a, b)`
    MinOf,
    /// `max_of(a, b)`
    MaxOf,
}

impl DurationFunction {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Range => "range",
            Self::MinOf => "min_of",
            Self::MaxOf => "max_of",
        }
    }
}

/// Arithmetic on lengths of time, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationExpr {
    /// A number of seconds or a duration.
    Number {
        /// The seconds.
        seconds: f64,
        /// Whether it was written as a duration.
        duration: bool,
        /// Where it stands.
        span: Span,
    },
    /// A function with its two arguments, or none.
    Call {
        /// The function.
        function: DurationFunction,
        /// The arguments.
        args: Option<Box<(DurationExpr, DurationExpr)>>,
        /// Where it stands.
        span: Span,
    },
    /// `-expression`.
    Negated {
        /// What is negated.
        expr: Box<DurationExpr>,
        /// Where it stands.
        span: Span,
    },
    /// `(expression)`.
    Paren {
        /// What is inside.
        expr: Box<DurationExpr>,
        /// Where it stands.
        span: Span,
    },
    /// `left + right`.
    Binary {
        /// The operator.
        op: DurationOp,
        /// Both sides.
        sides: Box<(DurationExpr, DurationExpr)>,
        /// Where it stands.
        span: Span,
    },
}

impl DurationExpr {
    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            Self::Number { span, .. }
            | Self::Call { span, .. }
            | Self::Negated { span, .. }
            | Self::Paren { span, .. }
            | Self::Binary { span, .. } => *span,
        }
    }

    /// The length, checked for its use.
    fn length(&self, times: QueryTimes, what: LengthUse) -> Result<DurationMs, ParseError> {
        let seconds = self.seconds(times)?;
        if !seconds.is_finite() {
            return Err(ParseError::new(
                self.span(),
                "duration is NaN or infinite",
                "write one that is finite",
            ));
        }
        if seconds <= 0.0 && what == LengthUse::Positive {
            return Err(ParseError::not_positive(self.span()));
        }
        if out_of_range(seconds) {
            return Err(ParseError::out_of_range(self.span()));
        }
        // Cut towards zero like every length of the reference, after the floating-point sum.
        Ok(DurationMs((seconds * 1000.0) as i64))
    }

    /// The value in seconds; recursion is bounded by the parser's depth limit.
    fn seconds(&self, times: QueryTimes) -> Result<f64, ParseError> {
        let args = |pair: &(Self, Self)| Ok((pair.0.seconds(times)?, pair.1.seconds(times)?));
        Ok(match self {
            Self::Number { seconds, .. } => *seconds,
            Self::Negated { expr, .. } => -expr.seconds(times)?,
            Self::Paren { expr, .. } => expr.seconds(times)?,
            Self::Call { function, args: given, .. } => {
                let (a, b) = given.as_deref().map_or(Ok((0.0, 0.0)), args)?;
                match function {
                    DurationFunction::Step => times.step.0 as f64 / 1000.0,
                    DurationFunction::Range => times.range.0 as f64 / 1000.0,
                    DurationFunction::MinOf => a.min(b),
                    DurationFunction::MaxOf => a.max(b),
                }
            }
            Self::Binary { op, sides, span } => {
                let (a, b) = args(sides)?;
                match op {
                    DurationOp::Div if b == 0.0 => return Err(ParseError::by_zero(*span, "division")),
                    DurationOp::Mod if b == 0.0 => return Err(ParseError::by_zero(*span, "modulo")),
                    DurationOp::Add => a + b,
                    DurationOp::Sub => a - b,
                    DurationOp::Mul => a * b,
                    DurationOp::Div => a / b,
                    DurationOp::Mod => a % b,
                    DurationOp::Pow => a.powf(b),
                }
            }
        })
    }
}

/// Whether so many seconds are more than a length of time may have.
pub(super) fn out_of_range(seconds: f64) -> bool {
    seconds.abs() > SECONDS_MAX
}

/// A length as the milliseconds that it is rounded to; `seconds` is in range.
pub(super) fn fixed_ms(seconds: f64) -> DurationMs {
    // Nanoseconds are rounded and milliseconds cut, as the reference does: 4.0185 is 4018 ms.
    DurationMs((seconds * 1e9).round() as i64 / 1_000_000)
}

/// A length written as a duration: `1h30m`, `-5m`, `0s`.
pub(super) struct Spelled(pub(super) DurationMs);

impl fmt::Display for Spelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 5] =
            [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
        let mut rest = self.0.0.unsigned_abs();
        if self.0.0 < 0 {
            f.write_str("-")?;
        }
        if rest == 0 {
            return f.write_str("0s");
        }
        for (ms, unit) in UNITS {
            if rest >= ms {
                write!(f, "{}{unit}", rest / ms)?;
                rest %= ms;
            }
        }
        Ok(())
    }
}

//! Function calls: which operation each becomes.

use super::lower::{Lowered, Lowering, Reader};
use super::{HistogramOp, HistogramStatistic, MapOp, NodeId, Op, Relabel, Selector, SortOrder, Windows};
use crate::error::QueryError;
use crate::eval::dates::DatePart;
use crate::eval::math::{self, MathFunction};
use crate::eval::range::RangeFunction;
use crate::parse::ast::{Call, Edges, Expr, MatchOp, Matcher};
use crate::parse::{FunctionId, Span, ValueType};
use cardinal_storage::model::{LabelSet, METRIC_NAME, excerpt};
use regex_automata::meta;
use regex_automata::util::syntax;

/// The size that a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 10 << 20;

/// The arguments of a call: numbers and vectors as nodes, marked as invariant where the call is not; strings and
/// range vectors stay with the syntax tree.
struct Args<'a> {
    exprs: Vec<&'a Expr>,
    nodes: Vec<Option<NodeId>>,
    invariant: bool,
}

impl Args<'_> {
    fn node(&self, i: usize) -> NodeId {
        self.nodes[i].expect("the parser checked number and types of the arguments")
    }

    fn text(&self, i: usize) -> &str {
        match self.exprs[i] {
            Expr::String(s) => &s.value,
            _ => "",
        }
    }

    fn span(&self, i: usize) -> Span {
        self.exprs[i].span()
    }

    fn len(&self) -> usize {
        self.exprs.len()
    }
}

impl Lowering<'_> {
    /// Lowers a call.
    pub(super) fn call(&mut self, c: &Call) -> Result<Lowered, QueryError> {
        self.read_by(reader(c.function.id, self.reader), |l| l.call_read(c))
    }

    fn call_read(&mut self, c: &Call) -> Result<Lowered, QueryError> {
        if let Some(v) = self.query_constant(c.function.id) {
            return Ok(self.constant(v, c.span));
        }
        if let Some(function) = range_function(c.function.id) {
            return self.range_call(c, function);
        }
        let id = c.function.id;
        if let (FunctionId::Timestamp, Some(Expr::Vector(v))) = (id, c.args.first().map(Expr::without_parens))
        {
            // A time is that of a sample: nothing is interpolated.
            let selector = Selector { edges: None, ..self.selector(v)? };
            let fixed = selector.at.is_some();
            return Ok(self.push(Op::Timestamp(selector), c.span, fixed, fixed));
        }
        if id == FunctionId::Info {
            return self.info(c);
        }
        let args = self.args(c)?;
        let op = self.operation(c, &args)?;
        Ok(self.push(op, c.span, args.invariant, args.invariant))
    }

    fn operation(&mut self, c: &Call, args: &Args<'_>) -> Result<Op, QueryError> {
        use FunctionId as F;
        let op = match c.function.id {
            F::Time => Op::Time,
            F::Pi => Op::Number(std::f64::consts::PI),
            F::Scalar => Op::ScalarOf(args.node(0)),
            F::Vector => Op::VectorOf(args.node(0)),
            F::MaxOf => Op::Extreme { greatest: true, a: args.node(0), b: args.node(1) },
            F::MinOf => Op::Extreme { greatest: false, a: args.node(0), b: args.node(1) },
            F::Absent => Op::Absent { vector: args.node(0), labels: absent_labels(args.exprs[0]) },
            F::Timestamp => Op::Map { map: MapOp::EvaluationTime, vector: args.node(0) },
            F::LabelReplace | F::LabelJoin => {
                Op::Relabel { relabel: self.relabel(c, args)?, vector: args.node(0) }
            }
            F::Sort | F::SortDesc => {
                let order = SortOrder::Value { descending: c.function.id == F::SortDesc };
                Op::Sort { order, vector: args.node(0) }
            }
            F::SortByLabel | F::SortByLabelDesc => {
                let names = (1..args.len()).map(|i| args.text(i).to_owned()).collect();
                let order = SortOrder::Labels { names, descending: c.function.id == F::SortByLabelDesc };
                Op::Sort { order, vector: args.node(0) }
            }
            F::HistogramQuantile | F::HistogramQuantiles | F::HistogramFraction => histogram(c, args),
            F::StartTimestamp => Op::Nothing(args.node(0)),
            F::Clamp => clamp(args, Some(1), Some(2)),
            F::ClampMax => clamp(args, None, Some(1)),
            F::ClampMin => clamp(args, Some(1), None),
            F::Round => {
                let unit = if args.len() > 1 { args.node(1) } else { self.constant(1.0, c.span).id };
                Op::Map { map: MapOp::Round(unit), vector: args.node(0) }
            }
            id => {
                if let Some(statistic) = statistic(id) {
                    return Ok(Op::Map { map: MapOp::Statistic(statistic), vector: args.node(0) });
                }
                let Some(f) = math_function(id) else { unreachable!("{id:?} has no operation") };
                let vector = if args.len() > 0 { args.node(0) } else { self.now(c.span) };
                Op::Map { map: MapOp::Math(f), vector }
            }
        };
        Ok(op)
    }

    /// The evaluation time as a vector: what date functions without an argument look at.
    fn now(&mut self, span: Span) -> NodeId {
        let time = self.push(Op::Time, span, false, false).id;
        self.push(Op::VectorOf(time), span, false, false).id
    }

    /// `start()`, `end()`, `range()` and `step()`, in seconds.
    fn query_constant(&self, id: FunctionId) -> Option<f64> {
        let s = &self.span;
        let ms = match id {
            FunctionId::Start => s.start.0,
            FunctionId::End => s.end.0,
            FunctionId::Range => s.end.since(s.start).0,
            FunctionId::Step => {
                if s.start == s.end {
                    0
                } else {
                    s.step.0
                }
            }
            _ => return None,
        };
        Some(ms as f64 / 1000.0)
    }

    fn args<'a>(&mut self, c: &'a Call) -> Result<Args<'a>, QueryError> {
        let exprs: Vec<_> = c.args.iter().map(Expr::without_parens).collect();
        let mut lowered = Vec::with_capacity(exprs.len());
        for e in &exprs {
            let number_or_vector = matches!(e.value_type(), ValueType::Scalar | ValueType::Vector);
            lowered.push(if number_or_vector { Some(self.expr(e)?) } else { None });
        }
        let same = lowered.iter().flatten().all(|a| a.invariant);
        let invariant = same && !depends_on_time(c.function.id);
        let nodes =
            lowered.into_iter().map(|a| Some(if invariant { a?.id } else { self.wrapped(a?) })).collect();
        Ok(Args { exprs, nodes, invariant })
    }

    fn range_call(&mut self, c: &Call, function: RangeFunction) -> Result<Lowered, QueryError> {
        let at = c.args.iter().position(|a| a.value_type() == ValueType::Matrix).unwrap_or(0);
        let (windows, fixed) = self.windows(&c.args[at])?;
        self.check_edges(c, &windows)?;
        let mut params = Vec::new();
        for (_, p) in c.args.iter().enumerate().filter(|(i, _)| *i != at) {
            params.push(self.expr(p)?);
        }
        let invariant = fixed && params.iter().all(|p| p.invariant) && !depends_on_time(c.function.id);
        let params = params.into_iter().map(|p| if invariant { p.id } else { self.wrapped(p) }).collect();
        let argument = c.args[at].without_parens();
        let op = if c.function.id == FunctionId::AbsentOverTime {
            Op::AbsentOverTime { windows, labels: absent_labels(argument) }
        } else {
            // A warning about a quantile points at the quantile, one about the series at these. What is in a subquery has no
            // place of its own to the reference.
            let argument = match argument {
                _ if function == RangeFunction::Quantile => c.args[0].without_parens().span(),
                Expr::Subquery(_) if function != RangeFunction::Smoothing => Span::default(),
                series => series.span(),
            };
            Op::Range { function, windows, params, argument }
        };
        Ok(self.push(op, c.span, invariant, invariant))
    }

    /// Fails where the function has no meaning for values at the edges of windows.
    fn check_edges(&self, c: &Call, windows: &Windows) -> Result<(), QueryError> {
        let Windows::Series { selector: Selector { edges: Some(edges), .. }, .. } = windows else {
            return Ok(());
        };
        let (modifier, functions): (&str, &[&str]) = match edges {
            Edges::Anchored => ("anchored", &["changes", "delta", "increase", "rate", "resets"]),
            Edges::Smoothed => ("smoothed", &["delta", "increase", "rate"]),
        };
        let name = c.function.name;
        if functions.contains(&name) {
            return Ok(());
        }
        let functions = functions.join(", ");
        let message = format!("{modifier} modifier can only be used with: {functions} - not with {name}");
        Err(self.error(c.span, message))
    }

    fn relabel(&self, c: &Call, args: &Args<'_>) -> Result<Relabel, QueryError> {
        let name = |i: usize, what: &str| {
            let name = args.text(i);
            if name.is_empty() {
                let message = format!("invalid {what} label name in {}(): {name}", c.function.name);
                return Err(self.error(args.span(i), message));
            }
            Ok(name.to_owned())
        };
        if c.function.id == FunctionId::LabelJoin {
            let sources = (3..args.len()).map(|i| name(i, "source")).collect::<Result<_, _>>()?;
            return Ok(Relabel::Join {
                target: name(1, "destination")?,
                separator: args.text(2).to_owned(),
                sources,
            });
        }
        let pattern = args.text(4);
        let regex = meta::Regex::builder()
            .configure(meta::Config::new().nfa_size_limit(Some(REGEX_BYTES_MAX)))
            .syntax(syntax::Config::new().dot_matches_new_line(true))
            .build(&format!("^(?:{pattern})$"))
            .map_err(|_| {
                let message = format!("invalid regular expression in label_replace(): {}", excerpt(pattern));
                self.error(args.span(4), message)
            })?;
        let target = name(1, "destination")?;
        let (replacement, source) = (args.text(2).to_owned(), args.text(3).to_owned());
        Ok(Relabel::Replace { target, replacement, source, regex })
    }
}

/// What of native histograms a function looks at, of which only what `around` looks at is wanted.
fn reader(id: FunctionId, around: Reader) -> Reader {
    use FunctionId as F;
    let buckets = match id {
        F::HistogramQuantile | F::HistogramQuantiles | F::HistogramFraction => true,
        F::HistogramStddev | F::HistogramStdvar => around.counts,
        _ => false,
    };
    Reader { counts: matches!(id, F::HistogramCount | F::HistogramSum | F::HistogramAvg), buckets }
}

fn statistic(id: FunctionId) -> Option<HistogramStatistic> {
    use FunctionId as F;
    Some(match id {
        F::HistogramCount => HistogramStatistic::Count,
        F::HistogramSum => HistogramStatistic::Sum,
        F::HistogramAvg => HistogramStatistic::Average,
        F::HistogramStdvar => HistogramStatistic::Variance,
        F::HistogramStddev => HistogramStatistic::Deviation,
        _ => return None,
    })
}

fn histogram(c: &Call, args: &Args<'_>) -> Op {
    let scalar = |i: usize| (args.node(i), args.span(i));
    let (function, vector) = match c.function.id {
        FunctionId::HistogramQuantile => (HistogramOp::Quantile(args.node(0), args.span(0)), 1),
        FunctionId::HistogramFraction => {
            (HistogramOp::Fraction { lower: args.node(0), upper: args.node(1) }, 2)
        }
        _ => {
            let quantiles = (2..args.len()).map(scalar).collect();
            (HistogramOp::Quantiles { label: args.text(1).to_owned(), quantiles }, 0)
        }
    };
    Op::Histogram { function, vector: args.node(vector), vector_span: args.span(vector) }
}

fn clamp(args: &Args<'_>, low: Option<usize>, high: Option<usize>) -> Op {
    let map = MapOp::Clamp { low: low.map(|i| args.node(i)), high: high.map(|i| args.node(i)) };
    Op::Map { map, vector: args.node(0) }
}

/// The labels of what is absent: those that equality matchers name, unless anything else is said of them.
fn absent_labels(expr: &Expr) -> LabelSet {
    let matchers: &[Matcher] = match expr {
        Expr::Vector(v) => &v.matchers,
        Expr::Matrix(m) => &m.selector.matchers,
        _ => &[],
    };
    let mut builder = LabelSet::empty().to_builder();
    let mut named: Vec<&str> = Vec::new();
    for m in matchers.iter().filter(|m| m.name != METRIC_NAME && !m.name.is_empty()) {
        if m.op == MatchOp::Equal && !named.contains(&m.name.as_str()) {
            builder.set(&m.name, &m.value);
            named.push(&m.name);
        } else {
            builder.remove(&m.name);
        }
    }
    crate::eval::labels::finish(builder)
}

/// Whether the function looks at the evaluation time itself.
fn depends_on_time(id: FunctionId) -> bool {
    use FunctionId as F;
    matches!(id, F::Time | F::Timestamp | F::PredictLinear)
        || matches!(math_function(id), Some(MathFunction::Date(_)))
}

fn math_function(id: FunctionId) -> Option<MathFunction> {
    use FunctionId as F;
    let date = |part| Some(MathFunction::Date(part));
    let plain: fn(f64) -> f64 = match id {
        F::Minute => return date(DatePart::Minute),
        F::Hour => return date(DatePart::Hour),
        F::DayOfWeek => return date(DatePart::DayOfWeek),
        F::DayOfMonth => return date(DatePart::DayOfMonth),
        F::DayOfYear => return date(DatePart::DayOfYear),
        F::DaysInMonth => return date(DatePart::DaysInMonth),
        F::Month => return date(DatePart::Month),
        F::Year => return date(DatePart::Year),
        F::Abs => f64::abs,
        F::Ceil => f64::ceil,
        F::Floor => f64::floor,
        F::Exp => f64::exp,
        F::Sqrt => f64::sqrt,
        F::Ln => f64::ln,
        F::Log2 => f64::log2,
        F::Log10 => f64::log10,
        F::Sin => f64::sin,
        F::Cos => f64::cos,
        F::Tan => f64::tan,
        F::Asin => f64::asin,
        F::Acos => f64::acos,
        F::Atan => f64::atan,
        F::Sinh => f64::sinh,
        F::Cosh => f64::cosh,
        F::Tanh => f64::tanh,
        F::Asinh => f64::asinh,
        F::Acosh => f64::acosh,
        F::Atanh => f64::atanh,
        F::Rad => math::rad,
        F::Deg => math::deg,
        F::Sgn => math::sgn,
        _ => return None,
    };
    Some(MathFunction::Plain(plain))
}

fn range_function(id: FunctionId) -> Option<RangeFunction> {
    use FunctionId as F;
    use RangeFunction as R;
    Some(match id {
        F::Rate => R::Rate,
        F::Increase => R::Increase,
        F::Delta => R::Delta,
        F::Irate => R::Irate,
        F::Idelta => R::Idelta,
        F::Changes => R::Changes,
        F::Resets => R::Resets,
        F::Deriv => R::Deriv,
        F::PredictLinear => R::PredictLinear,
        F::DoubleExponentialSmoothing => R::Smoothing,
        F::SumOverTime => R::Sum,
        F::AvgOverTime => R::Avg,
        F::CountOverTime => R::Count,
        F::MinOverTime => R::Min,
        F::MaxOverTime => R::Max,
        F::StddevOverTime => R::Stddev,
        F::StdvarOverTime => R::Stdvar,
        F::QuantileOverTime => R::Quantile,
        F::MadOverTime => R::Mad,
        F::FirstOverTime => R::First,
        F::LastOverTime => R::Last,
        F::PresentOverTime | F::AbsentOverTime => R::Present,
        F::TsOfFirstOverTime => R::TsOfFirst,
        F::TsOfLastOverTime => R::TsOfLast,
        F::TsOfMinOverTime => R::TsOfMin,
        F::TsOfMaxOverTime => R::TsOfMax,
        _ => return None,
    })
}

//! The syntax tree of a PromQL expression; every node knows the bytes of the query that it came from.
//!
//! The parser nests nodes at most [`ParseLimits::depth_max`](super::ParseLimits) deep, with one exception: a chain of
//! left-associative operators (`a + b + c + …`) is as deep on its left side as it has operators. Code that walks
//! a tree therefore recurses everywhere but into [`Binary::lhs`], which it follows in a loop ([`Binary::chain`]).

use std::mem;

use cardinal_storage::index;
use cardinal_storage::model::TimestampMs;

use super::duration::Length;
use super::functions::Function;
use super::span::{Span, ValueType};

/// An expression.
#[derive(Clone, Debug)]
pub enum Expr {
    /// `1.5`, or a duration used as a number of seconds (`5m`).
    Number(NumberLiteral),
    /// `"text"`.
    String(StringLiteral),
    /// `name{label="value"}`.
    Vector(VectorSelector),
    /// `name{label="value"}[5m]`.
    Matrix(MatrixSelector),
    /// `expression[1h:5m]`.
    Subquery(Subquery),
    /// `function(arguments)`.
    Call(Call),
    /// `sum by (label) (expression)`.
    Aggregate(Aggregate),
    /// `left + right`.
    Binary(Binary),
    /// `-expression`.
    Unary(Unary),
    /// `(expression)`.
    Paren(Paren),
}

/// A number in the text of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberLiteral {
    /// The value; a duration counts in seconds.
    pub value: f64,
    /// Whether it was written as a duration.
    pub duration: bool,
    /// Where it stands, its sign included.
    pub span: Span,
}

/// A string in the text of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct StringLiteral {
    /// The text between the quotes, escapes resolved; bytes that are no UTF-8 (`"\xff"`) are U+FFFD.
    pub value: String,
    /// Whether there are such bytes. Only a query that is nothing but a string has them: labels and what is done
    /// with them are UTF-8, so that functions refuse them.
    pub lossy: bool,
    /// Where it stands, quotes included.
    pub span: Span,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// One condition on a label. Regular expressions were compiled once while parsing: they are valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Matcher {
    /// The label's name.
    pub name: String,
    /// The comparison.
    pub op: MatchOp,
    /// The value or regular expression.
    pub value: String,
    /// Where it stands; for a metric name, that of the name.
    pub span: Span,
}

impl From<MatchOp> for index::MatchOp {
    fn from(op: MatchOp) -> Self {
        match op {
            MatchOp::Equal => Self::Equal,
            MatchOp::NotEqual => Self::NotEqual,
            MatchOp::Regex => Self::Regex,
            MatchOp::NotRegex => Self::NotRegex,
        }
    }
}

impl Matcher {
    /// As the storage matches it; an error where it refuses the expression.
    pub fn compile(&self) -> Result<index::Matcher, index::MatcherError> {
        index::Matcher::new(&self.name, self.op.into(), &self.value)
    }
}

/// A fixed evaluation time, set with `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// `@ 1609746000`
    Time(TimestampMs),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// How the values at the edges of a window are found, beyond the samples inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edges {
    /// `anchored`: the last sample at or before the window's begin stands for the value there.
    Anchored,
    /// `smoothed`: values at both edges are interpolated between the samples around them.
    Smoothed,
}

/// A set of series: an instant vector, or part of a [`MatrixSelector`].
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The metric name, where it was written before the braces.
    pub name: Option<String>,
    /// All conditions, the one of `name` on `__name__` included (last).
    pub matchers: Vec<Matcher>,
    /// How far the evaluation looks back in time.
    pub offset: Option<Length>,
    /// The evaluation time, where it is fixed.
    pub at: Option<At>,
    /// `anchored` or `smoothed`.
    pub edges: Option<Edges>,
    /// Where it stands, modifiers included where it is no part of a matrix selector.
    pub span: Span,
}

/// A window of samples of a set of series. Offset, `@` and edges are those of the selector inside.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// The series.
    pub selector: VectorSelector,
    /// The window's length.
    pub range: Length,
    /// Where it stands, modifiers included.
    pub span: Span,
}

/// An expression evaluated at many times before the evaluation time.
#[derive(Clone, Debug)]
pub struct Subquery {
    /// What is evaluated: an instant vector.
    pub expr: Box<Expr>,
    /// The window's length.
    pub range: Length,
    /// The distance of the evaluations; none: the server's default.
    pub step: Option<Length>,
    /// How far the window is moved back in time.
    pub offset: Option<Length>,
    /// The end of the window, where it is fixed.
    pub at: Option<At>,
    /// Where it stands, modifiers included.
    pub span: Span,
}

/// A function call; number and types of the arguments are as the function wants them.
#[derive(Clone, Debug)]
pub struct Call {
    /// The function.
    pub function: &'static Function,
    /// Its arguments.
    pub args: Vec<Expr>,
    /// Where it stands.
    pub span: Span,
}

/// What an aggregation computes from the values of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `count`
    Count,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    Topk,
    /// `bottomk`
    Bottomk,
    /// `count_values`
    CountValues,
    /// `quantile`
    Quantile,
    /// `limitk`
    Limitk,
    /// `limit_ratio`
    LimitRatio,
}

impl AggregateOp {
    /// All operators with their names.
    pub const ALL: [(Self, &'static str); 14] = [
        (Self::Sum, "sum"),
        (Self::Avg, "avg"),
        (Self::Count, "count"),
        (Self::Min, "min"),
        (Self::Max, "max"),
        (Self::Group, "group"),
        (Self::Stddev, "stddev"),
        (Self::Stdvar, "stdvar"),
        (Self::Topk, "topk"),
        (Self::Bottomk, "bottomk"),
        (Self::CountValues, "count_values"),
        (Self::Quantile, "quantile"),
        (Self::Limitk, "limitk"),
        (Self::LimitRatio, "limit_ratio"),
    ];

    /// The operator as it is written.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The type of the parameter before the expression, where there is one.
    pub fn param(self) -> Option<ValueType> {
        match self {
            Self::Topk | Self::Bottomk | Self::Quantile | Self::Limitk | Self::LimitRatio => {
                Some(ValueType::Scalar)
            }
            Self::CountValues => Some(ValueType::String),
            _ => None,
        }
    }

    /// Whether it belongs to the experimental functions.
    pub fn experimental(self) -> bool {
        matches!(self, Self::Limitk | Self::LimitRatio)
    }
}

/// An aggregation over the series of an instant vector.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// What is computed.
    pub op: AggregateOp,
    /// The instant vector.
    pub expr: Box<Expr>,
    /// The parameter, present exactly if [`AggregateOp::param`] says so.
    pub param: Option<Box<Expr>>,
    /// Whether `grouping` names the labels to drop (`without`) rather than those to keep (`by`).
    pub without: bool,
    /// The labels as written: in their order, repeated ones included.
    pub grouping: Vec<String>,
    /// Where the list of labels stands, where there is one.
    pub grouping_span: Option<Span>,
    /// Where it stands.
    pub span: Span,
}

/// An operator between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
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
    /// `atan2`
    Atan2,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `</`: a native histogram without its observations above a value.
    TrimUpper,
    /// `>/`: a native histogram without its observations below a value.
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

impl BinaryOp {
    /// The operator as it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// Whether it compares: `== != < <= > >=`.
    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }

    /// Whether what it gives is still the metric of its left side.
    pub fn keeps_name(self) -> bool {
        self.is_comparison() || self.is_trim()
    }

    /// `</` and `>/`.
    pub fn is_trim(self) -> bool {
        matches!(self, Self::TrimUpper | Self::TrimLower)
    }

    /// Whether it combines sets of series: `and or unless`.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// How strongly it binds; from 1 (`or`) to 6 (`^`).
    pub fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod | Self::Atan2 => 5,
            Self::Pow => 6,
            _ => 3,
        }
    }

    /// Whether `a op b op c` is `a op (b op c)`.
    pub fn is_right_associative(self) -> bool {
        self == Self::Pow
    }
}

/// How many series of one side may pair with one of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cardinality {
    /// One with one.
    OneToOne,
    /// Many left with one right: `group_left`.
    ManyToOne,
    /// One left with many right: `group_right`.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How the series of two instant vectors are paired.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorMatching {
    /// How many may pair.
    pub card: Cardinality,
    /// Whether `labels` are those that must agree (`on`) rather than those that need not (`ignoring`).
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// The labels of `group_left` or `group_right`, taken from the "one" side.
    pub include: Vec<String>,
    /// The value of a missing partner on the left side.
    pub fill_left: Option<f64>,
    /// The value of a missing partner on the right side.
    pub fill_right: Option<f64>,
}

impl VectorMatching {
    /// Whether a missing partner has a value.
    pub fn fills(&self) -> bool {
        self.fill_left.is_some() || self.fill_right.is_some()
    }
}

impl Default for VectorMatching {
    fn default() -> Self {
        Self {
            card: Cardinality::OneToOne,
            on: false,
            labels: Vec::new(),
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        }
    }
}

/// Two expressions joined by an operator.
#[derive(Debug)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// The left side: follow it in a loop, not by recursion (see the module's documentation).
    pub lhs: Box<Expr>,
    /// The right side.
    pub rhs: Box<Expr>,
    /// Whether a comparison answers 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// How series are paired; present exactly if both sides are instant vectors.
    pub matching: Option<VectorMatching>,
    /// The type of the result: a vector if one of the sides is one.
    pub value_type: ValueType,
    /// Where the operator stands, modifiers not included.
    pub op_span: Span,
    /// Where the whole stands.
    pub span: Span,
}

impl Binary {
    /// The chain of operators down the left side: its leftmost operand and the operators to apply to it in turn;
    /// the last one is `self`.
    pub fn chain(&self) -> (&Expr, Vec<&Self>) {
        let mut links = vec![self];
        let mut first = &*self.lhs;
        while let Expr::Binary(b) = first {
            links.push(b);
            first = &b.lhs;
        }
        links.reverse();
        (first, links)
    }

    /// A copy with another left side.
    fn with_left(&self, left: Expr) -> Self {
        Self {
            op: self.op,
            lhs: Box::new(left),
            rhs: self.rhs.clone(),
            return_bool: self.return_bool,
            matching: self.matching.clone(),
            value_type: self.value_type,
            op_span: self.op_span,
            span: self.span,
        }
    }
}

impl Clone for Binary {
    /// Clones the left chain in a loop: it may be longer than the stack.
    fn clone(&self) -> Self {
        let (first, links) = self.chain();
        let (whole, inner) = links.split_last().expect("a chain ends with self");
        let left = inner.iter().fold(first.clone(), |left, link| Expr::Binary(link.with_left(left)));
        whole.with_left(left)
    }
}

impl Drop for Binary {
    /// Takes the left chain apart in a loop: it may be longer than the stack.
    fn drop(&mut self) {
        let mut next = mem::replace(&mut *self.lhs, Expr::nothing());
        while let Expr::Binary(b) = &mut next {
            next = mem::replace(&mut *b.lhs, Expr::nothing());
        }
    }
}

/// A sign before an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sign {
    /// `+`: changes nothing.
    Plus,
    /// `-`: negates and drops the metric name.
    Minus,
}

/// An expression with a sign. Of a row of signs, at most two minuses are kept.
#[derive(Clone, Debug)]
pub struct Unary {
    /// The sign.
    pub sign: Sign,
    /// The expression.
    pub expr: Box<Expr>,
    /// Where it stands.
    pub span: Span,
}

/// An expression in parentheses.
#[derive(Clone, Debug)]
pub struct Paren {
    /// The expression.
    pub expr: Box<Expr>,
    /// Where it stands, parentheses included.
    pub span: Span,
}

impl Expr {
    /// Stands where an expression was taken away.
    fn nothing() -> Self {
        Self::Number(NumberLiteral { value: 0.0, duration: false, span: Span::default() })
    }

    /// Where the expression stands.
    pub fn span(&self) -> Span {
        match self {
            Self::Number(n) => n.span,
            Self::String(s) => s.span,
            Self::Vector(v) => v.span,
            Self::Matrix(m) => m.span,
            Self::Subquery(s) => s.span,
            Self::Call(c) => c.span,
            Self::Aggregate(a) => a.span,
            Self::Binary(b) => b.span,
            Self::Unary(u) => u.span,
            Self::Paren(p) => p.span,
        }
    }

    /// What the expression evaluates to.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Number(_) => ValueType::Scalar,
            Self::String(_) => ValueType::String,
            Self::Vector(_) | Self::Aggregate(_) => ValueType::Vector,
            Self::Matrix(_) | Self::Subquery(_) => ValueType::Matrix,
            Self::Call(c) => c.function.returns,
            Self::Binary(b) => b.value_type,
            Self::Unary(u) => u.expr.value_type(),
            Self::Paren(p) => p.expr.value_type(),
        }
    }

    /// The expression inside any parentheses around it.
    pub fn without_parens(&self) -> &Self {
        let mut expr = self;
        while let Self::Paren(p) = expr {
            expr = &p.expr;
        }
        expr
    }
}

//! Expressions as text: one line that parses to the same tree.

use std::fmt::{self, Display, Formatter};

use super::ast::{
    Aggregate, At, Binary, Cardinality, Edges, Expr, MatchOp, Matcher, NumberLiteral, Sign, Subquery,
    VectorMatching, VectorSelector,
};
use super::duration::{DurationExpr, Length, Spelled};
use super::lexer::{is_label_word, needs_quotes_in_grouping};
use super::literal::quoted;
use super::selector::METRIC_NAME;
use cardinal_storage::model::DurationMs;

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => n.fmt(f),
            Self::String(s) => f.write_str(&quoted(&s.value)),
            Self::Vector(v) => {
                series(v, f)?;
                edges(v.edges, f)?;
                modifiers(v.offset.as_ref(), v.at, f)
            }
            Self::Matrix(m) => {
                series(&m.selector, f)?;
                write!(f, "[{}]", m.range)?;
                edges(m.selector.edges, f)?;
                modifiers(m.selector.offset.as_ref(), m.selector.at, f)
            }
            Self::Subquery(s) => s.fmt(f),
            Self::Call(c) => {
                write!(f, "{}(", c.function.name)?;
                list(&c.args, f, |arg, f| arg.fmt(f))?;
                f.write_str(")")
            }
            Self::Aggregate(a) => a.fmt(f),
            Self::Binary(b) => b.fmt(f),
            Self::Unary(u) => match u.sign {
                Sign::Plus => write!(f, "+{}", u.expr),
                Sign::Minus => write!(f, "-{}", u.expr),
            },
            Self::Paren(p) => write!(f, "({})", p.expr),
        }
    }
}

/// Writes `items` with commas between them.
fn list<T>(
    items: &[T],
    f: &mut Formatter<'_>,
    write: impl Fn(&T, &mut Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        write(item, f)?;
    }
    Ok(())
}

/// A number as its shortest text, with an exponent where it would be long.
fn number(value: f64, f: &mut Formatter<'_>) -> fmt::Result {
    let size = value.abs();
    if value.is_nan() {
        f.write_str("NaN")
    } else if value.is_infinite() {
        f.write_str(if value > 0.0 { "Inf" } else { "-Inf" })
    } else if size != 0.0 && !(1e-5..1e16).contains(&size) {
        write!(f, "{value:e}")
    } else {
        write!(f, "{value}")
    }
}

/// Seconds as they were written: a duration or a plain number.
fn seconds(value: f64, duration: bool, f: &mut Formatter<'_>) -> fmt::Result {
    let ms = (value * 1000.0).round();
    // A sum of milliseconds that a double does not hold any more is left as a number.
    if duration && ms / 1000.0 == value && ms.is_sign_negative() == value.is_sign_negative() {
        if ms == 0.0 && ms.is_sign_negative() {
            f.write_str("-")?;
        }
        return Spelled(DurationMs(ms as i64)).fmt(f);
    }
    number(value, f)
}

impl Display for NumberLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        seconds(self.value, self.duration, f)
    }
}

impl Display for Matcher {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match is_label_word(&self.name) {
            true => f.write_str(&self.name)?,
            false => f.write_str(&quoted(&self.name))?,
        }
        write!(f, "{}{}", self.op.symbol(), quoted(&self.value))
    }
}

/// Name and conditions, without modifiers.
fn series(v: &VectorSelector, f: &mut Formatter<'_>) -> fmt::Result {
    let written_before = |m: &Matcher| m.name == METRIC_NAME && m.op == MatchOp::Equal;
    let matchers = match (&v.name, v.matchers.split_last()) {
        (Some(name), Some((last, others))) if written_before(last) && last.value == *name => {
            f.write_str(name)?;
            others
        }
        _ => &v.matchers[..],
    };
    if matchers.is_empty() && v.name.is_some() {
        return Ok(());
    }
    f.write_str("{")?;
    list(matchers, f, |m, f| m.fmt(f))?;
    f.write_str("}")
}

impl Display for VectorSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        series(self, f)
    }
}

fn edges(edges: Option<Edges>, f: &mut Formatter<'_>) -> fmt::Result {
    match edges {
        Some(Edges::Anchored) => f.write_str(" anchored"),
        Some(Edges::Smoothed) => f.write_str(" smoothed"),
        None => Ok(()),
    }
}

fn modifiers(offset: Option<&Length>, at: Option<At>, f: &mut Formatter<'_>) -> fmt::Result {
    match at {
        // Milliseconds as a decimal fraction: the nearest double gives them back.
        Some(At::Time(t)) => write!(f, " @ {}", t.0 as f64 / 1000.0)?,
        Some(At::Start) => f.write_str(" @ start()")?,
        Some(At::End) => f.write_str(" @ end()")?,
        None => {}
    }
    match offset {
        Some(offset) => write!(f, " offset {offset}"),
        None => Ok(()),
    }
}

impl Display for Subquery {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}:", self.expr, self.range)?;
        if let Some(step) = &self.step {
            write!(f, "{step}")?;
        }
        f.write_str("]")?;
        modifiers(self.offset.as_ref(), self.at, f)
    }
}

/// Labels in parentheses.
fn grouping(labels: &[String], f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str("(")?;
    list(labels, f, |label, f| match needs_quotes_in_grouping(label) {
        true => f.write_str(&quoted(label)),
        false => f.write_str(label),
    })?;
    f.write_str(")")
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.name())?;
        if self.without || !self.grouping.is_empty() {
            f.write_str(if self.without { " without " } else { " by " })?;
            grouping(&self.grouping, f)?;
            f.write_str(" ")?;
        }
        match &self.param {
            Some(param) => write!(f, "({param}, {})", self.expr),
            None => write!(f, "({})", self.expr),
        }
    }
}

impl Display for Binary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (first, links) = self.chain();
        first.fmt(f)?;
        for link in links {
            write!(f, " {} ", link.op.symbol())?;
            if link.return_bool {
                f.write_str("bool ")?;
            }
            if let Some(matching) = &link.matching {
                matching.fmt(f)?;
            }
            link.rhs.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for VectorMatching {
    /// With a space at the end, unless there is nothing to write.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let group = match self.card {
            Cardinality::ManyToOne => Some("group_left "),
            Cardinality::OneToMany => Some("group_right "),
            Cardinality::OneToOne | Cardinality::ManyToMany => None,
        };
        if self.on || !self.labels.is_empty() || group.is_some() {
            f.write_str(if self.on { "on " } else { "ignoring " })?;
            grouping(&self.labels, f)?;
            f.write_str(" ")?;
        }
        if let Some(group) = group {
            f.write_str(group)?;
            grouping(&self.include, f)?;
            f.write_str(" ")?;
        }
        for (name, value) in [("fill_left", self.fill_left), ("fill_right", self.fill_right)] {
            if let Some(value) = value {
                write!(f, "{name}(")?;
                number(value, f)?;
                f.write_str(") ")?;
            }
        }
        Ok(())
    }
}

impl Display for Length {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { length, .. } => Spelled(*length).fmt(f),
            Self::Computed(expr) => expr.fmt(f),
        }
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { seconds: value, duration, .. } => seconds(*value, *duration, f),
            Self::Call { function, args, .. } => {
                write!(f, "{}(", function.name())?;
                if let Some(args) = args {
                    write!(f, "{}, {}", args.0, args.1)?;
                }
                f.write_str(")")
            }
            Self::Negated { expr, .. } => write!(f, "-{expr}"),
            Self::Paren { expr, .. } => write!(f, "({expr})"),
            Self::Binary { op, sides, .. } => {
                side(&sides.0, f)?;
                write!(f, " {} ", op.symbol())?;
                side(&sides.1, f)
            }
        }
    }
}

/// A side of an operator: parentheses around a plain number are not kept in the tree, but a sign needs them.
fn side(expr: &DurationExpr, f: &mut Formatter<'_>) -> fmt::Result {
    match expr {
        DurationExpr::Number { seconds, .. } if seconds.is_sign_negative() => write!(f, "({expr})"),
        _ => expr.fmt(f),
    }
}

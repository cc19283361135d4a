//! What this version does not have, seen from a query and the data loaded for it.

use super::memory::accepts;
use super::report::Missing;
use super::script::{Eval, Expected, Load};
use super::series::Point;
use cardinal_query::parse::ast::{self, MatchOp};
use cardinal_query::parse::{Expr, Features, parse};
use cardinal_storage::index;
use cardinal_storage::model::{LabelSet, LabelSetBuilder, METRIC_NAME};

/// Label sets of loaded series that need what is missing.
#[derive(Clone, Debug, Default)]
pub(super) struct Needs {
    series: Vec<(LabelSet, Missing)>,
}

impl Needs {
    /// Takes in what a load brings.
    pub(super) fn add(&mut self, load: &Load) {
        for series in &load.series {
            if series.points.contains(&Point::Histogram) {
                self.series.push((series.labels.clone(), Missing::NativeHistograms));
            }
            if series.start_timestamps {
                self.series.push((series.labels.clone(), Missing::StartTimestamps));
            }
            if load.with_native
                && let Some(base) = histogram_base(&series.labels)
            {
                self.series.push((base, Missing::NativeHistograms));
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.series.clear();
    }

    /// What the query would need, if anything: it expects a histogram, or selects a series with one.
    pub(super) fn of(&self, eval: &Eval) -> Option<Missing> {
        let histogram = |list: &[super::Series]| list.iter().any(|s| s.points.contains(&Point::Histogram));
        if matches!(&eval.expected, Expected::Series(list) if histogram(list)) {
            return Some(Missing::NativeHistograms);
        }
        let mut selectors = Vec::new();
        selectors_of(&parse(&eval.query, &Features::default()).ok()?, &mut selectors);
        let selected = |labels: &LabelSet| selectors.iter().any(|m| accepts(m, labels));
        self.series.iter().find(|(labels, _)| selected(labels)).map(|(_, missing)| *missing)
    }
}

/// The labels of the native histogram that a series of a classic one belongs to.
fn histogram_base(labels: &LabelSet) -> Option<LabelSet> {
    let name = labels.metric_name();
    let base = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix))?;
    let mut builder: LabelSetBuilder = labels.to_builder();
    builder.set(METRIC_NAME, base);
    builder.remove("le");
    builder.build().ok()
}

/// The conditions of every selector in `expr`.
fn selectors_of(expr: &Expr, out: &mut Vec<Vec<index::Matcher>>) {
    match expr {
        Expr::Number(_) | Expr::String(_) => {}
        Expr::Vector(v) => out.extend(conditions(v)),
        Expr::Matrix(m) => out.extend(conditions(&m.selector)),
        Expr::Subquery(s) => selectors_of(&s.expr, out),
        Expr::Call(c) => c.args.iter().for_each(|arg| selectors_of(arg, out)),
        Expr::Aggregate(a) => {
            selectors_of(&a.expr, out);
            a.param.iter().for_each(|p| selectors_of(p, out));
        }
        Expr::Binary(b) => {
            selectors_of(&b.lhs, out);
            selectors_of(&b.rhs, out);
        }
        Expr::Unary(u) => selectors_of(&u.expr, out),
        Expr::Paren(p) => selectors_of(&p.expr, out),
    }
}

/// The conditions of one selector, unless the storage refuses one.
fn conditions(selector: &ast::VectorSelector) -> Option<Vec<index::Matcher>> {
    let convert = |m: &ast::Matcher| {
        let op = match m.op {
            MatchOp::Equal => index::MatchOp::Equal,
            MatchOp::NotEqual => index::MatchOp::NotEqual,
            MatchOp::Regex => index::MatchOp::Regex,
            MatchOp::NotRegex => index::MatchOp::NotRegex,
        };
        index::Matcher::new(&m.name, op, &m.value).ok()
    };
    selector.matchers.iter().map(convert).collect()
}

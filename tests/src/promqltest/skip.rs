//! What this version does not have, seen from a query and the data loaded for it.

use super::report::Missing;
use super::script::{Eval, Load};
use cardinal_query::parse::ast;
use cardinal_query::parse::{Expr, Features, FunctionId, parse};
use cardinal_storage::index::{self, accepts};
use cardinal_storage::model::LabelSet;

/// Label sets of loaded series that need what is missing.
#[derive(Clone, Debug, Default)]
pub(super) struct Needs {
    series: Vec<(LabelSet, Missing)>,
}

impl Needs {
    /// Takes in what a load brings.
    pub(super) fn add(&mut self, load: &Load) {
        for series in &load.series {
            if series.start_timestamps {
                self.series.push((series.labels.clone(), Missing::StartTimestamps));
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.series.clear();
    }

    /// What the query would need, if anything: it selects a series with it, or asks for it.
    pub(super) fn of(&self, eval: &Eval) -> Option<Missing> {
        let mut parts = Parts::default();
        parts.read(&parse(&eval.query, &Features::default()).ok()?);
        let selected = |labels: &LabelSet| parts.selectors.iter().any(|m| accepts(m, labels));
        let series = self.series.iter().find(|(labels, _)| selected(labels)).map(|(_, missing)| *missing);
        series.or(parts.missing)
    }
}

/// What matters here of an expression.
#[derive(Default)]
struct Parts {
    /// The conditions of every selector.
    selectors: Vec<Vec<index::Matcher>>,
    /// A part of the language that the engine does not evaluate.
    missing: Option<Missing>,
}

impl Parts {
    fn read(&mut self, expr: &Expr) {
        match expr {
            Expr::Number(_) | Expr::String(_) => {}
            Expr::Vector(v) => self.selector(v),
            Expr::Matrix(m) => self.selector(&m.selector),
            Expr::Subquery(s) => self.read(&s.expr),
            Expr::Call(c) => {
                if c.function.id == FunctionId::StartTimestamp {
                    self.missing = Some(Missing::StartTimestamps);
                }
                c.args.iter().for_each(|arg| self.read(arg));
            }
            Expr::Aggregate(a) => {
                self.read(&a.expr);
                a.param.iter().for_each(|p| self.read(p));
            }
            Expr::Binary(b) => {
                self.read(&b.lhs);
                self.read(&b.rhs);
            }
            Expr::Unary(u) => self.read(&u.expr),
            Expr::Paren(p) => self.read(&p.expr),
        }
    }

    fn selector(&mut self, selector: &ast::VectorSelector) {
        self.selectors.extend(conditions(selector));
    }
}

/// The conditions of one selector, unless the storage refuses one.
fn conditions(selector: &ast::VectorSelector) -> Option<Vec<index::Matcher>> {
    selector.matchers.iter().map(|m| m.compile().ok()).collect()
}

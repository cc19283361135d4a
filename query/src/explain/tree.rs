//! From a query's syntax tree to the tree that is shown.

use super::{PlanNode, PlannedRead};
use crate::Position;
use crate::eval::Recorded;
use crate::parse::ast::{Aggregate, Binary, Expr};
use crate::parse::{Span, ValueType};
use cardinal_storage::model::excerpt;

/// Levels that are shown: readers of JSON have bounds of their own, and nobody reads further.
const LEVELS_MAX: usize = 40;

/// The tree of `expr`; takes from `reads` what each selector reads.
pub(super) fn of(expr: &Expr, query: &str, reads: &mut Vec<(Span, PlannedRead)>) -> PlanNode {
    Tree { query, reads }.node(expr, LEVELS_MAX)
}

struct Tree<'a> {
    query: &'a str,
    reads: &'a mut Vec<(Span, PlannedRead)>,
}

impl Tree<'_> {
    /// A node that has `levels` below it at most.
    fn node(&mut self, expr: &Expr, levels: usize) -> PlanNode {
        let Some(levels) = levels.checked_sub(1) else {
            return self.leaf("…", expr.span());
        };
        match expr {
            Expr::Paren(p) => self.node(&p.expr, levels + 1),
            Expr::Number(_) => self.leaf("number", expr.span()),
            Expr::String(_) => self.leaf("string", expr.span()),
            Expr::Vector(v) => self.select(v.span),
            Expr::Matrix(m) => PlanNode { text: self.text(m.span), ..self.select(m.selector.span) },
            Expr::Subquery(s) => {
                let inner = self.node(&s.expr, levels);
                PlanNode { inputs: vec![inner], ..self.leaf("subquery", s.span) }
            }
            Expr::Call(c) => {
                let inputs = c.args.iter().filter(|a| a.value_type() != ValueType::String);
                let inputs = inputs.map(|a| self.node(a, levels)).collect();
                // `info` reads series of its own.
                let read = self.take(c.span);
                PlanNode { inputs, read, ..self.leaf(c.function.name, c.span) }
            }
            Expr::Aggregate(a) => {
                let params = a.param.as_deref().filter(|p| p.value_type() != ValueType::String);
                let inputs = params.into_iter().chain([&*a.expr]).map(|e| self.node(e, levels)).collect();
                PlanNode { inputs, ..self.leaf(&grouped(a), a.span) }
            }
            Expr::Binary(b) => self.chain(b, levels),
            Expr::Unary(u) => {
                let inner = self.node(&u.expr, levels);
                PlanNode { inputs: vec![inner], ..self.leaf("sign", u.span) }
            }
        }
    }

    /// Operators that lean left: one below the other while there is room, else side by side.
    fn chain(&mut self, b: &Binary, levels: usize) -> PlanNode {
        let (first, links) = b.chain();
        if links.len() > levels / 2 {
            let operands = [first].into_iter().chain(links.iter().map(|link| &*link.rhs));
            let inputs = operands.map(|e| self.node(e, levels)).collect();
            return PlanNode { inputs, ..self.leaf(&format!("{} operators", links.len()), b.span) };
        }
        let below = levels.saturating_sub(links.len());
        let mut node = self.node(first, below);
        for link in links {
            let right = self.node(&link.rhs, below);
            node = PlanNode { inputs: vec![node, right], ..self.leaf(&operator(link), link.span) };
        }
        node
    }

    fn select(&mut self, span: Span) -> PlanNode {
        let read = self.take(span);
        PlanNode { read, ..self.leaf("select", span) }
    }

    fn take(&mut self, span: Span) -> Option<PlannedRead> {
        let at = self.reads.iter().position(|(of, _)| *of == span)?;
        Some(self.reads.swap_remove(at).1)
    }

    fn leaf(&self, operation: &str, span: Span) -> PlanNode {
        PlanNode {
            operation: operation.to_owned(),
            text: self.text(span),
            position: Position::of(self.query, span.start as usize),
            read: None,
            cost: None,
            inputs: Vec::new(),
            span,
        }
    }

    fn text(&self, span: Span) -> String {
        excerpt(span.text(self.query)).into_owned()
    }
}

impl PlanNode {
    /// Adds what was measured of it and of all below it.
    pub(super) fn measured(&mut self, recorded: &Recorded) {
        self.cost = recorded.nodes.get(&self.span).copied();
        if let Some(read) = &mut self.read {
            read.cost = Some(recorded.selectors.get(&self.span).copied().unwrap_or_default());
        }
        self.inputs.iter_mut().for_each(|input| input.measured(recorded));
    }
}

fn grouped(a: &Aggregate) -> String {
    if a.grouping_span.is_none() {
        return a.op.name().to_owned();
    }
    let word = if a.without { "without" } else { "by" };
    format!("{} {word} ({})", a.op.name(), a.grouping.join(", "))
}

fn operator(b: &Binary) -> String {
    let bool = if b.return_bool { " bool" } else { "" };
    let matching = b.matching.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("{}{bool}{}{}", b.op.symbol(), if matching.is_empty() { "" } else { " " }, matching.trim())
}

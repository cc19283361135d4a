//! What an empty answer may be due to. Answers stay what they are; a hint says what was probably meant.
//!
//! Every suggestion is a guess made from the query's text, and is shown only if it parses.

use super::{Hint, PlannedRead};
use crate::eval::{Evaluator, Unmatched};
use crate::parse::ast::{Binary, Call, Expr, MatchOp, Matcher, VectorSelector};
use crate::parse::{Features, FunctionId, Span, parse};
use crate::source::Wanted;
use crate::{Position, QueryError};
use cardinal_storage::model::{METRIC_NAME, TimeRange};

/// Hints of one query.
const HINTS_MAX: usize = 10;

/// What metrics are called whose names lack an end: of classic histograms, and of counters.
const ENDINGS: [&str; 2] = ["_bucket", "_total"];

/// Hints from what selectors find.
pub(super) fn before(
    evaluator: &Evaluator<'_>,
    expr: &Expr,
    features: &Features,
    reads: &[(Span, PlannedRead)],
) -> Result<Vec<Hint>, QueryError> {
    let mut found = Found::default();
    found.walk(expr);
    let mut hints = Vec::new();
    for selected in &found.selectors {
        let read = reads.iter().find(|(span, _)| *span == selected.selector.span);
        let empty = read.filter(|(_, r)| r.estimate.is_some_and(|e| e.series == 0));
        let Some((_, read)) = empty else { continue };
        let asked = Asked { evaluator, features, range: read.range };
        hints.extend(asked.alternation(selected.selector)?);
        hints.extend(asked.ending(selected)?);
    }
    hints.truncate(HINTS_MAX);
    Ok(hints)
}

/// Hints from operators that found no pair of series.
pub(super) fn after(unmatched: &[Unmatched], expr: &Expr, query: &str, features: &Features) -> Vec<Hint> {
    let mut found = Found::default();
    found.walk(expr);
    let operator = |u: &Unmatched| Some((u.clone(), *found.operators.iter().find(|b| b.span == u.span)?));
    unmatched
        .iter()
        .filter_map(operator)
        .take(HINTS_MAX)
        .map(|(u, b)| no_pair(&u, b, query, features))
        .collect()
}

/// The parts of an expression that hints are about.
#[derive(Default)]
struct Found<'e> {
    selectors: Vec<Selected<'e>>,
    operators: Vec<&'e Binary>,
}

/// A selector and what it stands in.
struct Selected<'e> {
    selector: &'e VectorSelector,
    /// Whether it is a range vector's.
    in_matrix: bool,
    /// The call that it is an argument of.
    call: Option<&'e Call>,
}

impl<'e> Found<'e> {
    fn walk(&mut self, expr: &'e Expr) {
        self.visit(expr, None);
    }

    /// Nesting is bounded by the parser, chains of operators are followed in a loop.
    fn visit(&mut self, expr: &'e Expr, call: Option<&'e Call>) {
        match expr {
            Expr::Number(_) | Expr::String(_) => {}
            Expr::Vector(v) => self.selectors.push(Selected { selector: v, in_matrix: false, call }),
            Expr::Matrix(m) => {
                self.selectors.push(Selected { selector: &m.selector, in_matrix: true, call });
            }
            Expr::Subquery(s) => self.visit(&s.expr, None),
            Expr::Call(c) => c.args.iter().for_each(|a| self.visit(a, Some(c))),
            Expr::Aggregate(a) => {
                [a.param.as_deref(), Some(&*a.expr)].into_iter().flatten().for_each(|e| self.visit(e, None));
            }
            Expr::Binary(b) => {
                let (first, links) = b.chain();
                self.visit(first, None);
                for link in links {
                    self.operators.push(link);
                    self.visit(&link.rhs, None);
                }
            }
            Expr::Unary(u) => self.visit(&u.expr, None),
            Expr::Paren(p) => self.visit(&p.expr, call),
        }
    }
}

/// A selector that found nothing.
struct Asked<'a> {
    evaluator: &'a Evaluator<'a>,
    features: &'a Features,
    range: TimeRange,
}

impl Asked<'_> {
    /// `{account="1|2"}`: `=` compares the whole value.
    fn alternation(&self, v: &VectorSelector) -> Result<Option<Hint>, QueryError> {
        let meant = |m: &&Matcher| m.op == MatchOp::Equal && m.name != METRIC_NAME && m.value.contains('|');
        let Some(first) = v.matchers.iter().find(meant) else { return Ok(None) };
        let as_regex =
            |m: &Matcher| Matcher { op: if meant(&m) { MatchOp::Regex } else { m.op }, ..m.clone() };
        let matchers: Vec<Matcher> = v.matchers.iter().map(as_regex).collect();
        let finds = if self.finds(&matchers)? { ", and finds series" } else { "" };
        let (name, value) = (&first.name, &first.value);
        let text = format!(
            "`=` compares the whole value, bars included, and no series has {name}={value:?}; `=~` takes one of several{finds}"
        );
        let mut query = self.evaluator.query.to_owned();
        let mut spans: Vec<_> = v.matchers.iter().filter(meant).map(|m| m.span).collect();
        spans.sort_by_key(|span| std::cmp::Reverse(span.start));
        for span in spans {
            let with = span.text(&query).replacen('=', "=~", 1);
            query = replaced(&query, span, &with);
        }
        Ok(Some(self.hint(first.span, text, [query])))
    }

    /// A name that lacks `_bucket` or `_total`.
    fn ending(&self, selected: &Selected<'_>) -> Result<Option<Hint>, QueryError> {
        let v = selected.selector;
        let is_name = |m: &&Matcher| m.name == METRIC_NAME && m.op == MatchOp::Equal;
        let Some(name) = v.matchers.iter().find(is_name) else { return Ok(None) };
        for ending in ENDINGS {
            let longer = format!("{}{ending}", name.value);
            let renamed = |m: &Matcher| Matcher {
                value: if is_name(&m) { longer.clone() } else { m.value.clone() },
                ..m.clone()
            };
            let matchers: Vec<Matcher> = v.matchers.iter().map(renamed).collect();
            if !self.finds(&matchers)? {
                continue;
            }
            let what = if ending == "_bucket" { "a classic histogram" } else { "a counter" };
            let text = format!("no series is called {}; {longer} is there, of {what}", name.value);
            let with = v.span.text(self.evaluator.query).replacen(&name.value, &longer, 1);
            let function = selected.call.map(|c| c.function.id);
            let of_buckets = ending == "_bucket" && !selected.in_matrix;
            let wrapped = (of_buckets && function == Some(FunctionId::HistogramQuantile))
                .then(|| format!("sum by (le) (rate({with}[5m]))"));
            let candidates = wrapped.into_iter().chain([with]);
            let queries = candidates.map(|with| replaced(self.evaluator.query, v.span, &with));
            return Ok(Some(self.hint(v.span, text, queries)));
        }
        Ok(None)
    }

    fn finds(&self, matchers: &[Matcher]) -> Result<bool, QueryError> {
        let Ok(matchers) = matchers.iter().map(Matcher::compile).collect::<Result<Vec<_>, _>>() else {
            return Ok(false);
        };
        self.evaluator.watch.check()?;
        let estimate = self.evaluator.source.estimate(&matchers, self.range, Wanted::Times)?;
        Ok(estimate.is_some_and(|e| e.series > 0))
    }

    fn hint(&self, at: Span, text: String, candidates: impl IntoIterator<Item = String>) -> Hint {
        hint(self.evaluator.query, at, text, candidates, self.features)
    }
}

/// Both sides have series, and none of them belong together.
fn no_pair(u: &Unmatched, b: &Binary, query: &str, features: &Features) -> Hint {
    let list = |names: &[String]| names.join(", ");
    let mut text =
        format!("both sides of `{}` have series, and no two of them have equal labels", b.op.symbol());
    for (names, side) in [(&u.only_left, "left"), (&u.only_right, "right")] {
        if !names.is_empty() {
            text.push_str(&format!("; only on the {side}: {}", list(names)));
        }
    }
    if u.common.is_empty() {
        text.push_str("; they have no label values in common");
        return hint(query, b.op_span, text, [], features);
    }
    text.push_str(&format!("; `on` names the labels that must agree: {}", list(&u.common)));
    let on = format!("{} on ({})", b.op_span.text(query), list(&u.common));
    let group = match (u.only_left.is_empty(), u.only_right.is_empty()) {
        (false, true) => " group_left ()",
        (true, false) => " group_right ()",
        _ => "",
    };
    let is_plain = b.matching.as_ref().is_none_or(|m| !m.on && m.labels.is_empty());
    let candidates = [format!("{on}{group}"), on].map(|with| replaced(query, b.op_span, &with));
    hint(query, b.op_span, text, candidates.into_iter().filter(|_| is_plain), features)
}

fn hint(
    query: &str,
    at: Span,
    text: String,
    candidates: impl IntoIterator<Item = String>,
    features: &Features,
) -> Hint {
    let suggestion = candidates.into_iter().find(|c| parse(c, features).is_ok());
    Hint { position: Position::of(query, at.start as usize), text, suggestion }
}

/// `query` with other text in place of `span`.
fn replaced(query: &str, span: Span, with: &str) -> String {
    let (before, after) = (query.get(..span.start as usize), query.get(span.end as usize..));
    format!("{}{with}{}", before.unwrap_or(query), after.unwrap_or_default())
}

//! Arithmetic and comparison between vectors: rows with equal signatures, one with one or many with one.
//!
//! One side is the "one" side: of its rows with a signature, at most one may have a value at a step. The other is
//! the "many" side, also where both are one. `group_right` puts the "one" side on the left.

use super::Operation;
use super::histograms::{HistogramOperator, sample};
use super::matching::{Pairing, pair, signature};
use crate::QueryError;
use crate::eval::labels::{braced, filtered, grouped, is_metadata, with};
use crate::eval::math;
use crate::eval::notes::Notes;
use crate::eval::remarks::Remarks;
use crate::eval::rows::{RowBuf, RowLabels, Rows};
use crate::eval::{Evaluator, Unmatched};
use crate::parse::Span;
use crate::parse::ast::Cardinality;
use crate::source::Grouping;
use cardinal_storage::model::LabelSet;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

impl Evaluator<'_> {
    /// Applies an operator to all pairs of rows.
    pub(super) fn arithmetic(
        &self,
        call: &Operation<'_>,
        left: Rows,
        right: Rows,
    ) -> Result<Rows, QueryError> {
        let steps = left.steps();
        let one_left = call.matching.card == Cardinality::OneToMany;
        let (many, one) = if one_left { (&right, &left) } else { (&left, &right) };
        let signature = signature(call.matching);
        let join = Join {
            eval: self,
            call,
            many,
            one,
            one_left,
            live: live_steps(call, many, one),
            signature: &signature,
        };
        let pairings = pair(many, one, &signature, &self.watch)?;
        let mut out = Rows::new(steps, &self.budget);
        let mut scratch = Scratch::new(steps);
        // What is wrong with the "one" side comes before what is wrong with a pair.
        for p in pairings.iter().filter(|p| p.right.len() > 1) {
            join.check_one_side(p, &mut scratch)?;
        }
        for p in &pairings {
            self.watch.check()?;
            join.pairing(p, &mut scratch, &mut out)?;
        }
        if !scratch.paired && self.trace.is_on() && left.len() > 0 && right.len() > 0 {
            self.trace.unmatched(unmatched(call.span, &left, &right));
        }
        if call.op.is_trim() && scratch.paired {
            self.note(|n| n.incompatible_types("float", call.op.symbol(), "float", call.span));
        }
        self.note(|n| n.remarks(&mut scratch.remarks, "", call.span));
        self.merge_equal_labels(out)
    }
}

/// How the labels of two sides differ that have nothing in common, told by their first thousand rows.
fn unmatched(span: Span, left: &Rows, right: &Rows) -> Unmatched {
    let (left, right) = (values_by_name(left), values_by_name(right));
    let only =
        |a: &ValuesByName, b: &ValuesByName| a.keys().filter(|n| !b.contains_key(*n)).cloned().collect();
    let meets = |name: &&String| right.get(*name).is_some_and(|values| !values.is_disjoint(&left[*name]));
    Unmatched {
        span,
        only_left: only(&left, &right),
        only_right: only(&right, &left),
        common: left.keys().filter(meets).cloned().collect(),
    }
}

type ValuesByName = BTreeMap<String, BTreeSet<String>>;

/// The labels that all rows have, metric names apart, with their values.
fn values_by_name(rows: &Rows) -> ValuesByName {
    const ROWS_MAX: usize = 1000;
    let mut by_name = ValuesByName::new();
    for i in 0..rows.len().min(ROWS_MAX) {
        let labels = &rows.labels(i).labels;
        if i == 0 {
            by_name.extend(labels.iter().map(|l| (l.name.to_owned(), BTreeSet::new())));
        }
        by_name.retain(|name, values| {
            let value = labels.get(name);
            values.extend(value.map(str::to_owned));
            value.is_some() && !is_metadata(name)
        });
    }
    by_name
}

/// The steps at which anything can match: where both sides have any value, or one where the other is filled.
fn live_steps(call: &Operation<'_>, many: &Rows, one: &Rows) -> RowBuf {
    let steps = many.steps();
    let (mut live, mut other) = (RowBuf::new(steps), RowBuf::new(steps));
    (0..many.len()).flat_map(|i| many.occupied(i)).for_each(|step| live.set(step, 1.0));
    (0..one.len()).flat_map(|i| one.occupied(i)).for_each(|step| other.set(step, 1.0));
    if call.matching.fill_left.is_some() || call.matching.fill_right.is_some() {
        other.iter().for_each(|(step, _)| live.set(step, 1.0));
    } else {
        live.filter_map(|step, v| other.has(step).then_some(v));
    }
    live
}

/// Rows that are joined, and how.
struct Join<'a> {
    eval: &'a Evaluator<'a>,
    call: &'a Operation<'a>,
    many: &'a Rows,
    one: &'a Rows,
    one_left: bool,
    live: RowBuf,
    signature: &'a Grouping,
}

/// Two rows that give one; a missing one is filled.
#[derive(Clone, Copy)]
struct Pair {
    many: Option<usize>,
    one: One,
}

/// The "one" side of a pair.
#[derive(Clone, Copy)]
enum One {
    /// Whichever row has a value; no label of it is wanted.
    Any,
    /// This row.
    Row(usize),
    /// None has a value.
    Missing,
}

/// Sets `v` at every step at which `there` has nothing.
fn fill_gaps(row: &mut RowBuf, v: Option<f64>, there: &RowBuf) {
    row.clear();
    row.fill(v.unwrap_or(f64::NAN));
    row.filter_map(|step, v| (!there.occupied(step)).then_some(v));
}

/// Rows that are reused from pairing to pairing.
struct Scratch {
    /// Where any row of the "one" side, and of the "many" side, has a value.
    any_one: RowBuf,
    any_many: RowBuf,
    many: RowBuf,
    one: RowBuf,
    /// Where a result was computed, kept or not.
    matched: RowBuf,
    result: RowBuf,
    /// Whether any two values met at all.
    paired: bool,
    remarks: Remarks,
}

impl Scratch {
    fn new(steps: usize) -> Self {
        let row = || RowBuf::new(steps);
        Self {
            any_one: row(),
            any_many: row(),
            many: row(),
            one: row(),
            matched: row(),
            result: row(),
            paired: false,
            remarks: Remarks::default(),
        }
    }
}

impl Join<'_> {
    /// Computes the results of all rows with one signature.
    fn pairing(&self, p: &Pairing, s: &mut Scratch, out: &mut Rows) -> Result<(), QueryError> {
        self.check_one_side(p, s)?;
        s.any_many.clear();
        self.mark_many(p, s);
        let one_to_one = self.call.matching.card == Cardinality::OneToOne;
        s.matched.clear();
        for (labels, pairs) in self.results(p) {
            s.result.clear();
            if !one_to_one {
                s.matched.clear();
            }
            for pair in pairs {
                self.compute(pair, s)?;
            }
            out.push(RowLabels { labels, drop_name: self.call.return_bool }, &s.result)?;
        }
        Ok(())
    }

    /// Marks the steps at which the "many" side has anything; what does not go together with the other side, a histogram with a
    /// float or the like, is as good as missing to what is filled.
    fn mark_many(&self, p: &Pairing, s: &mut Scratch) {
        let mixed = s.any_one.has_histograms() || p.left.iter().any(|&i| !self.many.histograms(i).is_empty());
        if !mixed || self.call.matching.fill_left.is_none() {
            return p
                .left
                .iter()
                .flat_map(|&i| self.many.occupied(i))
                .for_each(|step| s.any_many.set(step, 1.0));
        }
        let operator = HistogramOperator { op: self.call.op, span: self.call.span };
        for &i in &p.left {
            self.many.load(i, &mut s.many);
            for step in self.many.occupied(i) {
                let (Some(many), Some(one)) = (sample(&s.many, step), sample(&s.any_one, step)) else {
                    continue;
                };
                let (l, r) = if self.one_left { (&one, &many) } else { (&many, &one) };
                if operator.goes(l, r) {
                    s.any_many.set(step, 1.0);
                }
            }
        }
    }

    /// Fails where two rows of the "one" side have values at a step.
    fn check_one_side(&self, p: &Pairing, s: &mut Scratch) -> Result<(), QueryError> {
        s.any_one.clear();
        for (n, &i) in p.right.iter().enumerate() {
            for (step, v) in self.one.values(i).filter(|(step, _)| self.live.has(*step)) {
                if n > 0 && s.any_one.occupied(step) {
                    return Err(self.duplicate(i, &p.right[..n], step));
                }
                s.any_one.set(step, v);
            }
            for (step, h) in self.one.histograms(i).iter().filter(|(step, _)| self.live.has(*step)) {
                if s.any_one.occupied(*step) {
                    return Err(self.duplicate(i, &p.right[..n], *step));
                }
                s.any_one.set_histogram(*step, Arc::clone(h));
            }
        }
        Ok(())
    }

    /// Row `a` and one of the rows `others` meet at a step.
    fn duplicate(&self, a: usize, others: &[usize], step: usize) -> QueryError {
        let other = others.iter().find(|&&j| self.one.occupied(j).any(|at| at == step));
        let b = other.copied().unwrap_or(a);
        let labels = |i: usize| &self.one.labels(i).labels;
        let group = braced(&grouped(labels(a), self.signature));
        let mut both = [braced(labels(a)), braced(labels(b))];
        both.sort();
        let side = if self.one_left { "left" } else { "right" };
        let message = format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: \
             [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
            both[0], both[1]
        );
        self.eval.error(self.call.span, message)
    }

    /// The pairs of rows by the labels of their results, in order of first appearance.
    fn results(&self, p: &Pairing) -> Vec<(LabelSet, Vec<Pair>)> {
        let filled = &self.call.matching;
        let mut number_of: HashMap<LabelSet, usize> = HashMap::new();
        let mut results: Vec<(LabelSet, Vec<Pair>)> = Vec::new();
        let mut add = |pair: Pair| {
            let labels = self.result_labels(pair);
            let number = *number_of.entry(labels.clone()).or_insert(results.len());
            if number == results.len() {
                results.push((labels, Vec::new()));
            }
            results[number].1.push(pair);
        };
        for many in p.left.iter().map(|&i| Some(i)) {
            if filled.include.is_empty() {
                add(Pair { many, one: One::Any });
            } else {
                p.right.iter().for_each(|&i| add(Pair { many, one: One::Row(i) }));
            }
            if filled.fill_right.is_some() {
                add(Pair { many, one: One::Missing });
            }
        }
        if filled.fill_left.is_some() {
            p.right.iter().for_each(|&i| add(Pair { many: None, one: One::Row(i) }));
        }
        results
    }

    /// The labels of a result: those of the "many" side, cut to what was matched on for one with one, and with what
    /// `group_left` names from the "one" side. What is filled has the labels that were matched on.
    fn result_labels(&self, pair: Pair) -> LabelSet {
        let matching = self.call.matching;
        let many = match (pair.many, pair.one) {
            (Some(i), _) => self.many.labels(i).labels.clone(),
            (None, One::Row(i)) => grouped(&self.one.labels(i).labels, self.signature),
            (None, _) => LabelSet::empty(),
        };
        let keeps_name = self.call.op.keeps_name() && (self.eval.delayed || !self.call.return_bool);
        let one_to_one = matching.card == Cardinality::OneToOne;
        let named = |name: &str| matching.labels.iter().any(|l| l == name);
        let labels = filtered(&many, |name| {
            (keeps_name || !is_metadata(name)) && (!one_to_one || named(name) == matching.on)
        });
        if matching.include.is_empty() {
            return labels;
        }

        let one = match (pair.one, pair.many) {
            (One::Row(i), _) => self.one.labels(i).labels.clone(),
            (_, Some(i)) => grouped(&self.many.labels(i).labels, self.signature),
            (_, None) => LabelSet::empty(),
        };
        with(&labels, matching.include.iter().map(|l| (l.as_str(), one.get(l).unwrap_or(""))))
    }

    /// Adds the results of one pair to the row at hand.
    fn compute(&self, pair: Pair, s: &mut Scratch) -> Result<(), QueryError> {
        self.eval.watch.check()?;
        let matching = self.call.matching;
        match pair.many {
            Some(i) => self.many.load(i, &mut s.many),
            None => fill_gaps(&mut s.many, matching.fill_left, &s.any_many),
        }
        match pair.one {
            One::Any => s.one.copy_from(&s.any_one),
            One::Row(i) => self.one.load(i, &mut s.one),
            One::Missing => fill_gaps(&mut s.one, matching.fill_right, &s.any_one),
        }
        if s.many.has_histograms() || s.one.has_histograms() {
            self.compute_histograms(s)?;
        }
        // Of floats nothing is trimmed: they do not even match.
        let trims = self.call.op.is_trim();
        for (step, many) in s.many.iter() {
            let Some(one) = s.one.get(step) else { continue };
            s.paired = true;
            if trims {
                continue;
            }
            if s.matched.has(step) {
                return Err(self.multiple());
            }
            s.matched.set(step, 1.0);
            let (l, r) = if self.one_left { (one, many) } else { (many, one) };
            let (v, holds) = math::binary(self.call.op, l, r);
            if self.call.return_bool {
                s.result.set(step, f64::from(u8::from(holds)));
            } else if holds {
                s.result.set(step, v);
            }
        }
        Ok(())
    }

    /// Adds the results of one pair at the steps at which either is a histogram.
    fn compute_histograms(&self, s: &mut Scratch) -> Result<(), QueryError> {
        let steps = |row: &RowBuf| row.histograms().iter().map(|(step, _)| *step).collect::<BTreeSet<_>>();
        for step in steps(&s.many).union(&steps(&s.one)).copied() {
            let (Some(many), Some(one)) = (sample(&s.many, step), sample(&s.one, step)) else { continue };
            let (l, r) = if self.one_left { (one, many) } else { (many, one) };
            let operator = HistogramOperator { op: self.call.op, span: self.call.span };
            let mut notes = Notes::default();
            let outcome = operator.apply(l, r, &mut s.remarks, &mut notes);
            if !notes.is_empty() {
                self.eval.note(|n| n.merge(notes));
            }
            let Some((h, holds)) = outcome else { continue };
            if s.matched.has(step) {
                return Err(self.multiple());
            }
            s.matched.set(step, 1.0);
            if self.call.return_bool {
                s.result.set(step, f64::from(u8::from(holds)));
            } else if holds {
                s.result.set_histogram(step, h);
            }
        }
        Ok(())
    }

    fn multiple(&self) -> QueryError {
        let message = match self.call.matching.card {
            Cardinality::OneToOne => {
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
            }
            _ => "multiple matches for labels: grouping labels must ensure unique matches",
        };
        self.eval.error(self.call.span, message)
    }
}

//! Addition and subtraction of histograms of different shapes.

use super::bounds::{coarser, exponential_bound};
use super::shape::{common, rebounded};
use super::tally::Tally;
use super::{Bucket, FloatHistogram, Incompatible};
use cardinal_storage::model::{CUSTOM_SCHEMA, ResetHint};

/// What happened on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// One says that there was a reset before it, the other that there was none.
    pub collision: bool,
    /// Their custom bounds differ: those that both have remain.
    pub reconciled: bool,
}

impl<C: Tally> FloatHistogram<C> {
    /// Adds `other`, in the finest shape that both can have.
    pub fn add<D: Tally>(&mut self, other: &FloatHistogram<D>) -> Result<Outcome, Incompatible> {
        self.add_signed(other, 1.0)
    }

    /// Subtracts `other`. The hint becomes what it becomes in a sum.
    pub fn subtract<D: Tally>(&mut self, other: &FloatHistogram<D>) -> Result<Outcome, Incompatible> {
        self.add_signed(other, -1.0)
    }

    fn add_signed<D: Tally>(
        &mut self,
        other: &FloatHistogram<D>,
        sign: f64,
    ) -> Result<Outcome, Incompatible> {
        if (self.schema == CUSTOM_SCHEMA) != (other.schema == CUSTOM_SCHEMA) {
            return Err(Incompatible);
        }
        let (hint, collision) = combined(self.reset_hint, other.reset_hint);
        self.reset_hint = hint;
        self.count.add_all(&other.count, sign);
        self.sum.add_all(&other.sum, sign);
        let reconciled = if self.schema == CUSTOM_SCHEMA {
            self.add_custom(other, sign)
        } else {
            self.add_exponential(other, sign);
            false
        };
        Ok(Outcome { collision, reconciled })
    }

    fn add_custom<D: Tally>(&mut self, other: &FloatHistogram<D>, sign: f64) -> bool {
        if self.custom_bounds == other.custom_bounds {
            add_buckets(&mut self.positive, other.positive.iter().copied(), sign);
            return false;
        }
        let bounds = common(&self.custom_bounds, &other.custom_bounds);
        self.rebound(&bounds);
        let theirs = rebounded(&other.positive, &other.custom_bounds, &bounds);
        add_buckets(&mut self.positive, theirs.into_iter(), sign);
        true
    }

    fn add_exponential<D: Tally>(&mut self, other: &FloatHistogram<D>, sign: f64) {
        let zero = self.widen_zero(other);
        self.zero.add_all(&zero, sign);
        self.coarsen(other.schema);
        let (schema, threshold) = (self.schema, self.zero_threshold);
        let coarse = |b: &Bucket<D>| Bucket { index: coarser(b.index, other.schema, schema), ..*b };
        // What the zero bucket has taken in does not count again.
        let inside = |b: &Bucket<D>| exponential_bound(b.index, schema) <= threshold;
        let theirs = other.positive.iter().map(coarse).skip_while(inside);
        add_buckets(&mut self.positive, theirs, sign);
        let theirs = other.negative.iter().map(coarse).skip_while(inside);
        add_buckets(&mut self.negative, theirs, sign);
    }
}

/// What is known of resets before a sum, and whether the two contradict each other.
fn combined(a: ResetHint, b: ResetHint) -> (ResetHint, bool) {
    use ResetHint::{Gauge, NotReset, Reset, Unknown};
    match (a, b) {
        _ if a == b => (a, false),
        (Gauge, _) | (_, Gauge) => (Gauge, false),
        (Unknown, _) | (_, Unknown) => (Unknown, false),
        (Reset | NotReset, _) => (Unknown, true),
    }
}

/// Adds buckets that ascend by index, of which some may have the same.
fn add_buckets<C: Tally, D: Tally>(
    into: &mut Vec<Bucket<C>>,
    from: impl Iterator<Item = Bucket<D>>,
    sign: f64,
) {
    let mut missing: Vec<Bucket<C>> = Vec::new();
    let mut at = 0;
    for b in from {
        while at < into.len() && into[at].index < b.index {
            at += 1;
        }
        let own = match into.get_mut(at).filter(|own| own.index == b.index) {
            Some(own) => own,
            None => {
                if missing.last().is_none_or(|last| last.index != b.index) {
                    missing.push(Bucket { index: b.index, count: C::default() });
                }
                missing.last_mut().expect("one was pushed if there was none")
            }
        };
        own.count.add_all(&b.count, sign);
    }
    if !missing.is_empty() {
        into.append(&mut missing);
        into.sort_by_key(|b| b.index);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{custom, histogram, pairs};
    use super::*;

    #[test]
    fn buckets_are_added_by_index() {
        let mut a = histogram(4.0, 1.0, &[1.0, 0.0, 3.0]);
        let mut b = histogram(5.0, 2.0, &[]);
        b.positive = [(-3, 1.0), (1, 2.0), (9, 2.0)].map(|(index, count)| Bucket { index, count }).into();
        a.add(&b).unwrap();
        assert_eq!((a.count, a.sum), (9.0, 3.0));
        assert_eq!(pairs(&a.positive), [(-3, 1.0), (0, 1.0), (1, 2.0), (2, 3.0), (9, 2.0)]);
        a.subtract(&b).unwrap();
        a.compact();
        assert_eq!(pairs(&a.positive), [(0, 1.0), (2, 3.0)]);
    }

    #[test]
    fn the_coarser_schema_and_the_wider_zero_bucket_hold() {
        let mut fine = histogram(10.0, 0.0, &[1.0, 2.0, 3.0, 4.0]);
        let mut coarse = histogram(3.0, 0.0, &[0.0, 1.0]);
        coarse.schema = -1;
        coarse.zero_threshold = 1.0;
        coarse.zero = 2.0;
        fine.add(&coarse).unwrap();
        assert_eq!((fine.schema, fine.zero_threshold, fine.zero), (-1, 1.0, 3.0));
        assert_eq!(pairs(&fine.positive), [(1, 6.0), (2, 4.0)]);
        let mut again = coarse.clone();
        again.add(&histogram(10.0, 0.0, &[1.0, 2.0, 3.0, 4.0])).unwrap();
        assert_eq!(pairs(&again.positive), [(0, 0.0), (1, 6.0), (2, 4.0)]);
        assert_eq!(again.zero, 3.0);
    }

    #[test]
    fn custom_bounds_are_reconciled() {
        let mut a = custom(&[2.0, 4.0], &[1.0, 2.0, 3.0]);
        let b = custom(&[1.0, 2.0, 3.0], &[1.0, 1.0, 1.0, 1.0]);
        assert_eq!(a.add(&b), Ok(Outcome { collision: false, reconciled: true }));
        assert_eq!(*a.custom_bounds, [2.0]);
        assert_eq!(pairs(&a.positive), [(0, 3.0), (1, 7.0)]);
        assert_eq!(a.add(&histogram(0.0, 0.0, &[])), Err(Incompatible));
        let same = custom(&[2.0], &[1.0]);
        assert_eq!(a.add(&same), Ok(Outcome::default()));
    }

    #[test]
    fn hints_combine() {
        use ResetHint::{Gauge, NotReset, Reset, Unknown};
        let check = |a, b, hint, collision| {
            assert_eq!(combined(a, b), (hint, collision), "{a:?} {b:?}");
            assert_eq!(combined(b, a), (hint, collision), "{b:?} {a:?}");
        };
        check(Reset, Reset, Reset, false);
        check(Reset, NotReset, Unknown, true);
        check(Gauge, Reset, Gauge, false);
        check(Unknown, NotReset, Unknown, false);
        check(Unknown, Gauge, Gauge, false);
    }
}

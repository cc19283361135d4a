//! Sums and averages of histograms, with what rounding has cost every number.

use super::tally::Tally as _;
use super::{FloatHistogram, Incompatible};
use crate::eval::kahan::Kahan;
use cardinal_storage::model::ResetHint;

/// What was met among the histograms of a sum or an average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Met {
    reset: bool,
    not_reset: bool,
    /// Custom bounds that differ.
    pub(crate) reconciled: bool,
}

impl Met {
    /// Some say that there was a reset before them, others that there was none.
    pub(crate) fn collision(self) -> bool {
        self.reset && self.not_reset
    }

    fn hint(&mut self, hint: ResetHint) {
        self.reset |= hint == ResetHint::Reset;
        self.not_reset |= hint == ResetHint::NotReset;
    }

    fn merge(&mut self, other: Self) {
        self.reset |= other.reset;
        self.not_reset |= other.not_reset;
        self.reconciled |= other.reconciled;
    }
}

/// A sum of histograms.
#[derive(Clone, Debug)]
pub(crate) struct Total {
    state: FloatHistogram<Kahan>,
    pub(crate) met: Met,
}

impl Total {
    /// The sum of one.
    pub(crate) fn of(h: &FloatHistogram) -> Self {
        let mut met = Met::default();
        met.hint(h.reset_hint);
        Self { state: h.map(|&v| Kahan::of(v)), met }
    }

    /// Adds another one.
    pub(crate) fn add(&mut self, h: &FloatHistogram) -> Result<(), Incompatible> {
        self.met.hint(h.reset_hint);
        self.met.reconciled |= self.state.add(h)?.reconciled;
        Ok(())
    }

    /// Adds another sum.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<(), Incompatible> {
        self.met.merge(other.met);
        self.met.reconciled |= self.state.add(&other.state)?.reconciled;
        Ok(())
    }

    /// The sum.
    pub(crate) fn value(&self) -> FloatHistogram {
        self.state.map(Kahan::total)
    }

    /// What it counts as against the bound of samples.
    pub(crate) fn samples(&self) -> usize {
        self.state.samples()
    }
}

/// An average of histograms: the sum divided at the end, or, from where a number in it would overflow, the average itself
/// carried along.
#[derive(Clone, Debug)]
pub(crate) struct Average {
    total: Total,
    count: f64,
    carried: bool,
}

impl Average {
    /// The average of one.
    pub(crate) fn of(h: &FloatHistogram) -> Self {
        Self { total: Total::of(h), count: 1.0, carried: false }
    }

    /// Takes in another one.
    pub(crate) fn add(&mut self, h: &FloatHistogram) -> Result<(), Incompatible> {
        self.count += 1.0;
        if !self.carried {
            let mut next = self.total.clone();
            next.add(h)?;
            if !overflows(&next.state) {
                self.total = next;
                return Ok(());
            }
            self.total.met = next.met;
            self.carry(self.count - 1.0);
        }
        let share = (self.count - 1.0) / self.count;
        scale(&mut self.total.state, |v| v * share);
        let mut part = h.clone();
        part.divide(self.count);
        self.total.add(&part)
    }

    /// Takes in the average of others.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<(), Incompatible> {
        let count = self.count + other.count;
        if !self.carried && !other.carried {
            let mut next = self.total.clone();
            next.merge(&other.total)?;
            if !overflows(&next.state) {
                *self = Self { total: next, count, carried: false };
                return Ok(());
            }
        }
        let mut other = other.clone();
        self.carry(self.count);
        other.carry(other.count);
        let (own, others) = (self.count / count, other.count / count);
        scale(&mut self.total.state, |v| v * own);
        scale(&mut other.total.state, |v| v * others);
        self.count = count;
        self.total.merge(&other.total)
    }

    /// The average.
    pub(crate) fn value(&self) -> FloatHistogram {
        let mut state = self.total.state.clone();
        if !self.carried {
            scale(&mut state, |v| v / self.count);
        }
        state.map(Kahan::total)
    }

    /// What was met.
    pub(crate) fn met(&self) -> Met {
        self.total.met
    }

    /// What it counts as against the bound of samples.
    pub(crate) fn samples(&self) -> usize {
        self.total.samples()
    }

    /// Turns the sum of `count` histograms into their average.
    fn carry(&mut self, count: f64) {
        if !self.carried {
            scale(&mut self.total.state, |v| v / count);
            self.carried = true;
        }
    }
}

fn scale(h: &mut FloatHistogram<Kahan>, f: impl Fn(f64) -> f64) {
    h.change(|k| *k = Kahan { sum: f(k.sum), compensation: f(k.compensation) });
}

/// Whether any number is infinite.
fn overflows(h: &FloatHistogram<Kahan>) -> bool {
    let buckets = h.positive.iter().chain(&h.negative).map(|b| &b.count);
    [&h.zero, &h.count, &h.sum].into_iter().chain(buckets).any(|k| k.parts().0.is_infinite())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{custom, histogram, pairs};
    use super::*;

    #[test]
    fn small_numbers_survive_large_ones() {
        let all = [1.0, 1e100, 1.0, -1e100].map(|sum| histogram(1.0, sum, &[1.0, sum.abs()]));
        let mut total = Total::of(&all[0]);
        all[1..].iter().for_each(|h| total.add(h).unwrap());
        assert_eq!((total.value().count, total.value().sum), (4.0, 2.0));
        let mut parts = Total::of(&all[0]);
        parts.add(&all[1]).unwrap();
        let mut rest = Total::of(&all[2]);
        rest.add(&all[3]).unwrap();
        parts.merge(&rest).unwrap();
        assert_eq!(parts.value().sum, 2.0);
    }

    #[test]
    fn an_average_survives_an_overflowing_sum() {
        let max = f64::MAX;
        let mut average = Average::of(&histogram(max, 1.0, &[max]));
        average.add(&histogram(max, 4.0, &[max, 2.0])).unwrap();
        let value = average.value();
        assert_eq!((value.count, value.sum), (max, 2.5));
        assert_eq!(pairs(&value.positive), [(0, max), (1, 1.0)]);
        let mut plain = Average::of(&histogram(1.0, 1.0, &[]));
        plain.merge(&Average::of(&histogram(3.0, 5.0, &[]))).unwrap();
        assert_eq!((plain.value().count, plain.value().sum), (2.0, 3.0));
        average.merge(&plain).unwrap();
        assert_eq!(average.value().sum, 2.75);
    }

    #[test]
    fn what_is_met_is_told() {
        let mut a = histogram(1.0, 1.0, &[]);
        a.reset_hint = ResetHint::Reset;
        let mut b = a.clone();
        b.reset_hint = ResetHint::NotReset;
        let mut total = Total::of(&a);
        assert!(!total.met.collision());
        total.add(&b).unwrap();
        assert!(total.met.collision() && !total.met.reconciled);
        assert_eq!(total.value().reset_hint, ResetHint::Unknown);
        let mut total = Total::of(&custom(&[1.0], &[1.0]));
        total.add(&custom(&[2.0], &[1.0])).unwrap();
        assert!(total.met.reconciled);
        assert_eq!(total.add(&a), Err(Incompatible));
    }
}

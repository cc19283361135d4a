//! What an aggregation keeps of the values of one group at one step.

use crate::eval::kahan::{Kahan, Mean};
use crate::eval::range::quantile_of;

/// What becomes of native histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakesHistograms {
    /// They are added up.
    Summed,
    /// They are averaged.
    Averaged,
    /// They count like any value.
    Counted,
    /// They are left out, with a remark; the name of the aggregation.
    Ignored(&'static str),
}

/// The state of one group at one step, from its first value on.
pub(super) trait Cell: Send {
    /// What becomes of native histograms.
    const HISTOGRAMS: TakesHistograms;

    /// Whether it holds every value, so that each counts against the budget.
    const HOLDS_VALUES: bool = false;

    /// The state of one value.
    fn of(v: f64) -> Self;

    /// Takes in another value.
    fn add(&mut self, v: f64);

    /// Takes in the values of a later part.
    fn merge(&mut self, other: Self);

    /// The result; `param` is the aggregation's parameter at this step.
    fn value(self, param: f64) -> f64;
}

/// `sum`
pub(super) struct Sum(Kahan);

impl Cell for Sum {
    const HISTOGRAMS: TakesHistograms = TakesHistograms::Summed;

    fn of(v: f64) -> Self {
        Self(Kahan::of(v))
    }

    fn add(&mut self, v: f64) {
        self.0.add(v);
    }

    fn merge(&mut self, other: Self) {
        self.0.merge(&other.0);
    }

    fn value(self, _: f64) -> f64 {
        self.0.total()
    }
}

/// `avg`
pub(super) struct Average(Mean);

impl Cell for Average {
    const HISTOGRAMS: TakesHistograms = TakesHistograms::Averaged;

    fn of(v: f64) -> Self {
        Self(Mean::of(v))
    }

    fn add(&mut self, v: f64) {
        self.0.add(v);
    }

    fn merge(&mut self, other: Self) {
        self.0.merge(&other.0);
    }

    fn value(self, _: f64) -> f64 {
        self.0.total_in_any_order()
    }
}

/// `count`
pub(super) struct Count(u64);

impl Cell for Count {
    const HISTOGRAMS: TakesHistograms = TakesHistograms::Counted;

    fn of(_: f64) -> Self {
        Self(1)
    }

    fn add(&mut self, _: f64) {
        self.0 += 1;
    }

    fn merge(&mut self, other: Self) {
        self.0 += other.0;
    }

    fn value(self, _: f64) -> f64 {
        self.0 as f64
    }
}

/// `group`
pub(super) struct One;

impl Cell for One {
    const HISTOGRAMS: TakesHistograms = TakesHistograms::Counted;

    fn of(_: f64) -> Self {
        Self
    }

    fn add(&mut self, _: f64) {}

    fn merge(&mut self, _: Self) {}

    fn value(self, _: f64) -> f64 {
        1.0
    }
}

/// `min`: NaN only if all are.
pub(super) struct Least(f64);

impl Cell for Least {
    const HISTOGRAMS: TakesHistograms = TakesHistograms::Ignored("min");

    fn of(v: f64) -> Self {
        Self(v)
    }

    fn add(&mut self, v: f64) {
        if self.0 > v || self.0.is_nan() {
            self.0 = v;
        }
    }

    fn merge(&mut self, other: Self) {
        self.add(other.0);
    }

    fn value(self, _: f64) -> f64 {
        self.0
    }
}

/// `max`: NaN only if all are.
pub(super) struct Greatest(f64);

impl Cell for Greatest {
    const HISTOGRAMS: TakesHistograms = TakesHistograms::Ignored("max");

    fn of(v: f64) -> Self {
        Self(v)
    }

    fn add(&mut self, v: f64) {
        if self.0 < v || self.0.is_nan() {
            self.0 = v;
        }
    }

    fn merge(&mut self, other: Self) {
        self.add(other.0);
    }

    fn value(self, _: f64) -> f64 {
        self.0
    }
}

/// `stdvar`: Welford's recurrence; parts merge after Chan, Golub and LeVeque. Values that are not finite make it NaN.
pub(super) struct Variance {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Cell for Variance {
    const HISTOGRAMS: TakesHistograms = TakesHistograms::Ignored("stdvar");

    fn of(v: f64) -> Self {
        Self { count: 1.0, mean: v, squares: if v.is_finite() { 0.0 } else { f64::NAN } }
    }

    fn add(&mut self, v: f64) {
        self.count += 1.0;
        let delta = v - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (v - self.mean);
    }

    fn merge(&mut self, other: Self) {
        let count = self.count + other.count;
        // Zero for equal means, so that the deviation of equal values stays exactly zero.
        let delta = other.mean - self.mean;
        self.squares += other.squares + delta * delta * (self.count * other.count / count);
        self.mean += delta * (other.count / count);
        self.count = count;
    }

    fn value(self, _: f64) -> f64 {
        self.squares / self.count
    }
}

/// `stddev`
pub(super) struct Deviation(Variance);

impl Cell for Deviation {
    const HISTOGRAMS: TakesHistograms = TakesHistograms::Ignored("stddev");

    fn of(v: f64) -> Self {
        Self(Variance::of(v))
    }

    fn add(&mut self, v: f64) {
        self.0.add(v);
    }

    fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }

    fn value(self, param: f64) -> f64 {
        self.0.value(param).sqrt()
    }
}

/// `quantile`
pub(super) struct Values(Vec<f64>);

impl Cell for Values {
    const HISTOGRAMS: TakesHistograms = TakesHistograms::Ignored("quantile");
    const HOLDS_VALUES: bool = true;

    fn of(v: f64) -> Self {
        Self(vec![v])
    }

    fn add(&mut self, v: f64) {
        self.0.push(v);
    }

    fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    fn value(mut self, param: f64) -> f64 {
        quantile_of(param, &mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the result of `values`, taken whole and in every split into two parts.
    fn check<C: Cell>(values: &[f64], param: f64, want: f64) {
        let fold = |v: &[f64]| {
            let mut cell = C::of(v[0]);
            v[1..].iter().for_each(|&v| cell.add(v));
            cell
        };
        let same = |got: f64| got == want || got.is_nan() && want.is_nan();
        let whole = fold(values).value(param);
        assert!(same(whole), "{values:?}: {whole}, not {want}");
        for cut in 1..values.len() {
            let mut cell = fold(&values[..cut]);
            cell.merge(fold(&values[cut..]));
            let got = cell.value(param);
            assert!(same(got), "{values:?} cut at {cut}: {got}, not {want}");
        }
    }

    #[test]
    fn parts_merge_to_the_whole() {
        const NAN: f64 = f64::NAN;
        const INF: f64 = f64::INFINITY;
        check::<Sum>(&[1.0, 2.0, 4.0], 0.0, 7.0);
        check::<Sum>(&[1e100, 1.0, -1e100], 0.0, 1.0);
        check::<Sum>(&[INF, 1.0, 2.0], 0.0, INF);
        check::<Average>(&[1.0, 2.0, 6.0], 0.0, 3.0);
        check::<Average>(&[f64::MAX, f64::MAX], 0.0, f64::MAX);
        check::<Count>(&[NAN, 1.0, 2.0], 0.0, 3.0);
        check::<One>(&[5.0, 6.0], 0.0, 1.0);
        check::<Least>(&[NAN, 3.0, 2.0], 0.0, 2.0);
        check::<Greatest>(&[1.0, NAN, 2.0], 0.0, 2.0);
        check::<Greatest>(&[NAN, NAN], 0.0, NAN);
        check::<Variance>(&[1.0, 3.0], 0.0, 1.0);
        check::<Variance>(&[0.1, 0.1, 0.1], 0.0, 0.0);
        check::<Variance>(&[1.0, INF, 2.0], 0.0, NAN);
        check::<Deviation>(&[1.0, 5.0], 0.0, 2.0);
        check::<Values>(&[3.0, 1.0, 2.0], 0.5, 2.0);
    }
}

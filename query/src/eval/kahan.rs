//! Compensated addition (Neumaier's form of Kahan's), which all sums of PromQL use.

/// A sum and what rounding has cost it so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Kahan {
    /// The rounded sum.
    pub(crate) sum: f64,
    /// What to add to it.
    pub(crate) compensation: f64,
}

impl Kahan {
    /// The sum of one value, `-0` included.
    pub(crate) fn of(v: f64) -> Self {
        Self { sum: v, compensation: 0.0 }
    }

    /// Adds `v`. Once the sum is infinite, the compensation is void.
    #[inline]
    pub(crate) fn add(&mut self, v: f64) {
        let t = self.sum + v;
        if t.is_infinite() {
            self.compensation = 0.0;
        } else if self.sum.abs() >= v.abs() {
            self.compensation += (self.sum - t) + v;
        } else {
            self.compensation += (v - t) + self.sum;
        }
        self.sum = t;
    }

    /// The sum, compensated.
    #[inline]
    pub(crate) fn total(&self) -> f64 {
        self.sum + self.compensation
    }

    /// Adds another sum.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.add(other.sum);
        if self.sum.is_finite() {
            self.compensation += other.compensation;
        }
    }
}

/// A mean: the sum divided at the end, or, from where the sum would overflow, the mean itself carried along.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mean {
    state: Kahan,
    count: f64,
    carried: bool,
}

impl Mean {
    /// The mean of one value.
    pub(crate) fn of(v: f64) -> Self {
        Self { state: Kahan::of(v), count: 1.0, carried: false }
    }

    /// Adds `v`.
    #[inline]
    pub(crate) fn add(&mut self, v: f64) {
        self.count += 1.0;
        if !self.carried {
            let mut next = self.state;
            next.add(v);
            if !next.sum.is_infinite() {
                self.state = next;
                return;
            }
            self.carry(self.count - 1.0);
        }
        let q = (self.count - 1.0) / self.count;
        self.state.sum *= q;
        self.state.compensation *= q;
        self.state.add(v / self.count);
    }

    /// The mean.
    pub(crate) fn total(&self) -> f64 {
        if self.carried {
            self.state.total()
        } else {
            self.state.sum / self.count + self.state.compensation / self.count
        }
    }

    /// The mean of what came in no order of its own: the sum is rounded before it is divided, so that the order, which is another in
    /// memory than in blocks, does not show in the last digit.
    pub(crate) fn total_in_any_order(&self) -> f64 {
        if self.carried { self.state.total() } else { self.state.total() / self.count }
    }

    /// Takes in the mean of other values.
    pub(crate) fn merge(&mut self, other: &Self) {
        let count = self.count + other.count;
        if !self.carried && !other.carried {
            let mut next = self.state;
            next.merge(&other.state);
            if !next.sum.is_infinite() {
                *self = Self { state: next, count, carried: false };
                return;
            }
        }
        let mut other = *other;
        self.carry(self.count);
        other.carry(other.count);
        self.state.sum *= self.count / count;
        self.state.compensation *= self.count / count;
        self.state.add(other.state.sum * (other.count / count));
        self.state.compensation += other.state.compensation * (other.count / count);
        self.count = count;
    }

    /// Turns the sum of `count` values into their mean.
    fn carry(&mut self, count: f64) {
        if !self.carried {
            self.state.sum /= count;
            self.state.compensation /= count;
            self.carried = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let mut k = Kahan::default();
        values.iter().for_each(|&v| k.add(v));
        k.total()
    }

    fn mean(values: &[f64]) -> f64 {
        let mut m = Mean::of(values[0]);
        values[1..].iter().for_each(|&v| m.add(v));
        m.total()
    }

    #[test]
    fn small_terms_survive_large_ones() {
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(sum(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
        assert_eq!(mean(&[1.0, 1e100, 1.0, -1e100]), 0.5);
    }

    #[test]
    fn a_mean_survives_an_overflowing_sum() {
        let max = f64::MAX;
        assert_eq!(mean(&[max, max]), max);
        assert!(mean(&[max, max, -max, -max]).abs() < max * 1e-15);
        assert_eq!(mean(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert_eq!(mean(&[-f64::INFINITY, -1.0, -2.0]), -f64::INFINITY);
        assert!(mean(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    }

    #[test]
    fn merged_means_are_the_mean_of_all() {
        let check = |a: &[f64], b: &[f64], want: f64| {
            let build = |v: &[f64]| {
                let mut m = Mean::of(v[0]);
                v[1..].iter().for_each(|&v| m.add(v));
                m
            };
            let mut m = build(a);
            m.merge(&build(b));
            assert_eq!(m.total(), want, "{a:?} {b:?}");
        };
        check(&[1.0, 2.0], &[3.0, 4.0], 2.5);
        check(&[f64::MAX, f64::MAX], &[f64::MAX, f64::MAX], f64::MAX);
        check(&[f64::MAX], &[f64::MAX], f64::MAX);
        check(&[1.0], &[f64::INFINITY], f64::INFINITY);
    }
}

//! Trimming: what of a distribution lies below, or above, a value.

use super::FloatHistogram;
use super::buckets::Interval;

/// Which side is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// What is below.
    Below,
    /// What is above.
    Above,
}

/// What is kept of a bucket.
struct Kept {
    count: f64,
    /// What the observations are taken for on average.
    middle: f64,
}

impl FloatHistogram {
    /// Removes all observations on one side of `at`, in part of the bucket that holds it. Count and sum are estimated
    /// anew if anything was removed.
    pub(crate) fn trim(&mut self, at: f64, keep: Keep) {
        let populated = |b: &[super::Bucket]| b.iter().any(|b| b.count != 0.0);
        let sides = (populated(&self.negative), populated(&self.positive));
        let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
        let custom = self.is_custom();
        for positive in [true, false] {
            let side = std::mem::take(if positive { &mut self.positive } else { &mut self.negative });
            let mut trimmed = side;
            for b in trimmed.iter_mut().filter(|b| b.count != 0.0) {
                let i = if positive { self.above_zero(b) } else { self.below_zero(b) };
                let kept = kept(&i, at, keep, Scale { positive, linear: custom });
                count += kept.count;
                sum += kept.middle * kept.count;
                changed |= kept.count != b.count;
                b.count = kept.count;
            }
            *(if positive { &mut self.positive } else { &mut self.negative }) = trimmed;
        }
        if self.zero > 0.0 {
            let kept = kept_around_zero(self.around_zero(), sides, at, keep);
            count += kept.count;
            sum += kept.middle * kept.count;
            changed |= kept.count != self.zero;
            self.zero = kept.count;
        }
        if changed {
            (self.count, self.sum) = (count, sum);
            self.compact();
        }
    }
}

/// How observations are spread inside a bucket.
#[derive(Clone, Copy)]
struct Scale {
    positive: bool,
    linear: bool,
}

impl Scale {
    /// The middle between two bounds; towards infinity, the other one.
    fn middle(self, lower: f64, upper: f64) -> f64 {
        match (lower.is_infinite(), upper.is_infinite()) {
            (true, true) => 0.0,
            (true, false) => {
                if upper > 0.0 {
                    upper / 2.0
                } else {
                    upper
                }
            }
            (false, true) => lower,
            (false, false) if self.linear => (lower + upper) / 2.0,
            (false, false) => {
                let mean = (lower * upper).abs().sqrt();
                if self.positive { mean } else { -mean }
            }
        }
    }
}

fn kept(i: &Interval, at: f64, keep: Keep, scale: Scale) -> Kept {
    let (whole, cut) = match keep {
        Keep::Below => (i.upper <= at, i.lower < at),
        Keep::Above => (i.lower >= at, i.upper > at),
    };
    if whole {
        return Kept { count: i.count, middle: scale.middle(i.lower, i.upper) };
    }
    if !cut {
        return Kept { count: 0.0, middle: 0.0 };
    }
    if i.lower == f64::NEG_INFINITY {
        return kept_from_infinity(i, at, keep);
    }
    if i.upper == f64::INFINITY {
        // How far observations reach is not known: with what lies above, none is kept below.
        return match keep {
            Keep::Below => Kept { count: 0.0, middle: 0.0 },
            Keep::Above if at >= i.lower => Kept { count: i.count, middle: at },
            Keep::Above => Kept { count: 0.0, middle: 0.0 },
        };
    }
    let below = if at <= i.lower {
        0.0
    } else if at >= i.upper {
        i.count
    } else {
        i.count * i.share_below(at, scale.linear)
    };
    match keep {
        Keep::Below => Kept { count: below, middle: scale.middle(i.lower, at) },
        Keep::Above => Kept { count: i.count - below, middle: scale.middle(at, i.upper) },
    }
}

/// Of the first custom bucket, which begins at -Inf: where it ends above zero it is taken to begin there.
fn kept_from_infinity(i: &Interval, at: f64, keep: Keep) -> Kept {
    let nothing = Kept { count: 0.0, middle: 0.0 };
    let bounded = i.upper > 0.0 && i.upper != f64::INFINITY;
    match keep {
        Keep::Below if bounded && at > 0.0 => Kept { count: i.count * at / i.upper, middle: at / 2.0 },
        Keep::Below if i.upper <= 0.0 => Kept { count: i.count, middle: at },
        Keep::Above if at >= 0.0 && i.upper > at && i.upper != f64::INFINITY => {
            Kept { count: i.count * (1.0 - at / i.upper), middle: (at + i.upper) / 2.0 }
        }
        Keep::Below | Keep::Above => nothing,
    }
}

/// `sides`: whether there are observations below zero, and above it.
fn kept_around_zero(zero: Interval, sides: (bool, bool), at: f64, keep: Keep) -> Kept {
    let (lower, upper) = match sides {
        (true, false) => (zero.lower, 0.0),
        (false, true) => (0.0, zero.upper),
        _ => (zero.lower, zero.upper),
    };
    let all = Kept { count: zero.count, middle: (lower + upper) / 2.0 };
    let nothing = Kept { count: 0.0, middle: 0.0 };
    let part = |from: f64, to: f64| Kept {
        count: zero.count * ((to - from) / (upper - lower)),
        middle: (from + to) / 2.0,
    };
    match keep {
        Keep::Below if at <= lower => nothing,
        Keep::Below if at >= upper => all,
        Keep::Below => part(lower, at),
        Keep::Above if at <= lower => all,
        Keep::Above if at >= upper => nothing,
        Keep::Above => part(at, upper),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{custom, histogram, pairs};
    use super::super::{Bucket, FloatHistogram};
    use super::*;

    fn trimmed(h: &FloatHistogram, at: f64, keep: Keep) -> FloatHistogram {
        let mut h = h.clone();
        h.trim(at, keep);
        h
    }

    #[test]
    fn exponential_buckets_are_cut_on_their_scale() {
        let mut h = histogram(34.0, 123.75, &[2.0, 4.0, 8.0, 16.0]);
        (h.zero, h.zero_threshold) = (1.0, 0.001);
        h.negative = vec![Bucket { index: 0, count: 1.0 }, Bucket { index: 1, count: 2.0 }];
        let below = trimmed(&h, 2.0, Keep::Below);
        assert_eq!((below.count, below.zero), (10.0, 1.0));
        assert!((below.sum - 3.5355339059327373).abs() < 1e-12);
        assert_eq!(pairs(&below.positive), [(0, 2.0), (1, 4.0)]);
        let above = trimmed(&h, 0.0, Keep::Above);
        assert_eq!((above.count, above.zero), (30.5, 0.5));
        assert!(above.negative.is_empty());
        let half = trimmed(&h, 2f64.sqrt(), Keep::Below);
        assert!((half.count - 8.0).abs() < 1e-9, "{}", half.count);
        let whole = trimmed(&h, f64::INFINITY, Keep::Below);
        assert_eq!((whole.count, whole.sum), (34.0, 123.75));
        assert_eq!(trimmed(&h, f64::INFINITY, Keep::Above).count, 0.0);
    }

    #[test]
    fn custom_buckets_are_cut_straight() {
        let h = custom(&[5.0, 10.0, 15.0, 20.0], &[1.0, 6.0, 4.0, 3.0, 1.0]);
        let check = |at: f64, keep: Keep, count: f64, sum: f64| {
            let h = trimmed(&h, at, keep);
            assert!((h.count - count).abs() < 1e-9 && (h.sum - sum).abs() < 1e-9, "{at} {keep:?}: {h:?}");
        };
        check(15.0, Keep::Below, 11.0, 97.5);
        check(13.0, Keep::Above, 5.6, 94.9);
        check(50.0, Keep::Below, 14.0, 150.0);
        check(50.0, Keep::Above, 1.0, 50.0);
        check(2.0, Keep::Below, 0.4, 0.4);
    }
}

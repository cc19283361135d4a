//! Values of sixteen kinds as a voice platform has them, in the shares that a mix of its series has: what encodings are
//! judged by. The shares are an assumption.

use std::f64::consts::TAU;

/// How a series' values come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A counter of 200 events a tick.
    CounterFast,
    /// A counter of two events a tick.
    CounterSlow,
    /// A counter of an event in fifty ticks.
    CounterIdle,
    /// A counter whose rate is anything from 0.005 to 5000, evenly over the decades.
    CounterAny,
    /// One bucket of a histogram, cumulative, by itself.
    Bucket,
    /// One value.
    Constant,
    /// 0 or 1, seldom changing.
    Switch,
    /// Calls that come and go, around 500.
    Calls,
    /// A walk with two decimals.
    TwoDecimals,
    /// A walk with three decimals.
    ThreeDecimals,
    /// A share of about fifty events.
    Ratio,
    /// A hundred times that.
    Percentage,
    /// Noise around a mean, all digits.
    Noise,
    /// A sum of durations in milliseconds, as floats are added.
    SumMillis,
    /// A sum of durations in nanoseconds, as floats are added.
    SumNanos,
    /// A walk with staleness markers.
    Sparse,
}

/// Each kind with its share in half per cent.
pub const MIX: [(Kind, usize); 16] = [
    (Kind::CounterFast, 8),
    (Kind::CounterSlow, 8),
    (Kind::CounterIdle, 16),
    (Kind::CounterAny, 40),
    (Kind::Bucket, 48),
    (Kind::Constant, 30),
    (Kind::Switch, 8),
    (Kind::Calls, 10),
    (Kind::TwoDecimals, 8),
    (Kind::ThreeDecimals, 6),
    (Kind::Ratio, 3),
    (Kind::Percentage, 2),
    (Kind::Noise, 3),
    (Kind::SumMillis, 2),
    (Kind::SumNanos, 4),
    (Kind::Sparse, 4),
];

/// Values of one series of a kind. They depend on the arguments alone.
pub fn values(kind: Kind, samples: usize, seed: u64) -> Vec<f64> {
    let mut random = Random(seed);
    let r = &mut random;
    match kind {
        Kind::CounterFast => counter(200.0, samples, r),
        Kind::CounterSlow => counter(2.0, samples, r),
        Kind::CounterIdle => counter(0.02, samples, r),
        Kind::CounterAny => {
            let rate = r.log_uniform(0.005, 5000.0);
            counter(rate, samples, r)
        }
        Kind::Bucket => {
            let (total, bucket) = (r.log_uniform(0.01, 100.0), r.below(12) as f64);
            counter(total / (1.0 + (-(bucket - 4.0) * 1.3).exp()), samples, r)
        }
        Kind::Constant => vec![[0.0, 1.0, 1.7e9, 4096.0, 0.25][r.below(5) as usize]; samples],
        Kind::Switch => walk(1.0, samples, |on| if r.uniform() < 0.005 { 1.0 - on } else { on }),
        Kind::Calls => walk(500.0, samples, |x| {
            let ended = (0..x as u64).filter(|_| r.uniform() < 0.05).count() as f64;
            x + r.poisson(25.0) - ended
        }),
        Kind::TwoDecimals => scaled(walk(5000.0, samples, |x| x + r.normal() * 50.0), 100.0),
        Kind::ThreeDecimals => scaled(walk(250.0, samples, |x| x + r.normal() * 8.0), 1000.0),
        Kind::Ratio => (0..samples).map(|_| share(r)).map(|(a, b)| a / b).collect(),
        Kind::Percentage => (0..samples).map(|_| share(r)).map(|(a, b)| 100.0 * a / b).collect(),
        Kind::Noise => walk(0.5, samples, |x| 0.95 * x + 0.025 + r.normal() * 0.02),
        Kind::SumMillis => sums(1e3, samples, r),
        Kind::SumNanos => sums(1e9, samples, r),
        Kind::Sparse => sparse(samples, r),
    }
}

fn walk(start: f64, samples: usize, mut next: impl FnMut(f64) -> f64) -> Vec<f64> {
    let step = |x: &f64| Some(next(*x));
    std::iter::successors(Some(start), step).take(samples).collect()
}

fn scaled(mut values: Vec<f64>, scale: f64) -> Vec<f64> {
    values.iter_mut().for_each(|v| *v = v.round() / scale);
    values
}

/// A counter that is reset every other day of 5760 ticks.
fn counter(rate: f64, samples: usize, r: &mut Random) -> Vec<f64> {
    let start = r.below((rate * 1e6) as u64 + 1000) as f64;
    walk(start, samples, |x| if r.below(11_520) == 0 { 0.0 } else { x } + r.poisson(rate))
}

/// Three in five of about fifty events.
fn share(r: &mut Random) -> (f64, f64) {
    let of = r.poisson(50.0);
    ((0..of as u64).filter(|_| r.uniform() < 0.6).count() as f64, of)
}

/// Ten durations a tick, around 50 ms, in units of so many to the second.
fn sums(units: f64, samples: usize, r: &mut Random) -> Vec<f64> {
    walk(1000.0, samples, |x| {
        (0..r.poisson(10.0) as u64)
            .fold(x, |x, _| x + ((r.normal() * 0.8 - 3.0).exp() * units).round() / units)
    })
}

fn sparse(samples: usize, r: &mut Random) -> Vec<f64> {
    let stale = f64::from_bits(cardinal_storage::model::STALE_NAN_BITS);
    let (mut x, mut on) = (20.0, true);
    let mut next = || {
        let v = if on || r.uniform() < 0.5 { x } else { stale };
        if on {
            x += (r.normal() * 2.0).round();
        }
        on = if on { r.uniform() >= 0.03 } else { r.uniform() < 0.3 };
        v
    };
    (0..samples).map(|_| next()).collect()
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        (low.ln() + self.uniform() * (high / low).ln()).exp()
    }

    fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (TAU * v).cos()
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 40.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let (limit, mut events, mut product) = ((-mean).exp(), 0.0, self.uniform());
        while product > limit {
            events += 1.0;
            product *= self.uniform();
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_those_of_a_whole_and_values_depend_on_the_seed_alone() {
        assert_eq!(MIX.iter().map(|(_, share)| share).sum::<usize>(), 200);
        let bits = |kind, seed| values(kind, 100, seed).iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        for (kind, _) in MIX {
            assert_eq!(bits(kind, 1), bits(kind, 1));
            assert_eq!(bits(kind, 1).len(), 100);
            if kind != Kind::Constant {
                assert_ne!(bits(kind, 3), bits(kind, 4), "{kind:?}");
            }
        }
    }
}

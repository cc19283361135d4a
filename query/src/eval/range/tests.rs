//! Every range function against a direct evaluation of each window alone, to the bit, and against known results.

use super::*;
use crate::CancelToken;
use crate::eval::Grid;
use crate::eval::kahan::{Kahan, Mean};
use crate::parse::ast::Edges;
use RangeFunction as F;
use cardinal_storage::model::{DurationMs, TimestampMs};
use proptest::prelude::*;

const ALL: [F; 26] = [
    F::Rate,
    F::Increase,
    F::Delta,
    F::Irate,
    F::Idelta,
    F::Changes,
    F::Resets,
    F::Deriv,
    F::PredictLinear,
    F::Smoothing,
    F::Sum,
    F::Avg,
    F::Count,
    F::Min,
    F::Max,
    F::Stddev,
    F::Stdvar,
    F::Quantile,
    F::Mad,
    F::First,
    F::Last,
    F::Present,
    F::TsOfFirst,
    F::TsOfLast,
    F::TsOfMin,
    F::TsOfMax,
];

fn params(function: F, steps: usize) -> Vec<Vec<f64>> {
    match function {
        F::PredictLinear => vec![vec![60.0; steps]],
        F::Quantile => vec![vec![0.9; steps]],
        F::Smoothing => vec![vec![0.3; steps], vec![0.6; steps]],
        _ => Vec::new(),
    }
}

fn row(function: F, spec: WindowSpec, t: &[i64], v: &[f64]) -> Vec<Option<f64>> {
    let mut out = RowBuf::new(spec.grid.count);
    let params = params(function, spec.grid.count);
    let watch = Watch::new(None, CancelToken::default());
    let call = RangeCall { function, spec, params: &params, watch: &watch };
    call.row(Samples { t, v }, &mut RangeScratch::default(), &mut out);
    (0..spec.grid.count).map(|i| out.get(i)).collect()
}

/// The function of one window, looked at alone and from its first sample to its last.
fn direct(function: F, t: &[i64], v: &[f64]) -> Option<f64> {
    let pairs = |test: fn(f64, f64) -> bool| v.windows(2).filter(|w| test(w[0], w[1])).count() as f64;
    let best = |better: fn(f64, f64) -> bool| {
        let mut best = 0;
        for i in 0..v.len() {
            if better(v[i], v[best]) || v[best].is_nan() {
                best = i;
            }
        }
        best
    };
    let secs = |i: usize| t[i] as f64 / 1000.0;
    v.first()?;
    match function {
        F::Changes => Some(pairs(|a, b| a != b && !(a.is_nan() && b.is_nan()))),
        F::Resets => Some(pairs(|a, b| b < a)),
        F::Count => Some(v.len() as f64),
        F::Present => Some(1.0),
        F::First => Some(v[0]),
        F::Last => Some(v[v.len() - 1]),
        F::TsOfFirst => Some(secs(0)),
        F::TsOfLast => Some(secs(v.len() - 1)),
        F::Min => Some(v[best(|a, b| a < b)]),
        F::Max => Some(v[best(|a, b| a > b)]),
        F::TsOfMin => Some(secs(best(|a, b| a <= b))),
        F::TsOfMax => Some(secs(best(|a, b| a >= b))),
        F::Sum => {
            let mut sum = Kahan::default();
            v.iter().for_each(|&v| sum.add(v));
            Some(if sum.sum.is_infinite() { sum.sum } else { sum.total() })
        }
        F::Avg => {
            let mut mean = Mean::of(v[0]);
            v[1..].iter().for_each(|&v| mean.add(v));
            Some(mean.total())
        }
        _ => unreachable!("the others have no state that is carried from window to window"),
    }
}

fn spec(start: i64, step: i64, count: usize, range: i64) -> WindowSpec {
    let grid = Grid { start: TimestampMs(start), step: DurationMs(step), count, end: TimestampMs::MAX };
    WindowSpec { grid, range: DurationMs(range), offset: DurationMs(0), at: None, reach: None }
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-5i32..50).prop_map(f64::from),
        1 => Just(f64::NAN),
        1 => Just(-0.0),
        1 => Just(f64::INFINITY),
        1 => Just(f64::MAX),
        2 => -1e3..1e3f64,
    ]
}

fn series() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let integers = proptest::collection::vec((1i64..30, (-50i32..50).prop_map(f64::from)), 0..60);
    let wild = proptest::collection::vec((1i64..30, value()), 0..60);
    prop_oneof![integers, wild].prop_map(|gaps| {
        let mut t = 0;
        gaps.into_iter()
            .map(|(gap, v)| {
                t += gap;
                (t, v)
            })
            .collect()
    })
}

proptest! {
    /// Taking all windows in one pass gives what each window alone gives, bit for bit.
    #[test]
    fn one_pass_equals_each_window_alone(s in series(), start in -50i64..200, step in 1i64..60, range in 1i64..200) {
        let (t, v): (Vec<i64>, Vec<f64>) = s.into_iter().unzip();
        let spec = spec(start, step, 20, range);
        for function in ALL {
            let all = row(function, spec, &t, &v);
            for (i, got) in all.iter().enumerate() {
                let until = spec.until(i).0;
                let inside = |t: i64| t > until - range && t <= until;
                let keep: Vec<usize> = (0..t.len()).filter(|&i| inside(t[i])).collect();
                let (wt, wv): (Vec<i64>, Vec<f64>) = keep.iter().map(|&i| (t[i], v[i])).unzip();
                let alone = super::tests::spec(until, 1, 1, range);
                let want = row(function, alone, &wt, &wv)[0];
                prop_assert_eq!(got.map(f64::to_bits), want.map(f64::to_bits), "{:?} at {}", function, until);
                let carried = matches!(function, F::Changes | F::Resets | F::Count | F::Present | F::First | F::Last
                    | F::TsOfFirst | F::TsOfLast | F::Min | F::Max | F::TsOfMin | F::TsOfMax | F::Sum | F::Avg);
                if carried {
                    let want = direct(function, &wt, &wv);
                    prop_assert_eq!(got.map(f64::to_bits), want.map(f64::to_bits), "{:?} of {:?}", function, wv);
                }
            }
        }
    }
}

/// Samples every 10 s from 10 s on; one window of `range` seconds that ends at `until` seconds.
fn check(function: F, v: &[f64], range: i64, until: i64, want: Option<f64>) {
    let t: Vec<i64> = (1..=v.len() as i64).map(|i| i * 10_000).collect();
    let got = row(function, spec(until * 1000, 1, 1, range * 1000), &t, v)[0];
    let close = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan() || (a - b).abs() < 1e-12 * b.abs();
    let same = match (got, want) {
        (Some(a), Some(b)) => close(a, b),
        (a, b) => a == b,
    };
    assert!(same, "{function:?} of {v:?} over {range} s at {until} s: {got:?}, not {want:?}");
}

#[test]
fn rates_extrapolate_to_the_edges_but_not_below_zero() {
    let steady = [100.0, 110.0, 120.0, 130.0, 140.0];
    check(F::Increase, &steady, 50, 50, Some(50.0));
    check(F::Rate, &steady, 50, 50, Some(1.0));
    check(F::Delta, &steady, 50, 50, Some(50.0));
    // The next sample is overdue: half an interval is added, not all that is missing.
    check(F::Increase, &steady, 70, 70, Some(55.0));
    // A counter that begins near zero began where it was zero.
    check(F::Increase, &[1.0, 11.0, 21.0], 60, 30, Some(21.0));
    check(F::Delta, &[1.0, 11.0, 21.0], 60, 30, Some(25.0));
    // After a reset, what was counted before still counts.
    check(F::Increase, &[100.0, 110.0, 5.0, 15.0], 40, 40, Some(25.0 * (40.0 / 30.0)));
    check(F::Rate, &[1.0], 50, 50, None);
    check(F::Rate, &[f64::NAN, 1.0], 20, 20, Some(f64::NAN));
}

#[test]
fn instant_rates_look_at_two_samples() {
    check(F::Irate, &[1.0, 5.0, 25.0], 30, 30, Some(2.0));
    check(F::Irate, &[1.0, 50.0, 20.0], 30, 30, Some(2.0));
    check(F::Idelta, &[1.0, 50.0, 20.0], 30, 30, Some(-30.0));
    check(F::Idelta, &[1.0], 30, 30, None);
}

#[test]
fn lines_go_through_the_samples() {
    let line = [10.0, 20.0, 30.0];
    check(F::Deriv, &line, 30, 30, Some(1.0));
    check(F::Deriv, &[5.0, 5.0], 30, 30, Some(0.0));
    check(F::Deriv, &[f64::INFINITY, f64::INFINITY], 30, 30, Some(f64::NAN));
    check(F::PredictLinear, &line, 30, 30, Some(90.0));
    check(F::PredictLinear, &[5.0], 30, 30, None);
    check(F::Smoothing, &[1.0, 2.0, 3.0], 30, 30, Some(3.0));
}

#[test]
fn spread_of_a_window() {
    check(F::Stdvar, &[1.0, 3.0], 30, 30, Some(1.0));
    check(F::Stddev, &[0.1, 0.1, 0.1], 30, 30, Some(0.0));
    check(F::Stddev, &[1.0, f64::INFINITY], 30, 30, Some(f64::NAN));
    check(F::Quantile, &[1.0, 2.0], 30, 30, Some(1.9));
    check(F::Mad, &[4.0, 6.0, 2.0, 1.0, 999.0, 1.0, 2.0], 90, 70, Some(1.0));
    check(F::Sum, &[f64::MAX, f64::MAX], 30, 30, Some(f64::INFINITY));
}

#[test]
fn long_windows_at_many_steps_end_with_the_query() {
    let t: Vec<i64> = (0..2_000_000).collect();
    let v: Vec<f64> = t.iter().map(|t| *t as f64 + 0.5).collect();
    let grid =
        Grid { start: TimestampMs(2_000_000), step: DurationMs(1), count: 1_000_000, end: TimestampMs::MAX };
    let spec =
        WindowSpec { grid, range: DurationMs(10_000_000), offset: DurationMs(0), at: None, reach: None };
    let cancel = CancelToken::default();
    cancel.cancel();
    let watch = Watch::new(None, cancel);
    for function in [F::Sum, F::Avg, F::Stddev, F::Quantile, F::Mad, F::Deriv, F::PredictLinear, F::Smoothing]
    {
        let params = params(function, grid.count);
        let call = RangeCall { function, spec, params: &params, watch: &watch };
        let mut out = RowBuf::new(grid.count);
        call.row(Samples { t: &t, v: &v }, &mut RangeScratch::default(), &mut out);
        assert!(out.is_empty(), "{function:?}");
    }
}

/// The change of one window by its definition, from the samples around it alone.
fn edged(function: F, edges: Edges, s: &[(i64, f64)], after: i64, until: i64, lookback: i64) -> Option<f64> {
    let smoothed = edges == Edges::Smoothed;
    let counter = function != F::Delta;
    let line = |(t, a): (i64, f64), (u, b): (i64, f64), at: i64| {
        let a = if counter && b < a { 0.0 } else { a };
        a + (b - a) * (at - t) as f64 / (u - t) as f64
    };
    let before = s.iter().rfind(|(t, _)| *t <= after && *t > after - lookback).copied();
    let behind = s.iter().find(|(t, _)| *t >= until && *t <= until + lookback).copied();
    let inside: Vec<_> = s.iter().filter(|(t, _)| *t > after && *t < until).copied().collect();
    let exact = behind.filter(|(t, _)| *t == until);
    let last = if smoothed { behind } else { exact }.or(inside.last().copied())?;
    let first = before.or(inside.first().copied()).unwrap_or(last);
    if first.0 > until {
        return None;
    }
    let left = match inside.first().copied().unwrap_or(last) {
        next if smoothed && first.0 < after => line(first, next, after),
        _ => first.1,
    };
    let right = match inside.last().copied().unwrap_or(first) {
        previous if smoothed && last.0 > until => line(previous, last, until),
        _ => last.1,
    };
    let mut values = vec![left];
    values.extend(inside.iter().map(|(_, v)| *v));
    values.push(right);
    let lost: f64 = values.windows(2).filter(|w| counter && w[1] < w[0]).map(|w| w[0]).sum();
    let change = right - left + lost;
    Some(if function == F::Rate { change / ((until - after) as f64 / 1000.0) } else { change })
}

proptest! {
    #[test]
    fn changes_between_edges_are_those_of_each_window_alone(
        gaps in proptest::collection::vec((1i64..40, 0u8..9), 0..60),
        (start, step, range, lookback) in (-50i64..300, 1i64..50, 1i64..80, 1i64..60),
    ) {
        let mut at = 0;
        let samples: Vec<(i64, f64)> = gaps.iter().map(|&(gap, v)| { at += gap; (at, f64::from(v)) }).collect();
        let (t, v): (Vec<i64>, Vec<f64>) = samples.iter().copied().unzip();
        for edges in [Edges::Anchored, Edges::Smoothed] {
            let before = DurationMs(lookback);
            let beyond = if edges == Edges::Smoothed { before } else { DurationMs(0) };
            let spec = WindowSpec { reach: Some(Reach { edges, before, beyond }), ..spec(start, step, 20, range) };
            for function in [F::Rate, F::Increase, F::Delta] {
                for (i, got) in row(function, spec, &t, &v).into_iter().enumerate() {
                    let (after, until) = (spec.after(i).0, spec.until(i).0);
                    let want = edged(function, edges, &samples, after, until, lookback);
                    prop_assert_eq!(got.map(f64::to_bits), want.map(f64::to_bits),
                        "{:?} {:?} over ({}, {}] of {:?}", function, edges, after, until, samples);
                }
            }
        }
    }
}

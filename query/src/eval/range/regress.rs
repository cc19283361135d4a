//! Lines through windows: `deriv`, `predict_linear`; and double exponential smoothing.

use super::Samples;
use crate::eval::kahan::Kahan;

/// The slope of the line through a window, per second.
pub(super) fn deriv(w: Samples<'_>) -> Option<f64> {
    (w.len() >= 2).then(|| line(w, w.t[0]).0)
}

/// The value of the line through a window, `ahead` seconds after `t`.
pub(super) fn predict(w: Samples<'_>, t: i64, ahead: f64) -> Option<f64> {
    (w.len() >= 2).then(|| {
        let (slope, intercept) = line(w, t);
        slope * ahead + intercept
    })
}

/// Slope (per second) and value at `origin` of the least-squares line. Equal values give exactly their line.
fn line(w: Samples<'_>, origin: i64) -> (f64, f64) {
    if w.v.iter().all(|&v| v == w.v[0]) {
        return if w.v[0].is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, w.v[0]) };
    }
    let [mut sx, mut sy, mut sxy, mut sxx] = [Kahan::default(); 4];
    for (&t, &y) in w.t.iter().zip(w.v) {
        let x = t.wrapping_sub(origin) as f64 / 1e3;
        sx.add(x);
        sy.add(y);
        sxy.add(x * y);
        sxx.add(x * x);
    }
    let n = w.len() as f64;
    let [sx, sy, sxy, sxx] = [sx, sy, sxy, sxx].map(|k| k.total());
    let slope = (sxy - sx * sy / n) / (sxx - sx * sx / n);
    (slope, sy / n - slope * sx / n)
}

/// Holt's linear method: a level and a trend, each moved by its factor towards what every sample shows.
pub(super) fn smooth(v: &[f64], level_factor: f64, trend_factor: f64) -> Option<f64> {
    if v.len() < 2 {
        return None;
    }
    let (mut before, mut level, mut trend) = (0.0, v[0], v[1] - v[0]);
    for (i, &x) in v.iter().enumerate().skip(1) {
        if i > 1 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        let next = level_factor * x + (1.0 - level_factor) * (level + trend);
        before = level;
        level = next;
    }
    Some(level)
}

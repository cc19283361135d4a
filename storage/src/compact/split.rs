//! Where a series is cut into chunks.

use crate::codec::Samples;
use crate::model::Window;
use std::ops::Range;

/// So many samples are one chunk, wherever in the window they lie: a day of one a minute, two hours of one every five seconds.
const CHUNK_SAMPLES_GOOD: usize = 1440;
/// Denser series are cut at the same instants all, in so many parts of the window, so that a series that began or paused
/// within it still shares the time columns of the parts where it did not. A day of one every 15 s becomes chunks of 960.
const PARTS: i64 = 6;
/// Samples of a chunk of these at most: a reader of a short range decodes whole chunks, in a microsecond or two. Chunks of
/// 1440 would save one part in a hundred.
const CHUNK_SAMPLES_MAX: usize = 1024;

/// Samples of one kind between which there are none of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Run {
    Floats(Range<usize>),
    Histograms(Range<usize>),
}

/// The runs of a series in order of time: a chunk has samples of one kind.
pub(super) fn runs(samples: &Samples) -> Vec<Run> {
    let (floats, histograms) = (&samples.t, &samples.histograms);
    let (mut out, mut f, mut h) = (Vec::new(), 0, 0);
    while h < histograms.len() {
        let until = f + floats[f..].partition_point(|t| *t < histograms[h].t.0);
        if until > f {
            out.push(Run::Floats(std::mem::replace(&mut f, until)..until));
        }
        let next = floats.get(f).copied();
        let until = h + histograms[h..].partition_point(|s| next.is_none_or(|t| s.t.0 <= t));
        out.push(Run::Histograms(std::mem::replace(&mut h, until)..until));
    }
    if f < floats.len() {
        out.push(Run::Floats(f..floats.len()));
    }
    out
}

/// Cuts the samples at these times, all in `window`, into the chunks that they become.
pub(super) fn split(t: &[i64], window: Window) -> Vec<Range<usize>> {
    if t.len() <= CHUNK_SAMPLES_GOOD {
        return std::iter::once(0..t.len()).collect();
    }
    let mut out = Vec::new();
    let mut from = 0;
    for part in 1..=PARTS {
        // Of a window of 2^63 ms nothing would be left of the product.
        let end = window.start.0.saturating_add((window.len.0 / PARTS).saturating_mul(part));
        let to = if part == PARTS { t.len() } else { from + t[from..].partition_point(|t| *t <= end) };
        let n = to - from;
        let pieces = n.div_ceil(CHUNK_SAMPLES_MAX);
        out.extend((0..pieces).map(|i| from + n * i / pieces..from + n * (i + 1) / pieces));
        from = to;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DurationMs, TimestampMs};

    #[test]
    fn kinds_take_turns() {
        let check = |floats: &[i64], histograms: &[i64], want: &[Run]| {
            let h = crate::codec::take_histogram(crate::codec::ChunkKind::IntegerHistogram, &EMPTY).unwrap();
            let sample = |t: &i64| crate::model::HistogramSample { t: TimestampMs(*t), h: h.clone() };
            let samples = Samples {
                t: floats.to_vec(),
                v: vec![0.0; floats.len()],
                histograms: histograms.iter().map(sample).collect(),
            };
            assert_eq!(runs(&samples), want, "{floats:?} {histograms:?}");
        };
        const EMPTY: [u8; 23] = [0; 23];
        check(&[], &[], &[]);
        check(&[1, 2], &[], &[Run::Floats(0..2)]);
        check(&[], &[1, 2], &[Run::Histograms(0..2)]);
        let turns = [Run::Floats(0..2), Run::Histograms(0..1), Run::Floats(2..3), Run::Histograms(1..3)];
        check(&[1, 2, 4], &[3, 5, 6], &turns);
        check(&[4], &[3], &[Run::Histograms(0..1), Run::Floats(0..1)]);
    }

    #[test]
    fn dense_series_are_cut_at_the_same_instants() {
        let window = Window { start: TimestampMs(86_400_000), len: DurationMs::hours(24) };
        let check = |first: i64, n: i64, step: i64, want: &[usize]| {
            let t: Vec<i64> = (0..n).map(|i| window.start.0 + first + i * step).collect();
            let ranges = split(&t, window);
            assert_eq!(ranges.iter().map(Range::len).collect::<Vec<_>>(), want, "{n} every {step} ms");
            assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, t.len()));
            assert!(ranges.windows(2).all(|r| r[0].end == r[1].start));
        };
        check(1, 1, 15_000, &[1]);
        check(60_000, 1440, 60_000, &[1440]);
        check(15_000, 1440, 15_000, &[1440]);
        check(30_000, 2880, 30_000, &[480; 6]);
        check(15_000, 5760, 15_000, &[960; 6]);
        check(1, 5760, 15_000, &[960; 6]);
        check(3 * 3_600_000, 5040, 15_000, &[241, 960, 960, 960, 960, 959]);
        check(1000, 86_400, 1000, &[960; 90]);
        check(1, 3000, 1, &[1000; 3]);
    }
}

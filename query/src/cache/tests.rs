use super::steps::{Run, runs};
use super::*;
use cardinal_storage::model::TimestampMs;

fn grid(start: i64, count: usize) -> Grid {
    let end = TimestampMs(start + 10 * (count as i64 - 1));
    Grid { start: TimestampMs(start), step: DurationMs(10), count, end }
}

fn segment(start: i64, count: usize) -> Segment {
    let rows = vec![MatrixSeries {
        labels: cardinal_storage::model::LabelSet::empty(),
        points: grid(start, count).times().map(|t| (t, t.0 as f64)).collect(),
        histograms: Vec::new(),
    }];
    Segment::new(&grid(start, count), rows, Notes::default())
}

#[test]
fn a_segment_answers_the_steps_that_it_has() {
    let check = |start: i64, count: usize, want: Option<std::ops::Range<usize>>| {
        assert_eq!(segment(start, count).steps(&grid(100, 10)), want, "{start} {count}");
    };
    check(100, 10, Some(0..10));
    check(50, 10, Some(0..5));
    check(150, 10, Some(5..10));
    check(0, 100, Some(0..10));
    check(50, 5, None);
    check(200, 5, None);
}

#[test]
fn what_adjoins_becomes_one() {
    let joined: Vec<_> =
        Segment::joined([segment(0, 3), segment(30, 2), segment(60, 1)].map(Arc::new).into()).collect();
    let steps: Vec<_> = joined.iter().filter_map(|s| s.steps(&grid(0, 10))).collect();
    assert_eq!(steps, [0..5, 6..7]);
}

#[test]
fn runs_are_evaluated_together_unless_there_are_remarks() {
    let sources =
        |text: &str| -> Vec<From> { text.chars().map(|c| c.to_digit(10).map(|d| d as usize)).collect() };
    let check = |text: &str, settled: usize, is_remarked: bool, want: &[(std::ops::Range<usize>, From)]| {
        let sources = sources(text);
        let got = runs(&grid(100, sources.len()), &sources, settled, is_remarked);
        let want: Vec<Run> =
            want.iter().map(|(steps, source)| Run { steps: steps.clone(), source: *source }).collect();
        assert_eq!(got, want, "{text}");
    };
    check("00001__", 6, false, &[(0..4, Some(0)), (4..5, Some(1)), (5..7, None)]);
    check("00001__", 6, true, &[(0..4, Some(0)), (4..5, Some(1)), (5..6, None), (6..7, None)]);
    check("_0_0_0_0_", 9, false, &[(0..9, None)]);
    // Blocks of 32 steps begin where the number of the step says so, not where the query begins.
    let all = "_".repeat(60);
    check(&all, 50, true, &[(0..22, None), (22..50, None), (50..60, None)]);
}

#[test]
fn the_result_used_longest_ago_makes_room() {
    let cache = ResultCache::new(40_000);
    let key = |name: &str| {
        Arc::new(Key { query: name.into(), step: DurationMs(10), phase: 0, lookback: DurationMs(0) })
    };
    let entry = |count: usize| Entry {
        segments: vec![(Arc::new(segment(0, count)), 0)],
        is_remarked: false,
        used: 0,
    };
    for name in ["a", "b", "c"] {
        cache.put(key(name), entry(400));
        cache.look_up(&key(name));
    }
    cache.look_up(&key("a"));
    for name in ["d", "e", "f"] {
        cache.put(key(name), entry(400));
        cache.look_up(&key(name));
    }
    let has = |name: &str| cache.look_up(&key(name)).is_some();
    assert_eq!((has("a"), has("b"), has("f")), (true, false, true));
    let stats = cache.stats();
    assert!(stats.bytes <= 40_000 && stats.evicted > 0, "{stats:?}");
    // One that is too large takes no room, and leaves no old one.
    cache.put(key("a"), entry(1000));
    assert!(!has("a"));
    for name in ["a", "b", "c", "d", "e", "f"] {
        cache.forget(&key(name));
    }
    let stats = cache.stats();
    assert_eq!((stats.bytes, stats.entries), (0, 0));
}

//! Times that are told without reading values: what counting series rests on.

use super::*;
use crate::model::stale_nan;

const SERIES: usize = 40;

/// A scrape of all series, one minute after another; what `value` gives of each.
fn scrape(db: &Database, minutes: std::ops::Range<i64>, value: impl Fn(i64, usize) -> f64) {
    let series: Vec<LabelSet> = (0..SERIES).map(|n| labels("m", &(n % 5).to_string(), n)).collect();
    for t in minutes.map(|m| HOUR + m * 60_000) {
        let points: Vec<[(i64, f64); 1]> = (0..SERIES).map(|n| [(t, value(t, n))]).collect();
        let rows: Vec<_> = series.iter().zip(&points).map(|(l, p)| (l, &p[..])).collect();
        append(db, &rows).unwrap().ticket.wait().unwrap();
    }
}

/// Minutes after the first hour.
fn minutes(after: i64, until: i64) -> TimeRange {
    TimeRange { after: TimestampMs(HOUR + after * 60_000), until: TimestampMs(HOUR + until * 60_000) }
}

#[test]
fn the_newest_is_told_by_the_head_and_all_of_them_by_blocks() {
    let db = open(&SimFs::new(1));
    let values = |t: i64, n: usize| (t / 60_000 * n as i64) as f64;
    scrape(&db, 0..50, values);
    let check = |range, want| assert_eq!(check_times(&db.view(), &[], range), want, "{range:?}");
    check(minutes(44, 49), [0, SERIES]);
    check(minutes(49, 60), [SERIES, SERIES]);
    // Not the newest sample, but an older one is asked for.
    check(minutes(20, 30), [0, 0]);
    db.flush().unwrap();
    check(minutes(20, 30), [SERIES, SERIES]);
    check(minutes(44, 60), [SERIES, SERIES]);
    // Some in blocks, some in the head.
    scrape(&db, 50..55, values);
    check(minutes(44, 60), [0, SERIES]);
    check(minutes(44, 49), [SERIES, SERIES]);
    db.flush().unwrap();
    check(minutes(44, 60), [SERIES, SERIES]);
}

#[test]
fn where_staleness_markers_may_be_values_are_read() {
    let db = open(&SimFs::new(1));
    let ends =
        |t: i64, n: usize| if n.is_multiple_of(4) && t == HOUR + 49 * 60_000 { stale_nan() } else { 5.0 };
    scrape(&db, 0..50, ends);
    let check = |range, want| assert_eq!(check_times(&db.view(), &[], range), want, "{range:?}");
    // A staleness marker gives the open chunk back: then only the log tells.
    check(minutes(44, 60), [0, SERIES - SERIES / 4]);
    db.flush().unwrap();
    check(minutes(44, 60), [SERIES - SERIES / 4; 2]);
}

#[test]
fn what_may_be_deleted_is_read() {
    let db = open(&SimFs::new(1));
    scrape(&db, 0..50, |_, n| n as f64);
    db.delete_series(&[vec![Matcher::new("account", MatchOp::Equal, "1").unwrap()]], minutes(40, 60))
        .unwrap();
    let check = |range, want| assert_eq!(check_times(&db.view(), &[], range), want, "{range:?}");
    check(minutes(30, 60), [SERIES - SERIES / 5; 2]);
    check(minutes(10, 30), [SERIES; 2]);
}

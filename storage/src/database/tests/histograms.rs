//! Native histograms from their arrival to merged blocks, beside floats and in the same series.

use super::*;
use crate::codec::{kind_of, put_histogram};
use crate::io::FaultKind;
use crate::model::{
    BucketCounts, BucketSpan, CUSTOM_SCHEMA, Counts, Histogram, HistogramSample, ResetHint, STALE_NAN_BITS,
    stale_nan,
};
use crate::read::Wanted;

const MINUTE: i64 = 60_000;

/// A point as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Point {
    Float(u64),
    Histogram(Vec<u8>),
}

type Points = BTreeMap<LabelSet, BTreeMap<i64, Point>>;

fn point(h: &Histogram) -> Point {
    let mut bytes = vec![kind_of(h).number()];
    put_histogram(h, &mut bytes);
    Point::Histogram(bytes)
}

/// A histogram of integers: `n` observations in some buckets, whose place now and then changes.
fn integers(n: u64) -> Histogram {
    let shift = (n / 50 % 3) as i32;
    let positive = vec![n / 2, n - n / 2, n % 7];
    Histogram {
        schema: 3,
        reset_hint: if n.is_multiple_of(40) { ResetHint::Reset } else { ResetHint::NotReset },
        zero_threshold: 1e-9,
        sum: n as f64 * 0.25,
        positive_spans: vec![BucketSpan { offset: shift, length: 2 }, BucketSpan { offset: 3, length: 1 }],
        negative_spans: vec![BucketSpan { offset: -5, length: 1 }],
        custom_bounds: vec![],
        counts: Counts::Integer(BucketCounts {
            count: positive.iter().sum::<u64>() + 2 * n,
            zero: n,
            positive,
            negative: vec![n],
        }),
    }
}

fn floats(n: u64) -> Histogram {
    let v = n as f64 / 3.0;
    let counts = BucketCounts { count: v, zero: 0.0, positive: vec![v, 0.5], negative: vec![] };
    Histogram {
        schema: CUSTOM_SCHEMA,
        zero_threshold: 0.0,
        sum: f64::NAN,
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        negative_spans: vec![],
        custom_bounds: vec![0.5 + (n / 100) as f64, 1000.0],
        counts: Counts::Float(counts),
        ..integers(n)
    }
}

fn append_histograms(db: &Database, of: &[(&LabelSet, &[(i64, Histogram)])]) -> Appended {
    let (mut histograms, mut rows) = (vec![], vec![]);
    for (labels, points) in of {
        let start = histograms.len() as u32;
        histograms.extend(points.iter().map(|(t, h)| HistogramSample { t: TimestampMs(*t), h: h.clone() }));
        rows.push(db.row(labels, start..histograms.len() as u32));
    }
    db.append_histograms(&rows, &histograms, &Canonical).unwrap()
}

fn points(db: &Database) -> Points {
    points_in(&db.view(), &[], TimeRange::ALL)
}

fn points_in(view: &View, matchers: &[Matcher], range: TimeRange) -> Points {
    let mut all = Points::new();
    for mut cursor in view.select(matchers, range, Wanted::Samples).unwrap() {
        while cursor.advance().unwrap() {
            let labels = cursor.labels().unwrap();
            let (t, v) = cursor.samples().unwrap();
            let mut points: BTreeMap<i64, Point> =
                t.iter().zip(v).map(|(t, v)| (*t, Point::Float(v.to_bits()))).collect();
            let histograms = cursor.histograms().unwrap();
            assert!(histograms.is_sorted_by(|a, b| a.t < b.t), "{labels}");
            for HistogramSample { t, h } in histograms {
                assert!(points.insert(t.0, point(h)).is_none(), "{labels} at {t}: two samples");
            }
            if !points.is_empty() {
                assert!(all.insert(labels, points).is_none(), "a series occurs once");
            }
        }
    }
    assert_eq!(view.warnings(), Vec::<String>::new());
    super::check_times(view, matchers, range);
    all
}

#[test]
fn histograms_are_judged_as_floats_are() {
    let (fs, l) = (SimFs::new(1), labels("h", "1", 0));
    let db = open(&fs);
    let check = |t: i64, h: Histogram, want: (u64, u64, u64), message: &str| {
        let appended = append_histograms(&db, &[(&l, &[(t, h)])]);
        assert_eq!(
            (appended.written, appended.duplicates, appended.late),
            want,
            "{t}: {:?}",
            appended.refused
        );
        let refused = appended.refused.first().map_or("", |r| &r.message);
        assert_eq!(refused, message);
    };
    let conflict =
        |t| format!("h{{account=\"1\", n=\"0\"}}: a float or another histogram is stored at {t} ms");
    check(1000, integers(1), (1, 0, 0), "");
    check(3000, integers(3), (1, 0, 0), "");
    check(3000, integers(3), (1, 1, 0), "");
    check(3000, integers(4), (0, 0, 0), &conflict(3000));
    check(1000, integers(1), (1, 1, 0), "");
    check(1000, floats(1), (0, 0, 0), &conflict(1000));
    check(2000, integers(2), (1, 0, 1), "");
    check(2000, integers(2), (1, 1, 0), "");
    check(2000, integers(9), (0, 0, 0), &conflict(2000));
    let bad = Histogram { schema: 100, ..integers(5) };
    let why = "the histogram at 5000 ms: expected schema -4 to 8, or -53 for custom bounds, found 100";
    check(5000, bad, (0, 0, 0), &format!("h{{account=\"1\", n=\"0\"}}: {why}"));
    let float = |t: i64, v: f64, want: (u64, u64)| {
        let appended = append(&db, &[(&l, &[(t, v)])]).unwrap();
        assert_eq!((appended.written, appended.duplicates), want, "{t}: {:?}", appended.refused);
    };
    // A float beside it: of another time, or refused.
    float(3000, 3.0, (0, 0));
    float(2000, 3.0, (0, 0));
    float(1000, 3.0, (0, 0));
    float(4000, 4.0, (1, 0));
    check(4000, integers(4), (0, 0, 0), &conflict(4000));
    check(5000, integers(5), (1, 0, 0), "");
    // The chunk of the float has left: as with floats the merge rule decides.
    check(4000, integers(4), (1, 0, 1), "");
    float(5000, 5.0, (0, 0));
    float(2500, 2.5, (1, 0));
    check(2500, integers(2), (0, 0, 0), &conflict(2500));
    // The staleness marker of a histogram is that of a float.
    check(6000, Histogram { sum: stale_nan(), ..integers(0) }, (1, 0, 0), "");
    check(6000, Histogram { sum: stale_nan(), ..floats(0) }, (1, 1, 0), "");
    float(6000, stale_nan(), (1, 1));
    let h = |n| point(&integers(n));
    let f = |v: f64| Point::Float(v.to_bits());
    let want = [
        (1000, h(1)),
        (2000, h(2)),
        (2500, f(2.5)),
        (3000, h(3)),
        (4000, h(4)),
        (5000, h(5)),
        (6000, Point::Float(STALE_NAN_BITS)),
    ];
    let want = Points::from([(l.clone(), want.into())]);
    assert_eq!(points(&db), want);
    drop(db);
    let db = open(&fs.kill());
    assert_eq!(points(&db), want);
}

/// A database that is fed with histograms and floats, and what it must have.
struct Fed {
    fs: SimFs,
    db: Arc<Database>,
    series: Vec<LabelSet>,
    want: Points,
}

impl Fed {
    fn new() -> Self {
        let fs = SimFs::new(1);
        let series = (0..8).map(|i| labels("h", &format!("{}", i % 3), i)).collect();
        Self { db: open(&fs), fs, series, want: Points::new() }
    }

    /// Series 0 to 2 have integers, 3 and 4 floats, 5 and 6 take turns with floats, 7 is of floats only.
    fn send(&mut self, minutes: impl Iterator<Item = i64>) {
        for minute in minutes {
            let t = minute * MINUTE + 1;
            let (mut of_histograms, mut of_floats) = (vec![], vec![]);
            for (i, labels) in self.series.iter().enumerate() {
                let h = if matches!(i, 3 | 4) {
                    floats(minute as u64)
                } else {
                    integers(minute as u64 + i as u64)
                };
                let is_float = i == 7 || matches!(i, 5 | 6) && minute / 7 % 2 == 0;
                let found = match is_float {
                    true => Point::Float((minute as f64).to_bits()),
                    false => point(&h),
                };
                self.want.entry(labels.clone()).or_default().insert(t, found);
                match is_float {
                    true => of_floats.push((labels, [(t, minute as f64)])),
                    false => of_histograms.push((labels, [(t, h)])),
                }
            }
            let rows: Vec<_> = of_histograms.iter().map(|(l, p)| (*l, &p[..])).collect();
            let appended = append_histograms(&self.db, &rows);
            assert_eq!(appended.written, rows.len() as u64, "{:?}", appended.refused);
            let rows: Vec<_> = of_floats.iter().map(|(l, p)| (*l, &p[..])).collect();
            let appended = append(&self.db, &rows).unwrap();
            assert_eq!(appended.written, rows.len() as u64, "{:?}", appended.refused);
            appended.ticket.wait().unwrap();
        }
    }

    #[track_caller]
    fn check(&self) {
        let found = points(&self.db);
        for (labels, want) in &self.want {
            assert_eq!(found.get(labels), Some(want), "{labels}");
        }
        assert_eq!(found.len(), self.want.len());
    }

    /// Ends without a word, and starts again.
    fn kill(&mut self) {
        self.fs = self.fs.kill();
        self.db = open(&self.fs);
        assert_eq!(self.db.stats().replay_corruptions, 0);
    }

    fn verify(&self) {
        self.db.close().unwrap();
        let fs: Arc<dyn Fs> = Arc::new(self.fs.kill());
        let found = verify(&fs, std::path::Path::new("/data"), &mut |_| {}).unwrap();
        assert_eq!(found.findings, []);
    }
}

#[test]
fn histograms_live_in_head_log_checkpoint_and_blocks() {
    let mut fed = Fed::new();
    fed.send(60..100);
    fed.check();
    fed.kill();
    fed.check();
    // A checkpoint with histograms that are open, and some behind it.
    fed.db.checkpoint_now().unwrap();
    fed.send(100..110);
    fed.kill();
    fed.check();
    // Into the next window, and late ones of both.
    fed.send((110..150).filter(|m| m % 3 != 0));
    fed.check();
    fed.send((110..150).filter(|m| m % 3 == 0));
    fed.check();
    fed.db.maintain();
    assert_eq!(fed.db.stats().blocks, 1, "the window that ended is cut");
    fed.check();
    fed.kill();
    fed.check();
    fed.db.flush().unwrap();
    fed.check();
    // Later ones of windows that were cut: blocks that overlap.
    fed.send((20..140).step_by(7));
    fed.check();
    fed.db.flush().unwrap();
    fed.send(1500..1503);
    fed.db.flush().unwrap();
    fed.check();
    let before = fed.db.stats().blocks;
    fed.db.compact().unwrap();
    assert!(fed.db.stats().blocks < before, "{before} blocks were merged");
    fed.check();
    fed.kill();
    fed.check();
    fed.verify();
}

#[test]
fn of_two_at_one_time_the_merge_rule_picks_the_same_wherever_they_meet() {
    for in_head in [false, true] {
        let (fs, l) = (SimFs::new(1), labels("h", "1", 0));
        let db = open(&fs);
        let t = |n: i64| HOUR + n * MINUTE;
        append_histograms(&db, &[(&l, &[(t(0), integers(9)), (t(1), integers(5)), (t(4), integers(1))])]);
        append(&db, &[(&l, &[(t(2), 1.0), (t(3), stale_nan())])]).unwrap();
        db.flush().unwrap();
        append_histograms(&db, &[(&l, &[(t(0), integers(5)), (t(1), floats(1)), (t(2), integers(2))])]);
        append_histograms(&db, &[(&l, &[(t(3), floats(7))])]);
        append(&db, &[(&l, &[(t(4) - 1, 7.0)])]).unwrap();
        if !in_head {
            db.flush().unwrap();
            db.compact().unwrap();
        }
        let want = [
            (t(0), point(&integers(9))),
            (t(1), point(&integers(5))),
            (t(2), point(&integers(2))),
            (t(3), point(&floats(7))),
            (t(4) - 1, Point::Float(7f64.to_bits())),
            (t(4), point(&integers(1))),
        ];
        assert_eq!(points(&db), Points::from([(l.clone(), want.into())]), "in head: {in_head}");
    }
}

#[test]
fn deletions_hide_and_reclaim_histograms() {
    let mut fed = Fed::new();
    fed.send(60..200);
    let range = TimeRange::closed(TimestampMs(90 * MINUTE), TimestampMs(130 * MINUTE));
    let matchers = vec![Matcher::equal("account", "1")];
    fed.db.delete_series(std::slice::from_ref(&matchers), range).unwrap();
    for (labels, points) in &mut fed.want {
        points.retain(|t, _| labels.get("account") != Some("1") || !range.contains(TimestampMs(*t)));
    }
    fed.check();
    fed.kill();
    fed.check();
    let bytes = |db: &Database| db.view().blocks().iter().map(|b| b.file_bytes().1).sum::<u64>();
    let before = bytes(&fed.db);
    fed.db.clean_tombstones().unwrap();
    fed.check();
    assert!(bytes(&fed.db) < before, "what is deleted is reclaimed");
    // What is sent again is visible, though the head knew it as its newest.
    let all = vec![Matcher::equal("account", "0")];
    fed.db.delete_series(std::slice::from_ref(&all), TimeRange::ALL).unwrap();
    fed.want.retain(|labels, _| labels.get("account") != Some("0"));
    fed.check();
    fed.send(199..200);
    fed.check();
    fed.kill();
    fed.check();
    fed.verify();
}

#[test]
fn series_of_histograms_leave_once_they_are_idle() {
    let mut fed = Fed::new();
    fed.send(60..65);
    assert_eq!(fed.db.stats().head.open_chunks, 8);
    let keep = labels("m", "1", 9);
    let t = 65 * MINUTE + IDLE.0;
    append(&fed.db, &[(&keep, &[(t, 1.0)])]).unwrap();
    fed.want.insert(keep, BTreeMap::from([(t, Point::Float(1f64.to_bits()))]));
    fed.db.maintain();
    assert_eq!(fed.db.stats().head.open_chunks, 1, "idle series give their chunks back");
    fed.db.flush().unwrap();
    fed.db.maintain();
    assert_eq!((fed.db.stats().head.series, fed.db.stats().series_left), (1, 8));
    fed.check();
}

#[test]
fn histograms_count_in_the_heads_memory_and_floats_take_no_more() {
    let mut fed = Fed::new();
    fed.send(60..61);
    let memory = |db: &Database| db.stats().head.memory_bytes;
    let before = memory(&fed.db);
    let l = labels("h", "1", 77);
    let many: Vec<(i64, Histogram)> = (0..40).map(|i| (61 * MINUTE + i, integers(i as u64))).collect();
    append_histograms(&fed.db, &[(&l, &many[..20])]);
    let grown = memory(&fed.db) - before;
    assert!(grown >= 20 * many[0].1.memory_bytes() as u64, "{grown} bytes");
    assert_eq!(size_of::<crate::head::series::SeriesRecord>(), 128);
}

#[test]
fn a_histogram_that_was_not_synced_is_not_acknowledged() {
    let (fs, l) = (SimFs::new(1), labels("h", "1", 0));
    let db = open(&fs);
    append_histograms(&db, &[(&l, &[(1000, integers(1))])]).ticket.wait().unwrap();
    fs.fail_from(fs.ops(), FaultKind::Eio);
    let appended = append_histograms(&db, &[(&l, &[(2000, integers(2))])]);
    assert!(appended.ticket.wait().is_err());
    drop(db);
    let after = fs.crash(3);
    after.heal();
    let found = points(&open(&after));
    assert_eq!(found[&l].get(&1000), Some(&point(&integers(1))));
}

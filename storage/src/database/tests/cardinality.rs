//! Counts against a model: all series, looked at one by one.

use super::*;
use crate::read::{Cardinality, Counted};

/// The `limit` greatest.
fn top(counts: BTreeMap<String, u64>, limit: usize) -> Vec<(String, u64)> {
    let mut all: Vec<_> = counts.into_iter().collect();
    all.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    all.truncate(limit);
    all
}

/// What `parts`, each a set of series, come to.
fn model(parts: &[&[LabelSet]], limit: usize) -> Cardinality {
    let mut series = BTreeMap::<&str, BTreeMap<String, u64>>::new();
    let mut values = BTreeMap::<String, BTreeMap<String, u64>>::new();
    let mut add = |list, name: String| *series.entry(list).or_default().entry(name).or_default() += 1;
    for label in parts.iter().copied().flatten().flat_map(LabelSet::iter) {
        add("label", label.name.into());
        add("pair", format!("{}={}", label.name, label.value));
        match label.name {
            "__name__" => add("metric", label.value.into()),
            "account" => add("account", label.value.into()),
            _ => {}
        }
        *values.entry(label.name.into()).or_default().entry(label.value.into()).or_default() += 1;
    }
    let pairs = values.values().map(|v| v.len() as u64).sum();
    let distinct = values.into_iter().map(|(name, v)| (name, v.len() as u64)).collect();
    let mut list = |of| top(series.remove(of).unwrap_or_default(), limit);
    Cardinality {
        series: parts.iter().map(|p| p.len() as u64).sum(),
        parts: parts.len() as u64,
        series_by_metric: list("metric"),
        series_by_account: list("account"),
        series_by_label: list("label"),
        values_by_label: top(distinct, limit),
        series_by_pair: list("pair"),
        pairs,
        ..Cardinality::default()
    }
}

fn some_labels(n: u32) -> LabelSet {
    let (metric, account) = (format!("m{}", n % 13), format!("{}", n % 7 * (n % 5)));
    let (call, zone) = (format!("c{n}"), format!("z{}", n % 3));
    let mut pairs = vec![("__name__", &*metric), ("call", &*call)];
    pairs.extend((!n.is_multiple_of(11)).then_some(("account", &*account)));
    pairs.extend((!n.is_multiple_of(2)).then_some(("zone", &*zone)));
    LabelSet::from_pairs(pairs).unwrap()
}

fn send(db: &Database, series: &[LabelSet], t: i64) {
    for some in series.chunks(1000) {
        let points = [(t, 1.0)];
        let rows: Vec<(&LabelSet, &[(i64, f64)])> = some.iter().map(|l| (l, &points[..])).collect();
        append(db, &rows).unwrap();
    }
}

#[test]
fn counts_of_head_and_blocks_are_those_of_a_model() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let series: Vec<LabelSet> = (0..1500).map(some_labels).collect();
    let (old, new) = (&series[..1000], &series[500..]);
    send(&db, old, HOUR);
    db.flush().unwrap();
    send(&db, new, HOUR + IDLE.0 + 1);
    db.flush().unwrap();
    db.maintain();
    let check = |counted, parts: &[&[LabelSet]]| {
        for (limit, at_once) in [(5, 1 << 19), (5, 100), (100_000, 700)] {
            let view = db.view();
            let found = view.cardinality_in_steps(counted, limit, at_once);
            assert_eq!(found.bytes_by_label.is_empty(), parts.is_empty());
            let found = Cardinality { bytes_by_label: Vec::new(), ..found };
            assert_eq!(found, model(parts, limit), "{counted:?}, {limit}, {at_once}");
            assert!(view.warnings().is_empty());
        }
    };
    check(Counted::Head, &[new]);
    check(Counted::Blocks(TimeRange::ALL), &[old, new]);
    check(Counted::All(TimeRange::ALL), &[new, old, new]);
    let never = TimeRange { after: TimestampMs(90 * HOUR), until: TimestampMs(91 * HOUR) };
    check(Counted::Blocks(never), &[]);
}

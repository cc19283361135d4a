//! Deletions against a plain model, through flushes, merges, restarts and power cuts.

use super::*;
use crate::model::{DurationMs, TombstoneId};

const ALL: &[Matcher] = &[];

/// A sample as the model keeps it: when it was sent, by a count of operations, and its value.
type Sent = (u64, f64);

#[derive(Clone, Debug)]
struct ModelDeletion {
    at: u64,
    matchers: Vec<Matcher>,
    range: TimeRange,
}

/// Everything ever sent, and the deletions that are in force.
#[derive(Clone, Debug, Default)]
struct Oracle {
    now: u64,
    sent: BTreeMap<LabelSet, BTreeMap<i64, Vec<Sent>>>,
    deletions: BTreeMap<TombstoneId, ModelDeletion>,
}

impl Oracle {
    fn send(&mut self, labels: &LabelSet, t: i64, v: f64) {
        self.now += 1;
        self.sent.entry(labels.clone()).or_default().entry(t).or_default().push((self.now, v));
    }

    fn delete(&mut self, id: TombstoneId, matchers: &[Matcher], range: TimeRange) {
        self.now += 1;
        let deletion = ModelDeletion { at: self.now, matchers: matchers.to_vec(), range };
        self.deletions.insert(id, deletion);
    }

    fn is_hidden(&self, labels: &LabelSet, t: i64, at: u64) -> bool {
        let accepts =
            |d: &ModelDeletion| d.matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")));
        self.deletions.values().any(|d| d.at > at && d.range.contains(TimestampMs(t)) && accepts(d))
    }

    /// What is hidden is gone for good.
    fn clean(&mut self) {
        let before = self.clone();
        for (labels, points) in &mut self.sent {
            for (t, sent) in points {
                sent.retain(|(at, _)| !before.is_hidden(labels, *t, *at));
            }
        }
        self.deletions.clear();
    }

    fn contents(&self, range: TimeRange) -> Model {
        let mut all = Model::new();
        for (labels, points) in &self.sent {
            for (t, sent) in points.iter().filter(|(t, _)| range.contains(TimestampMs(**t))) {
                let visible = sent.iter().filter(|(at, _)| !self.is_hidden(labels, *t, *at)).map(|(_, v)| *v);
                if let Some(v) = visible.reduce(merge_values) {
                    all.entry(labels.clone()).or_default().insert(*t, v.to_bits());
                }
            }
        }
        all
    }
}

fn closed(from: i64, until: i64) -> TimeRange {
    TimeRange::closed(TimestampMs(from), TimestampMs(until))
}

fn equal(name: &str, value: &str) -> Vec<Matcher> {
    vec![Matcher::equal(name, value)]
}

/// A small generator of numbers: a seed tells a whole run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn time(&mut self) -> i64 {
        self.below(14 * 60) as i64 * 60_000 + 1
    }

    fn selector(&mut self) -> Vec<Matcher> {
        match self.below(4) {
            0 => equal("account", &self.below(3).to_string()),
            1 => equal("n", &self.below(6).to_string()),
            2 => vec![Matcher::new("n", MatchOp::Regex, "[135]").unwrap()],
            _ => vec![Matcher::new("n", MatchOp::NotEqual, "2").unwrap(), Matcher::equal("account", "1")],
        }
    }

    fn range(&mut self) -> TimeRange {
        let (a, b) = (self.time(), self.time());
        match self.below(3) {
            0 => TimeRange::ALL,
            _ => closed(a.min(b), a.max(b)),
        }
    }
}

fn some_series(n: u64) -> LabelSet {
    labels("m", &(n % 3).to_string(), n as usize)
}

fn send(db: &Database, oracle: &mut Oracle, labels: &LabelSet, t: i64, v: f64) {
    if append(db, &[(labels, &[(t, v)])]).unwrap().written == 1 {
        oracle.send(labels, t, v);
    }
}

fn check(db: &Database, oracle: &Oracle, dice: &mut Dice, case: &str) {
    assert_eq!(contents(db), oracle.contents(TimeRange::ALL), "{case}");
    let range = dice.range();
    let want = oracle.contents(range);
    assert_eq!(read(&db.view(), &[], range), want, "{case}: in {range:?}");
    let listed = db.view().series(&[ALL.to_vec()], range, None).unwrap();
    let missing: Vec<_> = want.keys().filter(|l| !listed.contains(l)).collect();
    assert!(missing.is_empty(), "{case}: {missing:?} are not listed in {range:?}");
    let mut values: Vec<&str> = want.keys().filter_map(|l| l.get("n")).collect();
    values.sort_unstable();
    values.dedup();
    let listed = db.view().label_values("n", &[], range, None).unwrap();
    assert!(
        values.iter().all(|v| listed.iter().any(|l| l == v)),
        "{case}: {listed:?} lack some of {values:?}"
    );
}

/// With no deletion left, exactly those series are listed that have a sample.
fn check_listed(db: &Database, oracle: &Oracle, case: &str) {
    let left = oracle.contents(TimeRange::ALL);
    let listed = db.view().series(&[ALL.to_vec()], TimeRange::ALL, None).unwrap();
    assert_eq!(listed, left.keys().cloned().collect::<Vec<_>>(), "{case}");
    let mut values: Vec<&str> = left.keys().filter_map(|l| l.get("n")).collect();
    values.sort_unstable();
    values.dedup();
    assert_eq!(db.view().label_values("n", &[], TimeRange::ALL, None).unwrap(), values, "{case}");
}

/// A life of random operations; the database agrees with the model after each.
fn live(seed: u64, operations: u64) {
    let fs = SimFs::new(seed);
    let mut db = open(&fs);
    let mut dice = Dice(seed);
    let mut oracle = Oracle::default();
    let mut newest = 0;
    for n in 0..operations {
        let what = dice.below(24);
        match what {
            0..=9 => {
                for _ in 0..=dice.below(20) {
                    newest += 20_000;
                    let labels = some_series(dice.below(6));
                    send(&db, &mut oracle, &labels, newest, dice.below(4) as f64);
                }
            }
            10..=13 => {
                let (labels, t) = (some_series(dice.below(6)), dice.time());
                newest = newest.max(t);
                send(&db, &mut oracle, &labels, t, dice.below(4) as f64);
            }
            14 => {
                // What was sent before, once more.
                let labels = some_series(dice.below(6));
                let last = oracle.sent.get(&labels).and_then(|p| p.last_key_value());
                if let Some((t, v)) = last.and_then(|(t, sent)| Some((*t, sent.last()?.1))) {
                    send(&db, &mut oracle, &labels, t, v);
                }
            }
            15..=17 => {
                let (matchers, range) = (dice.selector(), dice.range());
                let ids = db.delete_series(std::slice::from_ref(&matchers), range).unwrap();
                // Without an id, nothing was there to be hidden.
                ids.iter().for_each(|id| oracle.delete(*id, &matchers, range));
                let found = read(&db.view(), &matchers, range);
                assert!(found.is_empty(), "seed {seed}, operation {n}: {found:?} in {range:?}");
            }
            18 => {
                if let Some(id) = oracle.deletions.keys().next().copied() {
                    db.undelete(id).unwrap();
                    oracle.deletions.remove(&id);
                }
            }
            19 => db.flush().unwrap(),
            20 => db.maintain(),
            21 => db.compact().unwrap(),
            22 if dice.below(3) == 0 => {
                db.clean_tombstones().unwrap();
                oracle.clean();
                assert_eq!(db.deletions(), []);
                check_listed(&db, &oracle, &format!("seed {seed}, operation {n}"));
            }
            _ => {
                db.close().unwrap();
                drop(db);
                db = open(&fs);
            }
        }
        check(&db, &oracle, &mut dice, &format!("seed {seed}, operation {n} ({what})"));
        let ids: Vec<TombstoneId> = db.deletions().iter().map(|d| d.tombstone.id).collect();
        assert_eq!(ids, oracle.deletions.keys().copied().collect::<Vec<_>>(), "seed {seed}, operation {n}");
    }
}

#[test]
fn any_life_agrees_with_a_plain_model() {
    (0..24).for_each(|seed| live(seed, 60));
}

#[test]
fn what_is_sent_again_after_the_call_is_visible_also_after_a_restart() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let l = labels("m", "1", 0);
    append(&db, &[(&l, &[(HOUR, 1.0), (2 * HOUR, 2.0)])]).unwrap();
    let first = db.delete_series(&[equal("account", "1")], TimeRange::ALL).unwrap();
    assert_eq!((first.len(), contents(&db)), (1, Model::new()));
    // The newest, to the bit and with another value; and an older one.
    let again = append(&db, &[(&l, &[(2 * HOUR, 2.0), (HOUR, 5.0)])]).unwrap();
    assert_eq!((again.written, again.duplicates, again.refused.len()), (2, 0, 0));
    let want = |points: &[(i64, f64)]| {
        Model::from([(l.clone(), points.iter().map(|(t, v)| (*t, v.to_bits())).collect())])
    };
    assert_eq!(contents(&db), want(&[(HOUR, 5.0), (2 * HOUR, 2.0)]));
    drop(db);
    let db = open(&fs);
    assert_eq!(contents(&db), want(&[(HOUR, 5.0), (2 * HOUR, 2.0)]));
    // Everything of the head is in blocks already, and the newest sample is one of these.
    db.flush().unwrap();
    db.delete_series(&[equal("account", "1")], closed(2 * HOUR, 3 * HOUR)).unwrap();
    assert_eq!(append(&db, &[(&l, &[(2 * HOUR, 9.0)])]).unwrap().written, 1);
    assert_eq!(contents(&db), want(&[(HOUR, 5.0), (2 * HOUR, 9.0)]));
    drop(db);
    let db = open(&fs);
    assert_eq!(contents(&db), want(&[(HOUR, 5.0), (2 * HOUR, 9.0)]));
}

#[test]
fn listing_waits_for_nobody() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    append(&db, &[(&labels("m", "1", 0), &[(HOUR, 1.0)])]).unwrap();
    db.delete_series(&[equal("account", "1")], TimeRange::ALL).unwrap();
    // As during a cut and a merge: what waits for these never ends here.
    let (_merge, _cut) = (db.compaction.lock(), db.maintenance.lock());
    let deletions = db.deletions();
    assert_eq!(deletions.iter().map(|d| db.can_undelete(d)).collect::<Vec<_>>(), [true]);
}

#[test]
fn listings_forget_what_is_deleted_as_a_whole() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    for n in 0..6 {
        let gone =
            LabelSet::from_pairs([("__name__", "m"), ("account", "1"), ("only", &n.to_string())]).unwrap();
        append(&db, &[(&gone, &[(HOUR, 1.0), (3 * HOUR, 1.0)]), (&labels("m", "2", n), &[(HOUR, 1.0)])])
            .unwrap();
    }
    let all = || vec![vec![Matcher::equal("__name__", "m")]];
    let listed = |range| {
        let view = db.view();
        let names = view.label_names(&[], range, None).unwrap();
        let accounts = view.label_values("account", &[], range, None).unwrap();
        let selected = view.label_values("account", &all(), range, None).unwrap();
        assert_eq!(accounts, selected);
        (names.join(" "), accounts.join(" "), view.series(&all(), range, None).unwrap().len())
    };
    let both = ("__name__ account n only".to_string(), "1 2".to_string(), 12);
    assert_eq!(listed(TimeRange::ALL), both);
    let ids = db.delete_series(&[equal("account", "1")], TimeRange::ALL).unwrap();
    let left = ("__name__ account n".to_string(), "2".to_string(), 6);
    assert_eq!(listed(TimeRange::ALL), left, "the head keeps the records of the series for a while");
    assert_eq!(
        db.view().cardinality(crate::read::Counted::Head, 10).series_by_metric[0],
        ("m".into(), 6),
        "those of account 2 are idle, and left"
    );
    db.undelete(ids[0]).unwrap();
    assert_eq!(listed(TimeRange::ALL), both);
    // The second sample only, by where the chunks are.
    db.delete_series(&[equal("account", "1")], closed(2 * HOUR + 1, 4 * HOUR)).unwrap();
    assert_eq!(listed(TimeRange::ALL), both);
    assert_eq!(listed(closed(2 * HOUR + 600_000, 4 * HOUR)).2, 0);
    db.delete_series(&[equal("account", "1")], closed(HOUR - 60_000, HOUR + 60_000)).unwrap();
    assert_eq!(listed(TimeRange::ALL), left, "both together");
}

#[test]
fn listings_are_the_same_once_a_deletion_is_reclaimed() {
    let fs = SimFs::new(1);
    let mut db = open(&fs);
    let gone = LabelSet::from_pairs([("__name__", "m"), ("account", "1"), ("only", "x")]).unwrap();
    let kept = labels("m", "2", 0);
    append(&db, &[(&gone, &[(HOUR, 1.0)]), (&kept, &[(HOUR, 1.0)])]).unwrap();
    let check = |db: &Database, accounts: &str, case: &str| {
        let (view, all) = (db.view(), vec![Matcher::equal("__name__", "m")]);
        for range in [TimeRange::ALL, closed(0, 2 * HOUR), closed(HOUR, i64::MAX)] {
            let found = view.label_values("account", &[], range, None).unwrap();
            let selected = view.label_values("account", std::slice::from_ref(&all), range, None).unwrap();
            assert_eq!((found.join(" "), selected.join(" ")), (accounts.into(), accounts.into()), "{case}");
            let names = view.label_names(&[], range, None).unwrap();
            assert_eq!(names.contains(&"only".to_string()), accounts.contains('1'), "{case}: {names:?}");
            assert_eq!(
                view.series(&[equal("account", "1")], range, None).unwrap().is_empty(),
                accounts == "2",
                "{case}"
            );
        }
    };
    check(&db, "1 2", "before");
    db.delete_series(&[equal("account", "1")], TimeRange::ALL).unwrap();
    check(&db, "2", "deleted");
    db.clean_tombstones().unwrap();
    assert_eq!(db.deletions(), []);
    check(&db, "2", "reclaimed");
    for restart in ["restarted", "restarted again"] {
        db.close().unwrap();
        drop(db);
        db = open(&fs);
        check(&db, "2", restart);
    }
    // Nobody's word is against it any more, and it is late.
    append(&db, &[(&gone, &[(HOUR, 1.0)])]).unwrap();
    check(&db, "1 2", "sent again");
    db.flush().unwrap();
    check(&db, "1 2", "sent again, and cut");
    db.delete_series(&[equal("account", "1")], TimeRange::ALL).unwrap();
    db.clean_tombstones().unwrap();
    append(&db, &[(&gone, &[(HOUR + 1, 1.0)])]).unwrap();
    check(&db, "1 2", "went on after a second time");
}

#[test]
fn a_deletion_leaves_no_doubt_about_other_series() {
    let db = open(&SimFs::new(1));
    let rows: Vec<LabelSet> = (0..40).map(|n| labels("m", &(n % 2).to_string(), n)).collect();
    for l in &rows {
        append(&db, &[(l, &[(HOUR, 1.0)])]).unwrap();
    }
    db.delete_series(&[equal("account", "1"), equal("n", "4")], TimeRange::ALL).unwrap();
    let doubted = || db.head.shards.iter().map(|s| s.series.lock().doubted().cardinality()).sum::<u64>();
    assert_eq!(doubted(), 21);
    for l in &rows[..10] {
        append(&db, &[(l, &[(HOUR + 1, 1.0)])]).unwrap();
    }
    assert_eq!(doubted(), 15, "a newer sample leaves none");
}

#[test]
fn a_deletion_can_be_undone_within_its_grace_and_is_reclaimed_after_it() {
    let fs = SimFs::new(1);
    let clock = Arc::new(ManualClock::new(TimestampMs(HOUR)));
    let options =
        || DatabaseOptions { clock: clock.clone(), delete_grace: DurationMs(6 * HOUR), ..options(&fs) };
    let db = Database::open(options()).unwrap();
    let (gone, kept) = (labels("m", "1", 0), labels("m", "2", 0));
    append(&db, &[(&gone, &[(HOUR, 1.0)]), (&kept, &[(HOUR, 1.0)])]).unwrap();
    let ids = db.delete_series(&[equal("account", "1")], TimeRange::ALL).unwrap();
    assert_eq!(db.deletions()[0].undeletable_until, TimestampMs(7 * HOUR));
    let check = |held: usize, samples: u64| {
        db.compact_due();
        let blocks: u64 = db.maintenance.lock().manifest.state().blocks.values().map(|b| b.samples).sum();
        assert_eq!((db.deletions().len(), blocks), (held, samples));
    };
    check(1, 2);
    clock.set(TimestampMs(100 * HOUR));
    check(1, 2);
    let undone = db.undelete(TombstoneId(7)).unwrap_err();
    assert!(matches!(undone, UndeleteError::Unknown(_)), "{undone}");
    // The data have come so far as well, and so has the time that passed.
    clock.advance(std::time::Duration::from_secs(6 * 3600));
    append(&db, &[(&kept, &[(7 * HOUR, 1.0)])]).unwrap();
    assert!(matches!(db.undelete(ids[0]).unwrap_err(), UndeleteError::Final(_)));
    check(0, 1);
    assert_eq!(contents(&db).len(), 1);
    append(&db, &[(&gone, &[(HOUR, 1.0)])]).unwrap();
    db.flush().unwrap();
    assert_eq!(contents(&db).len(), 2);
    assert_eq!(db.stats().deletions, 1);
}

#[test]
fn deletions_are_bounded() {
    let db = open(&SimFs::new(1));
    append(&db, &[(&labels("m", "1", 0), &[(HOUR, 1.0)])]).unwrap();
    let long = vec![Matcher::equal("account", &"x".repeat(9000))];
    assert!(matches!(db.delete_series(&[long], TimeRange::ALL), Err(DeleteError::TooLong { .. })));
    let other_than = |i: u32| Matcher::new("n", MatchOp::NotEqual, &format!("x{i}")).unwrap();
    let many: Vec<_> = (0..1001).map(|i| vec![Matcher::equal("account", "1"), other_than(i)]).collect();
    assert!(matches!(db.delete_series(&many, TimeRange::ALL), Err(DeleteError::TooMany { held: 0 })));
    assert_eq!(db.delete_series(&many[..1000], TimeRange::ALL).unwrap().len(), 1000);
    assert!(matches!(db.delete_series(&many[..1], TimeRange::ALL), Err(DeleteError::TooMany { held: 1000 })));
    assert_eq!(contents(&db), Model::new());
    db.clean_tombstones().unwrap();
    assert_eq!((db.deletions().len(), db.stats().blocks), (0, 0));
    // Nothing is there, so nothing is kept.
    assert_eq!(db.delete_series(&many[..1], TimeRange::ALL).unwrap(), []);
}

/// A life with a deletion, its undoing, and a final one. Returns what may be there: one state where all went well, two where the
/// last operation was cut off.
fn scripted(fs: &SimFs) -> Vec<Model> {
    let mut oracle = Oracle::default();
    let empty = vec![Model::new()];
    let Ok(db) = Database::open(options(fs)) else { return empty };
    let l: Vec<LabelSet> = (0..4).map(|n| labels("m", &(n % 2).to_string(), n)).collect();
    let states = |before: &Oracle, after: &Oracle| {
        vec![before.contents(TimeRange::ALL), after.contents(TimeRange::ALL)]
    };
    for step in 0..14_i64 {
        let before = oracle.clone();
        let ok = match step {
            5 | 9 => {
                let account = equal("account", "1");
                let range = if step == 5 { closed(0, 3 * HOUR) } else { TimeRange::ALL };
                // The id of the model is its own until the database tells.
                oracle.delete(TombstoneId(u64::MAX), &account, range);
                match db.delete_series(std::slice::from_ref(&account), range) {
                    Ok(ids) => {
                        let deletion = oracle.deletions.remove(&TombstoneId(u64::MAX)).unwrap();
                        ids.iter().for_each(|id| _ = oracle.deletions.insert(*id, deletion.clone()));
                        true
                    }
                    Err(_) => false,
                }
            }
            7 => {
                let id = *oracle.deletions.keys().next().unwrap();
                oracle.deletions.remove(&id);
                db.undelete(id).is_ok()
            }
            3 | 11 => db.flush().is_ok(),
            12 => {
                oracle.clean();
                db.clean_tombstones().is_ok()
            }
            _ => {
                // At 6 and 10 the newest samples once more, which were deleted.
                let t = if matches!(step, 6 | 10) { step - 2 } else { step } * HOUR / 2;
                let points = [(t, 7.0)];
                let rows: Vec<(&LabelSet, &[(i64, f64)])> = l.iter().map(|l| (l, &points[..])).collect();
                l.iter().for_each(|l| oracle.send(l, t, 7.0));
                append(&db, &rows).is_ok_and(|a| a.ticket.wait().is_ok())
            }
        };
        if !ok {
            return states(&before, &oracle);
        }
        assert_eq!(contents(&db), oracle.contents(TimeRange::ALL), "step {step}");
    }
    drop(db);
    states(&oracle, &oracle)
}

#[test]
fn a_power_cut_at_any_operation_leaves_a_deletion_done_or_not() {
    let fs = SimFs::new(1);
    scripted(&fs);
    let n = fs.ops();
    for at in 0..n {
        for seed in [at, at + 1000] {
            let fs = SimFs::new(seed);
            fs.freeze_at(at);
            let states = scripted(&fs);
            let after = fs.crash(seed);
            let found = contents(&open(&after));
            assert!(
                states.iter().any(|s| is_between(&found, s, &states)),
                "cut at operation {at} of {n}, seed {seed}: {found:?}\nis none of {states:?}"
            );
        }
    }
}

/// Whether `found` is `state`; a request that was not acknowledged may be there in part.
fn is_between(found: &Model, state: &Model, states: &[Model]) -> bool {
    let has = |m: &Model, l: &LabelSet, t: &i64, v: &u64| m.get(l).and_then(|p| p.get(t)) == Some(v);
    let every = |m: &Model, f: &dyn Fn(&LabelSet, &i64, &u64) -> bool| {
        m.iter().all(|(l, points)| points.iter().all(|(t, v)| f(l, t, v)))
    };
    let is_send = states.len() == 2 && every(&states[0], &|l, t, v| has(&states[1], l, t, v));
    found == state
        || is_send
            && every(&states[0], &|l, t, v| has(found, l, t, v))
            && every(found, &|l, t, v| has(&states[1], l, t, v))
}

#[test]
fn a_failing_operation_leaves_a_deletion_done_or_not() {
    let fs = SimFs::new(1);
    scripted(&fs);
    for at in 0..fs.ops() {
        let fs = SimFs::new(at);
        fs.fail_at(at, if at % 2 == 0 { crate::io::FaultKind::Eio } else { crate::io::FaultKind::Enospc });
        let states = scripted(&fs);
        fs.heal();
        let found = contents(&open(&fs.crash(at)));
        assert!(
            states.iter().any(|s| is_between(&found, s, &states)),
            "operation {at} fails: {found:?}\nis none of {states:?}"
        );
    }
}

#[test]
fn a_selector_that_is_named_twice_is_one_deletion() {
    let db = open(&SimFs::new(1));
    let of_one = labels("m", "1", 0);
    append(&db, &[(&of_one, &[(HOUR, 1.0)])]).unwrap();
    let one = vec![Matcher::new("account", MatchOp::Equal, "1").unwrap()];
    let ids = db.delete_series(&[one.clone(), one], TimeRange::ALL).unwrap();
    assert_eq!((ids.len(), contents(&db).len()), (1, 0));
    db.undelete(ids[0]).unwrap();
    assert_eq!(contents(&db).len(), 1);
}

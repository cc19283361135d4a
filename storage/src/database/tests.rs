use super::*;
use crate::head::log::HeadPos;
use crate::head::log::record::RecordHeader;
use crate::head::series::IDLE;
use crate::index::MatchOp;
use crate::io::{ManualClock, SimFs};
use crate::model::{
    Fingerprint, LabelSet, Sample, SeriesSlot, TimeRange, TimestampMs, is_stale, merge_values,
    shard_of_account,
};
use crate::read::Wanted;
use std::collections::BTreeMap;

mod cardinality;
mod compaction;
mod concurrent;
mod damage;
mod deletions;
mod full_disk;
mod histograms;
mod limits;
mod memory;
mod repair;
mod repair_steps;
mod silence;
mod times;

/// Sections in these tests are canonical.
struct Canonical;

impl Resolve for Canonical {
    fn resolve(&self, section: &[u8]) -> Result<LabelSet, Refused> {
        let invalid = |e: crate::model::SectionError| Refused {
            class: RefusalClass::InvalidLabels,
            message: e.to_string(),
        };
        LabelSet::from_section(section).map_err(invalid)
    }
}

fn options(fs: &SimFs) -> DatabaseOptions {
    DatabaseOptions {
        fs: Arc::new(fs.clone()),
        clock: Arc::new(ManualClock::new(TimestampMs(0))),
        background: false,
        shards: ShardCount::new(4).unwrap(),
        wal_segment_bytes: 64 << 10,
        checkpoint_bytes: 16 << 10,
        ..DatabaseOptions::new("/data")
    }
}

fn open(fs: &SimFs) -> Arc<Database> {
    Database::open(options(fs)).unwrap()
}

fn labels(name: &str, account: &str, n: usize) -> LabelSet {
    LabelSet::from_pairs([("__name__", name), ("account", account), ("n", &n.to_string())]).unwrap()
}

/// Appends samples of some series in one request.
fn append(db: &Database, of: &[(&LabelSet, &[(i64, f64)])]) -> Result<Appended, AppendError> {
    let mut samples = vec![];
    let mut rows = vec![];
    for (labels, points) in of {
        let start = samples.len() as u32;
        samples.extend(points.iter().map(|(t, v)| Sample { t: TimestampMs(*t), v: *v }));
        rows.push(db.row(labels, start..samples.len() as u32));
    }
    db.append(&rows, &samples, &Canonical)
}

type Model = BTreeMap<LabelSet, BTreeMap<i64, u64>>;

/// All that a view has.
fn contents(db: &Database) -> Model {
    read(&db.view(), &[], TimeRange::ALL)
}

fn read(view: &View, matchers: &[Matcher], range: TimeRange) -> Model {
    let mut all = Model::new();
    for mut cursor in view.select(matchers, range, Wanted::Samples).unwrap() {
        while cursor.advance().unwrap() {
            let labels = cursor.labels().unwrap();
            let (t, v) = cursor.samples().unwrap();
            let points = t.iter().zip(v).map(|(t, v)| (*t, v.to_bits())).collect();
            assert!(all.insert(labels, points).is_none(), "a series occurs once");
        }
    }
    all.retain(|_, points| !points.is_empty());
    check_times(view, matchers, range);
    all
}

/// Times that are told without values are those of the samples; returns how many series they were told of.
fn check_times(view: &View, matchers: &[Matcher], range: TimeRange) -> [usize; 2] {
    [Wanted::Times, Wanted::Newest].map(|wanted| {
        let mut told = 0;
        for mut cursor in view.select(matchers, range, wanted).unwrap() {
            while cursor.advance().unwrap() {
                let (labels, mut times) = (cursor.labels().unwrap(), vec![]);
                if !cursor.times(&mut times) {
                    assert!(times.is_empty());
                    continue;
                }
                told += 1;
                assert!(wanted == Wanted::Newest || cursor.histograms().unwrap().is_empty(), "{labels}");
                let (t, v) = cursor.samples().unwrap();
                if wanted == Wanted::Times {
                    assert!(
                        t == times && !v.iter().any(|v| is_stale(*v)),
                        "{labels}: {times:?}, not {t:?} {v:?}"
                    );
                }
                let newest = t.last().filter(|_| !is_stale(v[v.len() - 1]));
                assert_eq!(times.last(), newest, "{labels}: {wanted:?} of {t:?} {v:?}");
            }
        }
        told
    })
}

const HOUR: i64 = 3_600_000;

/// Four hours of samples, one every ten minutes for each series, in two blocks and the head of a directory that is closed again.
fn four_hours(series: &[LabelSet], value: impl Fn(i64, usize) -> f64) -> (SimFs, Model) {
    let fs = SimFs::new(1);
    let db = open(&fs);
    for t in (HOUR..5 * HOUR).step_by(600_000) {
        let points: Vec<[(i64, f64); 1]> = (0..series.len()).map(|i| [(t, value(t, i))]).collect();
        let rows: Vec<(&LabelSet, &[(i64, f64)])> =
            series.iter().zip(&points).map(|(l, p)| (l, &p[..])).collect();
        append(&db, &rows).unwrap().ticket.wait().unwrap();
        db.maintain();
    }
    assert_eq!(db.stats().blocks, 2);
    let model = contents(&db);
    db.close().unwrap();
    (fs, model)
}

#[test]
fn samples_are_found_in_head_and_blocks_and_after_a_restart() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let series: Vec<LabelSet> = (0..300).map(|i| labels("m", &format!("{}", i % 7), i)).collect();
    let mut model = Model::new();
    let send = |db: &Database, from: i64, to: i64, model: &mut Model| {
        for t in (from..to).step_by(60_000) {
            let points = [(t, t as f64 / 1000.0)];
            let rows: Vec<(&LabelSet, &[(i64, f64)])> = series.iter().map(|l| (l, &points[..])).collect();
            let appended = append(db, &rows).unwrap();
            assert_eq!((appended.written, appended.refused.len()), (300, 0));
            appended.ticket.wait().unwrap();
            series.iter().for_each(|l| {
                model.entry(l.clone()).or_default().insert(t, points[0].1.to_bits());
            });
        }
    };
    send(&db, HOUR, 3 * HOUR, &mut model);
    assert_eq!(contents(&db), model);
    db.maintain();
    assert_eq!(db.stats().blocks, 1, "the window that ended is cut");
    assert_eq!(contents(&db), model);
    send(&db, 3 * HOUR, 3 * HOUR + 600_000, &mut model);
    db.flush().unwrap();
    assert_eq!(db.stats().blocks, 2);
    assert_eq!(contents(&db), model);
    send(&db, 3 * HOUR + 600_000, 3 * HOUR + 1_200_000, &mut model);
    assert_eq!(contents(&db), model);
    db.close().unwrap();
    drop(db);
    let db = open(&fs);
    assert_eq!(contents(&db), model);
    let one = Matcher::new("account", MatchOp::Equal, "3").unwrap();
    let range = TimeRange { after: TimestampMs(2 * HOUR), until: TimestampMs(3 * HOUR) };
    let found = read(&db.view(), &[one], range);
    assert_eq!(found.len(), series.iter().filter(|l| l.get("account") == Some("3")).count());
    assert!(
        found.values().all(|points| points.len() == 60 - 1 + usize::from(points.contains_key(&(3 * HOUR))))
    );
}

#[test]
fn idle_series_leave_and_their_slots_serve_others() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let mut model = Model::new();
    let mut send = |db: &Database, name: &str, t: i64| {
        for i in 0..100 {
            let l = labels(name, "1", i);
            append(db, &[(&l, &[(t, 1.0)])]).unwrap();
            model.entry(l).or_default().insert(t, 1f64.to_bits());
        }
    };
    send(&db, "old", HOUR);
    send(&db, "new", HOUR + IDLE.0 + 1);
    let held = db.view();
    db.flush().unwrap();
    db.maintain();
    assert_eq!(db.stats().head.series, 200, "a query that began before may still want them");
    assert_eq!(read(&held, &[], TimeRange::ALL).len(), 200);
    drop(held);
    db.maintain();
    assert_eq!((db.stats().head.series, db.stats().series_left), (100, 100));
    db.maintain();
    send(&db, "newer", HOUR + IDLE.0 + 2);
    let slots: u32 = db.head.shards.iter().map(|s| s.series.lock().slots()).sum();
    assert_eq!(slots, 200, "slots are used again");
    assert_eq!(contents(&db), model);
    drop(db);
    assert_eq!(contents(&open(&fs)), model);
}

#[test]
fn late_and_repeated_samples() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let l = labels("m", "1", 0);
    append(&db, &[(&l, &[(5 * HOUR, 1.0)])]).unwrap();
    let again = append(&db, &[(&l, &[(5 * HOUR, 1.0)])]).unwrap();
    assert_eq!((again.written, again.duplicates), (1, 1));
    let conflict = append(&db, &[(&l, &[(5 * HOUR, 2.0)])]).unwrap();
    assert_eq!((conflict.written, conflict.refused_by_class[RefusalClass::Conflict as usize]), (0, 1));
    let message = &conflict.refused[0].message;
    assert!(message.starts_with("m{account=\"1\", n=\"0\"}: another value than 2"), "{message}");
    let late: Vec<(i64, f64)> = (0..200).map(|i| (i * 60_000 + 1, i as f64)).collect();
    let appended = append(&db, &[(&l, &late)]).unwrap();
    assert_eq!((appended.written, appended.late), (200, 200));
    let mut want: BTreeMap<i64, u64> = late.iter().map(|(t, v)| (*t, v.to_bits())).collect();
    want.insert(5 * HOUR, 1f64.to_bits());
    assert_eq!(contents(&db)[&l], want);
    db.flush().unwrap();
    assert_eq!(db.stats().blocks, 3, "one for each window");
    assert_eq!(contents(&db)[&l], want);
    append(&db, &[(&l, &[(1, 50.0), (2, 7.0)])]).unwrap();
    want.insert(1, merge_values(0.0, 50.0).to_bits());
    want.insert(2, 7f64.to_bits());
    assert_eq!(contents(&db)[&l], want, "head and block meet by the merge rule");
    db.flush().unwrap();
    assert_eq!(contents(&db)[&l], want, "a window may have several blocks");
}

#[test]
fn another_form_of_a_label_set_is_the_same_series() {
    struct Sorts;
    impl Resolve for Sorts {
        fn resolve(&self, section: &[u8]) -> Result<LabelSet, Refused> {
            let labels = crate::model::SectionIter::new(section).map(Result::unwrap);
            Ok(LabelSet::from_pairs(labels.map(|l| (l.name, l.value))).unwrap())
        }
    }
    let db = open(&SimFs::new(1));
    let l = labels("m", "1", 0);
    append(&db, &[(&l, &[(1, 1.0)])]).unwrap();
    let mut parts: Vec<&[u8]> = vec![];
    let mut iter = crate::model::SectionIter::new(l.section());
    loop {
        let from = iter.offset();
        if iter.next().is_none() {
            break;
        }
        parts.push(&l.section()[from..iter.offset()]);
    }
    let unsorted: Vec<u8> = parts.into_iter().rev().flatten().copied().collect();
    for (t, aliased) in [(2, 0), (3, 1), (4, 1)] {
        let row = AppendRow {
            wire: Fingerprint::of_section(&unsorted, db.seed()),
            section: &unsorted,
            account: b"1",
            shard: shard_of_account(b"1", db.shards()),
            samples: 0..1,
        };
        let appended = db.append(&[row], &[Sample { t: TimestampMs(t), v: 1.0 }], &Sorts).unwrap();
        assert_eq!((appended.written, appended.aliased, appended.registered), (1, aliased, 0));
    }
    assert_eq!(contents(&db)[&l].len(), 4);
}

#[test]
fn directories_of_others_are_refused() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let error = Database::open(options(&fs)).unwrap_err().to_string();
    assert!(error.contains("in use by another Cardinal"), "{error}");
    db.close().unwrap();
    drop(db);
    let with = |change: fn(&mut DatabaseOptions)| {
        let mut o = options(&fs);
        change(&mut o);
        Database::open(o).unwrap_err().to_string()
    };
    let error = with(|o| o.account_label = "tenant".into());
    assert!(error.contains("made with account.label = account"), "{error}");
    let error = with(|o| o.shards = ShardCount::new(8).unwrap());
    assert!(error.contains("shards = 4"), "{error}");
    fs.remove_file(std::path::Path::new("/data/MANIFEST")).unwrap();
    let error = Database::open(options(&fs)).unwrap_err().to_string();
    assert!(error.contains("no MANIFEST"), "{error}");
}

#[test]
fn a_start_removes_remains_of_its_own_and_no_copies_of_others() {
    use crate::io::OpenMode;
    use std::path::Path;
    let fs = SimFs::new(1);
    drop(open(&fs));
    let own = ["blocks/00000000000000ff/index", "checkpoint/00000000000000ff.ckpt"];
    let others =
        ["blocks/0000000000000003.bak/index", "blocks/ff/index", "checkpoint/0000000000000003.ckpt.bak"];
    for name in own.iter().chain(&others) {
        let path = Path::new("/data").join(name);
        fs.create_dir_all(path.parent().unwrap()).unwrap();
        fs.open(&path, OpenMode::CreateNew).unwrap();
    }
    drop(open(&fs));
    let is_there = |name: &&str| fs.exists(&Path::new("/data").join(name)).unwrap();
    let left: Vec<_> = own.iter().chain(&others).filter(|n| is_there(n)).collect();
    assert_eq!(left, others.iter().collect::<Vec<_>>());
}

#[test]
fn labels_are_listed_from_head_and_blocks() {
    let db = open(&SimFs::new(1));
    append(&db, &[(&labels("a", "1", 0), &[(HOUR, 1.0)])]).unwrap();
    db.flush().unwrap();
    append(&db, &[(&labels("b", "2", 1), &[(3 * HOUR, 1.0)])]).unwrap();
    let view = db.view();
    assert_eq!(view.label_names(&[], TimeRange::ALL, None).unwrap(), ["__name__", "account", "n"]);
    assert_eq!(view.label_values("__name__", &[], TimeRange::ALL, None).unwrap(), ["a", "b"]);
    let late = TimeRange { after: TimestampMs(2 * HOUR), until: TimestampMs::MAX };
    let selector = vec![Matcher::new("account", MatchOp::Regex, ".+").unwrap()];
    assert_eq!(view.series(std::slice::from_ref(&selector), late, None).unwrap(), [labels("b", "2", 1)]);
    assert_eq!(view.label_values("n", &[selector], TimeRange::ALL, Some(1)).unwrap(), ["0"]);
}

#[test]
fn a_clock_that_was_ahead_closes_no_windows_once_it_is_right() {
    let fs = SimFs::new(1);
    let clock = Arc::new(ManualClock::new(TimestampMs(HOUR)));
    let trusting = DatabaseOptions { clock: clock.clone(), trust_clock: true, ..options(&fs) };
    let db = Database::open(trusting).unwrap();
    let (right, ahead) = (labels("m", "1", 0), labels("m", "1", 1));
    let mut model = Model::new();
    let mut send = |l: &LabelSet, t: i64| {
        append(&db, &[(l, &[(t, 1.0)])]).unwrap().ticket.wait().unwrap();
        model.entry(l.clone()).or_default().insert(t, 1.0_f64.to_bits());
    };
    send(&right, HOUR);
    // The clock jumps, a cut follows it, and then it is put right.
    clock.set(TimestampMs(1000 * HOUR));
    send(&ahead, 1000 * HOUR);
    db.maintain();
    assert_eq!(db.stats().blocks, 1);
    clock.set(TimestampMs(HOUR));
    for minute in 1..=60 {
        clock.set(TimestampMs(HOUR + minute * 60_000));
        send(&right, HOUR + minute * 60_000);
        db.maintain();
        assert_eq!(db.stats().head.open_chunks, 2, "no chunk is frozen after {minute} minutes");
    }
    assert_eq!(db.stats().blocks, 1, "the window of now is not over");
    clock.set(TimestampMs(2 * HOUR + 600_000));
    send(&right, 2 * HOUR + 600_000);
    db.maintain();
    assert_eq!(db.stats().blocks, 2, "it is cut when it is");
    assert_eq!(contents(&db), model);
}

#[test]
fn full_memory_flushes_then_refuses_new_series() {
    let fs = SimFs::new(1);
    let memory_budget = open(&SimFs::new(2)).memory_bytes();
    let db = Database::open(DatabaseOptions { memory_budget, ..options(&fs) }).unwrap();
    let l = labels("m", "1", 0);
    append(&db, &[(&l, &[(HOUR, 1.0)])]).unwrap();
    db.maintain();
    assert_eq!(db.stats().blocks, 0, "first the closed windows, which are empty");
    let waits = append(&db, &[(&labels("m", "1", 2), &[(HOUR, 1.0)])]).unwrap();
    assert_eq!(waits.refused_by_class[RefusalClass::Flushing as usize], 1, "no flush was tried yet");
    db.maintain();
    assert_eq!(db.stats().blocks, 1);
    let refused = append(&db, &[(&labels("m", "1", 1), &[(HOUR, 1.0)])]).unwrap();
    assert_eq!(refused.refused_by_class[RefusalClass::NoMemoryForSeries as usize], 1);
    let known = append(&db, &[(&l, &[(HOUR + 1, 1.0)])]).unwrap();
    assert_eq!(known.written, 1, "known series go on");
}

#[test]
fn beyond_the_budget_new_series_wait_for_the_flush() {
    let fs = SimFs::new(1);
    let empty = open(&SimFs::new(2)).memory_bytes();
    let memory_budget = empty + (1 << 20);
    let db = Database::open(DatabaseOptions { memory_budget, ..options(&fs) }).unwrap();
    let add = |n, t| append(&db, &[(&labels("m", "1", n), &[(t, 1.0)])]).unwrap();
    let waits = |a: &Appended| a.refused_by_class[RefusalClass::Flushing as usize] == 1;
    let admitted = (0..100_000).take_while(|n| !waits(&add(*n, HOUR))).count();
    assert!(db.memory_bytes() < memory_budget + (64 << 10), "known without a look of the maintenance");
    assert_eq!(add(0, HOUR + 1).written, 1, "known series go on");
    append(&db, &[(&labels("m", "1", 0), &[(HOUR + 3 * 60_000, 1.0)])]).unwrap();
    db.maintain();
    db.maintain();
    assert_eq!((db.stats().blocks, db.stats().head.series), (1, 1), "what is silent for two minutes leaves");
    assert!(!waits(&add(admitted, HOUR + 3 * 60_000)), "sent again, it is taken");
}

#[test]
fn after_a_burst_of_series_memory_is_given_back() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let burst: Vec<_> = (0..5000).map(|n| labels("burst", "1", n)).collect();
    append(&db, &burst.iter().map(|l| (l, &[(HOUR, 1.0)][..])).collect::<Vec<_>>()).unwrap();
    let many = db.memory_bytes();
    let l = labels("steady", "1", 0);
    append(&db, &[(&l, &[(2 * HOUR, 1.0)])]).unwrap();
    db.maintain();
    db.flush().unwrap();
    assert_eq!(db.stats().head.series, 1);
    let left = db.memory_bytes() - open(&SimFs::new(2)).memory_bytes();
    assert!(left < many / 2, "{left} of {many}");
    append(&db, &[(&burst[7], &[(2 * HOUR, 2.0)])]).unwrap();
    assert_eq!(read(&db.view(), &[], TimeRange::ALL).len(), 5001);
}

#[test]
fn metadata_survives() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let item =
        MetricMetadata { family: "m".into(), help: "what it means".into(), ..MetricMetadata::default() };
    db.append_metadata(std::slice::from_ref(&item)).unwrap().wait().unwrap();
    drop(db);
    let db = open(&fs);
    assert_eq!(db.metadata(), std::slice::from_ref(&item));
    append(&db, &[(&labels("m", "1", 1), &[(HOUR, 1.0)])]).unwrap();
    db.flush().unwrap();
    drop(db);
    assert_eq!(open(&fs).metadata(), [item]);
}

#[test]
fn inspection_finds_what_a_restart_would_and_changes_nothing() {
    let fs = SimFs::new(7);
    let db = open(&fs);
    let series: Vec<_> = (0..20).map(|n| labels("m", "a", n)).collect();
    for round in 0..3 {
        let points = [(round * 1000 + 1, 1.0), (round * 1000 + 2, 2.0)];
        let of: Vec<_> = series.iter().map(|labels| (labels, &points[..])).collect();
        append(&db, &of).unwrap().ticket.wait().unwrap();
        if round == 1 {
            db.flush().unwrap();
        }
    }
    let (expected, ops) = (contents(&db), fs.ops());
    let look = || inspect_view(Arc::new(fs.clone()), std::path::Path::new("/data")).unwrap();
    let (view, problems) = look();
    assert_eq!(
        (read(&view, &[], TimeRange::ALL), problems),
        (expected.clone(), vec![]),
        "beside a running one"
    );
    assert_eq!(fs.ops(), ops, "nothing is written");
    db.close().unwrap();
    drop(db);
    let ops = fs.ops();
    assert_eq!(read(&look().0, &[], TimeRange::ALL), expected, "and after its end");
    assert_eq!(fs.ops(), ops);
}

#[test]
fn inspection_lists_what_the_head_has_of_a_series_place_by_place() {
    use crate::codec::Encoding;
    use crate::read::{HeadChunk, HeadPlace};
    let fs = SimFs::new(11);
    let db = open(&fs);
    let l = labels("m", "a", 0);
    let send = |points: &[(i64, f64)]| {
        append(&db, &[(&l, points)]).unwrap().ticket.wait().unwrap();
    };
    let row = |n: i64| (0..n).map(|i| (3 * HOUR + i * 1000, i as f64)).collect::<Vec<_>>();
    send(&[(HOUR, 1.0)]);
    db.flush().unwrap();
    send(&row(150));
    send(&[(3 * HOUR + 1500, 7.0), (3 * HOUR + 2500, 8.0)]);
    let look = || {
        let (view, problems) = inspect_view(Arc::new(fs.clone()), std::path::Path::new("/data")).unwrap();
        assert_eq!(problems, Vec::<String>::new());
        let mut chunks = vec![];
        for mut cursor in view.select(&[], TimeRange::ALL, Wanted::Samples).unwrap() {
            while cursor.advance().unwrap() {
                cursor.head_chunks(&mut chunks).unwrap();
            }
        }
        chunks
    };
    let check = |chunks: &[HeadChunk]| {
        let found = |chunk: &HeadChunk| {
            let content = chunk.content.as_ref().unwrap();
            (
                chunk.place,
                content.encoding,
                chunk.first.0 - 3 * HOUR,
                chunk.last.0 - 3 * HOUR,
                content.samples,
            )
        };
        let [open, late, log] = &chunks.iter().map(found).collect::<Vec<_>>()[..] else {
            panic!("an open chunk, late samples and a full chunk, not what is in a block: {chunks:?}")
        };
        let full = log.4;
        assert!((60..=120).contains(&full));
        let end = i64::from(full) * 1000;
        assert_eq!(*log, (HeadPlace::Log, Some(Encoding::Open), 0, end - 1000, full));
        assert_eq!(*open, (HeadPlace::Open, Some(Encoding::Open), end, 149_000, 150 - full));
        assert_eq!(*late, (HeadPlace::LateBuffer, None, 1500, 2500, 2));
        assert!(chunks.iter().all(|chunk| chunk.bytes > 0));
    };
    check(&look());
    db.close().unwrap();
    check(&look());
}

#[test]
fn series_registered_while_a_checkpoint_is_written_wait_for_the_replay() {
    use crate::head::{HeadOptions, checkpoint};
    let fs = SimFs::new(1);
    let db = open(&fs);
    append(&db, &[(&labels("m", "1", 0), &[(HOUR, 1.0)])]).unwrap();
    let shard = db.head.shard(shard_of_account(b"1", db.shards()));
    let dir = db.dir.join("checkpoint");
    let (asked, was_asked) = crossbeam::channel::unbounded();
    let written = std::thread::scope(|scope| {
        // Holds the writer between its copy of the slice and the rows.
        let mut index = shard.index.write();
        let writer = scope.spawn(|| {
            let newest_lsn = || {
                asked.send(()).unwrap();
                db.wal.end()
            };
            checkpoint::write(&fs, &dir, 9, &db.pace, &db.head, &db.view.load().cuts, &newest_lsn).unwrap()
        });
        (0..2).for_each(|_| was_asked.recv().unwrap());
        let new = labels("m", "1", 1);
        let row = index.row_of(&new).unwrap();
        let (slot, _) = shard.series.lock().register(new.fingerprint(db.seed()), 0);
        index.insert(slot, &row);
        drop(index);
        writer.join().unwrap()
    });
    let options = HeadOptions {
        seed: db.seed(),
        shards: db.shards(),
        account_label: "account".into(),
        window: db.options.window,
        log_dir: db.dir.join("head"),
    };
    let named = checkpoint::Named {
        dir: &dir,
        number: 9,
        bytes: written.bytes,
        log_end: HeadPos(written.log_end),
        blocks: &[],
    };
    let loaded = checkpoint::load(Arc::new(fs.clone()), named, &options).unwrap();
    assert!(loaded.damage.is_empty(), "{:?}", loaded.damage);
    assert_eq!(loaded.head.shard(shard.id).series.lock().live(), 1);
}

/// Fills the rest of the head-chunk log's segment with records of the window that `t` lies in, which belong to no series.
fn fill_log_segment(db: &Database, t: i64) {
    let (slot, shard, t) = (SeriesSlot(0), ShardId(0), TimestampMs(t));
    let prev = HeadPos::NONE;
    let header = RecordHeader { prev, slot, shard, generation: 0, late: false, first_t: t, last_t: t };
    (0..70).for_each(|_| {
        db.head.log.append(&header, &[0; 250_000]);
    });
}

#[test]
fn a_segment_of_the_head_log_goes_when_all_its_windows_are_cut() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let l = labels("m", "1", 0);
    append(&db, &[(&l, &[(HOUR, 1.0)])]).unwrap();
    db.flush().unwrap();
    append(&db, &[(&l, &[(3 * HOUR, 2.0)])]).unwrap();
    fill_log_segment(&db, 3 * HOUR);
    db.flush().unwrap();
    assert_eq!(db.head.log.mapped_bytes(), 0, "the first window was cut in the middle of the segment");
    let want = contents(&db);
    assert_eq!(want[&l].len(), 2);
    drop(db);
    assert_eq!(contents(&open(&fs)), want, "the checkpoint does not name the segment");
}

#[test]
fn a_view_between_two_cuts_keeps_what_only_the_second_took() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let l = labels("m", "1", 0);
    append(&db, &[(&l, &[(HOUR, 1.0), (3 * HOUR, 2.0)])]).unwrap();
    let first = db.view();
    db.maintain();
    let between = db.view();
    let want = read(&between, &[], TimeRange::ALL);
    assert_eq!((db.stats().blocks, want[&l].len()), (1, 2));
    db.flush().unwrap();
    fill_log_segment(&db, 3 * HOUR);
    append(&db, &[(&l, &[(5 * HOUR, 3.0)])]).unwrap();
    db.flush().unwrap();
    drop(first);
    db.maintain();
    let found = read(&between, &[], TimeRange::ALL);
    assert_eq!(found[&l].len(), 3, "one block, and the log with what came since");
    drop(between);
    db.maintain();
    assert_eq!(db.head.log.mapped_bytes(), 0);
    assert_eq!(contents(&db)[&l].len(), 3);
}

#[test]
fn a_late_sample_beside_a_chunk_that_had_left_survives_the_replay() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let l = labels("m", "1", 0);
    append(&db, &[(&l, &[(HOUR, 1.0), (HOUR + 1000, 2.0)])]).unwrap();
    append(&db, &[(&labels("m", "1", 1), &[(HOUR + 1001 + IDLE.0, 0.0)])]).unwrap();
    db.maintain();
    assert_eq!(db.stats().head.open_chunks, 1, "the idle series' chunk has left");
    let appended = append(&db, &[(&l, &[(HOUR, 5.0)])]).unwrap();
    assert_eq!(appended.late, 1);
    appended.ticket.wait().unwrap();
    let want = contents(&db);
    assert_eq!(want[&l][&HOUR], 5f64.to_bits());
    drop(db);
    assert_eq!(
        contents(&open(&fs)),
        want,
        "the chunk is open again, and the log's samples are not judged anew"
    );
}

#[test]
fn a_window_that_a_flush_took_a_part_of_is_cut_on_time_after_a_restart() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let l = labels("m", "1", 0);
    append(&db, &[(&l, &[(3 * HOUR, 1.0)])]).unwrap();
    db.flush().unwrap();
    append(&db, &[(&l, &[(3 * HOUR + 1, 2.0)])]).unwrap();
    drop(db);
    let db = open(&fs);
    append(&db, &[(&l, &[(4 * HOUR + 300_000, 3.0)])]).unwrap();
    db.maintain();
    assert_eq!(db.stats().blocks, 2);
    assert_eq!(contents(&db)[&l].len(), 3);
}

#[test]
fn a_history_of_many_windows_is_cut_some_at_a_time() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let (l, idle) = (labels("m", "1", 0), labels("m", "1", 1));
    let n = 2 * crate::compact::cut::WINDOWS_MAX as i64 + 1;
    let history: Vec<(i64, f64)> = (0..n).rev().map(|i| (i * 2 * HOUR + 1, i as f64)).collect();
    append(&db, &[(&idle, &[(1, 1.0), (3 * HOUR, 1.0)]), (&l, &history)]).unwrap();
    let want = contents(&db);
    db.flush().unwrap();
    let stats = db.stats();
    assert_eq!((stats.blocks, stats.checkpoints, stats.series_left), (n as u64, 3, 1));
    assert_eq!(contents(&db), want);
    drop(db);
    assert_eq!(contents(&open(&fs)), want);
}

#[test]
fn a_cut_goes_on_without_a_damaged_chunk() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    let (damaged, sound) = (labels("m", "1", 0), labels("m", "1", 1));
    let stale = f64::from_bits(crate::model::STALE_NAN_BITS);
    append(&db, &[(&damaged, &[(1, 1.0), (2, stale)]), (&sound, &[(1, 1.0), (2, stale)])]).unwrap();
    db.maintain();
    let long: Vec<(i64, f64)> = (3..3000).map(|t| (t, t as f64)).collect();
    append(&db, &[(&labels("m", "2", 2), &long)]).unwrap().ticket.wait().unwrap();
    db.maintain();
    assert_eq!(db.stats().checkpoints, 1);
    let mut want = contents(&db);
    drop(db);
    let segment = std::path::Path::new("/data/head/0000000000000001.hcl");
    fs.corrupt(segment, 32 + 40 + 5, 0x10).unwrap();
    let db = open(&fs);
    db.flush().unwrap();
    assert_eq!(db.stats().cut_corruptions, 1);
    want.remove(&damaged);
    assert_eq!(contents(&db), want);
    assert!(fs.exists(std::path::Path::new("/data/quarantine/0000000000000001.hcl")).unwrap());
}

#[test]
fn a_search_ends_when_nobody_waits_for_it() {
    let series: Vec<LabelSet> = (0..3000).map(|n| labels("m", "a", n)).collect();
    let (fs, _) = four_hours(&series, |t, i| (t + i as i64) as f64);
    let db = open(&fs);
    let any = [Matcher::new("n", MatchOp::Regex, ".*7.*").unwrap()];
    let asked = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let search = |looks: u64| {
        let asked = asked.clone();
        asked.store(0, std::sync::atomic::Ordering::Relaxed);
        let is_over = move || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= looks;
        db.view().until(is_over).select(&any, TimeRange::ALL, Wanted::Samples).map(drop)
    };
    search(u64::MAX).unwrap();
    let looks = asked.load(std::sync::atomic::Ordering::Relaxed);
    assert!(looks > 20, "{looks}: three sources of 3,000 values, a thousand at a time");
    for n in 0..looks {
        assert!(matches!(search(n), Err(crate::read::ReadError::Stopped)), "{n} of {looks}");
    }
}

#[test]
fn what_reading_costs_is_known_before() {
    let series: Vec<LabelSet> = (0..300).map(|n| labels("m", &(n % 7).to_string(), n)).collect();
    let (fs, _) = four_hours(&series, |t, i| ((t / 7) % 1009 * (i as i64 + 1)) as f64 / 7.0);
    let db = open(&fs);
    // Head, late and of series that no block has; and a day of it deleted again.
    let new = labels("m", "1", 1000);
    let late =
        [(&new, &[(5 * HOUR, 1.0)][..]), (&series[3], &[(4 * HOUR + 7, 1.0), (4 * HOUR + 9, 2.0)][..])];
    append(&db, &late).unwrap();
    let doomed = [Matcher::equal("n", "5")];
    let hidden = TimeRange { after: TimestampMs(HOUR), until: TimestampMs(3 * HOUR) };
    db.delete_series(&[doomed.to_vec()], hidden).unwrap();
    let check_for = |wanted: Wanted, matchers: &[Matcher], range: TimeRange| {
        let view = db.view();
        let estimate = view.estimate(matchers, range, wanted).unwrap();
        let (mut n, mut cost) = (0, (0, 0));
        for mut cursor in view.select(matchers, range, wanted).unwrap() {
            while cursor.advance().unwrap() {
                n += 1;
                if wanted == Wanted::Samples || !cursor.times(&mut Vec::new()) {
                    cursor.samples().unwrap();
                }
            }
            let (chunks, bytes) = cursor.chunks_read();
            cost = (cost.0 + chunks, cost.1 + bytes);
        }
        assert_eq!((estimate.series, (estimate.chunks, estimate.bytes)), (n, cost), "{matchers:?} {range:?}");
        estimate
    };
    let check = |matchers: &[Matcher], range: TimeRange| {
        check_for(Wanted::Times, matchers, range);
        check_for(Wanted::Newest, matchers, range);
        check_for(Wanted::Samples, matchers, range)
    };
    let closed = |a: i64, b: i64| TimeRange { after: TimestampMs(a), until: TimestampMs(b) };
    let all = check(&[], TimeRange::ALL);
    assert_eq!((all.series, all.blocks, all.shards), (301, db.stats().blocks, 4));
    let one = check(&[Matcher::equal("account", "3")], closed(HOUR, 2 * HOUR));
    assert_eq!((one.shards, one.blocks), (1, 1), "{one:?}");
    let head = check(&[Matcher::equal("n", "1000")], TimeRange::ALL);
    assert_eq!((head.series, head.head_series, head.blocks), (1, 1, 0));
    check(&doomed, TimeRange::ALL);
    check(&[Matcher::new("n", MatchOp::Regex, "[3-6]").unwrap()], closed(2 * HOUR, 5 * HOUR));
    assert_eq!(check(&[Matcher::equal("n", "none")], TimeRange::ALL), crate::read::Estimate::default());
}

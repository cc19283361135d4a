//! What is kept of earlier answers is what would be answered now, to the bit: random queries over data that grow, come late, are
//! deleted, undeleted, flushed and merged.

use cardinal_query::{Engine, EngineOptions, Output, QueryError, QueryOptions, Value};
use cardinal_storage::database::{Database, DatabaseOptions, RefusalClass, Refused, Resolve};
use cardinal_storage::index::{MatchOp, Matcher};
use cardinal_storage::io::{ManualClock, SimFs};
use cardinal_storage::model::{
    DurationMs, LabelSet, STALE_NAN_BITS, Sample, ShardCount, TimeRange, TimestampMs,
};
use cardinal_tests::draws::Draws;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const MINUTE: i64 = 60_000;
/// Some time long after the epoch, at which neither windows nor steps begin.
const BEGIN: i64 = 1_000_000 * MINUTE + 12_345;

/// Fit to be kept, but for the last few.
const QUERIES: [&str; 34] = [
    "m",
    "m{n=\"1\"}",
    "sum by (g) (rate(c_total[5m]))",
    "sum(m) / count(m)",
    "avg by (g) (m) > 300",
    "rate(m[3m])",
    "increase(c_total{g=~\"a|b\"}[10m]) * 2",
    "max_over_time(sum by (g) (rate(c_total[2m]))[10m:1m])",
    "rate(c_total[5m]) > 3 * avg_over_time(rate(c_total[5m])[20m:5m] offset 5m)",
    "m offset 3m",
    "m offset -3m",
    "topk(2, m)",
    "quantile(1.5, m)",
    "quantile by (g) (0.5, m)",
    "absent(m{n=\"77\"})",
    "absent_over_time(m{n=\"3\"}[1m])",
    "sort(m)",
    "count_values(\"v\", m > 900)",
    "{__name__=~\"m|c_total\"}",
    "m * on (g, n) group_left () c_total",
    "c_total unless on (n) m{n=~\"1|3|5\"}",
    "histogram_quantile(0.9, sum by (le) (rate(h_bucket[5m])))",
    "label_replace(m, \"x\", \"$1\", \"n\", \"(.)\")",
    "time() - timestamp(m)",
    "predict_linear(m[10m], 60)",
    "increase(c_total[5m] anchored)",
    "rate(c_total[5m] smoothed)",
    "min by (g) (changes(m[7m])) or vector(1)",
    "limitk(1, m)",
    "stddev(m)",
    "m @ end()",
    "rate({__name__=~\"m|c_total\"}[5m])",
    "m + on () m",
    "sum(m) + range()",
];

struct Canonical;

impl Resolve for Canonical {
    fn resolve(&self, section: &[u8]) -> Result<LabelSet, Refused> {
        LabelSet::from_section(section)
            .map_err(|e| Refused { class: RefusalClass::InvalidLabels, message: e.to_string() })
    }
}

struct World {
    db: Arc<Database>,
    clock: Arc<ManualClock>,
    engine: Engine,
    draws: Draws,
    now: i64,
    series: Vec<LabelSet>,
    deletions: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(TimestampMs(BEGIN)));
        let db = Database::open(DatabaseOptions {
            fs: Arc::new(SimFs::new(seed)),
            clock: clock.clone(),
            background: false,
            shards: ShardCount::new(4).expect("it is valid, and the disk does not fail"),
            window: DurationMs::mins(30),
            wal_segment_bytes: 64 << 10,
            account_label: "g".into(),
            ..DatabaseOptions::new("/data")
        })
        .expect("it is valid, and the disk does not fail");
        let engine =
            Engine::new(EngineOptions { cache_bytes: 1 << 20, threads: 2, ..EngineOptions::default() });
        let mut series = Vec::new();
        for n in 0..8 {
            let (g, n) = (["a", "b", "c"][n % 3], n.to_string());
            let pair = |name: &str| {
                LabelSet::from_pairs([("__name__", name), ("g", g), ("n", &n)])
                    .expect("it is valid, and the disk does not fail")
            };
            series.extend([pair("m"), pair("c_total")]);
            let bucket = |le: &str| {
                LabelSet::from_pairs([("__name__", "h_bucket"), ("g", g), ("n", &n), ("le", le)])
                    .expect("it is valid, and the disk does not fail")
            };
            series.extend(["1", "2", "+Inf"].map(bucket));
        }
        Self { db, clock, engine, draws: Draws::new(seed), now: BEGIN, series, deletions: 0 }
    }

    fn value(&mut self, t: i64) -> f64 {
        match self.draws.below(40) {
            0 => f64::from_bits(STALE_NAN_BITS),
            1 => f64::NAN,
            n if n < 20 => self.draws.below(1000) as f64,
            _ => ((t - BEGIN) / 1000 + self.draws.below(50) as i64) as f64 / 7.0,
        }
    }

    fn append(&self, samples: &[(LabelSet, i64, f64)]) {
        let values: Vec<Sample> =
            samples.iter().map(|(_, t, v)| Sample { t: TimestampMs(*t), v: *v }).collect();
        let rows: Vec<_> =
            samples.iter().zip(0..).map(|((labels, ..), i)| self.db.row(labels, i..i + 1)).collect();
        self.db.append(&rows, &values, &Canonical).expect("it is valid, and the disk does not fail");
    }

    /// A scrape of most series, as it came by now.
    fn scrape(&mut self) {
        self.now += 1000 * (5 + self.draws.below(40) as i64);
        self.clock.set(TimestampMs(self.now));
        let mut samples = Vec::new();
        for labels in self.series.clone() {
            if !self.draws.one_in(6) {
                let t = self.now - self.draws.below(20_000) as i64;
                samples.push((labels, t, self.value(t)));
            }
        }
        self.append(&samples);
    }

    fn late(&mut self) {
        let count = 1 + self.draws.below(4);
        let mut samples = Vec::new();
        for _ in 0..count {
            let ago = [3, 10, 50][self.draws.below(3) as usize] * MINUTE;
            let t = self.now - self.draws.below(ago as u64) as i64;
            let known = self.series[self.draws.below(self.series.len() as u64) as usize].clone();
            let new = LabelSet::from_pairs([("__name__", "m"), ("g", "a"), ("n", &t.to_string())])
                .expect("it is valid, and the disk does not fail");
            let labels = if self.draws.one_in(5) { new } else { known };
            samples.push((labels, t, self.value(t)));
        }
        self.append(&samples);
    }

    fn delete(&mut self) {
        let n = self.draws.below(9).to_string();
        let name = self.draws.one_of(&["m", "c_total"]);
        let matchers = match self.draws.below(3) {
            0 => vec![Matcher::equal("__name__", name)],
            1 => vec![Matcher::equal("n", &n), Matcher::equal("__name__", name)],
            _ => vec![
                Matcher::new("n", MatchOp::Regex, &format!("{n}|2"))
                    .expect("it is valid, and the disk does not fail"),
            ],
        };
        let until = self.now - self.draws.below(40 * MINUTE as u64) as i64;
        let after = until - self.draws.below(10 * MINUTE as u64) as i64;
        let range = TimeRange { after: TimestampMs(after), until: TimestampMs(until) };
        self.deletions +=
            self.db.delete_series(&[matchers], range).expect("it is valid, and the disk does not fail").len();
    }

    fn undelete(&mut self) {
        if let Some(deletion) = self.db.deletions().first() {
            self.db.undelete(deletion.tombstone.id).expect("it is valid, and the disk does not fail");
        }
    }

    fn live(&mut self) {
        match self.draws.below(60) {
            0..=3 => self.late(),
            4 => self.delete(),
            5 => self.undelete(),
            6 => self.db.flush().expect("it is valid, and the disk does not fail"),
            7 => self.db.compact().expect("it is valid, and the disk does not fail"),
            _ => self.scrape(),
        }
    }

    fn ask(
        &self,
        query: &str,
        (start, end, step): (i64, i64, i64),
        no_cache: bool,
    ) -> Result<Output, QueryError> {
        let options = QueryOptions { no_cache, ..QueryOptions::default() };
        let (start, end) = (TimestampMs(start), TimestampMs(end));
        self.engine.range(&self.db.view(), query, start, end, DurationMs(step), &options)
    }

    /// Asks as a dashboard does, whose range ends now or so.
    fn check(&mut self, what: &str) {
        let query = self.draws.one_of(&QUERIES);
        let step = self.draws.one_of(&[15_000, 60_000]);
        let steps = self.draws.one_of(&[20, 120]);
        let end = match self.draws.below(4) {
            0 => self.now - 20 * MINUTE,
            _ => self.now,
        };
        let end = end.div_euclid(step) * step;
        let times = (end - steps * step, end, step);
        let kept = told(self.ask(query, times, false));
        let now = told(self.ask(query, times, true));
        assert_eq!(kept, now, "{what}: {query} {times:?}");
    }
}

/// All of an answer, to the bit.
fn told(answer: Result<Output, QueryError>) -> Vec<String> {
    let output = match answer {
        Ok(output) => output,
        Err(error) => return vec![error.to_string()],
    };
    let Value::Matrix(matrix) = &output.value else { panic!("a range query answers with a matrix") };
    assert!(matrix.iter().all(|s| s.histograms.is_empty()));
    let series = matrix.iter().map(|s| {
        let points: Vec<_> = s.points.iter().map(|(t, v)| (t.0, v.to_bits())).collect();
        format!("{} {points:?}", s.labels)
    });
    series.chain(output.warnings).chain(output.infos).collect()
}

#[test]
fn what_is_kept_is_what_would_be_answered() {
    let mut all = cardinal_query::CacheStats::default();
    let mut deletions = 0;
    for seed in 0..3 {
        let mut world = World::new(seed);
        (0..100).for_each(|_| world.scrape());
        for round in 0..60 {
            (0..3).for_each(|_| world.live());
            (0..8).for_each(|_| world.check(&format!("seed {seed}, round {round}")));
        }
        let stats = world.engine.cache_stats();
        all.hits += stats.hits;
        all.partial += stats.partial;
        all.steps_reused += stats.steps_reused;
        all.steps_changed += stats.steps_changed;
        all.unfit += stats.unfit;
        deletions += world.deletions;
        assert!(stats.bytes <= stats.bytes_max);
    }
    assert!(all.hits > 20 && all.partial > 100 && all.unfit > 50, "{all:?}");
    assert!(all.steps_reused > 10_000 && all.steps_changed > 100 && deletions > 3, "{all:?} {deletions}");
}

#[test]
fn samples_that_arrive_while_queries_run_are_not_kept_out() {
    let mut world = World::new(77);
    (0..60).for_each(|_| world.scrape());
    let (first, last) = (world.now - 30 * MINUTE, world.now);
    let times = (first.div_euclid(15_000) * 15_000, last.div_euclid(15_000) * 15_000, 15_000);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let late = (0i64..).map(|i| (first + (i * 7919) % (last - first), i));
            for (t, i) in late.take_while(|(_, i)| *i < 20 || !done.load(Ordering::Acquire)) {
                let labels = world.series[usize::try_from(i * 7 % 40).expect("small")].clone();
                world.append(&[(labels, t, i as f64)]);
            }
        });
        let mut rounds = 0..500;
        while rounds.next().is_some() && world.engine.cache_stats().steps_changed < 100 {
            for query in ["m", "sum(c_total)", "count(m) + count(c_total)"] {
                world.ask(query, times, false).expect("it is valid");
            }
        }
        done.store(true, Ordering::Release);
    });
    for query in ["m", "sum(c_total)", "count(m) + count(c_total)"] {
        assert_eq!(told(world.ask(query, times, false)), told(world.ask(query, times, true)), "{query}");
        let before = world.engine.cache_stats().hits;
        assert_eq!(told(world.ask(query, times, false)), told(world.ask(query, times, true)), "{query}");
        assert_eq!(world.engine.cache_stats().hits, before + 1, "{query}");
    }
}

//! A database's life: random operations on a disk that is cut off, fails and fills up, against the plain model.
//!
//! A seed tells all of it. After each operation, and after each restart, the database says what the model says.

use crate::disk::{Row, Setup, append, contents, findings, read};
use crate::draws::Draws;
use crate::model::{Contents, Model};
use crate::value::Value;
use cardinal_storage::database::{Database, DeleteError, UndeleteError};
use cardinal_storage::index::{MatchOp, Matcher};
use cardinal_storage::io::{Clock as _, FaultKind, ManualClock, SimFs};
use cardinal_storage::model::{DurationMs, LabelSet, STALE_NAN_BITS, TimeRange, TimestampMs};
use cardinal_storage::wal::SyncMode;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// Late samples lie in the end of a minute, all others before it, so that none meets another of its time by chance.
const LATE_AT: i64 = 50_000;

/// Set, it makes a failure tell all operations of the disk.
const OPERATIONS: &str = "CRASH_OPERATIONS";

/// What happened in a life.
#[derive(Clone, Copy, Debug, Default)]
pub struct Events {
    /// Ends by a power cut or a kill, within an operation or between two.
    pub crashes: u64,
    /// Operations of the disk that were told to fail.
    pub faults: u64,
    /// Operations of the database that answered with an error.
    pub errors: u64,
    /// Requests that were acknowledged.
    pub acknowledged: u64,
    /// Requests that were not.
    pub unacknowledged: u64,
    /// Acknowledged samples that retention took.
    pub expired: u64,
    /// Samples that deletions took for good.
    pub reclaimed: u64,
    /// Blocks made by cuts.
    pub cuts: u64,
    /// Merges of blocks.
    pub merges: u64,
}

impl AddAssign for Events {
    fn add_assign(&mut self, other: Self) {
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.errors += other.errors;
        self.acknowledged += other.acknowledged;
        self.unacknowledged += other.unacknowledged;
        self.expired += other.expired;
        self.reclaimed += other.reclaimed;
        self.cuts += other.cuts;
        self.merges += other.merges;
    }
}

/// How a life ends now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// What was not synced may be lost; the seed tells what.
    PowerCut(u64),
    /// The process is killed; the disk goes on.
    Kill,
}

/// A database that lives.
pub struct Life {
    setup: Setup,
    fs: SimFs,
    clock: Arc<ManualClock>,
    db: Option<Arc<Database>>,
    /// What it must say.
    pub model: Model,
    draws: Draws,
    /// How far the clock is ahead of the newest sample.
    clock_ahead: i64,
    /// Makes each time of a late sample one that nothing else has.
    late: i64,
    /// Whether something of the disk was told to fail since it was healed.
    in_trouble: bool,
    /// What happened so far.
    pub events: Events,
    log: Vec<String>,
    /// Operations of the disk that are in the log.
    noted: u64,
}

/// Lives the life of a seed. The error says what went wrong, and the last things before it.
pub fn live(seed: u64, steps: u64) -> Result<Events, String> {
    let mut setup = Setup::default();
    if seed % 8 == 7 {
        // Nothing is synced for long: a killed process loses nothing all the same.
        setup.sync = SyncMode::Interval(Duration::from_secs(3600));
    }
    setup.trust_clock = seed % 4 == 1;
    let mut life = Life::begin(setup, seed)?;
    let lived = life.live(steps);
    lived.map(|()| life.events).map_err(|what| {
        let from =
            life.log.len().saturating_sub(if std::env::var_os(OPERATIONS).is_some() { 200 } else { 12 });
        format!("seed {seed}: {what}\nbefore that:\n  {}", life.log[from..].join("\n  "))
    })
}

impl Life {
    /// A new database on an empty disk.
    pub fn begin(setup: Setup, seed: u64) -> Result<Self, String> {
        let mut life = Self {
            fs: SimFs::new(seed),
            clock: Arc::new(ManualClock::new(TimestampMs(0))),
            db: None,
            model: Model::new(setup.keeping.clone()),
            draws: Draws::new(seed),
            clock_ahead: 0,
            late: 0,
            in_trouble: false,
            events: Events::default(),
            log: Vec::new(),
            noted: 0,
            setup,
        };
        life.open()?;
        // The first sample: times are counted from it.
        let labels = life.some_series();
        life.send(&[(labels, vec![(TimestampMs(30 * 24 * HOUR), 0.0.into())])])?;
        Ok(life)
    }

    /// The same life on a copy of the disk, as a killed process leaves it; what it draws is of another seed.
    pub fn fork(&self, seed: u64) -> Result<Self, String> {
        let mut life = Self {
            setup: self.setup.clone(),
            fs: self.fs.kill(),
            clock: Arc::new(ManualClock::new(self.model.newest())),
            db: None,
            model: self.model.clone(),
            draws: Draws::new(seed),
            log: Vec::new(),
            ..*self
        };
        life.open_once()?;
        Ok(life)
    }

    /// The disk.
    pub fn fs(&self) -> &SimFs {
        &self.fs
    }

    /// The database. It is open between operations.
    pub fn db(&self) -> Arc<Database> {
        self.db.clone().expect("a life goes on with an open database")
    }

    fn live(&mut self, steps: u64) -> Result<(), String> {
        for _ in 0..steps {
            self.plan();
            self.step()?;
            if self.fs.is_frozen() {
                let end = self.some_end();
                self.end(end)?;
            } else {
                self.check()?;
            }
        }
        self.heal();
        self.restart()?;
        self.run("compact", |db| db.compact())?;
        self.check()?;
        self.restart()?;
        (self.events.expired, self.events.reclaimed) = (self.model.expired, self.model.reclaimed);
        self.db = None;
        findings(&self.fs)
    }

    /// Tells the disk, now and then, what is to go wrong.
    fn plan(&mut self) {
        if self.in_trouble {
            if self.draws.one_in(3) {
                self.heal();
            }
            return;
        }
        let within = self.draws.one_of(&[3, 12, 48]);
        let at = self.fs.ops() + self.draws.below(within);
        match self.draws.below(8) {
            0..=3 => {
                self.note(format!("freezes at operation {at}"));
                self.fs.freeze_at(at);
                self.in_trouble = true;
            }
            4 if self.is_sync() => {
                let kind = self.draws.one_of(&[FaultKind::Eio, FaultKind::Enospc, FaultKind::TornWrite]);
                self.note(format!("operation {at} fails with {kind:?}"));
                self.fs.fail_at(at, kind);
                self.fault();
            }
            5 if self.is_sync() && self.draws.one_in(3) => {
                let kind = self.draws.one_of(&[FaultKind::Eio, FaultKind::Enospc]);
                self.note(format!("operations from {at} on fail with {kind:?}"));
                self.fs.fail_from(at, kind);
                self.fault();
            }
            6 if self.is_sync() && self.draws.one_in(3) => {
                let capacity = self.fs.used() + self.draws.below(1 << 18);
                self.note(format!("the disk has {capacity} bytes"));
                self.fs.set_capacity(Some(capacity));
                self.fault();
            }
            _ => {}
        }
    }

    fn fault(&mut self) {
        self.events.faults += 1;
        self.in_trouble = true;
    }

    /// Whether what is acknowledged is synced: else a failing disk may lose it, and so may a power cut.
    fn is_sync(&self) -> bool {
        self.setup.sync == SyncMode::Commit
    }

    fn some_end(&mut self) -> End {
        match self.is_sync() && !self.draws.one_in(3) {
            true => End::PowerCut(self.draws.below(1 << 20)),
            false => End::Kill,
        }
    }

    /// Tells the disk what is to go wrong.
    pub fn plan_mishap(&mut self, plan: impl FnOnce(&SimFs)) {
        plan(&self.fs);
        self.fault();
    }

    /// Takes back what was planned.
    pub fn heal(&mut self) {
        self.fs.heal();
        self.in_trouble = false;
    }

    fn step(&mut self) -> Result<(), String> {
        let time = Duration::from_secs(60 + self.draws.below(300));
        self.pass(time);
        if self.db().is_read_only() {
            self.heal();
            return self.restart();
        }
        match self.draws.below(40) {
            0..=11 => self.send_new(),
            12..=15 => self.send_late(),
            16..=17 => self.send_again(),
            18..=19 => self.delete(),
            20 => self.undelete(),
            21 => self.clean(),
            22..=24 => self.run("flush", |db| db.flush()),
            25..=29 => self.maintain(),
            30..=31 => self.run("compact", |db| db.compact()),
            32 => {
                // Ahead by months, behind by months, or right again.
                self.clock_ahead = self.draws.one_of(&[0, 2_400 * HOUR, -2_400 * HOUR]);
                self.note(format!("the clock jumps by {} h", self.clock_ahead / HOUR));
                Ok(())
            }
            33..=35 => {
                let hours = 1 + self.draws.below(16) as i64;
                let t = self.model.newest() + DurationMs(hours * HOUR);
                let labels = self.some_series_at(t);
                self.send(&[(labels, vec![(t, (hours as f64).into())])])
            }
            36..=37 => self.restart(),
            38 => {
                let end = self.some_end();
                self.end(end)
            }
            _ => {
                self.heal();
                Ok(())
            }
        }
    }

    /// Lets time pass; the clock stays by the newest sample but for its jumps.
    pub fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.clock.set(TimestampMs(self.model.newest().0.saturating_add(self.clock_ahead)));
    }

    /// Notes what was done, and where the disk then was. With `CRASH_OPERATIONS` set, also what the disk was told to do.
    fn note(&mut self, what: String) {
        let ops = self.fs.ops();
        if std::env::var_os(OPERATIONS).is_some() {
            let from = if ops < self.noted { 0 } else { self.noted };
            let told = self.fs.op_names();
            self.log
                .extend(told.iter().enumerate().skip(from as usize).map(|(n, op)| format!("    {n}: {op}")));
            self.noted = ops;
        }
        self.log.push(format!("[{ops}] {what}"));
    }

    // ---- operations ----

    /// Does what is due, as the background would.
    pub fn maintain(&mut self) -> Result<(), String> {
        self.note("maintain, compact_due".into());
        self.model.look_at_clock(self.clock.now());
        self.db().maintain();
        self.db().compact_due();
        Ok(())
    }

    /// Does `work`, which may fail only where the disk does.
    pub fn run<E: std::fmt::Display>(
        &mut self,
        name: &str,
        work: impl Fn(&Database) -> Result<(), E>,
    ) -> Result<(), String> {
        self.model.look_at_clock(self.clock.now());
        let result = work(&self.db()).map_err(|e| e.to_string());
        self.note(format!("{name}: {result:?}"));
        self.excuse(result)
    }

    /// An error is the disk's where that was told to fail.
    fn excuse(&mut self, result: Result<(), String>) -> Result<(), String> {
        match result {
            Err(_) if self.in_trouble => self.events.errors += 1,
            other => other?,
        }
        Ok(())
    }

    fn send_new(&mut self) -> Result<(), String> {
        let mut t = self.model.newest();
        for _ in 0..=self.draws.below(3) {
            t = t + DurationMs(1 + self.draws.below(6 * MINUTE as u64) as i64);
            if t.0 % MINUTE >= LATE_AT {
                t = t + DurationMs(MINUTE - LATE_AT);
            }
            let which = self.draws.any();
            let some = (0..8).filter(|i| which >> i & 1 == 0);
            let rows: Vec<Row> = some.map(|i| (series(i, t), vec![(t, self.some_value_of(i))])).collect();
            self.send(&rows)?;
        }
        Ok(())
    }

    /// Samples of one series in the past, some of them over many hours.
    fn send_late(&mut self) -> Result<(), String> {
        let (count, apart) =
            (1 + self.draws.below(40) as i64, self.draws.one_of(&[1_000, MINUTE, 10 * MINUTE]));
        let first = self.model.newest().0 - self.draws.below(36 * HOUR as u64) as i64;
        let mut points = Vec::new();
        for i in 0..count {
            self.late += 1;
            let t = (first + i * apart) / MINUTE * MINUTE + LATE_AT + self.late % (MINUTE - LATE_AT);
            points.push((TimestampMs(t), self.some_value()));
        }
        points.retain(|(t, _)| *t < self.model.newest());
        points.sort_by_key(|(t, _)| *t);
        points.dedup_by_key(|(t, _)| *t);
        let series = self.some_series_at(TimestampMs(first));
        self.send(&[(series, points)])
    }

    /// What was sent before, once more or with another value.
    fn send_again(&mut self) -> Result<(), String> {
        let draw = self.draws.any();
        let Some((labels, t, v)) = self.model.some_sample(draw) else { return Ok(()) };
        let v = if self.draws.one_in(3) { self.some_value() } else { v };
        self.send(&[(labels, vec![(t, v)])])
    }

    /// Sends a request; where a sample is refused it is the only one.
    pub fn send(&mut self, rows: &[Row]) -> Result<(), String> {
        let samples: u64 = rows.iter().map(|(_, points)| points.len() as u64).sum();
        if samples == 0 {
            return Ok(());
        }
        assert!(rows.iter().all(|(_, points)| !points.is_empty()), "a row has samples");
        self.model.begin();
        for (labels, points) in rows {
            points.iter().for_each(|(t, v)| self.model.send(labels, *t, v.clone()));
        }
        let db = self.db();
        let result = append(&db, rows).map_err(|e| e.to_string()).and_then(|appended| {
            let refused = appended.refused;
            match (refused, samples) {
                (0, _) => {}
                (1, 1) => self.model.withdraw(),
                _ => {
                    return Err(format!(
                        "{refused} of {samples} samples are refused: {:?}",
                        appended.reasons
                    ));
                }
            }
            appended.ticket.wait().map_err(|e| e.to_string())
        });
        if result.is_ok() {
            self.model.acknowledge();
            self.events.acknowledged += 1;
        } else {
            self.events.unacknowledged += 1;
        }
        let (labels, points) = &rows[0];
        self.note(format!("send {samples} samples, {labels} at {:?}..: {result:?}", points[0].0.0));
        self.wait_for_spare();
        self.excuse(result)
    }

    /// The log makes its next segment beside what follows: waiting for it makes a life the same each time.
    fn wait_for_spare(&self) {
        let db = self.db();
        for _ in 0..10_000 {
            if db.stats().wal.has_spare || db.is_read_only() || self.fs.is_frozen() {
                return;
            }
            std::thread::yield_now();
        }
    }

    fn delete(&mut self) -> Result<(), String> {
        let (matchers, range) = (self.some_selector(), self.some_range());
        self.delete_series(&matchers, range)
    }

    /// Deletes; what is in the range is gone at once.
    pub fn delete_series(&mut self, matchers: &[Matcher], range: TimeRange) -> Result<(), String> {
        self.model.begin();
        let db = self.db();
        let result = db.delete_series(&[matchers.to_vec()], range);
        self.note(format!("delete {matchers:?} in {range:?}: {result:?}"));
        match result {
            Ok(ids) => {
                ids.iter().for_each(|id| self.model.delete(Some(*id), matchers, range));
                let left =
                    if self.fs.is_frozen() { Contents::new() } else { read(&db.view(), matchers, range)? };
                if left.is_empty() { Ok(()) } else { Err(format!("deleted and still there: {left:?}")) }
            }
            Err(e @ DeleteError::Commit(_)) => {
                self.model.delete(None, matchers, range);
                drop(db);
                self.excuse(Err(e.to_string()))?;
                self.end_in_doubt()
            }
            Err(DeleteError::TooMany { .. }) => Ok(()),
            Err(e) => self.excuse(Err(e.to_string())),
        }
    }

    /// Reclaims what is deleted.
    pub fn clean(&mut self) -> Result<(), String> {
        self.model.clean();
        self.run("clean_tombstones", |db| db.clean_tombstones())
    }

    /// Undoes the oldest deletion.
    pub fn undelete(&mut self) -> Result<(), String> {
        let Some(id) = self.model.oldest_deletion() else { return Ok(()) };
        let result = self.db().undelete(id);
        self.note(format!("undelete {id}: {result:?}"));
        match result {
            Ok(()) => self.model.undelete(id, true),
            Err(UndeleteError::Final(_) | UndeleteError::Unknown(_)) => {}
            Err(e @ UndeleteError::Commit(_)) => {
                self.model.undelete(id, false);
                self.excuse(Err(e.to_string()))?;
                return self.end_in_doubt();
            }
            Err(e) => self.excuse(Err(e.to_string()))?,
        }
        Ok(())
    }

    /// What an edit has come to that could not be committed, a restart tells.
    fn end_in_doubt(&mut self) -> Result<(), String> {
        let end = self.some_end();
        self.end(end)
    }

    // ---- starts and ends ----

    /// Stops as it should be, and starts again.
    pub fn restart(&mut self) -> Result<(), String> {
        self.note("restart".into());
        self.tally();
        let gave_up = self.db().is_read_only();
        let closed = self.db().close().map_err(|e| e.to_string());
        self.db = None;
        let is_closed = closed.is_ok();
        if !gave_up {
            self.excuse(closed)?;
        }
        // What could not be synced may be on the disk or not; a start by another process sees it as it is.
        self.fs = if is_closed { self.fs.clone() } else { self.fs.kill() };
        self.open()
    }

    /// Ends here, and starts again.
    pub fn end(&mut self, how: End) -> Result<(), String> {
        self.note(format!("{how:?}"));
        self.events.crashes += 1;
        self.tally();
        let after = match how {
            End::PowerCut(seed) => self.fs.crash(seed),
            End::Kill => self.fs.kill(),
        };
        self.db = None;
        self.fs = after;
        self.in_trouble = false;
        self.open()
    }

    fn tally(&mut self) {
        let stats = self.db().stats();
        self.events.cuts += stats.cuts;
        self.events.merges += stats.compaction.by_result[0];
    }

    /// Opens the database, now and then with another end in the middle of it; then what was open is settled.
    fn open(&mut self) -> Result<(), String> {
        for _ in 0..2 {
            if self.in_trouble || !self.draws.one_in(4) {
                break;
            }
            let end = self.some_end();
            let at = self.fs.ops() + self.draws.below(12);
            self.note(format!("opens, frozen at operation {at}: {end:?}"));
            self.fs.freeze_at(at);
            let db = self.setup.open(&self.fs, &self.clock).ok();
            let after = match end {
                End::PowerCut(seed) => self.fs.crash(seed),
                End::Kill => self.fs.kill(),
            };
            drop(db);
            self.fs = after;
            self.events.crashes += 1;
        }
        self.open_once()
    }

    fn open_once(&mut self) -> Result<(), String> {
        let db = self.setup.open(&self.fs, &self.clock).or_else(|error| {
            if !self.in_trouble {
                return Err(format!("does not open: {error}"));
            }
            // A disk that fails lets no database open; afterwards it does.
            self.heal();
            self.events.errors += 1;
            self.fs = self.fs.kill();
            self.setup.open(&self.fs, &self.clock).map_err(|e| format!("does not open after {error}: {e}"))
        })?;
        self.db = Some(db.clone());
        if self.fs.is_frozen() {
            let end = self.some_end();
            drop(db);
            return self.end(end);
        }
        let (stats, found) = (db.stats(), contents(&db)?);
        if stats.replay_corruptions + stats.blocks_damaged > 0 {
            let (log, blocks) = (stats.replay_corruptions, stats.blocks_damaged);
            return Err(format!("damage that nobody did: {log} places of log and head, {blocks} blocks"));
        }
        self.model.settle(&found, &db.deletions())
    }

    /// The database says what the model says, as a whole and in part.
    pub fn check(&mut self) -> Result<(), String> {
        let db = self.db();
        let view = db.view();
        let all = read(&view, &[], TimeRange::ALL)?;
        self.model.sync_deletions(&db.deletions())?;
        self.model.check(&all)?;
        let (matchers, range) = (self.some_selector(), self.some_range());
        let found = read(&view, &matchers, range)?;
        let want = part(&all, &matchers, range);
        if found != want {
            return Err(format!("{matchers:?} in {range:?}: expected {want:?}, found {found:?}"));
        }
        let listed = view.series(std::slice::from_ref(&matchers), range, None).map_err(|e| e.to_string())?;
        match want.keys().find(|labels| !listed.contains(labels)) {
            None => Ok(()),
            Some(labels) => Err(format!("{labels} is not listed by {matchers:?} in {range:?}")),
        }
    }

    // ---- draws ----

    fn some_series(&mut self) -> LabelSet {
        self.some_series_at(self.model.newest().max(TimestampMs(0)))
    }

    fn some_series_at(&mut self, t: TimestampMs) -> LabelSet {
        series(self.draws.below(8), t)
    }

    /// Of two of the eight series mostly histograms, of the others hardly ever.
    fn some_value_of(&mut self, series: u64) -> Value {
        let others = if series % 4 == 2 { 1 } else { 15 };
        match self.draws.below(16) < others {
            true => self.some_float().into(),
            false => Value::histogram(self.draws.below(1 << 16)),
        }
    }

    fn some_value(&mut self) -> Value {
        let series = self.draws.below(8);
        self.some_value_of(series)
    }

    fn some_float(&mut self) -> f64 {
        let n = self.draws.below(1000) as f64;
        match self.draws.below(8) {
            0..=2 => n,
            3 => n / 10.0,
            4 => n / 7.0,
            5 => f64::from_bits(self.draws.any()),
            6 => f64::from_bits(STALE_NAN_BITS),
            _ => self.draws.one_of(&[-0.0, f64::INFINITY, f64::NAN, f64::MIN_POSITIVE, -1.5e300]),
        }
    }

    fn some_selector(&mut self) -> Vec<Matcher> {
        let n = self.draws.below(4).to_string();
        let regex =
            |name, pattern| Matcher::new(name, MatchOp::Regex, pattern).expect("the pattern is sound");
        match self.draws.below(5) {
            0 => vec![Matcher::equal("account", &n)],
            1 => vec![Matcher::equal("n", &n)],
            2 => vec![regex("n", "[1357]")],
            3 => vec![regex("day", ".+"), Matcher::equal("account", "1")],
            _ => vec![Matcher::new("n", MatchOp::NotEqual, &n).expect("no pattern"), regex("__name__", "m")],
        }
    }

    fn some_range(&mut self) -> TimeRange {
        let newest = self.model.newest().0;
        let mut time = || newest - self.draws.below(48 * HOUR as u64) as i64;
        let (a, b) = (time(), time());
        match self.draws.below(4) {
            0 => TimeRange::ALL,
            1 => TimeRange::closed(TimestampMs(a.max(b)), TimestampMs(newest)),
            _ => TimeRange::closed(TimestampMs(a.min(b)), TimestampMs(a.max(b))),
        }
    }
}

/// The series of a number; some of them are others each half a day.
pub fn series(i: u64, t: TimestampMs) -> LabelSet {
    let (n, account, day) = (i.to_string(), (i % 4).to_string(), (t.0.div_euclid(12 * HOUR)).to_string());
    let labels = match i {
        0..=3 => LabelSet::from_pairs([("__name__", "m"), ("account", &account), ("n", &n)]),
        7 => LabelSet::from_pairs([("__name__", "m"), ("n", &n)]),
        _ => LabelSet::from_pairs([("__name__", "m"), ("account", &account), ("day", &day), ("n", &n)]),
    };
    labels.expect("names are unique")
}

/// What of `all` the matchers accept in the range.
fn part(all: &Contents, matchers: &[Matcher], range: TimeRange) -> Contents {
    let accepts = |labels: &LabelSet| matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")));
    let mut part: Contents =
        all.iter().filter(|(l, _)| accepts(l)).map(|(l, p)| (l.clone(), p.clone())).collect();
    part.values_mut().for_each(|points| points.retain(|t, _| range.contains(TimestampMs(*t))));
    part.retain(|_, points| !points.is_empty());
    part
}

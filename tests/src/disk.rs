//! A database on the simulated disk, and all that it says.

use crate::model::{Contents, Keeping};
use crate::value::Value;
use cardinal_storage::database::{
    AppendError, Database, DatabaseOptions, OpenError, RefusalClass, Refused, Resolve, Retention, verify,
};
use cardinal_storage::index::Matcher;
use cardinal_storage::io::{Fs, ManualClock, SimFs};
use cardinal_storage::model::{
    DurationMs, HistogramSample, LabelSet, Sample, ShardCount, TimeRange, TimestampMs,
};
use cardinal_storage::read::{View, Wanted};
use cardinal_storage::wal::{SyncMode, Ticket};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "/data";

/// How the databases of a test are opened.
#[derive(Clone, Debug)]
pub struct Setup {
    /// When a write is acknowledged.
    pub sync: SyncMode,
    /// Bytes of a segment of the log.
    pub segment_bytes: u64,
    /// Log after which a checkpoint is made.
    pub checkpoint_bytes: u64,
    /// Whether windows are judged by the clock too.
    pub trust_clock: bool,
    /// How long data and deletions are kept.
    pub keeping: Keeping,
}

impl Default for Setup {
    /// Short segments and checkpoints, one account that is kept for a shorter and one that is kept for a longer time.
    fn default() -> Self {
        let accounts = [("", 30), ("0", 20), ("1", 72)]
            .map(|(name, hours)| (name.to_string(), DurationMs::hours(hours)));
        let keeping =
            Keeping { window: DurationMs::hours(2), accounts: accounts.into(), grace: DurationMs::hours(6) };
        Self {
            sync: SyncMode::Commit,
            segment_bytes: 16 << 10,
            checkpoint_bytes: 4 << 10,
            trust_clock: false,
            keeping,
        }
    }
}

impl Setup {
    /// Opens the database of a disk.
    pub fn open(&self, fs: &SimFs, clock: &Arc<ManualClock>) -> Result<Arc<Database>, OpenError> {
        let mut accounts: BTreeMap<String, DurationMs> = self.keeping.accounts.clone();
        let others = accounts.remove("").unwrap_or(DurationMs::hours(24 * 365));
        let mut retention = Retention { accounts, ..Retention::default() };
        retention.tiers[0] = others;
        Database::open(DatabaseOptions {
            fs: Arc::new(fs.clone()),
            clock: clock.clone(),
            background: false,
            shards: ShardCount::new(2).expect("2 is a shard count"),
            hash_seed: Some(7),
            window: self.keeping.window,
            sync: self.sync,
            wal_segment_bytes: self.segment_bytes,
            checkpoint_bytes: self.checkpoint_bytes,
            trust_clock: self.trust_clock,
            retention,
            delete_grace: self.keeping.grace,
            ..DatabaseOptions::new(DIR)
        })
    }
}

/// What `cardinal verify` finds wrong with the directory of a disk that nobody has open.
pub fn findings(fs: &SimFs) -> Result<(), String> {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    let found = verify(&fs, Path::new(DIR), &mut |_| {}).map_err(|e| e.to_string())?;
    match found.is_sound() {
        true => Ok(()),
        false => Err(format!("verify: {:?}", found.findings)),
    }
}

/// One series' samples of a request.
pub type Row = (LabelSet, Vec<(TimestampMs, Value)>);

/// What became of a request.
#[derive(Debug)]
pub struct Sent {
    /// How many samples were refused.
    pub refused: u64,
    /// Why, in words.
    pub reasons: Vec<String>,
    /// Of what was appended last.
    pub ticket: Ticket,
}

/// Appends a request: its floats, then its histograms, as ingest does.
pub fn append(db: &Database, rows: &[Row]) -> Result<Sent, AppendError> {
    let (mut floats, mut histograms) = (Vec::new(), Vec::new());
    let (mut of_floats, mut of_histograms) = (Vec::new(), Vec::new());
    for (labels, points) in rows {
        let before = (floats.len() as u32, histograms.len() as u32);
        for (t, value) in points {
            match value {
                Value::Float(v) => floats.push(Sample { t: *t, v: *v }),
                Value::Histogram(h) => histograms.push(HistogramSample { t: *t, h: (**h).clone() }),
            }
        }
        let after = (floats.len() as u32, histograms.len() as u32);
        if before.0 < after.0 {
            of_floats.push(db.row(labels, before.0..after.0));
        }
        if before.1 < after.1 {
            of_histograms.push(db.row(labels, before.1..after.1));
        }
    }
    let mut appended = Vec::new();
    if !of_floats.is_empty() || of_histograms.is_empty() {
        appended.push(db.append(&of_floats, &floats, &Canonical)?);
    }
    if !of_histograms.is_empty() {
        appended.push(db.append_histograms(&of_histograms, &histograms, &Canonical)?);
    }
    let refused = appended.iter().flat_map(|a| a.refused_by_class).sum();
    let reasons = appended.iter().flat_map(|a| &a.refused).map(|r| r.message.clone()).collect();
    let last = appended.pop().expect("something is appended");
    Ok(Sent { refused, reasons, ticket: last.ticket })
}

/// Sections in these tests are canonical.
struct Canonical;

impl Resolve for Canonical {
    fn resolve(&self, section: &[u8]) -> Result<LabelSet, Refused> {
        LabelSet::from_section(section)
            .map_err(|e| Refused { class: RefusalClass::InvalidLabels, message: e.to_string() })
    }
}

/// What a view has of the series that the matchers accept.
pub fn read(view: &View, matchers: &[Matcher], range: TimeRange) -> Result<Contents, String> {
    let mut all = Contents::new();
    for mut cursor in view.select(matchers, range, Wanted::Samples).map_err(|e| e.to_string())? {
        while cursor.advance().map_err(|e| e.to_string())? {
            let labels = cursor.labels().map_err(|e| e.to_string())?;
            let (t, v) = cursor.samples().map_err(|e| e.to_string())?;
            if !t.is_sorted_by(|a, b| a < b) {
                return Err(format!("{labels}: times are not in order: {t:?}"));
            }
            let mut points: BTreeMap<i64, Value> = t.iter().zip(v).map(|(t, v)| (*t, (*v).into())).collect();
            let histograms = cursor.histograms().map_err(|e| e.to_string())?;
            if !histograms.is_sorted_by(|a, b| a.t < b.t) {
                return Err(format!("{labels}: times of histograms are not in order"));
            }
            for h in histograms {
                if points.insert(h.t.0, h.h.clone().into()).is_some() {
                    return Err(format!("{labels} at {}: a float and a histogram", h.t));
                }
            }
            if !points.is_empty() && all.insert(labels.clone(), points).is_some() {
                return Err(format!("{labels} occurs twice"));
            }
        }
    }
    match view.warnings()[..] {
        [] => Ok(all),
        ref warnings => Err(format!("{warnings:?}")),
    }
}

/// All that a database has.
pub fn contents(db: &Database) -> Result<Contents, String> {
    read(&db.view(), &[], TimeRange::ALL)
}

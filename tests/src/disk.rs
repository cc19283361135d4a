//! A database on the simulated disk, and all that it says.

use crate::model::{Contents, Keeping};
use cardinal_storage::database::{
    AppendError, Appended, Database, DatabaseOptions, OpenError, RefusalClass, Refused, Resolve, Retention,
    verify,
};
use cardinal_storage::index::Matcher;
use cardinal_storage::io::{Fs, ManualClock, SimFs};
use cardinal_storage::model::{DurationMs, LabelSet, Sample, ShardCount, TimeRange, TimestampMs};
use cardinal_storage::read::View;
use cardinal_storage::wal::SyncMode;
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
pub type Row = (LabelSet, Vec<(TimestampMs, f64)>);

/// Appends a request.
pub fn append(db: &Database, rows: &[Row]) -> Result<Appended, AppendError> {
    let mut samples = Vec::new();
    let mut of_db = Vec::new();
    for (labels, points) in rows {
        let start = samples.len() as u32;
        samples.extend(points.iter().map(|(t, v)| Sample { t: *t, v: *v }));
        of_db.push(db.row(labels, start..samples.len() as u32));
    }
    db.append(&of_db, &samples, &Canonical)
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
    for mut cursor in view.select(matchers, range).map_err(|e| e.to_string())? {
        while cursor.advance().map_err(|e| e.to_string())? {
            let labels = cursor.labels().map_err(|e| e.to_string())?;
            let (t, v) = cursor.samples().map_err(|e| e.to_string())?;
            if !t.is_sorted_by(|a, b| a < b) {
                return Err(format!("{labels}: times are not in order: {t:?}"));
            }
            let points: BTreeMap<i64, u64> = t.iter().zip(v).map(|(t, v)| (*t, v.to_bits())).collect();
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

//! The files of a data directory other than blocks, each beside sound others: opened, read, written to, cut to blocks and read
//! again, as a server would.

use super::histograms;
use crate::block;
use crate::database::{Database, DatabaseOptions, RefusalClass, Refused, Resolve, make_manifest_fit};
use crate::head::{checkpoint, log};
use crate::io::{Fs, ManualClock, OpenMode, SimFs};
use crate::model::{HistogramSample, LabelSet, Sample, SectionError, ShardCount, TimeRange, TimestampMs};
use crate::read::Wanted;
use crate::wal;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

const DIR: &str = "/data";
const MINUTE: i64 = 60_000;
/// Samples of each of some series, an hour of them.
const DENSE: i64 = 900;
/// The first of two series of native histograms.
const HISTOGRAMS: i64 = 30;

/// A segment of the log: bytes whose checksums are made to fit.
pub fn log_file(bytes: &[u8]) {
    open_with(&sound().log, bytes, wal::make_checksums_fit);
}

/// A checkpoint, likewise.
pub fn checkpoint_file(bytes: &[u8]) {
    open_with(&sound().checkpoint, bytes, checkpoint::make_checksums_fit);
}

/// A segment of the head-chunk log, likewise.
pub fn head_log_file(bytes: &[u8]) {
    open_with(&sound().head_log, bytes, |b| log::make_checksums_fit(b, super::make_chunk_fit));
}

/// The manifest, likewise.
pub fn manifest_file(bytes: &[u8]) {
    open_with(&sound().manifest, bytes, make_manifest_fit);
}

/// A seed of [`log_file`].
pub fn sound_log() -> Vec<u8> {
    sound().bytes(&sound().log)
}

/// A seed of [`checkpoint_file`].
pub fn sound_checkpoint() -> Vec<u8> {
    sound().bytes(&sound().checkpoint)
}

/// A seed of [`head_log_file`].
pub fn sound_head_log() -> Vec<u8> {
    sound().bytes(&sound().head_log)
}

/// A seed of [`manifest_file`].
pub fn sound_manifest() -> Vec<u8> {
    sound().bytes(&sound().manifest)
}

/// A data directory with a block, a checkpoint, a segment of the head-chunk log, and samples in the log alone.
struct Sound {
    files: Vec<(PathBuf, Vec<u8>)>,
    log: PathBuf,
    checkpoint: PathBuf,
    head_log: PathBuf,
    manifest: PathBuf,
}

impl Sound {
    fn bytes(&self, path: &Path) -> Vec<u8> {
        self.files.iter().find(|f| f.0 == path).map(|f| f.1.clone()).unwrap_or_default()
    }
}

fn sound() -> &'static Sound {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    SOUND.get_or_init(|| make().expect("a directory is made in memory"))
}

/// Sections of these targets come from logs; they name series or are refused.
struct Sections;

impl Resolve for Sections {
    fn resolve(&self, section: &[u8]) -> Result<LabelSet, Refused> {
        let invalid =
            |e: SectionError| Refused { class: RefusalClass::InvalidLabels, message: e.to_string() };
        LabelSet::from_section(section).map_err(invalid)
    }
}

fn options(fs: &SimFs) -> DatabaseOptions {
    DatabaseOptions {
        fs: Arc::new(fs.clone()),
        clock: Arc::new(ManualClock::new(TimestampMs(240 * MINUTE))),
        background: false,
        shards: ShardCount::new(1).expect("one shard"),
        hash_seed: Some(7),
        wal_segment_bytes: 16 << 10,
        wal_buffer_bytes: 64 << 10,
        checkpoint_bytes: 1 << 10,
        ..DatabaseOptions::new(DIR)
    }
}

fn labels(i: i64) -> LabelSet {
    let (account, n) = ((i % 2).to_string(), i.to_string());
    LabelSet::from_pairs([("__name__", "m"), ("account", &account), ("n", &n)]).expect("these are in order")
}

/// Appends a sample at `t` to each of `series`.
fn append(db: &Database, series: impl Iterator<Item = i64>, t: i64, v: f64) {
    let labels: Vec<LabelSet> = series.map(labels).collect();
    let samples: Vec<Sample> = labels.iter().map(|_| Sample { t: TimestampMs(t), v }).collect();
    let mut rows = Vec::new();
    for (i, labels) in (0..).zip(&labels) {
        rows.push(db.row(labels, i..i + 1));
    }
    if let Ok(appended) = db.append(&rows, &samples, &Sections) {
        let _ = appended.ticket.wait();
    }
}

/// Appends histograms at `t` to two series, one of each kind.
fn append_histograms(db: &Database, t: i64, n: u64) {
    let labels = [labels(HISTOGRAMS), labels(HISTOGRAMS + 1)];
    let sample = |h| HistogramSample { t: TimestampMs(t), h };
    let samples = [sample(histograms::integers(n)), sample(histograms::floats(n))];
    let rows: Vec<_> = (0..).zip(&labels).map(|(i, labels)| db.row(labels, i..i + 1)).collect();
    if let Ok(appended) = db.append_histograms(&rows, &samples, &Sections) {
        let _ = appended.ticket.wait();
    }
}

/// Reads every sample that is there; how many.
fn read(db: &Database) -> usize {
    let mut n = 0;
    for mut cursor in db.view().select(&[], TimeRange::ALL, Wanted::Samples).into_iter().flatten() {
        while let Ok(true) = cursor.advance() {
            let _ = cursor.labels();
            n += cursor.samples().map_or(0, |(t, _)| t.len());
            n += cursor.histograms().map_or(0, <[_]>::len);
        }
    }
    n
}

fn make() -> Result<Sound, Box<dyn std::error::Error>> {
    let fs = SimFs::new(1);
    let db = Database::open(options(&fs))?;
    for minute in 0..150 {
        append(&db, 0..10, minute * MINUTE, (minute * minute % 97) as f64 / 4.0);
        if minute % 10 == 0 {
            append_histograms(&db, minute * MINUTE, minute as u64);
        }
    }
    db.flush()?;
    // So many that chunks go to the head-chunk log.
    for n in 0..DENSE {
        append(&db, 5..14, 150 * MINUTE + n * 4_000, (n * n % 1013) as f64 / 7.0);
    }
    // Late, and of a window of its own.
    append(&db, 5..8, 140 * MINUTE + 1, 0.5);
    append_histograms(&db, 151 * MINUTE, 7);
    append_histograms(&db, 145 * MINUTE, 6);
    db.maintain();
    append_histograms(&db, 211 * MINUTE, 9);
    append(&db, 8..20, 211 * MINUTE, f64::NAN);
    db.close()?;
    drop(db);
    let mut files = Vec::new();
    collect(&fs, Path::new(DIR), &mut files)?;
    let newest = |folder: &str, ending: &str| {
        let of = |f: &&(PathBuf, Vec<u8>)| {
            f.0.starts_with(Path::new(DIR).join(folder)) && f.0.to_string_lossy().ends_with(ending)
        };
        files.iter().filter(of).map(|f| f.0.clone()).max().ok_or_else(|| format!("{folder} in {files:?}"))
    };
    let (log, checkpoint) = (newest("wal", ".wal")?, newest("checkpoint", ".ckpt")?);
    let (head_log, manifest) = (newest("head", ".hcl")?, newest("MANIFEST", "")?);
    Ok(Sound { log, checkpoint, head_log, manifest, files })
}

/// All files below a folder. Zeros at the end of a segment of the log are room for more.
fn collect(fs: &SimFs, dir: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) -> std::io::Result<()> {
    for entry in fs.read_dir(dir)? {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            collect(fs, &path, files)?;
            continue;
        }
        let mut bytes = fs.open(&path, OpenMode::Read)?.read_all()?;
        if entry.name.ends_with(".wal") {
            bytes.truncate(bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1));
        }
        if entry.name != block::META_FILE && !entry.name.ends_with(".spare") {
            files.push((path, bytes));
        }
    }
    Ok(())
}

/// The sound directory, with `bytes` for the file `replaced`.
fn lay_out(replaced: &Path, bytes: &[u8]) -> std::io::Result<SimFs> {
    let fs = SimFs::new(1);
    for (path, sound) in &sound().files {
        fs.create_dir_all(path.parent().unwrap_or(path))?;
        let file = fs.open(path, OpenMode::CreateNew)?;
        file.write_all_at(if path == replaced { bytes } else { sound }, 0)?;
        file.sync_data()?;
    }
    Ok(fs)
}

fn open_with(replaced: &Path, bytes: &[u8], make_fit: fn(&mut [u8])) {
    let mut bytes = bytes.to_vec();
    make_fit(&mut bytes);
    let fs = lay_out(replaced, &bytes).expect("memory takes it");
    let Ok(db) = Database::open(options(&fs)) else { return };
    read(&db);
    append(&db, 4..24, 212 * MINUTE, 1.0);
    append_histograms(&db, 212 * MINUTE, 10);
    let _ = db.flush();
    read(&db);
    let _ = db.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: usize = 150 * 10 + DENSE as usize * 9 + 3 + 12 + 18 * 2;

    #[test]
    fn sound_files_open_as_they_were_written() {
        type Case = (&'static PathBuf, fn(&mut [u8]));
        let cases: [Case; 4] = [
            (&sound().log, wal::make_checksums_fit),
            (&sound().checkpoint, checkpoint::make_checksums_fit),
            (&sound().head_log, |b| log::make_checksums_fit(b, super::super::make_chunk_fit)),
            (&sound().manifest, make_manifest_fit),
        ];
        for (path, make_fit) in cases {
            let bytes = sound().bytes(path);
            let mut fitted = bytes.clone();
            make_fit(&mut fitted);
            assert!(bytes == fitted, "{path:?}: checksums that are right stay as they are");
            let db = Database::open(options(&lay_out(path, &bytes).unwrap())).unwrap();
            assert_eq!((read(&db), db.stats().replay_corruptions), (SAMPLES, 0), "{path:?}");
        }
    }

    #[test]
    fn each_file_matters() {
        for path in [&sound().log, &sound().checkpoint, &sound().head_log] {
            let db = Database::open(options(&lay_out(path, b"").unwrap())).unwrap();
            assert!(read(&db) < SAMPLES, "{path:?}");
        }
        assert!(Database::open(options(&lay_out(&sound().manifest, b"").unwrap())).is_err());
    }
}

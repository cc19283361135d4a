//! A scripted client over a disk that is cut, or fails, at every single operation.
//!
//! What must hold after the power comes back: every acknowledged request is there; nothing is there that was never sent;
//! LSNs ascend without gaps; a series is registered before it is sampled; and nothing is reported as corrupt, since no bit
//! has rotted.

use super::tests::{DIR, QUARANTINE, options};
use super::*;
use crate::io::{FaultKind, SimFs};
use crate::model::{SeriesSlot, ShardId, TimestampMs};
use std::collections::{BTreeMap, BTreeSet};

/// What a client sends: one request is one batch, which registers a series and samples it and the one before.
type Request = u32;

/// What the log says, read back.
#[derive(Debug, Default, PartialEq, Eq)]
struct Contents {
    requests: BTreeMap<Lsn, Request>,
    report: ReplayReport,
}

/// What is kept elsewhere, so that the log below it may go.
#[derive(Clone, Debug, Default)]
struct Checkpoint {
    requests: BTreeSet<Request>,
    lsn: Lsn,
    /// The first segment to replay.
    segment: u64,
}

/// Replays what is not in the checkpoint, checking order and registrations.
fn read(fs: &SimFs, checkpoint: &Checkpoint) -> Result<Contents, WalError> {
    let mut registered = checkpoint.requests.clone();
    let mut contents = Contents::default();
    contents.report = replay::<WalError>(
        fs,
        Path::new(DIR),
        Path::new(QUARANTINE),
        checkpoint.segment,
        &mut |lsn, batch| {
            let mut request = None;
            for record in batch {
                match record.unwrap() {
                    Record::Registration { slot, .. } => {
                        registered.insert(slot.0);
                        request = Some(slot.0);
                    }
                    Record::Samples(samples) => {
                        for s in samples.iter() {
                            assert!(
                                registered.contains(&s.slot.0),
                                "{lsn}: {} sampled before it is registered",
                                s.slot.0
                            );
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
            if let Some((&last, _)) = contents.requests.last_key_value() {
                assert_eq!(lsn, last.next(), "no gaps");
            }
            contents.requests.insert(lsn, request.unwrap());
            Ok(())
        },
    )?;
    Ok(contents)
}

/// A sender and the process that it sends to.
struct Client {
    fs: SimFs,
    options: WalOptions,
    wal: Option<Wal>,
    /// What the process holds in memory.
    head: BTreeSet<Request>,
    sent: BTreeSet<Request>,
    acknowledged: BTreeSet<Request>,
    checkpoint: Checkpoint,
}

impl Client {
    fn new(fs: &SimFs, options: WalOptions) -> Self {
        Self {
            fs: fs.clone(),
            options,
            wal: None,
            head: BTreeSet::new(),
            sent: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            checkpoint: Checkpoint::default(),
        }
    }

    /// A new process: what was in memory only is gone, what the operating system has is not.
    fn start(&mut self) -> Result<(), WalError> {
        self.wal = None;
        let contents = read(&self.fs, &self.checkpoint)?;
        assert_eq!((&contents.report.corruptions[..], &contents.report.bare[..]), (&[][..], &[][..]));
        let last =
            contents.requests.last_key_value().map_or(Lsn(0), |(&lsn, _)| lsn).max(self.checkpoint.lsn);
        self.head = self.checkpoint.requests.iter().copied().chain(contents.requests.into_values()).collect();
        self.wal = Some(Wal::open(Arc::new(self.fs.clone()), Path::new(DIR), self.options, last.next())?);
        Ok(())
    }

    fn wal(&self) -> &Wal {
        self.wal.as_ref().expect("started")
    }

    /// Sends requests at once and awaits the last one. What the process has already is a duplicate: nothing is appended,
    /// and it is as good as the log's end.
    fn send(&mut self, requests: &[Request]) -> Result<(), WalError> {
        for &request in requests {
            self.sent.insert(request);
            if !self.head.contains(&request) {
                let mut batch = BatchBuilder::default();
                let section = vec![7; [10, 700, 90, 5000][request as usize % 4]];
                batch.registration(ShardId(0), SeriesSlot(request), 0, &section);
                batch.sample(ShardId(0), SeriesSlot(request), 0, TimestampMs(1), 1.0);
                if self.head.contains(&request.wrapping_sub(1)) {
                    batch.sample(ShardId(0), SeriesSlot(request - 1), 0, TimestampMs(1), 0.0);
                }
                self.wal().append(&mut batch);
                self.head.insert(request);
            }
        }
        self.wal().ticket(self.wal().end()).wait()?;
        self.acknowledged.extend(requests);
        Ok(())
    }

    /// Sends, and after a failure the identical requests again: to the same process, then to the next one.
    fn deliver(&mut self, requests: &[Request]) -> Result<(), WalError> {
        if self.wal.is_some() && (self.send(requests).is_ok() || self.send(requests).is_ok()) {
            return Ok(());
        }
        self.start()?;
        self.send(requests)
    }

    /// Everything synced so far goes to a checkpoint, and its segments are dropped.
    fn checkpoint(&mut self) -> Result<(), WalError> {
        let Some(wal) = &self.wal else { return Ok(()) };
        wal.flush()?;
        let lsn = wal.synced();
        let segment = wal.first_segment_needed(lsn);
        self.checkpoint = Checkpoint { requests: self.head.clone(), lsn, segment };
        wal.drop_segments_below(segment)
    }

    /// The script. It ends at the first step that cannot be taken.
    fn run(&mut self) -> Result<(), WalError> {
        self.start()?;
        for first in [1, 2, 3] {
            self.deliver(&[first])?;
        }
        self.deliver(&[4, 5, 6, 7])?;
        self.deliver(&[7])?;
        // What a checkpoint cannot drop now it drops next time.
        let _ = self.checkpoint();
        self.deliver(&[8, 9])?;
        self.start()?;
        self.deliver(&[9, 10])?;
        self.deliver(&[11, 12, 13, 14, 15])?;
        let _ = self.checkpoint();
        self.deliver(&[16])?;
        self.wal().close()
    }

    /// What a disk must hold for this client; `wanted` of what it was promised.
    fn check(&self, disk: &SimFs, wanted: &BTreeSet<Request>, what: &str) {
        let contents = read(disk, &self.checkpoint).unwrap_or_else(|e| panic!("{what}: {e}"));
        let found: BTreeSet<Request> = contents.requests.values().copied().collect();
        assert_eq!(
            (&contents.report.corruptions[..], &contents.report.bare[..]),
            (&[][..], &[][..]),
            "{what}"
        );
        let missing: Vec<_> =
            wanted.difference(&self.checkpoint.requests).filter(|r| !found.contains(r)).collect();
        assert!(
            missing.is_empty(),
            "{what}: {missing:?} were acknowledged and are gone; {found:?} are there"
        );
        assert!(found.is_subset(&self.sent), "{what}");
        let again = read(disk, &self.checkpoint).unwrap();
        assert_eq!(again.requests, contents.requests, "{what}: a second start finds the same");
        assert_eq!(again.report.torn, [], "{what}: what was cut stays cut");
    }

    /// Checks the disk after a power cut, then a new process on it that writes and is cut too.
    fn check_crash(&self, seed: u64, what: &str) {
        let what = format!("{what}, seed {seed}");
        let disk = self.fs.crash(seed);
        self.check(&disk.crash(1), &self.acknowledged, &what);
        let mut next = Self { fs: disk, wal: None, ..Self::new(&self.fs, self.options) };
        next.sent = self.sent.clone();
        next.checkpoint = self.checkpoint.clone();
        next.start().unwrap_or_else(|e| panic!("{what}: {e}"));
        next.acknowledged = next.head.clone();
        next.send(&[20, 21]).unwrap();
        assert!(self.acknowledged.is_subset(&next.acknowledged), "{what}");
        next.check(&next.fs.crash(0), &next.acknowledged, &format!("{what}, cut again"));
    }
}

fn disk(seed: u64) -> SimFs {
    let fs = SimFs::new(seed);
    fs.create_dir_all(Path::new("db")).unwrap();
    fs.sync_dir(Path::new("")).unwrap();
    fs
}

/// How many operations the script takes on a good disk. The making of a spare runs beside the client, so that the order
/// of operations varies a little; that every index is tried does not depend on it.
fn ops() -> u64 {
    let fs = disk(0);
    let mut client = Client::new(&fs, options());
    client.run().unwrap();
    assert_eq!(client.acknowledged.len(), 16);
    client.check(&fs.crash(0), &client.acknowledged, "a good disk");
    fs.ops()
}

/// Runs the script with faults planned by `plan(disk, index)`, for every index, and checks power cuts after it.
fn check_every_op(plan: impl Fn(&SimFs, u64), cut_seeds: std::ops::Range<u64>) {
    for n in 1..ops() + 5 {
        let fs = disk(n);
        plan(&fs, n);
        let mut client = Client::new(&fs, options());
        let ended = client.run();
        client.wal = None;
        let op = fs.op_names().get(n as usize).cloned().unwrap_or_default();
        for seed in cut_seeds.clone() {
            client.check_crash(seed, &format!("operation {n} ({op}), script: {ended:?}"));
        }
    }
}

#[test]
fn a_power_cut_at_every_operation_loses_nothing_acknowledged() {
    check_every_op(|fs, n| fs.freeze_at(n), 0..12);
}

#[test]
fn one_failing_operation_anywhere_loses_nothing_acknowledged() {
    for kind in [FaultKind::Eio, FaultKind::Enospc, FaultKind::TornWrite] {
        check_every_op(|fs, n| fs.fail_at(n, kind), 0..4);
    }
}

#[test]
fn two_failing_operations_lose_nothing_acknowledged() {
    for distance in [1, 2, 3, 4, 5, 7] {
        check_every_op(
            |fs, n| {
                fs.fail_at(n, FaultKind::Eio);
                fs.fail_at(n + distance, FaultKind::TornWrite);
            },
            0..3,
        );
    }
}

#[test]
fn a_failure_followed_by_a_power_cut_loses_nothing_acknowledged() {
    for distance in [1, 2, 3, 4, 6, 8] {
        check_every_op(
            |fs, n| {
                fs.fail_at(n, FaultKind::Eio);
                fs.freeze_at(n + distance);
            },
            0..3,
        );
    }
}

#[test]
fn a_disk_that_stays_full_loses_nothing_acknowledged() {
    check_every_op(|fs, n| fs.fail_from(n, FaultKind::Enospc), 0..3);
}

#[test]
fn in_interval_mode_a_killed_process_loses_nothing_and_a_power_cut_no_order() {
    let interval = WalOptions { sync: SyncMode::Interval(Duration::from_secs(3600)), ..options() };
    for n in 1..ops() {
        let fs = disk(n);
        fs.freeze_at(n);
        let mut client = Client::new(&fs, interval);
        let _ = client.run();
        client.wal = None;
        fs.heal();
        // Cuts first: to read a log mends it.
        let cuts: Vec<SimFs> = (0..6).map(|seed| fs.crash(seed)).collect();
        client.check(&fs, &client.acknowledged, &format!("killed at {n}"));
        for (seed, cut) in cuts.iter().enumerate() {
            client.check(cut, &BTreeSet::new(), &format!("cut at {n}, seed {seed}"));
        }
    }
}

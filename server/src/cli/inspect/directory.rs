//! The directory at a glance: shards, head, log, blocks.

use std::path::Path;

use cardinal_storage::block::BlockMeta;
use cardinal_storage::database::{
    BlockReport, CheckpointReport, DirectoryReport, block_dir, inspect, wal_dir,
};
use cardinal_storage::io::Fs;
use cardinal_storage::model::{DurationMs, Lsn, ShardId};
use cardinal_storage::wal::{self, ReplayReport, WalError};

use super::Report;
use crate::cli::report::Cell::{self, Bytes, Count, Nothing, Time};

pub(super) fn report(fs: &dyn Fs, directory: &Path) -> anyhow::Result<Report> {
    let found = inspect(fs, directory)?;
    let mut report = Report { problems: found.problems.clone(), ..Report::default() };
    report.facts(
        "directory",
        vec![
            ("path", Cell::text_of(directory.display())),
            ("account label", Cell::text_of(&found.account_label)),
            ("shards", Count(u64::from(found.shards))),
            ("window", Cell::text_of(DurationMs(found.window_ms))),
        ],
    );
    report.facts("head", head(&found));
    match &found.wal {
        Ok(log) => put_log(&mut report, log),
        Err(error) => report.problems.push(error.clone()),
    }
    put_shards(&mut report, fs, directory, &found);
    put_blocks(&mut report, fs, directory, &found.blocks);
    Ok(report)
}

fn head(found: &DirectoryReport) -> Vec<(&'static str, Cell)> {
    let of = |get: fn(&CheckpointReport) -> Cell| found.checkpoint.as_ref().map_or(Nothing, get);
    let series = |c: &CheckpointReport| c.series_by_shard.as_ref().map_or(Nothing, |s| Count(s.iter().sum()));
    vec![
        ("checkpoint", of(|c| Cell::text_of(format!("{:016x}", c.number)))),
        ("checkpoint bytes", of(|c| Bytes(c.bytes))),
        ("checkpoint series", of(series)),
        ("head-chunk log bytes", Bytes(found.head_log_bytes)),
    ]
}

fn put_log(report: &mut Report, log: &ReplayReport) {
    let lsn = |lsn: Option<Lsn>| lsn.map_or(Nothing, |lsn| Count(lsn.0));
    report.facts(
        "log that a restart reads",
        vec![
            ("segments", Count(log.segments)),
            ("batches", Count(log.batches)),
            ("bytes", Bytes(log.bytes)),
            ("oldest batch", lsn(log.first)),
            ("newest batch", lsn(log.last)),
            // Not acknowledged, so nothing is lost with it; beside a running server it is what is just being written.
            ("unfinished writes", Count(log.torn.len() as u64)),
        ],
    );
    report.problems.extend(log.corruptions.iter().map(ToString::to_string));
    report.problems.extend(log.unreadable.iter().map(ToString::to_string));
    report.problems.extend(log.bare.iter().map(ToString::to_string));
}

/// What the log says of one shard.
#[derive(Clone, Copy, Default)]
struct Logged {
    registered: u64,
    samples: u64,
}

fn put_shards(report: &mut Report, fs: &dyn Fs, directory: &Path, found: &DirectoryReport) {
    let first_segment = found.checkpoint.as_ref().map_or(0, |c| c.wal_segment);
    let mut shards = vec![Logged::default(); usize::from(found.shards)];
    let mut at = |shard: ShardId, add: fn(&mut Logged)| shards.get_mut(shard.index()).map_or((), add);
    let read = wal::inspect(fs, &wal_dir(directory), first_segment, &mut |_, batch| {
        for record in batch.flatten() {
            match record {
                wal::Record::Registration { shard, .. } => at(shard, |l| l.registered += 1),
                wal::Record::Samples(samples) => samples.iter().for_each(|s| at(s.shard, |l| l.samples += 1)),
                _ => {}
            }
        }
        Ok::<(), WalError>(())
    });
    if read.is_err() {
        // The log's own part of the report has said why.
        return;
    }
    let in_checkpoint = found.checkpoint.as_ref().and_then(|c| c.series_by_shard.as_ref());
    let row = |(shard, logged): (usize, &Logged)| {
        let in_checkpoint = in_checkpoint.and_then(|series| series.get(shard)).map_or(Nothing, |n| Count(*n));
        vec![Count(shard as u64), in_checkpoint, Count(logged.registered), Count(logged.samples)]
    };
    let columns = ["shard", "series in checkpoint", "registered in log", "samples in log"];
    report.table("shards", &columns, shards.iter().enumerate().map(row).collect());
}

fn put_blocks(report: &mut Report, fs: &dyn Fs, directory: &Path, blocks: &[BlockReport]) {
    let mut rows = Vec::new();
    for found in blocks {
        let path = block_dir(directory, found.id);
        let chunks = BlockMeta::read(fs, &path).map(|meta| meta.chunks);
        let chunks = chunks.map_err(|e| report.problems.push(e.to_string())).map_or(Nothing, Count);
        if let Err(error) = &found.block {
            report.problems.push(error.clone());
        }
        let bytes = found.bytes.0 + found.bytes.1;
        rows.push(vec![
            Cell::text_of(found.id),
            Cell::text_of(&found.tier),
            Count(u64::from(found.level)),
            Time(found.window.start.0),
            Time(found.window.end().0),
            Count(found.series),
            chunks,
            Count(found.samples),
            Bytes(bytes),
            Cell::per(bytes, found.samples),
        ]);
    }
    let columns =
        ["block", "tier", "level", "after", "until", "series", "chunks", "samples", "bytes", "bytes/sample"];
    report.table("blocks", &columns, rows);
}

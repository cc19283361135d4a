//! What is read at each scrape rather than counted: the database, its log, the way in, queries under way.

use std::fmt;
use std::time::Duration;

use cardinal_ingest::WriteStats;
use cardinal_query::CacheStats;
use cardinal_storage::block::Tier;
use cardinal_storage::database::{
    AccountRefusals, CompactionResult, CompactionStats, HeadStats, RefusalClass, Stats,
};
use cardinal_storage::model::TimestampMs;
use cardinal_storage::wal::{SyncTimes, WalStats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// One reading. Database and writer are missing until the database is open.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// The database.
    pub stats: Option<Stats>,
    /// The way in.
    pub writes: Option<WriteStats>,
    /// The accounts with most samples refused for limits on series, each with its series, and all others together.
    pub accounts: Option<(Vec<(AccountRefusals, u64)>, AccountRefusals)>,
    /// Connections that are open, and how many may be.
    pub connections: (usize, usize),
    /// Queries that have their turn.
    pub queries_running: usize,
    /// Queries in line.
    pub queries_waiting: usize,
    /// Results of queries that are kept.
    pub cache: CacheStats,
}

impl Collector for Readings {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        out.gauge("ready", "Whether requests for data are answered", u8::from(self.stats.is_some()))?;
        let (open, max) = self.connections;
        out.gauge("http_connections", "HTTP connections that are open", open as f64)?;
        out.gauge(
            "http_connections_max",
            "HTTP connections that may be open; further ones wait",
            max as f64,
        )?;
        out.gauge("queries_running", "Queries that have their turn", self.queries_running as f64)?;
        out.gauge("queries_waiting", "Queries that wait for their turn", self.queries_waiting as f64)?;
        put_cache(&mut out, &self.cache)?;
        if let Some(stats) = &self.stats {
            put_head(&mut out, &stats.head)?;
            put_wal(&mut out, &stats.wal, stats.read_only)?;
            put_database(&mut out, stats)?;
        }
        if let Some((accounts, others)) = &self.accounts {
            put_accounts(&mut out, accounts, others)?;
        }
        self.writes.as_ref().map_or(Ok(()), |writes| put_writes(&mut out, writes))
    }
}

fn put_head(out: &mut Out<'_>, head: &HeadStats) -> fmt::Result {
    out.gauge("head_series", "Series in memory", head.series as f64)?;
    out.gauge("head_open_chunks", "Series in memory that were written lately", head.open_chunks as f64)?;
    out.gauge("head_memory_bytes", "Memory of the head", head.memory_bytes as f64)?;
    out.gauge(
        "head_memory_budget_bytes",
        "Memory that the head may take: head.memory_budget",
        head.memory_budget as f64,
    )?;
    out.gauge("head_log_bytes", "Bytes of chunks on their way to a block", head.log_bytes as f64)?;
    out.gauge(
        "head_refuses_new_series",
        "Whether new series are refused because the memory budget is used up",
        u8::from(head.refuses_new_series),
    )?;
    let seconds = |t: TimestampMs| t.0 as f64 / 1000.0;
    if let (Some(oldest), Some(newest)) = (head.oldest, head.newest) {
        out.gauge("head_oldest_sample_seconds", "Time of the oldest sample in memory", seconds(oldest))?;
        out.gauge("head_newest_sample_seconds", "Time of the newest sample in memory", seconds(newest))?;
    }
    out.gauge("label_forms", "Other forms of label sections that are remembered", head.forms as f64)?;
    out.counter(
        "label_forms_forgotten",
        "Such forms that were forgotten at the limit",
        head.forms_forgotten as f64,
    )?;
    out.gauge("metadata_entries", "Statements about metric families that are kept", head.metadata as f64)?;
    out.counter("metadata_dropped", "Statements dropped at the limit", head.metadata_dropped as f64)
}

fn put_wal(out: &mut Out<'_>, wal: &WalStats, read_only: bool) -> fmt::Result {
    out.gauge("read_only", "Whether writes are refused because the disk failed", u8::from(read_only))?;
    out.gauge("wal_segments", "Segments of the log on disk", wal.segments as f64)?;
    out.gauge("wal_size_bytes", "Bytes of the log on disk", wal.bytes as f64)?;
    out.gauge("wal_buffer_bytes", "Bytes of the log that are not durable yet", wal.buffer_bytes as f64)?;
    out.counter("wal_written_bytes", "Bytes written to the log", wal.written_bytes as f64)?;
    out.counter("wal_batches", "Batches appended to the log", wal.batches as f64)?;
    out.syncs("wal_sync_seconds", "How long syncs of the log took", &wal.syncs)?;
    out.counter("wal_failures", "Writes, syncs and allocations of the log that failed", wal.failures as f64)
}

fn put_database(out: &mut Out<'_>, stats: &Stats) -> fmt::Result {
    // Taken apart, so that a count that no metric shows does not compile.
    let Stats {
        head: _,
        wal: _,
        read_only: _,
        blocks,
        blocks_damaged,
        block_series,
        block_bytes,
        tombstones,
        deletions,
        undeletions,
        cuts,
        cut_samples,
        cut_time,
        series_left,
        head_log_failures,
        cut_corruptions,
        checkpoints,
        maintenance_failures,
        maintenance_backoff,
        panics,
        compaction,
        reserve_bytes,
        reserve_releases,
        replayed_samples,
        replay_corruptions,
    } = stats;
    let seconds = |d: Duration| d.as_secs_f64();
    out.gauge("blocks", "Blocks on disk", *blocks as f64)?;
    out.gauge("blocks_damaged", "Blocks that cannot be read, as a whole or in part", *blocks_damaged as f64)?;
    out.gauge("block_series", "Series in blocks, each block's counted", *block_series as f64)?;
    out.gauge("block_index_bytes", "Bytes of the blocks' indexes", block_bytes.0 as f64)?;
    out.gauge("block_chunk_bytes", "Bytes of the blocks' chunks", block_bytes.1 as f64)?;
    out.gauge(
        "tombstones",
        "Deletions in force that are not reclaimed yet, of 1000 at most",
        *tombstones as f64,
    )?;
    out.counter("deletions", "Deletions made", *deletions as f64)?;
    out.counter("undeletions", "Deletions undone", *undeletions as f64)?;
    out.counter("head_cuts", "Cuts of the head into blocks", *cuts as f64)?;
    out.counter("head_cut_samples", "Samples that cuts have put into blocks", *cut_samples as f64)?;
    out.counter("head_cut_seconds", "Time spent in cuts", seconds(*cut_time))?;
    out.counter("head_series_left", "Series that left memory", *series_left as f64)?;
    out.counter(
        "head_log_failures",
        "Failed writes of chunks on their way to a block",
        *head_log_failures as f64,
    )?;
    out.counter(
        "head_cut_corruptions",
        "Damaged chunks that cuts had to go on without; copies are in quarantine/",
        *cut_corruptions as f64,
    )?;
    out.counter("checkpoints", "Checkpoints made", *checkpoints as f64)?;
    out.counter("maintenance_failures", "Cuts and checkpoints that failed", *maintenance_failures as f64)?;
    out.gauge(
        "maintenance_backoff_seconds",
        "How long no cut or checkpoint is tried after failures",
        seconds(*maintenance_backoff),
    )?;
    out.counter(
        "panics",
        "Faults of Cardinal that a background thread survived; the log says more",
        *panics as f64,
    )?;
    put_compaction(out, compaction)?;
    out.gauge("reserve_bytes", "Bytes kept for commits on a full disk", *reserve_bytes as f64)?;
    out.counter(
        "reserve_releases",
        "Full disks on which the reserve was given up for a commit",
        *reserve_releases as f64,
    )?;
    out.counter("replayed_samples", "Samples replayed at the start", *replayed_samples as f64)?;
    out.counter("replay_corruptions", "Damage found in the log at the start", *replay_corruptions as f64)
}

fn put_compaction(out: &mut Out<'_>, stats: &CompactionStats) -> fmt::Result {
    let CompactionStats {
        by_result,
        read_bytes,
        written_bytes,
        time,
        dropped_blocks,
        progress,
        backoff,
        blocks_by_level,
        overlapping_windows,
    } = stats;
    let results = CompactionResult::ALL.iter().zip(by_result);
    out.by_label(
        "compactions",
        "Compactions of blocks, by how they ended",
        "result",
        results.map(|(r, n)| (r.name(), *n)),
    )?;
    out.counter("compaction_read_bytes", "Bytes of the blocks that were merged", *read_bytes as f64)?;
    out.counter("compaction_written_bytes", "Bytes of the blocks that they became", *written_bytes as f64)?;
    out.counter("compaction_seconds", "Time spent in merges of blocks", time.as_secs_f64())?;
    out.counter("blocks_dropped", "Blocks dropped whole by retention", *dropped_blocks as f64)?;
    let (done, all) = progress;
    out.gauge("compaction_done_bytes", "Bytes of chunks that the merge under way has read", *done as f64)?;
    out.gauge(
        "compaction_total_bytes",
        "Bytes of chunks that it is to read; 0 where none is under way",
        *all as f64,
    )?;
    out.gauge(
        "compaction_backoff_seconds",
        "How long no compaction is tried after failures",
        backoff.as_secs_f64(),
    )?;
    out.gauge("overlapping_windows", "Windows in which blocks overlap", *overlapping_windows as f64)?;
    out.by_level("level_blocks", "Blocks by tier and level", blocks_by_level)
}

/// Only accounts that met a limit, so that no number of accounts makes as many series.
fn put_accounts(
    out: &mut Out<'_>,
    accounts: &[(AccountRefusals, u64)],
    others: &AccountRefusals,
) -> fmt::Result {
    let reasons = |a: &AccountRefusals| {
        [
            (RefusalClass::SeriesLimit.name(), a.series),
            (RefusalClass::SeriesCreatedLimit.name(), a.series_created),
        ]
    };
    let help = "Samples refused for limits on series, of the accounts that have most of them";
    let kind = ConstCounter::new(0u64).metric_type();
    let mut family = out.0.encode_descriptor("account_samples_refused", help, None, kind)?;
    for (account, _) in accounts {
        for (reason, n) in reasons(account) {
            let labels = [("account", account.account.as_str()), ("reason", reason)];
            ConstCounter::new(n).encode(family.encode_family(&labels)?)?;
        }
    }
    out.by_label(
        "other_account_samples_refused",
        "Samples refused for limits on series, of all other accounts",
        "reason",
        reasons(others).into_iter(),
    )?;
    let kind = ConstGauge::new(0.0).metric_type();
    let help = "Series in memory, of the accounts that have most samples refused";
    let mut family = out.0.encode_descriptor("account_series", help, None, kind)?;
    for (account, series) in accounts {
        let labels = [("account", account.account.as_str())];
        ConstGauge::new(*series as f64).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn put_cache(out: &mut Out<'_>, cache: &CacheStats) -> fmt::Result {
    let outcomes =
        [("hit", cache.hits), ("partial", cache.partial), ("miss", cache.misses), ("unfit", cache.unfit)];
    let help = "Range queries by what of their settled steps was kept; unfit ones never are";
    out.by_label("query_cache_queries", help, "outcome", outcomes.into_iter())?;
    let steps = [("reused", cache.steps_reused), ("evaluated", cache.steps_evaluated)];
    let help = "Steps of range queries that may be kept, by where they came from";
    out.by_label("query_cache_steps", help, "from", steps.into_iter())?;
    let help = "Kept steps that something had changed of: late samples, deletions, retention";
    out.counter("query_cache_changed_steps", help, cache.steps_changed as f64)?;
    out.counter("query_cache_evictions", "Results that went to make room", cache.evicted as f64)?;
    out.gauge("query_cache_entries", "Results that are kept", cache.entries as f64)?;
    out.gauge("query_cache_bytes", "Memory that they take", cache.bytes as f64)?;
    out.gauge("query_cache_bytes_max", "Memory that they may take: query.cache_bytes", cache.bytes_max as f64)
}

fn put_writes(out: &mut Out<'_>, writes: &WriteStats) -> fmt::Result {
    out.counter("write_requests", "Write requests", writes.requests as f64)?;
    out.counter(
        "write_requests_refused",
        "Write requests refused for good, in whole or part",
        writes.requests_refused as f64,
    )?;
    out.counter(
        "write_requests_deferred",
        "Write requests sent away to come again",
        writes.requests_deferred as f64,
    )?;
    out.counter(
        "write_compressed_bytes",
        "Bytes of write requests as they came",
        writes.compressed_bytes as f64,
    )?;
    out.counter("write_bytes", "Bytes of write requests, decompressed", writes.bytes as f64)?;
    out.gauge(
        "write_in_flight_bytes",
        "Bytes of write requests being worked on",
        writes.in_flight_bytes as f64,
    )?;
    out.counter(
        "samples_received",
        "Samples in write requests that could be read",
        writes.samples_received as f64,
    )?;
    out.counter("samples_written", "Samples stored, duplicates included", writes.samples_written as f64)?;
    out.counter("samples_duplicate", "Samples that were there already", writes.samples_duplicate as f64)?;
    out.counter("samples_late", "Samples older than the newest of their series", writes.samples_late as f64)?;
    out.counter(
        "histograms_received",
        "Native histograms among the samples received",
        writes.histograms_received as f64,
    )?;
    out.counter(
        "histograms_written",
        "Native histograms among the samples stored",
        writes.histograms_written as f64,
    )?;
    out.counter("series_registered", "Series that were new", writes.series_registered as f64)?;
    out.counter(
        "series_aliased",
        "Series found through another form of their labels",
        writes.series_aliased as f64,
    )?;
    out.counter("exemplars_ignored", "Exemplars, which are not stored", writes.exemplars_ignored as f64)?;
    out.counter(
        "metadata_received",
        "Statements about metric families received",
        writes.metadata_received as f64,
    )?;
    out.counter("metadata_refused", "Such statements that were not stored", writes.metadata_dropped as f64)?;
    let refused = RefusalClass::ALL.iter().zip(writes.refused_by_class);
    out.by_label(
        "samples_refused",
        "Samples refused, by reason",
        "reason",
        refused.map(|(class, n)| (class.name(), n)),
    )
}

/// Writes metrics by name.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: impl Into<f64>) -> fmt::Result {
        let gauge = ConstGauge::new(value.into());
        gauge.encode(self.0.encode_descriptor(name, help, None, gauge.metric_type())?)
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(self.0.encode_descriptor(name, help, None, counter.metric_type())?)
    }

    fn syncs(&mut self, name: &str, help: &str, syncs: &SyncTimes) -> fmt::Result {
        let range =
            |(bound, n): (Option<Duration>, u64)| (bound.map_or(f64::INFINITY, |b| b.as_secs_f64()), n);
        let ranges: Vec<(f64, u64)> = syncs.ranges().map(range).collect();
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(syncs.total.as_secs_f64(), syncs.count(), &ranges, None)
    }

    fn by_label<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        counts: impl Iterator<Item = (&'a str, u64)>,
    ) -> fmt::Result {
        let kind = ConstCounter::new(0u64).metric_type();
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (value, n) in counts {
            ConstCounter::new(n).encode(family.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }

    fn by_level(&mut self, name: &str, help: &str, counts: &[(Tier, u8, u64)]) -> fmt::Result {
        let kind = ConstGauge::new(0.0).metric_type();
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (tier, level, n) in counts {
            let labels = [("tier", tier.to_string()), ("level", level.to_string())];
            ConstGauge::new(*n as f64).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

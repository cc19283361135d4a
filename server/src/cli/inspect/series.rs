//! Series with their samples, from blocks and head together, and their chunks in either.

use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use cardinal_storage::block::{Block, BlockShard, ChunkRef};
use cardinal_storage::codec::{self, Encoding};
use cardinal_storage::database::inspect_view;
use cardinal_storage::index::Matcher;
use cardinal_storage::io::Fs;
use cardinal_storage::model::{LabelSet, TimeRange};
use cardinal_storage::read::{HeadChunk, HeadPlace, ReadError, SeriesCursor, View, Wanted};

use super::Report;
use crate::cli::report::Cell::{self, Bytes, Count, Nothing, Time};
use crate::http::selector;

pub(super) fn report(fs: Arc<dyn Fs>, directory: &Path, text: &str, limit: usize) -> anyhow::Result<Report> {
    let matchers = selector(text).map_err(|e| anyhow!("{text}: {e}"))?;
    let (view, problems) = inspect_view(fs, directory)?;
    let mut report = Report { problems, ..Report::default() };
    put_series(&mut report, &view, &matchers, limit)?;
    put_chunks(&mut report, &view, &matchers, limit);
    Ok(report)
}

fn put_series(report: &mut Report, view: &View, matchers: &[Matcher], limit: usize) -> anyhow::Result<()> {
    let (mut rows, mut in_head, mut more) = (Vec::new(), Vec::new(), 0u64);
    for mut cursor in view.select(matchers, TimeRange::ALL, Wanted::Samples)? {
        loop {
            match cursor.advance() {
                Ok(true) if rows.len() == limit => more += 1,
                Ok(true) => {
                    let row = series_row(&mut cursor, &mut report.problems);
                    add_head_chunks(&mut in_head, &row[0], &mut cursor, &mut report.problems);
                    rows.push(row);
                }
                Ok(false) => break,
                Err(error) => {
                    report.problems.push(error.to_string());
                    break;
                }
            }
        }
    }
    report.table("series", &["series", "samples", "first", "last"], rows);
    if more > 0 {
        report.facts("not listed", vec![("series", Count(more))]);
    }
    let columns = ["series", "place", "kind", "encoding", "samples", "bytes", "first", "last"];
    report.table("chunks in head", &columns, in_head);
    Ok(())
}

/// Labels, number of samples, first and last time; what cannot be read is a problem, not the end.
fn series_row(cursor: &mut SeriesCursor<'_>, problems: &mut Vec<String>) -> Vec<Cell> {
    let labels = match cursor.labels() {
        Ok(labels) => Cell::Text(series_text(&labels)),
        Err(error) => {
            problems.push(error.to_string());
            Nothing
        }
    };
    match extent(cursor) {
        Ok(Some((samples, first, last))) => vec![labels, Count(samples), Time(first), Time(last)],
        Ok(None) => vec![labels, Count(0), Nothing, Nothing],
        Err(error) => {
            problems.push(error.to_string());
            vec![labels, Nothing, Nothing, Nothing]
        }
    }
}

/// How many samples of either kind the current series has, and the times of the first and the last.
fn extent(cursor: &mut SeriesCursor<'_>) -> Result<Option<(u64, i64, i64)>, ReadError> {
    let (floats, _) = cursor.samples()?;
    let mut ends = floats.first().copied().zip(floats.last().copied());
    let mut samples = floats.len() as u64;
    let histograms = cursor.histograms()?;
    samples += histograms.len() as u64;
    if let Some((first, last)) = histograms.first().zip(histograms.last()) {
        let (a, b) = ends.unwrap_or((i64::MAX, i64::MIN));
        ends = Some((a.min(first.t.0), b.max(last.t.0)));
    }
    Ok(ends.map(|(first, last)| (samples, first, last)))
}

/// The head's chunks of the current series, oldest first.
fn add_head_chunks(
    rows: &mut Vec<Vec<Cell>>,
    labels: &Cell,
    cursor: &mut SeriesCursor<'_>,
    problems: &mut Vec<String>,
) {
    let mut chunks = Vec::new();
    if let Err(error) = cursor.head_chunks(&mut chunks) {
        problems.push(error.to_string());
    }
    chunks.sort_by_key(|chunk| chunk.first);
    rows.extend(chunks.iter().map(|chunk| head_chunk_row(labels, chunk, problems)));
}

fn head_chunk_row(labels: &Cell, chunk: &HeadChunk, problems: &mut Vec<String>) -> Vec<Cell> {
    let place = match chunk.place {
        HeadPlace::Log => "log",
        HeadPlace::LateLog => "log, late",
        HeadPlace::Open => "open",
        HeadPlace::LateBuffer => "late buffer",
    };
    let [kind, encoding, samples] = match &chunk.content {
        Ok(content) => [
            Cell::text_of(content.kind),
            content.encoding.map_or(Nothing, encoding_cell),
            Count(u64::from(content.samples)),
        ],
        Err(error) => {
            let (first, last) = (Time(chunk.first.0), Time(chunk.last.0));
            let (of, first, last) = (labels.text(), first.text(), last.text());
            problems.push(format!("{of}: chunk of the head from {first} to {last}: {error}"));
            [Nothing, Nothing, Nothing]
        }
    };
    let (first, last) = (Time(chunk.first.0), Time(chunk.last.0));
    vec![labels.clone(), Cell::text_of(place), kind, encoding, samples, Bytes(chunk.bytes), first, last]
}

fn encoding_cell(encoding: Encoding) -> Cell {
    Cell::Text(format!("{encoding:?}").to_lowercase())
}

fn put_chunks(report: &mut Report, view: &View, matchers: &[Matcher], limit: usize) {
    let mut rows = Vec::new();
    for block in view.blocks() {
        for shard in block.shards() {
            add_chunks(&mut rows, &mut report.problems, &block, &shard, matchers, limit);
        }
    }
    let columns = ["series", "block", "shard", "kind", "encoding", "samples", "bytes", "after", "until"];
    report.table("chunks in blocks", &columns, rows);
}

fn add_chunks(
    rows: &mut Vec<Vec<Cell>>,
    problems: &mut Vec<String>,
    block: &Block,
    shard: &BlockShard<'_>,
    matchers: &[Matcher],
    limit: usize,
) {
    let ordinals = match shard.select(matchers) {
        Ok(ordinals) => ordinals,
        Err(error) => return problems.push(error.to_string()),
    };
    let mut reader = shard.reader();
    for ordinal in ordinals.iter().take(limit) {
        let labels = reader.labels(ordinal).map(|l| series_text(&l));
        let chunks = reader.chunk_refs(ordinal);
        let (labels, chunks) = match (labels, chunks) {
            (Ok(labels), Ok(chunks)) => (labels, chunks),
            (Err(error), _) | (_, Err(error)) => {
                problems.push(error.to_string());
                continue;
            }
        };
        for chunk in chunks {
            match chunk {
                Ok(chunk) => rows.push(chunk_row(&labels, block, shard, &chunk, problems)),
                Err(error) => problems.push(error.to_string()),
            }
        }
    }
}

fn chunk_row(
    labels: &str,
    block: &Block,
    shard: &BlockShard<'_>,
    chunk: &ChunkRef,
    problems: &mut Vec<String>,
) -> Vec<Cell> {
    let header = shard.chunk(chunk).map_err(|e| e.to_string());
    let header = header.and_then(|bytes| {
        codec::header(bytes).and_then(|h| Ok((h, h.samples(shard)?))).map_err(|e| e.to_string())
    });
    let [kind, encoding, samples] = match header {
        Ok((header, samples)) => {
            [Cell::text_of(header.kind), encoding_cell(header.encoding), Count(u64::from(samples))]
        }
        Err(error) => {
            problems.push(format!("{labels}: {error}"));
            [Nothing, Nothing, Nothing]
        }
    };
    vec![
        Cell::text_of(labels),
        Cell::text_of(block.spec().id),
        Count(u64::from(shard.id().0)),
        kind,
        encoding,
        samples,
        Bytes(u64::from(chunk.len)),
        Time(chunk.range.after.0),
        Time(chunk.range.until.0),
    ]
}

/// A series as it would be asked for.
fn series_text(labels: &LabelSet) -> String {
    cardinal_ingest::series_text(labels.section())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::report::Part;
    use cardinal_storage::database::{Database, DatabaseOptions, RefusalClass, Refused, Resolve};
    use cardinal_storage::io::SimFs;
    use cardinal_storage::model::{
        BucketCounts, Counts, Histogram, HistogramSample, ResetHint, Sample, TimestampMs,
    };

    struct Canonical;

    impl Resolve for Canonical {
        fn resolve(&self, section: &[u8]) -> Result<LabelSet, Refused> {
            let invalid =
                |e: &dyn ToString| Refused { class: RefusalClass::InvalidLabels, message: e.to_string() };
            LabelSet::from_section(section).map_err(|e| invalid(&e))
        }
    }

    /// Without buckets.
    fn histogram(t: i64) -> HistogramSample {
        let counts = BucketCounts { count: t as u64, zero: t as u64, positive: vec![], negative: vec![] };
        let h = Histogram {
            schema: 0,
            reset_hint: ResetHint::Unknown,
            zero_threshold: 0.5,
            sum: 0.25,
            positive_spans: vec![],
            negative_spans: vec![],
            custom_bounds: vec![],
            counts: Counts::Integer(counts),
        };
        HistogramSample { t: TimestampMs(t), h }
    }

    fn texts(report: &Report, wanted: &str) -> Vec<Vec<String>> {
        let rows = report.parts.iter().find_map(|part| match part {
            Part::Table { title, rows, .. } if *title == wanted => Some(rows),
            _ => None,
        });
        rows.expect("a table of that title").iter().map(|row| row.iter().map(Cell::text).collect()).collect()
    }

    #[test]
    fn histograms_are_listed_beside_floats() {
        let fs = SimFs::new(1);
        let options = DatabaseOptions {
            fs: Arc::new(fs.clone()),
            background: false,
            wal_segment_bytes: 1 << 16,
            ..DatabaseOptions::new("/data")
        };
        let database = Database::open(options).unwrap();
        let labels = LabelSet::from_pairs([("__name__", "h"), ("account", "1")]).unwrap();
        let row = |range| [database.row(&labels, range)];
        database.append_histograms(&row(0..2), &[histogram(1000), histogram(2000)], &Canonical).unwrap();
        database.flush().unwrap();
        let sample = Sample { t: TimestampMs(3000), v: 1.0 };
        database.append(&row(0..1), &[sample], &Canonical).unwrap();
        database.append_histograms(&row(0..1), &[histogram(4000)], &Canonical).unwrap();
        database.close().unwrap();
        let report = report(Arc::new(fs.kill()), Path::new("/data"), "h", 10).unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        let series = &texts(&report, "series")[0];
        assert_eq!((&series[1][..], series.len()), ("4", 4), "{series:?}");
        let kinds = |title: &str, at: usize| {
            texts(&report, title).iter().map(|row| row[at..at + 3].join("/")).collect::<Vec<_>>()
        };
        assert_eq!(kinds("chunks in blocks", 3), ["integer histogram/histograms/2"]);
        assert_eq!(kinds("chunks in head", 2), ["float/open/1", "integer histogram/-/1"]);
    }
}

//! One block: what it is made of.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, anyhow};
use cardinal_storage::block::{Block, ChunkStats, SeriesWeight};
use cardinal_storage::codec::ChunkKind;
use cardinal_storage::database::{BlockReport, inspect};
use cardinal_storage::io::Fs;
use cardinal_storage::model::BlockId;

use super::Report;
use crate::cli::report::Cell::{self, Bytes, Count, Nothing, Time};

/// Bytes of a value as it is, of which an encoding saves some.
const RAW_BYTES: u64 = 8;

/// Rows of the lists of what weighs most.
const LIST_MAX: usize = 10;

pub(super) fn report(fs: &dyn Fs, directory: &Path, id: &str) -> anyhow::Result<Report> {
    let id = u64::from_str_radix(id, 16).map(BlockId);
    let id = id.context("a block's id is a hexadecimal number, as `cardinal inspect` lists it")?;
    let found = inspect(fs, directory)?;
    let block = found.blocks.into_iter().find(|block| block.id == id);
    let block = block.ok_or_else(|| anyhow!("there is no block {id}; `cardinal inspect` lists them"))?;
    let mut report = Report::default();
    put_facts(&mut report, &block);
    match &block.block {
        Ok(open) => put_contents(&mut report, open),
        Err(error) => report.problems.push(error.clone()),
    }
    Ok(report)
}

fn put_facts(report: &mut Report, block: &BlockReport) {
    let bytes = block.bytes.0 + block.bytes.1;
    let facts = vec![
        ("id", Cell::text_of(block.id)),
        ("tier", Cell::text_of(&block.tier)),
        ("level", Count(u64::from(block.level))),
        ("after", Time(block.window.start.0)),
        ("until", Time(block.window.end().0)),
        ("series", Count(block.series)),
        ("samples", Count(block.samples)),
        ("index bytes", Bytes(block.bytes.0)),
        ("chunks bytes", Bytes(block.bytes.1)),
        ("bytes/sample", Cell::per(bytes, block.samples)),
    ];
    report.facts("block", facts);
}

/// What all shards of a block add up to.
#[derive(Default)]
struct Totals {
    encodings: Vec<ChunkStats>,
    names: BTreeMap<String, (u64, u64)>,
    metrics: BTreeMap<String, SeriesWeight>,
    accounts: BTreeMap<String, SeriesWeight>,
    problems: Vec<String>,
    damaged: u64,
}

fn put_contents(report: &mut Report, block: &Block) {
    let mut totals = Totals::default();
    for shard in block.shards() {
        let stats = shard.stats();
        stats.chunks.iter().for_each(|chunks| totals.add_chunks(chunks));
        stats.metrics.iter().for_each(|weight| add_weight(&mut totals.metrics, weight));
        stats.accounts.iter().for_each(|weight| add_weight(&mut totals.accounts, weight));
        totals.problems.extend(stats.damage.iter().map(ToString::to_string));
        totals.damaged += stats.damaged;
        for name in shard.name_stats() {
            match name {
                Ok(name) => {
                    let (values, series) = totals.names.entry(name.name).or_default();
                    *values += u64::from(name.values);
                    *series += name.series;
                }
                Err(error) => totals.problems.push(error.to_string()),
            }
        }
    }
    put_sections(report, block);
    totals.put(report);
}

/// Sections by name, all shards together.
fn put_sections(report: &mut Report, block: &Block) {
    let mut sections: Vec<(&str, &str, u64, u64)> = Vec::new();
    for section in block.sections() {
        let known = sections.iter_mut().find(|s| (s.0, s.1) == (section.file, section.section));
        match known {
            Some(known) => (known.2, known.3) = (known.2 + 1, known.3 + section.bytes),
            None => sections.push((section.file, section.section, 1, section.bytes)),
        }
    }
    let rows = sections.iter().map(|(file, section, parts, bytes)| {
        vec![Cell::text_of(file), Cell::text_of(section), Count(*parts), Bytes(*bytes)]
    });
    report.table("sections", &["file", "section", "parts", "bytes"], rows.collect());
}

fn add_weight(to: &mut BTreeMap<String, SeriesWeight>, weight: &SeriesWeight) {
    let sum = to
        .entry(weight.value.clone())
        .or_insert_with(|| SeriesWeight { value: weight.value.clone(), ..SeriesWeight::default() });
    sum.series += weight.series;
    sum.chunks += weight.chunks;
    sum.bytes += weight.bytes;
}

impl Totals {
    fn add_chunks(&mut self, chunks: &ChunkStats) {
        let known =
            self.encodings.iter_mut().find(|c| (c.kind, c.encoding) == (chunks.kind, chunks.encoding));
        match known {
            Some(known) => {
                known.chunks += chunks.chunks;
                known.samples += chunks.samples;
                known.bytes += chunks.bytes;
            }
            None => self.encodings.push(chunks.clone()),
        }
    }

    fn put(mut self, report: &mut Report) {
        self.encodings.sort_by_key(|chunks| std::cmp::Reverse(chunks.bytes));
        let rows = self.encodings.iter().map(|c| {
            let encoding = format!("{:?}", c.encoding).to_lowercase();
            let per_sample = Cell::per(c.bytes, c.samples);
            // What a histogram takes as it is depends on its buckets.
            let saved = match c.kind {
                ChunkKind::Float => Bytes(c.samples.saturating_mul(RAW_BYTES).saturating_sub(c.bytes)),
                _ => Nothing,
            };
            vec![
                Cell::text_of(c.kind),
                Cell::Text(encoding),
                Count(c.chunks),
                Count(c.samples),
                Bytes(c.bytes),
                per_sample,
                saved,
            ]
        });
        let columns =
            ["kind", "encoding", "chunks", "samples", "bytes", "bytes/sample", "saved of raw values"];
        report.table("chunks", &columns, rows.collect());
        let mut names: Vec<_> = self.names.into_iter().collect();
        names.sort_by_key(|(_, (values, _))| std::cmp::Reverse(*values));
        let rows = names
            .into_iter()
            .map(|(name, (values, series))| vec![Cell::Text(name), Count(values), Count(series)]);
        report.table("label names", &["name", "values added over shards", "series"], rows.collect());
        report.table("heaviest metrics", &["metric", "series", "chunks", "bytes"], heaviest(self.metrics));
        report.table("heaviest accounts", &["account", "series", "chunks", "bytes"], heaviest(self.accounts));
        report.problems.append(&mut self.problems);
        // The list is cut per shard, and one damaged page stands behind many series: only the sum is sure to be true.
        if self.damaged > 0 {
            report.problems.push(format!("{} damaged series or chunks in all", self.damaged));
        }
    }
}

fn heaviest(weights: BTreeMap<String, SeriesWeight>) -> Vec<Vec<Cell>> {
    let mut weights: Vec<_> = weights.into_values().collect();
    weights.sort_by_key(|weight| std::cmp::Reverse((weight.bytes, weight.series)));
    let name = |value: String| if value.is_empty() { "(none)".to_owned() } else { value };
    let row =
        |w: SeriesWeight| vec![Cell::Text(name(w.value)), Count(w.series), Count(w.chunks), Bytes(w.bytes)];
    weights.into_iter().take(LIST_MAX).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_counted_as_it_was_met_not_as_it_is_listed() {
        let check = |damaged: u64, expected: &[&str]| {
            let problems = vec!["page 7 is damaged".to_owned(); 3];
            let mut report = Report::default();
            Totals { damaged, problems, ..Totals::default() }.put(&mut report);
            report.problems.dedup();
            assert_eq!(report.problems, expected);
        };
        check(250, &["page 7 is damaged", "250 damaged series or chunks in all"]);
        check(0, &["page 7 is damaged"]);
    }

    #[test]
    fn weights_of_all_shards_add_up_under_their_names() {
        let weight = |value: &str, bytes| SeriesWeight { value: value.into(), series: 1, chunks: 2, bytes };
        let mut sums = BTreeMap::new();
        for weight in [weight("up", 10), weight("", 15), weight("up", 7)] {
            add_weight(&mut sums, &weight);
        }
        let row = |name: &str, n, bytes| vec![Cell::text_of(name), Count(n), Count(2 * n), Bytes(bytes)];
        assert_eq!(heaviest(sums), [row("up", 2, 17), row("(none)", 1, 15)]);
    }
}

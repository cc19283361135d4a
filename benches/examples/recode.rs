//! Writes all blocks of a data directory anew as one, as a compaction to its end would, and tells where the bytes are.
//!
//! ```text
//! recode DATA_DIR OUT_DIR [DAYS]
//! ```
//!
//! The new block has one window of DAYS days (1 without), beginning with the day of the oldest block; samples beyond it are
//! left out and counted. Every series is read back and compared to the bit. The table has a line for each encoding, and
//! one for each metric in each encoding. Memory: the samples of one shard.

use cardinal_storage::block::{Block, BlockShard, BlockSpec, BlockWriter, Tier};
use cardinal_storage::codec::{self, Samples};
use cardinal_storage::compact::Chunker;
use cardinal_storage::database::inspect;
use cardinal_storage::io::{Fs, RealFs};
use cardinal_storage::model::{
    BlockId, DurationMs, LabelSet, SeriesKey, ShardId, TimeRange, TimestampMs, Window,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The series of a shard in block order, with their samples from each block.
type Shard = BTreeMap<(SeriesKey, LabelSet), Vec<Samples>>;

/// Chunks, samples, bytes.
type Weights = BTreeMap<(String, String), [u64; 3]>;

fn main() -> Result<()> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [from, to, days @ ..] = &args[..] else { return Err("usage: recode DATA_DIR OUT_DIR [DAYS]".into()) };
    let days = days.first().map_or(Ok(1), |d| d.to_string_lossy().parse())?;
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    let blocks: Vec<Block> =
        inspect(&*fs, from)?.blocks.into_iter().map(|b| b.block).collect::<std::result::Result<_, _>>()?;
    let first = blocks.iter().min_by_key(|b| b.spec().window.start).ok_or("there are no blocks")?.spec();
    let window = Window::of(first.window.start + DurationMs(1), DurationMs::hours(24 * days));
    let spec = BlockSpec { id: BlockId(1), window, tier: Tier::Raw, level: 1, ..first.clone() };
    let (spent, meta) = write(&fs, to, spec, &blocks)?;
    let block = Block::open(&*fs, to, meta.index_bytes, meta.chunks_bytes)?;
    print_bytes(&block, meta.series, meta.samples);
    println!("encoding took {:.1} ns per sample", spent.as_nanos() as f64 / meta.samples as f64);
    let left_out = compare(&blocks, &block)?;
    println!("every series was read back to the bit; {left_out} samples were beyond the window");
    Ok(())
}

fn write(
    fs: &Arc<dyn Fs>,
    to: &Path,
    spec: BlockSpec,
    blocks: &[Block],
) -> Result<(Duration, cardinal_storage::block::BlockMeta)> {
    let (shards, window) = (spec.shards, spec.window);
    let mut chunker = Chunker::new(BlockWriter::create(fs.clone(), to, spec)?);
    let (mut spent, mut merged) = (Duration::ZERO, Samples::new());
    for shard in shards.iter() {
        let series = read_shard(blocks, shard)?;
        let start = Instant::now();
        chunker.begin_shard(shard)?;
        for ((key, labels), mut parts) in series {
            codec::merge(&mut parts, &mut merged);
            clip(&mut merged, window.range());
            chunker.push(&labels, key, &merged)?;
        }
        spent += start.elapsed();
    }
    let start = Instant::now();
    let meta = chunker.finish()?;
    Ok((spent + start.elapsed(), meta))
}

fn read_shard(blocks: &[Block], shard: ShardId) -> Result<Shard> {
    let mut series = Shard::new();
    for shard in blocks.iter().filter_map(|b| b.shard(shard)) {
        let mut reader = shard.reader();
        for ordinal in 0..shard.series_count() {
            let mut samples = Samples::new();
            for chunk in reader.chunks(ordinal)? {
                codec::decode(chunk?.1, &shard, &mut samples)?;
            }
            let series = series.entry((reader.key(ordinal)?, reader.labels(ordinal)?));
            series.or_default().push(samples);
        }
    }
    Ok(series)
}

fn clip(samples: &mut Samples, range: TimeRange) {
    let beyond = samples.t.partition_point(|&t| range.contains(TimestampMs(t)));
    samples.t.truncate(beyond);
    samples.v.truncate(beyond);
}

/// Compares samples of each series; returns how many the new block has not.
fn compare(blocks: &[Block], block: &Block) -> Result<usize> {
    let bits = |s: &Samples| s.v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let (mut left_out, mut merged) = (0, Samples::new());
    for shard in block.spec().shards.iter() {
        let mut written = read_shard(std::slice::from_ref(block), shard)?;
        for (series, mut parts) in read_shard(blocks, shard)? {
            codec::merge(&mut parts, &mut merged);
            let before = merged.len();
            clip(&mut merged, block.spec().window.range());
            left_out += before - merged.len();
            let found = written.remove(&series).unwrap_or_default().pop().unwrap_or_default();
            if (&found.t, bits(&found)) != (&merged.t, bits(&merged)) {
                return Err(format!("{} does not come back as it was", series.1).into());
            }
        }
    }
    Ok(left_out)
}

fn weigh(shard: &BlockShard<'_>, weights: &mut Weights) -> Result<()> {
    let mut reader = shard.reader();
    for ordinal in 0..shard.series_count() {
        let labels = reader.labels(ordinal)?;
        for chunk in reader.chunks(ordinal)? {
            let (_, bytes) = chunk?;
            let header = codec::header(bytes)?;
            let encoding = format!("{:?}", header.encoding);
            let one = [1, u64::from(header.samples(shard)?), bytes.len() as u64];
            for metric in ["", labels.metric_name()] {
                let sum = weights.entry((metric.to_owned(), encoding.clone())).or_default();
                sum.iter_mut().zip(one).for_each(|(sum, n)| *sum += n);
            }
        }
    }
    Ok(())
}

fn print_bytes(block: &Block, series: u64, samples: u64) {
    let mut weights = Weights::new();
    block.shards().for_each(|shard| weigh(&shard, &mut weights).expect("it was just written"));
    for ((metric, encoding), [chunks, samples, bytes]) in &weights {
        let per_sample = *bytes as f64 / *samples as f64;
        println!(
            "{metric:34} {encoding:11} {chunks:8} chunks {samples:10} samples {bytes:9} B {per_sample:.3}"
        );
    }
    let mut sections: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    block.sections().iter().for_each(|s| *sections.entry((s.file, s.section)).or_default() += s.bytes);
    for ((file, section), bytes) in sections {
        println!("{file:7} {section:18} {bytes:9} B {:6.2} per series", bytes as f64 / series as f64);
    }
    let (index, chunks) = block.file_bytes();
    let per = |bytes: u64, of: u64| bytes as f64 / of as f64;
    println!("{series} series, {samples} samples, {} time columns", block.time_columns());
    println!(
        "{:.4} B per sample: values {:.4}, index {:.4} ({:.1} B per series)",
        per(index + chunks, samples),
        per(chunks, samples),
        per(index, samples),
        per(index, series)
    );
}

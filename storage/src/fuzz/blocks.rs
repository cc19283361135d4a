//! The two files of a block, each beside a sound other one: a block as a cut writes it, and one of a day.

use crate::block::{self, Block, BlockSpec, BlockWriter, Tier};
use crate::codec::Samples;
use crate::compact::Chunker;
use crate::io::{Fs, OpenMode, SimFs};
use crate::model::{
    BlockId, DurationMs, HashSeed, LabelSet, ShardCount, TimestampMs, Window, shard_of_account,
};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// A block's `index` and `chunks`.
pub type Files = (Vec<u8>, Vec<u8>);

/// The index of a block, beside sound chunks: opened and checked as a whole.
pub fn block_index(bytes: &[u8]) {
    check_block(bytes, &sound_block().1);
}

/// The chunks of a block, beside a sound index.
pub fn block_chunks(bytes: &[u8]) {
    check_block(&sound_block().0, bytes);
}

/// The index of a day's block, beside sound chunks.
pub fn day_index(bytes: &[u8]) {
    check_block(bytes, &sound_day_block().1);
}

/// The chunks of a day's block, beside a sound index: entropy-coded, as differences to other chunks, the same as others.
pub fn day_chunks(bytes: &[u8]) {
    check_block(&sound_day_block().0, bytes);
}

/// Seeds of [`block_index`] and [`block_chunks`].
pub fn sound_block() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        make_block(0, DurationMs::hours(2), &series(60), few_samples).expect("a block is written to memory")
    })
}

/// Seeds of [`day_index`] and [`day_chunks`].
pub fn sound_day_block() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        make_block(1, DurationMs::hours(24), &series(18), day_samples).expect("a block is written to memory")
    })
}

/// Six histograms of three buckets in the order of a block's series, which is by key.
fn series(n: u32) -> Vec<LabelSet> {
    let labels = |i: u32| {
        let (le, n) = (["0.1", "1", "+Inf"][i as usize % 3], (i / 3).to_string());
        let pairs = [("__name__", "h_bucket"), ("account", "a"), ("le", le), ("n", &n)];
        LabelSet::from_pairs(pairs).expect("these labels are in order")
    };
    (0..n).map(labels).collect()
}

fn few_samples(i: usize) -> Samples {
    let t: Vec<i64> = (1..30).map(|k| k * 15_000).collect();
    Samples { v: (1..30).map(|k| (k * (i % 5)) as f64).collect(), t, ..Samples::new() }
}

/// Four hours of one a minute: three histograms, then small integers of which some are much rarer than others, fractions, and
/// columns that other series have as well.
fn day_samples(i: usize) -> Samples {
    let draw = |k: u64| (k + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    let rare = |k: u64| u64::from(draw(k * 31 + i as u64 / 3).trailing_zeros());
    let mut total = 0;
    let value = |k: u64| {
        total += (0..=i as u64 % 3).map(|bucket| rare(1000 * bucket + k)).sum::<u64>();
        match i {
            0..9 => total as f64,
            9..12 => rare(k) as f64,
            12..15 => (draw(k) >> 40) as f64 / 7.0,
            _ => 3.0 * (k / 40) as f64,
        }
    };
    let t = (1..=240).map(|k| k * 60_000).collect();
    Samples { v: (1..=240).map(value).collect(), t, ..Samples::new() }
}

fn check_block(index: &[u8], chunks: &[u8]) {
    let (mut index, mut chunks) = (index.to_vec(), chunks.to_vec());
    if !block::make_checksums_fit(&mut index) || !block::make_checksums_fit(&mut chunks) {
        return;
    }
    let fs = SimFs::new(1);
    for (name, bytes) in [(block::INDEX_FILE, &index), (block::CHUNKS_FILE, &chunks)] {
        let file = fs.open(Path::new(name), OpenMode::CreateNew).expect("memory takes it");
        file.write_all_at(bytes, 0).and_then(|()| file.sync_data()).expect("memory takes it");
    }
    if let Ok(block) = Block::open(&fs, Path::new(""), index.len() as u64, chunks.len() as u64) {
        block.check(&mut |_| {});
    }
}

fn make_block(
    level: u8,
    window: DurationMs,
    series: &[LabelSet],
    samples: fn(usize) -> Samples,
) -> Result<Files, Box<dyn std::error::Error>> {
    let fs = SimFs::new(1);
    let shards = ShardCount::new(1).ok_or("one shard")?;
    let spec = BlockSpec {
        id: BlockId(1),
        window: Window { start: TimestampMs(0), len: window },
        tier: Tier::Raw,
        level,
        sources: Vec::new(),
        seed: HashSeed(7),
        account_label: "account".into(),
        shards,
        lsns: None,
    };
    let seed = spec.seed;
    let dir = Path::new("block");
    let mut chunker = Chunker::new(BlockWriter::create(Arc::new(fs.clone()), dir, spec)?);
    let mut series: Vec<(usize, &LabelSet)> = series.iter().enumerate().collect();
    series.sort_by_key(|(_, l)| l.key("account", seed));
    chunker.begin_shard(shard_of_account(b"a", shards))?;
    for (i, labels) in series {
        chunker.push(labels, labels.key("account", seed), &samples(i))?;
    }
    chunker.finish()?;
    let read = |name: &str| fs.open(&dir.join(name), OpenMode::Read).and_then(|f| f.read_all());
    Ok((read(block::INDEX_FILE)?, read(block::CHUNKS_FILE)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_what_only_days_have() {
        let quick = make_block(0, DurationMs::hours(24), &series(18), day_samples).unwrap();
        let (index, chunks) = sound_day_block();
        assert!(
            chunks.len() < quick.1.len(),
            "{} bytes, {} without entropy coding",
            chunks.len(),
            quick.1.len()
        );
        let fs = SimFs::new(1);
        for (name, bytes) in [(block::INDEX_FILE, index), (block::CHUNKS_FILE, chunks)] {
            let file = fs.open(Path::new(name), OpenMode::CreateNew).unwrap();
            file.write_all_at(bytes, 0).and_then(|()| file.sync_data()).unwrap();
        }
        let block = Block::open(&fs, Path::new(""), index.len() as u64, chunks.len() as u64).unwrap();
        let mut found = Vec::new();
        block.check(&mut |corruption| found.push(corruption));
        assert!(found.is_empty(), "{found:?}");
        let stats = format!("{:?}", block.shards().map(|s| s.stats()).collect::<Vec<_>>());
        for encoding in ["Difference", "Same", "Decimal"] {
            assert!(stats.contains(encoding), "{encoding} in {stats}");
        }
    }
}

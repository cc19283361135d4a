//! Every decoder of bytes from disk, as a function of bytes: for fuzzing, and for the tests that replay its seeds.
//!
//! Checksums are made to fit where they would keep all but a few inputs out. A function returns; it never panics, and takes
//! memory in proportion to its input. Only with the feature `fuzz`.

use crate::block::{self, Block, BlockSpec, BlockWriter, Tier};
use crate::codec::{self, NothingShared, OpenChunk, Samples};
use crate::compact::Chunker;
use crate::database::fuzz_manifest;
use crate::head::{checkpoint, log};
use crate::io::{Fs, OpenMode, SimFs};
use crate::model::{
    BlockId, DurationMs, HashSeed, LabelSet, ShardCount, TimestampMs, Window, shard_of_account,
};
use crate::wal;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// A manifest edit.
pub fn manifest(bytes: &[u8]) {
    fuzz_manifest(bytes);
}

/// A segment of the log, as it is and as the payload of a batch.
pub fn log_segment(bytes: &[u8]) {
    wal::fuzz(bytes);
}

/// A segment of the head-chunk log.
pub fn head_log(bytes: &[u8]) {
    log::records(bytes).for_each(drop);
}

/// A checkpoint, as it is and as the payload of each kind of frame.
pub fn checkpoint(bytes: &[u8]) {
    checkpoint::fuzz(bytes);
}

/// A chunk, and a column of times.
pub fn chunk(bytes: &[u8]) {
    let mut out = Samples::default();
    let _ = codec::decode(bytes, &NothingShared, &mut out);
    let _ = codec::verify(bytes);
    let _ = codec::decode_column(bytes, &mut out.t);
    let mut fitting = bytes.to_vec();
    if let Ok(header) = codec::header(bytes)
        && header.form == codec::ChunkForm::Whole
        && let Some(covered) = header.chunk_len().checked_sub(4)
    {
        let crc = crc32c::crc32c(&bytes[..covered]);
        fitting[covered..covered + 4].copy_from_slice(&crc.to_le_bytes());
    }
    if let Ok((mut open, bytes)) = OpenChunk::from_chunk(&fitting) {
        let mut buffer = bytes.to_vec();
        buffer.resize(bytes.len() + codec::TOKEN_BYTES_MAX, 0);
        let _ = open.append(&mut buffer, TimestampMs(open.last_t().0.saturating_add(1)), 1.0);
        let _ = open.decode(&buffer[..open.used()], &mut out);
    }
}

/// The index of a block, beside sound chunks: opened and checked as a whole.
pub fn block_index(bytes: &[u8]) {
    check_block(bytes, &sound_block().1);
}

/// The chunks of a block, beside a sound index.
pub fn block_chunks(bytes: &[u8]) {
    check_block(&sound_block().0, bytes);
}

/// Seeds of [`block_index`] and [`block_chunks`].
pub fn sound_block() -> &'static (Vec<u8>, Vec<u8>) {
    static FILES: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    FILES.get_or_init(|| make_block().expect("a block is written to memory"))
}

/// A seed of [`chunk`] for each form that a few samples take.
pub fn sound_chunks() -> Vec<Vec<u8>> {
    let t: Vec<i64> = (0..40).map(|i| 1_000 * i + i % 3).collect();
    let shapes: [fn(f64) -> f64; 5] =
        [|_| 1.0, |i| i * 3.0, |i| i / 7.0, |i| (i * 0.1).sin(), |i| i * 0.25 + 0.1];
    let of_shape = |shape: fn(f64) -> f64| {
        let v: Vec<f64> = (0..40).map(|i| shape(f64::from(i))).collect();
        let mut out = Vec::new();
        codec::seal((&t, &v), codec::Times::Inline, &mut codec::EncoderHint::default(), &mut out);
        let mut room = vec![0; 4096];
        let (mut open, _) = OpenChunk::start(TimestampMs(t[0]), v[0], &mut room);
        for (t, v) in t.iter().zip(&v).skip(1) {
            let _ = open.append(&mut room, TimestampMs(*t), *v);
        }
        let mut as_is = Vec::new();
        open.to_chunk(&room[..open.used()], &mut as_is);
        [out, as_is]
    };
    shapes.into_iter().flat_map(of_shape).collect()
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

fn make_block() -> Result<(Vec<u8>, Vec<u8>), Box<dyn std::error::Error>> {
    let fs = SimFs::new(1);
    let shards = ShardCount::new(1).ok_or("one shard")?;
    let spec = BlockSpec {
        id: BlockId(1),
        window: Window { start: TimestampMs(0), len: DurationMs(7_200_000) },
        tier: Tier::Raw,
        level: 0,
        sources: Vec::new(),
        seed: HashSeed(7),
        account_label: "account".into(),
        shards,
        lsns: None,
    };
    let seed = spec.seed;
    let dir = Path::new("block");
    let mut chunker = Chunker::new(BlockWriter::create(Arc::new(fs.clone()), dir, spec)?);
    let labels = |i: u32| {
        let (le, n) = (["0.1", "1", "+Inf"][i as usize % 3], (i / 3).to_string());
        LabelSet::from_pairs([("__name__", "h_bucket"), ("account", "a"), ("le", le), ("n", &n)])
    };
    let mut series: Vec<LabelSet> = (0..60).map(labels).collect::<Result<_, _>>()?;
    series.sort_by_key(|l| l.key("account", seed));
    chunker.begin_shard(shard_of_account(b"a", shards))?;
    for (i, labels) in (0..).zip(&series) {
        let mut samples = Samples::default();
        (1..30).for_each(|k| samples.push(k * 15_000, (k * (i % 5)) as f64));
        chunker.push(labels, labels.key("account", seed), &samples)?;
    }
    chunker.finish()?;
    let read = |name: &str| fs.open(&dir.join(name), OpenMode::Read).and_then(|f| f.read_all());
    Ok((read(block::INDEX_FILE)?, read(block::CHUNKS_FILE)?))
}

//! Every decoder of bytes from disk, as a function of bytes: for fuzzing, and for the tests that replay its seeds.
//!
//! Checksums are made to fit where they would keep all but a few inputs out. A function returns; it never panics, and takes
//! memory in proportion to its input. Only with the feature `fuzz`.

mod blocks;
mod directory;
mod histograms;

use crate::codec::{self, NothingShared, OpenChunk, Samples};
use crate::database::fuzz_manifest;
use crate::head::{checkpoint as head_checkpoint, log};
use crate::model::TimestampMs;
use crate::wal;

pub use blocks::{Files, block_chunks, block_index, day_chunks, day_index, sound_block, sound_day_block};
pub use directory::{
    checkpoint_file, head_log_file, log_file, manifest_file, sound_checkpoint, sound_head_log, sound_log,
    sound_manifest,
};
pub use histograms::{histogram, sound_histograms};

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
    head_checkpoint::fuzz(bytes);
}

/// The postings of a checkpoint's shard.
pub fn postings(bytes: &[u8]) {
    head_checkpoint::fuzz_postings(bytes);
}

/// A seed of [`postings`].
pub fn sound_postings() -> Vec<u8> {
    head_checkpoint::sound_image()
}

/// A chunk, and a column of times.
pub fn chunk(bytes: &[u8]) {
    let mut out = Samples::default();
    let _ = codec::decode(bytes, &NothingShared, &mut out);
    let _ = codec::verify(bytes);
    let _ = codec::decode_column(bytes, &mut out.t);
    let mut fitting = bytes.to_vec();
    make_chunk_fit(&mut fitting);
    let _ = codec::decode(&fitting, &NothingShared, &mut out);
    if let Ok((mut open, bytes)) = OpenChunk::from_chunk(&fitting) {
        let mut buffer = bytes.to_vec();
        buffer.resize(bytes.len() + codec::TOKEN_BYTES_MAX, 0);
        let _ = open.append(&mut buffer, TimestampMs(open.last_t().0.saturating_add(1)), 1.0);
        let _ = open.decode(&buffer[..open.used()], &mut out);
    }
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
    let of_histograms = histograms::sound_runs().map(|samples| {
        let mut out = Vec::new();
        codec::seal_histograms(&samples, codec::Times::Inline, codec::Packing::Quick, &mut out);
        out
    });
    shapes.into_iter().flat_map(of_shape).chain(of_histograms).collect()
}

/// Computes the checksum of a chunk that has one anew.
fn make_chunk_fit(chunk: &mut [u8]) {
    if let Ok(header) = codec::header(chunk)
        && header.form == codec::ChunkForm::Whole
        && let Some(covered) = header.chunk_len().checked_sub(4)
        && let Some((covered, crc)) = chunk.split_at_mut_checked(covered)
        && let Some(crc) = crc.first_chunk_mut()
    {
        *crc = crc32c::crc32c(covered).to_le_bytes();
    }
}

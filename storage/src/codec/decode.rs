//! Decoding by what a chunk's header says.

use super::chunk::{self, ChunkHeader, ChunkKind, ChunkTimes, Encoding};
use super::error::ChunkError;
use super::shared::{ChunkPlace, Shared};
use super::{Samples, difference, histogram, open, plain, runs, times};

/// Appends the samples of the chunk at the front of `chunk` to `out`. Times ascend strictly within the chunk. On error
/// `out` is as before. The checksum is not looked at: [`verify`](super::verify) does.
pub fn decode(chunk: &[u8], shared: &dyn Shared, out: &mut Samples) -> Result<(), ChunkError> {
    let before = out.mark();
    let result = decode_parts(chunk, shared, out);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

fn decode_parts(chunk: &[u8], shared: &dyn Shared, out: &mut Samples) -> Result<(), ChunkError> {
    let (header, inline, values) = chunk::parts(chunk)?;
    if header.kind != ChunkKind::Float {
        return decode_histograms(&header, (inline, values), shared, out);
    }
    let count = header.samples(shared)? as usize;
    if header.encoding == Encoding::Open {
        return match header.times {
            ChunkTimes::Inline(0) => open::decode_values(values, count, out),
            _ => Err(open::TIMES_OF_ITS_OWN),
        };
    }
    decode_values(&header, values, count, shared, &mut out.v)?;
    match header.times {
        ChunkTimes::Inline(_) => times::decode_grid(inline, count, &mut out.t),
        ChunkTimes::Column(id) => shared.times(id, count, &mut out.t),
    }
}

/// Appends the histograms of a chunk. On error `out` may have grown.
fn decode_histograms(
    header: &ChunkHeader,
    (inline, values): (&[u8], &[u8]),
    shared: &dyn Shared,
    out: &mut Samples,
) -> Result<(), ChunkError> {
    let is_histogram = matches!(header.kind, ChunkKind::IntegerHistogram | ChunkKind::FloatHistogram);
    if !is_histogram || header.encoding != Encoding::Histograms {
        return Err(chunk::unknown(header));
    }
    let (count, mut t) = (header.samples(shared)? as usize, Vec::new());
    match header.times {
        ChunkTimes::Inline(_) => times::decode_grid(inline, count, &mut t)?,
        ChunkTimes::Column(id) => shared.times(id, count, &mut t)?,
    }
    histogram::decode(header.kind, values, &t, &mut out.histograms)
}

/// Appends the `count` values of a chunk. On error `out` may have grown.
fn decode_values(
    header: &ChunkHeader,
    values: &[u8],
    count: usize,
    shared: &dyn Shared,
    out: &mut Vec<f64>,
) -> Result<(), ChunkError> {
    match header.encoding {
        Encoding::Runs => runs::decode(values, count, out),
        Encoding::Difference => difference::decode(values, header.times, count, shared, out),
        Encoding::Same => {
            let base = shared.base(ChunkPlace::take_whole(values)?)?;
            let (base, _, values) = chunk::parts(base)?;
            // What is stored once is not itself stored elsewhere: the way ends here.
            if base.encoding == Encoding::Same || base.samples(shared)? as usize != count {
                return Err(ChunkError::Malformed(
                    "a chunk has the values of one that it cannot be the same as",
                ));
            }
            decode_values(&base, values, count, shared, out)
        }
        encoding => {
            plain::decode(encoding, values, count, out).unwrap_or_else(|| Err(chunk::unknown(header)))
        }
    }
}

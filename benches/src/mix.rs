//! The mix of kinds as chunks of blocks, for the bench of codecs and for whoever counts instructions.

use crate::kinds::{self, Kind};
use crate::telecom;
use cardinal_storage::codec::{
    ChunkError, ChunkPlace, EncoderHint, Packing, Samples, Shared, TimeColumnId, Times, decode,
    decode_column, encode_column, seal_short,
};
use std::hint::black_box;

/// The one time column of all series, and what it decodes to where that is known already, as it is to a query.
pub struct Column {
    bytes: Vec<u8>,
    /// The times, if they are known.
    pub known: Option<Vec<i64>>,
}

impl Shared for Column {
    fn column(&self, _: TimeColumnId) -> Result<&[u8], ChunkError> {
        Ok(&self.bytes)
    }

    fn times(&self, _: TimeColumnId, _: usize, out: &mut Vec<i64>) -> Result<(), ChunkError> {
        match &self.known {
            Some(times) => out.extend_from_slice(times),
            None => decode_column(&self.bytes, out)?,
        }
        Ok(())
    }

    fn base(&self, place: ChunkPlace) -> Result<&[u8], ChunkError> {
        Err(ChunkError::NoBase(place.offset))
    }
}

/// Chunks of one length and packing.
pub struct Sealed {
    /// The times of all chunks.
    pub column: Column,
    /// The chunks.
    pub bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

/// Seals every series in chunks of `len` samples.
pub fn seal_mix(series: &[Vec<f64>], len: usize, packing: Packing) -> Sealed {
    let t: Vec<i64> = (0..len as u32).map(|tick| telecom::time(tick).0).collect();
    let column = Column { bytes: vec![], known: None };
    let mut sealed = Sealed { column, bytes: vec![], ends: vec![] };
    encode_column(&t, &mut sealed.column.bytes);
    for v in series {
        let mut hint = EncoderHint::default();
        for v in v.chunks_exact(len) {
            let times = Times::Column(TimeColumnId(0));
            seal_short((&t, v), times, packing, &mut hint, &mut sealed.bytes);
            sealed.ends.push(sealed.bytes.len());
        }
    }
    sealed
}

impl Sealed {
    /// Decodes all chunks, one after another into the same memory.
    #[inline(never)]
    pub fn decode(&self, samples: &mut Samples, mut each: impl FnMut(&Samples)) {
        let mut from = 0;
        for &end in &self.ends {
            samples.clear();
            decode(black_box(&self.bytes[from..end]), &self.column, samples).expect("sealed above");
            each(samples);
            from = end;
        }
    }

    /// Compares what comes back to the bit.
    pub fn check(&self, series: &[Vec<f64>], len: usize) {
        let mut wanted = series.iter().flat_map(|v| v.chunks_exact(len));
        let same = |a: &[f64], b: &[f64]| a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits()));
        self.decode(&mut Samples::new(), |s| assert!(wanted.next().is_some_and(|v| same(v, &s.v))));
    }
}

/// So many series of a kind.
pub fn of_kind(kind: Kind, share: usize, samples: usize) -> Vec<Vec<f64>> {
    (0..share as u64).map(|n| kinds::values(kind, samples, n * 16 + kind as u64)).collect()
}

//! Times of chunks whose values need not be read: what counts series looks at no values, as long as none of them is a
//! staleness marker.

use super::chunk::{self, ChunkHeader, ChunkKind, ChunkTimes, Encoding};
use super::error::ChunkError;
use super::shared::{ChunkPlace, Shared};
use super::{constant, exceptions, runs, times};
use crate::model::is_stale;

/// Appends the times of the chunk at the front of `chunk` to `out`, if it holds floats and its form tells that no staleness marker
/// is among them; whether it does. Where it does not, or on an error, `out` is as before.
pub fn times_without_stale(
    chunk: &[u8],
    shared: &dyn Shared,
    out: &mut Vec<i64>,
) -> Result<bool, ChunkError> {
    let (header, inline, values) = chunk::parts(chunk)?;
    if header.kind != ChunkKind::Float || may_be_stale(&header, values, shared)? {
        return Ok(false);
    }
    let (before, count) = (out.len(), header.samples(shared)? as usize);
    let result = match header.times {
        ChunkTimes::Inline(_) => times::decode_grid(inline, count, out),
        ChunkTimes::Column(id) => shared.times(id, count, out),
    };
    if result.is_err() {
        out.truncate(before);
    }
    result.map(|()| true)
}

/// Whether a staleness marker may be among the values: without one, most encodings have no exceptions.
fn may_be_stale(header: &ChunkHeader, values: &[u8], shared: &dyn Shared) -> Result<bool, ChunkError> {
    match header.encoding {
        Encoding::Runs => {
            let (encoding, heads) = runs::take_heads(values, header.samples(shared)? as usize)?;
            values_may_be_stale(encoding, heads)
        }
        Encoding::Same => {
            let (base, _, values) = chunk::parts(shared.base(ChunkPlace::take_whole(values)?)?)?;
            match base.encoding {
                Encoding::Same => Ok(true),
                _ => may_be_stale(&base, values, shared),
            }
        }
        encoding => values_may_be_stale(encoding, values),
    }
}

fn values_may_be_stale(encoding: Encoding, values: &[u8]) -> Result<bool, ChunkError> {
    match encoding {
        Encoding::Constant => constant::value(values).map(is_stale),
        Encoding::Decimal | Encoding::Rational | Encoding::Multiple | Encoding::Difference => {
            Ok(exceptions::has_some(values))
        }
        // Residuals and XOR make any bits.
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::seal::tests::values;
    use crate::codec::{EncoderHint, NothingShared, Samples, Times, decode, seal};
    use crate::model::stale_nan;
    use proptest::prelude::*;

    fn sealed(v: &[f64]) -> Vec<u8> {
        let t: Vec<i64> = (0..v.len() as i64).map(|i| i * 15_000).collect();
        let mut chunk = vec![];
        seal((&t, v), Times::Inline, &mut EncoderHint::default(), &mut chunk);
        chunk
    }

    #[test]
    fn common_values_need_not_be_read() {
        let check = |v: &[f64], want: bool| {
            let (chunk, mut t) = (sealed(v), vec![-1]);
            let encoding = chunk::header(&chunk).unwrap().encoding;
            assert_eq!(times_without_stale(&chunk, &NothingShared, &mut t), Ok(want), "{encoding:?} {v:?}");
            assert_eq!(t.len(), if want { v.len() + 1 } else { 1 });
        };
        let steps: Vec<f64> = (0..60).map(|i| f64::from(i * i)).collect();
        let ratios: Vec<f64> = (1..60).map(|i| f64::from(i) / f64::from(i + 7)).collect();
        let switch: Vec<f64> = (0..60).map(|i| f64::from(i / 20)).collect();
        let with = |v: &[f64], at: usize| [&v[..at], &[stale_nan()], &v[at..]].concat();
        for v in [&[1.0; 60][..], &steps, &ratios, &switch] {
            check(v, true);
            check(&with(v, 30), false);
            check(&with(v, v.len()), false);
        }
        check(&[stale_nan(); 5], false);
        check(&[f64::NAN; 5], true);
    }

    proptest! {
        #[test]
        fn times_are_those_of_the_samples(v in values(1..200)) {
            let (chunk, mut t, mut all) = (sealed(&v), vec![], Samples::new());
            decode(&chunk, &NothingShared, &mut all).unwrap();
            if times_without_stale(&chunk, &NothingShared, &mut t).unwrap() {
                prop_assert_eq!(t, all.t);
                prop_assert!(!v.iter().any(|v| is_stale(*v)));
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(v in values(1..50), at: usize, mask: u8, bytes: Vec<u8>) {
            let mut chunk = sealed(&v);
            let at = at % chunk.len();
            chunk[at] ^= mask;
            let _ = times_without_stale(&chunk, &NothingShared, &mut vec![]);
            let _ = times_without_stale(&bytes, &NothingShared, &mut vec![]);
        }
    }
}

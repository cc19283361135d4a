//! Fast equals scalar.

use super::{SPREAD_ROOM, as_ints, products, quotients, scalar, spread, sum_up, unpack};
use crate::codec::bitpack::packed_width;
use proptest::prelude::*;

/// Integers of all magnitudes, those around the ends of the exact doubles often.
fn integer() -> impl Strategy<Value = i64> {
    let special = [
        0,
        1,
        -1,
        i64::MIN,
        i64::MAX,
        1 << 53,
        (1 << 53) + 1,
        -(1 << 53) - 1,
        1 << 32,
        -(1 << 32),
        0x8000_0000,
    ];
    prop_oneof![
        (any::<i64>(), 0u32..64).prop_map(|(x, shift)| x >> shift),
        proptest::sample::select(special.to_vec())
    ]
}

fn integers() -> impl Strategy<Value = Vec<i64>> {
    proptest::collection::vec(integer(), 0..300)
}

proptest! {
    #[test]
    fn unpacking(packed: Vec<u8>, width in 1u32..=64, base: i64, first in 0usize..600, n in 0usize..600) {
        let width = packed_width(width);
        let (mut fast, mut slow) = (vec![1; n], vec![2; n]);
        unpack(&packed, width, base, first, &mut fast);
        scalar::unpack(&packed, width, base, first, &mut slow);
        prop_assert_eq!(fast, slow);
    }

    #[test]
    fn sums(numbers in integers(), last: i64) {
        let (mut fast, mut slow) = ((last, numbers.clone()), (last, numbers));
        sum_up(&mut fast.0, &mut fast.1);
        scalar::sum_up(&mut slow.0, &mut slow.1);
        prop_assert_eq!(fast, slow);
    }

    #[test]
    fn doubles(numbers in integers(), places in 0i32..16, factor: u64) {
        let check = |fast: fn(&mut [f64], f64), slow: fn(&mut [f64], f64), by: f64| {
            let mut values = [vec![0.0; numbers.len()], vec![0.0; numbers.len()]];
            values.iter_mut().for_each(|v| as_ints(v).copy_from_slice(&numbers));
            let [a, b] = &mut values;
            fast(a, by);
            slow(b, by);
            let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            assert!(a.iter().zip(&*b).all(same), "{a:?} {b:?}");
        };
        check(quotients, scalar::quotients, 10f64.powi(places));
        check(products, scalar::products, f64::from_bits(factor));
    }

    #[test]
    fn runs(changes in proptest::collection::vec(any::<u64>(), 1..6), sparse: bool, n in 1usize..400) {
        let words: Vec<u64> = changes.iter().map(|w| if sparse { w & w << 7 & w << 29 } else { *w }).collect();
        let changed = |i: &usize| words.get(i / 64).is_some_and(|w| w >> (i % 64) & 1 == 1);
        let n = n.min(64 * words.len());
        let runs: Vec<f64> = (0..=(0..n).filter(changed).count() + SPREAD_ROOM).map(|i| i as f64).collect();
        let (mut fast, mut slow) = (vec![-1.0; n], vec![-2.0; n]);
        spread(&runs, &words, &mut fast);
        scalar::spread(&runs, &words, &mut slow);
        prop_assert_eq!(&fast, &slow);
        let wanted: Vec<f64> = (0..n).map(|i| (0..i).filter(changed).count() as f64).collect();
        prop_assert_eq!(fast, wanted);
    }
}

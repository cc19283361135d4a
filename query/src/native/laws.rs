//! What holds of all histograms.

use super::tests::pairs;
use super::{Bucket, FloatHistogram};
use cardinal_storage::model::{CUSTOM_SCHEMA, ResetHint};
use proptest::prelude::*;

fn buckets(low: i32, high: i32) -> impl Strategy<Value = Vec<Bucket>> {
    proptest::collection::btree_map(low..high, 0..20u32, 0..12)
        .prop_map(|all| all.into_iter().map(|(index, n)| Bucket { index, count: f64::from(n) }).collect())
}

fn finish(mut h: FloatHistogram) -> FloatHistogram {
    h.count = h.zero + h.positive.iter().chain(&h.negative).map(|b| b.count).sum::<f64>();
    h
}

fn exponential() -> impl Strategy<Value = FloatHistogram> {
    // At a bound of every schema: another one cuts buckets of coarser ones, and what they hold counts twice in a sum, as in
    // the reference.
    let threshold = prop_oneof![Just(0.0), Just(1.0 / 65536.0), Just(1.0)];
    (-2..4i8, threshold, 0..9u32, buckets(-20, 20), buckets(-20, 20)).prop_map(|(schema, t, zero, p, n)| {
        // As the sender has it: nothing in buckets that the zero bucket holds.
        let outside = |b: &Bucket| super::bounds::exponential_bound(b.index - 1, schema) >= t;
        finish(FloatHistogram {
            reset_hint: ResetHint::Unknown,
            schema,
            zero_threshold: t,
            zero: f64::from(zero),
            count: 0.0,
            sum: 1.0,
            positive: p.into_iter().filter(outside).collect(),
            negative: n.into_iter().filter(outside).collect(),
            custom_bounds: [].into(),
        })
    })
}

fn custom() -> impl Strategy<Value = FloatHistogram> {
    (proptest::collection::btree_set(-9..9i32, 0..6), buckets(0, 7)).prop_map(|(bounds, p)| {
        let last = bounds.len() as i32;
        finish(FloatHistogram {
            reset_hint: ResetHint::Unknown,
            schema: CUSTOM_SCHEMA,
            zero_threshold: 0.0,
            zero: 0.0,
            count: 0.0,
            sum: 1.0,
            positive: p.into_iter().filter(|b| b.index <= last).collect(),
            negative: vec![],
            custom_bounds: bounds.into_iter().map(f64::from).collect(),
        })
    })
}

/// Two histograms of one kind.
fn two() -> impl Strategy<Value = (FloatHistogram, FloatHistogram)> {
    prop_oneof![(exponential(), exponential()), (custom(), custom())]
}

fn in_buckets(h: &FloatHistogram) -> f64 {
    h.zero + h.positive.iter().chain(&h.negative).map(|b| b.count).sum::<f64>()
}

fn ascends(buckets: &[Bucket]) -> bool {
    buckets.windows(2).all(|w| w[0].index < w[1].index)
}

fn compacted(mut h: FloatHistogram) -> FloatHistogram {
    h.compact();
    h
}

proptest! {
    #[test]
    fn sums_lose_nothing_and_do_not_depend_on_their_order((a, b) in two()) {
        let (mut ab, mut ba) = (a.clone(), b.clone());
        ab.add(&b).unwrap();
        ba.add(&a).unwrap();
        prop_assert_eq!(ab.count, a.count + b.count);
        prop_assert_eq!(in_buckets(&ab), ab.count);
        prop_assert!(ascends(&ab.positive) && ascends(&ab.negative));
        prop_assert!(compacted(ab.clone()).same(&compacted(ba.clone())), "{:?} {:?}", ab, ba);
        // What is taken away again leaves what the sum has made of the first.
        ab.subtract(&b).unwrap();
        prop_assert_eq!(in_buckets(&ab), a.count);
        prop_assert_eq!((ab.count, ab.sum), (a.count, a.sum));
    }

    #[test]
    fn nothing_is_lost_by_adding((a, b) in two()) {
        let mut sum = a.clone();
        sum.add(&b).unwrap();
        prop_assert!(!sum.is_reset_after(&a) && !sum.is_reset_after(&b), "{:?}", sum);
        prop_assert!(!a.is_reset_after(&a));
        prop_assert_eq!(b.count < a.count && !b.is_reset_after(&a), false);
    }

    #[test]
    fn coarser_buckets_hold_as_much(mut h in exponential(), schema in -4..3i8) {
        let count = in_buckets(&h);
        h.coarsen(schema);
        prop_assert_eq!(in_buckets(&h), count);
        prop_assert!(ascends(&h.positive) && h.schema <= schema.max(h.schema));
    }

    #[test]
    fn quantiles_ascend_and_fractions_undo_them(h in prop_oneof![exponential(), custom()], a in 0.01..0.99f64, b in 0.01..0.99f64) {
        prop_assume!(h.count > 0.0);
        let (low, high) = (h.quantile(a.min(b)).value, h.quantile(a.max(b)).value);
        prop_assert!(low <= high + 1e-9 * high.abs(), "{} {}", low, high);
        let (all, nan) = h.fraction(f64::NEG_INFINITY, f64::INFINITY);
        prop_assert!(!nan && (all - 1.0).abs() < 1e-9);
        let below = h.fraction(f64::NEG_INFINITY, high).0;
        let above = h.fraction(high, f64::INFINITY).0;
        prop_assert!((below + above - 1.0).abs() < 1e-9, "{} {}", below, above);
    }

    #[test]
    fn what_is_trimmed_and_what_is_left_are_the_whole(h in exponential(), at in -40.0..40.0f64) {
        let (mut below, mut above) = (h.clone(), h.clone());
        below.trim(at, super::Keep::Below);
        above.trim(at, super::Keep::Above);
        prop_assert!((below.count + above.count - h.count).abs() < 1e-9 * h.count.max(1.0), "{:?} {:?}", below, above);
        prop_assert!(pairs(&below.positive).len() + pairs(&above.positive).len() <= h.positive.len() + 1);
    }
}

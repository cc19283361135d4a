use super::*;
use crate::codec::seal::tests::values;
use crate::codec::times::tests::times;
use crate::codec::{NothingShared, decode};
use crate::model::stale_nan;
use proptest::prelude::*;

/// An open chunk with its buffer, which is full of rubbish beyond what is used.
struct Grown {
    chunk: OpenChunk,
    bytes: Vec<u8>,
}

impl Grown {
    fn start(t: i64, v: f64) -> Self {
        let mut bytes = vec![0xa5; TOKEN_BYTES_MAX];
        let (chunk, used) = OpenChunk::start(TimestampMs(t), v, &mut bytes);
        assert_eq!(used, chunk.used());
        Self { chunk, bytes }
    }

    /// Appends; the buffer grows byte by byte until the sample fits.
    fn append(&mut self, t: i64, v: f64) {
        let used = self.chunk.used();
        self.bytes.truncate(used);
        while self.chunk.append(&mut self.bytes, TimestampMs(t), v) == Append::Full {
            self.bytes.push(0xa5);
            assert!(self.bytes.len() <= used + TOKEN_BYTES_MAX, "{t} {v}");
        }
        assert_eq!(self.bytes.len(), self.chunk.used().max(used));
        let roomy = t % 3 == 0;
        self.bytes.resize(self.chunk.used() + if roomy { TOKEN_BYTES_MAX } else { 0 }, 0xa5);
    }

    fn of(t: &[i64], v: &[f64]) -> Self {
        let mut grown = Self::start(t[0], v[0]);
        for (&t, &v) in t.iter().zip(v).skip(1) {
            grown.append(t, v);
        }
        grown
    }

    fn tokens(&self) -> &[u8] {
        &self.bytes[..self.chunk.used()]
    }

    /// Stores and opens again.
    fn reopened(&self) -> Self {
        let mut stored = vec![];
        self.chunk.to_chunk(&self.bytes, &mut stored);
        let (chunk, tokens) = OpenChunk::from_chunk(&stored).unwrap();
        Self { chunk, bytes: tokens.to_vec() }
    }
}

fn bits(s: &Samples) -> Vec<(i64, u64)> {
    s.t.iter().zip(&s.v).map(|(&t, v)| (t, v.to_bits())).collect()
}

fn check_tokens(samples: &[(i64, f64)], want: &[u8]) {
    let (t, v): (Vec<i64>, Vec<f64>) = samples.iter().copied().unzip();
    let grown = Grown::of(&t, &v);
    assert_eq!(grown.tokens(), want, "{samples:?}");
    let mut back = Samples::new();
    grown.chunk.decode(&grown.bytes, &mut back).unwrap();
    assert_eq!(bits(&back), bits(&Samples { t, v, ..Samples::new() }));
}

#[test]
fn golden_bytes() {
    // The first of value 0 is a run already; the second sample gives the step, 10.
    check_tokens(&[(5, 0.0), (15, 0.0), (25, 0.0)], &[0xc0, 10, 0xc1]);
    check_tokens(&[(0, 1.0), (10, 2.0), (20, 2.0), (30, 2.0), (40, 1.0)], &[2, 10, 2, 0xc1, 1]);
    // Numbers of one, two, three and more bytes.
    check_tokens(&[(0, 95.0), (10, 191.0)], &[190, 10, 0xe0, 0]);
    check_tokens(&[(0, -2144.0), (10, 0.0)], &[0xef, 0xff, 10, 0xf0, 0, 0]);
    check_tokens(&[(0, 300_000.0)], &[0xf8, 0xc0, 0xcf, 0x24]);
    // Decimals raise the exponent once.
    check_tokens(&[(0, 1.0), (10, 1.5), (20, 1.25)], &[2, 10, 0xfb, 1, 10, 0xfb, 2, 49]);
    // A staleness marker, and back to the same number.
    check_tokens(&[(0, 3.0), (10, stale_nan()), (20, 3.0)], &[6, 10, 0xf9, 0]);
    check_tokens(&[(0, 3.0), (10, f64::INFINITY)], &[6, 10, 0xfa, 0, 0, 0, 0, 0, 0, 0xf0, 0x7f]);
    // Late by 3, late by 3 again: the step becomes 13.
    check_tokens(
        &[(0, 1.0), (10, 1.0), (23, 1.0), (36, 1.0), (49, 1.0)],
        &[2, 10, 0xc0, 0xfc, 6, 0xc0, 0xfd, 13, 0xc1],
    );
}

#[test]
#[allow(clippy::unusual_byte_groupings)] // by fields
fn golden_bits() {
    // 1/3 = 3fd5…: two leading zeros, 62 bits; the second sample's step, 10, in four bits; then the value again.
    check_tokens(
        &[(0, 1.0 / 3.0), (10, 1.0 / 3.0), (20, 1.0 / 3.0)],
        &[
            0xfe,
            0b110_00010,
            0b111101_11,
            0xfd,
            0x55,
            0x55,
            0x55,
            0x55,
            0x55,
            0x55,
            0b0101_1111,
            0b000011_10,
            0b10_0_0_0000,
        ],
    );
}

#[test]
fn golden_chunk() {
    let grown = Grown::of(&[5, 15, 25], &[1.0, 2.0, 2.0]);
    let mut chunk = vec![];
    grown.chunk.to_chunk(&grown.bytes, &mut chunk);
    assert_eq!(chunk, [1, 1, 3, 0, 5, 10, 2, 10, 2, 0xc0, 43, 11, 224, 195]);
    // Times beside the tokens.
    chunk[3] = 1;
    assert_eq!(decode(&chunk, &NothingShared, &mut Samples::new()), Err(TIMES_OF_ITS_OWN));
}

#[test]
fn a_run_ends_at_32() {
    let t: Vec<i64> = (0..70).map(|i| i * 15_000).collect();
    let grown = Grown::of(&t, &[7.0; 70]);
    assert_eq!(grown.tokens(), [14, 0x98, 0x75, 0xdf, 0xdf, 0xc4]);
}

#[test]
fn many_digits_change_the_form_and_few_do_not() {
    let bit_form = |values: &[f64]| {
        let t: Vec<i64> = (0..values.len() as i64).collect();
        matches!(Grown::of(&t, values).chunk.form, Form::Bits { .. })
    };
    assert!(bit_form(&[1.0 / 3.0]));
    assert!(!bit_form(&[1.0, 1.0 / 3.0, 2.0, 3.0]));
    assert!(bit_form(&[1.0, 1.0 / 3.0, 1.0 / 7.0]));
    assert!(!bit_form(&[f64::NAN, f64::INFINITY, -0.0, f64::NEG_INFINITY, 1.0]));
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let check = |first: f64, (t, v): (i64, f64), len: usize, want| {
        let mut grown = Grown::start(10, first);
        grown.bytes.resize(100, 0);
        let before = (grown.chunk, grown.bytes.clone());
        assert_eq!(grown.chunk.append(&mut grown.bytes[..len], TimestampMs(t), v), want, "{t} {v} {len}");
        if want == Append::Full {
            assert_eq!((grown.chunk, grown.bytes), before);
        }
    };
    check(1.0, (10, 2.0), 100, Append::Full);
    check(1.0, (9, 2.0), 100, Append::Full);
    // One byte of step, one of number.
    check(1.0, (11, 2.0), 3, Append::Done);
    check(1.0, (11, 2.0), 2, Append::Full);
    check(1.0, (11, 2.0), 0, Append::Full);
    // 14 bits of time and one of value, after eleven bytes the last of which is half full.
    check(1.0 / 3.0, (18, 1.0 / 3.0), 13, Append::Done);
    check(1.0 / 3.0, (18, 1.0 / 3.0), 12, Append::Full);
    check(1.0 / 3.0, (18, 1.0 / 3.0), 10, Append::Full);
}

#[test]
fn a_chunk_ends_at_the_greatest_count() {
    let mut grown = Grown::start(0, 1.0);
    for t in 1..SAMPLES_MAX as i64 {
        grown.append(t, 1.0);
    }
    grown.bytes.resize(grown.bytes.len() + TOKEN_BYTES_MAX, 0);
    let t = TimestampMs(SAMPLES_MAX as i64);
    assert_eq!(grown.chunk.append(&mut grown.bytes, t, 1.0), Append::Full);
    assert_eq!(grown.reopened().chunk, grown.chunk);
}

#[test]
fn what_no_writer_makes_is_refused() {
    let check = |tokens: &[u8], count, want: &str| {
        let e = replay::replay(0, tokens, count, |_, _| {}).unwrap_err().to_string();
        assert!(e.contains(want), "{e}");
    };
    check(&[], 1, "cut off");
    check(&[2, 2], 1, "follow");
    check(&[0xc1], 1, "run");
    check(&[0xff], 1, "known form");
    check(&[0xfc, 2, 2], 1, "known form");
    check(&[2, 10, 0xfc, 2, 2], 2, "known form");
    check(&[2, 0, 2], 2, "ascend");
    check(&[2, 10, 2, 0xfc, 99, 2], 3, "ascend");
    check(&[2, 10, 0xfb, 7], 2, "exponent");
    check(&[0xfb, 0, 2], 1, "exponent");
    check(&[0xfe, 0b1000_0000], 1, "window");
    check(&[0xfe, 0b1110_0000, 0], 1, "two times");
    check(&[0xfe, 0b0000_0001], 1, "follow");
}

proptest! {
    #[test]
    fn round_trip((t, v) in (times(1..300), values(300..301))) {
        let want: Vec<(i64, u64)> = t.iter().zip(&v).map(|(&t, v)| (t, v.to_bits())).collect();
        let grown = Grown::of(&t, &v[..t.len()]);
        prop_assert_eq!(grown.chunk.count() as usize, t.len());
        prop_assert_eq!(grown.chunk.first_t().0, t[0]);
        prop_assert_eq!(grown.chunk.last_t().0, t[t.len() - 1]);
        prop_assert_eq!(grown.chunk.last_v().to_bits(), v[t.len() - 1].to_bits());
        let mut out = Samples::new();
        grown.chunk.decode(&grown.bytes, &mut out).unwrap();
        prop_assert_eq!(bits(&out), want.clone());
        let mut stored = vec![];
        grown.chunk.to_chunk(&grown.bytes, &mut stored);
        out.clear();
        decode(&stored, &NothingShared, &mut out).unwrap();
        prop_assert_eq!(bits(&out), want);
    }

    #[test]
    fn a_reopened_chunk_goes_on_as_if_nothing_had_been((t, v) in (times(2..120), values(120..121)), cut in 1usize..119) {
        let cut = cut.min(t.len() - 1);
        let mut interrupted = Grown::of(&t[..cut], &v[..cut]).reopened();
        for (&t, &v) in t.iter().zip(&v).skip(cut) {
            interrupted.append(t, v);
        }
        let whole = Grown::of(&t, &v[..t.len()]);
        prop_assert_eq!(interrupted.chunk, whole.chunk);
        prop_assert_eq!(interrupted.tokens(), whole.tokens());
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(tokens: Vec<u8>, count in 1usize..500, t: i64, form in 0u8..3) {
        let tokens = [[[0xfe].as_slice(), &[2, 10, 0xfe], &[]][usize::from(form)], &tokens[..]].concat();
        let mut samples = Samples::new();
        if let Ok(mut chunk) = replay::replay(t, &tokens, count, |t, v| samples.push(t, v)) {
            prop_assert_eq!(samples.len(), count);
            let mut bytes = [&tokens[..], &[0; TOKEN_BYTES_MAX]].concat();
            let _ = chunk.append(&mut bytes, TimestampMs(t.saturating_add(1000)), 0.5);
        }
    }
}

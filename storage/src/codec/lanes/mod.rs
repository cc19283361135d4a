//! The hot loops of decoding integers: unpacking, running sums, conversion to doubles. Each has two forms that do the same:
//! plain Rust ([`scalar`]), and AVX2 ([`v3`]) where the processor has it. Which one runs is decided at each call, for some
//! hundred numbers at a time.

mod cast;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod v3;

pub(super) use cast::as_ints;

/// Fewer numbers are not worth the other form.
const NUMBERS_MIN: usize = 8;

/// Does `$name` to `$n` numbers in the best form that the processor has.
macro_rules! best {
    ($n:expr, $name:ident($($arg:expr),*)) => {{
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = v3::V3::detect().filter(|_| $n >= NUMBERS_MIN) {
            return v3.$name($($arg),*);
        }
        scalar::$name($($arg),*)
    }};
}

/// A loop in plain Rust that gains from being compiled for more than the least processor.
pub(super) trait Loop {
    /// Runs it. It is compiled twice only where this and all that it calls is `#[inline(always)]`.
    fn run(self);
}

/// Runs a loop as the processor does it best.
pub(super) fn run(work: impl Loop) {
    #[cfg(target_arch = "x86_64")]
    if let Some(v3) = v3::V3::detect() {
        return v3.run(work);
    }
    work.run();
}

/// Reads numbers `first..` of a column packed in `width` bits, 1 to 56 or 64, into `out`, adding `base` to each. Bits beyond
/// the end of `packed` read as zero.
pub(super) fn unpack(packed: &[u8], width: u32, base: i64, first: usize, out: &mut [i64]) {
    best!(out.len(), unpack(packed, width, base, first, out))
}

/// Replaces each number by the sum of all up to it and `last`, which becomes the last sum.
pub(super) fn sum_up(last: &mut i64, numbers: &mut [i64]) {
    best!(numbers.len(), sum_up(last, numbers))
}

/// Replaces integers, which stand in the bits of `values` ([`as_ints`]), by the nearest doubles divided by `divisor`.
pub(super) fn quotients(values: &mut [f64], divisor: f64) {
    best!(values.len(), quotients(values, divisor))
}

/// Replaces integers, which stand in the bits of `values` ([`as_ints`]), by the nearest doubles times `factor`.
pub(super) fn products(values: &mut [f64], factor: f64) {
    best!(values.len(), products(values, factor))
}

/// More values than a run's own that must stand behind those given to [`spread`].
pub(super) const SPREAD_ROOM: usize = 16;

/// Fills `values` with the values of runs, of which the first is in use at the first place; bit i of `changes` says that place
/// i + 1 goes on to the next one. There must be as many `runs` as changes and one, and [`SPREAD_ROOM`] doubles behind them;
/// where there are fewer the rest stays as it is.
pub(super) fn spread(runs: &[f64], changes: &[u64], values: &mut [f64]) {
    best!(values.len(), spread(runs, changes, values))
}

#[cfg(test)]
mod tests;

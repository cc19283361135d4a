//! What a count or a sum is kept as: the number alone, or with what rounding has cost it.

use crate::eval::kahan::Kahan;

/// A number that others are added to.
pub trait Tally: Copy + Default {
    /// Adds `v`.
    fn add(&mut self, v: f64);

    /// The number, and what to add to it.
    fn parts(&self) -> (f64, f64);

    /// Adds another one, with the sign of `sign`.
    fn add_all(&mut self, other: &impl Tally, sign: f64) {
        let (sum, compensation) = other.parts();
        self.add(sign * sum);
        if compensation != 0.0 {
            self.add(sign * compensation);
        }
    }

    /// Whether it is nothing.
    fn is_zero(&self) -> bool {
        self.parts() == (0.0, 0.0)
    }
}

impl Tally for f64 {
    fn add(&mut self, v: f64) {
        *self += v;
    }

    fn parts(&self) -> (f64, f64) {
        (*self, 0.0)
    }
}

impl Tally for Kahan {
    fn add(&mut self, v: f64) {
        Kahan::add(self, v);
    }

    fn parts(&self) -> (f64, f64) {
        (self.sum, self.compensation)
    }
}

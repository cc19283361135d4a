//! What is kept of that which was not synced: drawn from a seed.

/// A seeded sequence of numbers (splitmix64: Steele, Lea, Flood 2014).
#[derive(Clone, Copy)]
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `n`, which is positive.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Decides what survives. Seed 0 keeps nothing, seed 1 everything; each other seed draws first how much is kept on
/// average, then every piece by itself.
#[derive(Clone, Copy)]
pub(super) struct Survival {
    draws: Draws,
    kept_of_eight: u64,
}

impl Survival {
    pub(super) fn new(seed: u64) -> Self {
        let mut draws = Draws::new(seed);
        let kept_of_eight = match seed {
            0 => 0,
            1 => 8,
            _ => [1, 4, 7][draws.below(3)],
        };
        Self { draws, kept_of_eight }
    }

    /// Whether the next change survives.
    pub(super) fn keeps(&mut self) -> bool {
        self.draws.next() % 8 < self.kept_of_eight
    }

    /// How much of the next `len` bytes, from their start, survives: mostly all or nothing, sometimes a part.
    pub(super) fn kept_len(&mut self, len: usize) -> usize {
        if !self.keeps() {
            return 0;
        }
        let torn = self.kept_of_eight < 8 && self.draws.below(8) == 0;
        if torn { self.draws.below(len + 1) } else { len }
    }
}

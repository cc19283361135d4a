//! The hash of label sections, with what depends on the seed alone computed once.
//!
//! xxh3 derives a secret of 192 bytes from a seed anew for every input beyond 240 bytes, which label sections often are;
//! that takes a third of such a hash.

use cardinal_storage::model::{Fingerprint, HashSeed};
use std::fmt;
use xxhash_rust::const_xxh3::const_custom_default_secret;
use xxhash_rust::xxh3::xxh3_128_with_secret;

/// Inputs up to this length are hashed with the seed itself, longer ones with the secret made of it.
const SEEDED_LEN_MAX: usize = 240;

/// Hashes sections as [`Fingerprint::of_section`] does.
#[derive(Clone)]
pub(crate) struct SectionHash {
    seed: HashSeed,
    secret: [u8; 192],
}

impl SectionHash {
    pub(crate) fn new(seed: HashSeed) -> Self {
        Self { seed, secret: const_custom_default_secret(seed.0) }
    }

    #[inline]
    pub(crate) fn of(&self, section: &[u8]) -> Fingerprint {
        match section.len() {
            0..=SEEDED_LEN_MAX => Fingerprint::of_section(section, self.seed),
            _ => Fingerprint(xxh3_128_with_secret(section, &self.secret)),
        }
    }
}

impl fmt::Debug for SectionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SectionHash({:?})", self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_fingerprints_hash(
            seed in prop_oneof![Just(0), any::<u64>()],
            section in proptest::collection::vec(any::<u8>(), 0..2000),
            len in 236..245usize,
        ) {
            let hash = SectionHash::new(HashSeed(seed));
            let near = &section[..len.min(section.len())];
            for section in [&section[..], near] {
                prop_assert_eq!(hash.of(section), Fingerprint::of_section(section, HashSeed(seed)));
            }
        }
    }
}

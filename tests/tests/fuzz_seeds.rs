//! Kept inputs of the fuzz targets, and a few thousand mutations of them: none panics.

use cardinal_tests::fuzz::{TARGETS, mutate};
use std::path::Path;

#[test]
fn every_kept_input_is_survived() {
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target.name);
        let kept = std::fs::read_dir(&folder).into_iter().flatten();
        let kept = kept.map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        (target.seeds)().into_iter().chain(kept).for_each(|input| (target.run)(&input));
    }
}

#[test]
fn mutations_of_seeds_are_survived() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        for n in 0..100 {
            let mut input = seeds[n as usize % seeds.len()].clone();
            mutate(&mut input, n);
            (target.run)(&input);
        }
    }
}

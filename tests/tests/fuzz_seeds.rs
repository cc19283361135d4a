//! Kept inputs of the fuzz targets, and mutations of each: none panics.

use cardinal_tests::fuzz::{TARGETS, Target, inputs, mutate};
use cardinal_tests::parallel;

/// Mutations of each input. Those of targets with a small share take long.
fn mutations(target: &Target) -> u64 {
    if target.share < 10 { 100 } else { 400 }
}

#[test]
fn every_kept_input_is_survived() {
    for target in TARGETS {
        inputs(target).iter().for_each(|input| (target.run)(input));
    }
}

#[test]
fn mutations_of_every_input_are_survived() {
    parallel::map(TARGETS, |target| {
        let inputs = inputs(target);
        for (which, input) in inputs.iter().enumerate() {
            for n in 0..mutations(target) {
                let mut input = input.clone();
                mutate(&mut input, &inputs[n as usize % inputs.len()], (which as u64) << 32 | n);
                if std::panic::catch_unwind(|| (target.run)(&input)).is_err() {
                    panic!("{}: mutation {n} of input {which} panics: {input:?}", target.name);
                }
            }
        }
    });
}

#[test]
fn every_target_has_kept_inputs_of_its_writer() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    for target in TARGETS {
        let kept = std::fs::metadata(folder.join(target.name).join("made-0"));
        let is_there = kept.is_ok_and(|m| (1..100_000).contains(&m.len()));
        assert!(is_there, "{}: `fuzz/run seeds` writes them", target.name);
    }
}

#[test]
fn libfuzzer_knows_every_target() {
    let manifest = include_str!("../../fuzz/Cargo.toml");
    let named: Vec<&str> =
        manifest.lines().filter_map(|l| l.strip_prefix("path = \"fuzz_targets/")).collect();
    let wanted: Vec<String> = TARGETS.iter().map(|t| format!("{}.rs\"", t.name)).collect();
    assert_eq!(named, wanted);
}

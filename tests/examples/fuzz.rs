//! Fuzzing with any toolchain: `cargo run --release -p cardinal-tests --example fuzz -- RUNS [TARGET] [SEED]`.
//!
//! Mutates the seeds and the kept inputs of each target, RUNS times in all (100000000 for a long night). An input that panics is
//! written to `fuzz/seeds/TARGET/`, where the ordinary tests replay it from then on.

use cardinal_tests::fuzz::{TARGETS, Target, mutate};
use std::path::{Path, PathBuf};

fn main() {
    let mut args = std::env::args().skip(1);
    let runs: u64 =
        args.next().and_then(|n| n.parse().ok()).expect("how many runs: fuzz RUNS [TARGET] [SEED]");
    let wanted = args.next().filter(|name| name != "all");
    let first: u64 = args.next().map_or(0, |n| n.parse().expect("a seed is a number"));
    let targets: Vec<&Target> =
        TARGETS.iter().filter(|t| wanted.as_ref().is_none_or(|w| w == t.name)).collect();
    let names: Vec<&str> = TARGETS.iter().map(|t| t.name).collect();
    assert!(!targets.is_empty(), "the targets are {names:?}");
    let each = runs.div_ceil(targets.len() as u64);
    std::panic::set_hook(Box::new(|_| {}));
    let mut found = 0;
    for target in targets {
        found += fuzz(target, first, each);
    }
    std::process::exit(i32::from(found > 0));
}

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target.name)
}

/// How many inputs panicked; it ends with the tenth.
fn fuzz(target: &Target, first: u64, runs: u64) -> u64 {
    let kept = std::fs::read_dir(folder(target)).into_iter().flatten().flatten();
    let mut seeds = (target.seeds)();
    seeds.extend(kept.filter_map(|entry| std::fs::read(entry.path()).ok()));
    let mut found = 0;
    let mut input = Vec::new();
    for n in 0..runs {
        let seed = first.wrapping_add(n);
        input.clone_from(&seeds[n as usize % seeds.len()]);
        mutate(&mut input, seed);
        if std::panic::catch_unwind(|| (target.run)(&input)).is_err() {
            found += 1;
            let path = folder(target).join(format!("crash-{seed:x}"));
            println!("{}: seed {seed} panics, kept as {}", target.name, path.display());
            std::fs::create_dir_all(folder(target)).expect("the folder of kept inputs");
            std::fs::write(&path, &input).expect("the input is kept");
            if found == 10 {
                break;
            }
        }
    }
    println!("{}: {runs} runs from seed {first}, {found} panics", target.name);
    found
}

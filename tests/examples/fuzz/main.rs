//! Fuzzing with any toolchain. `fuzz/run` builds and starts it; `fuzz/README.md` says how and what for.
//!
//! ```text
//! fuzz RUNS [--corpus DIR] [TARGET...]     as many runs as are left of RUNS, a process for each core
//! fuzz seeds                               writes what the targets' writers make to fuzz/seeds
//! fuzz job TARGET FIRST RUNS DIR           one process's work: started by the first form
//! ```
//!
//! Run N of a target mutates one of its inputs as N says, so that N alone repeats it. Inputs are those of `fuzz/seeds` and what
//! the writers make. The first form hands out jobs of some thousand runs, notes each that is done in the corpus folder, and so
//! goes on where it was stopped. A job that panics, aborts, or does not end leaves its input in `fuzz/seeds/TARGET/`, where the
//! ordinary tests replay it from then on.

mod job;
mod jobs;

use cardinal_tests::fuzz::{TARGETS, Target, target};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: fuzz RUNS [--corpus DIR] [TARGET...] | fuzz seeds";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args[..] {
        ["seeds"] => write_seeds(),
        ["job", target, first, runs, dir] => job::run(target, first, runs, Path::new(dir)),
        [runs, ref rest @ ..] => all(runs, rest),
        [] => Err(USAGE.into()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("fuzz: {error}");
        ExitCode::from(2)
    })
}

type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

/// The folder of a target's kept inputs.
fn kept(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target.name)
}

fn all(runs: &str, rest: &[&str]) -> Outcome {
    let runs = runs.parse().map_err(|_| USAGE)?;
    let (corpus, names) = match rest {
        ["--corpus", dir, names @ ..] => (PathBuf::from(dir), names),
        names => (Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus"), names),
    };
    let known: Vec<&str> = TARGETS.iter().map(|t| t.name).collect();
    let named = |name: &&str| target(name).ok_or_else(|| format!("{name} is none of the targets {known:?}"));
    let targets: Vec<&Target> = match names {
        [] => TARGETS.iter().collect(),
        names => names.iter().map(named).collect::<Result<_, _>>()?,
    };
    let found = jobs::run_all(&targets, runs, &corpus)?;
    Ok(ExitCode::from(u8::from(found > 0)))
}

fn write_seeds() -> Outcome {
    for target in TARGETS {
        let folder = kept(target);
        std::fs::create_dir_all(&folder)?;
        for (n, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("made-{n}")), seed)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! One process's work: some thousand runs of one target.

use super::{Outcome, kept};
use cardinal_tests::fuzz::{Target, inputs, mutate, target};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;

/// The exit code of a job in which a run panicked.
pub(super) const PANICKED: u8 = 3;

/// The file in which a job tells the number of the run that it is at: what is left of it when the run ends the process.
pub(super) fn place(dir: &Path, first: u64) -> std::path::PathBuf {
    dir.join(format!("at-{first:x}"))
}

pub(super) fn run(name: &str, first: &str, runs: &str, dir: &Path) -> Outcome {
    let (first, runs): (u64, u64) = (first.parse()?, runs.parse()?);
    let target = target(name).ok_or("no such target")?;
    std::panic::set_hook(Box::new(|_| {}));
    let seeds = inputs(target);
    let at = File::options().create(true).write(true).truncate(true).open(place(dir, first))?;
    let mut found = false;
    for number in first..first + runs {
        at.write_all_at(&number.to_le_bytes(), 0)?;
        let input = input(&seeds, number);
        if std::panic::catch_unwind(|| (target.run)(&input)).is_err() {
            keep(target, "panic", number, &input)?;
            found = true;
        }
    }
    Ok(if found { ExitCode::from(PANICKED) } else { ExitCode::SUCCESS })
}

/// The input of a run.
pub(super) fn input(seeds: &[Vec<u8>], number: u64) -> Vec<u8> {
    let of = |n: u64| &seeds[(n % seeds.len() as u64) as usize];
    let mut input = of(number).clone();
    mutate(&mut input, of(number / seeds.len() as u64), number);
    input
}

/// Keeps an input that a target did not survive, for the ordinary tests to replay.
pub(super) fn keep(target: &Target, what: &str, number: u64, input: &[u8]) -> std::io::Result<()> {
    let path = kept(target).join(format!("{what}-{number:x}"));
    println!("{}: run {number}: {what}, kept as {}", target.name, path.display());
    std::fs::create_dir_all(kept(target))?;
    std::fs::write(path, input)
}

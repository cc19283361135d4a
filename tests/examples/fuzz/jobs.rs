//! Hands out jobs to a process for each core, and keeps account of those that are done.

use super::job;
use cardinal_tests::fuzz::{Target, inputs};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The runs of one job, for each part of its target's share: half a second or so.
const JOB_RUNS: u64 = 2_000;
/// A run that takes longer does not end.
const RUN_MAX: Duration = Duration::from_secs(60);
/// How often progress is printed.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// With so many findings there is enough to mend.
const FINDINGS_MAX: u64 = 20;

/// Some runs of one target.
#[derive(Clone, Copy)]
struct Job<'a> {
    target: &'a Target,
    first: u64,
    runs: u64,
}

/// What all processes have done.
struct Account<'a> {
    left: Vec<Job<'a>>,
    runs: u64,
    found: u64,
    reported: Instant,
}

/// Makes what is left of `runs` runs, spread over the targets by their shares; how many jobs found something.
pub(super) fn run_all(targets: &[&Target], runs: u64, corpus: &Path) -> std::io::Result<u64> {
    let mut left = Vec::new();
    let shares: u64 = targets.iter().map(|t| t.share).sum();
    for target in targets {
        let dir = corpus.join(target.name);
        std::fs::create_dir_all(&dir)?;
        let done = done(&dir)?;
        let job_runs = JOB_RUNS * target.share;
        let jobs = (runs * target.share).div_ceil(shares).div_ceil(job_runs);
        let firsts = (0..jobs).map(|n| n * job_runs).filter(|first| !done.contains(first));
        left.extend(firsts.map(|first| Job { target, first, runs: job_runs }));
    }
    // All targets advance together: what is interrupted has looked at each.
    left.sort_by_key(|job| std::cmp::Reverse(job.first / job.target.share));
    let began = Instant::now();
    println!("{} runs in {} jobs are left of {runs}", left.iter().map(|j| j.runs).sum::<u64>(), left.len());
    let account = Mutex::new(Account { left, runs: 0, found: 0, reported: began });
    let processes = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..processes).map(|_| scope.spawn(|| work(&account, corpus, began))).collect();
        workers.into_iter().try_for_each(|w| w.join().expect("a worker does not panic"))
    })?;
    let account = account.into_inner().expect("no worker panicked");
    account.report(began);
    Ok(account.found)
}

impl Account<'_> {
    fn report(&self, began: Instant) {
        let seconds = began.elapsed().as_secs_f64();
        let rate = self.runs as f64 / seconds.max(1e-9);
        let (runs, found, left) = (self.runs, self.found, self.left.len());
        println!(
            "{runs} runs in {seconds:.0} s, {rate:.0} a second; {found} jobs with findings, {left} jobs left"
        );
    }
}

fn work(account: &Mutex<Account<'_>>, corpus: &Path, began: Instant) -> std::io::Result<()> {
    loop {
        let next = {
            let mut account = account.lock().expect("no worker panics");
            if account.found >= FINDINGS_MAX { None } else { account.left.pop() }
        };
        let Some(job) = next else { return Ok(()) };
        let dir = corpus.join(job.target.name);
        let is_sound = carry_out(&job, &dir)?;
        note_done(&dir, job.first)?;
        let mut account = account.lock().expect("no worker panics");
        account.runs += job.runs;
        account.found += u64::from(!is_sound);
        if account.reported.elapsed() > REPORT_EVERY {
            account.reported = Instant::now();
            account.report(began);
        }
    }
}

/// Whether nothing was found. Where a run ends the process, the rest of the job is made by another one.
fn carry_out(job: &Job<'_>, dir: &Path) -> std::io::Result<bool> {
    let (mut first, end) = (job.first, job.first + job.runs);
    let mut is_sound = true;
    while first < end {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["job", job.target.name, &first.to_string(), &(end - first).to_string()]).arg(dir);
        let place = job::place(dir, first);
        let ended = wait(command.spawn()?, &place)?;
        let at = std::fs::read(&place).unwrap_or_default();
        std::fs::remove_file(&place).ok();
        match ended {
            Some(0) => return Ok(is_sound),
            Some(code) if code == i32::from(job::PANICKED) => return Ok(false),
            other => {
                let number = at.first_chunk().map(|n| u64::from_le_bytes(*n)).ok_or_else(|| {
                    std::io::Error::other(format!("a job of {} ended with {other:?}", job.target.name))
                })?;
                let what = if other == Some(HANGING) { "hang" } else { "abort" };
                job::keep(job.target, what, number, &job::input(&inputs(job.target), number))?;
                (first, is_sound) = (number + 1, false);
            }
        }
    }
    Ok(is_sound)
}

/// What stands for the exit code of a process that was ended since a run did not end.
const HANGING: i32 = -1;

/// Waits for a process; none where a signal ended it.
fn wait(mut child: Child, place: &Path) -> std::io::Result<Option<i32>> {
    let (mut before, mut since) = (Vec::new(), Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        let at = std::fs::read(place).unwrap_or_default();
        if at != before {
            (before, since) = (at, Instant::now());
        } else if since.elapsed() > RUN_MAX {
            child.kill()?;
            child.wait()?;
            return Ok(Some(HANGING));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn done_file(dir: &Path) -> PathBuf {
    dir.join("done")
}

/// The first runs of the jobs that are done.
fn done(dir: &Path) -> std::io::Result<BTreeSet<u64>> {
    match std::fs::read_to_string(done_file(dir)) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

fn note_done(dir: &Path, first: u64) -> std::io::Result<()> {
    let mut file = std::fs::File::options().create(true).append(true).open(done_file(dir))?;
    file.write_all(format!("{first}\n").as_bytes())
}

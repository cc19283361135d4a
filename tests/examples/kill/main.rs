//! Kills a real server again and again, and looks whether anything that it acknowledged is missing afterwards.
//!
//! Started by `tests/kill/run`:
//!
//! ```text
//! kill ROUNDS PATH_OF_CARDINAL [SEED]
//! ```
//!
//! A round: start; every series is asked for, all of it, and compared with what was acknowledged; several senders write, each
//! series by one of them; the process is killed at a random moment, in some rounds stopped (SIGSTOP) first, in some while a
//! merge runs. The budget is small and the windows are short, so that cuts and merges are always under way. Every second server
//! postpones its syncs: a killed process loses nothing then either.

mod ledger;
mod server;

use cardinal_tests::draws::Draws;
use ledger::Ledger;
use server::Server;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Senders, each with series of its own.
const SENDERS: u64 = 4;
/// How long a round writes at most.
const WRITING_MS: u64 = 900;
/// How long a sender rests between requests.
const PAUSE: Duration = Duration::from_millis(4);
/// A merge is asked for in one of so many rounds, and the process stopped before it is killed in one of so many others.
const MERGE_EVERY: u64 = 3;
const STOP_EVERY: u64 = 4;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [rounds, cardinal] => run(rounds, cardinal, "1").await,
        [rounds, cardinal, seed] => run(rounds, cardinal, seed).await,
        _ => Err("usage: kill ROUNDS PATH_OF_CARDINAL [SEED]".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(rounds: &str, cardinal: &str, seed: &str) -> Result<(), Failure> {
    let (rounds, seed): (u64, u64) = (rounds.parse()?, seed.parse()?);
    let mut draws = Draws::new(seed);
    let directory = tempfile::tempdir()?;
    let ledgers: Vec<_> =
        (0..SENDERS).map(|sender| Arc::new(Mutex::new(Ledger::new(sender, seed)))).collect();
    let mut totals = Totals::default();
    for round in 0..rounds {
        let mut server = Server::start(Path::new(cardinal), directory.path(), round % 2 == 1).await?;
        totals.missing += look(&server, &ledgers).await?;
        let is_over = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> =
            ledgers.iter().map(|l| tokio::spawn(send(server.client(), l.clone(), is_over.clone()))).collect();
        tokio::time::sleep(Duration::from_millis(draws.below(WRITING_MS))).await;
        if draws.one_in(MERGE_EVERY) {
            tokio::spawn(server.client().compact());
            tokio::time::sleep(Duration::from_millis(draws.below(60))).await;
            totals.merging += 1;
        }
        if draws.one_in(STOP_EVERY) {
            server.stop()?;
            tokio::time::sleep(Duration::from_millis(draws.below(120))).await;
            totals.stopped += 1;
        }
        server.kill()?;
        is_over.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.await??;
        }
    }
    let server = Server::start(Path::new(cardinal), directory.path(), false).await?;
    totals.missing += look(&server, &ledgers).await?;
    totals.report(rounds, &ledgers, &server.numbers().await?)
}

/// What happened in all rounds.
#[derive(Default)]
struct Totals {
    missing: u64,
    stopped: u64,
    merging: u64,
}

impl Totals {
    fn report(&self, rounds: u64, ledgers: &[Arc<Mutex<Ledger>>], numbers: &str) -> Result<(), Failure> {
        let sum = |of: fn(&Ledger) -> u64| {
            ledgers.iter().map(|l| of(&l.lock().expect("no sender panicked"))).sum::<u64>()
        };
        let (acknowledged, late, doubtful) =
            (sum(Ledger::acknowledged), sum(Ledger::late), sum(Ledger::doubtful));
        let Self { missing, stopped, merging } = self;
        println!(
            "{rounds} kills ({stopped} of them of a stopped process, {merging} with a merge asked for): {acknowledged} samples acknowledged ({late} late), {doubtful} sent and not acknowledged, {missing} missing; {numbers}"
        );
        if *missing > 0 {
            return Err(format!("{missing} acknowledged samples are missing").into());
        }
        if acknowledged < rounds * 20 {
            return Err(format!("only {acknowledged} samples: too few to mean anything").into());
        }
        Ok(())
    }
}

/// Writes until the server is gone.
async fn send(
    client: server::Client,
    ledger: Arc<Mutex<Ledger>>,
    is_over: Arc<AtomicBool>,
) -> Result<(), Failure> {
    while !is_over.load(Ordering::Relaxed) {
        // All of it is asked for after each round: as much as a round's time is worth.
        tokio::time::sleep(PAUSE).await;
        let request = ledger.lock().map_err(|e| e.to_string())?.next();
        match client.write(request.body).await {
            Ok(status) => {
                let mut ledger = ledger.lock().map_err(|e| e.to_string())?;
                match status {
                    200..=299 => ledger.acknowledge(&request.samples),
                    // To be sent again, as a sender would; it is sent no more, and may be stored in part.
                    429 | 503 => ledger.doubt(&request.samples),
                    _ => return Err(format!("a write was answered with {status}").into()),
                }
            }
            Err(_) => ledger.lock().map_err(|e| e.to_string())?.doubt(&request.samples),
        }
    }
    Ok(())
}

/// How many acknowledged samples are missing; tells the first of each sender.
async fn look(server: &Server, ledgers: &[Arc<Mutex<Ledger>>]) -> Result<u64, Failure> {
    let mut missing = 0;
    for ledger in ledgers {
        let (selector, range) = {
            let ledger = ledger.lock().map_err(|e| e.to_string())?;
            (ledger.selector(), ledger.range())
        };
        let Some((end, seconds)) = range else { continue };
        let found = server.client().samples(&selector, end, seconds).await?;
        missing += ledger.lock().map_err(|e| e.to_string())?.check(&found)?;
    }
    Ok(missing)
}

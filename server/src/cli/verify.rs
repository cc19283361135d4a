//! `cardinal verify`: is a data directory sound? And with `--repair`, mend it.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use cardinal_storage::database::{Finding, Progress, Repair, Verification, repair, verify};
use cardinal_storage::io::{Fs, RealFs};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  cardinal verify                                    is everything in ./data sound?
  cardinal verify --data-dir /var/lib/cardinal --json
  cardinal verify --repair                           move what is damaged to quarantine/, keep the rest

Without --repair nothing is written, and a server may be running. With --repair the server must be stopped. Damaged blocks
are written anew with what can be read of them; what is replaced stays in quarantine/ until you remove it.

Exit codes: 0 everything is sound (after a repair: now); 1 damage was found (after a repair: is left); 2 it could not be checked.";

/// Check every checksum, offset, order and reference of a data directory
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct VerifyArgs {
    /// The data directory [default: as `cardinal config` says]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Move what is damaged to quarantine/ and keep the rest. The server must be stopped
    #[arg(long)]
    repair: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const SOUND: u8 = 0;
const DAMAGED: u8 = 1;
const NOT_CHECKED: u8 = 2;

pub(super) fn run(args: &VerifyArgs) -> ExitCode {
    match outcome(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("cardinal: {}", super::exit::explanation(&error));
            ExitCode::from(NOT_CHECKED)
        }
    }
}

fn outcome(args: &VerifyArgs) -> anyhow::Result<u8> {
    let directory = match &args.data_dir {
        Some(directory) => directory.clone(),
        None => super::inspect::configured()?,
    };
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    let bar = bar();
    let mut show = |p: Progress| {
        bar.set_length(p.total);
        bar.set_position(p.done);
        bar.set_message(p.next);
    };
    if !args.repair {
        let found = verify(&fs, &directory, &mut show)?;
        bar.finish_and_clear();
        print(args.json, &found, &Repair::default());
        return Ok(if found.is_sound() { SOUND } else { DAMAGED });
    }
    let repaired = repair(&fs, &directory, &mut show)?;
    bar.finish_and_clear();
    if !args.json {
        repaired.before.findings.iter().for_each(|f| println!("was damaged: {}", text(f)));
    }
    print(args.json, &repaired.after, &repaired);
    Ok(if repaired.after.is_sound() { SOUND } else { DAMAGED })
}

/// On standard error, and only where somebody looks.
fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {eta} {wide_msg}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn text(finding: &Finding) -> String {
    let times = if finding.times > 1 { format!(" ({} times)", finding.times) } else { String::new() };
    format!("{}: {}{times}", finding.part, finding.what)
}

fn print(json: bool, found: &Verification, repair: &Repair) {
    if json {
        println!("{}", value(found, repair));
        return;
    }
    repair.done.iter().for_each(|d| println!("done: {d}"));
    repair.warnings.iter().for_each(|w| println!("WARNING: {w}"));
    found.findings.iter().for_each(|f| println!("damaged: {}", text(f)));
    let listed = found.findings.iter().map(|f| f.times).sum::<u64>();
    if found.damaged > listed {
        println!("and {} more", found.damaged - listed);
    }
    println!(
        "checked {} deletions, {} blocks ({} series, {} chunks, {} samples), {} series and {} chunks of the head, {} batches of the log: {}",
        found.deletions,
        found.blocks,
        found.counts.series,
        found.counts.chunks,
        found.counts.samples,
        found.head_series,
        found.head_chunks,
        found.wal_batches,
        if found.is_sound() { "sound" } else { "damaged" },
    );
}

fn value(found: &Verification, repair: &Repair) -> Value {
    json!({
        "sound": found.is_sound(),
        "damaged": found.damaged,
        "findings": found.findings.iter().map(|f| json!({"part": f.part.to_string(), "what": f.what, "times": f.times})).collect::<Vec<_>>(),
        "repaired": repair.done,
        "warnings": repair.warnings,
        "deletions": found.deletions,
        "blocks": found.blocks,
        "series": found.counts.series,
        "chunks": found.counts.chunks,
        "samples": found.counts.samples,
        "headSeries": found.head_series,
        "headChunks": found.head_chunks,
        "logBatches": found.wal_batches,
    })
}

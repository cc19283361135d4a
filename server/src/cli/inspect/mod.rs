//! `cardinal inspect`: what is in a data directory. Never writes; works beside a running server or without one.

mod block;
mod directory;
mod series;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::exit::Failure;
use super::report::Report;
use crate::config::{Sources, resolve};
use cardinal_storage::io::{Fs, RealFs};

const EXAMPLES: &str = "\
Examples:
  cardinal inspect                                   ./data at a glance
  cardinal inspect --data-dir /var/lib/cardinal --json
  cardinal inspect block 1a                          what one block is made of
  cardinal inspect series 'up{job=\"node\"}'           series with their samples and chunks

It never writes. Beside a running server it may have to be tried again, since files come and go. What cannot be read
is listed at the end, and the exit code is then 1.";

/// Look into a data directory without a server, or beside one
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = false)]
pub(super) struct InspectArgs {
    /// The data directory [default: as `cardinal config` says]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// Print JSON: bytes and milliseconds instead of units
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// One block: sections and sizes, encodings, label names, heaviest metrics and accounts
    #[command(after_help = EXAMPLES)]
    Block {
        /// The block's id, as `cardinal inspect` lists it
        id: String,
    },
    /// Series with their samples and chunks. Loads the newest data into memory, as a restart does
    #[command(after_help = EXAMPLES)]
    Series {
        /// A selector, such as `up{job="node"}`
        selector: String,
        /// Most series that are listed
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

pub(super) fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let directory = match &args.data_dir {
        Some(directory) => directory.clone(),
        None => configured()?,
    };
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    anyhow::ensure!(fs.exists(&directory)?, "{}: there is no such directory", directory.display());
    let mut report = match &args.what {
        None => directory::report(&*fs, &directory)?,
        Some(What::Block { id }) => block::report(&*fs, &directory, id)?,
        Some(What::Series { selector, limit }) => series::report(fs, &directory, selector, *limit)?,
    };
    report.print(args.json)?;
    if report.problems.is_empty() { Ok(()) } else { Err(Failure.into()) }
}

/// The directory that a server started here would use.
pub(super) fn configured() -> anyhow::Result<PathBuf> {
    let flags = super::settings::SettingFlags::default();
    let environment = std::env::vars().collect();
    let resolved = resolve(&Sources { file: flags.file(), environment, flags: Vec::new() })?;
    Ok(resolved.config.data_dir)
}

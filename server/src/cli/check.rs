//! `cardinal check`: is a file right?

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::exit::{Failure, print, remark};
use crate::config::check_file;

const EXAMPLES: &str = "\
Examples:
  cardinal check config cardinal.yaml        prints every problem with line and column
  cardinal check config cardinal.yaml --json";

/// Check files before a server reads them
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A configuration file: unknown keys, values that make no sense
    #[command(after_help = EXAMPLES)]
    Config {
        /// The file
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let What::Config { file, json } = &args.what;
    let checked = check_file(file);
    if *json {
        let problems = checked.as_ref().err().map(|e| e.problems.as_slice()).unwrap_or_default();
        let problems: Vec<_> =
            problems.iter().map(|p| serde_json::json!({"place": p.place, "message": p.message})).collect();
        let answer = serde_json::json!({"valid": checked.is_ok(), "problems": problems});
        print(serde_json::to_string_pretty(&answer)?)?;
    } else {
        match &checked {
            Ok(settings) => {
                print(format_args!("{} is right: it sets {settings} of the settings", file.display()))?;
            }
            Err(error) => remark(error),
        }
    }
    Ok(checked.map(drop).map_err(|_| Failure)?)
}

//! The command line: what `cardinal` understands, and how its commands end.

mod check;
mod config;
mod deletions;
mod exit;
mod explanation;
mod inspect;
mod query;
mod report;
mod serve;
mod settings;
mod table;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::Failure;

const EXAMPLES: &str = "\
Examples:
  cardinal serve                                  start with ./data, on 127.0.0.1:9460
  cardinal serve --self-scrape 15s                the same, with its own metrics to ask for
  cardinal query 'count({__name__!=\"\"})'          ask a running server
  cardinal inspect                                what is in ./data
  cardinal config                                 what is set, and where
  cardinal check config cardinal.yaml             is this file right?
  cardinal verify                                 are the data of a stopped server sound?

Exit codes: 0 success; 1 the command failed; 2 the command line is wrong.";

/// A time-series database for platforms that tag every metric with an account.
///
/// Prometheus remote-writes into it, Grafana reads from it as from a Prometheus.
#[derive(Debug, Parser)]
#[command(name = "cardinal", version, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Query(query::QueryArgs),
    Delete(deletions::DeleteArgs),
    Undelete(deletions::UndeleteArgs),
    Deletions(deletions::DeletionsArgs),
    Inspect(inspect::InspectArgs),
    Config(config::ConfigArgs),
    Check(check::CheckArgs),
    Verify(verify::VerifyArgs),
}

/// Runs the command line `args`, program name first, and returns the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(usage) => return exit::usage(&usage),
    };
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Delete(args) => deletions::delete(&args),
        Command::Undelete(args) => deletions::undelete(&args),
        Command::Deletions(args) => deletions::deletions(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Verify(args) => return verify::run(&args),
    };
    exit::code(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:"), "{}", command.get_name());
        }
    }
}

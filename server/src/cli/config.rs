//! `cardinal config`: every setting with value, default and origin.

use clap::Args;

use super::exit::{print, remark};
use super::settings::SettingFlags;
use super::table::table;
use crate::config::{Resolved, setting};

const EXAMPLES: &str = "\
Examples:
  cardinal config                            what would be in force here
  cardinal config --config other.yaml        with another file
  CARDINAL_WAL_SYNC=interval cardinal config with a variable
  cardinal config --json | jq '.[] | select(.origin != \"default\")'";

/// Print each setting with its value, default and origin
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ConfigArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    let resolved = args.settings.resolve()?;
    for warning in &resolved.warnings {
        remark(format_args!("warning: {warning}"));
    }
    print(if args.json { json(&resolved)? } else { text(&resolved) })
}

fn text(resolved: &Resolved) -> String {
    let mut table = table(&["setting", "value", "default", "origin"]);
    for row in &resolved.rows {
        table.add_row([row.name, &row.value, row.default, &row.origin.to_string()]);
    }
    table.to_string()
}

fn json(resolved: &Resolved) -> serde_json::Result<String> {
    let rows = resolved.rows.iter().map(|row| {
        serde_json::json!({
            "setting": row.name,
            "value": row.value,
            "default": row.default,
            "origin": row.origin.to_string(),
            "doc": setting(row.name).map(|s| s.doc),
        })
    });
    serde_json::to_string_pretty(&rows.collect::<Vec<_>>())
}

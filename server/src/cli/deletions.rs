//! `cardinal delete`, `undelete` and `deletions`: what a running server hides.

use std::io::{Write, stdout};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use super::table::table;
use crate::http::params::parse_time;
use crate::http::selector;

const DELETE_EXAMPLES: &str = "\
Examples:
  cardinal delete '{account=\"459500\"}'                      what would be hidden: nothing is, without --yes
  cardinal delete '{account=\"459500\"}' --yes                all of an account
  cardinal delete 'up{job=\"x\"}' --start 2026-01-02T15:00:00Z --end 2026-01-02T16:00:00Z --yes

Times are Unix seconds or RFC 3339, both inclusive; without them all of time is meant. What is sent from then on is visible. `cardinal
undelete` undoes it within delete.grace, then the data are reclaimed.";

const UNDELETE_EXAMPLES: &str = "\
Examples:
  cardinal deletions            which there are
  cardinal undelete 327680      show the data of one again";

const DELETIONS_EXAMPLES: &str = "\
Examples:
  cardinal deletions
  cardinal deletions --url http://db.example.net:9460 --json

`hidden`: can be undone; `final`: is being reclaimed.";

/// Series that are counted before a deletion; beyond it there are \"more\".
const COUNT_MAX: usize = 100_000;

#[derive(Debug, Args)]
struct Server {
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:9460", env = "CARDINAL_URL")]
    url: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Hide the samples of series, for good after a grace
#[derive(Debug, Args)]
#[command(after_help = DELETE_EXAMPLES)]
pub(super) struct DeleteArgs {
    /// Which series: one or more selectors
    #[arg(required = true)]
    selectors: Vec<String>,
    /// First time [default: the beginning]
    #[arg(long)]
    start: Option<String>,
    /// Last time [default: the end]
    #[arg(long)]
    end: Option<String>,
    /// Do it; without, what would be hidden is shown
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: Server,
}

/// Undo a deletion within its grace
#[derive(Debug, Args)]
#[command(after_help = UNDELETE_EXAMPLES)]
pub(super) struct UndeleteArgs {
    /// Its id, as `cardinal deletions` shows it
    id: u64,
    #[command(flatten)]
    server: Server,
}

/// List deletions that are not reclaimed yet
#[derive(Debug, Args)]
#[command(after_help = DELETIONS_EXAMPLES)]
pub(super) struct DeletionsArgs {
    #[command(flatten)]
    server: Server,
}

pub(super) fn delete(args: &DeleteArgs) -> anyhow::Result<()> {
    let form = delete_form(args)?;
    let series = count_series(&args.server, &form)?;
    if args.yes {
        args.server.ask(reqwest::Method::POST, "admin/tsdb/delete_series", &form)?;
    }
    if args.server.json {
        let report = serde_json::json!({"series": series, "seriesMax": COUNT_MAX, "deleted": args.yes});
        return Ok(writeln!(stdout(), "{report}")?);
    }
    let more = if series >= COUNT_MAX { " or more" } else { "" };
    let range = match (&args.start, &args.end) {
        (None, None) => "all of time".to_owned(),
        (start, end) => format!("{} to {}", text(start, "the beginning"), text(end, "the end")),
    };
    let said = match args.yes {
        true => "are hidden; `cardinal deletions` lists the deletion",
        false => "would be hidden; nothing was: say --yes to do it",
    };
    Ok(writeln!(stdout(), "{series} series{more}, {range}: {said}")?)
}

pub(super) fn undelete(args: &UndeleteArgs) -> anyhow::Result<()> {
    args.server.ask(reqwest::Method::POST, "admin/tsdb/undelete", &[("id", args.id.to_string())])?;
    match args.server.json {
        true => writeln!(stdout(), "{}", serde_json::json!({"undeleted": args.id}))?,
        false => writeln!(stdout(), "deletion {} is undone", args.id)?,
    }
    Ok(())
}

pub(super) fn deletions(args: &DeletionsArgs) -> anyhow::Result<()> {
    let answer = args.server.ask(reqwest::Method::GET, "admin/tsdb/deletions", &[])?;
    if args.server.json {
        return Ok(writeln!(stdout(), "{answer}")?);
    }
    let mut rows = table(&["id", "series", "from", "to", "deleted at", "can be undone until", "state"]);
    for d in answer["data"].as_array().into_iter().flatten() {
        let text = |name: &str| d[name].as_str().unwrap_or_default().to_owned();
        let times = ["start", "end", "created", "undeletableUntil"].map(|name| time(&d[name]));
        let [start, end, created, until] = times;
        rows.add_row([d["id"].to_string(), text("selector"), start, end, created, until, text("state")]);
    }
    Ok(writeln!(stdout(), "{rows}")?)
}

fn text<'a>(time: &'a Option<String>, absent: &'a str) -> &'a str {
    time.as_deref().unwrap_or(absent)
}

fn time(seconds: &Value) -> String {
    let ms = seconds.as_f64().map(|s| (s * 1000.0).round() as i64);
    let time = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "-".into(), |t| t.to_string())
}

/// The parameters of a deletion, checked before anything is sent.
fn delete_form(args: &DeleteArgs) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut form = Vec::new();
    for text in &args.selectors {
        selector(text).map_err(|e| anyhow::anyhow!("{text}: {e}"))?;
        form.push(("match[]", text.clone()));
    }
    for (name, text) in [("start", &args.start), ("end", &args.end)] {
        if let Some(text) = text {
            parse_time(text).map_err(|e| anyhow::anyhow!("--{name}: {e}"))?;
            form.push((name, text.clone()));
        }
    }
    Ok(form)
}

fn count_series(server: &Server, form: &[(&'static str, String)]) -> anyhow::Result<usize> {
    let mut form = form.to_vec();
    form.push(("limit", COUNT_MAX.to_string()));
    let answer = server.ask(reqwest::Method::POST, "series", &form)?;
    Ok(answer["data"].as_array().map_or(0, Vec::len))
}

impl Server {
    /// The server's answer; null where it has none to give.
    fn ask(
        &self,
        method: reqwest::Method,
        path: &str,
        form: &[(&'static str, String)],
    ) -> anyhow::Result<Value> {
        let url = format!("{}/api/v1/{path}", self.url.trim_end_matches('/'));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(async {
            let sent = reqwest::Client::new().request(method, &url).form(form).send().await;
            let response =
                sent.with_context(|| format!("cannot reach {url}: is `cardinal serve` running there?"))?;
            anyhow::Ok(response.text().await?)
        })?;
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        let parsed: Value = serde_json::from_str(&answer)
            .with_context(|| format!("{} did not answer with JSON: is that a Cardinal?", self.url))?;
        if parsed["status"] != "success" {
            bail!("{}", parsed["error"].as_str().unwrap_or("the server gave no reason"));
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_deleted_is_checked_before_it_is_sent() {
        let server = || Server { url: "http://127.0.0.1:1".into(), json: false };
        let check = |selector: &str, start: Option<&str>, expected: Result<usize, &str>| {
            let (selectors, start) = (vec![selector.to_owned()], start.map(str::to_owned));
            let args = DeleteArgs { selectors, start, end: None, yes: false, server: server() };
            match (delete_form(&args), expected) {
                (Ok(form), Ok(parameters)) => assert_eq!(form.len(), parameters),
                (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
                (found, _) => panic!("{selector}: {found:?}"),
            }
        };
        check("up", None, Ok(1));
        check("{account=\"1\"}", Some("2026-01-02T15:00:00Z"), Ok(2));
        check("{}", None, Err("at least one non-empty matcher"));
        check("up", Some("noon"), Err("--start: "));
    }
}

//! `cardinal query`: asks a running server, prints a table.

use anyhow::{Context, bail};
use clap::Args;
use comfy_table::{CellAlignment, Table};
use serde_json::Value;

use super::exit::{print, remark};
use super::explanation::explanation;
use super::table::table;
use crate::http::params::parse_time;

const EXAMPLES: &str = "\
Examples:
  cardinal query up
  cardinal query 'sum by (job) (rate(http_requests_total[5m]))' --time 2026-01-02T15:04:05Z
  cardinal query up --start 1767366000 --end 1767369600 --step 1m
  cardinal query 'topk(3, up)' --url http://db.example.net:9460 --json
  cardinal query 'sum(rate(http_requests_total[5m]))' --explain

Times are Unix seconds or RFC 3339. With --start a range is asked for, without it one instant.";

/// Ask a running server and print the answer as a table
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct QueryArgs {
    /// PromQL
    expression: String,
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:9460", env = "CARDINAL_URL")]
    url: String,
    /// Evaluation time [default: now]
    #[arg(long, conflicts_with_all = ["start", "end", "step"])]
    time: Option<String>,
    /// First time of a range
    #[arg(long)]
    start: Option<String>,
    /// Last time of the range [default: now]
    #[arg(long, requires = "start")]
    end: Option<String>,
    /// Step of the range, such as 15s
    #[arg(long, requires = "start", default_value = "1m")]
    step: String,
    /// Print the server's JSON
    #[arg(long)]
    json: bool,
    /// Tell, in place of the answer, what the query reads, what each part of it took, and what an empty answer may be due to; with
    /// `=plan`, without running it
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "run")]
    explain: Option<Explained>,
}

/// Whether a query that is explained is run.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Explained {
    Run,
    Plan,
}

pub(super) fn run(args: &QueryArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(ask(args))?;
    let parsed: Value = serde_json::from_str(&answer)
        .with_context(|| format!("{} did not answer with JSON: is that a Cardinal?", args.url))?;
    if args.json {
        print(&answer)?;
    }
    if parsed["status"] != "success" {
        bail!("{}", parsed["error"].as_str().unwrap_or("the server gave no reason"));
    }
    for name in ["warnings", "infos"] {
        parsed[name].as_array().into_iter().flatten().filter_map(Value::as_str).for_each(remark);
    }
    match (args.json, args.explain) {
        (true, _) => {}
        (false, Some(_)) => print(explanation(&parsed["data"]["explain"]).trim_end())?,
        (false, None) => print(render(&parsed["data"])?)?,
    }
    Ok(())
}

async fn ask(args: &QueryArgs) -> anyhow::Result<String> {
    let (path, form) = request(args)?;
    let url = format!("{}/api/v1/{path}", args.url.trim_end_matches('/'));
    let sent = reqwest::Client::new().post(&url).form(&form).send().await;
    let response = sent.with_context(|| format!("cannot reach {url}: is `cardinal serve` running there?"))?;
    Ok(response.text().await?)
}

/// The path and the parameters of the request.
fn request(args: &QueryArgs) -> anyhow::Result<(&'static str, Vec<(&'static str, String)>)> {
    let mut form = vec![("query", args.expression.clone())];
    form.extend(args.explain.map(|explained| {
        let how = match explained {
            Explained::Run => "1",
            Explained::Plan => "plan",
        };
        ("explain", how.to_owned())
    }));
    let times = [("time", &args.time), ("start", &args.start), ("end", &args.end)];
    for (name, text) in times {
        if let Some(text) = text {
            parse_time(text).map_err(|e| anyhow::anyhow!("--{name}: {e}"))?;
            form.push((name, text.clone()));
        }
    }
    if args.start.is_none() {
        return Ok(("query", form));
    }
    if args.end.is_none() {
        form.push(("end", now()));
    }
    form.push(("step", args.step.clone()));
    Ok(("query_range", form))
}

fn now() -> String {
    let ms = jiff::Timestamp::now().as_millisecond();
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn render(data: &Value) -> anyhow::Result<Table> {
    let result = &data["result"];
    let kind = data["resultType"].as_str().context("the answer has no result type")?;
    let mut rows = match kind {
        "vector" => table(&["series", "value"]),
        "matrix" => table(&["series", "time", "value"]),
        _ => table(&["time", "value"]),
    };
    match kind {
        "vector" => {
            let point =
                |s: &Value| if s["value"].is_array() { value(&s["value"]) } else { value(&s["histogram"]) };
            rows.add_rows(series(result).map(|s| [labels(s), point(s)]));
        }
        "matrix" => series(result).for_each(|s| add_points(&mut rows, s)),
        _ => _ = rows.add_row([time(result), value(result)]),
    }
    if let Some(values) = rows.column_iter_mut().last() {
        values.set_cell_alignment(CellAlignment::Right);
    }
    Ok(rows)
}

fn series(result: &Value) -> impl Iterator<Item = &Value> {
    result.as_array().into_iter().flatten()
}

/// One row per point, numbers and histograms in the order of their times; the labels only in the first.
fn add_points(rows: &mut Table, series: &Value) {
    let mut name = labels(series);
    let list = |key: &str| series[key].as_array().into_iter().flatten();
    let mut points: Vec<&Value> = list("values").chain(list("histograms")).collect();
    points.sort_by(|a, b| a[0].as_f64().unwrap_or_default().total_cmp(&b[0].as_f64().unwrap_or_default()));
    for point in points {
        rows.add_row([std::mem::take(&mut name), time(point), value(point)]);
    }
}

/// `name{label="value"}`, as it would be asked for.
fn labels(series: &Value) -> String {
    let Some(labels) = series["metric"].as_object() else { return String::new() };
    let name = labels.get("__name__").and_then(Value::as_str).unwrap_or_default();
    let pairs: Vec<_> = labels
        .iter()
        .filter(|(label, _)| *label != "__name__")
        .map(|(label, value)| format!("{label}={:?}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() && !name.is_empty() {
        return name.to_owned();
    }
    format!("{name}{{{}}}", pairs.join(", "))
}

fn time(point: &Value) -> String {
    let seconds = point[0].as_f64().unwrap_or_default();
    match jiff::Timestamp::from_millisecond((seconds * 1000.0).round() as i64) {
        Ok(time) => time.to_string(),
        Err(_) => point[0].to_string(),
    }
}

fn value(point: &Value) -> String {
    match &point[1] {
        Value::Object(_) => histogram(&point[1]),
        number => number.as_str().unwrap_or_default().to_owned(),
    }
}

/// `{count:3, sum:4.5, (1,2]:3}`: the buckets of a histogram as intervals.
fn histogram(h: &Value) -> String {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let bucket = |b: &Value| {
        let (open, close) = match b[0].as_u64() {
            Some(0) => ('(', ']'),
            Some(1) => ('[', ')'),
            Some(3) => ('[', ']'),
            _ => ('(', ')'),
        };
        format!(", {open}{},{}{close}:{}", text(&b[1]), text(&b[2]), text(&b[3]))
    };
    let buckets: String = h["buckets"].as_array().into_iter().flatten().map(bucket).collect();
    format!("{{count:{}, sum:{}{buckets}}}", text(&h["count"]), text(&h["sum"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(data: &str, expected: &[&str]) {
        let data: Value = serde_json::from_str(data).expect("JSON");
        let text = render(&data).expect("a result").to_string();
        let lines: Vec<_> =
            text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for line in expected {
            assert!(lines.iter().any(|l| l == line), "{line}\n{text}");
        }
    }

    #[test]
    fn tables() {
        check(
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[4,"1"]},{"metric":{},"value":[4,"NaN"]}]}"#,
            &["series value", r#"up{job="a"} 1"#, "{} NaN"],
        );
        check(
            r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up"},"values":[[4,"1"],[5.5,"2"]]}]}"#,
            &["up 1970-01-01T00:00:04Z 1", "1970-01-01T00:00:05.5Z 2"],
        );
        check(
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"h"},"histogram":[4,{"count":"3","sum":"4.5","buckets":[[3,"-0.5","0.5","1"],[0,"1","2","2"]]}]}]}"#,
            &["h {count:3, sum:4.5, [-0.5,0.5]:1, (1,2]:2}"],
        );
        check(
            r#"{"resultType":"matrix","result":[{"metric":{},"values":[[4,"1"],[8,"2"]],"histograms":[[6,{"count":"0","sum":"0"}]]}]}"#,
            &["{} 1970-01-01T00:00:04Z 1", "1970-01-01T00:00:06Z {count:0, sum:0}", "1970-01-01T00:00:08Z 2"],
        );
        check(r#"{"resultType":"scalar","result":[4,"2"]}"#, &["1970-01-01T00:00:04Z 2"]);
        check(r#"{"resultType":"string","result":[4,"text"]}"#, &["1970-01-01T00:00:04Z text"]);
    }

    #[test]
    fn an_answer_without_a_type_is_refused() {
        assert!(render(&Value::Null).is_err());
    }
}

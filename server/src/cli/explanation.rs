//! `cardinal query --explain`: the server's explanation as a table, one line for each expression, indented as they are nested.

use comfy_table::CellAlignment;
use serde_json::Value;
use std::fmt::Write;

use super::table::table;
use crate::config::value::size_text;

/// What an expression's text is cut to.
const TEXT_CHARS: usize = 60;

/// The text of `data.explain`.
pub(super) fn explanation(explain: &Value) -> String {
    let columns = ["plan", "expression", "series", "chunks", "bytes", "samples", "time"];
    let mut rows = table(&columns);
    add_node(&mut |row| _ = rows.add_row(row), &explain["plan"], 0);
    for column in rows.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = format!("{rows}\n\n{}", summary(explain));
    for hint in explain["hints"].as_array().into_iter().flatten() {
        let part = |name: &str| hint[name].as_str().unwrap_or_default();
        let _ = write!(text, "\nhint ({}): {}\n", part("position"), part("text"));
        if let Some(suggestion) = hint["suggestion"].as_str() {
            let _ = writeln!(text, "  {suggestion}");
        }
    }
    text
}

fn summary(explain: &Value) -> String {
    let (estimated, measured) = (&explain["estimated"], &explain["measured"]);
    let count = |from: &Value, name: &str| from[name].as_u64().unwrap_or_default();
    let of = |from: &Value| {
        let bytes = size_text(count(from, "bytes"));
        format!("{} series, {} chunks, {bytes}", count(from, "series"), count(from, "chunks"))
    };
    let mut text = format!(
        "before: {} in {} shards and {} blocks (found out in {})\n",
        of(estimated),
        count(estimated, "shards"),
        count(estimated, "blocks"),
        time_text(&explain["planningSeconds"]),
    );
    if measured.is_object() {
        let read = time_text(&measured["readSeconds"]);
        let _ = writeln!(text, "read: {}, {} samples in {read}", of(measured), count(measured, "samples"));
    }
    text
}

/// One line for it and each below. The server bounds how deep they are nested.
fn add_node(add: &mut impl FnMut([String; 7]), node: &Value, level: usize) {
    let branch = if level == 0 { String::new() } else { format!("{}└ ", "  ".repeat(level - 1)) };
    let text: String =
        node["text"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = text.chars().take(TEXT_CHARS).collect();
    let read = &node["read"];
    // What was read, or, where the query was not run, what would be.
    let of = if read["measured"].is_object() { &read["measured"] } else { &read["estimated"] };
    let count = |value: &Value| value.as_u64().map(|n| n.to_string()).unwrap_or_default();
    let series = if of.is_object() { count(&of["series"]) } else { count(&node["series"]) };
    let time = if node["streamed"] == true && !of.is_object() {
        "streamed".to_owned()
    } else {
        time_text(if node["seconds"].is_number() { &node["seconds"] } else { &of["readSeconds"] })
    };
    add([
        format!("{branch}{}", node["operation"].as_str().unwrap_or_default()),
        if cut.len() < text.len() { format!("{cut}…") } else { cut },
        series,
        count(&of["chunks"]),
        of["bytes"].as_u64().map(size_text).unwrap_or_default(),
        count(&of["samples"]),
        time,
    ]);
    for input in node["inputs"].as_array().into_iter().flatten() {
        add_node(add, input, level + 1);
    }
}

/// Seconds as people read them; nothing where there are none.
fn time_text(seconds: &Value) -> String {
    match seconds.as_f64() {
        None => String::new(),
        Some(s) if s < 0.001 => format!("{:.0}µs", s * 1e6),
        Some(s) if s < 1.0 => format!("{:.1}ms", s * 1e3),
        Some(s) => format!("{s:.2}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_line_for_each_expression() {
        let read = json!({
            "estimated": {"series": 9, "chunks": 18, "bytes": 2048},
            "measured": {"series": 8, "chunks": 17, "bytes": 1024, "samples": 100, "readSeconds": 0.0000012},
        });
        let explain = json!({
            "planningSeconds": 0.25,
            "estimated": {"series": 9, "chunks": 18, "bytes": 2048, "shards": 16, "blocks": 2},
            "measured": {"series": 8, "chunks": 17, "bytes": 1024, "samples": 100, "readSeconds": 2},
            "plan": {"operation": "sum", "text": "sum(\n  rate(x[5m]))", "series": 1, "seconds": 0.0125, "inputs": [
                {"operation": "rate", "text": "rate(x[5m])", "streamed": true, "inputs": [
                    {"operation": "select", "text": "x[5m]", "read": read, "streamed": true},
                ]},
            ]},
            "hints": [{"position": "1:1", "text": "why", "suggestion": "sum(y)"}],
        });
        let text = explanation(&explain);
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = text.lines().map(words).collect();
        let has = |line: &str| assert!(lines.iter().any(|l| l == line), "{line}\n{text}");
        has("sum sum( rate(x[5m])) 1 12.5ms");
        has("└ rate rate(x[5m]) streamed");
        has("└ select x[5m] 8 17 1.0 KiB 100 1µs");
        has("before: 9 series, 18 chunks, 2.0 KiB in 16 shards and 2 blocks (found out in 250.0ms)");
        has("read: 8 series, 17 chunks, 1.0 KiB, 100 samples in 2.00s");
        has("hint (1:1): why");
        has("sum(y)");
    }
}

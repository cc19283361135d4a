//! What a command found: the same facts and tables as text for people and as JSON for programs.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::exit::print;
use super::table::table;
use crate::config::value::size_text;

/// One value. People see units, programs see plain numbers: bytes, milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(String),
    Count(u64),
    Bytes(u64),
    /// Milliseconds since the Unix epoch.
    Time(i64),
    /// `None` where there is nothing to divide by.
    Ratio(Option<f64>),
    /// Not known.
    Nothing,
}

/// Facts or a table, under a title.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Facts { title: &'static str, facts: Vec<(&'static str, Cell)> },
    Table { title: &'static str, columns: Vec<&'static str>, rows: Vec<Vec<Cell>> },
}

/// All of it, and what could not be read.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) parts: Vec<Part>,
    pub(super) problems: Vec<String>,
}

impl Report {
    pub(super) fn facts(&mut self, title: &'static str, facts: Vec<(&'static str, Cell)>) {
        self.parts.push(Part::Facts { title, facts });
    }

    pub(super) fn table(&mut self, title: &'static str, columns: &[&'static str], rows: Vec<Vec<Cell>>) {
        self.parts.push(Part::Table { title, columns: columns.to_vec(), rows });
    }

    /// Prints it, problems last, each of them once: a damaged page is met from many sides.
    pub(super) fn print(&mut self, as_json: bool) -> anyhow::Result<()> {
        let mut seen = HashSet::new();
        self.problems.retain(|problem| seen.insert(problem.clone()));
        let text = if as_json { serde_json::to_string_pretty(&self.json())? } else { self.text() };
        print(text.trim_end())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            text.push_str(&part.text());
            text.push('\n');
        }
        for problem in &self.problems {
            text.push_str(&format!("cannot read: {problem}\n"));
        }
        text
    }

    fn json(&self) -> Value {
        let mut object: Map<_, _> = self.parts.iter().map(|part| (key(part.title()), part.json())).collect();
        object.insert("problems".to_owned(), json!(self.problems));
        Value::Object(object)
    }
}

impl Part {
    fn title(&self) -> &'static str {
        match self {
            Self::Facts { title, .. } | Self::Table { title, .. } => title,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Facts { title, facts } => {
                let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
                let lines = facts.iter().map(|(name, cell)| format!("  {name:<width$}  {}\n", cell.text()));
                format!("{title}\n{}", lines.collect::<String>())
            }
            Self::Table { title, rows, .. } if rows.is_empty() => format!("{title}\n  none\n"),
            Self::Table { title, columns, rows } => {
                let mut lines = table(columns);
                lines.add_rows(rows.iter().map(|row| row.iter().map(Cell::text).collect::<Vec<_>>()));
                format!("{title}\n{lines}\n")
            }
        }
    }

    fn json(&self) -> Value {
        let object = |cells: &mut dyn Iterator<Item = (&'static str, &Cell)>| {
            Value::Object(cells.map(|(name, cell)| (key(name), cell.json())).collect())
        };
        match self {
            Self::Facts { facts, .. } => object(&mut facts.iter().map(|(name, cell)| (*name, cell))),
            Self::Table { columns, rows, .. } => {
                rows.iter().map(|row| object(&mut columns.iter().copied().zip(row))).collect()
            }
        }
    }
}

/// A title as the name of a JSON member.
fn key(title: &str) -> String {
    title.replace([' ', '/', '-'], "_")
}

impl Cell {
    pub(super) fn text_of(text: impl ToString) -> Self {
        Self::Text(text.to_string())
    }

    /// Bytes for each of `n`.
    pub(super) fn per(bytes: u64, n: u64) -> Self {
        Self::Ratio((n > 0).then(|| bytes as f64 / n as f64))
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(n) => n.to_string(),
            Self::Bytes(n) => size_text(*n),
            Self::Time(ms) => time_text(*ms),
            Self::Ratio(Some(ratio)) => format!("{ratio:.3}"),
            Self::Ratio(None) | Self::Nothing => "-".to_owned(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Count(n) | Self::Bytes(n) => json!(n),
            Self::Time(ms) => json!(ms),
            Self::Ratio(ratio) => json!(ratio),
            Self::Nothing => Value::Null,
        }
    }
}

fn time_text(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json_say_the_same() {
        let mut report = Report::default();
        report.facts("the head", vec![("log bytes", Cell::Bytes(2048)), ("oldest", Cell::Nothing)]);
        let row = vec![Cell::text_of("x"), Cell::Count(3), Cell::per(3, 2), Cell::Time(1500)];
        report.table("blocks", &["id", "samples", "bytes/sample", "time"], vec![row]);
        report.table("shards", &["id"], vec![]);
        report.problems.push("index: damaged".to_owned());
        let text = report.text();
        for part in [
            "the head\n  log bytes  2.0 KiB\n  oldest     -\n",
            "1970-01-01T00:00:01.5Z",
            "1.500",
            "shards\n  none\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(text.ends_with("cannot read: index: damaged\n"), "{text}");
        let expected = json!({
            "the_head": {"log_bytes": 2048, "oldest": null},
            "blocks": [{"id": "x", "samples": 3, "bytes_sample": 1.5, "time": 1500}],
            "shards": [],
            "problems": ["index: damaged"],
        });
        assert_eq!(report.json(), expected);
    }
}

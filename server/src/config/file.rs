//! `cardinal.yaml` as a flat list of keys with their positions.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Configuration files are a few kilobytes; a larger one is a mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Settings are nested two deep.
const NESTING_MAX: usize = 8;

/// One leaf of the file: the dotted name and the text of its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileKey {
    /// `wal.sync`
    pub name: String,
    /// The value as text; `None` where the file has a list or nothing at all.
    pub text: Option<String>,
    /// Line from 1 of the key.
    pub line: u64,
    /// Column from 1 of the key.
    pub column: u64,
}

/// A file that cannot be read as YAML.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It could not be read.
    #[error("cannot read it: {0}")]
    Io(#[from] std::io::Error),
    /// It is larger than any configuration.
    #[error("is larger than 1 MiB: that is no configuration file")]
    TooLarge,
    /// It is not YAML, or not a map.
    #[error("{line}:{column}: {message}")]
    Syntax {
        /// Line from 1.
        line: u64,
        /// Column from 1.
        column: u64,
        /// What is wrong.
        message: String,
    },
}

/// Reads the keys of `path`, in file order.
pub fn read_file(path: &Path) -> Result<Vec<FileKey>, FileError> {
    let mut text = String::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::TooLarge);
    }
    read_text(&text)
}

/// Reads the keys of a file's text, in file order. A file of comments alone has none.
pub fn read_text(text: &str) -> Result<Vec<FileKey>, FileError> {
    if text.lines().all(|line| line.trim_start().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Vec::new());
    }
    // `off` is a word here, as in YAML 1.2.
    let options = serde_saphyr::options! { strict_booleans: true };
    let root: Node =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| syntax_error(&error))?;
    let Node::Map(entries) = root else {
        return Err(FileError::Syntax {
            line: 1,
            column: 1,
            message: "expected `key: value` lines".to_owned(),
        });
    };
    let mut keys = Vec::new();
    flatten("", entries, 0, &mut keys)?;
    Ok(keys)
}

fn flatten(
    prefix: &str,
    entries: Vec<Entry>,
    depth: usize,
    keys: &mut Vec<FileKey>,
) -> Result<(), FileError> {
    for Entry { key, value } in entries {
        let name = if prefix.is_empty() { key.value } else { format!("{prefix}.{}", key.value) };
        let (line, column) = (key.referenced.line(), key.referenced.column());
        match value {
            Node::Map(_) if depth == NESTING_MAX => {
                return Err(FileError::Syntax { line, column, message: "nested too deeply".to_owned() });
            }
            Node::Map(entries) => flatten(&name, entries, depth + 1, keys)?,
            Node::Scalar(text) => keys.push(FileKey { name, text: Some(text), line, column }),
            Node::Other => keys.push(FileKey { name, text: None, line, column }),
        }
    }
    Ok(())
}

fn syntax_error(error: &serde_saphyr::Error) -> FileError {
    let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
    let error = error.without_snippet();
    if let serde_saphyr::Error::DuplicateMappingKey { key, .. } = error {
        let message = format!("{:?} is there twice: keep one of them", key.as_deref().unwrap_or_default());
        return FileError::Syntax { line, column, message };
    }
    let text = error.to_string();
    let message = text.lines().next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let message = message.strip_prefix(&format!("line {line} column {column}: ")).unwrap_or(message);
    FileError::Syntax { line, column, message: message.to_owned() }
}

/// A YAML value, as far as settings need it.
enum Node {
    Scalar(String),
    Map(Vec<Entry>),
    /// A list, or nothing: no setting takes either.
    Other,
}

struct Entry {
    key: Spanned<String>,
    value: Node,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a setting or a group of settings")
    }

    fn visit_str<E>(self, v: &str) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_owned()))
    }

    fn visit_bool<E>(self, v: bool) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_string()))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_string()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_string()))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(Node::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry()? {
            entries.push(Entry { key, value });
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, Option<&str>, u64, u64)]) {
        let keys = read_text(text).expect(text);
        let keys: Vec<_> =
            keys.iter().map(|k| (k.name.as_str(), k.text.as_deref(), k.line, k.column)).collect();
        assert_eq!(keys, expected, "{text:?}");
    }

    #[test]
    fn keys_and_positions() {
        check("", &[]);
        check("# nothing yet\n", &[]);
        check("listen: 0.0.0.0:9460\n", &[("listen", Some("0.0.0.0:9460"), 1, 1)]);
        check(
            "wal:\n  sync: interval\n  sync_interval: 2s\nshards: 4\nadmin: {enabled: true}\n",
            &[
                ("wal.sync", Some("interval"), 2, 3),
                ("wal.sync_interval", Some("2s"), 3, 3),
                ("shards", Some("4"), 4, 1),
                ("admin.enabled", Some("true"), 5, 9),
            ],
        );
        check("wal.sync: interval\n", &[("wal.sync", Some("interval"), 1, 1)]);
        check("log:\n  level:\nlimits: [1, 2]\n", &[("log.level", None, 2, 3), ("limits", None, 3, 1)]);
    }

    #[test]
    fn what_is_not_yaml() {
        let refuse = |text: &str, line: u64| match read_text(text) {
            Err(FileError::Syntax { line: at, .. }) => assert_eq!(at, line, "{text:?}"),
            other => panic!("{text:?}: {other:?}"),
        };
        refuse("wal:\n  sync: [1, 2\n", 2);
        refuse("- a\n- b\n", 1);
        refuse("just text\n", 1);
        refuse("a: 1\na: 2\n", 2);
        let twice = read_text("a:\n  b: 1\na:\n  c: 2\n").expect_err("twice").to_string();
        assert_eq!(twice, "3:1: \"a\" is there twice: keep one of them");
        refuse(&format!("{}x: 1", "a: {".repeat(20)), 1);
    }
}

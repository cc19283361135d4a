//! The table as documents: `docs/configuration.md` and `deploy/cardinal.yaml`. A test keeps the files equal to what is written here.

use std::fmt::Write;

use super::table::{SETTINGS, Setting};

const PAGE_HEAD: &str = "\
# Configuration

Every setting has one name, spelled three ways: `wal.sync` is a key of `cardinal.yaml` (nested: `wal:`, then `  sync:`), the flag
`--wal-sync` and the environment variable `CARDINAL_WAL_SYNC`. A flag wins over the environment, the environment over the file, the
file over the default.

    cardinal serve --config cardinal.yaml --listen 0.0.0.0:9460
    cardinal config                      # each setting with value, default and origin
    cardinal check config cardinal.yaml  # is this file right?

Without `--config` (or `CARDINAL_CONFIG`), `cardinal.yaml` in the working directory is read if it is there. An unknown key is an error
that names the nearest setting. Durations are written like `15s`, `2h`, `1h30m` or `7d`, sizes like `256MiB` or `1.5GiB`. Settings are
read once, at start. `deploy/cardinal.yaml` holds every setting with its default.

| setting | default | meaning |
|---|---|---|
";

const FILE_HEAD: &str = "\
# Cardinal's settings, each with its default. Remove the `#` in front of what you change, and of its group.
# Check with: cardinal check config cardinal.yaml
";

/// The text of `docs/configuration.md`.
pub fn configuration_page() -> String {
    let mut page = PAGE_HEAD.to_owned();
    for Setting { name, default, doc, .. } in SETTINGS {
        let _ = writeln!(page, "| `{name}` | `{default}` | {doc} |");
    }
    page
}

/// The text of `deploy/cardinal.yaml`.
pub fn sample_file() -> String {
    let mut text = FILE_HEAD.to_owned();
    let mut group_before = "";
    for setting in SETTINGS {
        let (group, key) = setting.name.split_once('.').unwrap_or(("", setting.name));
        let indent = if group.is_empty() { "" } else { "  " };
        text.push('\n');
        if group != group_before && !group.is_empty() {
            let _ = writeln!(text, "#{group}:");
        }
        group_before = group;
        for line in wrap(setting.doc, 100) {
            let _ = writeln!(text, "{indent}# {line}");
        }
        let _ = writeln!(text, "#{indent}{key}: {}", setting.default);
    }
    text
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{read_text, setting};
    use std::path::Path;

    /// Rewrites the file when asked to by `CARDINAL_UPDATE_PAGES=1`.
    fn check(file: &str, expected: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        if std::env::var_os("CARDINAL_UPDATE_PAGES").is_some() {
            std::fs::write(&path, expected).expect("written");
        }
        let found = std::fs::read_to_string(&path).expect(file);
        assert!(
            found == expected,
            "{file} is not what the table says: CARDINAL_UPDATE_PAGES=1 cargo test -p cardinal-server"
        );
    }

    #[test]
    fn pages_follow_the_table() {
        check("docs/configuration.md", &configuration_page());
        check("deploy/cardinal.yaml", &sample_file());
    }

    #[test]
    fn the_sample_file_without_its_hashes_sets_every_default() {
        let strip = |line: &'static str| {
            line.strip_prefix('#').filter(|l| !l.starts_with(' ') || l.starts_with("  "))
        };
        let text: Vec<_> = Box::leak(sample_file().into_boxed_str()).lines().filter_map(strip).collect();
        let keys = read_text(&text.join("\n")).expect("valid YAML");
        assert_eq!(keys.len(), SETTINGS.len());
        for key in keys {
            assert_eq!(key.text.as_deref(), setting(&key.name).map(|s| s.default), "{}", key.name);
        }
    }
}

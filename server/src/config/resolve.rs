//! Where each setting's value comes from: flag over environment over file over default.

use std::fmt;
use std::path::{Path, PathBuf};

use super::file::{FileError, FileKey, read_file};
use super::table::{SETTINGS, Setting, setting};
use super::{Config, value};

/// What the settings are read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// Environment variables, name and value; those that do not begin with `CARDINAL_` are ignored.
    pub environment: Vec<(String, String)>,
    /// Setting names and the values of their flags.
    pub flags: Vec<(&'static str, String)>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file, with line and column.
    File(PathBuf, u64, u64),
    /// An environment variable.
    Environment(String),
    /// A flag, with its dashes.
    Flag(String),
}

/// One setting with the value in force.
#[derive(Clone, Debug)]
pub struct Row {
    /// The setting's name.
    pub name: &'static str,
    /// The value in force, as text.
    pub value: String,
    /// The default, as text.
    pub default: &'static str,
    /// Where the value comes from.
    pub origin: Origin,
}

/// The outcome: typed for the server, as rows for people.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The settings.
    pub config: Config,
    /// One row per setting, in the table's order.
    pub rows: Vec<Row>,
    /// Likely slips that do no harm by themselves: variables that nearly name a setting.
    pub warnings: Vec<String>,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `cardinal.yaml:3:5`, `CARDINAL_WAL_SYNC` or `--wal-sync`.
    pub place: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Everything that is wrong with a configuration, one problem per line; never empty.
#[derive(Clone, Debug)]
pub struct ConfigError {
    /// In the order in which they were met.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.problems.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// Reads every setting from `sources`. All problems are reported at once.
pub fn resolve(sources: &Sources) -> Result<Resolved, ConfigError> {
    let mut problems = Vec::new();
    let mut values: Vec<Assigned> = Vec::new();
    if let Some(path) = &sources.file {
        values.extend(from_file(path, &mut problems));
    }
    values.extend(from_environment(&sources.environment));
    values.extend(from_flags(&sources.flags));
    let mut config = Config::defaults();
    let mut rows: Vec<_> = SETTINGS.iter().map(default_row).collect();
    for Assigned { setting, text, origin } in values {
        if let Err(error) = (setting.set)(&mut config, &text) {
            problems
                .push(Problem { place: origin.to_string(), message: format!("{}: {error}", setting.name) });
        } else if let Some(row) = rows.iter_mut().find(|row| row.name == setting.name) {
            (row.value, row.origin) = (text, origin);
        }
    }
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    for (row, setting) in rows.iter_mut().zip(SETTINGS) {
        show_effective(row, setting, &config);
    }
    Ok(Resolved { config, rows, warnings: unknown_variables(&sources.environment) })
}

/// Checks a file by itself: every problem in it, or how many settings it sets.
pub fn check_file(path: &Path) -> Result<usize, ConfigError> {
    let sources = Sources { file: Some(path.to_owned()), ..Default::default() };
    let resolved = resolve(&sources)?;
    Ok(resolved.rows.iter().filter(|row| row.origin != Origin::Default).count())
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line, column) => write!(f, "{}:{line}:{column}", path.display()),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A value on its way to a setting.
struct Assigned {
    setting: &'static Setting,
    text: String,
    origin: Origin,
}

fn from_file(path: &Path, problems: &mut Vec<Problem>) -> Vec<Assigned> {
    let keys = match read_file(path) {
        Ok(keys) => keys,
        Err(error) => {
            let (place, message) = file_problem(path, error);
            problems.push(Problem { place, message });
            return Vec::new();
        }
    };
    let mut assigned: Vec<Assigned> = Vec::new();
    for key in keys {
        let origin = Origin::File(path.to_owned(), key.line, key.column);
        match read_key(key) {
            // Nested and with dots: to YAML these are two keys.
            Ok((setting, _)) if assigned.iter().any(|a| a.setting.name == setting.name) => {
                let message = format!("{} is there twice: keep one of them", setting.name);
                problems.push(Problem { place: origin.to_string(), message });
            }
            Ok((setting, text)) => assigned.push(Assigned { setting, text, origin }),
            Err(message) => problems.push(Problem { place: origin.to_string(), message }),
        }
    }
    assigned
}

fn file_problem(path: &Path, error: FileError) -> (String, String) {
    match error {
        FileError::Syntax { line, column, message } => {
            (format!("{}:{line}:{column}", path.display()), message)
        }
        other => (path.display().to_string(), other.to_string()),
    }
}

fn read_key(key: FileKey) -> Result<(&'static Setting, String), String> {
    let Some(setting) = setting(&key.name) else {
        return Err(format!("there is no setting {:?}{}", key.name, suggestion(&key.name)));
    };
    match key.text {
        Some(text) => Ok((setting, text)),
        None => Err(format!("{} needs one value, such as {}", key.name, setting.default)),
    }
}

/// What the unknown `name` may have meant.
fn suggestion(name: &str) -> String {
    let group = format!("{name}.");
    let members: Vec<_> = SETTINGS.iter().filter(|s| s.name.starts_with(&group)).map(|s| s.name).collect();
    if !members.is_empty() {
        return format!(": it is a group of {}", members.join(", "));
    }
    match value::nearest(name, SETTINGS.iter().map(|s| s.name)) {
        Some(near) => format!(": did you mean {near}?"),
        None => "; `cardinal config` lists them all".to_owned(),
    }
}

fn from_environment(environment: &[(String, String)]) -> Vec<Assigned> {
    let pick = |setting: &'static Setting| {
        let variable = setting.variable();
        let (_, text) = environment.iter().find(|(name, _)| *name == variable)?;
        Some(Assigned { setting, text: text.clone(), origin: Origin::Environment(variable) })
    };
    SETTINGS.iter().filter_map(pick).collect()
}

fn from_flags(flags: &[(&'static str, String)]) -> Vec<Assigned> {
    let pick = |(name, text): &(&'static str, String)| {
        let setting = setting(name)?;
        Some(Assigned { setting, text: text.clone(), origin: Origin::Flag(format!("--{}", setting.flag())) })
    };
    flags.iter().filter_map(pick).collect()
}

/// Unknown variables are no error, since orchestrators make up their own (`CARDINAL_SERVICE_HOST`); a near miss is worth a line.
fn unknown_variables(environment: &[(String, String)]) -> Vec<String> {
    let known: Vec<_> = SETTINGS.iter().map(|s| s.variable().to_ascii_lowercase()).collect();
    let warn = |(name, _): &(String, String)| {
        let lower = name.to_ascii_lowercase();
        if !name.starts_with("CARDINAL_") || known.contains(&lower) {
            return None;
        }
        let near = value::nearest(&lower, known.iter().map(String::as_str))?;
        Some(format!("{name} is not a setting and is ignored: did you mean {}?", near.to_ascii_uppercase()))
    };
    environment.iter().filter_map(warn).collect()
}

fn default_row(setting: &'static Setting) -> Row {
    Row {
        name: setting.name,
        value: setting.default.to_owned(),
        default: setting.default,
        origin: Origin::Default,
    }
}

/// Adds what `auto` stands for here.
fn show_effective(row: &mut Row, setting: &Setting, config: &Config) {
    if let Some(effective) = setting.effective
        && row.value == "auto"
    {
        row.value = format!("auto ({})", effective(config));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WalSync;
    use std::io::Write;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    fn problems(text: &str) -> Vec<String> {
        let file = file(text);
        let error = check_file(file.path()).expect_err(text);
        let prefix = file.path().display().to_string();
        error.problems.iter().map(|p| p.to_string().replace(&prefix, "FILE")).collect()
    }

    #[test]
    fn flag_over_environment_over_file_over_default() {
        let file = file("wal:\n  sync: interval\nshards: 8\nquery:\n  queue: 7\n");
        let mut sources = Sources {
            file: Some(file.path().to_owned()),
            environment: vec![
                ("CARDINAL_SHARDS".to_owned(), "4".to_owned()),
                ("CARDINAL_QUERY_QUEUE".to_owned(), "6".to_owned()),
                ("PATH".to_owned(), "/bin".to_owned()),
            ],
            flags: vec![("query.queue", "5".to_owned())],
        };
        let resolved = resolve(&sources).expect("valid");
        let config = &resolved.config;
        assert_eq!((config.wal_sync, config.shards.get(), config.query_queue), (WalSync::Interval, 4, 5));
        let origin = |name: &str| {
            let row = resolved.rows.iter().find(|r| r.name == name).expect("exists");
            (row.value.clone(), row.origin.clone())
        };
        assert_eq!(origin("wal.sync"), ("interval".to_owned(), Origin::File(file.path().to_owned(), 2, 3)));
        assert_eq!(origin("shards"), ("4".to_owned(), Origin::Environment("CARDINAL_SHARDS".to_owned())));
        assert_eq!(origin("query.queue"), ("5".to_owned(), Origin::Flag("--query-queue".to_owned())));
        assert_eq!(origin("listen"), ("127.0.0.1:9460".to_owned(), Origin::Default));
        assert!(origin("admin.enabled").0.starts_with("auto (true"));
        sources.environment.push(("CARDINAL_LISTEN".to_owned(), "nowhere".to_owned()));
        let error = resolve(&sources).expect_err("a wrong address").to_string();
        assert!(error.starts_with("CARDINAL_LISTEN: listen: \"nowhere\" is not an address"), "{error}");
    }

    #[test]
    fn what_is_late_follows_the_longest_retention() {
        let check = |flags: &[(&'static str, &str)], shown: &str, days: i64| {
            let flags = flags.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
            let resolved = resolve(&Sources { flags, ..Sources::default() }).expect("valid");
            let row = resolved.rows.iter().find(|r| r.name == "ingest.late_max").expect("exists");
            assert_eq!((&*row.value, resolved.config.ingest_late_max().0), (shown, days * 86_400_000));
        };
        check(&[], "auto (365d, the longest retention)", 365);
        check(&[("retention.raw", "400d")], "auto (400d, the longest retention)", 400);
        check(
            &[("retention.raw", "400d"), ("retention.accounts", "x=800d, y=1d")],
            "auto (800d, the longest retention)",
            800,
        );
        check(&[("retention.raw", "400d"), ("ingest.late_max", "10d")], "10d", 10);
    }

    #[test]
    fn every_problem_with_its_place() {
        let check = |text: &str, expected: &[&str]| assert_eq!(problems(text), expected, "{text}");
        check(
            "wall:\n  sync: commit\n",
            &["FILE:2:3: there is no setting \"wall.sync\": did you mean wal.sync?"],
        );
        check(
            "shards: many\nlog:\n  colour: red\n",
            &[
                "FILE:3:3: there is no setting \"log.colour\"; `cardinal config` lists them all",
                "FILE:1:1: shards: \"many\" is not a whole number",
            ],
        );
        check(
            "log: debug\n",
            &["FILE:1:1: there is no setting \"log\": it is a group of log.level, log.format"],
        );
        check(
            "wal.sync: commit\nwal:\n  sync: interval\n",
            &["FILE:3:3: wal.sync is there twice: keep one of them"],
        );
        check("listen:\n", &["FILE:1:1: listen needs one value, such as 127.0.0.1:9460"]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = check_file(Path::new("/nonexistent/cardinal.yaml")).expect_err("missing").to_string();
        assert!(error.starts_with("/nonexistent/cardinal.yaml: cannot read it: "), "{error}");
    }

    #[test]
    fn slips_in_variables_are_warned_about() {
        let environment =
            |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), String::new())).collect::<Vec<_>>();
        assert_eq!(
            unknown_variables(&environment(&["CARDINAL_WAL_SYNK", "CARDINAL_SERVICE_HOST", "CARDINAL_PORT"])),
            ["CARDINAL_WAL_SYNK is not a setting and is ignored: did you mean CARDINAL_WAL_SYNC?"]
        );
    }
}

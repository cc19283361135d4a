//! The table of settings.

use super::value::{self, ValueError};
use super::{Config, LogFormat, LogLevel, MEMORY_BUDGET_MIN, QueryFeatures, WalSync};
use cardinal_storage::database::{SeriesMax, SeriesRate};
use cardinal_storage::model::{DurationMs, ShardCount};
use std::collections::BTreeMap;
use std::time::Duration;

/// One setting: its name, default and meaning, and how its text becomes a field of [`Config`].
pub struct Setting {
    /// Name as in `cardinal.yaml`, nested by dots.
    pub name: &'static str,
    /// Default as it would be written; goes through `set` like any other value.
    pub default: &'static str,
    /// What a value looks like, for `--help`: `DURATION`, `SIZE`, ...
    pub kind: &'static str,
    /// What it does and why the default is what it is, in a sentence or two.
    pub doc: &'static str,
    /// Parses `text` into its field.
    pub set: fn(&mut Config, &str) -> Result<(), ValueError>,
    /// The value in force where the text does not tell it (`auto`).
    pub effective: Option<fn(&Config) -> String>,
}

impl Setting {
    /// The flag without its dashes: `wal-sync`.
    pub fn flag(&self) -> String {
        self.name.replace(['.', '_'], "-")
    }

    /// The environment variable: `CARDINAL_WAL_SYNC`.
    pub fn variable(&self) -> String {
        format!("CARDINAL_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }
}

/// The setting of that name.
pub fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.name == name)
}

/// Every setting that this version honours, in the order in which people meet them.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "listen",
        default: "127.0.0.1:9460",
        kind: "ADDRESS",
        doc: "Address of the HTTP server. Only this machine can reach the default; `0.0.0.0:9460` opens it to the network.",
        set: |c, v| put(&mut c.listen, value::address(v)),
        effective: None,
    },
    Setting {
        name: "data_dir",
        default: "./data",
        kind: "DIR",
        doc: "Directory of everything that is stored; created when missing. One process per directory, which writes there from its start on; \
              `cardinal inspect` and `cardinal verify` only read.",
        set: |c, v| put(&mut c.data_dir, non_empty(v).map(Into::into)),
        effective: None,
    },
    Setting {
        name: "account.label",
        default: "account",
        kind: "LABEL",
        doc: "Label that names the account of a series. Series of one account lie together. Recorded when the data directory is \
              created; another name is refused later.",
        set: |c, v| put(&mut c.account_label, label_name(v)),
        effective: None,
    },
    Setting {
        name: "shards",
        default: "16",
        kind: "COUNT",
        doc: "Shards over which accounts are spread: the grain of parallelism in queries. Recorded when the data directory is \
              created; another number is refused later.",
        set: |c, v| put(&mut c.shards, shards(v)),
        effective: None,
    },
    Setting {
        name: "wal.sync",
        default: "commit",
        kind: "MODE",
        doc: "`commit`: a request is acknowledged once its samples are synced to disk. `interval`: they are written before the \
              acknowledgement and synced within `wal.sync_interval`; killing the process loses nothing, a power cut may lose that \
              interval.",
        set: |c, v| {
            let modes = [("commit", WalSync::Commit), ("interval", WalSync::Interval)];
            put(&mut c.wal_sync, value::choice(v, &modes))
        },
        effective: None,
    },
    Setting {
        name: "wal.sync_interval",
        default: "1s",
        kind: "DURATION",
        doc: "How long a sync may be postponed under `wal.sync: interval`; without effect under `commit`.",
        set: |c, v| put(&mut c.wal_sync_interval, value::positive_duration(v).map(std_duration)),
        effective: None,
    },
    Setting {
        name: "head.window",
        default: "2h",
        kind: "DURATION",
        doc: "Length of the time windows into which data are cut: the newest window is in memory, closed ones become blocks. \
              Recorded when the data directory is created; another length is refused later.",
        set: |c, v| put(&mut c.head_window, window(v)),
        effective: None,
    },
    Setting {
        name: "head.memory_budget",
        default: "auto",
        kind: "SIZE",
        doc: "Memory that the newest data may take before they are flushed early. `auto` is a quarter of what the machine has \
              or of the least that the process's cgroup and those above it allow, which leaves the rest to queries and to the page cache. At least 16MiB: with less, the tables of an \
              almost empty head alone would have it flushed without end. New series wait (503) while a \
              flush is under way and the budget is used up, late samples where they come faster than the disk takes them.",
        set: |c, v| put(&mut c.head_memory_budget, value::or_auto(v, memory_budget)),
        effective: Some(|c| value::size_text(c.head_memory_budget())),
    },
    Setting {
        name: "ingest.future_max",
        default: "10m",
        kind: "DURATION",
        doc: "Samples further ahead of this machine's clock are refused: a sender's wrong clock must not close windows early.",
        set: |c, v| put(&mut c.ingest_future_max, value::positive_duration(v)),
        effective: None,
    },
    Setting {
        name: "ingest.late_max",
        default: "auto",
        kind: "DURATION",
        doc: "Samples further behind this machine's clock are refused. `auto` is the longest retention of all tiers and accounts: what is \
              older would not be kept.",
        set: |c, v| put(&mut c.ingest_late_max, value::or_auto(v, value::positive_duration)),
        effective: Some(|c| format!("{}, the longest retention", c.ingest_late_max())),
    },
    Setting {
        name: "ingest.request_bytes",
        default: "32MiB",
        kind: "SIZE",
        doc: "Largest write request, decompressed. Prometheus sends some 200 KiB at a time.",
        set: |c, v| put(&mut c.ingest_request_bytes, value::positive_size(v)),
        effective: None,
    },
    Setting {
        name: "ingest.request_samples",
        default: "100000",
        kind: "COUNT",
        doc: "Most samples in one write request. Prometheus sends 2,000 at a time.",
        set: |c, v| put(&mut c.ingest_request_samples, value::count(v, 1)),
        effective: None,
    },
    Setting {
        name: "ingest.inflight_bytes",
        default: "256MiB",
        kind: "SIZE",
        doc: "Bytes of write requests that are worked on at once; beyond it senders are asked to come back (503 with Retry-After) \
              rather than queued in memory.",
        set: |c, v| put(&mut c.ingest_inflight_bytes, value::positive_size(v)),
        effective: None,
    },
    Setting {
        name: "retention.raw",
        default: "7d",
        kind: "DURATION",
        doc: "How long samples are kept as they came, in the time of the data: back from the newest sample, or from the clock where that is \
              behind. A block is dropped once all of its window is older, which is at most a day later; until then queries see it. What is \
              imported stays for a day after it came, whatever its age: raise this first to keep it. Where clock and samples leap ahead \
              together by more than an hour, the leap counts once it has lasted for a day.",
        set: |c, v| put(&mut c.retention.tiers[0], retention(v)),
        effective: None,
    },
    Setting {
        name: "retention.5m",
        default: "30d",
        kind: "DURATION",
        doc: "How long buckets of five minutes are kept. This version makes none yet.",
        set: |c, v| put(&mut c.retention.tiers[1], retention(v)),
        effective: None,
    },
    Setting {
        name: "retention.1h",
        default: "90d",
        kind: "DURATION",
        doc: "How long buckets of an hour are kept. This version makes none yet.",
        set: |c, v| put(&mut c.retention.tiers[2], retention(v)),
        effective: None,
    },
    Setting {
        name: "retention.1d",
        default: "365d",
        kind: "DURATION",
        doc: "How long buckets of a day are kept. This version makes none yet.",
        set: |c, v| put(&mut c.retention.tiers[3], retention(v)),
        effective: None,
    },
    Setting {
        name: "retention.accounts",
        default: "off",
        kind: "LIST",
        doc: "Accounts whose samples are kept longer or shorter than `retention.raw` says: `459500=30d, trial=1d`, or `off`. A block that \
              other accounts still need is written anew without theirs, once its day is over and theirs is past; until then queries \
              see them.",
        set: |c, v| put(&mut c.retention.accounts, accounts(v)),
        effective: None,
    },
    Setting {
        name: "retention.size",
        default: "off",
        kind: "SIZE",
        doc: "Most bytes that blocks may take, or `off`. Beyond it the oldest windows are dropped, whatever their retention; the newest one \
              stays. The log and what is not yet in a block come on top.",
        set: |c, v| put(&mut c.retention.bytes_max, value::or_off(v, value::positive_size)),
        effective: None,
    },
    Setting {
        name: "delete.grace",
        default: "24h",
        kind: "DURATION",
        doc: "How long a deletion can be undone. Deleted data are hidden at once; after the grace, compaction reclaims them. Counted in the \
              time of the data, from the newest sample back, or from the clock where that is behind; a leap of both by more than an \
              hour counts once it has lasted for a day, also after the server was off.",
        set: |c, v| put(&mut c.delete_grace, value::duration(v)),
        effective: None,
    },
    Setting {
        name: "limits.series",
        default: "off",
        kind: "COUNT",
        doc: "Most series that an account may have in memory, or `off`. Beyond it new ones are refused (400), known ones go on; a series \
              leaves some time after its last sample. Series without an account are one account.",
        set: |c, v| put(&mut c.limits_series.account.active, value::or_off(v, |v| value::count(v, 0))),
        effective: None,
    },
    Setting {
        name: "limits.series_created",
        default: "off",
        kind: "RATE",
        doc: "Most new series of an account in an interval, `100000/1m`, or `off`. Further ones are refused (400) until the next \
              interval; intervals follow one another from the start of the process on.",
        set: |c, v| put(&mut c.limits_series.account.created, value::or_off(v, series_rate)),
        effective: None,
    },
    Setting {
        name: "limits.series_total",
        default: "off",
        kind: "COUNT",
        doc: "As `limits.series`, for all accounts together. `head.memory_budget` holds without it.",
        set: |c, v| put(&mut c.limits_series.total.active, value::or_off(v, |v| value::count(v, 0))),
        effective: None,
    },
    Setting {
        name: "limits.series_created_total",
        default: "off",
        kind: "RATE",
        doc: "As `limits.series_created`, for all accounts together.",
        set: |c, v| put(&mut c.limits_series.total.created, value::or_off(v, series_rate)),
        effective: None,
    },
    Setting {
        name: "limits.accounts",
        default: "off",
        kind: "LIST",
        doc: "Accounts with limits of their own in place of `limits.series` and `limits.series_created`: \
              `459500=series:2000000 series_created:50000/1m, trial=series:1000`, or `off`. What is not named for an account is not \
              limited for it.",
        set: |c, v| put(&mut c.limits_series.accounts, account_limits(v)),
        effective: None,
    },
    Setting {
        name: "limits.label_names",
        default: "64",
        kind: "COUNT",
        doc: "Most labels of one series, its name included. A series with more is refused.",
        set: |c, v| put(&mut c.limits_label_names, value::count(v, 1)),
        effective: None,
    },
    Setting {
        name: "limits.label_name_bytes",
        default: "1KiB",
        kind: "SIZE",
        doc: "Longest label name. A series with a longer one is refused.",
        set: |c, v| put(&mut c.limits_label_name_bytes, value::positive_size(v)),
        effective: None,
    },
    Setting {
        name: "limits.label_value_bytes",
        default: "8KiB",
        kind: "SIZE",
        doc: "Longest label value. A series with a longer one is refused.",
        set: |c, v| put(&mut c.limits_label_value_bytes, value::positive_size(v)),
        effective: None,
    },
    Setting {
        name: "query.lookback",
        default: "5m",
        kind: "DURATION",
        doc: "How far an instant selector looks back for a series' newest sample. As in Prometheus.",
        set: |c, v| put(&mut c.query_lookback, value::positive_duration(v)),
        effective: None,
    },
    Setting {
        name: "query.timeout",
        default: "2m",
        kind: "DURATION",
        doc: "Longest run of one query; its `timeout` parameter can only lower it. As in Prometheus.",
        set: |c, v| put(&mut c.query_timeout, value::positive_duration(v).map(std_duration)),
        effective: None,
    },
    Setting {
        name: "query.max_samples",
        default: "50000000",
        kind: "COUNT",
        doc: "Most samples that one query may hold in memory at once; those streamed through aggregations do not count. 50 million \
              are 800 MB.",
        set: |c, v| put(&mut c.query_max_samples, value::count(v, 1)),
        effective: None,
    },
    Setting {
        name: "query.max_series",
        default: "20000000",
        kind: "COUNT",
        doc: "Most series that all selectors of one query may find together, or `off`. 20 million are twice what one server is made \
              for: only churn over many days gets there.",
        set: |c, v| put(&mut c.query_max_series, value::or_off(v, |v| value::count(v, 1))),
        effective: None,
    },
    Setting {
        name: "query.cache_bytes",
        default: "64MiB",
        kind: "SIZE",
        doc: "Memory for results of range queries that are asked for again, as refreshing dashboards do, or `off`. 64 MiB hold some eight \
              hundred panels of 20 series at 240 steps; one result takes a quarter at most.",
        set: |c, v| put(&mut c.query_cache_bytes, value::or_off(v, value::positive_size)),
        effective: None,
    },
    Setting {
        name: "query.max_bytes",
        default: "off",
        kind: "SIZE",
        doc: "Most bytes of chunks that one query may read, or `off`, as `query.timeout` bounds it too. A core reads some 500 MB a second \
              of what is in the page cache; set it where disks are slow and shared.",
        set: |c, v| put(&mut c.query_max_bytes, value::or_off(v, value::positive_size)),
        effective: None,
    },
    Setting {
        name: "query.concurrency",
        default: "auto",
        kind: "COUNT",
        doc: "Queries that run at once. `auto` is two per core.",
        set: |c, v| put(&mut c.query_concurrency, value::or_auto(v, |v| value::count(v, 1))),
        effective: Some(|c| c.query_concurrency().to_string()),
    },
    Setting {
        name: "query.queue",
        default: "100",
        kind: "COUNT",
        doc: "Queries that may wait for their turn; further ones get 503 at once. A dashboard asks some 30 at a time.",
        set: |c, v| put(&mut c.query_queue, value::count(v, 0)),
        effective: None,
    },
    Setting {
        name: "query.features",
        default: "experimental-functions, duration-expressions, extended-ranges, fill",
        kind: "LIST",
        doc: "Parts of the query language that are on, with commas between them, or `none`: `experimental-functions`, \
              `duration-expressions` (`[2 * step()]`), `extended-ranges` (`anchored`, `smoothed`), `fill`, and \
              `delayed-name-removal` (names go at a query's end). A stock Prometheus has all of them off; the default has those on \
              that change no other query's answer.",
        set: |c, v| put(&mut c.query_features, QueryFeatures::parse(v)),
        effective: None,
    },
    Setting {
        name: "admin.enabled",
        default: "auto",
        kind: "BOOL",
        doc: "Whether the calls under `/api/v1/admin` answer. `auto`: only where `listen` is a loopback address.",
        set: |c, v| put(&mut c.admin_enabled, value::or_auto(v, boolean)),
        effective: Some(|c| c.admin_enabled().to_string()),
    },
    Setting {
        name: "self_scrape",
        default: "off",
        kind: "DURATION",
        doc: "How often Cardinal stores its own metrics (`job=\"cardinal\"`), so that there are data to ask for at once: `15s`, or \
              `off`.",
        set: |c, v| {
            let interval = |v: &str| value::positive_duration(v).map(std_duration);
            put(&mut c.self_scrape, value::or_off(v, interval))
        },
        effective: None,
    },
    Setting {
        name: "log.level",
        default: "info",
        kind: "LEVEL",
        doc: "How much is logged to standard error: `error`, `warn`, `info`, `debug` or `trace`.",
        set: |c, v| {
            use LogLevel::{Debug, Error, Info, Trace, Warn};
            let levels =
                [("error", Error), ("warn", Warn), ("info", Info), ("debug", Debug), ("trace", Trace)];
            put(&mut c.log_level, value::choice(v, &levels))
        },
        effective: None,
    },
    Setting {
        name: "log.format",
        default: "text",
        kind: "FORMAT",
        doc: "How log lines look: `text` for people, `json` for collectors.",
        set: |c, v| {
            put(&mut c.log_format, value::choice(v, &[("text", LogFormat::Text), ("json", LogFormat::Json)]))
        },
        effective: None,
    },
];

impl Config {
    /// All defaults.
    ///
    /// The literals only give the fields a type to start from: every one of them is overwritten by its setting's default.
    pub(super) fn defaults() -> Self {
        let mut config = Self {
            listen: ([127, 0, 0, 1], 0).into(),
            data_dir: Default::default(),
            account_label: Default::default(),
            shards: ShardCount::new(1).expect("one shard is a valid count"),
            wal_sync: WalSync::Commit,
            wal_sync_interval: Default::default(),
            head_window: Default::default(),
            head_memory_budget: None,
            ingest_future_max: Default::default(),
            ingest_late_max: None,
            ingest_request_bytes: 0,
            ingest_request_samples: 0,
            ingest_inflight_bytes: 0,
            retention: Default::default(),
            delete_grace: DurationMs(0),
            limits_series: Default::default(),
            limits_label_names: 0,
            limits_label_name_bytes: 0,
            limits_label_value_bytes: 0,
            query_lookback: Default::default(),
            query_timeout: Default::default(),
            query_max_samples: 0,
            query_max_series: None,
            query_max_bytes: None,
            query_cache_bytes: None,
            query_concurrency: None,
            query_queue: 0,
            query_features: QueryFeatures::NONE,
            admin_enabled: None,
            self_scrape: None,
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
        };
        for setting in SETTINGS {
            (setting.set)(&mut config, setting.default)
                .expect("defaults are valid: a test sets each of them");
        }
        config
    }
}

fn put<T>(field: &mut T, parsed: Result<T, ValueError>) -> Result<(), ValueError> {
    *field = parsed?;
    Ok(())
}

fn std_duration(d: DurationMs) -> Duration {
    Duration::from_millis(u64::try_from(d.0).unwrap_or(0))
}

fn non_empty(text: &str) -> Result<&str, ValueError> {
    if text.is_empty() { Err(ValueError("must not be empty".to_owned())) } else { Ok(text) }
}

fn label_name(text: &str) -> Result<String, ValueError> {
    if text.is_empty() || text == "__name__" {
        return Err(ValueError(format!(
            "{text:?} cannot name accounts: use a label such as account or tenant"
        )));
    }
    Ok(text.to_owned())
}

fn shards(text: &str) -> Result<ShardCount, ValueError> {
    let number = value::count(text, 1)?;
    let count = u16::try_from(number).ok().and_then(ShardCount::new);
    count.ok_or_else(|| ValueError(format!("{number} is not a number of shards: 1 to {}", ShardCount::MAX)))
}

/// Windows divide the day, so that day blocks are whole ones.
fn window(text: &str) -> Result<DurationMs, ValueError> {
    let window = value::positive_duration(text)?;
    let day = DurationMs::hours(24);
    if window.0 < 60_000 || window.0 > day.0 || day.0 % window.0 != 0 {
        return Err(ValueError(format!(
            "{text} is not a window: 1m to 24h, and a whole number of them in a day"
        )));
    }
    Ok(window)
}

fn memory_budget(text: &str) -> Result<u64, ValueError> {
    let bytes = value::size(text)?;
    if bytes < MEMORY_BUDGET_MIN {
        return Err(ValueError(format!(
            "{text} is too little: the tables of an almost empty head would have it flushed without end; at least {}MiB",
            MEMORY_BUDGET_MIN >> 20
        )));
    }
    Ok(bytes)
}

/// Less than an hour is a slip of the unit: blocks would go as soon as they are there.
fn retention(text: &str) -> Result<DurationMs, ValueError> {
    let kept = value::positive_duration(text)?;
    if kept < DurationMs::hours(1) {
        return Err(ValueError(format!("{text} is no retention: at least 1h")));
    }
    Ok(kept)
}

/// `account=duration`, separated by commas.
fn accounts(text: &str) -> Result<BTreeMap<String, DurationMs>, ValueError> {
    by_account(text, "its retention: write 459500=30d, trial=1d", retention)
}

/// `account=series:count series_created:rate`, separated by commas.
fn account_limits(text: &str) -> Result<BTreeMap<String, SeriesMax>, ValueError> {
    let expected = "its limits: write 459500=series:2000000 series_created:50000/1m, trial=series:1000";
    by_account(text, expected, |text| {
        let mut max = SeriesMax::default();
        for word in text.split_whitespace() {
            match word.split_once(':') {
                Some(("series", n)) if max.active.is_none() => max.active = Some(value::count(n, 0)?),
                Some(("series_created", rate)) if max.created.is_none() => {
                    max.created = Some(series_rate(rate)?);
                }
                _ => {
                    return Err(ValueError(format!(
                        "{word:?} is not one of series:COUNT and series_created:COUNT/DURATION, each at most once"
                    )));
                }
            }
        }
        Ok(max)
    })
}

/// `100000/1m`
fn series_rate(text: &str) -> Result<SeriesRate, ValueError> {
    let (series, per) = text.split_once('/').ok_or_else(|| {
        ValueError(format!("{text:?} is no number of series in an interval: write it like 100000/1m"))
    })?;
    Ok(SeriesRate { series: value::count(series, 0)?, per: value::positive_duration(per)? })
}

/// `account=value`, separated by commas. Accounts with a comma in their name cannot be named.
fn by_account<T>(
    text: &str,
    expected: &str,
    parse: impl Fn(&str) -> Result<T, ValueError>,
) -> Result<BTreeMap<String, T>, ValueError> {
    let mut accounts = BTreeMap::new();
    let entries = text.split(',').map(str::trim).filter(|_| text != "off");
    for entry in entries {
        let wrong = || ValueError(format!("{entry:?} is no account with {expected}; or off"));
        let (account, value) = entry.rsplit_once('=').ok_or_else(wrong)?;
        let (account, value) = (account.trim(), value.trim());
        if account.is_empty() || value.is_empty() {
            return Err(wrong());
        }
        let value = parse(value).map_err(|e| ValueError(format!("account {account:?}: {e}")))?;
        if accounts.insert(account.to_owned(), value).is_some() {
            return Err(ValueError(format!("account {account:?} is there twice: keep one of them")));
        }
    }
    Ok(accounts)
}

fn boolean(text: &str) -> Result<bool, ValueError> {
    value::choice(text, &[("true", true), ("false", false), ("on", true), ("off", false)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_valid_and_every_name_is_spelled_alike() {
        let mut config = Config::defaults();
        for setting in SETTINGS {
            assert!((setting.set)(&mut config, setting.default).is_ok(), "{}", setting.name);
            assert!(
                setting
                    .name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '_'),
                "{}",
                setting.name
            );
            assert!(setting.doc.ends_with('.'), "{}", setting.name);
        }
        let wal = setting("wal.sync").expect("exists");
        assert_eq!((wal.flag().as_str(), wal.variable().as_str()), ("wal-sync", "CARDINAL_WAL_SYNC"));
    }

    #[test]
    fn flags_and_variables_are_unambiguous() {
        let flags: std::collections::BTreeSet<_> = SETTINGS.iter().map(Setting::flag).collect();
        let variables: std::collections::BTreeSet<_> = SETTINGS.iter().map(Setting::variable).collect();
        assert_eq!((flags.len(), variables.len()), (SETTINGS.len(), SETTINGS.len()));
    }

    #[test]
    fn accounts_have_retentions_of_their_own() {
        let check = |text: &str, want: &[(&str, i64)]| {
            let found = accounts(text).expect(text);
            let found: Vec<_> =
                found.iter().map(|(account, kept)| (account.as_str(), kept.0 / 3_600_000)).collect();
            assert_eq!(found, want, "{text:?}");
        };
        check("off", &[]);
        check("459500=30d", &[("459500", 720)]);
        check(" 459500 = 30d ,trial=1d, a=b=1h", &[("459500", 720), ("a=b", 1), ("trial", 24)]);
        check("off=2h", &[("off", 2)]);
    }

    #[test]
    fn accounts_have_limits_of_their_own() {
        let check = |text: &str, want: &[(&str, Option<u64>, Option<&str>)]| {
            let found = account_limits(text).expect(text);
            let found: Vec<_> = found
                .iter()
                .map(|(a, max)| (a.as_str(), max.active, max.created.map(|r| r.to_string())))
                .collect();
            let want: Vec<_> = want.iter().map(|(a, n, rate)| (*a, *n, rate.map(str::to_owned))).collect();
            assert_eq!(found, want, "{text:?}");
        };
        check("off", &[]);
        check("trial=series:1000", &[("trial", Some(1000), None)]);
        check(
            "b=series_created:5/90s, a=series_created:50_000/1m series:2000000",
            &[("a", Some(2_000_000), Some("50000/1m")), ("b", None, Some("5/1m30s"))],
        );
    }

    #[test]
    fn values_that_are_refused() {
        let check = |name: &str, text: &str, expected: &str| {
            let error = (setting(name).expect("exists").set)(&mut Config::defaults(), text).expect_err(text);
            assert_eq!(error.to_string(), expected);
        };
        check("wal.sync", "comit", "\"comit\" is not one of commit, interval (did you mean commit?)");
        check("retention.raw", "59m", "59m is no retention: at least 1h");
        check("retention.1h", "1", "\"1\" is not a duration: write it like 15s, 2h, 1h30m or 7d");
        let wrong = "\"trial\" is no account with its retention: write 459500=30d, trial=1d; or off";
        check("retention.accounts", "459500=30d, trial", wrong);
        check(
            "retention.accounts",
            "",
            "\"\" is no account with its retention: write 459500=30d, trial=1d; or off",
        );
        check("retention.accounts", "a=1d,a=2d", "account \"a\" is there twice: keep one of them");
        check("retention.accounts", "a=1m", "account \"a\": 1m is no retention: at least 1h");
        let wrong = "account \"a\": \"1000\" is not one of series:COUNT and series_created:COUNT/DURATION, each at most once";
        check("limits.accounts", "a=1000", wrong);
        let wrong = "\"5\" is no number of series in an interval: write it like 100000/1m; or off";
        check("limits.series_created", "5", wrong);
        check("limits.series_created", "5/0", "must be longer than 0; or off");
        check("limits.series", "many", "\"many\" is not a whole number; or off");
        check("retention.size", "0", "must be more than 0; or off");
        check("shards", "0", "0 is too few: at least 1");
        check("shards", "70000", "70000 is not a number of shards: 1 to 256");
        check("head.window", "7h", "7h is not a window: 1m to 24h, and a whole number of them in a day");
        check(
            "head.memory_budget",
            "lots",
            "\"lots\" is not a size: write it like 64MiB, 1.5GiB or 1000000; or auto",
        );
        check(
            "head.memory_budget",
            "15MiB",
            "15MiB is too little: the tables of an almost empty head would have it flushed without end; at least 16MiB; or auto",
        );
        assert!(
            (setting("head.memory_budget").expect("exists").set)(&mut Config::defaults(), "16MiB").is_ok()
        );
        check("query.timeout", "0", "must be longer than 0");
        check(
            "account.label",
            "__name__",
            "\"__name__\" cannot name accounts: use a label such as account or tenant",
        );
        check("admin.enabled", "yes", "\"yes\" is not one of true, false, on, off; or auto");
    }
}

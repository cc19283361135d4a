//! `cardinal serve`: the server, from its banner to its end.

use std::io::{ErrorKind, Write, stdout};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use cardinal_ingest::{LabelLimits, WriteOptions, Writer};
use cardinal_storage::database::{Database, DatabaseOptions, FAULTS_FILE};
use cardinal_storage::io::{Clock, SystemClock, note_map_faults};
use cardinal_storage::wal::SyncMode;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::settings::SettingFlags;
use crate::config::{Config, Origin, Resolved, Row, WalSync};
use crate::http::{AppState, Core, listen, router};
use crate::telemetry::{log, self_scrape};

const EXAMPLES: &str = "\
Examples:
  cardinal serve                                        with ./data, on 127.0.0.1:9460
  cardinal serve --self-scrape 15s                      store its own metrics too
  cardinal serve --data-dir /var/lib/cardinal --listen 0.0.0.0:9460
  CARDINAL_LOG_FORMAT=json cardinal serve --config /etc/cardinal.yaml

SIGTERM or SIGINT stops it: requests in flight are finished, everything is synced, the exit code is 0.
A second signal ends it at once; what was acknowledged is safe all the same.";

/// Start the server
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    settings: SettingFlags,
}

pub(super) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let resolved = args.settings.resolve()?;
    log::init(resolved.config.log_level, resolved.config.log_format);
    for warning in &resolved.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(resolved, args.settings.file().as_deref()));
    // A query that outlived its grace must not hold up the end.
    runtime.shutdown_background();
    outcome
}

async fn serve(resolved: Resolved, file: Option<&Path>) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let settings = settings_line(&resolved.rows, file);
    let config = resolved.config;
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}: choose another address with --listen", config.listen)
    })?;
    let address = listener.local_addr()?;
    print_banner(&config, address, &settings);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let state = AppState::new(config, clock.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = state.clone();
    let server = tokio::spawn(async move {
        let stop = async { drop(stopped.await) };
        listen::serve(listener, router(serving.clone()), &serving.connections, stop).await
    });
    let core = tokio::select! {
        core = open(state.config.clone(), clock) => core?,
        () = signals.next() => return Ok(()),
    };
    state.open(core.clone());
    print_next_step(address);
    tracing::info!(%address, "ready");
    let scraper =
        state.config.self_scrape.map(|every| tokio::spawn(self_scrape::run(state.clone(), every, address)));
    signals.next().await;
    tracing::info!("stopping: no new requests, those in flight are finished");
    state.stop();
    drop(stop);
    tokio::select! {
        finished = server => finish(core.database, finished.unwrap_or(false)).await?,
        () = signals.next() => tracing::warn!("stopped at once by a second signal"),
    }
    scraper.inspect(|task| task.abort());
    Ok(())
}

/// Opens the database on a thread that may block.
async fn open(config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<Core> {
    refuse_dangling_link(&config.data_dir)?;
    let options = database_options(&config, clock.clone());
    spawn_blocking({
        let directory = options.dir.clone();
        move || {
            std::fs::create_dir_all(&directory)?;
            note_map_faults(&directory.join(FAULTS_FILE))
        }
    })
    .await?
    .map_err(|error| unwritable(&options.dir, error))?;
    let database = spawn_blocking(move || Database::open(options)).await??;
    let writer = Arc::new(Writer::new(database.clone(), clock, write_options(&config)));
    Ok(Core { database, writer })
}

/// The first file that a start writes could not be made: what to do, and what reads the directory without writing.
fn unwritable(directory: &Path, error: std::io::Error) -> anyhow::Error {
    let why = match error.kind() {
        ErrorKind::ReadOnlyFilesystem => "the file system is mounted read-only: mount it read-write",
        ErrorKind::PermissionDenied => {
            "the server may not write there: set the owner, or start it as another user"
        }
        _ => {
            return anyhow::Error::new(error)
                .context(format!("{} cannot be made", directory.join(FAULTS_FILE).display()));
        }
    };
    anyhow::anyhow!(
        "{}: {error}; {why}. A server writes from its start on. `cardinal inspect` and `cardinal verify` only read: with --data-dir they \
         tell what is there",
        directory.display()
    )
}

/// Made where it is missing it would be "there already".
fn refuse_dangling_link(directory: &Path) -> anyhow::Result<()> {
    let Ok(target) = std::fs::read_link(directory) else { return Ok(()) };
    anyhow::ensure!(
        directory.exists(),
        "{} is a link to {}, which is not there: make that directory, mount what it is on, or correct data_dir",
        directory.display(),
        target.display()
    );
    Ok(())
}

async fn finish(database: Arc<Database>, all_finished: bool) -> anyhow::Result<()> {
    if !all_finished {
        tracing::warn!("some requests did not finish in time and were cut off");
    }
    spawn_blocking(move || database.close()).await?.context("the log could not be closed")?;
    tracing::info!("stopped; everything is on disk");
    Ok(())
}

fn database_options(config: &Config, clock: Arc<dyn Clock>) -> DatabaseOptions {
    DatabaseOptions {
        account_label: config.account_label.clone(),
        shards: config.shards,
        window: config.head_window,
        memory_budget: config.head_memory_budget(),
        sync: match config.wal_sync {
            WalSync::Commit => SyncMode::Commit,
            WalSync::Interval => SyncMode::Interval(config.wal_sync_interval),
        },
        trust_clock: true,
        retention: config.retention.clone(),
        delete_grace: config.delete_grace,
        limits: config.limits_series.clone(),
        clock,
        ..DatabaseOptions::new(&config.data_dir)
    }
}

fn write_options(config: &Config) -> WriteOptions {
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    WriteOptions {
        request_bytes_max: size(config.ingest_request_bytes),
        request_samples_max: u32::try_from(config.ingest_request_samples).unwrap_or(u32::MAX),
        in_flight_bytes_max: config.ingest_inflight_bytes,
        future_max: config.ingest_future_max,
        late_max: config.ingest_late_max(),
        labels: LabelLimits {
            names_max: size(config.limits_label_names),
            name_bytes_max: size(config.limits_label_name_bytes),
            value_bytes_max: size(config.limits_label_value_bytes),
        },
        ..WriteOptions::default()
    }
}

/// What a person wants to know first. To standard output; log lines go to standard error.
fn print_banner(config: &Config, address: SocketAddr, settings: &str) {
    let url = url(address);
    let directory = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    let banner = format!(
        "Cardinal {}\n  address    {url}\n  data       {}\n  settings   {settings}",
        env!("CARGO_PKG_VERSION"),
        directory.display(),
    );
    // Nobody reading it is no reason not to serve.
    let _ = writeln!(stdout(), "{banner}");
}

/// How many settings were set, and where.
fn settings_line(rows: &[Row], file: Option<&Path>) -> String {
    let count = |is_wanted: fn(&Origin) -> bool| rows.iter().filter(|row| is_wanted(&row.origin)).count();
    let in_file = count(|o| matches!(o, Origin::File(..)));
    let from_environment = count(|o| matches!(o, Origin::Environment(_)));
    let from_flags = count(|o| matches!(o, Origin::Flag(_)));
    let mut parts: Vec<String> =
        file.map(|f| format!("{in_file} from {}", f.display())).into_iter().collect();
    parts.extend((from_environment > 0).then(|| format!("{from_environment} from the environment")));
    parts.extend((from_flags > 0).then(|| format!("{from_flags} from flags")));
    match parts.is_empty() {
        true => "defaults (`cardinal config` lists them)".to_owned(),
        false => format!("{}, others are defaults (`cardinal config` lists them)", parts.join(", ")),
    }
}

/// What there is to do once there is something to open.
fn print_next_step(address: SocketAddr) {
    let url = url(address);
    let _ = writeln!(stdout(), "  next step  open {url}/ or let Prometheus write to {url}/api/v1/write");
}

fn url(address: SocketAddr) -> String {
    format!("http://{}", reachable(address))
}

/// An address that a browser on this machine can open.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => ([127, 0, 0, 1], v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

/// What asks the process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, resolve};

    #[test]
    fn a_directory_that_cannot_be_written_is_refused_with_what_to_do() {
        let check = |kind: ErrorKind, expected: &[&str]| {
            let text = format!("{:#}", unwritable(Path::new("/d"), kind.into()));
            assert!(expected.iter().all(|e| text.contains(e)), "{text}");
        };
        check(ErrorKind::ReadOnlyFilesystem, &["/d: ", "mount it read-write", "`cardinal verify`"]);
        check(ErrorKind::PermissionDenied, &["/d: ", "set the owner", "`cardinal inspect`"]);
        check(ErrorKind::StorageFull, &["/d/FAULTS cannot be made: "]);
    }

    #[test]
    fn settings_are_counted_by_where_they_come_from() {
        let check = |file: Option<&str>, environment: &[&str], flags: &[&'static str], expected: &str| {
            let sources = Sources {
                file: None,
                environment: environment.iter().map(|n| ((*n).to_owned(), "7".to_owned())).collect(),
                flags: flags.iter().map(|n| (*n, "8".to_owned())).collect(),
            };
            let mut rows = resolve(&sources).expect("valid").rows;
            if let Some(file) = file {
                rows[0].origin = Origin::File(file.into(), 1, 1);
            }
            let line = settings_line(&rows, file.map(Path::new));
            assert_eq!(line.strip_suffix(" (`cardinal config` lists them)"), Some(expected));
        };
        check(None, &[], &[], "defaults");
        check(None, &[], &["query.queue"], "1 from flags, others are defaults");
        check(
            None,
            &["CARDINAL_SHARDS", "CARDINAL_QUERY_QUEUE"],
            &["query.queue"],
            "1 from the environment, 1 from flags, others are defaults",
        );
        check(
            Some("a.yaml"),
            &["CARDINAL_SHARDS"],
            &[],
            "1 from a.yaml, 1 from the environment, others are defaults",
        );
    }

    #[test]
    fn addresses_that_a_browser_can_open() {
        let check = |address: &str, expected: &str| {
            assert_eq!(reachable(address.parse().expect("an address")).to_string(), expected);
        };
        check("0.0.0.0:9460", "127.0.0.1:9460");
        check("[::]:9460", "[::1]:9460");
        check("192.0.2.1:80", "192.0.2.1:80");
    }
}

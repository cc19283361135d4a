//! What the handlers share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use cardinal_ingest::Writer;
use cardinal_query::{Engine, EngineOptions, Limits};
use cardinal_storage::database::{AccountRefusals, Database};
use cardinal_storage::io::Clock;

use super::gate::Gate;
use super::listen::Connections;
use super::queries::Queries;
use crate::config::Config;
use crate::telemetry::{Readings, Telemetry};

/// The server's parts. The database is there once it is open; until then, requests for it are sent away.
#[derive(Debug)]
pub struct AppState {
    /// The settings.
    pub config: Config,
    /// What is counted.
    pub telemetry: Telemetry,
    /// Places for connections.
    pub connections: Connections,
    /// Turns for queries.
    pub gate: Gate,
    /// Evaluates queries.
    pub engine: Engine,
    /// Queries that run, and the slowest that ran.
    pub queries: Arc<Queries>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    core: OnceLock<Core>,
    stopping: AtomicBool,
}

/// The open database, and the way into it.
#[derive(Clone, Debug)]
pub struct Core {
    /// The database.
    pub database: Arc<Database>,
    /// Takes write requests.
    pub writer: Arc<Writer>,
}

impl AppState {
    /// Everything but the database.
    pub fn new(config: Config, clock: Arc<dyn Clock>) -> Arc<Self> {
        let queue = usize::try_from(config.query_queue).unwrap_or(usize::MAX);
        Arc::new(Self {
            connections: Connections::default(),
            gate: Gate::new(config.query_concurrency(), queue),
            engine: Engine::new(engine_options(&config)),
            telemetry: Telemetry::new(),
            queries: Arc::default(),
            clock,
            core: OnceLock::new(),
            stopping: AtomicBool::new(false),
            config,
        })
    }

    /// Hands over the open database: from now on the server is ready.
    pub fn open(&self, core: Core) {
        assert!(self.core.set(core).is_ok(), "the database is opened once");
    }

    /// The open database; `None` before it is open and once the server stops.
    pub fn core(&self) -> Option<&Core> {
        self.core.get().filter(|_| !self.is_stopping())
    }

    /// From now on the server is not ready any more; what runs, finishes.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether it stops.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Everything that is measured, as text.
    pub fn exposition(&self) -> String {
        self.telemetry.encode(Readings {
            stats: self.core.get().map(|core| core.database.stats()),
            accounts: self.core.get().map(|core| limited_accounts(&core.database)),
            writes: self.core.get().map(|core| core.writer.stats()),
            connections: self.connections.open_and_max(),
            queries_running: self.gate.running(),
            queries_waiting: self.gate.waiting(),
            cache: self.engine.cache_stats(),
        })
    }
}

/// Accounts that metrics name at once.
const ACCOUNTS_NAMED: usize = 20;

/// The accounts with most samples refused, with their series, and the others.
fn limited_accounts(database: &Database) -> (Vec<(AccountRefusals, u64)>, AccountRefusals) {
    let (accounts, others) = database.account_refusals(ACCOUNTS_NAMED);
    let with_series = |a: AccountRefusals| {
        let series = database.series_of_account(&a.account);
        (a, series)
    };
    (accounts.into_iter().map(with_series).collect(), others)
}

fn engine_options(config: &Config) -> EngineOptions {
    let limits = Limits {
        lookback: config.query_lookback,
        timeout: config.query_timeout,
        samples_max: config.query_max_samples,
        series_max: config.query_max_series,
        bytes_max: config.query_max_bytes,
        ..Limits::default()
    };
    EngineOptions {
        limits,
        features: config.query_features.language,
        cache_bytes: config.query_cache_bytes.unwrap_or(0),
        delayed_name_removal: config.query_features.delayed_name_removal,
        ..EngineOptions::default()
    }
}

//! Log lines: text for people, JSON for collectors, always to standard error.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt;

use crate::config::{LogFormat, LogLevel};

/// Sends log lines of at least `level` to standard error. To be called once; further calls change nothing.
pub fn init(level: LogLevel, format: LogFormat) {
    // A line that cannot be written is lost: by default it would be told of on standard error, which panics where that is on
    // a full disk, just when the database has to go on without it.
    let lines = fmt()
        .with_max_level(filter(level))
        .with_writer(io::stderr)
        .with_target(false)
        .log_internal_errors(false);
    let outcome = match format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
    };
    drop(outcome);
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

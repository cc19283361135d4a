//! Log lines: text for people, JSON for collectors, always to standard error.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt;

use crate::config::{LogFormat, LogLevel};

/// Sends log lines of at least `level` to standard error. To be called once; further calls change nothing.
pub fn init(level: LogLevel, format: LogFormat) {
    let lines = fmt().with_max_level(filter(level)).with_writer(io::stderr).with_target(false);
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

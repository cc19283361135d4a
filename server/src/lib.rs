//! The one binary, `cardinal`: HTTP, configuration, telemetry and the command line.

pub mod cli;
pub mod config;
pub mod http;
pub mod telemetry;

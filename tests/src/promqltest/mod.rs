//! Runs test scripts of PromQL: data, queries and what they must answer, in the language of the reference's own
//! `.test` files.
//!
//! A script is read by [`script`], its series and points by [`series`]; [`run()`] loads the data into whatever source
//! the caller makes of it, asks an engine, and compares. What this version does not have ([`Missing`]) is recognised and
//! counted, not judged.

pub mod compare;
pub mod database;
pub mod histogram;
mod loaded;
mod pin;
mod report;
mod run;
pub mod script;
pub mod series;
mod skip;

pub use report::{Missing, Outcome, Report, Verdict};
pub use run::{MakeSource, run};
pub use series::{Point, Series};

use std::fmt;

/// A script that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl ScriptError {
    fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ScriptError {}

//! What came of a script's queries.

use std::fmt;

/// What a query would need that this version does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Start timestamps.
    StartTimestamps,
}

impl Missing {
    /// Everything that may be missing, with its name in reports.
    const ALL: [(Self, &'static str); 1] = [(Self::StartTimestamps, "start timestamps")];
}

/// The verdict on one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is as expected.
    Passed,
    /// It is not, for this reason.
    Failed(String),
    /// Not judged.
    Skipped(Missing),
}

/// One query and its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The line of the query, from 1.
    pub line: usize,
    /// The query.
    pub query: String,
    /// The verdict.
    pub verdict: Verdict,
}

/// The outcomes of a script, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One per query.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    fn count(&self, which: impl Fn(&Verdict) -> bool) -> usize {
        self.outcomes.iter().filter(|o| which(&o.verdict)).count()
    }

    /// How many queries passed.
    pub fn passed(&self) -> usize {
        self.count(|v| *v == Verdict::Passed)
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        self.count(|v| matches!(v, Verdict::Failed(_)))
    }

    /// How many were not judged for want of `missing`.
    pub fn skipped(&self, missing: Missing) -> usize {
        self.count(|v| *v == Verdict::Skipped(missing))
    }

    /// The failed ones, one line each.
    pub fn failures(&self) -> String {
        let line = |o: &Outcome| match &o.verdict {
            Verdict::Failed(reason) => Some(format!("line {}: {}\n    {reason}\n", o.line, o.query)),
            _ => None,
        };
        self.outcomes.iter().filter_map(line).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:5} passed {:5} failed", self.passed(), self.failed())?;
        for (missing, name) in Missing::ALL {
            if self.skipped(missing) > 0 {
                write!(f, "  {} not judged: {name}", self.skipped(missing))?;
            }
        }
        Ok(())
    }
}

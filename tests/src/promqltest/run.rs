//! Runs a script against an engine.

use super::ScriptError;
use super::compare::{check, check_middle, text_matches};
use super::loaded::Loaded;
use super::pin::pinned;
use super::report::{Outcome, Report, Verdict};
use super::script::{Command, Eval, Expectation, Expected, When, read};
use super::skip::Needs;
use cardinal_query::source::{MemorySeries, Source};
use cardinal_query::{Engine, Output, QueryError, QueryOptions, Value};
use cardinal_storage::model::{DurationMs, TimestampMs};

/// Makes a source of all series that are loaded; called anew whenever they change.
pub type MakeSource<'a> = dyn FnMut(&[MemorySeries]) -> Box<dyn Source> + 'a;

/// Runs every command of `script`. Each instant query is also asked as a range query around its time, and with all
/// its selectors pinned to its time from other times.
pub fn run(script: &str, engine: &Engine, make_source: &mut MakeSource<'_>) -> Result<Report, ScriptError> {
    let mut loaded = Loaded::default();
    let mut needs = Needs::default();
    let mut source = None;
    let mut report = Report::default();
    for command in read(script)? {
        match command {
            Command::Clear => {
                loaded = Loaded::default();
                needs.clear();
                source = None;
            }
            Command::Load(load) => {
                loaded.add(&load).map_err(|e| ScriptError::new(load.line, e))?;
                needs.add(&load);
                source = None;
            }
            Command::Eval(eval) => {
                let source = source.get_or_insert_with(|| make_source(&loaded.series()));
                let verdict = match needs.of(&eval) {
                    Some(missing) => Verdict::Skipped(missing),
                    None => judge(&eval, &Asked { engine, source: &**source }),
                };
                report.outcomes.push(Outcome { line: eval.line, query: eval.query, verdict });
            }
        }
    }
    Ok(report)
}

fn judge(eval: &Eval, asked: &Asked<'_>) -> Verdict {
    match asked.eval(eval) {
        Ok(()) => Verdict::Passed,
        Err(reason) => Verdict::Failed(reason),
    }
}

/// Whom to ask, about what.
struct Asked<'a> {
    engine: &'a Engine,
    source: &'a dyn Source,
}

impl Asked<'_> {
    fn instant(&self, query: &str, at: TimestampMs) -> Result<Output, QueryError> {
        self.engine.instant(self.source, query, at, &QueryOptions::default())
    }

    fn range(&self, query: &str, start: i64, end: i64, step: DurationMs) -> Result<Output, QueryError> {
        let (start, end) = (TimestampMs(start), TimestampMs(end));
        self.engine.range(self.source, query, start, end, step, &QueryOptions::default())
    }

    fn eval(&self, eval: &Eval) -> Result<(), String> {
        match eval.when {
            When::Range(t) => {
                let answer = self.range(&eval.query, t.start.0, t.end.0, t.step);
                expected(eval, answer).map(|_| ())
            }
            When::Instant(at) => {
                self.instant_and_range(eval, &eval.query, at)?;
                let Some(pinned) = pinned(&eval.query, at).filter(|q| !depends_on_range(q)) else {
                    return Ok(());
                };
                let respelt = eval.respelt();
                for other in other_times(at) {
                    self.instant_and_range(&respelt, &pinned, other)
                        .map_err(|e| format!("as {pinned} at {other}: {e}"))?;
                }
                Ok(())
            }
        }
    }

    /// Asks at one time, and over a minute before and after it.
    fn instant_and_range(&self, eval: &Eval, query: &str, at: TimestampMs) -> Result<(), String> {
        let Some(output) = expected(eval, self.instant(query, at))? else { return Ok(()) };
        let has_range = eval.range_vector.is_none() && !matches!(eval.expected, Expected::String(_));
        if depends_on_range(query) || !has_range || eval.ordered() || matches!(output.value, Value::Matrix(_))
        {
            return Ok(());
        }
        let minute = DurationMs::mins(1);
        let around = self.range(query, (at - minute).0, (at + minute).0, minute);
        match around.map_err(|e| format!("as a range query: {e}"))?.value {
            Value::Matrix(found) => {
                check_middle(eval, &found, at).map_err(|e| format!("as a range query: {e}"))
            }
            other => Err(format!("as a range query: got a {}", other.kind())),
        }
    }
}

/// Whether the answer depends on the query's whole range.
fn depends_on_range(query: &str) -> bool {
    ["start()", "end()", "step()", "range()"].iter().any(|f| query.contains(f))
}

/// Times at which a pinned query must answer the same.
fn other_times(at: TimestampMs) -> Vec<TimestampMs> {
    let t = at.0;
    let times = if t == 0 { vec![-1000, 0, 1000] } else { vec![-10 * t, 0, t / 5, t, 10 * t] };
    times.into_iter().map(TimestampMs).collect()
}

/// The answer after it was found to be as expected; nothing where it was to fail and did.
fn expected(eval: &Eval, answer: Result<Output, QueryError>) -> Result<Option<Output>, String> {
    match answer {
        Ok(_) if eval.fails() => Err("expected an error, got an answer".into()),
        Ok(output) => check(eval, &output).map(|()| Some(output)),
        Err(error) if eval.fails() => failure(eval, &error.to_string()).map(|()| None),
        Err(error) => Err(format!("failed: {error}")),
    }
}

/// Whether the error says what it must. Our texts may say more: they contain the expected one.
fn failure(eval: &Eval, found: &str) -> Result<(), String> {
    let says = |e: &Expectation| match e {
        Expectation::Fail(text) => {
            let contained =
                matches!(text, Some(super::script::Text::Exactly(t)) if found.contains(t.as_str()));
            contained || text_matches(text, found)
        }
        _ => true,
    };
    match eval.expectations.iter().find(|e| !says(e)) {
        Some(missing) => Err(format!("expected {missing:?}, failed with {found:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promqltest::report::Missing;
    use cardinal_query::EngineOptions;
    use cardinal_query::source::MemorySource;

    /// The verdicts on a script's queries: `p`assed, `f`ailed or `s`kipped.
    fn verdicts(script: &str) -> String {
        let engine = Engine::new(EngineOptions::default());
        let report = run(script, &engine, &mut |series| Box::new(MemorySource::new(series.to_vec(), 2)));
        let letter = |o: &Outcome| match o.verdict {
            Verdict::Passed => 'p',
            Verdict::Failed(_) => 'f',
            Verdict::Skipped(_) => 's',
        };
        report.expect(script).outcomes.iter().map(letter).collect()
    }

    #[test]
    fn wrong_answers_fail() {
        let check = |expectations: &str, expected: &str| {
            let script =
                format!("load 1m\n  up{{job=\"a\"}} 1 2 3\n  up{{job=\"b\"}} 4 5 6\n\n{expectations}\n");
            assert_eq!(verdicts(&script), expected, "{expectations}");
        };
        check("eval instant at 1m sum(up)\n {} 7", "p");
        check("eval instant at 1m sum(up)\n {} 8", "f");
        check("eval instant at 1m sum(up)", "f");
        check("eval instant at 1m sum(up)\n {} 7\n {job=\"a\"} 1", "f");
        check("eval instant at 1m up > 9", "p");
        check("eval instant at 1m count(up) + 1\n 3", "f");
        check("eval instant at 1m 1 + 2\n 3", "p");
        check("eval instant at 1m \"x\"\n expect string \"y\"", "f");
        check("eval instant at 1m sort_desc(up)\n expect ordered\n up{job=\"b\"} 5\n up{job=\"a\"} 2", "p");
        check("eval instant at 1m sort(up)\n expect ordered\n up{job=\"b\"} 5\n up{job=\"a\"} 2", "f");
        check("eval range from 0 to 2m step 1m up{job=\"a\"}\n up{job=\"a\"} 1 2 3", "p");
        check("eval range from 0 to 2m step 1m up{job=\"a\"}\n up{job=\"a\"} 1 _ 3", "f");
        check("eval range from 0 to 2m step 1m up{job=\"a\"}\n up{job=\"a\"} 1 2 3 4", "f");
        check("eval instant at 1m up +\n expect fail", "p");
        check("eval instant at 1m sum(up)\n expect fail\n", "f");
        check("eval instant at 1m up * on () up\n expect fail msg: nonsense", "f");
        check("eval instant at 1m sum(up)\n expect warn\n {} 7", "f");
        check("eval instant at 1m rate(up{job=\"a\"}[2m])\n expect no_info\n {job=\"a\"} 0.0166666", "f");
        check("eval instant at 1m avg(up)\n {} 3.5\n\nclear\neval instant at 1m up", "pp");
    }

    #[test]
    fn histograms_are_judged() {
        let check = |query: &str, expected: &str| {
            let script = format!(
                "load_with_nhcb 1m\n  h_bucket{{le=\"1\"}} 1 2\n  h_count 1 3\n  n {{{{sum:1}}}}\n\neval instant at 1m {query}\n"
            );
            assert_eq!(verdicts(&script), expected, "{query}");
        };
        check("sum(h)\n {} {{schema:-53 count:3 custom_values:[1] buckets:[2 1]}}", "p");
        check("sum(h)\n {} {{schema:-53 count:3 custom_values:[1] buckets:[1 2]}}", "f");
        check("sum(h)\n {} 3", "f");
        check("sum(n)\n {} {{sum:1}}", "p");
        check("sum(h_count)\n {} {{sum:1}}", "f");
        check("n[1m]\n expect range vector from 0 to 0 step 1m\n n {{sum:1}}", "f");
    }

    #[test]
    fn what_is_missing_is_not_judged() {
        let report = run(
            "load 1m\n x@st 0\n x 1\n\neval instant at 0 x\n x 1\n",
            &Engine::new(EngineOptions::default()),
            &mut |series| Box::new(MemorySource::new(series.to_vec(), 1)),
        );
        assert_eq!(report.map(|r| r.skipped(Missing::StartTimestamps)), Ok(1));
    }
}

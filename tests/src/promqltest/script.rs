//! The commands of a script: `load`, `clear` and `eval` with what is expected.

use super::series::{self, Series};
use super::{ScriptError, series::number};
use cardinal_query::parse::{Expr, Features, parse};
use cardinal_storage::model::{DurationMs, TimestampMs};

/// One command.
#[derive(Clone, Debug)]
pub enum Command {
    /// Adds series.
    Load(Load),
    /// Forgets all series.
    Clear,
    /// Asks, and compares the answer.
    Eval(Eval),
}

/// Series whose points are one step apart, from time 0.
#[derive(Clone, Debug)]
pub struct Load {
    /// The line of the command, from 1.
    pub line: usize,
    /// The step.
    pub step: DurationMs,
    /// Whether classic histograms are loaded as native ones too.
    pub with_native: bool,
    /// The series.
    pub series: Vec<Series>,
}

/// A query with its expectations.
#[derive(Clone, Debug)]
pub struct Eval {
    /// The line of the command, from 1.
    pub line: usize,
    /// The query.
    pub query: String,
    /// When it is evaluated.
    pub when: When,
    /// The expected times of a range vector, where an instant query gives one.
    pub range_vector: Option<Times>,
    /// The expected series or number.
    pub expected: Expected,
    /// What is said about the answer.
    pub expectations: Vec<Expectation>,
}

/// When a query is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At one time.
    Instant(TimestampMs),
    /// At several.
    Range(Times),
}

/// Times at a fixed distance, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The first.
    pub start: TimestampMs,
    /// No time is beyond it.
    pub end: TimestampMs,
    /// The distance.
    pub step: DurationMs,
}

/// The expected value.
#[derive(Clone, Debug)]
pub enum Expected {
    /// These series, none if empty.
    Series(Vec<Series>),
    /// A scalar.
    Scalar(f64),
    /// A string.
    String(String),
}

/// The kind of a remark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remark {
    /// A warning.
    Warning,
    /// An info.
    Info,
}

/// An `expect` line.
#[derive(Clone, Debug)]
pub enum Expectation {
    /// The query fails; with this text, if one is given.
    Fail(Option<Text>),
    /// There is a remark; with this text, if one is given.
    Some(Remark, Option<Text>),
    /// There is no such remark.
    None(Remark),
    /// The series come in the expected order.
    Ordered,
}

/// A text to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// The whole text.
    Exactly(String),
    /// How it begins.
    Beginning(String),
    /// A pattern that occurs in it.
    Pattern(String),
}

impl Eval {
    /// The same of a query that is spelt differently: the places in remarks are others.
    pub fn respelt(&self) -> Self {
        let mut eval = self.clone();
        for e in &mut eval.expectations {
            if let Expectation::Some(_, Some(text)) = e
                && let Text::Exactly(whole) = text
                && let Some((words, _)) = whole.rsplit_once(" (")
            {
                *text = Text::Beginning(words.to_owned());
            }
        }
        eval
    }

    /// Whether it must fail.
    pub fn fails(&self) -> bool {
        self.expectations.iter().any(|e| matches!(e, Expectation::Fail(_)))
    }

    /// Whether the order of the series counts.
    pub fn ordered(&self) -> bool {
        self.expectations.iter().any(|e| matches!(e, Expectation::Ordered))
    }
}

/// Reads a script.
pub fn read(text: &str) -> Result<Vec<Command>, ScriptError> {
    // A comment ends a block as an empty line does.
    let clean = |line: &'_ str| -> String {
        let line = line.trim();
        if line.starts_with('#') { String::new() } else { line.to_owned() }
    };
    let lines: Vec<String> = text.lines().map(clean).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        at += 1;
        let line = &lines[first];
        if line.is_empty() {
            continue;
        }
        let word = line.split_whitespace().next().unwrap_or_default();
        if word == "clear" {
            commands.push(Command::Clear);
            continue;
        }
        while lines.get(at).is_some_and(|l| !l.is_empty()) {
            at += 1;
        }
        let block = Block { first, lines: &lines[first..at] };
        commands.push(match word {
            "load" | "load_with_nhcb" => Command::Load(block.load()?),
            _ if word == "eval" || word.starts_with("eval_") => {
                let (eval, used) = block.eval()?;
                at = first + used;
                Command::Eval(eval)
            }
            _ => return Err(ScriptError::new(first + 1, format!("unknown command {word:?}"))),
        });
    }
    Ok(commands)
}

/// A command's line and those that follow it up to an empty one.
struct Block<'s> {
    first: usize,
    lines: &'s [String],
}

impl Block<'_> {
    fn error(&self, index: usize, message: impl Into<String>) -> ScriptError {
        ScriptError::new(self.first + index + 1, message)
    }

    fn load(&self) -> Result<Load, ScriptError> {
        let (word, step) = split_word(&self.lines[0]);
        let step = duration(step).ok_or_else(|| self.error(0, format!("{step:?} is no step")))?;
        let series = |(i, line): (usize, &String)| series::parse(line).map_err(|e| self.error(i, e));
        let series = self.lines.iter().enumerate().skip(1).map(series).collect::<Result<_, _>>()?;
        Ok(Load { line: self.first + 1, step, with_native: word == "load_with_nhcb", series })
    }

    /// The command, and how many lines it took.
    fn eval(&self) -> Result<(Eval, usize), ScriptError> {
        let (word, rest) = split_word(&self.lines[0]);
        let (when, query) = when(rest).ok_or_else(|| self.error(0, "malformed evaluation command"))?;
        let expectations = match word.strip_prefix("eval_") {
            None => Vec::new(),
            Some("fail") => vec![Expectation::Fail(None)],
            Some("ordered") => vec![Expectation::Ordered],
            Some("warn") => vec![Expectation::Some(Remark::Warning, None)],
            Some("info") => vec![Expectation::Some(Remark::Info, None)],
            Some(other) => return Err(self.error(0, format!("unknown kind of evaluation {other:?}"))),
        };
        let mut eval = Eval {
            line: self.first + 1,
            query: query.to_owned(),
            when,
            range_vector: None,
            expected: Expected::Series(Vec::new()),
            expectations,
        };
        for (index, line) in self.lines.iter().enumerate().skip(1) {
            let end = eval.read_line(line).map_err(|e| self.error(index, e))?;
            if end {
                return Ok((eval, index + 1));
            }
        }
        Ok((eval, self.lines.len()))
    }
}

impl Eval {
    /// Takes one line below the command; whether it was the last one.
    fn read_line(&mut self, line: &str) -> Result<bool, String> {
        if let Some(times) = line.strip_prefix("expect range vector") {
            self.range_vector = Some(times_from(times).ok_or("malformed range vector")?.0);
        } else if let Some(text) = line.strip_prefix("expect string") {
            self.expected = Expected::String(string(text.trim())?);
        } else if split_word(line).0 == "expect" {
            self.expectations.push(expectation(split_word(line).1)?);
        } else if let Some(text) = line.strip_prefix("expected_fail_message ") {
            self.expectations.push(Expectation::Fail(Some(Text::Exactly(text.trim().into()))));
        } else if let Some(text) = line.strip_prefix("expected_fail_regexp ") {
            self.expectations.push(Expectation::Fail(Some(Text::Pattern(text.trim().into()))));
        } else if let Some(value) = number(line).or_else(|| literal(line)) {
            self.expected = Expected::Scalar(value);
            return Ok(true);
        } else {
            let series = series::parse(line)?;
            match &mut self.expected {
                Expected::Series(list) => list.push(series),
                _ => return Err("a series is expected beside another value".into()),
            }
        }
        Ok(false)
    }
}

/// The first word, and what follows it.
fn split_word(line: &str) -> (&str, &str) {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (word, rest.trim())
}

/// `instant at 5m query`, `instant query` or `range from 0 to 5m step 1m query`.
fn when(text: &str) -> Option<(When, &str)> {
    match split_word(text) {
        ("instant", rest) => match split_word(rest) {
            ("at", rest) => {
                let (at, query) = split_word(rest);
                Some((When::Instant(TimestampMs(duration(at)?.0)), query))
            }
            _ => Some((When::Instant(TimestampMs(0)), rest)),
        },
        ("range", rest) => {
            let (times, query) = times_from(rest)?;
            Some((When::Range(times), query))
        }
        _ => None,
    }
}

/// `from 0 to 5m step 1m`, and what follows.
fn times_from(text: &str) -> Option<(Times, &str)> {
    let mut rest = text;
    let mut next = |word: &str| {
        let (found, after) = split_word(rest);
        let (value, after) = (found == word).then(|| split_word(after))?;
        rest = after;
        duration(value)
    };
    let (start, end, step) = (next("from")?, next("to")?, next("step")?);
    Some((Times { start: TimestampMs(start.0), end: TimestampMs(end.0), step }, rest))
}

/// A duration, or a plain 0.
fn duration(text: &str) -> Option<DurationMs> {
    literal(text).map(|seconds| DurationMs((seconds * 1000.0).round() as i64))
}

/// A number or duration in the notation of queries.
fn literal(text: &str) -> Option<f64> {
    match parse(text, &Features::default()) {
        Ok(Expr::Number(n)) => Some(n.value),
        _ => None,
    }
}

/// A string in quotes.
fn string(text: &str) -> Result<String, String> {
    match parse(text, &Features::default()) {
        Ok(Expr::String(s)) => Ok(s.value),
        _ => Err(format!("{text:?} is no quoted string")),
    }
}

fn expectation(text: &str) -> Result<Expectation, String> {
    let (word, rest) = split_word(text);
    let text = match (rest.strip_prefix("msg:"), rest.strip_prefix("regex:")) {
        (Some(text), _) => Some(Text::Exactly(text.trim().into())),
        (_, Some(text)) => Some(Text::Pattern(text.trim().into())),
        _ if rest.is_empty() => None,
        _ => return Err(format!("{rest:?} is neither msg: nor regex:")),
    };
    match (word, text) {
        ("fail", text) => Ok(Expectation::Fail(text)),
        ("warn", text) => Ok(Expectation::Some(Remark::Warning, text)),
        ("info", text) => Ok(Expectation::Some(Remark::Info, text)),
        ("no_warn", None) => Ok(Expectation::None(Remark::Warning)),
        ("no_info", None) => Ok(Expectation::None(Remark::Info)),
        ("ordered", None) => Ok(Expectation::Ordered),
        _ => Err(format!("unknown expectation {word:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read() {
        let script = "# data\nload 10s53ms\n  a{b=\"c\"} 1 2\n\tb 0+1x2\n\nclear\n\
                      eval instant at 1m30s sum(a)\n  expect no_warn\n  expect info msg: PromQL info: x (1:2)\n  {} 3\n\n\
                      eval range from 0 to 5m step 1m time() # c\n  expect fail regex: a.*\n  expect ordered\n\n\
                      eval instant 5\n 5\neval_fail instant at 0 \"a\"\n  expect string `x y`\n\n\
                      eval instant at 1m a[1m]\n expect range vector from 10s to 1m step 10s\n a 1 2\n";
        let commands = read(script).expect("a script");
        assert_eq!(commands.len(), 7);
        let Command::Load(load) = &commands[0] else { panic!("no load") };
        assert_eq!((load.step, load.series.len(), load.with_native), (DurationMs(10_053), 2, false));
        let evals: Vec<&Eval> = commands
            .iter()
            .filter_map(|c| match c {
                Command::Eval(e) => Some(e),
                _ => None,
            })
            .collect();
        assert_eq!((evals[0].line, evals[0].query.as_str()), (7, "sum(a)"));
        assert_eq!(evals[0].when, When::Instant(TimestampMs(90_000)));
        assert_eq!(evals[0].expectations.len(), 2);
        let step = DurationMs::mins(1);
        let times = Times { start: TimestampMs(0), end: TimestampMs(300_000), step };
        assert_eq!(evals[1].when, When::Range(times));
        assert!(evals[1].fails() && evals[1].ordered());
        assert!(matches!(evals[2].expected, Expected::Scalar(v) if v == 5.0));
        assert!(evals[3].fails() && matches!(&evals[3].expected, Expected::String(s) if s == "x y"));
        assert_eq!(evals[4].range_vector.map(|t| t.start), Some(TimestampMs(10_000)));
    }

    #[test]
    fn mistakes_name_their_line() {
        let check = |script: &str, line: usize| {
            assert_eq!(read(script).map(|c| c.len()).map_err(|e| e.line), Err(line), "{script:?}");
        };
        check("\nfoo", 2);
        check("load x", 1);
        check("load 1m\n a{ 1", 2);
        check("eval instant at x y", 1);
        check("eval instant at 1m y\n expect nothing", 2);
        check("eval instant at 1m \"y\"\n expect string y", 2);
    }
}

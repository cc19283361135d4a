//! What to do about a mistake, in words and, where it can be known, as the expression that was probably meant.
//!
//! Every suggested expression was parsed before it is shown. Suggestions are guesses from the text around the fault:
//! each guess is one candidate, and the first one that is an expression wins.

use super::ast::Expr;
use super::error::ParseError;
use super::fault::{Cause, Fault};
use super::functions::FUNCTIONS;
use super::literal::quoted;
use super::span::Span;
use super::{Features, ParseLimits, parse_text};

/// Longer queries get no suggestion: it would only repeat them.
const SUGGESTION_BYTES_MAX: usize = 4096;

/// Advice and candidates for a suggestion.
struct Advice {
    words: String,
    candidates: Vec<String>,
}

impl Advice {
    fn words(words: impl Into<String>) -> Self {
        Self { words: words.into(), candidates: Vec::new() }
    }

    fn or(mut self, candidate: impl Into<String>) -> Self {
        self.candidates.push(candidate.into());
        self
    }
}

/// The error to show for a fault in `query`.
pub(super) fn explain(fault: Fault, query: &str, features: Features, limits: &ParseLimits) -> ParseError {
    let advice = advise(&fault, query);
    let suggestion = match query.len() <= SUGGESTION_BYTES_MAX {
        true => advice.candidates.into_iter().find(|c| parse_text(c, features, limits).is_ok()),
        false => None,
    };
    let limit = match fault.cause {
        Cause::Limit(limit, _) => Some(limit),
        _ => None,
    };
    ParseError { span: fault.span, message: fault.message, advice: advice.words, suggestion, limit }
}

fn advise(fault: &Fault, query: &str) -> Advice {
    match &fault.cause {
        Cause::Plain(words) => Advice::words(words.clone()),
        Cause::Limit(_, words) => Advice::words(*words),
        Cause::Character(c) => character(*c, fault.span, query),
        Cause::Unclosed(bracket) => Advice::words(format!("add `{bracket}`")).or(format!("{query}{bracket}")),
        Cause::ExtraParen => {
            let paren = Span { start: fault.span.start.saturating_sub(1), end: fault.span.start };
            Advice::words("remove it, or add the left one").or(replaced(query, paren, ""))
        }
        Cause::OpenQuote(quote) => open_quote(*quote, fault.span, query),
        Cause::Grouping { operand, grouped } => grouping(fault.span, *operand, *grouped, query),
        Cause::Token => token(fault.span, query),
        Cause::WindowAsValue { operand } => {
            let call = format!("avg_over_time({})", operand.text(query));
            Advice::words("a window of samples is no value: put a function over time around it")
                .or(replaced(query, *operand, &call))
        }
        Cause::NeedsWindow { operand, selector } => {
            let (window, word) = if *selector { ("[5m]", "window") } else { ("[5m:]", "subquery") };
            let with = match *selector {
                true => format!("{}{window}", operand.text(query)),
                false => format!("({}){window}", operand.text(query)),
            };
            let words = format!("add a {word}: `{window}`");
            Advice::words(words).or(replaced(query, *operand, &with))
        }
        Cause::UnknownFunction(name) => unknown_function(name, fault.span, query),
        Cause::NeedsBool { op } => {
            let with = format!("{} bool", op.text(query));
            Advice::words("it answers 0 or 1").or(replaced(query, *op, &with))
        }
        Cause::TrailingComma => Advice::words("remove it").or(replaced(query, fault.span, "")),
    }
}

/// `query` with other text in place of `span`.
fn replaced(query: &str, span: Span, with: &str) -> String {
    let before = query.get(..span.start as usize).unwrap_or(query);
    let after = query.get(span.end as usize..).unwrap_or("");
    format!("{before}{with}{after}")
}

fn character(c: char, fault: Span, query: &str) -> Advice {
    let at = fault.start as usize;
    let rest = query.get(at..).unwrap_or("");
    match c {
        '\\' => Advice::words("the quotes are escaped: write them without backslashes")
            .or(query.replace("\\\"", "\"").replace("\\'", "'")),
        '“' | '”' | '‘' | '’' => {
            Advice::words("write straight quotes").or(query.replace(['“', '”', '‘', '’'], "\""))
        }
        '$' => Advice::words("variables such as `$account` are replaced by Grafana before the query is sent"),
        '}' => Advice::words("remove it, or open it with `{`").or(replaced(
            query,
            Span { start: fault.start, end: fault.start + 1 },
            "",
        )),
        _ if query.get(..at).is_some_and(|before| before.trim_end().ends_with('=')) => {
            let end = rest.find([',', '}']).unwrap_or(rest.len());
            let value = rest[..end].trim_end();
            let span = Span { start: fault.start, end: fault.start + value.len() as u32 };
            Advice::words("values are quoted").or(replaced(query, span, &quoted(value)))
        }
        _ => Advice::words("remove it, or put it into quotes if it is part of a name or value"),
    }
}

fn open_quote(quote: char, fault: Span, query: &str) -> Advice {
    let without = replaced(query, Span { start: fault.start, end: fault.start + 1 }, "");
    let closed = format!("{query}{quote}");
    Advice::words(format!("the quote {quote} has no partner: add it, or remove this one"))
        .or(without)
        .or(closed.clone())
        .or(format!("{closed}}}"))
        .or(format!("{closed})"))
        .or(format!("{closed}}})"))
}

/// `by` or `without` where none may stand.
fn grouping(keyword: Span, operand: Span, grouped: Option<Span>, query: &str) -> Advice {
    let word = keyword.text(query).to_ascii_lowercase();
    let rest = query.get(keyword.end as usize..).unwrap_or("");
    let labels = match (rest.find('('), rest.find(')')) {
        (Some(open), Some(close)) if open < close => rest[open + 1..close].trim(),
        _ => "label",
    };
    let inner = operand.text(query);
    if let Some(list) = grouped {
        let old = list.text(query);
        let old = old.trim_start_matches('(').trim_end_matches(')');
        let both = format!("({}, {labels})", old.trim().trim_end_matches(','));
        let offset = list.start.saturating_sub(operand.start);
        let within = Span { start: offset, end: offset + (list.end - list.start) };
        return Advice::words("an aggregation has one grouping: list all labels in it")
            .or(replaced(inner, within, &both));
    }
    let advice = Advice::words(match Expr::function_of(inner) {
        Some(name) => format!(
            "`{name}` gives one result per series; `{word}` belongs to an aggregation, which combines series"
        ),
        None => format!("`{word}` belongs to an aggregation"),
    });
    let advice = match classic_quantile(inner, &word, labels) {
        Some(candidate) => advice.or(candidate),
        None => advice,
    };
    let op = if ["rate(", "increase("].iter().any(|f| inner.starts_with(f)) { "sum" } else { "avg" };
    advice.or(format!("{op} {word} ({labels}) ({inner})"))
}

/// `histogram_quantile(q, rate(…)) by (a)` keeps the buckets apart by `le`, and sums inside the quantile.
fn classic_quantile(inner: &str, word: &str, labels: &str) -> Option<String> {
    let (q, rest) = inner.strip_prefix("histogram_quantile(")?.split_once(',')?;
    let buckets = rest.trim().strip_suffix(')')?;
    let labels = match word {
        "by" => format!("le, {labels}"),
        _ => labels.to_owned(),
    };
    Some(format!("histogram_quantile({q}, sum {word} ({labels}) ({buckets}))"))
}

impl Expr {
    /// The name of the function that `text` calls, if it begins with a call.
    fn function_of(text: &str) -> Option<&str> {
        let (name, _) = text.split_once('(')?;
        FUNCTIONS.iter().any(|f| f.name == name).then_some(name)
    }
}

/// A token that does not fit.
fn token(fault: Span, query: &str) -> Advice {
    let at = fault.start as usize;
    let before = query.get(..at).unwrap_or(query);
    let rest = query.get(at..).unwrap_or("");
    let word = fault.text(query);
    if rest.is_empty() {
        return Advice::words("write what is missing at the end");
    }
    if word == "/" && before.ends_with('/') {
        let mut fixed = before[..at - 1].to_owned();
        fixed.push('#');
        fixed.push_str(&rest[1..]);
        return Advice::words("comments begin with `#`").or(fixed);
    }
    if matches!(word, "for:" | "labels:" | "annotations:" | "expr:") {
        let rule = word.trim_end_matches(':');
        return Advice::words(format!("`{rule}` belongs into the rule, not into the expression"))
            .or(before.trim_end());
    }
    if before.trim_end().ends_with('=') && !before.trim_end().ends_with("==") {
        return Advice::words("values are quoted").or(replaced(query, fault, &quoted(word)));
    }
    match word {
        "=" => Advice::words("compare values with `==`, labels with `=` inside braces")
            .or(replaced(query, fault, "==")),
        "group_left" | "group_right" => {
            Advice::words(format!("write `on (…)` or `ignoring (…)` before `{word}`"))
        }
        ")" | "]" | "}" | "," => Advice::words("write what is missing before it, or remove it"),
        _ if before.trim().is_empty() => {
            Advice::words("begin with a metric, a number, a function or an aggregation")
        }
        _ => Advice::words("write an operator before it, or remove it"),
    }
}

fn unknown_function(name: &str, fault: Span, query: &str) -> Advice {
    let lower = name.to_ascii_lowercase();
    let known = match lower.as_str() {
        "holt_winters" => Some("double_exponential_smoothing"),
        "mean" | "average" => Some("avg"),
        "percentile" => Some("quantile"),
        _ => nearest(&lower),
    };
    match known {
        Some(known) => Advice::words(format!("did you mean `{known}`?")).or(replaced(query, fault, known)),
        None => Advice::words(
            "see the list of functions; aggregations such as sum stand before a parenthesis too",
        ),
    }
}

/// The function whose name differs from `name` in the fewest letters, two at most.
fn nearest(name: &str) -> Option<&'static str> {
    const LETTERS_MAX: usize = 2;
    let aggregations = super::ast::AggregateOp::ALL.iter().map(|(_, name)| *name);
    let names = FUNCTIONS.iter().map(|f| f.name).chain(aggregations);
    let near = names.map(|known| (distance(name, known, LETTERS_MAX), known)).min()?;
    (near.0 <= LETTERS_MAX && near.0 < name.len().min(near.1.len())).then_some(near.1)
}

/// Letters to insert, remove or change to get from `a` to `b`; more than `max` where their lengths say so at once.
fn distance(a: &str, b: &str, max: usize) -> usize {
    if a.len().abs_diff(b.len()) > max {
        return max + 1;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

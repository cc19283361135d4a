//! Regular expressions over label values: fully anchored, `.` matches newline, and reduced to something cheaper where
//! the expression allows it.

use regex_automata::meta;
use regex_syntax::ast;
use regex_syntax::hir::{self, Class, Hir, HirKind, Look};
use std::collections::BTreeSet;
use std::convert::Infallible;

/// The most bytes of an expression. Dashboards write long alternations of plain values; a megabyte holds 50,000 of them.
pub const PATTERN_BYTES_MAX: usize = 1 << 20;

/// The most bytes of a compiled automaton; reached by nested repetitions such as `((a{100}){100}){100}`.
pub const AUTOMATON_BYTES_MAX: usize = 10 << 20;

/// The most strings that an expression is enumerated into, the longest that they may be together, and how many a product
/// of parts (as in `[ab][cd]`) may have: beyond them the automaton is cheaper than the list.
const LITERALS_MAX: usize = 65_536;
const LITERAL_BYTES_MAX: usize = 1 << 20;
const PRODUCT_MAX: usize = 1024;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) enum Pattern {
    /// `.*`
    Everything,
    /// `.+`
    NonEmpty,
    /// A finite set of strings, sorted: `a|b|c`, `5..` does not count, `50[0-9]` does.
    Literals(Box<[Box<str>]>),
    /// `abc.*`
    Prefix(Box<str>),
    /// `.*abc.*`
    Contains(Box<str>),
    /// All others. Everything that matches begins with `prefix`.
    Automaton { prefix: Box<str>, regex: meta::Regex },
}

/// Why an expression was not compiled.
#[derive(Debug)]
pub(crate) struct PatternError {
    /// A sentence for the user.
    pub(crate) reason: String,
    /// Whether it is too large, rather than wrong.
    pub(crate) too_large: bool,
}

impl From<String> for PatternError {
    fn from(reason: String) -> Self {
        Self { reason, too_large: false }
    }
}

impl Pattern {
    /// Compiles `pattern`.
    pub(crate) fn new(pattern: &str) -> Result<Self, PatternError> {
        if pattern.len() > PATTERN_BYTES_MAX {
            let reason = format!("it has {} bytes, the limit is {PATTERN_BYTES_MAX}", pattern.len());
            return Err(PatternError { reason, too_large: true });
        }
        let hir = parse(&with_ascii_classes(pattern)?)?;
        if let Some(simple) = simplify(&hir) {
            return Ok(simple);
        }
        let anchored = Hir::concat(vec![Hir::look(Look::Start), hir.clone(), Hir::look(Look::End)]);
        let limits = meta::Config::new()
            .nfa_size_limit(Some(AUTOMATON_BYTES_MAX))
            .onepass_size_limit(Some(AUTOMATON_BYTES_MAX))
            .which_captures(regex_automata::nfa::thompson::WhichCaptures::None);
        let regex = meta::Builder::new().configure(limits).build_from_hir(&anchored).map_err(|e| match e
            .size_limit()
        {
            Some(limit) => PatternError {
                reason: format!("it needs an automaton of more than {limit} bytes"),
                too_large: true,
            },
            None => e.to_string().into(),
        })?;
        Ok(Self::Automaton { prefix: prefix(&hir).into(), regex })
    }

    pub(crate) fn matches(&self, value: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::NonEmpty => !value.is_empty(),
            Self::Literals(l) => l.binary_search_by(|x| (**x).cmp(value)).is_ok(),
            Self::Prefix(p) => value.starts_with(&**p),
            Self::Contains(c) => value.contains(&**c),
            Self::Automaton { prefix, regex } => value.starts_with(&**prefix) && regex.is_match(value),
        }
    }

    /// What everything that matches begins with.
    pub(crate) fn prefix(&self) -> &str {
        match self {
            Self::Prefix(p) | Self::Automaton { prefix: p, .. } => p,
            _ => "",
        }
    }
}

fn parse(pattern: &str) -> Result<Hir, String> {
    let mut parser = regex_syntax::ParserBuilder::new().dot_matches_new_line(true).build();
    parser.parse(pattern).map_err(|e| match e {
        regex_syntax::Error::Parse(e) => e.kind().to_string(),
        regex_syntax::Error::Translate(e) => e.kind().to_string(),
        e => e.to_string(),
    })
}

/// Spells `\d`, `\s`, `\w` and `\b` out in ASCII, which is what they mean in Prometheus' dialect (RE2); here they would
/// take in all of Unicode.
fn with_ascii_classes(pattern: &str) -> Result<String, String> {
    let ast = ast::parse::Parser::new().parse(pattern).map_err(|e| {
        let at = pattern[..e.span().start.offset.min(pattern.len())].chars().count();
        format!("{} at character {at}", e.kind())
    })?;
    let Ok(spans) = ast::visit(&ast, PerlSpans::default());
    let mut out = String::with_capacity(pattern.len());
    let mut from = 0;
    for (span, text) in spans {
        out.push_str(&pattern[from..span.start.offset]);
        out.push_str(text);
        from = span.end.offset;
    }
    out.push_str(&pattern[from..]);
    Ok(out)
}

/// Collects, in order of position, what must be spelt out.
#[derive(Default)]
struct PerlSpans(Vec<(ast::Span, &'static str)>);

impl PerlSpans {
    fn class(&mut self, class: &ast::ClassPerl) {
        let text = match (&class.kind, class.negated) {
            (ast::ClassPerlKind::Digit, false) => "[0-9]",
            (ast::ClassPerlKind::Digit, true) => "[^0-9]",
            (ast::ClassPerlKind::Space, false) => r"[\t\n\x0c\r\x20]",
            (ast::ClassPerlKind::Space, true) => r"[^\t\n\x0c\r\x20]",
            (ast::ClassPerlKind::Word, false) => "[0-9A-Za-z_]",
            (ast::ClassPerlKind::Word, true) => "[^0-9A-Za-z_]",
        };
        self.0.push((class.span, text));
    }
}

impl ast::Visitor for PerlSpans {
    type Output = Vec<(ast::Span, &'static str)>;
    type Err = Infallible;

    fn finish(self) -> Result<Self::Output, Infallible> {
        Ok(self.0)
    }

    fn visit_pre(&mut self, ast: &ast::Ast) -> Result<(), Infallible> {
        match ast {
            ast::Ast::ClassPerl(class) => self.class(class),
            ast::Ast::Assertion(a) if a.kind == ast::AssertionKind::WordBoundary => {
                self.0.push((a.span, r"(?-u:\b)"));
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ast::ClassSetItem) -> Result<(), Infallible> {
        if let ast::ClassSetItem::Perl(class) = item {
            self.class(class);
        }
        Ok(())
    }
}

/// A form without an automaton, if there is one.
fn simplify(hir: &Hir) -> Option<Pattern> {
    let parts = parts(hir);
    if let Some(set) = literals_of_concat(&parts) {
        return Some(Pattern::Literals(set.into_iter().map(String::into_boxed_str).collect()));
    }
    match parts[..] {
        [any] if anything_from(any) == Some(0) => Some(Pattern::Everything),
        [any] if anything_from(any) == Some(1) => Some(Pattern::NonEmpty),
        [text, any] if anything_from(any) == Some(0) => literal(text).map(|t| Pattern::Prefix(t.into())),
        [before, text, after] if anything_from(before) == Some(0) && anything_from(after) == Some(0) => {
            literal(text).map(|t| Pattern::Contains(t.into()))
        }
        _ => None,
    }
}

/// The parts of a concatenation, without groups around it and without anchors at its ends, which are there anyway.
fn parts(mut hir: &Hir) -> Vec<&Hir> {
    while let HirKind::Capture(c) = hir.kind() {
        hir = &c.sub;
    }
    let HirKind::Concat(parts) = hir.kind() else { return vec![hir] };
    let mut parts: Vec<&Hir> = parts.iter().collect();
    while parts.first().is_some_and(|h| matches!(h.kind(), HirKind::Look(Look::Start))) {
        parts.remove(0);
    }
    while parts.last().is_some_and(|h| matches!(h.kind(), HirKind::Look(Look::End))) {
        parts.pop();
    }
    parts
}

/// `Some(n)` for "any characters, at least n".
fn anything_from(mut hir: &Hir) -> Option<u32> {
    while let HirKind::Capture(c) = hir.kind() {
        hir = &c.sub;
    }
    let HirKind::Repetition(r) = hir.kind() else { return None };
    let any = hir::ClassUnicode::new([hir::ClassUnicodeRange::new('\0', char::MAX)]);
    let full = matches!(r.sub.kind(), HirKind::Class(Class::Unicode(c)) if *c == any);
    (full && r.max.is_none()).then_some(r.min)
}

fn literal(hir: &Hir) -> Option<&str> {
    match hir.kind() {
        HirKind::Literal(l) => std::str::from_utf8(&l.0).ok(),
        _ => None,
    }
}

/// What all matches begin with. The depth is bounded by the parser's nest limit.
fn prefix(hir: &Hir) -> String {
    let mut out = String::new();
    for part in parts(hir) {
        if let HirKind::Alternation(branches) = part.kind() {
            let common = branches.iter().map(prefix).reduce(|a, b| common_prefix(&a, &b).to_owned());
            out.push_str(&common.unwrap_or_default());
            break;
        }
        match literal(part) {
            Some(text) => out.push_str(text),
            None => break,
        }
    }
    out
}

fn common_prefix<'a>(a: &'a str, b: &str) -> &'a str {
    let end = a
        .char_indices()
        .zip(b.chars())
        .find(|((_, x), y)| x != y)
        .map_or(a.len().min(b.len()), |((i, _), _)| i);
    &a[..end]
}

type Literals = BTreeSet<String>;

/// All strings that match, if they are finite and few. The depth is bounded by the parser's nest limit.
fn literals(hir: &Hir) -> Option<Literals> {
    match hir.kind() {
        HirKind::Empty => Some(Literals::from([String::new()])),
        HirKind::Literal(_) => Some(Literals::from([literal(hir)?.to_owned()])),
        HirKind::Class(Class::Unicode(class)) => literals_of_class(class),
        HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) => None,
        HirKind::Repetition(r) if r.min == 0 && r.max == Some(1) => {
            let mut set = literals(&r.sub)?;
            set.insert(String::new());
            Some(set)
        }
        HirKind::Repetition(r) if Some(r.min) == r.max && r.min <= 16 => {
            literals_of_concat(&vec![&*r.sub; r.min as usize])
        }
        HirKind::Repetition(_) => None,
        HirKind::Capture(c) => literals(&c.sub),
        HirKind::Concat(parts) => literals_of_concat(&parts.iter().collect::<Vec<_>>()),
        HirKind::Alternation(branches) => {
            let mut set = Literals::new();
            let mut bytes = 0;
            for branch in branches {
                let more = literals(branch)?;
                bytes += more.iter().map(String::len).sum::<usize>();
                // Not `append`, which rebuilds the whole set.
                set.extend(more);
                if set.len() > LITERALS_MAX || bytes > LITERAL_BYTES_MAX {
                    return None;
                }
            }
            Some(set)
        }
    }
}

fn literals_of_class(class: &hir::ClassUnicode) -> Option<Literals> {
    let size: usize = class.ranges().iter().map(|r| r.len()).sum();
    if size > PRODUCT_MAX {
        return None;
    }
    Some(class.iter().flat_map(|r| (r.start()..=r.end()).map(String::from)).collect())
}

fn literals_of_concat(parts: &[&Hir]) -> Option<Literals> {
    let mut set = Literals::from([String::new()]);
    for part in parts {
        let next = literals(part)?;
        let single = set.len() == 1 || next.len() == 1;
        let count = set.len() * next.len();
        let bytes =
            next.iter().map(String::len).max().unwrap_or(0) + set.iter().map(String::len).max().unwrap_or(0);
        if (!single && count > PRODUCT_MAX) || count.saturating_mul(bytes) > LITERAL_BYTES_MAX {
            return None;
        }
        set = set.iter().flat_map(|a| next.iter().map(move |b| format!("{a}{b}"))).collect();
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn literals_of(pattern: &str) -> Option<Vec<String>> {
        match Pattern::new(pattern).unwrap() {
            Pattern::Literals(l) => Some(l.iter().map(|s| s.to_string()).collect()),
            _ => None,
        }
    }

    #[test]
    fn finite_sets_are_enumerated() {
        let check = |pattern, want: &[&str]| {
            let want: Vec<String> = want.iter().map(|s| s.to_string()).collect();
            assert_eq!(literals_of(pattern), Some(want), "{pattern}");
        };
        check("", &[""]);
        check("a", &["a"]);
        check("a|b|c", &["a", "b", "c"]);
        check("foo|fob", &["fob", "foo"]);
        check("^foo$", &["foo"]);
        check("(foo|bar)", &["bar", "foo"]);
        check("x(1|2)?", &["x", "x1", "x2"]);
        check("50[0-2]", &["500", "501", "502"]);
        check("|a", &["", "a"]);
        check("[ab]{2}", &["aa", "ab", "ba", "bb"]);
        check("(?i)a", &["A", "a"]);
        check(r"a\.b", &["a.b"]);
    }

    #[test]
    fn what_is_not_finite_is_not() {
        for p in ["a+", "a.", "a*", "[a-z]{4}", r"\ba", "5.."] {
            assert_eq!(literals_of(p), None, "{p}");
        }
    }

    #[test]
    fn shapes() {
        let check = |pattern, want: &str| {
            let p = Pattern::new(pattern).unwrap();
            let got = match &p {
                Pattern::Automaton { prefix, .. } => format!("automaton {prefix}"),
                other => format!("{other:?}"),
            };
            assert_eq!(got, want, "{pattern}");
        };
        check(".*", "Everything");
        check("^.*$", "Everything");
        check("(.*)", "Everything");
        check(".+", "NonEmpty");
        check("(?-s).*", "automaton ");
        check("abc.*", r#"Prefix("abc")"#);
        check(".*abc.*", r#"Contains("abc")"#);
        check("abc[0-9]+", "automaton abc");
        check("abc.+x", "automaton abc");
        check("abc.*|abd.*", "automaton ab");
        check("x(é1.*|è1.*)", "automaton x");
        check("(?i)abc.*", "automaton ");
    }

    #[test]
    fn matching_is_anchored_and_dots_match_newlines() {
        let check = |pattern, value, want| {
            assert_eq!(Pattern::new(pattern).unwrap().matches(value), want, "{pattern} on {value:?}");
        };
        check("a|b.c", "xb1c", false);
        check("a|b.+c", "b\nc", true);
        check("a|b.+c", "b1cx", false);
        check("a+", "ba", false);
        check("a+", "aa", true);
        check("(?m)^a+$", "aa\n", false);
        check(r"\d+", "٣", false);
        check(r"\d+", "3", true);
        check(r"[\w-]+", "a-b_1", true);
        check(r"[\w-]+", "ä", false);
        check(r"\W+", "ä", true);
        check(r".*\bfoo\b.*", "a foo b", true);
        check("(?i)strasse.*", "STRASSE 1", true);
        check("5..", "503", true);
        check("5..", "5033", false);
    }

    #[test]
    fn hostile_expressions_are_refused() {
        let check = |pattern: &str, part: &str, too_large: bool| {
            let e = Pattern::new(pattern).unwrap_err();
            assert!(e.reason.contains(part) && e.too_large == too_large, "{e:?}");
        };
        check("a(", "unclosed group", false);
        check("(((a{100}){100}){100}){100}x+", "automaton of more than", true);
        check(&"(".repeat(10_000), "unclosed group at character 9999", false);
        check(&format!("{}a{}", "(".repeat(300), ")".repeat(300)), "nest", false);
        check(&"a".repeat(PATTERN_BYTES_MAX + 1), "the limit is", true);
    }

    proptest! {
        #[test]
        fn every_shape_agrees_with_the_plain_engine(
            pattern in "[ab.*+?|]{0,6}|[ab]\\.\\*|\\.\\*[ab]{1,2}\\.\\*|\\(a\\|b\\)[ab]\\?",
            value in "[ab\n]{0,4}",
        ) {
            if let Ok(p) = Pattern::new(&pattern) {
                let plain = meta::Regex::new(&format!("^(?s:{pattern})$")).unwrap();
                prop_assert_eq!(p.matches(&value), plain.is_match(&value), "{}", pattern);
                prop_assert!(!p.matches(&value) || value.starts_with(p.prefix()));
            }
        }

        #[test]
        fn arbitrary_expressions_do_not_panic(pattern in "\\PC{0,40}", value in "\\PC{0,10}") {
            if let Ok(p) = Pattern::new(&pattern) {
                p.matches(&value);
            }
        }
    }
}

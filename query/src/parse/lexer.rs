//! Splits the text of a query into tokens, one at a time.
//!
//! What a character means depends on where it stands: names are not keywords inside braces, and inside brackets only
//! the words of duration expressions are known. The lexer keeps track of the brackets itself, so that it can say what
//! was left open at the end of the text.

use super::ast::{AggregateOp, BinaryOp};
use super::fault::{Cause, Fault};
use super::span::Span;

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// The end of the text.
    End,
    /// No token: the lexer's fault stands in its place.
    Fault,
    Number,
    Duration,
    String,
    Identifier,
    MetricIdentifier,
    Comma,
    Colon,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Equal,
    MatchRegex,
    MatchNotRegex,
    At,
    Op(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
}

/// Words with a meaning of their own; most may also be names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Offset,
    Smoothed,
    Anchored,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// A token and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lexeme {
    pub(super) token: Token,
    pub(super) span: Span,
}

/// Where in a bracket the lexer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Outside,
    /// After `[`: nothing read yet.
    Opened,
    /// Only signs, parentheses and functions so far: no comments yet.
    Begun,
    /// After the first number.
    Inside,
}

/// Reads tokens from a text.
pub(super) struct Lexer<'q> {
    text: &'q str,
    at: usize,
    parens: u32,
    in_braces: bool,
    bracket: Bracket,
    /// Whether any bracket held a number or function yet: until then the reference points behind a colon that comes too early.
    length_seen: bool,
}

impl<'q> Lexer<'q> {
    pub(super) fn new(text: &'q str) -> Self {
        Self { text, at: 0, parens: 0, in_braces: false, bracket: Bracket::Outside, length_seen: false }
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Result<Lexeme, Fault> {
        self.skip_blanks();
        let start = self.at;
        let token = if self.in_braces {
            self.in_braces(start)?
        } else if self.bracket == Bracket::Outside {
            self.outside(start)?
        } else {
            self.in_bracket(start)?
        };
        Ok(Lexeme { token, span: Span { start: start as u32, end: self.at as u32 } })
    }

    /// Skips white space and comments.
    fn skip_blanks(&mut self) {
        let comments = !matches!(self.bracket, Bracket::Opened | Bracket::Begun);
        while let Some(c) = self.peek() {
            match c {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                b'#' if comments => {
                    let rest = &self.text.as_bytes()[self.at..];
                    let line = rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
                    self.at += line.unwrap_or(rest.len());
                }
                _ => break,
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes the next byte if `wanted` says so.
    fn accept(&mut self, wanted: impl Fn(u8) -> bool) -> bool {
        let yes = self.peek().is_some_and(wanted);
        self.at += usize::from(yes);
        yes
    }

    fn accept_byte(&mut self, byte: u8) -> bool {
        self.accept(|b| b == byte)
    }

    /// The fault that begins at `start`; it spoils all the rest of the text.
    fn fault(&self, start: usize, message: impl Into<String>, cause: Cause) -> Fault {
        Fault::new(Span { start: start as u32, end: self.text.len() as u32 }, message, cause)
    }

    fn unexpected_character(&self, start: usize, place: &str) -> Fault {
        let c = self.text[start..].chars().next().unwrap_or(char::REPLACEMENT_CHARACTER);
        self.fault(start, format!("unexpected character{place}: {c:?}"), Cause::Character(c))
    }

    fn outside(&mut self, start: usize) -> Result<Token, Fault> {
        let Some(c) = self.peek() else { return self.end() };
        match c {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b':' => Ok(self.word()),
            b'[' => {
                self.at += 1;
                self.bracket = Bracket::Opened;
                Ok(Token::LeftBracket)
            }
            b']' => Err(self.fault(
                start,
                "unexpected right bracket ']'",
                Cause::plain("remove it, or open it with `[`"),
            )),
            _ => self.common(start, c),
        }
    }

    /// The end of the text, outside braces.
    fn end(&self) -> Result<Token, Fault> {
        let at = self.text.len();
        if matches!(self.bracket, Bracket::Opened | Bracket::Begun) {
            let cause = Cause::plain("write a duration and close the bracket: `[5m]`");
            return Err(self.fault(at, "unexpected end of input in duration expression", cause));
        }
        if self.parens > 0 {
            return Err(self.fault(at, "unclosed left parenthesis", Cause::Unclosed(")")));
        }
        if self.bracket == Bracket::Inside {
            return Err(self.fault(at, "unclosed left bracket", Cause::Unclosed("]")));
        }
        Ok(Token::End)
    }

    fn in_bracket(&mut self, start: usize) -> Result<Token, Fault> {
        let Some(c) = self.peek() else { return self.end() };
        if self.bracket == Bracket::Opened {
            self.bracket = Bracket::Begun;
        }
        match c {
            b']' => {
                self.at += 1;
                self.bracket = Bracket::Outside;
                Ok(Token::RightBracket)
            }
            b'[' => {
                Err(self.fault(start, "unexpected left bracket '['", Cause::plain("close the one before it")))
            }
            b':' => {
                self.at += 1;
                match !self.length_seen {
                    true => Err(self.fault(
                        self.at,
                        "unexpected colon before duration in duration expression",
                        Cause::plain("write the window before the step: `[1h:5m]`"),
                    )),
                    false => Ok(Token::Colon),
                }
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.duration_word(start),
            b'0'..=b'9' | b'.' | b'(' | b')' | b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b',' => {
                self.common(start, c)
            }
            _ if self.bracket == Bracket::Inside => self.common(start, c),
            _ => Err(self.unexpected_character(start, " in duration expression")),
        }
    }

    /// One of the functions of duration expressions.
    fn duration_word(&mut self, start: usize) -> Result<Token, Fault> {
        while self.accept(is_alpha) {}
        let keyword = match keyword(&self.text[start..self.at]) {
            Some(Token::Keyword(k @ (Keyword::Step | Keyword::Range | Keyword::MaxOf | Keyword::MinOf))) => k,
            _ => return Err(self.unexpected_character(start, " in duration expression")),
        };
        self.length_seen = true;
        Ok(Token::Keyword(keyword))
    }

    /// What means the same inside and outside brackets.
    fn common(&mut self, start: usize, c: u8) -> Result<Token, Fault> {
        let digit_follows = self.text.as_bytes().get(start + 1).is_some_and(u8::is_ascii_digit);
        if c.is_ascii_digit() || (c == b'.' && digit_follows) {
            return self.number(start);
        }
        if matches!(c, b'"' | b'\'' | b'`') {
            return self.string(start, c);
        }
        self.at += 1;
        Ok(match c {
            b',' => Token::Comma,
            b'*' => Token::Op(BinaryOp::Mul),
            b'/' => Token::Op(BinaryOp::Div),
            b'%' => Token::Op(BinaryOp::Mod),
            b'+' => Token::Op(BinaryOp::Add),
            b'-' => Token::Op(BinaryOp::Sub),
            b'^' => Token::Op(BinaryOp::Pow),
            b'@' => Token::At,
            b'=' => self.after_equal(start)?,
            b'!' => self.after_bang(start, "")?,
            b'<' if self.accept_byte(b'=') => Token::Op(BinaryOp::Le),
            b'<' if self.accept_byte(b'/') => Token::Op(BinaryOp::TrimUpper),
            b'<' => Token::Op(BinaryOp::Lt),
            b'>' if self.accept_byte(b'=') => Token::Op(BinaryOp::Ge),
            b'>' if self.accept_byte(b'/') => Token::Op(BinaryOp::TrimLower),
            b'>' => Token::Op(BinaryOp::Gt),
            b'(' => {
                self.parens += 1;
                Token::LeftParen
            }
            b')' => self.right_paren()?,
            b'{' => {
                self.in_braces = true;
                Token::LeftBrace
            }
            _ => return Err(self.unexpected_character(start, "")),
        })
    }

    fn right_paren(&mut self) -> Result<Token, Fault> {
        match self.parens.checked_sub(1) {
            Some(parens) => self.parens = parens,
            // The reference points behind it.
            None => {
                let cause = Cause::ExtraParen;
                return Err(self.fault(self.at, "unexpected right parenthesis ')'", cause));
            }
        }
        Ok(Token::RightParen)
    }

    fn after_equal(&mut self, start: usize) -> Result<Token, Fault> {
        if self.accept_byte(b'=') {
            return Ok(Token::Op(BinaryOp::Eq));
        }
        match self.peek() {
            Some(b'~') => {
                let cause = Cause::plain("`=~` compares labels and stands inside braces");
                Err(self.fault(start, "unexpected character after '=': '~'", cause))
            }
            _ => Ok(Token::Equal),
        }
    }

    fn after_bang(&mut self, start: usize, place: &str) -> Result<Token, Fault> {
        if self.accept_byte(b'=') {
            return Ok(Token::Op(BinaryOp::Ne));
        }
        let next = self.text[self.at..].chars().next();
        let found = next.map_or("end of input".to_owned(), |c| format!("{c:?}"));
        let cause = Cause::plain(match next {
            Some('~') => "`!~` compares labels and stands inside braces",
            _ => "write `!=`",
        });
        Err(self.fault(start, format!("unexpected character after '!'{place}: {found}"), cause))
    }

    fn in_braces(&mut self, start: usize) -> Result<Token, Fault> {
        let Some(c) = self.peek() else {
            let cause = Cause::Unclosed("}");
            return Err(self.fault(start, "unexpected end of input inside braces", cause));
        };
        if matches!(c, b'"' | b'\'' | b'`') {
            return self.string(start, c);
        }
        self.at += 1;
        Ok(match c {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                while self.accept(is_alphanumeric) {}
                Token::Identifier
            }
            b',' => Token::Comma,
            b'=' if self.accept_byte(b'~') => Token::MatchRegex,
            b'=' => Token::Equal,
            b'!' if self.accept_byte(b'~') => Token::MatchNotRegex,
            b'!' => self.after_bang(start, " inside braces")?,
            b'}' => {
                self.in_braces = false;
                Token::RightBrace
            }
            b'{' => {
                let cause = Cause::plain("close the brace before it");
                return Err(self.fault(start, "unexpected left brace '{'", cause));
            }
            _ => return Err(self.unexpected_character(start, " inside braces")),
        })
    }

    /// A name or keyword outside braces.
    fn word(&mut self) -> Token {
        let start = self.at;
        while self.accept(|b| is_alphanumeric(b) || b == b':') {}
        let word = &self.text[start..self.at];
        match keyword(word) {
            // These may be the names of metrics too, in queries older than the keywords.
            Some(Token::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.paren_follows() =>
            {
                Token::Identifier
            }
            Some(token) => token,
            None if word.contains(':') => Token::MetricIdentifier,
            None => Token::Identifier,
        }
    }

    fn paren_follows(&self) -> bool {
        let rest = self.text[self.at..].trim_start_matches([' ', '\t', '\n', '\r']);
        rest.starts_with('(')
    }

    fn string(&mut self, start: usize, quote: u8) -> Result<Token, Fault> {
        let raw = quote == b'`';
        self.at += 1;
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                _ if c == quote => return Ok(Token::String),
                b'\\' if !raw => self.escape(start, quote)?,
                b'\n' if !raw => break,
                _ => {}
            }
        }
        let what = if raw { "unterminated raw string" } else { "unterminated quoted string" };
        Err(self.fault(start, what, Cause::OpenQuote(char::from(quote))))
    }

    /// Checks an escape sequence; its backslash was read.
    fn escape(&mut self, start: usize, quote: u8) -> Result<(), Fault> {
        let unfinished = Cause::plain("finish it, or double the backslash");
        let rest = &self.text[self.at..];
        let Some(c) = rest.chars().next() else {
            return Err(self.fault(start, "escape sequence not terminated", unfinished));
        };
        let (prefix, digits, radix, max) = match c {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => return self.skip_escape(1),
            _ if c == char::from(quote) => return self.skip_escape(1),
            '0'..='7' => (0, 3, 8, 255),
            'x' => (1, 2, 16, 255),
            'u' => (1, 4, 16, 0x0010_ffff),
            'U' => (1, 8, 16, 0x0010_ffff),
            _ => {
                let message = format!("unknown escape sequence \\{c}");
                return Err(self.fault(
                    start,
                    message,
                    Cause::plain("double the backslash, or write the string in backticks"),
                ));
            }
        };
        let mut value = 0u32;
        let mut chars = rest[prefix..].chars();
        for _ in 0..digits {
            let Some(c) = chars.next() else {
                return Err(self.fault(start, "escape sequence not terminated", unfinished));
            };
            let Some(digit) = c.to_digit(radix) else {
                let message = format!("illegal character {c:?} in escape sequence");
                return Err(self.fault(start, message, unfinished));
            };
            // Eight hexadecimal digits fit exactly.
            value = value.wrapping_mul(radix).wrapping_add(digit);
        }
        if value > max || (0xd800..0xe000).contains(&value) {
            let message = "escape sequence is an invalid Unicode code point";
            return Err(self.fault(start, message, Cause::plain("write a code point below U+110000")));
        }
        self.skip_escape(prefix + digits)
    }

    fn skip_escape(&mut self, bytes: usize) -> Result<(), Fault> {
        self.at += bytes;
        Ok(())
    }

    /// A number, or a duration such as `1h30m`.
    fn number(&mut self, start: usize) -> Result<Token, Fault> {
        let token = if self.scan_number() {
            Some(Token::Number)
        } else {
            self.scan_duration().then_some(Token::Duration)
        };
        if self.bracket != Bracket::Outside {
            self.bracket = Bracket::Inside;
            self.length_seen = true;
        }
        token.ok_or_else(|| {
            let end =
                (self.at + 1..=self.text.len()).find(|&i| self.text.is_char_boundary(i)).unwrap_or(self.at);
            let bad = &self.text[start..end.max(self.at)];
            let cause = Cause::plain("write a number such as 1.5, 1e3 or 0x1f, or a duration such as 1h30m");
            self.fault(start, format!("bad number or duration syntax: {bad:?}"), cause)
        })
    }

    /// Reads what looks like a number: whether it is one is seen when its value is computed. False: it is none, and
    /// may go on as a duration.
    fn scan_number(&mut self) -> bool {
        let hex = self.accept_byte(b'0') && self.accept(|b| matches!(b, b'x' | b'X'));
        let digit = |b: u8| if hex { b.is_ascii_hexdigit() } else { b.is_ascii_digit() };
        let any_of = |set: &'static [u8]| move |b: u8| set.contains(&b);
        if hex {
            self.accept_byte(b'_');
        }
        self.accept_byte(b'.');
        self.accept(digit);
        let (mut dot, mut exponent) = (false, false);
        while self.peek().is_some_and(|b| digit(b) || matches!(b, b'.' | b'_' | b'e' | b'E')) {
            let at_exponent = !hex && self.peek().is_some_and(any_of(b"eE"));
            if (dot && self.accept_byte(b'.')) || (exponent && at_exponent && self.accept(any_of(b"eE"))) {
                return false;
            }
            if self.accept_byte(b'.') {
                dot = true;
                if hex || self.accept(any_of(b"_.")) {
                    return false;
                }
            } else if at_exponent {
                self.at += 1;
                exponent = true;
                self.accept(any_of(b"+-"));
                if self.peek().is_none() || self.accept(any_of(b"._eE")) {
                    return false;
                }
            } else if self.accept_byte(b'_') {
                if self.peek().is_none() || self.accept(any_of(b"._eE")) {
                    return false;
                }
            } else {
                while self.accept(digit) {}
            }
        }
        !self.peek().is_some_and(is_alphanumeric)
    }

    /// Reads the rest of a duration whose first number was read. Units out of order are found when its value is
    /// computed.
    fn scan_duration(&mut self) -> bool {
        let unit = |b: u8| matches!(b, b's' | b'm' | b'h' | b'd' | b'w');
        if !self.accept(|b| unit(b) || b == b'y') {
            return false;
        }
        self.accept_byte(b's');
        while self.accept(|b| b.is_ascii_digit()) {
            while self.accept(|b| b.is_ascii_digit()) {}
            if !self.accept(unit) {
                return false;
            }
            self.accept_byte(b's');
        }
        !self.peek().is_some_and(is_alphanumeric)
    }
}

fn is_alpha(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_'
}

fn is_alphanumeric(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// The token of a word with a meaning of its own; case does not matter.
fn keyword(word: &str) -> Option<Token> {
    const LONGEST: usize = "count_values".len();
    if word.len() > LONGEST {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    if let Some((op, _)) = AggregateOp::ALL.iter().find(|(_, name)| *name == lower) {
        return Some(Token::Aggregate(*op));
    }
    Some(match lower.as_str() {
        "and" => Token::Op(BinaryOp::And),
        "or" => Token::Op(BinaryOp::Or),
        "unless" => Token::Op(BinaryOp::Unless),
        "atan2" => Token::Op(BinaryOp::Atan2),
        "inf" | "nan" => Token::Number,
        "offset" => Token::Keyword(Keyword::Offset),
        "smoothed" => Token::Keyword(Keyword::Smoothed),
        "anchored" => Token::Keyword(Keyword::Anchored),
        "by" => Token::Keyword(Keyword::By),
        "without" => Token::Keyword(Keyword::Without),
        "on" => Token::Keyword(Keyword::On),
        "ignoring" => Token::Keyword(Keyword::Ignoring),
        "group_left" => Token::Keyword(Keyword::GroupLeft),
        "group_right" => Token::Keyword(Keyword::GroupRight),
        "fill" => Token::Keyword(Keyword::Fill),
        "fill_left" => Token::Keyword(Keyword::FillLeft),
        "fill_right" => Token::Keyword(Keyword::FillRight),
        "bool" => Token::Keyword(Keyword::Bool),
        "start" => Token::Keyword(Keyword::Start),
        "end" => Token::Keyword(Keyword::End),
        "step" => Token::Keyword(Keyword::Step),
        "range" => Token::Keyword(Keyword::Range),
        "max_of" => Token::Keyword(Keyword::MaxOf),
        "min_of" => Token::Keyword(Keyword::MinOf),
        _ => return None,
    })
}

/// Whether `word` would be read as a number or keyword where a label's name is expected, and so needs quotes there.
pub(super) fn needs_quotes_in_grouping(word: &str) -> bool {
    let mut bytes = word.bytes();
    let plain = bytes.next().is_some_and(is_alpha) && bytes.all(is_alphanumeric);
    !plain || keyword(word) == Some(Token::Number)
}

/// Whether `word` may stand before a comparison inside braces without quotes.
pub(super) fn is_label_word(word: &str) -> bool {
    let mut bytes = word.bytes();
    bytes.next().is_some_and(is_alpha) && bytes.all(is_alphanumeric)
}

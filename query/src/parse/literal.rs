//! The values of numbers, durations and strings as they are written.

/// The value of a number token: decimal, `0x1f`, `0755`, `1_000`, `Inf`, `NaN`. `None`: it is malformed or too large.
pub(super) fn number(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        "inf" => return Some(f64::INFINITY),
        "nan" => return Some(f64::NAN),
        _ => {}
    }
    let hex = text.strip_prefix("0x").or(text.strip_prefix("0X"));
    if !underscores_are_right(hex.unwrap_or(text), hex.is_some()) {
        return None;
    }
    let plain = text.replace('_', "");
    if hex.is_some() {
        return i64::from_str_radix(plain.get(2..)?, 16).ok().map(|n| n as f64);
    }
    // A leading zero means octal where all digits are octal ones, and nothing otherwise.
    if let Some(octal) = plain.strip_prefix('0')
        && let Ok(n) = i64::from_str_radix(octal, 8)
    {
        return Some(n as f64);
    }
    plain.parse::<f64>().ok().filter(|v| v.is_finite())
}

/// Underscores stand between two digits, or between `0x` and one.
fn underscores_are_right(digits: &str, after_prefix: bool) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (after_prefix && b.is_ascii_hexdigit());
    let mut before = after_prefix;
    let mut bytes = digits.bytes().peekable();
    while let Some(b) = bytes.next() {
        if b == b'_' && !(before && bytes.peek().is_some_and(|&next| digit(next))) {
            return false;
        }
        before = digit(b);
    }
    true
}

/// Why a duration token has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadDuration {
    /// Units unknown, repeated or not in the order `y w d h m s ms`.
    Malformed,
    /// More than 64 bits of milliseconds.
    TooLong,
}

/// The seconds of a duration token such as `1h30m`.
pub(super) fn duration_seconds(text: &str) -> Result<f64, BadDuration> {
    const UNITS: [(&str, u64); 7] = [
        ("y", 31_536_000_000),
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let (mut rest, mut next_unit, mut total) = (text, 0, 0u64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let at =
            UNITS[next_unit..].iter().position(|(name, _)| *name == unit).ok_or(BadDuration::Malformed)?;
        let ms = number.parse::<u64>().ok().and_then(|n| n.checked_mul(UNITS[next_unit + at].1));
        total = ms.and_then(|ms| total.checked_add(ms)).ok_or(BadDuration::TooLong)?;
        next_unit += at + 1;
        rest = tail;
    }
    if total > i64::MAX as u64 / 1_000_000 {
        return Err(BadDuration::TooLong);
    }
    Ok(total as f64 / 1000.0)
}

/// The bytes between the quotes of a string token, escapes resolved. The lexer checked the escapes.
pub(super) fn unquoted(token: &str) -> Vec<u8> {
    let inner = token.get(1..token.len().saturating_sub(1)).unwrap_or("");
    let mut out = Vec::with_capacity(inner.len());
    if token.starts_with('`') {
        out.extend_from_slice(inner.as_bytes());
        return out;
    }
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = resolve_escape(&rest[at + 1..], &mut out);
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// Writes what the escape at the begin of `rest` (behind its backslash) stands for; gives what follows it.
fn resolve_escape<'t>(rest: &'t str, out: &mut Vec<u8>) -> &'t str {
    let code = |from: usize, to: usize, radix| {
        rest.get(from..to).and_then(|digits| u32::from_str_radix(digits, radix).ok()).unwrap_or(0)
    };
    let Some(&first) = rest.as_bytes().first() else { return rest };
    let (byte, used) = match first {
        b'a' => (7, 1),
        b'b' => (8, 1),
        b'f' => (12, 1),
        b'n' => (10, 1),
        b'r' => (13, 1),
        b't' => (9, 1),
        b'v' => (11, 1),
        b'0'..=b'7' => (code(0, 3, 8) as u8, 3),
        b'x' => (code(1, 3, 16) as u8, 3),
        b'u' | b'U' => {
            let end = if first == b'u' { 5 } else { 9 };
            let c = char::from_u32(code(1, end, 16)).unwrap_or(char::REPLACEMENT_CHARACTER);
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return rest.get(end..).unwrap_or("");
        }
        other => (other, 1),
    };
    out.push(byte);
    rest.get(used..).unwrap_or("")
}

/// `text` as a string token in double quotes that reads as the same text.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let check = |text: &str, expected: Option<f64>| assert_eq!(number(text), expected, "{text}");
        check("1", Some(1.0));
        check("0755", Some(493.0));
        check("089", Some(89.0));
        check("0", Some(0.0));
        check("0x1F", Some(31.0));
        check("0x_1f", Some(31.0));
        check("1_000.5", Some(1000.5));
        check("1__0", None);
        check("1_e3", None);
        check("5.", Some(5.0));
        check(".5e-3", Some(0.0005));
        check("iNF", Some(f64::INFINITY));
        check("1e999", None);
        check("0x", None);
        check(".5.", None);
        assert!(number("NaN").is_some_and(f64::is_nan));
    }

    #[test]
    fn durations() {
        let check = |text: &str, expected| assert_eq!(duration_seconds(text), expected, "{text}");
        check("5m", Ok(300.0));
        check("1y2w3d4h5m6s7ms", Ok(33_019_506.007));
        check("0s", Ok(0.0));
        check("5m1h", Err(BadDuration::Malformed));
        check("5m1m", Err(BadDuration::Malformed));
        check("5hs", Err(BadDuration::Malformed));
        check("293y", Err(BadDuration::TooLong));
        check("99999999999999999999999s", Err(BadDuration::TooLong));
    }

    #[test]
    fn strings() {
        let check = |token: &str, expected: &[u8]| assert_eq!(unquoted(token), expected, "{token}");
        check(r#""a\"b\\c\n""#, b"a\"b\\c\n");
        check(r"'it\'s'", b"it's");
        check(r"`raw\n`", b"raw\\n");
        check(r#""\x41\101\u00e9\U0001F600""#, "AA\u{e9}\u{1F600}".as_bytes());
        check(r#""\xff""#, b"\xff");
        check(r#""\a\b\f\r\t\v""#, &[7, 8, 12, 13, 9, 11]);
        for text in ["", "a\"b\\", "\u{7}\n\r\t\u{1b}", "é\u{80}\u{ffff}😀"] {
            assert_eq!(unquoted(&quoted(text)), text.as_bytes());
        }
    }
}

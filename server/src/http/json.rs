//! A small JSON writer, for answers that are too large or too particular to be built as values first.

use cardinal_storage::model::LabelSet;

/// How strings are escaped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// `<`, `>` and `&` too, as ordinary strings of the API have it.
    Html,
    /// Only what JSON asks for, as label sets have it.
    Plain,
}

/// Appends a string, with `<`, `>` and `&` escaped.
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    put_escaped(out, text, Escape::Html);
}

/// Appends a list of strings.
pub fn put_strings<'a>(out: &mut Vec<u8>, texts: impl IntoIterator<Item = &'a str>) {
    out.push(b'[');
    for (i, text) in texts.into_iter().enumerate() {
        separate(out, i);
        put_string(out, text);
    }
    out.push(b']');
}

/// Appends labels as an object, in their order.
pub fn put_labels(out: &mut Vec<u8>, labels: &LabelSet) {
    out.push(b'{');
    for (i, label) in labels.iter().enumerate() {
        separate(out, i);
        put_escaped(out, label.name, Escape::Plain);
        out.push(b':');
        put_escaped(out, label.value, Escape::Plain);
    }
    out.push(b'}');
}

/// Appends a comma before every element but the first.
pub fn separate(out: &mut Vec<u8>, element: usize) {
    if element > 0 {
        out.push(b',');
    }
}

fn put_escaped(out: &mut Vec<u8>, text: &str, escape: Escape) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        // U+2028 and U+2029 (E2 80 A8, E2 80 A9) end lines in JavaScript.
        let line_end = byte == 0xe2 && matches!(bytes.get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9]));
        if !(needs_escape(byte, escape) || line_end && escape == Escape::Html) {
            continue;
        }
        out.extend_from_slice(&bytes[done..at]);
        done = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0xe2 => {
                out.extend_from_slice(if bytes[at + 2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                done = at + 3;
            }
            _ => put_unicode_escape(out, byte),
        }
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}

fn needs_escape(byte: u8, escape: Escape) -> bool {
    byte < 0x20
        || matches!(byte, b'"' | b'\\')
        || escape == Escape::Html && matches!(byte, b'<' | b'>' | b'&')
}

fn put_unicode_escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\u00");
    out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn strings() {
        let check = |input: &str, expected: &str| {
            let written = text(|out| put_string(out, input));
            assert_eq!(written, expected);
            assert_eq!(serde_json::from_str::<String>(&written).expect("JSON"), input);
        };
        check("", r#""""#);
        check("a\"b\\c\n\r\t", r#""a\"b\\c\n\r\t""#);
        check("\u{1}\u{1f}", r#""\u0001\u001f""#);
        check("a<b>&c", r#""a\u003cb\u003e\u0026c""#);
        check("é\u{2028}x\u{2029}\u{2030}", "\"é\\u2028x\\u2029\u{2030}\"");
    }

    #[test]
    fn label_sets_are_in_order_and_hardly_escaped() {
        let labels = LabelSet::from_pairs([("path", "/<a>&\"b\""), ("__name__", "up")]).expect("valid");
        assert_eq!(text(|out| put_labels(out, &labels)), r#"{"__name__":"up","path":"/<a>&\"b\""}"#);
        assert_eq!(text(|out| put_labels(out, &LabelSet::empty())), "{}");
        assert_eq!(text(|out| put_strings(out, ["a", "b"])), r#"["a","b"]"#);
        assert_eq!(text(|out| put_strings(out, [])), "[]");
    }
}

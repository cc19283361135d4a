//! Label sections as senders write them: in any order, in any encoding that protobuf allows.

use crate::wire::{Key, Reader, Reason, Result};
use std::fmt::Write as _;

/// The key of `TimeSeries.labels`.
pub(crate) const LABEL: Key = Key::len(1);
const NAME: Key = Key::len(1);
const VALUE: Key = Key::len(2);

/// One label, not checked: neither need be UTF-8, both may be empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RawLabel<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// Reads one label message. Of a field that occurs twice the last stands, as protobuf says.
pub(crate) fn read_label<'a>(mut message: Reader<'a>) -> Result<RawLabel<'a>> {
    let mut label = RawLabel::default();
    while !message.is_empty() {
        match message.key()? {
            NAME => label.name = message.bytes()?,
            VALUE => label.value = message.bytes()?,
            other => message.skip(other, &[1, 2])?,
        }
    }
    Ok(label)
}

/// Takes a label field off the front of `fields`, in the form that practically all have: name, then value, all lengths
/// below 128, nothing else. `None` leaves `fields` as they are, for [`read_label`].
#[inline]
pub(crate) fn take_plain_label<'a>(fields: &mut &'a [u8]) -> Option<RawLabel<'a>> {
    let &[0x0a, label_len @ 0..0x80, ref rest @ ..] = *fields else { return None };
    let (label, next) = rest.split_at_checked(usize::from(label_len))?;
    let &[0x0a, name_len @ 0..0x80, ref rest @ ..] = label else { return None };
    let (name, rest) = rest.split_at_checked(usize::from(name_len))?;
    let &[0x12, value_len @ 0..0x80, ref value @ ..] = rest else { return None };
    if value.len() != usize::from(value_len) {
        return None;
    }
    *fields = next;
    Some(RawLabel { name, value })
}

/// The labels of a section, in the order in which they stand. Ends after the first error; a section that the walk has
/// accepted holds none.
pub(crate) fn raw_labels(section: &[u8]) -> impl Iterator<Item = Result<RawLabel<'_>>> {
    let mut reader = Reader::new(section);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let label = next_label(&mut reader);
        if label.is_err() {
            reader = Reader::new(&[]);
        }
        Some(label)
    })
}

fn next_label<'a>(reader: &mut Reader<'a>) -> Result<RawLabel<'a>> {
    match reader.key()? {
        LABEL => read_label(reader.message()?),
        _ => Err(reader.fail(Reason::WireType)),
    }
}

/// How much of a series' text goes into a message.
const TEXT_BYTES_MAX: usize = 200;

/// The series of a section for people, as PromQL writes it, whatever the section holds: bytes that are no UTF-8 are
/// replaced, and what exceeds some 200 bytes is cut off.
pub fn series_text(section: &[u8]) -> String {
    let labels = || raw_labels(section).map_while(Result::ok);
    let name = labels().find(|l| l.name == b"__name__").map_or(&b""[..], |l| l.value);
    let mut text = lossy(name);
    text.push('{');
    for (i, label) in labels().filter(|l| l.name != b"__name__").enumerate() {
        if text.len() > TEXT_BYTES_MAX {
            break;
        }
        let comma = if i == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{}={:?}", lossy(label.name), lossy(label.value));
    }
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    } else {
        text.push('}');
    }
    text
}

/// Enough of `bytes` for a message.
fn lossy(bytes: &[u8]) -> String {
    let shown = bytes.get(..TEXT_BYTES_MAX + 1).unwrap_or(bytes);
    String::from_utf8_lossy(shown).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Malformed;
    use proptest::prelude::*;

    fn read(section: &[u8]) -> Result<Vec<(&[u8], &[u8])>> {
        raw_labels(section).map(|l| l.map(|l| (l.name, l.value))).collect()
    }

    #[test]
    fn every_encoding_of_a_label_is_read() {
        let check = |section: &[u8], name: &[u8], value: &[u8]| {
            assert_eq!(read(section), Ok(vec![(name, value)]), "{section:x?}");
        };
        check(b"\x0a\x06\x0a\x01a\x12\x011", b"a", b"1");
        check(b"\x0a\x06\x12\x011\x0a\x01a", b"a", b"1");
        check(b"\x0a\x09\x0a\x01b\x0a\x01a\x12\x011", b"a", b"1");
        check(b"\x8a\x00\x88\x00\x0a\x81\x00a\x12\x81\x001", b"a", b"1");
        check(b"\x0a\x08\x18\x07\x0a\x01a\x12\x011", b"a", b"1");
        check(b"\x0a\x03\x0a\x01a", b"a", b"");
        check(b"\x0a\x00", b"", b"");
    }

    #[test]
    fn long_labels_are_read() {
        let long = [b'x'; 300];
        let section = [b"\x0a\xb2\x02\x0a\x01a\x12\xac\x02", &long[..]].concat();
        assert_eq!(section.len(), 3 + 306);
        assert_eq!(read(&section), Ok(vec![(&b"a"[..], &long[..])]));
    }

    #[test]
    fn malformed_labels_are_named_with_their_offset() {
        let check = |section: &[u8], offset, reason| {
            assert_eq!(read(section), Err(Malformed { offset, reason }), "{section:x?}");
        };
        check(b"\x0a\x06\x0a\x01a\x12\x021", 6, Reason::Length);
        check(b"\x0a\x07\x0a\x01a\x12\x011", 1, Reason::Length);
        check(b"\x0a\x02\x08\x01", 3, Reason::WireType);
        check(b"\x0a\x06\x0a\x01a\x12\x011\x0a", 9, Reason::Varint);
    }

    #[test]
    fn text_is_readable_and_bounded() {
        let check = |section: &[u8], want: &str| assert_eq!(series_text(section), want);
        check(b"", "{}");
        check(b"\x0a\x0e\x0a\x08__name__\x12\x02up", "up{}");
        check(b"\x0a\x06\x0a\x01a\x12\x01\xff\x0a\x0e\x0a\x08__name__\x12\x02up", "up{a=\"\u{fffd}\"}");
        check(b"\x0a\x06\x0a\x01a\x12\x01\"\x0a\x06\x0a\x01b\x12\x01\n", r#"{a="\"", b="\n"}"#);
        let long = [b"\x0a\xb2\x02\x0a\x01a\x12\xac\x02", &[b'x'; 300][..]].concat();
        assert_eq!(series_text(&long), format!("{{a=\"{}…", "x".repeat(196)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = read(&bytes);
            prop_assert!(series_text(&bytes).len() <= TEXT_BYTES_MAX + '…'.len_utf8());
        }
    }
}

//! Protobuf as it is on the wire, read in place.
//!
//! A [`Reader`] stands on one message. It holds all bytes up to that message's end, so that its position is the offset
//! from the start of the request, which errors carry, and nothing can be read beyond the end. What is accepted is what
//! prost accepts: varints longer than necessary, unknown fields of every wire type, nested groups down to a depth of 100.

use cardinal_storage::model::varint::VARINT_LEN_MAX;
use std::fmt;

/// How deep groups may nest in an unknown field; prost's limit.
const GROUP_DEPTH_MAX: u32 = 100;

/// Where a message is malformed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf at byte {offset}: {reason}")]
pub struct Malformed {
    /// Bytes from the start of the uncompressed request.
    pub offset: usize,
    /// What is wrong there.
    pub reason: Reason,
}

/// What can be wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A varint ends with its message, or has more than 64 bits.
    Varint,
    /// A field is longer than the message that holds it.
    Length,
    /// A field's number or wire type does not exist.
    Key,
    /// A known field has another wire type than the schema's.
    WireType,
    /// A group ends that did not begin, does not end, or nests too deeply.
    Group,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Varint => "a varint is cut off or exceeds 64 bits",
            Self::Length => "a field is longer than the message that holds it",
            Self::Key => "a field has an impossible number or wire type",
            Self::WireType => "a field has another wire type than its schema says",
            Self::Group => "a group is not closed, not opened, or nested too deeply",
        })
    }
}

pub(crate) type Result<T, E = Malformed> = std::result::Result<T, E>;

/// A field's number and wire type as they are on the wire: `number << 3 | type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) u32);

impl Key {
    pub(crate) const fn varint(field: u32) -> Self {
        Self(field << 3)
    }

    pub(crate) const fn fixed64(field: u32) -> Self {
        Self(field << 3 | 1)
    }

    pub(crate) const fn len(field: u32) -> Self {
        Self(field << 3 | 2)
    }

    fn field(self) -> u32 {
        self.0 >> 3
    }
}

/// A position in one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    /// The request up to the end of this message.
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the front of a whole request.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The offset from the start of the request.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// What of this message has not been read.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Moves on to where `left`, the tail of [`Self::rest`], begins.
    #[inline]
    pub(crate) fn advance_to(&mut self, left: &[u8]) {
        debug_assert!(self.rest().ends_with(left));
        self.at = self.bytes.len() - left.len();
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64> {
        match self.bytes.get(self.at) {
            Some(&b) if b < 0x80 => {
                self.at += 1;
                Ok(u64::from(b))
            }
            _ => self.long_varint(),
        }
    }

    /// A varint of any length; apart, since most lengths and all keys take one byte.
    fn long_varint(&mut self) -> Result<u64> {
        let mut v = 0;
        for (i, b) in self.rest().iter().enumerate().take(VARINT_LEN_MAX) {
            v |= u64::from(b & 0x7f) << (7 * i);
            if *b < 0x80 {
                let beyond_64_bits = i == VARINT_LEN_MAX - 1 && *b > 1;
                if beyond_64_bits {
                    break;
                }
                self.at += i + 1;
                return Ok(v);
            }
        }
        Err(self.fail(Reason::Varint))
    }

    #[inline]
    pub(crate) fn key(&mut self) -> Result<Key> {
        let from = self.at;
        let key =
            u32::try_from(self.varint()?).map_err(|_| Malformed { offset: from, reason: Reason::Key })?;
        Ok(Key(key))
    }

    /// The bytes of a length-delimited field.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        Ok(self.message()?.rest())
    }

    /// The message in a length-delimited field; moves past it.
    #[inline]
    pub(crate) fn message(&mut self) -> Result<Reader<'a>> {
        let from = self.at;
        let too_long = Malformed { offset: from, reason: Reason::Length };
        let len = usize::try_from(self.varint()?).map_err(|_| too_long)?;
        let end = self.at.checked_add(len).ok_or(too_long)?;
        let inner = Reader { bytes: self.bytes.get(..end).ok_or(too_long)?, at: self.at };
        self.at = end;
        Ok(inner)
    }

    #[inline]
    pub(crate) fn fixed64(&mut self) -> Result<u64> {
        let (bytes, _) = self.rest().split_first_chunk::<8>().ok_or(self.fail(Reason::Length))?;
        self.at += 8;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// Moves past the value of a field that the schema does not know. `known` are the numbers that it does: to come here
    /// with one of them means another wire type.
    #[cold]
    pub(crate) fn skip(&mut self, key: Key, known: &[u32]) -> Result<()> {
        if known.contains(&key.field()) {
            return Err(self.fail(Reason::WireType));
        }
        self.skip_value(key, 0)
    }

    fn skip_value(&mut self, key: Key, depth: u32) -> Result<()> {
        if key.field() == 0 {
            return Err(self.fail(Reason::Key));
        }
        match key.0 & 7 {
            0 => self.varint().map(drop),
            1 => self.fixed64().map(drop),
            2 => self.message().map(drop),
            3 => self.skip_group(key.field(), depth),
            4 => Err(self.fail(Reason::Group)),
            5 => self.fixed32(),
            _ => Err(self.fail(Reason::Key)),
        }
    }

    fn fixed32(&mut self) -> Result<()> {
        self.rest().get(..4).ok_or(self.fail(Reason::Length))?;
        self.at += 4;
        Ok(())
    }

    fn skip_group(&mut self, field: u32, depth: u32) -> Result<()> {
        if depth >= GROUP_DEPTH_MAX {
            return Err(self.fail(Reason::Group));
        }
        loop {
            if self.is_empty() {
                return Err(self.fail(Reason::Group));
            }
            let key = self.key()?;
            if key == Key(field << 3 | 4) {
                return Ok(());
            }
            self.skip_value(key, depth + 1)?;
        }
    }

    #[cold]
    pub(crate) fn fail(&self, reason: Reason) -> Malformed {
        Malformed { offset: self.at, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(bytes: &[u8]) -> Result<usize> {
        let mut r = Reader::new(bytes);
        let key = r.key()?;
        r.skip(key, &[1])?;
        Ok(r.offset())
    }

    #[test]
    fn unknown_fields_are_skipped_whole() {
        let check = |bytes: &[u8]| assert_eq!(skip(bytes), Ok(bytes.len()), "{bytes:x?}");
        check(&[0x10, 0x80, 0x80, 0x00]);
        check(&[0x11, 1, 2, 3, 4, 5, 6, 7, 8]);
        check(&[0x12, 2, 0xff, 0xff]);
        check(&[0x15, 1, 2, 3, 4]);
        check(&[0x13, 0x10, 1, 0x1b, 0x1c, 0x14]);
    }

    #[test]
    fn what_is_malformed_is_named_with_its_offset() {
        let check = |bytes: &[u8], offset, reason| {
            assert_eq!(skip(bytes), Err(Malformed { offset, reason }), "{bytes:x?}");
        };
        check(&[], 0, Reason::Varint);
        check(&[0x80], 0, Reason::Varint);
        check(&[0xff, 0xff, 0xff, 0xff, 0x0f], 5, Reason::Key);
        check(&[0x80, 0x80, 0x80, 0x80, 0x10], 0, Reason::Key);
        check(&[0x00, 0], 1, Reason::Key);
        check(&[0x16], 1, Reason::Key);
        check(&[0x17], 1, Reason::Key);
        check(&[0x08, 0], 1, Reason::WireType);
        check(&[0x12, 3, 0, 0], 1, Reason::Length);
        check(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], 1, Reason::Length);
        check(&[0x11, 1, 2, 3], 1, Reason::Length);
        check(&[0x15, 1, 2, 3], 1, Reason::Length);
        check(&[0x14], 1, Reason::Group);
        check(&[0x13, 0x10, 1], 3, Reason::Group);
        check(&[0x13, 0x1c], 2, Reason::Group);
    }

    #[test]
    fn groups_nest_only_so_deep() {
        let nested = |depth: usize| [vec![0x13; depth], vec![0x14; depth]].concat();
        assert_eq!(skip(&nested(100)), Ok(200));
        assert_eq!(skip(&nested(101)), Err(Malformed { offset: 101, reason: Reason::Group }));
        assert!(skip(&vec![0x13; 1_000_000]).is_err());
    }
}

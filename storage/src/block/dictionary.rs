//! The values of one label name: sorted, front-coded, every 16th in full.

use super::error::{Corruption, WriteBlockError, offset_u32};
use super::lists;
use super::section::{Cursor, Section};
use crate::index::Values;
use crate::model::varint;
use std::ops::Range;

/// Values between two that stand in full.
pub(super) const RESTART: u32 = 16;
/// Bytes of one entry of the restarts section: offset of the value, offset of its list.
const RESTART_LEN: u64 = 8;

/// Writes the values of a name together with their lists, and where every 16th of both starts.
#[derive(Default)]
pub(super) struct DictionaryWriter {
    pub(super) text: Vec<u8>,
    pub(super) lists: Vec<u8>,
    pub(super) restarts: Vec<u8>,
    count: u32,
    last: Vec<u8>,
}

impl DictionaryWriter {
    /// Begins with the list of all series that have the name.
    pub(super) fn new(having: &[u32]) -> Self {
        let mut w = Self::default();
        lists::put(having, &mut w.lists);
        w
    }

    /// Adds the next value in order, with its series in order.
    pub(super) fn push(&mut self, value: &str, series: &[u32]) -> Result<(), WriteBlockError> {
        let value = value.as_bytes();
        debug_assert!(self.count == 0 || self.last.as_slice() < value);
        let mut shared = 0;
        if self.count.is_multiple_of(RESTART) {
            self.restarts.extend_from_slice(&offset_u32(self.text.len(), "label values")?.to_le_bytes());
            self.restarts.extend_from_slice(&offset_u32(self.lists.len(), "postings")?.to_le_bytes());
        } else {
            shared = self.last.iter().zip(value).take_while(|(a, b)| a == b).count();
        }
        varint::put(&mut self.text, shared as u64);
        varint::put_bytes(&mut self.text, &value[shared..]);
        self.last.truncate(shared);
        self.last.extend_from_slice(&value[shared..]);
        lists::put(series, &mut self.lists);
        self.count += 1;
        Ok(())
    }
}

/// The bytes of a name's part of the restarts section.
pub(super) fn restarts_len(n_values: u32) -> u64 {
    u64::from(n_values.div_ceil(RESTART)) * RESTART_LEN
}

/// Reads the values of a name.
#[derive(Clone, Copy)]
pub(super) struct Dictionary<'a> {
    pub(super) count: u32,
    pub(super) text: Section<'a>,
    pub(super) restarts: Section<'a>,
}

impl<'a> Dictionary<'a> {
    /// The first value that is not less than `wanted`, and whether it is equal to it.
    pub(super) fn lower_bound(&self, wanted: &[u8]) -> Result<(u32, bool), Corruption> {
        let (mut from, mut to) = (0, self.count.div_ceil(RESTART));
        while from < to {
            let middle = from + (to - from) / 2;
            if self.restart_value(middle)? <= wanted { from = middle + 1 } else { to = middle }
        }
        let Some(restart) = from.checked_sub(1) else { return Ok((0, false)) };
        let mut values = self.read_from(restart)?;
        let end = self.count.min((restart + 1) * RESTART);
        for id in restart * RESTART..end {
            let value = values.read()?;
            if value >= wanted {
                return Ok((id, value == wanted));
            }
        }
        Ok((end, false))
    }

    /// The values that begin with `prefix`.
    pub(super) fn prefix_range(&self, prefix: &str) -> Result<Range<u32>, Corruption> {
        let mut after = prefix.as_bytes().to_vec();
        // The last byte of UTF-8 is never 0xff.
        let Some(last) = after.last_mut() else { return Ok(0..self.count) };
        *last += 1;
        let from = self.lower_bound(prefix.as_bytes())?.0;
        Ok(from..self.lower_bound(&after)?.0.max(from))
    }

    /// Pushes the values `ids` onto `out`.
    pub(super) fn values(&self, ids: Range<u32>, out: &mut Values) -> Result<(), Corruption> {
        if ids.is_empty() {
            return Ok(());
        }
        self.check(ids.end - 1)?;
        let mut values = self.read_from(ids.start / RESTART)?;
        for id in ids.start / RESTART * RESTART..ids.end {
            values.read()?;
            if id >= ids.start {
                out.push(values.text()?);
            }
        }
        Ok(())
    }

    /// Calls `f` with one value.
    pub(super) fn value<R>(&self, id: u32, f: impl FnOnce(&str) -> R) -> Result<R, Corruption> {
        self.check(id)?;
        let mut values = self.read_from(id / RESTART)?;
        for _ in 0..=id % RESTART {
            values.read()?;
        }
        values.text().map(f)
    }

    /// Where the lists of the 16 values from `restart` on start.
    pub(super) fn lists_offset(&self, restart: u32) -> Result<u64, Corruption> {
        self.restarts.u32(u64::from(restart) * RESTART_LEN + 4).map(u64::from)
    }

    pub(super) fn check(&self, id: u32) -> Result<(), Corruption> {
        if id < self.count {
            return Ok(());
        }
        Err(self.text.corruption(0, format!("value {id}"), format!("{} values", self.count)))
    }

    fn text_offset(&self, restart: u32) -> Result<u64, Corruption> {
        self.restarts.u32(u64::from(restart) * RESTART_LEN).map(u64::from)
    }

    fn restart_value(&self, restart: u32) -> Result<&'a [u8], Corruption> {
        let mut cursor = self.text.cursor(self.text_offset(restart)?);
        let shared = cursor.varint()?;
        if shared != 0 {
            return Err(cursor.corruption("a value in full", format!("one that shares {shared} bytes")));
        }
        let len = cursor.varint()?;
        cursor.bytes(len)
    }

    fn read_from(&self, restart: u32) -> Result<FrontCoded<'a>, Corruption> {
        Ok(FrontCoded { cursor: self.text.cursor(self.text_offset(restart)?), value: Vec::new() })
    }
}

/// Puts values together one after another.
struct FrontCoded<'a> {
    cursor: Cursor<'a>,
    value: Vec<u8>,
}

impl FrontCoded<'_> {
    fn read(&mut self) -> Result<&[u8], Corruption> {
        let shared = self.cursor.varint()?;
        if shared > self.value.len() as u64 {
            let expected = format!("at most {} shared bytes", self.value.len());
            return Err(self.cursor.corruption(expected, shared.to_string()));
        }
        self.value.truncate(shared as usize);
        let len = self.cursor.varint()?;
        self.value.extend_from_slice(self.cursor.bytes(len)?);
        Ok(&self.value)
    }

    fn text(&self) -> Result<&str, Corruption> {
        std::str::from_utf8(&self.value)
            .map_err(|_| self.cursor.corruption("UTF-8", self.value.escape_ascii().to_string()))
    }
}

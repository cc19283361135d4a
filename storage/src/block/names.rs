//! The label names of a shard and the lists of them (schemas) that its series have.

use super::dictionary::{Dictionary, RESTART, restarts_len};
use super::error::Corruption;
use super::lists::{self, Union};
use super::section::{Cursor, Extent, Section};
use crate::index::{Bitmap, NameId, ValueId};
use crate::model::varint;

/// Bytes of one entry of the names section.
pub(super) const NAME_LEN: u64 = 56;

/// Where everything about one name is. The layout is that of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameEntry {
    pub(super) text_offset: u32,
    pub(super) text_len: u32,
    pub(super) n_values: u32,
    pub(super) dictionary: Extent,
    pub(super) postings: Extent,
    pub(super) restarts: u64,
}

impl NameEntry {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for v in [self.text_offset, self.text_len, self.n_values, 0] {
            out.extend_from_slice(&v.to_le_bytes());
        }
        for v in [self.dictionary.offset, self.dictionary.len, self.postings.offset, self.postings.len] {
            out.extend_from_slice(&v.to_le_bytes());
        }
        out.extend_from_slice(&self.restarts.to_le_bytes());
    }

    fn read(names: Section<'_>, at: u64) -> Result<Self, Corruption> {
        let entry = names.part(Extent { offset: at, len: NAME_LEN })?;
        Ok(Self {
            text_offset: entry.u32(0)?,
            text_len: entry.u32(4)?,
            n_values: entry.u32(8)?,
            dictionary: entry.extent(16)?,
            postings: entry.extent(32)?,
            restarts: entry.u64(48)?,
        })
    }
}

/// Reads the names of a shard.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) names: Section<'a>,
    pub(super) dictionaries: Section<'a>,
    pub(super) postings: Section<'a>,
    pub(super) restarts: Section<'a>,
}

/// Values and lists of one name.
pub(super) struct NameParts<'a> {
    pub(super) dictionary: Dictionary<'a>,
    pub(super) postings: Section<'a>,
}

impl NameParts<'_> {
    /// Adds all series that have the name to `out`.
    pub(super) fn having(&self, n_series: u32, out: &mut Bitmap) -> Result<(), Corruption> {
        let mut union = Union::default();
        union.take(&mut self.postings.cursor(0), n_series)?;
        union.add_to(out);
        Ok(())
    }

    /// Adds the series that have one of `values` to `out`.
    pub(super) fn series_of(
        &self,
        values: &[ValueId],
        n_series: u32,
        out: &mut Bitmap,
    ) -> Result<(), Corruption> {
        let mut union = Union::default();
        values.iter().try_for_each(|&v| union.take(&mut self.list(v)?, n_series))?;
        union.add_to(out);
        Ok(())
    }

    /// Pushes how many series have each of the values `ids`, from the heads of their lists.
    pub(super) fn series_counts(
        &self,
        ids: std::ops::Range<u32>,
        out: &mut Vec<u64>,
    ) -> Result<(), Corruption> {
        if ids.is_empty() {
            return Ok(());
        }
        self.dictionary.check(ids.end - 1)?;
        let mut cursor = self.list(ValueId(ids.start))?;
        ids.into_iter().try_for_each(|_| lists::count(&mut cursor).map(|n| out.push(n)))
    }

    fn list(&self, value: ValueId) -> Result<Cursor<'_>, Corruption> {
        self.dictionary.check(value.0)?;
        let mut cursor = self.postings.cursor(self.dictionary.lists_offset(value.0 / RESTART)?);
        for _ in 0..value.0 % RESTART {
            lists::skip(&mut cursor)?;
        }
        Ok(cursor)
    }
}

impl<'a> Names<'a> {
    /// How many names there are: texts start where entries end.
    pub(super) fn count(&self) -> Result<u32, Corruption> {
        if self.names.len() == 0 {
            return Ok(0);
        }
        let end = self.names.u32(0)?;
        match end {
            end if end == 0 || u64::from(end) > self.names.len() => {
                Err(self.names.corruption(0, "where the texts of names start", end.to_string()))
            }
            end => Ok(end / NAME_LEN as u32),
        }
    }

    pub(super) fn text(&self, name: NameId) -> Result<&'a str, Corruption> {
        let entry = self.entry(name)?;
        let at = u64::from(entry.text_offset);
        let bytes = self.names.bytes(at, u64::from(entry.text_len))?;
        std::str::from_utf8(bytes)
            .map_err(|_| self.names.corruption(at, "UTF-8", bytes.escape_ascii().to_string()))
    }

    pub(super) fn find(&self, name: &str) -> Result<Option<NameId>, Corruption> {
        let (mut from, mut to) = (0, self.count()?);
        while from < to {
            let middle = from + (to - from) / 2;
            match self.text(NameId(middle))?.cmp(name) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Equal => return Ok(Some(NameId(middle))),
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        Ok(None)
    }

    pub(super) fn parts(&self, name: NameId) -> Result<NameParts<'a>, Corruption> {
        let e = self.entry(name)?;
        Ok(NameParts {
            dictionary: Dictionary {
                count: e.n_values,
                text: self.dictionaries.part(e.dictionary)?,
                restarts: self.restarts.part(Extent { offset: e.restarts, len: restarts_len(e.n_values) })?,
            },
            postings: self.postings.part(e.postings)?,
        })
    }

    fn entry(&self, name: NameId) -> Result<NameEntry, Corruption> {
        let n = self.count()?;
        if name.0 >= n {
            return Err(self.names.corruption(0, format!("name {}", name.0), format!("{n} names")));
        }
        NameEntry::read(self.names, u64::from(name.0) * NAME_LEN)
    }
}

/// Appends a schema.
pub(super) fn put_schema(names: &[u32], out: &mut Vec<u8>) {
    varint::put(out, names.len() as u64);
    let mut next = 0;
    for &name in names {
        varint::put(out, u64::from(name - next));
        next = name + 1;
    }
}

/// Reads one schema: names, ascending.
pub(super) fn schema(section: Section<'_>, id: u32) -> Result<Vec<NameId>, Corruption> {
    let at = u64::from(id) * 4;
    let mut cursor = section.cursor(u64::from(section.u32(at)?));
    let n = cursor.varint()?;
    if n > section.len() {
        return Err(cursor.corruption("a list of names", format!("one of {n}")));
    }
    let mut names = Vec::with_capacity(n.min(1024) as usize);
    let mut next = 0u32;
    for _ in 0..n {
        let name = next.saturating_add(cursor.varint_u32()?);
        names.push(NameId(name));
        next = name.saturating_add(1);
    }
    Ok(names)
}

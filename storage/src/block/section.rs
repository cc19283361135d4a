//! Reading within one section of a paged file: nothing reaches beyond it, whatever the bytes say.

use super::error::Corruption;
use super::paged::{PAGE_LEN, PagedFile};
use crate::model::varint::{self, VARINT_LEN_MAX};

/// A place in a file or section, as it is written down: whether it lies inside is for the reader to check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    /// In bytes.
    pub(super) len: u64,
}

/// A range of a file that one structure lies in.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    file: &'a PagedFile,
    offset: u64,
    len: u64,
}

impl<'a> Section<'a> {
    pub(super) fn new(file: &'a PagedFile, at: Extent) -> Self {
        Self { file, offset: at.offset, len: at.len }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// A part of the section.
    pub(super) fn part(&self, at: Extent) -> Result<Section<'a>, Corruption> {
        self.check(at.offset, at.len)?;
        Ok(Section { file: self.file, offset: self.offset + at.offset, len: at.len })
    }

    pub(super) fn bytes(&self, at: u64, len: u64) -> Result<&'a [u8], Corruption> {
        self.check(at, len)?;
        self.file.bytes(self.offset + at, len)
    }

    pub(super) fn u32(&self, at: u64) -> Result<u32, Corruption> {
        let mut b = [0; 4];
        b.copy_from_slice(self.bytes(at, 4)?);
        Ok(u32::from_le_bytes(b))
    }

    pub(super) fn u64(&self, at: u64) -> Result<u64, Corruption> {
        let mut b = [0; 8];
        b.copy_from_slice(self.bytes(at, 8)?);
        Ok(u64::from_le_bytes(b))
    }

    /// An extent of two u64: offset, length.
    pub(super) fn extent(&self, at: u64) -> Result<Extent, Corruption> {
        Ok(Extent { offset: self.u64(at)?, len: self.u64(at.saturating_add(8))? })
    }

    /// Reads on from `at`.
    pub(super) fn cursor(&self, at: u64) -> Cursor<'a> {
        Cursor { section: *self, window: &[], end: at }
    }

    /// Damage at `at` of the section.
    pub(super) fn corruption(
        &self,
        at: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Corruption {
        self.file.corruption(self.offset.saturating_add(at), expected.into(), found.into())
    }

    fn check(&self, at: u64, len: u64) -> Result<(), Corruption> {
        if at.checked_add(len).is_some_and(|end| end <= self.len) {
            return Ok(());
        }
        Err(self.corruption(
            at,
            format!("{len} bytes"),
            format!("the section's end at {}", self.offset + self.len),
        ))
    }
}

/// Reads a section front to back. Only pages that hold what is read are touched, so that damage beyond does no harm.
pub(super) struct Cursor<'a> {
    section: Section<'a>,
    /// What is left of the page that was read from last.
    window: &'a [u8],
    /// Where `window` ends in the section.
    end: u64,
}

impl<'a> Cursor<'a> {
    /// Where the next byte is read, in the section.
    pub(super) fn at(&self) -> u64 {
        self.end - self.window.len() as u64
    }

    pub(super) fn varint(&mut self) -> Result<u64, Corruption> {
        if let Some(v) = varint::take(&mut self.window) {
            return Ok(v);
        }
        self.refill()?;
        if let Some(v) = varint::take(&mut self.window) {
            return Ok(v);
        }
        self.varint_over_pages()
    }

    /// A varint that must fit `u32`.
    pub(super) fn varint_u32(&mut self) -> Result<u32, Corruption> {
        let at = self.at();
        let v = self.varint()?;
        u32::try_from(v).map_err(|_| self.section.corruption(at, "at most 4294967295", v.to_string()))
    }

    pub(super) fn bytes(&mut self, len: u64) -> Result<&'a [u8], Corruption> {
        if let Some((head, tail)) = usize::try_from(len).ok().and_then(|n| self.window.split_at_checked(n)) {
            self.window = tail;
            return Ok(head);
        }
        let bytes = self.section.bytes(self.at(), len)?;
        self.jump(self.at() + len);
        Ok(bytes)
    }

    pub(super) fn skip(&mut self, len: u64) -> Result<(), Corruption> {
        match usize::try_from(len).ok().and_then(|n| self.window.split_at_checked(n)) {
            Some((_, tail)) => self.window = tail,
            None => {
                self.section.check(self.at(), len)?;
                self.jump(self.at() + len);
            }
        }
        Ok(())
    }

    pub(super) fn corruption(&self, expected: impl Into<String>, found: impl Into<String>) -> Corruption {
        self.section.corruption(self.at(), expected, found)
    }

    /// Damage at `at` of the section that is read.
    pub(super) fn section_corruption(
        &self,
        at: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Corruption {
        self.section.corruption(at, expected, found)
    }

    fn jump(&mut self, at: u64) {
        self.window = &[];
        self.end = at;
    }

    /// Takes in the rest of the page that the next byte is on.
    fn refill(&mut self) -> Result<(), Corruption> {
        let at = self.at();
        let in_page = PAGE_LEN - (self.section.offset + at) % PAGE_LEN;
        let len = in_page.min(self.section.len.saturating_sub(at));
        self.window = self.section.bytes(at, len)?;
        self.end = at + len;
        Ok(())
    }

    fn varint_over_pages(&mut self) -> Result<u64, Corruption> {
        let at = self.at();
        let len = (VARINT_LEN_MAX as u64).min(self.section.len.saturating_sub(at));
        let mut bytes = self.section.bytes(at, len)?;
        let v = varint::take(&mut bytes).ok_or_else(|| self.corruption("a varint", "none"))?;
        self.jump(at + len - bytes.len() as u64);
        Ok(v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::paged::PagedWriter;
    use crate::block::unpaced;
    use crate::io::SimFs;
    use std::path::Path;

    fn with_file(payload: &[u8], damage: Option<u64>, check: impl FnOnce(&PagedFile)) {
        let fs = SimFs::new(1);
        let path = Path::new("f");
        let mut w = PagedWriter::create(&fs, path, b"CRDLTEST", &unpaced()).unwrap();
        w.put(payload).unwrap();
        let len = w.finish(0..0).unwrap();
        if let Some(at) = damage {
            fs.corrupt(path, at, 1).unwrap();
        }
        check(&PagedFile::open(&fs, path, b"CRDLTEST", len).unwrap());
    }

    #[test]
    fn cursors_cross_pages() {
        let mut payload = Vec::new();
        let numbers: Vec<u64> = (0..60_000u64).map(|i| i * i * 37 % 100_000).collect();
        numbers.iter().for_each(|&n| varint::put(&mut payload, n));
        with_file(&payload, None, |f| {
            let section = Section::new(f, Extent { offset: 16, len: payload.len() as u64 });
            let mut c = section.cursor(0);
            for &n in &numbers {
                assert_eq!(c.varint().unwrap(), n);
            }
            assert_eq!(c.at(), section.len());
            assert!(c.varint().is_err());
            let mut c = section.cursor(0);
            assert_eq!(c.bytes(70_000).unwrap(), &payload[..70_000]);
            c.skip(100).unwrap();
            assert_eq!(c.bytes(5).unwrap(), &payload[70_100..70_105]);
            assert!(c.skip(1 << 40).is_err());
        });
    }

    #[test]
    fn nothing_reaches_beyond_the_section_nor_into_pages_it_does_not_need() {
        with_file(&vec![0x80; 140_000], Some(70_000), |f| {
            let section = Section::new(f, Extent { offset: 16, len: 65_520 });
            assert!(section.cursor(65_519).varint().is_err());
            assert!(section.bytes(65_519, 2).is_err());
            assert!(section.part(Extent { offset: 0, len: 65_521 }).is_err());
            assert_eq!(section.bytes(65_519, 1).unwrap(), [0x80]);
            assert!(
                Section::new(f, Extent { offset: 16, len: 100_000 }).bytes(65_519, 2).unwrap_err().offset
                    == 65_536
            );
        });
    }
}

//! Reading the head-chunk log: everything that was in it at one moment.

use super::record::{self, Record, RecordError};
use super::{HeadPos, Segments};
use std::path::PathBuf;
use std::sync::Arc;

/// Closed segments, full pages, and a copy of the page being filled. Positions appended later are not in it.
#[derive(Clone, Debug)]
pub(crate) struct LogSnapshot {
    dir: PathBuf,
    segments: Segments,
    /// Pages in memory by the position of their first byte, ascending.
    pages: Vec<(HeadPos, Arc<[u8]>)>,
    end: HeadPos,
}

/// A record that could not be read. The rest of the log is not affected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "head-chunk log {file} offset {offset}: {what}; what the same series has before it in this log cannot be found either"
)]
pub struct LogCorruption {
    /// The segment's file.
    pub file: String,
    /// Where in it.
    pub offset: usize,
    /// Expected and found.
    pub what: String,
}

impl LogSnapshot {
    pub(super) fn new(
        dir: PathBuf,
        segments: Segments,
        pages: Vec<(HeadPos, Arc<[u8]>)>,
        end: HeadPos,
    ) -> Self {
        Self { dir, segments, pages, end }
    }

    /// Where the log ended then: a record at or above it was appended later.
    pub(crate) fn end(&self) -> HeadPos {
        self.end
    }

    /// The record at `at`; `None` where its segment is gone.
    pub(crate) fn get(&self, at: HeadPos) -> Result<Option<Record<'_>>, LogCorruption> {
        if at == HeadPos::NONE {
            return Ok(None);
        }
        let fail = |what| self.corruption(at, what);
        if at >= self.end {
            return Err(fail(format!(
                "expected a position below the log's end {:x}, found {:x}",
                self.end.0, at.0
            )));
        }
        let Some(bytes) = self.bytes(at) else { return Ok(None) };
        match record::read(bytes) {
            Ok(record) if record.header.prev < at => Ok(Some(record)),
            Ok(record) => Err(fail(format!(
                "expected an older position than {:x}, found {:x}",
                at.0, record.header.prev.0
            ))),
            Err(RecordError::CutOff) => Err(fail("expected a whole record, found the end".into())),
            Err(RecordError::Checksum { expected, found }) => {
                Err(fail(format!("expected checksum {expected:08x}, found {found:08x}")))
            }
        }
    }

    /// Damage at a position.
    pub(crate) fn corruption(&self, at: HeadPos, what: String) -> LogCorruption {
        let file = super::segment_path(&self.dir, at.segment()).display().to_string();
        LogCorruption { file, offset: at.offset(), what }
    }

    fn bytes(&self, at: HeadPos) -> Option<&[u8]> {
        let after = self.pages.partition_point(|(start, _)| *start <= at);
        if let Some((start, page)) = after.checked_sub(1).and_then(|i| self.pages.get(i))
            && start.segment() == at.segment()
        {
            return page.get((at.0 - start.0) as usize..);
        }
        let i = self.segments.binary_search_by_key(&at.segment(), |s| s.0).ok()?;
        let region: &[u8] = &self.segments[i].1;
        // Beyond the end of a segment that is there is no end of a chain: its bytes are missing.
        Some(region.get(at.offset()..).unwrap_or_default())
    }
}

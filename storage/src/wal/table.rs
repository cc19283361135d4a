//! Which LSNs are in which segment, and how many bytes of log follow an LSN.

use crate::model::Lsn;
use std::collections::VecDeque;

/// How far apart, in bytes of log, two marks are.
const MARK_BYTES: u64 = 1 << 20;

/// The segments on disk, ascending; the last one is written to.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// (number, LSN that it was begun for); both ascend.
    segments: Vec<(u64, Lsn)>,
    /// (newest LSN, bytes of log up to it), ascending.
    marks: VecDeque<(Lsn, u64)>,
    /// Bytes of log since the process began, with the segments found at start.
    total: u64,
    /// Bytes of log that are dropped, as of the marks.
    dropped: u64,
}

impl Table {
    /// Takes up a segment that is on disk already.
    pub(super) fn found(&mut self, number: u64, first: Lsn, len: u64) {
        let first = self.segments.last().map_or(first, |&(_, before)| first.max(before));
        self.marks.push_back((first.previous(), self.total));
        self.segments.push((number, first));
        self.total += len;
    }

    /// A new segment was begun for `first`.
    pub(super) fn begun(&mut self, number: u64, first: Lsn) {
        self.segments.push((number, first));
        let before = first.previous();
        // After a failure the same batches are written again: they count once more, where they are now.
        while self.marks.back().is_some_and(|&(at, _)| at >= before) {
            self.marks.pop_back();
        }
        self.marks.push_back((before, self.total));
    }

    /// `bytes` more of log were written, up to `last`.
    pub(super) fn written(&mut self, last: Lsn, bytes: u64) {
        self.total += bytes;
        if self.marks.back().is_none_or(|&(_, total)| self.total - total >= MARK_BYTES) {
            self.marks.push_back((last, self.total));
        }
    }

    /// The first segment that may have a batch above `lsn`; the current one if none has.
    pub(super) fn first_needed(&self, lsn: Lsn) -> u64 {
        let not_needed = self.segments.windows(2).take_while(|w| w[1].1 <= lsn.next()).count();
        self.segments.get(not_needed).map_or(0, |&(number, _)| number)
    }

    /// The bytes of log above `lsn`, rounded up by at most a mark's distance; what was on disk at start counts as a whole.
    pub(super) fn bytes_since(&self, lsn: Lsn) -> u64 {
        let before = self.marks.partition_point(|&(at, _)| at <= lsn);
        let covered = before.checked_sub(1).map_or(self.dropped, |i| self.marks[i].1);
        self.total - covered
    }

    /// The segments below `number` are gone.
    pub(super) fn drop_below(&mut self, number: u64) {
        let gone = self.segments.partition_point(|&(n, _)| n < number);
        self.segments.drain(..gone);
        if let Some(&(_, first)) = self.segments.first() {
            while self.marks.len() > 1 && self.marks[1].0 < first {
                self.marks.pop_front();
            }
            self.dropped = self.marks.front().map_or(self.total, |&(_, bytes)| bytes);
        }
    }

    pub(super) fn current(&self) -> u64 {
        self.segments.last().map_or(0, |&(number, _)| number)
    }

    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }

    /// The bytes of log on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.total - self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_needed_segment_has_the_next_lsn() {
        let mut table = Table::default();
        table.found(3, Lsn(1), 100);
        table.begun(4, Lsn(11));
        table.begun(5, Lsn(21));
        table.begun(6, Lsn(21));
        let check = |lsn, want| assert_eq!(table.first_needed(Lsn(lsn)), want, "{lsn}");
        check(0, 3);
        check(9, 3);
        check(10, 4);
        check(19, 4);
        check(20, 6);
        check(99, 6);
    }

    #[test]
    fn bytes_are_counted_from_the_mark_before() {
        let mut table = Table::default();
        table.found(1, Lsn(1), 1000);
        table.begun(2, Lsn(11));
        table.written(Lsn(11), MARK_BYTES);
        table.written(Lsn(12), MARK_BYTES - 1);
        table.written(Lsn(13), 1);
        let check = |table: &Table, lsn, want| assert_eq!(table.bytes_since(Lsn(lsn)), want, "{lsn}");
        check(&table, 0, 2 * MARK_BYTES + 1000);
        check(&table, 10, 2 * MARK_BYTES);
        check(&table, 11, MARK_BYTES);
        check(&table, 12, MARK_BYTES);
        check(&table, 13, 0);
        table.begun(3, Lsn(14));
        table.drop_below(3);
        assert_eq!((table.len(), table.current(), table.bytes()), (1, 3, 0));
        check(&table, 0, 0);
        table.written(Lsn(14), 5);
        check(&table, 13, 5);
    }
}

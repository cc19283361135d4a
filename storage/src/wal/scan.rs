//! One segment's bytes, looked through: runs of valid batches, and the places where there is none.

use super::batch::{self, Found};
use super::segment::{self, FoundHeader};
use crate::model::Lsn;

/// What a segment holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Valid batches, by place.
    pub(super) runs: Vec<Run>,
    /// Bytes that are neither batches nor the unused rest, by place.
    pub(super) damage: Vec<Span>,
    /// Where the first batch may stand: behind a good header, else at 0.
    pub(super) start: u64,
    /// The LSN that the segment was begun for, of a good header.
    pub(super) begun_for: Option<Lsn>,
    /// Where the rest begins that was allocated and never written.
    pub(super) end: u64,
    /// The length of all of it.
    pub(super) len: u64,
}

impl Scan {
    /// Whether there is neither header nor batch. A segment is made with a header.
    pub(super) fn is_bare(&self) -> bool {
        self.begun_for.is_none() && self.runs.is_empty()
    }
}

/// Batches that follow one another in place and LSN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) span: Span,
    pub(super) first: Lsn,
    pub(super) last: Lsn,
    /// The newest LSN that one of the batches says was durable.
    pub(super) synced: Lsn,
}

/// A part of a segment, right-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// A header or batch of a later version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewerVersion {
    pub(super) offset: u64,
    pub(super) found: u32,
}

/// Looks through a whole segment. Its cost is bounded by a small multiple of its length, whatever the bytes are.
pub(super) fn scan(bytes: &[u8]) -> Result<Scan, NewerVersion> {
    let used = used(bytes);
    let mut scan = Scan { len: bytes.len() as u64, ..Scan::default() };
    match segment::Header::parse(bytes) {
        FoundHeader::Header(header) => {
            scan.start = segment::HEADER_LEN as u64;
            scan.begun_for = Some(header.first);
        }
        FoundHeader::Newer(found) => return Err(NewerVersion { offset: 0, found }),
        FoundHeader::Nothing => {}
    }
    let mut at = scan.start as usize;
    let mut search = Search { bytes, checks_left: 4 * bytes.len() + (1 << 20) };
    while at < used {
        match batch::parse(&bytes[at..]) {
            Found::Batch(b) => {
                scan.add(at, &b);
                at += b.len;
            }
            Found::Newer(found) => {
                return Err(NewerVersion { offset: at as u64, found: u32::from(found) });
            }
            Found::Nothing { .. } => {
                let next = search.next_batch(at + 1).unwrap_or(used);
                scan.damage.push(Span { from: at as u64, to: next as u64 });
                at = next;
            }
        }
    }
    // A batch may end with zeros.
    scan.end = scan.start.max(at.max(used) as u64);
    Ok(scan)
}

/// Where the zeros begin that a segment ends with. It is allocated whole: there may be many.
fn used(bytes: &[u8]) -> usize {
    const PIECE: usize = 4096;
    let zeros = bytes.rchunks(PIECE).take_while(|piece| piece.iter().fold(0, |all, b| all | b) == 0);
    let rest = bytes.len().saturating_sub(zeros.count() * PIECE);
    rest - bytes[..rest].iter().rev().take_while(|&&b| b == 0).count()
}

impl Scan {
    fn add(&mut self, at: usize, b: &batch::Batch<'_>) {
        let span = Span { from: at as u64, to: (at + b.len) as u64 };
        match self.runs.last_mut() {
            Some(run) if run.last.next() == b.lsn && run.span.to == span.from => {
                run.span.to = span.to;
                run.last = b.lsn;
                run.synced = run.synced.max(b.synced);
            }
            _ => self.runs.push(Run { span, first: b.lsn, last: b.lsn, synced: b.synced }),
        }
    }
}

/// The search for the next batch behind bytes that are none.
struct Search<'a> {
    bytes: &'a [u8],
    /// How many more bytes may be run through a checksum: candidates may be many, overlap, and claim any length.
    checks_left: usize,
}

impl Search<'_> {
    fn next_batch(&mut self, from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            at = batch::find_magic(self.bytes, at)?;
            match batch::parse(&self.bytes[at..]) {
                Found::Nothing { checked } => self.checks_left = self.checks_left.checked_sub(checked)?,
                Found::Batch(_) | Found::Newer(_) => return Some(at),
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MetricKind;
    use crate::wal::BatchBuilder;
    use crate::wal::segment::Header;
    use proptest::prelude::*;

    /// A batch with some text in it.
    fn batch(lsn: u64, synced: u64) -> Vec<u8> {
        let mut b = BatchBuilder::default();
        b.metadata("family", MetricKind::Unknown, "", &"x".repeat(lsn as usize));
        let mut bytes = b.finish(Lsn(lsn)).to_vec();
        batch::seal(&mut bytes, Lsn(synced));
        bytes
    }

    fn header() -> Vec<u8> {
        Header { number: 1, first: Lsn(1) }.encode().to_vec()
    }

    /// The runs as (first, last, synced), the damage as lengths.
    fn check(parts: &[&[u8]], runs: &[(u64, u64, u64)], damage: &[u64]) {
        let scan = scan(&parts.concat()).unwrap();
        let found: Vec<_> = scan.runs.iter().map(|r| (r.first.0, r.last.0, r.synced.0)).collect();
        assert_eq!(found, runs);
        let lengths: Vec<_> = scan.damage.iter().map(|d| d.to - d.from).collect();
        assert_eq!(lengths, damage);
    }

    #[test]
    fn runs_and_damage() {
        let (h, zeros) = (header(), vec![0; 5000]);
        let b: Vec<Vec<u8>> = (0..9).map(|lsn| batch(lsn, lsn / 2)).collect();
        check(&[], &[], &[]);
        check(&[&zeros], &[], &[]);
        check(&[&h], &[], &[]);
        check(&[&h[..17]], &[], &[17]);
        check(&[&h, &b[1], &b[2], &b[3]], &[(1, 3, 1)], &[]);
        check(&[&h, &b[1], &b[2], &zeros], &[(1, 2, 1)], &[]);
        check(&[&h, &b[1], &b[3]], &[(1, 1, 0), (3, 3, 1)], &[]);
        check(&[&h, &b[1], b"?", &b[2], &zeros], &[(1, 1, 0), (2, 2, 1)], &[1]);
        check(&[&h, &b[1], &zeros, &b[3]], &[(1, 1, 0), (3, 3, 1)], &[5000]);
        check(&[&h, &b[1], &b[2][..b[2].len() - 1]], &[(1, 1, 0)], &[b[2].len() as u64 - 1]);
        check(&[&h, &b[1][..9], &b[2]], &[(2, 2, 1)], &[9]);
        check(&[&[1; 40], &b[1]], &[(1, 1, 0)], &[40]);
    }

    #[test]
    fn later_versions_are_noticed() {
        let (h, mut b) = (header(), batch(1, 0));
        b[4] = 9;
        batch::seal(&mut b, Lsn(0));
        let want = NewerVersion { offset: h.len() as u64, found: 9 };
        assert_eq!(scan(&[&h[..], &b].concat()), Err(want));
    }

    #[test]
    fn a_hostile_segment_costs_no_more_than_its_length_allows() {
        // Each of these claims to be a batch up to the end: checked one by one they would cost the square of the length.
        let mut bytes = header();
        let candidates = 40_000;
        for i in 0..candidates {
            let mut b = batch(1, 0)[..32].to_vec();
            b[8..12].copy_from_slice(&(32 * (candidates - i - 1) as u32).to_le_bytes());
            bytes.extend_from_slice(&b);
        }
        let mut search = Search { bytes: &bytes, checks_left: 4 * bytes.len() };
        assert_eq!(search.next_batch(0), None);
        assert!(search.checks_left > 0, "given up before the last check, not after the last candidate");
        assert_eq!(scan(&bytes).unwrap().damage.len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_covered_once(parts in proptest::collection::vec((0u8..4, any::<u64>(), proptest::collection::vec(any::<u8>(), 0..100)), 0..12)) {
            let mut bytes = header();
            for (what, lsn, noise) in &parts {
                match what {
                    0 => bytes.extend_from_slice(noise),
                    1 => bytes.extend_from_slice(&vec![0; noise.len()]),
                    _ => bytes.extend_from_slice(&batch(lsn % 50, 0)),
                }
            }
            let scan = scan(&bytes).unwrap();
            let mut spans: Vec<Span> = scan.runs.iter().map(|r| r.span).chain(scan.damage.iter().copied()).collect();
            spans.sort_by_key(|s| s.from);
            let mut at = scan.start;
            for s in &spans {
                prop_assert_eq!(s.from, at);
                prop_assert!(s.to > s.from);
                at = s.to;
            }
            prop_assert!(bytes[at as usize..].iter().all(|&b| b == 0));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = scan(&bytes);
        }
    }
}

//! What a replay delivers, what it reports as lost, and what it cuts off: a pure choice from what the segments hold.
//!
//! ```text
//! segment 1:  1 2 3 4 5 6      segment 2, begun after a failure:  5 6 7 ?? 9
//! delivered:  1 2 3 4          (5 is where segment 2 begins)       5 6 7
//! LSN 8 is missing: corruption if a batch behind the gap says that 8 was synced, else a torn tail from there on
//! ```

use super::scan::{Run, Scan, Span};
use crate::model::Lsn;
use std::ops::RangeInclusive;

/// The choice. Segments are named by their place in the list of scans.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The batches to deliver: of each segment in turn, those inside the span with LSNs in the range.
    pub(super) deliver: Vec<Delivery>,
    /// Gaps in what was once durable.
    pub(super) losses: Vec<Loss>,
    /// Torn tails.
    pub(super) cuts: Vec<Cut>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) segment: usize,
    pub(super) span: Span,
    pub(super) lsns: RangeInclusive<Lsn>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) lsns: RangeInclusive<Lsn>,
    /// The bytes where the lost batches may have been: (segment, span). At least one, which may be empty.
    pub(super) places: Vec<(usize, Span)>,
}

/// The segment is to end at `span.from`; `span.to` is where its last byte that is not zero ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) segment: usize,
    pub(super) span: Span,
}

/// Decides for all segments from the first one needed on, in order of their numbers.
pub(super) fn plan(scans: &[Scan]) -> Plan {
    let runs = counted_runs(scans);
    let mut plan = Plan::default();
    let mut next: Option<Lsn> = scans.first().and_then(|s| s.begun_for);
    // Up to here everything is settled: (segment, offset).
    let mut settled = (0, scans.first().map_or(0, |s| s.start));
    for (i, counted) in runs.iter().enumerate() {
        let run = &counted.run;
        // Without a header, what was not synced before the first batch found is missing.
        let expected = next.unwrap_or(run.first.min(run.synced.next()));
        if expected < run.first {
            let synced = runs[i..].iter().map(|r| r.run.synced).max().unwrap_or_default();
            if synced < expected {
                break;
            }
            let lsns = expected..=run.first.previous();
            plan.losses.push(Loss { lsns, places: places(scans, settled, counted) });
        }
        settled = (counted.segment, run.span.to);
        let from = expected.max(run.first);
        if from <= counted.until {
            let lsns = from..=counted.until;
            plan.deliver.push(Delivery { segment: counted.segment, span: run.span, lsns });
            next = Some(counted.until.next());
        }
    }
    plan.cuts = cuts(scans, settled);
    plan
}

/// A run, and the last LSN of it that no later segment replaces.
struct Counted {
    segment: usize,
    run: Run,
    until: Lsn,
}

fn counted_runs(scans: &[Scan]) -> Vec<Counted> {
    let mut counted = Vec::new();
    let mut bound = Lsn(u64::MAX);
    for (segment, scan) in scans.iter().enumerate().rev() {
        let of_segment = scan.runs.iter().rev().filter(|run| run.first < bound);
        counted.extend(of_segment.map(|&run| Counted {
            segment,
            run,
            until: run.last.min(bound.previous()),
        }));
        bound = scan.runs.first().map_or(bound, |run| run.first.min(bound));
    }
    counted.reverse();
    counted
}

/// The damage between what is settled and this run; where there is none, the place where the gap was noticed.
fn places(scans: &[Scan], settled: (usize, u64), noticed: &Counted) -> Vec<(usize, Span)> {
    let at = noticed.run.span.from;
    let places: Vec<_> = all_damage(scans)
        .filter(|&(segment, span)| {
            (segment, span.from) >= settled && (segment, span.from) < (noticed.segment, at)
        })
        .collect();
    if places.is_empty() { vec![(noticed.segment, Span { from: at, to: at })] } else { places }
}

fn all_damage(scans: &[Scan]) -> impl Iterator<Item = (usize, Span)> + '_ {
    scans.iter().enumerate().flat_map(|(segment, scan)| scan.damage.iter().map(move |&span| (segment, span)))
}

/// Everything behind what is settled goes.
fn cuts(scans: &[Scan], settled: (usize, u64)) -> Vec<Cut> {
    let tail = |(segment, scan): (usize, &Scan)| {
        let from = if segment == settled.0 { settled.1 } else { scan.start };
        let runs = scan.runs.last().map_or(0, |run| run.span.to);
        let damage = scan.damage.last().map_or(0, |span| span.to);
        let span = Span { from, to: runs.max(damage) };
        (span.from < span.to).then_some(Cut { segment, span })
    };
    scans.iter().enumerate().skip(settled.0).filter_map(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment in a word per part: `1-5` are batches (of 10 bytes each), `?` is damage (10 bytes), `s4` says what the next
    /// batches know to be synced, `h1` is what the header was begun for.
    fn segment(text: &str) -> Scan {
        let mut scan = Scan { start: 40, ..Scan::default() };
        let (mut at, mut synced) = (40, 0);
        for word in text.split_whitespace() {
            if let Some(lsn) = word.strip_prefix('h') {
                scan.begun_for = Some(Lsn(lsn.parse().unwrap()));
                continue;
            }
            if let Some(lsn) = word.strip_prefix('s') {
                synced = lsn.parse().unwrap();
                continue;
            }
            let range: Vec<u64> = word.split('-').filter_map(|n| n.parse().ok()).collect();
            let len = range.iter().copied().next_back().map_or(10, |last| 10 * (last + 1 - range[0]));
            let span = Span { from: at, to: at + len };
            at += len;
            match range[..] {
                [] => scan.damage.push(span),
                [first, ..] => scan.runs.push(Run {
                    span,
                    first: Lsn(first),
                    last: Lsn(range[range.len() - 1]),
                    synced: Lsn(synced),
                }),
            }
        }
        scan
    }

    /// `delivered`: the LSNs, with `|` between segments; `lost`: LSN ranges; `cuts`: (segment, from, to).
    fn check(segments: &[&str], delivered: &str, lost: &str, cuts: &[(usize, u64, u64)]) {
        let scans: Vec<Scan> = segments.iter().map(|s| segment(s)).collect();
        let plan = plan(&scans);
        let range = |r: &RangeInclusive<Lsn>| format!("{}-{}", r.start(), r.end());
        let found: Vec<_> =
            plan.deliver.iter().map(|d| format!("{}:{}", d.segment, range(&d.lsns))).collect();
        assert_eq!(found.join(" "), delivered, "{segments:?}");
        let found: Vec<_> = plan.losses.iter().map(|l| range(&l.lsns)).collect();
        assert_eq!(found.join(" "), lost, "{segments:?}");
        let found: Vec<_> = plan.cuts.iter().map(|c| (c.segment, c.span.from, c.span.to)).collect();
        assert_eq!(found, cuts, "{segments:?}");
    }

    #[test]
    fn whole_logs() {
        check(&[], "", "", &[]);
        check(&["", ""], "", "", &[]);
        check(&["1-5"], "0:1-5", "", &[]);
        check(&["s6 7-9", "10-12", ""], "0:7-9 1:10-12", "", &[]);
    }

    #[test]
    fn repetitions_after_a_failure_replace_what_was_before() {
        check(&["1-6", "5-9"], "0:1-4 1:5-9", "", &[]);
        check(&["1-4 ?", "5-9"], "0:1-4 1:5-9", "", &[]);
        check(&["1-4 ? 6", "5-9"], "0:1-4 1:5-9", "", &[]);
        check(&["1-4 ? 6-9", "5-6"], "0:1-4 1:5-6", "", &[]);
        check(&["1-6", "4-5", "4-9"], "0:1-3 2:4-9", "", &[]);
    }

    #[test]
    fn torn_tails_are_cut_also_over_valid_batches() {
        check(&["1-5 ?"], "0:1-5", "", &[(0, 90, 100)]);
        check(&["1-3 s3 ? 5-6"], "0:1-3", "", &[(0, 70, 100)]);
        check(&["1-3", "s3 ? 5"], "0:1-3", "", &[(1, 40, 60)]);
        check(&["1-3 ?", "?"], "0:1-3", "", &[(0, 70, 80), (1, 40, 50)]);
        check(&["1-3", "s3 5"], "0:1-3", "", &[(1, 40, 50)]);
        check(&["?"], "", "", &[(0, 40, 50)]);
    }

    #[test]
    fn a_gap_in_what_was_synced_is_corruption() {
        check(&["1-3 ? s4 5-6"], "0:1-3 0:5-6", "4-4", &[]);
        check(&["1-3 ? s3 6 s5 7"], "0:1-3 0:6-6 0:7-7", "4-5", &[]);
        check(&["1-3", "s6 7-9"], "0:1-3 1:7-9", "4-6", &[]);
        check(&["1-3 ?", "s3 ? s6 7-9 ?"], "0:1-3 1:7-9", "4-6", &[(1, 80, 90)]);
        check(&["1-3 ? s4 5-6 s6 ? 8"], "0:1-3 0:5-6", "4-4", &[(0, 100, 120)]);
        check(&["? s3 4-6"], "0:4-6", "", &[]);
    }

    #[test]
    fn the_first_batch_wanted_is_known_from_the_header_or_from_what_was_synced() {
        check(&["h4 s3 ? 5-6"], "", "", &[(0, 40, 70)]);
        check(&["h4 ? s4 5-6"], "0:5-6", "4-4", &[]);
        check(&["s3 ? 5-6"], "", "", &[(0, 40, 70)]);
        check(&["s3 ? 5 s4 6"], "0:5-5 0:6-6", "4-4", &[]);
        check(&["s5 ? 5-6"], "0:5-6", "", &[]);
        check(&["h4", "h4 s3 4-6"], "1:4-6", "", &[]);
    }

    #[test]
    fn a_loss_names_the_damaged_bytes() {
        let scans: Vec<Scan> = ["1-3 ?", "? s6 7-9"].map(segment).into();
        let at = |from| Span { from, to: from + 10 };
        assert_eq!(plan(&scans).losses[0].places, [(0, at(70)), (1, at(40))]);
        let scans: Vec<Scan> = ["1-3", "s6 7-9"].map(segment).into();
        assert_eq!(plan(&scans).losses[0].places, [(1, Span { from: 40, to: 40 })]);
    }
}

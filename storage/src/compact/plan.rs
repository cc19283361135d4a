//! What to merge and what to drop: a pure choice from what is known of the blocks.
//!
//! ```text
//! an open window:   blocks of one window of the head ─► one, when there are too many
//! a closed window:  blocks of one window of the head ─► one, when it is worth it
//! a closed day:     its blocks                       ─► one of a day; late ones are folded in when it is worth it
//! on demand:        blocks of any day, open or closed ─► one of a day
//! past retention:   whole blocks go; what accounts lost of a day is left out by writing the day anew
//! deleted:          what no undo can bring back is left out by the next merge, or by writing the block anew
//! ```
//!
//! Invariants: an output lies in one window of its tier's ladder; blocks on both sides of a pending tombstone's bound are never
//! merged; carrying out what is chosen, again and again, ends with nothing to do.

use super::retention::{Expiry, Retention};
use crate::block::Tier;
use crate::model::{BlockId, DurationMs, TimeRange, TimestampMs, Window};
use std::collections::{BTreeMap, BTreeSet};

const DAY: DurationMs = DurationMs::hours(24);
/// A day is closed when the newest sample is so far beyond its end: its last window has been cut by then, and stragglers came.
const DAY_MARGIN: DurationMs = DurationMs::hours(1);
/// A shorter window is closed when the newest sample is so far beyond its end.
const WINDOW_MARGIN: DurationMs = DurationMs::mins(15);
/// A closed window to which data came so lately is not merged yet: more of a backfill will follow.
const SETTLE: DurationMs = DurationMs::mins(10);
/// Blocks that may overlap in one window (or lie late in one day) before some of them are merged. Each costs a query one more
/// look-up.
const OVERLAP_MAX: usize = 8;
/// A block is merged with smaller ones when they are together at least a tenth of it: each byte of a late block then costs at
/// most ten bytes of rewriting.
const WORTH: u64 = 10;
/// As [`WORTH`] where merging is only to bound the number of blocks.
const WORTH_WHEN_CROWDED: u64 = 2;

/// A block as the choice sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockFacts {
    pub(crate) id: BlockId,
    /// The id by which tombstones judge it.
    pub(crate) covered_as: BlockId,
    pub(crate) tier: Tier,
    pub(crate) window: Window,
    pub(crate) bytes: u64,
    pub(crate) series: u64,
    /// Series of accounts that have a retention of their own: that retention, and how many there are.
    pub(crate) own_retention: Vec<(DurationMs, u64)>,
    /// When the newest of the block's data came, in the time of the data (see [`super::reference`]).
    pub(crate) arrived: Option<TimestampMs>,
    /// Whether a deletion that cannot be undone hides something of it.
    pub(crate) has_deleted: bool,
    /// Whether it cannot be read as a whole; it is left as it is until it expires.
    pub(crate) is_damaged: bool,
}

/// A deletion that may still be undone: it hides data in `range` of blocks up to `bound`, and of no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TombstoneSpan {
    pub(crate) range: TimeRange,
    pub(crate) bound: BlockId,
}

/// What the choice is made from.
#[derive(Clone, Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) blocks: &'a [BlockFacts],
    /// The newest sample.
    pub(crate) newest: TimestampMs,
    /// What ages are counted back from (see [`super::reference`]).
    pub(crate) reference: TimestampMs,
    /// The length of the head's windows.
    pub(crate) window: DurationMs,
    pub(crate) retention: &'a Retention,
    /// Deletions whose grace is not over.
    pub(crate) pending: &'a [TombstoneSpan],
    /// Whether everything is to be folded, worth it or not, over or not: somebody asked for it.
    pub(crate) fold_all: bool,
}

/// Why blocks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DropReason {
    /// All their series are past retention.
    Expired,
    /// Blocks take more bytes than they may.
    Size,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Blocks go whole.
    Drop { blocks: Vec<BlockId>, why: DropReason },
    /// Blocks become one.
    Merge(Merge),
}

/// Blocks of one tier that become one; a single one is written anew, without what is past retention or
/// deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Merge {
    pub(crate) sources: Vec<BlockId>,
    pub(crate) tier: Tier,
    /// The place of the window's length on the tier's ladder.
    pub(crate) level: u8,
    pub(crate) window: Window,
    /// What the sources take.
    pub(crate) bytes: u64,
}

/// The lengths of a tier's windows, ascending; each divides the next.
pub(crate) fn ladder(tier: Tier, window: DurationMs) -> Vec<DurationMs> {
    let days = |n: i64| DurationMs(DAY.0 * n);
    match tier {
        Tier::Raw if window < DAY => vec![window, DAY],
        Tier::Raw => vec![window],
        Tier::FiveMinutes => vec![days(1), days(7)],
        Tier::Hour => vec![days(30)],
        Tier::Day => vec![days(90)],
    }
}

/// What to do, most urgent first. No block occurs in two actions.
pub(crate) fn plan(s: &Situation<'_>) -> Vec<Action> {
    let (mut actions, kept) = drops(s);
    let mut merges = Vec::new();
    for group in groups(s, &kept) {
        let before = merges.len();
        for class in group.classes(s) {
            group.fold(s, &class, &mut merges);
        }
        let merged: BTreeSet<BlockId> =
            merges[before..].iter().flat_map(|m: &Merge| m.sources.iter().copied()).collect();
        let left = group.blocks.iter().filter(|b| !merged.contains(&b.id));
        merges.extend(left.filter(|b| group.is_rewritten(s, b)).map(|b| group.merge(&[*b])));
    }
    // Small ones first: they are the newest, and one that does not fit on the disk holds up no other.
    merges.sort_by_key(|m| (m.bytes, m.sources.clone()));
    actions.extend(merges.into_iter().map(Action::Merge));
    actions
}

/// In how many windows blocks overlap.
pub(crate) fn overlapping_windows(blocks: impl Iterator<Item = (Tier, Window)>) -> u64 {
    let mut sorted: Vec<(Tier, Window)> = blocks.collect();
    // The longest of those that start together comes first.
    sorted.sort_by_key(|(tier, w)| (*tier, w.start, std::cmp::Reverse(w.len)));
    let mut overlapping = BTreeSet::new();
    let mut over: Option<(Tier, Window)> = None;
    for (tier, window) in sorted {
        match over {
            Some((t, w)) if t == tier && w.range().overlaps(window.range()) => {
                overlapping.insert((t, w));
            }
            _ => over = Some((tier, window)),
        }
    }
    overlapping.len() as u64
}

/// How many of a block's series are past their retention.
fn expired_series(s: &Situation<'_>, block: &BlockFacts) -> u64 {
    let expiry = Expiry {
        retention: s.retention,
        tier: block.tier,
        window: block.window,
        arrived: block.arrived,
        reference: s.reference,
    };
    let own: u64 = block.own_retention.iter().map(|(_, n)| n).sum();
    let own_past: u64 = block.own_retention.iter().filter(|(r, _)| expiry.is_past(*r)).map(|(_, n)| n).sum();
    own_past + if expiry.others_are_past() { block.series.saturating_sub(own) } else { 0 }
}

/// What goes whole, and what stays.
fn drops<'a>(s: &Situation<'a>) -> (Vec<Action>, Vec<&'a BlockFacts>) {
    let (expired, mut kept): (Vec<&BlockFacts>, Vec<&BlockFacts>) =
        s.blocks.iter().partition(|b| expired_series(s, b) >= b.series.max(1));
    let mut over = Vec::new();
    if let Some(bytes_max) = s.retention.bytes_max {
        kept.sort_by_key(|b| (b.window.end(), b.id));
        let newest = kept.last().map(|b| b.window);
        let mut bytes: u64 = kept.iter().map(|b| b.bytes).sum();
        kept.retain(|b| {
            let goes = bytes > bytes_max && Some(b.window) != newest;
            if goes {
                bytes -= b.bytes;
                over.push(*b);
            }
            !goes
        });
    }
    let action = |why, blocks: Vec<&BlockFacts>| {
        (!blocks.is_empty()).then(|| Action::Drop { blocks: blocks.iter().map(|b| b.id).collect(), why })
    };
    let actions = [action(DropReason::Expired, expired), action(DropReason::Size, over)];
    (actions.into_iter().flatten().collect(), kept)
}

/// The blocks of one tier in one window of the ladder's last length.
struct Group<'a> {
    ladder: Vec<DurationMs>,
    window: Window,
    blocks: Vec<&'a BlockFacts>,
}

fn groups<'a>(s: &Situation<'_>, blocks: &[&'a BlockFacts]) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<(Tier, Window), Group<'a>> = BTreeMap::new();
    for block in blocks.iter().filter(|b| !b.is_damaged) {
        let ladder = ladder(block.tier, s.window);
        let top = ladder.last().copied().expect("a ladder has a length");
        let window = Window::of(block.window.end(), top);
        let group = groups.entry((block.tier, window));
        group.or_insert_with(|| Group { ladder, window, blocks: Vec::new() }).blocks.push(block);
    }
    groups.into_values().collect()
}

impl<'a> Group<'a> {
    /// The blocks by what deletions that may be undone hide in them: a merge of two classes would hide too much or too little
    /// afterwards.
    fn classes(&self, s: &Situation<'_>) -> Vec<Vec<&'a BlockFacts>> {
        let touching = s.pending.iter().filter(|t| t.range.overlaps(self.window.range()));
        let bounds: BTreeSet<BlockId> = touching.map(|t| t.bound).collect();
        let mut classes: BTreeMap<usize, Vec<&BlockFacts>> = BTreeMap::new();
        for block in &self.blocks {
            let class = bounds.range(..block.covered_as).count();
            classes.entry(class).or_default().push(block);
        }
        classes.into_values().collect()
    }

    fn fold(&self, s: &Situation<'_>, blocks: &[&'a BlockFacts], out: &mut Vec<Merge>) {
        if s.fold_all || is_closed(s, self.window) && is_settled(s, blocks) {
            out.extend(self.fold_whole(s, blocks));
            return;
        }
        // Also where there is a block of the whole window already, made on demand while the window was open: to fold each later
        // block into it would write the day once for each of its hours.
        let mut by_window: BTreeMap<Window, Vec<&BlockFacts>> = BTreeMap::new();
        blocks.iter().for_each(|b| by_window.entry(b.window).or_default().push(b));
        for (window, blocks) in by_window {
            let closed = is_closed(s, window) && is_settled(s, &blocks);
            out.extend(self.worth_merging(s, &blocks, closed));
        }
    }

    /// Into one block of the whole window: the first time whatever it costs, later blocks when it is worth it.
    fn fold_whole(&self, s: &Situation<'_>, blocks: &[&'a BlockFacts]) -> Option<Merge> {
        let mut of_whole = blocks.iter().filter(|b| b.window == self.window).peekable();
        if self.ladder.len() > 1 && of_whole.peek().is_none() {
            return Some(self.merge_into(self.window, blocks));
        }
        // One that was made on demand before the window was over lacks the rest of it: what came then is not late.
        let lacks_rest = |b: &BlockFacts| b.arrived.is_some_and(|a| a <= b.window.end());
        match blocks.len() > 1 && of_whole.any(|b| lacks_rest(b)) {
            true => Some(self.merge_into(self.window, blocks)),
            false => self.worth_merging(s, blocks, true),
        }
    }

    /// Which of some blocks to merge: the smaller ones first, as far as each is not much larger than those before it.
    fn worth_merging(&self, s: &Situation<'_>, blocks: &[&'a BlockFacts], closed: bool) -> Option<Merge> {
        let mut blocks = blocks.to_vec();
        blocks.sort_by_key(|b| (b.bytes, b.id));
        let n = blocks.len();
        let reach = |ratio| reach(&blocks, ratio);
        let count = match n {
            0 | 1 => return None,
            _ if s.fold_all || closed && reach(WORTH) == n => n,
            _ if n > OVERLAP_MAX => reach(WORTH_WHEN_CROWDED).max(n - OVERLAP_MAX + 1),
            _ => return None,
        };
        Some(self.merge(&blocks[..count]))
    }

    /// A merge of blocks into the shortest window that holds them.
    fn merge(&self, blocks: &[&BlockFacts]) -> Merge {
        let first = blocks.first().map_or(self.window, |b| b.window);
        let window = if blocks.iter().all(|b| b.window == first) { first } else { self.window };
        self.merge_into(window, blocks)
    }

    fn merge_into(&self, window: Window, blocks: &[&BlockFacts]) -> Merge {
        let mut sources: Vec<BlockId> = blocks.iter().map(|b| b.id).collect();
        sources.sort();
        let tier = blocks.first().map_or(Tier::Raw, |b| b.tier);
        let bytes = blocks.iter().map(|b| b.bytes).sum();
        Merge { sources, tier, level: self.level(window), window, bytes }
    }

    fn level(&self, window: Window) -> u8 {
        self.ladder.iter().position(|len| *len == window.len).unwrap_or(0) as u8
    }

    /// Whether data are deleted, or accounts' past retention, in a block that stays. Shorter blocks lose them when they are merged.
    fn is_rewritten(&self, s: &Situation<'_>, block: &BlockFacts) -> bool {
        block.has_deleted || block.window == self.window && expired_series(s, block) > 0
    }
}

/// How many blocks, sorted by size, follow one another without one that is more than `ratio` times as large as all before it.
fn reach(blocks: &[&BlockFacts], ratio: u64) -> usize {
    let mut sum = 0_u64;
    let fits = |b: &&&BlockFacts| {
        let fits = sum == 0 || b.bytes <= sum.saturating_mul(ratio);
        sum = sum.saturating_add(b.bytes);
        fits
    };
    blocks.iter().take_while(fits).count()
}

fn is_closed(s: &Situation<'_>, window: Window) -> bool {
    let margin = if window.len < DAY { WINDOW_MARGIN } else { DAY_MARGIN };
    window.end() + margin <= s.newest
}

fn is_settled(s: &Situation<'_>, blocks: &[&BlockFacts]) -> bool {
    let arrived = blocks.iter().filter_map(|b| b.arrived).max();
    blocks.len() > 2 * OVERLAP_MAX || arrived.is_none_or(|a| a + SETTLE <= s.newest)
}

#[cfg(test)]
mod tests;

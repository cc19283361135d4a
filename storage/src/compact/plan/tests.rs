use super::*;
use proptest::prelude::*;

const HOUR: i64 = 3_600_000;
const WINDOW: DurationMs = DurationMs::hours(2);
/// A day that starts a day.
const START: i64 = 20_000 * 24 * HOUR;

/// A block of the window of two hours that starts so many hours after [`START`].
fn block(id: u64, hour: i64, bytes: u64) -> BlockFacts {
    BlockFacts {
        id: BlockId(id),
        covered_as: BlockId(id),
        tier: Tier::Raw,
        window: Window { start: TimestampMs(START + hour * HOUR), len: WINDOW },
        bytes,
        series: 100,
        own_retention: Vec::new(),
        arrived: None,
        has_deleted: false,
        is_damaged: false,
    }
}

/// A block of a day.
fn day(id: u64, days: i64, bytes: u64) -> BlockFacts {
    let window = Window { start: TimestampMs(START + days * DAY.0), len: DAY };
    BlockFacts { window, ..block(id, 0, bytes) }
}

struct Case {
    blocks: Vec<BlockFacts>,
    /// Hours after [`START`].
    newest: f64,
    clock: f64,
    retention: Retention,
    pending: Vec<TombstoneSpan>,
    fold_all: bool,
}

impl Default for Case {
    fn default() -> Self {
        let retention = Retention::default();
        Self { blocks: vec![], newest: 0.0, clock: 1e6, retention, pending: vec![], fold_all: false }
    }
}

impl Case {
    fn situation(&self) -> Situation<'_> {
        let at = |hours: f64| TimestampMs(START + (hours * HOUR as f64) as i64);
        Situation {
            blocks: &self.blocks,
            newest: at(self.newest),
            reference: at(self.newest.min(self.clock)),
            window: WINDOW,
            retention: &self.retention,
            pending: &self.pending,
            fold_all: self.fold_all,
        }
    }
}

fn overlapping(blocks: &[BlockFacts]) -> u64 {
    overlapping_windows(blocks.iter().map(|b| (b.tier, b.window)))
}

/// In short: `drop 1 2`, `size 1`, `merge 1 2 -> 2h`.
fn told(action: &Action) -> String {
    let ids = |ids: &[BlockId]| ids.iter().map(|b| format!(" {}", b.0)).collect::<String>();
    match action {
        Action::Drop { blocks, why: DropReason::Expired } => format!("drop{}", ids(blocks)),
        Action::Drop { blocks, why: DropReason::Size } => format!("size{}", ids(blocks)),
        Action::Merge(m) => {
            format!("merge{} -> {} level {}", ids(&m.sources), m.window.len, m.level)
        }
    }
}

fn check(case: Case, want: &[&str]) {
    let found: Vec<String> = plan(&case.situation()).iter().map(told).collect();
    assert_eq!(found, want, "{:?}", case.blocks);
}

/// Blocks of the first day's windows, one each.
fn whole_day() -> Vec<BlockFacts> {
    (0..12).map(|i| block(i as u64 + 1, 2 * i, 100)).collect()
}

const WHOLE_DAY: &str = "merge 1 2 3 4 5 6 7 8 9 10 11 12 -> 1d level 1";

#[test]
fn a_day_becomes_one_block_once_it_is_closed() {
    let at = |newest| Case { blocks: whole_day(), newest, ..Case::default() };
    check(at(24.5), &[]);
    check(at(25.0), &[WHOLE_DAY]);
    check(Case { clock: 0.0, ..at(25.0) }, &[WHOLE_DAY]);
    check(Case { blocks: vec![block(1, 4, 5)], ..at(30.0) }, &["merge 1 -> 1d level 1"]);
    check(Case { blocks: vec![day(1, 0, 5)], ..at(30.0) }, &[]);
    check(Case { blocks: vec![], ..at(30.0) }, &[]);
}

#[test]
fn a_window_of_a_day_is_whole_as_it_is() {
    let blocks = vec![day(1, 0, 100), day(2, 1, 100)];
    let case = Case { blocks, newest: 60.0, ..Case::default() };
    let situation = Situation { window: DAY, ..case.situation() };
    assert_eq!(plan(&situation), []);
}

#[test]
fn blocks_of_one_window_are_merged_when_it_is_closed_and_worth_it() {
    let two = |sizes: [u64; 2]| vec![block(1, 0, sizes[0]), block(2, 0, sizes[1]), block(3, 2, 100)];
    let at = |newest, sizes| Case { blocks: two(sizes), newest, ..Case::default() };
    check(at(2.2, [100, 100]), &[]);
    check(at(2.25, [100, 100]), &["merge 1 2 -> 2h level 0"]);
    check(at(2.25, [1000, 100]), &["merge 1 2 -> 2h level 0"]);
    check(at(2.25, [1001, 100]), &[]);
}

#[test]
fn on_demand_a_day_is_folded_that_is_not_over() {
    let asked = |blocks: &[BlockFacts], newest| Case {
        blocks: blocks.to_vec(),
        newest,
        fold_all: true,
        ..Case::default()
    };
    check(asked(&whole_day(), 24.0), &[WHOLE_DAY]);
    check(asked(&whole_day()[..3], 6.1), &["merge 1 2 3 -> 1d level 1"]);
    // Also what a flush took of the window that is being written.
    check(asked(&[block(1, 0, 1000), block(2, 2, 1), block(3, 2, 1)], 2.1), &["merge 1 2 3 -> 1d level 1"]);
    check(asked(&[block(1, 2, 1)], 2.1), &["merge 1 -> 1d level 1"]);
    check(asked(&[day(1, 0, 1)], 2.1), &[]);
    check(asked(&[day(1, 0, 1000), block(2, 2, 1)], 2.1), &["merge 1 2 -> 1d level 1"]);
    check(
        asked(&[day(1, -1, 9), block(2, -20, 1), block(3, 0, 7)], 2.1),
        &["merge 3 -> 1d level 1", "merge 1 2 -> 1d level 1"],
    );
}

#[test]
fn a_day_folded_on_demand_is_left_alone_until_it_is_over() {
    let made_at =
        |hours: i64, b: BlockFacts| BlockFacts { arrived: Some(TimestampMs(START + hours * HOUR)), ..b };
    let early = || made_at(12, day(1, 0, 1200));
    let later = |from: i64, to: i64| {
        let cut = (from..to).map(|i| made_at(2 * i + 2, block(i as u64 + 2, 2 * i, 10)));
        std::iter::once(early()).chain(cut).collect::<Vec<_>>()
    };
    let at = |blocks, newest| Case { blocks, newest, ..Case::default() };
    check(at(later(6, 11), 22.1), &[]);
    check(at(later(6, 12), 24.9), &[]);
    // It lacked the rest: that is folded in whatever it weighs, and once.
    check(at(later(6, 12), 25.0), &["merge 1 8 9 10 11 12 13 -> 1d level 1"]);
    check(at(vec![early()], 25.0), &[]);
    let over = || made_at(25, day(1, 0, 1200));
    check(at(vec![over(), made_at(26, block(2, 0, 10))], 30.0), &[]);
    // Crowded windows are merged within themselves.
    let crowd = (2..=10).map(|id| made_at(14, block(id, 12, 10)));
    let crowded = std::iter::once(early()).chain(crowd).collect();
    check(at(crowded, 14.1), &["merge 2 3 4 5 6 7 8 9 10 -> 2h level 0"]);
}

/// Ten days, a cut every two hours; the background acts after each, somebody asks for all at `asked`. Returns the bytes that
/// were written for each byte cut: by the background, and on demand.
fn rewriting(asked: impl Fn(i64) -> bool) -> (f64, f64) {
    let mut case = Case::default();
    let (mut next_id, mut cut, mut written) = (1, 0, [0, 0]);
    for window in 0..120 {
        let id = next_id;
        next_id += 1;
        let arrived = Some(TimestampMs(START + (2 * window + 2) * HOUR + 5 * 60_000));
        case.blocks.push(BlockFacts { arrived, ..block(id, 2 * window, 1000) });
        case.newest = (2 * window + 2) as f64 + 0.5;
        cut += 1000;
        for (fold_all, written) in [false, true].into_iter().zip(&mut written) {
            case.fold_all = fold_all;
            while !fold_all || asked(window) {
                let Some(action) = plan(&case.situation()).first().cloned() else { break };
                *written += if let Action::Merge(m) = &action { m.bytes } else { 0 };
                apply(&mut case, &action, next_id);
                next_id += 1;
            }
            if fold_all && asked(window) {
                assert_eq!(overlapping(&case.blocks), 0);
                let days: Vec<Window> = case.blocks.iter().map(|b| b.window).collect();
                assert!(days.iter().all(|w| w.len == DAY), "one block a day: {days:?}");
            }
        }
    }
    (written[0] as f64 / cut as f64, written[1] as f64 / cut as f64)
}

#[test]
fn asking_costs_the_background_nothing_more() {
    let (background, asked) = rewriting(|_| false);
    assert!(background <= 1.0 && asked == 0.0, "{background} {asked}");
    // Once a day, at any hour of it: the day is written once more at most, and once by those who ask.
    for hour in 0..12 {
        let (background, asked) = rewriting(|window| window % 12 == hour);
        assert!(background <= 1.0 && asked <= 2.0, "at {hour}: {background} {asked}");
    }
    let (background, asked) = rewriting(|_| true);
    assert!(background == 0.0 && asked <= 6.6, "each time: {background} {asked}");
}

#[test]
fn a_block_with_something_deleted_is_written_anew() {
    let deleted = |b: BlockFacts| BlockFacts { has_deleted: true, ..b };
    let blocks = vec![deleted(block(1, 0, 10)), block(2, 2, 10), deleted(day(3, -2, 10))];
    check(
        Case { blocks, newest: 2.5, ..Case::default() },
        &["merge 1 -> 2h level 0", "merge 3 -> 1d level 1"],
    );
    // Beside others that it is merged with anyway, that is enough.
    let blocks = vec![deleted(block(1, 0, 10)), block(2, 0, 10)];
    check(Case { blocks, newest: 2.5, ..Case::default() }, &["merge 1 2 -> 2h level 0"]);
    let blocks = vec![BlockFacts { is_damaged: true, ..deleted(block(1, 0, 10)) }];
    check(Case { blocks, newest: 2.5, ..Case::default() }, &[]);
}

#[test]
fn an_open_window_is_merged_when_it_is_crowded() {
    let many = |n: u64| Case { blocks: (1..=n).map(|i| block(i, 0, 10)).collect(), ..Case::default() };
    check(many(8), &[]);
    check(many(9), &["merge 1 2 3 4 5 6 7 8 9 -> 2h level 0"]);
    let mut grown = many(9);
    grown.blocks[4].bytes = 1000;
    check(grown, &["merge 1 2 3 4 6 7 8 9 -> 2h level 0"]);
    let mut doubling = many(9);
    doubling.blocks.iter_mut().for_each(|b| b.bytes = 10_u64.pow(b.id.0 as u32));
    check(doubling, &["merge 1 2 -> 2h level 0"]);
}

#[test]
fn late_blocks_are_folded_into_their_day_when_it_is_worth_it() {
    let late = |late: &[(i64, u64)]| {
        let late = late.iter().zip(2..).map(|((hour, bytes), id)| block(id, *hour, *bytes));
        let blocks = std::iter::once(day(1, 0, 1000)).chain(late).collect();
        Case { blocks, newest: 50.0, ..Case::default() }
    };
    check(late(&[(0, 99)]), &[]);
    check(late(&[(0, 100)]), &["merge 1 2 -> 1d level 1"]);
    check(late(&[(0, 60), (4, 60)]), &["merge 1 2 3 -> 1d level 1"]);
    check(Case { fold_all: true, ..late(&[(0, 1)]) }, &["merge 1 2 -> 1d level 1"]);
    let eight: Vec<(i64, u64)> = (0..8).map(|i| (i % 2 * 2, 1)).collect();
    check(late(&eight[1..]), &[]);
    check(late(&eight), &["merge 2 3 4 5 6 7 8 9 -> 1d level 1"]);
    let same: Vec<(i64, u64)> = (0..8).map(|_| (6, 1)).collect();
    check(late(&same), &["merge 2 3 4 5 6 7 8 9 -> 2h level 0"]);
}

#[test]
fn what_still_arrives_is_waited_for() {
    let mut case = Case { blocks: whole_day(), newest: 60.0, ..Case::default() };
    case.blocks[3].arrived = Some(TimestampMs(START + 60 * HOUR - SETTLE.0 + 1));
    let whole = case.blocks.clone();
    check(case, &[]);
    let case = |newest, fold_all| Case { blocks: whole.clone(), newest, fold_all, ..Case::default() };
    check(case(60.1, false), &[WHOLE_DAY]);
    check(case(60.0, true), &[WHOLE_DAY]);
}

#[test]
fn blocks_past_retention_go_by_the_time_of_the_data() {
    let at =
        |newest, clock| Case { blocks: vec![day(1, 0, 9), day(2, 1, 9)], newest, clock, ..Case::default() };
    check(at(8.0 * 24.0 - 0.1, 1e6), &[]);
    check(at(8.0 * 24.0, 1e6), &["drop 1"]);
    // The clock behind, or far ahead of the data.
    check(at(1e6, 8.0 * 24.0 - 0.1), &[]);
    check(at(48.0, 1e9), &[]);
    check(at(9.0 * 24.0, 9.0 * 24.0), &["drop 1 2"]);
    let mut coarser = at(9.0 * 24.0, 1e6);
    coarser.blocks[0].tier = Tier::FiveMinutes;
    coarser.retention.tiers[0] = DurationMs(DAY.0 * 100);
    check(coarser, &["merge 1 -> 7d level 1"]);
    let mut damaged = at(8.0 * 24.0, 1e6);
    damaged.blocks[0].is_damaged = true;
    check(damaged, &["drop 1"]);
}

#[test]
fn history_stays_for_a_day_after_it_came() {
    let at = |newest: f64, arrived: f64| {
        let mut block = day(1, 0, 9);
        block.arrived = Some(TimestampMs(START + (arrived * HOUR as f64) as i64));
        Case { blocks: vec![block], newest, ..Case::default() }
    };
    check(at(1000.0, 999.0), &[]);
    check(at(1000.0, 976.1), &[]);
    check(at(1000.0, 976.0), &["drop 1"]);
}

#[test]
fn accounts_with_a_retention_of_their_own() {
    let days = |n: i64| DurationMs(DAY.0 * n);
    let of = |own: &[(i64, u64)], newest_days: f64| {
        let mut block = day(1, 0, 9);
        block.own_retention = own.iter().map(|(d, n)| (days(*d), *n)).collect();
        Case { blocks: vec![block], newest: newest_days * 24.0, ..Case::default() }
    };
    let rewrite = "merge 1 -> 1d level 1";
    check(of(&[(2, 30)], 2.9), &[]);
    check(of(&[(2, 30)], 3.0), &[rewrite]);
    check(of(&[(2, 100)], 3.0), &["drop 1"]);
    check(of(&[(30, 30)], 8.0), &[rewrite]);
    check(of(&[(30, 100)], 8.0), &[]);
    check(of(&[(30, 30), (2, 70)], 8.0), &[rewrite]);
    check(of(&[(2, 30), (7, 70)], 8.0), &["drop 1"]);
    // A short block loses them when its day is merged, or on demand.
    let mut short = of(&[(0, 30)], 0.5);
    short.blocks[0].window = block(1, 0, 0).window;
    short.blocks[0].tier = Tier::Raw;
    let blocks = short.blocks.clone();
    check(short, &[]);
    check(Case { blocks, newest: 12.0, fold_all: true, ..Case::default() }, &["merge 1 -> 1d level 1"]);
}

#[test]
fn the_oldest_windows_go_when_blocks_take_too_much() {
    let with = |bytes_max| {
        let retention = Retention { bytes_max: Some(bytes_max), ..Retention::default() };
        let blocks = vec![day(3, 0, 100), block(1, 24, 10), block(2, 24, 10), block(4, 26, 50)];
        Case { blocks, newest: 29.0, retention, ..Case::default() }
    };
    check(with(170), &["merge 1 2 -> 2h level 0"]);
    check(with(169), &["size 3", "merge 1 2 -> 2h level 0"]);
    check(with(69), &["size 3 1"]);
    check(with(1), &["size 3 1 2"]);
}

#[test]
fn a_pending_deletion_keeps_both_sides_of_its_bound_apart() {
    let span = |from: i64, to: i64, bound| TombstoneSpan {
        range: TimeRange { after: TimestampMs(START + from * HOUR), until: TimestampMs(START + to * HOUR) },
        bound: BlockId(bound),
    };
    let case =
        |pending: Vec<TombstoneSpan>| Case { blocks: whole_day(), newest: 30.0, pending, ..Case::default() };
    check(
        case(vec![span(0, 1, 3)]),
        &["merge 1 2 3 -> 1d level 1", "merge 4 5 6 7 8 9 10 11 12 -> 1d level 1"],
    );
    check(case(vec![span(24, 30, 3)]), &[WHOLE_DAY]);
    check(case(vec![span(0, 1, 12), span(0, 1, 100)]), &[WHOLE_DAY]);
    let mut merged = case(vec![span(0, 1, 6)]);
    merged.blocks[11].covered_as = BlockId(2);
    check(merged, &["merge 7 8 9 10 11 -> 1d level 1", "merge 1 2 3 4 5 6 12 -> 1d level 1"]);
}

#[test]
fn damaged_blocks_are_left_alone_and_small_merges_come_first() {
    let mut case = Case { blocks: whole_day(), newest: 30.0, ..Case::default() };
    case.blocks[0].is_damaged = true;
    case.blocks.extend([block(20, 26, 7), block(21, 26, 7)]);
    check(case, &["merge 20 21 -> 2h level 0", "merge 2 3 4 5 6 7 8 9 10 11 12 -> 1d level 1"]);
}

#[test]
fn overlaps_are_counted_by_window() {
    let check = |blocks: &[BlockFacts], want| assert_eq!(overlapping(blocks), want);
    check(&[], 0);
    check(&whole_day(), 0);
    check(&[block(1, 0, 1), block(2, 0, 1), block(3, 0, 1), block(4, 2, 1)], 1);
    check(&[day(1, 0, 1), block(2, 0, 1), block(3, 4, 1), block(4, 24, 1)], 1);
    check(&[block(2, 4, 1), day(1, 0, 1), block(3, 24, 1), block(4, 24, 1)], 2);
}

/// Carries an action out on the descriptions.
fn apply(case: &mut Case, action: &Action, next_id: u64) {
    let goes = |ids: &[BlockId], b: &BlockFacts| ids.contains(&b.id);
    match action {
        Action::Drop { blocks, .. } => case.blocks.retain(|b| !goes(blocks, b)),
        Action::Merge(merge) => {
            let (sources, left): (Vec<_>, Vec<_>) =
                case.blocks.drain(..).partition(|b| goes(&merge.sources, b));
            case.blocks = left;
            assert_eq!(sources.len(), merge.sources.len(), "sources are there");
            for b in &sources {
                assert!(merge.window.start <= b.window.start && b.window.end() <= merge.window.end());
            }
            for t in case.pending.iter().filter(|t| t.range.overlaps(merge.window.range())) {
                let covered = sources.iter().filter(|b| b.covered_as <= t.bound).count();
                assert!(covered == 0 || covered == sources.len(), "a bound is crossed");
            }
            let at = case.situation().reference;
            let is_past = |window: Window, retention| window.end() + retention <= at;
            let kept: u64 = sources.iter().map(|b| b.series - expired_series(&case.situation(), b)).sum();
            let own = |b: &BlockFacts| {
                let own = b.own_retention.iter().filter(|(r, _)| !is_past(b.window, *r));
                own.copied().collect::<Vec<_>>()
            };
            if kept > 0 {
                case.blocks.push(BlockFacts {
                    id: BlockId(next_id),
                    covered_as: sources.iter().map(|b| b.covered_as).max().unwrap(),
                    window: merge.window,
                    bytes: sources.iter().map(|b| b.bytes).sum(),
                    series: kept,
                    own_retention: sources.iter().flat_map(own).collect(),
                    arrived: sources.iter().filter_map(|b| b.arrived).max(),
                    ..sources[0].clone()
                });
            }
        }
    }
}

prop_compose! {
    fn blocks()(raw in proptest::collection::vec((0i64..48, 1u64..200, any::<bool>(), 0i64..60), 0..60)) -> Vec<BlockFacts> {
        raw.into_iter().zip(1..).map(|((hours, bytes, long, arrived), id)| {
            let mut b = if long && bytes > 100 { day(id, hours / 24, bytes * 10) } else { block(id, hours / 2 * 2, bytes) };
            b.arrived = (arrived % 3 > 0).then_some(TimestampMs(START + arrived * HOUR));
            b
        }).collect()
    }
}

proptest! {
    #[test]
    fn carrying_out_the_plan_ends(
        blocks in blocks(), newest in 0i64..400, fold_all: bool, bytes_max in proptest::option::of(1u64..20_000),
        bounds in proptest::collection::vec((0i64..48, 1i64..30, 0u64..60), 0..3),
    ) {
        let span = |(from, hours, bound): (i64, i64, u64)| TombstoneSpan {
            range: TimeRange { after: TimestampMs(START + from * HOUR), until: TimestampMs(START + (from + hours) * HOUR) },
            bound: BlockId(bound),
        };
        let retention = Retention { bytes_max, ..Retention::default() };
        let pending: Vec<TombstoneSpan> = bounds.into_iter().map(span).collect();
        let mut case = Case { blocks, newest: newest as f64, retention, pending, fold_all, ..Case::default() };
        for next_id in 100..400 {
            let actions = plan(&case.situation());
            let Some(action) = actions.first() else {
                if fold_all && case.pending.is_empty() {
                    prop_assert_eq!(overlapping(&case.blocks), 0, "{:?}", case.blocks);
                }
                return Ok(());
            };
            let mut named: Vec<BlockId> = actions.iter().flat_map(|a| match a {
                Action::Drop { blocks, .. } => blocks.clone(),
                Action::Merge(m) => m.sources.clone(),
            }).collect();
            let n = named.len();
            named.sort();
            named.dedup();
            prop_assert_eq!(named.len(), n, "no block occurs in two actions");
            let action = action.clone();
            apply(&mut case, &action, next_id);
        }
        prop_assert!(false, "it does not end");
    }
}

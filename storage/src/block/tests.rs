use super::*;
use crate::codec::{EncoderHint, TimeColumnId, Times, seal};
use crate::index::{LabelIndex, MatchOp, Matcher, NameId, accepts, label_sets, matchers};
use crate::io::{Fs, OpenMode, SimFs};
use crate::model::{
    BlockId, DurationMs, HashSeed, LabelSet, SeriesKey, ShardCount, ShardId, TimestampMs, Window,
    shard_of_fingerprint,
};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

const SEED: HashSeed = HashSeed(7);
const DIR: &str = "blocks/1";

fn spec() -> BlockSpec {
    BlockSpec {
        id: BlockId(0x10001),
        window: Window { start: TimestampMs(7_200_000), len: DurationMs::hours(2) },
        tier: Tier::Raw,
        level: 1,
        sources: vec![BlockId(3), BlockId(4)],
        seed: SEED,
        account_label: "account".into(),
        shards: ShardCount::new(4).unwrap(),
        lsns: Some((5, 9).into()),
    }
}

/// A series as it goes in and should come out.
#[derive(Clone, Debug, PartialEq)]
struct Series {
    key: SeriesKey,
    labels: LabelSet,
    chunks: Vec<Vec<u8>>,
}

fn series(labels: LabelSet, chunks: Vec<Vec<u8>>) -> Series {
    Series { key: labels.key("account", SEED), labels, chunks }
}

fn set(pairs: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(pairs.iter().copied()).unwrap()
}

/// Series by shard, in the order in which they are written.
fn by_shard(mut all: Vec<Series>) -> Vec<Vec<Series>> {
    all.sort_by(|a, b| (a.key, &a.labels).cmp(&(b.key, &b.labels)));
    all.dedup_by(|a, b| a.labels == b.labels);
    let mut shards = vec![vec![]; 4];
    for s in all {
        shards[shard_of_fingerprint(s.labels.fingerprint(SEED), spec().shards).index()].push(s);
    }
    shards
}

fn entry(bytes: &[u8]) -> ChunkEntry<'_> {
    let first = TimestampMs(7_200_001);
    ChunkEntry { first, last: first + DurationMs::mins(bytes.len() as i64 % 100), samples: 3, bytes }
}

fn write(fs: &Arc<dyn Fs>, shards: &[Vec<Series>]) -> BlockMeta {
    let mut w = BlockWriter::create(fs.clone(), Path::new(DIR), spec()).unwrap();
    for (i, shard) in (0..).zip(shards) {
        w.begin_shard(ShardId(i)).unwrap();
        for s in shard {
            let chunks: Vec<_> = s.chunks.iter().map(|c| entry(c)).collect();
            w.push_series(&s.labels, s.key, &chunks).unwrap();
        }
    }
    assert_eq!(w.time_column(b"first"), TimeColumnId(0));
    assert_eq!(w.time_column(b"second"), TimeColumnId(1));
    assert_eq!(w.time_column(b"first"), TimeColumnId(0));
    w.finish().unwrap()
}

fn open(fs: &dyn Fs, meta: &BlockMeta) -> Result<Block, OpenBlockError> {
    Block::open(fs, Path::new(DIR), meta.index_bytes, meta.chunks_bytes)
}

fn sim() -> Arc<dyn Fs> {
    Arc::new(SimFs::new(1))
}

fn read_file(fs: &dyn Fs, name: &str) -> Vec<u8> {
    fs.open(&Path::new(DIR).join(name), OpenMode::Read).unwrap().read_all().unwrap()
}

fn small() -> Vec<Vec<Series>> {
    let mut all = vec![];
    for i in 0..40 {
        let text = (i % 7).to_string();
        let mut pairs = vec![("__name__", "up"), ("account", ["1", "2", ""][i % 3]), ("n", &text)];
        if i % 5 == 0 {
            pairs.push(("le", ["0.1", "1", "+Inf"][i % 3]));
        }
        let unique = format!("x{}", i / 2);
        pairs.push(("id", &unique));
        all.push(series(set(&pairs), (0..i % 3).map(|c| vec![i as u8; 5 + c * 50]).collect()));
    }
    by_shard(all)
}

#[test]
fn golden() {
    let fs = sim();
    let labels = |a, n| set(&[("__name__", "m"), ("account", a), ("n", n)]);
    let key = |account, family| SeriesKey { account, name: 2, family, le: 0 };
    let mut w = BlockWriter::create(fs.clone(), Path::new(DIR), spec()).unwrap();
    w.begin_shard(ShardId(2)).unwrap();
    w.push_series(&labels("a", "x1"), key(1, 8), &[entry(b"abc")]).unwrap();
    w.push_series(&labels("a", "x2"), key(1, 9), &[]).unwrap();
    w.push_series(&set(&[("n", "x1")]), key(4, 5), &[entry(b"de"), entry(b"f")]).unwrap();
    w.time_column(b"tt");
    let meta = w.finish().unwrap();
    let u32s = |v: &[u32]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let u64s = |v: &[u64]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let name = |text: [u32; 2], n, v: [u64; 5]| [u32s(&[text[0], text[1], n, 0]), u64s(&v)].concat();
    let sections = [
        [
            name([168, 8], 1, [0, 3, 0, 10, 0]),
            name([176, 7], 1, [3, 3, 10, 10, 8]),
            name([183, 1], 2, [6, 7, 20, 15, 16]),
            b"__name__accountn".to_vec(),
        ]
        .concat(),
        b"\0\x01m\0\x01a\0\x02x1\x01\x012".to_vec(),
        [
            &[4, 0, 2, 0, 0, 4, 0, 2, 0, 0][..],
            &[4, 0, 2, 0, 0, 4, 0, 2, 0, 0],
            &[5, 0, 3, 0, 0, 0, 4, 0, 2, 0, 1, 3, 0, 1, 1],
        ]
        .concat(),
        [u32s(&[8, 12]), vec![3, 0, 0, 0, 1, 2]].concat(),
        [u32s(&[0, 0]), u64s(&[0])].concat(),
        [&[9, 0, 0, 0, 0, 1, 0, 3, 0, 6][..], &[5, 0, 0, 0, 1, 0], &[10, 1, 0, 2, 3, 2, 0, 4, 1, 0, 2]]
            .concat(),
        [u64s(&[1]), u32s(&[0]), u64s(&[4]), u32s(&[1])].concat(),
        u32s(&[0, 0, 2, 0]),
        u64s(&[2]),
        u64s(&[8, 9, 5]),
        vec![],
        vec![],
        u32s(&[0, 5, 0, 5, 0, 6]),
    ];
    let mut want = [b"CRDLBIDX".to_vec(), u32s(&[1, 0])].concat();
    let mut places = vec![];
    for s in &sections {
        places.extend([want.len() as u64, s.len() as u64]);
        want.extend(s);
    }
    places.extend([16, 6]);
    want.extend(u64s(&[0x10001, 7_200_000, 7_200_000, 7, 5, 9]));
    want.extend([0, 1, 4, 0]);
    want.extend(u32s(&[14]));
    want.extend(u64s(&[meta.chunks_bytes, 24]));
    want.extend(u32s(&[1, 1]));
    want.extend(b"\x07account");
    want.extend(u32s(&[2, 3]));
    want.extend(u64s(&places));
    let found = read_file(&*fs, INDEX_FILE);
    for (i, (&offset, &len)) in places.iter().zip(&places[1..]).step_by(2).enumerate().take(13) {
        let found = &found[offset as usize..(offset + len) as usize];
        assert_eq!(found, sections[i], "section {i}");
    }
    assert_eq!(&found[..want.len()], want);
    let chunks = read_file(&*fs, CHUNKS_FILE);
    let want = [b"CRDLBCHK".to_vec(), u32s(&[1, 0]), b"abcdeftt".to_vec(), u64s(&[22]), u32s(&[2])].concat();
    assert_eq!(&chunks[..want.len()], want);
    let json = String::from_utf8(read_file(&*fs, META_FILE)).unwrap();
    assert!(json.contains(r#""id": "0000000000010001""#) && json.contains(r#""tier": "raw""#), "{json}");
    assert_eq!(BlockMeta::read(&*fs, Path::new(DIR)).unwrap(), meta);
    assert!(
        BlockMeta::read(&*fs, Path::new("elsewhere"))
            .unwrap_err()
            .to_string()
            .contains("elsewhere/meta.json")
    );
}

/// Reads everything that can be read and says what was found; damage ends only what it is in.
fn read_all(block: &Block) -> Result<Vec<Vec<Series>>, Corruption> {
    let mut shards = vec![vec![]; 4];
    for shard in block.shards() {
        let mut reader = shard.reader();
        for ordinal in 0..shard.series_count() {
            let chunks: Result<Vec<_>, _> = reader.chunks(ordinal)?.map(|c| Ok(c?.1.to_vec())).collect();
            shards[shard.id().index()].push(Series {
                key: reader.key(ordinal)?,
                labels: reader.labels(ordinal)?,
                chunks: chunks?,
            });
        }
    }
    Ok(shards)
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(name, op, value).unwrap()
}

#[test]
fn what_goes_in_comes_out() {
    let (fs, shards) = (sim(), small());
    let meta = write(&fs, &shards);
    let block = open(&*fs, &meta).unwrap();
    assert_eq!(read_all(&block).unwrap(), shards);
    assert_eq!(block.spec(), &BlockSpec { sources: vec![], ..spec() });
    assert_eq!((meta.series, block.series_count()), (40, 40));
    assert_eq!((meta.samples, meta.chunks), (39 * 3, 39));
    assert_eq!(block.time_column(TimeColumnId(0)).unwrap(), b"first");
    assert_eq!(block.time_column(TimeColumnId(1)).unwrap(), b"second");
    assert!(block.time_column(TimeColumnId(2)).is_err());
    assert_eq!(block.verify().count(), 0);
    let bytes: u64 = block.sections().iter().map(|s| s.bytes).sum();
    // All but the two headers, the columns and the account label's place in the directory is in a section.
    assert_eq!(bytes + 2 * 16 + 11, meta.index_bytes + meta.chunks_bytes);
    for shard in block.shards() {
        let names: Result<Vec<_>, _> = shard.names().collect();
        assert!(names.unwrap().is_sorted_by(|a, b| a < b));
        for stats in shard.name_stats() {
            let stats = stats.unwrap();
            let found = shard.select(&[matcher(&stats.name, MatchOp::NotEqual, "")]).unwrap();
            assert_eq!(found.cardinality(), stats.series);
        }
    }
}

#[test]
fn chunk_ranges_hold_their_samples() {
    let (fs, shards) = (sim(), small());
    let block = open(&*fs, &write(&fs, &shards)).unwrap();
    for shard in block.shards() {
        let mut reader = shard.reader();
        for ordinal in 0..shard.series_count() {
            for chunk in reader.chunks(ordinal).unwrap() {
                let (chunk, bytes) = chunk.unwrap();
                let entry = entry(bytes);
                assert!(chunk.range.contains(entry.first) && chunk.range.contains(entry.last), "{chunk:?}");
            }
        }
    }
}

#[test]
fn series_are_read_in_any_order() {
    let (fs, shards) = (sim(), small());
    let block = open(&*fs, &write(&fs, &shards)).unwrap();
    for shard in block.shards() {
        let (mut reader, n) = (shard.reader(), shard.series_count());
        for i in 0..3 * n {
            let ordinal = i * 7 % n;
            let want = &shards[shard.id().index()][ordinal as usize];
            assert_eq!(reader.labels(ordinal).unwrap(), want.labels);
            assert_eq!(reader.key(ordinal).unwrap(), want.key);
            let id = shard.name_id("id").unwrap().unwrap();
            let value = reader.value_id(ordinal, id).unwrap().unwrap();
            assert_eq!(Some(&*shard.with_value(id, value, str::to_owned).unwrap()), want.labels.get("id"));
            assert_eq!(
                reader.with_label(ordinal, id, str::to_owned).unwrap().as_deref(),
                want.labels.get("id")
            );
            let le =
                shard.name_id("le").unwrap().map(|le| reader.with_label(ordinal, le, str::to_owned).unwrap());
            assert_eq!(le.flatten().as_deref(), want.labels.get("le"));
        }
        assert!(reader.labels(n).is_err() && reader.key(n).is_err() && reader.chunk_refs(u32::MAX).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn agrees_with_a_plain_model(
        sets in label_sets(),
        queries in proptest::collection::vec(matchers(), 8),
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..4),
    ) {
        let shards = by_shard(sets.into_iter().map(|l| series(l, chunks.clone())).collect());
        let fs = sim();
        let block = open(&*fs, &write(&fs, &shards)).unwrap();
        prop_assert_eq!(&read_all(&block).unwrap(), &shards);
        for matchers in queries {
            for shard in block.shards() {
                let model = (0..).zip(&shards[shard.id().index()]).filter(|(_, s)| accepts(&matchers, &s.labels)).map(|(i, _)| i);
                prop_assert_eq!(shard.select(&matchers).unwrap().to_vec(), model.collect::<Vec<u32>>(), "{:?}", matchers);
            }
        }
    }
}

#[test]
fn keys_come_back_whatever_the_number_of_ranks_and_runs() {
    for ranks in [1, 256, 257, 700] {
        let labels = |i: usize| {
            let (metric, le) = (format!("m{}", i % 90), (i % ranks).to_string());
            set(&[
                ("__name__", &metric),
                ("account", &(i % 13).to_string()),
                ("le", &le),
                ("i", &i.to_string()),
            ])
        };
        let shards = by_shard((0..800).map(|i| series(labels(i), vec![])).collect());
        let fs = sim();
        let block = open(&*fs, &write(&fs, &shards)).unwrap();
        assert_eq!(read_all(&block).unwrap(), shards, "{ranks} ranks");
    }
}

#[test]
fn dictionaries_of_many_values_are_found_by_value_and_prefix() {
    let all = (0..3000).map(|i| series(set(&[("v", &format!("{:x}", i * 7919 % 4096))]), vec![])).collect();
    let shards = by_shard(all);
    let fs = sim();
    let block = open(&*fs, &write(&fs, &shards)).unwrap();
    for shard in block.shards() {
        let model = &shards[shard.id().index()];
        let check = |op, pattern: &str| {
            let m = matcher("v", op, pattern);
            let want = model.iter().filter(|s| m.matches(s.labels.get("v").unwrap())).count();
            assert_eq!(shard.select(&[m]).unwrap().cardinality(), want as u64, "{pattern}");
        };
        (0..4096).step_by(13).for_each(|i| check(MatchOp::Equal, &format!("{i:x}")));
        for prefix in ["", "0", "1", "a", "ab", "f", "ff", "fff", "g", "/"] {
            check(MatchOp::Regex, &format!("{prefix}.*"));
            check(MatchOp::NotRegex, &format!("{prefix}.*[02468]"));
        }
    }
}

fn touch_everything(block: &Block) {
    let _ = read_all(block);
    block.sections();
    (0..3).for_each(|i| drop(block.time_column(TimeColumnId(i))));
    for shard in block.shards() {
        shard.stats();
        shard.name_stats().for_each(drop);
        for (op, value) in [
            (MatchOp::Equal, "x3"),
            (MatchOp::Regex, "x.*1"),
            (MatchOp::NotRegex, ".*2|"),
            (MatchOp::Equal, ""),
        ] {
            let _ = shard.select(&[matcher("id", op, value), matcher("account", MatchOp::NotEqual, "1")]);
        }
        let (mut reader, _) = (shard.reader(), shard.having(NameId(1), &mut Default::default()));
        for ordinal in 0..shard.series_count() {
            let _ =
                (reader.labels(ordinal), reader.key(ordinal), reader.chunks(ordinal).map(Iterator::count));
        }
    }
}

/// A file system with a block of these bytes.
fn with_files(index: &[u8], chunks: &[u8]) -> (Arc<dyn Fs>, u64, u64) {
    let fs = sim();
    fs.create_dir_all(Path::new(DIR)).unwrap();
    for (name, bytes) in [(INDEX_FILE, index), (CHUNKS_FILE, chunks)] {
        let file = fs.open(&Path::new(DIR).join(name), OpenMode::CreateNew).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file.sync_data().unwrap();
    }
    (fs, index.len() as u64, chunks.len() as u64)
}

#[test]
fn damage_is_met_and_never_an_answer() {
    let (fs, shards) = (sim(), small());
    write(&fs, &shards);
    let (index, chunks) = (read_file(&*fs, INDEX_FILE), read_file(&*fs, CHUNKS_FILE));
    for at in (0..index.len() + chunks.len()).step_by(11) {
        let (mut index, mut chunks) = (index.clone(), chunks.clone());
        let file = if at < index.len() { &mut index } else { &mut chunks };
        let at = at % file.len().max(1);
        file[at] ^= 1 << (at % 8);
        let (fs, i, c) = with_files(&index, &chunks);
        match Block::open(&*fs, Path::new(DIR), i, c) {
            Err(e) => assert!(e.to_string().contains(DIR), "{e}"),
            Ok(block) => {
                let e = read_all(&block).unwrap_err();
                assert!(e.file.starts_with(DIR) && e.expected.contains("checksum"), "{e}");
                assert_eq!(block.verify().count(), 1);
                touch_everything(&block);
            }
        }
    }
}

/// Sets the checksum of the only page of `file` right, so that its bytes reach the decoders.
fn make_credible(file: &mut [u8]) {
    let trailer = file.len() - 40;
    let payload = u64::from_le_bytes(file[trailer..trailer + 8].try_into().unwrap()) as usize;
    assert!(payload < 65_536);
    let sum = crc32c::crc32c(&file[..payload]);
    file[payload..payload + 4].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn hostile_bytes_with_right_checksums_do_not_panic() {
    let (fs, shards) = (sim(), small());
    write(&fs, &shards);
    let (index, chunks) = (read_file(&*fs, INDEX_FILE), read_file(&*fs, CHUNKS_FILE));
    let mut opened = 0;
    for at in (16..index.len() - 44).step_by(2) {
        let mut index = index.clone();
        index[at] = match at % 3 {
            0 => 0xff,
            1 => index[at] ^ 1,
            _ => index[at].wrapping_add(0x80),
        };
        make_credible(&mut index);
        let (fs, i, c) = with_files(&index, &chunks);
        if let Ok(block) = Block::open(&*fs, Path::new(DIR), i, c) {
            opened += 1;
            touch_everything(&block);
        }
    }
    assert!(opened > 500, "{opened}");
}

#[test]
fn one_damaged_page_leaves_the_rest_readable() {
    let fs = Arc::new(SimFs::new(1));
    let times: Vec<i64> = (0..100).map(|i| 7_200_001 + i * i).collect();
    let values: Vec<f64> = times.iter().map(|&t| (t % 1000) as f64).collect();
    let mut chunk = vec![];
    seal((&times, &values), Times::Inline, &mut EncoderHint::default(), &mut chunk);
    let shards: Vec<_> = (0..4)
        .map(|i| {
            let all = (0..3000).map(|n| series(set(&[("id", &format!("{i}-{n}"))]), vec![chunk.clone()]));
            let mut shard: Vec<_> = all.collect();
            shard.sort_by_key(|s| s.key);
            shard
        })
        .collect();
    let dyn_fs: Arc<dyn Fs> = fs.clone();
    let meta = write(&dyn_fs, &shards);
    let sections = open(&*fs, &meta).unwrap().sections();
    let rows = sections.iter().find(|s| s.shard == Some(ShardId(1)) && s.section == "rows").unwrap();
    fs.corrupt(&Path::new(DIR).join(INDEX_FILE), rows.offset + rows.bytes - 10, 1).unwrap();
    let chunks = sections.iter().find(|s| s.shard == Some(ShardId(0)) && s.section == "chunks").unwrap();
    fs.corrupt(&Path::new(DIR).join(CHUNKS_FILE), chunks.offset + 150_000, 1).unwrap();
    let block = open(&*fs, &meta).unwrap();
    let damaged = |shard: u16| block.shard(ShardId(shard)).unwrap().stats();
    assert_eq!(damaged(3).damaged, 0);
    let rows = damaged(1);
    assert!(rows.damaged > 0 && rows.damaged <= 3000);
    assert_eq!(rows.damage[0].file, Path::new(DIR).join(INDEX_FILE));
    let chunks = damaged(0);
    let per_page = 65_536 / chunk.len() as u64;
    assert!((per_page..per_page + 3).contains(&chunks.damaged), "{} of {per_page}", chunks.damaged);
    assert_eq!(block.verify().count(), 2);
    let shard = block.shard(ShardId(0)).unwrap();
    let last = shard.reader().chunks(2999).unwrap().next().unwrap();
    assert_eq!(last.unwrap().1, chunk);
}

#[test]
fn files_of_other_lengths_are_refused() {
    for name in [INDEX_FILE, CHUNKS_FILE] {
        let (fs, shards) = (sim(), small());
        let meta = write(&fs, &shards);
        let path = Path::new(DIR).join(name);
        let file = fs.open(&path, OpenMode::ReadWrite).unwrap();
        let len = file.len().unwrap();
        for other in [len + 1, len - 1, len / 2, 30, 1, 0] {
            file.set_len(other).unwrap();
            file.sync_data().unwrap();
            let e = open(&*fs, &meta).err().unwrap().to_string();
            assert!(e.contains(name) && e.contains(&format!("has {other} bytes, {len} expected")), "{e}");
        }
        fs.remove_file(&path).unwrap();
        assert!(open(&*fs, &meta).err().unwrap().to_string().contains(name));
    }
}

#[test]
fn the_writer_refuses_what_the_format_does_not_hold() {
    let fs = sim();
    let mut w = BlockWriter::create(fs.clone(), Path::new(DIR), spec()).unwrap();
    let key = |family| SeriesKey { account: 1, name: 1, family, le: 0 };
    let (a, b) = (set(&[("a", "1")]), set(&[("a", "2")]));
    assert!(matches!(w.push_series(&a, key(1), &[]), Err(WriteBlockError::SeriesOrder { .. })));
    w.begin_shard(ShardId(1)).unwrap();
    w.push_series(&b, key(2), &[]).unwrap();
    assert!(matches!(w.push_series(&a, key(1), &[]), Err(WriteBlockError::SeriesOrder { .. })));
    assert!(matches!(w.push_series(&b, key(2), &[]), Err(WriteBlockError::SeriesOrder { .. })));
    assert!(matches!(w.push_series(&a, key(2), &[]), Err(WriteBlockError::SeriesOrder { .. })));
    let early = ChunkEntry { first: TimestampMs(7_200_000), ..entry(b"x") };
    let e = w.push_series(&b, key(3), &[early]).unwrap_err();
    assert!(matches!(e, WriteBlockError::OutsideWindow { .. }), "{e}");
    assert!(matches!(w.begin_shard(ShardId(1)), Err(WriteBlockError::ShardOrder { .. })));
    assert!(matches!(w.begin_shard(ShardId(4)), Err(WriteBlockError::ShardOrder { .. })));
    assert!(BlockWriter::create(fs, Path::new(DIR), spec()).is_err());
}

#[test]
fn a_cut_at_any_moment_leaves_an_error_or_the_whole_block() {
    let shards = small();
    let whole = SimFs::new(1);
    let counted: Arc<dyn Fs> = Arc::new(whole);
    let meta = write(&counted, &shards);
    for op in 0.. {
        let fs = Arc::new(SimFs::new(1));
        fs.freeze_at(op);
        let dyn_fs: Arc<dyn Fs> = fs.clone();
        let result = try_write(&dyn_fs, &shards);
        let after = fs.crash(op);
        match result {
            Ok(()) => {
                assert_eq!(read_all(&open(&after, &meta).unwrap()).unwrap(), shards);
                assert!(op > 8);
                return;
            }
            Err(e) => assert!(matches!(e, WriteBlockError::Io { .. }), "{e}"),
        }
        if let Ok(block) = open(&after, &meta) {
            touch_everything(&block);
        }
    }
}

fn try_write(fs: &Arc<dyn Fs>, shards: &[Vec<Series>]) -> Result<(), WriteBlockError> {
    let mut w = BlockWriter::create(fs.clone(), Path::new(DIR), spec())?;
    for (i, shard) in (0..).zip(shards) {
        w.begin_shard(ShardId(i))?;
        for s in shard {
            let chunks: Vec<_> = s.chunks.iter().map(|c| entry(c)).collect();
            w.push_series(&s.labels, s.key, &chunks)?;
        }
    }
    w.time_column(b"first");
    w.time_column(b"second");
    w.finish()?;
    for dir in ["", "blocks"] {
        fs.sync_dir(Path::new(dir)).map_err(|source| WriteBlockError::Io { file: dir.into(), source })?;
    }
    Ok(())
}

#[test]
fn statistics_name_the_heaviest() {
    let mut chunk = vec![];
    seal((&[7_200_001, 7_215_001], &[1.0, 2.0]), Times::Inline, &mut EncoderHint::default(), &mut chunk);
    let mut all = vec![];
    for (name, n) in [("light", 2), ("heavy", 9)] {
        for i in 0..n {
            all.push(series(
                set(&[("__name__", name), ("account", "7"), ("i", &i.to_string())]),
                vec![chunk.clone()],
            ));
        }
    }
    all.sort_by(|a, b| (a.key, &a.labels).cmp(&(b.key, &b.labels)));
    let fs = sim();
    let block = open(&*fs, &write(&fs, &[all])).unwrap();
    let stats = block.shard(ShardId(0)).unwrap().stats();
    let bytes = chunk.len() as u64;
    let weight =
        |value: &str, n: u64| SeriesWeight { value: value.into(), series: n, chunks: n, bytes: n * bytes };
    assert_eq!(stats.metrics, [weight("heavy", 9), weight("light", 2)]);
    assert_eq!(stats.accounts, [weight("7", 11)]);
    assert_eq!((stats.chunks.len(), stats.chunks[0].chunks, stats.chunks[0].samples), (1, 11, 22));
    assert_eq!(stats.damaged, 0);
}

#[test]
fn blocks_share_room_for_time_columns() {
    let fs: Arc<dyn Fs> = Arc::new(SimFs::new(1));
    let room = ColumnRoom::new(100);
    let create = |dir: &str| {
        BlockWriter::create(fs.clone(), Path::new(dir), spec()).unwrap().with_column_room(room.clone())
    };
    let (mut a, mut b) = (create("a"), create("b"));
    assert_eq!(a.shared_column(&[1; 50]), Some(TimeColumnId(0)));
    assert_eq!(b.shared_column(&[2; 50]), None, "the other block took the room");
    assert_eq!(a.shared_column(&[1; 50]), Some(TimeColumnId(0)), "a column that is there takes none");
    assert_eq!(a.shared_column(&[2; 50]), None);
}

//! One shard of a block while it is being written: label values are interned per name in the order of their arrival, and
//! sorted once all series are there. Memory is that of one shard: about 8 bytes per label of each series, each text once, and
//! what is written in the end.

use super::dictionary::DictionaryWriter;
use super::directory::{N_SECTIONS, section};
use super::error::{WriteBlockError, offset_u32};
use super::keys::KeyTableWriter;
use super::names::{NAME_LEN, NameEntry, put_schema};
use super::rows::{ChunkEntry, CoarseTime, GROUP, put_chunks};
use super::section::Extent;
use crate::model::{LabelSet, SeriesKey, varint};
use hashbrown::HashTable;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use xxhash_rust::xxh3::xxh3_64;

/// A label as the shard that is being written numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelId {
    name: u32,
    value: u32,
}

/// Collects the series of a shard in order.
pub(super) struct ShardBuilder {
    coarse: CoarseTime,
    names: Vec<NameColumn>,
    name_ids: BTreeMap<Box<str>, u32>,
    schemas: HashMap<Box<[u32]>, u32>,
    /// For each series its schema.
    rows: Vec<u32>,
    /// The last series, to tell order by.
    last: Option<SeriesKey>,
    last_labels: Vec<LabelId>,
    keys: KeyTableWriter,
    /// The ends of the rows: chunk references, encoded, and where each one's end.
    tails: Vec<u8>,
    tail_ends: Vec<usize>,
    groups: Vec<u64>,
    /// Names of the last series, and their schema.
    schema: Vec<u32>,
    schema_id: Option<u32>,
}

/// One label name with all its values and who has which.
struct NameColumn {
    name: Box<str>,
    values: Texts,
    ids: HashTable<u32>,
    /// Series and value, by series.
    series: Vec<(u32, u32)>,
}

/// Texts, one after another.
#[derive(Default)]
struct Texts {
    bytes: String,
    ends: Vec<usize>,
}

/// The sections of a finished shard, by their numbers.
pub(super) type Sections = [Vec<u8>; N_SECTIONS];

impl ShardBuilder {
    pub(super) fn new(coarse: CoarseTime) -> Self {
        Self {
            coarse,
            names: Vec::new(),
            name_ids: BTreeMap::new(),
            schemas: HashMap::new(),
            rows: Vec::new(),
            last: None,
            last_labels: Vec::new(),
            keys: KeyTableWriter::default(),
            tails: Vec::new(),
            tail_ends: Vec::new(),
            groups: Vec::new(),
            schema: Vec::new(),
            schema_id: None,
        }
    }

    pub(super) fn n_series(&self) -> u32 {
        self.rows.len() as u32
    }

    /// The number of a label.
    pub(super) fn label(&mut self, name: &str, value: &str) -> LabelId {
        let id = match self.name_ids.get(name) {
            Some(&id) => id,
            None => self.add_name(name),
        };
        LabelId { name: id, value: self.names[id as usize].intern(value) }
    }

    /// The labels as text.
    pub(super) fn spell(&self, labels: &[LabelId]) -> LabelSet {
        LabelSet::from_sorted(self.texts(labels)).unwrap_or_default()
    }

    fn text(&self, label: &LabelId) -> (&str, &str) {
        let column = &self.names[label.name as usize];
        (&column.name, column.values.get(label.value))
    }

    /// Whether a series comes after the last one: by its key, and by its labels where keys are equal.
    pub(super) fn is_next(&self, labels: &[LabelId], key: SeriesKey) -> bool {
        match self.last.map(|last| last.cmp(&key)) {
            None | Some(Ordering::Less) => true,
            Some(Ordering::Equal) => self.texts(&self.last_labels).lt(self.texts(labels)),
            Some(Ordering::Greater) => false,
        }
    }

    fn texts<'a>(&'a self, labels: &'a [LabelId]) -> impl Iterator<Item = (&'a str, &'a str)> {
        labels.iter().map(|l| self.text(l))
    }

    /// Adds a series whose chunks were written at `chunk_offset`; labels in order of their names.
    pub(super) fn push(
        &mut self,
        labels: &[LabelId],
        key: SeriesKey,
        chunk_offset: u64,
        chunks: &[ChunkEntry<'_>],
    ) -> Result<(), WriteBlockError> {
        let series = offset_u32(self.rows.len() + 1, "series")? - 1;
        for label in labels {
            self.names[label.name as usize].series.push((series, label.value));
        }
        self.keys.push(key)?;
        self.push_schema(labels);
        self.push_tail(series, chunk_offset, chunks);
        self.last = Some(key);
        self.last_labels.clear();
        self.last_labels.extend_from_slice(labels);
        Ok(())
    }

    fn add_name(&mut self, name: &str) -> u32 {
        let id = self.names.len() as u32;
        self.name_ids.insert(name.into(), id);
        self.names.push(NameColumn {
            name: name.into(),
            values: Texts::default(),
            ids: HashTable::new(),
            series: Vec::new(),
        });
        id
    }

    fn push_schema(&mut self, labels: &[LabelId]) {
        // Series come sorted by metric: the schema is nearly always that of the series before.
        let names = || labels.iter().map(|l| l.name);
        let schema = match self.schema_id.filter(|_| self.schema.iter().copied().eq(names())) {
            Some(id) => id,
            None => {
                self.schema.clear();
                self.schema.extend(names());
                self.intern_schema()
            }
        };
        self.schema_id = Some(schema);
        self.rows.push(schema);
    }

    fn intern_schema(&mut self) -> u32 {
        if let Some(&id) = self.schemas.get(self.schema.as_slice()) {
            return id;
        }
        let id = self.schemas.len() as u32;
        self.schemas.insert(self.schema.as_slice().into(), id);
        id
    }

    fn push_tail(&mut self, series: u32, chunk_offset: u64, chunks: &[ChunkEntry<'_>]) {
        if series.is_multiple_of(GROUP) {
            self.groups.push(chunk_offset);
        }
        let start = chunk_offset - self.groups.last().expect("the first series of a group pushed it");
        let coarse = self.coarse;
        let refs = chunks.iter().map(|c| (c.bytes.len() as u64, coarse.step(c.first), coarse.step(c.last)));
        put_chunks(&mut self.tails, start, refs);
        self.tail_ends.push(self.tails.len());
    }

    /// Sorts what was collected and encodes it.
    pub(super) fn finish(mut self) -> Result<Sections, WriteBlockError> {
        let mut sections = Sections::default();
        let by_text: Vec<u32> = self.name_ids.values().copied().collect();
        let mut name_rank = vec![0; by_text.len()];
        let mut values = vec![Vec::new(); by_text.len()];
        let mut texts = Vec::new();
        for (rank, &id) in by_text.iter().enumerate() {
            name_rank[id as usize] = rank as u32;
            let column = &self.names[id as usize];
            let text_offset = offset_u32(by_text.len() * NAME_LEN as usize + texts.len(), "label names")?;
            values[id as usize] = column.write(text_offset, &mut sections)?;
            texts.extend_from_slice(column.name.as_bytes());
        }
        sections[section::NAMES].extend_from_slice(&texts);
        self.write_schemas(&name_rank, &mut sections)?;
        self.write_rows(&values, &mut sections)?;
        let keys = std::mem::take(&mut self.keys).finish();
        sections[section::ACCOUNTS] = keys.accounts;
        sections[section::RUNS] = keys.runs;
        sections[section::METRICS] = keys.metrics;
        sections[section::FAMILIES] = keys.families;
        sections[section::RANKS] = keys.ranks;
        sections[section::LE] = keys.le;
        Ok(sections)
    }

    fn write_schemas(&self, name_rank: &[u32], sections: &mut Sections) -> Result<(), WriteBlockError> {
        let mut by_id: Vec<(&u32, &[u32])> = self.schemas.iter().map(|(names, id)| (id, &**names)).collect();
        by_id.sort_unstable_by_key(|(id, _)| **id);
        let mut lists = Vec::new();
        for (_, names) in &by_id {
            let at = offset_u32(by_id.len() * 4 + lists.len(), "schemas")?;
            sections[section::SCHEMAS].extend_from_slice(&at.to_le_bytes());
            let ranks: Vec<u32> = names.iter().map(|&n| name_rank[n as usize]).collect();
            put_schema(&ranks, &mut lists);
        }
        sections[section::SCHEMAS].extend_from_slice(&lists);
        Ok(())
    }

    /// Walks all columns side by side, since rows want by series what columns have by name.
    fn write_rows(&self, values: &[Vec<u32>], sections: &mut Sections) -> Result<(), WriteBlockError> {
        let mut schemas = vec![&[][..]; self.schemas.len()];
        self.schemas.iter().for_each(|(names, &id)| schemas[id as usize] = &**names);
        let mut columns: Vec<_> = self.names.iter().map(|c| c.series.iter()).collect();
        let mut row = Vec::new();
        let mut tail_start = 0;
        for (series, &schema) in self.rows.iter().enumerate() {
            row.clear();
            varint::put(&mut row, u64::from(schema));
            for &name in schemas[schema as usize] {
                let &(_, value) = columns[name as usize].next().expect("each label was pushed to its column");
                varint::put(&mut row, u64::from(values[name as usize][value as usize]));
            }
            row.extend_from_slice(
                &self.tails[std::mem::replace(&mut tail_start, self.tail_ends[series])..tail_start],
            );
            if series.is_multiple_of(GROUP as usize) {
                let at = offset_u32(sections[section::ROWS].len(), "rows")?;
                let group = &mut sections[section::GROUPS];
                group.extend_from_slice(&at.to_le_bytes());
                group.extend_from_slice(&[0; 4]);
                group.extend_from_slice(&self.groups[series / GROUP as usize].to_le_bytes());
            }
            varint::put_bytes(&mut sections[section::ROWS], &row);
        }
        Ok(())
    }
}

impl NameColumn {
    fn intern(&mut self, value: &str) -> u32 {
        // Series come sorted: as often as not the value is that of the series before.
        if let Some(&(_, last)) = self.series.last()
            && self.values.get(last) == value
        {
            return last;
        }
        let Self { values, ids, .. } = self;
        let found = ids.entry(
            xxh3_64(value.as_bytes()),
            |&id| values.get(id) == value,
            |&id| xxh3_64(values.get(id).as_bytes()),
        );
        match found {
            hashbrown::hash_table::Entry::Occupied(e) => *e.get(),
            hashbrown::hash_table::Entry::Vacant(e) => {
                let id = values.len();
                e.insert(id);
                values.push(value);
                id
            }
        }
    }

    /// Encodes the column; returns for each value its place among the sorted ones.
    fn write(&self, text_offset: u32, sections: &mut Sections) -> Result<Vec<u32>, WriteBlockError> {
        let sorted = self.values.sorted();
        let mut rank = vec![0; sorted.len()];
        sorted.iter().enumerate().for_each(|(r, &id)| rank[id as usize] = r as u32);
        let lists = self.series_by_value();
        let having: Vec<u32> = self.series.iter().map(|&(s, _)| s).collect();
        let mut dictionary = DictionaryWriter::new(&having);
        for &id in &sorted {
            dictionary.push(self.values.get(id), lists.of(id))?;
        }
        NameEntry {
            text_offset,
            text_len: self.name.len() as u32,
            n_values: sorted.len() as u32,
            dictionary: append(&mut sections[section::DICTIONARIES], &dictionary.text),
            postings: append(&mut sections[section::POSTINGS], &dictionary.lists),
            restarts: append(&mut sections[section::RESTARTS], &dictionary.restarts).offset,
        }
        .put(&mut sections[section::NAMES]);
        Ok(rank)
    }

    /// A counting sort by value, which keeps the order of series.
    fn series_by_value(&self) -> SeriesByValue {
        let mut starts = vec![0u32; self.values.len() as usize + 1];
        self.series.iter().for_each(|&(_, v)| starts[v as usize + 1] += 1);
        for v in 1..starts.len() {
            starts[v] += starts[v - 1];
        }
        let mut next = starts.clone();
        let mut series = vec![0; self.series.len()];
        for &(s, v) in &self.series {
            series[next[v as usize] as usize] = s;
            next[v as usize] += 1;
        }
        SeriesByValue { starts, series }
    }
}

impl Texts {
    fn len(&self) -> u32 {
        self.ends.len() as u32
    }

    fn get(&self, at: u32) -> &str {
        let at = at as usize;
        let from = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[from..self.ends[at]]
    }

    fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len());
    }

    /// The numbers of the texts in order.
    fn sorted(&self) -> Vec<u32> {
        // The first bytes tell most texts apart, and stand beside the number instead of anywhere in memory.
        let front = |text: &str| {
            let mut front = [0; 8];
            let n = text.len().min(8);
            front[..n].copy_from_slice(&text.as_bytes()[..n]);
            u64::from_be_bytes(front)
        };
        let mut sorted: Vec<(u64, u32)> = (0..self.len()).map(|id| (front(self.get(id)), id)).collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| self.get(a.1).cmp(self.get(b.1))));
        sorted.into_iter().map(|(_, id)| id).collect()
    }
}

struct SeriesByValue {
    starts: Vec<u32>,
    series: Vec<u32>,
}

impl SeriesByValue {
    fn of(&self, value: u32) -> &[u32] {
        let v = value as usize;
        &self.series[self.starts[v] as usize..self.starts[v + 1] as usize]
    }
}

/// Appends; returns where and how much.
fn append(section: &mut Vec<u8>, bytes: &[u8]) -> Extent {
    let offset = section.len() as u64;
    section.extend_from_slice(bytes);
    Extent { offset, len: bytes.len() as u64 }
}

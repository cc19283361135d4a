//! Reads the series of a shard, at its best in ascending order.

use super::dictionary::Dictionary;
use super::error::Corruption;
use super::keys::Keys;
use super::names;
use super::reader::BlockShard;
use super::rows::{ChunkRef, ChunkRefs, Row, Rows};
use crate::index::{NameId, ValueId};
use crate::model::{LabelSet, SeriesKey, put_label};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::sync::Arc;

/// How many schemas are kept decoded. Few shards have more; those that do decode some again.
const SCHEMAS_MAX: usize = 4096;

/// How many values of a name are kept as text: all of a zone or codec, and of a session the last ones, which series of
/// one session share.
const VALUES_MAX: usize = 256;

/// Reads keys, labels and chunks of series by their ordinals. Keeps what the last look-up found, so that ascending
/// ordinals are cheap; any order gives the same answers.
pub struct SeriesReader<'a> {
    shard: BlockShard<'a>,
    keys: Keys<'a>,
    rows: Rows<'a>,
    /// The row read last.
    row: Option<(u32, Row<'a>)>,
    schemas: HashMap<u32, Arc<[NameId]>>,
    names: HashMap<NameId, NameTexts<'a>>,
}

/// A name and those of its values that were read last.
struct NameTexts<'a> {
    name: &'a str,
    dictionary: Dictionary<'a>,
    values: HashMap<ValueId, Box<str>>,
}

impl<'a> SeriesReader<'a> {
    pub(super) fn new(shard: BlockShard<'a>) -> Self {
        Self {
            shard,
            keys: shard.keys(),
            rows: shard.rows(),
            row: None,
            schemas: HashMap::new(),
            names: HashMap::new(),
        }
    }

    /// The shard that is read.
    pub fn shard(&self) -> BlockShard<'a> {
        self.shard
    }

    /// The series' key.
    pub fn key(&mut self, ordinal: u32) -> Result<SeriesKey, Corruption> {
        self.shard.check(ordinal)?;
        self.keys.key(ordinal)
    }

    /// The series' labels.
    pub fn labels(&mut self, ordinal: u32) -> Result<LabelSet, Corruption> {
        let (row, schema) = self.row(ordinal)?;
        let mut section = Vec::with_capacity(256);
        for label in row.values(schema.iter().copied()) {
            let (name, value) = label?;
            let texts = self.texts(name)?;
            put_label(&mut section, texts.name, texts.value(value)?);
        }
        LabelSet::from_section(&section).map_err(|e| row.damaged("a label set", &e.to_string()))
    }

    /// The ids of the series' labels, in order of the names.
    pub fn label_ids(
        &mut self,
        ordinal: u32,
    ) -> Result<impl Iterator<Item = Result<(NameId, ValueId), Corruption>> + use<'a>, Corruption> {
        let (row, schema) = self.row(ordinal)?;
        Ok(row.values((0..schema.len()).map(move |i| schema[i])))
    }

    /// Calls `f` with the series' value of one name, if it has the name.
    pub fn with_label<R>(
        &mut self,
        ordinal: u32,
        name: NameId,
        f: impl FnOnce(&str) -> R,
    ) -> Result<Option<R>, Corruption> {
        match self.value_id(ordinal, name)? {
            Some(value) => self.texts(name)?.value(value).map(f).map(Some),
            None => Ok(None),
        }
    }

    /// The series' value of one name.
    pub fn value_id(&mut self, ordinal: u32, name: NameId) -> Result<Option<ValueId>, Corruption> {
        let (row, schema) = self.row(ordinal)?;
        let Ok(at) = schema.binary_search(&name) else { return Ok(None) };
        row.values(schema.iter().copied()).nth(at).transpose().map(|label| label.map(|(_, value)| value))
    }

    /// The series' chunks in the order in which they were written.
    pub fn chunk_refs(&mut self, ordinal: u32) -> Result<ChunkRefs<'a>, Corruption> {
        let (row, schema) = self.row(ordinal)?;
        row.chunks(schema.len())
    }

    /// The series' chunks with their bytes, whose pages are checked; one that is damaged does not end the iteration.
    pub fn chunks(
        &mut self,
        ordinal: u32,
    ) -> Result<impl Iterator<Item = Result<(ChunkRef, &'a [u8]), Corruption>> + use<'a>, Corruption> {
        let shard = self.shard;
        Ok(self.chunk_refs(ordinal)?.map(move |chunk| {
            let chunk = chunk?;
            Ok((chunk, shard.chunk(&chunk)?))
        }))
    }

    fn row(&mut self, ordinal: u32) -> Result<(Row<'a>, Arc<[NameId]>), Corruption> {
        let row = match self.row {
            Some((at, row)) if at == ordinal => row,
            _ => {
                self.shard.check(ordinal)?;
                self.rows.row(ordinal)?
            }
        };
        self.row = Some((ordinal, row));
        Ok((row, self.schema(row.schema)?))
    }

    fn texts(&mut self, name: NameId) -> Result<&mut NameTexts<'a>, Corruption> {
        match self.names.entry(name) {
            Entry::Occupied(e) => Ok(e.into_mut()),
            Entry::Vacant(e) => {
                let names = self.shard.label_names();
                let (text, dictionary) = (names.text(name)?, names.parts(name)?.dictionary);
                Ok(e.insert(NameTexts { name: text, dictionary, values: HashMap::new() }))
            }
        }
    }

    fn schema(&mut self, id: u32) -> Result<Arc<[NameId]>, Corruption> {
        if let Some(schema) = self.schemas.get(&id) {
            return Ok(schema.clone());
        }
        let schema: Arc<[NameId]> = names::schema(self.shard.schemas(), id)?.into();
        if self.schemas.len() >= SCHEMAS_MAX {
            self.schemas.clear();
        }
        self.schemas.insert(id, schema.clone());
        Ok(schema)
    }
}

impl NameTexts<'_> {
    fn value(&mut self, value: ValueId) -> Result<&str, Corruption> {
        if self.values.len() >= VALUES_MAX && !self.values.contains_key(&value) {
            self.values.clear();
        }
        match self.values.entry(value) {
            Entry::Occupied(e) => Ok(e.into_mut()),
            Entry::Vacant(e) => Ok(e.insert(self.dictionary.value(value.0, |v| v.into())?)),
        }
    }
}

//! Reads the series of a shard, at its best in ascending order.

use super::error::Corruption;
use super::keys::Keys;
use super::names;
use super::reader::BlockShard;
use super::rows::{ChunkRef, ChunkRefs, Row, Rows};
use crate::index::{NameId, ValueId};
use crate::model::{LabelSet, SeriesKey, put_label};
use std::collections::HashMap;
use std::sync::Arc;

/// How many schemas are kept decoded. Few shards have more; those that do decode some again.
const SCHEMAS_MAX: usize = 4096;

/// Reads keys, labels and chunks of series by their ordinals. Keeps what the last look-up found, so that ascending
/// ordinals are cheap; any order gives the same answers.
pub struct SeriesReader<'a> {
    shard: BlockShard<'a>,
    keys: Keys<'a>,
    rows: Rows<'a>,
    /// The row read last.
    row: Option<(u32, Row<'a>)>,
    schemas: HashMap<u32, Arc<[NameId]>>,
}

impl<'a> SeriesReader<'a> {
    pub(super) fn new(shard: BlockShard<'a>) -> Self {
        Self { shard, keys: shard.keys(), rows: shard.rows(), row: None, schemas: HashMap::new() }
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
        let names = self.shard.label_names();
        let (row, schema) = self.row(ordinal)?;
        let mut section = Vec::with_capacity(256);
        for label in row.values(schema.iter().copied()) {
            let (name, value) = label?;
            let text = names.text(name)?;
            names.parts(name)?.dictionary.value(value.0, |v| put_label(&mut section, text, v))?;
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

//! The keys that order a shard's series in blocks, told from rows: no label is spelled.

use super::Head;
use super::symbols::HeadIndex;
use crate::index::{NameId, ValueId};
use crate::model::{METRIC_NAME, SeriesKey, le_rank, varint};
use hashbrown::HashMap;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Makes keys; of one shard only, and for as long as none of its series can leave. Remembers where in each schema the labels
/// stand that matter, and the hashes of their values.
pub(crate) struct KeyHashes {
    account_label: Arc<str>,
    schemas: Vec<Option<Places>>,
    /// Of account, metric and `le`, as everywhere here.
    parts: [Part; 3],
}

/// Where the labels that matter stand in a schema.
#[derive(Clone, Copy)]
struct Places {
    at: [Option<(usize, NameId)>; 3],
    /// How many values have to be read for all of them.
    read: usize,
}

/// A part of a key that is a hash of one label's value.
struct Part {
    hash: fn(&str) -> u64,
    known: HashMap<u32, u64>,
}

impl KeyHashes {
    pub(crate) fn new(head: &Head) -> Self {
        let part = |hash| Part { hash, known: HashMap::new() };
        let text = |v: &str| xxh3_64(v.as_bytes());
        let parts = [part(text), part(text), part(|v| le_rank(Some(v)))];
        Self { account_label: head.account_label.clone(), schemas: Vec::new(), parts }
    }

    /// The key of the series with this row and this hash of its family.
    pub(crate) fn key(&mut self, index: &HeadIndex, mut row: &[u8], family: u64) -> SeriesKey {
        let schema = varint::take(&mut row).unwrap_or(0) as u32;
        let places = self.places(index, schema);
        let mut hashes = [0; 3];
        for at in 0..places.read {
            let Some(value) = varint::take(&mut row) else { break };
            for ((part, place), hash) in self.parts.iter_mut().zip(places.at).zip(&mut hashes) {
                if let Some((_, name)) = place.filter(|(place, _)| *place == at) {
                    *hash = part.of(index, name, value as u32);
                }
            }
        }
        let [account, name, le] = hashes;
        SeriesKey { account, name, family, le }
    }

    fn places(&mut self, index: &HeadIndex, schema: u32) -> Places {
        let at = schema as usize;
        if self.schemas.len() <= at {
            self.schemas.resize(at + 1, None);
        }
        let account_label = &self.account_label;
        *self.schemas[at].get_or_insert_with(|| Places::of(index, schema, account_label))
    }
}

impl Places {
    fn of(index: &HeadIndex, schema: u32, account_label: &str) -> Self {
        let names = index.schema(schema);
        let place = |text| names.iter().position(|n| index.name_text(*n) == text).map(|at| (at, names[at]));
        let at = [account_label, METRIC_NAME, "le"].map(place);
        let read = at.iter().flatten().map(|(at, _)| at + 1).max().unwrap_or(0);
        Self { at, read }
    }
}

impl Part {
    fn of(&mut self, index: &HeadIndex, name: NameId, value: u32) -> u64 {
        *self.known.entry(value).or_insert_with(|| (self.hash)(index.value_text(name, ValueId(value))))
    }
}

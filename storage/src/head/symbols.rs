//! The label index of a shard's head: names, values and schemas, the rows that spell a series' labels with them, and postings.
//!
//! Values are interned per name. A series' *row* is its schema's id (the names it has, in order) and one value id per name,
//! as varints: some sixteen bytes for twelve labels. Ids are given in order of arrival; an id that stands for nothing any
//! more is given again only after every reader that may hold it is gone (see [`HeadIndex::release`]).

use super::accounts::{AccountSeries, Accounts};
use crate::index::{Bitmap, NameId, PostingsList, ValueId, Values};
use crate::model::{LabelSet, SeriesSlot, varint};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::hash::BuildHasher;
use std::ops::Range;

/// The names that a kind of series has, sorted as text.
pub(crate) type Schema = Box<[NameId]>;

/// All label data of one shard.
#[derive(Debug, Default)]
pub(crate) struct HeadIndex {
    names: Vec<Name>,
    by_name: HashMap<Box<str>, NameId>,
    schemas: Vec<SchemaEntry>,
    by_schema: HashMap<Schema, u32>,
    rows: Rows,
    hasher: DefaultHashBuilder,
    /// Bytes of value texts, kept as they change.
    text_bytes: usize,
    /// The label that owns a series.
    account_label: Box<str>,
    account_name: Option<NameId>,
    accounts: Accounts,
    /// Heap bytes of postings when they were last counted, and what each id since then may have taken.
    postings_bytes: usize,
    /// How many removals that are not released yet left a value without series.
    limbo: HashMap<(NameId, ValueId), u32>,
}

#[derive(Debug)]
struct Name {
    text: Box<str>,
    values: Vec<Value>,
    by_value: HashTable<u32>,
    /// The lowest is given first, so that the end can be given back.
    free: BinaryHeap<Reverse<u32>>,
}

#[derive(Debug, Default)]
struct Value {
    /// Empty where the id stands for nothing.
    text: Box<str>,
    postings: PostingsList,
}

#[derive(Debug)]
struct SchemaEntry {
    names: Schema,
    /// Where the label that owns a series stands among the names.
    account_at: Option<usize>,
    series: Bitmap,
}

/// The row of each slot: places in one byte arena, which freed rows of the same length are reused from.
#[derive(Debug, Default)]
struct Rows {
    /// Per slot: where its row begins, or [`Rows::NONE`].
    starts: Vec<u32>,
    bytes: Vec<u8>,
    free: HashMap<u16, Vec<u32>>,
    /// Of `bytes`.
    free_bytes: usize,
}

/// Ids that a removed series has left behind, to be given again once no reader can hold them.
#[derive(Debug, Default)]
pub(crate) struct Released {
    values: Vec<(NameId, ValueId)>,
    slots: Vec<SeriesSlot>,
}

impl Released {
    /// Whether nothing was released.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Values that are free now, unless they are used again.
    pub(crate) fn values(&self) -> &[(NameId, ValueId)] {
        &self.values
    }

    /// The names of these values.
    pub(crate) fn names(&self) -> BTreeSet<NameId> {
        self.values.iter().map(|(name, _)| *name).collect()
    }

    /// The slots that are free now.
    pub(crate) fn slots(&self) -> &[SeriesSlot] {
        &self.slots
    }
}

impl Rows {
    const NONE: u32 = u32::MAX;

    fn get(&self, slot: u32) -> Option<&[u8]> {
        let start = *self.starts.get(slot as usize)?;
        if start == Self::NONE {
            return None;
        }
        let at = start as usize;
        let len = usize::from(self.len_at(at));
        Some(&self.bytes[at + 2..at + 2 + len])
    }

    fn len_at(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn set(&mut self, slot: u32, row: &[u8]) {
        let len = u16::try_from(row.len()).expect("rows are at most ROW_BYTES_MAX long");
        if self.starts.len() <= slot as usize {
            self.starts.resize(slot as usize + 1, Self::NONE);
        }
        let at = match self.free.get_mut(&len).and_then(Vec::pop) {
            Some(at) => {
                self.free_bytes -= 2 + row.len();
                at as usize
            }
            None => {
                let at = self.bytes.len();
                self.bytes.resize(at + 2 + row.len(), 0);
                at
            }
        };
        self.bytes[at..at + 2].copy_from_slice(&len.to_le_bytes());
        self.bytes[at + 2..at + 2 + row.len()].copy_from_slice(row);
        self.starts[slot as usize] =
            u32::try_from(at).expect("rows are added only while they are below ROWS_BYTES_MAX");
    }

    fn remove(&mut self, slot: u32) {
        let start = std::mem::replace(&mut self.starts[slot as usize], Self::NONE);
        let len = self.len_at(start as usize);
        self.free.entry(len).or_default().push(start);
        self.free_bytes += 2 + usize::from(len);
    }

    /// Gives memory back where more than half of it is unused.
    fn shrink(&mut self) {
        while self.starts.last() == Some(&Self::NONE) {
            self.starts.pop();
        }
        shrink_half_empty(&mut self.starts);
        if self.free_bytes * 2 <= self.bytes.len() {
            return;
        }
        let mut packed = Vec::with_capacity(self.bytes.len() - self.free_bytes);
        for start in self.starts.iter_mut().filter(|s| **s != Self::NONE) {
            let from = *start as usize;
            let len = usize::from(u16::from_le_bytes([self.bytes[from], self.bytes[from + 1]]));
            *start = packed.len() as u32;
            packed.extend_from_slice(&self.bytes[from..from + 2 + len]);
        }
        (self.bytes, self.free, self.free_bytes) = (packed, HashMap::new(), 0);
    }

    fn memory_bytes(&self) -> usize {
        self.starts.capacity() * 4
            + self.bytes.capacity()
            + self.free.values().map(|f| f.capacity() * 4).sum::<usize>()
    }
}

/// Gives back what a vector holds beyond twice its length.
fn shrink_half_empty<T>(v: &mut Vec<T>) {
    if v.len() * 2 < v.capacity() {
        v.shrink_to(v.len() + v.len() / 4);
    }
}

impl Name {
    /// Whether the id stands for a value. Looks at the value only where some ids stand for nothing.
    fn has(&self, id: ValueId) -> bool {
        let at = id.0 as usize;
        at < self.values.len() && (self.free.is_empty() || !self.values[at].text.is_empty())
    }

    /// Gives memory back where more than half of the ids stand for nothing.
    fn shrink(&mut self, hash: impl Fn(&str) -> u64) {
        if self.free.len() * 2 <= self.values.len() {
            return;
        }
        while self.values.last().is_some_and(|v| v.text.is_empty()) {
            self.values.pop();
        }
        let Self { values, by_value, free, .. } = self;
        free.retain(|id| (id.0 as usize) < values.len());
        free.shrink_to_fit();
        shrink_half_empty(values);
        if by_value.len() * 4 < by_value.capacity() {
            by_value.shrink_to(by_value.len() * 2, |id| hash(&values[*id as usize].text));
        }
    }
}

/// Reads a row: the schema's id, then value ids. `None` where bytes are missing.
fn read_row(mut row: &[u8]) -> (u32, impl Iterator<Item = ValueId>) {
    let schema = varint::take(&mut row).unwrap_or(0) as u32;
    (schema, std::iter::from_fn(move || varint::take(&mut row).map(|v| ValueId(v as u32))))
}

impl HeadIndex {
    /// The most bytes of a row: a series of some twenty thousand labels.
    pub(crate) const ROW_BYTES_MAX: usize = u16::MAX as usize;
    /// The most bytes of all rows of a shard: some sixty million series. Rows are found by 32 bits, and those that requests are
    /// about to add need room as well.
    const ROWS_BYTES_MAX: usize = 3 << 30;

    /// Whether rows may be added.
    pub(crate) fn has_room(&self) -> bool {
        self.rows.bytes.len() < Self::ROWS_BYTES_MAX
    }

    /// Interns the labels and spells the row of a series that is to stand at a slot; `None` where the row is too long.
    pub(crate) fn row_of(&mut self, labels: &LabelSet) -> Option<Vec<u8>> {
        let mut ids = Vec::with_capacity(16);
        let mut names = Vec::with_capacity(16);
        for label in labels.iter() {
            let name = self.intern_name(label.name);
            names.push(name);
            ids.push(self.intern_value(name, label.value));
        }
        let mut row = Vec::with_capacity(32);
        varint::put(&mut row, u64::from(self.intern_schema(&names)));
        ids.iter().for_each(|id| varint::put(&mut row, u64::from(id.0)));
        (row.len() <= Self::ROW_BYTES_MAX).then_some(row)
    }

    /// Tells which label owns a series. Only of an index without series.
    pub(crate) fn own_by(&mut self, account_label: &str) {
        self.account_label = account_label.into();
        self.account_name = self.name_id(account_label);
        let owner = self.account_name;
        for schema in &mut self.schemas {
            debug_assert!(schema.series.is_empty());
            schema.account_at = schema.names.iter().position(|n| Some(*n) == owner);
        }
    }

    /// The series of an account; an empty name is that of series without one.
    pub(crate) fn account(&self, account: &str) -> AccountSeries {
        match (account, self.account_name) {
            ("", _) => self.accounts.of(None),
            (account, Some(name)) => self
                .find_value(name, account)
                .map_or_else(AccountSeries::default, |id| self.accounts.of(Some(id))),
            (_, None) => AccountSeries::default(),
        }
    }

    /// The label that owns a series.
    pub(crate) fn account_label(&self) -> &str {
        &self.account_label
    }

    /// The name of the label that owns a series, once any series has it.
    pub(crate) fn account_name(&self) -> Option<NameId> {
        self.account_name
    }

    /// How many series there are.
    pub(crate) fn series_count(&self) -> u64 {
        self.accounts.active()
    }

    fn intern_name(&mut self, text: &str) -> NameId {
        if let Some(id) = self.by_name.get(text) {
            return *id;
        }
        let id = NameId(self.names.len() as u32);
        self.names.push(Name {
            text: text.into(),
            values: Vec::new(),
            by_value: HashTable::new(),
            free: BinaryHeap::new(),
        });
        self.by_name.insert(text.into(), id);
        if *text == *self.account_label {
            self.account_name = Some(id);
        }
        id
    }

    fn intern_value(&mut self, name: NameId, text: &str) -> ValueId {
        let hash = self.hasher.hash_one(text);
        let Name { values, by_value, free, .. } = &mut self.names[name.0 as usize];
        if let Some(id) = by_value.find(hash, |id| &*values[*id as usize].text == text) {
            return ValueId(*id);
        }
        let value = Value { text: text.into(), postings: PostingsList::default() };
        self.text_bytes += text.len() + 8;
        let id = match free.pop() {
            Some(Reverse(id)) => {
                values[id as usize] = value;
                id
            }
            None => {
                values.push(value);
                values.len() as u32 - 1
            }
        };
        by_value.insert_unique(hash, id, |id| self.hasher.hash_one(&*values[*id as usize].text));
        ValueId(id)
    }

    fn intern_schema(&mut self, names: &[NameId]) -> u32 {
        if let Some(id) = self.by_schema.get(names) {
            return *id;
        }
        let id = self.schemas.len() as u32;
        let account_at = names.iter().position(|n| Some(*n) == self.account_name);
        self.schemas.push(SchemaEntry { names: names.into(), account_at, series: Bitmap::new() });
        self.by_schema.insert(names.into(), id);
        id
    }

    /// Puts a series with this row (of [`Self::row_of`], or of a checkpoint) at a slot that is free.
    pub(crate) fn insert(&mut self, slot: SeriesSlot, row: &[u8]) {
        self.set_row(slot, row);
        self.post(slot, row);
    }

    /// Puts a row at a slot that is free, without postings: [`Self::restore_postings`] or [`Self::post_rows`] must follow.
    pub(crate) fn set_row(&mut self, slot: SeriesSlot, row: &[u8]) {
        self.rows.set(slot.0, row);
    }

    fn post(&mut self, slot: SeriesSlot, row: &[u8]) {
        let (schema, values) = read_row(row);
        let Self { names, schemas, accounts, postings_bytes, .. } = self;
        let schema = &mut schemas[schema as usize];
        let mut account = None;
        for (at, (name, value)) in schema.names.iter().zip(values).enumerate() {
            if schema.account_at == Some(at) {
                account = Some(value);
            }
            let postings = &mut names[name.0 as usize].values[value.0 as usize].postings;
            *postings_bytes += postings.heap_bytes_of_next();
            postings.insert(slot.0);
        }
        schema.series.add(slot.0);
        accounts.came(account);
    }

    /// Makes the postings of all rows anew.
    pub(crate) fn post_rows(&mut self) {
        self.names.iter_mut().flat_map(|n| &mut n.values).for_each(|v| v.postings = PostingsList::default());
        self.schemas.iter_mut().for_each(|s| s.series = Bitmap::new());
        self.accounts = Accounts::default();
        let rows = std::mem::take(&mut self.rows);
        for slot in 0..rows.starts.len() as u32 {
            if let Some(row) = rows.get(slot) {
                self.post(SeriesSlot(slot), row);
            }
        }
        self.rows = rows;
    }

    /// Takes the postings of `series` rows from `next`, a list for each of [`Self::postings`] and then for each schema. `None`
    /// where it has none, and where lists contradict each other: [`Self::post_rows`] must follow then.
    pub(crate) fn restore_postings(
        &mut self,
        series: u64,
        mut next: impl FnMut() -> Option<PostingsList>,
    ) -> Option<()> {
        let Self { names, schemas, accounts, account_name, .. } = self;
        let mut having = Vec::with_capacity(names.len());
        for (name, id) in names.iter_mut().zip(0..) {
            let owner = *account_name == Some(NameId(id));
            let mut in_all = 0;
            for (value, id) in name.values.iter_mut().zip(0..) {
                value.postings = next()?;
                let n = value.postings.len();
                if owner && n > 0 {
                    accounts.many_came(Some(ValueId(id)), n);
                }
                if n > 0 && value.text.is_empty() {
                    return None;
                }
                in_all += n;
            }
            having.push(in_all);
        }
        let mut in_all = 0;
        for schema in schemas {
            schema.series = next()?.into_bitmap();
            let n = schema.series.cardinality();
            in_all += n;
            for name in &schema.names {
                let left = &mut having[name.0 as usize];
                *left = left.checked_sub(n)?;
            }
        }
        let unowned = series.checked_sub(accounts.active())?;
        accounts.many_came(None, unowned);
        (in_all == series && having.iter().all(|left| *left == 0)).then_some(())
    }

    /// The postings of all values of all names, in order of their ids.
    pub(crate) fn postings(&self) -> impl Iterator<Item = &PostingsList> {
        self.names.iter().flat_map(|n| n.values.iter().map(|v| &v.postings))
    }

    /// The series of each schema, in order of their ids.
    pub(crate) fn schema_series(&self) -> impl Iterator<Item = &Bitmap> {
        self.schemas.iter().map(|s| &s.series)
    }

    /// Whether a row from outside names only what is there.
    pub(crate) fn is_valid_row(&self, row: &[u8]) -> bool {
        let (schema, mut values) = read_row(row);
        let Some(schema) = self.schemas.get(schema as usize) else { return false };
        let is_known = |name: &NameId| values.next().is_some_and(|v| self.names[name.0 as usize].has(v));
        row.len() <= Self::ROW_BYTES_MAX && schema.names.iter().all(is_known) && values.next().is_none()
    }

    /// Counts a series at a slot as one that is new, within an interval.
    pub(crate) fn created(&mut self, slot: SeriesSlot, interval: u64) {
        let account = self.account_name.and_then(|name| self.value_in(self.rows.get(slot.0)?, name));
        self.accounts.created(account, interval);
    }

    /// Takes a series out. Its slot, and values that no other series has, go to `released`.
    pub(crate) fn remove(&mut self, slot: SeriesSlot, released: &mut Released) {
        let Some(row) = self.rows.get(slot.0) else { return };
        let (schema, values) = read_row(row);
        let values: Vec<ValueId> = values.collect();
        let schema = &mut self.schemas[schema as usize];
        schema.series.remove(slot.0);
        self.accounts.left(schema.account_at.and_then(|at| values.get(at).copied()));
        for (name, id) in schema.names.iter().zip(values) {
            let n = &mut self.names[name.0 as usize];
            let value = &mut n.values[id.0 as usize];
            value.postings.remove(slot.0);
            if value.postings.is_empty() {
                *self.limbo.entry((*name, id)).or_default() += 1;
                released.values.push((*name, id));
            }
        }
        self.rows.remove(slot.0);
        released.slots.push(slot);
    }

    /// Gives the ids of a removal free again, and back the memory that it left unused. Call once no reader that ran during the
    /// removal is left.
    pub(crate) fn release(&mut self, released: &Released) {
        self.release_values(released.values());
        released.names().into_iter().for_each(|name| self.shrink_name(name));
        self.shrink_rows();
    }

    /// The first part of [`Self::release`], for some of the values.
    pub(crate) fn release_values(&mut self, released: &[(NameId, ValueId)]) {
        for key @ (name, id) in released {
            let waiting = self.limbo.get_mut(key).expect("counted when it was released");
            *waiting -= 1;
            if *waiting > 0 {
                continue;
            }
            self.limbo.remove(key);
            let Name { values, by_value, free, .. } = &mut self.names[name.0 as usize];
            let value = &mut values[id.0 as usize];
            if !value.postings.is_empty() || value.text.is_empty() {
                continue;
            }
            let hash = self.hasher.hash_one(&*value.text);
            if let Ok(entry) = by_value.find_entry(hash, |v| *v == id.0) {
                entry.remove();
            }
            self.text_bytes -= value.text.len() + 8;
            if self.account_name == Some(*name) {
                self.accounts.forget(*id);
            }
            *value = Value::default();
            free.push(Reverse(id.0));
        }
    }

    /// The second part of [`Self::release`], for each name that values were released of.
    pub(crate) fn shrink_name(&mut self, name: NameId) {
        self.names[name.0 as usize].shrink(|text| self.hasher.hash_one(text));
    }

    /// The last part of [`Self::release`].
    pub(crate) fn shrink_rows(&mut self) {
        self.rows.shrink();
        self.count_postings();
        if self.limbo.is_empty() {
            self.limbo.shrink_to_fit();
        }
    }

    /// The row of a slot, `None` where it is free.
    pub(crate) fn row(&self, slot: SeriesSlot) -> Option<&[u8]> {
        self.rows.get(slot.0)
    }

    /// The names and values that a row spells, names in order.
    pub(crate) fn spell<'a>(&'a self, row: &'a [u8]) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        let (schema, values) = read_row(row);
        let names = self.schemas.get(schema as usize).map_or(&[][..], |s| &s.names);
        names.iter().zip(values).map(|(name, value)| {
            let name = &self.names[name.0 as usize];
            (&*name.text, &*name.values[value.0 as usize].text)
        })
    }

    /// The ids of a row's labels, names in order.
    pub(crate) fn ids<'a>(&'a self, row: &'a [u8]) -> impl Iterator<Item = (NameId, ValueId)> + 'a {
        let (schema, values) = read_row(row);
        self.schema(schema).iter().copied().zip(values)
    }

    /// The label set that a row spells.
    pub(crate) fn labels(&self, row: &[u8]) -> LabelSet {
        LabelSet::from_sorted(self.spell(row)).expect("a row was made from a label set")
    }

    /// The value of one label of a row.
    pub(crate) fn value_in(&self, row: &[u8], name: NameId) -> Option<ValueId> {
        let (schema, mut values) = read_row(row);
        let at = self.schemas.get(schema as usize)?.names.iter().position(|n| *n == name)?;
        values.nth(at)
    }

    /// The text of a value.
    pub(crate) fn value_text(&self, name: NameId, value: ValueId) -> &str {
        &self.names[name.0 as usize].values[value.0 as usize].text
    }

    /// The text of a name.
    pub(crate) fn name_text(&self, name: NameId) -> &str {
        &self.names[name.0 as usize].text
    }

    /// The id of a name.
    pub(crate) fn name_id(&self, name: &str) -> Option<NameId> {
        self.by_name.get(name).copied()
    }

    /// The names of a schema.
    pub(crate) fn schema(&self, id: u32) -> &[NameId] {
        self.schemas.get(id as usize).map_or(&[], |s| &s.names)
    }

    /// All schemas in order of their ids.
    pub(crate) fn schemas(&self) -> impl Iterator<Item = &[NameId]> {
        self.schemas.iter().map(|s| &*s.names)
    }

    /// All names in order of their ids, each with its values in order of theirs (empty: a free id).
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
        self.names.iter().map(|n| (&*n.text, n.values.iter().map(|v| &*v.text)))
    }

    /// Restores names, values and schemas of a checkpoint, ids as they come. Only into an empty index. `None` where they
    /// contradict each other.
    pub(crate) fn restore(names: Vec<(&str, Vec<&str>)>, schemas: Vec<Vec<u32>>) -> Option<Self> {
        let mut index = Self::default();
        for (name, values) in names {
            if index.by_name.contains_key(name) {
                return None;
            }
            let id = index.intern_name(name);
            index.restore_values(id, values)?;
        }
        for schema in schemas {
            let known = |n: &u32| (*n as usize) < index.names.len();
            let text = |n: &u32| &index.names[*n as usize].text;
            if !schema.iter().all(known) || !schema.is_sorted_by(|a, b| text(a) < text(b)) {
                return None;
            }
            let names: Vec<NameId> = schema.into_iter().map(NameId).collect();
            index.intern_schema(&names);
        }
        Some(index)
    }

    fn restore_values(&mut self, id: NameId, texts: Vec<&str>) -> Option<()> {
        let hasher = self.hasher.clone();
        let Name { values, by_value, free, .. } = &mut self.names[id.0 as usize];
        values.reserve_exact(texts.len());
        by_value.reserve(texts.len(), |_| 0);
        for (at, text) in texts.into_iter().enumerate() {
            values.push(Value { text: text.into(), postings: PostingsList::default() });
            if text.is_empty() {
                free.push(Reverse(at as u32));
                continue;
            }
            self.text_bytes += text.len() + 8;
            by_value.insert_unique(hasher.hash_one(text), at as u32, |v| {
                hasher.hash_one(&*values[*v as usize].text)
            });
        }
        Some(())
    }

    /// Counts the heap bytes of postings anew. Walks all values: for the minute, not for the request.
    pub(crate) fn count_postings(&mut self) {
        let values = self.names.iter().flat_map(|n| &n.values);
        self.postings_bytes = values.map(|v| v.postings.heap_bytes()).sum();
    }

    /// Heap bytes; those of postings as last counted and estimated since. Walks the names.
    pub(crate) fn memory_bytes(&self) -> usize {
        let of_name = |n: &Name| {
            n.values.capacity() * size_of::<Value>() + n.by_value.allocation_size() + n.free.capacity() * 4
        };
        let names = self.names.iter().map(of_name).sum::<usize>();
        self.rows.memory_bytes()
            + self.accounts.memory_bytes()
            + self.text_bytes
            + self.postings_bytes
            + names
    }

    // What `index::select` asks for, each a short hold of the shard's lock.

    pub(crate) fn value_count(&self, name: NameId) -> u32 {
        self.names[name.0 as usize].values.len() as u32
    }

    pub(crate) fn find_value(&self, name: NameId, text: &str) -> Option<ValueId> {
        let n = &self.names[name.0 as usize];
        n.by_value
            .find(self.hasher.hash_one(text), |id| &*n.values[*id as usize].text == text)
            .map(|id| ValueId(*id))
    }

    pub(crate) fn copy_values(&self, name: NameId, ids: Range<u32>, out: &mut Values) {
        let values = &self.names[name.0 as usize].values;
        ids.for_each(|id| out.push(values.get(id as usize).map_or("", |v| &v.text)));
    }

    /// Pushes how many series have each of these values.
    pub(crate) fn count_series(&self, name: NameId, ids: Range<u32>, out: &mut Vec<u64>) {
        let values = &self.names[name.0 as usize].values;
        out.extend(ids.map(|id| values.get(id as usize).map_or(0, |v| v.postings.len())));
    }

    /// Pushes how many series each of these values of the account label has, as kept.
    pub(crate) fn count_of_accounts(&self, ids: Range<u32>, out: &mut Vec<u64>) {
        out.extend(ids.map(|id| self.accounts.of(Some(ValueId(id))).active));
    }

    /// Pushes how many of `series` have each of these values.
    pub(crate) fn count_series_in(&self, name: NameId, ids: Range<u32>, series: &Bitmap, out: &mut Vec<u64>) {
        let values = &self.names[name.0 as usize].values;
        out.extend(ids.map(|id| values.get(id as usize).map_or(0, |v| v.postings.count_in(series))));
    }

    /// As [`Self::copy_values`], but values that no series has now are empty too.
    pub(crate) fn copy_values_in_use(&self, name: NameId, ids: Range<u32>, out: &mut Values) {
        let values = &self.names[name.0 as usize].values;
        let in_use = |id: u32| values.get(id as usize).filter(|v| !v.postings.is_empty());
        ids.for_each(|id| out.push(in_use(id).map_or("", |v| &v.text)));
    }

    /// The names that some series has now.
    pub(crate) fn names_in_use(&self) -> impl Iterator<Item = &str> {
        let in_use =
            |name: u32| self.schemas.iter().any(|s| s.names.contains(&NameId(name)) && !s.series.is_empty());
        (0..self.names.len() as u32).filter(move |n| in_use(*n)).map(|n| &*self.names[n as usize].text)
    }

    pub(crate) fn union_postings(&self, name: NameId, ids: &[ValueId], out: &mut Bitmap) {
        let values = &self.names[name.0 as usize].values;
        ids.iter().filter_map(|id| values.get(id.0 as usize)).for_each(|v| v.postings.union_into(out));
    }

    pub(crate) fn union_having(&self, name: Option<NameId>, out: &mut Bitmap) {
        let wanted = |s: &&SchemaEntry| name.is_none_or(|n| s.names.contains(&n));
        self.schemas.iter().filter(wanted).for_each(|s| out.or_inplace(&s.series));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied()).unwrap()
    }

    fn add(index: &mut HeadIndex, slot: u32, pairs: &[(&str, &str)]) -> LabelSet {
        let set = labels(pairs);
        let row = index.row_of(&set).unwrap();
        assert!(index.is_valid_row(&row));
        index.insert(SeriesSlot(slot), &row);
        set
    }

    #[test]
    fn rows_spell_labels() {
        let mut index = HeadIndex::default();
        let a = add(&mut index, 0, &[("__name__", "up"), ("job", "x")]);
        let b = add(&mut index, 1, &[("__name__", "up"), ("zone", "x")]);
        let spell = |slot| index.labels(index.row(SeriesSlot(slot)).unwrap());
        assert_eq!((spell(0), spell(1)), (a, b));
        let mut having = Bitmap::new();
        index.union_having(index.name_id("zone"), &mut having);
        assert_eq!(having.to_vec(), [1]);
        assert!(!index.is_valid_row(&[0, 9, 0]) && !index.is_valid_row(&[7]) && !index.is_valid_row(&[]));
    }

    #[test]
    fn a_value_is_given_again_only_after_its_release() {
        let mut index = HeadIndex::default();
        add(&mut index, 0, &[("call", "one")]);
        let call = index.name_id("call").unwrap();
        let one = index.find_value(call, "one").unwrap();
        let mut released = Released::default();
        index.remove(SeriesSlot(0), &mut released);
        add(&mut index, 1, &[("call", "two")]);
        assert_ne!(index.find_value(call, "two"), Some(one), "not released yet");
        index.release(&released);
        assert_eq!(index.find_value(call, "one"), None);
        add(&mut index, 2, &[("call", "three")]);
        assert_eq!(index.find_value(call, "three"), Some(one));
    }

    #[test]
    fn a_value_that_came_back_survives_its_release() {
        let mut index = HeadIndex::default();
        add(&mut index, 0, &[("call", "one")]);
        let (mut first, mut second) = (Released::default(), Released::default());
        index.remove(SeriesSlot(0), &mut first);
        add(&mut index, 1, &[("call", "one")]);
        index.remove(SeriesSlot(1), &mut second);
        index.release(&first);
        let call = index.name_id("call").unwrap();
        assert!(index.find_value(call, "one").is_some(), "readers of the second removal may still hold it");
        index.release(&second);
        assert_eq!(index.find_value(call, "one"), None);
    }

    #[test]
    fn memory_of_series_that_have_left_is_given_back() {
        let mut index = HeadIndex::default();
        let call =
            |n: u32| vec![("__name__".to_string(), "m".to_string()), ("call".into(), format!("{n:040}"))];
        let add = |index: &mut HeadIndex, n: u32| {
            let pairs = call(n);
            add(index, n, &pairs.iter().map(|(n, v)| (&**n, &**v)).collect::<Vec<_>>())
        };
        let first = add(&mut index, 0);
        (1..9_999).for_each(|n| drop(add(&mut index, n)));
        let last = add(&mut index, 9_999);
        let many = index.memory_bytes();
        let leave = |index: &mut HeadIndex, slots: Range<u32>| {
            let mut released = Released::default();
            slots.for_each(|slot| index.remove(SeriesSlot(slot), &mut released));
            index.release(&released);
        };
        leave(&mut index, 1..9_999);
        assert!(index.memory_bytes() < many / 4 * 3, "rows and texts, while the last one keeps its id");
        let spell = |index: &HeadIndex, slot| index.labels(index.row(SeriesSlot(slot)).unwrap());
        assert_eq!((spell(&index, 0), spell(&index, 9_999)), (first.clone(), last));
        leave(&mut index, 9_999..10_000);
        assert!(index.memory_bytes() < many / 50, "{} of {many}", index.memory_bytes());
        assert_eq!(spell(&index, 0), first);
        let again = add(&mut index, 3);
        assert_eq!(spell(&index, 3), again);
        assert_eq!(index.find_value(index.name_id("call").unwrap(), &format!("{:040}", 3)), Some(ValueId(1)));
    }

    #[test]
    fn restoring_keeps_ids_and_reuses_free_ones() {
        let names = vec![("__name__", vec!["up", "", "down"]), ("job", vec!["x"])];
        let mut index = HeadIndex::restore(names, vec![vec![0, 1]]).unwrap();
        assert!(index.is_valid_row(&[0, 2, 0]));
        assert!(!index.is_valid_row(&[0, 1, 0]), "a free value id");
        index.insert(SeriesSlot(5), &[0, 2, 0]);
        assert_eq!(
            index.labels(index.row(SeriesSlot(5)).unwrap()),
            labels(&[("__name__", "down"), ("job", "x")])
        );
        let name = index.name_id("__name__").unwrap();
        index.row_of(&labels(&[("__name__", "new")])).unwrap();
        assert_eq!(index.find_value(name, "new"), Some(ValueId(1)));
        assert!(HeadIndex::restore(vec![("a", vec![]), ("a", vec![])], vec![]).is_none());
        assert!(HeadIndex::restore(vec![], vec![vec![0]]).is_none());
        let names = || vec![("b", vec!["x"]), ("a", vec!["x"])];
        assert!(HeadIndex::restore(names(), vec![vec![0, 1]]).is_none(), "names of a schema are sorted");
        assert!(HeadIndex::restore(names(), vec![vec![1, 0]]).is_some());
    }
}

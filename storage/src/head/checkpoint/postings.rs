//! The postings frame of a checkpoint: an image of a shard's lists (`docs/format/checkpoint.md`).

use crate::head::symbols::HeadIndex;
use crate::index::{Bitmap, INLINE_IDS, Ids, PostingsList};
use crate::model::varint;
use croaring::Portable;

/// What stands for the length of a list that is a bitmap.
const BITMAP: u64 = INLINE_IDS as u64 + 1;

/// Appends the lists of all values and schemas, as far as they name series of `written`: others may have come since.
pub(super) fn put_postings(out: &mut Vec<u8>, index: &HeadIndex, written: &Bitmap) {
    let all_written = index.series_count() == written.cardinality();
    let only = (!all_written).then_some(written);
    index.postings().for_each(|list| match (list.ids(), only) {
        (Ids::Few(ids), None) => put_few(out, ids.iter().copied()),
        (Ids::Few(ids), Some(only)) => put_few(out, ids.iter().copied().filter(|id| only.contains(*id))),
        (Ids::Many(ids), only) => put_bitmap(out, ids, only),
    });
    index.schema_series().for_each(|series| put_bitmap(out, series, only));
}

fn put_bitmap(out: &mut Vec<u8>, ids: &Bitmap, only: Option<&Bitmap>) {
    if let Some(only) = only {
        return put_bitmap(out, &ids.and(only), None);
    }
    if ids.cardinality() < BITMAP {
        return put_few(out, ids.iter());
    }
    varint::put(out, BITMAP);
    let len = ids.get_serialized_size_in_bytes::<Portable>();
    varint::put(out, len as u64);
    let written = ids.serialize_into_vec::<Portable>(out);
    debug_assert_eq!(written.len(), len);
}

fn put_few(out: &mut Vec<u8>, ids: impl Iterator<Item = u32> + Clone) {
    varint::put(out, ids.clone().count() as u64);
    let mut next = 0;
    for id in ids {
        varint::put(out, u64::from(id - next));
        next = id + 1;
    }
}

/// Reads the lists into an index that has rows and no postings, as far as they name series of `live`, which are those of the
/// rows. `None` where the lists contradict each other or the rows: what the index has of postings is then of no use.
pub(super) fn read_postings(mut bytes: &[u8], index: &mut HeadIndex, live: &Bitmap) -> Option<()> {
    let bytes = &mut bytes;
    index.restore_postings(live.cardinality(), || take_list(bytes, live))?;
    bytes.is_empty().then_some(())
}

fn take_list(bytes: &mut &[u8], live: &Bitmap) -> Option<PostingsList> {
    match varint::take(bytes)? {
        BITMAP => {
            let mut ids = Bitmap::try_deserialize::<Portable>(varint::take_bytes(bytes)?)?;
            if !ids.is_subset(live) {
                ids.and_inplace(live);
            }
            Some(PostingsList::from_bitmap(ids))
        }
        n if n < BITMAP => take_few(bytes, n as usize, live),
        _ => None,
    }
}

fn take_few(bytes: &mut &[u8], n: usize, live: &Bitmap) -> Option<PostingsList> {
    let mut ids = [0; INLINE_IDS];
    let (mut next, mut kept) = (0u64, 0);
    for _ in 0..n {
        let id = u32::try_from(next.checked_add(varint::take(bytes)?)?).ok()?;
        next = u64::from(id) + 1;
        if live.contains(id) {
            *ids.get_mut(kept)? = id;
            kept += 1;
        }
    }
    Some(PostingsList::of_few(ids.get(..kept)?))
}

/// For fuzzing: bytes as the image of the lists of an index of 40 series.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(bytes: &[u8]) {
    let mut index = index_of_40();
    let rows: Vec<Vec<u8>> =
        (0..40).filter_map(|slot| Some(index.row(crate::model::SeriesSlot(slot))?.to_vec())).collect();
    let mut symbols = Vec::new();
    super::layout::put_symbols(&mut symbols, &index);
    index = super::layout::read_symbols(&symbols).expect("what was just written");
    index.own_by("account");
    (0..).zip(&rows).for_each(|(slot, row)| index.set_row(crate::model::SeriesSlot(slot), row));
    if read_postings(bytes, &mut index, &Bitmap::from_range(0..40)).is_none() {
        index.post_rows();
    }
    let mut total = 0;
    index.postings().for_each(|list| list.for_each(|_| total += 1));
    assert_eq!(total, 3 * 40, "a series stands once in the list of each of its values");
}

/// A seed of [`fuzz`].
#[cfg(feature = "fuzz")]
pub(crate) fn sound_image() -> Vec<u8> {
    let mut out = Vec::new();
    put_postings(&mut out, &index_of_40(), &Bitmap::from_range(0..40));
    out
}

#[cfg(feature = "fuzz")]
fn index_of_40() -> HeadIndex {
    let mut index = HeadIndex::default();
    index.own_by("account");
    for slot in 0..40 {
        let (name, account, call) = (format!("m{}", slot % 2), format!("a{}", slot % 3), format!("c{slot}"));
        let pairs = [("__name__", &*name), ("account", &*account), ("call", &*call)];
        let labels = crate::model::LabelSet::from_pairs(pairs).expect("these labels are in order");
        let row = index.row_of(&labels).expect("a short row");
        index.insert(crate::model::SeriesSlot(slot), &row);
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LabelSet, SeriesSlot};
    use proptest::prelude::*;

    /// An index of `n` series, of which each third has an account of seven.
    fn index(n: u32) -> HeadIndex {
        let mut index = HeadIndex::default();
        index.own_by("account");
        for slot in 0..n {
            let (name, call) = (format!("m{}", slot % 2), format!("c{slot}"));
            let mut pairs = vec![("__name__", &*name), ("call", &*call)];
            let account = format!("a{}", slot % 7);
            if slot % 3 == 0 {
                pairs.insert(1, ("account", &account));
            }
            let row = index.row_of(&LabelSet::from_pairs(pairs).unwrap()).unwrap();
            index.insert(SeriesSlot(slot), &row);
        }
        index
    }

    /// The index as a start finds it: with symbols and rows, and no postings.
    fn bare(index: &HeadIndex, live: &Bitmap) -> HeadIndex {
        let mut symbols = vec![];
        super::super::layout::put_symbols(&mut symbols, index);
        let mut bare = super::super::layout::read_symbols(&symbols).unwrap();
        bare.own_by("account");
        live.iter().for_each(|slot| bare.set_row(SeriesSlot(slot), index.row(SeriesSlot(slot)).unwrap()));
        bare
    }

    fn lists(index: &HeadIndex) -> Vec<Vec<u32>> {
        let mut all: Vec<Vec<u32>> = index
            .postings()
            .map(|list| {
                let mut ids = vec![];
                list.for_each(|id| ids.push(id));
                ids
            })
            .collect();
        all.extend(index.schema_series().map(Bitmap::to_vec));
        all
    }

    fn image(index: &HeadIndex, written: &Bitmap) -> Vec<u8> {
        let mut out = vec![];
        put_postings(&mut out, index, written);
        out
    }

    #[test]
    fn golden() {
        let index = index(3);
        let all = Bitmap::from_range(0..3);
        // m0, m1; a0; c0, c1, c2; the schemas with and without an account.
        assert_eq!(image(&index, &all), [2, 0, 1, 1, 1, 1, 0, 1, 0, 1, 1, 1, 2, 1, 0, 2, 1, 0]);
        let mut out = vec![];
        put_bitmap(&mut out, &Bitmap::of(&[10, 11, 12, 13, 14, 15, 16]), None);
        let mut want = vec![7, 30, 0x3a, 0x30, 0, 0, 1, 0, 0, 0, 0, 0, 6, 0, 16, 0, 0, 0];
        (10..17).for_each(|id| want.extend([id, 0]));
        assert_eq!(out, want);
    }

    #[test]
    fn an_image_gives_what_rows_give() {
        let index = index(3000);
        let check = |live: &Bitmap, written: &Bitmap| {
            let mut restored = bare(&index, live);
            read_postings(&image(&index, written), &mut restored, live).unwrap();
            let mut built = bare(&index, live);
            built.post_rows();
            assert_eq!(lists(&restored), lists(&built));
            for account in ["", "a0", "a6", "none"] {
                assert_eq!(restored.account(account), built.account(account), "{account}");
            }
            assert_eq!(restored.series_count(), live.cardinality());
        };
        let all = Bitmap::from_range(0..3000);
        check(&all, &all);
        assert_eq!(lists(&index).len(), 2 + 3000 + 7 + 2);
        // Series that came later, and a slice that was damaged.
        let early = Bitmap::from_range(0..2048);
        check(&early, &early);
        check(&Bitmap::from_range(1024..3000), &all);
        check(&Bitmap::new(), &all);
    }

    #[test]
    fn an_image_that_contradicts_the_rows_is_refused_and_made_anew() {
        let index = index(50);
        let all = Bitmap::from_range(0..50);
        let good = image(&index, &all);
        let refused = |bytes: &[u8]| {
            let mut restored = bare(&index, &all);
            let refused = read_postings(bytes, &mut restored, &all).is_none();
            restored.post_rows();
            assert_eq!(lists(&restored), lists(&index));
            refused
        };
        assert!(!refused(&good));
        assert!(refused(&[&good[..], &[0]].concat()), "bytes are left");
        assert!(refused(&good[..good.len() - 1]));
        assert!(refused(&[]));
        let without_one = image(&index, &Bitmap::from_range(0..49));
        assert!(refused(&without_one), "a series in no list");
        assert!(refused(&[8, 0]), "no such form");
        assert!(refused(&[2, 0xff, 0xff, 0xff, 0xff, 0x0f, 0]), "a slot beyond 32 bits");
    }

    proptest! {
        #[test]
        fn damaged_images_do_not_panic(at: usize, flip in 1u8.., bytes: Vec<u8>) {
            let index = index(300);
            let all = Bitmap::from_range(0..300);
            let mut image = image(&index, &all);
            let n = image.len();
            image[at % n] ^= flip;
            let _ = read_postings(&image, &mut bare(&index, &all), &all);
            let _ = read_postings(&bytes, &mut bare(&index, &all), &all);
        }
    }
}

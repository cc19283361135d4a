//! The lists of series that stand beside names and values: differences while short, roaring bitmaps beyond.

use super::error::Corruption;
use super::section::Cursor;
use crate::index::Bitmap;
use crate::model::varint;
use croaring::Portable;

const DIFFERENCES: u8 = 0;
const ROARING: u8 = 1;

/// Differences are decoded one by one and bitmaps by container: a bound on the work that saving a few bytes may cost.
const DIFFERENCES_MAX: usize = 4096;
/// No bitmap is shorter than so few differences.
const SHORT_MAX: usize = 8;
const _: () = assert!(2 + 5 * SHORT_MAX < 128, "the length of a short list is a varint of one byte");

/// Appends a list of ascending ids.
pub(super) fn put(ids: &[u32], out: &mut Vec<u8>) {
    debug_assert!(ids.is_sorted_by(|a, b| a < b));
    if ids.len() <= SHORT_MAX {
        return put_short(ids, out);
    }
    let roaring = roaring(ids);
    let body = match ids.len() <= DIFFERENCES_MAX {
        true => Some(differences(ids)).filter(|d| d.len() <= roaring.len()).unwrap_or(roaring),
        false => roaring,
    };
    varint::put_bytes(out, &body);
}

/// Appends a list so short that its length is one byte, whatever the ids are.
fn put_short(ids: &[u32], out: &mut Vec<u8>) {
    let at = out.len();
    out.push(0);
    put_differences(ids, out);
    out[at] = (out.len() - at - 1) as u8;
}

fn differences(ids: &[u32]) -> Vec<u8> {
    let mut body = Vec::with_capacity(ids.len() + 8);
    put_differences(ids, &mut body);
    body
}

fn put_differences(ids: &[u32], out: &mut Vec<u8>) {
    out.push(DIFFERENCES);
    varint::put(out, ids.len() as u64);
    let mut next = 0;
    for &id in ids {
        varint::put(out, u64::from(id - next));
        next = id.saturating_add(1);
    }
}

fn roaring(ids: &[u32]) -> Vec<u8> {
    let mut bitmap = Bitmap::of(ids);
    bitmap.run_optimize();
    let mut body = vec![ROARING];
    body.extend(bitmap.serialize::<Portable>());
    body
}

/// Skips a list.
pub(super) fn skip(cursor: &mut Cursor<'_>) -> Result<(), Corruption> {
    let len = cursor.varint()?;
    cursor.skip(len)
}

/// Reads how many ids a list has, and skips it. Nothing of it is decoded: differences are counted, and a bitmap says of each
/// of its containers how many it has.
pub(super) fn count(cursor: &mut Cursor<'_>) -> Result<u64, Corruption> {
    let len = cursor.varint()?;
    let body = cursor.bytes(len)?;
    let n = match body.split_first() {
        Some((&DIFFERENCES, mut rest)) => varint::take(&mut rest).filter(|n| *n <= rest.len() as u64),
        Some((&ROARING, rest)) => roaring_count(rest),
        _ => None,
    };
    n.ok_or_else(|| cursor.corruption("a list that says how long it is", format!("{len} other bytes")))
}

/// What a portable roaring bitmap's header says: a cookie, the number of containers (in the cookie's upper half where there
/// are runs, then with a bit for each container), then for each container its key and how many ids it has, less one.
fn roaring_count(bytes: &[u8]) -> Option<u64> {
    const WITHOUT_RUNS: u32 = 12346;
    const WITH_RUNS: u32 = 12347;
    let (&cookie, rest) = bytes.split_first_chunk::<4>()?;
    let cookie = u32::from_le_bytes(cookie);
    let (containers, rest) = match cookie {
        WITHOUT_RUNS => {
            let (&n, rest) = rest.split_first_chunk::<4>()?;
            (u32::from_le_bytes(n) as usize, rest)
        }
        _ if cookie & 0xffff == WITH_RUNS => {
            let n = (cookie >> 16) as usize + 1;
            (n, rest.get(n.div_ceil(8)..)?)
        }
        _ => return None,
    };
    let descriptions = rest.get(..containers.checked_mul(4)?)?.as_chunks::<4>().0;
    Some(descriptions.iter().map(|d| u64::from(u16::from_le_bytes([d[2], d[3]])) + 1).sum())
}

/// The union of lists. Short ones are gathered and sorted first: adding them to a bitmap one by one, each at its place,
/// takes many times as long.
#[derive(Default)]
pub(super) struct Union {
    ids: Vec<u32>,
    bitmap: Bitmap,
}

impl Union {
    /// Adds a list; ids from `limit` on are damage.
    pub(super) fn take(&mut self, cursor: &mut Cursor<'_>, limit: u32) -> Result<(), Corruption> {
        let len = cursor.varint()?;
        let body = cursor.bytes(len)?;
        self.decode(body, limit).map_err(|(expected, found)| cursor.corruption(expected, found))
    }

    /// Adds the union to `out`.
    pub(super) fn add_to(mut self, out: &mut Bitmap) {
        self.ids.sort_unstable();
        self.bitmap.or_inplace(&Bitmap::of(&self.ids));
        if out.is_empty() {
            *out = self.bitmap;
        } else {
            out.or_inplace(&self.bitmap);
        }
    }

    fn decode(&mut self, body: &[u8], limit: u32) -> Result<(), Mismatch> {
        match body.split_first() {
            Some((&DIFFERENCES, rest)) => self.decode_differences(rest, limit),
            Some((&ROARING, rest)) => self.decode_roaring(rest, limit),
            first => Err(("a list of kind 0 or 1".to_owned(), format!("{:?}", first.map(|(kind, _)| kind)))),
        }
    }

    fn decode_roaring(&mut self, rest: &[u8], limit: u32) -> Result<(), Mismatch> {
        let bitmap = Bitmap::try_deserialize::<Portable>(rest)
            .ok_or_else(|| ("a roaring bitmap".to_owned(), format!("{} other bytes", rest.len())))?;
        match bitmap.maximum() {
            Some(id) if id >= limit => return Err(beyond(limit, u64::from(id))),
            _ if self.bitmap.is_empty() => self.bitmap = bitmap,
            _ => self.bitmap.or_inplace(&bitmap),
        }
        Ok(())
    }

    fn decode_differences(&mut self, mut rest: &[u8], limit: u32) -> Result<(), Mismatch> {
        let cut = || ("a list of differences".to_owned(), "its end".to_owned());
        let n = varint::take(&mut rest).ok_or_else(cut)?;
        let mut next = 0u64;
        for _ in 0..n {
            let id = next.saturating_add(varint::take(&mut rest).ok_or_else(cut)?);
            if id >= u64::from(limit) {
                return Err(beyond(limit, id));
            }
            self.ids.push(id as u32);
            next = id + 1;
        }
        Ok(())
    }
}

type Mismatch = (String, String);

fn beyond(limit: u32, id: u64) -> Mismatch {
    (format!("series below {limit}"), id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body_of(ids: &[u32]) -> Vec<u8> {
        let mut out = vec![];
        put(ids, &mut out);
        varint::take_bytes(&mut &out[..]).unwrap().to_vec()
    }

    fn decode(body: &[u8], limit: u32) -> Result<Vec<u32>, Mismatch> {
        let (mut union, mut out) = (Union::default(), Bitmap::new());
        union.decode(body, limit)?;
        union.add_to(&mut out);
        Ok(out.to_vec())
    }

    #[test]
    fn golden() {
        assert_eq!(body_of(&[]), [0, 0]);
        assert_eq!(body_of(&[0, 1, 5, 300]), [0, 4, 0, 0, 3, 0xa6, 2]);
        let run: Vec<u32> = (10..100).collect();
        assert_eq!(body_of(&run), [1, 0x3b, 0x30, 0, 0, 1, 0, 0, 89, 0, 1, 0, 10, 0, 89, 0]);
    }

    #[test]
    fn ids_beyond_the_shard_are_damage() {
        let check = |ids: &[u32], limit| decode(&body_of(ids), limit);
        assert_eq!(check(&[1, 2], 3), Ok(vec![1, 2]));
        assert_eq!(check(&[1, 3], 3), Err(("series below 3".into(), "3".into())));
        assert_eq!(
            check(&(0..5000).collect::<Vec<_>>(), 4999),
            Err(("series below 4999".into(), "4999".into()))
        );
        assert!(decode(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0], 9).is_err());
        assert!(decode(&[7], 9).is_err());
        assert!(decode(&[], 9).is_err());
    }

    proptest! {
        #[test]
        fn round_trip(ids in proptest::collection::btree_set(0u32..100_000, 0..6000)) {
            let ids: Vec<u32> = ids.into_iter().collect();
            prop_assert_eq!(decode(&body_of(&ids), 100_000).unwrap(), ids);
        }

        #[test]
        fn a_roaring_header_tells_the_count(
            ids in proptest::collection::btree_set(0u32..400_000, 0..6000),
            run in 0u32..100_000,
        ) {
            let ids: std::collections::BTreeSet<u32> = ids.into_iter().chain(0..run).collect();
            let ids: Vec<u32> = ids.into_iter().collect();
            prop_assert_eq!(roaring_count(&roaring(&ids)[1..]), Some(ids.len() as u64));
        }

        #[test]
        fn counting_arbitrary_bytes_does_not_panic(bytes: Vec<u8>) {
            let _ = roaring_count(&bytes);
            let _ = roaring_count(&[&[0x3b, 0x30][..], &bytes].concat());
        }

        #[test]
        fn unions_hold_every_list(lists in proptest::collection::vec(
            proptest::collection::btree_set(0u32..10_000, 0..300), 0..6,
        )) {
            let (mut union, mut out) = (Union::default(), Bitmap::of(&[77]));
            lists.iter().for_each(|l| union.decode(&body_of(&l.iter().copied().collect::<Vec<_>>()), 10_000).unwrap());
            union.add_to(&mut out);
            let want: std::collections::BTreeSet<u32> = lists.into_iter().flatten().chain([77]).collect();
            prop_assert_eq!(out.to_vec(), want.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(kind in 0u8..2, mut bytes: Vec<u8>) {
            bytes.insert(0, kind);
            if let Ok(ids) = decode(&bytes, 1000) {
                prop_assert!(ids.iter().all(|&id| id < 1000));
            }
        }

        #[test]
        fn damaged_bitmaps_do_not_panic(ids in proptest::collection::vec(0u32..200_000, 100..500), at: usize, mask: u8) {
            let mut body = roaring(&ids);
            let at = at % body.len();
            body[at] ^= mask;
            if let Ok(ids) = decode(&body, 200_000) {
                prop_assert!(ids.iter().all(|&id| id < 200_000));
            }
        }
    }
}

//! The lists of series that stand beside names and values: differences while short, roaring bitmaps beyond.

use super::error::Corruption;
use super::section::Cursor;
use crate::index::Bitmap;
use crate::model::varint;
use croaring::Portable;

const DIFFERENCES: u8 = 0;
const ROARING: u8 = 1;

/// Differences are decoded one by one, at about a nanosecond each; beyond this many a bitmap is read sooner.
const DIFFERENCES_MAX: usize = 4096;

/// Appends a list of ascending ids.
pub(super) fn put(ids: &[u32], out: &mut Vec<u8>) {
    debug_assert!(ids.is_sorted_by(|a, b| a < b));
    let roaring = if ids.len() > 8 { Some(roaring(ids)) } else { None };
    let differences = if ids.len() <= DIFFERENCES_MAX { Some(differences(ids)) } else { None };
    let body = match (roaring, differences) {
        (Some(r), Some(d)) if r.len() < d.len() => r,
        (_, Some(d)) => d,
        (Some(r), None) => r,
        (None, None) => unreachable!("a list is short or long"),
    };
    varint::put_bytes(out, &body);
}

fn differences(ids: &[u32]) -> Vec<u8> {
    let mut body = vec![DIFFERENCES];
    varint::put(&mut body, ids.len() as u64);
    let mut next = 0;
    for &id in ids {
        varint::put(&mut body, u64::from(id - next));
        next = id.saturating_add(1);
    }
    body
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

/// Adds a list to `out`; ids from `limit` on are damage.
pub(super) fn take(cursor: &mut Cursor<'_>, limit: u32, out: &mut Bitmap) -> Result<(), Corruption> {
    let len = cursor.varint()?;
    let body = cursor.bytes(len)?;
    decode(body, limit, out).map_err(|(expected, found)| cursor.corruption(expected, found))
}

type Mismatch = (String, String);

fn decode(body: &[u8], limit: u32, out: &mut Bitmap) -> Result<(), Mismatch> {
    match body.split_first() {
        Some((&DIFFERENCES, rest)) => decode_differences(rest, limit, out),
        Some((&ROARING, rest)) => {
            let bitmap = Bitmap::try_deserialize::<Portable>(rest)
                .ok_or_else(|| ("a roaring bitmap".to_owned(), format!("{} other bytes", rest.len())))?;
            match bitmap.maximum() {
                Some(id) if id >= limit => Err(beyond(limit, u64::from(id))),
                _ if out.is_empty() => {
                    *out = bitmap;
                    Ok(())
                }
                _ => {
                    out.or_inplace(&bitmap);
                    Ok(())
                }
            }
        }
        first => Err(("a list of kind 0 or 1".to_owned(), format!("{:?}", first.map(|(kind, _)| kind)))),
    }
}

fn decode_differences(mut rest: &[u8], limit: u32, out: &mut Bitmap) -> Result<(), Mismatch> {
    let cut = || ("a list of differences".to_owned(), "its end".to_owned());
    let n = varint::take(&mut rest).ok_or_else(cut)?;
    let mut ids = [0; 64];
    let mut filled = 0;
    let mut next = 0u64;
    for _ in 0..n {
        let id = next.saturating_add(varint::take(&mut rest).ok_or_else(cut)?);
        if id >= u64::from(limit) {
            return Err(beyond(limit, id));
        }
        ids[filled] = id as u32;
        filled += 1;
        if filled == ids.len() {
            out.add_many(&ids);
            filled = 0;
        }
        next = id + 1;
    }
    out.add_many(&ids[..filled]);
    Ok(())
}

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

    #[test]
    fn golden() {
        assert_eq!(body_of(&[]), [0, 0]);
        assert_eq!(body_of(&[0, 1, 5, 300]), [0, 4, 0, 0, 3, 0xa6, 2]);
        let run: Vec<u32> = (10..100).collect();
        assert_eq!(body_of(&run), [1, 0x3b, 0x30, 0, 0, 1, 0, 0, 89, 0, 1, 0, 10, 0, 89, 0]);
    }

    #[test]
    fn ids_beyond_the_shard_are_damage() {
        let check = |ids: &[u32], limit| {
            let mut out = Bitmap::new();
            decode(&body_of(ids), limit, &mut out).map(|()| out.to_vec())
        };
        assert_eq!(check(&[1, 2], 3), Ok(vec![1, 2]));
        assert_eq!(check(&[1, 3], 3), Err(("series below 3".into(), "3".into())));
        assert_eq!(
            check(&(0..5000).collect::<Vec<_>>(), 4999),
            Err(("series below 4999".into(), "4999".into()))
        );
        assert!(decode(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0], 9, &mut Bitmap::new()).is_err());
        assert!(decode(&[7], 9, &mut Bitmap::new()).is_err());
        assert!(decode(&[], 9, &mut Bitmap::new()).is_err());
    }

    proptest! {
        #[test]
        fn round_trip(ids in proptest::collection::btree_set(0u32..100_000, 0..6000)) {
            let ids: Vec<u32> = ids.into_iter().collect();
            let mut out = Bitmap::new();
            decode(&body_of(&ids), 100_000, &mut out).unwrap();
            prop_assert_eq!(out.to_vec(), ids);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(kind in 0u8..2, mut bytes: Vec<u8>) {
            bytes.insert(0, kind);
            let mut out = Bitmap::new();
            if decode(&bytes, 1000, &mut out).is_ok() {
                prop_assert!(out.maximum().is_none_or(|m| m < 1000));
            }
        }

        #[test]
        fn damaged_bitmaps_do_not_panic(ids in proptest::collection::vec(0u32..200_000, 100..500), at: usize, mask: u8) {
            let mut body = roaring(&ids);
            let at = at % body.len();
            body[at] ^= mask;
            let mut out = Bitmap::new();
            if decode(&body, 200_000, &mut out).is_ok() {
                prop_assert!(out.iter().all(|id| id < 200_000));
            }
        }
    }
}

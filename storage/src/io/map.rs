//! Memory maps. With `fault` the only `unsafe` in this module tree.
#![allow(unsafe_code)]

use super::Region;
use super::fault::KnownMap;
use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::path::Path;

/// Maps a whole file for reading.
pub(super) fn map_file(file: &File, path: &Path) -> io::Result<Region> {
    if file.metadata()?.len() == 0 {
        return Ok(Region::from_vec(Vec::new()));
    }
    // SAFETY: the bytes must not change while they are mapped. `Fs::map` is called only for files that are closed, synced
    // and immutable from then on: Cardinal never opens such a file for writing again, it removes it (which keeps the
    // mapped pages), and the lock of the data directory keeps a second process of ours out.
    let map = unsafe { Mmap::map(file)? };
    let known = KnownMap::enter(&map, path);
    Ok(Region::from_map(map, known))
}

//! Reading what a disk still delivers of a file: bad sectors cost themselves, and are told.

use super::{File, Fs, OpenMode, Region, code_of};
use std::io;
use std::ops::Range;
use std::path::Path;

/// How much is read at once, and how much is given up where that fails.
const STEP: u64 = 1 << 20;
const SECTOR: u64 = 4096;

/// Bytes of a file that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Which.
    pub bytes: Range<u64>,
    /// What the disk said.
    pub error: String,
}

/// Reads a whole file into `bytes`, zeros in place of what the disk does not deliver; returns where that is. An error where the
/// file cannot even be measured.
pub fn read_readable(file: &dyn File, bytes: &mut Vec<u8>) -> io::Result<Vec<Unreadable>> {
    let len = file.len()?;
    let size = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    bytes.truncate(size);
    bytes.try_reserve_exact(size - bytes.len())?;
    bytes.resize(size, 0);
    let mut unreadable: Vec<Unreadable> = Vec::new();
    for start in (0..len).step_by(STEP as usize) {
        let end = len.min(start + STEP);
        let Some(step) = bytes.get_mut(start as usize..end as usize) else { continue };
        if file.read_exact_at(step, start).is_ok() {
            continue;
        }
        for (sector, at) in step.chunks_mut(SECTOR as usize).zip((start..).step_by(SECTOR as usize)) {
            if let Err(error) = file.read_exact_at(sector, at) {
                sector.fill(0);
                let until = at + sector.len() as u64;
                match unreadable.last_mut() {
                    Some(last) if last.bytes.end == at => last.bytes.end = until,
                    _ => unreadable.push(Unreadable { bytes: at..until, error: error.to_string() }),
                }
            }
        }
    }
    Ok(unreadable)
}

/// Whether a file that cannot be read is damaged or gone. Everything else (permissions, too many open files, no memory) says
/// nothing of the file, which may be sound: who takes that for damage throws away what can be had tomorrow.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    /// Of the disk; of the file system, which found its own structures damaged, by two names.
    const EIO: i32 = 5;
    const EBADMSG: i32 = 74;
    const EUCLEAN: i32 = 117;
    error.kind() == io::ErrorKind::NotFound
        || code_of(error).is_some_and(|code| [EIO, EBADMSG, EUCLEAN].contains(&code))
}

/// A whole file as memory, mapped if that can be; else what is readable of it, zeros for the rest.
pub fn map_readable(fs: &dyn Fs, path: &Path) -> io::Result<Region> {
    fs.map(path).or_else(|_| region_of_readable(fs, path))
}

/// What is readable of a file, in memory of its own.
pub(super) fn region_of_readable(fs: &dyn Fs, path: &Path) -> io::Result<Region> {
    let mut bytes = Vec::new();
    let unreadable = read_readable(&*fs.open(path, OpenMode::Read)?, &mut bytes)?;
    for Unreadable { bytes, error } in unreadable {
        let (from, until) = (bytes.start, bytes.end);
        tracing::error!(path = %path.display(), from, until, %error, "these bytes cannot be read");
    }
    Ok(Region::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::SimFs;

    #[test]
    fn only_what_the_disk_says_of_a_file_is_damage() {
        let fs = SimFs::new(1);
        let path = Path::new("a");
        let opened = || fs.open(path, OpenMode::Read).map(drop).unwrap_err();
        assert!(is_damage(&opened()), "it is not there");
        fs.open(path, OpenMode::CreateNew).unwrap();
        // EIO, EUCLEAN; ENOMEM, EACCES, ENFILE, EMFILE, EPERM.
        for (code, want) in
            [(5, true), (117, true), (12, false), (13, false), (23, false), (24, false), (1, false)]
        {
            fs.refuse_open(path, code).unwrap();
            assert_eq!(is_damage(&opened()), want, "{code}");
            assert_eq!(is_damage(&fs.map(path).unwrap_err()), want, "{code}");
        }
    }

    #[test]
    fn bad_sectors_cost_themselves() {
        let fs = SimFs::new(1);
        let path = Path::new("a");
        let file = fs.open(path, OpenMode::CreateNew).unwrap();
        let content: Vec<u8> = (0..(3 << 20) + 77).map(|i| (i % 251) as u8 + 1).collect();
        file.write_all_at(&content, 0).unwrap();
        file.sync_data().unwrap();
        let check = |bad: &[(u64, u64)], want: &[(u64, u64)]| {
            fs.heal();
            bad.iter().for_each(|b| fs.make_unreadable(path, b.0..b.1).unwrap());
            let mut bytes = Vec::new();
            let found: Vec<_> = read_readable(&*file, &mut bytes)
                .unwrap()
                .into_iter()
                .map(|u| (u.bytes.start, u.bytes.end))
                .collect();
            assert_eq!(found, want);
            let mut wanted = content.clone();
            want.iter().for_each(|w| wanted[w.0 as usize..w.1 as usize].fill(0));
            assert!(bytes == wanted);
            assert!(map_readable(&fs, path).unwrap()[..] == wanted[..]);
        };
        check(&[], &[]);
        check(&[(0, 1)], &[(0, 4096)]);
        check(&[(8191, 8193), (20_000, 20_001)], &[(4096, 12_288), (16_384, 20_480)]);
        let len = content.len() as u64;
        check(&[(len - 1, len)], &[(len / 4096 * 4096, len)]);
    }
}

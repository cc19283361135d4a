//! One file of the log: its name, its header, and its making.

use crate::io::{File, Fs, OpenMode};
use crate::model::Lsn;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"CRDLWALS";
const VERSION: u32 = 1;

const VERSION_AT: usize = 8;
const NUMBER_AT: usize = VERSION_AT + 4 + 4;
const FIRST_AT: usize = NUMBER_AT + 8;
const CRC_AT: usize = FIRST_AT + 8;
/// The bytes of a segment before its first batch.
pub(super) const HEADER_LEN: usize = CRC_AT + 4 + 4;

/// What a segment's name ends with.
pub(super) const ENDING: &str = "wal";
/// The next segment, allocated in advance.
const SPARE: &str = "spare";

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u64,
    /// The LSN that the segment was begun for.
    pub(super) first: Lsn,
}

/// What stands where a header should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FoundHeader {
    Header(Header),
    /// A header whose checksum is right, of a version that this one does not know.
    Newer(u32),
    Nothing,
}

impl Header {
    pub(super) fn encode(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..VERSION_AT].copy_from_slice(&MAGIC);
        bytes[VERSION_AT..VERSION_AT + 4].copy_from_slice(&VERSION.to_le_bytes());
        bytes[NUMBER_AT..FIRST_AT].copy_from_slice(&self.number.to_le_bytes());
        bytes[FIRST_AT..CRC_AT].copy_from_slice(&self.first.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Computes the checksum of a header anew.
    #[cfg(feature = "fuzz")]
    pub(super) fn make_checksum_fit(bytes: &mut [u8]) {
        if let Some(header) = bytes.first_chunk_mut::<HEADER_LEN>() {
            let crc = crc32c::crc32c(&header[..CRC_AT]);
            header[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        }
    }

    pub(super) fn parse(bytes: &[u8]) -> FoundHeader {
        let Some(bytes) = bytes.first_chunk::<HEADER_LEN>().filter(|b| b.starts_with(&MAGIC)) else {
            return FoundHeader::Nothing;
        };
        let crc = u32::from_le_bytes(array(bytes, CRC_AT));
        let version = u32::from_le_bytes(array(bytes, VERSION_AT));
        if crc32c::crc32c(&bytes[..CRC_AT]) != crc {
            return FoundHeader::Nothing;
        }
        if version != VERSION {
            return FoundHeader::Newer(version);
        }
        let number = u64::from_le_bytes(array(bytes, NUMBER_AT));
        FoundHeader::Header(Self { number, first: Lsn(u64::from_le_bytes(array(bytes, FIRST_AT))) })
    }
}

fn array<const N: usize>(bytes: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("constant places lie within the header")
}

/// The path of a segment.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.wal"))
}

/// The number of the segment, or of the kept torn tail, that a file name stands for.
fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal").or_else(|| name.strip_suffix(".torn")?.split('-').next())?;
    let is_number = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_number.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// The numbers of all segments, ascending. None where there is no directory.
pub(super) fn list(fs: &dyn Fs, dir: &Path) -> io::Result<Vec<u64>> {
    if !fs.exists(dir)? {
        return Ok(Vec::new());
    }
    let entries = fs.read_dir(dir)?;
    let segments = entries.iter().filter(|e| !e.is_dir && e.name.ends_with(".wal"));
    Ok(segments.filter_map(|e| number_of(&e.name)).collect())
}

/// Removes all segments, and torn tails kept of them, below `number`. Returns how many segments that were.
pub(super) fn remove_below(fs: &dyn Fs, dir: &Path, number: u64) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs.read_dir(dir)? {
        if number_of(&entry.name).is_some_and(|n| n < number) {
            fs.remove_file(&dir.join(&entry.name))?;
            removed += usize::from(entry.name.ends_with(".wal"));
        }
    }
    fs.sync_dir(dir)?;
    Ok(removed)
}

/// A segment that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    file: Arc<dyn File>,
    /// How long the file was made.
    capacity: u64,
    /// Where the next batch goes.
    end: u64,
    /// What is durable.
    synced_end: u64,
}

impl Segment {
    /// Begins a segment, in the spare where there is one. Its header is durable before it has its name, so that a segment without one
    /// is damaged.
    pub(super) fn begin(
        fs: &dyn Fs,
        dir: &Path,
        header: Header,
        capacity: u64,
        from_spare: bool,
    ) -> io::Result<Self> {
        let (spare, path) = (dir.join(SPARE), path(dir, header.number));
        let file = match from_spare {
            true => fs.open(&spare, OpenMode::ReadWrite)?,
            false => allocate_spare(fs, &spare, capacity)?,
        };
        file.write_all_at(&header.encode(), 0)?;
        file.sync_data()?;
        fs.rename(&spare, &path)?;
        fs.sync_dir(dir)?;
        // Opened again, so that errors name it as people find it.
        let file = fs.open(&path, OpenMode::ReadWrite)?;
        Ok(Self { file, capacity, end: HEADER_LEN as u64, synced_end: HEADER_LEN as u64 })
    }

    pub(super) fn has_room(&self, len: usize) -> bool {
        len as u64 <= self.capacity.saturating_sub(self.end)
    }

    pub(super) fn write(&mut self, batches: &[u8]) -> io::Result<()> {
        self.file.write_all_at(batches, self.end)?;
        self.end += batches.len() as u64;
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.synced_end = self.end;
        Ok(())
    }

    /// Cuts off what may be in memory only, of a segment that failed. It stays unsynced: should the bytes come back after
    /// a power cut, then the disk has them indeed.
    pub(super) fn cut_to_synced(self) -> io::Result<()> {
        self.file.set_len(self.synced_end)
    }

    /// Gives back what was allocated and not used.
    pub(super) fn trim(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.file.sync_data()
    }
}

/// Makes the spare anew, durable and as long as a segment.
pub(super) fn make_spare(fs: &dyn Fs, dir: &Path, capacity: u64) -> io::Result<()> {
    allocate_spare(fs, &dir.join(SPARE), capacity)?.sync_data()?;
    fs.sync_dir(dir)
}

fn allocate_spare(fs: &dyn Fs, path: &Path, capacity: u64) -> io::Result<Arc<dyn File>> {
    if fs.exists(path)? {
        fs.remove_file(path)?;
    }
    let file = fs.open(path, OpenMode::CreateNew)?;
    file.allocate(capacity)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden() {
        let header = Header { number: 3, first: Lsn(258) };
        let bytes = header.encode();
        assert_eq!(bytes[..CRC_AT], *b"CRDLWALS\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0");
        assert_eq!(bytes[CRC_AT..], *b"\x4e\x4d\x39\xd4\0\0\0\0", "{:x?}", &bytes[CRC_AT..]);
        assert_eq!(Header::parse(&bytes), FoundHeader::Header(header));
        assert_eq!(Header::parse(&bytes[..HEADER_LEN - 1]), FoundHeader::Nothing);
    }

    #[test]
    fn a_newer_header_is_told_from_a_damaged_one() {
        let mut bytes = Header { number: 3, first: Lsn(1) }.encode();
        bytes[VERSION_AT] = 2;
        assert_eq!(Header::parse(&bytes), FoundHeader::Nothing);
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::parse(&bytes), FoundHeader::Newer(2));
    }

    #[test]
    fn names() {
        let check = |name, want| assert_eq!(number_of(name), want, "{name}");
        check("000000000000001f.wal", Some(31));
        check("000000000000001f-00000028.torn", Some(31));
        check("1f.wal", None);
        check("spare", None);
        check("000000000000001g.wal", None);
        check("+00000000000001f.wal", None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, name: String) {
            Header::parse(&bytes);
            number_of(&name);
        }
    }
}

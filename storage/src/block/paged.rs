//! The frame of a block's files: a payload with one checksum per page, checked at first touch. `docs/format/block.md`,
//! "Pages", is the layout.

use super::error::{Corruption, OpenBlockError};
use crate::io::{Fs, Pace, PacedWriter, Region};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What one checksum covers.
pub(super) const PAGE_LEN: u64 = 65_536;
/// Magic, version, four zero bytes.
pub(super) const HEADER_LEN: u64 = 16;
const TRAILER_LEN: u64 = 40;
const CHECKSUM_LEN: u64 = 4;
const VERSION: u32 = 1;
const END_MAGIC: &[u8; 8] = b"CRDLPEND";

/// Writes a paged file front to back, in steps and at a pace that leave the log's syncs alone.
pub(super) struct PagedWriter {
    file: PacedWriter,
    checksums: Vec<u32>,
    /// Checksum of the page that is being filled.
    page: u32,
}

impl PagedWriter {
    pub(super) fn create(fs: &dyn Fs, path: &Path, magic: &[u8; 8], pace: &Arc<Pace>) -> io::Result<Self> {
        let file = PacedWriter::create(fs, path, pace)?;
        let mut w = Self { file, checksums: Vec::new(), page: 0 };
        w.put(magic)?;
        w.put(&VERSION.to_le_bytes())?;
        w.put(&[0; 4])?;
        Ok(w)
    }

    /// Where the next byte goes.
    pub(super) fn position(&self) -> u64 {
        self.file.position()
    }

    pub(super) fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = (PAGE_LEN - self.position() % PAGE_LEN) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.page = crc32c::crc32c_append(self.page, now);
            self.file.put(now)?;
            if now.len() == room {
                self.checksums.push(std::mem::take(&mut self.page));
            }
            bytes = later;
        }
        Ok(())
    }

    /// Ends the payload, syncs, and says how long the file is.
    pub(super) fn finish(mut self, directory: Range<u64>) -> io::Result<u64> {
        let payload_len = self.position();
        if !payload_len.is_multiple_of(PAGE_LEN) {
            self.checksums.push(self.page);
        }
        for c in &self.checksums {
            self.file.put(&c.to_le_bytes())?;
        }
        self.file.put(&Trailer { payload_len, directory }.encode())?;
        self.file.finish()
    }
}

/// The last bytes of a file.
#[derive(Debug, PartialEq, Eq)]
struct Trailer {
    payload_len: u64,
    directory: Range<u64>,
}

impl Trailer {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(TRAILER_LEN as usize);
        out.extend_from_slice(&self.payload_len.to_le_bytes());
        out.extend_from_slice(&self.directory.start.to_le_bytes());
        out.extend_from_slice(&(self.directory.end - self.directory.start).to_le_bytes());
        out.extend_from_slice(&(PAGE_LEN as u32).to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.extend_from_slice(END_MAGIC);
        out
    }

    /// Takes the trailer of a file of `file_len` bytes apart, or says what was expected and what found.
    fn decode(bytes: &[u8; TRAILER_LEN as usize], file_len: u64) -> Result<Self, (String, String)> {
        let u64_at = |at: usize| {
            let mut b = [0; 8];
            b.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(b)
        };
        let (sum, stored) = (crc32c::crc32c(&bytes[..28]), (u64_at(24) >> 32) as u32);
        if &bytes[32..] != END_MAGIC || sum != stored {
            let found =
                format!("checksum {stored:08x} and magic {:?}", bytes[32..].escape_ascii().to_string());
            return Err((format!("a trailer with checksum {sum:08x} and magic \"CRDLPEND\""), found));
        }
        let payload_len = u64_at(0);
        let directory = u64_at(8)..u64_at(8).saturating_add(u64_at(16));
        let pages = payload_len.div_ceil(PAGE_LEN);
        let whole = payload_len
            .checked_add(pages.saturating_mul(CHECKSUM_LEN))
            .and_then(|n| n.checked_add(TRAILER_LEN));
        let is_payload = payload_len >= HEADER_LEN && directory.end <= payload_len;
        if u64_at(24) as u32 != PAGE_LEN as u32 || whole != Some(file_len) || !is_payload {
            let found = format!("a payload of {payload_len} bytes with a directory at {directory:?}");
            return Err((format!("lengths that add up to {file_len} bytes"), found));
        }
        Ok(Self { payload_len, directory })
    }
}

/// A paged file, open for reading. Holds one bit per page.
pub(super) struct PagedFile {
    path: PathBuf,
    region: Region,
    payload_len: u64,
    directory: Range<u64>,
    /// One bit per page: its checksum was right.
    verified: Box<[AtomicU64]>,
    /// Whether damage was met.
    damaged: AtomicBool,
}

impl PagedFile {
    /// Opens a file that was published with `len` bytes.
    pub(super) fn open(fs: &dyn Fs, path: &Path, magic: &[u8; 8], len: u64) -> Result<Self, OpenBlockError> {
        let region = fs.map(path).map_err(|source| OpenBlockError::Io { file: path.to_owned(), source })?;
        let found = region.len() as u64;
        if found != len || found < HEADER_LEN + TRAILER_LEN {
            return Err(OpenBlockError::Length { file: path.to_owned(), expected: len, found });
        }
        let at = found - TRAILER_LEN;
        let trailer = region.last_chunk().expect("the length was checked above");
        let trailer = Trailer::decode(trailer, found).map_err(|(expected, found)| Corruption {
            file: path.to_owned(),
            offset: at,
            expected,
            found,
        })?;
        let words = trailer.payload_len.div_ceil(PAGE_LEN).div_ceil(64);
        let file = Self {
            path: path.to_owned(),
            region,
            payload_len: trailer.payload_len,
            directory: trailer.directory,
            verified: (0..words).map(|_| AtomicU64::new(0)).collect(),
            damaged: AtomicBool::new(false),
        };
        file.check_header(magic)?;
        Ok(file)
    }

    /// Checks magic and version. What else they say is believed where the first page is sound; where it is not, that page alone is
    /// damaged.
    fn check_header(&self, magic: &[u8; 8]) -> Result<(), OpenBlockError> {
        let Some(header) = self.region.first_chunk::<{ HEADER_LEN as usize }>() else {
            let found = format!("{} bytes", self.region.len());
            return Err(self.corruption(0, format!("a header of {HEADER_LEN} bytes"), found).into());
        };
        let found = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        if header.starts_with(magic) && found == VERSION {
            return Ok(());
        }
        if self.verify(0).is_err() {
            return Ok(());
        }
        if !header.starts_with(magic) {
            let (expected, found) =
                (magic.escape_ascii().to_string(), header[..8].escape_ascii().to_string());
            return Err(self.corruption(0, expected, found).into());
        }
        Err(OpenBlockError::Version { file: self.path.clone(), expected: VERSION, found })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn directory(&self) -> Range<u64> {
        self.directory.clone()
    }

    pub(super) fn payload_len(&self) -> u64 {
        self.payload_len
    }

    /// The length of the whole file.
    pub(super) fn len(&self) -> u64 {
        self.region.len() as u64
    }

    /// Bytes of the payload, their pages checked.
    pub(super) fn bytes(&self, offset: u64, len: u64) -> Result<&[u8], Corruption> {
        let end = offset.checked_add(len).filter(|&end| end <= self.payload_len).ok_or_else(|| {
            self.corruption(offset, format!("{len} bytes"), format!("the end at {}", self.payload_len))
        })?;
        if len > 0 {
            (offset / PAGE_LEN..=(end - 1) / PAGE_LEN).try_for_each(|page| self.verify(page))?;
        }
        Ok(&self.region[offset as usize..end as usize])
    }

    /// Checks one page unless it was found right before.
    pub(super) fn verify(&self, page: u64) -> Result<(), Corruption> {
        let word = &self.verified[(page / 64) as usize];
        let bit = 1 << (page % 64);
        if word.load(Ordering::Acquire) & bit != 0 {
            return Ok(());
        }
        let from = page * PAGE_LEN;
        let to = self.payload_len.min(from + PAGE_LEN);
        let sum = crc32c::crc32c(&self.region[from as usize..to as usize]);
        let at = (self.payload_len + page * CHECKSUM_LEN) as usize;
        let stored = self.region[at..].first_chunk().map_or(!sum, |b| u32::from_le_bytes(*b));
        if sum != stored {
            let expected = format!("a page of {} bytes with checksum {stored:08x}", to - from);
            return Err(self.corruption(from, expected, format!("checksum {sum:08x}")));
        }
        word.fetch_or(bit, Ordering::Release);
        Ok(())
    }

    /// The number of pages.
    pub(super) fn pages(&self) -> u64 {
        self.payload_len.div_ceil(PAGE_LEN)
    }

    /// Whether [`Self::corruption`] was ever asked for.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Damage at `offset`; remembered.
    pub(super) fn corruption(&self, offset: u64, expected: String, found: String) -> Corruption {
        self.damaged.store(true, Ordering::Relaxed);
        Corruption { file: self.path.clone(), offset, expected, found }
    }
}

/// Computes the checksums of a whole file anew, for damage that checksums do not show; false where lengths do not add up.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn make_checksums_fit(file: &mut [u8]) -> bool {
    let Some(at) = file.len().checked_sub(TRAILER_LEN as usize) else { return false };
    let crc = crc32c::crc32c(&file[at..at + 28]);
    file[at + 28..at + 32].copy_from_slice(&crc.to_le_bytes());
    let Some(Ok(trailer)) = file.last_chunk().map(|t| Trailer::decode(t, file.len() as u64)) else {
        return false;
    };
    let payload = trailer.payload_len as usize;
    let sums: Vec<u8> = file[..payload]
        .chunks(PAGE_LEN as usize)
        .flat_map(|page| crc32c::crc32c(page).to_le_bytes())
        .collect();
    file[payload..payload + sums.len()].copy_from_slice(&sums);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::unpaced;
    use crate::io::{OpenMode, SimFs};

    const MAGIC: &[u8; 8] = b"CRDLTEST";

    fn write(fs: &SimFs, payload: &[u8]) -> u64 {
        let mut w = PagedWriter::create(fs, Path::new("f"), MAGIC, &unpaced()).unwrap();
        for piece in payload.chunks(10_007) {
            w.put(piece).unwrap();
        }
        assert_eq!(w.position(), HEADER_LEN + payload.len() as u64);
        let end = w.position();
        w.finish(16..end).unwrap()
    }

    fn open(fs: &SimFs, len: u64) -> Result<PagedFile, OpenBlockError> {
        PagedFile::open(fs, Path::new("f"), MAGIC, len)
    }

    #[test]
    fn golden() {
        let fs = SimFs::new(1);
        assert_eq!(write(&fs, b"abc"), 16 + 3 + 4 + 40);
        let bytes = fs.open(Path::new("f"), OpenMode::Read).unwrap().read_all().unwrap();
        let mut want = b"CRDLTEST\x01\0\0\0\0\0\0\0abc".to_vec();
        want.extend(crc32c::crc32c(&want).to_le_bytes());
        let mut trailer = b"\x13\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\x01\0".to_vec();
        trailer.extend(crc32c::crc32c(&trailer).to_le_bytes());
        want.extend(trailer);
        want.extend(b"CRDLPEND");
        assert_eq!(bytes, want);
    }

    #[test]
    fn round_trip_over_page_boundaries() {
        for n in [0, 1, PAGE_LEN as usize - 16, PAGE_LEN as usize, 300_000] {
            let fs = SimFs::new(1);
            let payload: Vec<u8> = (0..n).map(|i| ((i * 31) >> 3) as u8).collect();
            let f = open(&fs, write(&fs, &payload)).unwrap();
            assert_eq!(f.bytes(16, n as u64).unwrap(), payload);
            assert_eq!(f.directory(), 16..16 + n as u64);
            let e = f.bytes(16, n as u64 + 1).unwrap_err();
            assert_eq!((e.offset, e.found), (16, format!("the end at {}", n + 16)));
        }
    }

    #[test]
    fn damage_condemns_its_page_alone() {
        let fs = SimFs::new(1);
        let payload = vec![7; 200_000];
        let len = write(&fs, &payload);
        fs.corrupt(Path::new("f"), 70_000, 0x10).unwrap();
        let f = open(&fs, len).unwrap();
        let e = f.bytes(65_530, 10).unwrap_err();
        assert_eq!((e.offset, e.file.to_str()), (65_536, Some("f")));
        assert!(e.expected.contains("checksum") && e.found.contains("checksum"), "{e}");
        assert_eq!(f.bytes(65_530, 6).unwrap(), [7; 6]);
        assert_eq!(f.bytes(131_072, 60_000).unwrap(), [7; 60_000]);
    }

    #[test]
    fn every_flipped_byte_outside_the_pages_is_met_at_open_or_at_its_page() {
        let fs = SimFs::new(1);
        let len = write(&fs, b"abc");
        for at in 0..len {
            fs.corrupt(Path::new("f"), at, 1).unwrap();
            let met = match open(&fs, len) {
                Err(e) => e.to_string().contains('f'),
                Ok(f) => f.bytes(16, 3).is_err(),
            };
            assert!(met, "byte {at}");
            fs.corrupt(Path::new("f"), at, 1).unwrap();
        }
        assert!(open(&fs, len).is_ok());
    }

    #[test]
    fn a_version_is_believed_where_the_first_page_is_sound() {
        let fs = SimFs::new(1);
        let len = write(&fs, b"abc");
        for bit in 0..96 {
            fs.corrupt(Path::new("f"), bit / 8, 1 << (bit % 8)).unwrap();
            let f = open(&fs, len).unwrap();
            assert!(f.is_damaged() && f.bytes(16, 3).is_err(), "bit {bit}");
            fs.corrupt(Path::new("f"), bit / 8, 1 << (bit % 8)).unwrap();
        }
        let file = fs.open(Path::new("f"), OpenMode::ReadWrite).unwrap();
        let mut bytes = file.read_all().unwrap();
        bytes[8] = 2;
        assert!(make_checksums_fit(&mut bytes));
        file.write_all_at(&bytes, 0).and_then(|()| file.sync_data()).unwrap();
        let e = open(&fs, len).err().unwrap();
        assert!(matches!(e, OpenBlockError::Version { found: 2, .. }), "{e}");
    }

    #[test]
    fn other_lengths_are_refused() {
        let fs = SimFs::new(1);
        let len = write(&fs, b"abc");
        let e = open(&fs, len + 1).err().unwrap().to_string();
        assert_eq!(
            e,
            format!("f has {len} bytes, {} expected: restore it from a backup or remove the block", len + 1)
        );
        let file = fs.open(Path::new("f"), OpenMode::ReadWrite).unwrap();
        for cut in (0..len).rev() {
            file.set_len(cut).unwrap();
            file.sync_data().unwrap();
            let e = open(&fs, cut).err().unwrap();
            assert!(matches!(e, OpenBlockError::Length { .. } | OpenBlockError::Corrupt(_)), "{cut}: {e}");
        }
    }
}

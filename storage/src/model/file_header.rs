//! The first bytes of `MANIFEST` and checkpoint: `docs/format/README.md`, "Headers".

/// Magic, version, checksum of both.
pub(crate) const FILE_HEADER_BYTES: usize = 16;
const CHECKED_BYTES: usize = 12;

/// What stands where a header should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundHeader {
    /// The header of this version.
    This,
    /// One whose checksum is right, of a version that this one does not know.
    Other(u32),
    /// Other bytes: what they say of a version may be a flipped bit.
    Damaged,
}

/// The header of a file of `version`.
pub(crate) fn file_header(magic: &[u8; 8], version: u32) -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..8].copy_from_slice(magic);
    header[8..CHECKED_BYTES].copy_from_slice(&version.to_le_bytes());
    let crc = crc32c::crc32c(&header[..CHECKED_BYTES]);
    header[CHECKED_BYTES..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Judges the first bytes of a file that should be of `version`.
pub(crate) fn check_file_header(file: &[u8], magic: &[u8; 8], version: u32) -> FoundHeader {
    let Some(header) = file.first_chunk::<FILE_HEADER_BYTES>() else { return FoundHeader::Damaged };
    let found = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    let is_ours = *header == file_header(magic, version) || *header == without_checksum(magic);
    match is_ours {
        true => FoundHeader::This,
        false if *header == file_header(magic, found) => FoundHeader::Other(found),
        false => FoundHeader::Damaged,
    }
}

/// As files of version 1 began before headers had a checksum. A flipped bit does not make one of a header that has it.
fn without_checksum(magic: &[u8; 8]) -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..8].copy_from_slice(magic);
    header[8] = 1;
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: &[u8; 8] = b"CRDLTEST";

    #[test]
    fn golden() {
        assert_eq!(file_header(MAGIC, 1)[..12], *b"CRDLTEST\x01\0\0\0");
        assert_eq!(file_header(MAGIC, 1)[12..], crc32c::crc32c(b"CRDLTEST\x01\0\0\0").to_le_bytes());
    }

    #[test]
    fn a_version_is_believed_where_its_checksum_is_right() {
        let check = |file: &[u8], want| assert_eq!(check_file_header(file, MAGIC, 1), want, "{file:?}");
        check(&file_header(MAGIC, 1), FoundHeader::This);
        check(b"CRDLTEST\x01\0\0\0\0\0\0\0", FoundHeader::This);
        check(&file_header(MAGIC, 2), FoundHeader::Other(2));
        check(&file_header(b"CRDLTESU", 2), FoundHeader::Damaged);
        check(b"CRDLTEST\x02\0\0\0\0\0\0\0", FoundHeader::Damaged);
        check(b"CRDLTEST\x01\0\0", FoundHeader::Damaged);
        check(b"", FoundHeader::Damaged);
    }

    #[test]
    fn every_flipped_bit_is_damage() {
        for bit in 0..8 * FILE_HEADER_BYTES {
            let mut header = file_header(MAGIC, 1);
            header[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check_file_header(&header, MAGIC, 1), FoundHeader::Damaged, "bit {bit}");
        }
    }
}

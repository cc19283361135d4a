//! What the tests of all encodings do.

use super::ChunkError;

/// Decodes a section of `values` behind a value that is there already, and compares to the bit.
pub(super) fn check_decoded(
    decode: impl Fn(&[u8], usize, &mut Vec<f64>) -> Result<(), ChunkError>,
    section: &[u8],
    values: &[f64],
) {
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let mut back = vec![7.0];
    decode(section, values.len(), &mut back).unwrap();
    assert_eq!(bits(&back[1..]), bits(values), "{values:?}");
    assert_eq!(back[0], 7.0);
}

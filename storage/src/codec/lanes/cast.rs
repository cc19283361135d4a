//! One memory for integers and the doubles that they become.

#![allow(unsafe_code)]

/// The places of doubles as places of integers, so that integers are decoded where their doubles will stand.
pub(in crate::codec) fn as_ints(values: &mut [f64]) -> &mut [i64] {
    const { assert!(size_of::<f64>() == size_of::<i64>() && align_of::<f64>() >= align_of::<i64>()) }
    // SAFETY: the slice is borrowed for as long as the result; an i64 is as large and no more aligned; any bits are valid for
    // both types.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) }
}

//! The reader of open tokens: gives every sample and ends with the registers of the writer.

use super::super::bits::{BitReader, XorWindow};
use super::super::decimal::from_int;
use super::super::error::{ChunkError, take_array, take_u8, take_varint};
use super::*;
use crate::model::varint::unzigzag;

/// Gives the `count` samples of `tokens`, which must end with them, to `sample`. Times ascend strictly.
pub(super) fn replay(
    first_t: i64,
    tokens: &[u8],
    count: usize,
    sample: impl FnMut(i64, f64),
) -> Result<OpenChunk, ChunkError> {
    let malformed = ChunkError::Malformed("an open chunk has an impossible length");
    let used = u16::try_from(tokens.len()).map_err(|_| malformed)?;
    let count = u16::try_from(count).map_err(|_| malformed)?;
    let mut reader = Replay { chunk: OpenChunk::empty(first_t), rest: tokens, count, sample };
    while reader.chunk.count < count {
        reader.take_sample()?;
        reader.take_near();
    }
    if !reader.rest.is_empty() {
        return Err(ChunkError::Malformed("bytes follow the open tokens"));
    }
    reader.chunk.used = used;
    Ok(reader.chunk)
}

struct Replay<'a, S> {
    chunk: OpenChunk,
    rest: &'a [u8],
    /// Samples in all.
    count: u16,
    sample: S,
}

impl<S: FnMut(i64, f64)> Replay<'_, S> {
    /// Reads one sample of the byte form, or a run of them, or all that is left in the bit form.
    #[inline]
    fn take_sample(&mut self) -> Result<(), ChunkError> {
        let mut t = match self.chunk.count {
            1 => self.take_distance()?,
            _ => self.chunk.expected_t(),
        };
        // Times of the first and the second sample are known: no token may give another.
        let mut timed = self.chunk.count < 2;
        let mut residual = 0;
        loop {
            let token = take_u8(&mut self.rest)?;
            match token {
                0..RUN => return self.take_decimal(t, residual, u64::from(token)),
                RUN..TWO_BYTES => return self.take_run(t, residual, token - RUN + 1),
                TWO_BYTES..THREE_BYTES => {
                    let [low] = take_array(&mut self.rest)?;
                    return self.take_decimal(t, residual, two_bytes(token, low));
                }
                THREE_BYTES..WIDE => {
                    let [mid, low] = take_array(&mut self.rest)?;
                    let z = u64::from(token & 0x07) << 16 | u64::from(mid) << 8 | u64::from(low);
                    return self.take_decimal(t, residual, Z_THREE + z);
                }
                WIDE => {
                    let z = take_varint(&mut self.rest)?;
                    return self.take_decimal(t, residual, z);
                }
                STALE => return self.take_other(t, residual, STALE_NAN_BITS),
                AS_IS => {
                    let bits = u64::from_le_bytes(take_array(&mut self.rest)?);
                    return self.take_other(t, residual, bits);
                }
                EXPONENT => self.take_exponent()?,
                RESIDUAL if !timed => {
                    residual = unzigzag(take_varint(&mut self.rest)?);
                    t = t.wrapping_add(residual);
                    timed = true;
                }
                STEP if !timed => {
                    t = self.take_distance()?;
                    timed = true;
                }
                BIT_FORM => return self.take_bit_form(t, residual),
                _ => return Err(ChunkError::Malformed("an open token is of no known form")),
            }
        }
    }

    /// Reads as many samples as come on time and with numbers of one or two bytes: most of them do.
    fn take_near(&mut self) {
        let chunk = &mut self.chunk;
        let Form::Bytes { exponent, run, misses } = &mut chunk.form else { return };
        let (step, left) = (i64::from(chunk.step), self.count - chunk.count);
        let overflows = chunk.last_t.checked_add(step * i64::from(left)).is_none();
        if step == 0 || overflows {
            return;
        }
        let (mut t, mut d, mut v, mut taken) = (chunk.last_t, chunk.int, 0.0, 0);
        while taken < left {
            let (z, rest) = match *self.rest {
                [z @ 0..RUN, ref rest @ ..] => (u64::from(z), rest),
                [high @ TWO_BYTES..THREE_BYTES, low, ref rest @ ..] => (two_bytes(high, low), rest),
                _ => break,
            };
            t += step;
            d = d.wrapping_add(unzigzag(z));
            v = from_int(d, *exponent);
            (self.sample)(t, v);
            (taken, self.rest) = (taken + 1, rest);
        }
        if taken > 0 {
            (*run, *misses) = (0, u16::from(*misses).saturating_sub(taken) as u8);
            (chunk.last_t, chunk.int, chunk.bits) = (t, d, v.to_bits());
            (chunk.count, chunk.residual) = (chunk.count + taken, 0);
        }
    }

    fn take_distance(&mut self) -> Result<i64, ChunkError> {
        let distance = take_varint(&mut self.rest)?;
        Ok(self.distance_from_last(distance))
    }

    /// The time that a distance token gives; the step becomes that distance.
    fn distance_from_last(&mut self, distance: u64) -> i64 {
        self.chunk.set_step(distance);
        self.chunk.last_t.wrapping_add(distance as i64)
    }

    /// Gives one sample.
    #[inline]
    fn give(&mut self, t: i64, residual: i64, bits: u64) -> Result<(), ChunkError> {
        if t <= self.chunk.last_t && self.chunk.count > 0 {
            return Err(ChunkError::Malformed("times do not ascend"));
        }
        self.chunk.set_residual(residual);
        self.chunk.advance(t, bits);
        (self.sample)(t, f64::from_bits(bits));
        Ok(())
    }

    #[inline]
    fn take_decimal(&mut self, t: i64, residual: i64, z: u64) -> Result<(), ChunkError> {
        let Form::Bytes { exponent, run, misses } = &mut self.chunk.form else { return Ok(()) };
        (*run, *misses) = (0, misses.saturating_sub(1));
        let exponent = *exponent;
        self.chunk.int = self.chunk.int.wrapping_add(unzigzag(z));
        self.give(t, residual, from_int(self.chunk.int, exponent).to_bits())
    }

    fn take_run(&mut self, t: i64, residual: i64, length: u8) -> Result<(), ChunkError> {
        if u16::from(length) > self.count - self.chunk.count {
            return Err(ChunkError::Malformed("a run is longer than its chunk"));
        }
        if let Form::Bytes { run, .. } = &mut self.chunk.form {
            *run = length;
        }
        self.give(t, residual, self.chunk.bits)?;
        for _ in 1..length {
            self.give(self.chunk.expected_t(), 0, self.chunk.bits)?;
        }
        Ok(())
    }

    /// A value that is no decimal.
    fn take_other(&mut self, t: i64, residual: i64, bits: u64) -> Result<(), ChunkError> {
        if let Form::Bytes { run, misses, .. } = &mut self.chunk.form {
            *run = 0;
            *misses = (*misses + is_miss(f64::from_bits(bits))).min(MISSES_MAX);
        }
        self.give(t, residual, bits)
    }

    fn take_exponent(&mut self) -> Result<(), ChunkError> {
        let higher = take_u8(&mut self.rest)?;
        match &mut self.chunk.form {
            Form::Bytes { exponent, .. } if *exponent < higher && higher <= EXPONENT_MAX => {
                self.chunk.int = scaled(self.chunk.int, higher - *exponent);
                *exponent = higher;
                Ok(())
            }
            _ => Err(ChunkError::Malformed("an open chunk has an impossible exponent")),
        }
    }

    /// Reads all samples that are left. The first has the time `t`.
    fn take_bit_form(&mut self, mut t: i64, mut residual: i64) -> Result<(), ChunkError> {
        let mut bits = BitReader::new(std::mem::take(&mut self.rest));
        let mut window = XorWindow::default();
        let mut timed = true;
        loop {
            let x = loop {
                match take_control(&mut bits) {
                    Control::Same => break 0,
                    Control::Window => break window.take_xor(&mut bits)?,
                    Control::NewWindow => {
                        window = XorWindow::take(&mut bits)?;
                        break window.take_xor(&mut bits)?;
                    }
                    Control::Residual if !timed => {
                        residual = unzigzag(take_bit_number(&mut bits));
                        t = t.wrapping_add(residual);
                    }
                    Control::Step if !timed => t = self.distance_from_last(take_bit_number(&mut bits)),
                    _ => return Err(ChunkError::Malformed("an open sample has two times")),
                }
                timed = true;
            };
            self.give(t, residual, self.chunk.bits ^ x)?;
            if self.chunk.count == self.count {
                let filled = (bits.finish()? % 8) as u8;
                self.chunk.form = Form::Bits { window, filled };
                return Ok(());
            }
            (t, residual, timed) = (self.chunk.expected_t(), 0, false);
        }
    }
}

/// The number of a token of two bytes.
#[inline]
fn two_bytes(high: u8, low: u8) -> u64 {
    Z_TWO + (u64::from(high & 0x0f) << 8 | u64::from(low))
}

/// What a sample in the bit form begins with.
enum Control {
    Same,
    Window,
    NewWindow,
    Residual,
    Step,
}

#[inline]
fn take_control(bits: &mut BitReader<'_>) -> Control {
    let ones = bits.peek().leading_ones().min(4);
    bits.skip((ones + 1).min(4));
    match ones {
        0 => Control::Same,
        1 => Control::Window,
        2 => Control::NewWindow,
        3 => Control::Residual,
        _ => Control::Step,
    }
}

/// Six bits of length, then so many bits.
fn take_bit_number(bits: &mut BitReader<'_>) -> u64 {
    let length = bits.take(6) as u32 + 1;
    bits.take(length)
}

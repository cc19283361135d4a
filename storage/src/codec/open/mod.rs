//! Encoding 1: the chunk that grows in the head, sample by sample, in place.
//!
//! [`OpenChunk`] is the machine of *open tokens* in `docs/format/chunk.md`: its registers are all that a writer needs
//! besides the bytes, and [`replay`] brings a reader to the same registers, so that a stored open chunk can be appended to.
//! The writer here and the reader in `replay.rs` share the methods that move registers.

mod replay;
#[cfg(test)]
mod tests;

use super::bits::{BitWriter, XorWindow};
use super::chunk::{self, ChunkTimes, Encoding, PutTimes, SAMPLES_MAX};
use super::decimal::{exponent_of, to_int};
use super::error::{ChunkError, take_zigzag};
use super::{ChunkKind, NothingShared, Samples, verify};
use crate::model::varint::{self, zigzag};
use crate::model::{STALE_NAN_BITS, TimestampMs};

/// The most bytes that one sample takes: a time of eleven, an exponent of two, a number of eleven.
pub const TOKEN_BYTES_MAX: usize = 24;

/// What became of a sample.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// It is in the chunk.
    Done,
    /// The chunk takes it not: its bytes do not fit the buffer (they do where [`TOKEN_BYTES_MAX`] are free), the chunk is as long
    /// as chunks get, or the time is not later than the last (begin a new chunk).
    Full,
}

/// A growing chunk without its bytes, which lie in a buffer that the caller keeps beside it. 48 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenChunk {
    first_t: i64,
    last_t: i64,
    /// The last value's bits.
    bits: u64,
    /// The last decimal, over `10^exponent`.
    int: i64,
    /// The expected distance to the next sample; 0 while unknown.
    step: u32,
    /// By how much the last sample missed its expected time; 0 where by nothing or by too much.
    residual: i32,
    used: u16,
    count: u16,
    form: Form,
}

const _: () = assert!(size_of::<OpenChunk>() <= 48);

/// The form of the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Bytes {
        exponent: u8,
        /// The length of the run that the last token is; 0 where it is none.
        run: u8,
        /// Rises with values that are no decimals, falls with those that are.
        misses: u8,
    },
    Bits {
        window: XorWindow,
        /// The bits used of the last byte; 0 where it is full.
        filled: u8,
    },
}

const RUN: u8 = 0xc0;
const RUN_MAX: u8 = 32;
const TWO_BYTES: u8 = 0xe0;
const THREE_BYTES: u8 = 0xf0;
const WIDE: u8 = 0xf8;
const STALE: u8 = 0xf9;
const AS_IS: u8 = 0xfa;
const EXPONENT: u8 = 0xfb;
const RESIDUAL: u8 = 0xfc;
const STEP: u8 = 0xfd;
const BIT_FORM: u8 = 0xfe;

/// What is wrong with an open chunk that has times outside its tokens.
pub(super) const TIMES_OF_ITS_OWN: ChunkError =
    ChunkError::Malformed("an open chunk has times beside its tokens");

/// The first number that takes two bytes, and three, and more.
const Z_TWO: u64 = RUN as u64;
const Z_THREE: u64 = Z_TWO + (1 << 12);
const Z_WIDE: u64 = Z_THREE + (1 << 19);

/// More places than this are left to the bit form.
const EXPONENT_MAX: u8 = 6;

/// What a value without a decimal adds to `misses`, and where the bit form begins.
const MISS: u8 = 2;
const MISSES_MAX: u8 = 4;

const BIT_NEW_WINDOW: (u64, u32) = (0b110, 3);
const BIT_RESIDUAL: u64 = 0b1110;
const BIT_STEP: u64 = 0b1111;

impl OpenChunk {
    /// Begins a chunk with one sample, and gives the bytes used of `out`, which must be [`TOKEN_BYTES_MAX`] long at least.
    pub fn start(t: TimestampMs, v: f64, out: &mut [u8]) -> (Self, usize) {
        let mut chunk = Self::empty(t.0);
        let room =
            out.first_chunk_mut().expect("an open chunk begins in a buffer of TOKEN_BYTES_MAX or more");
        chunk.put_in_byte_form(&mut Tokens { room, len: 0 }, t.0, v.to_bits());
        (chunk, chunk.used())
    }

    /// Adds a sample to the chunk whose bytes `out` begins with; the rest of `out` is free. May rewrite the last byte. Never
    /// allocates, never panics; where the answer is [`Append::Full`] nothing has changed.
    #[inline]
    pub fn append(&mut self, out: &mut [u8], t: TimestampMs, v: f64) -> Append {
        let (t, bits) = (t.0, v.to_bits());
        if t <= self.last_t || usize::from(self.count) == SAMPLES_MAX {
            return Append::Full;
        }
        if t == self.expected_t()
            && let Some(done) = self.append_near(out, t, bits)
        {
            return done;
        }
        self.append_tokens(out, t, bits)
    }

    /// The bytes that the chunk takes in its buffer.
    pub fn used(&self) -> usize {
        usize::from(self.used)
    }

    /// The number of samples, at least 1.
    pub fn count(&self) -> u32 {
        u32::from(self.count)
    }

    /// The first sample's time.
    pub fn first_t(&self) -> TimestampMs {
        TimestampMs(self.first_t)
    }

    /// The last sample's time.
    pub fn last_t(&self) -> TimestampMs {
        TimestampMs(self.last_t)
    }

    /// The last sample's value.
    pub fn last_v(&self) -> f64 {
        f64::from_bits(self.bits)
    }

    /// Appends the samples to `out`. `bytes` is the chunk's buffer, or its first [`OpenChunk::used`] bytes. On error `out` is
    /// as before.
    pub fn decode(&self, bytes: &[u8], out: &mut Samples) -> Result<(), ChunkError> {
        let tokens = bytes.get(..self.used());
        let tokens =
            tokens.ok_or(ChunkError::CutOff { expected: self.used.into(), found: bytes.len() as u64 })?;
        decode_tokens(self.first_t, tokens, usize::from(self.count), out)
    }

    /// Appends the chunk as it is, with header and checksum: what [`super::decode`] reads and [`OpenChunk::from_chunk`] opens.
    ///
    /// # Panics
    /// When `bytes` is shorter than [`OpenChunk::used`].
    pub fn to_chunk(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut values = Vec::with_capacity(varint::VARINT_LEN_MAX + self.used());
        varint::put(&mut values, zigzag(self.first_t));
        values.extend_from_slice(&bytes[..self.used()]);
        chunk::put(Encoding::Open, usize::from(self.count), PutTimes::Inline(&[]), &values, out);
    }

    /// Opens a chunk that [`OpenChunk::to_chunk`] wrote, after checking it whole. Gives the bytes to put at the front of the
    /// buffer; appending then goes on as if nothing had been.
    pub fn from_chunk(chunk: &[u8]) -> Result<(Self, &[u8]), ChunkError> {
        verify(chunk)?;
        let (header, _, mut values) = chunk::parts(chunk)?;
        if header.kind != ChunkKind::Float || header.encoding != Encoding::Open {
            return Err(chunk::unknown(&header));
        }
        if header.times != ChunkTimes::Inline(0) {
            return Err(TIMES_OF_ITS_OWN);
        }
        let first_t = take_zigzag(&mut values)?;
        let state = replay::replay(first_t, values, header.samples(&NothingShared)? as usize, |_, _| {})?;
        Ok((state, values))
    }

    /// The machine before its first sample.
    fn empty(first_t: i64) -> Self {
        let form = Form::Bytes { exponent: 0, run: 0, misses: 0 };
        Self { first_t, last_t: first_t, bits: 0, int: 0, step: 0, residual: 0, used: 0, count: 0, form }
    }

    /// The time of a sample without a time token.
    fn expected_t(&self) -> i64 {
        self.last_t.wrapping_add(i64::from(self.step))
    }

    /// Moves the registers past a sample.
    #[inline]
    fn advance(&mut self, t: i64, bits: u64) {
        self.last_t = t;
        self.bits = bits;
        self.count += 1;
    }

    /// Moves the registers past a distance token.
    fn set_step(&mut self, distance: u64) {
        self.step = u32::try_from(distance).unwrap_or(0);
        self.residual = 0;
    }

    /// Moves the registers past a residual token, or past its absence (0).
    #[inline]
    fn set_residual(&mut self, residual: i64) {
        self.residual = i32::try_from(residual).unwrap_or(0);
    }

    /// Adds the commonest samples of all: on time, and the same value again or a number not far from the last. `None` for
    /// others, and nothing has changed.
    #[inline]
    fn append_near(&mut self, out: &mut [u8], t: i64, bits: u64) -> Option<Append> {
        let Form::Bytes { exponent, run, misses } = &mut self.form else { return None };
        let at = usize::from(self.used);
        if bits == self.bits {
            if !(1..RUN_MAX).contains(run) {
                return None;
            }
            *out.get_mut(at - 1)? = RUN + *run;
            *run += 1;
        } else {
            let d = to_int(f64::from_bits(bits), *exponent)?;
            let len = put_near(zigzag(d.wrapping_sub(self.int)), out.get_mut(at..)?)?;
            self.used = u16::try_from(at + len).ok()?;
            (*run, *misses) = (0, misses.saturating_sub(1));
            self.int = d;
        }
        self.residual = 0;
        self.advance(t, bits);
        Some(Append::Done)
    }

    /// Adds any sample.
    fn append_tokens(&mut self, out: &mut [u8], t: i64, bits: u64) -> Append {
        let partial = matches!(self.form, Form::Bits { filled: 1.., .. });
        let start = self.used() - usize::from(partial);
        let Some(free) = out.get_mut(start..) else { return Append::Full };
        if start + TOKEN_BYTES_MAX > usize::from(u16::MAX) {
            return Append::Full;
        }
        if let Some(room) = free.first_chunk_mut() {
            self.put_sample(room, start, t, bits);
            return Append::Done;
        }
        // Beside the buffer and on a copy of the registers, so that nothing has changed if it does not fit.
        let mut room = [0; TOKEN_BYTES_MAX];
        room[0] = free.first().copied().unwrap_or(0);
        let mut next = *self;
        next.put_sample(&mut room, start, t, bits);
        let len = next.used() - start;
        let Some(free) = free.get_mut(..len) else { return Append::Full };
        free.copy_from_slice(&room[..len]);
        *self = next;
        Append::Done
    }

    /// Writes a sample's tokens into `room`, which begins at byte `start` of the chunk and with the byte there.
    fn put_sample(&mut self, room: &mut [u8; TOKEN_BYTES_MAX], start: usize, t: i64, bits: u64) {
        match self.form {
            Form::Bytes { .. } => self.put_in_byte_form(&mut Tokens { room, len: 0 }, t, bits),
            Form::Bits { window, filled } => {
                let mut w = BitWriter::new(room, usize::from(filled));
                self.put_bit_time(&mut w, t);
                self.put_bit_value(w, start, window, bits);
                self.advance(t, bits);
            }
        }
    }

    fn put_in_byte_form(&mut self, tokens: &mut Tokens<'_>, t: i64, bits: u64) {
        if self.count > 0 {
            self.put_time(tokens, t);
        }
        self.put_value(tokens, bits);
        self.advance(t, bits);
    }

    /// What `t`, later than the last time, needs besides the expectation.
    #[inline]
    fn time_token(&mut self, t: i64) -> TimeToken {
        let residual = t.wrapping_sub(self.expected_t());
        if residual == 0 {
            self.residual = 0;
            TimeToken::None
        } else if self.count == 1 || residual == i64::from(self.residual) {
            let distance = t.wrapping_sub(self.last_t) as u64;
            self.set_step(distance);
            TimeToken::Step(distance)
        } else {
            self.set_residual(residual);
            TimeToken::Residual(residual)
        }
    }

    fn put_time(&mut self, tokens: &mut Tokens<'_>, t: i64) {
        let second = self.count == 1;
        match self.time_token(t) {
            TimeToken::None => {}
            TimeToken::Residual(r) => {
                tokens.put(RESIDUAL);
                tokens.put_varint(zigzag(r));
            }
            TimeToken::Step(distance) => {
                if !second {
                    tokens.put(STEP);
                }
                tokens.put_varint(distance);
            }
        }
    }

    fn put_value(&mut self, tokens: &mut Tokens<'_>, bits: u64) {
        let Form::Bytes { exponent, misses, .. } = self.form else { return };
        let v = f64::from_bits(bits);
        let (mut exponent, mut misses, mut run) = (exponent, misses, 0);
        if bits == self.bits {
            tokens.put(RUN);
            run = 1;
        } else if bits == STALE_NAN_BITS {
            tokens.put(STALE);
        } else if let Some((e, d)) = exponent_of(v, exponent, EXPONENT_MAX) {
            if e > exponent {
                tokens.put(EXPONENT);
                tokens.put(e);
                self.int = scaled(self.int, e - exponent);
                exponent = e;
            }
            tokens.put_number(zigzag(d.wrapping_sub(self.int)));
            self.int = d;
            misses = misses.saturating_sub(1);
        } else {
            misses += is_miss(v);
            if misses >= MISSES_MAX || (misses > 0 && self.count == 0) {
                return self.change_to_bit_form(tokens, bits);
            }
            tokens.put(AS_IS);
            tokens.put_bytes(bits.to_le_bytes());
        }
        self.used += tokens.len as u16;
        self.form = Form::Bytes { exponent, run, misses };
    }

    #[cold]
    fn change_to_bit_form(&mut self, tokens: &mut Tokens<'_>, bits: u64) {
        tokens.put(BIT_FORM);
        let start = self.used() + tokens.len;
        let w = BitWriter::new(&mut tokens.room[tokens.len..], 0);
        self.put_bit_value(w, start, XorWindow::default(), bits);
    }

    fn put_bit_time(&mut self, w: &mut BitWriter<'_>, t: i64) {
        let (control, v) = match self.time_token(t) {
            TimeToken::None => return,
            TimeToken::Residual(r) => (BIT_RESIDUAL, zigzag(r)),
            TimeToken::Step(distance) => (BIT_STEP, distance),
        };
        let length = 64 - v.leading_zeros();
        w.put(control << 6 | u64::from(length - 1), 10);
        w.put(v, length);
    }

    /// Ends a sample in the bit form; the writer's bytes begin at `start` of the chunk.
    fn put_bit_value(&mut self, mut w: BitWriter<'_>, start: usize, mut window: XorWindow, bits: u64) {
        match bits ^ self.bits {
            0 => w.put(0, 1),
            x => window.put(x, BIT_NEW_WINDOW, &mut w),
        }
        self.used = (start + w.position().div_ceil(8)) as u16;
        self.form = Form::Bits { window, filled: (w.position() % 8) as u8 };
    }
}

/// What stands before a value.
enum TimeToken {
    None,
    Residual(i64),
    Step(u64),
}

/// What a value without a decimal adds to `misses`: NaN, infinities and negative zero say nothing about the digits.
fn is_miss(v: f64) -> u8 {
    if v.is_finite() && v != 0.0 { MISS } else { 0 }
}

/// `int` under an exponent that is greater by `by`.
fn scaled(int: i64, by: u8) -> i64 {
    int.wrapping_mul(10i64.pow(u32::from(by)))
}

/// Puts a number of one or two bytes at the front of `free`, and gives how many. `None` where it has more, or no room.
#[inline]
fn put_near(z: u64, free: &mut [u8]) -> Option<usize> {
    if z < Z_TWO {
        *free.first_mut()? = z as u8;
        return Some(1);
    }
    let z = z - Z_TWO;
    if z >= Z_THREE - Z_TWO {
        return None;
    }
    *free.first_chunk_mut()? = [TWO_BYTES | (z >> 8) as u8, z as u8];
    Some(2)
}

/// The tokens of one sample, being written into the room that one sample may take.
struct Tokens<'a> {
    room: &'a mut [u8; TOKEN_BYTES_MAX],
    len: usize,
}

impl Tokens<'_> {
    #[inline]
    fn put(&mut self, byte: u8) {
        self.room[self.len] = byte;
        self.len += 1;
    }

    fn put_bytes<const N: usize>(&mut self, bytes: [u8; N]) {
        self.room[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += N;
    }

    fn put_varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.put(v as u8 | 0x80);
            v >>= 7;
        }
        self.put(v as u8);
    }

    #[inline]
    fn put_number(&mut self, z: u64) {
        match z {
            0..Z_TWO => self.put(z as u8),
            Z_TWO..Z_THREE => {
                let z = z - Z_TWO;
                self.put_bytes([TWO_BYTES | (z >> 8) as u8, z as u8]);
            }
            Z_THREE..Z_WIDE => {
                let z = z - Z_THREE;
                self.put_bytes([THREE_BYTES | (z >> 16) as u8, (z >> 8) as u8, z as u8]);
            }
            _ => {
                self.put(WIDE);
                self.put_varint(z);
            }
        }
    }
}

/// Appends the samples of an open chunk's values section.
pub(super) fn decode_values(mut values: &[u8], count: usize, out: &mut Samples) -> Result<(), ChunkError> {
    let first_t = take_zigzag(&mut values)?;
    decode_tokens(first_t, values, count, out)
}

fn decode_tokens(first_t: i64, tokens: &[u8], count: usize, out: &mut Samples) -> Result<(), ChunkError> {
    let before = out.mark();
    out.t.reserve(count);
    out.v.reserve(count);
    let result = replay::replay(first_t, tokens, count, |t, v| out.push(t, v));
    if result.is_err() {
        out.truncate(before);
    }
    result.map(|_| ())
}

//! The first half of a write: from a compressed body to series whose samples may be stored.

use crate::admission::Permit;
use crate::refusal::{Refusal, Refusals};
use crate::walk::{Routing, Walk, WalkLimits, Walked};
use crate::{LabelLimits, series_text};
use cardinal_storage::database::RefusalClass;
use cardinal_storage::model::{DurationMs, TimestampMs};

/// Snappy's longest copy makes 64 bytes of 3, so that no body grows by more than this factor.
const EXPANSION_MAX: usize = 22;

/// The limits of write requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// Bytes of one request, decompressed: 32 MiB. Prometheus sends some 200 KiB.
    pub request_bytes_max: usize,
    /// Samples of one request: 100,000. Prometheus sends 2,000.
    pub request_samples_max: u32,
    /// Metadata items of one request that are kept: 20,000. Prometheus sends 2,000.
    pub request_metadata_max: u32,
    /// Bytes of requests in memory at once: 256 MiB, some thousand ordinary ones.
    pub in_flight_bytes_max: u64,
    /// How far ahead of this machine's clock a sample may be: 10 minutes. A sender whose clock is wrong would otherwise
    /// close windows early.
    pub future_max: DurationMs,
    /// How far behind it may be: 365 days, the longest retention unless one is set.
    pub late_max: DurationMs,
    /// How large labels may be.
    pub labels: LabelLimits,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            request_bytes_max: 32 << 20,
            request_samples_max: 100_000,
            request_metadata_max: 20_000,
            in_flight_bytes_max: 256 << 20,
            future_max: DurationMs::mins(10),
            late_max: DurationMs::hours(365 * 24),
            labels: LabelLimits::default(),
        }
    }
}

/// Buffers of one request, used again for the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Decompressed bytes; only ever grows, so that no request pays for zeros twice.
    bytes: Vec<u8>,
    walk: Walk,
}

/// A request that was read.
#[derive(Debug)]
pub(crate) struct Intake<'a> {
    /// Its series, without the samples that were refused.
    pub(crate) walked: Walked<'a>,
    pub(crate) bounds: TimeBounds,
    pub(crate) refusals: Refusals,
    /// Bytes after decompression.
    pub(crate) bytes: usize,
    /// Samples and histograms, before any was refused.
    pub(crate) received: u64,
}

impl Scratch {
    /// Decompresses and walks a body, and refuses what may not be stored whatever its series. The permit grows by the
    /// decompressed size before memory is taken for it.
    pub(crate) fn take_in<'a>(
        &'a mut self,
        body: &[u8],
        permit: &mut Permit,
        routing: &Routing,
        options: &WriteOptions,
        now: TimestampMs,
    ) -> Result<Intake<'a>, Refusal> {
        let bytes = decompress(body, permit, options.request_bytes_max, &mut self.bytes)?;
        let limits = WalkLimits {
            samples_max: options.request_samples_max,
            metadata_max: options.request_metadata_max,
        };
        let walked = self.walk.read(bytes, routing, limits)?;
        let received = (walked.samples().len() + walked.histograms().len()) as u64;
        let bounds = TimeBounds::new(options, now);
        let mut intake =
            Intake { walked, bounds, refusals: Refusals::default(), bytes: bytes.len(), received };
        intake.refuse_times();
        Ok(intake)
    }

    /// Heap bytes that are kept for the next request.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.walk.memory_bytes()
    }
}

impl Intake<'_> {
    /// Refuses floats that lie too far ahead or behind; histograms are looked at when they are decoded.
    fn refuse_times(&mut self) {
        let Self { walked, bounds, refusals, .. } = self;
        if walked.samples().iter().all(|s| bounds.oldest <= s.t && s.t <= bounds.newest) {
            return;
        }
        walked.retain_samples(|section, sample| bounds.allow(section, sample.t, refusals));
    }
}

/// When samples may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeBounds {
    now: TimestampMs,
    oldest: TimestampMs,
    newest: TimestampMs,
    future_max: DurationMs,
    late_max: DurationMs,
}

impl TimeBounds {
    fn new(options: &WriteOptions, now: TimestampMs) -> Self {
        let WriteOptions { future_max, late_max, .. } = *options;
        Self { now, oldest: now - late_max, newest: now + future_max, future_max, late_max }
    }

    /// Whether a sample of a series may be stored; if not, that is noted.
    pub(crate) fn allow(&self, section: &[u8], t: TimestampMs, refusals: &mut Refusals) -> bool {
        if t > self.newest {
            refusals.note(RefusalClass::TooFarAhead, 1, || {
                let (series, ahead, max) = (series_text(section), t.since(self.now), self.future_max);
                format!("{series}: the sample at {t} is {ahead} ahead of the clock, more than {max}")
            });
        } else if t < self.oldest {
            refusals.note(RefusalClass::TooOld, 1, || {
                format!("{}: the sample at {t} is older than {}", series_text(section), self.late_max)
            });
        }
        self.oldest <= t && t <= self.newest
    }
}

/// Decompresses `body` into the front of `buffer`, after checking what it claims to be against limits and reason.
fn decompress<'a>(
    body: &[u8],
    permit: &mut Permit,
    bytes_max: usize,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], Refusal> {
    let len = snap::raw::decompress_len(body)?;
    if len > bytes_max {
        return Err(Refusal::TooLarge { len, max: bytes_max });
    }
    if len / EXPANSION_MAX > body.len() {
        return Err(Refusal::Expansion { compressed: body.len(), claimed: len });
    }
    permit.grow(len as u64)?;
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    let len = snap::raw::Decoder::new().decompress(body, buffer)?;
    Ok(&buffer[..len])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Admission;
    use cardinal_proto::remote_write::{Label, Sample, TimeSeries, WriteRequest};
    use cardinal_storage::model::{HashSeed, ShardCount};
    use proptest::prelude::*;
    use prost::Message;

    const NOW: TimestampMs = TimestampMs(1_000_000_000);
    const OPTIONS: WriteOptions = WriteOptions {
        request_bytes_max: 1 << 16,
        request_samples_max: 10,
        request_metadata_max: 10,
        in_flight_bytes_max: 1 << 17,
        future_max: DurationMs::mins(10),
        late_max: DurationMs::hours(1),
        labels: LabelLimits { names_max: 64, name_bytes_max: 1 << 10, value_bytes_max: 8 << 10 },
    };

    fn series(name: &str, times: &[i64]) -> TimeSeries {
        let sample = |t: &i64| Sample { value: 1.0, timestamp: NOW.0 + t };
        TimeSeries {
            labels: vec![Label { name: "__name__".into(), value: name.into() }],
            samples: times.iter().map(sample).collect(),
            ..Default::default()
        }
    }

    fn compress(bytes: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(bytes).unwrap()
    }

    fn body(timeseries: Vec<TimeSeries>) -> Vec<u8> {
        compress(&WriteRequest { timeseries, metadata: vec![] }.encode_to_vec())
    }

    /// The times that are left, relative to now, and what is refused.
    fn take_in(body: &[u8]) -> Result<(Vec<i64>, Option<Refusal>), Refusal> {
        let gate = Admission::new(OPTIONS.in_flight_bytes_max);
        let mut permit = gate.admit(body.len() as u64).unwrap();
        let routing = Routing::new(HashSeed(1), ShardCount::new(4).unwrap(), "account");
        let mut scratch = Scratch::default();
        let intake = scratch.take_in(body, &mut permit, &routing, &OPTIONS, NOW)?;
        let times = intake.walked.samples().iter().map(|s| s.t.0 - NOW.0).collect();
        let written = intake.walked.samples().len() as u64;
        assert_eq!(gate.bytes(), (body.len() + intake.bytes) as u64);
        Ok((times, intake.refusals.into_refusal(written)))
    }

    #[test]
    fn times_are_bounded_on_both_sides() {
        let (ahead, late) = (600_000, -3_600_000);
        let (times, refusal) = take_in(&body(vec![series("up", &[late, 0, ahead])])).unwrap();
        assert_eq!(times, [late, 0, ahead]);
        assert!(refusal.is_none());

        let request = body(vec![series("up", &[late - 1, 0]), series("down", &[ahead + 1])]);
        let (times, refusal) = take_in(&request).unwrap();
        assert_eq!(times, [0]);
        assert_eq!(
            refusal.unwrap().to_string(),
            "samples written: 1, refused: 2 (1 too far ahead, 1 too old): \
             up{}: the sample at 996399999 ms is older than 1h; \
             down{}: the sample at 1000600001 ms is 10m1ms ahead of the clock, more than 10m"
        );
        let far = series("up", &[i64::MAX - NOW.0]);
        assert_eq!(take_in(&body(vec![far])).unwrap().0, [0; 0]);
    }

    #[test]
    fn an_empty_request_is_fine() {
        let (times, refusal) = take_in(&body(vec![])).unwrap();
        assert!(times.is_empty() && refusal.is_none());
    }

    #[test]
    fn bad_bodies_are_refused_for_good() {
        let check = |body: &[u8], want: &str| {
            let refusal = take_in(body).unwrap_err();
            assert_eq!((refusal.status(), refusal.retry_after()), (400, None));
            assert!(refusal.to_string().contains(want), "{refusal}");
        };
        let good = body(vec![series("up", &[0])]);
        check(b"", "no snappy block");
        check(&[&[good[0] ^ 1], &good[1..]].concat(), "no snappy block");
        check(&[&[0xff; 9], &good[1..]].concat(), "no snappy block");
        check(&good[..good.len() - 1], "no snappy block");
        check(&[&good[..], b"\x00x"].concat(), "no snappy block");
        check(b"\xff\xff\xff\xff\x0f", "uncompressed, more than 65536");
        check(b"\x80\x80\x04", "3 bytes cannot hold the 65536");
        check(&compress(&vec![0; 65537]), "65537 bytes uncompressed, more than 65536");
        check(&compress(b"\x0a\x05\x0a"), "malformed protobuf at byte 1");
        check(&body(vec![series("up", &[0; 11])]), "more than 10 samples");
    }

    #[test]
    fn what_finds_no_room_comes_again() {
        let gate = Admission::new(1000);
        let _other = gate.admit(900).unwrap();
        let mut buffer = vec![];
        let mut permit = gate.admit(50).unwrap();
        let refusal = decompress(&compress(&[0; 60]), &mut permit, 100, &mut buffer).unwrap_err();
        assert_eq!((refusal.status(), refusal.retry_after().is_some()), (503, true));
        assert!(buffer.is_empty(), "no memory is taken without a permit");
    }

    #[test]
    fn no_block_expands_beyond_the_factor() {
        for len in [1 << 10, 1 << 16, 1 << 22] {
            assert!(len / EXPANSION_MAX <= compress(&vec![0; len]).len());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bodies_do_not_panic(bytes: Vec<u8>) {
            let _ = take_in(&bytes);
            let _ = take_in(&compress(&bytes));
        }
    }
}

//! What one sender sent, and what of it was acknowledged.

use cardinal_proto::remote_write::{Label, Sample, TimeSeries, WriteRequest};
use cardinal_tests::draws::Draws;
use prost::Message as _;
use std::collections::BTreeMap;

/// Series of a sender.
const SERIES: u64 = 10;
/// Milliseconds between the samples of a series: 480 of them are a window, so that a round or two end one.
const STEP_MS: i64 = 15_000;

/// A sample: series and time.
type Place = (u64, i64);

/// A request, ready to be sent.
pub(crate) struct Request {
    pub(crate) body: Vec<u8>,
    pub(crate) samples: Vec<(Place, f64)>,
}

pub(crate) struct Ledger {
    sender: u64,
    draws: Draws,
    first: i64,
    /// The time of the next samples.
    next: i64,
    /// Acknowledged values, and those of which it is not known.
    acknowledged: BTreeMap<Place, f64>,
    doubtful: BTreeMap<Place, f64>,
    late: u64,
}

impl Ledger {
    pub(crate) fn new(sender: u64, seed: u64) -> Self {
        // Six days ago: days end too, and nothing is past retention.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let first = now.map_or(0, |d| d.as_millis() as i64) / 1000 * 1000 - 6 * 24 * 3_600_000;
        Self {
            sender,
            draws: Draws::new(seed * 1000 + sender),
            first,
            next: first,
            acknowledged: BTreeMap::new(),
            doubtful: BTreeMap::new(),
            late: 0,
        }
    }

    /// One new sample of each series, or late ones of one series.
    pub(crate) fn next(&mut self) -> Request {
        let is_late = self.draws.one_in(8) && self.next > self.first + 200 * STEP_MS;
        let mut samples = Vec::new();
        if is_late {
            let series = self.draws.below(SERIES);
            let back = (self.next - self.first) / STEP_MS;
            for _ in 0..5 {
                // Between the others, so that none meets another value of its time; a place is drawn once.
                let t = self.first
                    + self.draws.below(back as u64) as i64 * STEP_MS
                    + 1
                    + self.draws.below(900) as i64;
                let is_new =
                    |place| !self.acknowledged.contains_key(place) && !self.doubtful.contains_key(place);
                if is_new(&(series, t)) && samples.iter().all(|(p, _)| *p != (series, t)) {
                    samples.push(((series, t), self.draws.below(1 << 40) as f64 / 1024.0));
                }
            }
            samples.sort_by_key(|(place, _)| *place);
        } else {
            for series in 0..SERIES {
                samples.push(((series, self.next), self.draws.below(100_000) as f64 / 8.0));
            }
            self.next += STEP_MS;
        }
        Request { body: self.body(&samples), samples }
    }

    fn body(&self, samples: &[(Place, f64)]) -> Vec<u8> {
        let label = |name: &str, value: String| Label { name: name.into(), value };
        let mut series: BTreeMap<u64, TimeSeries> = BTreeMap::new();
        for ((n, t), value) in samples {
            let of_series = series.entry(*n).or_insert_with(|| TimeSeries {
                labels: vec![
                    label("__name__", "killed".into()),
                    label("account", (n % 3).to_string()),
                    label("n", n.to_string()),
                    label("sender", self.sender.to_string()),
                ],
                ..TimeSeries::default()
            });
            of_series.samples.push(Sample { value: *value, timestamp: *t });
        }
        WriteRequest { timeseries: series.into_values().collect(), ..WriteRequest::default() }.encode_to_vec()
    }

    pub(crate) fn acknowledge(&mut self, samples: &[(Place, f64)]) {
        self.late += samples.iter().filter(|((_, t), _)| (t - self.first) % STEP_MS != 0).count() as u64;
        self.acknowledged.extend(samples.iter().copied());
    }

    pub(crate) fn doubt(&mut self, samples: &[(Place, f64)]) {
        self.doubtful.extend(samples.iter().copied());
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    pub(crate) fn doubtful(&self) -> u64 {
        self.doubtful.len() as u64
    }

    pub(crate) fn late(&self) -> u64 {
        self.late
    }

    pub(crate) fn selector(&self) -> String {
        format!("killed{{sender=\"{}\"}}", self.sender)
    }

    /// The end and the length, in seconds, of what was sent.
    pub(crate) fn range(&self) -> Option<(f64, i64)> {
        (self.next > self.first).then(|| (self.next as f64 / 1000.0, (self.next - self.first) / 1000 + 10))
    }

    /// How many acknowledged samples are not in `found`. A sample that was never sent, or has another value, is an error.
    pub(crate) fn check(&self, found: &BTreeMap<Place, f64>) -> Result<u64, String> {
        for (place, value) in found {
            let sent = self.acknowledged.get(place).or_else(|| self.doubtful.get(place));
            if sent.map(|v| v.to_bits()) != Some(value.to_bits()) {
                return Err(format!("sender {}: {place:?} is {value}, sent was {sent:?}", self.sender));
            }
        }
        let missing: Vec<_> = self.acknowledged.keys().filter(|place| !found.contains_key(place)).collect();
        if let Some(first) = missing.first() {
            eprintln!(
                "sender {}: {} samples are missing, {first:?} the first of them",
                self.sender,
                missing.len()
            );
        }
        Ok(missing.len() as u64)
    }
}

//! What a voice platform sends: seeded series by account and their samples.
//!
//! Accounts are alike: each has the series of [`FAMILIES`], some 220, with 8 to 12 labels and some 200 bytes of them. A
//! series' value at a tick follows from its seed alone, so that any request can be made in any order. Values have the shape
//! of the real ones (counters that only grow, half of the gauges at rest, ratios of small integers, floats with few
//! decimals); no counter is reset and no call ends.

use cardinal_proto::remote_write::{Label, Sample, TimeSeries, WriteRequest};
use cardinal_storage::model::TimestampMs;
use prost::Message;
use std::ops::Range;

/// The time of tick 0: a whole window boundary, far enough from 0 for times of ordinary length.
pub const START: TimestampMs = TimestampMs(1_760_400_000_000);
/// Milliseconds from tick to tick.
pub const INTERVAL_MS: i64 = 15_000;

/// The series of a number of accounts.
#[derive(Clone, Debug)]
pub struct Fleet {
    series: Vec<Series>,
}

/// One series.
#[derive(Clone, Debug)]
pub struct Series {
    labels: Vec<Label>,
    shape: Shape,
    seed: u64,
}

/// How values move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Grows by a few at each tick.
    Counter,
    /// A small whole number that changes every fourth tick; every second series never does.
    Level,
    /// The ratio of two small whole numbers, often 0.
    Ratio,
    /// Moves around a mean, with three decimals.
    Decimal,
    /// A float with all its digits.
    Float,
}

/// One metric: so many series per account, with these labels besides `account`, `instance` and `job`.
struct Family {
    name: &'static str,
    per_account: usize,
    shape: Shape,
    labels: &'static [(&'static str, &'static [&'static str])],
}

const DIRECTION: &[&str] = &["inbound", "outbound"];
const TRUNK: &[&str] = &["trunk-0001", "trunk-0002", "trunk-0003", "trunk-0004", "trunk-0005"];
const ZONE: &[&str] = &["INTERSTATE", "INTRASTATE", "LOCAL", "INTL", "TOLLFREE"];
const STATUS: &[&str] = &["completed", "failed", "short"];
const COUNTRY: &[&str] = &["US", "CA", "GB", "DE", "MX", "FR", "JP"];
const PROVIDER: &[&str] = &["carrier-a", "carrier-b", "carrier-c"];
const LE: &[&str] = &["1", "6", "15", "30", "60", "120", "300", "600", "1800", "3600", "+Inf"];
/// Made up per series.
const CALL: &[&str] = &[];

/// What an account sends. Labels are numbered like the digits of a number, the first the fastest.
const FAMILIES: &[Family] = &[
    Family {
        name: "warp_call_duration_seconds_bucket",
        per_account: 66,
        shape: Shape::Counter,
        labels: &[("le", LE), ("direction", DIRECTION), ("status", STATUS), ("trunk", TRUNK), ("zone", ZONE)],
    },
    Family {
        name: "warp_call_attempts_total",
        per_account: 34,
        shape: Shape::Counter,
        labels: &[
            ("destination_country", COUNTRY),
            ("direction", DIRECTION),
            ("origination_country", COUNTRY),
            ("trunk", TRUNK),
            ("zone", ZONE),
        ],
    },
    Family {
        name: "warp_call_terminations_total",
        per_account: 24,
        shape: Shape::Counter,
        labels: &[("reason", &["normal", "busy", "no_answer", "failed", "timeout"]), ("trunk", TRUNK)],
    },
    Family {
        name: "warp_asr_ratio",
        per_account: 18,
        shape: Shape::Ratio,
        labels: &[("window", &["5m", "1h", "24h"]), ("provider", PROVIDER), ("trunk", TRUNK), ("zone", ZONE)],
    },
    Family {
        name: "warp_api_requests_total",
        per_account: 16,
        shape: Shape::Counter,
        labels: &[
            ("endpoint", &["/v1/calls", "/v1/trunks", "/v1/numbers", "/v1/messages"]),
            ("method", &["GET", "POST"]),
            ("status", &["2xx", "4xx", "5xx"]),
        ],
    },
    Family {
        name: "warp_rtp_packet_loss_ratio",
        per_account: 14,
        shape: Shape::Ratio,
        labels: &[("call_id", CALL), ("codec", &["PCMU", "PCMA", "G729"]), ("direction", DIRECTION)],
    },
    Family {
        name: "warp_rtp_jitter_ms",
        per_account: 14,
        shape: Shape::Decimal,
        labels: &[("call_id", CALL), ("codec", &["PCMU", "PCMA", "G729"]), ("direction", DIRECTION)],
    },
    Family { name: "warp_mos_score", per_account: 7, shape: Shape::Decimal, labels: &[("call_id", CALL)] },
    Family {
        name: "warp_active_calls",
        per_account: 10,
        shape: Shape::Level,
        labels: &[("direction", DIRECTION), ("trunk", TRUNK)],
    },
    Family {
        name: "warp_minutes_used_total",
        per_account: 10,
        shape: Shape::Float,
        labels: &[("billable", &["true", "false"]), ("trunk", TRUNK), ("zone", ZONE)],
    },
    Family {
        name: "warp_account_balance_dollars",
        per_account: 2,
        shape: Shape::Float,
        labels: &[("type", &["prepaid", "postpaid"])],
    },
];

/// The time of a tick.
pub fn time(tick: u32) -> TimestampMs {
    TimestampMs(START.0 + i64::from(tick) * INTERVAL_MS)
}

impl Fleet {
    /// The first `series` series of as many accounts as that takes.
    pub fn new(seed: u64, series: usize) -> Self {
        let of_account = |account: usize| {
            FAMILIES.iter().flat_map(move |f| (0..f.per_account).map(move |nth| (account, f, nth)))
        };
        let all = (0..).flat_map(of_account).take(series);
        Self { series: all.map(|(account, family, nth)| family.series(seed, account, nth)).collect() }
    }

    /// All series, account by account.
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// The account of the series in the middle, for selectors.
    pub fn an_account(&self) -> &str {
        self.series.get(self.series.len() / 2).and_then(|s| s.label("account")).unwrap_or("")
    }

    /// A request with the samples of `ticks` for the series `which`.
    pub fn request(&self, which: Range<usize>, ticks: Range<u32>) -> WriteRequest {
        let series = |s: &Series| TimeSeries {
            labels: s.labels.clone(),
            samples: ticks
                .clone()
                .map(|tick| Sample { value: s.value(tick), timestamp: time(tick).0 })
                .collect(),
            ..Default::default()
        };
        WriteRequest { timeseries: self.series[which].iter().map(series).collect(), metadata: vec![] }
    }

    /// Bodies as a sender makes them: one tick of all series, `batch` series each, encoded and compressed.
    pub fn bodies(&self, tick: u32, batch: usize) -> Vec<Vec<u8>> {
        let starts = (0..self.series.len()).step_by(batch);
        let range = |from: usize| from..self.series.len().min(from + batch);
        starts.map(|from| compress(&self.request(range(from), tick..tick + 1).encode_to_vec())).collect()
    }
}

/// A body as it goes over the wire.
pub fn compress(request: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(request).expect("a request is shorter than 4 GiB")
}

impl Family {
    fn series(&self, seed: u64, account: usize, nth: usize) -> Series {
        let name = self.name.bytes().fold(0, |h, byte| hash(h ^ u64::from(byte)));
        let seed = hash(hash(seed ^ account as u64) ^ name ^ nth as u64);
        let mut labels = vec![
            label("__name__", self.name),
            label("account", &format!("{:06}", 100_000 + account)),
            label("instance", &format!("10.0.{}.{}:9100", account % 8, account % 5)),
            label("job", "warp-switch"),
        ];
        let mut digits = nth;
        for (name, values) in self.labels {
            match values.len() {
                0 => labels.push(label(name, &uuid(seed))),
                n => labels.push(label(name, values[digits % n])),
            }
            digits /= values.len().max(1);
        }
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        Series { labels, shape: self.shape, seed }
    }
}

impl Series {
    /// The labels, sorted by name.
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// The value of one label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|l| l.name == name).map(|l| &*l.value)
    }

    /// How the values move.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The value at a tick.
    pub fn value(&self, tick: u32) -> f64 {
        let noise = |at: u32, n: u64| (hash(self.seed ^ u64::from(at)) % n) as f64;
        match self.shape {
            Shape::Counter => {
                let step = 1 + self.seed % 40;
                (u64::from(tick) * step) as f64 + noise(tick, step)
            }
            Shape::Level if self.seed.is_multiple_of(2) => noise(0, 40),
            Shape::Level => noise(tick / 4, 40),
            Shape::Ratio if hash(self.seed ^ u64::from(tick)).is_multiple_of(3) => 0.0,
            Shape::Ratio => noise(tick, 200) / 200.0,
            Shape::Decimal => {
                ((f64::from(tick) / 50.0).sin() * 2000.0 + 10_000.0 + noise(tick, 300)).round() / 1000.0
            }
            Shape::Float => 1000.0 + f64::from(tick) * 0.37 + noise(tick, 1 << 20) / f64::from(1 << 21),
        }
    }
}

fn label(name: &str, value: &str) -> Label {
    Label { name: name.into(), value: value.into() }
}

fn uuid(seed: u64) -> String {
    let (a, b) = (hash(seed), hash(seed ^ 1));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        b >> 48,
        b & 0xffff_ffff_ffff
    )
}

/// The finalising steps of SplitMix64 (Steele, Lea and Flood 2014): every bit of the input moves every bit of the output.
fn hash(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn series_are_distinct_sorted_and_depend_on_the_seed_alone() {
        let fleet = Fleet::new(1, 1000);
        let distinct: HashSet<_> = fleet.series().iter().map(|s| format!("{:?}", s.labels())).collect();
        assert_eq!(distinct.len(), 1000);
        assert!(fleet.series().iter().all(|s| s.labels().is_sorted_by(|a, b| a.name < b.name)));
        assert_eq!(fleet.request(0..1000, 0..3), Fleet::new(1, 1000).request(0..1000, 0..3));
        assert_ne!(fleet.request(0..1000, 0..3), Fleet::new(2, 1000).request(0..1000, 0..3));
        assert_eq!(fleet.an_account(), "100002");
    }

    #[test]
    fn counters_only_grow() {
        let fleet = Fleet::new(1, 220);
        for s in fleet.series().iter().filter(|s| s.shape() == Shape::Counter) {
            assert!((0..200).is_sorted_by(|a, b| s.value(*a) <= s.value(*b)), "{:?}", s.labels());
        }
    }

    #[test]
    fn bodies_hold_every_series_once() {
        let fleet = Fleet::new(1, 250);
        let bodies = fleet.bodies(7, 100);
        let decode = |body: &Vec<u8>| {
            let request = snap::raw::Decoder::new().decompress_vec(body).unwrap();
            WriteRequest::decode(&*request).unwrap().timeseries.len()
        };
        assert_eq!(bodies.iter().map(decode).collect::<Vec<_>>(), [100, 100, 50]);
    }
}

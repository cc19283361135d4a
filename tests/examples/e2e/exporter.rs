//! A target with native histograms, which the node exporter has none of: it grows with each scrape.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use prost::Message;

/// Only this form of exposition has native histograms.
const CONTENT_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
/// The most of a request that is read.
const REQUEST_BYTES_MAX: usize = 16 << 10;

/// Series of the histogram; each has other buckets.
pub(crate) const SERIES: u64 = 5;
/// Its name.
pub(crate) const NAME: &str = "native_seconds";

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    positive_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "13")]
    positive_deltas: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// Answers scrapes until the process ends; returns the port.
pub(crate) fn start() -> std::io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        // A scrape that fails is one that the test will miss.
        for (n, stream) in (1..).zip(listener.incoming().flatten()) {
            let _ = answer(stream, n);
        }
    });
    Ok(port)
}

fn answer(mut stream: TcpStream, scrape: u64) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") && request.len() < REQUEST_BYTES_MAX {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            n => request.extend_from_slice(&piece[..n]),
        }
    }
    let body = family(scrape).encode_length_delimited_to_vec();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

fn family(scrape: u64) -> MetricFamily {
    const HISTOGRAM: i32 = 4;
    let metric = |i: u64| Metric {
        labels: vec![Label { name: "n".into(), value: i.to_string() }],
        histogram: Some(histogram(scrape, i)),
    };
    MetricFamily { name: NAME.into(), kind: HISTOGRAM, metrics: (0..SERIES).map(metric).collect() }
}

/// With each tenth scrape there is a bucket more.
fn histogram(scrape: u64, i: u64) -> Histogram {
    let buckets = 2 + scrape / 10;
    let count_of = |bucket: u64| scrape * (bucket + i + 1) / 2;
    let counts: Vec<u64> = (0..buckets).map(count_of).collect();
    let before = std::iter::once(&0).chain(&counts);
    Histogram {
        count: counts.iter().sum::<u64>() + scrape,
        sum: (scrape * scrape) as f64 / 8.0,
        schema: 2,
        zero_threshold: 0.001,
        zero_count: scrape,
        positive_spans: vec![
            Span { offset: -(i as i32), length: 1 },
            Span { offset: 1, length: buckets as u32 - 1 },
        ],
        positive_deltas: counts.iter().zip(before).map(|(c, b)| *c as i64 - *b as i64).collect(),
    }
}

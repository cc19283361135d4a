use super::*;
use crate::labels::raw_labels;
use crate::wire::Reason;
use cardinal_proto::remote_write as proto;
use proptest::prelude::*;
use prost::Message;
use prost::encoding::encode_varint;

const LIMITS: WalkLimits = WalkLimits { samples_max: 1000, metadata_max: 3 };

fn routing() -> Routing {
    Routing::new(HashSeed(7), ShardCount::new(16).unwrap(), "account")
}

/// A series as plain values: labels, then samples with their values' bits.
type Plain = (Vec<(Vec<u8>, Vec<u8>)>, Vec<(i64, u64)>);

fn walked(body: &[u8]) -> std::result::Result<Vec<Plain>, WalkError> {
    let mut walk = Walk::default();
    let walked = walk.read(body, &routing(), LIMITS)?;
    let plain = |s: AppendRow<'_>| {
        let labels = raw_labels(s.section).map(|l| l.unwrap());
        let samples = &walked.samples()[s.samples.start as usize..s.samples.end as usize];
        assert_eq!(s.wire, Fingerprint::of_section(s.section, HashSeed(7)));
        (
            labels.map(|l| (l.name.to_vec(), l.value.to_vec())).collect(),
            samples.iter().map(|s| (s.t.0, s.v.to_bits())).collect(),
        )
    };
    Ok(walked.series().map(plain).collect())
}

/// A series' labels, and the encoded histograms that it has.
type PlainHistograms = (Vec<(Vec<u8>, Vec<u8>)>, Vec<Vec<u8>>);

/// As prost reads and writes each histogram.
fn walked_histograms(body: &[u8]) -> Vec<PlainHistograms> {
    let mut walk = Walk::default();
    let walked = walk.read(body, &routing(), LIMITS).unwrap();
    let mut messages = walked.histograms();
    let plain = |s: AppendRow<'_>| {
        let labels = raw_labels(s.section).map(|l| l.unwrap());
        let of_series = messages.by_ref().take(s.samples.len());
        let histograms = of_series.map(|m| proto::Histogram::decode(m).unwrap().encode_to_vec());
        (labels.map(|l| (l.name.to_vec(), l.value.to_vec())).collect(), histograms.collect())
    };
    walked.histogram_series().map(plain).collect()
}

fn decoded_histograms(body: &[u8]) -> Vec<PlainHistograms> {
    let plain = |s: proto::TimeSeries| {
        let labels = s.labels.into_iter().map(|l| (l.name.into_bytes(), l.value.into_bytes()));
        (labels.collect(), s.histograms.iter().map(Message::encode_to_vec).collect())
    };
    let series = proto::WriteRequest::decode(body).unwrap().timeseries;
    series.into_iter().filter(|s| !s.histograms.is_empty()).map(plain).collect()
}

fn decoded(body: &[u8]) -> Result<Vec<Plain>, prost::DecodeError> {
    let request = proto::WriteRequest::decode(body)?;
    let plain = |s: proto::TimeSeries| {
        (
            s.labels.into_iter().map(|l| (l.name.into_bytes(), l.value.into_bytes())).collect(),
            s.samples.iter().map(|s| (s.timestamp, s.value.to_bits())).collect(),
        )
    };
    Ok(request.timeseries.into_iter().filter(|s| !s.samples.is_empty()).map(plain).collect())
}

fn label(name: &str, value: &str) -> proto::Label {
    proto::Label { name: name.into(), value: value.into() }
}

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> proto::TimeSeries {
    proto::TimeSeries {
        labels: labels.iter().map(|(n, v)| label(n, v)).collect(),
        samples: samples.iter().map(|&(timestamp, value)| proto::Sample { value, timestamp }).collect(),
        ..Default::default()
    }
}

fn request(timeseries: Vec<proto::TimeSeries>) -> Vec<u8> {
    proto::WriteRequest { timeseries, metadata: vec![] }.encode_to_vec()
}

#[test]
fn a_series_is_its_section_and_its_samples() {
    let body = request(vec![
        series(&[("__name__", "up"), ("account", "459500")], &[(1, 1.0), (2, 2.0)]),
        series(&[("__name__", "no_samples")], &[]),
        series(&[("__name__", "down")], &[(-3, f64::NAN)]),
    ]);
    let mut walk = Walk::default();
    let walked = walk.read(&body, &routing(), LIMITS).unwrap();
    let rows: Vec<_> = walked.series().collect();
    let shards = routing().shards;
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].samples.clone(), rows[1].samples.clone()), (0..2, 2..3));
    assert_eq!(rows[0].shard, shard_of_account(b"459500", shards));
    assert_eq!(rows[1].section, b"\x0a\x10\x0a\x08__name__\x12\x04down");
    assert_eq!(rows[1].shard, shard_of_fingerprint(rows[1].wire, shards));
    assert_eq!(walked.samples().len(), 3);
}

#[test]
fn the_last_account_counts_and_an_empty_one_is_none() {
    let shard_of = |labels: &[(&str, &str)]| {
        let body = request(vec![series(labels, &[(1, 1.0)])]);
        let mut walk = Walk::default();
        let walked = walk.read(&body, &routing(), LIMITS).unwrap();
        let row = walked.series().next().unwrap();
        (row.shard, shard_of_fingerprint(row.wire, routing().shards))
    };
    let by_account = |account: &str| shard_of_account(account.as_bytes(), routing().shards);
    assert_eq!(shard_of(&[("account", "1"), ("account", "2")]).0, by_account("2"));
    let long = "9".repeat(200);
    assert_eq!(shard_of(&[("account", &long), ("b", "2")]).0, by_account(&long));
    let (shard, by_hash) = shard_of(&[("account", ""), ("b", "2")]);
    assert_eq!(shard, by_hash);
    let (shard, by_hash) = shard_of(&[("accounts", "1"), ("accoun", "2")]);
    assert_eq!(shard, by_hash);
}

#[test]
fn labels_apart_are_gathered_into_one_section() {
    let a = b"\x0a\x06\x0a\x01a\x12\x011";
    let b = b"\x0a\x06\x0a\x01b\x12\x012";
    let sample = b"\x12\x02\x10\x05";
    let one = [&a[..], sample, b, b, sample, a].concat();
    let mut body = vec![];
    for _ in 0..2 {
        body.push(0x0a);
        encode_varint(one.len() as u64, &mut body);
        body.extend_from_slice(&one);
    }
    let mut walk = Walk::default();
    let walked = walk.read(&body, &routing(), LIMITS).unwrap();
    let sections: Vec<_> = walked.series().map(|s| s.section.to_vec()).collect();
    let want = [&a[..], b, b, a].concat();
    assert_eq!(sections, [want.clone(), want]);
    assert_eq!(walked.series().last().unwrap().samples, 2..4);
}

#[test]
fn exemplars_are_counted_and_histograms_have_rows_of_their_own() {
    let with = proto::TimeSeries {
        exemplars: vec![proto::Exemplar::default(); 2],
        histograms: vec![proto::Histogram { timestamp: 1, ..Default::default() }],
        ..series(&[("__name__", "h")], &[])
    };
    let item = |name: &str| proto::MetricMetadata { metric_family_name: name.into(), ..Default::default() };
    let body = proto::WriteRequest {
        timeseries: vec![with.clone(), series(&[("__name__", "up")], &[(1, 1.0)]), with],
        metadata: ["a", "b", "c", "d"].map(item).to_vec(),
    };
    let body = body.encode_to_vec();
    let mut walk = Walk::default();
    let walked = walk.read(&body, &routing(), LIMITS).unwrap();
    assert_eq!(walked.counts(), WalkCounts { exemplars: 4, metadata: 4 });
    assert_eq!(walked.series().len(), 1);
    let rows: Vec<_> = walked.histogram_series().map(|row| row.samples).collect();
    assert_eq!((rows, walked.histograms().len()), (vec![0..1, 1..2], 2));
    let names = walked.metadata().map(|m| proto::MetricMetadata::decode(m).unwrap().metric_family_name);
    assert_eq!(names.collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn samples_are_bounded_and_counted_with_histograms() {
    let limits = WalkLimits { samples_max: 3, metadata_max: 0 };
    let read = |samples: usize, histograms: usize| {
        let mut s = series(&[("__name__", "up")], &vec![(1, 1.0); samples]);
        s.histograms = vec![proto::Histogram::default(); histograms];
        Walk::default().read(&request(vec![s]), &routing(), limits).map(|w| w.samples().len())
    };
    assert_eq!(read(3, 0), Ok(3));
    assert_eq!(read(2, 1), Ok(2));
    assert_eq!(read(3, 1), Err(WalkError::TooManySamples { max: 3 }));
    assert_eq!(read(4, 0), Err(WalkError::TooManySamples { max: 3 }));
}

#[test]
fn refused_samples_leave_and_with_the_last_their_series() {
    let body = request(vec![
        series(&[("a", "1")], &[(1, 1.0), (20, 2.0), (3, 3.0)]),
        series(&[("b", "1")], &[(20, 1.0)]),
        series(&[("c", "1")], &[(4, 4.0)]),
    ]);
    let mut walk = Walk::default();
    let mut walked = walk.read(&body, &routing(), LIMITS).unwrap();
    let mut refused = vec![];
    walked.retain_samples(|section, sample| {
        let keep = sample.t.0 < 10;
        if !keep {
            refused.push(crate::labels::series_text(section));
        }
        keep
    });
    assert_eq!(refused, [r#"{a="1"}"#, r#"{b="1"}"#]);
    assert_eq!(walked.samples().iter().map(|s| s.t.0).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!(walked.series().map(|s| s.samples).collect::<Vec<_>>(), [0..2, 2..3]);
}

#[test]
fn malformed_requests_are_refused_with_the_place() {
    let check = |body: &[u8], offset, reason| {
        let want = WalkError::Malformed(Malformed { offset, reason });
        assert_eq!(walked(body), Err(want), "{body:x?}");
        assert!(decoded(body).is_err(), "prost accepts {body:x?}");
    };
    check(b"\x0a", 1, Reason::Varint);
    check(b"\x0a\x05\x0a", 1, Reason::Length);
    check(b"\x08\x01", 1, Reason::WireType);
    check(b"\x18\x01", 1, Reason::WireType);
    check(b"\x00\x01", 1, Reason::Key);
    check(b"\x0a\x02\x08\x01", 3, Reason::WireType);
    check(b"\x0a\x02\x0a\x01", 3, Reason::Length);
    check(b"\x0a\x04\x12\x02\x09\x00", 5, Reason::Length);
    check(b"\x0a\x04\x12\x02\x10\x80", 5, Reason::Varint);
    check(b"\x0a\x04\x12\x02\x12\x00", 5, Reason::WireType);
    check(b"\x0a\x0a\x12\x08\x09\0\0\0\0\0\0\0", 5, Reason::Length);
    check(b"\x0a\x02\x18\x01", 3, Reason::WireType);
    check(b"\x0a\x02\x20\x01", 3, Reason::WireType);
}

/// Fields of one message, each already encoded, joined in the order given.
fn message(fields: Vec<Vec<u8>>) -> Vec<u8> {
    fields.concat()
}

/// `v` as a varint, with up to `more` bytes that are not needed.
fn varint(v: u64, more: usize) -> Vec<u8> {
    let mut out = vec![];
    encode_varint(v, &mut out);
    for _ in 0..more.min(10 - out.len()) {
        *out.last_mut().unwrap() |= 0x80;
        out.push(0);
    }
    out
}

/// A key as a varint, within the four bytes that any decoder reads as a small one.
fn delimited(field: u32, body: Vec<u8>, more: usize) -> Vec<u8> {
    [varint(u64::from(field << 3 | 2), more % 3), varint(body.len() as u64, more), body].concat()
}

fn unknown() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (any::<u64>(), 0..3usize).prop_map(|(v, more)| [varint(9 << 3, more), varint(v, more)].concat()),
        any::<[u8; 8]>().prop_map(|b| [vec![10 << 3 | 1], b.to_vec()].concat()),
        any::<[u8; 4]>().prop_map(|b| [vec![11 << 3 | 5], b.to_vec()].concat()),
        proptest::collection::vec(any::<u8>(), 0..9).prop_map(|b| delimited(12, b, 0)),
        Just(vec![13 << 3 | 3, 9 << 3, 1, 14 << 3 | 3, 14 << 3 | 4, 13 << 3 | 4]),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]{0,3}", Just("account".into()), Just("__name__".into()), "\\PC{100,150}"]
}

/// A message of any of `fields`, in any order, any number of times, unknown ones among them.
fn shuffled(fields: BoxedStrategy<Vec<u8>>, most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![9 => fields, 1 => unknown()], 0..most).prop_map(message)
}

fn any_label() -> impl Strategy<Value = Vec<u8>> {
    let field = (1..3u32, text(), 0..3usize).prop_map(|(n, s, more)| delimited(n, s.into_bytes(), more));
    shuffled(field.boxed(), 4)
}

fn any_sample() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        any::<u64>().prop_map(|bits| [vec![9], bits.to_le_bytes().to_vec()].concat()),
        (prop_oneof![any::<i64>(), 0..1i64 << 43], 0..3usize).prop_map(|(t, more)| [
            vec![0x10],
            varint(t as u64, more)
        ]
        .concat()),
    ];
    shuffled(field.boxed(), 4)
}

fn any_series() -> impl Strategy<Value = Vec<u8>> {
    let histogram = proto::Histogram {
        positive_deltas: vec![1, -1, 2],
        positive_spans: vec![proto::BucketSpan { offset: -1, length: 3 }],
        ..Default::default()
    };
    // Numbers of a repeated field, one by one instead of packed: readers must take both.
    let unpacked = vec![0x60, 2, 0x60, 1];
    let field = prop_oneof![
        5 => (any_label(), 0..3usize).prop_map(|(l, more)| delimited(1, l, more)),
        2 => (any_sample(), 0..3usize).prop_map(|(s, more)| delimited(2, s, more)),
        1 => Just(delimited(3, proto::Exemplar { value: 1.0, ..Default::default() }.encode_to_vec(), 0)),
        1 => Just(delimited(4, [histogram.encode_to_vec(), unpacked].concat(), 0)),
    ];
    shuffled(field.boxed(), 12)
}

fn any_request() -> impl Strategy<Value = Vec<u8>> {
    let metadata = proto::MetricMetadata { metric_family_name: "m".into(), ..Default::default() };
    let field = prop_oneof![
        5 => (any_series(), 0..3usize).prop_map(|(s, more)| delimited(1, s, more)),
        1 => Just(delimited(3, metadata.encode_to_vec(), 1)),
    ];
    shuffled(field.boxed(), 6)
}

proptest! {
    #[test]
    fn the_walk_reads_what_prost_reads(body in any_request()) {
        prop_assert_eq!(walked(&body).unwrap(), decoded(&body).unwrap());
        prop_assert_eq!(walked_histograms(&body), decoded_histograms(&body));
    }

    #[test]
    fn damaged_requests_are_read_alike_or_refused(
        body in any_request(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
    ) {
        let mut body = body;
        if !body.is_empty() {
            let at = at.index(body.len());
            body[at] = byte;
            body.truncate(cut.index(body.len()) + 1);
        }
        // Prost reads also what the walk leaves unread: metadata, exemplars, histograms, and whether text is UTF-8.
        if let Ok(want) = decoded(&body) {
            prop_assert_eq!(walked(&body).unwrap(), want);
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(body: Vec<u8>) {
        let read = walked(&body);
        if let Ok(want) = decoded(&body) {
            prop_assert_eq!(read.unwrap(), want);
        }
    }
}

use super::*;
use cardinal_proto::remote_write::{
    BucketSpan, Exemplar, Histogram, HistogramCount, HistogramZeroCount, Label, Sample, TimeSeries,
    WriteRequest,
};
use cardinal_storage::database::{DatabaseOptions, RefusalClass};
use cardinal_storage::io::{FaultKind, ManualClock, SimFs};
use cardinal_storage::model::{STALE_NAN_BITS, TimeRange, TimestampMs};
use cardinal_storage::read::Wanted;
use std::collections::BTreeMap;
use std::task::{Context, Poll, Wake};

const NOW: i64 = 1_760_400_000_000;
const HOUR: i64 = 3_600_000;

/// A writer into an empty database on a disk in memory.
struct Bed {
    fs: SimFs,
    database: Arc<Database>,
    writer: Writer,
}

fn bed_with(options: WriteOptions) -> Bed {
    let fs = SimFs::new(1);
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW)));
    let database = Database::open(DatabaseOptions {
        fs: Arc::new(fs.clone()),
        clock: clock.clone(),
        background: false,
        wal_segment_bytes: 1 << 20,
        ..DatabaseOptions::new("/data")
    })
    .unwrap();
    Bed { fs, writer: Writer::new(database.clone(), clock, options), database }
}

fn bed() -> Bed {
    bed_with(WriteOptions::default())
}

impl Bed {
    fn send_body(&self, body: &[u8]) -> Response {
        let permit = self.writer.admit(body.len()).unwrap();
        self.writer.write(body, permit)
    }

    fn send_request(&self, request: &WriteRequest) -> Response {
        self.send_body(&snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap())
    }

    fn send(&self, timeseries: Vec<TimeSeries>) -> Response {
        self.send_request(&WriteRequest { timeseries, metadata: vec![] })
    }

    /// Everything that is stored: times relative to now, and the bits of values.
    fn stored(&self) -> BTreeMap<String, Vec<(i64, u64)>> {
        let view = self.database.view();
        let mut all = BTreeMap::new();
        for mut cursor in view.select(&[], TimeRange::ALL, Wanted::Samples).unwrap() {
            while cursor.advance().unwrap() {
                let labels = cursor.labels().unwrap().to_string();
                let (t, v) = cursor.samples().unwrap();
                let samples = t.iter().zip(v).map(|(t, v)| (t - NOW, v.to_bits())).collect();
                assert!(all.insert(labels, samples).is_none(), "a series occurs once");
            }
        }
        all
    }

    fn stored_series(&self) -> Vec<String> {
        self.stored().into_keys().collect()
    }
}

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    let label = |(name, value): &(&str, &str)| Label { name: (*name).into(), value: (*value).into() };
    TimeSeries {
        labels: labels.iter().map(label).collect(),
        samples: samples.iter().map(|(t, v)| Sample { value: *v, timestamp: NOW + t }).collect(),
        ..Default::default()
    }
}

fn named(name: &str, samples: &[(i64, f64)]) -> TimeSeries {
    series(&[("__name__", name)], samples)
}

#[test]
fn what_is_sent_is_stored_to_the_bit() {
    let values = [1.0, f64::from_bits(STALE_NAN_BITS), f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-310];
    let bed = bed();
    let samples: Vec<_> = values.iter().enumerate().map(|(i, v)| (i as i64 * 1000, *v)).collect();
    assert_eq!(bed.send(vec![named("up", &samples)]).wait().unwrap(), values.len() as u64);
    let bits: Vec<_> = samples.iter().map(|(t, v)| (*t, v.to_bits())).collect();
    assert_eq!(bed.stored(), BTreeMap::from([("up".to_string(), bits)]));
}

#[test]
fn names_and_values_are_any_text() {
    let bed = bed();
    let odd = [
        series(&[("__name__", "dots.in.name"), ("a", "two\nlines")], &[(0, 1.0)]),
        series(&[("__name__", "with space"), ("l\u{e4}nge", "\u{1f4de}")], &[(0, 1.0)]),
        series(&[("__name__", "many"), ("quote", "\""), ("empty", "")], &[(0, 1.0)]),
    ];
    assert_eq!(bed.send(odd.to_vec()).wait().unwrap(), 3);
    assert_eq!(
        bed.stored_series(),
        [r#"dots.in.name{a="two\nlines"}"#, r#"many{quote="\""}"#, "with space{l\u{e4}nge=\"\u{1f4de}\"}"]
    );
}

#[test]
fn the_valid_rest_of_a_bad_request_is_stored() {
    let check = |bad: TimeSeries, class: RefusalClass, reason: &str| {
        let bed = bed();
        let response = bed.send(vec![named("a", &[(0, 1.0)]), bad, named("b", &[(0, 1.0), (1, 2.0)])]);
        assert_eq!(response.written, 3);
        let refusal = response.wait().unwrap_err();
        assert_eq!((refusal.status(), refusal.retry_after()), (400, None));
        assert!(refusal.to_string().starts_with("samples written: 3, refused: 1 ("), "{refusal}");
        assert!(refusal.to_string().contains(reason), "{refusal}");
        assert_eq!(bed.stored_series(), ["a", "b"]);
        let stats = bed.writer.stats();
        assert_eq!((stats.samples_received, stats.samples_written), (4, 3));
        assert_eq!(stats.refused_by_class[class as usize], 1);
        assert_eq!((stats.requests, stats.requests_refused, stats.requests_deferred), (1, 1, 0));
    };
    let (labels, limit) = (RefusalClass::InvalidLabels, RefusalClass::LabelLimit);
    check(series(&[], &[(0, 1.0)]), labels, ": {}: it has no metric name");
    check(series(&[("job", "x")], &[(0, 1.0)]), labels, r#": {job="x"}: it has no metric name"#);
    check(named("", &[(0, 1.0)]), labels, ": {}: it has no metric name");
    check(series(&[("__name__", "c"), ("", "x")], &[(0, 1.0)]), labels, "a label name is empty");
    let twice = series(&[("__name__", "c"), ("x", "1"), ("x", "2")], &[(0, 1.0)]);
    check(twice, labels, r#": c{x="1", x="2"}: label name "x" occurs twice"#);
    check(series(&[("__name__", "c"), ("x", &"v".repeat(8193))], &[(0, 1.0)]), limit, "8193 bytes");
    check(series(&[("__name__", "c"), (&"n".repeat(1025), "v")], &[(0, 1.0)]), limit, "1025 bytes");
    let names: Vec<String> = (0..64).map(|i| format!("n{i}")).collect();
    let mut many = vec![("__name__", "c")];
    many.extend(names.iter().map(|n| (&**n, "v")));
    check(series(&many, &[(0, 1.0)]), limit, "more than 64 labels");
    check(named("c", &[(600_001, 1.0)]), RefusalClass::TooFarAhead, ": c{}: the sample at");
    check(named("c", &[(-365 * 24 * HOUR - 1, 1.0)]), RefusalClass::TooOld, "older than");
    check(named("a", &[(0, 2.0)]), RefusalClass::Conflict, "another value");
    let of = |histogram| TimeSeries { histograms: vec![histogram], ..named("h", &[]) };
    let (invalid, bad) = (RefusalClass::InvalidHistogram, ": h{}: a native histogram is refused: ");
    check(of(Histogram { schema: 60, ..histogram(0, 1) }), invalid, bad);
    check(of(Histogram { positive_deltas: vec![1], ..histogram(0, 1) }), invalid, "have 2 buckets");
    check(of(histogram(600_001, 1)), RefusalClass::TooFarAhead, ": h{}: the sample at");
    check(of(histogram(-365 * 24 * HOUR - 1, 1)), RefusalClass::TooOld, "older than");
    let nameless = TimeSeries { histograms: vec![histogram(0, 1)], ..series(&[("job", "x")], &[]) };
    check(nameless, labels, "it has no metric name");
}

/// Integers at a time from now: `n` in each of two buckets, and one around zero.
fn histogram(t: i64, n: i64) -> Histogram {
    Histogram {
        count: Some(HistogramCount::Int(2 * n as u64 + 1)),
        zero_count: Some(HistogramZeroCount::Int(1)),
        sum: n as f64 * 1.5,
        schema: 1,
        zero_threshold: 0.001,
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        positive_deltas: vec![n, 0],
        timestamp: NOW + t,
        ..Default::default()
    }
}

#[test]
fn histograms_are_stored_beside_floats() {
    let bed = bed();
    let both = |t: i64| {
        let histograms =
            TimeSeries { histograms: vec![histogram(t, 3), histogram(t + 1, 5)], ..named("h", &[]) };
        let mixed = TimeSeries { histograms: vec![histogram(t, 1)], ..named("mixed", &[(t + 1, 7.0)]) };
        vec![named("up", &[(t, 1.0)]), histograms, mixed]
    };
    let response = bed.send(both(1));
    assert_eq!((response.written, response.histograms_written), (5, 3));
    assert_eq!(response.wait().unwrap(), 5);
    let again = bed.send(both(1));
    assert_eq!((again.written, again.histograms_written), (5, 3), "what is there is success");
    let conflict = TimeSeries { histograms: vec![histogram(2, 6)], ..named("h", &[]) };
    let refusal = bed.send(vec![conflict, named("up", &[(5, 1.0)])]).wait().unwrap_err().to_string();
    assert!(refusal.contains("1 conflict): h{}: a float or another histogram is stored at"), "{refusal}");
    let stale = Histogram { sum: f64::from_bits(STALE_NAN_BITS), timestamp: NOW + 9, ..Default::default() };
    let ended = TimeSeries { histograms: vec![stale], ..named("h", &[]) };
    assert_eq!(bed.send(vec![ended]).wait().unwrap(), 1);
    let stats = bed.writer.stats();
    assert_eq!((stats.samples_received, stats.samples_written, stats.samples_duplicate), (13, 12, 5));
    assert_eq!((stats.histograms_received, stats.histograms_written, stats.series_registered), (8, 7, 3));
    let bits = |v: f64| v.to_bits();
    assert_eq!(bed.stored()["h"], [(9, STALE_NAN_BITS)]);
    assert_eq!(bed.stored()["mixed"], [(2, bits(7.0))]);
    let view = bed.database.view();
    let mut found = vec![];
    for mut cursor in view.select(&[], TimeRange::ALL, Wanted::Samples).unwrap() {
        while cursor.advance().unwrap() {
            let name = cursor.labels().unwrap().to_string();
            found.extend(cursor.histograms().unwrap().iter().map(|h| (name.clone(), h.t.0 - NOW, h.h.sum)));
        }
    }
    found.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    assert_eq!(found, [("h".into(), 1, 4.5), ("h".into(), 2, 7.5), ("mixed".into(), 1, 1.5)]);
}

#[test]
fn histograms_of_every_form_are_stored() {
    let spans = |offset: i32, length: u32| vec![BucketSpan { offset, length }];
    let integers = |count: u64| Histogram { count: Some(HistogramCount::Int(count)), ..histogram(0, 3) };
    let floats = Histogram {
        count: Some(HistogramCount::Float(2.25)),
        zero_count: Some(HistogramZeroCount::Float(0.25)),
        positive_counts: vec![0.5, 1.5],
        ..histogram(0, 3)
    };
    let custom = |h: Histogram| Histogram {
        schema: -53,
        zero_threshold: 0.0,
        zero_count: None,
        custom_values: vec![0.1, 0.5, 1.0],
        ..h
    };
    let forms = [
        ("positive and zero", integers(7)),
        ("both sides", Histogram { negative_spans: spans(-4, 1), negative_deltas: vec![2], ..integers(9) }),
        (
            "negative alone",
            Histogram {
                negative_spans: spans(2, 2),
                negative_deltas: vec![1, 0],
                positive_spans: vec![],
                positive_deltas: vec![],
                zero_count: None,
                ..integers(2)
            },
        ),
        ("zero alone", Histogram { positive_spans: vec![], positive_deltas: vec![], ..integers(1) }),
        ("empty", Histogram { timestamp: NOW, ..Histogram::default() }),
        ("observations of NaN", Histogram { sum: f64::NAN, ..integers(8) }),
        ("floats", floats.clone()),
        ("custom bounds", custom(integers(6))),
        ("custom bounds of floats", custom(Histogram { count: Some(HistogramCount::Float(2.0)), ..floats })),
        ("a gauge", Histogram { reset_hint: 3, ..integers(7) }),
        ("a finer schema", Histogram { schema: 12, ..integers(7) }),
        ("spans without buckets", Histogram { negative_spans: spans(7, 0), ..integers(7) }),
    ];
    let bed = bed();
    let of = |(form, h): &(&str, Histogram)| TimeSeries {
        histograms: vec![h.clone()],
        exemplars: vec![Exemplar::default()],
        ..series(&[("__name__", "h"), ("form", form)], &[])
    };
    let response = bed.send(forms.iter().map(of).collect());
    assert_eq!(response.refusal.as_ref().map(ToString::to_string), None);
    assert_eq!(response.histograms_written, forms.len() as u64);
    let view = bed.database.view();
    let mut found = 0;
    for mut cursor in view.select(&[], TimeRange::ALL, Wanted::Samples).unwrap() {
        while cursor.advance().unwrap() {
            let labels = cursor.labels().unwrap();
            let [stored] = cursor.histograms().unwrap() else { panic!("{labels}: one histogram") };
            let (_, sent) = forms.iter().find(|(form, _)| labels.get("form") == Some(*form)).unwrap();
            assert_eq!(stored.h.sum.to_bits(), sent.sum.to_bits(), "{labels}");
            assert_eq!(stored.h.custom_bounds, sent.custom_values, "{labels}");
            assert_eq!(stored.h.schema, sent.schema.min(8) as i8, "{labels}");
            found += 1;
        }
    }
    assert_eq!(found, forms.len());
}

#[test]
fn large_requests_of_histograms_are_stored_group_by_group() {
    let bed = bed_with(WriteOptions { request_samples_max: 10_000, ..Default::default() });
    let long = |t: i64| Histogram {
        count: Some(HistogramCount::Int(4001)),
        positive_spans: vec![BucketSpan { offset: -2000, length: 4000 }],
        positive_deltas: [&[1][..], &[0; 3999]].concat(),
        ..histogram(t, 0)
    };
    let series = |name: &str, n: i64| {
        let histograms = (0..n).map(|t| if t % 9 == 0 { Histogram::default() } else { long(t) }).collect();
        TimeSeries { histograms, ..named(name, &[]) }
    };
    let response = bed.send(vec![series("a", 600), series("b", 1), series("c", 20)]);
    assert_eq!((response.written, response.histograms_written), (550, 550));
    let refusal = response.wait().unwrap_err().to_string();
    assert!(
        refusal.starts_with("samples written: 550, refused: 71 (71 too old): a{}: the sample at 0"),
        "{refusal}"
    );
    assert_eq!(bed.writer.stats().series_registered, 2, "b has nothing to store");
}

#[test]
fn text_that_is_not_utf8_is_refused_and_the_rest_is_stored() {
    let bed = bed();
    let timeseries = vec![named("up", &[(0, 1.0)]), series(&[("__name__", "b"), ("a", "<>")], &[(0, 1.0)])];
    let mut bytes = WriteRequest { timeseries, metadata: vec![] }.encode_to_vec();
    let at = bytes.windows(2).position(|w| w == b"<>").unwrap();
    bytes[at..at + 2].copy_from_slice(b"\xff\xfe");
    let refusal = bed.send_body(&snap::raw::Encoder::new().compress_vec(&bytes).unwrap()).wait().unwrap_err();
    assert!(refusal.to_string().contains("value of label \"a\" is not UTF-8"), "{refusal}");
    assert_eq!(bed.stored_series(), ["up"]);
}

#[test]
fn what_was_stored_before_is_success_again() {
    let bed = bed();
    let request = || vec![named("a", &[(-1000, 1.0), (0, f64::NAN)]), named("b", &[(0, 2.0)])];
    assert_eq!(bed.send(request()).wait().unwrap(), 3);
    assert_eq!(bed.send(request()).wait().unwrap(), 3);
    let stats = bed.writer.stats();
    assert_eq!((stats.samples_written, stats.samples_duplicate, stats.series_registered), (6, 3, 2));
}

#[test]
fn late_samples_and_repeated_series_are_stored() {
    let bed = bed();
    let three = || vec![named("a", &[(-HOUR, 1.0)]), named("a", &[(-60_000, 2.0)]), named("a", &[(0, 3.0)])];
    assert_eq!(bed.send(three()).wait().unwrap(), 3);
    assert_eq!(bed.send(three()).wait().unwrap(), 3);
    assert_eq!(bed.send(vec![named("a", &[(-1000, 4.0), (-2 * HOUR, 0.5)])]).wait().unwrap(), 2);
    let want = [(-2 * HOUR, 0.5), (-HOUR, 1.0), (-60_000, 2.0), (-1000, 4.0), (0, 3.0f64)];
    assert_eq!(bed.stored()["a"], want.map(|(t, v)| (t, v.to_bits())));
    assert!(bed.writer.stats().samples_late >= 2);
}

#[test]
fn every_order_of_labels_is_the_same_series() {
    let check = |labels: &[(&str, &str)]| {
        let bed = bed();
        let mut labels = labels.to_vec();
        for i in 0..2 * labels.len() as i64 {
            labels.rotate_left(1);
            assert_eq!(bed.send(vec![series(&labels, &[(i, 1.0)])]).wait().unwrap(), 1);
        }
        assert_eq!(bed.stored().len(), 1, "{labels:?}");
        let stats = bed.writer.stats();
        assert_eq!(stats.series_registered, 1);
        assert!(stats.series_aliased >= labels.len() as u64 - 1, "{stats:?}");
    };
    check(&[("__name__", "up"), ("account", "459500"), ("job", "x")]);
    check(&[("__name__", "up"), ("instance", "y"), ("job", "x")]);
    check(&[("__name__", "up"), ("account", ""), ("job", "x")]);
}

#[test]
fn requests_without_samples_are_fine() {
    let bed = bed();
    assert_eq!(bed.send(vec![]).wait().unwrap(), 0);
    let exemplar = TimeSeries { exemplars: vec![Exemplar::default()], ..named("a", &[]) };
    assert_eq!(bed.send(vec![exemplar]).wait().unwrap(), 0);
    assert_eq!(bed.writer.stats().exemplars_ignored, 1);
    assert!(bed.stored().is_empty());
}

#[test]
fn metadata_is_stored_and_never_fails_a_request() {
    let item = |family: &str, help: String| proto::MetricMetadata {
        r#type: 1,
        metric_family_name: family.into(),
        help,
        unit: "s".into(),
    };
    let metadata = vec![
        item("calls", "Calls begun.".into()),
        item("", "No name.".into()),
        item("long", "x".repeat(8193)),
        proto::MetricMetadata { r#type: 99, metric_family_name: "odd".into(), ..Default::default() },
    ];
    let bed = bed();
    let request = WriteRequest { timeseries: vec![named("up", &[(0, 1.0)])], metadata };
    assert_eq!(bed.send_request(&request).wait().unwrap(), 1);
    let stored = bed.database.metadata();
    let stored: Vec<_> = stored.iter().map(|m| (&*m.family, m.kind.name(), &*m.unit, &*m.help)).collect();
    assert_eq!(stored, [("calls", "counter", "s", "Calls begun."), ("odd", "unknown", "", "")]);
    let stats = bed.writer.stats();
    assert_eq!((stats.metadata_received, stats.metadata_dropped), (4, 2));
    assert_eq!(
        bed.send_body(&snap::raw::Encoder::new().compress_vec(b"\x1a\x02\x0a\x7f").unwrap()).wait().unwrap(),
        0
    );
}

#[test]
fn bodies_that_cannot_be_read_store_nothing() {
    let bed = bed();
    for body in [&b""[..], b"\xff\xff\xff", b"\x03\x08\x0a\x05\x0a"] {
        let response = bed.send_body(body);
        assert!(response.ticket.is_none());
        let refusal = response.wait().unwrap_err();
        assert_eq!((refusal.status(), refusal.retry_after()), (400, None), "{refusal}");
    }
    assert_eq!(bed.writer.stats().requests_refused, 3);
}

#[test]
fn beyond_the_bytes_in_flight_senders_come_again() {
    let bed = bed_with(WriteOptions { in_flight_bytes_max: 1000, ..Default::default() });
    let other = bed.writer.admit(990).unwrap();
    let refusal = bed.writer.admit(20).unwrap_err();
    assert_eq!((refusal.status(), refusal.retry_after().is_some()), (503, true));
    let body = snap::raw::Encoder::new().compress_vec(&[0; 100]).unwrap();
    let permit = bed.writer.admit(body.len()).unwrap();
    let response = bed.writer.write(&body, permit);
    assert_eq!(response.wait().unwrap_err().status(), 503, "the decompressed size counts as well");
    assert_eq!((bed.writer.stats().requests_deferred, bed.writer.stats().in_flight_bytes), (2, 990));
    drop(other);
    assert_eq!(bed.send(vec![named("up", &[(0, 1.0)])]).wait().unwrap(), 1);
    assert_eq!(bed.writer.stats().in_flight_bytes, 0);
}

#[test]
fn a_failing_disk_defers_and_is_never_success() {
    let bed = bed();
    assert_eq!(bed.send(vec![named("up", &[(0, 1.0)])]).wait().unwrap(), 1);
    bed.fs.fail_from(bed.fs.ops(), FaultKind::Eio);
    for t in 1..4 {
        // The second sample and its repetition: neither a sync that failed nor a read-only log may look like success, also
        // where the sample is there already. A request that is bad besides is deferred as well.
        let response = bed.send(vec![named("up", &[(t / 2 + 1, 2.0)]), named("", &[(0, 1.0)])]);
        let refusal = response.wait().unwrap_err();
        assert_eq!((refusal.status(), refusal.retry_after().is_some()), (503, true), "{refusal}");
    }
    assert!(bed.database.is_read_only());
}

#[test]
fn durability_is_awaited_without_blocking() {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let bed = bed();
    let mut durable = Box::pin(bed.send(vec![named("up", &[(0, 1.0)])]).durable());
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let written = loop {
        match durable.as_mut().poll(&mut context) {
            Poll::Ready(done) => break done.unwrap(),
            Poll::Pending => std::thread::park(),
        }
    };
    assert_eq!(written, 1);
}

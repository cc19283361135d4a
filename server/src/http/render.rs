//! Answers of the API: the envelope, query results piece by piece, and bodies that are sent while they are written.

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use cardinal_query::native::FloatHistogram;
use cardinal_query::{CancelToken, MatrixSeries, Output, QueryStats, SampleValue, Value, VectorSample};
use cardinal_storage::model::TimestampMs;
use futures_util::stream;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::explain;
use super::json::{put_labels, put_string, put_strings, separate};
use super::number::{put_float, put_time};

/// Bytes that are gathered before they are sent.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that may wait for a slow client before the writer does.
const PIECES_WAITING: usize = 4;
/// How often a writer that waits for its client looks whether it shall end.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Warnings, and infos, that an answer lists; the rest is counted.
const REMARKS_MAX: usize = 10;

/// The client has gone, or does not read: there is nobody to write for.
#[derive(Debug)]
pub struct Gone;

/// Collects an answer: small ones are sent whole, with their length; large ones piece by piece while they are written.
pub struct Sink {
    buffer: Vec<u8>,
    answer: Option<oneshot::Sender<Answer>>,
    pieces: Option<mpsc::Sender<Bytes>>,
    /// How long the client may take over one piece.
    patience: Duration,
    /// Ends the writing.
    cancel: CancelToken,
    runtime: Handle,
}

/// A body that is complete, or one whose pieces follow.
pub enum Answer {
    /// All of it.
    Whole(Vec<u8>),
    /// Pieces until the channel closes; the last one is empty, or the answer is not complete.
    Pieces(mpsc::Receiver<Bytes>),
}

impl Sink {
    /// A sink and where its answer will appear. A client that takes longer than `patience` over one piece is taken for
    /// gone: whoever stops reading must not keep a query's turn for ever. `cancel` ends the writing.
    ///
    /// # Panics
    /// Outside an async runtime, whose clock it uses.
    pub fn new(patience: Duration, cancel: CancelToken) -> (Self, oneshot::Receiver<Answer>) {
        let (answer, receiver) = oneshot::channel();
        let runtime = Handle::current();
        (Self { buffer: Vec::new(), answer: Some(answer), pieces: None, patience, cancel, runtime }, receiver)
    }

    /// Where to append.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// To be called now and then: sends what has gathered once it is enough. Blocks while the client is slow.
    pub fn offer(&mut self) -> Result<(), Gone> {
        if self.cancel.is_canceled() {
            return Err(Gone);
        }
        if self.buffer.len() < PIECE_BYTES {
            return Ok(());
        }
        if let Some(answer) = self.answer.take() {
            let (sender, receiver) = mpsc::channel(PIECES_WAITING);
            answer.send(Answer::Pieces(receiver)).map_err(|_| Gone)?;
            self.pieces = Some(sender);
        }
        self.send()
    }

    /// Sends the rest.
    pub fn finish(mut self) -> Result<(), Gone> {
        match self.answer.take() {
            Some(answer) => answer.send(Answer::Whole(self.buffer)).map_err(|_| Gone),
            None => {
                self.send()?;
                self.send_piece(Bytes::new())
            }
        }
    }

    fn send(&mut self) -> Result<(), Gone> {
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES + (PIECE_BYTES >> 2)));
        if piece.is_empty() { Ok(()) } else { self.send_piece(piece.into()) }
    }

    /// Waits for room, and looks now and then whether it is still worth waiting.
    fn send_piece(&self, piece: Bytes) -> Result<(), Gone> {
        let pieces = self.pieces.as_ref().ok_or(Gone)?;
        let began = Instant::now();
        while !self.cancel.is_canceled() {
            let left = self.patience.saturating_sub(began.elapsed());
            let room = self.runtime.block_on(async { timeout(left.min(LOOK_EVERY), pieces.reserve()).await });
            match room {
                Ok(room) => return room.map(|room| room.send(piece)).map_err(|_| Gone),
                Err(_) if left.is_zero() => break,
                Err(_) => {}
            }
        }
        Err(Gone)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let body = match self {
            Self::Whole(bytes) => Body::from(bytes),
            Self::Pieces(receiver) => Body::from_stream(stream::unfold(Some(receiver), next_piece)),
        };
        ([(header::CONTENT_TYPE, super::JSON)], body).into_response()
    }
}

/// The next piece; an error, which ends the connection, where the writer went away before the end: half an answer must not look
/// like a whole one.
async fn next_piece(
    receiver: Option<mpsc::Receiver<Bytes>>,
) -> Option<(Result<Bytes, Incomplete>, Option<mpsc::Receiver<Bytes>>)> {
    let mut receiver = receiver?;
    match receiver.recv().await {
        Some(piece) if piece.is_empty() => None,
        Some(piece) => Some((Ok(piece), Some(receiver))),
        None => Some((Err(Incomplete), None)),
    }
}

/// Why a body ends early.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the query ended before its answer was written")]
struct Incomplete;

/// Which statistics were asked for, and how long the query waited for its turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatsWanted {
    /// Whether `stats` is rendered at all.
    pub wanted: bool,
    /// The time in the queue.
    pub queued: Duration,
    /// From the request to the result.
    pub total: Duration,
}

/// Writes the answer to a query.
pub fn put_query(sink: &mut Sink, output: &Output, stats: StatsWanted) -> Result<(), Gone> {
    let out = sink.buffer();
    out.extend_from_slice(b"{\"status\":\"success\",\"data\":{\"resultType\":\"");
    out.extend_from_slice(output.value.kind().as_bytes());
    out.extend_from_slice(b"\",\"result\":");
    put_value(sink, &output.value)?;
    let out = sink.buffer();
    if stats.wanted {
        put_stats(out, &output.stats, stats);
    }
    if let Some(explanation) = &output.explanation {
        out.extend_from_slice(b",\"explain\":");
        out.extend_from_slice(explain::value(explanation).to_string().as_bytes());
    }
    out.push(b'}');
    put_remarks(out, "warnings", &output.warnings);
    put_remarks(out, "infos", &output.infos);
    out.push(b'}');
    Ok(())
}

/// Writes a successful answer whose `data` is what `put` writes.
pub fn put_success(out: &mut Vec<u8>, warnings: &[String], put: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"{\"status\":\"success\",\"data\":");
    put(out);
    put_remarks(out, "warnings", warnings);
    out.push(b'}');
}

fn put_value(sink: &mut Sink, value: &Value) -> Result<(), Gone> {
    match value {
        Value::Scalar { t, v } => put_point(sink.buffer(), *t, *v),
        Value::String { t, s } => put_pair(sink.buffer(), *t, |out| put_string(out, s)),
        Value::Vector(samples) => return put_list(sink, samples, put_sample),
        Value::Matrix(series) => return put_list(sink, series, put_series),
    }
    Ok(())
}

fn put_list<T>(sink: &mut Sink, items: &[T], put: impl Fn(&mut Vec<u8>, &T)) -> Result<(), Gone> {
    sink.buffer().push(b'[');
    for (i, item) in items.iter().enumerate() {
        separate(sink.buffer(), i);
        put(sink.buffer(), item);
        sink.offer()?;
    }
    sink.buffer().push(b']');
    Ok(())
}

fn put_sample(out: &mut Vec<u8>, sample: &VectorSample) {
    out.extend_from_slice(b"{\"metric\":");
    put_labels(out, &sample.labels);
    match &sample.v {
        SampleValue::Float(v) => {
            out.extend_from_slice(b",\"value\":");
            put_point(out, sample.t, *v);
        }
        SampleValue::Histogram(h) => {
            out.extend_from_slice(b",\"histogram\":");
            put_pair(out, sample.t, |out| put_histogram(out, h));
        }
    }
    out.push(b'}');
}

fn put_series(out: &mut Vec<u8>, series: &MatrixSeries) {
    out.extend_from_slice(b"{\"metric\":");
    put_labels(out, &series.labels);
    if !series.points.is_empty() {
        out.extend_from_slice(b",\"values\":[");
        for (i, (t, v)) in series.points.iter().enumerate() {
            separate(out, i);
            put_point(out, *t, *v);
        }
        out.push(b']');
    }
    if !series.histograms.is_empty() {
        out.extend_from_slice(b",\"histograms\":[");
        for (i, (t, h)) in series.histograms.iter().enumerate() {
            separate(out, i);
            put_pair(out, *t, |out| put_histogram(out, h));
        }
        out.push(b']');
    }
    out.push(b'}');
}

/// A native histogram: count, sum, and the buckets that hold anything, each with a code for which of its bounds are in it.
fn put_histogram(out: &mut Vec<u8>, h: &FloatHistogram) {
    out.extend_from_slice(b"{\"count\":");
    put_quoted(out, h.count);
    out.extend_from_slice(b",\"sum\":");
    put_quoted(out, h.sum);
    for (i, bucket) in h.intervals().filter(|b| b.count != 0.0).enumerate() {
        out.extend_from_slice(if i == 0 { b",\"buckets\":[[" } else { b",[" });
        out.push(match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => b'0',
            (true, false) => b'1',
            (false, false) => b'2',
            (true, true) => b'3',
        });
        for number in [bucket.lower, bucket.upper, bucket.count] {
            out.push(b',');
            put_quoted(out, number);
        }
        out.push(b']');
    }
    if h.intervals().any(|b| b.count != 0.0) {
        out.push(b']');
    }
    out.push(b'}');
}

fn put_quoted(out: &mut Vec<u8>, v: f64) {
    out.push(b'"');
    put_float(out, v);
    out.push(b'"');
}

fn put_point(out: &mut Vec<u8>, t: TimestampMs, v: f64) {
    put_pair(out, t, |out| put_quoted(out, v));
}

fn put_pair(out: &mut Vec<u8>, t: TimestampMs, put: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'[');
    put_time(out, t);
    out.push(b',');
    put(out);
    out.push(b']');
}

pub(super) fn put_remarks(out: &mut Vec<u8>, name: &str, remarks: &[String]) {
    if remarks.is_empty() {
        return;
    }
    out.push(b',');
    put_string(out, name);
    out.push(b':');
    let left_out = remarks.len().saturating_sub(REMARKS_MAX);
    let rest = (left_out > 0).then(|| format!("{left_out} more {name} omitted"));
    put_strings(out, remarks.iter().take(REMARKS_MAX).chain(&rest).map(String::as_str));
}

fn put_stats(out: &mut Vec<u8>, cost: &QueryStats, stats: StatsWanted) {
    let timings = [
        ("evalTotalTime", cost.prepare + cost.eval + cost.sort),
        ("resultSortTime", cost.sort),
        ("queryPreparationTime", cost.prepare),
        ("innerEvalTime", cost.eval),
        ("execQueueTime", stats.queued),
        ("execTotalTime", stats.total),
    ];
    out.extend_from_slice(b",\"stats\":{\"timings\":{");
    put_members(out, &timings, |out, time| put_float(out, time.as_secs_f64()));
    out.extend_from_slice(b"},\"samples\":{");
    let steps = cost.steps.as_ref();
    put_steps(out, "totalQueryableSamplesPerStep", steps.map_or(&[], |s| &s.queryable));
    put_members(out, &[("totalQueryableSamples", cost.samples_queryable)], put_count);
    out.push(b',');
    put_steps(out, "samplesReadPerStep", steps.map_or(&[], |s| &s.read));
    let rest = [("samplesRead", cost.samples_read), ("peakSamples", cost.samples_peak)];
    put_members(out, &rest, put_count);
    out.extend_from_slice(b"}}");
}

fn put_count(out: &mut Vec<u8>, n: &u64) {
    out.extend_from_slice(n.to_string().as_bytes());
}

/// A member with its comma; nothing where there are no steps.
fn put_steps(out: &mut Vec<u8>, name: &str, steps: &[(TimestampMs, u64)]) {
    if steps.is_empty() {
        return;
    }
    put_string(out, name);
    out.extend_from_slice(b":[");
    for (i, (t, n)) in steps.iter().enumerate() {
        separate(out, i);
        put_pair(out, *t, |out| put_count(out, n));
    }
    out.extend_from_slice(b"],");
}

fn put_members<T>(out: &mut Vec<u8>, members: &[(&str, T)], put: impl Fn(&mut Vec<u8>, &T)) {
    for (i, (name, value)) in members.iter().enumerate() {
        separate(out, i);
        put_string(out, name);
        out.push(b':');
        put(out, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cardinal_query::StepSamples;
    use cardinal_query::native::Bucket;
    use cardinal_storage::model::{LabelSet, ResetHint};

    fn output(value: Value) -> Output {
        Output {
            value,
            warnings: Vec::new(),
            infos: Vec::new(),
            stats: QueryStats::default(),
            explanation: None,
        }
    }

    async fn body(answer: Answer) -> String {
        let body = answer.into_response().into_body();
        let bytes = axum::body::to_bytes(body, 1 << 30).await.expect("a body");
        String::from_utf8(bytes.to_vec()).expect("UTF-8")
    }

    const LONG: Duration = Duration::from_secs(3600);

    async fn render(output: Output, stats: StatsWanted) -> String {
        let (mut sink, answer) = Sink::new(LONG, CancelToken::default());
        let writer = tokio::task::spawn_blocking(move || {
            put_query(&mut sink, &output, stats).expect("a reader");
            sink.finish().expect("a reader");
        });
        let text = body(answer.await.expect("an answer")).await;
        writer.await.expect("no panic");
        text
    }

    async fn check(value: Value, expected: &str) {
        let text = render(output(value), StatsWanted::default()).await;
        assert_eq!(text, format!(r#"{{"status":"success","data":{expected}}}"#));
    }

    #[tokio::test]
    async fn histograms() {
        let t = TimestampMs(4000);
        let bucket = |index: i32, count: f64| Bucket { index, count };
        let h = FloatHistogram {
            reset_hint: ResetHint::Unknown,
            schema: 0,
            zero_threshold: 0.25,
            zero: 1.0,
            count: 7.0,
            sum: -0.5,
            positive: vec![bucket(0, 0.0), bucket(1, 2.0)],
            negative: vec![bucket(2, 3.5)],
            custom_bounds: [].into(),
        };
        let empty = FloatHistogram { positive: vec![], negative: vec![], zero: 0.0, ..h.clone() };
        let text = r#"{"count":"7","sum":"-0.5","buckets":[[1,"-4","-2","3.5"],[3,"-0.25","0.25","1"],[0,"1","2","2"]]}"#;
        check(
            Value::Vector(vec![VectorSample { labels: labels("h"), t, v: SampleValue::Histogram(h.into()) }]),
            &format!(r#"{{"resultType":"vector","result":[{{"metric":{{"__name__":"h"}},"histogram":[4,{text}]}}]}}"#),
        )
        .await;
        let series =
            MatrixSeries { labels: labels("h"), points: vec![], histograms: vec![(t, empty.into())] };
        check(
            Value::Matrix(vec![series]),
            r#"{"resultType":"matrix","result":[{"metric":{"__name__":"h"},"histograms":[[4,{"count":"7","sum":"-0.5"}]]}]}"#,
        )
        .await;
    }

    fn labels(name: &str) -> LabelSet {
        LabelSet::from_pairs([("__name__", name)]).expect("valid")
    }

    #[tokio::test]
    async fn values() {
        let t = TimestampMs(4000);
        check(Value::Scalar { t, v: 2.0 }, r#"{"resultType":"scalar","result":[4,"2"]}"#).await;
        check(Value::String { t, s: "a<b".into() }, r#"{"resultType":"string","result":[4,"a\u003cb"]}"#)
            .await;
        check(Value::Vector(vec![]), r#"{"resultType":"vector","result":[]}"#).await;
        let samples = vec![
            VectorSample { labels: labels("up"), t, v: SampleValue::Float(1.0) },
            VectorSample { labels: LabelSet::empty(), t, v: SampleValue::Float(f64::NAN) },
        ];
        check(
            Value::Vector(samples),
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up"},"value":[4,"1"]},{"metric":{},"value":[4,"NaN"]}]}"#,
        )
        .await;
        let points = vec![(t, 1.0), (TimestampMs(4500), 0.5)];
        let series = MatrixSeries { labels: labels("up"), points, histograms: Vec::new() };
        check(
            Value::Matrix(vec![series]),
            r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up"},"values":[[4,"1"],[4.500,"0.5"]]}]}"#,
        )
        .await;
    }

    #[tokio::test]
    async fn large_results_come_in_pieces_and_complete() {
        let points: Vec<_> = (0..1000).map(|i| (TimestampMs(i * 1000), i as f64)).collect();
        let series = (0..100).map(|i| MatrixSeries {
            labels: labels(&format!("m{i}")),
            points: points.clone(),
            histograms: Vec::new(),
        });
        let text = render(output(Value::Matrix(series.collect())), StatsWanted::default()).await;
        assert!(text.len() > 10 * PIECE_BYTES);
        let parsed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let result = parsed["data"]["result"].as_array().expect("a list");
        assert_eq!(result.len(), 100);
        assert!(result.iter().all(|series| series["values"].as_array().map(Vec::len) == Some(1000)));
    }

    #[tokio::test]
    async fn a_reader_that_leaves_ends_the_writing() {
        let (mut sink, answer) = Sink::new(LONG, CancelToken::default());
        drop(answer);
        sink.buffer().resize(PIECE_BYTES, b' ');
        assert!(sink.offer().is_err());
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_ends_the_writing() {
        let (mut sink, answer) = Sink::new(Duration::ZERO, CancelToken::default());
        let writer = tokio::task::spawn_blocking(move || {
            (0..=PIECES_WAITING).try_for_each(|_| {
                sink.buffer().resize(PIECE_BYTES, b' ');
                sink.offer()
            })
        });
        let _unread = answer.await.expect("an answer");
        assert!(writer.await.expect("no panic").is_err());
    }

    #[tokio::test]
    async fn remarks_and_statistics() {
        let mut output = output(Value::Vector(vec![]));
        output.warnings = (0..12).map(|i| format!("w{i}")).collect();
        output.infos = vec!["PromQL info: x".to_owned()];
        output.stats.samples_read = 7;
        let steps = vec![(TimestampMs(4000), 3), (TimestampMs(4500), 4)];
        output.stats.steps = Some(StepSamples { queryable: steps.clone(), read: steps });
        let stats = StatsWanted { wanted: true, queued: Duration::from_millis(1500), total: Duration::ZERO };
        let text = render(output, stats).await;
        let parsed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let warnings = parsed["warnings"].as_array().expect("a list");
        assert_eq!((warnings.len(), warnings[10].as_str()), (11, Some("2 more warnings omitted")));
        assert_eq!(parsed["infos"][0], "PromQL info: x");
        assert_eq!(parsed["data"]["stats"]["timings"]["execQueueTime"], 1.5);
        assert_eq!(parsed["data"]["stats"]["samples"]["samplesRead"], 7);
        let per_step = r#""samples":{"totalQueryableSamplesPerStep":[[4,3],[4.500,4]],"totalQueryableSamples":0,"samplesReadPerStep":[[4,3],[4.500,4]],"samplesRead":7,"peakSamples":0}"#;
        assert!(text.contains(per_step), "{text}");
    }
}

//! A block's file is cut short under a running server: the process ends with exit code 74 and says where, the next start goes on
//! without the block, and once the file is back nothing is missing.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use cardinal_proto::remote_write::{Label, Sample, TimeSeries, WriteRequest};
use prost::Message;
use serde_json::Value;

/// As documented in `docs/damage.md`.
const EXIT_CODE: i32 = 74;
const HOUR: i64 = 3_600_000;
/// Samples of each of two windows.
const SAMPLES: i64 = 100;

#[tokio::test]
async fn chunks_cut_short_under_a_server_end_it_and_the_next_start_goes_on() {
    check("chunks").await;
}

#[tokio::test]
async fn an_index_cut_short_under_a_server_ends_it_and_the_next_start_goes_on() {
    check("index").await;
}

async fn check(file: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let here = directory.path();
    // Yesterday, so that nothing is ahead of the clock, and no day is over as long as nothing newer comes: no merge takes the block away.
    let midnight = now() / (24 * HOUR) * (24 * HOUR) - 24 * HOUR;
    let [first, second, last] = [2, 4, 6].map(|hours| midnight + hours * HOUR);
    let mut server = Server::start(here).await;
    for window in [first, second] {
        server.write((1..=SAMPLES).map(|i| window + i * 60_000)).await;
    }
    server.flush().await;
    server.write([last + 60_000]).await;
    let all = 2 * SAMPLES + 1;
    assert_eq!(server.count(last).await.expect("an answer"), (all, Vec::new()));

    let damaged = block_that_begins_at(here, first).join(file);
    let sound = std::fs::read(&damaged).expect("the file is there");
    cut_short(&damaged);
    server.count(last).await.expect_err("a page that is gone cannot be answered from");
    let code = server.child.wait().expect("it ends").code();
    let log = std::fs::read_to_string(here.join("log")).expect("UTF-8");
    assert_eq!(code, Some(EXIT_CODE), "{log}");
    let faults = std::fs::read_to_string(here.join("data/FAULTS")).expect("the notes are there");
    let (offset, path) = faults.trim_end().split_once(' ').expect("an offset and a path");
    assert!(offset.parse::<usize>().expect("a number") < sound.len(), "{faults}");
    assert!(damaged.ends_with(path) || Path::new(path) == damaged, "{faults}");
    assert!(log.lines().any(|l| l.ends_with(&format!("Offset and file: {}", faults.trim_end()))), "{log}");

    // Twice: what the first start did must not make the second fail.
    for start in 0..2 {
        let mut server = Server::start(here).await;
        let (found, warnings) = server.count(last).await.expect("the rest is served");
        assert_eq!(found, all - SAMPLES + start, "the other block and the head");
        let block = damaged.parent().and_then(Path::file_name).expect("a folder").to_string_lossy();
        assert!(
            warnings.len() == 1 && warnings[0].contains(&format!("block {block} was set aside")),
            "{warnings:?}"
        );
        let metrics = server.get("/metrics").await;
        let blocks: Vec<_> = metrics.lines().filter(|l| l.starts_with("cardinal_blocks_damaged")).collect();
        assert_eq!(blocks, ["cardinal_blocks_damaged 1.0"]);
        server.write([last + (2 + start) * 60_000]).await;
        server.kill();
    }

    std::fs::write(&damaged, &sound).expect("it is brought back");
    let server = Server::start(here).await;
    assert_eq!(server.count(last).await.expect("an answer"), (all + 2, Vec::new()));
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    since.as_millis().try_into().expect("a date")
}

fn cut_short(path: &Path) {
    let file = File::options().write(true).open(path).expect("it can be written to");
    file.set_len(0).expect("it is cut short");
}

fn block_that_begins_at(here: &Path, start: i64) -> PathBuf {
    let blocks = std::fs::read_dir(here.join("data/blocks")).expect("there are blocks");
    let begins = |dir: &PathBuf| {
        let meta = std::fs::read(dir.join("meta.json")).expect("each has one");
        let meta: Value = serde_json::from_slice(&meta).expect("JSON");
        meta["window_start"].as_i64() == Some(start)
    };
    blocks.map(|entry| entry.expect("readable").path()).find(begins).expect("a block of that window")
}

/// A running server; killed when dropped.
struct Server {
    child: Child,
    url: String,
    client: reqwest::Client,
}

impl Server {
    /// Starts it in `here`, and waits until it is ready.
    async fn start(here: &Path) -> Self {
        let log = File::options().create(true).append(true).open(here.join("log")).expect("a log");
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let listen = format!("127.0.0.1:{port}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_cardinal"));
        command.current_dir(here).env_clear().args(["serve", "--data-dir", "data", "--self-scrape", "off"]);
        let child = command.args(["--listen", &listen]).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.expect("it runs");
        let mut server = Self { child, url: format!("http://{listen}"), client: reqwest::Client::new() };
        while !server.is_ready().await {
            let ended = server.child.try_wait().expect("a child");
            let log = || std::fs::read_to_string(here.join("log")).unwrap_or_default();
            assert!(ended.is_none(), "it ended with {ended:?} instead of starting: {}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    async fn is_ready(&self) -> bool {
        let answer = self.client.get(format!("{}/-/ready", self.url)).send().await;
        answer.is_ok_and(|a| a.status().is_success())
    }

    async fn get(&self, path: &str) -> String {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await;
        answer.expect("an answer").text().await.expect("text")
    }

    /// Writes a sample for each of some times, of one series.
    async fn write(&self, times: impl IntoIterator<Item = i64>) {
        let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
        let samples = times.into_iter().map(|timestamp| Sample { value: timestamp as f64 / 7.0, timestamp });
        let labels = vec![label("__name__", "m"), label("account", "a")];
        let series = TimeSeries { labels, samples: samples.collect(), ..TimeSeries::default() };
        let request = WriteRequest { timeseries: vec![series], metadata: Vec::new() };
        let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).expect("it fits");
        let answer = self.client.post(format!("{}/api/v1/write", self.url)).body(body).send().await;
        assert_eq!(answer.expect("an answer").status().as_u16(), 204);
    }

    async fn flush(&self) {
        let answer = self.client.post(format!("{}/api/v1/admin/tsdb/flush", self.url)).send().await;
        assert_eq!(answer.expect("an answer").status().as_u16(), 204);
    }

    /// How many samples there are in the six hours before an hour after `time`, and the warnings.
    async fn count(&self, time: i64) -> Result<(i64, Vec<String>), reqwest::Error> {
        let parameters = [("query", "count_over_time(m[6h])"), ("time", &((time + HOUR) / 1000).to_string())];
        let url = format!("{}/api/v1/query", self.url);
        let answer: Value = self.client.get(url).query(&parameters).send().await?.json().await?;
        let text = answer["data"]["result"][0]["value"][1].as_str();
        let n = text.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{answer}"));
        let warnings = answer["warnings"].as_array().into_iter().flatten();
        Ok((n, warnings.filter_map(|w| Some(w.as_str()?.to_owned())).collect()))
    }

    /// As kill -9 does.
    fn kill(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

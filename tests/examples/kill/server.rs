//! The server under test, and a client of it.

use super::Failure;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
    client: Client,
}

impl Server {
    /// Starts on a free port, with a small budget, and waits until it is ready.
    pub(crate) async fn start(
        binary: &Path,
        directory: &Path,
        postpones_syncs: bool,
    ) -> Result<Self, Failure> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let log = directory.join("log");
        let output = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(binary);
        command.arg("serve").arg("--data-dir").arg(directory.join("data"));
        command.args([
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--head-memory-budget",
            "16MiB",
            "--admin-enabled",
            "true",
            "--ingest-future-max",
            "365d",
        ]);
        if postpones_syncs {
            command.args(["--wal-sync", "interval"]);
        }
        let child = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn()?;
        let client = Client { http: reqwest::Client::new(), url: format!("http://127.0.0.1:{port}") };
        let mut server = Self { child, log, client };
        let began = Instant::now();
        while !server.client.is_ready().await {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("the server ended with {status} instead of starting").into());
            }
            if began.elapsed() > PATIENCE {
                return Err("the server is not ready after a minute".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(server)
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// As SIGSTOP does.
    pub(crate) fn stop(&self) -> Result<(), Failure> {
        match Command::new("kill").args(["-STOP", &self.child.id().to_string()]).status()?.success() {
            true => Ok(()),
            false => Err("the server had ended before it was stopped".into()),
        }
    }

    /// As kill -9 does; it must have run until then.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        if let Some(status) = self.child.try_wait()? {
            return Err(format!("the server ended by itself with {status}").into());
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// What the server says of itself, in words.
    pub(crate) async fn numbers(&self) -> Result<String, Failure> {
        let metrics = self.client.metrics().await?;
        let of = |name: &str| {
            let line =
                metrics.lines().find(|l| l.starts_with(name) && l[name.len()..].starts_with([' ', '{']));
            line.and_then(|l| l.rsplit(' ').next()).and_then(|n| n.parse().ok()).unwrap_or(f64::NAN)
        };
        Ok(format!(
            "{} blocks, {} of them damaged at the end",
            of("cardinal_blocks"),
            of("cardinal_blocks_damaged")
        ))
    }
}

impl Drop for Server {
    /// A failed run says what the server said last.
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("{}/-/ready", self.url)).send().await;
        answer.is_ok_and(|a| a.status().is_success())
    }

    /// Sends a write request; the status.
    pub(crate) async fn write(&self, body: Vec<u8>) -> Result<u16, Failure> {
        let body = snap::raw::Encoder::new().compress_vec(&body)?;
        let request = self.http.post(format!("{}/api/v1/write", self.url)).body(body);
        let request =
            request.header("content-type", "application/x-protobuf").header("content-encoding", "snappy");
        Ok(request.timeout(Duration::from_secs(10)).send().await?.status().as_u16())
    }

    /// Asks for a compaction; the server may be gone before it answers.
    pub(crate) fn compact(self) -> impl Future<Output = ()> + Send + 'static {
        let request = self.http.post(format!("{}/api/v1/admin/tsdb/compact", self.url));
        async move {
            let _ = request.send().await;
        }
    }

    async fn metrics(&self) -> Result<String, Failure> {
        Ok(self.http.get(format!("{}/metrics", self.url)).send().await?.text().await?)
    }

    /// All samples of the selector in so many seconds up to `end`, by the label `n` and time.
    pub(crate) async fn samples(
        &self,
        selector: &str,
        end: f64,
        seconds: i64,
    ) -> Result<BTreeMap<(u64, i64), f64>, Failure> {
        let form = [("query", format!("{selector}[{seconds}s]")), ("time", format!("{end:.3}"))];
        let answer: Value =
            self.http.post(format!("{}/api/v1/query", self.url)).form(&form).send().await?.json().await?;
        if answer["status"] != "success" || answer["warnings"].is_array() {
            return Err(format!("{selector}: {}", excerpt(&answer)).into());
        }
        let mut samples = BTreeMap::new();
        for series in answer["data"]["result"].as_array().into_iter().flatten() {
            let n: u64 = series["metric"]["n"].as_str().ok_or("a series without n")?.parse()?;
            for point in series["values"].as_array().into_iter().flatten() {
                let t = (point[0].as_f64().ok_or("no time")? * 1000.0).round() as i64;
                samples.insert((n, t), point[1].as_str().ok_or("no value")?.parse()?);
            }
        }
        Ok(samples)
    }
}

/// The beginning of an answer, for people.
fn excerpt(answer: &Value) -> String {
    answer.to_string().chars().take(500).collect()
}

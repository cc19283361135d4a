//! The processes under test, in a temporary directory, on free ports. All of them end with the value that holds them.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Failure, exporter};

/// How long a process may take to become ready.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) struct Fleet {
    directory: tempfile::TempDir,
    binary: PathBuf,
    ports: Ports,
    cardinal: Option<Process>,
    _others: Vec<Process>,
}

struct Ports {
    cardinal: u16,
    prometheus: u16,
    exporter: u16,
    /// The target with native histograms, a thread of this process.
    native: u16,
}

/// A child process; killed when dropped.
struct Process(Child);

impl Fleet {
    /// Cardinal first, so that Prometheus finds it; then the exporter and Prometheus.
    pub(crate) async fn start(binary: &Path) -> Result<Self, Failure> {
        let binary = fs::canonicalize(binary).map_err(|e| format!("{}: {e}", binary.display()))?;
        let ports = Ports::free()?;
        let directory = tempfile::tempdir()?;
        let mut fleet = Self { directory, binary, ports, cardinal: None, _others: Vec::new() };
        fleet.start_cardinal().await?;
        let exporter = fleet.start_exporter()?;
        let prometheus = fleet.start_prometheus()?;
        fleet._others = vec![prometheus, exporter];
        wait_ready(&fleet.prometheus_url()).await?;
        Ok(fleet)
    }

    pub(crate) fn cardinal_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.cardinal)
    }

    pub(crate) fn prometheus_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.prometheus)
    }

    pub(crate) async fn start_cardinal(&mut self) -> Result<(), Failure> {
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--data-dir").arg(self.path("cardinal"));
        command.arg("--listen").arg(format!("127.0.0.1:{}", self.ports.cardinal));
        self.cardinal = Some(self.spawn(command, "cardinal.log")?);
        wait_ready(&self.cardinal_url()).await
    }

    /// As `kill -9` does.
    pub(crate) fn kill_cardinal(&mut self) -> Result<(), Failure> {
        let mut process = self.cardinal.take().ok_or("Cardinal does not run")?;
        process.0.kill()?;
        process.0.wait()?;
        Ok(())
    }

    /// As SIGTERM does; the exit code must be 0.
    pub(crate) fn stop_cardinal(&mut self) -> Result<(), Failure> {
        let mut process = self.cardinal.take().ok_or("Cardinal does not run")?;
        let pid = process.0.id().to_string();
        if !Command::new("kill").args(["-TERM", &pid]).status()?.success() {
            return Err("Cardinal had ended already".into());
        }
        let status = process.0.wait()?;
        if !status.success() {
            return Err(format!("Cardinal ended with {status}").into());
        }
        println!("Cardinal stopped with exit code 0");
        Ok(())
    }

    fn start_exporter(&self) -> Result<Process, Failure> {
        let mut command = Command::new("prometheus-node-exporter");
        command.arg(format!("--web.listen-address=127.0.0.1:{}", self.ports.exporter));
        self.spawn(command, "exporter.log")
    }

    fn start_prometheus(&self) -> Result<Process, Failure> {
        let config = self.path("prometheus.yml");
        fs::write(&config, self.prometheus_config())?;
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", self.path("prometheus").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{}", self.ports.prometheus));
        command.arg("--enable-feature=native-histograms");
        self.spawn(command, "prometheus.log")
    }

    fn prometheus_config(&self) -> String {
        let Ports { cardinal, prometheus, exporter, native } = self.ports;
        format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs:\n\
             - {{job_name: prometheus, static_configs: [{{targets: ['127.0.0.1:{prometheus}']}}]}}\n\
             - {{job_name: node, static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]}}\n\
             - {{job_name: native, static_configs: [{{targets: ['127.0.0.1:{native}']}}]}}\n\
             remote_write:\n\
             - url: http://127.0.0.1:{cardinal}/api/v1/write\n  \
               send_native_histograms: true\n  \
               queue_config: {{batch_send_deadline: 1s}}\n"
        )
    }

    fn spawn(&self, mut command: Command, log: &str) -> Result<Process, Failure> {
        let log = File::options().create(true).append(true).open(self.path(log))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Process(command.spawn().map_err(|e| format!("{name}: {e}"))?))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Fleet {
    /// A failed run says what Cardinal said.
    fn drop(&mut self) {
        if self.cardinal.is_some() {
            eprintln!("{}", fs::read_to_string(self.path("cardinal.log")).unwrap_or_default());
        }
    }
}

impl Ports {
    /// Ports that were free a moment ago, all different.
    fn free() -> Result<Self, Failure> {
        let listeners = [bind()?, bind()?, bind()?];
        let mut ports = [0; 3];
        for (port, listener) in ports.iter_mut().zip(&listeners) {
            *port = listener.local_addr()?.port();
        }
        let [cardinal, prometheus, exporter] = ports;
        Ok(Self { cardinal, prometheus, exporter, native: exporter::start()? })
    }
}

fn bind() -> std::io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", 0))
}

async fn wait_ready(url: &str) -> Result<(), Failure> {
    let began = std::time::Instant::now();
    while began.elapsed() < PATIENCE {
        if reqwest::get(format!("{url}/-/ready")).await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(format!("{url} is not ready after {} s", PATIENCE.as_secs()).into())
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

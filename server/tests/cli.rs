//! The binary as people and scripts meet it: output, exit codes, a whole life of a server.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

fn cardinal(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cardinal"));
    command.current_dir(directory).env_clear();
    command
}

fn run(directory: &Path, args: &[&str]) -> Output {
    cardinal(directory).args(args).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output.stdout)))
}

#[test]
fn exit_codes() {
    let directory = tempfile::tempdir().expect("a directory");
    let check = |args: &[&str], code: i32, on_stderr: &str| {
        let output = run(directory.path(), args);
        let found = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {found}");
        assert!(found.contains(on_stderr), "{args:?}: {found}");
    };
    std::fs::write(directory.path().join("wrong.yaml"), "wal:\n  sink: commit\n").expect("written");
    check(&["--help"], 0, "");
    check(&["--version"], 0, "");
    check(&["config"], 0, "");
    check(&[], 2, "Usage:");
    check(&["serve", "--wal-sink", "commit"], 2, "--wal-sync");
    check(
        &["check", "config", "wrong.yaml"],
        1,
        "wrong.yaml:2:3: there is no setting \"wal.sink\": did you mean wal.sync?",
    );
    check(&["serve", "--config", "wrong.yaml"], 1, "did you mean wal.sync?");
    check(&["serve", "--listen", "nowhere"], 1, "--listen: listen: \"nowhere\" is not an address");
    check(&["query", "up", "--url", "http://127.0.0.1:1"], 1, "is `cardinal serve` running there?");
    check(&["query", "up", "--time", "yesterday"], 1, "--time: cannot parse");
    check(&["inspect"], 1, "./data: there is no such directory");
    std::os::unix::fs::symlink("/nowhere/data", directory.path().join("link")).expect("a link");
    check(
        &["serve", "--data-dir", "link", "--listen", "127.0.0.1:0"],
        1,
        "link is a link to /nowhere/data, which is not there",
    );
    for what in [&["inspect"][..], &["inspect", "block", "1"], &["inspect", "series", "up"]] {
        let nothing = "cardinal: . is not a Cardinal data directory, since it has no MANIFEST: name one with --data-dir";
        check(&[what, &["--data-dir", "."]].concat(), 1, nothing);
    }
}

#[test]
fn settings_have_their_origins() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("cardinal.yaml"), "shards: 4\nlog: {format: json}\n")
        .expect("written");
    let mut command = cardinal(directory.path());
    let output =
        command.env("CARDINAL_SHARDS", "8").args(["config", "--json", "--log-level", "debug"]).output();
    let rows = json(&output.expect("it runs"));
    let row = |name: &str| {
        let row = rows.as_array().expect("rows").iter().find(|row| row["setting"] == name).expect("a row");
        format!("{} from {}", row["value"], row["origin"])
    };
    assert_eq!(row("shards"), r#""8" from "CARDINAL_SHARDS""#);
    assert_eq!(row("log.format"), r#""json" from "cardinal.yaml:2:7""#);
    assert_eq!(row("log.level"), r#""debug" from "--log-level""#);
    assert_eq!(row("listen"), r#""127.0.0.1:9460" from "default""#);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut child = cardinal(directory.path())
        .arg("config")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
}

/// A running server; killed when dropped.
struct Server {
    child: Child,
    url: String,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts on a free port and reads its address from the banner.
    fn start(directory: &Path, args: &[&str]) -> Self {
        Self::start_logging_to(Stdio::piped(), directory, args)
    }

    fn start_logging_to(stderr: Stdio, directory: &Path, args: &[&str]) -> Self {
        let mut child = cardinal(directory)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("it runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut url = String::new();
        while !url.contains("http://") {
            url.clear();
            assert!(stdout.read_line(&mut url).expect("UTF-8") > 0, "the banner names no address");
        }
        let url =
            url.split_whitespace().find(|word| word.starts_with("http://")).expect("an address").to_owned();
        Self { child, url, stdout }
    }

    /// Ends it as an operator does; exit code, the rest of standard output, standard error.
    fn stop(mut self) -> (Option<i32>, String, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        let (mut out, mut err) = (String::new(), String::new());
        self.stdout.read_to_string(&mut out).expect("UTF-8");
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut err).expect("UTF-8");
        }
        (self.child.wait().expect("it ends").code(), out, err)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until there is an answer: the first scrape of itself comes as soon as the server is ready.
fn ask(directory: &Path, url: &str, expression: &str) -> serde_json::Value {
    for _ in 0..600 {
        let output = run(directory, &["query", expression, "--json", "--url", url]);
        if output.status.success() {
            let answer = json(&output);
            if answer["data"]["result"].as_array().is_some_and(|result| !result.is_empty()) {
                return answer;
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{expression} has no answer")
}

#[test]
fn a_whole_life() {
    let directory = tempfile::tempdir().expect("a directory");
    let here = directory.path();
    let server = Server::start(here, &["--self-scrape", "1s", "--log-format", "json"]);
    let answer = ask(here, &server.url, "up{job=\"cardinal\"}");
    assert_eq!(answer["data"]["result"][0]["value"][1], "1");
    let table = text(&run(here, &["query", "up", "--url", &server.url]).stdout);
    assert!(table.contains("job=\"cardinal\""), "{table}");
    let beside = json(&run(here, &["inspect", "--json"]));
    assert_eq!(
        (&beside["directory"]["shards"], &beside["problems"]),
        (&serde_json::json!(16), &serde_json::json!([]))
    );
    let open = |found: &serde_json::Value| {
        let chunk = &found["chunks_in_head"][0];
        assert_eq!((&chunk["place"], &chunk["encoding"]), (&"open".into(), &"open".into()), "{found}");
        assert_eq!(
            (&chunk["kind"], &chunk["samples"]),
            (&"float".into(), &found["series"][0]["samples"]),
            "{found}"
        );
    };
    open(&json(&run(here, &["inspect", "series", "up", "--json"])));
    let second = run(here, &["serve", "--listen", "127.0.0.1:0"]);
    let refusal = text(&second.stderr);
    assert!(!second.status.success() && refusal.contains("in use by another Cardinal"), "{refusal}");
    let (code, _, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{log}");
    let series = json(&run(here, &["inspect", "series", "up", "--json"]));
    assert!(series["series"][0]["samples"].as_u64().is_some_and(|n| n > 0), "{series}");
    open(&series);
    let other = run(here, &["serve", "--listen", "127.0.0.1:0", "--shards", "3"]);
    let refusal = text(&other.stderr);
    assert!(other.status.code() == Some(1) && refusal.contains("was made with shards = 16"), "{refusal}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = run(directory.path(), &["serve", "--listen", &address]);
    let error = text(&output.stderr);
    assert!(error.contains(&format!("cannot listen on {address}")), "{error}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_log_on_a_full_disk_stops_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let full = std::fs::File::create("/dev/full").expect("Linux has one");
    let args = ["--self-scrape", "1s", "--log-level", "trace"];
    let server = Server::start_logging_to(full.into(), directory.path(), &args);
    let answer = ask(directory.path(), &server.url, "up{job=\"cardinal\"}");
    assert_eq!(answer["data"]["result"][0]["value"][1], "1");
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn a_full_disk_behind_the_output_is_named_and_behind_standard_error_changes_no_exit_code() {
    let directory = tempfile::tempdir().expect("a directory");
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a full disk");
    std::fs::write(directory.path().join("right.yaml"), "shards: 4\n").expect("written");
    std::fs::write(directory.path().join("wrong.yaml"), "shard: 4\n").expect("written");
    for args in [&["config"][..], &["check", "config", "right.yaml"]] {
        let output = cardinal(directory.path()).args(args).stdout(full()).output().expect("it runs");
        let found = text(&output.stderr);
        assert!(found.starts_with("cardinal: standard output: No space left on device"), "{args:?}: {found}");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
    }
    let wrong = ["check", "config", "wrong.yaml"];
    let output = cardinal(directory.path()).args(wrong).stderr(full()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    // A variable that is no setting is warned of.
    let mut config = cardinal(directory.path());
    let output = config.arg("config").env("CARDINAL_SHARD", "4").stderr(full()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0));
}

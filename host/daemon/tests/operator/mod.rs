//! A node with one agent: a folder with config, logs and outputs, the binary, and its interfaces.
#![allow(dead_code, reason = "each test needs a part of it")]

pub mod collector;
pub mod elasticsearch;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longest wait for anything.
const WAIT_MAX: Duration = Duration::from_secs(30);

pub struct Node {
    folder: TempDir,
    config: String,
}

impl Node {
    /// A file source `app`, a sink `out` for all of it and a sink `some` for every tenth record. `api` goes into that section.
    pub fn new(api: &str) -> Self {
        Self::of(|here| {
            format!(
                "version: 1\nagent: {{ id: operated }}\ndata_dir: {here}/data\napi: {{ {api}listen: 127.0.0.1:0 }}\n\
             checkpoint: {{ interval: 200ms }}\nshutdown: {{ grace: 4s }}\ntelemetry: {{ metrics: 127.0.0.1:0 }}\n\
             sources:\n  app: {{ type: file, include: [{here}/logs/*.log] }}\n\
             transforms:\n  read: {{ type: parse, inputs: [app], try: [json] }}\n  \
             tenth: {{ type: filter, inputs: [read], condition: tenth == true }}\n\
             sinks:\n  out: {{ type: file, inputs: [app], path: {here}/out }}\n  \
             some: {{ type: file, inputs: [tenth], path: {here}/some }}\n"
            )
        })
    }

    /// A node with a config that is told its folder.
    pub fn of(config: impl FnOnce(&str) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder.path().display().to_string());
        std::fs::create_dir(folder.path().join("logs")).unwrap();
        let node = Self { folder, config };
        node.restore_config();
        node
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder().join("data")
    }

    pub fn write_config(&self, text: &str) {
        std::fs::write(self.folder().join("sawlog.yaml"), text).unwrap();
    }

    /// Writes the config with a change.
    pub fn edit(&self, change: impl FnOnce(&str) -> String) {
        self.write_config(&change(&self.config));
    }

    pub fn restore_config(&self) {
        self.write_config(&self.config);
    }

    /// A file where the folder of the sink `out` should be.
    pub fn break_sink(&self) {
        let out = self.folder().join("out");
        std::fs::remove_dir_all(&out).unwrap();
        std::fs::write(out, "in the way").unwrap();
    }

    pub fn write_lines(&self, lines: u64) {
        let text: String = (0..lines).map(|n| format!("{{\"n\":{n},\"tenth\":{}}}\n", n % 10 == 0)).collect();
        std::fs::write(self.folder().join("logs/app.log"), text).unwrap();
    }

    /// What a verb prints, or what it complains about where it fails.
    pub fn verb(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sawlog"));
        command.args(arguments).env("SAWLOG_CONFIG", self.folder().join("sawlog.yaml"));
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        match output.status.success() {
            true => Ok(text(output.stdout)),
            false => Err(text([output.stdout, output.stderr].concat())),
        }
    }

    pub fn start(&self) -> Agent {
        let agent = self.start_without_waiting();
        agent.wait_until(|| agent.address("telemetry.metrics").is_some());
        agent
    }

    /// The same; it may not listen yet.
    pub fn start_without_waiting(&self) -> Agent {
        let (log, out) = self.log();
        self.spawn(log, out.try_clone().unwrap().into(), out)
    }

    /// The same, with its standard output in a pipe that nobody reads.
    pub fn start_into_a_pipe(&self) -> Agent {
        let (log, out) = self.log();
        let agent = self.spawn(log, Stdio::piped(), out);
        agent.wait_until(|| agent.address("telemetry.metrics").is_some());
        agent
    }

    fn log(&self) -> (PathBuf, File) {
        let log = self.folder().join("agent.log");
        let out = File::create(&log).unwrap();
        (log, out)
    }

    fn spawn(&self, log: PathBuf, out: Stdio, errors: File) -> Agent {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sawlog"));
        command.args(["run", "-c"]).arg(self.folder().join("sawlog.yaml")).stdin(Stdio::null());
        Agent { child: command.stdout(out).stderr(errors).spawn().unwrap(), log }
    }
}

pub struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// Waits until `done`; fails with the agent's log.
    #[track_caller]
    pub fn wait_until(&self, done: impl Fn() -> bool) {
        let until = Instant::now() + WAIT_MAX;
        while !done() {
            assert!(Instant::now() < until, "it does not come to pass:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Where it listens for what `option` of the config names; its log says so.
    pub fn address(&self, option: &str) -> Option<String> {
        let log = self.log();
        let of_text = |line: &str| {
            let named = line.contains(&format!("option=\"{option}\""));
            named.then(|| Some(line.split_once("address=")?.1.split(' ').next()?.to_owned()))?
        };
        let of_json = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let named = line["fields"]["option"] == option;
            named.then(|| Some(line["fields"]["address"].as_str()?.to_owned()))?
        };
        log.lines().find_map(|line| of_text(line).or_else(|| of_json(line)))
    }

    pub fn get(&self, option: &str, path: &str) -> (u16, String) {
        self.ask(option, "GET", path)
    }

    pub fn ask(&self, option: &str, method: &str, path: &str) -> (u16, String) {
        self.ask_with(option, method, path, "")
    }

    /// Status and body of an answer.
    pub fn ask_with(&self, option: &str, method: &str, path: &str, authorization: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address(option).unwrap()).unwrap();
        stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
        let authorization =
            if authorization.is_empty() { String::new() } else { format!("authorization: {authorization}\r\n") };
        let head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{authorization}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }

    /// SIGTERM, and an orderly end.
    pub fn terminate(&mut self) {
        self.ask_to_end();
        self.ended();
    }

    /// SIGTERM.
    pub fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for an orderly end.
    pub fn ended(&mut self) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}:\n{}", self.log());
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill();
        }
    }
}

/// Names of the metrics on `docs/metrics.md`.
pub fn page_metrics() -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    page.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect()
}

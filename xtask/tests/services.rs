//! The verbs that end-to-end tests use on services, and the guard, tried on a service that is only a shell.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A run folder with a state file that knows one service, `toy`, which says so when it starts.
struct Toy {
    folder: PathBuf,
}

impl Toy {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sawlog-toy-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let state = serde_json::json!({
            "endpoints": { "SAWLOG_TEST_TOY": "here" },
            "processes": [{
                "name": "toy", "service": "toy", "identity": null,
                "log": folder.join("toy.log"),
                "ready": [{ "LogHas": "toy is up" }],
                "command": {
                    "program": "/bin/sh", "arguments": ["-c", "echo toy is up; exec sleep 300"],
                    "environment": {}, "directory": folder, "user_id": null, "pid_file": null,
                },
            }],
        });
        fs::write(folder.join("services.json"), state.to_string()).unwrap();
        Self { folder }
    }

    fn state(&self) -> PathBuf {
        self.folder.join("services.json")
    }

    fn verb(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("services").args(arguments).env("SAWLOG_TEST_SERVICES", self.state());
        command.output().unwrap()
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.verb(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn pid(&self) -> u32 {
        let state: serde_json::Value = serde_json::from_slice(&fs::read(self.state()).unwrap()).unwrap();
        u32::try_from(state["processes"][0]["identity"]["pid"].as_u64().unwrap()).unwrap()
    }
}

impl Drop for Toy {
    fn drop(&mut self) {
        if self.folder.exists() {
            self.succeeds(&["kill", "toy"]);
            fs::remove_dir_all(&self.folder).unwrap();
        }
    }
}

/// The state letter of a process, `None` when it is gone or a zombie.
fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next().filter(|state| *state != 'Z')
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_service_is_killed_restarted_paused_and_resumed_by_name() {
    let toy = Toy::new("verbs");
    toy.succeeds(&["restart", "toy"]);
    let first = toy.pid();
    toy.succeeds(&["restart", "toy"]);
    let second = toy.pid();
    assert_ne!(first, second);
    assert_eq!(state_of(first), None);
    toy.succeeds(&["pause", "toy"]);
    eventually("it is stopped", || state_of(second) == Some('T'));
    toy.succeeds(&["resume", "toy"]);
    eventually("it goes on", || state_of(second) == Some('S'));
    toy.succeeds(&["kill", "toy"]);
    assert_eq!(state_of(second), None);
    assert!(toy.succeeds(&["status"]).contains("toy              is down"));
}

#[test]
fn the_environment_for_a_shell_has_the_endpoints_but_not_the_mark() {
    let toy = Toy::new("env");
    let text = toy.succeeds(&["env"]);
    assert!(text.contains("export SAWLOG_TEST_TOY='here'\n"), "{text}");
    assert!(text.contains("export SAWLOG_TEST_SERVICES="), "{text}");
    assert!(!text.contains("MARK"), "{text}");
}

#[test]
fn a_wrong_name_is_refused_with_the_right_ones() {
    let toy = Toy::new("name");
    let output = toy.verb(&["kill", "tory"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("there are [toy]"));
}

#[test]
fn a_service_that_ends_at_once_fails_with_the_tail_of_its_log() {
    let toy = Toy::new("broken");
    let state = fs::read_to_string(toy.state()).unwrap();
    fs::write(toy.state(), state.replace("echo toy is up; exec sleep 300", "echo no disk; exit 3")).unwrap();
    let output = toy.verb(&["restart", "toy"]);
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(message.contains("toy did not start") && message.contains("no disk"), "{message}");
}

#[test]
fn the_guard_ends_the_run_when_its_runner_is_killed() {
    let toy = Toy::new("guard");
    toy.succeeds(&["restart", "toy"]);
    let service = toy.pid();
    // The runner is a process that does nothing but hold the other end of the guard's pipe.
    let mut runner = Command::new("sleep").arg("300").stdout(Stdio::piped()).spawn().unwrap();
    let pipe = runner.stdout.take().unwrap();
    let mut guard = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let mut guard = guard.args(["services", "guard"]).arg(toy.state()).stdin(pipe).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(state_of(service).is_some(), "the guard must wait while its runner lives");
    runner.kill().unwrap();
    runner.wait().unwrap();
    assert!(guard.wait().unwrap().success());
    assert_eq!(state_of(service), None);
    assert!(!toy.folder.exists());
}

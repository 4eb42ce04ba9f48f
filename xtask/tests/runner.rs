//! The runner of the tests, tried with a cargo that only says what a real one would say.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A folder for temporary files of its own, with a script in it that stands in for cargo.
fn fake(name: &str, script: &str) -> (PathBuf, Command) {
    let folder = std::env::temp_dir().join(format!("sawlog-runner-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let cargo = folder.join("cargo");
    fs::write(&cargo, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let mut runner = Command::new(env!("CARGO_BIN_EXE_xtask"));
    // The ring of formatting is three steps, and all of them are cargo. Logs of the steps must not overwrite those of the run that this test may be part of.
    runner
        .args(["test", "--only", "format"])
        .env("CARGO", &cargo)
        .env("TMPDIR", &folder)
        .env("SAWLOG_TEST_LOGS", &folder);
    (folder, runner)
}

fn run(name: &str, script: &str) -> (bool, String) {
    let (folder, mut runner) = fake(name, script);
    let output = runner.output().unwrap();
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("sawlog-services")), "{left:?}");
    fs::remove_dir_all(&folder).unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn sums_are_the_last_line_and_green_only_when_nothing_failed() {
    let (green, text) = run("green", "echo chatter; echo 'sim: 5 passed, 0 failed'");
    assert!(green, "{text}");
    assert!(text.contains("\nsim: 5 passed, 0 failed\n"), "{text}");
    assert!(text.ends_with("\n15 passed, 0 failed\n"), "{text}");
    let (green, text) = run("red", "echo 'sim: 5 passed, 1 failed'; exit 1");
    assert!(!green && text.ends_with("\n15 passed, 3 failed\n"), "{text}");
}

#[test]
fn a_command_that_fails_without_counting_is_a_failure() {
    let (green, text) = run("silent", "exit 101");
    assert!(!green && text.ends_with("\n0 passed, 3 failed\n"), "{text}");
    let (green, text) = run("liar", "echo 'sim: 5 passed, 0 failed'; exit 101");
    assert!(!green && text.ends_with("\n15 passed, 3 failed\n"), "{text}");
}

#[test]
fn what_did_not_run_is_named_and_counted_as_skipped() {
    let (_, text) = run("skipped", "echo 'NOT RUN: full_disk: no namespaces'; echo 'sim: 5 passed, 0 failed'");
    assert!(
        text.ends_with(&("\nNOT RUN: full_disk: no namespaces".repeat(3) + "\n12 passed, 0 failed, 3 skipped\n")),
        "{text}"
    );
}

#[test]
fn nothing_outlives_a_runner_that_is_killed() {
    let (folder, mut runner) = fake("killed", "echo $$ > \"$TMPDIR/pid\"; sleep 300 & sleep 300");
    let mut runner = runner.stdout(Stdio::null()).spawn().unwrap();
    let pid_file = folder.join("pid");
    eventually("the step runs", || fs::read_to_string(&pid_file).is_ok_and(|pid| pid.ends_with('\n')));
    let step: u32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    runner.kill().unwrap();
    runner.wait().unwrap();
    eventually("the step is ended", || fs::metadata(format!("/proc/{step}")).is_err());
    let runs = || fs::read_dir(&folder).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
    eventually("the run folder is gone", || runs() == 0);
    fs::remove_dir_all(&folder).unwrap();
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

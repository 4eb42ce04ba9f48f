//! `cargo xtask demo`, as a person sees it, with fewer lines: it must end with its count, and kill what owes rows on the way.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::service;
use std::process::Command;

#[test]
fn the_demonstration_ends_with_nothing_lost_and_nothing_repeated() {
    if service("the demonstration", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let demo = folder.path().join("demo");
    let shown = Command::new(env!("CARGO_BIN_EXE_demo")).arg("local").arg(&demo).arg("6000").output().unwrap();
    let (out, errors) = (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
    assert!(shown.status.success(), "{out}\n{errors}");
    let lines: Vec<&str> = out.lines().collect();
    let with = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!(lines.last().copied(), Some("lost 0, duplicated 0"), "{out}");
    assert_eq!(with("killed with -9 while"), 3, "{out}");
    assert!(with("sending: file ") >= 4, "it shows live counts: {out}");
    assert_eq!(with("negative control"), 2, "{out}");
    for place in [demo.join("lake"), demo.join("warnings.jsonl"), demo.join("sawlog.yaml")] {
        assert!(out.contains(&place.display().to_string()) && place.exists(), "it says where to look: {out}");
    }
}

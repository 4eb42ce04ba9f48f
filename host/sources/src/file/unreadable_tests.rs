//! A file that may not be read, also where the tests' user may read everything.

#![allow(clippy::unwrap_used)]

use super::follower::{append, fixture, line};
use std::time::Duration;

/// Set in the process of a test that holds no right to read what a file's mode forbids.
const WITHOUT_PRIVILEGES: &str = "SAWLOG_TEST_WITHOUT_PRIVILEGES";

/// Runs `test` in a process for which a file's mode holds although its user is root.
fn again_without_privileges(test: &str) {
    let none = "-dac_override,-dac_read_search";
    let done = std::process::Command::new("setpriv")
        .args(["--bounding-set", none, "--inh-caps", none])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(WITHOUT_PRIVILEGES, "1")
        .output();
    let Ok(done) = done else {
        println!("NOT RUN: {test}: this user may read everything, and there is no `setpriv`; it comes with util-linux");
        return;
    };
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn an_unreadable_file_is_not_taken_for_gone() {
    use std::os::unix::fs::PermissionsExt;
    if rustix::process::geteuid().is_root() && std::env::var_os(WITHOUT_PRIVILEGES).is_none() {
        return again_without_privileges("file::unreadable_tests::an_unreadable_file_is_not_taken_for_gone");
    }
    let (_keep, app, mut follower) = fixture();
    append(&app, 0..3);
    follower.start();
    follower.until_lines(3);
    follower.rest(Duration::from_millis(1200));
    follower.stop();
    std::fs::set_permissions(&app, PermissionsExt::from_mode(0o000)).unwrap();
    std::fs::File::open(&app).expect_err("a file of mode 000 can be opened");
    follower.start();
    follower.rest(Duration::from_millis(300));
    assert!(!follower.source().status().refused.is_empty());
    std::fs::set_permissions(&app, PermissionsExt::from_mode(0o600)).unwrap();
    append(&app, 3..5);
    follower.until_lines(5);
    follower.expect((0..5).map(line));
}

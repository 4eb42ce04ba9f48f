//! How soon files are found, told of by the kernel or not.

#![allow(clippy::unwrap_used)]

use super::follower::{Follower, append, fixture, line, options};
use super::watch::Kernel;
use std::time::{Duration, Instant};

#[test]
fn new_files_and_new_lines_are_found_within_a_second() {
    let full = Kernel { watch: |_, _| Err(rustix::io::Errno::NOSPC), ..Kernel::default() };
    for (i, kernel) in [Some(Kernel::default()), Some(full), None].into_iter().enumerate() {
        let (_keep, app, mut follower) = fixture();
        follower.kernel = kernel;
        follower.start();
        follower.rest(Duration::from_millis(100));
        let begun = Instant::now();
        append(&app, 0..10);
        follower.until_lines(10);
        append(&app, 10..20);
        follower.until_lines(20);
        assert!(begun.elapsed() < Duration::from_secs(8), "two discoveries took {:?} (kernel {i})", begun.elapsed());
        follower.expect((0..20).map(line));
        assert_eq!(follower.journal.len(), 1);
    }
}

#[test]
fn a_folder_that_comes_later_or_comes_again_is_found_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let (outer, logs) = (folder.path().join("later"), folder.path().join("later/logs"));
    let mut follower = Follower::new(options(&logs, "*.log"));
    follower.options.scratch = folder.path().to_owned();
    follower.options.poll_interval = Duration::from_secs(1);
    follower.start();
    follower.rest(Duration::from_millis(100));
    let mut n = 0;
    let mut found_soon = |follower: &mut Follower| {
        std::fs::create_dir_all(&logs).unwrap();
        append(&logs.join(format!("{n}.log")), n..n + 1);
        n += 1;
        let begun = Instant::now();
        follower.until_lines(n);
        // Its folder is watched by now.
        append(&logs.join(format!("{n}.log")), n..n + 1);
        n += 1;
        follower.until_lines(n);
        assert!(begun.elapsed() < Duration::from_secs(8), "file {n} took {:?}", begun.elapsed());
    };
    found_soon(&mut follower);
    std::fs::remove_dir_all(&outer).unwrap();
    follower.rest(Duration::from_millis(1200));
    found_soon(&mut follower);
    // The new one is there before anybody can look.
    std::fs::rename(&outer, folder.path().join("before")).unwrap();
    found_soon(&mut follower);
    follower.expect((0..6).map(line));
}

#[test]
fn a_file_that_appears_between_the_first_look_and_the_watch_is_found() {
    for microseconds in 0..40 {
        let (_keep, app, mut follower) = fixture();
        follower.start();
        std::thread::sleep(Duration::from_micros(microseconds * 10));
        append(&app, 0..3);
        follower.until_lines(3);
    }
}

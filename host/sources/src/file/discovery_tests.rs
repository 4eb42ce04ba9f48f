//! How soon files are found, told of by the kernel or not.

#![allow(clippy::unwrap_used)]

use super::follower::{Follower, append, fixture, options};
use super::watch::Kernel;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// A machine that is busy with other things may spoil some tries, not all of them.
const TRIES: usize = 6;

/// The best of some tries to find what `change` does, which is one more line each time.
fn best(follower: &mut Follower, mut change: impl FnMut(usize)) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        let n = follower.lines.len();
        change(n);
        let begun = Instant::now();
        follower.until_lines(n + 1);
        best = best.min(begun.elapsed());
        if best <= SECOND {
            break;
        }
    }
    best
}

#[test]
fn new_files_and_new_lines_are_found_within_a_second() {
    let full = Kernel { watch: |_, _| Err(rustix::io::Errno::NOSPC), ..Kernel::default() };
    let find = |kernel| {
        let (_keep, app, mut follower) = fixture();
        follower.kernel = kernel;
        follower.options.poll_interval = super::config::poll_interval().as_duration();
        follower.start();
        follower.rest(Duration::from_millis(100));
        let file = best(&mut follower, |n| append(&app.with_file_name(format!("{n}.log")), n..n + 1));
        let name = app.with_file_name("0.log");
        let more = best(&mut follower, |n| append(&name, n..n + 1));
        assert!(file <= SECOND && more <= SECOND, "a file was found after {file:?}, a line after {more:?}");
    };
    // Told by the kernel, told by one that has no watches left, and not told.
    std::thread::scope(|scope| {
        for kernel in [Some(Kernel::default()), Some(full), None] {
            scope.spawn(move || find(kernel));
        }
    });
}

#[test]
fn a_folder_that_comes_later_or_comes_again_is_found_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let (outer, logs) = (folder.path().join("later"), folder.path().join("later/logs"));
    let mut follower = Follower::new(options(&logs, "*.log"));
    follower.options.scratch = folder.path().to_owned();
    follower.options.poll_interval = super::config::poll_interval().as_duration();
    follower.start();
    let away = |n: usize| folder.path().join(format!("before-{n}"));
    let appear = |n: usize| {
        std::fs::create_dir_all(&logs).unwrap();
        append(&logs.join(format!("{n}.log")), n..n + 1);
    };
    let comes = best(&mut follower, |n| {
        if n > 0 {
            std::fs::rename(&outer, away(n)).unwrap();
        }
        // It was seen that it is not there.
        std::thread::sleep(Duration::from_millis(1200));
        appear(n)
    });
    // Its folder is watched by now.
    let watched = best(&mut follower, appear);
    // The new one is there before anybody can look.
    let again = best(&mut follower, |n| {
        std::fs::rename(&outer, away(n)).unwrap();
        appear(n)
    });
    assert!(comes.max(watched).max(again) <= SECOND, "{comes:?}, {watched:?}, {again:?}");
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

//! Fragments whose rest never comes are records, wherever the file ends and whatever the other stream writes meanwhile.

#![allow(clippy::unwrap_used)]

use super::follower::{Follower, options};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A container's log, and a source that follows it.
fn container() -> (tempfile::TempDir, PathBuf, Follower) {
    let folder = tempfile::tempdir().unwrap();
    let container = folder.path().join("pods/shop_cart-1_uid-9/app");
    std::fs::create_dir_all(&container).unwrap();
    let mut follower = Follower::new(options(folder.path(), "pods/*/*/*.log*"));
    follower.options.idle_timeout = Duration::from_millis(400);
    (folder, container.join("0.log"), follower)
}

fn write(path: &Path, text: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_fragment_whose_rest_never_comes_is_a_record_before_what_stands_behind_it() {
    let (_folder, live, mut follower) = container();
    write(&live, "T stdout F a\nT stdout P b\nT stderr F c\nT stderr F d\n");
    follower.start();
    follower.until_lines(4);
    follower.expect(["T stdout F a", "T stdout P b", "T stderr F c", "T stderr F d"]);
    // The end was decided: what comes later belongs to no fragment that was delivered, in this life or the next.
    for n in 0..2 {
        follower.rest(Duration::from_millis(1200));
        follower.stop();
        follower.start();
        write(&live, "T stdout F e\n");
        follower.until_lines(5 + n);
    }
    let tail = ["T stdout F e", "T stdout F e"];
    follower.expect(["T stdout F a", "T stdout P b", "T stderr F c", "T stderr F d"].into_iter().chain(tail));
}

#[test]
fn fragments_of_both_streams_whose_rest_never_comes_are_records() {
    for until_eof in [false, true] {
        let (_folder, live, mut follower) = container();
        follower.options.until_eof = until_eof;
        write(&live, "T stdout P a\nT stderr P b\nT stdout P c\nno stream\nT stderr P d");
        follower.start();
        follower.until_lines(if until_eof { 4 } else { 3 });
        // What has no line end waits for one as long as the file lives.
        let expected = match until_eof {
            true => ["T stderr P b", "T stdout F ac", "no stream", "T stderr P d"].as_slice(),
            false => &["T stderr P b", "T stdout F ac", "no stream"],
        };
        let mut lines = follower.lines.clone();
        lines.sort();
        let mut expected: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
        expected.sort();
        assert_eq!(lines, expected);
    }
}

/// The other stream never rests: what a fragment holds back waits no longer than the fragment may.
#[test]
fn a_stream_that_goes_on_is_not_held_for_longer_than_a_fragment_waits() {
    let (_folder, live, mut follower) = container();
    write(&live, "T stdout P a\n");
    follower.start();
    let mut written = 0;
    let begun = std::time::Instant::now();
    while follower.lines.len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "held for ever: {written} lines");
        write(&live, &format!("T stderr F {written}\n"));
        written += 1;
        follower.rest(Duration::from_millis(20));
    }
    assert!(begun.elapsed() >= Duration::from_millis(400), "a fragment is waited for");
    follower.until_lines(1 + written);
    let others = (0..written).map(|n| format!("T stderr F {n}"));
    follower.expect(["T stdout P a".to_owned()].into_iter().chain(others));
}

/// A fragment that nothing ended within the span that a reader looks back is ended at once.
#[test]
fn a_fragment_far_back_is_a_record_of_its_own() {
    let (_folder, live, mut follower) = container();
    follower.options.idle_timeout = Duration::from_secs(30);
    let line = format!("T stderr F {}\n", "x".repeat(1 << 10));
    write(&live, "T stdout P a\n");
    write(&live, &line.repeat(10_000));
    write(&live, "T stdout F b\n");
    follower.start();
    follower.until_lines(10_002);
    assert_eq!(follower.lines.first().unwrap(), "T stdout P a");
    assert_eq!(follower.lines.last().unwrap(), "T stdout F b");
}

/// Cut behind every line by the end of a backfill, every line that was written is in a record.
#[test]
fn every_cut_of_a_backfill_has_every_line() {
    let text = "T stdout F 1\nT stderr P 2\nT stdout P 3\nT stderr F 4\nT stderr P 5\nT stdout F 6\nT stdout P 7\n\
        T stderr F 8\nT stdout P 9\nT stderr F 0\n";
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    for pattern in [None, Some("^[0-9]")] {
        for (n, end) in ends.iter().enumerate() {
            let (_folder, live, mut follower) = container();
            let multiline = |pattern| super::options::multiline(pattern, true, 100).unwrap();
            follower.options.framing.multiline = pattern.map(multiline);
            follower.options.until_eof = true;
            write(&live, &text[..*end]);
            follower.start();
            follower.until("its end", |follower| follower.finished);
            let digits: Vec<char> = "1234567890".chars().take(n + 1).collect();
            let messages = follower.lines.iter().flat_map(|line| line.split('\n').map(message));
            let mut found: Vec<char> = messages.collect::<String>().chars().collect();
            found.sort_by_key(|digit| (*digit as u32 - '0' as u32 + 9) % 10);
            assert_eq!(found, digits, "{pattern:?} {end} {:?}", follower.lines);
        }
    }
}

/// What a container wrote, without its envelope.
fn message(line: &str) -> &str {
    line.splitn(4, ' ').nth(3).unwrap_or(line)
}

/// Fragments that were carried into a younger file where only the other stream goes on.
#[test]
fn a_fragment_that_was_carried_and_never_goes_on_is_not_lost() {
    let (_folder, live, mut follower) = container();
    follower.options.rotate_wait = Duration::from_secs(20);
    write(&live, "T stdout F z\nT stdout P a\nT stderr F e\n");
    follower.start();
    follower.until_lines(1);
    std::fs::rename(&live, live.with_file_name("0.log.20261124-120000")).unwrap();
    write(&live, "T stderr F f\nT stderr F g\n");
    follower.until("all", |follower| follower.lines.iter().any(|line| line.ends_with('g')));
    follower.rest(Duration::from_millis(600));
    let all = follower.lines.join("\n");
    assert_eq!(all.matches("stdout P a").count() + all.matches("stdout F a").count(), 1, "{all}");
    for digit in ["z", "e", "f", "g"] {
        assert_eq!(all.matches(&format!("F {digit}")).count() + all.matches(&format!("\n{digit}")).count(), 1, "{all}");
    }
}

/// Of both streams fragments were carried, and only one goes on: nothing is looked at without end, and nothing is lost.
#[test]
fn fragments_of_both_streams_that_were_carried_and_never_go_on_are_not_lost() {
    for goes_on in ["T stderr F f\nT stderr F g\n", "T stdout F f\nT stdout F g\n", "no stream f\nno stream g\n"] {
        let (_folder, live, mut follower) = container();
        follower.options.rotate_wait = Duration::from_secs(20);
        write(&live, "T stdout F z\nT stdout P a\nT stdout P b\nT stderr P c\n");
        follower.start();
        follower.until_lines(1);
        std::fs::rename(&live, live.with_file_name("0.log.20261124-120000")).unwrap();
        write(&live, goes_on);
        follower.until("all", |follower| follower.lines.iter().any(|line| line.ends_with('g')));
        follower.rest(Duration::from_millis(600));
        follower.stop();
        follower.start();
        write(&live, "T stdout F h\nT stderr F i\n");
        follower.until("the rest", |follower| follower.lines.iter().any(|line| line.ends_with('i')));
        let messages = follower.lines.iter().flat_map(|line| line.split('\n').map(message));
        let messages = messages.collect::<String>().replace("no stream ", "");
        let mut found: Vec<char> = messages.chars().collect();
        found.sort_unstable();
        assert_eq!(found, "abcfghiz".chars().collect::<Vec<_>>(), "{goes_on}: {:?}", follower.lines);
    }
}

//! Files that rotation packs: which they were, and those that can't be unpacked.

#![allow(clippy::unwrap_used)]

use super::follower::{append, copytruncate, fixture, gzip, line, numbered};
use sawlog_core::memory::Pool;
use std::time::Duration;

#[test]
fn a_packed_file_is_the_one_it_was() {
    let (_keep, app, mut follower) = fixture();
    append(&app, 0..100);
    follower.start();
    follower.until_lines(100);
    std::fs::rename(&app, numbered(&app, 1)).unwrap();
    append(&app, 100..110);
    follower.until_lines(110);
    follower.rest(Duration::from_millis(1200));
    gzip(&numbered(&app, 1));
    follower.rest(Duration::from_millis(600));
    follower.stop();
    follower.start();
    follower.rest(Duration::from_millis(600));
    follower.expect_sorted(0..110);
}

#[test]
fn a_packed_file_that_nobody_read_is_read_unpacked() {
    let (_keep, app, mut follower) = fixture();
    append(&app, 0..5000);
    std::fs::rename(&app, numbered(&app, 1)).unwrap();
    gzip(&numbered(&app, 1));
    append(&app, 5000..5010);
    follower.start();
    follower.until_lines(5010);
    follower.rest(Duration::from_millis(300));
    follower.expect_sorted(0..5010);
}

#[test]
fn a_packed_file_that_unpacks_to_too_much_is_refused_once_and_disturbs_nothing() {
    let (_keep, app, mut follower) = fixture();
    follower.options.unpacked = Pool::new(1 << 20);
    std::fs::write(numbered(&app, 1), vec![b'\n'; 32 << 20]).unwrap();
    gzip(&numbered(&app, 1));
    append(&app, 0..5);
    follower.start();
    for round in 1..4 {
        follower.until_lines(5 * round);
        append(&app, 5 * round..5 * round + 5);
    }
    let status = follower.source().status();
    assert_eq!((status.unpackings, status.refused.len()), (1, 1));
    assert!(status.refused[0].to_string().contains("unpacks to more than 1048576 bytes"), "{}", status.refused[0]);
    assert_eq!(follower.options.unpacked.held_bytes(), 0);
    // Another file under its name is another chance.
    std::fs::remove_file(format!("{}.gz", numbered(&app, 1).display())).unwrap();
    append(&numbered(&app, 1), 20..30);
    gzip(&numbered(&app, 1));
    follower.until_lines(30);
    follower.expect_sorted(0..30);
}

#[test]
fn what_was_read_in_part_is_not_gone_while_its_packed_file_waits_for_room() {
    let (_keep, app, mut follower) = fixture();
    append(&app, 0..2000);
    follower.start();
    follower.until_lines(2000);
    follower.stop();
    append(&app, 2000..4000);
    std::fs::rename(&app, numbered(&app, 1)).unwrap();
    gzip(&numbered(&app, 1));
    append(&app, 4000..4010);
    follower.options.unpacked = Pool::new(1 << 20);
    let others = follower.options.unpacked.take((1 << 20) - 1_000).unwrap();
    follower.start();
    follower.until_lines(2010);
    follower.rest(Duration::from_millis(600));
    assert_eq!(follower.source().status().refused.len(), 1);
    drop(others);
    follower.until_lines(4010);
    follower.expect_sorted(0..4010);
}

#[test]
fn packed_files_wait_for_the_room_that_others_take() {
    let (_keep, app, mut follower) = fixture();
    follower.options.unpacked = Pool::new(150_000);
    for i in 0..4 {
        append(&numbered(&app, i as u32 + 1), 2000 * i..2000 * (i + 1));
        gzip(&numbered(&app, i as u32 + 1));
    }
    follower.options.until_eof = true;
    follower.start();
    follower.until("the end", |f| f.finished);
    follower.expect_sorted(0..8000);
    assert!(follower.source().status().refused.is_empty());
    assert!(follower.source().status().unpackings < 30, "{:?}", follower.source().status());
}

#[test]
fn a_disk_that_takes_nothing_is_left_alone_for_a_while() {
    let (_keep, app, mut follower) = fixture();
    follower.options.scratch = app.with_file_name("nowhere");
    append(&numbered(&app, 1), 100..110);
    gzip(&numbered(&app, 1));
    append(&app, 0..5);
    follower.start();
    follower.until_lines(5);
    append(&app, 5..10);
    follower.until_lines(10);
    follower.rest(Duration::from_millis(500));
    let status = follower.source().status();
    assert_eq!((status.unpackings, status.refused.len()), (1, 1));
    assert!(status.refused[0].to_string().contains("make room there"), "{}", status.refused[0]);
}

/// The live file is the oldest by birth, the packed one the youngest.
#[test]
fn what_was_rotated_before_anybody_looked_is_read_from_the_oldest_on() {
    let (_keep, app, mut follower) = fixture();
    let pause = || std::thread::sleep(Duration::from_millis(20));
    append(&app, 0..10);
    copytruncate(&app, &numbered(&app, 2));
    pause();
    append(&app, 10..20);
    copytruncate(&app, &numbered(&app, 1));
    pause();
    gzip(&numbered(&app, 2));
    append(&app, 20..30);
    follower.start();
    follower.until_lines(30);
    follower.rest(Duration::from_millis(300));
    follower.expect((0..30).map(line));
}

//! A source that is to begin at the end does so once.

#![allow(clippy::unwrap_used)]

use super::follower::{append, fixture, line};
use std::time::Duration;

#[test]
fn a_source_can_begin_at_the_end() {
    let (_keep, app, mut follower) = fixture();
    append(&app, 0..10);
    follower.options.from_end = true;
    follower.start();
    follower.until("the file", |f| !f.journal.is_empty());
    append(&app, 10..12);
    follower.until_lines(2);
    follower.expect((10..12).map(line));
    append(&app.with_file_name("new.log"), 12..14);
    follower.until_lines(4);
    follower.expect((10..14).map(line));
}

#[test]
fn a_source_begins_at_the_end_once_though_all_that_it_knew_is_gone() {
    let (_keep, app, mut follower) = fixture();
    append(&app, 0..10);
    follower.options.from_end = true;
    follower.start();
    follower.until("the file", |f| !f.journal.is_empty());
    append(&app, 10..12);
    follower.until_lines(2);
    std::fs::remove_file(&app).unwrap();
    follower.until("its end", |f| f.journal.values().all(|known| known.gone));
    follower.stop();
    append(&app.with_file_name("new.log"), 12..15);
    follower.start();
    follower.until_lines(5);
    follower.expect((10..15).map(line));
}

#[test]
fn without_its_journal_a_source_does_not_begin_at_the_end_again() {
    let (_keep, app, mut follower) = fixture();
    append(&app, 0..10);
    follower.options.from_end = true;
    follower.start();
    follower.until("the file", |f| !f.journal.is_empty());
    append(&app, 10..12);
    follower.until_lines(2);
    follower.lose_journal();
    append(&app, 12..15);
    append(&app.with_file_name("new.log"), 15..17);
    follower.start();
    follower.until_lines(7);
    follower.rest(Duration::from_millis(300));
    follower.expect_sorted(10..17);
}

//! The contract of an appended file: what is durable at each point where a process can die, simulated by dropping the sink and
//! recovering a new one with what the journal would hold.

use crate::rows::{NEW_YEAR, encoders, json_lines, offer};
use sawlog_core::ports::{AppendFile, SinkError};
use sawlog_settings::format::ObjectFormat;
use sawlog_sinks::file::{AppendOptions, AppendTarget, AppendedFile};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

type At = (u64, u64);

fn options(target: AppendTarget, format: ObjectFormat) -> AppendOptions {
    AppendOptions {
        target,
        agent: "node-1".into(),
        sink: "out".into(),
        extension: format.extension().into(),
        new_encoder: encoders(format),
        roll_bytes: 100,
        roll_age: Duration::from_secs(3600),
        total_bytes_max: None,
        place: "here".into(),
    }
}

fn numbered(at: &TempDir) -> AppendedFile {
    AppendedFile::new(options(AppendTarget::Folder(at.path().join("out")), ObjectFormat::JsonLines))
}

fn part(at: &TempDir, number: u64) -> PathBuf {
    at.path().join(format!("out/node-1-out-{number:010}.jsonl.part"))
}

fn closed(at: &TempDir, number: u64) -> PathBuf {
    at.path().join(format!("out/node-1-out-{number:010}.jsonl"))
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

async fn append(file: &AppendedFile, body: &str) -> At {
    file.append(&[offer(0, &[(body, NEW_YEAR)])], &[]).await.unwrap()
}

#[tokio::test]
async fn the_first_life_begins_a_file_that_the_journal_can_name() {
    let at = TempDir::new().unwrap();
    assert_eq!(numbered(&at).recover(None).await.unwrap(), (1, 0));
    assert_eq!(text(&part(&at, 1)), "");
    // Dead before the first append, after the journal took (1, 0).
    let file = numbered(&at);
    assert_eq!(file.recover(Some((1, 0))).await.unwrap(), (1, 0));
    let line = json_lines(["a"]);
    assert_eq!(append(&file, "a").await, (1, line.len() as u64));
    assert_eq!(text(&part(&at, 1)), line);
}

#[tokio::test]
async fn a_commit_that_the_journal_does_not_know_is_cut() {
    let at = TempDir::new().unwrap();
    let file = numbered(&at);
    file.recover(None).await.unwrap();
    let journalled = append(&file, "a").await;
    append(&file, "lost with the process").await;
    // And a torn write behind it.
    std::fs::OpenOptions::new().append(true).open(part(&at, 1)).unwrap().write_all(b"{\"bo").unwrap();
    drop(file);
    let file = numbered(&at);
    assert_eq!(file.recover(Some(journalled)).await.unwrap(), journalled);
    assert_eq!(text(&part(&at, 1)), json_lines(["a"]));
    append(&file, "b").await;
    assert_eq!(text(&part(&at, 1)), json_lines(["a", "b"]));
}

#[tokio::test]
async fn a_roll_is_finished_wherever_the_process_dies_in_it() {
    let body = "x".repeat(100);
    // Dead before the rename, between rename and the next part, after the next part, after the journal took it.
    for stage in 0..4 {
        let at = TempDir::new().unwrap();
        let file = numbered(&at);
        file.recover(None).await.unwrap();
        assert!(!file.due(), "an empty file is never rolled");
        let mut journalled = append(&file, &body).await;
        assert!(file.due());
        match stage {
            0 => {}
            1 => std::fs::rename(part(&at, 1), closed(&at, 1)).unwrap(),
            2 => assert_eq!(file.roll().await.unwrap(), (2, 0)),
            _ => journalled = file.roll().await.unwrap(),
        }
        drop(file);
        let file = numbered(&at);
        let mut now = file.recover(Some(journalled)).await.unwrap();
        if stage == 0 {
            assert_eq!(now, journalled);
            now = file.roll().await.unwrap();
        }
        assert_eq!(now, (2, 0), "stage {stage}");
        append(&file, "b").await;
        assert_eq!(text(&closed(&at, 1)), json_lines([&body]), "stage {stage}");
        assert_eq!(text(&part(&at, 2)), json_lines(["b"]), "stage {stage}");
        assert_eq!(std::fs::read_dir(at.path().join("out")).unwrap().count(), 2, "stage {stage}");
    }
}

#[tokio::test]
async fn a_roll_is_harmless_to_repeat_and_replaces_nothing() {
    let at = TempDir::new().unwrap();
    let file = numbered(&at);
    file.recover(None).await.unwrap();
    append(&file, "a").await;
    std::fs::write(closed(&at, 1), "somebody else's").unwrap();
    let error = file.roll().await.unwrap_err();
    assert!(matches!(&error, SinkError::Refused(text) if text.contains("in the way")), "{error}");
    assert_eq!(text(&closed(&at, 1)), "somebody else's");
    std::fs::remove_file(closed(&at, 1)).unwrap();
    assert_eq!(file.roll().await.unwrap(), (2, 0));
    assert_eq!(file.roll().await.unwrap(), (2, 0), "an empty file is not rolled");
}

#[tokio::test]
async fn a_lost_journal_begins_behind_every_file_there_and_cuts_none() {
    let at = TempDir::new().unwrap();
    let file = numbered(&at);
    file.recover(None).await.unwrap();
    append(&file, "a").await;
    file.roll().await.unwrap();
    append(&file, "b").await;
    drop(file);
    let file = numbered(&at);
    assert_eq!(file.recover(None).await.unwrap(), (3, 0));
    assert_eq!((text(&closed(&at, 1)), text(&part(&at, 2))), (json_lines(["a"]), json_lines(["b"])));
}

#[tokio::test]
async fn a_file_that_is_gone_or_shorter_stops_until_a_person_decides() {
    let at = TempDir::new().unwrap();
    let file = numbered(&at);
    file.recover(None).await.unwrap();
    let journalled = append(&file, "a").await;
    drop(file);
    let gone = |error: &SinkError| matches!(error, SinkError::Refused(text) if text.contains("empty file"));
    std::fs::write(part(&at, 1), "{").unwrap();
    let error = numbered(&at).recover(Some(journalled)).await.unwrap_err();
    assert!(gone(&error), "{error}");
    std::fs::remove_file(part(&at, 1)).unwrap();
    let error = numbered(&at).recover(Some(journalled)).await.unwrap_err();
    assert!(gone(&error), "{error}");
    std::fs::remove_dir_all(at.path().join("out")).unwrap();
    let error = numbered(&at).recover(Some(journalled)).await.unwrap_err();
    assert!(gone(&error) && !at.path().join("out").exists(), "an unmounted disk is not written under: {error}");
    std::fs::create_dir(at.path().join("out")).unwrap();
    std::fs::write(part(&at, 1), "").unwrap();
    assert_eq!(numbered(&at).recover(Some(journalled)).await.unwrap(), (1, 0));
}

#[tokio::test]
async fn a_plain_file_keeps_what_it_held_and_never_rolls() {
    let at = TempDir::new().unwrap();
    let path = at.path().join("deep/er/app.jsonl");
    let plain = || AppendedFile::new(options(AppendTarget::Plain(path.clone()), ObjectFormat::JsonLines));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "from before\n").unwrap();
    let file = plain();
    let journalled = file.recover(None).await.unwrap();
    assert_eq!(journalled, (0, 12));
    append(&file, &"x".repeat(200)).await;
    assert!(!file.due());
    drop(file);
    let file = plain();
    assert_eq!(file.recover(Some(journalled)).await.unwrap(), journalled);
    append(&file, "a").await;
    assert_eq!(text(&path), format!("from before\n{}", json_lines(["a"])));
}

#[tokio::test]
async fn compressed_files_are_frames_that_can_be_cut_between() {
    for format in [ObjectFormat::JsonLinesGzip, ObjectFormat::JsonLinesZstd] {
        let at = TempDir::new().unwrap();
        let path = at.path().join(format!("x.{}", format.extension()));
        let file = AppendedFile::new(options(AppendTarget::Plain(path.clone()), format));
        file.recover(None).await.unwrap();
        append(&file, "a").await;
        let journalled = append(&file, "b").await;
        append(&file, "c").await;
        file.recover(Some(journalled)).await.unwrap();
        append(&file, "d").await;
        let bytes = std::fs::read(&path).unwrap();
        let mut read = String::new();
        match format {
            ObjectFormat::JsonLinesGzip => flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut read),
            _ => zstd::Decoder::new(&bytes[..]).unwrap().read_to_string(&mut read),
        }
        .unwrap();
        assert_eq!(read, json_lines(["a", "b", "d"]), "{format:?}");
    }
}

#[tokio::test]
async fn age_makes_a_file_due_and_size_of_all_files_makes_it_wait() {
    let at = TempDir::new().unwrap();
    let target = AppendTarget::Folder(at.path().join("out"));
    let mut options = options(target, ObjectFormat::JsonLines);
    (options.roll_age, options.total_bytes_max) = (Duration::ZERO, Some(40));
    let file = AppendedFile::new(options);
    file.recover(None).await.unwrap();
    assert!(!file.due());
    append(&file, "a").await;
    assert!(file.due());
    file.roll().await.unwrap();
    append(&file, "b").await;
    let error = file.append(&[offer(0, &[("too much", NEW_YEAR)])], &[]).await.unwrap_err();
    assert!(matches!(&error, SinkError::Refused(text) if text.contains("max_size")), "{error}");
    std::fs::remove_file(closed(&at, 1)).unwrap();
    append(&file, "c").await;
    assert_eq!(text(&part(&at, 2)), json_lines(["b", "c"]));
}

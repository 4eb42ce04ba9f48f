//! A full and a read-only disk: a tmpfs of 1 MiB, mounted where only the test sees it. The test runs itself again inside.

use crate::lakes::{keys, lake};
use crate::rows::{NEW_YEAR, encoders, json_lines, offer};
use sawlog_core::ports::{AppendFile, ObjectStore, PutOutcome, SinkError};
use sawlog_settings::format::ObjectFormat;
use sawlog_sinks::file::{AppendOptions, AppendTarget, AppendedFile, Folder};
use sawlog_sinks::object::Blobs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Where the small disk is, inside.
const DISK: &str = "SAWLOG_TINY_DISK";

/// The small disk; `None` outside, after the test was run inside.
fn tiny_disk(test: &str) -> Option<PathBuf> {
    if let Ok(disk) = std::env::var(DISK) {
        return Some(disk.into());
    }
    let at = TempDir::new().unwrap();
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        command.env(DISK, at.path()).env("TEST", test).env("EXE", std::env::current_exe().unwrap());
        command.output()
    };
    let mount = format!("mount -t tmpfs -o size=1m tmpfs \"${DISK}\"");
    match inside(&mount) {
        Ok(done) if done.status.success() => {}
        failed => {
            println!("NOT RUN: {test}: a tmpfs can't be mounted in a user namespace here: {failed:?}");
            return None;
        }
    }
    let done = inside(&format!("{mount} && exec \"$EXE\" --exact \"$TEST\" --nocapture")).unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&done.stderr));
    None
}

fn fill(disk: &Path) -> PathBuf {
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).expect_err("the disk is small");
    ballast
}

fn remount(disk: &Path, how: &str) {
    let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(disk).status().unwrap();
    assert!(done.success());
}

fn appended(disk: &Path) -> AppendedFile {
    AppendedFile::new(AppendOptions {
        target: AppendTarget::Folder(disk.join("out")),
        agent: "node-1".into(),
        sink: "out".into(),
        extension: "jsonl".into(),
        new_encoder: encoders(ObjectFormat::JsonLines),
        roll_bytes: 1 << 20,
        roll_age: Duration::from_secs(300),
        total_bytes_max: None,
        place: "here".into(),
    })
}

#[tokio::test]
async fn a_full_disk_is_waited_for_and_nothing_of_the_failed_append_stays() {
    let Some(disk) = tiny_disk("tiny_disk::a_full_disk_is_waited_for_and_nothing_of_the_failed_append_stays") else {
        return;
    };
    let file = appended(&disk);
    file.recover(None).await.unwrap();
    let journalled = file.append(&[offer(0, &[("a", NEW_YEAR)])], &[]).await.unwrap();
    let ballast = fill(&disk);
    let large = "x".repeat(100_000);
    let error = file.append(&[offer(1, &[(&large, NEW_YEAR)])], &[]).await.unwrap_err();
    assert!(matches!(&error, SinkError::Unavailable(text) if text.contains("free some space")), "{error}");
    let path = disk.join("out/node-1-out-0000000001.jsonl.part");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), json_lines(["a"]));
    std::fs::remove_file(ballast).unwrap();
    assert_eq!(file.recover(Some(journalled)).await.unwrap(), journalled);
    file.append(&[offer(1, &[(&large, NEW_YEAR)])], &[]).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), json_lines(["a", &large]));
}

#[tokio::test]
async fn a_full_disk_holds_no_half_object_and_delivery_goes_on() {
    let Some(disk) = tiny_disk("tiny_disk::a_full_disk_holds_no_half_object_and_delivery_goes_on") else { return };
    let spill = TempDir::new().unwrap();
    let lake = lake(Folder::new(disk.join("lake"), &keys()), spill.path(), 4 << 20);
    lake.list_claims().await.unwrap();
    let mut staging = lake.stage();
    let large = "x".repeat(300_000);
    staging.add(&offer(0, &[(&large, NEW_YEAR)]), 0).unwrap();
    let path = staging.paths()[0].clone();
    let key = lake.data_key(&path, 1, "a", 0);
    let ballast = fill(&disk);
    let error = lake.put_data(staging.as_mut(), &path, &key).await.unwrap_err();
    assert!(matches!(&error, SinkError::Unavailable(text) if text.contains("free some space")), "{error}");
    assert!(!lake.exists(&key).await.unwrap());
    assert!(lake.blobs().list(&keys().unfinished()).await.unwrap().is_empty(), "the half file gives its space back");
    std::fs::remove_file(ballast).unwrap();
    assert_eq!(lake.put_data(staging.as_mut(), &path, &key).await.unwrap(), PutOutcome::Created);
    assert_eq!(lake.blobs().get(&key).await.unwrap().unwrap(), json_lines([&large]).into_bytes());
}

#[tokio::test]
async fn a_read_only_disk_is_a_persons_to_mend() {
    let Some(disk) = tiny_disk("tiny_disk::a_read_only_disk_is_a_persons_to_mend") else { return };
    remount(&disk, "ro");
    let spill = TempDir::new().unwrap();
    let lake = lake(Folder::new(disk.join("lake"), &keys()), spill.path(), 4 << 20);
    for error in [appended(&disk).recover(None).await.unwrap_err(), lake.list_claims().await.unwrap_err()] {
        assert!(matches!(&error, SinkError::Refused(text) if text.contains("remount it writable")), "{error}");
    }
    remount(&disk, "rw");
    appended(&disk).recover(None).await.unwrap();
    lake.list_claims().await.unwrap();
}

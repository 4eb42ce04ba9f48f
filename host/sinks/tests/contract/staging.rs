//! What staging holds in memory and on disk, and what comes out of it.

use crate::lakes::{folder, keys, lake};
use crate::rows::{HOUR, NEW_YEAR, encoders, json_lines, offer};
use parquet::file::reader::{FileReader, SerializedFileReader};
use sawlog_core::memory::Share;
use sawlog_core::ports::{ObjectStore, Offer, SinkError};
use sawlog_record::template::{Template, Values};
use sawlog_settings::format::ObjectFormat;
use sawlog_sinks::object::{Blobs, Lake, StageOptions};
use std::sync::Arc;
use tempfile::TempDir;

#[tokio::test]
async fn what_exceeds_the_memory_goes_to_nameless_files_and_comes_back_in_order() {
    let at = TempDir::new().unwrap();
    let spill = at.path().join("stage/lake");
    let lake = lake(folder(&at), &spill, 4 << 10);
    let mut staging = lake.stage();
    let bodies: Vec<String> = (0..500).map(|i| format!("{i:0100}")).collect();
    for (i, body) in bodies.iter().enumerate() {
        let received = NEW_YEAR + (i % 3) as i64 * HOUR;
        staging.add(&offer(i as u64, &[(body, received)]), 0).unwrap();
    }
    assert!(spill.exists(), "something went to disk");
    assert_eq!(std::fs::read_dir(&spill).unwrap().count(), 0, "under no name that a dead process could leave");
    assert_eq!(staging.bytes() as usize, json_lines(&bodies).len());
    for (hour, path) in staging.paths().iter().enumerate() {
        let key = lake.data_key(path, 1, "a", hour);
        lake.put_data(staging.as_mut(), path, &key).await.unwrap();
        let there = String::from_utf8(lake.blobs().get(&key).await.unwrap().unwrap()).unwrap();
        assert_eq!(there, json_lines(bodies.iter().skip(hour).step_by(3)));
    }
}

#[tokio::test]
async fn no_row_shows_a_time_below_the_floor() {
    let at = TempDir::new().unwrap();
    let lake = lake(folder(&at), at.path(), 1 << 20);
    let mut staging = lake.stage();
    let rows = offer(0, &[("late", NEW_YEAR), ("in time", NEW_YEAR + 3 * HOUR)]);
    staging.add(&rows, NEW_YEAR + 2 * HOUR).unwrap();
    assert_eq!(staging.paths(), ["dt=2026-01-01/hour=02", "dt=2026-01-01/hour=03"]);
}

#[tokio::test]
async fn an_offer_that_finds_no_room_is_not_there_and_can_come_again() {
    let at = TempDir::new().unwrap();
    let spill = at.path().join("stage");
    std::fs::write(&spill, "a file where the folder should be").unwrap();
    let lake = lake(folder(&at), &spill, 50);
    let mut staging = lake.stage();
    staging.add(&offer(0, &[("a line that takes more than fifty bytes of memory", NEW_YEAR)]), 0).unwrap();
    let second = offer(1, &[("b", NEW_YEAR)]);
    for _ in 0..3 {
        let error = staging.add(&second, 0).unwrap_err();
        assert!(matches!(&error, SinkError::Unavailable(text) if text.contains("staged in")), "{error}");
    }
    std::fs::remove_file(&spill).unwrap();
    staging.add(&second, 0).unwrap();
    let path = staging.paths()[0].clone();
    let key = lake.data_key(&path, 1, "a", 0);
    lake.put_data(staging.as_mut(), &path, &key).await.unwrap();
    let there = String::from_utf8(lake.blobs().get(&key).await.unwrap().unwrap()).unwrap();
    assert_eq!(there, json_lines(["a line that takes more than fifty bytes of memory", "b"]));
}

/// Rows of `hours`, one an hour.
fn hourly(pos: u64, hours: &[i64]) -> Offer {
    let lines: Vec<(String, i64)> = hours.iter().map(|h| (format!("hour {h}"), NEW_YEAR + h * HOUR)).collect();
    offer(pos, &lines.iter().map(|(body, at)| (body.as_str(), *at)).collect::<Vec<_>>())
}

#[tokio::test]
async fn a_claim_names_no_more_paths_than_it_may() {
    let at = TempDir::new().unwrap();
    let lake = lake(folder(&at), at.path(), 1 << 20);
    let mut staging = lake.stage();
    assert!(staging.fits(&hourly(0, &[0, 1, 2, 3, 4, 5]), 0), "whatever comes first fits");
    staging.add(&hourly(0, &[0, 1]), 0).unwrap();
    assert!(staging.fits(&hourly(2, &[1, 2, 0]), 0));
    assert!(!staging.fits(&hourly(2, &[2, 3]), 0), "the claim is to be sealed before it");
    assert_eq!(staging.paths().len(), 2, "looking adds nothing");
}

#[tokio::test]
async fn one_batch_with_too_many_paths_is_made_again_as_it_was() {
    let at = TempDir::new().unwrap();
    let lake = lake(folder(&at), at.path(), 1 << 20);
    let rows = hourly(0, &[5, 6, 7, 8, 5, 9, 6]);
    let mut first = lake.stage();
    first.add(&rows, 0).unwrap();
    let paths = first.paths();
    let hour = |h| format!("dt=2026-01-01/hour=0{h}");
    assert_eq!(paths, [hour(5), hour(6), hour(7), "dt=other/hour=other".into()]);
    // Another life is fed the same rows in other batches, and knows the names from the claim.
    let mut second = lake.stage();
    second.restrict(&paths);
    for (pos, hours) in [(3, &[8, 5, 9, 6][..]), (0, &[5, 6, 7])] {
        second.add(&hourly(pos, hours), 0).unwrap();
    }
    assert_eq!(second.paths(), paths);
    for (i, path) in paths.iter().enumerate() {
        let mut texts = Vec::new();
        for (staging, attempt) in [(&mut first, "a"), (&mut second, "b")] {
            let key = lake.data_key(path, 1, attempt, i);
            lake.put_data(staging.as_mut(), path, &key).await.unwrap();
            let text = String::from_utf8(lake.blobs().get(&key).await.unwrap().unwrap()).unwrap();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            texts.push(lines);
        }
        assert_eq!(texts[0], texts[1], "{path}");
    }
}

/// A claim's object whose input is lost: its key must be taken all the same, by something that readers of the format accept.
#[tokio::test]
async fn a_path_that_is_named_is_there_also_without_rows() {
    for format in [ObjectFormat::JsonLines, ObjectFormat::Parquet] {
        let at = TempDir::new().unwrap();
        let options = StageOptions {
            agent: "node-1".into(),
            path: Template::parse("hour={received_time:%H}", Values::Names).unwrap(),
            paths_max: 4,
            new_encoder: encoders(format),
            memory_bytes_max: 1 << 20,
            memory: Arc::new(Share::new(usize::MAX).join()),
            spill_folder: at.path().join("stage"),
        };
        let lake = Lake::new(folder(&at), keys(), options, "here".into());
        let mut staging = lake.stage();
        staging.restrict(&["hour=00".into(), "hour=01".into()]);
        staging.add(&offer(0, &[("a", NEW_YEAR)]), 0).unwrap();
        assert_eq!(staging.paths(), ["hour=00", "hour=01"]);
        lake.put_data(staging.as_mut(), "hour=01", "hour=01/x").await.unwrap();
        let there = lake.blobs().get("hour=01/x").await.unwrap().unwrap();
        match format {
            ObjectFormat::Parquet => {
                let reader = SerializedFileReader::new(bytes::Bytes::from(there)).unwrap();
                assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
            }
            _ => assert!(there.is_empty()),
        }
    }
}

//! The end of an agent's claim logs, over every store.

use crate::claims::claim;
use crate::lakes::{bucket, cluster, folder, hdfs_options, keys, s3_dialects};
use sawlog_core::claims::{Claim, FOR_EVER};
use sawlog_core::retire::Doubt;
use sawlog_sinks::object::{Blobs, Keys, LogEnd, closed_hours, decode_claim, encode_claim, end_log, logs_of, owners};
use tempfile::TempDir;

const HOUR: i64 = 3_600_000_000_000;

async fn put(blobs: &dyn Blobs, keys: &Keys, number: u64, change: impl FnOnce(&mut Claim)) {
    let mut claim = Claim { closed: 5 * HOUR, floor: 4 * HOUR, keys: Vec::new(), ..claim(number, 1) };
    change(&mut claim);
    blobs.put_if_absent(&keys.claim(number), encode_claim(&claim).unwrap().into()).await.unwrap();
}

#[tokio::test]
async fn all_logs_of_one_agent_end_and_no_other() {
    let at = TempDir::new().unwrap();
    all_logs_end(&folder(&at)).await;
}

#[tokio::test]
async fn all_logs_of_one_agent_end_in_a_bucket() {
    for options in s3_dialects("all_logs_of_one_agent_end_in_a_bucket") {
        all_logs_end(&bucket(&options)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_logs_of_one_agent_end_in_a_cluster() {
    let Some(options) = hdfs_options("all_logs_of_one_agent_end_in_a_cluster") else { return };
    all_logs_end(&cluster(&options)).await;
}

async fn all_logs_end(blobs: &dyn Blobs) {
    let second = Keys::new("node-1", "second", "jsonl");
    let other = Keys::new("node-2", "lake", "jsonl");
    for (keys, numbers) in [(keys(), 1..4), (second, 1..2), (other, 7..8)] {
        for number in numbers {
            put(blobs, &keys, number, |claim| claim.written = HOUR).await;
        }
    }
    assert_eq!(owners(blobs).await.unwrap(), ["node-1", "node-2"]);
    assert!(logs_of(blobs, "node").await.unwrap().is_empty(), "the beginning of an id is none");
    let logs = logs_of(blobs, "node-1").await.unwrap();
    assert_eq!(
        logs.iter().map(|log| (log.name.as_str(), log.shown.number)).collect::<Vec<_>>(),
        [("node-1/lake", 3), ("node-1/second", 1)]
    );
    assert_eq!(end_log(blobs, &logs[0], 2 * HOUR - 1, false).await.unwrap(), LogEnd::GoesOn, "it is young");
    for log in &logs {
        let ended = end_log(blobs, log, 3 * HOUR, false).await.unwrap();
        assert_eq!(ended, LogEnd::Ended { given_up: Vec::new() });
        assert_eq!(end_log(blobs, log, 3 * HOUR, true).await.unwrap(), LogEnd::HadEnded, "as it showed itself before");
    }
    let end = decode_claim(&blobs.get(&keys().claim(4)).await.unwrap().unwrap()).unwrap();
    assert!(end.is_end() && end.passed == 4);
    let closed: Vec<_> = closed_hours(blobs).await.unwrap().into_iter().map(|log| (log.name, log.closed)).collect();
    let expected = [("node-1/lake", FOR_EVER), ("node-1/second", FOR_EVER), ("node-2/lake", 5 * HOUR)];
    assert_eq!(closed, expected.map(|(name, closed)| (name.to_owned(), closed)));
    // The claim alone says it too: whoever died between it and `complete` is made good by the claim.
    blobs.delete(&keys().complete()).await.unwrap();
    assert_eq!(closed_hours(blobs).await.unwrap()[0].closed, FOR_EVER);
}

#[tokio::test]
async fn what_was_claimed_and_never_written_is_named_before_it_is_given_up() {
    let at = TempDir::new().unwrap();
    let blobs = folder(&at);
    let key = |n: u64| (String::new(), format!("hour=1/{n}"));
    // Both of its newest claims may lack keys: what lies before is passed.
    put(&blobs, &keys(), 1, |claim| claim.keys = vec![key(0)]).await;
    put(&blobs, &keys(), 2, |claim| claim.keys = vec![key(1), key(2)]).await;
    put(&blobs, &keys(), 3, |claim| (claim.keys, claim.passed, claim.written) = (vec![key(3)], 2, 0)).await;
    blobs.put_if_absent("hour=1/2", b"rows".to_vec().into()).await.unwrap();
    let log = &logs_of(&blobs, "node-1").await.unwrap()[0];
    assert_eq!(log.shown.unmade, ["hour=1/1", "hour=1/3"]);
    assert_eq!(sawlog_core::retire::doubts(&log.shown, 2 * HOUR), [Doubt::Unmade(2)]);
    assert_eq!(end_log(&blobs, log, 2 * HOUR, false).await.unwrap(), LogEnd::GoesOn);
    let given_up = LogEnd::Ended { given_up: vec!["hour=1/1".to_owned(), "hour=1/3".to_owned()] };
    assert_eq!(end_log(&blobs, log, 2 * HOUR, true).await.unwrap(), given_up);
}

#[tokio::test]
async fn an_agent_that_writes_meanwhile_is_not_taken_for_gone() {
    let at = TempDir::new().unwrap();
    let blobs = folder(&at);
    put(&blobs, &keys(), 1, |claim| claim.written = 0).await;
    let log = logs_of(&blobs, "node-1").await.unwrap().remove(0);
    put(&blobs, &keys(), 2, |claim| claim.written = 9 * HOUR).await;
    assert_eq!(end_log(&blobs, &log, 9 * HOUR, false).await.unwrap(), LogEnd::GoesOn);
    assert_eq!(closed_hours(&blobs).await.unwrap()[0].closed, 5 * HOUR);
    let forced = end_log(&blobs, &log, 9 * HOUR, true).await.unwrap();
    assert_eq!(forced, LogEnd::Ended { given_up: Vec::new() });
    assert!(blobs.exists(&keys().claim(3)).await.unwrap(), "it ends behind what was written meanwhile");
}

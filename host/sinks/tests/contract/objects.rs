//! The contract of an object store: put-if-absent, claims, listing, data that is visible under its key only.

use crate::claims::claim;
use crate::lakes::{bucket, cluster, folder, hdfs_options, keys, lake, s3_dialects};
use crate::rows::{HOUR, NEW_YEAR, json_lines, offer};
use futures_util::future::join_all;
use sawlog_core::ports::{ObjectStore, PutOutcome};
use sawlog_sinks::object::{Blobs, Body, Lake, LogHours, closed_hours};
use sawlog_sinks::s3::S3Options;
use std::sync::Arc;
use tempfile::TempDir;

/// Tasks that put to one key at once.
const RACERS: usize = 50;
/// Rounds of that race.
const ROUNDS: usize = 5;

/// All suites over two lives of one store.
async fn suites<B: Blobs>(first: B, second: B) {
    let spill = TempDir::new().unwrap();
    let (first, second) = (lake(first, spill.path(), 1 << 20), lake(second, spill.path(), 1 << 20));
    one_of_many_wins(&Arc::new(lake_of(&first)), &first).await;
    all_but_the_race(&first, &second).await;
}

/// What holds also where only one process puts at a time.
async fn all_but_the_race<B: Blobs>(first: &Lake<B>, second: &Lake<B>) {
    claims_are_found_as_they_were_put(first, second).await;
    data_is_whole_and_under_its_key_only(first, second).await;
    large_data_is_whole(first).await;
    complete_replaces(first).await;
}

fn lake_of<B: Blobs>(lake: &Lake<B>) -> Vec<String> {
    (0..ROUNDS).map(|round| lake.data_key("race", round as u64, "a", 0)).collect()
}

async fn one_of_many_wins<B: Blobs>(races: &[String], lake: &Lake<B>) {
    lake.list_claims().await.unwrap();
    for key in races {
        let racer = |i: usize| async move {
            loop {
                let body = Body::from(format!("racer {i}").into_bytes());
                match lake.blobs().put_if_absent(key, body).await.unwrap() {
                    PutOutcome::Conflict => tokio::task::yield_now().await,
                    outcome => break (i, outcome),
                }
            }
        };
        let outcomes = join_all((0..RACERS).map(racer)).await;
        let winners: Vec<usize> = outcomes.iter().filter(|(_, o)| *o == PutOutcome::Created).map(|(i, _)| *i).collect();
        assert_eq!(winners.len(), 1, "{key}: {winners:?} were told that they created it");
        let there = lake.blobs().get(key).await.unwrap().unwrap();
        assert_eq!(String::from_utf8(there).unwrap(), format!("racer {}", winners[0]), "the winner's bytes stay");
    }
}

async fn claims_are_found_as_they_were_put<B: Blobs>(first: &Lake<B>, second: &Lake<B>) {
    assert_eq!(first.list_claims().await.unwrap(), Vec::<u64>::new());
    assert_eq!(first.get_claim(1).await.unwrap(), None);
    // Out of order, and with numbers that sort otherwise as text without their zeros.
    for number in [10, 2, 1, 9] {
        assert_eq!(first.put_claim(number, &claim(number, 3)).await.unwrap(), PutOutcome::Created);
    }
    assert_eq!(second.put_claim(9, &claim(900, 1)).await.unwrap(), PutOutcome::Exists);
    assert_eq!(second.list_claims().await.unwrap(), [1, 2, 9, 10]);
    for number in [1, 2, 9, 10] {
        assert_eq!(second.get_claim(number).await.unwrap(), Some(claim(number, 3)));
    }
    second.delete_claim(1).await.unwrap();
    second.delete_claim(1).await.unwrap();
    assert_eq!(first.list_claims().await.unwrap(), [2, 9, 10]);
    let large = claim(11, 5_000);
    assert_eq!(first.put_claim(11, &large).await.unwrap(), PutOutcome::Created);
    assert_eq!(second.get_claim(11).await.unwrap(), Some(large), "a claim that was compressed");
}

async fn data_is_whole_and_under_its_key_only<B: Blobs>(first: &Lake<B>, second: &Lake<B>) {
    let mut staging = first.stage();
    staging.add(&offer(0, &[("a", NEW_YEAR), ("b", NEW_YEAR + HOUR), ("c", NEW_YEAR)]), 0).unwrap();
    let paths = staging.paths();
    assert_eq!(paths, ["dt=2026-01-01/hour=00", "dt=2026-01-01/hour=01"]);
    let key = |i: usize| first.data_key(&paths[i], 20, "aa", i);
    for (i, path) in paths.iter().enumerate() {
        assert!(!second.exists(&key(i)).await.unwrap());
        assert!(second.blobs().list(&format!("{path}/")).await.unwrap().is_empty(), "a folder without data");
    }
    assert_eq!(first.put_data(staging.as_mut(), &paths[0], &key(0)).await.unwrap(), PutOutcome::Created);
    assert_eq!(first.put_data(staging.as_mut(), &paths[0], &key(0)).await.unwrap(), PutOutcome::Exists);
    assert_eq!(first.put_data(staging.as_mut(), &paths[1], &key(1)).await.unwrap(), PutOutcome::Created);
    for (i, bodies) in [(0, vec!["a", "c"]), (1, vec!["b"])] {
        assert!(second.exists(&key(i)).await.unwrap());
        let there = second.blobs().get(&key(i)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8(there).unwrap(), json_lines(bodies));
        let name = key(i).rsplit_once('/').unwrap().1.to_owned();
        assert_eq!(second.blobs().list(&format!("{}/", paths[i])).await.unwrap(), [name]);
    }
}

/// Larger than one request of S3 and than one block of a test cluster; half of it comes from a staged file.
async fn large_data_is_whole<B: Blobs>(lake: &Lake<B>) {
    let mut bytes = vec![0; 20 << 20];
    fastrand::Rng::with_seed(7).fill(&mut bytes);
    let file = tempfile::tempfile().unwrap();
    let (staged, tail) = bytes.split_at(11 << 20);
    std::os::unix::fs::FileExt::write_all_at(&file, staged, 0).unwrap();
    let body = Body::staged(Some((Arc::new(file), staged.len() as u64)), tail.to_vec().into());
    let key = lake.data_key("large", 30, "aa", 0);
    assert_eq!(lake.blobs().put_if_absent(&key, body.clone()).await.unwrap(), PutOutcome::Created);
    assert!(lake.blobs().get(&key).await.unwrap().unwrap() == bytes, "20 MiB come back as they went");
    assert_eq!(lake.blobs().put_if_absent(&key, body).await.unwrap(), PutOutcome::Exists, "also in several parts");
}

async fn complete_replaces<B: Blobs>(lake: &Lake<B>) {
    for closed in [NEW_YEAR, NEW_YEAR + HOUR] {
        lake.publish_complete(closed).await.unwrap();
        let there = lake.blobs().get(&keys().complete()).await.unwrap().unwrap();
        assert_eq!(String::from_utf8(there).unwrap(), format!("{closed}\n"));
    }
    // As the verb reads it, which knows neither agents nor sinks beforehand.
    let logs = closed_hours(lake.blobs()).await.unwrap();
    let expected = LogHours { name: "node-1/lake".into(), closed: NEW_YEAR + HOUR, written: Some(7) };
    assert_eq!(logs, [expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_keeps_the_contract() {
    let at = TempDir::new().unwrap();
    suites(folder(&at), folder(&at)).await;
    let left: Vec<_> = std::fs::read_dir(at.path().join("lake/_tmp/node-1/lake")).unwrap().collect();
    assert!(left.is_empty(), "unfinished files stay: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_the_contract() {
    for options in s3_dialects("a_bucket_keeps_the_contract") {
        suites(bucket(&options), bucket(&options)).await;
    }
}

/// HEAD comes before PUT: one process alone finds what is there, and no probe refuses the store.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_conditional_puts_keeps_all_but_the_race() {
    for options in s3_dialects("a_bucket_without_conditional_puts") {
        let options = S3Options { conditional_put: false, ..options };
        let spill = TempDir::new().unwrap();
        let [first, second] = [(); 2].map(|()| lake(bucket(&options), spill.path(), 1 << 20));
        first.blobs().prepare().await.unwrap();
        all_but_the_race(&first, &second).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_the_contract() {
    let Some(options) = hdfs_options("a_cluster_keeps_the_contract") else { return };
    suites(cluster(&options), cluster(&options)).await;
}

/// A life that died before its rename leaves an unfinished file: nobody reads it, and the next life removes it.
async fn leftovers_are_swept<B: Blobs>(dead: &B, next: B, unfinished: &str) {
    dead.put_if_absent(&format!("{unfinished}dead-0"), b"half".to_vec().into()).await.unwrap();
    let spill = TempDir::new().unwrap();
    let next = lake(next, spill.path(), 1 << 20);
    next.list_claims().await.unwrap();
    assert_eq!(next.blobs().list(unfinished).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_folder_sweeps_what_a_dead_life_left() {
    let at = TempDir::new().unwrap();
    leftovers_are_swept(&folder(&at), folder(&at), &keys().unfinished()).await;
}

#[tokio::test]
async fn a_cluster_sweeps_what_a_dead_life_left() {
    let Some(options) = hdfs_options("a_cluster_sweeps_what_a_dead_life_left") else { return };
    leftovers_are_swept(&cluster(&options), cluster(&options), &keys().unfinished()).await;
}

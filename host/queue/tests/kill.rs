//! A real process that takes requests on a real disk, killed with -9 again and again. The parent counts what was acknowledged
//! from what the child wrote to its pipe, not from the queue.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use sawlog_log::{Drive, RealDisk};
use sawlog_queue::{Queue, QueueOptions, Submission};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const KILLS: u64 = 12;
const DIR: &str = "SAWLOG_TEST_KILL_DIR";
const START: &str = "SAWLOG_TEST_KILL_START";

fn open(dir: &Path) -> Arc<Queue> {
    let mut options = QueueOptions::new([3; 16]);
    (options.shards, options.segment_bytes, options.quota_bytes) = (2, 64 << 10, 16 << 20);
    let (queue, opening) =
        Queue::open(Arc::new(RealDisk::open(dir).unwrap()), "queue", options, Drive::Thread).unwrap();
    assert_eq!(opening.damage, []);
    Arc::new(queue)
}

fn submission(number: u64) -> Submission {
    let body = Bytes::from(number.to_le_bytes().repeat(1 + number as usize % 100));
    Submission { accepted: number as i64, principal: "p".into(), key: Some(number.to_string()), form: 0, body }
}

async fn send(queue: &Queue, number: u64) -> sawlog_queue::Accepted {
    let submission = submission(number);
    let room = loop {
        match queue.reserve(submission.body.len()) {
            Ok(room) => break room,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    queue.accept(room, submission).await.unwrap()
}

/// The child: eight clients at once, and a trim now and then. Runs until it is killed.
#[test]
#[ignore = "the child of the test below, which starts it"]
fn child_takes_requests_until_killed() {
    let dir = std::env::var_os(DIR).expect("started by the test below");
    let start: u64 = std::env::var(START).unwrap().parse().unwrap();
    let queue = open(Path::new(&dir));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let clients = (0..8).map(|client| {
        let queue = queue.clone();
        async move {
            let mut recent = Vec::new();
            for number in (start + client..).step_by(8) {
                let accepted = send(&queue, number).await;
                writeln!(std::io::stdout(), "ack {number} {} {}", accepted.shard, accepted.lsn).unwrap();
                recent.push(accepted);
                if recent.len() == 60 {
                    queue.trim(recent[20].shard, recent[20].lsn).await.unwrap();
                    recent.drain(..40);
                }
            }
        }
    });
    runtime.block_on(futures_util::future::join_all(clients));
}

/// Starts the child, kills it after a while, and returns what it acknowledged.
fn one_life(dir: &Path, start: u64, life: u64) -> Vec<(u64, u32, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_takes_requests_until_killed", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(START, start.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    let reading = std::thread::spawn(move || {
        let words = |line: String| -> Option<(u64, u32, u64)> {
            let mut words = line.strip_prefix("ack ")?.split(' ');
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        };
        // The last line may be cut by the kill; an acknowledgement that nobody saw whole is none.
        lines.lines().map_while(Result::ok).filter_map(words).collect::<Vec<_>>()
    });
    std::thread::sleep(Duration::from_millis(150 + life * 37 % 200));
    child.kill().unwrap();
    assert!(child.wait().unwrap().code().is_none(), "the child ended by itself");
    let mut seen = reading.join().unwrap();
    seen.pop();
    seen
}

#[test]
fn kill_9_loses_nothing_acknowledged_and_repeats_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut start) = (BTreeMap::new(), 0);
    for life in 0..KILLS {
        let seen = one_life(dir.path(), start, life);
        start = seen.iter().map(|ack| ack.0 + 100).max().unwrap_or(start).max(start);
        acknowledged.extend(seen.into_iter().map(|(number, shard, lsn)| (number, (shard, lsn))));
        let queue = open(dir.path());
        let mut stored = BTreeMap::<u64, usize>::new();
        for shard in 0..queue.shards() {
            let (mut at, end) = queue.extent(shard).unwrap();
            while at < end {
                let chunk = queue.read(shard, at, 1 << 20).unwrap();
                for request in &chunk.requests {
                    let number = u64::from_le_bytes(request.request.body[..8].try_into().unwrap());
                    assert_eq!(request.request.body, submission(number).body);
                    *stored.entry(number).or_default() += 1;
                }
                at = chunk.next;
            }
        }
        assert!(stored.values().all(|times| *times == 1), "life {life}: a key is stored twice");
        for (number, (shard, lsn)) in &acknowledged {
            let trimmed = *lsn < queue.extent(*shard).unwrap().0;
            assert!(trimmed || stored.contains_key(number), "life {life}: request {number} is gone");
        }
        // Keys outlive the kill and the trim.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (number, place) in acknowledged.iter().rev().step_by(17).take(200) {
            let again = runtime.block_on(send(&queue, *number));
            assert!(again.repeated && (again.shard, again.lsn) == *place, "life {life}: {number} was stored again");
        }
        runtime.block_on(queue.close()).unwrap();
    }
    println!("{KILLS} kills, {} acknowledged requests", acknowledged.len());
    assert!(acknowledged.len() as u64 > KILLS * 20, "too little happened: {}", acknowledged.len());
}

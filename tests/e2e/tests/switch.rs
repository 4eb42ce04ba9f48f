//! A sink's place changes by SIGHUP under load, there and back, with kill -9 between, also while the switch is under way: every row
//! is there once, counted over both places together. In a folder, in an appended file, and in the real S3.
#![allow(clippy::unwrap_used)]

use rustix::process::Signal;
use sawlog_e2e::agent::Agent;
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::s3::Bucket;
use sawlog_e2e::{read, service};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where the sinks deliver.
#[derive(Clone, Copy)]
struct Places<'a> {
    lake: &'a str,
    file: &'a str,
    bucket: Option<&'a Bucket>,
}

impl Places<'_> {
    fn write(&self, folder: &Path) {
        let s3 = self.bucket.map_or_else(String::new, |bucket| format!("  s3: {}\n", bucket.sink("parsed")));
        let text = format!(
            "version: 1\nagent: {{ id: e2e }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
             sources:\n  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n\
             sinks:\n  lake: {{ type: file, inputs: [parsed], path: \"./{}/dt={{received_time:%Y-%m-%d}}\", roll: {{ size: 1MiB, age: 1s }} }}\n  \
             file: {{ type: file, inputs: [parsed], path: ./{}, roll: {{ size: 1MiB, age: 1s }} }}\n{s3}",
            self.lake, self.file,
        );
        std::fs::write(folder.join("sawlog.yaml"), text).unwrap();
    }
}

fn load(folder: &Path, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    let mut feed = Feed::new(&folder.join("logs/app.log"));
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            feed.send(100).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
        feed.sent()
    })
}

/// (lost, duplicated) of the numbers `0..sent`.
fn judge(rows: &[u64], sent: u64) -> (usize, usize) {
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    rows.iter().for_each(|n| *times.entry(*n).or_default() += 1);
    let lost = (0..sent).filter(|n| !times.contains_key(n)).count();
    (lost, times.values().map(|n| n - 1).sum())
}

/// The rows of two places, once all have arrived or nobody believes in it any more.
fn settled(sent: u64, of: impl Fn() -> [Vec<u64>; 2]) -> [Vec<u64>; 2] {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let rows = of();
        if judge(&rows.concat(), sent).0 == 0 || Instant::now() > deadline {
            std::thread::sleep(Duration::from_millis(700));
            return of();
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn hangup(agent: &mut Agent, word: &str) {
    let before = agent.log().matches(word).count();
    agent.signal(Signal::HUP).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while agent.log().matches(word).count() == before {
        agent.check().unwrap();
        assert!(Instant::now() < deadline, "no {word:?} after SIGHUP:\n{}", agent.log_tail());
        std::thread::sleep(Duration::from_millis(20));
    }
}

const TAKEN: &str = "the configuration was reloaded";

#[test]
fn a_changed_place_is_a_switch_and_every_row_is_there_once_over_both_places() {
    if service("switch", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let first_bucket = Bucket::find("switch");
    let second_bucket = first_bucket.clone().map(|bucket| Bucket { prefix: format!("{}-b", bucket.prefix), ..bucket });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("logs")).unwrap();
    let here = Places { lake: "lake-a", file: "file-a", bucket: first_bucket.as_ref() };
    let there = Places { lake: "lake-b", file: "file-b", bucket: second_bucket.as_ref() };
    here.write(path);
    let mut agent = Agent::start(path).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let feeding = load(path, stop.clone());
    std::thread::sleep(Duration::from_millis(1_500));

    for (turn, places) in [there, here, there, here, there].into_iter().enumerate() {
        places.write(path);
        if turn % 2 == 0 {
            hangup(&mut agent, TAKEN);
            let told = agent.log();
            assert!(told.contains("lake switches from "), "it says what switches:\n{}", agent.log_tail());
            // Sometimes in the middle of the switch, sometimes behind it.
            std::thread::sleep(Duration::from_millis(40 * turn as u64));
            agent.kill().unwrap();
        } else {
            agent.kill().unwrap();
        }
        agent = Agent::start(path).unwrap();
        std::thread::sleep(Duration::from_millis(2_500));
    }
    stop.store(true, Ordering::Relaxed);
    let sent = feeding.join().unwrap();

    let folders = |names: [&str; 2]| names.map(|name| read::folder(&path.join(name)).unwrap_or_default());
    for names in [["lake-a", "lake-b"], ["file-a", "file-b"]] {
        let rows = settled(sent, || folders(names));
        let lens = rows.each_ref().map(Vec::len);
        assert!(!lens.contains(&0), "{names:?} hold {lens:?} of {sent}: both were in use; {}", agent.log_tail());
        assert_eq!(judge(&rows.concat(), sent), (0, 0), "{names:?} of {sent}:\n{}", agent.log_tail());
        let mut spoiled: Vec<u64> = rows.concat().into_iter().filter(|n| *n != 0).collect();
        spoiled.push(sent - 1);
        assert_eq!(judge(&spoiled, sent), (1, 1), "the reader would notice");
    }
    if let (Some(first), Some(second)) = (&first_bucket, &second_bucket) {
        let rows = settled(sent, || [first, second].map(|bucket| bucket.rows().unwrap_or_default()));
        let lens = rows.each_ref().map(Vec::len);
        assert!(!lens.contains(&0), "S3 holds {lens:?} of {sent}: both were in use; {}", agent.log_tail());
        assert_eq!(judge(&rows.concat(), sent), (0, 0), "S3 of {sent}:\n{}", agent.log_tail());
    }
    agent.kill().unwrap();
}

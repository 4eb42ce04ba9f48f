//! The data directory under blows: two agents on one, two with one id, and a journal with flipped bits, cut, or with a hole. A
//! damaged one is refused with the way out, and nothing in it is changed; its bytes restored, delivery goes on exactly.
#![allow(clippy::unwrap_used)]

use anyhow::{Result, ensure};
use sawlog_e2e::agent::Agent;
use sawlog_e2e::cell::compare;
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::shown::{Folder, control};
use sawlog_e2e::told::{Ledger, troubles};
use sawlog_e2e::{read, service};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const WAIT_MAX: Duration = Duration::from_secs(60);

fn write_config(folder: &Path, data: &str) {
    let here = folder.display();
    let config = format!(
        "version: 1\nagent: {{ id: beaten }}\ndata_dir: {here}/{data}\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  app: {{ type: file, include: [{here}/logs/app.log], rotated: [{here}/logs/app.log.*] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n\
         sinks:\n  lake: {{ type: file, inputs: [parsed], path: \"{here}/lake/dt={{received_time:%Y-%m-%d}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }} }}\n"
    );
    std::fs::write(folder.join("sawlog.yaml"), config).unwrap();
}

fn prepared() -> (tempfile::TempDir, Feed) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("logs")).unwrap();
    write_config(folder.path(), "data");
    let feed = Feed::new(&folder.path().join("logs/app.log"));
    (folder, feed)
}

fn exact(folder: &Path, agent: &mut Agent, sent: u64) -> Result<()> {
    let rows = || read::folder(&folder.join("lake"));
    let done = agent.wait_until("every row", WAIT_MAX, || Ok(rows()?.len() as u64 >= sent));
    std::thread::sleep(Duration::from_millis(1_500));
    let judged = compare(&rows()?, &(0..sent).collect::<Vec<_>>());
    ensure!(judged == (0, 0, 0), "lost, duplicated, unknown {judged:?} of {sent}: {done:?}\n{}", agent.log_tail());
    control(&Folder(folder.join("lake")))
}

/// Every file below a folder with its bytes, but for the lock and the socket.
fn bytes_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            files.extend(bytes_of(&path));
        } else if kind.is_file() && entry.file_name() != "lock" {
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn a_second_agent_on_a_data_directory_is_refused_and_disturbs_nothing() {
    if service("two agents on one directory", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let (folder, mut feed) = prepared();
    let path = folder.path();
    let mut agent = Agent::start(path).unwrap();
    feed.send(500).unwrap();
    exact(path, &mut agent, feed.sent()).unwrap();
    for _ in 0..3 {
        feed.send(300).unwrap();
        let (done, said) = Agent::start(path).unwrap().ended(WAIT_MAX).unwrap();
        let holder = format!("is in use by process {}", agent.pid());
        assert!(!done && said.contains(&holder) && said.contains("data_dir of its own"), "{said}");
    }
    exact(path, &mut agent, feed.sent()).unwrap();
    // The one that was refused has taken nothing away: verbs still reach the one that runs.
    assert_eq!(Ledger::of(path).unwrap().count("lake", "app", "delivered"), feed.sent());
    agent.kill().unwrap();
    let mut agent = Agent::start(path).unwrap();
    feed.send(300).unwrap();
    exact(path, &mut agent, feed.sent()).unwrap();
    agent.terminate().unwrap();
}

#[test]
fn two_agents_with_one_id_write_a_lake_exactly_and_say_so() {
    if service("two agents with one id", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let (folder, mut feed) = prepared();
    let path = folder.path();
    feed.send(300).unwrap();
    let mut first = Agent::start(path).unwrap();
    exact(path, &mut first, feed.sent()).unwrap();
    write_config(path, "other");
    let mut second = Agent::start(path).unwrap();
    for _ in 0..8 {
        feed.send(300).unwrap();
        std::thread::sleep(Duration::from_millis(700));
        first.check().unwrap();
    }
    exact(path, &mut second, feed.sent()).unwrap();
    // Whoever lost a claim to the other names it.
    write_config(path, "data");
    let one = troubles(path).unwrap();
    write_config(path, "other");
    let said = format!("{one}{}", troubles(path).unwrap());
    assert!(said.contains("another agent with the id beaten"), "the twin is said: {said}\n{}", second.log_tail());
    drop(first);
    feed.send(300).unwrap();
    exact(path, &mut second, feed.sent()).unwrap();
}

/// An Elasticsearch sink would get rows twice from both: they don't go on beside each other, whether it is up or not.
#[test]
fn of_two_agents_with_one_id_one_ends_where_a_sink_is_not_exact_beside_it() {
    if service("two agents with one id and Elasticsearch", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let (folder, mut feed) = prepared();
    let path = folder.path();
    let fragile = |data: &str| {
        write_config(path, data);
        let config = std::fs::read_to_string(path.join("sawlog.yaml")).unwrap();
        // Nobody listens on port 9.
        let down =
            "  search: { type: elasticsearch, inputs: [parsed], endpoints: [\"http://127.0.0.1:9\"], index: logs }\n";
        std::fs::write(path.join("sawlog.yaml"), config + down).unwrap();
    };
    fragile("data");
    feed.send(300).unwrap();
    let mut first = Agent::start(path).unwrap();
    exact(path, &mut first, feed.sent()).unwrap();
    fragile("other");
    let mut second = Agent::start(path).unwrap();
    let until = Instant::now() + WAIT_MAX;
    let ended = loop {
        feed.send(100).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        match (first.check(), second.check()) {
            (Ok(()), Ok(())) => assert!(Instant::now() < until, "both go on:\n{}", second.log_tail()),
            (Err(ended), Ok(())) | (Ok(()), Err(ended)) => break ended.to_string(),
            (Err(one), Err(other)) => break format!("{one}{other}"),
        }
    };
    let alarm = "another process writes under this agent's id, and was met twice within 10 minutes: in sink lake it is the data directory";
    assert!(ended.contains("(exit status: 3)") && ended.contains(alarm), "{ended}");
    assert!(
        ended.contains("another process writes under this agent's id; stop one of them"),
        "the first is said too: {ended}"
    );
    drop((first, second));
    let mut alone = Agent::start(path).unwrap();
    exact(path, &mut alone, feed.sent()).unwrap();
}

/// Sends until rows of this life are delivered, and leaves some owed.
fn work(folder: &Path, agent: &mut Agent, feed: &mut Feed) {
    let before = feed.sent();
    for _ in 0..6 {
        feed.send(100).unwrap();
        std::thread::sleep(Duration::from_millis(250));
    }
    let delivered = || Ok(read::folder(&folder.join("lake"))?.iter().any(|n| *n >= before));
    agent.wait_until("rows of this life", WAIT_MAX, delivered).unwrap();
    feed.send(100).unwrap();
}

/// What is done to a file of the journal.
type Blow = fn(&mut Vec<u8>);

/// Sectors of a segment that hold frames: behind them lie zeros, taken in advance.
fn written(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Where the frames of a segment end, as far as each follows its predecessor: the last one's own bytes may end with zeros. A frame
/// is {length u32, checksum u32, address u64, durable address u64, payload}, little endian, behind a header of 512 bytes.
fn end_of_frames(bytes: &[u8]) -> usize {
    let eight = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (mut at, first) = (512, eight(512 + 8));
    while let (Some(head), Some(address)) = (eight(at), eight(at + 8)) {
        let length = (head as u32 & 0x7fff_ffff) as usize;
        if length == 0 || first.map(|first| first + (at as u64 - 512)) != Some(address) {
            break;
        }
        at += 24 + length;
    }
    at
}

/// The segment of the journal that was written to last.
fn newest_segment(files: &BTreeMap<PathBuf, Vec<u8>>) -> (&PathBuf, &Vec<u8>) {
    let is_one = |(path, bytes): &(&PathBuf, &Vec<u8>)| {
        path.parent().is_some_and(|folder| folder.ends_with("journal")) && written(bytes) > 0
    };
    files.iter().rfind(is_one).unwrap_or_else(|| panic!("no journal in {:?}", files.keys()))
}

const BLOWS: [(&str, Blow); 5] = [
    ("a flipped bit in the middle", |bytes| {
        let at = written(bytes) / 2;
        bytes[at] ^= 4;
    }),
    ("a flipped bit near the beginning", |bytes| bytes[100] ^= 1),
    ("a flipped bit in the header", |bytes| bytes[20] ^= 128),
    ("a sector of zeros in the middle", |bytes| {
        let at = written(bytes) / 2 / 512 * 512;
        bytes[at..at + 512].fill(0);
    }),
    ("a sector of other bytes", |bytes| {
        let at = written(bytes) / 3 / 512 * 512;
        bytes[at..at + 512].fill(0xa5);
    }),
];

#[test]
fn a_damaged_journal_is_refused_with_the_way_out_and_nothing_is_lost() {
    if service("a damaged journal", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let (folder, mut feed) = prepared();
    let (path, data) = (folder.path(), folder.path().join("data"));
    let mut refused = 0;
    for (what, blow) in BLOWS {
        let mut agent = Agent::start(path).unwrap();
        work(path, &mut agent, &mut feed);
        agent.kill().unwrap();
        let sound = bytes_of(&data);
        let (segment, bytes) = newest_segment(&sound);
        let mut beaten = bytes.clone();
        blow(&mut beaten);
        std::fs::write(segment, &beaten).unwrap();
        let before = bytes_of(&data);
        let (done, said) = Agent::start(path).unwrap().ended(WAIT_MAX).unwrap();
        assert!(!done, "{what}: it ended well:\n{said}");
        assert!(said.contains("the journal is damaged"), "{what}: {said}");
        assert!(said.contains(segment.file_name().unwrap().to_str().unwrap()), "{what}: the file is named: {said}");
        assert!(
            said.contains("nothing was changed") && said.contains("sawlog checkpoint restore"),
            "{what}: the way out: {said}"
        );
        assert!(bytes_of(&data) == before, "{what}: something was changed");
        refused += 1;
        std::fs::write(segment, bytes).unwrap();
    }
    let mut agent = Agent::start(path).unwrap();
    exact(path, &mut agent, feed.sent()).unwrap();
    agent.terminate().unwrap();
    println!("{refused} damaged journals refused, {} records: lost 0, duplicated 0", feed.sent());
}

/// A journal that ends early looks like one that was not written further, as long as its checkpoint does not know better. What
/// the lake itself knows makes up for it.
#[test]
fn a_journal_cut_in_the_middle_loses_and_repeats_nothing() {
    if service("a journal cut in the middle", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let (folder, mut feed) = prepared();
    let (path, data) = (folder.path(), folder.path().join("data"));
    let (mut refused, mut taken) = (0, 0);
    for part in 1..6 {
        let mut agent = Agent::start(path).unwrap();
        work(path, &mut agent, &mut feed);
        agent.kill().unwrap();
        let files = bytes_of(&data);
        let (segment, bytes) = newest_segment(&files);
        std::fs::write(segment, &bytes[..written(bytes) * part / 6]).unwrap();
        let mut agent = Agent::start(path).unwrap();
        std::thread::sleep(Duration::from_millis(1_500));
        if agent.check().is_ok() {
            taken += 1;
            exact(path, &mut agent, feed.sent()).unwrap();
            agent.kill().unwrap();
            continue;
        }
        let (done, said) = agent.ended(WAIT_MAX).unwrap();
        assert!(!done && said.contains("the journal is damaged") && said.contains("nothing was changed"), "{said}");
        refused += 1;
        std::fs::write(segment, bytes).unwrap();
    }
    let mut agent = Agent::start(path).unwrap();
    exact(path, &mut agent, feed.sent()).unwrap();
    agent.terminate().unwrap();
    println!("cut journals: {refused} refused, {taken} taken; {} records: lost 0, duplicated 0", feed.sent());
}

#[test]
fn a_damaged_checkpoint_is_refused_and_an_empty_directory_is_the_way_out() {
    if service("a damaged checkpoint", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let (folder, mut feed) = prepared();
    let (path, data) = (folder.path(), folder.path().join("data"));
    let mut agent = Agent::start(path).unwrap();
    feed.send(600).unwrap();
    let checkpoints = || {
        let names =
            std::fs::read_dir(data.join("checkpoints")).into_iter().flatten().map(|entry| entry.unwrap().path());
        names.filter(|path| path.extension().is_some_and(|e| e == "ckpt")).max()
    };
    agent.wait_until("a checkpoint", WAIT_MAX, || Ok(checkpoints().is_some())).unwrap();
    agent.kill().unwrap();
    let newest = checkpoints().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 16;
    std::fs::write(&newest, bytes).unwrap();
    let before = bytes_of(&data);
    let (done, said) = Agent::start(path).unwrap().ended(WAIT_MAX).unwrap();
    assert!(!done && said.contains("does not match its digest") && said.contains("nothing was changed"), "{said}");
    assert!(bytes_of(&data) == before, "something was changed");
    std::fs::rename(&data, path.join("kept")).unwrap();
    let mut agent = Agent::start(path).unwrap();
    feed.send(300).unwrap();
    exact(path, &mut agent, feed.sent()).unwrap();
    agent.terminate().unwrap();
}

#[test]
fn a_tail_that_was_never_acknowledged_is_cut_and_delivery_goes_on() {
    if service("a torn tail", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let (folder, mut feed) = prepared();
    let (path, data) = (folder.path(), folder.path().join("data"));
    for round in 0..6 {
        let mut agent = Agent::start(path).unwrap();
        work(path, &mut agent, &mut feed);
        std::thread::sleep(Duration::from_millis(200 * round));
        agent.kill().unwrap();
        // Half a frame behind the last one, as a power cut leaves it.
        let files = bytes_of(&data);
        let (segment, bytes) = newest_segment(&files);
        let mut torn = bytes.clone();
        let end = end_of_frames(&torn);
        assert!(end >= written(&torn), "bytes behind the frames");
        torn.truncate(end);
        torn.extend((0..97u8).map(|byte| byte.wrapping_mul(37) | 1));
        std::fs::write(segment, torn).unwrap();
    }
    let mut agent = Agent::start(path).unwrap();
    exact(path, &mut agent, feed.sent()).unwrap();
    agent.terminate().unwrap();
}

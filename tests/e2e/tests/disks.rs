//! Full and read-only disks, of the data directory and of a lake: nothing else is disturbed, the reason is said, and once there
//! is space again every row is there once. Also over kill -9 while the disk is full.
#![allow(clippy::unwrap_used)]

use anyhow::{Result, ensure};
use sawlog_e2e::agent::Agent;
use sawlog_e2e::cell::compare;
use sawlog_e2e::disk::{Disk, is_inside};
use sawlog_e2e::feed::{Feed, Posts, Sender, plain};
use sawlog_e2e::shown::{Folder, control};
use sawlog_e2e::told::{Ledger, sink_trouble, troubles};
use sawlog_e2e::{read, service};
use std::path::Path;
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(60);

/// A rotating file to a lake and to an appended file, each perhaps on a small disk of its own.
struct Node {
    folder: tempfile::TempDir,
    feed: Feed,
}

impl Node {
    fn new(more: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let here = folder.path().display();
        let config = format!(
            "version: 1\nagent: {{ id: cramped }}\ndata_dir: {here}/data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
             sources:\n  app: {{ type: file, include: [{here}/logs/app.log], rotated: [{here}/logs/app.log.*] }}\n{more}\
             transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n\
             sinks:\n  lake: {{ type: file, inputs: [parsed], path: \"{here}/lake/dt={{received_time:%Y-%m-%d}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }} }}\n  \
             flat: {{ type: file, inputs: [parsed], path: {here}/flat/out.jsonl, batch: {{ age: 100ms }} }}\n"
        );
        std::fs::create_dir(folder.path().join("logs"))?;
        std::fs::create_dir(folder.path().join("flat"))?;
        std::fs::write(folder.path().join("sawlog.yaml"), config)?;
        let feed = Feed::new(&folder.path().join("logs/app.log"));
        Ok(Self { folder, feed })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A torn last line of the live file may be met while the agent writes; then the file is read again.
    fn rows(&self, sink: &str) -> Vec<u64> {
        read::folder(&self.path().join(sink)).unwrap_or_default()
    }

    /// Waits until a sink has every row once, and holds the reader against a spoiled copy.
    fn exact(&self, agent: &mut Agent, sink: &str) -> Result<()> {
        let sent = self.feed.sent();
        let expected: Vec<u64> = (0..sent).collect();
        let judged = || compare(&self.rows(sink), &expected);
        let done = agent.wait_until(sink, WAIT_MAX, || Ok(self.rows(sink).len() as u64 >= sent));
        std::thread::sleep(Duration::from_millis(300));
        ensure!(judged() == (0, 0, 0), "{sink}: lost, duplicated, unknown {:?} of {sent}: {done:?}", judged());
        control(&Folder(self.path().join(sink)))
    }
}

#[test]
fn a_full_disk_of_the_data_directory_is_waited_for() {
    const TEST: &str = "a_full_disk_of_the_data_directory_is_waited_for";
    if service(TEST, "SAWLOG_TEST_BINARY").is_none() || !is_inside(TEST).unwrap() {
        return;
    }
    let mut node = Node::new("").unwrap();
    let disk = Disk::mount(&node.path().join("data"), 48).unwrap();
    let mut agent = Agent::start(node.path()).unwrap();
    node.feed.send(1_000).unwrap();
    node.exact(&mut agent, "lake").unwrap();
    disk.fill().unwrap();
    node.feed.send(2_000).unwrap();
    // The journal has its reserve: sinks go on, and the checkpoint that finds no room says so.
    node.exact(&mut agent, "lake").unwrap();
    node.exact(&mut agent, "flat").unwrap();
    // While it starts it answers nobody.
    let is_said = |path: &Path| {
        let told = troubles(path).unwrap_or_default();
        anyhow::Ok(told.contains("disk_full") && told.contains("free some"))
    };
    agent.wait_until("it says that the disk is full", WAIT_MAX, || is_said(node.path())).unwrap();
    node.feed.send(500).unwrap();
    agent.kill().unwrap();
    agent = Agent::start(node.path()).unwrap();
    node.feed.send(500).unwrap();
    agent.wait_until("it says that the disk is full", WAIT_MAX, || is_said(node.path())).unwrap();
    disk.free().unwrap();
    agent.wait_until("there is space again", WAIT_MAX, || Ok(!is_said(node.path())?)).unwrap();
    for sink in ["lake", "flat"] {
        node.exact(&mut agent, sink).unwrap();
    }
    Ledger::of(node.path()).unwrap();
    agent.terminate().unwrap();
}

#[test]
fn a_disk_that_is_full_from_the_start_is_said() {
    const TEST: &str = "a_disk_that_is_full_from_the_start_is_said";
    if service(TEST, "SAWLOG_TEST_BINARY").is_none() || !is_inside(TEST).unwrap() {
        return;
    }
    let mut node = Node::new("").unwrap();
    let disk = Disk::mount(&node.path().join("data"), 32).unwrap();
    disk.fill().unwrap();
    node.feed.send(1_000).unwrap();
    let (done, said) = Agent::start(node.path()).unwrap().ended(WAIT_MAX).unwrap();
    assert!(!done && said.contains("no space left") && said.contains("free space"), "{said}");
    assert!(node.rows("lake").is_empty());
    disk.leave(600).unwrap();
    let (done, said) = Agent::start(node.path()).unwrap().ended(WAIT_MAX).unwrap();
    assert!(!done && said.contains("no space left") && said.contains("free space"), "{said}");
    disk.free().unwrap();
    let mut agent = Agent::start(node.path()).unwrap();
    node.feed.send(300).unwrap();
    for sink in ["lake", "flat"] {
        node.exact(&mut agent, sink).unwrap();
    }
    agent.terminate().unwrap();
}

#[test]
fn a_full_disk_turns_posts_away_and_keeps_what_it_acknowledged() {
    const TEST: &str = "a_full_disk_turns_posts_away_and_keeps_what_it_acknowledged";
    if service(TEST, "SAWLOG_TEST_BINARY").is_none() || !is_inside(TEST).unwrap() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "version: 1\nagent: {{ id: cramped }}\ndata_dir: {here}/data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  web: {{ type: http, listen: \"127.0.0.1:{port}\", decode: ndjson, shards: 1 }}\n\
         sinks:\n  lake: {{ type: file, inputs: [web], path: \"{here}/gone/dt={{received_time:%Y-%m-%d}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }} }}\n"
    );
    std::fs::write(folder.path().join("sawlog.yaml"), config).unwrap();
    let disk = Disk::mount(&folder.path().join("data"), 72).unwrap();
    // The sink is down, so that nothing is trimmed.
    std::fs::write(folder.path().join("gone"), "in the way").unwrap();
    let mut agent = Agent::start(folder.path()).unwrap();
    let url = format!("http://127.0.0.1:{port}/");
    let mut posts = Posts::new(url.clone());
    posts.send(200).unwrap();
    disk.fill().unwrap();
    let padding = "x".repeat(500_000);
    let mut taken = 0u64;
    let refused = loop {
        assert!(taken < 400, "200 MB went onto a full disk of 72");
        let body = format!("{{\"seq\":{},\"padding\":\"{padding}\"}}\n", 200 + taken);
        let request = minreq::post(&url).with_header("Content-Type", "application/x-ndjson").with_timeout(20);
        let answer = request.with_body(body).send().unwrap();
        if answer.status_code != 200 {
            break answer;
        }
        taken += 1;
    };
    assert_eq!(refused.status_code, 503, "{:?}", refused.as_str());
    assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
    agent.check().unwrap();
    agent.kill().unwrap();
    let mut agent = Agent::start(folder.path()).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    disk.free().unwrap();
    std::fs::remove_file(folder.path().join("gone")).unwrap();
    let mut later = Posts::numbered(url, 200 + taken, plain);
    later.send(100).unwrap();
    let sent = 300 + taken;
    let rows = || read::folder(&folder.path().join("gone")).unwrap_or_default();
    agent.wait_until("every acknowledged row", WAIT_MAX, || Ok(rows().len() as u64 >= sent)).unwrap();
    assert_eq!(compare(&rows(), &(0..sent).collect::<Vec<_>>()), (0, 0, 0), "{}", agent.log_tail());
    control(&Folder(folder.path().join("gone"))).unwrap();
    println!("{taken} posts of 500 kB were taken before the first was refused");
    agent.terminate().unwrap();
}

#[test]
fn a_disk_that_stays_full_still_takes_cursors_and_checkpoints_so_that_what_is_delivered_makes_room() {
    const TEST: &str =
        "a_disk_that_stays_full_still_takes_cursors_and_checkpoints_so_that_what_is_delivered_makes_room";
    if service(TEST, "SAWLOG_TEST_BINARY").is_none() || !is_inside(TEST).unwrap() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "version: 1\nagent: {{ id: cramped }}\ndata_dir: {here}/data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  web: {{ type: http, listen: \"127.0.0.1:{port}\", decode: ndjson, shards: 1 }}\n\
         sinks:\n  lake: {{ type: file, inputs: [web], path: \"{here}/lake/dt={{received_time:%Y-%m-%d}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }} }}\n"
    );
    std::fs::write(folder.path().join("sawlog.yaml"), config).unwrap();
    let disk = Disk::mount(&folder.path().join("data"), DISK_MIB).unwrap();
    // The sink is down, so that nothing is trimmed.
    std::fs::write(folder.path().join("lake"), "in the way").unwrap();
    let mut agent = Agent::start(folder.path()).unwrap();
    let url = format!("http://127.0.0.1:{port}/");
    Posts::new(url.clone()).send(50).unwrap();
    disk.fill().unwrap();
    let padding = "x".repeat(500_000);
    let mut sent = 50u64;
    let mut post = |max: Duration| {
        let until = std::time::Instant::now() + max;
        loop {
            let body = format!("{{\"seq\":{sent},\"padding\":\"{padding}\"}}\n");
            let request = minreq::post(&url).with_header("Content-Type", "application/x-ndjson").with_timeout(20);
            match request.with_body(body).send().unwrap().status_code {
                200 => {
                    sent += 1;
                    return Some(sent);
                }
                503 if std::time::Instant::now() < until => std::thread::sleep(Duration::from_millis(100)),
                503 => return None,
                other => panic!("answered {other}"),
            }
        }
    };
    let mut taken = 0;
    while post(Duration::ZERO).is_some() {
        taken += 1;
        assert!(taken < 400, "200 MB went onto a full disk of {DISK_MIB}");
    }
    // Nobody frees a byte: the sink comes back, and what it has taken makes room for more than the disk ever held.
    std::fs::remove_file(folder.path().join("lake")).unwrap();
    for _ in 0..2 * u64::from(DISK_MIB) {
        post(WAIT_MAX).unwrap();
    }
    let sent = post(WAIT_MAX).unwrap();
    let rows = || read::folder(&folder.path().join("lake")).unwrap_or_default();
    agent.wait_until("every acknowledged row", WAIT_MAX, || Ok(rows().len() as u64 >= sent)).unwrap();
    assert_eq!(compare(&rows(), &(0..sent).collect::<Vec<_>>()), (0, 0, 0), "{}", agent.log_tail());
    control(&Folder(folder.path().join("lake"))).unwrap();
    println!("{taken} posts of 500 kB were taken before the first was refused, {} after", sent - 50 - taken);
    agent.kill().unwrap();
    disk.free().unwrap();
    let agent = Agent::start(folder.path()).unwrap();
    assert_eq!(compare(&rows(), &(0..sent).collect::<Vec<_>>()), (0, 0, 0));
    agent.terminate().unwrap();
}

/// Size of the disk that stays full.
const DISK_MIB: u32 = 72;

#[test]
fn a_read_only_data_directory_is_said_and_nothing_is_lost() {
    const TEST: &str = "a_read_only_data_directory_is_said_and_nothing_is_lost";
    if service(TEST, "SAWLOG_TEST_BINARY").is_none() || !is_inside(TEST).unwrap() {
        return;
    }
    let mut node = Node::new("").unwrap();
    let disk = Disk::mount(&node.path().join("data"), 48).unwrap();
    let refuses = || {
        disk.set_writable(false).unwrap();
        let (done, said) = Agent::start(node.path()).unwrap().ended(WAIT_MAX).unwrap();
        assert!(!done && said.contains("Read-only file system"), "{said}");
        assert!(said.contains("remount"), "it says how to mend it: {said}");
        disk.set_writable(true).unwrap();
    };
    refuses();
    let agent = Agent::start(node.path()).unwrap();
    node.feed.send(2_000).unwrap();
    agent.kill().unwrap();
    let (done, _) = {
        disk.set_writable(false).unwrap();
        let ended = Agent::start(node.path()).unwrap().ended(WAIT_MAX).unwrap();
        disk.set_writable(true).unwrap();
        ended
    };
    assert!(!done);
    let mut agent = Agent::start(node.path()).unwrap();
    node.feed.send(200).unwrap();
    for sink in ["lake", "flat"] {
        node.exact(&mut agent, sink).unwrap();
    }
    agent.terminate().unwrap();
}

#[test]
fn a_lake_on_a_full_or_read_only_disk_waits_and_holds_up_nobody() {
    const TEST: &str = "a_lake_on_a_full_or_read_only_disk_waits_and_holds_up_nobody";
    if service(TEST, "SAWLOG_TEST_BINARY").is_none() || !is_inside(TEST).unwrap() {
        return;
    }
    let mut node = Node::new("").unwrap();
    let disk = Disk::mount(&node.path().join("lake"), 8).unwrap();
    let mut agent = Agent::start(node.path()).unwrap();
    node.feed.send(500).unwrap();
    node.exact(&mut agent, "lake").unwrap();

    disk.fill().unwrap();
    node.feed.send(1_500).unwrap();
    node.exact(&mut agent, "flat").unwrap();
    let waits = |agent: &mut Agent, node: &Node, word: &str| {
        let told = || sink_trouble(node.path(), "lake").map(Option::unwrap_or_default);
        agent.wait_until("the lake says why it waits", WAIT_MAX, || Ok(told()?.contains(word))).unwrap();
    };
    waits(&mut agent, &node, "free some space");
    assert_eq!(sink_trouble(node.path(), "flat").unwrap(), None);
    let ledger = Ledger::of(node.path()).unwrap();
    assert_eq!(ledger.count("flat", "app", "delivered"), node.feed.sent());
    agent.kill().unwrap();
    agent = Agent::start(node.path()).unwrap();
    node.feed.send(300).unwrap();
    node.exact(&mut agent, "flat").unwrap();
    disk.free().unwrap();
    node.exact(&mut agent, "lake").unwrap();

    disk.set_writable(false).unwrap();
    node.feed.send(500).unwrap();
    node.exact(&mut agent, "flat").unwrap();
    waits(&mut agent, &node, "remount it writable");
    disk.set_writable(true).unwrap();
    node.exact(&mut agent, "lake").unwrap();
    assert_eq!(sink_trouble(node.path(), "lake").unwrap(), None);
    agent.terminate().unwrap();
}

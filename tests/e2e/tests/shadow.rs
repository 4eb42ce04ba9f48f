//! A component beside that of a plugin, on the real binary: one that traps in every batch ends by itself while every row goes on its way
//! as if it were not there; one that does the same goes on; and a kill leaves nothing of either.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::{Agent, ask, verb};
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::service;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(60);
const CONFIG: &str = "version: 1
agent: { id: e2e }
data_dir: ./data
dead_letter: letters
plugins:
  mark: { source: \"file:./mark.wasm\", config: { fields: [level, note] } }
sources:
  app: { type: file, include: [./logs/app.log] }
transforms:
  parsed: { type: parse, inputs: [app], try: [json] }
  marked: { type: wasm, inputs: [parsed], chain: [mark] }
sinks:
  out: { type: file, inputs: [marked], path: ./out.jsonl, batch: { age: 50ms } }
  letters: { type: file, path: ./letters.jsonl, batch: { age: 50ms } }
";

fn line(number: u64) -> String {
    format!("{{\"seq\":{number},\"level\":\"WARN\",\"note\":\"a@b.example\"}}")
}

fn rows(path: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let number = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        assert_eq!((row["level"].as_str(), row["note"].as_str()), (Some("WARN"), Some("[email]")), "{row}");
        row["seq"].as_u64().unwrap()
    };
    whole.lines().map(number).collect()
}

fn status(folder: &Path) -> Value {
    serde_json::from_str(&verb(folder, &["status", "--format", "json"]).unwrap()).unwrap()
}

#[test]
fn one_that_traps_in_every_batch_ends_and_no_row_is_touched() {
    let Some(plugins) = service("a shadow", "SAWLOG_TEST_PLUGINS") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (folder, plugins) = (folder.path(), PathBuf::from(plugins));
    let redact = std::fs::read(plugins.join("redact.wasm")).unwrap();
    let mut same = redact.clone();
    same.extend([0, 3, 2, b'v', b'2']);
    std::fs::create_dir(folder.join("logs")).unwrap();
    for (name, bytes) in [("mark", &redact), ("traps", &sawlog_fuzz::trapping(&redact)), ("same", &same)] {
        std::fs::write(folder.join(format!("{name}.wasm")), bytes).unwrap();
    }
    std::fs::write(folder.join("sawlog.yaml"), CONFIG).unwrap();
    let mut feed = Feed::of(&folder.join("logs/app.log"), line);
    let mut agent = Agent::start_answering(folder).unwrap();
    let shadow = |component: &str, more: &[&str]| {
        let path = folder.join(format!("{component}.wasm"));
        verb(folder, &[&["plugin", "swap", "mark", path.to_str().unwrap(), "--shadow"], more].concat()).unwrap()
    };
    let feed_until = |agent: &mut Agent, feed: &mut Feed, what: &str, is_so: &dyn Fn(&Value) -> bool| {
        agent
            .wait_until(what, WAIT_MAX, || {
                feed.send(60)?;
                Ok(is_so(&status(folder)["shadows"]["mark"]))
            })
            .unwrap();
    };
    shadow("traps", &[]);
    feed_until(&mut agent, &mut feed, "an end", &|found| found["ended"].is_string());
    let found = status(folder)["shadows"]["mark"].clone();
    assert_eq!(
        (found["failing"].as_u64(), found["differing"].as_u64()),
        (found["records"].as_u64(), Some(0)),
        "{found}"
    );
    assert_eq!(found["failing_batches"], found["batches"], "{found}");
    assert!(found["failure"].as_str().unwrap().contains("unreachable"), "{found}");
    assert!(verb(folder, &["status"]).unwrap().contains("ended: it fails on"));
    let log = || std::fs::read_to_string(folder.join("agent.log")).unwrap_or_default();
    agent.wait_until("a word in the log", WAIT_MAX, || Ok(log().contains("ran beside the plugin has ended"))).unwrap();

    shadow("same", &["--failing-max", "0", "--differing-max", "0"]);
    feed_until(&mut agent, &mut feed, "200 records", &|found| found["records"].as_u64().is_some_and(|n| n >= 200));
    let found = status(folder)["shadows"]["mark"].clone();
    assert_eq!((found["failing"].as_u64(), found["differing"].as_u64()), (Some(0), Some(0)), "{found}");
    assert!(found["ended"].is_null(), "{found}");
    assert_eq!(status(folder)["overrides"].as_object().unwrap().len(), 0, "it is no part of the configuration");
    let path = folder.join("mark.wasm");
    let said =
        ask(folder, &["plugin", "swap", "mark", path.to_str().unwrap(), "--shadow", "--failing-max", "101"]).unwrap();
    assert!(!said.done && said.complaints.contains("from 0 to 100"), "{}", said.complaints);

    agent.kill_now().unwrap();
    agent = Agent::start_answering(folder).unwrap();
    assert_eq!(status(folder)["shadows"].as_object().unwrap().len(), 0);
    feed.send(100).unwrap();
    let sent = feed.sent();
    let out = folder.join("out.jsonl");
    agent.wait_until("all rows", WAIT_MAX, || Ok(rows(&out).len() as u64 >= sent)).unwrap();
    agent.terminate().unwrap();
    assert!(rows(&out).into_iter().eq(0..sent), "lost or duplicated of {sent}");
    assert_eq!(std::fs::read_to_string(folder.join("letters.jsonl")).unwrap_or_default(), "");
    println!("{sent} records beside a component that traps in every batch: lost 0, duplicated 0, dead letters 0");
}

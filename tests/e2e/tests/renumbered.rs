//! Stages that come and go in front of a plugin with state, by SIGHUP, on the real binary: it goes on with its state, and one that goes
//! gives out first what it holds back.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::Agent;
use sawlog_e2e::service;
use sawlog_e2e::told::{Ledger, TAKEN};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(60);

/// A config with these transforms, of which `last` feed the sink.
fn configure(folder: &Path, transforms: &str, last: &str) {
    let plugins = std::env::var("SAWLOG_TEST_PLUGINS").unwrap();
    let text = format!(
        "version: 1\nagent: {{ id: e2e }}\ndata_dir: ./data\ncheckpoint: {{ interval: 200ms }}\n\
         plugins:\n  windows: {{ source: \"file:{plugins}/count-window.wasm\", allow: [state, timers], \
         config: {{ key: key, records: 4, absorb: true }} }}\n  \
         names: {{ source: \"file:{plugins}/count-window.wasm\", allow: [state, timers], \
         config: {{ key: key, gap_seconds: 3600 }} }}\n\
         sources:\n  app: {{ type: file, include: [./logs/app.log], idle_timeout: 10m }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json] }}\n{transforms}\
         sinks:\n  out: {{ type: file, inputs: [{last}], path: ./out.jsonl, batch: {{ age: 50ms }} }}\n"
    );
    std::fs::write(folder.join("sawlog.yaml"), text).unwrap();
}

fn append(folder: &Path, records: usize) {
    let file = File::options().create(true).append(true).open(folder.join("logs/app.log"));
    file.unwrap().write_all("{\"key\":\"a\"}\n".repeat(records).as_bytes()).unwrap();
}

/// The counts of the windows of the sink's rows.
fn counts(folder: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(folder.join("out.jsonl")).unwrap_or_default();
    let rows = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.filter_map(|row| row["count"].as_u64()).collect()
}

fn wait_for(agent: &mut Agent, folder: &Path, wanted: &[u64]) {
    let what = format!("windows of {wanted:?}");
    let waited = agent.wait_until(&what, WAIT_MAX, || Ok(counts(folder) == wanted));
    assert!(waited.is_ok(), "{:?} instead of {wanted:?}\n{}", counts(folder), agent.log_tail());
}

/// Until so many records are read, and with them in the plugins' state.
fn absorb(agent: &mut Agent, folder: &Path, records: u64) {
    let read = || Ok(Ledger::of(folder).is_ok_and(|ledger| ledger.count("out", "app", "read") == records));
    agent.wait_until(&format!("{records} records are read"), WAIT_MAX, read).unwrap();
}

#[test]
fn a_plugin_with_state_goes_on_with_it_whatever_comes_and_goes_in_front_of_it() {
    if service("renumbered", "SAWLOG_TEST_BINARY").is_none() || service("renumbered", "SAWLOG_TEST_PLUGINS").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("logs")).unwrap();
    let alone = "  counted: { type: wasm, inputs: [parsed], chain: [windows] }\n";
    let behind_a_filter = "  some: { type: filter, inputs: [parsed], condition: 'key == \"a\"' }\n  \
                           counted: { type: wasm, inputs: [some], chain: [windows] }\n";
    let behind_another = "  named: { type: wasm, inputs: [parsed], chain: [names] }\n  \
                          counted: { type: wasm, inputs: [named], chain: [windows] }\n";
    configure(path, alone, "counted.windows");
    append(path, 2);
    let mut agent = Agent::start(path).unwrap();
    absorb(&mut agent, path, 2);
    configure(path, behind_a_filter, "counted.windows");
    agent.reload(TAKEN).unwrap();
    append(path, 2);
    wait_for(&mut agent, path, &[4]);
    append(path, 1);
    absorb(&mut agent, path, 5);
    // Its state is saved, also behind the change.
    agent.kill_and_start(path).unwrap();
    configure(path, behind_another, "counted.windows, named.windows");
    agent.reload(TAKEN).unwrap();
    append(path, 3);
    wait_for(&mut agent, path, &[4, 4]);
    append(path, 3);
    absorb(&mut agent, path, 11);
    configure(path, "", "parsed");
    agent.reload(TAKEN).unwrap();
    append(path, 1);
    // Of the session; a window of four records asks for no end but the fourth.
    wait_for(&mut agent, path, &[4, 4, 6]);
    agent.terminate().unwrap();
}

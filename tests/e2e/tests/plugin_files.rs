//! The table of a plugin, changed and reloaded: records before the reload keep the old one, for a sink that lags and after a kill
//! too, and records after it have the new one.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::{Agent, verb};
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::service;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const LINES: u64 = 100;
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What a sink has, by the number of the record: the team that the table gave it.
fn teams(path: &Path) -> Vec<(u64, String)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        (row["seq"].as_u64().unwrap(), row["team"].as_str().unwrap().to_owned())
    };
    let mut rows: Vec<_> = whole.lines().map(row).collect();
    rows.sort();
    rows
}

#[test]
fn a_changed_table_holds_from_its_reload_on_and_for_no_record_before() {
    let Some(plugins) = service("a changed table", "SAWLOG_TEST_PLUGINS") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let config = format!(
        "version: 1\nagent: {{ id: tabled }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
         plugins:\n  teams: {{ source: \"file:{plugins}/enrich.wasm\", files: {{ table: ./hosts.csv }}, config: {{ key: level, key_column: level }} }}\n\
         sources:\n  app: {{ type: file, include: [./logs/app.log] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json] }}\n  told: {{ type: wasm, inputs: [parsed], chain: [teams] }}\n\
         sinks:\n  prompt: {{ type: file, inputs: [told], path: ./prompt.jsonl, batch: {{ age: 100ms }} }}\n  \
         late: {{ type: file, inputs: [told], path: ./late/out.jsonl, batch: {{ age: 100ms }}, retry: {{ initial: 50ms, max: 200ms }} }}\n"
    );
    std::fs::write(folder.join("sawlog.yaml"), config).unwrap();
    let table = |team: &str| std::fs::write(folder.join("hosts.csv"), format!("level,team\ninfo,{team}\n")).unwrap();
    // A folder where the file of the late sink should be.
    let in_the_way = folder.join("late/out.jsonl");
    std::fs::create_dir_all(in_the_way.join("stays")).unwrap();
    std::fs::create_dir(folder.join("logs")).unwrap();
    table("old");
    let mut feed = Feed::new(&folder.join("logs/app.log"));
    let mut agent = Agent::start_answering(folder).unwrap();
    let prompt = folder.join("prompt.jsonl");
    let wait = |agent: &mut Agent, path: &Path, count: u64| {
        agent.wait_until("the rows", WAIT_MAX, || Ok(teams(path).len() as u64 >= count)).unwrap();
    };
    feed.send(LINES).unwrap();
    wait(&mut agent, &prompt, LINES);
    table("new");
    feed.send(LINES).unwrap();
    wait(&mut agent, &prompt, 2 * LINES);
    verb(folder, &["reload"]).unwrap();
    feed.send(LINES).unwrap();
    wait(&mut agent, &prompt, 3 * LINES);
    let team = |n: u64| if n < 2 * LINES { "old" } else { "new" };
    let expected: Vec<(u64, String)> = (0..3 * LINES).map(|n| (n, team(n).to_owned())).collect();
    assert_eq!(teams(&prompt), expected);

    agent.kill_and_start(folder).unwrap();
    std::fs::remove_dir_all(&in_the_way).unwrap();
    wait(&mut agent, &in_the_way, 3 * LINES);
    agent.terminate().unwrap();
    assert_eq!(teams(&in_the_way), expected, "the sink that lags has what the other one has");
    assert_eq!(teams(&prompt), expected, "nothing came again");
}

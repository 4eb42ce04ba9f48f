//! A plugin that loops on very many records, in the real binary: the hunt for them costs its own source time, while records of
//! another source and whoever asks the agent have their turn between any two calls.
#![allow(clippy::unwrap_used)]

use anyhow::Result;
use sawlog_e2e::agent::Agent;
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::told::Ledger;
use sawlog_e2e::{read, service};
use std::path::Path;
use std::time::{Duration, Instant};

const WAIT_MAX: Duration = Duration::from_secs(120);
/// Records on which the plugin loops, in each of the files that keep every worker hunting.
const LOOPING: u64 = 100;
const WORKERS: u64 = 2;

fn looping(number: u64) -> String {
    format!("{{\"seq\":{number},\"do\":\"loop\"}}")
}

fn config(hostile: &str) -> String {
    format!(
        "version: 1\nagent: {{ id: hunts }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\nlimits: {{ cpu: {WORKERS} }}\n\
         plugins:\n  hostile: {{ source: \"file:{hostile}\", allow: [state, timers], config: {{}}, limits: {{ memory: 16MiB }} }}\n\
         sources:\n  app: {{ type: file, include: [\"./logs/app-*.log\"] }}\n  calm: {{ type: file, include: [./logs/calm.log] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json] }}\n  abused: {{ type: wasm, inputs: [parsed], chain: [hostile] }}\n  \
         other: {{ type: parse, inputs: [calm], try: [json] }}\n\
         sinks:\n  out: {{ type: file, inputs: [abused], path: ./out/out.jsonl, batch: {{ age: 100ms }} }}\n  \
         undisturbed: {{ type: file, inputs: [other], path: ./calm/out.jsonl, batch: {{ age: 100ms }} }}\n"
    )
}

/// The longest that each had to wait while the hunt went on.
#[derive(Debug, Default)]
struct Longest {
    record: Duration,
    probe: Duration,
}

impl Longest {
    /// Sends a record through the calm source, and asks for a sign of life.
    fn try_once(&mut self, path: &Path, calm: &mut Feed, agent: &mut Agent) -> Result<()> {
        let began = Instant::now();
        agent.livez(WAIT_MAX)?;
        self.probe = self.probe.max(began.elapsed());
        let began = Instant::now();
        calm.send(1)?;
        let sent = calm.sent();
        let is_there = || Ok(read::folder(&path.join("calm")).unwrap_or_default().len() as u64 >= sent);
        agent.wait_until("the other source's record", WAIT_MAX, is_there)?;
        self.record = self.record.max(began.elapsed());
        Ok(())
    }
}

#[test]
fn a_hunt_for_many_records_keeps_neither_another_source_nor_a_probe_waiting() {
    let Some(plugins) = service("plugins in the binary", "SAWLOG_TEST_PLUGINS") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("logs")).unwrap();
    std::fs::write(path.join("sawlog.yaml"), config(&format!("{plugins}/hostile.wasm"))).unwrap();
    let mut calm = Feed::new(&path.join("logs/calm.log"));
    let mut agent = Agent::start_answering(path).unwrap();
    Longest::default().try_once(path, &mut calm, &mut agent).unwrap();

    let began = Instant::now();
    for file in 0..WORKERS {
        Feed::of(&path.join(format!("logs/app-{file}.log")), looping).send(LOOPING).unwrap();
    }
    let mut longest = Longest::default();
    let told = |outcome| Ledger::of(path).map_or(0, |ledger| ledger.count("out", "app", outcome));
    while told("dead_lettered") < WORKERS * LOOPING {
        assert!(began.elapsed() < WAIT_MAX, "the hunt does not end: {}", agent.log_tail());
        longest.try_once(path, &mut calm, &mut agent).unwrap();
    }
    let hunt = began.elapsed();
    println!("a hunt of {hunt:?}; while it went on, the longest waits were {longest:?}");
    agent.terminate().unwrap();
    // Where a hunt keeps the workers, both wait for nearly all of it.
    for waited in [longest.record, longest.probe] {
        assert!(waited < hunt / 3, "{longest:?} of {hunt:?}");
    }
    let ledger = Ledger::of(path).unwrap();
    assert_eq!(ledger.count("out", "app", "dead_lettered"), WORKERS * LOOPING);
    assert_eq!(ledger.count("undisturbed", "calm", "delivered"), calm.sent());
}

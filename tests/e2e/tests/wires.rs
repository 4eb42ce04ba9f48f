//! What stands between the agent and a service keeps a request back and lets it go later.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::Agent;
use sawlog_e2e::cell::compare;
use sawlog_e2e::feed::{Feed, Sender as _};
use sawlog_e2e::shown::{Committed, control};
use sawlog_e2e::stray::StrayEnd;
use sawlog_e2e::{read, service, unique};
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(60);

/// The end of a transaction is asked for again when its connection goes, so that the first request may arrive in the middle of
/// the next transaction (delivery.md 4.1). It must not end that one: what is killed then has committed half of it.
#[test]
fn a_late_end_of_a_transaction_does_not_end_the_next_one() {
    let Some(brokers) = service("a late end of a transaction", "SAWLOG_TEST_KAFKA") else { return };
    let address = |name: &str| std::env::var(name).unwrap().parse().unwrap();
    let (here, there) = (address("SAWLOG_TEST_KAFKA_WIRE"), address("SAWLOG_TEST_KAFKA_BEHIND_WIRE"));
    let wire = StrayEnd::start(here, there).unwrap();
    let (topic, cursors) = (unique("late"), unique("cursors"));
    read::make_topics(&brokers, &[(&topic, 3, false), (&cursors, 16, true)]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("logs")).unwrap();
    let config = format!(
        "version: 1\nagent: {{ id: late }}\ndata_dir: ./data\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n\
         sinks:\n  out: {{ type: kafka, inputs: [parsed], brokers: [\"{here}\"], topic: {topic}, cursor_topic: {cursors}, batch: {{ age: 200ms }} }}\n"
    );
    std::fs::write(path.join("sawlog.yaml"), config).unwrap();
    let mut feed = Feed::new(&path.join("logs/app.log"));
    let mut agent = Agent::start(path).unwrap();
    let rows = || read::kafka(&brokers, &topic);
    let mut codes = Vec::new();
    for lines in [200, 400] {
        feed.send(lines).unwrap();
        let sent = feed.sent();
        agent.wait_until("rows", WAIT_MAX, || Ok(rows()?.len() as u64 >= sent)).unwrap();
        wire.arm();
        feed.send(100).unwrap();
        // The next transaction begins when there is something for it.
        let sent = feed.sent();
        agent.wait_until("rows of a commit that was repeated", WAIT_MAX, || Ok(rows()?.len() as u64 >= sent)).unwrap();
        feed.send(100).unwrap();
        let code = wire.answer(WAIT_MAX).map_err(|error| error.context(agent.log_tail())).unwrap();
        agent.kill().unwrap();
        wire.pass_again();
        agent = Agent::start(path).unwrap();
        codes.push(code);
    }
    let sent = feed.sent();
    agent.wait_until("every row", WAIT_MAX, || Ok(rows()?.len() as u64 >= sent)).unwrap();
    let found = rows().unwrap();
    assert_eq!(compare(&found, &(0..sent).collect::<Vec<_>>()), (0, 0, 0), "{}", agent.log_tail());
    control(&Committed::of(&brokers, &topic)).unwrap();
    assert!(codes.iter().all(|code| *code != 0), "a late request ended the next transaction: {codes:?}");
    println!("the broker answered the late requests with {codes:?}");
    agent.terminate().unwrap();
}

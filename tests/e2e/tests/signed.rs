//! A plugin whose signature the config demands, on the real binary: it runs while the signature holds, and neither a reload nor a
//! start takes another component.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::{Agent, ask, verb};
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::{read, service};
use std::path::Path;
use std::time::{Duration, Instant};

const LINES: u64 = 200;

#[track_caller]
fn until(agent: &mut Agent, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is() {
        agent.check().unwrap();
        assert!(Instant::now() < deadline, "not within a minute:\n{}", agent.log_tail());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a verb that must fail complains of.
#[track_caller]
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let said = ask(folder, arguments).unwrap();
    assert!(!said.done, "{arguments:?} should be refused: {}", said.out);
    said.complaints
}

#[test]
fn only_what_is_signed_is_loaded() {
    let Some(plugins) = service("a signed plugin", "SAWLOG_TEST_PLUGINS") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("logs")).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (component, key, public) = (path("plugin.wasm"), path("key"), path("key.pub"));
    let put = |name: &str| assert!(std::fs::copy(Path::new(&plugins).join(name), &component).unwrap() > 0);
    put("level-filter.wasm");
    let text = "version: 1\nagent: { id: e2e }\ndata_dir: ./data\napi: { listen: \"127.0.0.1:0\" }\ncheckpoint: { interval: 1s }\n\
         plugins:\n  filter: { source: \"file:./plugin.wasm\", signed_by: ./key.pub, config: { at_least: info } }\n\
         sources:\n  app: { type: file, include: [./logs/app.log] }\n\
         transforms:\n  parsed: { type: parse, inputs: [app], try: [json, text] }\n  clean: { type: wasm, inputs: [parsed], chain: [filter] }\n\
         sinks:\n  out: { type: file, inputs: [clean], path: ./out.jsonl, batch: { age: 100ms } }\n";
    std::fs::write(folder.join("sawlog.yaml"), text).unwrap();
    assert!(refused(folder, &["validate"]).contains("key.pub"), "no key");
    verb(folder, &["plugin", "keygen", &key]).unwrap();
    assert!(refused(folder, &["validate"]).contains("has no signature"));
    assert!(refused(folder, &["run", "--dry-run"]).contains("has no signature"));
    verb(folder, &["plugin", "sign", "--key", &key, &component]).unwrap();
    verb(folder, &["plugin", "verify", "--key", &public, &component]).unwrap();
    verb(folder, &["validate"]).unwrap();

    let mut feed = Feed::new(&folder.join("logs/app.log"));
    feed.send(LINES).unwrap();
    let mut agent = Agent::start(folder).unwrap();
    let delivered = || read::folder(&folder.join("out.jsonl")).unwrap_or_default().len() as u64;
    until(&mut agent, || delivered() == LINES);

    // Somebody exchanges the component: the agent goes on with the one that it has.
    put("redact.wasm");
    for arguments in [&["reload"][..], &["validate"], &["plugin", "verify", "--key", &public, &component]] {
        let told = refused(folder, arguments);
        assert!(told.contains("does not hold") && told.contains("plugin.wasm"), "{arguments:?}: {told}");
    }
    feed.send(LINES).unwrap();
    until(&mut agent, || delivered() == 2 * LINES);
    agent.kill().unwrap();
    assert!(refused(folder, &["run"]).contains("does not hold"), "it starts");

    // Signed by a stranger it is no better, and by the owner it is.
    let stranger = path("stranger");
    verb(folder, &["plugin", "keygen", &stranger]).unwrap();
    verb(folder, &["plugin", "sign", "--key", &stranger, &component]).unwrap();
    assert!(refused(folder, &["validate"]).contains("does not hold"));
    put("level-filter.wasm");
    verb(folder, &["plugin", "sign", "--key", &key, &component]).unwrap();
    let mut agent = Agent::start(folder).unwrap();
    feed.send(LINES).unwrap();
    until(&mut agent, || delivered() == 3 * LINES);
    agent.terminate().unwrap();
}

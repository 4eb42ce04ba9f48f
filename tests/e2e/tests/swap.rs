//! A plugin's component exchanged in the running agent, under load, on the real binary: every row is there once, at every sink, and made
//! by exactly one component, those of one behind those of another; through kills, reloads, and the end of the override. What is not fit
//! is refused, and the old one goes on.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::{Agent, ask, verb};
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::service;
use sawlog_e2e::told::TAKEN;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(60);
const TOKEN: &str = "a-good-token";
/// Kills in the middle of swaps, each a little later in its swap than the one before.
const KILLS: u64 = 12;
/// A component that is valid and empty.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

/// Which component made a row: each leaves a mark of its own, and takes the config that suits the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// `redact`: the address is gone, the level is as it was written.
    Redact,
    /// `normalise-level`: the other way round.
    Normalise,
}

fn line(number: u64) -> String {
    format!("{{\"seq\":{number},\"level\":\"WARN\",\"note\":\"a@b.example\"}}")
}

fn made(row: &Value) -> Made {
    match (row["level"].as_str(), row["note"].as_str()) {
        (Some("WARN"), Some("[email]")) => Made::Redact,
        (Some("warn"), Some("a@b.example")) => Made::Normalise,
        _ => panic!("no component made this row alone: {row}"),
    }
}

/// The rows of a file in the order in which they lie there.
fn rows(path: &Path) -> Vec<(u64, Made)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        (row["seq"].as_u64().unwrap(), made(&row))
    };
    whole.lines().map(row).collect()
}

/// (lost, duplicated) of the numbers below `sent`.
fn judge(rows: &[(u64, Made)], sent: u64) -> (usize, usize) {
    let mut times = vec![0_usize; usize::try_from(sent).unwrap()];
    rows.iter().for_each(|(n, _)| times[usize::try_from(*n).unwrap()] += 1);
    (times.iter().filter(|n| **n == 0).count(), times.iter().map(|n| n.saturating_sub(1)).sum())
}

/// Who made the rows, one after the other.
fn turns(rows: &[(u64, Made)]) -> Vec<Made> {
    let mut turns: Vec<Made> = rows.iter().map(|(_, made)| *made).collect();
    turns.dedup();
    turns
}

/// An agent's folder: two sinks behind the plugin `mark`, one of which can't write before [`Place::clear`].
struct Place(tempfile::TempDir, PathBuf);

impl Place {
    fn new(plugins: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap(), PathBuf::from(plugins));
        std::fs::create_dir(place.path("logs")).unwrap();
        std::fs::create_dir_all(place.path("late.jsonl/stays")).unwrap();
        std::fs::create_dir(place.path("secrets")).unwrap();
        std::fs::write(place.path("secrets/api"), TOKEN).unwrap();
        std::fs::write(place.path("mark.wasm"), place.component("redact")).unwrap();
        place.write("100ms", "{ fields: [level, note] }", "");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn component(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.1.join(format!("{name}.wasm"))).unwrap()
    }

    fn write(&self, age: &str, config: &str, more: &str) {
        let text = format!(
            "version: 1\nagent: {{ id: e2e }}\ndata_dir: ./data\nsecrets: {{ dir: ./secrets }}\n\
             api: {{ listen: \"127.0.0.1:0\", token: \"${{secret:api}}\" }}\ncheckpoint: {{ interval: 1s }}\n\
             plugins:\n  mark: {{ source: \"file:./mark.wasm\", config: {config}{more} }}\n\
             sources:\n  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json] }}\n  marked: {{ type: wasm, inputs: [parsed], chain: [mark] }}\n\
             sinks:\n  out: {{ type: file, inputs: [marked], path: ./out.jsonl, batch: {{ age: {age} }} }}\n  \
             late: {{ type: file, inputs: [marked], path: ./late.jsonl, batch: {{ age: 100ms }}, retry: {{ initial: 50ms, max: 200ms }} }}\n"
        );
        std::fs::write(self.path("sawlog.yaml"), text).unwrap();
    }

    /// From here on the late sink can write.
    fn clear(&self) {
        std::fs::remove_dir_all(self.path("late.jsonl")).unwrap();
    }
}

/// Writes lines until it is told to stop.
struct Load(std::thread::JoinHandle<()>, Arc<AtomicBool>, Arc<AtomicU64>);

impl Load {
    fn begin(place: &Place) -> Self {
        let (stop, sent): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let (stopped, sending) = (stop.clone(), sent.clone());
        let mut feed = Feed::of(&place.path("logs/app.log"), line);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                feed.send(50).unwrap();
                sending.store(feed.sent(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(25));
            }
        });
        Self(thread, stop, sent)
    }

    /// Waits until a row that was sent from now on is there, made by `who`.
    fn reaches(&self, agent: &mut Agent, place: &Place, who: Made) {
        let (from, out) = (self.2.load(Ordering::Relaxed), place.path("out.jsonl"));
        let is_there = || rows(&out).iter().rev().take_while(|(n, _)| *n >= from).any(|(_, made)| *made == who);
        agent.wait_until(&format!("rows by {who:?}"), WAIT_MAX, || Ok(is_there())).unwrap();
    }

    fn end(self) -> u64 {
        self.1.store(true, Ordering::Relaxed);
        self.0.join().unwrap();
        self.2.load(Ordering::Relaxed)
    }
}

/// Sends a component; the status, and what was answered.
fn put(agent: &Agent, token: Option<&str>, path: &str, component: &[u8], signature: Option<&str>) -> (i32, Value) {
    let mut request = minreq::put(format!("{}{path}", agent.api().unwrap())).with_timeout(60);
    if let Some(token) = token {
        request = request.with_header("authorization", format!("Bearer {token}"));
    }
    if let Some(signature) = signature {
        request = request.with_header("sawlog-signature", signature);
    }
    let answer = request.with_body(component).send().unwrap();
    (answer.status_code, serde_json::from_str(answer.as_str().unwrap()).unwrap())
}

fn swap(agent: &Agent, component: &[u8]) -> Value {
    let (status, answer) = put(agent, Some(TOKEN), "/v1/plugins/mark", component, None);
    assert_eq!(status, 200, "{answer}");
    answer
}

/// The digest of what stands in the plugin's place, which `status` and `validate` say, whether the agent runs or not.
fn overridden(place: &Place) -> Option<String> {
    let status: Value = serde_json::from_str(&verb(place.folder(), &["status", "--format", "json"]).unwrap()).unwrap();
    let digest = status["overrides"]["mark"]["digest"].as_str().map(str::to_owned);
    for arguments in [&["validate"][..], &["status"]] {
        let said = verb(place.folder(), arguments).unwrap();
        let is_so = digest.as_ref().map_or(!said.contains("stands in"), |digest| said.contains(digest));
        assert!(is_so, "{arguments:?} {digest:?}: {said}");
    }
    digest
}

/// Waits until both sinks have everything, and counts.
fn count(mut agent: Agent, place: &Place, sent: u64) -> Vec<(u64, Made)> {
    place.clear();
    let all = usize::try_from(sent).unwrap();
    for file in ["out.jsonl", "late.jsonl"] {
        let file = place.path(file);
        agent.wait_until("all rows", WAIT_MAX, || Ok(rows(&file).len() >= all)).unwrap();
    }
    std::thread::sleep(Duration::from_millis(500));
    agent.terminate().unwrap();
    let (out, late) = (rows(&place.path("out.jsonl")), rows(&place.path("late.jsonl")));
    assert_eq!(judge(&out, sent), (0, 0), "(lost, duplicated) of {sent}");
    assert!(out == late, "the sink that lags has other rows, or another order");
    out
}

#[test]
fn a_component_is_exchanged_under_load_and_every_row_is_made_once_by_one_of_them() {
    let Some(plugins) = service("a swap", "SAWLOG_TEST_PLUGINS") else { return };
    let place = Place::new(&plugins);
    let normalise = place.component("normalise-level");
    let mut agent = Agent::start_answering(place.folder()).unwrap();
    let load = Load::begin(&place);
    load.reaches(&mut agent, &place, Made::Redact);
    assert_eq!(overridden(&place), None);

    let answer = swap(&agent, &normalise);
    load.reaches(&mut agent, &place, Made::Normalise);
    let digest = answer["override"]["digest"].as_str().unwrap().to_owned();
    agent.kill_now().unwrap();
    assert_eq!(overridden(&place).as_ref(), Some(&digest), "the directory says it too");
    agent = Agent::start_answering(place.folder()).unwrap();
    load.reaches(&mut agent, &place, Made::Normalise);

    place.write("50ms", "{ fields: [level, note] }", "");
    agent.hang_up().unwrap();
    agent.wait_until("a reload", WAIT_MAX, || Ok(agent_log(&place).contains(TAKEN))).unwrap();
    load.reaches(&mut agent, &place, Made::Normalise);
    assert_eq!(overridden(&place).as_ref(), Some(&digest));

    // The configured component with a section more: others bytes, the same work.
    let mut other = place.component("redact");
    other.extend([0, 3, 2, b'v', b'2']);
    std::fs::write(place.path("v2.wasm"), &other).unwrap();
    let file = place.path("v2.wasm");
    verb(place.folder(), &["plugin", "swap", "mark", file.to_str().unwrap()]).unwrap();
    load.reaches(&mut agent, &place, Made::Redact);
    agent.kill_and_start(place.folder()).unwrap();
    load.reaches(&mut agent, &place, Made::Redact);
    assert!(overridden(&place).is_some_and(|now| now != digest), "the file is the same work by other bytes");

    assert_eq!(swap(&agent, &normalise)["changed"], true);
    assert_eq!(swap(&agent, &normalise)["changed"], false, "it stands there already");
    load.reaches(&mut agent, &place, Made::Normalise);
    verb(place.folder(), &["reload", "--discard-overrides"]).unwrap();
    load.reaches(&mut agent, &place, Made::Redact);
    agent.kill_and_start(place.folder()).unwrap();
    load.reaches(&mut agent, &place, Made::Redact);
    assert_eq!(overridden(&place), None);

    let sent = load.end();
    let out = count(agent, &place, sent);
    let (redact, normalise) = (Made::Redact, Made::Normalise);
    assert_eq!(turns(&out), [redact, normalise, redact, normalise, redact], "each behind the one before");
    println!(
        "{sent} records through 4 components in turn, 3 kills, 2 reloads: lost 0, duplicated 0, at both sinks the same"
    );
}

fn agent_log(place: &Place) -> String {
    std::fs::read_to_string(place.path("agent.log")).unwrap_or_default()
}

#[test]
fn a_kill_in_the_middle_of_a_swap_leaves_either_component_whole() {
    let Some(plugins) = service("a swap that is killed", "SAWLOG_TEST_PLUGINS") else { return };
    let place = Place::new(&plugins);
    let components = [place.component("normalise-level"), place.component("redact")];
    let mut agent = Agent::start_answering(place.folder()).unwrap();
    let load = Load::begin(&place);
    load.reaches(&mut agent, &place, Made::Redact);
    // Compiled once, a swap takes milliseconds.
    let digests: Vec<String> =
        components.iter().map(|one| swap(&agent, one)["override"]["digest"].as_str().unwrap().to_owned()).collect();
    let (mut present, mut answered, mut changed) = (1, 0, 0);
    for turn in 0..KILLS {
        let (api, component) = (agent.api().unwrap(), components[1 - present].clone());
        let putting = std::thread::spawn(move || {
            let request = minreq::put(format!("{api}/v1/plugins/mark")).with_timeout(20);
            request.with_header("authorization", format!("Bearer {TOKEN}")).with_body(component).send()
        });
        std::thread::sleep(Duration::from_millis(turn * 12));
        agent.kill_now().unwrap();
        // Where the connection ends before an answer, the client makes one up that is no 200.
        let is_taken = putting.join().unwrap().is_ok_and(|answer| answer.status_code == 200);
        agent = Agent::start_answering(place.folder()).unwrap();
        let now = overridden(&place).expect("one of them");
        let now = digests.iter().position(|digest| *digest == now).expect("one of the two");
        assert!(!is_taken || now != present, "what was answered is durable");
        answered += u64::from(is_taken);
        changed += u64::from(now != present);
        present = now;
    }
    let sent = load.end();
    let out = count(agent, &place, sent);
    assert!(turns(&out).len() as u64 <= changed + 3, "{:?}", turns(&out));
    println!("{sent} records, {KILLS} swaps killed, {changed} in force, {answered} answered: lost 0, duplicated 0");
}

#[test]
fn what_is_not_fit_is_refused_and_the_old_one_goes_on() {
    let Some(plugins) = service("a swap that is refused", "SAWLOG_TEST_PLUGINS") else { return };
    let place = Place::new(&plugins);
    let mut feed = Feed::of(&place.path("logs/app.log"), line);
    let mut agent = Agent::start_answering(place.folder()).unwrap();
    let good = place.component("normalise-level");
    let mark = "/v1/plugins/mark";
    for (token, path, component, status, word) in [
        (None, mark, &good[..], 401, "api.token"),
        (Some("another"), mark, &good, 401, "api.token"),
        (Some(TOKEN), "/v1/plugins/other", &good, 404, "the plugins are mark"),
        (Some(TOKEN), mark, b"", 422, "component is needed"),
        (Some(TOKEN), mark, b"no component", 422, "component is needed"),
        (Some(TOKEN), mark, &good[..good.len() / 2], 422, "mark goes on as it was"),
        (Some(TOKEN), mark, EMPTY, 422, "a plugin exports sawlog:plugin/lifecycle"),
        (Some(TOKEN), mark, &place.component("level-filter"), 422, "config.fields: the plugin `mark` refuses this"),
        (Some(TOKEN), mark, &place.component("dedupe"), 422, "add `state` to its `allow`"),
        (Some(TOKEN), &format!("{mark}?digest=sha256:{}", "0".repeat(64)), &good, 422, "send the right one whole"),
    ] {
        let (found, answer) = put(&agent, token, path, component, None);
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(found == status && error.contains(word), "{path} {status} {word}: {found} {answer}");
    }
    assert_eq!(overridden(&place), None);
    feed.send(100).unwrap();
    let out = place.path("out.jsonl");
    agent.wait_until("rows", WAIT_MAX, || Ok(rows(&out).len() == 100)).unwrap();
    assert_eq!(turns(&rows(&out)), [Made::Redact]);

    // A config that the override refuses: neither a reload nor a start takes it, and both say how the override ends.
    swap(&agent, &good);
    let own = "{ fields: [level, note], cards: false }";
    place.write("100ms", own, "");
    let refused = |arguments: &[&str]| {
        let said = ask(place.folder(), arguments).unwrap();
        assert!(
            !said.done && said.complaints.contains("--discard-overrides"),
            "{arguments:?}: {}{}",
            said.out,
            said.complaints
        );
    };
    refused(&["reload"]);
    refused(&["validate"]);
    agent.kill().unwrap();
    let (is_success, said) = Agent::start_until_eof(place.folder()).unwrap().ended(WAIT_MAX).unwrap();
    assert!(!is_success && said.contains("--discard-overrides"), "{said}");
    feed.send(100).unwrap();
    place.clear();
    let ended = ask(place.folder(), &["run", "--until-eof", "--discard-overrides"]).unwrap();
    assert!(ended.done, "{}", ended.complaints);
    assert_eq!((judge(&rows(&out), 200), turns(&rows(&out))), ((0, 0), vec![Made::Redact]));
    assert_eq!(overridden(&place), None);
}

#[test]
fn a_plugin_that_must_be_signed_is_exchanged_for_a_signed_one_alone() {
    let Some(plugins) = service("a signed swap", "SAWLOG_TEST_PLUGINS") else { return };
    let place = Place::new(&plugins);
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    let (key, stranger, next) = (path("key"), path("stranger"), path("next.wasm"));
    let sign = |key: &str, component: &str| verb(place.folder(), &["plugin", "sign", "--key", key, component]).unwrap();
    for key in [&key, &stranger] {
        verb(place.folder(), &["plugin", "keygen", key]).unwrap();
    }
    sign(&key, &path("mark.wasm"));
    place.write("100ms", "{ fields: [level, note] }", ", signed_by: ./key.pub");
    let good = place.component("normalise-level");
    std::fs::write(&next, &good).unwrap();
    let agent = Agent::start_answering(place.folder()).unwrap();
    let signature = || std::fs::read_to_string(place.path("next.wasm.sig")).unwrap().trim().to_owned();
    sign(&stranger, &next);
    for (given, word) in [(None, "came without a signature"), (Some(signature()), "does not hold")] {
        let (status, answer) = put(&agent, Some(TOKEN), "/v1/plugins/mark", &good, given.as_deref());
        assert!(status == 422 && answer["error"].as_str().unwrap().contains(word), "{status} {answer}");
    }
    let said = ask(place.folder(), &["plugin", "swap", "mark", &next]).unwrap();
    assert!(!said.done && said.complaints.contains("does not hold"), "{}", said.complaints);
    assert_eq!(overridden(&place), None);
    sign(&key, &next);
    verb(place.folder(), &["plugin", "swap", "mark", &next]).unwrap();
    agent.kill().unwrap();
    let agent = Agent::start_answering(place.folder()).unwrap();
    assert!(overridden(&place).is_some(), "its signature is kept with it");
    // The key is taken away from who signed it: a reload and a start verify anew.
    std::fs::copy(path("stranger.pub"), path("key.pub")).unwrap();
    sign(&stranger, &path("mark.wasm"));
    let said = ask(place.folder(), &["reload"]).unwrap();
    assert!(!said.done && said.complaints.contains("--discard-overrides"), "{}", said.complaints);
    verb(place.folder(), &["reload", "--discard-overrides"]).unwrap();
    assert_eq!(overridden(&place), None);
    agent.terminate().unwrap();
}

//! `sawlog validate` and `run --dry-run` say which sinks would deliver elsewhere than the agent of the data directory does, while it
//! runs and while it does not, and change nothing.
#![allow(clippy::unwrap_used, missing_docs)]

mod operator;

use operator::Node;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn node() -> Node {
    Node::of(|here| {
        format!(
            "version: 1\nagent: {{ id: moved }}\ndata_dir: {here}/data\napi: {{ listen: 127.0.0.1:0 }}\n\
             telemetry: {{ metrics: 127.0.0.1:0 }}\ncheckpoint: {{ interval: 200ms }}\n\
             sources:\n  app: {{ type: file, include: [{here}/logs/app.log] }}\n\
             sinks:\n  stays: {{ type: file, inputs: [app], path: {here}/stays.jsonl }}\n  \
             moves: {{ type: file, inputs: [app], path: {here}/first.jsonl }}\n"
        )
    })
}

/// What `validate` says of sinks that switch.
fn validated(node: &Node) -> Vec<String> {
    let report: Value = serde_json::from_str(&node.verb(&["validate", "--format", "json"]).unwrap()).unwrap();
    assert_eq!(report["valid"], true, "{report}");
    let switches = report["report"]["switches"].as_array().unwrap();
    switches.iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}

/// What `validate` says of the disk's budget.
fn capacity(node: &Node) -> String {
    let report: Value = serde_json::from_str(&node.verb(&["validate", "--format", "json"]).unwrap()).unwrap();
    report["report"]["capacity"][0].as_str().unwrap().to_owned()
}

#[test]
fn capacity_goes_by_what_the_agent_receives() {
    let node = node();
    assert!(capacity(&node).contains("at an assumed 1.0MiB/s"), "{}", capacity(&node));
    node.write_lines(20_000);
    let mut agent = node.start();
    let lines = |name: &str| std::fs::read_to_string(node.folder().join(name)).unwrap_or_default().lines().count();
    agent.wait_until(|| lines("first.jsonl") == 20_000);
    let status: Value = serde_json::from_str(&node.verb(&["status", "--format", "json"]).unwrap()).unwrap();
    let told = capacity(&node);
    let rate = status["received_bytes_per_second"].as_f64().unwrap();
    let size = std::fs::metadata(node.folder().join("logs/app.log")).unwrap().len() as f64;
    let seconds = status["uptime_seconds"].as_f64().unwrap();
    // Beside its bytes a record brings the path of its file.
    assert!(
        rate >= size / (seconds + 1.0) && rate <= 10.0 * size / seconds.max(1.0),
        "{rate} of {size} in {seconds} s"
    );
    assert!(told.contains("iB/s, what the running agent has received on average since it started"), "{told}");
    agent.terminate();
    assert!(capacity(&node).contains("at an assumed"), "nobody runs");
}

/// Every file below a folder with its bytes, but for the lock, which names who looks.
fn bytes_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for path in std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(bytes_of(&path));
        } else if path.is_file() && !path.ends_with("lock") {
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn a_switch_is_foretold_from_where_to_where_and_at_what_cost() {
    let node = node();
    assert!(validated(&node).is_empty(), "there is no data directory yet");
    assert!(!node.data_dir().exists(), "and none is made");
    node.write_lines(100);
    let mut agent = node.start();
    let delivered = || std::fs::read_to_string(node.folder().join("first.jsonl")).unwrap_or_default().lines().count();
    agent.wait_until(|| delivered() == 100);
    assert!(validated(&node).is_empty(), "nothing moves");
    node.edit(|text| text.replace("first.jsonl", "second.jsonl"));
    let here = node.folder().display().to_string();
    let (from, to) = (format!("moves switches from {here}/first.jsonl"), format!("to {here}/second.jsonl"));
    let told = |what: &str, lines: Vec<String>| {
        let [line] = &lines[..] else { panic!("{what}: {lines:?}") };
        let cost = line.rsplit_once(": ").map_or("", |(_, cost)| cost);
        assert!(line.contains(&from) && line.contains(&to) && !cost.is_empty(), "{what}: {line}");
    };
    told("while it runs", validated(&node));
    agent.terminate();

    let before = bytes_of(&node.data_dir());
    told("while it does not", validated(&node));
    let text = node.verb(&["validate"]).unwrap();
    let dry = node.verb(&["run", "--dry-run", "-c", node.folder().join("sawlog.yaml").to_str().unwrap()]).unwrap();
    for said in [&text, &dry] {
        assert!(said.contains("switches") && said.contains(&from), "{said}");
    }
    node.edit(|text| {
        let others = text.lines().map(|line| match line.contains("moves:") {
            true => "  moves: { type: blackhole, inputs: [app] }".to_owned(),
            false => line.to_owned(),
        });
        others.collect::<Vec<_>>().join("\n")
    });
    let refused = validated(&node);
    assert!(refused.len() == 1 && refused[0].contains("was of type file"), "{refused:?}");
    let after = bytes_of(&node.data_dir());
    let names = before.keys().chain(after.keys());
    let changed: Vec<_> = names.filter(|name| before.get(*name) != after.get(*name)).collect();
    assert!(changed.is_empty(), "{changed:?}");
    assert!(!node.folder().join("second.jsonl").exists());

    node.edit(|text| text.replace("first.jsonl", "second.jsonl"));
    let mut again = node.start();
    again.wait_until(|| validated(&node).is_empty());
    again.terminate();
}

/// `validate` asks the agent that runs what a reload would make of the config: its exit code and its words.
#[test]
fn a_config_that_a_reload_would_refuse_has_an_exit_code_of_its_own() {
    let node = node();
    node.write_lines(100);
    let mut agent = node.start();
    let validated = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sawlog"));
        let output = command.args(["validate", "-c"]).arg(node.folder().join("sawlog.yaml")).output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code().unwrap(), text)
    };
    let delivered = || std::fs::read_to_string(node.folder().join("first.jsonl")).unwrap_or_default().lines().count();
    agent.wait_until(|| delivered() == 100);
    let (code, said) = validated();
    assert!(code == 0 && said.contains("the running agent would take this: added [], removed []"), "{code}: {said}");
    // What is wrong in itself is said as ever.
    node.edit(|text| text.replace("inputs: [app]", "inputs: [ap]"));
    assert_eq!(validated().0, 2);
    let refused = [
        (
            "another type",
            "stays: { type: file, inputs: [app], path: ",
            "stays: { type: blackhole, inputs: [app] } #",
            "was of type file",
        ),
        ("another agent", "id: moved", "id: other", "this is another agent, which takes a restart"),
    ];
    for (what, from, to, because) in refused {
        node.edit(|text| text.replace(from, to));
        let (code, said) = validated();
        assert!(
            code == 4 && said.contains("would refuse it at a reload") && said.contains(because),
            "{what}, {code}: {said}"
        );
        // It is as it says.
        let answer = node.verb(&["reload"]).unwrap_err();
        assert!(answer.contains(because), "{what}: {answer}");
        let json = node.verb(&["validate", "--format", "json"]).unwrap_err();
        assert!(json.contains("\"taken\": false"), "{what}: {json}");
    }
    agent.terminate();
    let (code, said) = validated();
    assert!(code == 0 && !said.contains("reload"), "nobody runs, {code}: {said}");
}

//! A folder of config files on the real binary: which files are read and in which order, where a mistake is said to be, and what
//! SIGHUP makes of a file that is added.
#![allow(clippy::unwrap_used, missing_docs)]

mod operator;

use std::fs;
use std::path::Path;
use std::process::Command;

use operator::Node;

const MAIN: &str = "version: 1\nagent: { id: folded }\ndata_dir: ./data\n";
const SOURCE: &str = "sources:\n  app: { type: file, include: [/nowhere/app.log] }\n";
const SINK: &str = "sinks:\n  out: { type: blackhole, inputs: [app] }\n";

/// A folder of configs, apart from everything else.
struct Configs(tempfile::TempDir);

impl Configs {
    fn of(files: &[(&str, &str)]) -> Self {
        let configs = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, text)| fs::write(configs.folder().join(name), text).unwrap());
        configs
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    /// What a verb says of it, and its exit code.
    fn said(&self, verb: &str, more: &[&str]) -> (String, i32) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sawlog"));
        command.current_dir(self.folder()).env_clear().args([verb, "-c", "."]).args(more);
        let output = command.output().unwrap();
        let text = [output.stderr, output.stdout].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (text, output.status.code().unwrap())
    }

    fn validated(&self) -> (String, i32) {
        self.said("validate", &[])
    }
}

#[test]
fn what_two_files_define_alike_is_shown_in_both() {
    let again = "sources:\n  other: { type: file, include: [/nowhere/other.log] }\n  app: { type: file, include: [/nowhere/b.log] }\n";
    let configs = Configs::of(&[("10-main.yaml", &format!("{MAIN}{SOURCE}{SINK}")), ("20-more.yaml", again)]);
    let (said, code) = configs.validated();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("`app` is defined twice"), "{said}");
    for place in ["20-more.yaml:3:3", "10-main.yaml:5:3", "first here"] {
        assert!(said.contains(place), "{place} is not in\n{said}");
    }
    // The same name for two kinds of component is as bad.
    let configs = Configs::of(&[
        ("10-main.yaml", &format!("{MAIN}{SOURCE}{SINK}")),
        ("20-more.yaml", "sinks:\n  app: { type: blackhole, inputs: [app] }\n"),
    ]);
    let (said, code) = configs.validated();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("20-more.yaml:2:3") && said.contains("10-main.yaml:5:3"), "{said}");
}

#[test]
fn a_mistake_is_said_to_be_in_its_own_file_and_line() {
    let wrong = "# a comment\n\nsinks:\n  out: { type: blackhole, inputs: [ap] }\n";
    let configs = Configs::of(&[("10-main.yaml", &format!("{MAIN}{SOURCE}")), ("20-sinks.yaml", wrong)]);
    let (said, code) = configs.validated();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("20-sinks.yaml:4:36") && said.contains("did you mean `app`"), "{said}");
    assert!(!said.contains("10-main.yaml:"), "nothing is wrong with the first file\n{said}");
    // What is no YAML is said of the file that is none, whichever it is.
    let configs = Configs::of(&[("10-main.yaml", &format!("{MAIN}{SOURCE}{SINK}")), ("20-more.yaml", "sinks: {\n")]);
    let (said, code) = configs.validated();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("20-more.yaml:") && said.contains("not YAML"), "{said}");
}

#[test]
fn the_order_of_files_is_that_of_their_names_and_changes_nothing_but_places() {
    let (a, b) = (
        "transforms:\n  one: { type: filter, inputs: [app], condition: 'n == 1' }\n",
        "transforms:\n  two: { type: filter, inputs: [app], condition: 'n == 2' }\n",
    );
    let sinks = "sinks:\n  out: { type: blackhole, inputs: [one, two] }\n";
    let main = format!("{MAIN}{SOURCE}{sinks}");
    let (first, second) = (
        Configs::of(&[
            ("a.yaml", &main),
            ("b.yml", a),
            (
                "c.json",
                "{ \"transforms\": { \"two\": { \"type\": \"filter\", \"inputs\": [\"app\"], \"condition\": \"n == 2\" } } }",
            ),
        ]),
        Configs::of(&[("c.yaml", &main), ("b.yaml", b), ("a.yaml", a)]),
    );
    let (drawn, code) = first.said("graph", &[]);
    assert_eq!((code, second.said("graph", &[])), (0, (drawn.clone(), 0)));
    assert!(drawn.contains("one") && drawn.contains("two"), "{drawn}");
    // Of a name that stands twice the first file's is the first, whenever they were written.
    let configs = Configs::of(&[("b.yaml", SOURCE), ("a.yaml", &format!("{MAIN}{SOURCE}{SINK}"))]);
    let (said, _) = configs.validated();
    let (at, first) = (said.find("b.yaml:2:3").unwrap(), said.find("a.yaml:5:3").unwrap());
    assert!(at < first, "{said}");
}

#[test]
fn what_editors_and_mounts_leave_behind_is_not_read() {
    let whole = format!("{MAIN}{SOURCE}{SINK}");
    let configs = Configs::of(&[("main.yaml", &whole)]);
    let clean = configs.validated();
    assert_eq!(clean.1, 0, "{}", clean.0);
    let trash = "this: [is, no config\n";
    for name in [
        "main.yaml~",
        "main.yaml.bak",
        ".main.yaml.swp",
        "#main.yaml#",
        ".hidden.yaml",
        "main.yaml.orig",
        "README.md",
        "notes",
        "main.yaml.rpmnew",
    ] {
        fs::write(configs.folder().join(name), trash).unwrap();
    }
    fs::create_dir(configs.folder().join("folder.yaml")).unwrap();
    fs::create_dir(configs.folder().join("..data")).unwrap();
    fs::write(configs.folder().join("..data/main.yaml"), trash).unwrap();
    assert_eq!(configs.validated(), clean);
    // One of them under a name that is read is a mistake again: the test would see it.
    fs::write(configs.folder().join("more.yaml"), trash).unwrap();
    assert_eq!(configs.validated().1, 2);
}

#[test]
fn a_folder_without_a_config_is_refused_by_name() {
    let configs = Configs::of(&[(".hidden.yaml", MAIN), ("config.yaml~", MAIN)]);
    for verb in ["validate", "run", "graph"] {
        let (said, code) = configs.said(verb, &[]);
        assert_eq!(code, 2, "{verb}: {said}");
        assert!(said.contains("holds no file that ends in .yaml, .yml or .json"), "{verb}: {said}");
    }
}

/// Whether the ledger has a line for a sink.
fn known(node: &Node, sink: &str) -> bool {
    let told: serde_json::Value = serde_json::from_str(&node.verb(&["loss", "--format", "json"]).unwrap()).unwrap();
    told["lines"].as_array().unwrap().iter().any(|line| line["sink"] == sink)
}

#[test]
fn sighup_takes_a_file_that_was_added_and_refuses_one_with_a_mistake() {
    let node = Node::of(|here| {
        format!(
            "version: 1\nagent: {{ id: folded }}\ndata_dir: {here}/data\napi: {{ listen: 127.0.0.1:0 }}\n\
             telemetry: {{ metrics: 127.0.0.1:0 }}\ncheckpoint: {{ interval: 200ms }}\n\
             sources:\n  app: {{ type: file, include: [{here}/logs/*.log] }}\nsinks:\n  out: {{ type: file, inputs: [app], path: {here}/out }}\n"
        )
    });
    let folder = node.folder().join("config");
    fs::create_dir(&folder).unwrap();
    fs::rename(node.folder().join("sawlog.yaml"), folder.join("main.yaml")).unwrap();
    // The node's helpers know the config by this name.
    std::os::unix::fs::symlink(&folder, node.folder().join("sawlog.yaml")).unwrap();
    node.write_lines(100);
    let mut agent = node.start();
    let sinks = |node: &Node| -> Vec<String> {
        let told: serde_json::Value = serde_json::from_str(&node.verb(&["loss", "--format", "json"]).unwrap()).unwrap();
        let lines = told["lines"].as_array().unwrap();
        lines.iter().filter(|line| line["delivered"] == 100).map(|l| l["sink"].as_str().unwrap().to_owned()).collect()
    };
    agent.wait_until(|| sinks(&node) == ["out"]);
    let added = format!("sinks:\n  more: {{ type: file, inputs: [app], path: {}/more }}\n", node.folder().display());
    fs::write(folder.join("more.yaml"), added.replace("[app]", "[ap]")).unwrap();
    agent.hang_up();
    agent.wait_until(|| agent.log().contains("the configuration was not reloaded"));
    let said = agent.log();
    assert!(said.contains("more.yaml:2:") && said.contains("did you mean"), "{said}");
    fs::write(folder.join("more.yaml"), added).unwrap();
    agent.hang_up();
    agent.wait_until(|| agent.log().contains("the configuration was reloaded") || known(&node, "more"));
    // It begins at the frontier; another one at the oldest, and `validate` sees nothing wrong with that.
    let oldest = format!(
        "sinks:\n  most: {{ type: file, inputs: [app], from: oldest, path: {}/most }}\n",
        node.folder().display()
    );
    fs::write(folder.join("most.yaml"), oldest).unwrap();
    node.verb(&["validate", "-c", node.folder().join("config").to_str().unwrap()]).unwrap();
    node.verb(&["reload"]).unwrap();
    agent.wait_until(|| sinks(&node) == ["most", "out"]);
    agent.terminate();
}

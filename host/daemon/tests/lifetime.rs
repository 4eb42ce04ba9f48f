//! What holds to the very end of the process: its data directory is its own, and a signal to end is heard whatever it waits for.
#![allow(clippy::unwrap_used, missing_docs)]

mod operator;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use operator::{Agent, Node};

/// An end within its grace of a second; the machine may be busy.
const END_MAX: Duration = Duration::from_secs(8);

fn node(grace: &str) -> Node {
    Node::of(|here| config(here, grace))
}

fn config(here: &str, grace: &str) -> String {
    format!(
        "version: 1\nagent: {{ id: operated }}\ndata_dir: {here}/data\napi: {{ listen: 127.0.0.1:0 }}\n\
         telemetry: {{ metrics: 127.0.0.1:0 }}\nshutdown: {{ grace: {grace} }}\n\
         sources:\n  app: {{ type: file, include: [{here}/logs/*.log] }}\n\
         sinks:\n  out: {{ type: console, inputs: [app] }}\n"
    )
}

/// The same with a plugin in this file.
fn with_plugin(config: &str, file: &Path) -> String {
    let (from, transform) = (file.display(), "transforms: { sent: { type: wasm, inputs: [app], chain: [slow] } }");
    let config = config.replace("inputs: [app]", "inputs: [sent]");
    config.replace("sources:", &format!("plugins: {{ slow: {{ source: \"file:{from}\" }} }}\n{transform}\nsources:"))
}

/// More than fits into a pipe: the sink stands still in the middle of a write.
fn fill_pipe(node: &Node, agent: &Agent) {
    node.write_lines(20_000);
    agent.wait_until(|| agent.get("api.listen", "/v1/loss").1.contains("\"read\":20000"));
}

#[test]
fn the_directory_is_the_agents_own_while_it_drains() {
    let node = node("20s");
    let mut agent = node.start_into_a_pipe();
    fill_pipe(&node, &agent);
    agent.ask_to_end();
    agent.wait_until(|| agent.get("api.listen", "/readyz").1.contains("winding_down"));
    let refused = node.verb(&["run"]).unwrap_err();
    assert!(refused.contains(&format!("is in use by process {}", agent.pid())), "{refused}");
    assert!(agent.runs(), "it drains");
    agent.kill();
}

/// Its last write hangs in a thread that outlives everything else.
#[test]
fn the_directory_is_the_agents_own_until_the_process_has_gone() {
    let node = node("1s");
    let mut agent = node.start_into_a_pipe();
    fill_pipe(&node, &agent);
    let lock = File::options().write(true).open(node.data_dir().join("lock")).unwrap();
    agent.ask_to_end();
    let let_go = loop {
        match lock.try_lock() {
            Ok(()) => break Instant::now(),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    agent.ended();
    // A process lets go of its files before its parent hears of its end.
    assert!(let_go.elapsed() < Duration::from_millis(400), "it went on for {:?} without the lock", let_go.elapsed());
}

/// A file whose reader waits until somebody has written it.
fn pipe(path: PathBuf) -> PathBuf {
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

/// Tells the agent to end while it reads the file: without anything in it until long after the time that it has.
fn ends_while_it_reads(agent: &mut Agent, file: &Path, told: &str) {
    // Opens once it is read.
    let writer = File::options().write(true).open(file).unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(END_MAX * 2);
        drop(writer);
    });
    let began = Instant::now();
    agent.ask_to_end();
    agent.ended();
    assert!(began.elapsed() < END_MAX, "{:?}:\n{}", began.elapsed(), agent.log());
    assert!(agent.log().contains(told), "no {told:?} in\n{}", agent.log());
}

#[test]
fn sigterm_is_heard_while_a_reload_reads_what_hangs() {
    let node = node("1s");
    let mut agent = node.start();
    let secret = pipe(node.folder().join("secret"));
    node.edit(|config| with_plugin(config, &secret));
    agent.hang_up();
    ends_while_it_reads(&mut agent, &secret, "told to end in the middle of a reload");

    node.restore_config();
    let mut agent = node.start();
    node.edit(|config| config.replace("id: operated", &format!("id: \"${{file:{}}}\"", secret.display())));
    std::thread::scope(|scope| {
        let verb = scope.spawn(|| node.verb(&["reload", "--data-dir", node.data_dir().to_str().unwrap()]));
        ends_while_it_reads(&mut agent, &secret, "told to end in the middle of what a verb asked for");
        assert!(verb.join().unwrap().is_err());
    });
}

#[test]
fn sigterm_is_heard_while_the_start_reads_a_plugin_that_hangs() {
    let node = node("1s");
    let component = pipe(node.folder().join("slow.wasm"));
    node.edit(|config| with_plugin(config, &component));
    let mut agent = node.start_without_waiting();
    // It was looked at before anything began.
    drop(File::options().write(true).open(&component).unwrap());
    agent.wait_until(|| agent.log().contains("sources  app (file)"));
    ends_while_it_reads(&mut agent, &component, "told to end before everything had started");
}

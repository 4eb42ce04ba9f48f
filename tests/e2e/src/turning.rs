//! The configuration of a cell, which is another one at each SIGHUP: the plugin that all rows pass, settings of the sink `out` and of
//! its source, and a sink that comes with a source of its own and goes again. What is expected of `out` stays the same. The agent
//! must say that it did what was changed, and nothing else.

use crate::agent::Agent;
use crate::read;
use crate::shown::Differences;
use crate::told::{Ledger, REFUSED, TAKEN, answers, has_sink};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest time from SIGHUP to the new configuration, also while a service is down.
const RELOAD_MAX: Duration = Duration::from_secs(60);
/// After so many turns the configuration is the first one again.
const TURNS: u32 = 4;
/// The first number of the rows of the sources that come and go, and how many each has.
const MORE: u64 = 1_000_000_000;
const MORE_ROWS: u64 = 50;

/// The configuration of an agent in a folder, and the turn that it has reached.
pub struct Turning {
    folder: PathBuf,
    /// The first configuration, without the plugin.
    base: String,
    turn: u32,
}

/// What every turn changes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Parts {
    plugin: &'static str,
    out_is_other: bool,
    source_is_other: bool,
    /// The turn in which the sink came that is there.
    beside: Option<u32>,
    /// The same of the sink that has just gone.
    gone: Option<u32>,
}

impl Parts {
    fn of(turn: u32) -> Self {
        let (redact, info, debug) = (
            "redact.wasm\"",
            "level-filter.wasm\", config: { at_least: info }",
            "level-filter.wasm\", config: { at_least: debug }",
        );
        let phase = turn % TURNS;
        Self {
            plugin: [redact, info, debug, debug][phase as usize],
            out_is_other: phase != 0,
            source_is_other: phase == 3,
            beside: (phase == 2).then_some(turn),
            gone: (phase == 3).then(|| turn - 1),
        }
    }

    /// What the agent must say when it goes from these parts to `next`.
    fn told(self, next: Self, source: &str) -> String {
        let [added, removed] = [(next.beside, self.beside), (self.beside, next.beside)].map(|(there, not)| {
            let name = there.filter(|_| there != not);
            name.map_or_else(String::new, |turn| format!("more{turn}, beside{turn}"))
        });
        let anew =
            [(self.source_is_other != next.source_is_other, source), (self.out_is_other != next.out_is_other, "out")];
        let anew: Vec<&str> = anew.into_iter().filter_map(|(is_anew, name)| is_anew.then_some(name)).collect();
        let plugin = (self.plugin != next.plugin).then(|| "passing".to_owned());
        let read = if self.beside == next.beside { None } else { self.beside.or(next.beside) };
        let changed: Vec<String> = plugin.into_iter().chain(read.map(|turn| format!("read{turn}"))).collect();
        format!(
            "added [{added}], removed [{removed}], begun anew [{}], changed [{}]",
            anew.join(", "),
            changed.join(", ")
        )
    }
}

impl Turning {
    /// Writes the first configuration: `base`, whose one sink is `out`, and a plugin before it.
    pub fn begin(folder: &Path, base: &str) -> Result<Self> {
        let turning = Self { folder: folder.to_owned(), base: base.to_owned(), turn: 0 };
        std::fs::create_dir_all(folder.join("logs"))?;
        turning.write()?;
        Ok(turning)
    }

    /// The next configuration by SIGHUP; waits until the agent has taken it, and holds it to what it says of that.
    pub fn turn(&mut self, agent: &mut Agent) -> Result<()> {
        let before = Parts::of(self.turn);
        agent.wait_until("it answers", RELOAD_MAX, || Ok(answers(&self.folder)))?;
        self.next(agent)?;
        let taken = agent.log().matches(TAKEN).count();
        agent.signal(Signal::HUP)?;
        let log = agent.log_path();
        agent.wait_until("the reload", RELOAD_MAX, || {
            let log = std::fs::read_to_string(&log)?;
            let refused = log.lines().rfind(|line| line.contains(REFUSED));
            ensure!(refused.is_none(), "turn {} was refused: {refused:?}", self.turn);
            Ok(log.matches(TAKEN).count() > taken)
        })?;
        let (log, wanted) = (agent.log(), before.told(Parts::of(self.turn), self.source()?));
        let said = log.lines().rfind(|line| line.contains(TAKEN)).unwrap_or_default();
        ensure!(said.contains(&format!("done=\"{wanted}\"")), "turn {} is {wanted}, and it says {said}", self.turn);
        Ledger::of(&self.folder).map(drop)
    }

    /// The same without waiting: whoever asks for it kills the agent, which takes the configuration at its next start or has taken it.
    pub fn turn_to_be_killed(&mut self, agent: &mut Agent) -> Result<()> {
        self.next(agent)?;
        agent.hang_up()
    }

    /// Waits until every sink that came has what its own source had, and those that went are gone; in the ledger they stay.
    pub fn settle(&self, agent: &mut Agent) -> Result<()> {
        for came in self.besides() {
            self.wait_for_more(agent, came)?;
        }
        let present = Parts::of(self.turn).beside;
        for went in self.besides().filter(|came| present != Some(*came)) {
            let (sink, source) = (format!("beside{went}"), format!("more{went}"));
            agent.wait_until("a sink that was removed is gone", RELOAD_MAX, || Ok(!has_sink(&self.folder, &sink)?))?;
            let ledger = Ledger::of(&self.folder)?;
            let told = ["delivered", "behind"].map(|count| ledger.count(&sink, &source, count));
            ensure!(told == [MORE_ROWS, 0], "{sink} is gone, and the ledger says (delivered, behind) {told:?}");
            ensure!(ledger.count("out", &source, "behind") == 0, "out is behind in {source}, which does not feed it");
        }
        Ledger::of(&self.folder).map(drop)
    }

    /// Holds the sinks that came and went to their rows, and the agent to have refused no turn. Only behind its end.
    pub fn judge(&self, log: &str, sent: u64) -> Result<()> {
        let refused = log.lines().find(|line| line.contains(REFUSED));
        ensure!(refused.is_none(), "a turn was refused: {refused:?}");
        for came in self.besides() {
            let (more, others): (Vec<u64>, Vec<u64>) = self.rows(came)?.into_iter().partition(|row| *row >= MORE);
            let differences = Differences::of(&more, &(MORE..MORE + MORE_ROWS).collect::<Vec<_>>());
            ensure!(differences == Differences::default(), "beside{came}: {}", differences.summary());
            let once: BTreeSet<&u64> = others.iter().collect();
            ensure!(once.len() == others.len(), "beside{came} has rows twice");
            ensure!(others.iter().all(|row| *row < sent), "beside{came} has rows that nobody sent");
        }
        Ok(())
    }

    /// The turns in which a sink came.
    fn besides(&self) -> impl Iterator<Item = u32> + '_ {
        (1..=self.turn).filter(|turn| Parts::of(*turn).beside.is_some())
    }

    /// Writes the next configuration. A source that goes must have been read, else nobody knows what to expect.
    fn next(&mut self, agent: &mut Agent) -> Result<()> {
        if let Some(came) = Parts::of(self.turn).beside {
            self.wait_for_more(agent, came)?;
        }
        self.turn += 1;
        if let Some(came) = Parts::of(self.turn).beside {
            let lines: String =
                (MORE..MORE + MORE_ROWS).map(|number| format!("{{\"seq\":{number},\"level\":\"info\"}}\n")).collect();
            std::fs::write(self.folder.join(format!("logs/more{came}.log")), lines)?;
        }
        self.write()
    }

    fn wait_for_more(&self, agent: &mut Agent, came: u32) -> Result<()> {
        let has_all = || Ok(self.rows(came)?.iter().filter(|row| **row >= MORE).count() as u64 >= MORE_ROWS);
        agent.wait_until("the sink that came has the rows of its source", RELOAD_MAX, has_all)
    }

    fn rows(&self, came: u32) -> Result<Vec<u64>> {
        read::folder(&self.folder.join(format!("beside{came}.jsonl")))
    }

    fn write(&self) -> Result<()> {
        Ok(std::fs::write(self.folder.join("sawlog.yaml"), self.text(Parts::of(self.turn))?)?)
    }

    /// What feeds `out` in the first configuration.
    fn input(&self) -> Result<&str> {
        let out = self.base.split_once("\n  out: ").context("no sink `out`")?.1;
        out.split_once("inputs: [")
            .and_then(|(_, rest)| rest.split_once(']'))
            .map(|(input, _)| input)
            .context("no inputs")
    }

    /// The name of the source.
    fn source(&self) -> Result<&str> {
        let sources = self.base.split_once("sources:\n  ").context("no sources")?.1;
        sources.split_once(':').map(|(name, _)| name).context("no source")
    }

    fn text(&self, parts: Parts) -> Result<String> {
        let plugins = std::env::var("SAWLOG_TEST_PLUGINS").context("SAWLOG_TEST_PLUGINS is not set")?;
        let (head, out) = self.base.split_once("sinks:\n").context("no sinks")?;
        let (input, mut head) = (self.input()?, head.to_owned());
        let mut out = out.replacen(&format!("inputs: [{input}]"), "inputs: [passing]", 1);
        if parts.out_is_other {
            out = other_batches(&out)?;
        }
        if parts.source_is_other {
            let (from, to) = other_source(&head)?;
            head = head.replacen(from, &to, 1);
        }
        let plugin = format!("plugins:\n  passing: {{ source: \"file:{plugins}/{} }}\nsources:\n", parts.plugin);
        head = head.replacen("sources:\n", &plugin, 1);
        if !head.contains("transforms:\n") {
            head.push_str("transforms:\n");
        }
        head.push_str(&format!("  passing: {{ type: wasm, inputs: [{input}], chain: [passing] }}\n"));
        if let Some(came) = parts.beside {
            let source = format!("sources:\n  more{came}: {{ type: file, include: [./logs/more{came}.log] }}\n");
            head = head.replacen("sources:\n", &source, 1);
            head.push_str(&format!("  read{came}: {{ type: parse, inputs: [more{came}], try: [json, text] }}\n"));
            // Partitions that move between agents don't go into a file of one of them.
            let passing = if self.base.contains("journal_topic: ") { "" } else { "passing, " };
            out.push_str(&format!(
                "  beside{came}: {{ type: file, inputs: [{passing}read{came}], path: ./beside{came}.jsonl, batch: {{ age: 100ms }} }}\n"
            ));
        }
        let gone = parts.gone.map(|came| format!("remove: {{ beside{came}: drain }}\n")).unwrap_or_default();
        Ok(format!("{head}sinks:\n{out}{gone}"))
    }
}

/// A sink that gathers more, or for a shorter time.
fn other_batches(sink: &str) -> Result<String> {
    for (from, to) in [("size: 1MiB", "size: 2MiB"), ("age: 200ms", "age: 150ms"), ("age: 100ms", "age: 80ms")] {
        if sink.contains(from) {
            return Ok(sink.replacen(from, to, 1));
        }
    }
    bail!("no batches of the sink to change: {sink}")
}

/// What changes an option of the source, and nothing that comes out of it.
fn other_source(head: &str) -> Result<(&'static str, String)> {
    let changes = [
        ("include: [./logs/app.log]", "include: [./logs/app.log, ./logs/nothing.log]".to_owned()),
        ("type: http,", "type: http, limits: { body: 9MiB },".to_owned()),
        ("type: kafka,", "type: kafka, fetch_bytes_max: 4MiB,".to_owned()),
    ];
    for (from, to) in changes {
        if head.contains(from) {
            return Ok((from, to));
        }
    }
    bail!("no option of the source to change")
}

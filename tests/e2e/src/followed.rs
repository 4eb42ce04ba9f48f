//! An agent that follows logs while they are rotated, is killed, and is judged by what came out. How far it is comes from its own
//! ledger; what it is judged by does not.

use crate::agent::Agent;
use crate::chaos::Blows;
use crate::shown::{Differences, Folder, control};
use crate::{read, told};
use anyhow::{Context as _, Result, ensure};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest time until everything that was written is durable.
const WAIT_MAX: Duration = Duration::from_secs(90);

/// A log, and what was written to it.
pub trait Written {
    /// What it is called.
    fn name(&self) -> &str;
    /// The numbers of its lines, which no other log has.
    fn numbers(&self) -> Range<u64>;
    /// The number of the first line of each of its files, ascending.
    fn begins(&self) -> &[u64];
}

/// The agent, and what is known of its output.
pub struct Followed {
    /// The agent. Between [`Self::kill`] and [`Self::start_again`] it is dead.
    pub agent: Agent,
    /// What befell it.
    pub blows: Blows,
    folder: PathBuf,
    api: String,
    /// Bytes of the output that are durable for good, and the rows in them.
    durable: (u64, u64),
}

impl Followed {
    /// Starts an agent that reads `sources` (name and options) and appends all rows to one file.
    pub fn start(folder: &Path, sources: &[(&str, String)]) -> Result<Self> {
        // A port of its own, so that it is known where the agent answers after each of its many starts.
        let api = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let (here, mut lines) = (folder.display(), String::new());
        for (name, options) in sources {
            lines += &format!("  {name}: {{ type: file, {options} }}\n");
        }
        let names: Vec<&str> = sources.iter().map(|(name, _)| *name).collect();
        let config = format!(
            "version: 1\nagent: {{ id: followed }}\ndata_dir: {here}/data\napi: {{ listen: \"{api}\" }}\ncheckpoint: {{ interval: 1s }}\n\
             sources:\n{lines}\
             transforms:\n  parsed: {{ type: parse, inputs: [{}], try: [json, text] }}\n\
             sinks:\n  out: {{ type: file, inputs: [parsed], path: {here}/out.jsonl, batch: {{ age: 20ms }}, roll: {{ size: 1TiB, age: 24h }} }}\n",
            names.join(", ")
        );
        std::fs::write(folder.join("sawlog.yaml"), config)?;
        let (agent, folder) = (Agent::start(folder)?, folder.to_owned());
        Ok(Self { agent, blows: Blows::default(), folder, api, durable: (0, 0) })
    }

    fn output(&self) -> PathBuf {
        self.folder.join("out.jsonl")
    }

    /// Waits until all that was written is durable, so that a file which goes now goes read.
    pub fn settle(&mut self, logs: &[impl Written]) -> Result<()> {
        let sent = sent(logs);
        let (api, mut delivered) = (&self.api, 0);
        let waited = self.agent.wait_until("all that was written", WAIT_MAX, || {
            delivered = told::delivered(api).unwrap_or(delivered);
            Ok(delivered >= sent)
        });
        waited.with_context(|| format!("{delivered} of {sent} lines delivered"))?;
        self.durable = self.rows()?;
        Ok(())
    }

    /// The length of the output up to its last whole row, and the rows in it. What was durable before is not read again.
    fn rows(&self) -> Result<(u64, u64)> {
        let (from, before) = self.durable;
        let mut text = Vec::new();
        let Ok(mut file) = File::open(self.output()) else { return Ok((0, 0)) };
        file.seek(SeekFrom::Start(from))?;
        file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rows = text[..whole].iter().filter(|byte| **byte == b'\n').count();
        Ok((from + whole as u64, before + rows as u64))
    }

    /// `kill -9`.
    pub fn kill(&mut self, logs: &[impl Written]) -> Result<()> {
        self.agent.kill_now()?;
        self.blows.kills += 1;
        // What is not there when the agent is dead was owed when it died.
        self.blows.owing += u32::from(self.rows()?.1 < sent(logs));
        Ok(())
    }

    /// Another agent in the place of the one that was killed.
    pub fn start_again(&mut self) -> Result<()> {
        self.agent = Agent::start(&self.folder)?;
        Ok(())
    }

    /// Ends the agent and holds its output against what was written: each line once, those of a file in their order. Files may change
    /// places where one was rotated before the agent had seen it: it begins the one with the live name at once.
    pub fn judge(mut self, logs: &[impl Written]) -> Result<Blows> {
        self.settle(logs)?;
        let output = self.output();
        let log = self.agent.log_path();
        self.agent.terminate()?;
        let rows = read::folder(&output)?;
        let expected: Vec<u64> = logs.iter().flat_map(Written::numbers).collect();
        let differences = Differences::of(&rows, &expected);
        ensure!(
            differences == Differences::default(),
            "{} of {}; the agent's log is {}",
            differences.summary(),
            expected.len(),
            log.display()
        );
        for log in logs {
            let (numbers, begins) = (log.numbers(), log.begins());
            let mut newest = vec![0; begins.len()];
            for number in rows.iter().copied().filter(|number| numbers.contains(number)) {
                let of_its_file = &mut newest[begins.partition_point(|begin| *begin <= number) - 1];
                ensure!(*of_its_file <= number, "{}: {number} comes behind {of_its_file}", log.name());
                *of_its_file = number;
            }
        }
        control(&Folder(output))?;
        Ok(self.blows)
    }
}

/// Lines that were written so far.
pub fn sent(logs: &[impl Written]) -> u64 {
    logs.iter().map(|log| log.numbers().end - log.numbers().start).sum()
}

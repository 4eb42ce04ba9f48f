//! One agent with a sink that meets a fault and one beside it that meets none: the fault must be said, must disturb nobody, and
//! once it is mended every row must be there once.

use crate::agent::Agent;
use crate::cell::{compare, reload};
use crate::feed::{Feed, Line, Sender};
use crate::read;
use crate::shown::{Shown, control};
use crate::told::{Ledger, sink_trouble};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const WAIT_MAX: Duration = Duration::from_secs(90);

/// A folder with a config, a feed and an agent.
pub struct Trial {
    folder: TempDir,
    /// What is written to `logs/app.log`.
    pub feed: Feed,
    /// The agent; `None` while it is down.
    agent: Option<Agent>,
    source: &'static str,
}

impl Trial {
    /// Begins with `sink` as the sink `out`; `FOLDER` in it stands for the folder. What `out` refuses goes to `letters`.
    pub fn begin(line: Line, sink: &str) -> Result<Self> {
        Self::begin_with(line, "", sink)
    }

    /// The same with more options of the source.
    pub fn begin_with(line: Line, source: &'static str, sink: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for name in ["logs", "secrets"] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        let feed = Feed::of(&folder.path().join("logs/app.log"), line);
        let mut trial = Self { folder, feed, agent: None, source };
        trial.write(sink)?;
        trial.start()?;
        Ok(trial)
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the secret that `${secret:NAME}` stands for.
    pub fn secret(&self, name: &str, value: &str) -> Result<()> {
        Ok(std::fs::write(self.path().join("secrets").join(name), value)?)
    }

    fn write(&self, sink: &str) -> Result<()> {
        let here = self.path().display();
        let source = self.source;
        let text = format!(
            "version: 1\nagent: {{ id: tried }}\ndata_dir: {here}/data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
             secrets: {{ dir: {here}/secrets }}\ndead_letter: letters\n\
             sources:\n  app: {{ type: file, include: [{here}/logs/app.log], rotated: [{here}/logs/app.log.*]{source} }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n\
             sinks:\n  out: {}\n  good: {{ type: file, inputs: [parsed], path: {here}/good/out.jsonl, batch: {{ age: 100ms }} }}\n  \
             letters: {{ type: file, path: {here}/letters, batch: {{ age: 100ms }} }}\n",
            sink.replace("FOLDER", &here.to_string()),
        );
        Ok(std::fs::write(self.path().join("sawlog.yaml"), text)?)
    }

    /// The agent.
    pub fn agent(&mut self) -> Result<&mut Agent> {
        self.agent.as_mut().ok_or_else(|| anyhow::anyhow!("the agent is down"))
    }

    /// Kills the agent with -9 and starts it again.
    pub fn kill(&mut self) -> Result<()> {
        self.agent.take().map_or(Ok(()), Agent::kill)?;
        self.start()
    }

    fn start(&mut self) -> Result<()> {
        self.agent = Some(Agent::start_answering(self.path())?);
        Ok(())
    }

    /// Another sink `out`, and whatever secrets hold now, by SIGHUP.
    pub fn reload(&mut self, sink: &str) -> Result<()> {
        self.write(sink)?;
        let path = self.path().to_owned();
        reload(self.agent()?, &path)
    }

    /// Waits until the agent says of `out` what must be done, and holds that nobody else is disturbed.
    pub fn says(&mut self, words: &str) -> Result<()> {
        let path = self.path().to_owned();
        let told = || Ok(sink_trouble(&path, "out")?.is_some_and(|told| told.contains(words)));
        let waited = self.agent()?.wait_until(words, WAIT_MAX, told);
        waited.map_err(|error| error.context(format!("it says {:?}", sink_trouble(&path, "out"))))?;
        self.good()?;
        ensure!(sink_trouble(&path, "good")?.is_none(), "the good sink is in trouble too");
        Ledger::of(&path).map(|_| ())
    }

    /// Waits until the sink beside it has every row once.
    pub fn good(&mut self) -> Result<()> {
        let (path, sent) = (self.path().to_owned(), self.feed.sent());
        // A torn last line of the live file may be met while the agent writes; then the file is read again.
        let rows = || read::folder(&path.join("good")).unwrap_or_default();
        self.agent()?.wait_until("the good sink", WAIT_MAX, || Ok(rows().len() as u64 >= sent))?;
        let judged = compare(&rows(), &(0..sent).collect::<Vec<_>>());
        ensure!(judged == (0, 0, 0), "the good sink: lost, duplicated, unknown {judged:?} of {sent}");
        Ok(())
    }

    /// Waits until `out` has every row but those that `refused` names once, these lie in the dead letters once, and the ledger
    /// says the same. Then the agent ends in order.
    pub fn exact(mut self, refused: fn(u64) -> bool, shown: &impl Shown) -> Result<Self> {
        let sent = self.feed.sent();
        let (bad, expected): (Vec<u64>, Vec<u64>) = (0..sent).partition(|n| refused(*n));
        let wanted = expected.len();
        let waited = self.agent()?.wait_until("every row", WAIT_MAX, || Ok(shown.rows()?.len() >= wanted));
        let letters = || self.letters().unwrap_or_default();
        for _ in 0..100 {
            if letters().len() >= bad.len() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        std::thread::sleep(Duration::from_millis(500));
        let (found, told) = (shown.rows()?, sink_trouble(self.path(), "out")?);
        let judged = compare(&found, &expected);
        ensure!(judged == (0, 0, 0), "lost, duplicated, unknown {judged:?} of {wanted}; {told:?}; {waited:?}");
        let judged = compare(&letters(), &bad);
        ensure!(judged == (0, 0, 0), "dead letters: lost, duplicated, unknown {judged:?} of {}", bad.len());
        ensure!(told.is_none(), "it is mended, and still says {told:?}");
        let ledger = Ledger::of(self.path())?;
        let counted = (ledger.count("out", "app", "delivered"), ledger.count("out", "app", "dead_lettered"));
        ensure!(counted == (wanted as u64, bad.len() as u64), "the ledger says {counted:?}");
        self.good()?;
        self.agent.take().map_or(Ok(()), Agent::terminate)?;
        let judged = compare(&shown.rows()?, &expected);
        ensure!(judged == (0, 0, 0), "behind its end: lost, duplicated, unknown {judged:?} of {wanted}");
        control(shown)?;
        Ok(self)
    }

    /// Every dead letter, as it is written.
    pub fn letter_texts(&self) -> Result<Vec<serde_json::Value>> {
        let mut letters = Vec::new();
        for entry in std::fs::read_dir(self.path().join("letters"))? {
            for line in std::fs::read_to_string(entry?.path())?.lines() {
                letters.push(serde_json::from_str(line)?);
            }
        }
        Ok(letters)
    }

    /// The numbers of the records that lie in the dead letters.
    fn letters(&self) -> Result<Vec<u64>> {
        let number =
            |letter: &serde_json::Value| letter["row"]["seq"].as_u64().with_context(|| format!("no seq in {letter}"));
        self.letter_texts()?.iter().map(number).collect()
    }
}

/// No row is refused.
pub fn none(_: u64) -> bool {
    false
}

//! The agent as a child process.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time that an orderly end may take.
const END_MAX: Duration = Duration::from_secs(60);

/// A running agent; dropping it kills it.
pub struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// Starts the binary that the test command built, on `sawlog.yaml` in `folder`.
    pub fn start(folder: &Path) -> Result<Self> {
        Self::start_with(folder, &[])
    }

    /// The same, to end by itself when everything that is there has been delivered.
    pub fn start_until_eof(folder: &Path) -> Result<Self> {
        Self::start_with(folder, &["--until-eof"])
    }

    fn start_with(folder: &Path, more: &[&str]) -> Result<Self> {
        let binary = std::env::var("SAWLOG_TEST_BINARY").context("SAWLOG_TEST_BINARY is not set")?;
        let log = folder.join("agent.log");
        let out = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(binary);
        command.args(["run", "--config"]).arg(folder.join("sawlog.yaml")).args(more).stdin(Stdio::null());
        let child = command.stdout(out.try_clone()?).stderr(out).spawn()?;
        Ok(Self { child, log })
    }

    /// Fails, with the end of its log, where the agent has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the agent ended by itself ({status}):\n{}", self.log_tail()),
            None => Ok(()),
        }
    }

    /// Where its own log is; it outlives the agent.
    pub fn log_path(&self) -> PathBuf {
        self.log.clone()
    }

    /// Its own log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of its own log.
    pub fn log_tail(&self) -> String {
        let text = self.log();
        let from = text.char_indices().rev().nth(4_000).map_or(0, |(at, _)| at);
        text[from..].to_owned()
    }

    /// `kill -9`.
    pub fn kill(mut self) -> Result<()> {
        self.check()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no pid")?;
        Ok(kill_process(pid, signal)?)
    }

    /// SIGTERM, and an orderly end with exit code 0.
    pub fn terminate(mut self) -> Result<()> {
        self.check()?;
        self.signal(Signal::TERM)?;
        self.finish(END_MAX)
    }

    /// Waits for an orderly end with exit code 0.
    pub fn finish(mut self, max: Duration) -> Result<()> {
        let deadline = Instant::now() + max;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the agent ended with {status}:\n{}", self.log_tail()),
                None if Instant::now() > deadline => {
                    bail!("no end within {max:?}:\n{}", self.log_tail())
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

/// What a verb of the binary prints about the agent on `sawlog.yaml` in `folder`; an error where it fails.
pub fn verb(folder: &Path, arguments: &[&str]) -> Result<String> {
    let binary = std::env::var("SAWLOG_TEST_BINARY").context("SAWLOG_TEST_BINARY is not set")?;
    let mut command = Command::new(binary);
    let output = command.args(arguments).arg("--config").arg(folder.join("sawlog.yaml")).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "sawlog {arguments:?}: {}:\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait()
            && let Err(error) = self.child.kill().and_then(|()| self.child.wait())
        {
            eprintln!("the agent could not be ended: {error}");
        }
    }
}

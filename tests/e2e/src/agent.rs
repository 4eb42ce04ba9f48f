//! The agent as a child process.

use crate::told::answers;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time until a configuration is taken or refused.
const RELOAD_MAX: Duration = Duration::from_secs(40);
/// Longest time that an orderly end may take.
const END_MAX: Duration = Duration::from_secs(60);
/// Longest time that a scrape may take.
const SCRAPE_MAX: Duration = Duration::from_secs(20);
/// SIGHUP in the kernel's sets of signals, which begin with signal 1.
const HANGUP_BIT: u64 = 1;

/// The binary under test.
fn binary() -> Result<String> {
    std::env::var("SAWLOG_TEST_BINARY").context("SAWLOG_TEST_BINARY is not set")
}

/// What a verb of the binary did.
pub struct Said {
    /// Whether it succeeded.
    pub done: bool,
    /// What it printed.
    pub out: String,
    /// What it complained of.
    pub complaints: String,
}

/// Runs a verb of the binary on the agent of `folder`.
pub fn ask(folder: &Path, arguments: &[&str]) -> Result<Said> {
    let mut command = Command::new(binary()?);
    let output = command.args(arguments).env("SAWLOG_CONFIG", folder.join("sawlog.yaml")).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said { done: output.status.success(), out: text(&output.stdout), complaints: text(&output.stderr) })
}

/// The same, with all that it said as one text.
pub fn verb_says(folder: &Path, arguments: &[&str]) -> Result<(bool, String)> {
    let said = ask(folder, arguments)?;
    Ok((said.done, said.out + &said.complaints))
}

/// What a verb prints; an error where it fails.
pub fn verb(folder: &Path, arguments: &[&str]) -> Result<String> {
    let said = ask(folder, arguments)?;
    ensure!(said.done, "sawlog {arguments:?} failed:\n{}{}", said.out, said.complaints);
    Ok(said.out)
}

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

    /// The same with another build of the binary.
    pub fn start_build(binary: &str, folder: &Path) -> Result<Self> {
        Self::spawn(Command::new(binary), folder, &[])
    }

    /// As [`Self::start`], and waits until it answers: before that it takes no verb and knows no signal.
    pub fn start_answering(folder: &Path) -> Result<Self> {
        let mut agent = Self::start(folder)?;
        agent.wait_until("it answers", END_MAX, || Ok(answers(folder)))?;
        Ok(agent)
    }

    /// The same, to end by itself when everything that is there has been delivered.
    pub fn start_until_eof(folder: &Path) -> Result<Self> {
        Self::start_with(folder, &["--until-eof"])
    }

    /// The same with these variables.
    pub fn start_with_environment(folder: &Path, variables: &[(&str, &str)]) -> Result<Self> {
        let mut command = Command::new(binary()?);
        command.envs(variables.iter().copied());
        Self::spawn(command, folder, &[])
    }

    /// The same without the right to read files of others: what a file's mode says holds for root too.
    pub fn start_without_privileges(folder: &Path) -> Result<Self> {
        let mut command = Command::new("setpriv");
        let none = "-dac_override,-dac_read_search";
        match rustix::process::geteuid().is_root() {
            true => command.args(["--bounding-set", none, "--inh-caps", none]).arg(binary()?),
            false => return Self::start(folder),
        };
        Self::spawn(command, folder, &[])
    }

    fn start_with(folder: &Path, more: &[&str]) -> Result<Self> {
        Self::spawn(Command::new(binary()?), folder, more)
    }

    fn spawn(mut command: Command, folder: &Path, more: &[&str]) -> Result<Self> {
        let log = folder.join("agent.log");
        let out = File::options().create(true).append(true).open(&log)?;
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

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until something is so; fails, with the end of the log, where the agent ends or `max` passes before.
    pub fn wait_until(&mut self, what: &str, max: Duration, mut is: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + max;
        while !is()? {
            self.check()?;
            ensure!(Instant::now() < deadline, "{what}: not within {max:?}:\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Waits until the agent ends by itself; what it said, and whether it calls that a success.
    pub fn ended(mut self, max: Duration) -> Result<(bool, String)> {
        let deadline = Instant::now() + max;
        loop {
            match self.child.try_wait()? {
                Some(status) => return Ok((status.success(), self.log_tail())),
                None => ensure!(Instant::now() < deadline, "it runs on after {max:?}:\n{}", self.log_tail()),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its own log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its metrics, as they are scraped.
    pub fn metrics(&self) -> Result<String> {
        self.get("metrics", SCRAPE_MAX)
    }

    /// Asks for a sign of life; fails where none comes within `max`.
    pub fn livez(&self, max: Duration) -> Result<()> {
        self.get("livez", max).map(drop)
    }

    fn get(&self, path: &str, max: Duration) -> Result<String> {
        let url = format!("{}/{path}", self.api()?);
        Ok(minreq::get(url).with_timeout(max.as_secs()).send()?.as_str()?.to_owned())
    }

    /// Where its API is, as a URL without a path.
    pub fn api(&self) -> Result<String> {
        let log = self.log();
        let line =
            log.lines().rfind(|line| line.contains("option=\"api.listen\"")).context("it says where its API is")?;
        let address = line.split_once("address=").and_then(|(_, rest)| rest.split(' ').next()).context("an address")?;
        Ok(format!("http://{address}"))
    }

    /// Where its own log is; it outlives the agent.
    pub fn log_path(&self) -> PathBuf {
        self.log.clone()
    }

    /// The end of its own log.
    pub fn log_tail(&self) -> String {
        let text = self.log();
        let from = text.char_indices().rev().nth(4_000).map_or(0, |(at, _)| at);
        text[from..].to_owned()
    }

    /// `kill -9`.
    pub fn kill(mut self) -> Result<()> {
        self.kill_now()
    }

    /// `kill -9`, and another in its place.
    pub fn kill_and_start(&mut self, folder: &Path) -> Result<()> {
        self.kill_now()?;
        *self = Self::start(folder)?;
        Ok(())
    }

    /// `kill -9`; another may be put in its place.
    pub fn kill_now(&mut self) -> Result<()> {
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

    /// SIGHUP, once it is caught: a process that has only just been started would end of it.
    pub fn hang_up(&mut self) -> Result<()> {
        let status = format!("/proc/{}/status", self.pid());
        self.wait_until("it catches SIGHUP", END_MAX, || {
            let text = std::fs::read_to_string(&status)?;
            let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).context("no SigCgt in /proc")?;
            Ok(u64::from_str_radix(caught.trim(), 16)? & HANGUP_BIT != 0)
        })?;
        self.signal(Signal::HUP)
    }

    /// SIGHUP, and until the own log has `word` once more than before: that it was taken, or that it was refused.
    pub fn reload(&mut self, word: &str) -> Result<()> {
        let before = self.log().matches(word).count();
        let log = self.log_path();
        self.hang_up()?;
        let told = || Ok(std::fs::read_to_string(&log)?.matches(word).count() > before);
        self.wait_until(&format!("{word:?} after SIGHUP"), RELOAD_MAX, told)
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

impl Drop for Agent {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait()
            && let Err(error) = self.child.kill().and_then(|()| self.child.wait())
        {
            eprintln!("the agent could not be ended: {error}");
        }
    }
}

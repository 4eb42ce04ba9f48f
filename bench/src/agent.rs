//! The agent under measurement: its configuration for each kind of work, and the process.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::measure::{self, Cost};

/// Longest time for one run, whatever it does.
const RUN_MAX: Duration = Duration::from_secs(600);

/// A folder of one run: configuration, data directory, output.
pub struct Agent<'a> {
    /// The binary.
    pub binary: &'a Path,
    /// Emptied before each run.
    pub folder: PathBuf,
}

impl Agent<'_> {
    /// Where the rows come out.
    pub fn output(&self) -> PathBuf {
        self.folder.join("out")
    }

    /// Empties the folder, but for the code of plugins that an earlier run compiled, and writes the configuration: its sources, transforms and plugins; all that comes out of `last` goes
    /// to one file.
    pub fn prepare(&self, sources: &str, last: &str) -> Result<()> {
        self.prepare_with(
            sources,
            &format!("  out: {{ type: file, inputs: [{last}], path: ./out, provenance: received }}\n"),
        )
    }

    /// The same with sinks of its own.
    pub fn prepare_with(&self, sources: &str, sinks: &str) -> Result<()> {
        let (code, kept) = (self.folder.join("data/code"), self.folder.with_extension("code"));
        if code.exists() {
            fs::rename(&code, &kept)?;
        }
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::create_dir_all(self.folder.join("data"))?;
        if kept.exists() {
            fs::rename(&kept, &code)?;
        }
        let config = format!(
            "version: 1\nagent: {{ id: bench }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\n{sources}sinks:\n{sinks}"
        );
        Ok(fs::write(self.folder.join("sawlog.yaml"), config)?)
    }

    /// Has its own interface listen at `at`.
    pub fn listen(&self, at: SocketAddr) -> Result<()> {
        let path = self.folder.join("sawlog.yaml");
        let config = fs::read_to_string(&path)?.replace("127.0.0.1:0", &at.to_string());
        Ok(fs::write(path, config)?)
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let log = File::options().create(true).append(true).open(self.folder.join("agent.log"))?;
        let mut command = Command::new(self.binary);
        command.args(["run", "--config"]).arg(self.folder.join("sawlog.yaml")).args(arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    /// Runs until all input is delivered durably, and tells what it cost.
    pub fn until_eof(&self) -> Result<Cost> {
        measure::run(&mut self.command(&["--until-eof"])?, RUN_MAX)
            .with_context(|| format!("see {}", self.folder.join("agent.log").display()))
    }

    /// Makes the topics that its configuration needs.
    pub fn set_up(&self) -> Result<()> {
        let config = self.folder.join("sawlog.yaml");
        let done = Command::new(self.binary).args(["setup", "--config"]).arg(config).stdout(Stdio::null()).status()?;
        ensure!(done.success(), "`sawlog setup` ended with {done}");
        Ok(())
    }

    /// Starts it, to run until it is told to end.
    pub fn start(&self) -> Result<Running> {
        let (cpu_before, begin) = (measure::children_seconds()?, Instant::now());
        Ok(Running { child: self.command(&[])?.spawn()?, cpu_before, begin })
    }
}

/// A running agent; dropping it kills it.
pub struct Running {
    child: Child,
    cpu_before: f64,
    /// When it was started.
    pub begin: Instant,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended. Just behind its start it has no memory yet that could be asked for.
    pub fn is_alive(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id().try_into()?), signal)?)
    }

    /// Memory that it holds now, bytes.
    pub fn resident_bytes(&self) -> Option<u64> {
        measure::resident_bytes(self.child.id())
    }

    /// The most memory that it has held so far, bytes.
    pub fn peak_bytes(&self) -> Option<u64> {
        measure::peak_bytes(self.child.id())
    }

    /// `kill -9`; fails where it has ended by itself.
    pub fn kill(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the agent ended by itself: {status}");
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, an orderly end, and what all of it cost.
    pub fn end(mut self) -> Result<Cost> {
        let peak_bytes = measure::peak_bytes(self.child.id()).context("the agent ended by itself")?;
        self.signal(Signal::SIGTERM)?;
        let until = Instant::now() + RUN_MAX;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > until {
                bail!("the agent did not end after SIGTERM");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let cpu_seconds = measure::children_seconds()? - self.cpu_before;
        Ok(Cost { cpu_seconds, wall_seconds: self.begin.elapsed().as_secs_f64(), peak_bytes })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait()
            && let Err(error) = self.child.kill().and_then(|()| self.child.wait())
        {
            eprintln!("the agent could not be ended: {error}");
        }
    }
}

//! The agent as a child process: built, started, killed with -9, ended.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::process::ProcessIdentity;
use crate::workspace;

/// Longest time that an orderly end may take.
const END_MAX: Duration = Duration::from_secs(40);

/// Compiles `sawlog`.
pub fn build() -> Result<PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string());
    let status =
        Command::new(cargo).args(["build", "--quiet", "--package", "sawlog"]).current_dir(workspace::root()).status();
    ensure!(status.context("cannot run cargo")?.success(), "the agent does not compile");
    Ok(workspace::binaries()?.join("sawlog"))
}

/// A running agent. Dropping it kills it.
pub struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// Starts `sawlog run` on the configuration in `folder`; its own log is appended to `agent.log` there.
    pub fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let log = folder.join("agent.log");
        let out = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(binary);
        command.args(["run", "--config"]).arg(folder.join("sawlog.yaml")).stdin(Stdio::null());
        command.stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("cannot start {}", binary.display()))?;
        Ok(Self { child, log })
    }

    /// Fails where the agent has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the agent ended by itself ({status}); its log: {}", self.log.display());
        }
        Ok(())
    }

    /// `kill -9`.
    pub fn kill(mut self) -> Result<()> {
        self.check()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and an orderly end.
    pub fn terminate(mut self) -> Result<()> {
        self.check()?;
        let identity = ProcessIdentity::of(self.child.id()).context("the agent is gone")?;
        identity.signal(Signal::TERM)?;
        let deadline = std::time::Instant::now() + END_MAX;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the agent ended with {status}; its log: {}", self.log.display()),
                None if std::time::Instant::now() > deadline => {
                    bail!("the agent did not end within {END_MAX:?} of SIGTERM")
                }
                None => std::thread::sleep(Duration::from_millis(50)),
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

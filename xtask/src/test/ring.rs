//! Runs one command as a ring of tests: streams what matters, keeps everything in a log, holds a time limit.
//!
//! Knows lines and exit codes, not what is tested.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use super::tally::{Reader, Tally};
use crate::workspace;

/// A command that belongs to a ring.
pub struct Step {
    /// Its log is called so.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// After this it is killed and counts as failed.
    pub minutes_max: u64,
}

impl Step {
    /// A call of cargo.
    pub fn cargo(name: &str, arguments: &[&str], minutes_max: u64) -> Self {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string());
        let command = std::iter::once(cargo).chain(arguments.iter().map(ToString::to_string)).collect();
        Self { name: name.to_string(), command, minutes_max }
    }

    /// Runs it with these variables added. A command that ends well and counts nothing is one check that held; one that
    /// ends badly has failed at least once.
    pub fn run(&self, variables: &BTreeMap<String, String>) -> Result<Tally> {
        self.follow(&workspace::root(), variables, &mut |line| println!("{line}"))
    }

    /// As [`Self::run`], in this folder; what is worth showing is returned rather than shown.
    pub fn run_in(&self, folder: &Path, variables: &BTreeMap<String, String>) -> Result<(Tally, Vec<String>)> {
        let mut shown = Vec::new();
        let tally = self.follow(folder, variables, &mut |line| shown.push(line.to_string()))?;
        Ok((tally, shown))
    }

    fn follow(&self, folder: &Path, variables: &BTreeMap<String, String>, show: &mut dyn FnMut(&str)) -> Result<Tally> {
        let mut child = self.spawn(folder, variables)?;
        let (lines, received) = mpsc::channel();
        let stdout = child.stdout.take().context("the command has no standard output")?;
        let stderr = child.stderr.take().context("the command has no standard error")?;
        let ended = std::thread::scope(|scope| {
            forward(scope, stdout, lines.clone());
            forward(scope, stderr, lines);
            self.read(&received, &child, show)
        });
        let (mut tally, in_time) = ended?;
        let status = child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        if !(status.success() && in_time) && tally.failed == 0 {
            show(&format!("{} ended with {status}", self.name));
            tally.failed = 1;
        }
        if tally.total() == 0 {
            tally.passed = 1;
        }
        Ok(tally)
    }

    fn spawn(&self, folder: &Path, variables: &BTreeMap<String, String>) -> Result<Child> {
        let (program, arguments) = self.command.split_first().context("a step without a program")?;
        workspace::command(program)
            .args(arguments)
            .envs(variables)
            .current_dir(folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {program}"))
    }

    /// Reads lines until both ends are closed or time is up; then the whole process group is killed.
    fn read(&self, received: &Receiver<String>, child: &Child, show: &mut dyn FnMut(&str)) -> Result<(Tally, bool)> {
        let mut log = self.log()?;
        let mut reader = Reader::default();
        let limit = Duration::from_secs(self.minutes_max * 60);
        let deadline = Instant::now() + limit;
        let mut in_time = true;
        loop {
            match received.recv_timeout(if in_time {
                deadline.saturating_duration_since(Instant::now())
            } else {
                limit
            }) {
                Ok(line) => {
                    writeln!(log, "{line}").context("cannot write the log of a ring")?;
                    if reader.read(&line) {
                        show(&line);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok((reader.finish(), in_time)),
                Err(RecvTimeoutError::Timeout) => {
                    show(&format!("{} took longer than {} minutes and is killed", self.name, self.minutes_max));
                    in_time = false;
                    kill_group(child)?;
                }
            }
        }
    }

    /// Where its full output is.
    pub fn log_path(&self) -> Result<PathBuf> {
        Ok(logs()?.join(format!("{}.log", self.name)))
    }

    fn log(&self) -> Result<File> {
        let folder = logs()?;
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let path = self.log_path()?;
        File::create(&path).with_context(|| format!("cannot create {}", path.display()))
    }
}

/// The folder of the full output of the last run of each step; `SAWLOG_TEST_LOGS` names another.
pub fn logs() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("SAWLOG_TEST_LOGS") {
        return Ok(folder.into());
    }
    Ok(workspace::binaries()?.join("../xtask-logs"))
}

fn forward<'scope>(scope: &'scope std::thread::Scope<'scope, '_>, from: impl Read + Send + 'scope, to: Sender<String>) {
    scope.spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(std::result::Result::ok) {
            if to.send(String::from_utf8_lossy(&line).trim_end_matches('\r').to_string()).is_err() {
                return;
            }
        }
    });
}

fn kill_group(child: &Child) -> Result<()> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("the command has no pid")?;
    match kill_process_group(group, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(std::io::Error::from(error)).context("cannot kill a command that took too long"),
    }
}

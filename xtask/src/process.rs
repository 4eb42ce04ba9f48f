//! Processes by identity: a pid together with the moment it began, so that a reused pid is never taken for ours.
//!
//! Reads `/proc`, so it runs on Linux only, as the agent does.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// How often a wait looks again.
const POLL: Duration = Duration::from_millis(20);

/// One process, told apart from a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The process id.
    pub pid: u32,
    /// When it began, in clock ticks since boot.
    pub started_ticks: u64,
}

impl ProcessIdentity {
    /// The identity of a living process; `None` when there is none, or only a zombie nobody waited for.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        parse_stat(&stat).map(|started_ticks| Self { pid, started_ticks })
    }

    /// Whether this very process still lives.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal; a process that is already gone is no error.
    pub fn signal(self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        let pid =
            i32::try_from(self.pid).ok().and_then(Pid::from_raw).with_context(|| format!("{} is no pid", self.pid))?;
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(io::Error::from(error)).with_context(|| format!("cannot signal process {}", self.pid)),
        }
    }

    /// Waits until the process is gone, at most `limit`.
    pub fn wait_gone(self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() > deadline {
                bail!("process {} still lives {limit:?} after it was told to end", self.pid);
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Kills with SIGKILL and waits until the process is gone.
    pub fn kill(self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait_gone(Duration::from_secs(10))
    }
}

/// The start time of a process that is not a zombie, from the text of its `stat`.
///
/// The name in parentheses may hold anything, so fields are counted after the last parenthesis.
fn parse_stat(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Every living process that was started with exactly this `NAME=value` in its environment, other than this one.
///
/// An exact mark set by us finds children of children that no pid file names, and never a process of anyone else.
pub fn marked_with(mark: &str) -> Vec<ProcessIdentity> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != std::process::id() && has_mark(*pid, mark))
        .filter_map(ProcessIdentity::of)
        .collect()
}

fn has_mark(pid: u32, mark: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()))
}

/// Kills every process that carries the mark, until none is left.
///
/// Repeats, because a process may start another between the look and the kill.
pub fn kill_marked(mark: &str) -> Result<usize> {
    let mut killed = 0;
    for _ in 0..50 {
        let found = marked_with(mark);
        if found.is_empty() {
            return Ok(killed);
        }
        killed += found.len();
        for process in found {
            process.kill()?;
        }
    }
    bail!("processes marked {mark} keep coming back")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::Command;

    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(parse_stat(stat), Some(4242));
        assert_eq!(parse_stat(&stat.replace(" S ", " Z ")), None);
    }

    #[test]
    fn a_marked_process_and_its_child_are_killed_and_others_are_not() {
        let mark = format!("SAWLOG_TEST_MARK=kill-{}", std::process::id());
        let (name, value) = mark.split_once('=').unwrap();
        let mut marked = Command::new("sh").args(["-c", "sleep 60 & wait"]).env(name, value).spawn().unwrap();
        let mut other = Command::new("sleep").arg("60").env(name, format!("{value}0")).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while marked_with(&mark).len() < 2 && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        assert_eq!(kill_marked(&mark).unwrap(), 2);
        marked.wait().unwrap();
        assert!(ProcessIdentity::of(other.id()).is_some());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}

//! What a child process cost: CPU time of all its threads, wall time, the most memory it held. One child at a time.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Costs of one process from its start to its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// User and system time of all threads, seconds.
    pub cpu_seconds: f64,
    /// From start to end, seconds.
    pub wall_seconds: f64,
    /// Most resident memory, bytes.
    pub peak_bytes: u64,
}

/// Runs a command to its end, at most `limit`.
pub fn run(command: &mut Command, limit: Duration) -> Result<Cost> {
    let (before, begin) = (children_seconds()?, Instant::now());
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let peak_bytes = wait(&mut child, begin + limit)?;
    let wall_seconds = begin.elapsed().as_secs_f64();
    Ok(Cost { cpu_seconds: children_seconds()? - before, wall_seconds, peak_bytes })
}

fn wait(child: &mut Child, until: Instant) -> Result<u64> {
    let mut peak = 0;
    loop {
        peak = peak.max(peak_bytes(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "the process ended with {status}");
            return Ok(peak);
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            bail!("the process did not end in time");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// CPU time of all ended children so far, seconds.
pub fn children_seconds() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6)
}

/// The most memory that a process held so far; `None` where it has ended.
pub fn peak_bytes(pid: u32) -> Option<u64> {
    status_bytes(pid, "VmHWM:")
}

/// The memory that a process holds now.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    status_bytes(pid, "VmRSS:")
}

fn status_bytes(pid: u32, key: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// The median of what each of `costs` is of the one of `beside` in the same run, in CPU time.
pub fn ratio(beside: &[Cost], costs: &[Cost]) -> f64 {
    median(beside.iter().zip(costs).map(|(beside, cost)| cost.cpu_seconds / beside.cpu_seconds).collect())
}

/// The middle value; the mean of the two middle ones where the number is even.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n.is_multiple_of(2) => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

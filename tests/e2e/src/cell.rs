//! One cell: feed, kill -9 while rows are owed, start again, drain, count.

use crate::agent::Agent;
use crate::chaos::{self, Blows};
use crate::feed::{Feed, Sender};
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A process that has only just been started knows no signals yet.
pub(crate) const BEFORE_HANGUP: Duration = Duration::from_millis(400);

/// How a cell is run.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Kills with -9, each while the agent owes rows.
    pub kills: u32,
    /// Lines before each kill, and once more after the last.
    pub lines: u64,
    /// Longest time from the last line to the last row.
    pub drain_max: Duration,
    /// Services that are killed and started again on the way, one a round.
    pub restarts: &'static [&'static str],
    /// SIGHUP in the middle of every round.
    pub hangups: bool,
    /// The service that a chaos run kills.
    pub service: Option<&'static str>,
}

/// Runs the agent on `config` below a folder of its own; `rows` reads what the sink shows.
pub fn run(config: &str, plan: Plan, rows: impl Fn(&Path) -> Result<Vec<u64>>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join("logs"))?;
    let feed = Feed::new(&folder.path().join("logs/app.log"));
    run_with(folder.path(), config, plan, feed, rows)
}

/// The same with any sender.
pub fn run_with(
    path: &Path,
    config: &str,
    plan: Plan,
    mut feed: impl Sender,
    rows: impl Fn(&Path) -> Result<Vec<u64>>,
) -> Result<()> {
    std::fs::write(path.join("sawlog.yaml"), config)?;
    let mut agent = Agent::start(path)?;
    let blows = match chaos::seed()? {
        Some(seed) => chaos::strike(seed, path, plan, &mut agent, &mut feed, &rows)?,
        None => planned(path, plan, &mut agent, &mut feed, &rows)?,
    };
    send(&mut feed, plan, &agent)?;
    let deadline = Instant::now() + plan.drain_max;
    let mut found = rows(path)?;
    while (found.len() as u64) < feed.sent() && Instant::now() < deadline {
        agent.check()?;
        std::thread::sleep(Duration::from_millis(300));
        found = rows(path)?;
    }
    let log = agent.log_tail();
    let verdict = judge(&found, feed.sent());
    ensure!(
        verdict == (0, 0, 0),
        "lost {}, duplicated {}, unknown {} of {}; the agent's log:\n{log}",
        verdict.0,
        verdict.1,
        verdict.2,
        feed.sent()
    );
    control(&found, feed.sent())?;
    agent.terminate()?;
    println!("{} records, {blows}: lost 0, duplicated 0", feed.sent());
    ensure!(blows.owing > 0, "no kill found the agent owing rows: this run proves nothing");
    Ok(())
}

/// The blows of the plan.
fn planned(
    path: &Path,
    plan: Plan,
    agent: &mut Agent,
    feed: &mut impl Sender,
    rows: &impl Fn(&Path) -> Result<Vec<u64>>,
) -> Result<Blows> {
    let mut blows = Blows::default();
    for round in 0..plan.kills {
        send(feed, plan, agent)?;
        blows.hangups += u32::from(plan.hangups);
        if let Some(service) = plan.restarts.get(round as usize) {
            restart(service)?;
            blows.services += 1;
        }
        std::thread::sleep(Duration::from_millis(u64::from(round % 5) * 130));
        // A kill counts only if the agent owes rows; what it delivered is read before it dies.
        blows.owing += u32::from((rows(path)?.len() as u64) < feed.sent());
        blows.kills += 1;
        agent.kill_and_start(path)?;
    }
    Ok(blows)
}

/// The lines of one round, a reload between them.
fn send(feed: &mut impl Sender, plan: Plan, agent: &Agent) -> Result<()> {
    feed.send(plan.lines / 2)?;
    if plan.hangups {
        std::thread::sleep(BEFORE_HANGUP);
        agent.signal(Signal::HUP)?;
    }
    feed.send(plan.lines - plan.lines / 2)
}

/// Kills a service and starts it again on the same data and port; only what the services' own state file names is ended.
pub(crate) fn restart(service: &str) -> Result<()> {
    let xtask = std::env::var("SAWLOG_TEST_XTASK").context("SAWLOG_TEST_XTASK is not set")?;
    let output = Command::new(xtask).args(["services", "restart", service]).output()?;
    ensure!(output.status.success(), "restart of {service}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// (lost, duplicated, unknown) against the numbers 0..sent.
fn judge(rows: &[u64], sent: u64) -> (usize, usize, usize) {
    compare(rows, &(0..sent).collect::<Vec<_>>())
}

/// (lost, duplicated, unknown) of rows against the numbers that must be there.
pub fn compare(rows: &[u64], expected: &[u64]) -> (usize, usize, usize) {
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    rows.iter().for_each(|n| *times.entry(*n).or_default() += 1);
    let lost = expected.iter().filter(|n| !times.contains_key(n)).count();
    let duplicated = times.values().map(|n| n - 1).sum();
    let expected: BTreeSet<u64> = expected.iter().copied().collect();
    (lost, duplicated, times.keys().filter(|n| !expected.contains(n)).count())
}

/// The negative control: in a copy one row is removed and one repeated, and exactly these must be found.
pub fn control(rows: &[u64], sent: u64) -> Result<()> {
    let mut spoiled: Vec<u64> = rows.iter().copied().filter(|n| *n != 0).collect();
    spoiled.push(sent - 1);
    ensure!(judge(&spoiled, sent) == (1, 1, 0), "the reader does not notice a removed and a repeated row");
    Ok(())
}

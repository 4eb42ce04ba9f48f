//! A sink's place changes under load, there and back: by SIGHUP and by a restart, with kill -9 between, also while the switch is
//! under way. Rows are counted over both places together.

use crate::agent::Agent;
use crate::cell::compare;
use crate::feed::{Feed, Sender as _};
use anyhow::{Result, ensure};
use rustix::process::Signal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WAIT_MAX: Duration = Duration::from_secs(60);
const TAKEN: &str = "the configuration was reloaded";

/// How a course is run.
#[derive(Clone, Copy)]
pub struct Course<'a> {
    /// How often the place changes; the first is by SIGHUP, the next by a restart, and so on.
    pub turns: u64,
    /// Lines a tenth of a second.
    pub lines: u64,
    /// What the log says when the new place is taken by SIGHUP.
    pub says: &'a str,
}

/// Runs an agent on `logs/app.log` below `folder`, whose config is written by `write`: for the second place, or for the first.
/// Each turn ends when rows arrive at the place that it chose. Gives back the agent and how many lines were sent.
pub fn run(
    folder: &Path,
    course: Course<'_>,
    write: impl Fn(bool) -> Result<()>,
    rows: impl Fn() -> [Vec<u64>; 2],
) -> Result<(Agent, u64)> {
    std::fs::create_dir(folder.join("logs"))?;
    write(false)?;
    let mut agent = Agent::start(folder)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (mut feed, stopped) = (Feed::new(&folder.join("logs/app.log")), stop.clone());
    let feeding = std::thread::spawn(move || -> Result<u64> {
        while !stopped.load(Ordering::Relaxed) {
            feed.send(course.lines)?;
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(feed.sent())
    });
    std::thread::sleep(Duration::from_millis(1_500));
    for turn in 0..course.turns {
        write(turn % 2 == 0)?;
        if turn % 2 == 0 {
            hangup(&mut agent)?;
            ensure!(agent.log().contains(course.says), "it does not say `{}`:\n{}", course.says, agent.log_tail());
            // Sometimes in the middle of the switch, sometimes behind it.
            std::thread::sleep(Duration::from_millis(40 * turn));
        }
        agent.kill()?;
        agent = Agent::start(folder)?;
        let chosen = || rows()[usize::from(turn % 2 == 0)].len();
        let before = chosen();
        agent.wait_until("rows at the place of this turn", WAIT_MAX, || Ok(chosen() > before))?;
    }
    stop.store(true, Ordering::Relaxed);
    let sent = feeding.join().map_err(|_| anyhow::anyhow!("the feed panicked"))??;
    Ok((agent, sent))
}

fn hangup(agent: &mut Agent) -> Result<()> {
    let before = agent.log().matches(TAKEN).count();
    agent.signal(Signal::HUP)?;
    let log = agent.log_path();
    let taken = || Ok(std::fs::read_to_string(&log)?.matches(TAKEN).count() > before);
    agent.wait_until("the reload", WAIT_MAX, taken)
}

/// Waits until every number below `sent` is at one of the two places, and fails unless each is there once and both were in use; a
/// spoiled copy shows that this would be noticed.
pub fn once(what: &str, agent: &Agent, sent: u64, rows: impl Fn() -> [Vec<u64>; 2]) -> Result<()> {
    let expected: Vec<u64> = (0..sent).collect();
    let deadline = Instant::now() + WAIT_MAX;
    while compare(&rows().concat(), &expected).0 > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(300));
    }
    std::thread::sleep(Duration::from_millis(700));
    let found = rows();
    let lens = found.each_ref().map(Vec::len);
    let judged = compare(&found.concat(), &expected);
    ensure!(
        judged == (0, 0, 0),
        "{what}: lost, duplicated, unknown {judged:?} of {sent}, {lens:?}:\n{}",
        agent.log_tail()
    );
    ensure!(!lens.contains(&0), "{what}: {lens:?} of {sent}: both were to be in use:\n{}", agent.log_tail());
    let mut spoiled: Vec<u64> = found.concat().into_iter().filter(|n| *n != 0).collect();
    spoiled.push(sent - 1);
    ensure!(compare(&spoiled, &expected) == (1, 1, 0), "{what}: the reader would not notice");
    println!("{what}: {sent} records over two places, {lens:?}: lost 0, duplicated 0");
    Ok(())
}

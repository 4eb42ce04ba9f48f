//! A sink's place changes under load, there and back: by SIGHUP and by a restart, with kill -9 between, also while the switch is
//! under way. Rows are counted over both places together.

use crate::agent::Agent;
use crate::cell::{compare, reload};
use crate::feed::{Feed, Sender as _};
use crate::shown::{Shown, control};
use anyhow::{Result, ensure};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WAIT_MAX: Duration = Duration::from_secs(60);

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
    places: [&dyn Shown; 2],
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
            reload(&mut agent, folder)?;
            ensure!(agent.log().contains(course.says), "it does not say `{}`:\n{}", course.says, agent.log_tail());
            // Sometimes in the middle of the switch, sometimes behind it.
            std::thread::sleep(Duration::from_millis(40 * turn));
        }
        agent.kill()?;
        agent = Agent::start(folder)?;
        let chosen = || rows(places)[usize::from(turn % 2 == 0)].len();
        let before = chosen();
        agent.wait_until("rows at the place of this turn", WAIT_MAX, || Ok(chosen() > before))?;
    }
    stop.store(true, Ordering::Relaxed);
    let sent = feeding.join().map_err(|_| anyhow::anyhow!("the feed panicked"))??;
    Ok((agent, sent))
}

/// A place that is not there yet shows nothing.
fn rows(places: [&dyn Shown; 2]) -> [Vec<u64>; 2] {
    places.map(|place| place.rows().unwrap_or_default())
}

/// Waits until every number below `sent` is at one of the two places, and fails unless each is there once and both were in use; the
/// reader of each is put to the test.
pub fn once(what: &str, agent: &Agent, sent: u64, places: [&dyn Shown; 2]) -> Result<()> {
    let expected: Vec<u64> = (0..sent).collect();
    let deadline = Instant::now() + WAIT_MAX;
    while compare(&rows(places).concat(), &expected).0 > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(300));
    }
    std::thread::sleep(Duration::from_millis(700));
    let found = rows(places);
    let lens = found.each_ref().map(Vec::len);
    let judged = compare(&found.concat(), &expected);
    ensure!(
        judged == (0, 0, 0),
        "{what}: lost, duplicated, unknown {judged:?} of {sent}, {lens:?}:\n{}",
        agent.log_tail()
    );
    ensure!(!lens.contains(&0), "{what}: {lens:?} of {sent}: both were to be in use:\n{}", agent.log_tail());
    places.into_iter().try_for_each(control)?;
    println!("{what}: {sent} records over two places, {lens:?}: lost 0, duplicated 0");
    Ok(())
}

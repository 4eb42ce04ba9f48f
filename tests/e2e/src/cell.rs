//! One cell: feed under load, kill -9 at random times, reload, kill the service, start again, drain, count.

use crate::agent::Agent;
use crate::chaos::{self, Blows, Ground, Reach};
use crate::disk::Disk;
use crate::draw::Draw;
use crate::feed::{Feed, Sender};
use crate::shown::{Differences, Shown, control};
use crate::told::{TAKEN, answers};
use crate::turning::Turning;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Longest time from SIGHUP to the new configuration, also while a service is down.
const RELOAD_MAX: Duration = Duration::from_secs(60);
/// Longest time until a reader sees a service that was killed and is there again.
const READ_MAX: Duration = Duration::from_secs(60);
/// Latest kill behind the last line before it; by then most sinks owe rows.
const KILL_WITHIN: Duration = Duration::from_millis(500);
/// The same for every other kill: a local file owes nothing for long.
const KILL_SOON: Duration = Duration::from_millis(60);
/// Time in which a broker ends a commit that it was asked for.
const COMMITTED_WITHIN: Duration = Duration::from_millis(400);

/// How a cell is run.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// Kills with -9 of an agent that owes rows. One that owes none is killed too, and does not count.
    pub kills: u32,
    /// Lines around each kill, and once more after the last.
    pub lines: u64,
    /// Longest time from the last line to the last row.
    pub drain_max: Duration,
    /// Services that are killed and started again on the way, one a round.
    pub restarts: &'a [&'a str],
    /// SIGHUP under load in every round, each with another configuration; see [`Turning`].
    pub hangups: bool,
    /// What a chaos run strikes at beside the agent.
    pub reach: Reach<'a>,
    /// A folder below the agent's that is a disk of so many MiB in a chaos run, which fills it; see [`chaos::may_mount`].
    pub disk: Option<(&'a str, u32)>,
}

impl Plan<'_> {
    /// Kills between lines, and nothing else.
    pub const fn of_kills(kills: u32, lines: u64) -> Self {
        let reach = Reach { service: None, wire: None };
        Self { kills, lines, drain_max: Duration::from_secs(90), restarts: &[], hangups: false, reach, disk: None }
    }
}

/// Runs the agent on `config` below a folder of its own; `shown` is what the sink shows there.
pub fn run<S: Shown>(config: &str, plan: Plan<'_>, shown: impl Fn(&Path) -> S) -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join("logs"))?;
    let feed = Feed::new(&folder.path().join("logs/app.log"));
    run_with(folder.path(), config, plan, feed, &shown(folder.path()))
}

/// The same with any sender.
pub fn run_with(
    path: &Path,
    config: &str,
    plan: Plan<'_>,
    mut feed: impl Sender + Send,
    shown: &impl Shown,
) -> Result<()> {
    let seed = chaos::seed()?;
    let mut turning = match plan.hangups || seed.is_some() {
        true => Some(Turning::begin(path, config)?),
        false => std::fs::write(path.join("sawlog.yaml"), config).map(|()| None)?,
    };
    let began = Instant::now();
    let small = plan.disk.filter(|_| seed.is_some());
    let disk = small.map(|(folder, mebibytes)| Disk::mount(&path.join(folder), mebibytes)).transpose()?;
    let mut agent = Agent::start(path)?;
    let blows = match (seed, turning.as_mut()) {
        (Some(seed), Some(turning)) => {
            let ground = Ground { path, plan, disk: disk.as_ref(), shown };
            chaos::strike(seed, &ground, turning, &mut agent, &mut feed)?
        }
        (_, turning) => planned(path, plan, turning, &mut agent, &mut feed, shown)?,
    };
    feed.send(plan.lines)?;
    let deadline = Instant::now() + plan.drain_max;
    while (readable(shown)?.len() as u64) < feed.sent() && Instant::now() < deadline {
        agent.check()?;
        std::thread::sleep(Duration::from_millis(300));
    }
    turning.as_ref().map_or(Ok(()), |turning| turning.settle(&mut agent))?;
    let log = agent.log_path();
    agent.terminate()?;
    // Only behind the agent's end nothing more can come, also nothing for the second time.
    let differences = Differences::of(&shown.rows()?, &(0..feed.sent()).collect::<Vec<_>>());
    ensure!(
        differences == Differences::default(),
        "{} of {}; the agent's log is {}:\n{}",
        differences.summary(),
        feed.sent(),
        log.display(),
        std::fs::read_to_string(&log).map(|text| tail(&text).to_owned()).unwrap_or_default()
    );
    control(shown)?;
    turning.map_or(Ok(()), |turning| turning.judge(&std::fs::read_to_string(&log)?, feed.sent()))?;
    println!("{} records, {blows}, {} s: lost 0, duplicated 0", feed.sent(), began.elapsed().as_secs());
    ensure!(blows.owing > 0, "no kill found the agent owing rows: this run proves nothing");
    Ok(())
}

fn tail(text: &str) -> &str {
    &text[text.char_indices().rev().nth(4_000).map_or(0, |(at, _)| at)..]
}

/// The blows of the plan, at times drawn from a seed.
fn planned(
    path: &Path,
    plan: Plan<'_>,
    mut turning: Option<&mut Turning>,
    agent: &mut Agent,
    feed: &mut (impl Sender + Send),
    shown: &impl Shown,
) -> Result<Blows> {
    let (mut draw, mut blows) = (Draw::fresh()?, Blows::default());
    let mut restarts = plan.restarts.iter();
    while blows.owing < plan.kills {
        ensure!(blows.kills < 4 * plan.kills + 4, "only {} of {} kills found rows owed", blows.owing, blows.kills);
        let before = draw.below(plan.lines);
        let service = restarts.next();
        std::thread::scope(|scope| -> Result<()> {
            let sending = scope.spawn(|| feed.send(before / 2));
            if let Some(turning) = &mut turning {
                turning.turn(agent)?;
                blows.hangups += 1;
            }
            if let Some(service) = service {
                strike(service, &[agent])?;
                blows.services += 1;
            }
            sending.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?
        })?;
        // Behind the new configuration, which took its time: what came with it is delivered.
        feed.send(before - before / 2)?;
        std::thread::sleep(draw.time(if blows.kills % 2 == 0 { KILL_WITHIN } else { KILL_SOON }));
        agent.kill_now()?;
        // What is not there when the agent is dead was owed when it died.
        blows.owing += u32::from((readable(shown)?.len() as u64) < feed.sent());
        blows.kills += 1;
        *agent = Agent::start(path)?;
        feed.send(plan.lines - before)?;
    }
    ensure!(restarts.next().is_none(), "fewer kills than services to restart");
    Ok(blows)
}

/// The rows, once the service can be read: it may have been killed just before.
pub(crate) fn readable(shown: &impl Shown) -> Result<Vec<u64>> {
    let deadline = Instant::now() + READ_MAX;
    loop {
        match shown.rows() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(200)),
            rows => return rows,
        }
    }
}

/// SIGHUP; waits until the agent has taken its configuration anew.
pub fn reload(agent: &mut Agent, folder: &Path) -> Result<()> {
    agent.wait_until("it answers", RELOAD_MAX, || Ok(answers(folder)))?;
    let before = agent.log().matches(TAKEN).count();
    agent.signal(Signal::HUP)?;
    let log = agent.log_path();
    let taken = || Ok(std::fs::read_to_string(&log)?.matches(TAKEN).count() > before);
    agent.wait_until("the reload", RELOAD_MAX, taken)
}

/// Kills a service and starts it again on the same data and port; only what the services' own state file names is ended.
pub fn restart(service: &str) -> Result<()> {
    services("restart", service)
}

/// Kills a service under `agents` and starts it again. Kafka is killed while transactions are open and no commit is under way: a lone
/// broker that dies between a commit and its markers may find no leader for these when it comes back; it takes the partitions for
/// deleted, and calls the transaction complete. What was committed then stays hidden from readers for good, and no client can mend that.
pub(crate) fn strike(service: &str, agents: &[&Agent]) -> Result<()> {
    if service != "kafka" {
        return restart(service);
    }
    let all = |signal| agents.iter().try_for_each(|agent| agent.signal(signal));
    all(Signal::STOP)?;
    std::thread::sleep(COMMITTED_WITHIN);
    let killed = services("kill", service);
    all(Signal::CONT)?;
    killed?;
    restart(service)
}

/// Asks the services' own tool for `restart` or `kill` of a service.
pub fn services(what: &str, service: &str) -> Result<()> {
    let xtask = std::env::var("SAWLOG_TEST_XTASK").context("SAWLOG_TEST_XTASK is not set")?;
    let output = Command::new(xtask).args(["services", what, service]).output()?;
    ensure!(output.status.success(), "{what} {service}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// (lost, duplicated, unknown) of rows against the numbers that must be there.
pub fn compare(rows: &[u64], expected: &[u64]) -> (usize, usize, usize) {
    let Differences { lost, repeated, unknown } = Differences::of(rows, expected);
    (lost.len(), repeated.len(), unknown.len())
}

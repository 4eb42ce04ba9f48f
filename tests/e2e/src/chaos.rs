//! The long run of a cell: blows drawn from a seed instead of those of its plan. `cargo xtask test --chaos` asks for it.

use crate::agent::Agent;
use crate::cell::{self, Plan};
use crate::draw::Draw;
use crate::feed::Sender;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Blows of one run; the sink is read as a whole again and again, so that longer runs cost more than several.
const BLOWS: u32 = 25;
/// Longest time from a start to the first new row before the run gives up.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// What the agent and its service went through in a run.
#[derive(Default)]
pub struct Blows {
    /// Kills with -9.
    pub kills: u32,
    /// Of those, kills of an agent that owed rows.
    pub owing: u32,
    /// Freezes of longer than five seconds.
    pub freezes: u32,
    /// SIGHUPs.
    pub hangups: u32,
    /// Kills of the service.
    pub services: u32,
    /// The slowest time from a start after a kill to the first new row, where it was measured.
    pub recovery_max: Option<Duration>,
}

impl fmt::Display for Blows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, owing, freezes, hangups, services, .. } = self;
        write!(
            f,
            "{owing} of {kills} kills with rows owed, {freezes} freezes, {hangups} hangups, {services} services killed"
        )?;
        match self.recovery_max {
            Some(slowest) => write!(f, ", slowest recovery {} ms", slowest.as_millis()),
            None => Ok(()),
        }
    }
}

/// The seed of a chaos run, where this is one.
pub fn seed() -> Result<Option<u64>> {
    let seed = std::env::var("SAWLOG_TEST_CHAOS").ok();
    seed.map(|seed| seed.parse().with_context(|| format!("SAWLOG_TEST_CHAOS is {seed:?}, which is no seed")))
        .transpose()
}

/// Strikes until the blows of this seed are dealt; the agent that is left runs.
pub fn strike(
    seed: u64,
    path: &Path,
    plan: Plan,
    agent: &mut Agent,
    feed: &mut impl Sender,
    rows: &impl Fn(&Path) -> Result<Vec<u64>>,
) -> Result<Blows> {
    let (mut draw, mut blows) = (Draw(seed), Blows::default());
    for _ in 0..BLOWS {
        feed.send(20 + draw.below(600))?;
        std::thread::sleep(Duration::from_millis(draw.below(700)));
        match draw.below(100) {
            0..60 => {
                let before = rows(path)?.len() as u64;
                blows.kills += 1;
                blows.owing += u32::from(before < feed.sent());
                agent.kill_and_start(path)?;
                if draw.below(4) == 0 {
                    let took = recovery(path, agent, feed, rows)?;
                    blows.recovery_max = blows.recovery_max.max(Some(took));
                }
            }
            60..75 => {
                std::thread::sleep(cell::BEFORE_HANGUP);
                agent.signal(Signal::HUP)?;
                blows.hangups += 1;
            }
            75..88 => {
                agent.signal(Signal::STOP)?;
                std::thread::sleep(Duration::from_millis(5_200 + draw.below(2_000)));
                agent.signal(Signal::CONT)?;
                blows.freezes += 1;
            }
            _ => {
                let Some(service) = plan.service else { continue };
                cell::restart(service)?;
                blows.services += 1;
            }
        }
        agent.check()?;
    }
    Ok(blows)
}

/// The time from now, when the agent has just been started, to its first new row.
fn recovery(
    path: &Path,
    agent: &mut Agent,
    feed: &mut impl Sender,
    rows: &impl Fn(&Path) -> Result<Vec<u64>>,
) -> Result<Duration> {
    let (began, before) = (Instant::now(), rows(path)?.len());
    feed.send(20)?;
    while rows(path)?.len() <= before {
        agent.check()?;
        ensure!(began.elapsed() < RECOVERY_MAX, "no new row within {RECOVERY_MAX:?} of a start:\n{}", agent.log_tail());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(began.elapsed())
}

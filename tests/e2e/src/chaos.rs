//! The long run of a cell: blows drawn from a seed instead of those of its plan. `cargo xtask test --chaos` asks for it.

use crate::agent::Agent;
use crate::cell::{self, Plan};
use crate::disk::{self, Disk};
use crate::draw::Draw;
use crate::feed::Sender;
use crate::shown::Shown;
use crate::turning::Turning;
use crate::wire::{Fault, Wire};
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The blows of one run, in an order that its seed draws. The sink is read as a whole again and again, so that longer runs cost
/// more than several.
const DECK: [(Blow, usize); 5] =
    [(Blow::Kill, 12), (Blow::Hangup, 3), (Blow::Freeze, 3), (Blow::Service, 3), (Blow::Spoil, 4)];
/// Longest time from a start to the first new row before the run gives up.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// Latest kill behind a SIGHUP that it is to meet; most configurations are taken by then.
const RELOADED_WITHIN: Duration = Duration::from_millis(400);

/// What may happen to the agent. Where a cell has no service, or nothing to spoil, the agent is killed instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Blow {
    Kill,
    Hangup,
    Freeze,
    /// The service is killed.
    Service,
    /// A disk is filled, or a wire spoilt.
    Spoil,
}

/// The blows of a run.
pub(crate) fn deck(draw: &mut Draw) -> Vec<Blow> {
    let mut deck: Vec<Blow> = DECK.iter().flat_map(|(blow, times)| std::iter::repeat_n(*blow, *times)).collect();
    for last in (1..deck.len()).rev() {
        let other = usize::try_from(draw.below(last as u64 + 1)).unwrap_or(0);
        deck.swap(last, other);
    }
    deck
}

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
    /// Times that a disk had no byte left.
    pub disks: u32,
    /// Times that replies of the service were swallowed, delayed or cut.
    pub wires: u32,
    /// The slowest time from a start after a kill to the first new row, where it was measured.
    pub recovery_max: Option<Duration>,
}

impl fmt::Display for Blows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, owing, freezes, hangups, services, disks, wires, .. } = self;
        write!(
            f,
            "{owing} of {kills} kills with rows owed, {freezes} freezes, {hangups} hangups, {services} services killed, \
             {disks} disks filled, {wires} wires spoilt"
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

/// Whether a test with a disk goes on here. A chaos run mounts that disk: it has been run again where it may, or has said that it
/// can't be.
pub fn may_mount(test: &str) -> Result<bool> {
    Ok(seed()?.is_none() || disk::is_inside(test)?)
}

/// How long a broker lets a transaction live: in a chaos run shorter than a freeze.
pub fn transaction_timeout() -> &'static str {
    if seed().is_ok_and(|seed| seed.is_some()) { "5s" } else { "30s" }
}

/// What a chaos run strikes at beside the agent.
#[derive(Clone, Copy, Default)]
pub struct Reach<'a> {
    /// The service that it kills.
    pub service: Option<&'a str>,
    /// The wire between the agent and the service.
    pub wire: Option<&'a Wire>,
}

impl Reach<'_> {
    /// Kills the service under `agents` and starts it again; false where there is none.
    pub(crate) fn kill_service(&self, agents: &[&Agent], blows: &mut Blows) -> Result<bool> {
        let Some(service) = self.service else { return Ok(false) };
        cell::strike(service, agents)?;
        blows.services += 1;
        Ok(true)
    }

    /// Spoils the wire while `meanwhile` is done; false where there is none.
    pub(crate) fn spoil(
        &self,
        draw: &mut Draw,
        blows: &mut Blows,
        meanwhile: impl FnOnce(&mut Draw, &mut Blows) -> Result<()>,
    ) -> Result<bool> {
        let Some(wire) = self.wire else { return Ok(false) };
        let touched = wire.touched();
        wire.spoil(match draw.below(3) {
            0 => Fault::Swallowed,
            1 => Fault::Delayed(Duration::from_millis(100 + draw.below(1_400))),
            _ => Fault::Cut,
        });
        let done = meanwhile(draw, blows);
        std::thread::sleep(Duration::from_millis(300 + draw.below(2_700)));
        wire.mend();
        blows.wires += u32::from(wire.touched() > touched);
        done.map(|()| true)
    }
}

/// Where a cell runs.
pub struct Ground<'a, S> {
    /// The agent's folder.
    pub path: &'a Path,
    /// The cell's plan.
    pub plan: Plan<'a>,
    /// A small disk in the folder.
    pub disk: Option<&'a Disk>,
    /// What the sink shows.
    pub shown: &'a S,
}

/// Strikes until the blows of this seed are dealt; the agent that is left runs.
pub fn strike(
    seed: u64,
    ground: &Ground<'_, impl Shown>,
    turning: &mut Turning,
    agent: &mut Agent,
    feed: &mut impl Sender,
) -> Result<Blows> {
    let (mut draw, mut blows) = (Draw(seed), Blows::default());
    for blow in deck(&mut draw) {
        feed.send(20 + draw.below(600))?;
        std::thread::sleep(Duration::from_millis(draw.below(700)));
        let dealt = match blow {
            Blow::Kill => false,
            Blow::Hangup => hang_up(turning, agent, &mut draw, &mut blows)?,
            Blow::Freeze => {
                freeze(agent, &mut draw, &mut blows)?;
                true
            }
            Blow::Service => ground.plan.reach.kill_service(&[agent], &mut blows)?,
            Blow::Spoil if ground.disk.is_some() => ground.fill(&mut draw, &mut blows, agent, feed)?,
            Blow::Spoil => ground.plan.reach.spoil(&mut draw, &mut blows, |draw, blows| {
                feed.send(20 + draw.below(600))?;
                if draw.below(3) == 0 { ground.kill(blows, agent, feed) } else { Ok(()) }
            })?,
        };
        if !dealt {
            ground.kill(&mut blows, agent, feed)?;
            if draw.below(4) == 0 {
                let took = ground.recovery(agent, feed)?;
                blows.recovery_max = blows.recovery_max.max(Some(took));
            }
        }
        agent.check()?;
    }
    Ok(blows)
}

/// SIGHUP with another configuration. Every second time the agent is to be killed right behind it: false then.
pub(crate) fn hang_up(turning: &mut Turning, agent: &mut Agent, draw: &mut Draw, blows: &mut Blows) -> Result<bool> {
    blows.hangups += 1;
    if blows.hangups.is_multiple_of(2) {
        turning.turn_to_be_killed(agent)?;
        std::thread::sleep(draw.time(RELOADED_WITHIN));
        return Ok(false);
    }
    turning.turn(agent).map(|()| true)
}

/// Stops the agent for longer than a transaction may live.
pub(crate) fn freeze(agent: &Agent, draw: &mut Draw, blows: &mut Blows) -> Result<()> {
    agent.signal(Signal::STOP)?;
    std::thread::sleep(Duration::from_millis(5_200 + draw.below(2_000)));
    agent.signal(Signal::CONT)?;
    blows.freezes += 1;
    Ok(())
}

impl<S: Shown> Ground<'_, S> {
    fn kill(&self, blows: &mut Blows, agent: &mut Agent, feed: &impl Sender) -> Result<()> {
        agent.kill_now()?;
        // What is not there when the agent is dead was owed when it died.
        blows.owing += u32::from((cell::readable(self.shown)?.len() as u64) < feed.sent());
        blows.kills += 1;
        *agent = Agent::start(self.path)?;
        Ok(())
    }

    /// Leaves no byte on the disk for a while, in which the agent may be killed; false where there is no disk.
    fn fill(&self, draw: &mut Draw, blows: &mut Blows, agent: &mut Agent, feed: &mut impl Sender) -> Result<bool> {
        let Some(disk) = self.disk else { return Ok(false) };
        disk.fill()?;
        feed.send(20 + draw.below(600))?;
        std::thread::sleep(Duration::from_millis(300 + draw.below(1_700)));
        if draw.below(3) == 0 && agent.check().is_ok() {
            self.kill(blows, agent, feed)?;
            std::thread::sleep(Duration::from_millis(draw.below(1_500)));
        }
        disk.free()?;
        // One that has yet to write down what it begins with says so on a full disk, and ends; whoever supervises it starts it again.
        if agent.check().is_err_and(|error| error.to_string().contains("no space left")) {
            *agent = Agent::start(self.path)?;
        }
        blows.disks += 1;
        Ok(true)
    }

    /// The time from now, when the agent has just been started, to its first new row.
    fn recovery(&self, agent: &mut Agent, feed: &mut impl Sender) -> Result<Duration> {
        let (began, before) = (Instant::now(), cell::readable(self.shown)?.len());
        feed.send(20)?;
        while cell::readable(self.shown)?.len() <= before {
            agent.check()?;
            let log = agent.log_tail();
            ensure!(began.elapsed() < RECOVERY_MAX, "no new row within {RECOVERY_MAX:?} of a start:\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(began.elapsed())
    }
}

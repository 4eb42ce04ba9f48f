//! A cell with two agents in one group: each is killed with -9 and frozen for longer than the session, so that partitions hand
//! over while rows are owed, and the one that wakes up finds its partitions gone.

use crate::agent::{Agent, verb};
use crate::cell::{self, compare, readable};
use crate::chaos::{self, Blow, Blows, Reach};
use crate::draw::Draw;
use crate::feed::Sender;
use crate::shown::{Shown, control};
use crate::turning::Turning;
use anyhow::{Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longer than `session_timeout` of the agents' configs, so that the group gives the partitions to the other.
const FROZEN: Duration = Duration::from_secs(9);
/// Time for the group to form.
const FORM_MAX: Duration = Duration::from_secs(60);
const DRAIN_MAX: Duration = Duration::from_secs(120);
const LINES: u64 = 1_200;
/// Kills at most until each was killed while rows were owed.
const KILLS_MAX: u32 = 10;
/// Latest blow behind the last line before it.
const STRUCK_WITHIN: Duration = Duration::from_millis(300);

/// Two agents; dropping them ends both.
struct Pair {
    folders: [PathBuf; 2],
    agents: [Option<Agent>; 2],
    turnings: [Turning; 2],
}

/// Runs two agents, each on the config that `config` gives for its id. The service in `reach` is killed and started again on the
/// way, and both are told to load another configuration, under load. A chaos run strikes at all that is in reach.
pub fn run(
    config: impl Fn(&str) -> String,
    mut feed: impl Sender + Send,
    shown: &impl Shown,
    reach: Reach<'_>,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut pair = Pair::start(folder.path(), config)?;
    feed.send(LINES)?;
    until(FORM_MAX, || Ok(pair.own()?.iter().all(|n| *n > 0)))?;
    let blows = match chaos::seed()? {
        Some(seed) => pair.strike(&mut Draw(seed), reach, &mut feed, shown)?,
        None => pair.planned(reach, &mut feed, shown)?,
    };
    let mut found = readable(shown)?;
    let deadline = Instant::now() + DRAIN_MAX;
    while (found.len() as u64) < feed.sent() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(500));
        found = readable(shown)?;
    }
    pair.judge(&found, feed.sent())?;
    println!("{} records, {blows}: lost 0, duplicated 0", feed.sent());
    ensure!(blows.owing > 1, "not both kills found the agents owing rows: this run proves too little");
    // Partitions may still be changing hands: each is in one ledger once they don't.
    until(FORM_MAX, || Ok(pair.delivered()? == feed.sent()))?;
    for (agent, turning) in pair.agents.iter_mut().zip(&pair.turnings) {
        agent.as_mut().map_or(Ok(()), |agent| turning.settle(agent))?;
    }
    pair.drain(feed, shown)
}

fn until(max: Duration, mut is: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + max;
    while !is()? {
        ensure!(Instant::now() < deadline, "not within {max:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// The ledger of the agent in `folder`; the verb fails where it does not balance.
fn ledger(folder: &Path) -> Result<Value> {
    Ok(serde_json::from_str(&verb(folder, &["loss", "--format", "json"])?)?)
}

/// A number of the sink `out`; 0 where the ledger has no line of it yet.
fn line(ledger: &Value, key: &str) -> u64 {
    let lines = ledger["lines"].as_array().into_iter().flatten();
    lines.filter(|line| line["sink"] == "out").filter_map(|line| line[key].as_u64()).sum()
}

impl Pair {
    fn start(folder: &Path, config: impl Fn(&str) -> String) -> Result<Self> {
        let folders = ["one", "two"].map(|name| folder.join(name));
        let [one, two] = ["one", "two"].map(config);
        let turnings = [Turning::begin(&folders[0], &one)?, Turning::begin(&folders[1], &two)?];
        let agents = [Some(Agent::start(&folders[0])?), Some(Agent::start(&folders[1])?)];
        Ok(Self { folders, agents, turnings })
    }

    /// Each is killed while rows are owed, and each is frozen, until the other has its partitions.
    fn planned(&mut self, reach: Reach<'_>, feed: &mut (impl Sender + Send), shown: &impl Shown) -> Result<Blows> {
        let (mut blows, mut draw) = (Blows::default(), Draw::fresh()?);
        for victim in 0..2 {
            while !self.killed_owing(victim, &mut blows, &mut draw, feed, shown)? {
                ensure!(blows.kills < KILLS_MAX, "only {} of {} kills found rows owed", blows.owing, blows.kills);
            }
            self.go_on(victim, reach, &mut blows, feed)?;
        }
        for victim in 0..2 {
            feed.send(LINES)?;
            std::thread::sleep(draw.time(STRUCK_WITHIN));
            blows.freezes += 1;
            self.signal(victim, Signal::STOP)?;
            feed.send(LINES)?;
            std::thread::sleep(FROZEN);
            self.signal(victim, Signal::CONT)?;
            self.go_on(victim, reach, &mut blows, feed)?;
        }
        Ok(blows)
    }

    /// One is killed under load. Where rows were owed just before, the other gets its partitions before it is started again; where
    /// none were, the kill does not count.
    fn killed_owing(
        &mut self,
        victim: usize,
        blows: &mut Blows,
        draw: &mut Draw,
        feed: &mut impl Sender,
        shown: &impl Shown,
    ) -> Result<bool> {
        feed.send(LINES)?;
        std::thread::sleep(draw.time(STRUCK_WITHIN));
        // The other goes on, so that only what is not there before says what was owed.
        let owes = (readable(shown)?.len() as u64) < feed.sent();
        blows.kills += 1;
        blows.owing += u32::from(owes);
        self.kill(victim)?;
        feed.send(LINES)?;
        if owes {
            std::thread::sleep(FROZEN);
        }
        self.start_again(victim)?;
        Ok(owes)
    }

    /// More comes after a blow; the service is struck too, and both are told to load another configuration, once both had a blow.
    fn go_on(
        &mut self,
        victim: usize,
        reach: Reach<'_>,
        blows: &mut Blows,
        feed: &mut (impl Sender + Send),
    ) -> Result<()> {
        feed.send(LINES)?;
        if let Some(service) = reach.service.filter(|_| victim == 1) {
            self.disturb(feed, service)?;
            blows.hangups += 2;
            blows.services += 1;
        }
        Ok(())
    }

    /// Strikes at either, and at what is in reach, until the blows of this seed are dealt.
    fn strike(
        &mut self,
        draw: &mut Draw,
        reach: Reach<'_>,
        feed: &mut impl Sender,
        shown: &impl Shown,
    ) -> Result<Blows> {
        let mut blows = Blows::default();
        for blow in chaos::deck(draw) {
            feed.send(20 + draw.below(600))?;
            std::thread::sleep(Duration::from_millis(draw.below(700)));
            let victim = usize::from(draw.below(2) == 1);
            let dealt = match blow {
                Blow::Kill => false,
                Blow::Hangup => match &mut self.agents[victim] {
                    Some(agent) => chaos::hang_up(&mut self.turnings[victim], agent, draw, &mut blows)?,
                    None => false,
                },
                Blow::Freeze => {
                    self.agents[victim].as_ref().map_or(Ok(()), |agent| chaos::freeze(agent, draw, &mut blows))?;
                    true
                }
                Blow::Service => reach.kill_service(&self.running(), &mut blows)?,
                Blow::Spoil => reach.spoil(draw, &mut blows, |draw, blows| {
                    feed.send(20 + draw.below(600))?;
                    if draw.below(3) == 0 { self.kill_owing(victim, blows, draw, feed, shown) } else { Ok(()) }
                })?,
            };
            if !dealt {
                self.kill_owing(victim, &mut blows, draw, feed, shown)?;
            }
            self.agents.iter_mut().flatten().try_for_each(Agent::check)?;
        }
        Ok(blows)
    }

    /// Kills one, and starts it again at once or when the other has its partitions.
    fn kill_owing(
        &mut self,
        victim: usize,
        blows: &mut Blows,
        draw: &mut Draw,
        feed: &impl Sender,
        shown: &impl Shown,
    ) -> Result<()> {
        // The other goes on, so that only what is not there before says what was owed.
        blows.owing += u32::from((readable(shown)?.len() as u64) < feed.sent());
        blows.kills += 1;
        self.kill(victim)?;
        if draw.below(4) == 0 {
            std::thread::sleep(FROZEN);
        }
        self.start_again(victim)
    }

    /// What both ledgers call delivered to the sink `out`, together; both must balance.
    fn delivered(&self) -> Result<u64> {
        let ledgers = self.folders.iter().map(|folder| Ok(line(&ledger(folder)?, "delivered")));
        ledgers.sum()
    }

    /// Both are told to drain right behind new records. When they say that all they planned is delivered, the ledgers say so too,
    /// and the sink shows exactly that. They leave the group, and one of them delivers the rest.
    fn drain(mut self, mut feed: impl Sender, shown: &impl Shown) -> Result<()> {
        feed.send(LINES)?;
        for folder in &self.folders {
            verb(folder, &["drain", "--wait", "--timeout", "60s"])?;
        }
        // A partition that changes hands just then is in neither ledger for a moment.
        let mut told = String::new();
        let settled = until(FORM_MAX, || {
            let ledgers = [ledger(&self.folders[0])?, ledger(&self.folders[1])?];
            let sum = |key| ledgers.iter().map(|ledger| line(ledger, key)).sum::<u64>();
            let (delivered, owed, found) =
                (sum("delivered"), (sum("in_flight"), sum("behind")), readable(shown)?.len() as u64);
            told = format!(
                "{delivered} of {} by the ledgers, (in flight, behind) {owed:?}, {found} in the sink",
                feed.sent()
            );
            Ok(owed == (0, 0) && delivered == found)
        });
        settled.map_err(|error| error.context(told.clone()))?;
        println!("drained: {told}");
        for agent in &mut self.agents {
            let Some(agent) = agent.take() else { continue };
            let log = agent.log_path();
            agent.terminate()?;
            let log = std::fs::read_to_string(log)?;
            ensure!(log.contains("the consumer groups are left"), "it went without leaving the group:\n{log}");
        }
        self.agents[0] = Some(Agent::start_answering(&self.folders[0])?);
        until(DRAIN_MAX, || Ok(readable(shown)?.len() as u64 >= feed.sent()))?;
        until(FORM_MAX, || Ok(line(&ledger(&self.folders[0])?, "delivered") == feed.sent()))?;
        self.agents[0].take().map_or(Ok(()), Agent::terminate)?;
        // Only behind their end nothing more can come.
        self.judge(&readable(shown)?, feed.sent())?;
        for (folder, turning) in self.folders.iter().zip(&self.turnings) {
            turning.judge(&std::fs::read_to_string(folder.join("agent.log"))?, feed.sent())?;
        }
        control(shown)
    }

    /// Under load both load another configuration, and the service is killed and started again.
    fn disturb(&mut self, feed: &mut (impl Sender + Send), service: &str) -> Result<()> {
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| feed.send(LINES));
            for (agent, turning) in self.agents.iter_mut().zip(&mut self.turnings) {
                agent.as_mut().map_or(Ok(()), |agent| turning.turn(agent))?;
            }
            cell::strike(service, &self.running())?;
            sending.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?
        })
    }

    fn running(&self) -> Vec<&Agent> {
        self.agents.iter().flatten().collect()
    }

    /// How many times each agent has been given partitions, by its own log.
    fn own(&mut self) -> Result<[usize; 2]> {
        let mut counts = [0, 0];
        for (count, agent) in counts.iter_mut().zip(&mut self.agents) {
            let Some(agent) = agent else { continue };
            agent.check()?;
            *count = agent.log().matches("partitions came").count();
        }
        Ok(counts)
    }

    fn kill(&mut self, which: usize) -> Result<()> {
        self.agents[which].take().map_or(Ok(()), Agent::kill)
    }

    fn start_again(&mut self, which: usize) -> Result<()> {
        self.agents[which] = Some(Agent::start(&self.folders[which])?);
        Ok(())
    }

    fn signal(&self, which: usize, signal: Signal) -> Result<()> {
        self.agents[which].as_ref().map_or(Ok(()), |agent| agent.signal(signal))
    }

    fn judge(&self, rows: &[u64], sent: u64) -> Result<()> {
        let (lost, duplicated, unknown) = compare(rows, &(0..sent).collect::<Vec<_>>());
        if (lost, duplicated, unknown) == (0, 0, 0) {
            return Ok(());
        }
        let said = |folder: &PathBuf| verb(folder, &["status"]).unwrap_or_else(|error| error.to_string());
        let told: Vec<String> = self.folders.iter().map(said).collect();
        let logs: Vec<String> = self.agents.iter().flatten().map(Agent::log_tail).collect();
        bail!(
            "lost {lost}, duplicated {duplicated}, unknown {unknown} of {sent}; the agents say:\n{}\ntheir logs:\n{}",
            told.join("\n--- the other:\n"),
            logs.join("\n--- the other's:\n")
        )
    }
}

//! A demonstration: several senders of numbered records, kill -9 while sinks owe rows, and readers that count what each sink
//! shows in the end. `cargo xtask demo` shows it to a person.

pub mod local;
pub mod services;

use crate::agent::Agent;
use crate::cell;
use crate::feed::Sender;
use crate::shown::{self, Shown};
use anyhow::{Context as _, Result, ensure};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Kills with -9.
const KILLS: u32 = 3;
/// Between two kills it is sent in so many parts, with the counts in between.
const SLICES: u64 = 3;
/// Longest time from the last record to the last row.
const DRAIN_MAX: Duration = Duration::from_secs(180);
/// Numbers of the senders' first records lie so far apart.
const APART: u64 = 1_000_000;

/// What is shown: an agent on `sawlog.yaml` in `folder`, who sends to it, and what must arrive where.
pub struct Stage {
    folder: PathBuf,
    senders: Vec<Sending>,
    sinks: Vec<Sink>,
}

/// A sender, and how much it sends before each kill and once more after the last. The n-th one's numbers begin at n × `APART`.
struct Sending {
    name: &'static str,
    sender: Box<dyn Sender>,
    records: u64,
}

/// A sink, what it shows, and which of the numbers sent it must show.
struct Sink {
    name: &'static str,
    shown: Box<dyn Shown>,
    expects: fn(u64) -> bool,
}

impl Stage {
    /// Plays it, and returns (lost, duplicated) over all sinks.
    pub fn play(mut self) -> Result<(usize, usize)> {
        println!("configuration: {}\n", self.folder.join("sawlog.yaml").display());
        let mut agent = Agent::start(&self.folder)?;
        for round in 0..=KILLS {
            for slice in 0..SLICES {
                for sending in &mut self.senders {
                    let sent = sending
                        .sender
                        .send((sending.records * (slice + 1)) / SLICES - sending.records * slice / SLICES);
                    agent.check()?;
                    sent?;
                }
                if slice + 1 < SLICES {
                    self.report("sending")?;
                }
            }
            if round < KILLS {
                // What is not there when the agent is dead was owed when it died.
                agent.kill()?;
                self.report("sent")?;
                let owing = self.owing()?;
                ensure!(owing > 0, "the agent had nothing left to deliver when it was killed; give more --lines");
                println!("  killed with -9 while {owing} of {} sinks owed rows; starting again", self.sinks.len());
                agent = Agent::start(&self.folder)?;
            }
        }
        let until = Instant::now() + DRAIN_MAX;
        while self.owing()? > 0 && Instant::now() < until {
            agent.check()?;
            std::thread::sleep(Duration::from_millis(500));
            self.report("draining")?;
        }
        agent.terminate()?;
        self.judge()
    }

    /// Numbers sent that `sink` must show.
    fn expected(&self, sink: &Sink) -> Vec<u64> {
        let of = |(first, sending): (u64, &Sending)| first * APART..first * APART + sending.sender.sent();
        (0..).zip(&self.senders).flat_map(of).filter(|number| (sink.expects)(*number)).collect()
    }

    /// How many sinks do not show everything yet.
    fn owing(&self) -> Result<usize> {
        let owes = |sink: &Sink| Ok::<_, anyhow::Error>(sink.shown.rows()?.len() < self.expected(sink).len());
        self.sinks.iter().try_fold(0, |sum, sink| Ok(sum + usize::from(owes(sink)?)))
    }

    fn report(&self, what: &str) -> Result<()> {
        let sent: Vec<String> = self.senders.iter().map(|of| format!("{} {}", of.name, of.sender.sent())).collect();
        let shown: Result<Vec<String>> =
            self.sinks.iter().map(|sink| Ok(format!("{} {}", sink.name, sink.shown.rows()?.len()))).collect();
        println!("  {what}: {}; rows: {}", sent.join(", "), shown?.join(", "));
        Ok(())
    }

    /// Counts; each reader is put to the test on a spoiled copy of the whole output.
    fn judge(&self) -> Result<(usize, usize)> {
        println!();
        let mut sum = (0, 0);
        for sink in &self.sinks {
            let (expected, found) = (self.expected(sink), sink.shown.rows()?);
            let (lost, duplicated, unknown) = cell::compare(&found, &expected);
            shown::control(sink.shown.as_ref()).with_context(|| sink.name)?;
            let (name, all) = (sink.name, expected.len());
            println!("{name}: {all} expected, lost {lost}, duplicated {duplicated}, unknown {unknown}");
            println!("  negative control (one row removed, one repeated in a copy): found both");
            sum = (sum.0 + lost, sum.1 + duplicated + unknown);
        }
        Ok(sum)
    }
}

/// The level of a record, by its number.
fn level(number: u64) -> &'static str {
    ["debug", "info", "info", "warn", "info"][(number % 5) as usize]
}

/// What the plugin lets pass.
fn kept(number: u64) -> bool {
    level(number) != "debug"
}

/// What the warnings' route takes.
fn warns(number: u64) -> bool {
    level(number) == "warn"
}

/// The text of a record.
fn line(number: u64) -> String {
    let level = level(number);
    format!(
        "{{\"seq\":{number},\"level\":\"{level}\",\"message\":\"order {number} of user{number}@example.org is on its way\"}}"
    )
}

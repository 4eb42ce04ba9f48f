//! `cargo xtask demo`: the main job on this machine, no service needed. It feeds a rotating log file and HTTP posts to the agent,
//! kills it with -9 on the way, and lets a reader that knows nothing of the agent count what arrived.

mod agent;
mod feed;
mod posts;
mod reader;
mod with_services;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{plugins, workspace};
use agent::Agent;
use feed::Feed;
use posts::Posts;

/// What a demonstration may be asked for.
#[derive(clap::Args)]
pub struct Options {
    /// Use real Kafka, Elasticsearch, S3 and HDFS, provisioned on loopback, as well
    #[arg(long)]
    services: bool,
    /// How many log lines are written
    #[arg(long, default_value_t = 30_000)]
    lines: u64,
}

/// How often the agent is killed with -9 while it has work to do.
const KILLS: u32 = 3;
/// Requests between two kills, of 100 records each.
const POSTS: u32 = 20;
/// Longest time from the last line to the last row.
const DRAIN_MAX: Duration = Duration::from_secs(120);

/// Runs the demonstration.
pub fn run(options: &Options) -> Result<ExitCode> {
    if options.services {
        return with_services::run();
    }
    println!("building the agent and the plugins …");
    plugins::build()?;
    let binary = agent::build()?;
    let folder = workspace::root().join("target/demo");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder.join("logs"))?;
    let config = folder.join("sawlog.yaml");
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    std::fs::write(&config, configuration(&plugins::folder(), port))?;
    println!("configuration: {}\n", config.display());
    let found = play(&binary, &folder, options.lines, port)?;
    println!("\nlook at  {}  (a table with partitions dt and hour)", folder.join("lake").display());
    println!("and at   {}", folder.join("warnings.jsonl").display());
    Ok(judge(&found))
}

/// Feeds, kills, waits, counts.
fn play(binary: &Path, folder: &Path, lines: u64, port: u16) -> Result<Vec<(&'static str, reader::Count)>> {
    let feed = Feed::new(&folder.join("logs/app.log"), lines);
    let mut sent = Sent { posts: Posts::new(port), feed };
    let mut agent = Agent::start(binary, folder)?;
    for kill in 0..=KILLS {
        sent.feed.write_until(lines * u64::from(kill + 1) / u64::from(KILLS + 1))?;
        (0..POSTS).try_for_each(|_| sent.posts.post())?;
        report(folder, &sent, "sent")?;
        if kill < KILLS {
            ensure!(
                owes(folder, &sent)?,
                "the agent had nothing left to deliver when it was to be killed; give more --lines"
            );
            agent.kill()?;
            println!("  killed with -9; starting again");
            agent = Agent::start(binary, folder)?;
        }
    }
    let until = Instant::now() + DRAIN_MAX;
    while owes(folder, &sent)? && Instant::now() < until {
        agent.check()?;
        std::thread::sleep(Duration::from_millis(500));
        report(folder, &sent, "draining")?;
    }
    agent.terminate()?;
    Ok(vec![
        ("lake", reader::count(&folder.join("lake"), &sent.kept())?),
        ("warnings", reader::count(&folder.join("warnings.jsonl"), &sent.feed.warnings())?),
    ])
}

/// Everything that the senders know they sent.
struct Sent {
    feed: Feed,
    posts: Posts,
}

impl Sent {
    fn kept(&self) -> BTreeSet<u64> {
        self.feed.kept().union(&self.posts.acknowledged()).copied().collect()
    }
}

/// Whether rows that must arrive have not.
fn owes(folder: &Path, sent: &Sent) -> Result<bool> {
    let lake = reader::rows(&folder.join("lake"))?;
    let warnings = reader::rows(&folder.join("warnings.jsonl"))?;
    Ok(lake < sent.kept().len() || warnings < sent.feed.warnings().len())
}

fn report(folder: &Path, sent: &Sent, what: &str) -> Result<()> {
    let (lake, warnings) = (reader::rows(&folder.join("lake"))?, reader::rows(&folder.join("warnings.jsonl"))?);
    let (lines, files, posted) = (sent.feed.written(), sent.feed.files(), sent.posts.acknowledged().len());
    println!("  {what}: {lines} lines in {files} files, {posted} posted; lake {lake} rows, warnings {warnings} rows");
    Ok(())
}

/// The last line, and whether it is the one that was promised. The reader is put to the test first.
fn judge(found: &[(&str, reader::Count)]) -> ExitCode {
    println!();
    let mut clean = true;
    for (sink, count) in found {
        println!(
            "{sink}: {} expected, lost {}, duplicated {}, unknown {}",
            count.expected, count.lost, count.duplicated, count.unknown
        );
        println!(
            "  negative control (one row removed, one repeated in a copy): {}",
            if count.control { "found both" } else { "MISSED" }
        );
        clean &= count.lost == 0 && count.duplicated == 0 && count.unknown == 0 && count.control;
    }
    let lost: usize = found.iter().map(|(_, c)| c.lost).sum();
    let duplicated: usize = found.iter().map(|(_, c)| c.duplicated + c.unknown).sum();
    println!("lost {lost}, duplicated {duplicated}");
    ExitCode::from(u8::from(!clean))
}

/// The configuration of the demonstration, to be read by a person.
fn configuration(components: &Path, port: u16) -> String {
    let components = components.display();
    format!(
        r#"# Lines of a rotating file and HTTP posts, through two WASM plugins, to a lake of partitioned files and to one plain file.
version: 1
agent: {{ id: demo }}
data_dir: ./data
checkpoint: {{ interval: 1s }}
api: {{ listen: "127.0.0.1:0" }}

plugins:
  keep-info: {{ source: "file:{components}/level-filter.wasm", config: {{ field: level, at_least: info }} }}
  redact: {{ source: "file:{components}/redact.wasm", config: {{ fields: [message] }} }}

sources:
  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }}
  web: {{ type: http, listen: "127.0.0.1:{port}", decode: ndjson }}

transforms:
  parsed: {{ type: parse, inputs: [app], try: [json, text] }}
  clean: {{ type: wasm, inputs: [parsed, web], chain: [keep-info, redact] }}
  warnings: {{ type: filter, inputs: [clean], condition: 'level == "warn"' }}

sinks:
  lake:
    type: file
    inputs: [clean]
    path: "./lake/dt={{received_time:%Y-%m-%d}}/hour={{received_time:%H}}"
    format: jsonl
    roll: {{ size: 1MiB, age: 1s }}
    provenance: full
  warnings_file: {{ type: file, inputs: [warnings], path: ./warnings.jsonl, batch: {{ age: 200ms }} }}
"#
    )
}

//! `cargo xtask test --chaos`: cells over and over, each run with the blows of another seed, and a table of what came of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::ring::{self, Step};
use super::tally::Tally;
use crate::services::Service;
use crate::workspace;

/// A cell of the end-to-end tests.
struct Cell {
    /// What it is asked for by.
    name: &'static str,
    /// The file of its test.
    file: &'static str,
    /// The test.
    test: &'static str,
    /// The services that it needs.
    services: &'static [Service],
    /// Its source and its sink.
    connectors: &'static [&'static str],
}

const fn cell(
    name: &'static str,
    file: &'static str,
    test: &'static str,
    services: &'static [Service],
    connectors: &'static [&'static str],
) -> Cell {
    Cell { name, file, test, services, connectors }
}

const FILES: &str = "host/sources/src/file";
const HTTP: &str = "host/sources/src/http";
const MESSAGES: &str = "host/sources/src/kafka";
const CLIENT: &str = "host/kafka";
const TO_FILES: &str = "host/sinks/src/file";
const TO_KAFKA: &str = "host/sinks/src/kafka";
const TO_ELASTICSEARCH: &str = "host/sinks/src/elasticsearch";
const TO_S3: &str = "host/sinks/src/s3";
const TO_HDFS: &str = "host/sinks/src/hdfs";
const OBJECTS: &str = "host/sinks/src/object";

const CELLS: [Cell; 13] = [
    cell("file-file", "cells", "file_to_appended_file_survives_kills", &[], &[FILES, TO_FILES]),
    cell(
        "file-lake",
        "cells",
        "file_to_local_lake_survives_kills_and_is_a_table_for_duckdb",
        &[],
        &[FILES, TO_FILES, OBJECTS],
    ),
    cell("file-kafka", "cells", "file_to_kafka_survives_kills", &[Service::Kafka], &[FILES, CLIENT, TO_KAFKA]),
    cell(
        "file-elasticsearch",
        "cells",
        "file_to_elasticsearch_survives_kills",
        &[Service::Elasticsearch],
        &[FILES, TO_ELASTICSEARCH],
    ),
    cell("file-s3", "cells", "file_to_s3_survives_kills", &[Service::S3], &[FILES, TO_S3, OBJECTS]),
    cell("file-hdfs", "cells", "file_to_hdfs_survives_kills", &[Service::Hdfs], &[FILES, TO_HDFS, OBJECTS]),
    cell(
        "http-kafka",
        "kafka",
        "http_to_kafka_survives_kills",
        &[Service::Kafka],
        &[HTTP, "host/queue", CLIENT, TO_KAFKA],
    ),
    cell(
        "kafka-kafka",
        "kafka",
        "kafka_to_kafka_survives_kills_a_broker_killed_and_reloads_under_load",
        &[Service::Kafka],
        &[MESSAGES, CLIENT, TO_KAFKA],
    ),
    cell(
        "kafka-s3",
        "kafka",
        "kafka_to_s3_survives_kills_and_s3_killed",
        &[Service::Kafka, Service::S3],
        &[MESSAGES, CLIENT, TO_S3, OBJECTS],
    ),
    cell(
        "kafka-s3-two-agents",
        "moving",
        "kafka_to_s3_with_two_agents_hands_partitions_over",
        &[Service::Kafka, Service::S3],
        &[MESSAGES, CLIENT, TO_S3, OBJECTS],
    ),
    cell(
        "kafka-kafka-two-agents",
        "moving",
        "kafka_to_kafka_with_two_agents_hands_partitions_over",
        &[Service::Kafka],
        &[MESSAGES, CLIENT, TO_KAFKA],
    ),
    // These draw no blows but kills: what is drawn is when files are rotated.
    cell("rotations", "rotation_styles", "every_style_of_rotation_with_the_agent_up_and_down", &[], &[FILES, TO_FILES]),
    cell("logrotate", "logrotate", "logrotate_in_its_modes_with_the_agent_up_and_down", &[], &[FILES, TO_FILES]),
];

/// What every cell goes through.
const THROUGH: [&str; 5] = ["host/core", "host/record", "host/log", "host/checkpoint", "host/daemon/src/run"];

/// Minutes after which a run counts as stuck.
const RUN_MINUTES_MAX: u64 = 30;

/// What a chaos run is asked for.
#[derive(clap::Args)]
pub struct Cells {
    /// With --chaos: only these cells
    #[arg(long, value_name = "CELL", requires = "chaos")]
    cell: Vec<String>,
    /// With --chaos: runs of each cell, each of another seed
    #[arg(long, default_value_t = 2, requires = "chaos")]
    runs: u64,
    /// With --chaos: go on behind the seeds in the table
    #[arg(long, requires = "chaos")]
    resume: bool,
}

/// One line of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Line {
    commit: String,
    cell: String,
    seed: u64,
    counts: Option<Counts>,
}

/// Records, kills with rows owed, kills, freezes, hangups, services killed, disks filled, wires spoilt, slowest recovery in ms.
type Counts = [u64; 9];
/// All but the recovery, which a run may not have measured.
const COUNTS_MIN: usize = 8;

impl Cells {
    fn asked(&self) -> Result<Vec<&'static Cell>> {
        let known = || CELLS.iter().map(|cell| cell.name);
        if let Some(unknown) = self.cell.iter().find(|cell| !known().any(|name| name == *cell)) {
            bail!("there is no cell {unknown}; there are {}", known().collect::<Vec<_>>().join(", "));
        }
        let asked = |cell: &&Cell| self.cell.is_empty() || self.cell.iter().any(|name| name == cell.name);
        Ok(CELLS.iter().filter(asked).collect())
    }

    /// What the cells that are asked for need.
    pub fn services(&self) -> Result<Vec<Service>> {
        let mut services = Vec::new();
        for service in self.asked()?.into_iter().flat_map(|cell| cell.services) {
            if !services.contains(service) {
                services.push(*service);
            }
        }
        Ok(services)
    }
}

/// Runs the cells that are asked for, and adds a line to the table for each run.
pub fn run(options: &Cells, variables: &BTreeMap<String, String>) -> Result<Tally> {
    let commit = commit()?;
    let mut tally = Tally::default();
    for cell @ Cell { name, file, test, .. } in options.asked()? {
        let last = table()?.iter().filter(|line| line.cell == *name).map(|line| line.seed).max().unwrap_or(0);
        let first = if options.resume { last + 1 } else { 1 };
        for seed in first..first + options.runs {
            let mut variables = variables.clone();
            variables.insert("SAWLOG_TEST_CHAOS".into(), seed.to_string());
            let step = format!("chaos-{name}");
            let command =
                ["test", "--workspace", "--test", file, "--", "--show-output", "--test-threads", "1", "--exact", test];
            let done = Step::cargo(&step, &command, RUN_MINUTES_MAX).run(&variables)?;
            let log = fs::read_to_string(ring::logs()?.join(format!("{step}.log")))?;
            let counts = if done.failed == 0 { log.lines().find_map(counts) } else { None };
            let was_run = done.failed > 0 || counts.is_some();
            if !was_run {
                println!("{name}: seed {seed} counted nothing: was it run at all? {}", done.not_run.join("; "));
                tally += Tally::of_check(false);
            }
            tally += done;
            if !was_run {
                break;
            }
            add(&Line { commit: commit.clone(), cell: (*name).to_string(), seed, counts })?;
        }
        println!("{}", sum(cell, &table()?)?);
    }
    Ok(tally)
}

/// The commit that is tested; a tree with other changes has a plus behind it.
fn commit() -> Result<String> {
    let git = |arguments: &[&str]| -> Result<String> {
        let output =
            Command::new("git").args(arguments).current_dir(workspace::root()).output().context("cannot run git")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let dirty = if git(&["status", "--porcelain", "--", "host"])?.is_empty() { "" } else { "+" };
    Ok(git(&["rev-parse", "--short", "HEAD"])? + dirty)
}

/// The numbers of what a run says at its end.
fn counts(line: &str) -> Option<Counts> {
    let said = line.trim().strip_suffix(": lost 0, duplicated 0")?;
    let numbers_of = |text: &str| -> Vec<u64> {
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
    };
    let (said, recovery) = said.split_once("slowest recovery").unwrap_or((said, "0"));
    let mut numbers: Vec<u64> = numbers_of(said).into_iter().take(COUNTS_MIN).collect();
    numbers.extend(numbers_of(recovery).first());
    numbers.try_into().ok()
}

fn path() -> PathBuf {
    workspace::root().join("docs/chaos.md")
}

/// The lines of the table that were written before.
fn table() -> Result<Vec<Line>> {
    let text = fs::read_to_string(path()).with_context(|| format!("cannot read {}", path().display()))?;
    Ok(text.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Line> {
    let columns: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
    let [commit, cell, seed, rest @ ..] = columns.as_slice() else { return None };
    let numbers: Vec<u64> = rest.iter().take(Counts::default().len()).map_while(|column| column.parse().ok()).collect();
    let counts = numbers.try_into().ok();
    Some(Line { commit: (*commit).to_string(), cell: (*cell).to_string(), seed: seed.parse().ok()?, counts })
}

fn add(line: &Line) -> Result<()> {
    let counts = match &line.counts {
        Some(counts) => counts.map(|count| count.to_string()).join(" | ") + " | 0, 0 |",
        None => "FAILED | | | | | | | | | |".to_string(),
    };
    let text = fs::read_to_string(path())?;
    let text = format!("{}\n| {} | {} | {} | {counts}\n", text.trim_end(), line.commit, line.cell, line.seed);
    fs::write(path(), text).with_context(|| format!("cannot write {}", path().display()))
}

/// What the table says of a cell, of runs at commits behind which its part of the agent has not changed.
fn sum(cell: &Cell, lines: &[Line]) -> Result<String> {
    let mut sums = Counts::default();
    let (mut runs, mut failed, mut void) = (0, 0, 0);
    for line in lines.iter().filter(|line| line.cell == cell.name) {
        match (holds_still(&line.commit, cell)?, &line.counts) {
            (false, _) => void += 1,
            (true, None) => failed += 1,
            (true, Some(counts)) => {
                runs += 1;
                for (sum, count) in sums.iter_mut().zip(counts).take(COUNTS_MIN) {
                    *sum += count;
                }
                sums[COUNTS_MIN] = sums[COUNTS_MIN].max(counts[COUNTS_MIN]);
            }
        }
    }
    let [records, owing, kills, freezes, hangups, services, disks, wires, recovery] = sums;
    let name = cell.name;
    Ok(format!(
        "{name}: {runs} runs, {failed} failed, {void} void by a later change: {records} records, {owing} of {kills} kills with rows \
         owed, {freezes} freezes, {hangups} hangups, {services} services killed, {disks} disks filled, {wires} wires spoilt, slowest recovery {recovery} ms"
    ))
}

/// Whether what a cell runs through is what it was at `commit`.
fn holds_still(commit: &str, cell: &Cell) -> Result<bool> {
    if commit.ends_with('+') {
        return Ok(false);
    }
    let difference = ["diff", "--quiet", commit, "--", "Cargo.lock"];
    let parts = THROUGH.iter().chain(cell.connectors);
    let status = Command::new("git")
        .args(difference)
        .args(parts)
        .current_dir(workspace::root())
        .status()
        .context("cannot run git")?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read_from_what_it_says_and_from_the_table() {
        let said = "7021 records, 13 of 15 kills with rows owed, 3 freezes, 4 hangups, 2 services killed, 0 disks filled, 5 wires spoilt";
        let ended = |with: &str| counts(&format!("{said}{with}: lost 0, duplicated 0"));
        assert_eq!(ended(", slowest recovery 812 ms, 64 s"), Some([7021, 13, 15, 3, 4, 2, 0, 5, 812]));
        assert_eq!(ended(", 64 s"), Some([7021, 13, 15, 3, 4, 2, 0, 5, 0]));
        assert_eq!(counts("7021 records, lost 3"), None);
        let line = Line {
            commit: "abc".into(),
            cell: "file-s3".into(),
            seed: 4,
            counts: Some([7021, 13, 15, 3, 4, 2, 0, 5, 812]),
        };
        assert_eq!(
            parse("| abc | file-s3 | 4 | 7021 | 13 | 15 | 3 | 4 | 2 | 0 | 5 | 812 | 0, 0 |"),
            Some(line.clone())
        );
        assert_eq!(parse("| abc | file-s3 | 4 | FAILED | | | | | | | | | |"), Some(Line { counts: None, ..line }));
        assert_eq!(parse("| commit | cell | seed | records |"), None);
    }

    #[test]
    fn every_cell_names_a_test_that_is_there() {
        for Cell { name, file, test, connectors, .. } in CELLS {
            assert!(connectors.iter().chain(&THROUGH).all(|part| workspace::root().join(part).is_dir()), "{name}");
            let text =
                fs::read_to_string(workspace::root().join(format!("tests/e2e/tests/{file}.rs"))).unwrap_or_default();
            assert!(text.contains(&format!("fn {test}()")), "{name}");
        }
    }
}

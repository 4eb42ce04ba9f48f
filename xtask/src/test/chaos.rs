//! `cargo xtask test --chaos`: cells over and over, each run with the blows of another seed, and a table of what came of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::ring::{self, Step};
use super::tally::Tally;
use crate::workspace;

/// The cells: the name that is asked for, the file of its test, the test.
const CELLS: [(&str, &str, &str); 9] = [
    ("file-file", "cells", "file_to_appended_file_survives_kills"),
    ("file-lake", "cells", "file_to_local_lake_survives_kills_and_is_a_table_for_duckdb"),
    ("file-kafka", "cells", "file_to_kafka_survives_kills"),
    ("file-elasticsearch", "cells", "file_to_elasticsearch_survives_kills"),
    ("file-s3", "cells", "file_to_s3_survives_kills"),
    ("file-hdfs", "cells", "file_to_hdfs_survives_kills"),
    ("http-kafka", "kafka", "http_to_kafka_survives_kills"),
    ("kafka-kafka", "kafka", "kafka_to_kafka_survives_kills_a_broker_killed_and_reloads_under_load"),
    ("kafka-s3", "kafka", "kafka_to_s3_survives_kills_and_s3_killed"),
];

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
    /// Records, kills with rows owed, kills, freezes, hangups, services killed, slowest recovery in ms.
    counts: Option<[u64; 7]>,
}

/// Runs the cells that are asked for, and adds a line to the table for each run.
pub fn run(options: &Cells, variables: &BTreeMap<String, String>) -> Result<Tally> {
    let known = || CELLS.iter().map(|(name, ..)| *name);
    if let Some(unknown) = options.cell.iter().find(|cell| !known().any(|name| name == *cell)) {
        bail!("there is no cell {unknown}; there are {}", known().collect::<Vec<_>>().join(", "));
    }
    let commit = commit()?;
    let mut tally = Tally::default();
    for (name, file, test) in
        CELLS.iter().filter(|(name, ..)| options.cell.is_empty() || options.cell.iter().any(|c| c == name))
    {
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
        println!("{}", sum(name, &table()?)?);
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
fn counts(line: &str) -> Option<[u64; 7]> {
    let said = line.trim().strip_suffix(": lost 0, duplicated 0")?;
    let numbers = said.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok());
    let mut counts = [0; 7];
    let mut given = 0;
    for number in numbers.take(counts.len()) {
        counts[given] = number;
        given += 1;
    }
    (given >= 6).then_some(counts)
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
    let numbers: Vec<u64> = rest.iter().take(7).map_while(|column| column.parse().ok()).collect();
    let counts = numbers.try_into().ok();
    Some(Line { commit: (*commit).to_string(), cell: (*cell).to_string(), seed: seed.parse().ok()?, counts })
}

fn add(line: &Line) -> Result<()> {
    let counts = match &line.counts {
        Some(counts) => counts.map(|count| count.to_string()).join(" | ") + " | 0, 0 |",
        None => "FAILED | | | | | | | |".to_string(),
    };
    let text = fs::read_to_string(path())?;
    let text = format!("{}\n| {} | {} | {} | {counts}\n", text.trim_end(), line.commit, line.cell, line.seed);
    fs::write(path(), text).with_context(|| format!("cannot write {}", path().display()))
}

/// What the table says of a cell, of runs at commits behind which the agent has not changed.
fn sum(cell: &str, lines: &[Line]) -> Result<String> {
    let mut sums = [0; 7];
    let (mut runs, mut failed, mut void) = (0, 0, 0);
    for line in lines.iter().filter(|line| line.cell == cell) {
        match (holds_still(&line.commit)?, &line.counts) {
            (false, _) => void += 1,
            (true, None) => failed += 1,
            (true, Some(counts)) => {
                runs += 1;
                for (sum, count) in sums.iter_mut().zip(counts).take(6) {
                    *sum += count;
                }
                sums[6] = sums[6].max(counts[6]);
            }
        }
    }
    let [records, owing, kills, freezes, hangups, services, recovery] = sums;
    Ok(format!(
        "{cell}: {runs} runs, {failed} failed, {void} void by a later change: {records} records, {owing} of {kills} kills with rows \
         owed, {freezes} freezes, {hangups} hangups, {services} services killed, slowest recovery {recovery} ms"
    ))
}

/// Whether the agent is what it was at `commit`.
fn holds_still(commit: &str) -> Result<bool> {
    if commit.ends_with('+') {
        return Ok(false);
    }
    let difference = ["diff", "--quiet", commit, "--", "host", "Cargo.lock"];
    let status =
        Command::new("git").args(difference).current_dir(workspace::root()).status().context("cannot run git")?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read_from_what_it_says_and_from_the_table() {
        let said = "7021 records, 13 of 15 kills with rows owed, 3 freezes, 4 hangups, 2 services killed, slowest recovery 812 ms: lost 0, duplicated 0";
        assert_eq!(counts(said), Some([7021, 13, 15, 3, 4, 2, 812]));
        assert_eq!(
            counts(
                "7021 records, 13 of 15 kills with rows owed, 3 freezes, 4 hangups, 2 services killed: lost 0, duplicated 0"
            ),
            Some([7021, 13, 15, 3, 4, 2, 0])
        );
        assert_eq!(counts("7021 records, lost 3"), None);
        let line =
            Line { commit: "abc".into(), cell: "file-s3".into(), seed: 4, counts: Some([7021, 13, 15, 3, 4, 2, 812]) };
        assert_eq!(parse("| abc | file-s3 | 4 | 7021 | 13 | 15 | 3 | 4 | 2 | 812 | 0, 0 |"), Some(line.clone()));
        assert_eq!(parse("| abc | file-s3 | 4 | FAILED | | | | | | | |"), Some(Line { counts: None, ..line }));
        assert_eq!(parse("| commit | cell | seed | records |"), None);
    }

    #[test]
    fn every_cell_names_a_test_that_is_there() {
        for (name, file, test) in CELLS {
            let text =
                fs::read_to_string(workspace::root().join(format!("tests/e2e/tests/{file}.rs"))).unwrap_or_default();
            assert!(text.contains(&format!("fn {test}()")), "{name}");
        }
    }
}

//! The lake as a table: DuckDB, which is not ours, reads JSON lines and Parquet with the folders' names as columns, finds every row
//! once in the partition that its own values ask for, and skips what is not asked for.
#![allow(clippy::unwrap_used)]

use anyhow::{Context, Result, ensure};
use sawlog_e2e::agent::Agent;
use sawlog_e2e::cell::compare;
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::shown::Differences;
use sawlog_e2e::{read, service};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const WAIT_MAX: Duration = Duration::from_secs(60);
const TEAMS: [&str; 4] = ["blue", "red", "green", "../../etc"];

fn line(number: u64) -> String {
    let team = TEAMS[(number % 4) as usize];
    format!("{{\"seq\":{number},\"team\":\"{team}\",\"price\":{}.5,\"nested\":{{\"a\":[{number}]}}}}", number % 100)
}

/// The partition that a row of this number belongs to: what is no name of a folder goes to `other`.
fn folder_of(number: u64) -> &'static str {
    match TEAMS[(number % 4) as usize] {
        "../../etc" => "other",
        team => team,
    }
}

/// Rows of a query, each `seq|part`.
fn query(python: &str, sql: &str) -> Result<Vec<(u64, String)>> {
    let program = format!(
        "import duckdb\ntry:\n    rows = duckdb.connect().execute(\"{sql}\").fetchall()\nexcept duckdb.IOException as e:\n    assert 'No files found' in str(e), e\n    rows = []\nfor r in rows: print('|'.join(str(c) for c in r))"
    );
    let output = Command::new(python).args(["-c", &program]).output()?;
    ensure!(output.status.success(), "duckdb: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let row = |line: &str| {
        let (seq, part) = line.split_once('|').with_context(|| format!("no two columns: {line}"))?;
        Ok((seq.parse()?, part.to_owned()))
    };
    text.lines().map(row).collect()
}

/// Delivers in `format`, over a kill, and holds the table that `reader` makes of the files against what was sent.
fn deliver(format: &str, columns: &str, reader: impl Fn(&str) -> String) -> Result<()> {
    let python = std::env::var("SAWLOG_TEST_PYTHON").context("SAWLOG_TEST_PYTHON is not set")?;
    let folder = tempfile::tempdir()?;
    let here = folder.path().display();
    std::fs::create_dir(folder.path().join("logs"))?;
    let config = format!(
        "version: 1\nagent: {{ id: tabled }}\ndata_dir: {here}/data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  app: {{ type: file, include: [{here}/logs/app.log], rotated: [{here}/logs/app.log.*] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n\
         sinks:\n  lake: {{ type: file, inputs: [parsed], provenance: full, path: \"{here}/lake/part={{team}}/dt={{received_time:%Y-%m-%d}}\", format: {format}{columns}, roll: {{ size: 1MiB, age: 1s }} }}\n"
    );
    std::fs::write(folder.path().join("sawlog.yaml"), config)?;
    let mut feed = Feed::of(&folder.path().join("logs/app.log"), line);
    let agent = Agent::start(folder.path())?;
    feed.send(1_200)?;
    std::thread::sleep(Duration::from_millis(700));
    agent.kill()?;
    let mut agent = Agent::start(folder.path())?;
    feed.send(600)?;
    let sent = feed.sent();
    let table = reader(&format!("{here}/lake/*/*/*"));
    let all = || query(&python, &format!("select seq, part from {table} where dt > '2020-01-01'"));
    let deadline = Instant::now() + WAIT_MAX;
    let mut rows = all()?;
    while (rows.len() as u64) < sent && Instant::now() < deadline {
        agent.check()?;
        std::thread::sleep(Duration::from_millis(500));
        rows = all()?;
    }
    let numbers: Vec<u64> = rows.iter().map(|(seq, _)| *seq).collect();
    let judged = compare(&numbers, &(0..sent).collect::<Vec<_>>());
    ensure!(judged == (0, 0, 0), "{format}: lost, duplicated, unknown {judged:?} of {sent}:\n{}", agent.log_tail());
    // The negative control: the same reader over a copy that lacks one row and has another twice.
    let copy = format!("{here}/copy.parquet");
    let spoil = format!(
        "copy (select seq, part from {table} where seq <> 3 union all select seq, part from {table} where seq = 5) to '{copy}'"
    );
    read::python(&format!("import duckdb\nduckdb.connect().execute(\"{spoil}\")"))?;
    let numbers: Vec<u64> =
        query(&python, &format!("select seq, part from '{copy}'"))?.iter().map(|(seq, _)| *seq).collect();
    let found = Differences::of(&numbers, &(0..sent).collect::<Vec<_>>());
    ensure!(found == Differences { lost: vec![3], repeated: vec![5], unknown: Vec::new() }, "{format}: {found:?}");
    std::fs::remove_file(copy)?;
    let misplaced = rows.iter().find(|(seq, part)| folder_of(*seq) != part);
    ensure!(misplaced.is_none(), "{format}: {misplaced:?} lies in the wrong folder");
    let red = query(&python, &format!("select count(*), min(team) from {table} where part = 'red'"))?;
    ensure!(red == [(sent / 4, "red".to_owned())], "{format}: {red:?} of {sent}");
    // Whoever wrote a row, and from where, is in it: distinct, and as many as rows.
    let ids = if format == "parquet" { "record_id" } else { "sawlog.id" };
    let distinct = query(&python, &format!("select count(distinct {ids}), 'x' from {table}"))?;
    ensure!(distinct[0].0 == sent, "{format}: {} record ids for {sent} rows", distinct[0].0);
    agent.terminate()?;
    outside_is_empty(folder.path())
}

/// A team that looks like a way out of the lake has led nowhere.
fn outside_is_empty(folder: &Path) -> Result<()> {
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    ensure!(names == ["agent.log", "data", "lake", "logs", "sawlog.yaml"], "something else was written: {names:?}");
    Ok(())
}

#[test]
fn json_lines_are_a_table_with_partitions_as_columns() {
    if service("a table of JSON lines", "SAWLOG_TEST_PYTHON").is_none() {
        return;
    }
    for format in ["jsonl", "jsonl.gz", "jsonl.zst"] {
        let reader =
            |glob: &str| format!("read_json('{glob}.{format}', hive_partitioning=true, format='newline_delimited')");
        deliver(format, "", reader).unwrap();
    }
}

#[test]
fn parquet_is_a_table_with_partitions_as_columns() {
    if service("a table of Parquet", "SAWLOG_TEST_PYTHON").is_none() {
        return;
    }
    let columns = ", columns: [{ name: seq, type: int64 }, { name: team, type: text }, { name: price, type: float64 }]";
    deliver("parquet", columns, |glob| format!("read_parquet('{glob}.parquet', hive_partitioning=true)")).unwrap();
}

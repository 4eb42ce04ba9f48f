//! Rotation on the real binary: multiline records and fragments of containers that begin in one file and end in the next, files
//! that were compressed while the agent was down or are found many at once, and kill -9 between. Every record is there once, and whole.
#![allow(clippy::unwrap_used)]

use anyhow::{Context as _, Result, ensure};
use sawlog_e2e::agent::Agent;
use sawlog_e2e::cell::compare;
use sawlog_e2e::disk::{Disk, is_inside};
use sawlog_e2e::feed::plain;
use sawlog_e2e::service;
use sawlog_e2e::shown::{Differences, copy_lines};
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(60);

fn config(folder: &Path, source: &str, decoders: &str) {
    let here = folder.display();
    let text = format!(
        "version: 1\nagent: {{ id: turned }}\ndata_dir: {here}/data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  app: {source}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: {decoders} }}\n\
         sinks:\n  lake: {{ type: file, inputs: [parsed], provenance: full, path: \"{here}/lake/dt={{received_time:%Y-%m-%d}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }} }}\n"
    );
    fs::write(folder.join("sawlog.yaml"), text.replace("FOLDER", &here.to_string())).unwrap();
}

fn rows(folder: &Path) -> Vec<Value> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut all = Vec::new();
    for path in
        entries.map(|entry| entry.unwrap().path()).filter(|path| !path.ends_with("_sawlog") && !path.ends_with("_tmp"))
    {
        match path.is_dir() {
            true => all.extend(rows(&path)),
            false => all
                .extend(fs::read_to_string(&path).unwrap().lines().map(|l| serde_json::from_str::<Value>(l).unwrap())),
        }
    }
    all
}

/// A line as a container runtime writes it.
fn of_container(second: usize, stream: &str, flag: &str, text: &str) -> String {
    format!("2026-11-24T12:{:02}:{:02}.000000000Z {stream} {flag} {text}\n", second / 60 % 60, second % 60)
}

/// The body of each record that was sent, by its number.
fn judge(folder: &Path, agent: &mut Agent, expected: &[String]) -> Result<()> {
    let lake = folder.join("lake");
    let waited = agent.wait_until("every record", WAIT_MAX, || Ok(rows(&lake).len() >= expected.len()));
    std::thread::sleep(Duration::from_millis(1_500));
    let numbers = numbers(&lake, expected)?;
    let all: Vec<u64> = (0..expected.len() as u64).collect();
    let judged = compare(&numbers, &all);
    let missing: Vec<&u64> = all.iter().filter(|n| !numbers.contains(n)).take(5).collect();
    ensure!(
        judged == (0, 0, 0),
        "lost, duplicated, unknown {judged:?}; the first lost {missing:?}; {waited:?}\n{}",
        agent.log_tail()
    );
    // The negative control: the same reader over a spoiled copy.
    let spoiled = tempfile::tempdir()?;
    let is = |line: &str, number: usize| {
        serde_json::from_str::<Value>(line).is_ok_and(|row| row["body"].as_str() == Some(&expected[number]))
    };
    copy_lines(&lake, spoiled.path(), &|line| is(line, 0), &|line| is(line, 1))?;
    let found = Differences::of(&self::numbers(spoiled.path(), expected)?, &all);
    ensure!(found == Differences { lost: vec![0], repeated: vec![1], unknown: Vec::new() }, "{found:?}");
    Ok(())
}

/// The records of a lake, by their numbers.
fn numbers(lake: &Path, expected: &[String]) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for row in rows(lake) {
        let body = row["body"].as_str().unwrap_or_default();
        let number = expected.iter().position(|text| text == body);
        numbers.push(number.with_context(|| format!("a record that was never written: {body:?}"))? as u64);
    }
    Ok(numbers)
}

/// A log that is rotated by renaming, wherever the test says.
struct Log {
    path: PathBuf,
    files: u32,
}

impl Log {
    fn write(&self, text: &str) {
        File::options().create(true).append(true).open(&self.path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&mut self) {
        for number in (1..self.files).rev() {
            for end in ["", ".gz"] {
                let name = |n: u32| PathBuf::from(format!("{}.{n}{end}", self.path.display()));
                if name(number).exists() {
                    fs::rename(name(number), name(number + 1)).unwrap();
                }
            }
        }
        fs::rename(&self.path, self.rotated(1)).unwrap();
        self.files += 1;
    }

    fn rotated(&self, number: u32) -> PathBuf {
        PathBuf::from(format!("{}.{number}", self.path.display()))
    }
}

#[test]
fn multiline_records_pass_through_rotations_and_kills() {
    if service("multiline through rotations", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("logs")).unwrap();
    config(
        path,
        "{ type: file, include: [FOLDER/logs/app.log], rotated: [FOLDER/logs/app.log.*], multiline: { start: \"^[0-9]+ \" }, rotate_wait: 30s, idle_timeout: 30s }",
        "[text]",
    );
    let mut log = Log { path: path.join("logs/app.log"), files: 1 };
    let mut agent = Agent::start(path).unwrap();
    let mut expected = Vec::new();
    for n in 0..60 {
        let text = format!("{n} a trace\n  at one {n}\n  at two {n}");
        // Of every sixth record the second half stands in the next file, and in half of these the agent dies in between.
        let (head, tail) = text.split_at(text.rfind("\n  at two").unwrap() + 1);
        log.write(head);
        if n % 6 == 5 {
            std::thread::sleep(Duration::from_millis(150));
            if n % 12 == 5 {
                agent.kill().unwrap();
                log.rotate();
                agent = Agent::start(path).unwrap();
            } else {
                log.rotate();
            }
        }
        log.write(&format!("{tail}\n"));
        expected.push(text);
    }
    log.write("999 the end\n");
    judge(path, &mut agent, &expected).unwrap();
    agent.terminate().unwrap();
}

#[test]
fn fragments_of_containers_pass_through_rotations_and_kills() {
    const TEST: &str = "fragments_of_containers_pass_through_rotations_and_kills";
    if service(TEST, "SAWLOG_TEST_BINARY").is_none() || !is_inside(TEST).unwrap() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    // Only there are files known to be those of pods.
    let _disk = Disk::mount(Path::new("/var/log"), 64).unwrap();
    let container = Path::new("/var/log/pods/shop_cart-1_0a1b/app");
    fs::create_dir_all(container).unwrap();
    config(path, "{ type: file, include: [\"/var/log/pods/*/*/*.log*\"] }", "[cri, text]");
    let live = container.join("0.log");
    let append = |text: &str| {
        File::options().create(true).append(true).open(&live).unwrap().write_all(text.as_bytes()).unwrap();
    };
    let line = of_container;
    let mut agent = Agent::start(path).unwrap();
    let mut expected = Vec::new();
    for n in 0..60usize {
        // Three fragments of stdout, with a whole line of stderr between them.
        append(&line(n, "stdout", "P", &format!("out {n} first ")));
        append(&line(n, "stderr", "F", &format!("err {n}")));
        append(&line(n, "stdout", "P", "second "));
        if n % 6 == 5 {
            std::thread::sleep(Duration::from_millis(150));
            let kills = n % 12 == 5;
            let rotated = container.join(format!("0.log.20261124-12{:02}00", n));
            if kills {
                agent.kill().unwrap();
                fs::rename(&live, rotated).unwrap();
                agent = Agent::start(path).unwrap();
            } else {
                fs::rename(&live, rotated).unwrap();
            }
        }
        append(&line(n, "stdout", "F", "third"));
        expected.push(format!("out {n} first second third"));
        expected.push(format!("err {n}"));
    }
    judge(path, &mut agent, &expected).unwrap();
    agent.terminate().unwrap();
}

/// Traces of stdout and lines of stderr, both in fragments, the ones between the others. Of every third trace a rotation comes
/// before its last line, or behind it while a fragment of stderr is open.
#[test]
fn traces_of_containers_pass_through_rotations_and_kills() {
    const TEST: &str = "traces_of_containers_pass_through_rotations_and_kills";
    if service(TEST, "SAWLOG_TEST_BINARY").is_none() || !is_inside(TEST).unwrap() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let _disk = Disk::mount(Path::new("/var/log"), 64).unwrap();
    let container = Path::new("/var/log/pods/shop_cart-1_0a1b/app");
    fs::create_dir_all(container).unwrap();
    let source = "{ type: file, include: [\"/var/log/pods/*/*/*.log\"], multiline: { start: \"^[0-9]+ \" }, rotate_wait: 30s, idle_timeout: 30s }";
    config(path, source, "[cri, text]");
    let live = container.join("0.log");
    let append = |text: &str| {
        File::options().create(true).append(true).open(&live).unwrap().write_all(text.as_bytes()).unwrap();
    };
    let line = of_container;
    let restart = |agent: &mut Agent, meanwhile: &dyn Fn()| {
        agent.kill_now().unwrap();
        meanwhile();
        *agent = Agent::start(path).unwrap();
    };
    // The next file begins with `then`. The agent is dead meanwhile, alive, or dies soon after.
    let rotate = |agent: &mut Agent, n: usize, then: &str| {
        std::thread::sleep(Duration::from_millis(150));
        let turn = || {
            fs::rename(&live, container.join(format!("0.log.20261124-12{n:02}00"))).unwrap();
            append(then);
        };
        match n / 3 % 3 {
            0 => restart(agent, &turn),
            1 => turn(),
            _ => {
                turn();
                std::thread::sleep(Duration::from_millis(7 * n as u64));
                restart(agent, &|| ());
            }
        }
    };
    let mut agent = Agent::start(path).unwrap();
    let mut expected = Vec::new();
    for n in 0..36usize {
        append(&line(n, "stdout", "F", &format!("{n} a trace")));
        append(&line(n, "stderr", "P", &format!("err {n} first ")));
        append(&line(n, "stdout", "F", "  at one"));
        append(&line(n, "stdout", "P", "  at "));
        let (two, second) = (line(n, "stdout", "F", &format!("two {n}")), line(n, "stderr", "F", "second"));
        match n % 6 {
            2 => {
                rotate(&mut agent, n, &two);
                append(&second);
            }
            5 => {
                append(&two);
                rotate(&mut agent, n, &second);
            }
            _ => append(&(two + &second)),
        }
        expected.push(format!("{n} a trace\n  at one\n  at two {n}"));
        expected.push(format!("err {n} first second"));
    }
    append(&line(36, "stdout", "F", "999 the end"));
    judge(path, &mut agent, &expected).unwrap();
    agent.terminate().unwrap();
}

#[test]
fn files_that_were_packed_while_the_agent_was_down_are_read_from_the_right_place() {
    if service("packed while down", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("logs")).unwrap();
    config(path, "{ type: file, include: [FOLDER/logs/app.log], rotated: [\"FOLDER/logs/app.log.*\"] }", "[text]");
    let mut log = Log { path: path.join("logs/app.log"), files: 1 };
    let mut agent = Agent::start(path).unwrap();
    let mut expected = Vec::new();
    for round in 0..8 {
        let mut write = |log: &Log, count: usize| {
            for _ in 0..count {
                let text = format!("record {} of round {round}", expected.len());
                log.write(&format!("{text}\n"));
                expected.push(text);
            }
        };
        write(&log, 120);
        std::thread::sleep(Duration::from_millis(300));
        agent.kill().unwrap();
        write(&log, 60);
        log.rotate();
        write(&log, 40);
        if round % 2 == 1 {
            log.rotate();
            write(&log, 30);
        }
        // The oldest plain ones are packed, as logrotate does with `delaycompress` or without.
        for number in 1..log.files {
            let plain = log.rotated(number);
            if plain.exists() && (round % 3 != 2 || number > 1) {
                assert!(Command::new("gzip").arg(&plain).status().unwrap().success());
            }
        }
        agent = Agent::start(path).unwrap();
    }
    judge(path, &mut agent, &expected).unwrap();
    agent.terminate().unwrap();
}

/// A start finds them all, and ends before it has planned them all: what it has journalled of the others is their ids and births.
#[test]
fn files_that_are_found_at_once_are_read_oldest_first_however_soon_a_kill_comes() {
    const FILES: u64 = 10;
    const LINES: u64 = 12_000;
    if service("files found at once", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("logs")).unwrap();
    let text = "version: 1\nagent: { id: turned }\ndata_dir: ./data\ncheckpoint: { interval: 1s }\n\
         sources:\n  app: { type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }\n\
         transforms:\n  parsed: { type: parse, inputs: [app], try: [json] }\n\
         sinks:\n  out: { type: file, inputs: [parsed], path: ./out.jsonl, batch: { age: 50ms } }\n";
    fs::write(path.join("sawlog.yaml"), text).unwrap();
    let mut log = Log { path: path.join("logs/app.log"), files: 1 };
    for file in 0..FILES {
        if file > 0 {
            log.rotate();
            // The kernel's clock of births moves on.
            std::thread::sleep(Duration::from_millis(20));
        }
        let text: String = (file * LINES..(file + 1) * LINES).map(|number| plain(number) + "\n").collect();
        log.write(&text);
    }
    let out = || {
        let text = fs::read_to_string(path.join("out.jsonl")).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(str::to_owned).collect::<Vec<String>>()
    };
    let mut agent = Agent::start(path).unwrap();
    for _ in 0..2 {
        let before = out().len();
        agent.wait_until("more rows", WAIT_MAX, || Ok(out().len() > before)).unwrap();
        agent.kill_and_start(path).unwrap();
    }
    agent.wait_until("every row", WAIT_MAX, || Ok(out().len() as u64 >= FILES * LINES)).unwrap();
    let number = |line: String| serde_json::from_str::<Value>(&line).unwrap()["seq"].as_u64().unwrap();
    let found: Vec<u64> = out().into_iter().map(number).collect();
    let jumps = found.windows(2).filter(|pair| pair[1] != pair[0] + 1).take(5);
    assert!(found.iter().copied().eq(0..FILES * LINES), "jumps: {:?}", jumps.collect::<Vec<_>>());
    agent.terminate().unwrap();
}

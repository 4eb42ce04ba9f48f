//! The real logrotate in the modes in which it is used, in half of its runs while the agent is dead: each line once, in the order of its file.
//!
//! A program writes all the while, and opens its file anew in `postrotate`, as one that is told by a signal does; what packs the file
//! comes behind that. With `copytruncate` nobody tells it, and what it writes between the copy and the truncation exists in no file:
//! logrotate loses that by itself, whoever reads. So there, and only there, the program is silent while logrotate runs.
#![allow(clippy::unwrap_used)]

use anyhow::{Context as _, Result, ensure};
use sawlog_e2e::chaos;
use sawlog_e2e::draw::Draw;
use sawlog_e2e::feed::plain;
use sawlog_e2e::followed::{Followed, Written, sent};
use sawlog_e2e::rotating::APART;
use sawlog_e2e::service;
use std::fs::{self, File};
use std::io::Write as _;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Runs of logrotate, in the usual run and in a chaos run.
const RUNS: u64 = 8;
const RUNS_IN_CHAOS: u64 = 500;
/// Longest time that one may take.
const RUN_MAX: Duration = Duration::from_secs(30);
/// Lines that are written at a time, at most.
const LINES_MAX: u64 = 30;
/// Latest kill behind the last line before it.
const KILL_WITHIN: Duration = Duration::from_millis(40);

/// Names of modes, and what stands in logrotate's configuration.
const MODES: [(&str, &str); 8] = [
    ("create", "create"),
    ("nocreate", "nocreate"),
    ("copytruncate", "copytruncate"),
    ("copytruncate_compress", "copytruncate compress"),
    ("compress", "create compress"),
    ("delaycompress", "create compress delaycompress"),
    ("dateext", "create dateext dateformat=-%Y%m%d-%s"),
    ("dateext_compress", "create compress dateext dateformat=-%Y%m%d-%s"),
];

/// A log that logrotate rotates, and the program that writes it.
struct Log {
    mode: &'static str,
    options: &'static str,
    folder: PathBuf,
    file: File,
    first: u64,
    next: u64,
    /// The number of the first line of each file.
    begins: Vec<u64>,
}

impl Log {
    fn new(folder: &Path, (mode, options): (&'static str, &'static str), index: u64) -> Result<Self> {
        let folder = folder.join(mode);
        fs::create_dir_all(&folder)?;
        let (file, first) = (open(&folder.join("app.log"))?, (index + 1) * APART);
        Ok(Self { mode, options, folder, file, first, next: first, begins: vec![first] })
    }

    fn live(&self) -> PathBuf {
        self.folder.join("app.log")
    }

    /// What logrotate is told of it. Its script says that the file was rotated, and waits until the program has heard it.
    fn section(&self) -> String {
        let folder = self.folder.display();
        let script = match self.is_truncated() {
            true => String::new(),
            false => format!(
                "  postrotate\n    touch {folder}/told; while test -e {folder}/told; do sleep 0.01; done\n  endscript\n"
            ),
        };
        let options = self.options.replace(' ', "\n  ").replace('=', " ");
        format!("{folder}/app.log {{\n  {options}\n  rotate 6\n  missingok\n{script}}}\n")
    }

    fn is_truncated(&self) -> bool {
        self.options.contains("copytruncate")
    }

    fn write(&mut self, lines: u64) -> Result<()> {
        let text: String = (self.next..self.next + lines).map(|number| plain(number) + "\n").collect();
        self.next += lines;
        Ok(self.file.write_all(text.as_bytes())?)
    }

    /// Opens the file anew where that is asked for.
    fn hear(&mut self) -> Result<()> {
        let told = self.folder.join("told");
        if told.exists() {
            self.file = open(&self.live())?;
            self.begins.push(self.next);
            fs::remove_file(told)?;
        }
        Ok(())
    }

    /// Which file the live name stands for, and how long it is.
    fn state(&self) -> Result<(u64, u64)> {
        let metadata = fs::metadata(self.live())?;
        Ok((metadata.ino(), metadata.len()))
    }
}

impl Written for Log {
    fn name(&self) -> &str {
        self.mode
    }

    fn numbers(&self) -> Range<u64> {
        self.first..self.next
    }

    fn begins(&self) -> &[u64] {
        &self.begins
    }
}

fn open(path: &Path) -> Result<File> {
    File::options().create(true).append(true).open(path).with_context(|| format!("cannot open {}", path.display()))
}

#[test]
fn logrotate_in_its_modes_with_the_agent_up_and_down() {
    const TEST: &str = "logrotate in its modes";
    if let Ok(why) = std::env::var("SAWLOG_TEST_WITHOUT_LOGROTATE") {
        println!("NOT RUN: {TEST}: {why}");
        return;
    }
    let Some(program) = service(TEST, "SAWLOG_TEST_LOGROTATE") else { return };
    if service(TEST, "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let seed = chaos::seed().unwrap();
    let runs = if seed.is_some() { RUNS_IN_CHAOS } else { RUNS };
    let mut draw = seed.map_or_else(|| Draw::fresh().unwrap(), Draw);
    run(&program, &mut draw, runs).unwrap();
}

fn run(program: &str, draw: &mut Draw, runs: u64) -> Result<()> {
    let (folder, begun) = (tempfile::tempdir()?, Instant::now());
    let path = folder.path();
    let logs: Result<Vec<Log>> = (0..).zip(MODES).map(|(index, mode)| Log::new(path, mode, index)).collect();
    let mut logs = logs?;
    let sections: String = logs.iter().map(Log::section).collect();
    fs::write(path.join("logrotate.conf"), sections)?;
    let sources: Vec<_> =
        logs.iter().map(|log| (log.mode, format!("include: [\"{}\"]", log.live().display()))).collect();
    let mut followed = Followed::start(path, &sources)?;
    let mut down = 0;
    for run in 0..runs {
        write(draw, &mut logs)?;
        std::thread::sleep(draw.time(KILL_WITHIN));
        let is_down = run % 2 == 0;
        if is_down {
            followed.kill(&logs)?;
            write(draw, &mut logs)?;
            down += 1;
        }
        rotate(program, path, &mut logs)?;
        write(draw, &mut logs)?;
        if is_down {
            followed.start_again()?;
        }
        // Six rotated files are kept: none may go unread.
        if run % 3 == 2 {
            followed.settle(&logs)?;
        }
    }
    let blows = followed.judge(&logs)?;
    let modes: Vec<&str> = MODES.iter().map(|(mode, _)| *mode).collect();
    println!("{runs} runs of logrotate, {down} of them while the agent was down, each of {}", modes.join(", "));
    println!("{} records, {blows}, {} s: lost 0, duplicated 0", sent(&logs), begun.elapsed().as_secs());
    ensure!(blows.owing > 0, "no kill found the agent owing rows: this run proves nothing");
    Ok(())
}

fn write(draw: &mut Draw, logs: &mut [Log]) -> Result<()> {
    logs.iter_mut().try_for_each(|log| log.write(1 + draw.below(LINES_MAX)))
}

/// Runs logrotate while the programs write, and makes sure that it has rotated everything.
fn rotate(program: &str, folder: &Path, logs: &mut [Log]) -> Result<()> {
    // Dates have seconds here: two rotations in one would get one name, and logrotate leaves out the second.
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs());
    let last = fs::read_to_string(folder.join("last")).ok().and_then(|text| text.parse::<u64>().ok());
    while last == Some(second()?) {
        std::thread::sleep(Duration::from_millis(10));
    }
    fs::write(folder.join("last"), second()?.to_string())?;
    let before: Result<Vec<_>> = logs.iter().map(Log::state).collect();
    let mut child = Command::new(program)
        .args(["--force", "--state"])
        .args([folder.join("state"), folder.join("logrotate.conf")])
        .stdin(Stdio::null())
        .stderr(File::create(folder.join("said"))?)
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let status = beside(&mut child, logs);
    let said = fs::read_to_string(folder.join("said"))?;
    ensure!(matches!(status, Ok(true)), "logrotate: {status:?}: {said}");
    for (log, (inode, bytes)) in logs.iter_mut().zip(before?) {
        let (inode_now, bytes_now) = log.state()?;
        let is_rotated = if log.is_truncated() { bytes_now < bytes } else { inode_now != inode };
        ensure!(is_rotated, "{} was not rotated: {said}", log.mode);
        if log.is_truncated() {
            log.begins.push(log.next);
        }
    }
    Ok(())
}

/// Writes until logrotate has ended; whether it calls that a success.
fn beside(child: &mut Child, logs: &mut [Log]) -> Result<bool> {
    let until = Instant::now() + RUN_MAX;
    loop {
        for log in logs.iter_mut().filter(|log| !log.is_truncated()) {
            log.write(1)?;
            log.hear()?;
        }
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

//! Recovery: many files under load, `kill -9`, and the time from the next start to the first record that nobody had delivered.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::agent::Agent;
use crate::check::{self, Number};
use crate::measure::median;
use crate::probe;
use crate::table::Figures;

/// Files that are written to.
const FILES: u64 = 1_000;
/// Lines per second over all files.
const LINES_PER_SECOND: f64 = 10_000.0;
/// How long the agent runs before it is killed.
const RUN: Duration = Duration::from_secs(4);
/// Longest time for anything.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// The row: `runs` kills, each followed by a start.
pub fn row(agent: &Agent<'_>, logs: &Path, runs: usize) -> Result<Figures> {
    let mut times = Vec::new();
    for _ in 0..runs {
        if logs.exists() {
            fs::remove_dir_all(logs)?;
        }
        fs::create_dir_all(logs)?;
        times.push(run(agent, logs)? * 1e3);
    }
    let worst = times.iter().copied().fold(0.0, f64::max);
    let note = format!("start to first new record {:.0} ms, worst {worst:.0} ms", median(times));
    Ok(Figures::alone("kill -9 under load with 1,000 files → file", note))
}

fn run(agent: &Agent<'_>, logs: &Path) -> Result<f64> {
    agent.prepare_with(
        &format!(
            "sources:\n  app: {{ type: file, include: [\"{}/*.log\"], read_from: beginning }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n",
            logs.display()
        ),
        "  out: { type: file, inputs: [parsed], path: ./out.jsonl }\n",
    )?;
    let out = agent.folder.join("out.jsonl");
    let load = Load::start(logs)?;
    let first = agent.start()?;
    thread::sleep(RUN);
    first.kill()?;
    let killed = probe::now();
    thread::sleep(Duration::from_millis(500));
    let again = agent.start()?;
    wait(&again.begin, || Ok(newest(&out)? > killed))?;
    let took = again.begin.elapsed().as_secs_f64();
    let lines = load.end()?;
    wait(&Instant::now(), || Ok(check::count(&out)? >= lines))?;
    again.end()?;
    check::exactly_once(&out, lines, Number::Seq, |_| true)?;
    Ok(took)
}

fn wait(begin: &Instant, done: impl Fn() -> Result<bool>) -> Result<()> {
    while !done()? {
        ensure!(begin.elapsed() < WAIT_MAX, "nothing new came out in {WAIT_MAX:?}");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// When the newest of the last rows was written, unix nanoseconds.
fn newest(out: &Path) -> Result<u64> {
    use std::os::unix::fs::FileExt as _;
    let Ok(file) = File::open(out) else { return Ok(0) };
    let len = file.metadata()?.len();
    let mut tail = vec![0; 64 << 10];
    let read = file.read_at(&mut tail, len.saturating_sub(64 << 10))?;
    let mut seen = probe::Seen::default();
    seen.look(&tail[..read]);
    Ok(seen.probes().iter().map(|(written, _)| *written).max().unwrap_or(0))
}

/// Appends numbered lines to files in turn.
struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Load {
    fn start(logs: &Path) -> Result<Self> {
        let paths: Vec<PathBuf> = (0..FILES).map(|file| logs.join(format!("{file:04}.log"))).collect();
        let files: Result<Vec<File>, _> =
            paths.iter().map(|path| File::options().create(true).append(true).open(path)).collect();
        let (mut files, stop) = (files.context("a log cannot be written")?, Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let stop = stop.clone();
            move || {
                let (begin, mut lines) = (Instant::now(), 0_u64);
                while !stop.load(Ordering::Relaxed) {
                    let due = (begin.elapsed().as_secs_f64() * LINES_PER_SECOND) as u64;
                    while lines < due {
                        let line = format!(
                            "{{\"seq\":{lines},\"probe\":{},\"message\":\"a line of a file among many\"}}\n",
                            probe::now()
                        );
                        files[(lines % FILES) as usize].write_all(line.as_bytes())?;
                        lines += 1;
                    }
                    thread::sleep(Duration::from_millis(2));
                }
                Ok(lines)
            }
        });
        Ok(Self { stop, thread })
    }

    fn end(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a load does not panic")
    }
}

//! Latency from outside: a feed writes lines at a steady rate, one of each burst carries the time at which it was written, and
//! whoever sees that line again knows how long it took. All clocks are the same machine's.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use memchr::memmem::Finder;

use crate::data::{self, Form, Numbers};

/// Between two bursts.
const TICK: Duration = Duration::from_millis(5);
/// What stands before the time of a probe.
const MARK: &[u8] = b"\"probe\":";
/// Lines that a feed repeats.
const POOL_LINES: u64 = 4_096;

/// Now, unix nanoseconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// When probes were written, and when they were seen, unix nanoseconds.
pub type Probes = Vec<(u64, u64)>;

/// Finds probes in rows.
pub struct Seen {
    mark: Finder<'static>,
    probes: Probes,
}

impl Default for Seen {
    fn default() -> Self {
        Self { mark: Finder::new(MARK), probes: Vec::new() }
    }
}

impl Seen {
    /// Looks at rows that are there now.
    pub fn look(&mut self, rows: &[u8]) {
        let seen = now();
        for at in self.mark.find_iter(rows) {
            let digits = &rows[at + MARK.len()..];
            let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
            let written = digits.fold(0_u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
            self.probes.push((written, seen));
        }
    }

    /// All that were found.
    pub fn probes(&self) -> Probes {
        self.probes.clone()
    }
}

/// How long probes took that were written from `from` to `to`, seconds, ascending.
pub fn latencies(probes: &Probes, (from, to): (u64, u64)) -> Vec<f64> {
    let within = probes.iter().filter(|(written, _)| (from..to).contains(written));
    let mut took: Vec<f64> = within.map(|(written, seen)| seen.saturating_sub(*written) as f64 / 1e9).collect();
    took.sort_by(f64::total_cmp);
    took
}

/// Lines to write again and again, each about 410 bytes, with their line ends.
pub fn pool() -> Vec<Vec<u8>> {
    let mut numbers = Numbers::new(11);
    let line = |number| {
        let mut text = Vec::new();
        data::line(Form::Json, number, &mut numbers, &mut text);
        text
    };
    (0..POOL_LINES).map(line).collect()
}

/// A thread that appends lines to a file at a steady rate.
pub struct Feed {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Feed {
    /// Begins; `rate` in bytes per second.
    pub fn start(path: &Path, rate: f64) -> Result<Self> {
        let mut file = File::options().create(true).append(true).open(path)?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = stop.clone();
            move || {
                let (pool, begin) = (pool(), Instant::now());
                let (mut lines, mut written, mut burst) = (0_u64, 0_u64, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let due = (begin.elapsed().as_secs_f64() * rate) as u64;
                    burst.clear();
                    if due > written {
                        burst.extend_from_slice(b"{\"level\":\"info\",\"probe\":");
                        burst.extend_from_slice(now().to_string().as_bytes());
                        burst.extend_from_slice(b"}\n");
                        lines += 1;
                    }
                    while written + (burst.len() as u64) < due {
                        burst.extend_from_slice(&pool[(lines % POOL_LINES) as usize]);
                        lines += 1;
                    }
                    file.write_all(&burst)?;
                    written += burst.len() as u64;
                    thread::sleep(TICK);
                }
                Ok(lines)
            }
        });
        Ok(Self { stop, thread })
    }

    /// Ends it, and tells how many lines it wrote.
    pub fn end(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a feed does not panic")
    }
}

/// A thread that reads a file as it grows.
pub struct Reader {
    stop: Arc<AtomicBool>,
    rows: Arc<AtomicU64>,
    thread: JoinHandle<Result<Probes>>,
}

impl Reader {
    /// Begins, also where the file is not there yet.
    pub fn start(path: PathBuf) -> Self {
        let (stop, rows) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = thread::spawn({
            let (stop, rows) = (stop.clone(), rows.clone());
            move || read(&path, &stop, &rows)
        });
        Self { stop, rows, thread }
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Ends it, and gives the probes that it saw.
    pub fn end(self) -> Result<Probes> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a reader does not panic")
    }
}

fn read(path: &Path, stop: &AtomicBool, rows: &AtomicU64) -> Result<Probes> {
    let (mut seen, mut block, mut kept) = (Seen::default(), vec![0; 1 << 20], 0);
    let mut file = None;
    while !stop.load(Ordering::Relaxed) {
        file = file.or_else(|| File::open(path).ok());
        let read = match &mut file {
            Some(file) => file.read(&mut block[kept..]).context("reading what came out")?,
            None => 0,
        };
        if read == 0 {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        let whole = memchr::memrchr(b'\n', &block[..kept + read]).map_or(0, |at| at + 1);
        seen.look(&block[..whole]);
        rows.fetch_add(memchr::memchr_iter(b'\n', &block[..whole]).count() as u64, Ordering::Relaxed);
        block.copy_within(whole..kept + read, 0);
        kept = kept + read - whole;
    }
    Ok(seen.probes())
}

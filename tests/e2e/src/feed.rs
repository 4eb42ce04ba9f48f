//! Senders: numbered lines into a file that is rotated by renaming, and posts that are repeated until acknowledged.

use anyhow::{Result, bail};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Lines of one file before it is rotated.
const LINES_PER_FILE: u64 = 700;

/// Whoever sends numbered records, and knows how many.
pub trait Sender {
    /// Sends `records` more; when it returns, the agent answers for them.
    fn send(&mut self, records: u64) -> Result<()>;
    /// How many were sent, numbered from 0.
    fn sent(&self) -> u64;
}

/// Posts numbered records, each request with a key of its own, and repeats it until it is acknowledged.
pub struct Posts {
    url: String,
    next: u64,
}

impl Posts {
    /// A client that has posted nothing.
    pub fn new(url: String) -> Self {
        Self { url, next: 0 }
    }

    fn post(&self, body: &str, key: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let request = minreq::post(&self.url).with_header("Content-Type", "application/x-ndjson");
            let answer = request.with_header("Idempotency-Key", key).with_body(body).with_timeout(10).send();
            match answer {
                Ok(answer) if (200..300).contains(&answer.status_code) => return Ok(()),
                Ok(answer) if answer.status_code < 500 && answer.status_code != 429 => {
                    bail!("{}: {}", answer.status_code, answer.as_str()?)
                }
                answer if Instant::now() > deadline => bail!("not acknowledged within a minute: {answer:?}"),
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }
}

impl Sender for Posts {
    fn send(&mut self, records: u64) -> Result<()> {
        let end = self.next + records;
        while self.next < end {
            let upto = (self.next + 50).min(end);
            let body: String = (self.next..upto).map(|n| format!("{{\"seq\":{n},\"level\":\"info\"}}\n")).collect();
            self.post(&body, &format!("key-{}", self.next))?;
            self.next = upto;
        }
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.next
    }
}

/// What was written to a rotating file.
pub struct Feed {
    path: PathBuf,
    next: u64,
    files: u32,
}

impl Feed {
    /// A feed that has written nothing.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), next: 0, files: 1 }
    }

    fn rotate(&mut self) -> Result<()> {
        for number in (1..self.files).rev() {
            fs::rename(self.rotated(number), self.rotated(number + 1))?;
        }
        fs::rename(&self.path, self.rotated(1))?;
        self.files += 1;
        Ok(())
    }

    fn rotated(&self, number: u32) -> PathBuf {
        PathBuf::from(format!("{}.{number}", self.path.display()))
    }
}

impl Sender for Feed {
    /// Writes lines in bursts.
    fn send(&mut self, lines: u64) -> Result<()> {
        let end = self.next + lines;
        while self.next < end {
            let burst_end = (self.next + 100).min(end).min((self.next / LINES_PER_FILE + 1) * LINES_PER_FILE);
            let text: String = (self.next..burst_end)
                .map(|n| format!("{{\"seq\":{n},\"level\":\"info\",\"message\":\"line {n}\"}}\n"))
                .collect();
            File::options().create(true).append(true).open(&self.path)?.write_all(text.as_bytes())?;
            self.next = burst_end;
            if self.next.is_multiple_of(LINES_PER_FILE) {
                self.rotate()?;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.next
    }
}

//! The HTTP client: posts numbered records, each request with a key of its own, and repeats a request until it is acknowledged.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Number of the first posted record, above all numbers of the file.
const FIRST: u64 = 1_000_000_000;
/// Records of one request.
const RECORDS: u64 = 100;
/// Longest time that a request may go without its acknowledgement.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was posted.
pub struct Posts {
    url: String,
    next: u64,
}

impl Posts {
    /// A client that has posted nothing.
    pub fn new(port: u16) -> Self {
        Self { url: format!("http://127.0.0.1:{port}/"), next: FIRST }
    }

    /// One request, acknowledged when this returns.
    pub fn post(&mut self) -> Result<()> {
        let end = self.next + RECORDS;
        let body: String = (self.next..end)
            .map(|n| format!("{{\"seq\":{n},\"level\":\"info\",\"message\":\"posted by user{n}@example.org\"}}\n"))
            .collect();
        let key = format!("demo-{}", self.next);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let request = minreq::post(&self.url).with_header("Content-Type", "application/x-ndjson");
            match request.with_header("Idempotency-Key", &key).with_body(body.as_str()).with_timeout(10).send() {
                Ok(answer) if (200..300).contains(&answer.status_code) => break,
                Ok(answer) if answer.status_code < 500 && answer.status_code != 429 => {
                    bail!("a post was refused with {}: {}", answer.status_code, answer.as_str()?)
                }
                answer if Instant::now() > deadline => {
                    bail!("a post was not acknowledged within {PATIENCE:?}: {answer:?}")
                }
                // Not up yet, or unknown: the same request again, with the same key.
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
        self.next = end;
        Ok(())
    }

    /// Numbers of all acknowledged records.
    pub fn acknowledged(&self) -> BTreeSet<u64> {
        (FIRST..self.next).collect()
    }
}

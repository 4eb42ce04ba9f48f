//! Senders: numbered lines into a file that is rotated by renaming, posts that are repeated until acknowledged, and messages
//! of an idempotent producer.

use anyhow::{Context, Result, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// The text of a record, by its number.
pub type Line = fn(u64) -> String;

/// A line of JSON with its number, a level and a message.
pub fn plain(number: u64) -> String {
    format!("{{\"seq\":{number},\"level\":\"info\",\"message\":\"line {number}\"}}")
}

/// Posts numbered records, each request with a key of its own, and repeats it until it is acknowledged.
pub struct Posts {
    url: String,
    token: Option<String>,
    first: u64,
    next: u64,
    line: Line,
}

impl Posts {
    /// A client that has posted nothing.
    pub fn new(url: String) -> Self {
        Self::numbered(url, 0, plain)
    }

    /// A client whose records are numbered from `first` on.
    pub fn numbered(url: String, first: u64, line: Line) -> Self {
        Self { url, token: None, first, next: first, line }
    }

    /// The same, with a bearer token.
    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(format!("Bearer {token}")), ..self }
    }

    /// The same records go on to another address.
    pub fn to(self, url: String) -> Self {
        Self { url, ..self }
    }

    fn post(&self, body: &str, key: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let mut request = minreq::post(&self.url).with_header("Content-Type", "application/x-ndjson");
            if let Some(token) = &self.token {
                request = request.with_header("Authorization", token);
            }
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
            let body: String = (self.next..upto).map(|n| (self.line)(n) + "\n").collect();
            self.post(&body, &format!("key-{}", self.next))?;
            self.next = upto;
        }
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.next - self.first
    }
}

/// Delivery reports, counted.
#[derive(Clone, Default)]
struct Reports {
    taken: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

impl rdkafka::ClientContext for Reports {}

impl rdkafka::producer::ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, report: &rdkafka::producer::DeliveryResult<'_>, (): ()) {
        let counter = if report.is_ok() { &self.taken } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What was written to a rotating file.
pub struct Feed {
    path: PathBuf,
    next: u64,
    files: u32,
    line: Line,
}

impl Feed {
    /// A feed that has written nothing.
    pub fn new(path: &Path) -> Self {
        Self::of(path, plain)
    }

    /// A feed of other lines.
    pub fn of(path: &Path, line: Line) -> Self {
        Self { path: path.to_owned(), next: 0, files: 1, line }
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
            let text: String = (self.next..burst_end).map(|n| (self.line)(n) + "\n").collect();
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

/// Numbered messages on a Kafka topic, each with a key and a header. The producer is idempotent: a broker that is killed on the
/// way gets none of them twice.
pub struct Topic {
    producer: ThreadedProducer<Reports>,
    topic: String,
    first: u64,
    next: u64,
    line: Line,
}

impl Topic {
    /// A producer that has sent nothing, to a topic that exists.
    pub fn numbered(brokers: &str, topic: &str, first: u64, line: Line) -> Result<Self> {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("linger.ms", "5");
        settings.set("message.timeout.ms", "120000");
        let producer = settings.create_with_context(Reports::default())?;
        Ok(Self { producer, topic: topic.to_owned(), first, next: first, line })
    }
}

impl Sender for Topic {
    fn send(&mut self, records: u64) -> Result<()> {
        for number in self.next..self.next + records {
            let (key, value, trace) = (format!("key-{number}"), (self.line)(number), format!("trace-{number}"));
            let header = Header { key: "trace", value: Some(&trace) };
            let headers = OwnedHeaders::new().insert(header);
            let record = BaseRecord::to(&self.topic).key(&key).payload(&value).headers(headers);
            self.producer.send(record).map_err(|(error, _)| error).context("message to the source topic")?;
        }
        self.next += records;
        self.producer.flush(Duration::from_secs(120))?;
        let reports = self.producer.context();
        let (taken, refused) = (reports.taken.load(Ordering::Relaxed), reports.refused.load(Ordering::Relaxed));
        let sent = self.sent();
        ensure!((taken, refused) == (sent, 0), "{taken} of {sent} messages taken, {refused} refused");
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.next - self.first
    }
}

//! What is sent during a soak: lines in a file that is rotated by renaming, of which the oldest go, and posts that are repeated until
//! they are acknowledged.

use std::fs::{self, File};
use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::load;

/// The number of the first posted record; lines of the file have smaller ones.
pub const POSTS_FROM: u64 = 1_000_000_000_000;
/// Lines of the file per second.
const LINES_PER_SECOND: f64 = 1_000.0;
/// Lines of one file before it is rotated.
const LINES_PER_FILE: u64 = 3_000;
/// Rotated files that are kept: what the agent does not read in so many times three seconds is lost.
const KEPT: u64 = 20;
/// Records of one post, and the time between two.
const RECORDS_PER_POST: u64 = 25;
const BETWEEN_POSTS: Duration = Duration::from_millis(100);
/// Longest time for the answer to one post.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Between two posts where nobody answers.
const PAUSE: Duration = Duration::from_millis(100);

fn line(number: u64) -> String {
    format!(
        "{{\"seq\":{number},\"level\":\"info\",\"service\":\"checkout\",\"message\":\"customer{number}@example.org has paid order {} \
         after {} ms in the queue, and the receipt was sent\"}}\n",
        number * 7 % 1_000_003,
        number % 97
    )
}

/// A thread, and how far it is.
struct Sending {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<Result<()>>,
}

impl Sending {
    fn start(send: impl FnOnce(&AtomicBool, &AtomicU64) -> Result<()> + Send + 'static) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = thread::spawn({
            let (stop, sent) = (stop.clone(), sent.clone());
            move || send(&stop, &sent)
        });
        Self { stop, sent, thread }
    }

    fn end(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a sender does not panic")?;
        Ok(self.sent.load(Ordering::Relaxed))
    }
}

/// Lines in a file.
pub struct Writer(Sending);

impl Writer {
    /// Begins to write `app.log` in `folder`.
    pub fn start(folder: &Path) -> Result<Self> {
        let live = folder.join("app.log");
        let mut file = append(&live)?;
        Ok(Self(Sending::start(move |stop, sent| {
            let (begin, mut number) = (Instant::now(), 0_u64);
            while !stop.load(Ordering::Relaxed) {
                let due = (begin.elapsed().as_secs_f64() * LINES_PER_SECOND) as u64;
                let mut burst = String::new();
                while number < due {
                    burst.push_str(&line(number));
                    number += 1;
                    if number.is_multiple_of(LINES_PER_FILE) {
                        file.write_all(burst.as_bytes())?;
                        burst.clear();
                        file = rotate(&live, number / LINES_PER_FILE)?;
                    }
                }
                file.write_all(burst.as_bytes())?;
                sent.store(number, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        })))
    }

    /// Lines that are written.
    pub fn written(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Ends it, and tells how many lines it wrote.
    pub fn end(self) -> Result<u64> {
        self.0.end()
    }
}

fn append(path: &Path) -> Result<File> {
    File::options().create(true).append(true).open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// Another file takes the live name; the oldest of those that had it goes.
fn rotate(live: &Path, turn: u64) -> Result<File> {
    let rotated = |turn: u64| PathBuf::from(format!("{}.{turn}", live.display()));
    fs::rename(live, rotated(turn))?;
    if turn > KEPT {
        fs::remove_file(rotated(turn - KEPT))?;
    }
    append(live)
}

/// Posted records.
pub struct Posts(Sending);

impl Posts {
    /// Begins to post.
    pub fn start(to: SocketAddr) -> Self {
        Self(Sending::start(move |stop, acknowledged| {
            let mut connection = None;
            while !stop.load(Ordering::Relaxed) {
                let first = acknowledged.load(Ordering::Relaxed);
                let body: String = (first..first + RECORDS_PER_POST).map(|n| line(POSTS_FROM + n)).collect();
                // What was sent is repeated under its key until somebody says that it is taken, also where an end is asked for.
                while !post(&mut connection, to, first, &body).unwrap_or(false) {
                    connection = None;
                    thread::sleep(PAUSE);
                }
                acknowledged.store(first + RECORDS_PER_POST, Ordering::Relaxed);
                thread::sleep(BETWEEN_POSTS);
            }
            Ok(())
        }))
    }

    /// Records that are acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Ends it, and tells how many records were acknowledged.
    pub fn end(self) -> Result<u64> {
        self.0.end()
    }
}

/// Whether a post was taken.
fn post(connection: &mut Option<TcpStream>, to: SocketAddr, key: u64, body: &str) -> Result<bool> {
    if connection.is_none() {
        let stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_nodelay(true)?;
        *connection = Some(stream);
    }
    let stream = connection.as_mut().context("a connection")?;
    let head = format!(
        "POST /logs HTTP/1.1\r\nhost: soak\r\ncontent-type: application/x-ndjson\r\nidempotency-key: post-{key}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let status = load::answer(&mut BufReader::new(&mut *stream))?;
    Ok((200..300).contains(&status))
}

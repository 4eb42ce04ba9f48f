//! A client that posts NDJSON over a few connections as fast as it is answered, and a server that does no more than is asked
//! for: the floor of HTTP input. Both speak just enough HTTP/1.1 for one another and for the agent.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::data::{self, Form, Numbers};

/// Connections at once.
pub const CONNECTIONS: u64 = 8;
/// Bytes of one body, about.
pub const BODY_BYTES: usize = 64 << 10;

/// What posting took.
pub struct Posted {
    /// Records that were acknowledged.
    pub records: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// From the first byte of a request to its answer, seconds, ascending.
    pub answers: Vec<f64>,
}

/// Posts records until `bytes` bytes are acknowledged.
pub fn post(to: SocketAddr, bytes: u64) -> Result<Posted> {
    let next = AtomicU64::new(0);
    let sender = |index: u64| connection(to, &next, bytes / CONNECTIONS, index);
    let parts: Result<Vec<Posted>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|index| scope.spawn(move || sender(index))).collect();
        threads.into_iter().map(|thread| thread.join().expect("senders do not panic")).collect()
    });
    let mut all = Posted { records: next.load(Ordering::Relaxed), bytes: 0, answers: Vec::new() };
    for part in parts? {
        all.bytes += part.bytes;
        all.answers.extend(part.answers);
    }
    all.answers.sort_by(f64::total_cmp);
    Ok(all)
}

fn connection(to: SocketAddr, next: &AtomicU64, bytes: u64, index: u64) -> Result<Posted> {
    let mut stream = connect(to)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let (mut numbers, mut body) = (Numbers::new(index), Vec::with_capacity(BODY_BYTES + 1024));
    let mut posted = Posted { records: 0, bytes: 0, answers: Vec::new() };
    while posted.bytes < bytes {
        body.clear();
        while body.len() < BODY_BYTES {
            let number = next.fetch_add(1, Ordering::Relaxed);
            // Malformed records would be refused; that is another test's business.
            data::line(Form::Json, number, &mut numbers, &mut body);
            if number % data::MALFORMED_EVERY == data::MALFORMED_EVERY - 2 {
                body.pop();
                body.extend_from_slice(b"}\n");
            }
        }
        let head = format!(
            "POST /logs HTTP/1.1\r\nhost: bench\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let begin = Instant::now();
        stream.write_all(head.as_bytes())?;
        stream.write_all(&body)?;
        let status = answer(&mut answers)?;
        ensure!((200..300).contains(&status), "answered {status}");
        posted.answers.push(begin.elapsed().as_secs_f64());
        posted.bytes += body.len() as u64;
    }
    Ok(posted)
}

fn connect(to: SocketAddr) -> Result<TcpStream> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpStream::connect(to) {
            Ok(stream) => return Ok(stream),
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => return Err(error).with_context(|| format!("nobody listens on {to}")),
        }
    }
}

/// Reads head and body of an answer, and gives its status back.
pub fn answer(from: &mut impl BufRead) -> Result<u16> {
    let (first, length) = head(from)?.context("the connection was closed")?;
    from.take(length).read_to_end(&mut Vec::new())?;
    Ok(first.split(' ').nth(1).context("no status")?.parse()?)
}

/// Reads a head: its first line, and how long the body is; `None` where the connection was closed.
pub fn head(from: &mut impl BufRead) -> Result<Option<(String, u64)>> {
    let (mut first, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some((first, length)));
        }
        if first.is_empty() {
            first = line.to_owned();
        } else if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
}

/// The floor's store: requests that wait together share one fdatasync.
struct Store {
    file: File,
    state: Mutex<(u64, u64, bool)>,
    changed: Condvar,
}

impl Store {
    fn append(&self, body: &[u8]) -> Result<()> {
        let lock = || self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (&self.file).write_all(body)?;
        let mut state = lock();
        state.0 += 1;
        let mine = state.0;
        while state.1 < mine {
            if state.2 {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let upto = state.0;
            state.2 = true;
            drop(state);
            let synced = self.file.sync_data();
            state = lock();
            state.2 = false;
            synced?;
            state.1 = upto;
            self.changed.notify_all();
        }
        Ok(())
    }
}

/// The floor: takes bodies, looks at every line, appends them, and answers after the fsync that they share. It serves as many
/// connections as the client makes, and ends with them.
pub fn serve(listener: &TcpListener, store: &Path) -> Result<()> {
    let file = File::options().create(true).append(true).open(store)?;
    let store = Arc::new(Store { file, state: Mutex::new((0, 0, false)), changed: Condvar::new() });
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..CONNECTIONS {
            let (stream, _) = listener.accept()?;
            let store = store.clone();
            threads.push(scope.spawn(move || serve_one(stream, &store)));
        }
        threads.into_iter().try_for_each(|thread| thread.join().expect("servers do not panic"))
    })
}

fn serve_one(stream: TcpStream, store: &Store) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut from = BufReader::with_capacity(1 << 17, stream.try_clone()?);
    let mut to = stream;
    let (mut body, mut lines) = (Vec::with_capacity(2 * BODY_BYTES), crate::floor::Lines::default());
    while let Some((_, length)) = head(&mut from)? {
        body.clear();
        (&mut from).take(length).read_to_end(&mut body)?;
        let rows = lines.json(&body);
        store.append(rows)?;
        to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
    Ok(())
}

/// How long fdatasync takes here for appends of one body: the 99th percentile of 200, seconds.
pub fn fsync_p99(path: &Path) -> Result<f64> {
    let mut file = File::create(path)?;
    let (body, mut took) = (vec![b'x'; BODY_BYTES], Vec::new());
    for _ in 0..200 {
        file.write_all(&body)?;
        let begin = Instant::now();
        file.sync_data()?;
        took.push(begin.elapsed().as_secs_f64());
    }
    took.sort_by(f64::total_cmp);
    Ok(percentile(&took, 99))
}

/// Of ascending values.
pub fn percentile(ascending: &[f64], percent: usize) -> f64 {
    ascending.get((ascending.len() * percent / 100).min(ascending.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

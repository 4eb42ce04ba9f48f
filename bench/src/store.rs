//! A store of documents as far as a bulk client sees one, whose health can be changed while it serves: well, nobody listening,
//! or taking requests and never answering. A document whose id is there already is answered as a conflict, as real stores do.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;

use crate::load::head;
use crate::probe::{Probes, Seen};

/// How the store is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// It answers.
    Well,
    /// Nobody listens: connections are refused, those that were open are cut.
    Refuses,
    /// It takes requests and never answers.
    Hangs,
    /// It is to end.
    Ended,
}

/// Sees each document that is new.
type Look = Box<dyn FnMut(&[u8]) + Send>;

#[derive(Default)]
struct Contents {
    ids: HashSet<u64>,
    conflicts: u64,
    seen: Seen,
    look: Option<Look>,
}

struct Shared {
    health: Mutex<Health>,
    changed: Condvar,
    contents: Mutex<Contents>,
    open: Mutex<Vec<TcpStream>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running store.
pub struct Store {
    at: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Store {
    /// A store that is well.
    pub fn start() -> Result<Self> {
        Self::begin(Contents::default())
    }

    /// The same; `look` sees each document that is new.
    pub fn start_with(look: impl FnMut(&[u8]) + Send + 'static) -> Result<Self> {
        Self::begin(Contents { look: Some(Box::new(look)), ..Contents::default() })
    }

    fn begin(contents: Contents) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let at = listener.local_addr()?;
        let shared = Arc::new(Shared {
            health: Mutex::new(Health::Well),
            changed: Condvar::new(),
            contents: Mutex::new(contents),
            open: Mutex::default(),
        });
        let accepting = thread::spawn({
            let shared = shared.clone();
            move || accept(at, listener, &shared)
        });
        Ok(Self { at, shared, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.at
    }

    /// Changes its health; what is under way is cut off.
    pub fn set(&self, health: Health) {
        *lock(&self.shared.health) = health;
        self.shared.changed.notify_all();
        for stream in lock(&self.shared.open).drain(..) {
            // One that its client has closed already is closed.
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// Documents that it holds.
    pub fn documents(&self) -> u64 {
        lock(&self.shared.contents).ids.len() as u64
    }

    /// How many came although they were there.
    pub fn conflicts(&self) -> u64 {
        lock(&self.shared.contents).conflicts
    }

    /// Probes that arrived.
    pub fn probes(&self) -> Probes {
        lock(&self.shared.contents).seen.probes()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.set(Health::Ended);
        if self.accepting.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("the store had panicked");
        }
    }
}

fn accept(at: SocketAddr, first: TcpListener, shared: &Arc<Shared>) {
    let mut listener = Some(first);
    loop {
        let health = *lock(&shared.health);
        match health {
            Health::Ended => return,
            Health::Refuses => listener = None,
            _ if listener.is_none() => listener = TcpListener::bind(at).ok(),
            _ => {}
        }
        let accepted = listener.as_ref().and_then(|l| {
            l.set_nonblocking(true).ok()?;
            l.accept().ok()
        });
        let Some((stream, _)) = accepted else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        if stream.set_nonblocking(false).is_ok()
            && let Ok(second) = stream.try_clone()
        {
            lock(&shared.open).push(second);
            let shared = shared.clone();
            // It ends with its connection, which ends with the store.
            thread::spawn(move || drop(serve(stream, &shared)));
        }
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut from = BufReader::with_capacity(1 << 17, stream.try_clone()?);
    let (mut to, mut body) = (stream, Vec::new());
    while let Some((first, length)) = head(&mut from)? {
        body.clear();
        (&mut from).take(length).read_to_end(&mut body)?;
        if !answers(shared) {
            return Ok(());
        }
        let (status, answer) = match &first {
            bulk if bulk.starts_with("POST") => ("200 OK", take(&body, shared)),
            // Nothing is sent to a cluster that does not say which one it is.
            root if root.starts_with("GET / ") => ("200 OK", br#"{"cluster_uuid":"bench"}"#.to_vec()),
            _ => ("404 Not Found", b"{}".to_vec()),
        };
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", answer.len());
        to.write_all(head.as_bytes())?;
        to.write_all(&answer)?;
    }
    Ok(())
}

/// Whether a request is answered; one that is not waits as long as the store hangs, and is cut then.
fn answers(shared: &Shared) -> bool {
    let mut health = lock(&shared.health);
    if *health == Health::Well {
        return true;
    }
    while *health == Health::Hangs {
        health = shared.changed.wait(health).unwrap_or_else(PoisonError::into_inner);
    }
    false
}

/// Takes the documents of a bulk request, and writes its answer.
fn take(body: &[u8], shared: &Shared) -> Vec<u8> {
    let mut answer = b"{\"items\":[".to_vec();
    let mut lines = body.split(|byte| *byte == b'\n');
    let mut contents = lock(&shared.contents);
    while let (Some(action), Some(document)) = (lines.next(), lines.next()) {
        let mut hasher = DefaultHasher::new();
        action.hash(&mut hasher);
        let is_new = contents.ids.insert(hasher.finish());
        if is_new {
            contents.seen.look(document);
            if let Some(look) = &mut contents.look {
                look(document);
            }
        } else {
            contents.conflicts += 1;
        }
        if answer.len() > 10 {
            answer.push(b',');
        }
        // `{"create":{"_index":…,"_id":…}}` goes back with its status.
        answer.extend_from_slice(action.strip_suffix(b"}}").unwrap_or(action));
        let conflict =
            b",\"status\":409,\"error\":{\"type\":\"version_conflict_engine_exception\",\"reason\":\"it is there\"}}}";
        answer.extend_from_slice(if is_new { b",\"status\":201}}" } else { conflict });
    }
    answer.extend_from_slice(b"]}");
    answer
}

//! One shard: a log of requests and the window of their keys. It knows nothing of other shards.

use crate::envelope::{self, Request};
use crate::error::QueueError;
use crate::quota::Reservation;
use crate::sidecar::Sidecars;
use crate::window::{KeyId, Outcome, Seen, Verdict, Window, key_id};
use bytes::Bytes;
use sawlog_log::{
    Commits, Committed, Damage, Disk, DiskError, DiskThread, Drive, FRAME_HEADER_BYTES, Gather, Log, LogError,
    LogOptions, Lsn, OnFull, Reader, SharedLog,
};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

type SharedWindow = Arc<Mutex<Window<QueueError>>>;

/// A request as it lies in a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRequest {
    /// Address of its frame.
    pub lsn: Lsn,
    /// Address of its body's first byte: the position of its first record.
    pub body_lsn: Lsn,
    /// Address behind it.
    pub end: Lsn,
    /// The request.
    pub request: Request,
}

/// Some requests in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestChunk {
    /// In the order of their addresses; accept times never fall.
    pub requests: Vec<StoredRequest>,
    /// Where to read on.
    pub next: Lsn,
}

/// What becomes of a submission.
pub(crate) enum Begun {
    /// It was stored before.
    Done(Lsn),
    /// The same request is being stored.
    Join(Outcome<QueueError>),
    /// It is being stored; the future helps that along.
    Storing(Outcome<QueueError>, Pin<Box<dyn Future<Output = ()> + Send>>),
}

pub(crate) struct Shard {
    number: u32,
    dir: String,
    disk: Arc<dyn Disk>,
    files: Arc<DiskThread>,
    log: SharedLog,
    incarnation: [u8; 16],
    window: SharedWindow,
    sidecars: Arc<Mutex<Sidecars>>,
    end: watch::Sender<Lsn>,
}

/// What a shard needs to be opened.
pub(crate) struct ShardOptions {
    pub log: LogOptions,
    pub key_time_nanos: i64,
    pub keys_max: usize,
    pub gather: Gather,
    pub drive: Drive,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    /// Opens shard `number` of the queue in `dir`: reads all of it, rebuilds the window, and tells the damage and the newest
    /// accept time.
    pub fn open(
        disk: Arc<dyn Disk>,
        files: Arc<DiskThread>,
        dir: &str,
        number: u32,
        options: ShardOptions,
    ) -> Result<(Self, Vec<Damage>, i64), QueueError> {
        let (sidecars, keys, mut damage) = Sidecars::open(&*disk, format!("{dir}/keys-{number:04}"))?;
        let mut window = Window::new(options.key_time_nanos, options.keys_max);
        keys.into_iter().for_each(|seen| window.done(seen, true));
        let log_dir = format!("{dir}/shard-{number:04}");
        let (mut newest, mut unread) = (i64::MIN, Vec::new());
        let (log, opening) = Log::open(disk.clone(), &log_dir, options.log, |lsn, payload| {
            match envelope::decode(&Bytes::copy_from_slice(payload)) {
                Ok((request, _)) => {
                    newest = newest.max(request.accepted);
                    if let Some(seen) = seen(&request, lsn) {
                        window.done(seen, false);
                    }
                }
                Err(what) => unread.push((lsn, lsn + (FRAME_HEADER_BYTES + payload.len()) as u64, what)),
            }
        })?;
        damage.extend(opening.damage);
        damage.extend(unread.into_iter().map(|(lo, hi, what)| Damage {
            file: log_dir.clone(),
            lo,
            hi,
            what: what.to_owned(),
        }));
        let log = SharedLog::start(log, options.drive, options.gather, OnFull::Refuse, &format!("sawlog-q{number}"))
            .map_err(|error| QueueError::Thread(error.to_string()))?;
        let shard = Self {
            number,
            dir: dir.to_owned(),
            disk,
            files,
            incarnation: opening.incarnation,
            end: watch::Sender::new(opening.end),
            log,
            window: Arc::new(Mutex::new(window)),
            sidecars: Arc::new(Mutex::new(sidecars)),
        };
        Ok((shard, damage, newest))
    }

    pub fn incarnation(&self) -> [u8; 16] {
        self.incarnation
    }

    pub fn reader(&self) -> &Reader {
        self.log.reader()
    }

    pub fn commits(&self) -> Commits {
        self.log.commits()
    }

    pub fn keys(&self) -> usize {
        lock(&self.window).len()
    }

    pub fn ends(&self) -> watch::Receiver<Lsn> {
        self.end.subscribe()
    }

    /// Looks the key up and, where it is new, hands the request to the log. `stamp` makes the accept time monotone; it is called
    /// in the order in which requests lie in the shard.
    pub fn begin(
        &self,
        mut request: Request,
        room: Reservation,
        stamp: impl FnOnce(i64) -> i64,
    ) -> Result<Begun, QueueError> {
        let key = request.key.as_deref().map(|key| key_id(&request.principal, key));
        let mut window = lock(&self.window);
        match key.map(|key| window.look(&key, &request.body_hash)) {
            None | Some(Verdict::New) => {}
            Some(Verdict::Done(lsn)) => return Ok(Begun::Done(lsn)),
            Some(Verdict::InFlight(outcome)) => return Ok(Begun::Join(outcome)),
            Some(Verdict::OtherBody) => return Err(QueueError::KeyReused),
        }
        request.accepted = stamp(request.accepted);
        let (result, outcome) = watch::channel(None);
        if let Some(key) = key {
            window.begin(key, request.body_hash, outcome.clone());
        }
        let payload = envelope::encode(&request);
        let stored = Storing { key, request, room, window: self.window.clone(), end: self.end.clone(), result };
        match self.log.append_then(vec![payload], move |committed| stored.finish(committed)) {
            Ok(help) => Ok(Begun::Storing(outcome, Box::pin(help))),
            Err(error) => {
                if let Some(key) = key {
                    window.abandon(&key);
                }
                Err(error.into())
            }
        }
    }

    /// Waits for a request that is being stored.
    pub async fn outcome(&self, begun: Begun) -> Result<(Lsn, bool), QueueError> {
        let (mut outcome, repeated) = match begun {
            Begun::Done(lsn) => return Ok((lsn, true)),
            Begun::Join(outcome) => {
                // Whoever brought it may be gone; the barrier sees to it that it is written.
                self.log.append(Vec::new(), true).await?;
                (outcome, true)
            }
            Begun::Storing(outcome, help) => {
                help.await;
                (outcome, false)
            }
        };
        let closed = || QueueError::Log(LogError::Closed { dir: self.dir.clone() });
        let result = outcome.wait_for(Option::is_some).await.map_err(|_| closed())?.clone();
        match result {
            Some(Ok(lsn)) => Ok((lsn, repeated)),
            Some(Err(error)) => Err((*error).clone()),
            None => Err(closed()),
        }
    }

    pub fn read(&self, from: Lsn, bytes_max: usize) -> Result<RequestChunk, QueueError> {
        let reader = self.log.reader();
        let start = match reader.frame_start(from) {
            Ok(start) => start,
            // The end, or the place of a void: the log knows where it goes on.
            Err(LogError::NoFrame { .. }) => from,
            Err(error) => return Err(error.into()),
        };
        let chunk = reader.read(start, bytes_max)?;
        let mut requests = Vec::with_capacity(chunk.frames.len());
        for frame in chunk.frames {
            let (request, head) = envelope::decode(&frame.payload).map_err(|what| QueueError::NoRequest {
                dir: self.dir.clone(),
                shard: self.number,
                lsn: frame.lsn,
                what: what.to_owned(),
            })?;
            let body_lsn = frame.lsn + (FRAME_HEADER_BYTES + head) as u64;
            requests.push(StoredRequest { lsn: frame.lsn, body_lsn, end: frame.end(), request });
        }
        Ok(RequestChunk { requests, next: chunk.next })
    }

    /// Gives back whole segments below `floor`. The keys of their requests become durable beside the log first.
    pub async fn trim(&self, floor: Lsn) -> Result<Lsn, QueueError> {
        let first = self.reader().segment_start(floor.min(self.reader().durable()));
        if first > self.reader().first() {
            let (disk, window, sidecars) = (self.disk.clone(), self.window.clone(), self.sidecars.clone());
            self.files.call(move || keep_keys(&*disk, &window, &sidecars, first)).await??;
        }
        Ok(self.log.trim(first).await?)
    }

    pub async fn close(&self) -> Result<(), QueueError> {
        Ok(self.log.close().await?)
    }
}

fn seen(request: &Request, lsn: Lsn) -> Option<Seen> {
    let key = key_id(&request.principal, request.key.as_deref()?);
    Some(Seen { key, body_hash: request.body_hash, lsn, accepted: request.accepted })
}

fn keep_keys(
    disk: &dyn Disk,
    window: &Mutex<Window<QueueError>>,
    sidecars: &Mutex<Sidecars>,
    floor: Lsn,
) -> Result<(), DiskError> {
    let mut sidecars = lock(sidecars);
    let (fresh, oldest) = {
        let window = lock(window);
        (window.only_below(floor), window.oldest())
    };
    sidecars.add(disk, &fresh, || lock(window).beside(), oldest)?;
    lock(window).mark_beside(floor);
    Ok(())
}

/// What is to be done once the log knows what became of a request, whether or not its client still waits.
struct Storing {
    key: Option<KeyId>,
    request: Request,
    room: Reservation,
    window: SharedWindow,
    end: watch::Sender<Lsn>,
    result: watch::Sender<Option<Result<Lsn, Arc<QueueError>>>>,
}

impl Storing {
    fn finish(self, committed: Result<Committed, LogError>) {
        let stored = committed.map(|committed| (committed.lsns[0], committed.end));
        let mut window = lock(&self.window);
        match (&stored, self.key) {
            (Ok((lsn, _)), Some(_)) => seen(&self.request, *lsn).into_iter().for_each(|seen| window.done(seen, false)),
            // A frame that failed is void: a retry with the same key is a new request.
            (Err(_), Some(key)) => window.abandon(&key),
            (_, None) => {}
        }
        drop(window);
        // The bytes count as kept from here on.
        drop(self.room);
        if let Ok((_, end)) = stored {
            self.end.send_if_modified(|known| {
                let further = *known < end;
                *known = end.max(*known);
                further
            });
        }
        self.result.send_replace(Some(stored.map(|(lsn, _)| lsn).map_err(|error| Arc::new(error.into()))));
    }
}

//! Group commit: many callers append at once and share one fdatasync.
//!
//! Callers leave their payloads in a queue and wait. Whoever leads takes all that has gathered, writes it in the order it
//! came, syncs once and answers everybody; meanwhile the next group gathers. With [`Drive::Thread`] the leader is a thread
//! of the log's own, with [`Drive::Inline`] it is the first caller that is polled again. A caller that drops its future
//! changes nothing: what it left in the queue is written like the rest.

use crate::disk::DiskError;
use crate::error::LogError;
use crate::frame::Lsn;
use crate::log::Log;
use crate::reader::Reader;
use crate::thread::{Drive, yield_once};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What is not urgent is written after this time even if nothing urgent comes.
const IDLE_TIME_MAX: Duration = Duration::from_millis(500);
/// A group that waits for space is tried again after this time.
const HOLD_TIME: Duration = Duration::from_millis(200);

/// How long a leader waits for company. With both at 0 a group is what came in during the sync before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gather {
    /// Go as soon as this many payload bytes wait.
    pub bytes: usize,
    /// Go at the latest after this time.
    pub time: Duration,
}

/// What a full disk does to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// Its callers get [`LogError::Disk`] and may try again; nothing of theirs is in the log.
    Refuse,
    /// It is tried again until there is space, in its order; callers wait. [`SharedLog::is_holding`] tells.
    /// For logs each of whose records follows from those before, and whose callers free the space. So the first error that a caller
    /// gets is the last word: everything behind it is refused with it, also what was handed over before anybody knew. With
    /// [`Drive::Inline`], which has no clock to wait by, a full disk is such an error.
    Hold,
}

/// What became durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The address of each payload's frame, in the order given.
    pub lsns: Vec<Lsn>,
    /// Address behind the last of them, or the log's end where none was given.
    pub end: Lsn,
}

/// What group commits have cost since the log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Commits {
    /// Groups that were written and synced, each with one fsync.
    pub groups: u64,
    /// How long writing and syncing took.
    pub time: Duration,
}

impl Commits {
    /// Adds those of another log.
    pub fn add(&mut self, other: Self) {
        self.groups += other.groups;
        self.time += other.time;
    }
}

type Ack<T> = oneshot::Sender<Result<T, LogError>>;

type Done = Box<dyn FnOnce(Result<Committed, LogError>) + Send>;

struct Append {
    payloads: Vec<Vec<u8>>,
    done: Done,
}

enum Request {
    Append(Append),
    Trim { floor: Lsn, ack: Ack<Lsn> },
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Request>,
    bytes: usize,
    /// Somebody waits for an answer.
    urgent: bool,
    closed: bool,
    /// The thread has ended.
    over: bool,
}

struct Inner {
    dir: String,
    queue: Mutex<Queue>,
    wake: Condvar,
    log: Mutex<Log>,
    gather: Gather,
    hold: bool,
    /// After an error nothing more is taken.
    is_strict: bool,
    stopped: OnceLock<LogError>,
    holding: AtomicBool,
    groups: AtomicU64,
    nanoseconds: AtomicU64,
}

/// A log that many tasks append to. Clones share it; the last clone dropped closes it, [`SharedLog::close`] also waits.
#[derive(Clone)]
pub struct SharedLog {
    handle: Arc<Handle>,
    drive: Drive,
    reader: Reader,
}

/// What the clones share beside the thread; the thread ends when the last of them is gone.
struct Handle(Arc<Inner>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue().closed = true;
        self.0.wake.notify_all();
    }
}

impl SharedLog {
    /// Puts a group commit in front of `log`. `name` is that of the thread (15 bytes show in the system's tools).
    pub fn start(log: Log, drive: Drive, gather: Gather, on_full: OnFull, name: &str) -> io::Result<Self> {
        let reader = log.reader();
        let dir = log.dir().to_owned();
        let is_strict = on_full == OnFull::Hold;
        let hold = is_strict && drive == Drive::Thread;
        let (queue, wake, log) = (Mutex::default(), Condvar::new(), Mutex::new(log));
        let (holding, groups, nanoseconds) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let stopped = OnceLock::new();
        let inner =
            Arc::new(Inner { dir, queue, wake, log, gather, hold, is_strict, stopped, holding, groups, nanoseconds });
        if drive == Drive::Thread {
            let led = inner.clone();
            std::thread::Builder::new().name(name.to_owned()).spawn(move || led.lead())?;
        }
        Ok(Self { handle: Arc::new(Handle(inner)), drive, reader })
    }

    /// Appends payloads as frames in a row (no other frame between them); the future resolves once they are durable. Without
    /// payloads it is a barrier: everything appended before it is durable then.
    ///
    /// What is not `urgent` asks for no sync of its own: it goes with the next urgent append, when the log is closed, or
    /// ([`Drive::Thread`]) half a second later. The order is fixed when this call returns, not when the future is polled;
    /// dropping the future takes nothing back.
    pub fn append(
        &self,
        payloads: Vec<Vec<u8>>,
        urgent: bool,
    ) -> impl Future<Output = Result<Committed, LogError>> + Send + use<> {
        let (ack, committed) = oneshot::channel();
        let done = Box::new(move |result| answer(ack, result));
        let handed = self.hand_over(Request::Append(Append { payloads, done }), urgent);
        self.answer(handed, committed, urgent)
    }

    /// Like an urgent [`SharedLog::append`], but calls `done` with what became of the payloads, from whatever thread commits
    /// them and also if the returned future is dropped. `done` must be quick and must not call this log. The future only
    /// helps the work along: with [`Drive::Inline`] it commits, with [`Drive::Thread`] it is ready at once.
    /// An error means that nothing was handed over; `done` is not called then.
    pub fn append_then<F: FnOnce(Result<Committed, LogError>) + Send + 'static>(
        &self,
        payloads: Vec<Vec<u8>>,
        done: F,
    ) -> Result<impl Future<Output = ()> + Send + use<F>, LogError> {
        self.hand_over(Request::Append(Append { payloads, done: Box::new(done) }), true)?;
        let inner = (self.drive == Drive::Inline).then(|| self.handle.0.clone());
        Ok(async move {
            if let Some(inner) = inner {
                yield_once().await;
                inner.turn();
            }
        })
    }

    /// Gives back whole segments below `floor`; returns the oldest address still kept. See [`Log::trim`].
    pub fn trim(&self, floor: Lsn) -> impl Future<Output = Result<Lsn, LogError>> + Send + use<> {
        let (ack, answer) = oneshot::channel();
        let handed = self.hand_over(Request::Trim { floor, ack }, true);
        self.answer(handed, answer, true)
    }

    /// Reads what is durable.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Whether a group waits for space on the disk ([`OnFull::Hold`]): a reason not to be ready.
    pub fn is_holding(&self) -> bool {
        self.inner().holding.load(Ordering::Acquire)
    }

    /// What commits have cost.
    pub fn commits(&self) -> Commits {
        let (groups, time) = (&self.inner().groups, &self.inner().nanoseconds);
        let time = Duration::from_nanos(time.load(Ordering::Relaxed));
        Commits { groups: groups.load(Ordering::Relaxed), time }
    }

    /// Makes everything appended durable and stops the thread. Later calls on any clone get [`LogError::Closed`].
    pub async fn close(&self) -> Result<(), LogError> {
        let last = self.append(Vec::new(), true).await;
        self.inner().queue().closed = true;
        self.inner().wake.notify_all();
        last.map(|_| ())
    }

    fn inner(&self) -> &Inner {
        &self.handle.0
    }

    fn hand_over(&self, request: Request, urgent: bool) -> Result<(), LogError> {
        let mut queue = self.inner().queue();
        if queue.closed || queue.over {
            return Err(self.inner().closed());
        }
        if let Request::Append(Append { payloads, .. }) = &request {
            queue.bytes += payloads.iter().map(Vec::len).sum::<usize>();
        }
        queue.waiting.push(request);
        queue.urgent |= urgent;
        drop(queue);
        self.inner().wake.notify_one();
        Ok(())
    }

    fn answer<T: Send>(
        &self,
        handed: Result<(), LogError>,
        answer: oneshot::Receiver<Result<T, LogError>>,
        urgent: bool,
    ) -> impl Future<Output = Result<T, LogError>> + Send + use<T> {
        let leads = urgent && self.drive == Drive::Inline;
        let inner = self.handle.0.clone();
        async move {
            handed?;
            if leads {
                yield_once().await;
                inner.turn();
            }
            answer.await.unwrap_or_else(|_| Err(inner.closed()))
        }
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed(&self) -> LogError {
        LogError::Closed { dir: self.dir.clone() }
    }

    /// The thread: one turn after the other until the log is closed and nothing waits.
    fn lead(&self) {
        let _over = Over(self);
        loop {
            let mut queue = self.queue();
            while !queue.urgent && !queue.closed {
                let (back, waited) =
                    self.wake.wait_timeout(queue, IDLE_TIME_MAX).unwrap_or_else(PoisonError::into_inner);
                queue = back;
                queue.urgent |= waited.timed_out() && !queue.waiting.is_empty();
            }
            let start = Instant::now();
            while !queue.closed && queue.bytes < self.gather.bytes {
                let Some(left) = self.gather.time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else {
                    break;
                };
                queue = self.wake.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            let last = queue.closed && queue.waiting.is_empty();
            drop(queue);
            if last {
                return;
            }
            self.turn();
        }
    }

    /// Takes all that waits, makes it durable together, and answers.
    fn turn(&self) {
        let mut log = self.log();
        let waiting = {
            let mut queue = self.queue();
            (queue.bytes, queue.urgent) = (0, false);
            std::mem::take(&mut queue.waiting)
        };
        let mut trims = Vec::new();
        let mut appends = Vec::new();
        for request in waiting {
            match request {
                Request::Append(append) => appends.push(append),
                Request::Trim { floor, ack } => trims.push((floor, ack)),
            }
        }
        loop {
            appends = self.commit(&mut log, appends);
            if appends.is_empty() {
                break;
            }
            std::thread::sleep(HOLD_TIME);
        }
        for (floor, ack) in trims {
            answer(ack, log.trim(floor));
        }
    }

    /// Makes a group durable and answers its callers; returns those that wait for space.
    fn commit(&self, log: &mut Log, appends: Vec<Append>) -> Vec<Append> {
        let appended =
            appends.into_iter().map(|append| (self.append_all(log, &append.payloads), append)).collect::<Vec<_>>();
        let began = Instant::now();
        let outcome = log.commit();
        if !appended.is_empty() {
            let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.nanoseconds.fetch_add(took, Ordering::Relaxed);
            self.groups.fetch_add(1, Ordering::Relaxed);
        }
        let durable = match &outcome {
            Err(LogError::Void { lo, .. }) => *lo,
            _ => log.durable(),
        };
        let hold = self.hold && !self.queue().closed;
        let (mut held, mut answered) = (Vec::new(), Vec::new());
        for (committed, append) in appended {
            match (&outcome, committed) {
                (Err(LogError::Disk { source: DiskError::NoSpace { .. }, .. }), Ok(committed))
                    if hold && committed.end > durable =>
                {
                    held.push(append);
                }
                (Err(error), Ok(committed)) if committed.end > durable => {
                    answered.push((append, Err(error.clone())));
                }
                (_, committed) => answered.push((append, committed)),
            }
        }
        // Before the answers: a caller that has its own finds nothing held back that is not.
        self.holding.store(!held.is_empty(), Ordering::Release);
        answered.iter().filter_map(|(_, answer)| answer.as_ref().err()).for_each(|error| self.stop(error));
        answered.into_iter().for_each(|(append, answer)| (append.done)(answer));
        held
    }
}

impl Inner {
    /// Remembers the first error of a log that takes nothing after one.
    fn stop(&self, error: &LogError) {
        if self.is_strict {
            self.stopped.get_or_init(|| error.clone());
        }
    }

    /// All payloads of one request or none: a limit that one of them breaks refuses the request before anything is appended.
    fn append_all(&self, log: &mut Log, payloads: &[Vec<u8>]) -> Result<Committed, LogError> {
        if let Some(error) = self.stopped.get() {
            return Err(error.clone());
        }
        log.check_payloads(payloads).inspect_err(|error| self.stop(error))?;
        let lsns = payloads.iter().map(|payload| log.append(payload)).collect::<Result<_, _>>();
        Ok(Committed { lsns: lsns.inspect_err(|error| self.stop(error))?, end: log.end() })
    }
}

/// Tells waiters and later callers that the thread has ended, also where it ended by a panic.
struct Over<'a>(&'a Inner);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.over = true;
        // Dropping a request drops its sender, and so wakes its waiter with `Closed`.
        queue.waiting.clear();
    }
}

fn answer<T>(ack: Ack<T>, result: Result<T, LogError>) {
    if ack.send(result).is_err() {
        // The caller lost interest; what it asked for is done all the same.
    }
}

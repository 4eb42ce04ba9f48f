//! One process that a plugin runs in, as the agent sees it: a question, an answer, or how it ended. It does not know what is asked.

use super::frame;
use super::spawn::Program;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a process that says nothing is waited for before the time is looked at again.
const PAUSE: Duration = Duration::from_millis(100);
/// A process may take so long for anything that costs no fuel …
const PATIENCE: Duration = Duration::from_secs(10);
/// … and so much longer for each unit of fuel, which is some ten times what slow machines take …
const PATIENCE_PER_FUEL: Duration = Duration::from_nanos(100);
/// … but no longer than this.
const PATIENCE_MAX: Duration = Duration::from_secs(600);
/// The longest answer, bytes: what a plugin may return, twice.
const ANSWER_BYTES_MAX: u64 = 1 << 30;
/// Room for messages that is kept between calls, bytes.
const ROOM_KEPT_MAX: usize = 1 << 20;

/// How a process that a plugin ran in came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEnd {
    /// Whose doing it was.
    pub by: EndedBy,
    /// In words.
    pub reason: String,
}

/// Who ended a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// What ran in it: it did what it may not, ran out of memory, gave no answer in time or one that is none.
    Itself,
    /// Somebody else killed it: an operator, or the kernel, where memory was short.
    Other,
    /// Another call, before this one was made.
    AnotherCall,
}

impl std::fmt::Display for ProcessEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

/// A process.
#[derive(Debug)]
pub struct Process {
    channel: Mutex<Channel>,
    /// Instances that live in it.
    pub instances: AtomicUsize,
    ended: AtomicBool,
    /// Messages without an answer that it was too busy to be told.
    untold: Mutex<Vec<Vec<u8>>>,
    /// The number that the system has given it.
    pub pid: u32,
}

#[derive(Debug)]
struct Channel {
    child: Child,
    stream: UnixStream,
    out: Vec<u8>,
    message: Vec<u8>,
    end: Option<String>,
}

/// How long an answer may take that costs `fuel` at most.
pub fn patience(fuel: u64) -> Duration {
    let nanoseconds = u64::try_from(PATIENCE_PER_FUEL.as_nanos()).unwrap_or(u64::MAX).saturating_mul(fuel);
    PATIENCE.saturating_add(Duration::from_nanos(nanoseconds)).min(PATIENCE_MAX)
}

impl Process {
    /// A new process.
    pub fn start(program: &Program) -> io::Result<Self> {
        let (child, stream) = program.start()?;
        let pid = child.id();
        stream.set_read_timeout(Some(PAUSE))?;
        stream.set_write_timeout(Some(PAUSE))?;
        let channel = Channel { child, stream, out: Vec::new(), message: Vec::new(), end: None };
        Ok(Self {
            channel: Mutex::new(channel),
            instances: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            untold: Mutex::default(),
            pid,
        })
    }

    /// Whether it has ended, as far as it is known.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Asks what `write` writes, and gives what `read` makes of the answer, which is to come within `patience`. The process is ended
    /// where that is not an answer.
    pub fn ask<T, E: std::fmt::Display>(
        &self,
        patience: Duration,
        write: impl FnOnce(&mut Vec<u8>),
        read: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<T, ProcessEnd> {
        let mut channel = self.lock();
        if let Some(reason) = &channel.end {
            return Err(ProcessEnd { by: EndedBy::AnotherCall, reason: reason.clone() });
        }
        let told = self.tell_all(&mut channel).map_err(Trouble::from);
        let answer = match told.and_then(|()| channel.exchange(patience, write)) {
            Ok(true) => read(&channel.message).map_err(|error| Trouble::Own(error.to_string())),
            Ok(false) => Err(Trouble::Gone),
            Err(trouble) => Err(trouble),
        };
        channel.spare();
        answer.map_err(|trouble| {
            self.ended.store(true, Ordering::Relaxed);
            channel.end_for(trouble)
        })
    }

    /// Says what `write` writes, to which there is no answer: at once, or before the next question where it is at work.
    pub fn tell(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut message = Vec::new();
        frame::begin(&mut message);
        write(&mut message);
        self.untold.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        if let Ok(mut channel) = self.channel.try_lock()
            && channel.end.is_none()
            && let Err(error) = self.tell_all(&mut channel)
        {
            self.ended.store(true, Ordering::Relaxed);
            channel.end_for(error.into());
        }
    }

    fn tell_all(&self, channel: &mut Channel) -> io::Result<()> {
        let untold = std::mem::take(&mut *self.untold.lock().unwrap_or_else(PoisonError::into_inner));
        let unheard = || Err(io::Error::new(ErrorKind::TimedOut, "it does not listen"));
        untold.into_iter().try_for_each(|mut message| frame::send(&mut channel.stream, &mut message, unheard))
    }

    fn lock(&self) -> MutexGuard<'_, Channel> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let channel = self.channel.get_mut().unwrap_or_else(PoisonError::into_inner);
        if channel.end.is_none() {
            channel.finish();
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
enum Trouble {
    /// The stream has ended.
    Gone,
    /// The process is there and to blame.
    Own(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::TimedOut | ErrorKind::InvalidData => Self::Own(error.to_string()),
            _ => Self::Gone,
        }
    }
}

impl Channel {
    fn exchange(&mut self, patience: Duration, write: impl FnOnce(&mut Vec<u8>)) -> Result<bool, Trouble> {
        frame::begin(&mut self.out);
        write(&mut self.out);
        // Counted in pauses and not by the clock: a machine that stands still takes nobody's time.
        let mut left = patience.as_millis() / PAUSE.as_millis();
        let mut waited = move || {
            let late =
                || io::Error::new(ErrorKind::TimedOut, format!("it gave no answer for {} s", patience.as_secs()));
            left = left.checked_sub(1).ok_or_else(late)?;
            Ok(())
        };
        frame::send(&mut self.stream, &mut self.out, &mut waited)?;
        Ok(frame::receive(&mut self.stream, &mut self.message, ANSWER_BYTES_MAX, &mut waited)?)
    }

    /// Gives up room that only few messages need.
    fn spare(&mut self) {
        for buffer in [&mut self.out, &mut self.message] {
            if buffer.capacity() > ROOM_KEPT_MAX {
                *buffer = Vec::new();
            }
        }
    }

    /// Ends the process if it has not ended, and says who did it.
    fn end_for(&mut self, trouble: Trouble) -> ProcessEnd {
        let status = self.finish();
        let end = match trouble {
            Trouble::Own(reason) => ProcessEnd { by: EndedBy::Itself, reason },
            Trouble::Gone => of_status(status),
        };
        self.end = Some(end.reason.clone());
        end
    }

    fn finish(&mut self) -> Option<ExitStatus> {
        // One that has ended by itself keeps its own status.
        self.child.kill().ok();
        self.child.wait().ok()
    }
}

/// What the status of a process that has ended says.
fn of_status(status: Option<ExitStatus>) -> ProcessEnd {
    let signal = status.and_then(|status| status.signal());
    let reason = match signal {
        Some(libc::SIGKILL) => {
            return ProcessEnd { by: EndedBy::Other, reason: "somebody killed it (SIGKILL)".to_owned() };
        }
        Some(libc::SIGSYS) => "it made a system call that it may not make (SIGSYS)".to_owned(),
        Some(libc::SIGSEGV | libc::SIGBUS) => "it touched memory that is not its own".to_owned(),
        Some(libc::SIGABRT) => "it gave up (SIGABRT), most likely for want of memory".to_owned(),
        Some(libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT) => {
            return ProcessEnd { by: EndedBy::Other, reason: "somebody ended it".to_owned() };
        }
        Some(signal) => format!("signal {signal}"),
        None => "it ended by itself".to_owned(),
    };
    ProcessEnd { by: EndedBy::Itself, reason }
}

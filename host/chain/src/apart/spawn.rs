//! Starts processes that plugins run in. A process ends with the thread that started it, whatever becomes of the agent; so there is
//! one thread that starts all of them, and it lives as long as the agent.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};

/// What is started for a plugin: a program that calls [`super::serve`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// What tells it what to do.
    pub arguments: Vec<OsString>,
    /// All of its environment. An allocator must be kept from starting threads: with two a process can't leave its namespaces, and
    /// later it may start none.
    pub environment: Vec<(OsString, OsString)>,
}

impl Program {
    /// This program itself, as it was when it was started, whatever lies in its place by now, with an empty environment.
    pub fn this(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(OsString::from).collect();
        Self { path: "/proc/self/exe".into(), arguments, environment: Vec::new() }
    }

    /// A new process and the agent's end of its stream. It has no file but the other end.
    pub(super) fn start(&self) -> io::Result<(Child, UnixStream)> {
        let (own, other) = UnixStream::pair()?;
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).arg0("sawlog-plugin").env_clear().current_dir("/");
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        // What a terminal tells the agent, such as an interrupt, is for the agent alone.
        command.process_group(0);
        command.stdin(Stdio::from(OwnedFd::from(other))).stdout(Stdio::null()).stderr(Stdio::null());
        Ok((on_the_thread(command)?, own))
    }
}

/// A command, and where to say what came of it.
type Order = (Command, Sender<io::Result<Child>>);

static THREAD: Mutex<Option<Sender<Order>>> = Mutex::new(None);

fn on_the_thread(command: Command) -> io::Result<Child> {
    let (answer, answered) = channel();
    let gone = |_| io::Error::other("the thread that starts processes has gone");
    let mut thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    let orders = match thread.take() {
        Some(orders) => orders,
        None => begin()?,
    };
    let ordered = orders.send((command, answer)).map_err(|_| io::Error::other("it takes no orders"));
    *thread = Some(orders);
    drop(thread);
    ordered?;
    answered.recv().map_err(gone)?
}

fn begin() -> io::Result<Sender<Order>> {
    let (orders, ordered) = channel::<Order>();
    let serve = move || {
        for (mut command, answer) in ordered {
            // Nobody waits for a process any more: it ends as nobody speaks to it.
            if let Err(unheard) = answer.send(command.spawn()) {
                drop(unheard);
            }
        }
    };
    std::thread::Builder::new().name("plugin processes".to_owned()).spawn(serve)?;
    Ok(orders)
}

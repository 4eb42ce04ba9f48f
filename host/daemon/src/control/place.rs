//! Which agent a verb is for, and how it is reached: through its socket where it runs, else by its data directory, under the lock
//! that a running agent would hold.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use sawlog_checkpoint::{CheckpointError, DataDir, DiskJournal, JournalOptions, LOCK_FILE};
use sawlog_core::journal::{Journal, OpenError};
use sawlog_log::{Disk, Drive, random_incarnation};
use serde_json::Value;
use thiserror::Error;
use tokio::net::UnixStream;

use crate::api::{SOCKET_FILE, short};
use crate::cli::ConfigPath;
use crate::config::Config;
use crate::run::SystemClock;

/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// A running agent that answers no question within this is stopped or stuck.
const LOOK_TIME: Duration = Duration::from_secs(15);

/// Which agent.
#[derive(Debug, Args)]
pub struct Place {
    /// Its config.
    #[command(flatten)]
    pub config: ConfigPath,
    /// The agent's data directory, instead of the one that the config names.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Why a verb got no answer.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The config does not say where the agent is.
    #[error("{reason}\nthe config says where the agent is; mend it, or name the folder with --data-dir")]
    Config {
        /// Everything that is wrong with it.
        reason: String,
    },
    /// No agent ever ran there.
    #[error(
        "{} is no agent's data directory: {reason}; name the one that the agent runs on with --config or --data-dir", path.display()
    )]
    NoDirectory {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// The verb is for a running agent.
    #[error("no agent runs on {}; start it with `sawlog run`{advice}", path.display())]
    NotRunning {
        /// The folder.
        path: PathBuf,
        /// What else may be done.
        advice: &'static str,
    },
    /// An agent holds the directory and does not answer.
    #[error("the agent on {} does not answer on its socket: {reason}; it is starting, ending, or of an older version", path.display())]
    Silent {
        /// The folder.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The agent refuses.
    #[error("{0}")]
    Refused(String),
    /// The directory can't be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The journal can't be read.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The answer can't be printed, or a thread can't be had.
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// An answer that is not what this version expects.
    #[error("the agent's answer can't be understood: {0}; use the `sawlog` of the version that runs")]
    Answer(#[from] serde_json::Error),
}

/// The agent as it was found.
pub enum Reach {
    /// It runs.
    Running(Client),
    /// It does not; its directory is locked for as long as this lives.
    Down(Box<Down>),
}

impl Reach {
    /// The agent on a data directory.
    pub fn of(path: &Path) -> Result<Self, ControlError> {
        match Client::connect(path)? {
            Some(client) => Ok(Self::Running(client)),
            None => Ok(Self::Down(Box::new(Down::open(path)?))),
        }
    }
}

impl Place {
    /// The agent's config, on the data directory that is meant.
    pub fn config(&self) -> Result<Config, ControlError> {
        let config = crate::verbs::load(&self.config.path);
        let mut config =
            config.map_err(|error| ControlError::Config { reason: error.to_string().trim_end().to_owned() })?;
        if let Some(path) = &self.data_dir {
            config.sections.data_dir.clone_from(path);
        }
        Ok(config)
    }

    /// The data directory.
    pub fn data_dir(&self) -> Result<PathBuf, ControlError> {
        match &self.data_dir {
            Some(path) => Ok(path.clone()),
            None => Ok(self.config()?.sections.data_dir),
        }
    }

    /// The agent, running or not.
    pub fn reach(&self) -> Result<Reach, ControlError> {
        Reach::of(&self.data_dir()?)
    }

    /// The agent, which must run; `advice` says what else may be done, beginning with a separator.
    pub fn running(&self, advice: &'static str) -> Result<Client, ControlError> {
        let path = self.data_dir()?;
        match Client::connect(&path)? {
            Some(client) => Ok(client),
            None => Err(ControlError::NotRunning { path, advice }),
        }
    }
}

/// A running agent, by its socket.
pub struct Client {
    data_dir: PathBuf,
    runtime: tokio::runtime::Runtime,
    /// How long an answer to a look may take.
    patience: Duration,
}

impl Client {
    /// `None` where nothing listens and the folder is one that an agent ran on.
    fn connect(data_dir: &Path) -> Result<Option<Self>, ControlError> {
        let no = |reason: &str| ControlError::NoDirectory { path: data_dir.to_owned(), reason: reason.to_owned() };
        let looked = std::fs::metadata(data_dir).map_err(|error| no(&error.to_string()))?;
        if !looked.is_dir() {
            return Err(no("it is no folder"));
        }
        if !data_dir.join(LOCK_FILE).exists() {
            return Err(no("no agent has left its lock there"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = Self { data_dir: data_dir.to_owned(), runtime, patience: LOOK_TIME };
        match client.runtime.block_on(open(data_dir)) {
            Ok(_) => Ok(Some(client)),
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) =>
            {
                Ok(None)
            }
            Err(error) => Err(ControlError::Silent { path: data_dir.to_owned(), reason: error.to_string() }),
        }
    }

    /// Looks at `path`.
    pub fn get(&self, path: &str) -> Result<Value, ControlError> {
        self.ask(Method::GET, path, None)
    }

    /// Asks; an answer that is no 2xx is an error in the agent's own words.
    pub fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ControlError> {
        // What is only looked at is there at once; what is to be done may take its time.
        let patience = (method == Method::GET).then_some(self.patience);
        self.ask_within(patience, method, path, body)
    }

    /// The same, without waiting longer for the answer.
    pub fn ask_within(
        &self,
        patience: Option<Duration>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ControlError> {
        let body = body.map(ToString::to_string).unwrap_or_default().into_bytes();
        self.send(patience, (method, path), &[("content-type", "application/json")], body)
    }

    /// Has it take these bytes, however long that takes.
    pub fn put(&self, path: &str, headers: &[(&str, &str)], bytes: Vec<u8>) -> Result<Value, ControlError> {
        let headers = [headers, &[("content-type", "application/octet-stream")]].concat();
        self.send(None, (Method::PUT, path), &headers, bytes)
    }

    fn send(
        &self,
        patience: Option<Duration>,
        what: (Method, &str),
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Value, ControlError> {
        let exchanged = self.runtime.block_on(async {
            let exchange = exchange(&self.data_dir, what, headers, body);
            let Some(patience) = patience else { return exchange.await };
            let late = |_| format!("no answer within {patience:?}");
            tokio::time::timeout(patience, exchange).await.map_err(late)?
        });
        let (status, answer) =
            exchanged.map_err(|reason| ControlError::Silent { path: self.data_dir.clone(), reason })?;
        let answer: Value = serde_json::from_slice(&answer)?;
        match (status.is_success(), answer["error"].as_str()) {
            (true, _) => Ok(answer),
            (false, Some(error)) => Err(ControlError::Refused(error.to_owned())),
            (false, None) => Err(ControlError::Refused(format!("the agent answers {status}"))),
        }
    }
}

async fn open(data_dir: &Path) -> std::io::Result<UnixStream> {
    let folder = std::fs::File::open(data_dir)?;
    let path = short(&data_dir.join(SOCKET_FILE), &folder);
    let late = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection within 5 s");
    tokio::time::timeout(CONNECT_TIME, UnixStream::connect(path)).await.map_err(late)?
}

async fn exchange(
    data_dir: &Path,
    (method, path): (Method, &str),
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes), String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let stream = open(data_dir).await.map_err(|e| told(&e))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| told(&e))?;
    let request = Request::builder().method(method).uri(path).header("host", "sawlog");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let request = request.body(Full::new(Bytes::from(body))).map_err(|e| told(&e))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|e| told(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|e| told(&e))?;
        Ok((status, body.to_bytes()))
    };
    let connection = async {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection broke off");
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answer => answer,
        () = connection => Err("the connection ended".to_owned()),
    }
}

/// The data directory of an agent that does not run.
pub struct Down {
    /// The journal's records, loaded.
    pub journal: Arc<Journal>,
    /// The journal on the disk.
    pub store: Arc<DiskJournal>,
    /// For the store's calls.
    pub runtime: tokio::runtime::Runtime,
    /// Held for its lock.
    directory: DataDir,
}

impl Down {
    /// The disk below the directory.
    pub fn disk(&self) -> Arc<dyn Disk> {
        self.directory.disk()
    }

    /// The directory's own name.
    pub fn directory_name(&self) -> String {
        self.directory.uuid().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn open(path: &Path) -> Result<Self, ControlError> {
        let directory = match DataDir::open(path) {
            Err(error @ CheckpointError::Locked { .. }) => {
                return Err(ControlError::Silent { path: path.to_owned(), reason: error.to_string() });
            }
            opened => opened?,
        };
        let mut options = JournalOptions::new(random_incarnation()?);
        // Looking deletes nothing.
        options.keep = usize::MAX;
        let store = Arc::new(DiskJournal::open(directory.disk(), options, Drive::Thread)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let journal = runtime.block_on(Journal::open(store.clone(), Arc::new(SystemClock)))?;
        Ok(Self { journal: Arc::new(journal), store, runtime, directory })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc;
    use std::time::Instant;

    /// An agent that takes connections, and answers those that it is told to answer, in turn, some time after they came.
    fn agent(folder: &Path, answers: [Option<Duration>; 2]) -> Client {
        std::fs::write(folder.join(LOCK_FILE), "").unwrap();
        let listener = UnixListener::bind(folder.join(SOCKET_FILE)).unwrap();
        std::thread::spawn(move || {
            // The first one only looks whether somebody listens.
            let mut kept = vec![listener.accept().unwrap().0];
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                if let Some(after) = answer {
                    std::thread::sleep(after);
                    _ = stream.read(&mut [0; 4096]).unwrap();
                    let text = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntrue";
                    stream.write_all(text.as_bytes()).unwrap();
                }
                kept.push(stream);
            }
            // It stays there.
            std::thread::sleep(Duration::from_secs(60));
        });
        Client::connect(folder).unwrap().unwrap()
    }

    /// What `work` gives, which must come within a time that a stuck agent would not keep.
    fn soon<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let (told, answer) = mpsc::channel();
        std::thread::spawn(move || told.send(work()));
        answer.recv_timeout(Duration::from_secs(20)).expect("it waits for an agent that is stuck")
    }

    #[test]
    fn a_look_waits_for_no_agent_that_is_stuck_and_what_is_to_be_done_takes_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut client = agent(folder.path(), [None, Some(Duration::from_millis(600))]);
        client.patience = Duration::from_millis(200);
        let (client, stuck) = soon(move || {
            let stuck = client.get("/v1/destinations");
            (client, stuck)
        });
        let said = stuck.unwrap_err().to_string();
        assert!(said.contains("does not answer on its socket: no answer within 200ms"), "{said}");
        let began = Instant::now();
        let done = soon(move || client.ask(Method::POST, "/v1/sources/app/seek", None));
        assert_eq!(done.unwrap(), true);
        assert!(began.elapsed() >= Duration::from_millis(600));
    }
}

//! What runs, written down: the state file of one run of the services.
//!
//! The file is the only memory. Whoever has its path (`SAWLOG_TEST_SERVICES`) can kill, pause and restart a service
//! on the same data and port, because the whole command line and its probes are in it. It knows no service by name.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::process::ProcessIdentity;

/// The environment variable by which tests find the state file.
pub const STATE_VARIABLE: &str = "SAWLOG_TEST_SERVICES";

/// The environment variable that marks all that a run started: every service, every test, and what those start. It holds
/// the path of the state file too, but is never printed for a shell, or ending a run would end whatever that shell began.
pub const MARK_VARIABLE: &str = "SAWLOG_TEST_MARK";

/// One run of the services.
#[derive(Default, Serialize, Deserialize)]
pub struct State {
    /// The endpoints, as environment variables for tests.
    pub endpoints: BTreeMap<String, String>,
    /// The processes, in the order in which they are started.
    pub processes: Vec<ServiceProcess>,
}

/// One process of a service and all that is needed to start it again.
#[derive(Clone, Serialize, Deserialize)]
pub struct ServiceProcess {
    /// Its own name, as `hdfs-datanode`.
    pub name: String,
    /// The service that it belongs to, as `hdfs`.
    pub service: String,
    /// What to run.
    pub command: CommandLine,
    /// When it counts as ready: all of these, in this order.
    pub ready: Vec<Ready>,
    /// Where its output goes.
    pub log: PathBuf,
    /// The living process, once started.
    pub identity: Option<ProcessIdentity>,
}

/// A command line that does not depend on who runs it.
#[derive(Clone, Serialize, Deserialize)]
pub struct CommandLine {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables added to the environment.
    pub environment: BTreeMap<String, String>,
    /// The working folder.
    pub directory: PathBuf,
    /// The user (and group) to run as, when it must not be the present one.
    pub user_id: Option<u32>,
    /// Set when the program starts the service in the background and leaves: the file in which it writes the pid.
    pub pid_file: Option<PathBuf>,
}

/// A sign of readiness.
#[derive(Clone, Serialize, Deserialize)]
pub enum Ready {
    /// The log has this text, written since the process was started.
    LogHas(String),
    /// A GET of the URL is answered 200 and the body has each of these texts.
    HttpHas {
        /// The URL.
        url: String,
        /// The texts.
        texts: Vec<String>,
    },
    /// Something accepts connections at this address.
    Accepts(String),
}

/// The state file; every change is made under a lock and appears whole or not at all.
#[derive(Clone)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// The state file of that run folder, whether it exists or not.
    pub fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join("services.json") }
    }

    /// The state file at this path.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run folder: data, logs and configuration of the services lie in it.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// `SAWLOG_TEST_MARK=<path>`: what every process of this run has in its environment.
    pub fn mark(&self) -> String {
        format!("{MARK_VARIABLE}={}", self.path.display())
    }

    /// Reads the present state; an absent file is the empty state.
    pub fn read(&self) -> Result<State> {
        match fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is no state file of services: run `services down`", self.path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(State::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", self.path.display())),
        }
    }

    /// Changes the state under the lock, which is held only for the change itself.
    pub fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T> {
        let lock_path = self.path.with_extension("lock");
        let lock = File::create(&lock_path).with_context(|| format!("cannot create {}", lock_path.display()))?;
        lock.lock().with_context(|| format!("cannot lock {}", lock_path.display()))?;
        let mut state = self.read()?;
        let answer = change(&mut state);
        let new = self.path.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(&state)?)
            .with_context(|| format!("cannot write {}", new.display()))?;
        fs::rename(&new, &self.path).with_context(|| format!("cannot replace {}", self.path.display()))?;
        Ok(answer)
    }

    /// Puts a process in place of the one with the same name, or at the end.
    pub fn put(&self, process: ServiceProcess) -> Result<()> {
        self.update(|state| match state.processes.iter_mut().find(|known| known.name == process.name) {
            Some(known) => *known = process,
            None => state.processes.push(process),
        })
    }

    /// The processes that a name means: a service with all its processes, or one process. The error lists the names.
    pub fn named(&self, name: &str) -> Result<Vec<ServiceProcess>> {
        let state = self.read()?;
        let known: Vec<String> = state.processes.iter().map(|process| process.name.clone()).collect();
        let found: Vec<_> = state.processes.into_iter().filter(|one| one.name == name || one.service == name).collect();
        anyhow::ensure!(!found.is_empty(), "no process named {name} in this run: there are [{}]", known.join(", "));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn process(name: &str, service: &str) -> ServiceProcess {
        let command = CommandLine {
            program: "true".into(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            directory: "/".into(),
            user_id: None,
            pid_file: None,
        };
        let ready = vec![Ready::Accepts("127.0.0.1:1".into())];
        ServiceProcess { name: name.into(), service: service.into(), command, ready, log: "log".into(), identity: None }
    }

    #[test]
    fn a_name_means_a_service_or_one_process_and_a_wrong_one_lists_the_right_ones() {
        let folder = std::env::temp_dir().join(format!("sawlog-state-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = StateFile::in_folder(&folder);
        file.put(process("hdfs-namenode", "hdfs")).unwrap();
        file.put(process("hdfs-datanode", "hdfs")).unwrap();
        file.put(process("hdfs-datanode", "hdfs")).unwrap();
        assert_eq!(file.named("hdfs").unwrap().len(), 2);
        assert_eq!(file.named("hdfs-datanode").unwrap().len(), 1);
        let error = file.named("kafka").err().unwrap().to_string();
        assert!(error.contains("[hdfs-namenode, hdfs-datanode]"), "{error}");
        fs::remove_dir_all(&folder).unwrap();
    }
}

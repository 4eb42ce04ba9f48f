//! Real Kafka, Elasticsearch, OpenSearch, HDFS, S3 and an OCI registry on loopback, provisioned into the user's cache folder.
//!
//! A service is a module that lays out its configuration and says which processes to run; starting, killing and
//! restarting know no service. One run has one folder and one state file, and everything it starts carries the path
//! of that file in its environment: by this mark all of it is ended, whatever became of whoever started it.

mod certificates;
mod elasticsearch;
mod guard;
mod hdfs;
mod java;
mod kafka;
mod launch;
mod lock;
mod opensearch;
mod ports;
mod provision;
mod registry;
mod run;
mod s3;
mod state;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::ValueEnum;
use rustix::process::Signal;

pub use guard::guarded;
pub use provision::{node_tool, python_with};
pub use run::Run;

use crate::workspace;
use state::{STATE_VARIABLE, ServiceProcess, StateFile};

/// A service that can be provisioned here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// One Kafka broker, which is its own controller
    Kafka,
    /// One Elasticsearch node
    Elasticsearch,
    /// One Elasticsearch node behind TLS and a password
    ElasticsearchSecure,
    /// One OpenSearch node: the second dialect of the same sink
    Opensearch,
    /// A NameNode and a DataNode
    Hdfs,
    /// An S3 gateway over a local folder
    S3,
    /// MinIO: the second dialect of S3
    Minio,
    /// A registry of OCI artifacts, plain, and behind TLS and a password
    Registry,
}

impl Service {
    /// What the default run of the tests needs.
    pub const DEFAULT: [Self; 6] =
        [Self::Kafka, Self::Elasticsearch, Self::ElasticsearchSecure, Self::Hdfs, Self::S3, Self::Registry];
    /// What `--full` adds.
    pub const FULL: [Self; 2] = [Self::Opensearch, Self::Minio];

    /// Its name in paths, messages and the state file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Elasticsearch => "elasticsearch",
            Self::ElasticsearchSecure => "elasticsearch-secure",
            Self::Opensearch => "opensearch",
            Self::Hdfs => "hdfs",
            Self::S3 => "s3",
            Self::Minio => "minio",
            Self::Registry => "registry",
        }
    }

    /// Fetches and builds what it is made of, unless the cache folder has it, and holds it against the lock.
    fn provision(self) -> Result<()> {
        match self {
            Self::Kafka => kafka::provision(),
            Self::Elasticsearch | Self::ElasticsearchSecure => elasticsearch::provision(),
            Self::Opensearch => opensearch::provision(),
            Self::Hdfs => hdfs::provision(),
            Self::S3 => s3::provision(s3::Dialect::Versitygw),
            Self::Minio => s3::provision(s3::Dialect::Minio),
            Self::Registry => registry::provision(),
        }
    }

    /// Writes configuration and empty data into the place and says what to run.
    fn lay_out(self, place: &Place) -> Result<Layout> {
        match self {
            Self::Kafka => kafka::lay_out(place),
            Self::Elasticsearch => elasticsearch::lay_out(place),
            Self::ElasticsearchSecure => elasticsearch::lay_out_secure(place),
            Self::Opensearch => opensearch::lay_out(place),
            Self::Hdfs => hdfs::lay_out(place),
            Self::S3 => s3::lay_out(s3::Dialect::Versitygw, place),
            Self::Minio => s3::lay_out(s3::Dialect::Minio, place),
            Self::Registry => registry::lay_out(place),
        }
    }
}

/// Fetches and builds what services and their tests are made of, one after the other, unless the cache folder has it.
pub fn fetch(services: &[Service]) -> Result<()> {
    for service in services {
        service.provision().with_context(|| format!("cannot provision {}", service.name()))?;
    }
    python_with("duckdb")?;
    provision::python_data("kubernetes-schemas").map(|_| ())
}

/// Where a service is laid out.
struct Place {
    /// Its own, empty folder.
    folder: PathBuf,
    /// The state file of the run.
    file: StateFile,
}

impl Place {
    /// The log of one of its processes.
    fn log(&self, process: &str) -> PathBuf {
        self.folder.join(format!("{process}.log"))
    }
}

/// What a service consists of.
struct Layout {
    /// Its processes, in the order in which they are started.
    processes: Vec<ServiceProcess>,
    /// Environment variables by which tests find it.
    endpoints: Vec<(&'static str, String)>,
}

/// What can be done with services.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Start services and leave them running; those that run already are left alone
    Up {
        /// Which [default: kafka elasticsearch elasticsearch-secure hdfs s3 registry]
        services: Vec<Service>,
    },
    /// End everything that `up` started and delete its data
    Down,
    /// Say what runs, and where
    Status,
    /// Print the endpoints as shell assignments: eval "$(cargo xtask services env)"
    Env,
    /// Fetch and build without starting
    Provision {
        /// Which [default: kafka elasticsearch elasticsearch-secure hdfs s3 registry]
        services: Vec<Service>,
    },
    /// Kill a service, or one process of it, with SIGKILL
    Kill {
        /// As `kafka` or `hdfs-datanode`
        name: String,
    },
    /// Kill it if it lives and start it again on the same data and port; returns when it is ready
    Restart {
        /// As `kafka` or `hdfs-datanode`
        name: String,
    },
    /// Stop it with SIGSTOP, so that it hangs with its connections open
    Pause {
        /// As `kafka` or `hdfs-datanode`
        name: String,
    },
    /// Continue it with SIGCONT
    Resume {
        /// As `kafka` or `hdfs-datanode`
        name: String,
    },
    /// Wait for the end of standard input, then end everything of that run
    #[command(hide = true)]
    Guard {
        /// The state file of the run
        state: PathBuf,
    },
}

/// Runs one verb.
pub fn run(verb: &Verb) -> Result<ExitCode> {
    match verb {
        Verb::Up { services } => up(&or_default(services))?,
        Verb::Down => down()?,
        Verb::Status => status()?,
        Verb::Env => print_endpoints(&current()?)?,
        Verb::Provision { services } => fetch(&or_default(services))?,
        Verb::Kill { name } => Run::at(current()?).kill(name)?,
        Verb::Restart { name } => Run::at(current()?).restart(name)?,
        Verb::Pause { name } => Run::at(current()?).signal(name, Signal::STOP)?,
        Verb::Resume { name } => Run::at(current()?).signal(name, Signal::CONT)?,
        Verb::Guard { state } => guard::stand(StateFile::at(state.clone()))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn or_default(services: &[Service]) -> Vec<Service> {
    if services.is_empty() { Service::DEFAULT.to_vec() } else { services.to_vec() }
}

/// The file in the cache folder that remembers which run `up` made.
fn remembered() -> Result<PathBuf> {
    Ok(workspace::cache()?.join("services-up"))
}

/// The run that verbs are about: the one in the environment (inside a test), else the one that `up` made.
fn current() -> Result<StateFile> {
    if let Some(path) = std::env::var_os(STATE_VARIABLE) {
        return Ok(StateFile::at(path.into()));
    }
    let path = std::fs::read_to_string(remembered()?)
        .context("no services are up: start them with `cargo xtask services up`")?;
    Ok(StateFile::at(path.into()))
}

fn up(services: &[Service]) -> Result<()> {
    let run = match current() {
        Ok(file) if file.path().exists() => Run::at(file),
        _ => Run::create()?,
    };
    std::fs::write(remembered()?, run.file().path().to_str().context("the run folder's path is not UTF-8")?)?;
    run.start(services)?;
    print_endpoints(run.file())
}

fn down() -> Result<()> {
    let file = current()?;
    let ended = Run::at(file).end()?;
    if let Err(error) = std::fs::remove_file(remembered()?) {
        anyhow::ensure!(error.kind() == std::io::ErrorKind::NotFound, "cannot forget the run: {error}");
    }
    println!("{ended} processes ended");
    Ok(())
}

fn status() -> Result<()> {
    let file = current()?;
    let mut out = std::io::stdout().lock();
    for process in file.read()?.processes {
        let log = process.log.display();
        match process.identity.filter(|identity| identity.is_alive()) {
            Some(identity) => writeln!(out, "{:<16} runs   pid {:<8} log {log}", process.name, identity.pid)?,
            None => writeln!(out, "{:<16} is down              log {log}", process.name)?,
        }
    }
    print_endpoints(&file)
}

fn print_endpoints(file: &StateFile) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "export {STATE_VARIABLE}={}", file.path().display())?;
    for (name, value) in file.read()?.endpoints {
        writeln!(out, "export {name}='{value}'")?;
    }
    Ok(())
}

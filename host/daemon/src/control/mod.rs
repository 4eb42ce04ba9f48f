//! The verbs that speak to a running agent through the socket in its data directory, and read the directory where none runs. A
//! verb is a file: its options, what the running agent answers, and what is done without one. A new verb is a file, a variant
//! of [`Verb`] and a line in [`routes`].

mod agent;
pub mod checkpoint;
mod dlq;
mod drain;
mod log_level;
pub mod loss;
pub mod missing;
mod place;
mod reload;
mod restore;
pub mod status;
pub mod swap;
pub mod switches;
mod table;
pub mod trial;
mod unstick;

use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use clap::{Subcommand, ValueEnum};

use crate::run::Handle;

pub use place::ControlError;

/// Verbs for a running agent.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show how sources and sinks fare, on one screen.
    #[command(alias = "top")]
    Status(status::Options),
    /// Show the ledger: what became of every input record.
    Loss(loss::Options),
    /// List checkpoints, show what is in one, take one, back it up, bring it back.
    Checkpoint(checkpoint::Options),
    /// List, show or replay dead letters.
    Dlq(dlq::Options),
    /// Have a sink forget what it owes.
    Sink(unstick::Sink),
    /// Have a source go on reading elsewhere.
    Source(unstick::Source),
    /// Have a partition go on that has stopped.
    Partition(unstick::Partition),
    /// End what an agent that does not come back holds in the sinks.
    Agent(agent::Agent),
    /// Have the agent take its configuration anew, and say how that went.
    Reload(reload::Options),
    /// Have the agent plan no more input and deliver what it has planned.
    Drain(drain::Options),
    /// Show or change the level of the agent's own log.
    LogLevel(log_level::Options),
}

impl Verb {
    /// Does it.
    pub fn run(&self) -> Result<ExitCode, ControlError> {
        match self {
            Self::Status(options) => status::run(options),
            Self::Loss(options) => loss::run(options),
            Self::Checkpoint(options) => checkpoint::run(options),
            Self::Dlq(options) => dlq::run(options),
            Self::Sink(options) => unstick::sink(options),
            Self::Source(options) => unstick::source(options),
            Self::Partition(options) => unstick::partition(options),
            Self::Agent(options) => agent::run(options),
            Self::Reload(options) => reload::run(options),
            Self::Drain(options) => drain::run(options),
            Self::LogLevel(options) => log_level::run(options),
        }
    }
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For a person.
    #[default]
    Text,
    /// For a program.
    Json,
}

/// What the agent answers on its socket alone.
pub fn local_routes() -> Router<Arc<Handle>> {
    reload::local_routes()
}

/// What a running agent answers to each verb.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new()
        .merge(status::routes())
        .merge(loss::routes())
        .merge(checkpoint::routes())
        .merge(dlq::routes())
        .merge(switches::routes())
        .merge(unstick::routes())
        .merge(agent::routes())
        .merge(reload::routes())
        .merge(swap::routes())
        .merge(trial::routes())
        .merge(drain::routes())
        .merge(log_level::routes())
}

//! All of the program `sawlog`: a verb in, an exit code out. What each verb does is in a room of its own. It is a library so that
//! the bench can have the same program with another chain in it.
//!
//! Exit codes: 0 done, 1 the verb failed, 2 the config or the command line is wrong,
//! 3 another agent of the same id was met.
#![deny(unsafe_code)]

mod agent_id;
mod api;
mod backup;
mod cli;
mod complete;
mod config;
mod control;
mod diagnostics;
mod digest;
mod footprint;
mod graph;
mod letters;
mod own_log;
mod plugin;
mod preflight;
mod registry;
mod retire;
mod run;
mod schema;
mod setup;
mod signature;
mod summary;
mod telemetry;
mod validate;
mod verbs;
mod words;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use sawlog_core::ports::Chains;

/// An agent lives for months, and what it keeps a long time is small and made between much that is short-lived: with the
/// allocator of the C library a third more stays resident.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What stands between the chains that a config makes and the engine that runs them: in the agent nothing.
pub type Between = fn(Arc<dyn Chains>) -> Arc<dyn Chains>;

/// The program, with its arguments from the command line.
pub fn main(between: Between) -> ExitCode {
    let cli = cli::Cli::parse();
    let done = match cli.verb {
        cli::Verb::Run(options) => verbs::run(&options, between),
        cli::Verb::Validate(options) => verbs::validate(&options),
        cli::Verb::Schema => verbs::schema(),
        cli::Verb::Graph(options) => verbs::graph(&options),
        cli::Verb::Setup(options) => verbs::setup(&options),
        cli::Verb::Complete(options) => verbs::complete(&options),
        cli::Verb::PluginProcess => return sawlog_chain::apart::serve(),
        cli::Verb::Plugin(verb) => verb.run().map_err(Into::into),
        cli::Verb::Control(verb) => verb.run().map_err(Into::into),
    };
    done.unwrap_or_else(|error| error.tell())
}

//! `cargo xtask`: all automation of this repository, in Rust.
//!
//! One module per verb. Nothing here is linked into the agent, and nothing here knows how the agent works inside: it
//! builds, starts, feeds and judges programs from the outside.

mod bench;
mod demo;
mod fuzz;
mod plugins;
mod process;
mod services;
mod soak;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tests and demonstrates Sawlog", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the main job on this machine and count what an independent reader finds
    Demo(demo::Options),
    /// Run every ring of tests, as CI does
    Test(test::Options),
    /// Measure the agent beside its floor
    Bench(bench::Options),
    /// Let faults at random befall the agent for as long as one likes: nothing may grow, nothing be lost or repeated
    Soak(soak::Options),
    /// Give readers of input from outside what no sender of good will sends
    Fuzz(fuzz::Options),
    /// Keep walls, lengths, doc comments and words
    Tidy(tidy::Options),
    /// Build the WASM plugins of this repository
    #[command(subcommand)]
    Plugins(plugins::Verb),
    /// Provision and run the real services that tests talk to
    #[command(subcommand)]
    Services(services::Verb),
}

fn main() -> ExitCode {
    if let Some(code) = test::in_place_of_the_compiler() {
        return code;
    }
    let outcome = match Arguments::parse().verb {
        Verb::Demo(options) => demo::run(&options),
        Verb::Test(options) => test::run(&options),
        Verb::Bench(options) => bench::run(&options),
        Verb::Soak(options) => soak::run(&options),
        Verb::Fuzz(options) => fuzz::run(&options),
        Verb::Tidy(options) => tidy::run(&options),
        Verb::Plugins(verb) => plugins::run(&verb),
        Verb::Services(verb) => services::run(&verb),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::CommandFactory as _;

    #[test]
    fn verbs_and_flags_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }
}

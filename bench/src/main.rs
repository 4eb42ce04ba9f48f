//! The bench: the agent as a whole process beside the floor that this machine sets in the same run, on the same bytes, with a
//! reader that counts every record. It knows the agent only as a program with a configuration; `cargo xtask bench` builds both
//! and calls it.

mod agent;
mod check;
mod data;
mod floor;
mod isolation;
mod kafka;
mod latency;
mod load;
mod measure;
mod plugins;
mod probe;
mod recovery;
mod rows;
mod scaling;
mod soak;
mod store;
mod table;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "sawlog-bench", about = "Measures the agent beside its floor")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the bench and print its table
    Run(Options),
    /// Be the floor: one plain loop over a file, as a process of its own
    Floor {
        /// What the lines are
        #[arg(long)]
        work: floor::Work,
        /// Lines to read
        input: PathBuf,
        /// Where they go
        output: PathBuf,
    },
    /// Hold what a dead sink costs the others, and how much memory, against what is promised
    Isolation(isolation::Options),
    /// Let faults at random befall the agent for a long time, and hold what it takes and what came out against what is promised
    Soak(soak::Options),
    /// Be the floor of Kafka: one plain loop over librdkafka's producer
    Produce {
        /// The broker
        brokers: String,
        /// The topic
        topic: String,
        /// Rows to send, one a line
        rows: PathBuf,
    },
    /// Be the floor of HTTP input: serve as many connections as the load makes, then end
    Serve {
        /// Address to listen on
        listen: std::net::SocketAddr,
        /// Where bodies go
        output: PathBuf,
    },
}

/// What a run may be asked for.
#[derive(clap::Args)]
struct Options {
    /// The agent's binary, built with optimisation
    #[arg(long)]
    agent: PathBuf,
    /// The same with native code in the place of plugins
    #[arg(long)]
    native: PathBuf,
    /// Folder with the built plugins
    #[arg(long)]
    plugins: PathBuf,
    /// Folder for data; emptied
    #[arg(long)]
    folder: PathBuf,
    /// Megabytes (10^6 bytes) of input of one run
    #[arg(long, default_value_t = 400)]
    megabytes: u64,
    /// Interleaved runs; medians count
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Only these rows
    #[arg(long, value_delimiter = ',')]
    only: Vec<rows::Row>,
}

fn main() -> Result<()> {
    match Arguments::parse().verb {
        Verb::Floor { work, input, output } => floor::run(work, &input, &output),
        Verb::Serve { listen, output } => load::serve(&std::net::TcpListener::bind(listen)?, &output),
        Verb::Produce { brokers, topic, rows } => kafka::produce(&brokers, &topic, &rows),
        Verb::Isolation(options) => isolation::run(&options),
        Verb::Soak(options) => soak::run(&options),
        Verb::Run(options) => {
            ensure!(options.runs > 0 && options.megabytes > 0, "--runs and --megabytes must be above 0");
            rows::run(&options)
        }
    }
}

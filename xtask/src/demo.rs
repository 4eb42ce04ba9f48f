//! `cargo xtask demo`.

use std::process::ExitCode;

use anyhow::Result;

/// What a demonstration may be asked for.
#[derive(clap::Args)]
pub struct Options {
    /// Use real Kafka, Elasticsearch, S3 and HDFS, provisioned on loopback, as well
    #[arg(long)]
    services: bool,
}

/// Runs the demonstration.
pub fn run(options: &Options) -> Result<ExitCode> {
    Ok(crate::not_built_yet(if options.services { "demo --services" } else { "demo" }))
}

//! The verbs and options of the command line. It knows how they are written, not what they do.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sawlog_settings::Period;

/// Sawlog takes logs from files, HTTP and Kafka to Kafka, Elasticsearch, S3 and HDFS, each record exactly once.
#[derive(Debug, Parser)]
#[command(name = "sawlog", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Where the config is.
#[derive(Debug, Args)]
pub struct ConfigPath {
    /// The config: a file, or a folder of files.
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE|DIR",
        default_value = "/etc/sawlog/sawlog.yaml",
        env = "SAWLOG_CONFIG"
    )]
    pub path: PathBuf,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the agent.
    Run(Run),
    /// Say everything that is wrong with a config, or what each route promises and needs.
    Validate(Validate),
    /// Print the JSON Schema of configs.
    Schema,
    /// Draw who feeds whom.
    Graph(Graph),
    /// Make the topics that Kafka sinks need and the index templates that Elasticsearch sinks want, where they are missing.
    Setup(Setup),
    /// Say whether an hour is closed in the stores of object sinks: exit code 0 if it is, 1 if not yet.
    Complete(Complete),
    /// Make, test and measure plugins.
    #[command(subcommand)]
    Plugin(crate::plugin::Verb),
    /// Be the process that a plugin with `isolation: process` runs in. An agent starts it; it is no use to anybody else.
    #[command(hide = true)]
    PluginProcess,
    /// Verbs that speak to a running agent.
    #[command(flatten)]
    Control(crate::control::Verb),
}

/// Options of `setup`.
#[derive(Debug, Args)]
pub struct Setup {
    /// Where the config is.
    #[command(flatten)]
    pub config: ConfigPath,
    /// Say what would be made, and make nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Partitions of a data topic.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,
    /// Copies of each partition; with fewer than three Kafka itself may lose what it acknowledged.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..))]
    pub replicas: i32,
}

/// Options of `complete`.
#[derive(Debug, Args)]
pub struct Complete {
    /// Where the config is.
    #[command(flatten)]
    pub config: ConfigPath,
    /// The hour, UTC.
    #[arg(long, value_name = "YYYY-MM-DDTHH", value_parser = hour)]
    pub hour: i64,
    /// Only this sink.
    #[arg(long)]
    pub sink: Option<String>,
    /// Leave out logs whose newest claim is older, such as `6h`, and name them.
    #[arg(long, value_name = "PERIOD")]
    pub silent_for: Option<Period>,
}

fn hour(text: &str) -> Result<i64, String> {
    sawlog_record::time::parse_hour(text)
        .ok_or_else(|| format!("`{text}` is no hour; write year, month, day and hour of UTC, such as 2026-01-31T05"))
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Where the config is.
    #[command(flatten)]
    pub config: ConfigPath,
    /// Check the config and all that it names on this machine, print the summary, and end.
    #[arg(long)]
    pub dry_run: bool,
    /// End when everything that is there has been delivered.
    #[arg(long, conflicts_with = "dry_run")]
    pub until_eof: bool,
    /// Begin with the components that the config names, whatever was put in their places by `sawlog plugin swap`.
    #[arg(long)]
    pub discard_overrides: bool,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a person.
    Text,
    /// For a program.
    Json,
}

/// Options of `validate`.
#[derive(Debug, Args)]
pub struct Validate {
    /// Where the config is.
    #[command(flatten)]
    pub config: ConfigPath,
    /// How the report is written.
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// Options of `graph`.
#[derive(Debug, Args)]
pub struct Graph {
    /// Where the config is.
    #[command(flatten)]
    pub config: ConfigPath,
    /// Language of the drawing.
    #[arg(long, value_enum, default_value = "mermaid")]
    pub format: crate::graph::Language,
}

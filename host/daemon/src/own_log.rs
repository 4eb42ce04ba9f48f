//! The agent's own log, on standard error: events of ours, never contents of records.

use tracing_subscriber::EnvFilter;

use crate::config::sections::{LogFormat, OwnLog};

/// Starts the log for the rest of the process. A second call changes nothing.
pub fn start(options: &OwnLog) {
    let filter = EnvFilter::new(format!(
        "warn,sawlog={level},sawlog_core={level},sawlog_sources={level},sawlog_sinks={level}",
        level = options.level
    ));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match options.format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.with_ansi(false).try_init(),
    };
    if let Err(error) = started {
        eprintln!("the own log was started before: {error}");
    }
}

//! The agent's own log, on standard error: events of ours, never contents of records. Its level can be changed while it runs.

use std::io;
use std::sync::{OnceLock, PoisonError, RwLock};

use thiserror::Error;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::sections::{LogFormat, LogLevel, OwnLog};
use crate::words;

struct Started {
    filter: reload::Handle<EnvFilter, Registry>,
    level: RwLock<LogLevel>,
}

static STARTED: OnceLock<Started> = OnceLock::new();

/// The level can't be changed.
#[derive(Debug, Error)]
pub enum LevelError {
    /// Nothing runs in this process that has a log.
    #[error("the own log has not been started; start the agent with `sawlog run`")]
    NotStarted,
    /// The log has gone.
    #[error("the own log can't be changed: {0}; restart the agent with the level in `telemetry.log`")]
    Gone(#[from] reload::Error),
}

/// Standard error, to which each event goes as a whole. Names of files, lines of plugins and answers of servers are others' words:
/// they can't make lines there that look like the agent's own, nor talk to the terminal that shows them.
#[derive(Debug)]
struct Tamed;

impl io::Write for Tamed {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        io::stderr().lock().write_all(words::event(&text).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

fn filter(level: LogLevel) -> EnvFilter {
    EnvFilter::new(format!(
        "warn,sawlog={level},sawlog_core={level},sawlog_sources={level},sawlog_sinks={level},sawlog_queue={level},\
         sawlog_checkpoint={level},sawlog_chain={level},sawlog_plugin={level},sawlog_kafka={level},sawlog_log={level}"
    ))
}

/// Starts the log for the rest of the process. A second call changes nothing.
pub fn start(options: &OwnLog) {
    let (filter, handle) = reload::Layer::new(filter(options.level));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer;
    let started = match options.format {
        // What JSON spells out is spelt out already.
        LogFormat::Json => registry.with(layer().with_writer(io::stderr).json()).try_init(),
        LogFormat::Text => registry.with(layer().with_writer(|| Tamed).with_ansi(false)).try_init(),
    };
    match started {
        Ok(()) => _ = STARTED.set(Started { filter: handle, level: RwLock::new(options.level) }).is_ok(),
        Err(error) => eprintln!("the own log was started before: {error}"),
    }
}

/// The present level.
pub fn level() -> Result<LogLevel, LevelError> {
    let started = STARTED.get().ok_or(LevelError::NotStarted)?;
    Ok(*started.level.read().unwrap_or_else(PoisonError::into_inner))
}

/// Changes the level until the next start.
pub fn set_level(level: LogLevel) -> Result<(), LevelError> {
    let started = STARTED.get().ok_or(LevelError::NotStarted)?;
    started.filter.reload(filter(level))?;
    *started.level.write().unwrap_or_else(PoisonError::into_inner) = level;
    Ok(())
}

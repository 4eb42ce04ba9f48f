//! `sawlog complete`: whether an hour is closed in the stores of a config's object sinks, and who holds it back. It only reads.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sawlog_core::claims::FOR_EVER;
use sawlog_core::memory::Share;
use sawlog_core::ports::SinkError;
use sawlog_record::time::{HOUR, write_rfc3339};
use sawlog_sinks::object::{Blobs, LogHours, OpenError, Owner, closed_hours};
use thiserror::Error;

use crate::config::Config;
use crate::config::validated::Sink;

/// Why the question has no answer.
#[derive(Debug, Error)]
pub enum CompleteError {
    /// Nothing keeps a claim log.
    #[error("{0}; hours are closed by sinks of type s3, hdfs, and file with a template in `path`")]
    NoLogs(String),
    /// The sink's options.
    #[error("sink {0}: {1}")]
    Open(String, OpenError),
    /// The sink's store.
    #[error("sink {0}: {1}")]
    Store(String, SinkError),
    /// No runtime.
    #[error("can't begin to ask: {0}; check the limit on open files")]
    Runtime(#[from] std::io::Error),
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// Begin of the hour, unix nanoseconds.
    pub hour: i64,
    /// Only this sink.
    pub sink: Option<String>,
    /// Logs whose newest claim is older are left out.
    pub silent_for: Option<Duration>,
}

/// The answer for a person, and whether the hour is closed everywhere.
#[derive(Debug)]
pub struct Answer {
    /// One line a log that matters, then the verdict.
    pub text: String,
    /// Whether nothing holds it back.
    pub is_closed: bool,
}

/// Reads the claim logs of every object sink, also those of other agents below the same root.
pub fn ask(config: &Config, agent: &str, question: &Question) -> Result<Answer, CompleteError> {
    let mut stores = stores(config, agent).map_err(|(name, error)| CompleteError::Open(name, error))?;
    stores.retain(|(name, _)| question.sink.as_ref().is_none_or(|only| only == name));
    if stores.is_empty() {
        return Err(CompleteError::NoLogs(match &question.sink {
            Some(name) => format!("{name} is no sink with a claim log"),
            None => "this config has no sink with a claim log".to_owned(),
        }));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
    let mut answer = Answer { text: String::new(), is_closed: true };
    for (name, blobs) in stores {
        let logs = runtime.block_on(closed_hours(&*blobs)).map_err(|e| CompleteError::Store(name.clone(), e))?;
        judge(&name, &logs, question, now, &mut answer);
    }
    Ok(answer)
}

/// A sink, and where it keeps its claim log.
pub type Store = (String, Box<dyn Blobs>);

/// The stores of all sinks that keep claim logs, by name. Opens no connection yet.
pub fn stores(config: &Config, agent: &str) -> Result<Vec<Store>, (String, OpenError)> {
    let open = |(name, sink): (&String, &Sink)| {
        let data_dir = config.sections.data_dir.clone();
        let owner = Owner { agent: agent.to_owned(), sink: name.clone(), data_dir, stage: Share::new(usize::MAX) };
        let opened = sink.options.blobs(&owner)?;
        Some(opened.map(|blobs| (name.clone(), blobs)).map_err(|error| (name.clone(), error)))
    };
    config.sinks.iter().filter_map(open).collect()
}

fn judge(sink: &str, logs: &[LogHours], question: &Question, now: i64, answer: &mut Answer) {
    let mut say = |line: String| writeln!(answer.text, "{line}").expect("a string takes whatever is written");
    let is_silent = |log: &LogHours| {
        let silence = question.silent_for.map(|silence| i64::try_from(silence.as_nanos()).unwrap_or(i64::MAX));
        silence.zip(log.written).is_some_and(|(silence, written)| written < now.saturating_sub(silence))
    };
    let end = question.hour.saturating_add(HOUR);
    let mut holding = 0;
    for log in logs {
        let silent = is_silent(log);
        if log.closed == FOR_EVER {
            say(format!("{sink}: {} has ended, retired at {}", log.name, when(log.written)));
        }
        match (log.closed >= end, silent) {
            (true, _) => {}
            (false, true) => say(format!("{sink}: {} is left out, silent since {}", log.name, when(log.written))),
            (false, false) => {
                holding += 1;
                say(format!(
                    "{sink}: {} holds it back, closed below {}, newest claim {}",
                    log.name,
                    when(Some(log.closed)),
                    when(log.written)
                ));
            }
        }
    }
    let is_closed = holding == 0 && logs.iter().any(|log| !is_silent(log) || log.closed >= end);
    say(match (logs.is_empty(), is_closed) {
        (true, _) => format!("{sink}: not closed, no agent has written here yet"),
        (false, true) => format!("{sink}: closed"),
        (false, false) => format!("{sink}: not closed"),
    });
    answer.is_closed &= is_closed;
}

/// A time, unix nanoseconds, for a person: to the second.
pub fn when(time: Option<i64>) -> String {
    match time {
        None | Some(i64::MIN) => "never".to_owned(),
        Some(FOR_EVER) => "for ever".to_owned(),
        Some(time) => {
            let mut text = Vec::new();
            write_rfc3339(time, &mut text);
            text.truncate("2026-01-01T00:00:00".len());
            format!("{}Z", String::from_utf8_lossy(&text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str, closed: i64, written: i64) -> LogHours {
        LogHours { name: name.into(), closed, written: Some(written) }
    }

    fn asked(logs: &[LogHours], silent_for: Option<Duration>) -> Answer {
        let question = Question { hour: 5 * HOUR, sink: None, silent_for };
        let mut answer = Answer { text: String::new(), is_closed: true };
        judge("lake", logs, &question, 20 * HOUR, &mut answer);
        answer
    }

    #[test]
    fn the_slowest_log_decides_and_is_named() {
        let done = log("a/lake", 6 * HOUR, 19 * HOUR);
        let slow = log("b/lake", 6 * HOUR - 1, 10 * HOUR);
        assert!(asked(std::slice::from_ref(&done), None).is_closed);
        let held = asked(&[done.clone(), slow.clone()], None);
        assert!(
            !held.is_closed && held.text.contains("b/lake holds it back, closed below 1970-01-01T05:59:59Z"),
            "{}",
            held.text
        );
        let left_out = asked(&[done, slow.clone()], Some(Duration::from_secs(6 * 3600)));
        assert!(left_out.is_closed && left_out.text.contains("b/lake is left out"), "{}", left_out.text);
        let nobody = asked(&[slow], Some(Duration::from_secs(6 * 3600)));
        assert!(!nobody.is_closed, "silence alone closes nothing: {}", nobody.text);
        let retired = asked(&[log("c/lake", FOR_EVER, 2 * HOUR)], Some(Duration::from_secs(3600)));
        let says = "c/lake has ended, retired at 1970-01-01T02:00:00Z";
        assert!(retired.is_closed && retired.text.contains(says), "{}", retired.text);
        assert!(!asked(&[], None).is_closed);
    }
}

//! `sawlog agent retire`: ends what an agent that does not come back holds in the sinks of a config, so that it holds no hour back.
//! All of it is looked at before any of it is ended. What is to be done with each part is the core's decision.

use std::fmt::Write as _;
use std::time::Duration;

use sawlog_core::SinkId;
use sawlog_core::ports::SinkError;
use sawlog_core::retire::{Doubt, doubts, young};
use sawlog_sinks::kafka;
use sawlog_sinks::kafka::config::KafkaSink;
use sawlog_sinks::kafka::retire::{self as cursors, Held, RetireError as CursorsError};
use sawlog_sinks::object::{AgentLog, Blobs, LogEnd, OpenError, end_log, logs_of, owners};
use sawlog_sinks::registry::SinkOptions;
use sawlog_sources::registry::SourceOptions;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::complete::{Store, stores};
use crate::config::Config;

/// Why an agent is not retired.
#[derive(Debug, Error)]
pub enum RetireError {
    /// It is refused, and nothing was ended.
    #[error("{0}")]
    Refused(String),
    /// The sink's options.
    #[error("sink {0}: {1}")]
    Open(String, OpenError),
    /// The sink's store.
    #[error("sink {0}: {1}; say it again once the store answers: what has ended stays so")]
    Store(String, SinkError),
    /// The sink's cluster.
    #[error("sink {0}: {1}; say it again once the cluster answers: what has ended stays so")]
    Cluster(String, CursorsError),
    /// A thread of its own.
    #[error("the work was broken off: {0}; say it again")]
    Broken(#[from] tokio::task::JoinError),
}

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// The agent's id.
    pub agent: String,
    /// A person answers for it that the agent does not run, and gives up what it has not delivered.
    #[serde(default)]
    pub force: bool,
}

/// What was done with one claim log, or with one sink's cursors.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Part {
    /// The sink of the config.
    pub sink: String,
    /// `<agent>/<sink>` of the log, or the cursor topic.
    pub what: String,
    /// It had ended before.
    pub had_ended: bool,
    /// Objects that a claim names and that nobody will make.
    pub given_up: Vec<String>,
}

/// What an agent holds in one sink.
enum Found<'a> {
    Log(&'a str, &'a dyn Blobs, Box<AgentLog>),
    Cursors(&'a str, &'a KafkaSink, Held),
}

/// Ends everything that `order.agent` holds in the sinks of `config`; `own` is the id of the config's agent, `now` in unix
/// nanoseconds.
pub async fn run(config: &Config, own: &str, order: &Order, now: i64) -> Result<Vec<Part>, RetireError> {
    refuse_group(config, &order.agent)?;
    let stores = stores(config, own).map_err(|(name, error)| RetireError::Open(name, error))?;
    let mut found = Vec::new();
    for (name, blobs) in &stores {
        let logs = logs_of(&**blobs, &order.agent).await.map_err(|e| RetireError::Store(name.clone(), e))?;
        found.extend(logs.into_iter().map(|log| Found::Log(name.as_str(), &**blobs, Box::new(log))));
    }
    for (name, sink) in kafka_sinks(config) {
        let held = of_cluster(name, sink, &order.agent, cursors::look).await?;
        if !held.cursors.is_empty() || held.retired.is_some() || held.written.is_some() {
            found.push(Found::Cursors(name, sink, held));
        }
    }
    if found.is_empty() {
        return Err(RetireError::Refused(unknown(&stores, &order.agent).await?));
    }
    refuse_doubtful(&found, order, now)?;
    let mut parts = Vec::new();
    for one in &found {
        parts.push(end(one, order, now).await?);
    }
    Ok(parts)
}

fn kafka_sinks(config: &Config) -> impl Iterator<Item = (&str, &KafkaSink)> {
    config.sinks.iter().filter_map(|(name, sink)| match &sink.options {
        SinkOptions::Kafka(kafka) => Some((name.as_str(), kafka)),
        _ => None,
    })
}

/// Does something with a cluster on a thread that may block.
async fn of_cluster(
    name: &str,
    sink: &KafkaSink,
    agent: &str,
    work: impl FnOnce(&KafkaSink, &kafka::Owner) -> Result<Held, CursorsError> + Send + 'static,
) -> Result<Held, RetireError> {
    let owner = kafka::Owner { cluster: "sawlog".to_owned(), agent: agent.to_owned(), sink: SinkId::new(name) };
    let sink = sink.clone();
    let done = tokio::task::spawn_blocking(move || work(&sink, &owner)).await?;
    done.map_err(|error| RetireError::Cluster(name.to_owned(), error))
}

/// Logs of partitions that move carry the group's name where others carry an agent's.
fn refuse_group(config: &Config, agent: &str) -> Result<(), RetireError> {
    let is_group = |options: &SourceOptions| matches!(options, SourceOptions::Kafka(kafka) if kafka.group_id == agent);
    match config.sources.iter().find(|(_, source)| is_group(&source.options)) {
        None => Ok(()),
        Some((name, _)) => Err(RetireError::Refused(format!(
            "`{agent}` is the group of source {name}, whose partitions move to its other members by themselves; name an agent's id"
        ))),
    }
}

async fn unknown(stores: &[Store], agent: &str) -> Result<String, RetireError> {
    let mut known = Vec::new();
    for (name, blobs) in stores {
        let owners = owners(&**blobs).await.map_err(|e| RetireError::Store(name.clone(), e))?;
        known.push(format!(
            "{name} has logs of {}",
            if owners.is_empty() { "nobody".to_owned() } else { owners.join(", ") }
        ));
    }
    known.sort();
    let known = if known.is_empty() { "no sink of this config keeps claim logs".to_owned() } else { known.join("; ") };
    Ok(format!("no sink of this config holds anything of an agent `{agent}`; write its `agent.id` ({known})"))
}

fn refuse_doubtful(found: &[Found<'_>], order: &Order, now: i64) -> Result<(), RetireError> {
    if order.force {
        return Ok(());
    }
    let mut text = String::new();
    for one in found {
        let (sink, what, doubts, newest) = match one {
            Found::Log(_, _, log) if log.shown.newest.is_end() => continue,
            Found::Log(sink, _, log) => (*sink, log.name.as_str(), doubts(&log.shown, now), "its newest claim"),
            Found::Cursors(_, _, held) if held.retired.is_some() => continue,
            Found::Cursors(sink, kafka, held) => {
                let doubts = held.written.and_then(|written| young(written, now)).into_iter().collect();
                (*sink, kafka.cursor_topic.as_str(), doubts, "its newest cursor")
            }
        };
        for doubt in doubts {
            let said = match doubt {
                Doubt::Young(age) => format!("{newest} is {} old", minutes(age)),
                Doubt::Unmade(1) => "an object that its newest claim names is not written".to_owned(),
                Doubt::Unmade(n) => format!("{n} objects that its newest claim names are not written"),
            };
            writeln!(text, "{sink}: {what}: {said}").expect("a string takes whatever is written");
        }
    }
    if text.is_empty() {
        return Ok(());
    }
    Err(RetireError::Refused(format!(
        "{text}agent `{}` may still run, or owes rows: stop it, and wait until what it wrote last is over an hour old (65 minutes); one that owes rows \
         writes them when it is started once more. With `--force` it ends now, and what it has not delivered is given up",
        order.agent
    )))
}

fn minutes(age: Duration) -> String {
    match age.as_secs() / 60 {
        0 => "less than a minute".to_owned(),
        1 => "1 minute".to_owned(),
        n => format!("{n} minutes"),
    }
}

async fn end(found: &Found<'_>, order: &Order, now: i64) -> Result<Part, RetireError> {
    match found {
        Found::Log(sink, blobs, log) => {
            let ended = end_log(*blobs, log, now, order.force).await;
            let part =
                |had_ended, given_up| Part { sink: (*sink).to_owned(), what: log.name.clone(), had_ended, given_up };
            match ended.map_err(|error| RetireError::Store((*sink).to_owned(), error))? {
                LogEnd::HadEnded => Ok(part(true, Vec::new())),
                LogEnd::Ended { given_up } => Ok(part(false, given_up)),
                LogEnd::GoesOn => Err(RetireError::Refused(format!(
                    "{sink}: {} got a claim while this looked at it, so agent `{}` runs: stop it first",
                    log.name, order.agent
                ))),
            }
        }
        Found::Cursors(sink, kafka, held) => {
            if held.retired.is_none() || !held.cursors.is_empty() {
                of_cluster(sink, kafka, &order.agent, move |sink, owner| cursors::end(sink, owner, now)).await?;
            }
            let (sink, what) = ((*sink).to_owned(), format!("cursor topic {}", kafka.cursor_topic));
            Ok(Part { sink, what, had_ended: held.retired.is_some(), given_up: Vec::new() })
        }
    }
}

/// For a person.
pub fn text(order: &Order, parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts {
        let done = if part.had_ended {
            "had ended before"
        } else {
            "has ended: it holds no hour back, and nothing comes behind it"
        };
        let done = if part.what.starts_with("cursor topic") && !part.had_ended {
            "has no cursors of it any more"
        } else {
            done
        };
        writeln!(text, "{}: {} {done}", part.sink, part.what).expect("a string takes whatever is written");
        for key in &part.given_up {
            writeln!(text, "{}: {key} was claimed and never written: its rows are given up", part.sink)
                .expect("a string takes whatever is written");
        }
    }
    write!(text, "agent `{}` is retired; one that is started with this id is refused here", order.agent)
        .expect("a string takes whatever is written");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_said_line_by_line() {
        let order = Order { agent: "n7".into(), force: true };
        let part = |what: &str, had_ended, given_up: &[&str]| Part {
            sink: "out".into(),
            what: what.into(),
            had_ended,
            given_up: given_up.iter().map(ToString::to_string).collect(),
        };
        let said = text(
            &order,
            &[part("n7/out", false, &["a/b"]), part("n7/old", true, &[]), part("cursor topic c", false, &[])],
        );
        for line in [
            "out: n7/out has ended: it holds no hour back, and nothing comes behind it",
            "out: a/b was claimed and never written: its rows are given up",
            "out: n7/old had ended before",
            "out: cursor topic c has no cursors of it any more",
            "agent `n7` is retired; one that is started with this id is refused here",
        ] {
            assert!(said.lines().any(|one| one == line), "{line} in {said}");
        }
    }
}

//! Index names from records, and whether a name means a concrete index. Knows nothing of documents.

use super::bulk::read_error;
use super::client::Answer;
use crate::elasticsearch::config::ElasticsearchSink;
use crate::names::Names;
use sawlog_core::ports::SinkError;
use sawlog_record::batch::{Batch, Row};
use serde_json::Value;
use std::collections::BTreeSet;

const NANOS_PER_MILLI: i64 = 1_000_000;
const NAME_BYTES_MAX: usize = 255;

/// Names of indexes by the sink's template.
pub struct IndexNames {
    names: Names,
    past: i64,
    future: i64,
}

impl IndexNames {
    pub fn new(options: &ElasticsearchSink) -> Self {
        let nanos = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(NANOS_PER_MILLI);
        Self {
            // Rows of a longer one are refused, so that somebody looks at them.
            names: Names::new(options.index.compiled(), options.indexes_max as usize, usize::MAX),
            past: nanos(options.event_time_bounds.past.as_millis()),
            future: nanos(options.event_time_bounds.future.as_millis()),
        }
    }

    pub fn admit(&mut self, names: &BTreeSet<u64>) {
        self.names.admit(names.iter().copied());
    }

    pub fn over_limit(&self) -> u64 {
        self.names.over_limit
    }

    /// The index of `row`. Its event time counts as far as it is within bounds of `planned` (unix nanoseconds), the time of the
    /// plan: a clock that is years off makes no indexes of its own.
    pub fn of(&mut self, batch: &Batch, row: &Row, planned: i64) -> Result<&str, NoIndex> {
        let time = row.time.clamp(planned.saturating_sub(self.past), planned.saturating_add(self.future));
        let name = self.names.of_admitted(batch, &Row { time, ..*row }).map_err(NoIndex::New)?;
        if name.len() > NAME_BYTES_MAX {
            return Err(NoIndex::TooLong(format!("the name of its index would have {} bytes", name.len())));
        }
        match check(name) {
            None => Ok(name),
            Some(wrong) => Err(NoIndex::Wrong(format!("`{name}` is no name of an index: {wrong}; mend `index`"))),
        }
    }
}

/// Why a row has no index.
#[derive(Debug)]
pub enum NoIndex {
    /// It would be the first of a name: its hash, which is to be admitted first.
    New(u64),
    /// Its values make a name that no server takes.
    TooLong(String),
    /// The template makes names that no server takes.
    Wrong(String),
}

/// What is wrong with a name; the server's rules, which also keep the name harmless in a path and in JSON.
fn check(name: &str) -> Option<&'static str> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_' | b'+' | b'@');
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.starts_with(['-', '_', '+', '.']) {
        return Some("it begins with none of - _ + .");
    }
    (!name.bytes().all(allowed)).then_some("it holds lower case letters, digits and . - _ + @ only")
}

/// The id of the cluster that answered; `None` where that is something whose answers have none.
pub fn cluster(answer: &Answer) -> Result<Option<String>, SinkError> {
    match answer.status {
        200 => {}
        429 | 500.. => return Err(SinkError::Unavailable(read_error(answer).words)),
        // Also for a while: when servers start, roles and users may not be there yet.
        401 | 403 => {
            let words = read_error(answer).words;
            let remedy =
                "the sink asks which cluster it is: check `auth`, and grant this user the cluster privilege monitor";
            return Err(SinkError::Refused(format!("{words}; {remedy}")));
        }
        // Built without that page, or behind something that hides it: it never says.
        404 | 405 => return Ok(None),
        _ => {
            let words = format!("GET / is to say which cluster it is: {}", read_error(answer).words);
            return Err(SinkError::Refused(words));
        }
    }
    let body: serde_json::Map<String, Value> = serde_json::from_slice(&answer.body)
        .map_err(|error| SinkError::Unavailable(format!("what says which cluster it is can't be read: {error}")))?;
    match body.get("cluster_uuid").map(Value::as_str) {
        None => Ok(None),
        Some(Some(id)) if id != "_na_" => Ok(Some(id.to_owned())),
        Some(_) => Err(SinkError::Unavailable("the servers have not formed a cluster yet".to_owned())),
    }
}

/// What stands behind a name.
#[derive(PartialEq, Eq, Debug)]
pub enum IndexState {
    /// An index of that name whose documents are durable when they are acknowledged.
    Concrete,
    /// Nothing yet.
    Missing,
    /// This user may not look.
    Hidden(String),
}

/// What the answer to a request for the settings of `name` says; an error where ids would not be unique or answers not durable.
pub fn state(name: &str, answer: &Answer) -> Result<IndexState, SinkError> {
    match answer.status {
        200 => {}
        404 => return Ok(IndexState::Missing),
        403 => return Ok(IndexState::Hidden(read_error(answer).words)),
        429 | 500.. => return Err(SinkError::Unavailable(read_error(answer).words)),
        _ => return Err(SinkError::Refused(read_error(answer).words)),
    }
    let settings: Value = serde_json::from_slice(&answer.body)
        .map_err(|error| SinkError::Unavailable(format!("the settings of index {name} can't be read: {error}")))?;
    let behind: Vec<&str> = settings.as_object().into_iter().flatten().map(|(index, _)| index.as_str()).collect();
    if behind != [name] {
        let behind = behind.join(", ");
        return Err(SinkError::Refused(format!("{name} is an alias or a data stream ({behind}), {}", remedy())));
    }
    if settings[name]["settings"]["index.translog.durability"] == "async" {
        return Err(SinkError::Refused(format!(
            "index {name} has index.translog.durability=async: it acknowledges what a crash may undo; set it to request, or write \
             `delivery: at_least_once`"
        )));
    }
    Ok(IndexState::Concrete)
}

/// Why an index may lose documents that were acknowledged, by the answer to a request for its settings.
pub fn fragile(name: &str, answer: &Answer) -> Option<&'static str> {
    let settings: Value = serde_json::from_slice(&answer.body).ok()?;
    let settings = &settings[name]["settings"];
    let spreads = settings["index.auto_expand_replicas"].as_str().is_some_and(|range| range != "false");
    (settings["index.number_of_replicas"] == "0" && !spreads).then_some(
        "the index has no replica: what Elasticsearch acknowledged is lost with that node, and comes from nowhere again; set \
         index.number_of_replicas to 1 or more",
    )
}

/// What to do about a name that is no index.
pub fn remedy() -> &'static str {
    "and an id is unique in a concrete index only; name one in `index`, or write `delivery: at_least_once`"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.to_owned().into() }
    }

    #[test]
    fn only_a_concrete_durable_index_passes() {
        let concrete = answer(200, r#"{"logs":{"settings":{"index.number_of_shards":"1"}}}"#);
        assert_eq!(state("logs", &concrete).unwrap(), IndexState::Concrete);
        assert_eq!(state("logs", &answer(404, "{}")).unwrap(), IndexState::Missing);
        let refused = |body| state("logs", &answer(200, body)).unwrap_err().to_string();
        assert!(refused(r#"{"logs-000001":{"settings":{}}}"#).contains("alias"));
        assert!(refused(r#"{"logs":{"settings":{"index.translog.durability":"async"}}}"#).contains("at_least_once"));
        assert!(matches!(state("logs", &answer(503, "")).unwrap_err(), SinkError::Unavailable(_)));
    }

    #[test]
    fn a_cluster_that_does_not_say_which_it_is_yet_is_asked_again() {
        let named = answer(200, r#"{"cluster_uuid":"u-1","version":{}}"#);
        assert_eq!(cluster(&named).unwrap().as_deref(), Some("u-1"));
        assert_eq!(cluster(&answer(200, r#"{"version":{"number":"1"}}"#)).unwrap(), None, "it has no such name");
        for (status, body) in
            [(200, r#"{"cluster_uuid":"_na_"}"#), (200, "<html>starting</html>"), (200, ""), (429, ""), (503, "")]
        {
            let error = cluster(&answer(status, body)).unwrap_err();
            assert!(matches!(error, SinkError::Unavailable(_)), "{status} {body}: {error}");
        }
        for status in [401, 403] {
            let error =
                cluster(&answer(status, r#"{"error":{"type":"security_exception","reason":"r"}}"#)).unwrap_err();
            assert!(matches!(&error, SinkError::Refused(words) if words.contains("monitor")), "{error}");
        }
        assert_eq!([404, 405].map(|status| cluster(&answer(status, "no")).unwrap()), [None, None]);
        assert!(matches!(cluster(&answer(400, "no")).unwrap_err(), SinkError::Refused(_)));
    }

    #[test]
    fn an_index_without_replicas_is_told_of() {
        let settings = |more: &str| answer(200, &format!(r#"{{"logs":{{"settings":{{{more}}}}}}}"#));
        let told = |more| fragile("logs", &settings(more)).unwrap_or_default().to_owned();
        assert!(told(r#""index.number_of_replicas":"0""#).contains("no replica"));
        assert_eq!(told(r#""index.number_of_replicas":"1""#), "");
        assert_eq!(told(r#""index.number_of_replicas":"0","index.auto_expand_replicas":"0-1""#), "");
    }

    #[test]
    fn names_that_no_server_takes_are_named() {
        assert_eq!(check("logs-app-2026.11.24"), None);
        for name in ["", "-a", "_a", "a/b", "A", "a\"b", "a?b", "a b"] {
            assert!(check(name).is_some(), "{name}");
        }
    }
}

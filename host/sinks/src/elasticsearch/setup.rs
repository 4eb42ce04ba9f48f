//! The index template that a sink's documents want, for `sawlog setup`: types of what Sawlog itself adds to them. It changes nothing
//! that is there, and decides nothing about its use.

use super::bulk::read_error;
use super::client::{Answer, Client};
use super::config::{ElasticsearchSink, IndexTarget};
use sawlog_settings::component::Provenance;
use serde_json::{Value, json};
use std::sync::Arc;

/// Above the templates that Elasticsearch brings along, of which the one for `logs-*-*` (100) would make data streams.
const PRIORITY: u64 = 200;

/// An index template.
#[derive(Clone, PartialEq, Debug)]
pub struct Template {
    /// Its name.
    pub name: String,
    /// What it says, as the server takes it.
    pub body: Value,
}

/// What became of a template.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was made.
    Made,
    /// It is there and says the same.
    Same,
    /// There is another one under its name; that one stays.
    Differs,
}

/// The template that the sink wants.
///
/// # Errors
/// Nobody but the operator can say one; the reason.
pub fn template(sink: &ElasticsearchSink, provenance: Provenance) -> Result<Template, &'static str> {
    let pattern = sink.index.as_pattern();
    if sink.target == IndexTarget::Alias {
        return Err("an alias: the template is that of the indexes behind it");
    }
    if pattern.starts_with('*') {
        return Err(
            "its names come from records alone, and a template for every index of the cluster is none of this sink",
        );
    }
    let mut body = json!({
        "index_patterns": [pattern],
        "priority": PRIORITY,
        "template": { "mappings": { "properties": properties(provenance) } },
    });
    if sink.target == IndexTarget::DataStream {
        body["data_stream"] = json!({});
    }
    Ok(Template { name: format!("sawlog-{}", pattern.replace('*', "_")), body })
}

/// Types of the members that Sawlog adds. Times are `date`: of `date_nanos` the server refuses what lies before 1970 or behind 2262,
/// and an event time may be whatever a record says.
fn properties(provenance: Provenance) -> Value {
    let of_type = |name: &str| json!({ "type": name });
    let added = match provenance {
        Provenance::None => return json!({ "@timestamp": of_type("date") }),
        Provenance::Received => json!({ "received": of_type("date") }),
        Provenance::Full => json!({
            "id": of_type("keyword"),
            "agent": of_type("keyword"),
            "source": of_type("keyword"),
            "generation": of_type("keyword"),
            "position": of_type("long"),
            "time": of_type("date"),
            "received": of_type("date"),
        }),
    };
    json!({ "@timestamp": of_type("date"), "sawlog": { "properties": added } })
}

/// Makes the template where there is none of its name.
///
/// # Errors
/// No answer, or a refusal, in the server's words with a remedy.
pub async fn create(sink: &ElasticsearchSink, template: &Template) -> Result<Outcome, String> {
    let client = Client::open(sink, Arc::default()).map_err(|error| error.to_string())?;
    let path = format!("_index_template/{}", template.name);
    let there = client.get(&path, &[]).await.map_err(|error| error.to_string())?;
    match there.status {
        404 => {}
        200 if is_same(&there, template) => return Ok(Outcome::Same),
        200 => return Ok(Outcome::Differs),
        _ => return Err(refusal(&there)),
    }
    let body = template.body.to_string().into();
    // Whoever was faster is not overwritten either.
    let made = client.put(&path, &[("create", "true")], body).await.map_err(|error| error.to_string())?;
    if made.status == 200 { Ok(Outcome::Made) } else { Err(refusal(&made)) }
}

fn refusal(answer: &Answer) -> String {
    let words = read_error(answer).words;
    match answer.status {
        401 => format!("{words}; check `auth`"),
        403 => format!(
            "{words}; grant this user the cluster privilege manage_index_templates, or make the template yourself"
        ),
        _ => words,
    }
}

/// Whether what is there says the same: also nothing beside it, such as settings that somebody added.
fn is_same(answer: &Answer, template: &Template) -> bool {
    let Ok(there) = serde_json::from_slice::<Value>(&answer.body) else { return false };
    let there = &there["index_templates"][0]["index_template"];
    let own = &template.body;
    let is_stream = |body: &Value| body.get("data_stream").is_some();
    // The server says that it is composed of nothing, or does not.
    let is_alone = there["composed_of"].as_array().is_none_or(Vec::is_empty);
    is_alone
        && is_stream(there) == is_stream(own)
        && ["index_patterns", "priority", "template"].iter().all(|key| there[*key] == own[*key])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sink(options: &str) -> ElasticsearchSink {
        serde_saphyr::from_str(&format!("{{ endpoints: ['http://h:1'], {options} }}")).unwrap()
    }

    #[test]
    fn the_pattern_is_that_of_the_names_and_the_types_are_those_of_what_is_written() {
        let logs = sink("index: 'logs-{k8s.namespace.name}-{event_time:%Y.%m.%d}'");
        let full = template(&logs, Provenance::Full).unwrap();
        assert_eq!(full.name, "sawlog-logs-_-_");
        assert_eq!(full.body["index_patterns"], json!(["logs-*-*"]));
        let properties = &full.body["template"]["mappings"]["properties"];
        assert_eq!(properties["sawlog"]["properties"]["position"]["type"], "long");
        let of = |provenance| template(&logs, provenance).unwrap().body["template"]["mappings"]["properties"].clone();
        assert_eq!(of(Provenance::None), json!({ "@timestamp": { "type": "date" } }));
        assert_eq!(of(Provenance::Received)["sawlog"], json!({ "properties": { "received": { "type": "date" } } }));
        assert!(full.body.get("data_stream").is_none());
        let stream = template(&sink("index: logs, target: data_stream"), Provenance::Full).unwrap();
        assert_eq!((stream.name.as_str(), &stream.body["data_stream"]), ("sawlog-logs", &json!({})));
    }

    #[test]
    fn what_only_the_operator_can_say_is_left_to_the_operator() {
        assert!(template(&sink("index: logs, target: alias"), Provenance::Full).is_err());
        assert!(template(&sink("index: '{service}-logs'"), Provenance::Full).is_err());
    }
}

//! `sawlog setup` and Elasticsearch: the index template that it makes, once, and never over another one; and what an index that the
//! agent then writes to has of it.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::{Agent, ask, verb};
use sawlog_e2e::{service, unique};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Status and body of an answer.
fn request(url: &str, method: &str, path: &str, body: &Value) -> (i32, Value) {
    let request = minreq::Request::new(minreq::Method::Custom(method.to_owned()), format!("{url}/{path}"));
    let request = request.with_header("Content-Type", "application/json").with_timeout(30);
    let request = if body.is_null() { request } else { request.with_body(body.to_string()) };
    let answer = request.send().unwrap();
    (answer.status_code, serde_json::from_str(answer.as_str().unwrap()).unwrap())
}

fn setup(folder: &Path, options: &[&str]) -> String {
    verb(folder, &[&["setup"], options].concat()).unwrap()
}

#[test]
fn setup_makes_the_index_template_of_a_sink_once_and_overwrites_none() {
    let Some(url) = service("index templates", "SAWLOG_TEST_ELASTICSEARCH") else { return };
    let (index, folder) = (unique("templates"), tempfile::tempdir().unwrap());
    let path = folder.path();
    std::fs::write(path.join("app.log"), "{\"seq\":0,\"message\":\"first\"}\n").unwrap();
    let config = format!(
        "version: 1\nagent: {{ id: templates }}\ndata_dir: ./data\nsources:\n  app: {{ type: file, include: [./app.log] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json] }}\nsinks:\n  out: {{ type: elasticsearch, inputs: [parsed], \
         endpoints: [\"{url}\"], index: \"{index}-{{event_time:%Y}}\", all: true, batch: {{ age: 100ms }} }}\n"
    );
    std::fs::write(path.join("sawlog.yaml"), config).unwrap();
    let template = format!("_index_template/sawlog-{index}-_");
    let get = |path: &str| request(&url, "GET", path, &Value::Null);

    let said = setup(path, &["--dry-run"]);
    assert!(said.contains(&format!("index template sawlog-{index}-_: would be made")), "{said}");
    assert_eq!(get(&template).0, 404, "a dry run makes nothing");
    let said = setup(path, &[]);
    assert!(said.contains(": made"), "{said}");
    let said = setup(path, &[]);
    assert!(said.contains(": is there, as it was"), "{said}");

    Agent::start_until_eof(path).unwrap().finish(Duration::from_secs(60)).unwrap();
    let (status, mappings) = get(&format!("{index}-*/_mapping"));
    let mappings = mappings.as_object().unwrap().values().next().unwrap_or_else(|| panic!("{status}: no index"));
    let properties = &mappings["mappings"]["properties"];
    let kinds = ["id", "agent", "source", "generation", "position", "time", "received"]
        .map(|member| properties["sawlog"]["properties"][member]["type"].as_str().unwrap().to_owned());
    assert_eq!(kinds, ["keyword", "keyword", "keyword", "keyword", "long", "date", "date"]);
    assert_eq!(properties["@timestamp"]["type"], "date");

    let own = json!({ "index_patterns": [format!("{index}-*")], "priority": 200, "template": {
        "settings": { "number_of_replicas": 2 }, "mappings": { "properties": { "seq": { "type": "keyword" } } } } });
    assert_eq!(request(&url, "PUT", &template, &own).0, 200);
    let before = get(&template).1;
    let said = setup(path, &[]);
    assert!(said.contains("says something else: left as it was"), "{said}");
    assert_eq!(get(&template).1, before);

    // Under another name the server itself refuses two of one priority: what it says is said.
    assert_eq!(request(&url, "DELETE", &template, &Value::Null).0, 200);
    let other = format!("_index_template/{index}-of-somebody");
    assert_eq!(request(&url, "PUT", &other, &own).0, 200);
    let said = ask(path, &["setup"]).unwrap();
    assert!(
        !said.done && said.complaints.contains("sink out: ") && said.complaints.contains("priority"),
        "{}",
        said.complaints
    );
    assert_eq!(request(&url, "DELETE", &other, &Value::Null).0, 200);
}

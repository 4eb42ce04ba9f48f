//! A sink's place changes by SIGHUP under load, there and back, with kill -9 between, also while the switch is under way: every row
//! is there once, counted over both places together. In folders, appended files, and in the real S3, Kafka, Elasticsearch and HDFS.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::s3::Bucket;
use sawlog_e2e::search::Index;
use sawlog_e2e::secure::Secure;
use sawlog_e2e::shown::{Committed, Folder, Hdfs, Shown};
use sawlog_e2e::switching::{self, Course, once};
use sawlog_e2e::{read, service, unique};
use std::path::Path;

/// Where the sinks deliver.
#[derive(Clone, Copy)]
struct Places<'a> {
    lake: &'a str,
    file: &'a str,
    bucket: Option<&'a Bucket>,
}

impl Places<'_> {
    fn write(&self, folder: &Path) {
        let s3 = self.bucket.map_or_else(String::new, |bucket| format!("  s3: {}\n", bucket.sink("parsed")));
        let text = format!(
            "version: 1\nagent: {{ id: e2e }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
             sources:\n  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n\
             sinks:\n  lake: {{ type: file, inputs: [parsed], path: \"./{}/dt={{received_time:%Y-%m-%d}}\", roll: {{ size: 1MiB, age: 1s }} }}\n  \
             file: {{ type: file, inputs: [parsed], path: ./{}, roll: {{ size: 1MiB, age: 1s }} }}\n{s3}",
            self.lake, self.file,
        );
        std::fs::write(folder.join("sawlog.yaml"), text).unwrap();
    }
}

#[test]
fn a_changed_place_is_a_switch_and_every_row_is_there_once_over_both_places() {
    if service("switch", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let first_bucket = Bucket::find("switch");
    let second_bucket = first_bucket.clone().map(|bucket| Bucket { prefix: format!("{}-b", bucket.prefix), ..bucket });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let here = Places { lake: "lake-a", file: "file-a", bucket: first_bucket.as_ref() };
    let there = Places { lake: "lake-b", file: "file-b", bucket: second_bucket.as_ref() };
    let write = |second: bool| {
        (if second { there } else { here }).write(path);
        Ok(())
    };
    let course = Course { turns: 5, lines: 100, says: "lake switches from " };
    let [lakes, files] =
        [["lake-a", "lake-b"], ["file-a", "file-b"]].map(|names| names.map(|name| Folder(path.join(name))));
    let (agent, sent) = switching::run(path, course, write, places(&lakes)).unwrap();
    once("lake", &agent, sent, places(&lakes)).unwrap();
    once("file", &agent, sent, places(&files)).unwrap();
    if let (Some(first), Some(second)) = (&first_bucket, &second_bucket) {
        once("S3", &agent, sent, [first, second]).unwrap();
    }
    agent.kill().unwrap();
}

fn config(sink: &str) -> String {
    format!(
        "version: 1\nagent: {{ id: e2e }}\ndata_dir: ./data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n\
         sinks:\n  out: {sink}\n"
    )
}

fn places<S: Shown>(two: &[S; 2]) -> [&dyn Shown; 2] {
    [&two[0], &two[1]]
}

/// One sink, at two places.
fn one(what: &str, course: Course<'_>, sinks: [&str; 2], places: [&dyn Shown; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sawlog.yaml");
    let write = |second: bool| Ok(std::fs::write(&file, config(sinks[usize::from(second)]))?);
    let (agent, sent) = switching::run(folder.path(), course, write, places).unwrap();
    once(what, &agent, sent, places).unwrap();
    agent.kill().unwrap();
}

const SWITCHES: Course<'_> = Course { turns: 3, lines: 40, says: "out switches from " };

/// The cursors stay where they are: no switch, and rows of both topics in the transactions of one producer.
#[test]
fn rows_go_on_to_another_topic() {
    let Some(brokers) = service("switch of a topic", "SAWLOG_TEST_KAFKA") else { return };
    let (topics, cursors) = (["a", "b"].map(|name| unique(&format!("switch-{name}"))), unique("cursors"));
    read::make_topics(&brokers, &[(&topics[0], 3, false), (&topics[1], 3, false), (&cursors, 16, true)]).unwrap();
    let sinks = topics.each_ref().map(|topic| {
        format!("{{ type: kafka, inputs: [parsed], brokers: [\"{brokers}\"], topic: {topic}, cursor_topic: {cursors}, batch: {{ age: 200ms }} }}")
    });
    let shown = topics.each_ref().map(|topic| Committed::of(&brokers, topic));
    one("topic", Course { says: "reloaded", ..SWITCHES }, sinks.each_ref().map(String::as_str), places(&shown));
}

/// The cursors move too, by the first transaction at the new place.
#[test]
fn a_kafka_sink_takes_its_cursors_along_to_another_cursor_topic() {
    let Some(brokers) = service("switch of a cursor topic", "SAWLOG_TEST_KAFKA") else { return };
    let topics = ["a", "b"].map(|name| unique(&format!("switch-{name}")));
    let cursors = ["a", "b"].map(|name| unique(&format!("cursors-{name}")));
    let made = [(&*topics[0], 3, false), (&*topics[1], 3, false), (&*cursors[0], 16, true), (&*cursors[1], 16, true)];
    read::make_topics(&brokers, &made).unwrap();
    let sinks = [0, 1].map(|at| {
        format!(
            "{{ type: kafka, inputs: [parsed], brokers: [\"{brokers}\"], topic: {}, cursor_topic: {}, batch: {{ age: 200ms }} }}",
            topics[at], cursors[at]
        )
    });
    let shown = topics.each_ref().map(|topic| Committed::of(&brokers, topic));
    one("topic and cursor topic", SWITCHES, sinks.each_ref().map(String::as_str), places(&shown));
}

fn documents(endpoint: &str, index: &str, more: &str) -> String {
    format!(
        "{{ type: elasticsearch, inputs: [parsed], all: true, endpoints: [\"{endpoint}\"], index: \"{index}-{{received_time:%Y.%m.%d}}\", batch: {{ age: 200ms }}{more} }}"
    )
}

#[test]
fn documents_go_on_to_another_index() {
    let Some(url) = service("switch of an index", "SAWLOG_TEST_ELASTICSEARCH") else { return };
    let indexes = ["a", "b"].map(|name| unique(&format!("switch-{name}")));
    let sinks = indexes.each_ref().map(|index| documents(&url, index, ""));
    let shown = indexes.each_ref().map(|index| Index::of(&url, index));
    one("index", SWITCHES, sinks.each_ref().map(String::as_str), places(&shown));
}

#[test]
fn documents_go_on_to_another_cluster() {
    let Some(url) = service("switch of a cluster", "SAWLOG_TEST_ELASTICSEARCH") else { return };
    let Some(secure) = Secure::find("switch of a cluster") else { return };
    let index = unique("switch");
    let more =
        format!(", auth: {{ username: elastic, password: \"{}\" }}, tls: {{ ca: \"{}\" }}", secure.password, secure.ca);
    let sinks = [documents(&url, &index, ""), documents(&secure.url, &index, &more)];
    let shown: [&dyn Shown; 2] = [&Index::of(&url, &index), &secure.index(&index)];
    one("cluster", SWITCHES, sinks.each_ref().map(String::as_str), shown);
}

#[test]
fn files_go_on_to_another_path_of_hdfs() {
    let Some(url) = service("switch on hdfs", "SAWLOG_TEST_HDFS") else { return };
    let web = std::env::var("SAWLOG_TEST_WEBHDFS").unwrap();
    let roots = ["a", "b"].map(|name| format!("/{}", unique(&format!("switch-{name}"))));
    let sinks = roots.each_ref().map(|root| {
        format!(
            "{{ type: hdfs, inputs: [parsed], url: \"{url}\", path: \"{root}/dt={{received_time:%Y-%m-%d}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }} }}"
        )
    });
    let shown = roots.each_ref().map(|root| Hdfs { url: web.clone(), root: root.clone() });
    one("hdfs", SWITCHES, sinks.each_ref().map(String::as_str), places(&shown));
}

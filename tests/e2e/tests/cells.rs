//! The cells of the main job: file to local lake, appended file, Kafka, Elasticsearch, S3 and HDFS; HTTP to a local lake. Those
//! that Kafka feeds are in `kafka.rs`.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::cell::{Plan, run, run_with};
use sawlog_e2e::chaos::{self, Reach};
use sawlog_e2e::feed::Posts;
use sawlog_e2e::s3::Bucket;
use sawlog_e2e::search::Index;
use sawlog_e2e::shown::{Committed, Folder, Hdfs, Table};
use sawlog_e2e::wire::Wire;
use sawlog_e2e::{read, service, unique};

const PLAN: Plan<'_> = Plan { hangups: true, ..Plan::of_kills(4, 900) };

/// A config with one sink.
fn config(sink: &str) -> String {
    format!(
        "version: 1\nagent: {{ id: e2e }}\ndata_dir: ./data\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n\
         sinks:\n  out: {sink}\n"
    )
}

#[test]
fn file_to_local_lake_survives_kills_and_is_a_table_for_duckdb() {
    const TEST: &str = "file_to_local_lake_survives_kills_and_is_a_table_for_duckdb";
    if service("file → lake", "SAWLOG_TEST_BINARY").is_none() || !chaos::may_mount(TEST).unwrap() {
        return;
    }
    let cramped = Plan { disk: Some(("lake", 16)), ..PLAN };
    let sink = "{ type: file, inputs: [parsed], path: \"./lake/dt={received_time:%Y-%m-%d}/hour={received_time:%H}\", format: jsonl, roll: { size: 1MiB, age: 1s } }";
    run(&config(sink), cramped, |folder| Folder(folder.join("lake"))).unwrap();
    if chaos::seed().unwrap().is_some() {
        return;
    }
    if service("file → lake read by DuckDB", "SAWLOG_TEST_PYTHON").is_some() {
        let plan = Plan { kills: 1, ..PLAN };
        run(&config(sink), plan, |folder| Table(folder.join("lake"))).unwrap();
    }
}

#[test]
fn file_to_appended_file_survives_kills() {
    const TEST: &str = "file_to_appended_file_survives_kills";
    if service("file → file", "SAWLOG_TEST_BINARY").is_none() || !chaos::may_mount(TEST).unwrap() {
        return;
    }
    let cramped = Plan { disk: Some(("data", 48)), ..PLAN };
    let sink = "{ type: file, inputs: [parsed], path: ./out.jsonl, batch: { age: 100ms } }";
    run(&config(sink), cramped, |folder| Folder(folder.join("out.jsonl"))).unwrap();
}

#[test]
fn file_to_elasticsearch_survives_kills() {
    let Some(url) = service("file → elasticsearch", "SAWLOG_TEST_ELASTICSEARCH") else { return };
    documents(&url, "elasticsearch");
}

#[test]
fn file_to_opensearch_survives_kills() {
    let Some(url) = service("file → opensearch", "SAWLOG_TEST_OPENSEARCH") else { return };
    documents(&url, "opensearch");
}

fn documents(url: &str, service: &str) {
    let index = unique("cell");
    let wire = chaos::seed().unwrap().map(|_| Wire::to_url(url).unwrap());
    let through = wire.as_ref().map_or(url.to_owned(), Wire::url);
    let sink = format!(
        "{{ type: elasticsearch, inputs: [parsed], all: true, endpoints: [\"{through}\"], index: \"{index}-{{received_time:%Y.%m.%d}}\", batch: {{ age: 200ms }} }}"
    );
    let reach = Reach { service: Some(service), wire: wire.as_ref() };
    let plan = Plan { kills: 3, restarts: &[service], reach, ..PLAN };
    run(&config(&sink), plan, |_| Index::of(url, &index)).unwrap();
}

#[test]
fn file_to_s3_survives_kills() {
    let Some(bucket) = Bucket::find("file → s3") else { return };
    objects(&bucket, "s3");
}

#[test]
fn file_to_minio_survives_kills() {
    let Some(bucket) = Bucket::find_in_minio("file → minio") else { return };
    objects(&bucket, "minio");
}

fn objects(bucket: &Bucket, service: &str) {
    let wire = chaos::seed().unwrap().map(|_| Wire::to_url(&bucket.endpoint).unwrap());
    let sink = wire.as_ref().map_or(bucket.clone(), |wire| bucket.through(wire)).sink("parsed");
    let reach = Reach { service: Some(service), wire: wire.as_ref() };
    let plan = Plan { restarts: &[service], reach, ..PLAN };
    run(&config(&sink), plan, |_| bucket.clone()).unwrap();
}

#[test]
fn file_to_hdfs_survives_kills() {
    let Some(url) = service("file → hdfs", "SAWLOG_TEST_HDFS") else { return };
    let web = std::env::var("SAWLOG_TEST_WEBHDFS").unwrap();
    let root = format!("/{}", unique("cell"));
    let sink = format!(
        "{{ type: hdfs, inputs: [parsed], url: \"{url}\", path: \"{root}/dt={{received_time:%Y-%m-%d}}/hour={{received_time:%H}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }} }}"
    );
    let reach = Reach { service: Some("hdfs"), wire: None };
    let plan = Plan { kills: 3, restarts: &["hdfs"], reach, ..PLAN };
    run(&config(&sink), plan, |_| Hdfs { url: web.clone(), root: root.clone() }).unwrap();
}

#[test]
fn file_to_kafka_survives_kills() {
    let Some(brokers) = service("file → kafka", "SAWLOG_TEST_KAFKA") else { return };
    let (topic, cursors) = (unique("cell"), unique("cursors"));
    read::make_topics(&brokers, &[(&topic, 3, false), (&cursors, 16, true)]).unwrap();
    let wire = chaos::seed().unwrap().map(|_| Wire::to_kafka().unwrap());
    let through = wire.as_ref().map_or(brokers.clone(), Wire::address);
    let timeout = chaos::transaction_timeout();
    let sink = format!(
        "{{ type: kafka, inputs: [parsed], brokers: [\"{through}\"], topic: {topic}, cursor_topic: {cursors}, transaction_timeout: {timeout}, batch: {{ age: 200ms }} }}"
    );
    let reach = Reach { service: Some("kafka"), wire: wire.as_ref() };
    let plan = Plan { restarts: &["kafka"], reach, ..PLAN };
    run(&config(&sink), plan, |_| Committed::of(&brokers, &topic)).unwrap();
}

#[test]
fn http_to_local_lake_survives_kills() {
    if service("http → lake", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "version: 1\nagent: {{ id: e2e }}\ndata_dir: ./data\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  web: {{ type: http, listen: \"127.0.0.1:{port}\", decode: ndjson }}\n\
         sinks:\n  out: {{ type: file, inputs: [web], path: \"./lake/dt={{received_time:%Y-%m-%d}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }} }}\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let posts = Posts::new(format!("http://127.0.0.1:{port}/"));
    run_with(folder.path(), &config, PLAN, posts, &Folder(folder.path().join("lake"))).unwrap();
}

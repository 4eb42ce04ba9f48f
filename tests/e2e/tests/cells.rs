//! The cells of the main job, file as source: local lake, appended file, Kafka, Elasticsearch, S3, HDFS.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::cell::{Plan, run};
use sawlog_e2e::{read, service};
use std::time::Duration;

const PLAN: Plan = Plan { kills: 6, lines: 900, drain_max: Duration::from_secs(90) };

/// A config with one sink.
fn config(sink: &str) -> String {
    format!(
        "version: 1\nagent: {{ id: e2e }}\ndata_dir: ./data\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n\
         sinks:\n  out: {sink}\n"
    )
}

fn unique(name: &str) -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{name}-{}-{}", std::process::id(), since.as_millis())
}

#[test]
fn file_to_local_lake_survives_kills_and_is_a_table_for_duckdb() {
    if service("file → lake", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let sink = "{ type: file, inputs: [parsed], path: \"./lake/dt={received_time:%Y-%m-%d}/hour={received_time:%H}\", format: jsonl, roll: { size: 1MiB, age: 1s } }";
    run(&config(sink), PLAN, |folder| read::folder(&folder.join("lake"))).unwrap();
    if service("file → lake read by DuckDB", "SAWLOG_TEST_PYTHON").is_some() {
        let plan = Plan { kills: 1, ..PLAN };
        run(&config(sink), plan, |folder| read::duckdb("", &format!("{}/lake/*/*/*.jsonl", folder.display()))).unwrap();
    }
}

#[test]
fn file_to_appended_file_survives_kills() {
    if service("file → file", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let sink = "{ type: file, inputs: [parsed], path: ./out.jsonl, batch: { age: 100ms } }";
    run(&config(sink), PLAN, |folder| {
        // The bytes behind the journalled length are cut at the next start: a reader of a live file sees them twice.
        let mut rows = read::folder(&folder.join("out.jsonl")).unwrap_or_default();
        rows.truncate(usize::MAX);
        Ok(rows)
    })
    .unwrap();
}

#[test]
fn file_to_elasticsearch_survives_kills() {
    let Some(url) = service("file → elasticsearch", "SAWLOG_TEST_ELASTICSEARCH") else { return };
    let index = unique("cell");
    let sink = format!(
        "{{ type: elasticsearch, inputs: [parsed], all: true, endpoints: [\"{url}\"], index: \"{index}-{{received_time:%Y.%m.%d}}\", batch: {{ age: 200ms }} }}"
    );
    run(&config(&sink), PLAN, |_| read::elasticsearch(&url, &format!("{index}-*"))).unwrap();
}

#[test]
fn file_to_s3_survives_kills() {
    let Some(endpoint) = service("file → s3", "SAWLOG_TEST_S3_ENDPOINT") else { return };
    let get = |name: &str| std::env::var(name).unwrap();
    let (key, secret, bucket) =
        (get("SAWLOG_TEST_S3_ACCESS_KEY"), get("SAWLOG_TEST_S3_SECRET_KEY"), get("SAWLOG_TEST_S3_BUCKET"));
    let region = get("SAWLOG_TEST_S3_REGION");
    let prefix = unique("cell");
    let sink = format!(
        "{{ type: s3, inputs: [parsed], bucket: {bucket}, endpoint: \"{endpoint}\", region: {region}, path_style: true, prefix: \"{prefix}/dt={{received_time:%Y-%m-%d}}/hour={{received_time:%H}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }}, credentials: {{ access_key_id: {key}, secret_access_key: {secret} }} }}"
    );
    let host = endpoint.trim_start_matches("http://").to_owned();
    let prepare = format!(
        "from duckdb_extensions import import_extension\nimport_extension('httpfs')\nc.execute('LOAD httpfs')\nc.execute(\"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', ENDPOINT '{host}', REGION '{region}', URL_STYLE 'path', USE_SSL false)\")"
    );
    let glob = format!("s3://{bucket}/{prefix}/*/*/*.jsonl");
    run(&config(&sink), Plan { kills: 4, ..PLAN }, |_| read::duckdb(&prepare, &glob)).unwrap();
}

#[test]
fn file_to_hdfs_survives_kills() {
    let Some(url) = service("file → hdfs", "SAWLOG_TEST_HDFS") else { return };
    let web = std::env::var("SAWLOG_TEST_WEBHDFS").unwrap();
    let root = format!("/{}", unique("cell"));
    let sink = format!(
        "{{ type: hdfs, inputs: [parsed], url: \"{url}\", path: \"{root}/dt={{received_time:%Y-%m-%d}}/hour={{received_time:%H}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }} }}"
    );
    run(&config(&sink), Plan { kills: 4, ..PLAN }, |_| read::webhdfs(&web, &root)).unwrap();
}

//! What examples say of themselves is so. They run as they stand, but for the addresses, names and folders of a test.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::Agent;
use sawlog_e2e::feed::{Sender as _, Topic, plain};
use sawlog_e2e::s3::Bucket;
use sawlog_e2e::{read, service, unique};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const END_MAX: Duration = Duration::from_secs(60);
/// Messages of the example that reads Kafka.
const ORDERS: u64 = 1_000;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// Puts an example below `folder`, with other words in the place of some of its own.
fn put(folder: &Path, name: &str, changes: &[(&str, &str)]) {
    let mut config = std::fs::read_to_string(examples().join(name)).unwrap();
    for (theirs, ours) in changes {
        assert!(config.contains(theirs), "{name} does not say {theirs}");
        config = config.replace(theirs, ours);
    }
    std::fs::write(folder.join("sawlog.yaml"), config).unwrap();
}

/// Rows of a text of JSON lines, without what says where they are from.
fn rows(text: &str) -> Vec<Value> {
    let mut rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    rows.iter_mut().filter_map(Value::as_object_mut).for_each(|row| row.retain(|name, _| !name.starts_with("sawlog")));
    rows
}

fn duckdb(program: &str) -> String {
    let python = std::env::var("SAWLOG_TEST_PYTHON").unwrap();
    let output = Command::new(python).args(["-c", &format!("import duckdb\nc = duckdb.connect()\n{program}")]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn file_to_lake_delivers_what_it_says() {
    let name = "example file-to-lake";
    let Some(plugins) = service(name, "SAWLOG_TEST_PLUGINS") else { return };
    if service(name, "SAWLOG_TEST_BINARY").and_then(|_| service(name, "SAWLOG_TEST_PYTHON")).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    put(path, "file-to-lake.yaml", &[("../plugins/target/components", &plugins)]);
    std::fs::create_dir_all(path.join("run/logs")).unwrap();
    std::fs::copy(examples().join("file-to-lake/input.log"), path.join("run/logs/app.log")).unwrap();
    Agent::start_until_eof(path).unwrap().finish(END_MAX).unwrap();

    let expected = rows(&std::fs::read_to_string(examples().join("file-to-lake/expected.jsonl")).unwrap());
    let lake = format!(
        "for row in c.execute(\"select json from read_json_objects('{}/run/lake/*/*/*.jsonl.zst', format='newline_delimited', compression='zstd')\").fetchall(): print(row[0])",
        path.display()
    );
    assert_eq!(rows(&duckdb(&lake)), expected);
    let errors: Vec<Value> = expected.into_iter().filter(|row| row["severity"] == "ERROR").collect();
    assert!(!errors.is_empty());
    let files = std::fs::read_dir(path.join("run/errors")).unwrap().map(|entry| entry.unwrap().path());
    let written: String =
        files.filter(|file| file.is_file()).map(|file| std::fs::read_to_string(file).unwrap()).collect();
    assert_eq!(rows(&written), errors);
}

#[test]
fn kafka_to_s3_delivers_every_message_once() {
    let name = "example kafka-to-s3";
    let (Some(bucket), Some(brokers)) = (Bucket::find(name), service(name, "SAWLOG_TEST_KAFKA")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (orders, data) = (unique("orders"), path.join("data").display().to_string());
    read::make_topics(&brokers, &[(&orders, 4, false)]).unwrap();
    let mut feed = Topic::numbered(&brokers, &orders, 0, plain).unwrap();
    feed.send(ORDERS).unwrap();
    let Bucket { endpoint, key, secret, bucket: into, prefix, region } = &bucket;
    put(
        path,
        "kafka-to-s3.yaml",
        &[
            ("version: 1", &format!("version: 1\ndata_dir: {data}\napi: {{ listen: \"127.0.0.1:0\" }}")),
            ("127.0.0.1:9092", &brokers),
            ("http://127.0.0.1:9000", endpoint),
            (
                "bucket: sawlog-checkpoints",
                &format!(
                    "bucket: {into}, prefix: {prefix}-backup, credentials: {{ access_key_id: {key}, secret_access_key: {secret} }}"
                ),
            ),
            ("bucket: logs", &format!("bucket: {into}")),
            ("[orders]\n    group_id: sawlog-orders", &format!("[{orders}]\n    group_id: {orders}")),
            ("\"orders/dt", &format!("\"{prefix}/dt")),
        ],
    );
    std::fs::copy(examples().join("orders.columns"), path.join("orders.columns")).unwrap();
    std::fs::create_dir(path.join("secrets")).unwrap();
    std::fs::write(path.join("secrets/s3-access-key"), key).unwrap();
    std::fs::write(path.join("secrets/s3-secret-key"), secret).unwrap();
    Agent::start_until_eof(path).unwrap().finish(END_MAX).unwrap();

    let host = endpoint.trim_start_matches("http://");
    let program = format!(
        "from duckdb_extensions import import_extension\nimport_extension('httpfs')\nc.execute('LOAD httpfs')\n\
         c.execute(\"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', ENDPOINT '{host}', REGION '{region}', URL_STYLE 'path', USE_SSL false)\")\n\
         print(c.execute(\"select count(*), count(distinct record_id) from read_parquet('s3://{into}/{prefix}/*/*/*.parquet')\").fetchone())"
    );
    assert_eq!(duckdb(&program).trim(), format!("({ORDERS}, {ORDERS})"));
}

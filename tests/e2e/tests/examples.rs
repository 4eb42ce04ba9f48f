//! What examples say of themselves is so. They run as they stand, but for the addresses, names and folders of a test.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::Agent;
use sawlog_e2e::disk::{Disk, is_inside};
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

/// An example, with other words in the place of some of its own.
fn changed(name: &str, changes: &[(&str, &str)]) -> String {
    let mut config = std::fs::read_to_string(examples().join(name)).unwrap();
    for (theirs, ours) in changes {
        assert!(config.contains(theirs), "{name} does not say {theirs}");
        config = config.replace(theirs, ours);
    }
    config
}

/// Puts an example below `folder`, with other words in the place of some of its own.
fn put(folder: &Path, name: &str, changes: &[(&str, &str)]) {
    std::fs::write(folder.join("sawlog.yaml"), changed(name, changes)).unwrap();
}

/// The same, with a lake below `folder` in the place of each sink that is fed, by its name and with its inputs; and the secrets.
fn put_with_lakes(folder: &Path, name: &str, changes: &[(&str, &str)]) {
    let config = changed(name, changes);
    let (before, sinks) = config.split_once("\nsinks:\n").unwrap();
    let mut config = format!("{before}\nsinks:\n");
    for sink in blocks(sinks) {
        let (name, options) = sink.trim_start().split_once(':').unwrap();
        config += &match options.split_once("inputs: [").and_then(|(_, rest)| rest.split_once(']')) {
            Some((inputs, _)) => format!(
                "  {name}: {{ type: file, inputs: [{inputs}], provenance: full, path: \"{}/lake/{name}/dt={{received_time:%Y-%m-%d}}\", \
                 format: jsonl, roll: {{ size: 1MiB, age: 1s }} }}\n",
                folder.display()
            ),
            None => sink,
        };
    }
    std::fs::write(folder.join("sawlog.yaml"), config).unwrap();
    std::fs::create_dir(folder.join("secrets")).unwrap();
    for secret in std::fs::read_dir(examples().join("secrets")).unwrap().map(|entry| entry.unwrap().path()) {
        std::fs::copy(&secret, folder.join("secrets").join(secret.file_name().unwrap())).unwrap();
    }
}

/// The entries of a section, each with the lines below it.
fn blocks(section: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    for line in section.lines() {
        let begins = line.starts_with("  ") && !line[2..].starts_with([' ', '#']);
        match blocks.last_mut() {
            Some(last) if !begins => *last += &format!("{line}\n"),
            _ => blocks.push(format!("{line}\n")),
        }
    }
    blocks
}

/// The rows in the lake of a sink, in no order.
fn lake(folder: &Path, sink: &str) -> Vec<Value> {
    let Ok(days) = std::fs::read_dir(folder.join("lake").join(sink)) else { return Vec::new() };
    let days = days.map(|day| day.unwrap().path()).filter(|day| !day.ends_with("_sawlog") && !day.ends_with("_tmp"));
    let files = days.flat_map(|day| std::fs::read_dir(day).unwrap().map(|file| file.unwrap().path()));
    files.flat_map(|file| rows(&std::fs::read_to_string(file).unwrap())).collect()
}

/// The texts of these members of each row, in order.
fn members(rows: &[Value], names: &[&str]) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let row = |row: &Value| names.iter().map(|name| text(&row[name])).collect::<Vec<_>>().join(" | ");
    let mut rows: Vec<String> = rows.iter().map(row).collect();
    rows.sort();
    rows
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

/// What a container runtime writes at a time of its own.
fn container_line(stream: &str, flag: &str, text: &str) -> String {
    format!("2026-11-26T12:00:00.000000001Z {stream} {flag} {text}\n")
}

#[test]
fn kubernetes_delivers_what_the_pods_of_a_node_write_and_not_what_the_agent_says() {
    const TEST: &str = "kubernetes_delivers_what_the_pods_of_a_node_write_and_not_what_the_agent_says";
    if service(TEST, "SAWLOG_TEST_BINARY").is_none() || !is_inside(TEST).unwrap() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let _disk = Disk::mount(Path::new("/var/log"), 64).unwrap();
    let write = |file: &str, lines: &[String]| {
        let file = Path::new("/var/log/pods").join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, lines.concat()).unwrap();
    };
    let line = container_line;
    write("shop_cart-1_0a1b/app/0.log.20261126-110000", &[line("stdout", "F", r#"{"msg":"rotated before"}"#)]);
    let halves = (r#"{"severity":"INFO","msg":"in two "#, r#"halves"}"#);
    write(
        "shop_cart-1_0a1b/app/0.log",
        &[
            line("stdout", "F", r#"{"severity":"ERROR","msg":"paid twice"}"#),
            line("stdout", "P", halves.0),
            line("stderr", "F", "level=warn msg=retried"),
            line("stdout", "F", halves.1),
        ],
    );
    write("mail_queue-2_0c2d/smtp/3.log", &[line("stderr", "F", r#"{"attributes":{"es":true},"msg":"asked for"}"#)]);
    for excluded in ["kube-system_dns-3_0e3f/dns", "sawlog_sawlog-x7k2p_0f4a/sawlog"] {
        for name in ["0.log", "0.log.20261126-110000"] {
            write(&format!("{excluded}/{name}"), &[line("stdout", "F", &format!(r#"{{"msg":"{excluded}/{name}"}}"#))]);
        }
    }
    let data = format!("{}/data\napi: {{ listen: \"127.0.0.1:0\" }}", path.display());
    let changes =
        [("{ id: auto }", "{ id: node }"), ("/var/lib/sawlog", data.as_str()), ("0.0.0.0:9598", "127.0.0.1:0")];
    put_with_lakes(path, "kubernetes.yaml", &changes);
    Agent::start_until_eof(path).unwrap().finish(END_MAX).unwrap();

    let names = ["k8s.namespace.name", "k8s.pod.name", "k8s.pod.uid", "k8s.container.name", "log.iostream", "msg"];
    let all = [
        "mail | queue-2 | 0c2d | smtp | stderr | asked for",
        "shop | cart-1 | 0a1b | app | stderr | retried",
        "shop | cart-1 | 0a1b | app | stdout | in two halves",
        "shop | cart-1 | 0a1b | app | stdout | paid twice",
        "shop | cart-1 | 0a1b | app | stdout | rotated before",
    ];
    assert_eq!(members(&lake(path, "stream"), &names), all);
    assert_eq!(members(&lake(path, "hadoop"), &names), all);
    assert_eq!(members(&lake(path, "search"), &names), [all[0], all[3]]);
}

/// The example of everything, without what needs a service: its Kafka source and the backup of its checkpoints.
fn put_everything(path: &Path, plugins: &str, port: u16) {
    let here = path.display().to_string();
    let text = std::fs::read_to_string(examples().join("everything.yaml")).unwrap();
    let part = |begin: &str, end: &str| {
        let at = text.find(begin).unwrap();
        &text[at..at + text[at..].find(end).unwrap()]
    };
    let (backup, orders) = (part("  backup:", "shutdown:"), part("  orders:\n", "\ntransforms:"));
    put_with_lakes(
        path,
        "everything.yaml",
        &[
            (backup, ""),
            (orders, ""),
            ("inputs: [app, web, orders]", "inputs: [app, web]"),
            ("data_dir: /var/lib/sawlog", &format!("data_dir: {here}/data")),
            ("/var/log/app/", &format!("{here}/app/")),
            ("/mnt/logs", &here),
            ("../plugins/target/components", plugins),
            ("127.0.0.1:8080", &format!("127.0.0.1:{port}")),
            ("127.0.0.1:8686", "127.0.0.1:0"),
            ("127.0.0.1:9598", "127.0.0.1:0"),
            ("127.0.0.1:4318", "127.0.0.1:1"),
        ],
    );
}

/// The logs that it reads, and those that it leaves out.
fn write_logs(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(folder.join(name), text).unwrap();
    // As Korean Windows writes it; a trace begins in one file and ends in the next.
    write("app.log.1", b"INFO \xb0\xe1\xc1\xa6\njava.lang.IllegalStateException: no customer\n");
    // Births are told apart by a clock that ticks every few milliseconds.
    std::thread::sleep(Duration::from_millis(50));
    write("app.log", b"\tat shop.Orders.customer(Orders.java:41)\nDEBUG noise\nINFO last\n.\n");
    write("debug.log", b"INFO never read\n");
    write("debug.log.1", b"INFO never read either\n");
}

#[test]
fn everything_delivers_through_its_files_http_and_plugins() {
    let name = "example everything";
    let Some(plugins) = service(name, "SAWLOG_TEST_PLUGINS") else { return };
    if service(name, "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    put_everything(path, &plugins, port);
    write_logs(&path.join("app"));
    let mut agent = Agent::start(path).unwrap();
    let token = std::fs::read_to_string(path.join("secrets/web-token")).unwrap();
    let body = r#"{"severity":"ERROR","message":"to search"}
{"attributes":{"kind":"audit","email":"bob@example.org"},"message":"to the auditors"}
"#;
    let post = || {
        let request =
            minreq::post(format!("http://127.0.0.1:{port}/logs")).with_header("Content-Type", "application/x-ndjson");
        let request = request.with_header("Authorization", format!("Bearer {}", token.trim()));
        request.with_header("Idempotency-Key", "one").with_body(body).with_timeout(10).send()
    };
    let taken = || Ok(post().is_ok_and(|answer| answer.status_code == 200));
    agent.wait_until("the post is taken", END_MAX, taken).unwrap();
    let trace = "java.lang.IllegalStateException: no customer\n\tat shop.Orders.customer(Orders.java:41)";
    let (paid, all) =
        ("\u{acb0}\u{c81c}", [trace, "last", "noise", "to search", "to the auditors", "\u{acb0}\u{c81c}"]);
    let expected = [
        ("local", vec!["DEBUG noise", "INFO last", "INFO \u{acb0}\u{c81c}", trace]),
        ("nowhere", vec!["to search", "to the auditors"]),
        ("lake", all.to_vec()),
        ("hadoop", all.to_vec()),
        ("stream", vec![trace, "last", "to the auditors", paid]),
        ("search", vec!["to search"]),
        ("screen", vec!["to the auditors"]),
    ];
    // A line alone at the end is a record once nothing has come for a while.
    let texts = |sink: &str| {
        let rows = lake(path, sink).into_iter().filter(|row| row["body"] != ".");
        let text = |row: Value| row["message"].as_str().or(row["body"].as_str()).unwrap().to_owned();
        let mut texts: Vec<String> = rows.map(text).collect();
        texts.sort();
        texts
    };
    let is_there = || Ok(expected.iter().all(|(sink, all)| texts(sink).len() >= all.len()));
    let waited = agent.wait_until("every row", END_MAX, is_there);
    for (sink, all) in &expected {
        assert_eq!(texts(sink), *all, "{sink}; {waited:?}");
    }
    assert_eq!(lake(path, "screen")[0]["attributes"]["email"], "[email]");
    agent.terminate().unwrap();
}

//! The whole job at once: a rotating file, HTTP posts and a Kafka topic, through two WASM plugins, to Kafka, Elasticsearch, S3,
//! HDFS and a local lake. `cargo xtask demo --services` shows it to a person.

use crate::agent::Agent;
use crate::cell;
use crate::feed::{Feed, Posts, Sender, Topic};
use crate::read;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the services are, and what is under test.
pub struct Services {
    /// `HOST:PORT` of a Kafka broker.
    pub kafka: String,
    /// URL of Elasticsearch.
    pub elasticsearch: String,
    /// `hdfs://HOST:PORT`.
    pub hdfs: String,
    /// URL of WebHDFS, for the reader.
    pub webhdfs: String,
    /// The S3 gateway.
    pub s3: S3,
    /// Folder with the plugins.
    pub plugins: PathBuf,
}

/// An S3 gateway and a bucket in it.
pub struct S3 {
    endpoint: String,
    region: String,
    bucket: String,
    key: String,
    secret: String,
}

impl Services {
    /// As the test command tells in the environment.
    pub fn from_environment() -> Result<Self> {
        let get = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
        Ok(Self {
            kafka: get("SAWLOG_TEST_KAFKA")?,
            elasticsearch: get("SAWLOG_TEST_ELASTICSEARCH")?,
            hdfs: get("SAWLOG_TEST_HDFS")?,
            webhdfs: get("SAWLOG_TEST_WEBHDFS")?,
            s3: S3 {
                endpoint: get("SAWLOG_TEST_S3_ENDPOINT")?,
                region: get("SAWLOG_TEST_S3_REGION")?,
                bucket: get("SAWLOG_TEST_S3_BUCKET")?,
                key: get("SAWLOG_TEST_S3_ACCESS_KEY")?,
                secret: get("SAWLOG_TEST_S3_SECRET_KEY")?,
            },
            plugins: get("SAWLOG_TEST_PLUGINS")?.into(),
        })
    }
}

/// Records of each sender before each kill, and once more after the last.
const RECORDS: u64 = 2_000;
/// Kills with -9.
const KILLS: u32 = 3;
/// Longest time from the last record to the last row.
const DRAIN_MAX: Duration = Duration::from_secs(180);
/// Numbers of the senders' first records lie so far apart.
const APART: u64 = 1_000_000;
const PARTITIONS: i32 = 3;

fn level(number: u64) -> &'static str {
    ["debug", "info", "info", "warn", "info"][(number % 5) as usize]
}

fn line(number: u64) -> String {
    let level = level(number);
    format!(
        "{{\"seq\":{number},\"level\":\"{level}\",\"message\":\"order {number} of user{number}@example.org is on its way\"}}"
    )
}

/// One sink: what its reader found last, and what must be there at the end.
struct Shown {
    name: &'static str,
    read: Box<dyn Fn() -> Result<Vec<u64>>>,
    expects: fn(u64) -> bool,
}

/// Runs it in `folder`, and returns (lost, duplicated) over all sinks.
pub fn play(services: &Services, folder: &Path) -> Result<(usize, usize)> {
    std::fs::create_dir_all(folder.join("logs"))?;
    let name = format!("demo-{}", std::process::id());
    let (topic, out, cursors) = (format!("{name}-in"), format!("{name}-out"), format!("{name}-cursors"));
    read::make_topics(&services.kafka, &[(&topic, PARTITIONS, false), (&out, 3, false), (&cursors, 16, true)])?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    std::fs::write(folder.join("sawlog.yaml"), configuration(services, &name, port))?;
    println!("configuration: {}\n", folder.join("sawlog.yaml").display());
    let mut senders: Vec<(&str, Box<dyn Sender>)> = vec![
        ("file", Box::new(Feed::of(&folder.join("logs/app.log"), line))),
        ("http", Box::new(Posts::numbered(format!("http://127.0.0.1:{port}/logs"), APART, line))),
        ("kafka", Box::new(Topic::numbered(&services.kafka, &topic, 2 * APART, line)?)),
    ];
    let sinks = sinks(services, &name, folder);
    let mut agent = Agent::start(folder)?;
    for round in 0..=KILLS {
        for (_, sender) in &mut senders {
            sender.send(RECORDS)?;
        }
        if round < KILLS {
            // What is not there when the agent is dead was owed when it died.
            agent.kill()?;
            report("sent", &senders, &sinks)?;
            let owing = sinks.iter().filter(|sink| owes(sink, &senders).unwrap_or(true)).count();
            println!("  killed with -9 while {owing} of {} sinks owed rows; starting again", sinks.len());
            agent = Agent::start(folder)?;
        }
    }
    let until = Instant::now() + DRAIN_MAX;
    while Instant::now() < until
        && sinks.iter().try_fold(false, |any, sink| Ok::<_, anyhow::Error>(any || owes(sink, &senders)?))?
    {
        agent.check()?;
        std::thread::sleep(Duration::from_secs(1));
        report("draining", &senders, &sinks)?;
    }
    agent.terminate()?;
    judge(&senders, &sinks)
}

fn sent(senders: &[(&str, Box<dyn Sender>)]) -> Vec<u64> {
    let of = |(index, (_, sender)): (usize, &(&str, Box<dyn Sender>))| {
        let first = index as u64 * APART;
        first..first + sender.sent()
    };
    senders.iter().enumerate().flat_map(of).collect()
}

fn owes(sink: &Shown, senders: &[(&str, Box<dyn Sender>)]) -> Result<bool> {
    let expected = sent(senders).into_iter().filter(|n| (sink.expects)(*n)).count();
    Ok((sink.read)()?.len() < expected)
}

fn report(what: &str, senders: &[(&str, Box<dyn Sender>)], sinks: &[Shown]) -> Result<()> {
    let sent: Vec<String> = senders.iter().map(|(name, sender)| format!("{name} {}", sender.sent())).collect();
    let shown: Result<Vec<String>> =
        sinks.iter().map(|sink| Ok(format!("{} {}", sink.name, (sink.read)()?.len()))).collect();
    println!("  {what}: {}; rows: {}", sent.join(", "), shown?.join(", "));
    Ok(())
}

fn judge(senders: &[(&str, Box<dyn Sender>)], sinks: &[Shown]) -> Result<(usize, usize)> {
    println!();
    let mut sum = (0, 0);
    for sink in sinks {
        let expected: Vec<u64> = sent(senders).into_iter().filter(|n| (sink.expects)(*n)).collect();
        let found = (sink.read)()?;
        let (lost, duplicated, unknown) = cell::compare(&found, &expected);
        let mut spoiled: Vec<u64> = found.iter().copied().filter(|n| *n != expected[0]).collect();
        spoiled.extend(expected.last());
        if cell::compare(&spoiled, &expected) != (lost + 1, duplicated + 1, unknown) {
            bail!("the reader of {} does not notice a removed and a repeated row", sink.name);
        }
        println!(
            "{}: {} expected, lost {lost}, duplicated {duplicated}, unknown {unknown}; the negative control found both",
            sink.name,
            expected.len()
        );
        sum = (sum.0 + lost, sum.1 + duplicated + unknown);
    }
    Ok(sum)
}

fn sinks(services: &Services, name: &str, folder: &Path) -> Vec<Shown> {
    let kept: fn(u64) -> bool = |number| level(number) != "debug";
    let (brokers, topic) = (services.kafka.clone(), format!("{name}-out"));
    let (url, index) = (services.elasticsearch.clone(), format!("{name}-*"));
    let (web, root) = (services.webhdfs.clone(), format!("/{name}"));
    let (prepare, glob) = s3_reader(&services.s3, name);
    let lake = folder.join("lake");
    vec![
        Shown { name: "kafka", read: Box::new(move || read::kafka(&brokers, &topic)), expects: kept },
        Shown {
            name: "elasticsearch (warnings)",
            read: Box::new(move || read::elasticsearch(&url, &index)),
            expects: |number| level(number) == "warn",
        },
        Shown { name: "s3", read: Box::new(move || read::duckdb(&prepare, &glob)), expects: kept },
        Shown { name: "hdfs", read: Box::new(move || read::webhdfs(&web, &root)), expects: kept },
        Shown { name: "lake", read: Box::new(move || read::folder(&lake)), expects: kept },
    ]
}

/// How DuckDB gets at the bucket, and what it is to read.
fn s3_reader(s3: &S3, name: &str) -> (String, String) {
    let S3 { endpoint, region, bucket, key, secret } = s3;
    let host = endpoint.trim_start_matches("http://");
    let prepare = format!(
        "from duckdb_extensions import import_extension\nimport_extension('httpfs')\nc.execute('LOAD httpfs')\nc.execute(\"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', ENDPOINT '{host}', REGION '{region}', URL_STYLE 'path', USE_SSL false)\")"
    );
    (prepare, format!("s3://{bucket}/{name}/*/*/*.jsonl"))
}

/// The configuration, to be read by a person.
fn configuration(services: &Services, name: &str, port: u16) -> String {
    let Services { kafka, elasticsearch, hdfs, plugins, .. } = services;
    let S3 { endpoint, region, bucket, key, secret } = &services.s3;
    let plugins = plugins.display();
    let parts = "dt={received_time:%Y-%m-%d}/hour={received_time:%H}";
    format!(
        r#"# A rotating file, HTTP posts and a Kafka topic, through two WASM plugins, to everything at once.
version: 1
agent: {{ id: demo }}
data_dir: ./data
checkpoint: {{ interval: 1s }}
api: {{ listen: "127.0.0.1:0" }}

plugins:
  keep-info: {{ source: "file:{plugins}/level-filter.wasm", config: {{ at_least: info }} }}
  redact: {{ source: "file:{plugins}/redact.wasm", config: {{ fields: [message] }} }}

sources:
  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }}
  web: {{ type: http, listen: "127.0.0.1:{port}", path: /logs, decode: ndjson }}
  orders: {{ type: kafka, brokers: ["{kafka}"], topics: [{name}-in], group_id: {name}, partitions: [0, 1, 2] }}

transforms:
  parsed: {{ type: parse, inputs: [app, orders], try: [json, text] }}
  clean: {{ type: wasm, inputs: [parsed, web], chain: [keep-info, redact] }}
  split: {{ type: route, inputs: [clean], routes: {{ warnings: 'level == "warn"' }} }}

sinks:
  # The speed layer: a log and a search engine.
  stream: {{ type: kafka, layer: speed, inputs: [clean], brokers: ["{kafka}"], topic: {name}-out, cursor_topic: {name}-cursors, batch: {{ age: 200ms }} }}
  search: {{ type: elasticsearch, layer: speed, inputs: [split.warnings], endpoints: ["{elasticsearch}"], index: "{name}-{{received_time:%Y.%m.%d}}", batch: {{ age: 200ms }} }}
  # The batch layer: tables of files, one path for each hour.
  bucket:
    type: s3
    layer: batch
    inputs: [clean]
    bucket: {bucket}
    endpoint: "{endpoint}"
    region: {region}
    path_style: true
    credentials: {{ access_key_id: "{key}", secret_access_key: "{secret}" }}
    prefix: "{name}/{parts}"
    format: jsonl
    roll: {{ size: 4MiB, age: 2s }}
  hadoop: {{ type: hdfs, layer: batch, inputs: [clean], url: "{hdfs}", path: "/{name}/{parts}", format: jsonl, roll: {{ size: 4MiB, age: 2s }} }}
  lake: {{ type: file, layer: batch, inputs: [clean], path: "./lake/{parts}", format: jsonl, roll: {{ size: 4MiB, age: 2s }} }}
"#
    )
}

//! The whole job at once: a rotating file, HTTP posts and a Kafka topic, through two WASM plugins, to Kafka, Elasticsearch, S3,
//! HDFS and a local lake.

use super::{APART, Sending, Sink, Stage, kept, line, warns};
use crate::feed::{Feed, Posts, Sender, Topic};
use crate::read;
use crate::s3::Bucket;
use crate::search::Index;
use crate::shown::{Committed, Folder, Hdfs};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

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
    /// A prefix in a bucket of the S3 gateway.
    pub s3: Bucket,
    /// Folder with the plugins.
    pub plugins: PathBuf,
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
            s3: Bucket::from_environment(format!("demo-{}", std::process::id()))?,
            plugins: get("SAWLOG_TEST_PLUGINS")?.into(),
        })
    }
}

/// Records of each sender before each kill, and once more after the last.
const RECORDS: u64 = 2_000;
const PARTITIONS: i32 = 3;

/// The stage in `folder`.
pub fn stage(services: &Services, folder: &Path) -> Result<Stage> {
    std::fs::create_dir_all(folder.join("logs"))?;
    let name = services.s3.prefix.clone();
    let (topic, out, cursors) = (format!("{name}-in"), format!("{name}-out"), format!("{name}-cursors"));
    read::make_topics(&services.kafka, &[(&topic, PARTITIONS, false), (&out, 3, false), (&cursors, 16, true)])?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    std::fs::write(folder.join("sawlog.yaml"), configuration(services, &name, port))?;
    println!("look at  {}  (a table with partitions dt and hour)", folder.join("lake").display());
    println!("and at   topic {out} of {}, read_committed", services.kafka);
    println!("         indexes {name}-* of {}", services.elasticsearch);
    println!("         s3://{}/{name}/ at {}", services.s3.bucket, services.s3.endpoint);
    println!("         /{name} of {}; the services end with the demonstration", services.hdfs);
    let feed = Feed::of(&folder.join("logs/app.log"), line);
    let posts = Posts::numbered(format!("http://127.0.0.1:{port}/logs"), APART, line);
    let messages = Topic::numbered(&services.kafka, &topic, 2 * APART, line)?;
    let senders: [(&str, Box<dyn Sender>); 3] =
        [("file", Box::new(feed)), ("http", Box::new(posts)), ("kafka", Box::new(messages))];
    let senders = senders.into_iter().map(|(name, sender)| Sending { name, sender, records: RECORDS }).collect();
    Ok(Stage { folder: folder.to_owned(), senders, sinks: sinks(services, &name, folder) })
}

fn sinks(services: &Services, name: &str, folder: &Path) -> Vec<Sink> {
    let stream = Committed::of(&services.kafka, &format!("{name}-out"));
    let search = Index::of(&services.elasticsearch, name);
    let hdfs = Hdfs { url: services.webhdfs.clone(), root: format!("/{name}") };
    vec![
        Sink { name: "kafka", shown: Box::new(stream), expects: kept },
        Sink { name: "elasticsearch (warnings)", shown: Box::new(search), expects: warns },
        Sink { name: "s3", shown: Box::new(services.s3.clone()), expects: kept },
        Sink { name: "hdfs", shown: Box::new(hdfs), expects: kept },
        Sink { name: "lake", shown: Box::new(Folder(folder.join("lake"))), expects: kept },
    ]
}

/// The configuration, to be read by a person.
fn configuration(services: &Services, name: &str, port: u16) -> String {
    let Services { kafka, elasticsearch, hdfs, plugins, .. } = services;
    let Bucket { endpoint, region, bucket, key, secret, .. } = &services.s3;
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

//! No service needed: a rotating file and HTTP posts, through two WASM plugins, to a lake and a plain file.

use super::{APART, Sending, Sink, Stage, kept, line, warns};
use crate::feed::{Feed, Posts};
use crate::shown::Folder;
use anyhow::{Context, Result};
use std::path::Path;

/// Records that are posted before each kill, and once more after the last.
const POSTED: u64 = 2_000;

/// The stage in `folder`, with about `lines` lines in the file.
pub fn stage(folder: &Path, lines: u64) -> Result<Stage> {
    std::fs::create_dir_all(folder.join("logs"))?;
    let plugins = std::env::var("SAWLOG_TEST_PLUGINS").context("SAWLOG_TEST_PLUGINS is not set")?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    std::fs::write(folder.join("sawlog.yaml"), configuration(&plugins, port))?;
    let feed = Feed::of(&folder.join("logs/app.log"), line);
    let posts = Posts::numbered(format!("http://127.0.0.1:{port}/"), APART, line);
    let (lake, warnings) = (folder.join("lake"), folder.join("warnings.jsonl"));
    println!("look at  {}  (a table with partitions dt and hour)", lake.display());
    println!("and at   {}", warnings.display());
    Ok(Stage {
        folder: folder.to_owned(),
        senders: vec![
            Sending { name: "file", sender: Box::new(feed), records: lines / u64::from(super::KILLS + 1) },
            Sending { name: "http", sender: Box::new(posts), records: POSTED },
        ],
        sinks: vec![
            Sink { name: "lake", shown: Box::new(Folder(lake)), expects: kept },
            Sink { name: "warnings", shown: Box::new(Folder(warnings)), expects: warns },
        ],
    })
}

/// The configuration, to be read by a person.
fn configuration(plugins: &str, port: u16) -> String {
    format!(
        r#"# Lines of a rotating file and HTTP posts, through two WASM plugins, to a lake of partitioned files and to one plain file.
version: 1
agent: {{ id: demo }}
data_dir: ./data
checkpoint: {{ interval: 1s }}
api: {{ listen: "127.0.0.1:0" }}

plugins:
  keep-info: {{ source: "file:{plugins}/level-filter.wasm", config: {{ field: level, at_least: info }} }}
  redact: {{ source: "file:{plugins}/redact.wasm", config: {{ fields: [message] }} }}

sources:
  app: {{ type: file, include: [./logs/app.log], rotated: [./logs/app.log.*] }}
  web: {{ type: http, listen: "127.0.0.1:{port}", decode: ndjson }}

transforms:
  parsed: {{ type: parse, inputs: [app], try: [json, text] }}
  clean: {{ type: wasm, inputs: [parsed, web], chain: [keep-info, redact] }}
  warnings: {{ type: filter, inputs: [clean], condition: 'level == "warn"' }}

sinks:
  lake:
    type: file
    inputs: [clean]
    path: "./lake/dt={{received_time:%Y-%m-%d}}/hour={{received_time:%H}}"
    format: jsonl
    roll: {{ size: 1MiB, age: 1s }}
    provenance: full
  warnings_file: {{ type: file, inputs: [warnings], path: ./warnings.jsonl, batch: {{ age: 200ms }} }}
"#
    )
}

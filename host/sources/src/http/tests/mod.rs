//! Real requests over loopback sockets to a source over a queue that stands in for the one on disk.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod connections;
mod delivery;
mod multiplexed;
mod stand_in;

use super::HttpIntake;
use super::config::HttpSource as HttpOptions;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use sawlog_core::memory::Pool;
use sawlog_core::ports::{ReadLimits, Source, SourceEvent};
use sawlog_record::batch::InputRecord;
use sawlog_record::id::Generation;
use serde_json::Value;
use stand_in::{Handle, StandIn};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const QUOTA_BYTES: usize = 64 << 20;
const LIMITS: ReadLimits = ReadLimits { bytes_max: 1 << 20, records_max: 1_000 };
const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> HttpOptions {
    serde_json::from_value(serde_json::json!({ "listen": "127.0.0.1:0", "path": "/logs" })).unwrap()
}

/// A source that serves.
async fn begun(options: &HttpOptions, queue: &Arc<Handle>) -> Arc<HttpIntake> {
    let source = Arc::new(HttpIntake::open(options, "agent-1", "push", queue.clone(), Pool::unbounded()).unwrap());
    source.restore(Vec::new()).await;
    source
}

/// What a client is told.
#[derive(Debug)]
struct Told {
    status: u16,
    body: Value,
    head: hyper::HeaderMap,
}

async fn post(source: &HttpIntake, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Told {
    let stream = TcpStream::connect(source.local_addr()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = Request::post("/logs").header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let sending = sender.send_request(request.body(Full::new(body.into())).unwrap());
    let told = told(tokio::time::timeout(PATIENCE, sending).await.unwrap().unwrap()).await;
    connection.abort();
    told
}

async fn told(response: Response<hyper::body::Incoming>) -> Told {
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Told { status: head.status.as_u16(), body, head: head.headers }
}

/// All events that are known.
fn events(source: &HttpIntake) -> Vec<SourceEvent> {
    std::iter::from_fn(|| source.next_event()).collect()
}

/// Everything that the source holds, as the core reads it: by its events, in parts.
async fn all(source: &HttpIntake, limits: ReadLimits) -> Vec<(Generation, InputRecord, String)> {
    let mut all = Vec::new();
    let mut ends = std::collections::BTreeMap::new();
    for event in events(source) {
        match event {
            SourceEvent::Available { generation, end } => _ = ends.insert(generation, end),
            SourceEvent::Opened { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    for (generation, end) in ends {
        let mut from = 0;
        while from < end {
            let input = source.read(generation, from, end, limits).await.unwrap();
            for record in &input.records {
                assert!(record.pos >= from && record.end > record.pos && record.end <= end, "{record:?} from {from}");
                from = record.end;
                let text = String::from_utf8_lossy(record.text.of(&input.arena)).into_owned();
                // Where the text lies in an arena depends on the read.
                all.push((generation, InputRecord { text: Default::default(), ..*record }, text));
            }
        }
    }
    all
}

async fn texts(source: &HttpIntake) -> Vec<String> {
    let mut texts: Vec<_> = all(source, LIMITS).await.into_iter().map(|(.., text)| text).collect();
    texts.sort();
    texts
}

/// Sends bytes as they are; what comes back until the source closes.
async fn raw(source: &HttpIntake, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(source.local_addr()).await.unwrap();
    if let Err(error) = stream.write_all(bytes).await {
        return error.to_string();
    }
    let mut answer = Vec::new();
    // A reset ends the answer as a close does.
    let reading = async { stream.read_to_end(&mut answer).await.is_ok() };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

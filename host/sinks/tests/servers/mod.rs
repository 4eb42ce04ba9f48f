//! Real Elasticsearch and OpenSearch servers, and one that answers by script.

use elasticsearch::http::Method;
use elasticsearch::http::headers::HeaderMap;
use elasticsearch::http::transport::Transport;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A real server, read by plain requests.
pub struct Server {
    pub url: String,
    transport: Transport,
}

impl Server {
    /// All servers that the environment names: OpenSearch is the second dialect, and a test that ran against the first has run.
    pub fn all(test: &str) -> Vec<Self> {
        let names = ["SAWLOG_TEST_ELASTICSEARCH", "SAWLOG_TEST_OPENSEARCH"];
        let urls = names.iter().filter_map(|name| std::env::var(name).ok());
        let servers: Vec<Self> =
            urls.map(|url| Self { transport: Transport::single_node(&url).unwrap(), url }).collect();
        if servers.is_empty() {
            println!("NOT RUN: {test}: {} names no server", names[0]);
        }
        servers
    }

    /// A name that no other test has.
    pub fn unique(&self, name: &str) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is set");
        format!("t-{name}-{}-{}", std::process::id(), now.as_micros())
    }

    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let body = body.map(|body| body.to_string());
        let response = self
            .transport
            .send(method, path, HeaderMap::new(), None::<&()>, body, None)
            .await
            .expect("the server answers");
        let status = response.status_code().as_u16();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    /// Makes something, and says what went wrong where it can't.
    pub async fn put(&self, path: &str, body: Value) {
        let (status, answer) = self.ask(Method::Put, path, Some(body)).await;
        assert!(status < 300, "PUT {path}: {status} {answer}");
    }

    /// How often each `n` is in the index.
    pub async fn numbers(&self, index: &str) -> std::collections::BTreeMap<String, usize> {
        let (status, answer) = self.ask(Method::Post, &format!("{index}/_refresh"), None).await;
        assert_eq!(status, 200, "{answer}");
        let all = json!({ "size": 10_000, "query": { "match_all": {} } });
        let (status, answer) = self.ask(Method::Post, &format!("{index}/_search"), Some(all)).await;
        assert_eq!(status, 200, "{answer}");
        let mut seen = std::collections::BTreeMap::new();
        for hit in answer["hits"]["hits"].as_array().expect("a search has hits") {
            *seen.entry(hit["_source"]["n"].to_string()).or_default() += 1;
        }
        seen
    }
}

/// What the scripted server saw of a request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What it answers: status, body, and how many bytes of the body it really sends before it hangs up.
pub type Script = Box<dyn FnMut(&Seen) -> (u16, String, usize) + Send>;

/// Starts a server that answers by `script`; its URL, and all that it saw.
pub async fn scripted(script: Script) -> (String, Arc<Mutex<Vec<Seen>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let (log, script) = (seen.clone(), Arc::new(Mutex::new(script)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (log, script) = (log.clone(), script.clone());
            tokio::spawn(async move { answer(stream, &log, &script).await });
        }
    });
    (url, seen)
}

async fn answer(mut stream: TcpStream, log: &Mutex<Vec<Seen>>, script: &Mutex<Script>) {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let headers: Vec<(String, String)> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let seen = Seen { path, headers, body: Vec::new() };
    let length: usize = seen.header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    while bytes.len() < head_end + length {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let seen = Seen { body: bytes[head_end..].to_vec(), ..seen };
    let (status, body, sent) = (script.lock().unwrap())(&seen);
    log.lock().unwrap().push(seen);
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // The client may hang up first; then there is nobody to tell.
    drop(stream.write_all(head.as_bytes()).await);
    drop(stream.write_all(&body.as_bytes()[..sent.min(body.len())]).await);
    drop(stream.shutdown().await);
}

/// What a server answers to a bulk request that it takes.
#[allow(dead_code)]
pub fn all_created(seen: &Seen) -> String {
    let text = String::from_utf8_lossy(&seen.body).into_owned();
    let items: Vec<Value> = text
        .lines()
        .step_by(2)
        .map(|line| {
            let action: Value = serde_json::from_str(line).expect("an action is JSON");
            json!({ "create": { "_index": action["create"]["_index"], "_id": action["create"]["_id"], "status": 201 } })
        })
        .collect();
    json!({ "items": items }).to_string()
}

//! A server that speaks just enough of Elasticsearch: it creates documents by id, and refuses some while it is told to.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

#[derive(Default)]
struct Store {
    documents: BTreeMap<String, Value>,
    created: BTreeMap<String, usize>,
    refused: Option<&'static str>,
    is_unwell: bool,
    bulks: Vec<usize>,
}

/// The server; it ends with the test.
#[derive(Clone)]
pub struct Elasticsearch {
    pub url: String,
    store: Arc<Mutex<Store>>,
}

impl Elasticsearch {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, store: Arc::default() };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = serving.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        server
    }

    /// Refuses documents whose text holds `word` from now on; `None` takes all.
    pub fn refuse(&self, word: Option<&'static str>) {
        self.store.lock().unwrap().refused = word;
    }

    /// Takes nothing while it is unwell.
    pub fn be_unwell(&self, is: bool) {
        self.store.lock().unwrap().is_unwell = is;
    }

    /// How many documents each request that it took had.
    pub fn bulks(&self) -> Vec<usize> {
        self.store.lock().unwrap().bulks.clone()
    }

    /// Documents by id.
    pub fn documents(&self) -> BTreeMap<String, Value> {
        self.store.lock().unwrap().documents.clone()
    }

    /// The largest number of times that one id was created: 1, or something is there twice.
    pub fn created_most(&self) -> usize {
        self.store.lock().unwrap().created.values().copied().max().unwrap_or(0)
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let (status, answer) = self.answer(&head, &String::from_utf8(body).unwrap());
        let answer = answer.to_string();
        let text = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
            answer.len()
        );
        // The agent may be killed while it waits.
        drop(stream.write_all(text.as_bytes()));
    }

    fn answer(&self, head: &str, body: &str) -> (u16, Value) {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let mut store = self.store.lock().unwrap();
        if store.is_unwell {
            return (503, json!({ "error": "unwell" }));
        }
        if path == "/" {
            return (200, json!({ "cluster_uuid": "the-only-one" }));
        }
        if path.starts_with("/_bulk") {
            let lines: Vec<&str> = body.lines().collect();
            let items: Vec<Value> = lines.chunks(2).map(|pair| store.create(pair[0], pair[1])).collect();
            store.bulks.push(items.len());
            return (200, json!({ "items": items }));
        }
        if let Some((_, id)) = path.split('?').next().and_then(|path| path.split_once("/_doc/")) {
            let found = store.documents.contains_key(id);
            return (if found { 200 } else { 404 }, json!({ "found": found }));
        }
        (404, json!({ "error": { "type": "index_not_found_exception", "reason": "no such index" }, "status": 404 }))
    }
}

impl Store {
    fn create(&mut self, action: &str, document: &str) -> Value {
        let action: Value = serde_json::from_str(action).unwrap();
        let (index, id) = (&action["create"]["_index"], action["create"]["_id"].as_str().unwrap().to_owned());
        let item = |status: u16, error: Option<Value>| {
            let mut item = json!({ "_index": index, "_id": id, "status": status });
            if let Some(error) = error {
                item["error"] = error;
            }
            json!({ "create": item })
        };
        if self.refused.is_some_and(|word| document.contains(word)) {
            return item(400, Some(json!({ "type": "mapper_parsing_exception", "reason": "failed to parse" })));
        }
        if self.documents.contains_key(&id) {
            return item(409, Some(json!({ "type": "version_conflict_engine_exception", "reason": "exists" })));
        }
        *self.created.entry(id.clone()).or_default() += 1;
        self.documents.insert(id.clone(), serde_json::from_str(document).unwrap());
        item(201, None)
    }
}

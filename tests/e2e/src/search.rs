//! Documents of Elasticsearch and OpenSearch, by scrolling: a snapshot without borders between pages at which one could hide.

use crate::shown::Shown;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;

/// Documents of one answer.
const PAGE: usize = 5_000;
/// How long the server keeps a snapshot for the next page.
const KEPT: &str = "30s";
/// How often an index without shards is asked again, and after which pause.
const SHARDS_TRIES_MAX: u32 = 20;
const SHARDS_PAUSE: Duration = Duration::from_millis(500);

/// How a server is asked: a method, a path below its URL, and a body; what it answers.
pub type Ask<'a> = &'a dyn Fn(&str, &str, String) -> Result<Value>;

/// An index pattern on a server that asks nobody who they are.
pub struct Index {
    /// URL of the server.
    pub url: String,
    /// Name or pattern.
    pub name: String,
}

impl Index {
    /// All indexes whose names begin with `name-`.
    pub fn of(url: &str, name: &str) -> Self {
        Self { url: url.to_owned(), name: format!("{name}-*") }
    }

    /// An index that was made just now has no shard that answers: then it is asked again.
    fn ask(&self, method: &str, path: &str, body: String) -> Result<Value> {
        let mut answer = self.ask_once(method, path, &body)?;
        for _ in 0..SHARDS_TRIES_MAX {
            if answer.status_code != 503 {
                break;
            }
            std::thread::sleep(SHARDS_PAUSE);
            answer = self.ask_once(method, path, &body)?;
        }
        ensure!(answer.status_code < 300, "{path}: {} {}", answer.status_code, answer.as_str()?);
        Ok(serde_json::from_str(answer.as_str()?)?)
    }

    fn ask_once(&self, method: &str, path: &str, body: &str) -> Result<minreq::Response> {
        let request = minreq::Request::new(minreq::Method::Custom(method.to_owned()), format!("{}/{path}", self.url));
        let request = request.with_header("Content-Type", "application/json");
        let request = if body.is_empty() { request } else { request.with_body(body) };
        Ok(request.with_timeout(30).send()?)
    }
}

impl Shown for Index {
    fn rows(&self) -> Result<Vec<u64>> {
        rows(&|method, path, body| self.ask(method, path, body), &self.name)
    }

    fn spoiled(&self, removed: u64, repeated: u64) -> Result<Vec<u64>> {
        spoiled(&|method, path, body| self.ask(method, path, body), &self.name, removed, repeated)
    }
}

/// The numbers of all documents of an index pattern.
pub fn rows(ask: Ask<'_>, name: &str) -> Result<Vec<u64>> {
    documents(ask, name)?.iter().map(number).collect()
}

fn number(hit: &Value) -> Result<u64> {
    hit["_source"]["seq"].as_u64().with_context(|| format!("no seq in {hit}"))
}

/// All documents, as hits of a search.
fn documents(ask: Ask<'_>, name: &str) -> Result<Vec<Value>> {
    ask("POST", &format!("{name}/_refresh?ignore_unavailable=true"), String::new())?;
    let begin = format!("{name}/_search?ignore_unavailable=true&scroll={KEPT}");
    let mut answer = ask("POST", &begin, json!({ "size": PAGE, "sort": ["_doc"] }).to_string())?;
    let mut documents = Vec::new();
    loop {
        let hits = answer["hits"]["hits"].as_array().with_context(|| format!("no hits: {answer}"))?;
        let scroll = answer["_scroll_id"].clone();
        if hits.is_empty() {
            // Only so many may be open at once. One over no index at all is none, which the server calls an error.
            if !documents.is_empty() {
                ask("DELETE", "_search/scroll", json!({ "scroll_id": scroll }).to_string())?;
            }
            return Ok(documents);
        }
        documents.extend_from_slice(hits);
        let next = json!({ "scroll": KEPT, "scroll_id": scroll });
        answer = ask("POST", "_search/scroll", next.to_string())?;
    }
}

/// What `rows` finds in a copy without the document `removed`, and with `repeated` once more under an id of its own.
pub fn spoiled(ask: Ask<'_>, name: &str, removed: u64, repeated: u64) -> Result<Vec<u64>> {
    let mut bulk = Vec::new();
    for hit in documents(ask, name)? {
        let copy = format!("copy-of-{}", hit["_index"].as_str().context("a document has an index")?);
        let seq = number(&hit)?;
        if seq != removed {
            bulk.push(json!({ "create": { "_index": copy, "_id": hit["_id"] } }));
            bulk.push(hit["_source"].clone());
        }
        if seq == repeated {
            bulk.push(json!({ "create": { "_index": copy } }));
            bulk.push(hit["_source"].clone());
        }
    }
    let text: String = bulk.iter().map(|line| format!("{line}\n")).collect();
    let answer = ask("POST", "_bulk?refresh=true", text)?;
    ensure!(answer["errors"] == false, "the copy: {}", &answer.to_string()[..500.min(answer.to_string().len())]);
    rows(ask, &format!("copy-of-{name}"))
}

//! Documents of Elasticsearch and OpenSearch, by scrolling: a snapshot without borders between pages at which one could hide.

use crate::shown::Shown;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Documents of one answer.
const PAGE: usize = 5_000;
/// How long the server keeps a snapshot for the next page.
const KEPT: &str = "30s";

/// How a server is asked: a path below its URL, and a body; what it answers.
pub type Ask<'a> = &'a dyn Fn(&str, &Value) -> Result<Value>;

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

    fn ask(&self, path: &str, body: &Value) -> Result<Value> {
        let request = minreq::post(format!("{}/{path}", self.url)).with_header("Content-Type", "application/json");
        let request = if body.is_null() { request } else { request.with_body(body.to_string()) };
        let answer = request.with_timeout(30).send()?;
        ensure!(answer.status_code < 300, "{path}: {} {}", answer.status_code, answer.as_str()?);
        Ok(serde_json::from_str(answer.as_str()?)?)
    }
}

impl Shown for Index {
    fn rows(&self) -> Result<Vec<u64>> {
        rows(&|path, body| self.ask(path, body), &self.name)
    }

    fn spoiled(&self, removed: u64, repeated: u64) -> Result<Vec<u64>> {
        spoiled(&|path, body| self.ask(path, body), &self.name, removed, repeated)
    }
}

/// The numbers of all documents of an index pattern.
pub fn rows(ask: Ask<'_>, name: &str) -> Result<Vec<u64>> {
    ask(&format!("{name}/_refresh?ignore_unavailable=true"), &Value::Null)?;
    let begin = format!("{name}/_search?ignore_unavailable=true&scroll={KEPT}");
    let mut answer = ask(&begin, &json!({ "size": PAGE, "sort": ["_doc"] }))?;
    let mut rows = Vec::new();
    loop {
        let hits = answer["hits"]["hits"].as_array().with_context(|| format!("no hits: {answer}"))?;
        if hits.is_empty() {
            return Ok(rows);
        }
        for hit in hits {
            rows.push(hit["_source"]["seq"].as_u64().with_context(|| format!("no seq in {hit}"))?);
        }
        answer = ask("_search/scroll", &json!({ "scroll": KEPT, "scroll_id": answer["_scroll_id"] }))?;
    }
}

/// What `rows` finds in a copy without the document `removed`, and with `repeated` once more under an id of its own.
pub fn spoiled(ask: Ask<'_>, name: &str, removed: u64, repeated: u64) -> Result<Vec<u64>> {
    let names = json!({ "size": 0, "aggs": { "names": { "terms": { "field": "_index", "size": 1000 } } } });
    let names = ask(&format!("{name}/_search"), &names)?;
    for bucket in names["aggregations"]["names"]["buckets"].as_array().context("no indexes")? {
        let index = bucket["key"].as_str().context("an index has a name")?;
        let rest = json!({ "bool": { "must_not": { "term": { "seq": removed } } } });
        let copy =
            json!({ "source": { "index": index, "query": rest }, "dest": { "index": format!("copy-of-{index}") } });
        ask("_reindex?refresh=true", &copy)?;
    }
    let found = ask(&format!("{name}/_search"), &json!({ "query": { "term": { "seq": repeated } } }))?;
    let hit = &found["hits"]["hits"][0];
    let index = hit["_index"].as_str().with_context(|| format!("no document {repeated}: {found}"))?;
    ask(&format!("copy-of-{index}/_doc?refresh=true"), &hit["_source"])?;
    rows(ask, &format!("copy-of-{name}"))
}

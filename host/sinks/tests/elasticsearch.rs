//! The Elasticsearch sink against real servers, and against answers that a real server gives only in bad hours.
#![allow(missing_docs, clippy::unwrap_used)]

mod rows;
mod servers;

use elasticsearch::http::Method;
use rows::Rows;
use sawlog_core::ports::{DocumentOutcome, DocumentStore, Offer, SinkError};
use sawlog_record::id::Generation;
use sawlog_settings::Secret;
use sawlog_settings::component::Provenance;
use sawlog_sinks::elasticsearch::ElasticsearchDocuments;
use sawlog_sinks::elasticsearch::config::{ElasticsearchAuth, ElasticsearchSink};
use serde_json::{Value, json};
use servers::{Server, all_created, scripted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

const G: Generation = Generation([9; 16]);
const DAY_NANOS: i64 = 86_400_000_000_000;
/// 2026-11-24T00:00:00Z.
const NOW: i64 = 1_795_478_400_000_000_000;

fn options(url: &str, index: &str, more: &Value) -> ElasticsearchSink {
    let mut written = json!({ "endpoints": [url], "index": index });
    let members = more.as_object().expect("more options are an object").clone();
    written.as_object_mut().unwrap().extend(members);
    serde_json::from_value(written).expect("the options are complete")
}

fn open(url: &str, index: &str, more: &Value) -> ElasticsearchDocuments {
    ElasticsearchDocuments::open(&options(url, index, more), "node-1", Provenance::Full, true).expect("the sink opens")
}

fn rows() -> Rows {
    let mut rows = Rows::of(G);
    rows.time = NOW;
    rows
}

fn all(offer: &Offer) -> Vec<(&Offer, u32)> {
    offer.output.rows.iter().map(|row| (offer, *row)).collect()
}

fn numbered(range: std::ops::Range<u64>) -> BTreeMap<String, usize> {
    range.map(|n| (n.to_string(), 1)).collect()
}

fn done(outcomes: &[DocumentOutcome]) -> usize {
    outcomes.iter().filter(|outcome| **outcome == DocumentOutcome::Done).count()
}

#[tokio::test]
async fn a_repeat_of_any_document_does_nothing() {
    for server in Server::all("a_repeat_of_any_document") {
        let index = server.unique("repeat");
        let (sink, offer) = (open(&server.url, &index, &json!({})), rows().offer(0..500));
        assert_eq!(done(&sink.create(&all(&offer)).await.unwrap()), 500);
        let again = open(&server.url, &index, &json!({ "gzip": false }));
        let more = rows().offer(250..750);
        assert_eq!(done(&again.create(&all(&more)).await.unwrap()), 500);
        assert_eq!(again.activity().repeats.load(Ordering::Relaxed), 250);
        assert_eq!(server.numbers(&index).await, numbered(0..750));
        assert!(again.exists(&more, 0).await.unwrap());
        assert!(!again.exists(&rows().offer(900..901), 0).await.unwrap());
        let (_, found) = server.ask(Method::Get, &format!("{index}/_search?q=n:7"), None).await;
        let source = &found["hits"]["hits"][0]["_source"];
        assert_eq!(source["@timestamp"], "2026-11-24T00:00:00.000000000Z");
        assert_eq!(source["sawlog"]["source"], "app", "{source}");
        assert_eq!(found["hits"]["hits"][0]["_id"], source["sawlog"]["id"]);
    }
}

#[tokio::test]
async fn a_mapping_conflict_refuses_that_row_with_the_servers_reason() {
    for server in Server::all("a_mapping_conflict") {
        let index = server.unique("mapping");
        server.put(&index, json!({ "mappings": { "properties": { "n": { "type": "long" } } } })).await;
        let mut rows = rows();
        rows.texts.extend([3, 8]);
        let (sink, offer) = (open(&server.url, &index, &json!({})), rows.offer(0..10));
        let outcomes = sink.create(&all(&offer)).await.unwrap();
        for (n, outcome) in outcomes.iter().enumerate() {
            match outcome {
                DocumentOutcome::Refused(reason) if n == 3 || n == 8 => {
                    assert!(reason.contains("parsing_exception") && reason.contains("[n]"), "{reason}");
                }
                outcome => assert_eq!(outcome, &DocumentOutcome::Done),
            }
        }
        assert_eq!(done(&outcomes), 8);
        assert!(!sink.exists(&offer, 3).await.unwrap());
        assert!(sink.exists(&offer, 4).await.unwrap());
    }
}

#[tokio::test]
async fn a_blocked_index_takes_the_same_rows_later() {
    for server in Server::all("a_blocked_index") {
        for (block, status) in [("index.blocks.read_only_allow_delete", "429"), ("index.blocks.write", "403")] {
            let index = server.unique("block");
            server.put(&index, json!({})).await;
            server.put(&format!("{index}/_settings"), json!({ block: true })).await;
            let (sink, offer) = (open(&server.url, &index, &json!({})), rows().offer(0..20));
            for outcome in sink.create(&all(&offer)).await.unwrap() {
                assert!(matches!(&outcome, DocumentOutcome::Again(words) if words.starts_with(status)), "{outcome:?}");
            }
            server.put(&format!("{index}/_settings"), json!({ block: null })).await;
            assert_eq!(done(&sink.create(&all(&offer)).await.unwrap()), 20);
            assert_eq!(server.numbers(&index).await, numbered(0..20));
        }
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_cut_and_a_row_that_is_too_large_refused() {
    const MIB: u64 = 1 << 20;
    for server in Server::all("a_request_that_is_too_large") {
        let (_, nodes) = server.ask(Method::Get, "_nodes/_local/http", None).await;
        let limit =
            nodes["nodes"].as_object().and_then(|n| n.values().next()?["http"]["max_content_length_in_bytes"].as_u64());
        let Some(limit) = limit.filter(|limit| *limit <= 8 * MIB) else {
            println!(
                "NOT RUN: a_request_that_is_too_large: {} takes {limit:?} bytes; set http.max_content_length: 2mb",
                server.url
            );
            continue;
        };
        for gzip in [true, false] {
            let index = server.unique("large");
            server
                .put(&index, json!({ "mappings": { "properties": { "padding": { "type": "text", "index": false } } } }))
                .await;
            let mut rows = rows();
            for n in 0..16 {
                rows = rows.padded(n, (limit / 5) as usize);
            }
            let rows = rows.padded(7, (limit + limit / 2) as usize);
            let (sink, offer) = (open(&server.url, &index, &json!({ "gzip": gzip })), rows.offer(0..16));
            let outcomes = sink.create(&all(&offer)).await.unwrap();
            assert!(
                matches!(&outcomes[7], DocumentOutcome::Refused(words) if words.starts_with("413")),
                "{:?}",
                outcomes[7]
            );
            assert_eq!(done(&outcomes), 15);
            println!("gzip {gzip}: {} requests for 16 rows", sink.activity().requests.load(Ordering::Relaxed));
            assert_eq!(server.numbers(&index).await.len(), 15);
        }
    }
}

#[tokio::test]
async fn event_times_choose_the_index_within_bounds() {
    for server in Server::all("event_times_choose") {
        let base = server.unique("times");
        let sink = open(&server.url, &format!("{base}-{{team}}-{{event_time:%Y.%m.%d}}"), &json!({}));
        for (days, index) in [(0, "2026.11.24"), (-2, "2026.11.22"), (-400, "2026.11.17"), (400, "2026.11.25")] {
            let mut rows = Rows::of(Generation::derive("times", &[index.as_bytes()]));
            rows.time = NOW + days * DAY_NANOS;
            let mut offer = rows.offer(0..3);
            offer.time = NOW;
            // As the core does: a name is admitted before a row of it is sent, and a name of another day is none more.
            let outcomes = sink.create(&all(&offer)).await.unwrap();
            if let Some(DocumentOutcome::NewName(name)) = outcomes.first() {
                assert_eq!(days, 0);
                assert_eq!(outcomes, vec![DocumentOutcome::NewName(*name); 3]);
                sink.admit(&BTreeSet::from([*name]));
            }
            assert_eq!(done(&sink.create(&all(&offer)).await.unwrap()), 3);
            assert_eq!(server.numbers(&format!("{base}-blue-{index}")).await, numbered(0..3));
        }
    }
}

#[tokio::test]
async fn what_is_no_concrete_durable_index_is_refused_with_a_remedy() {
    for server in Server::all("what_is_no_concrete_durable_index") {
        let offer = rows().offer(0..5);
        let index = server.unique("behind");
        server.put(&format!("{index}-000001"), json!({ "aliases": { &index: { "is_write_index": true } } })).await;
        let error = open(&server.url, &index, &json!({})).create(&all(&offer)).await.unwrap_err();
        assert!(
            matches!(&error, SinkError::Refused(words) if words.contains("-000001") && words.contains("at_least_once")),
            "{error}"
        );
        assert_eq!(server.numbers(&index).await, BTreeMap::new(), "nothing was written");
        let lax =
            ElasticsearchDocuments::open(&options(&server.url, &index, &json!({})), "node-1", Provenance::Full, false)
                .unwrap();
        assert_eq!(done(&lax.create(&all(&offer)).await.unwrap()), 5);

        let index = server.unique("async");
        server.put(&index, json!({ "settings": { "index.translog.durability": "async" } })).await;
        let error = open(&server.url, &index, &json!({})).create(&all(&offer)).await.unwrap_err();
        assert!(matches!(&error, SinkError::Refused(words) if words.contains("durability")), "{error}");

        let stream = server.unique("stream");
        let template = json!({ "index_patterns": [format!("{stream}*")], "data_stream": {}, "priority": 500 });
        server.put(&format!("_index_template/{stream}"), template).await;
        let sink = open(&server.url, &stream, &json!({}));
        for attempt in 0..2 {
            let error = sink.create(&all(&offer)).await.unwrap_err();
            assert!(
                matches!(&error, SinkError::Refused(words) if words.contains(".ds-")),
                "attempt {attempt}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_passed_over() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = open(&closed, "logs", &json!({})).create(&all(&rows().offer(0..2))).await.unwrap_err();
    assert!(matches!(&error, SinkError::Unavailable(words) if words.contains("refused")), "{error}");
    for server in Server::all("an_endpoint_that_is_down") {
        let index = server.unique("failover");
        let sink = open("", &index, &json!({ "endpoints": [closed, server.url] }));
        let offer = rows().offer(0..10);
        assert_eq!(done(&sink.create(&all(&offer)).await.unwrap()), 10);
        assert_eq!(
            sink.activity().failovers.load(Ordering::Relaxed),
            1,
            "the endpoint that answered is asked first from then on"
        );
        assert_eq!(server.numbers(&index).await, numbered(0..10));
    }
}

/// Agent and servers start together: the place must not have one name now and another when the cluster stands.
#[tokio::test]
async fn a_place_has_one_name_or_none() {
    let mut answers = vec![
        (200, r#"{"cluster_uuid":"u-1"}"#),
        (200, r#"{"cluster_uuid":"_na_"}"#),
        (403, r#"{"error":{"type":"security_exception","reason":"no role yet"}}"#),
        (401, "{}"),
        (503, "{}"),
    ];
    let (url, _) = scripted(Box::new(move |_| match answers.len() {
        1 => (200, answers[0].1.to_owned(), usize::MAX),
        _ => answers.pop().map(|(status, body)| (status, body.to_owned(), usize::MAX)).unwrap(),
    }))
    .await;
    let sink = open(&url, "logs", &json!({}));
    for asked in 0..4 {
        let error = sink.place().await.unwrap_err();
        assert!(matches!(error, SinkError::Unavailable(_) | SinkError::Refused(_)), "{asked}: {error}");
    }
    for _ in 0..2 {
        assert!(sink.place().await.unwrap().ends_with(" of Elasticsearch cluster u-1"));
    }
}

#[tokio::test]
async fn a_cut_answer_leaves_every_outcome_unknown() {
    let (url, _) = scripted(Box::new(|seen| {
        let body = if seen.path.starts_with("/_bulk") { all_created(seen) } else { "{}".into() };
        let sent = if seen.path.starts_with("/_bulk") { body.len() - 20 } else { body.len() };
        (if seen.path.starts_with("/_bulk") { 200 } else { 404 }, body, sent)
    }))
    .await;
    let sink = open(&url, "logs", &json!({ "gzip": false }));
    let error = sink.create(&all(&rows().offer(0..5))).await.unwrap_err();
    assert!(matches!(error, SinkError::Unknown(_)), "{error}");
}

/// A server that refuses every bulk request with row 11 as a whole.
fn poisoned(body: &'static str) -> servers::Script {
    Box::new(move |seen| {
        if !seen.path.starts_with("/_bulk") {
            return (404, "{}".into(), 2);
        }
        let poison = String::from_utf8_lossy(&seen.body).contains("\"n\":11,")
            || String::from_utf8_lossy(&seen.body).contains("\"n\":11}");
        match poison {
            true => (400, body.to_owned(), body.len()),
            false => (200, all_created(seen), usize::MAX),
        }
    })
}

#[tokio::test]
async fn a_request_that_is_refused_as_a_whole_is_bisected() {
    let (url, seen) =
        scripted(poisoned(r#"{"error":{"type":"illegal_argument_exception","reason":"malformed"},"status":400}"#))
            .await;
    let sink = open(&url, "logs", &json!({ "gzip": false }));
    let outcomes = sink.create(&all(&rows().offer(0..32))).await.unwrap();
    assert_eq!(done(&outcomes), 31);
    assert!(matches!(&outcomes[11], DocumentOutcome::Refused(words) if words.contains("malformed")));
    let bulks = seen.lock().unwrap().iter().filter(|s| s.path.starts_with("/_bulk")).count();
    assert_eq!(bulks, 11, "1 + 2 * log2(32)");
}

#[tokio::test]
async fn a_proxys_refusal_is_no_verdict_on_rows() {
    let (url, _) = scripted(poisoned("<html>no</html>")).await;
    let error = open(&url, "logs", &json!({ "gzip": false })).create(&all(&rows().offer(0..32))).await.unwrap_err();
    assert!(matches!(&error, SinkError::Refused(words) if words.contains("<html>")), "{error}");
}

#[tokio::test]
async fn whole_answers_mean_what_their_status_says() {
    for (status, again, word) in
        [(429, true, ""), (401, false, "refused"), (503, false, "unknown"), (404, false, "refused")]
    {
        let (url, _) = scripted(Box::new(move |seen| match seen.path.starts_with("/_bulk") {
            true => (status, r#"{"error":{"type":"t","reason":"r"}}"#.into(), usize::MAX),
            false => (404, "{}".into(), 2),
        }))
        .await;
        let result = open(&url, "logs", &json!({})).create(&all(&rows().offer(0..3))).await;
        match result {
            Ok(outcomes) => {
                assert!(
                    again && outcomes.iter().all(|o| matches!(o, DocumentOutcome::Again(w) if w == "429 t: r")),
                    "{outcomes:?}"
                );
            }
            Err(error) => assert!(!again && error.to_string().contains(word), "{status}: {error}"),
        }
    }
}

/// `SAWLOG_TEST_ELASTICSEARCH_TLS` is `https://…`, with `…_CA` (a PEM file) and `…_PASSWORD` (of the user `elastic`) beside it.
#[tokio::test]
async fn a_server_is_trusted_by_its_authority_and_trusts_by_password() {
    let variable = |ending: &str| std::env::var(format!("SAWLOG_TEST_ELASTICSEARCH_TLS{ending}"));
    let (Ok(url), Ok(ca), Ok(password)) = (variable(""), variable("_CA"), variable("_PASSWORD")) else {
        println!("NOT RUN: a_server_is_trusted: SAWLOG_TEST_ELASTICSEARCH_TLS, _CA and _PASSWORD name no server");
        return;
    };
    let written = |ca: Option<&str>, password: &str| {
        let tls = ca.map(|ca| json!({ "ca": ca }));
        let index = format!("t-tls-{}", std::process::id());
        let mut options = options(&url, &index, &json!({ "tls": tls }));
        let password = Some(Secret::clear(password));
        options.auth =
            Some(ElasticsearchAuth { username: Some("elastic".into()), password, ..ElasticsearchAuth::default() });
        options
    };
    let create = async |options: &ElasticsearchSink| {
        let sink = ElasticsearchDocuments::open(options, "node-1", Provenance::Full, true).unwrap();
        sink.create(&all(&rows().offer(0..5))).await
    };
    assert_eq!(done(&create(&written(Some(&ca), &password)).await.unwrap()), 5);
    let error = create(&written(Some(&ca), "wrong")).await.unwrap_err();
    assert!(matches!(&error, SinkError::Refused(words) if words.starts_with("401")), "{error}");
    let error = create(&written(None, &password)).await.unwrap_err();
    assert!(matches!(&error, SinkError::Unavailable(words) if words.contains("certificate")), "{error}");
}

#[tokio::test]
async fn requests_carry_credentials_headers_and_compression() {
    let script = || -> servers::Script { Box::new(|_| (404, "{}".into(), 2)) };
    let (url, seen) = scripted(script()).await;
    let mut written = options(&url, "logs", &json!({ "headers": { "x-team": "blue" } }));
    written.auth = Some(ElasticsearchAuth { api_key: Some(Secret::clear("a2V5")), ..ElasticsearchAuth::default() });
    let sink = ElasticsearchDocuments::open(&written, "node-1", Provenance::Full, true).unwrap();
    assert!(sink.create(&all(&rows().offer(0..3))).await.is_err());
    let requests = seen.lock().unwrap().clone();
    let bulk = requests.iter().find(|s| s.path.starts_with("/_bulk")).expect("documents were sent");
    assert_eq!(bulk.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(bulk.header("content-encoding"), Some("gzip"));
    assert_eq!(bulk.body[..2], [0x1f, 0x8b]);
    assert!(
        requests.iter().all(|s| s.header("authorization") == Some("ApiKey a2V5") && s.header("x-team") == Some("blue"))
    );
    assert!(requests.iter().all(|s| s.header("accept") == Some("application/json")));

    let (url, seen) = scripted(script()).await;
    let mut written = options(&format!("{url}/behind/a/proxy"), "logs", &json!({ "gzip": false }));
    let password = Some(Secret::clear("p"));
    written.auth = Some(ElasticsearchAuth { username: Some("u".into()), password, ..ElasticsearchAuth::default() });
    let sink = ElasticsearchDocuments::open(&written, "node-1", Provenance::Full, true).unwrap();
    assert!(sink.create(&all(&rows().offer(0..3))).await.is_err());
    let requests = seen.lock().unwrap().clone();
    assert!(requests.iter().all(|s| s.header("authorization") == Some("Basic dTpw")), "{requests:?}");
    assert!(requests.iter().all(|s| s.path.starts_with("/behind/a/proxy/")), "{requests:?}");
}

//! Requests that must be refused: whole, with a reason, and without harm to others.

use super::*;
use sawlog_settings::{ByteSize, Secret};
use std::io::Write;

async fn refused(source: &HttpIntake, headers: &[(&str, &str)], body: impl Into<Bytes>, status: u16) -> Told {
    let told = post(source, headers, body).await;
    assert_eq!(told.status, status, "{told:?}");
    assert!(told.body["error"].as_str().is_some_and(|error| !error.is_empty()), "{told:?}");
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_malformed_record_refuses_the_request_and_is_named() {
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let source = begun(&options(), &queue).await;
    let large: String = (0..9_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let bodies = [
        (NDJSON, "{\"n\":0}\n{\"n\":1}\n{\"n\":oops}\n{\"n\":3}\n".to_owned(), 2),
        (NDJSON, format!("{large}{{\n{large}"), 9_000),
        (("content-type", "application/json"), "[{\"n\":0},{\"n\":\"\u{1}\"},{}]".to_owned(), 1),
        (("content-type", "application/json"), "[{\"n\":0},17]".to_owned(), 1),
    ];
    for (kind, body, index) in bodies {
        let told = refused(&source, &[kind], body, 400).await;
        assert_eq!(told.body["index"], index, "{told:?}");
        assert!(told.body["error"].as_str().unwrap().contains(&format!("record {index}")), "{told:?}");
    }
    let told = refused(&source, &[NDJSON], &b"{\"n\":\"\xff\"}"[..], 400).await;
    assert!(told.body["error"].as_str().unwrap().contains("utf-8"));
    assert_eq!((queue.requests(), queue.reserved_bytes()), (0, 0));
    assert_eq!(post(&source, &[NDJSON], "{\"n\":0}\n").await.status, 200);
    assert_eq!(texts(&source).await, ["{\"n\":0}"]);
    assert_eq!(source.counts().refused[&400], 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_are_refused_while_they_grow() {
    let queue = StandIn::empty(1, 1 << 30);
    let source = begun(&options(), &queue).await;
    let zeros = vec![b'a'; 32 << 20];
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&zeros).unwrap();
    let gzip = encoder.finish().unwrap();
    assert!(gzip.len() * 100 < zeros.len(), "a bomb by its ratio");
    let text = ("content-type", "text/plain");
    refused(&source, &[text, ("content-encoding", "gzip")], gzip.clone(), 413).await;
    let zstd = zstd::encode_all(&zeros[..], 3).unwrap();
    refused(&source, &[text, ("content-encoding", "zstd")], zstd, 413).await;
    refused(&source, &[text, ("content-encoding", "gzip")], gzip[..gzip.len() / 2].to_vec(), 413).await;
    let mut options = options();
    options.limits.ratio = 10_000;
    options.limits.decompressed = ByteSize::mib(16);
    let source = begun(&options, &queue).await;
    let told = refused(&source, &[text, ("content-encoding", "gzip")], gzip.clone(), 413).await;
    assert!(told.body["error"].as_str().unwrap().contains("16777216"), "{told:?}");
    options.limits.decompressed = ByteSize::mib(32);
    let source = begun(&options, &queue).await;
    assert_eq!(
        post(&source, &[text, ("content-encoding", "gzip")], gzip).await.status,
        200,
        "within the limits it is none"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_ask_for_something_else_are_told_what_is_taken() {
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let mut options = options();
    options.limits.body = ByteSize::kib(4);
    let source = begun(&options, &queue).await;
    let long = "k".repeat(256);
    refused(&source, &[], "{}", 415).await;
    refused(&source, &[("content-type", "application/x-www-form-urlencoded")], "{}", 415).await;
    let told = refused(&source, &[NDJSON, ("content-encoding", "br")], "{}", 415).await;
    assert_eq!(told.head["accept-encoding"], "gzip, zstd");
    refused(&source, &[NDJSON, ("content-encoding", "gzip"), ("content-encoding", "gzip")], "{}", 415).await;
    refused(&source, &[NDJSON, ("content-encoding", "gzip")], "no gzip at all", 400).await;
    refused(&source, &[NDJSON, ("idempotency-key", &long)], "{}", 400).await;
    refused(&source, &[NDJSON, ("idempotency-key", "a"), ("idempotency-key", "b")], "{}", 400).await;
    refused(&source, &[NDJSON], "x".repeat(4_097), 413).await;
    let wide: Vec<(String, String)> = (0..99).map(|n| (format!("x-{n}"), "v".to_owned())).collect();
    let mut headers: Vec<(&str, &str)> = wide.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    headers.push(NDJSON);
    assert_eq!(post(&source, &headers, "{}").await.status, 431);
    assert_eq!(post(&source, &[NDJSON, ("x-large", &"v".repeat(33 << 10))], "{}").await.status, 431);
    assert_eq!(queue.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_no_announced_length_is_cut_off_at_the_limit() {
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let mut options = options();
    options.limits.body = ByteSize::kib(4);
    let source = begun(&options, &queue).await;
    let chunk = format!("400\r\n{}\r\n", "a".repeat(1_024));
    let head = "POST /logs HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = raw(&source, format!("{head}{}", chunk.repeat(5)).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    let answer = raw(&source, format!("{head}{}0\r\n\r\n", chunk.repeat(4)).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_listed_tokens_may_send() {
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let mut options = options();
    options.auth.tokens = vec![Secret::clear("old-token"), Secret::clear("new-token")];
    let source = begun(&options, &queue).await;
    for wrong in ["Bearer wrong", "Bearer ", "Basic old-token", "Bearer old-token2", "old-token"] {
        let told = refused(&source, &[NDJSON, ("authorization", wrong)], "{}", 401).await;
        assert_eq!(told.head["www-authenticate"], "Bearer");
    }
    refused(&source, &[NDJSON], "{}", 401).await;
    assert_eq!(queue.requests(), 0);
    let key = ("idempotency-key", "same");
    for (token, body) in [("Bearer old-token", "{\"n\":1}"), ("Bearer new-token", "{\"n\":2}")] {
        let told = post(&source, &[NDJSON, key, ("authorization", token)], body).await;
        assert_eq!(told.status, 200, "keys of two principals don't meet: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_sends_clients_away_before_their_body_is_read() {
    let queue = StandIn::empty(1, 1_000);
    let source = begun(&options(), &queue).await;
    let line = format!("{{\"n\":\"{}\"}}\n", "x".repeat(600));
    assert_eq!(post(&source, &[NDJSON], line.clone()).await.status, 200);
    let mut waits = std::collections::BTreeSet::new();
    for _ in 0..30 {
        let told = refused(&source, &[NDJSON], line.clone(), 503).await;
        let wait: u32 = told.head["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=10).contains(&wait));
        waits.insert(wait);
    }
    assert!(waits.len() > 1, "clients come back at times of their own");
    let head = "POST /logs HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 5000\r\nexpect: 100-continue\r\n\r\n";
    let answer = raw(&source, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "no body was asked for: {answer}");
    let large = refused(&source, &[NDJSON], "{}\n".repeat(1 << 20), 503).await;
    assert!(large.head.contains_key("retry-after"), "also a client that sends on gets its answer, no reset");
    assert_eq!(post(&source, &[NDJSON], "{}").await.status, 200, "what fits is taken");
    assert_eq!(texts(&source).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_outcome_is_no_success() {
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let source = begun(&options(), &queue).await;
    queue.break_down();
    let told = refused(&source, &[NDJSON, ("idempotency-key", "k")], "{}", 503).await;
    assert!(told.body["error"].as_str().unwrap().contains("same Idempotency-Key"));
    assert!(told.head.contains_key("retry-after"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrong_place_and_method_are_told() {
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let source = begun(&options(), &queue).await;
    let answer = raw(&source, b"GET /logs HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: POST"), "{answer}");
    let answer =
        raw(&source, b"POST /else HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("/logs"), "{answer}");
    let answer = raw(&source, b"\x00\xff garbage \r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

//! An Elasticsearch sink of the real binary whose server says no: a mapping conflict, a read-only index, a document that is too
//! large, a wrong password, an authority that is not trusted, an endpoint that is down, a proxy in between.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::feed::{Sender as _, plain};
use sawlog_e2e::proxy::Proxy;
use sawlog_e2e::search::Index;
use sawlog_e2e::secure::Secure;
use sawlog_e2e::shown::Shown as _;
use sawlog_e2e::trial::{Trial, none};
use sawlog_e2e::{service, unique};

fn sink(endpoints: &str, index: &str, more: &str) -> String {
    format!(
        "{{ type: elasticsearch, inputs: [parsed], all: true, endpoints: [{endpoints}], index: \"{index}-{{received_time:%Y.%m.%d}}\", batch: {{ age: 200ms }}, retry: {{ max: 1s }}{more} }}"
    )
}

fn put(url: &str, path: &str, body: &str) {
    let request = minreq::put(format!("{url}/{path}")).with_header("Content-Type", "application/json");
    let answer = request.with_body(body).with_timeout(30).send().unwrap();
    assert!(answer.status_code < 300, "PUT {path}: {} {:?}", answer.status_code, answer.as_str());
}

/// Every fortieth line has an object where the others have a text.
fn sometimes_an_object(number: u64) -> String {
    let level = if is_an_object(number) { "{\"a\":1}" } else { "\"info\"" };
    format!("{{\"seq\":{number},\"level\":{level}}}")
}

fn is_an_object(number: u64) -> bool {
    number % 40 == 3
}

#[test]
fn a_mapping_conflict_is_a_dead_letter_with_the_servers_reason() {
    let Some(url) = service("a mapping conflict", "SAWLOG_TEST_ELASTICSEARCH") else { return };
    let index = unique("conflict");
    let mapping = "{\"index_patterns\":[\"NAME-*\"],\"priority\":500,\"template\":{\"mappings\":{\"properties\":{\"level\":{\"type\":\"keyword\"}}}}}";
    put(&url, &format!("_index_template/{index}"), &mapping.replace("NAME", &index));
    let mut trial = Trial::begin(sometimes_an_object, &sink(&format!("\"{url}\""), &index, "")).unwrap();
    trial.feed.send(500).unwrap();
    trial.kill().unwrap();
    trial.feed.send(500).unwrap();
    let trial = trial.exact(is_an_object, &Index::of(&url, &index)).unwrap();
    for letter in trial.letter_texts().unwrap() {
        let reason = letter["reason"].as_str().unwrap();
        assert!(reason.contains("[level]") && reason.contains("400"), "{letter}");
    }
}

#[test]
fn a_read_only_index_is_said_and_waited_for() {
    let Some(url) = service("a read-only index", "SAWLOG_TEST_ELASTICSEARCH") else { return };
    let index = unique("blocked");
    let mut trial = Trial::begin(plain, &sink(&format!("\"{url}\""), &index, "")).unwrap();
    trial.feed.send(200).unwrap();
    let all = format!("{index}-*");
    let documents = Index::of(&url, &index);
    let wait = std::time::Duration::from_secs(60);
    trial.agent().unwrap().wait_until("rows", wait, || Ok(documents.rows()?.len() == 200)).unwrap();
    for block in ["index.blocks.read_only_allow_delete", "index.blocks.write"] {
        put(&url, &format!("{all}/_settings"), &format!("{{\"{block}\":true}}"));
        trial.feed.send(200).unwrap();
        trial.says("blocked").unwrap();
        trial.kill().unwrap();
        trial.feed.send(200).unwrap();
        trial.says("blocked").unwrap();
        put(&url, &format!("{all}/_settings"), &format!("{{\"{block}\":null}}"));
        trial.feed.send(100).unwrap();
        let sent = trial.feed.sent();
        let seen = || Ok(documents.rows()?.len() as u64 == sent);
        trial.agent().unwrap().wait_until("the blocked rows", wait, seen).unwrap();
    }
    trial.exact(none, &Index::of(&url, &index)).unwrap();
}

/// One line is above what the server takes in one request.
fn once_huge(number: u64) -> String {
    let padding = if is_huge(number) { "x ".repeat(5 << 20) } else { String::new() };
    format!("{{\"seq\":{number},\"padding\":\"{padding}\"}}")
}

fn is_huge(number: u64) -> bool {
    number == 77
}

#[test]
fn a_document_that_is_too_large_is_a_dead_letter_and_its_neighbours_arrive() {
    let Some(url) = service("413", "SAWLOG_TEST_ELASTICSEARCH") else { return };
    let index = unique("large");
    let sink = sink(&format!("\"{url}\""), &index, "");
    let mut trial = Trial::begin_with(once_huge, ", line_bytes_max: 32MiB", &sink).unwrap();
    trial.feed.send(200).unwrap();
    let trial = trial.exact(is_huge, &Index::of(&url, &index)).unwrap();
    let letters = trial.letter_texts().unwrap();
    assert!(letters[0]["reason"].as_str().unwrap().contains("413"), "{}", letters[0]["reason"]);
}

#[test]
fn trust_and_passwords_are_told_apart_and_an_endpoint_that_is_down_is_passed_over_through_a_proxy() {
    let Some(secure) = Secure::find("elasticsearch behind TLS") else { return };
    let index = unique("secure");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoints = format!("\"https://{closed}\", \"{}\"", secure.url);
    let auth = ", auth: { username: elastic, password: \"${secret:elastic}\" }";
    let trusting = format!("{auth}, tls: {{ ca: \"{}\" }}", secure.ca);
    let proxy = Proxy::start().unwrap();
    let through = format!("{trusting}, proxy: \"http://{}\"", proxy.address());

    let mut trial = Trial::begin(plain, &sink(&endpoints, &index, "")).unwrap();
    trial.secret("elastic", "a-wrong-password").unwrap();
    trial.reload(&sink(&endpoints, &index, auth)).unwrap();
    trial.feed.send(200).unwrap();
    trial.says("certificate").unwrap();
    trial.reload(&sink(&endpoints, &index, &trusting)).unwrap();
    trial.says("401").unwrap();
    trial.secret("elastic", &secure.password).unwrap();
    trial.reload(&sink(&endpoints, &index, &trusting)).unwrap();
    trial.feed.send(300).unwrap();
    let wait = std::time::Duration::from_secs(60);
    trial.agent().unwrap().wait_until("rows", wait, || Ok(secure.index(&index).rows()?.len() == 500)).unwrap();
    assert_eq!(proxy.connections(), 0);
    trial.reload(&sink(&endpoints, &index, &through)).unwrap();
    trial.kill().unwrap();
    trial.feed.send(300).unwrap();
    trial.exact(none, &secure.index(&index)).unwrap();
    assert!(proxy.connections() > 0, "the proxy was used");
}

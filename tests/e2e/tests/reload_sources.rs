//! SIGHUP for what is not a sink: the port, limits, token and certificate of an HTTP source under load, and sections of the
//! configuration, of which some are in effect at once and the others are named. Every acknowledged record is there once.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::{Agent, verb_says};
use sawlog_e2e::cell::compare;
use sawlog_e2e::feed::{Feed, Posts, Sender};
use sawlog_e2e::shown::{Folder, control};
use sawlog_e2e::told::troubles;
use sawlog_e2e::{read, service};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(60);

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The parts of the config that change.
#[derive(Clone, Default)]
struct Parts {
    port: u16,
    limits: &'static str,
    tls: bool,
    sections: &'static str,
}

impl Parts {
    fn write(&self, folder: &Path) {
        let here = folder.display();
        let Self { port, limits, tls, sections } = self;
        let tls = if *tls { format!(", tls: {{ cert: {here}/cert.pem, key: {here}/key.pem }}") } else { String::new() };
        let sections = if sections.is_empty() {
            "api: { listen: \"127.0.0.1:0\" }\ncheckpoint: { interval: 1s }\n"
        } else {
            sections
        };
        let config = format!(
            "version: 1\nagent: {{ id: changed }}\ndata_dir: {here}/data\n{sections}secrets: {{ dir: {here}/secrets }}\n\
             sources:\n  web: {{ type: http, listen: \"127.0.0.1:{port}\", decode: ndjson, auth: {{ tokens: [\"${{secret:web}}\"] }}{limits}{tls} }}\n  \
             app: {{ type: file, include: [{here}/logs/app.log], rotated: [{here}/logs/app.log.*] }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n\
             sinks:\n  pushed: {{ type: file, inputs: [web], path: \"{here}/pushed/dt={{received_time:%Y-%m-%d}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }} }}\n  \
             tailed: {{ type: file, inputs: [parsed], path: {here}/tailed/out.jsonl, batch: {{ age: 100ms }} }}\n"
        );
        std::fs::write(folder.join("sawlog.yaml"), config).unwrap();
    }
}

fn post(port: u16, token: &str, body: &str) -> Option<i32> {
    let request = minreq::post(format!("http://127.0.0.1:{port}/")).with_header("Content-Type", "application/x-ndjson");
    let request = request.with_header("Authorization", format!("Bearer {token}")).with_body(body).with_timeout(10);
    request.send().ok().map(|answer| answer.status_code)
}

/// Posts a body over TLS without asking who answers; the certificate that was shown, as PEM, and the status.
fn post_by_tls(port: u16, token: &str, body: &str) -> (String, u16) {
    let program = "import http.client, ssl, sys\n\
        port, token, body = int(sys.argv[1]), sys.argv[2], sys.argv[3]\n\
        context = ssl._create_unverified_context()\n\
        client = http.client.HTTPSConnection('127.0.0.1', port, context=context, timeout=10)\n\
        client.request('POST', '/', body, {'Content-Type': 'application/x-ndjson', 'Authorization': 'Bearer ' + token})\n\
        shown = client.sock.getpeercert(True)\n\
        print(client.getresponse().status)\n\
        print(ssl.DER_cert_to_PEM_cert(shown))";
    let output = Command::new("python3").args(["-c", program, &port.to_string(), token, body]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (status, pem) = text.split_once('\n').unwrap();
    (pem.split_whitespace().collect(), status.parse().unwrap())
}

/// Puts a new certificate in place; what a client will be shown.
fn certify(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.pem().split_whitespace().collect()
}

fn reload(folder: &Path) -> (bool, String) {
    verb_says(folder, &["reload"]).unwrap()
}

fn reloaded(folder: &Path) -> String {
    let (taken, said) = reload(folder);
    assert!(taken, "{said}");
    said
}

/// Over TLS, then with another certificate, then with one that is none, which is refused: the next number.
fn certificates_are_exchanged(path: &Path, parts: &mut Parts, first: u64) -> u64 {
    let line = |number: u64| format!("{{\"seq\":{number}}}\n");
    let shown = certify(path);
    parts.tls = true;
    parts.write(path);
    reloaded(path);
    assert_eq!(post_by_tls(parts.port, "two", &line(first)), (shown.clone(), 200));
    let exchanged = certify(path);
    assert_ne!(exchanged, shown);
    reloaded(path);
    assert_eq!(post_by_tls(parts.port, "two", &line(first + 1)), (exchanged.clone(), 200), "the exchanged certificate");
    std::fs::write(path.join("cert.pem"), "no certificate").unwrap();
    let (done, said) = reload(path);
    assert!(!done && said.contains("cert.pem"), "{said}");
    assert_eq!(post_by_tls(parts.port, "two", &line(first + 2)), (exchanged, 200), "the one before is still shown");
    first + 3
}

#[test]
fn an_http_source_changes_its_limits_token_port_and_certificate_and_keeps_its_queue() {
    if service("http reload", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for name in ["logs", "secrets", "tailed"] {
        std::fs::create_dir(path.join(name)).unwrap();
    }
    std::fs::write(path.join("secrets/web"), "one").unwrap();
    let mut parts = Parts { port: free_port(), ..Parts::default() };
    parts.write(path);
    let mut feed = Feed::new(&path.join("logs/app.log"));
    let mut agent = Agent::start_answering(path).unwrap();
    let first = parts.port;
    let mut posts = Posts::new(format!("http://127.0.0.1:{first}/")).with_token("one");
    posts.send(300).unwrap();
    feed.send(300).unwrap();

    parts.limits = ", limits: { body: 2KiB }";
    parts.write(path);
    reloaded(path);
    assert_eq!(post(first, "one", &"x".repeat(3 << 10)), Some(413), "the new limit");
    posts.send(20).unwrap();

    std::fs::write(path.join("secrets/web"), "two").unwrap();
    reloaded(path);
    assert_eq!(post(first, "one", "{\"seq\":-1}\n"), Some(401), "the old token");
    posts = posts.with_token("two");
    posts.send(20).unwrap();

    // A port that somebody has: refused, and the old one goes on.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let second = free_port();
    Parts { port: taken.local_addr().unwrap().port(), ..parts.clone() }.write(path);
    let (done, said) = reload(path);
    assert!(!done && said.contains("the old one goes on") && said.contains("web"), "{said}");
    posts.send(20).unwrap();
    parts.port = second;
    parts.write(path);
    reloaded(path);
    assert_eq!(post(first, "two", "{\"seq\":-1}\n"), None, "nobody listens on the old port");
    posts = posts.to(format!("http://127.0.0.1:{second}/"));
    posts.send(20).unwrap();

    let next = certificates_are_exchanged(path, &mut parts, posts.sent());
    certify(path);
    feed.send(300).unwrap();
    agent.kill().unwrap();
    agent = Agent::start_answering(path).unwrap();
    feed.send(100).unwrap();

    let whole = Whole { path, pushed: next, tailed: feed.sent() };
    whole.settle(&mut agent);
    assert!(!troubles(path).unwrap().contains("reload_refused"), "a restart took what was refused");
    agent.terminate().unwrap();
}

/// What must be there.
struct Whole<'a> {
    path: &'a Path,
    pushed: u64,
    tailed: u64,
}

impl Whole<'_> {
    fn settle(&self, agent: &mut Agent) {
        let rows = |name: &str| read::folder(&self.path.join(name)).unwrap_or_default();
        let is_there = || Ok(rows("pushed").len() as u64 >= self.pushed && rows("tailed").len() as u64 >= self.tailed);
        agent.wait_until("every row", WAIT_MAX, is_there).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        for (name, sent) in [("pushed", self.pushed), ("tailed", self.tailed)] {
            let judged = compare(&rows(name), &(0..sent).collect::<Vec<_>>());
            assert_eq!(judged, (0, 0, 0), "{name}: {}", agent.log_tail());
        }
        control(&Folder(self.path.join("pushed"))).unwrap();
    }
}

#[test]
fn sections_take_effect_or_are_named() {
    if service("sections by reload", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for name in ["logs", "secrets"] {
        std::fs::create_dir(path.join(name)).unwrap();
    }
    std::fs::write(path.join("secrets/web"), "one").unwrap();
    std::fs::write(path.join("secrets/api"), "before").unwrap();
    let mut parts = Parts { port: free_port(), ..Parts::default() };
    parts.sections = "api: { listen: \"127.0.0.1:0\", token: \"${secret:api}\" }\ncheckpoint: { interval: 1h }\nlimits: { memory: 256MiB }\n";
    parts.write(path);
    let mut agent = Agent::start_answering(path).unwrap();
    let log = agent.log_path();
    let address = move || {
        let log = std::fs::read_to_string(&log)?;
        let line = log.lines().find(|line| line.contains("option=\"api.listen\"")).unwrap_or_default().to_owned();
        anyhow::Ok(line.split_once("address=").map(|(_, rest)| rest.split(' ').next().unwrap_or_default().to_owned()))
    };
    agent.wait_until("the interface", WAIT_MAX, || Ok(address()?.is_some())).unwrap();
    let url = format!("http://{}/v1/status", address().unwrap().unwrap());
    let ask = |token: &str| {
        let request = minreq::get(&url).with_header("Authorization", format!("Bearer {token}"));
        request.with_timeout(10).send().unwrap().status_code
    };
    assert_eq!((ask("before"), ask("behind")), (200, 401));
    let said = reloaded(path);
    assert!(!said.contains("restart"), "nothing changed: {said}");

    std::fs::write(path.join("secrets/api"), "behind").unwrap();
    parts.sections = "api: { listen: \"127.0.0.1:1\", token: \"${secret:api}\" }\ncheckpoint: { interval: 300ms }\n\
                      limits: { memory: 128MiB, disk: 1GiB }\ntelemetry: { log: { level: debug } }\n";
    parts.write(path);
    let said = reloaded(path);
    assert!(said.contains("after a restart only: limits.disk, api.listen\n"), "{said}");
    assert_eq!((ask("before"), ask("behind")), (401, 200), "the exchanged token");
    assert_eq!(verb_says(path, &["log-level"]).unwrap().1.trim(), "debug");
    let said = agent.log();
    assert!(said.contains("in effect after a restart only") && said.contains("limits.disk"), "{said}");
    let status = verb_says(path, &["status", "--format", "json"]).unwrap().1;
    assert!(status.contains("\"after_restart\""), "{status}");
    agent.terminate().unwrap();
}

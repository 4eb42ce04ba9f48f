//! Clients that mean ill or fail, at the HTTP source of the real binary, while a good one sends: each gets its answer, nothing of
//! a refused request is taken, and every acknowledged record is in the lake once, over kills.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::Agent;
use sawlog_e2e::cell::compare;
use sawlog_e2e::feed::{Posts, Sender, plain};
use sawlog_e2e::shown::{Folder, control};
use sawlog_e2e::told::Ledger;
use sawlog_e2e::{read, service};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const WAIT_MAX: Duration = Duration::from_secs(60);
const TOKEN: &str = "a-good-token";

fn start(folder: &Path, port: u16) -> Agent {
    let here = folder.display();
    let config = format!(
        "version: 1\nagent: {{ id: besieged }}\ndata_dir: {here}/data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
         secrets: {{ dir: {here}/secrets }}\n\
         sources:\n  web: {{ type: http, listen: \"127.0.0.1:{port}\", auth: {{ tokens: [\"${{secret:web}}\"] }}, \
         limits: {{ body: 1MiB, header_time: 1s, body_time: 2s, idle_time: 5s, connections_per_address: 24 }} }}\n\
         sinks:\n  lake: {{ type: file, inputs: [web], path: \"{here}/lake/dt={{received_time:%Y-%m-%d}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }} }}\n"
    );
    std::fs::create_dir_all(folder.join("secrets")).unwrap();
    std::fs::write(folder.join("secrets/web"), TOKEN).unwrap();
    std::fs::write(folder.join("sawlog.yaml"), config).unwrap();
    let mut agent = Agent::start(folder).unwrap();
    agent.wait_until("the port", WAIT_MAX, || Ok(TcpStream::connect(("127.0.0.1", port)).is_ok())).unwrap();
    agent
}

/// A request by hand; status and body of the answer.
struct Client(u16);

impl Client {
    fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> (i32, String) {
        let mut request = minreq::post(format!("http://127.0.0.1:{}/", self.0)).with_body(body).with_timeout(20);
        for (name, value) in headers {
            request = request.with_header(*name, *value);
        }
        let answer = request.send().unwrap();
        (answer.status_code, answer.as_str().unwrap_or_default().to_owned())
    }

    fn with_token(&self, headers: &[(&str, &str)], body: &[u8]) -> (i32, String) {
        let token = format!("Bearer {TOKEN}");
        self.post(&[&[("Authorization", token.as_str()), NDJSON], headers].concat(), body)
    }
}

const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");
const GZIP: (&str, &str) = ("Content-Encoding", "gzip");

/// What `gzip` makes of it: no code of the agent.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip").arg("-9c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writing = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    output.stdout
}

/// A client that sends a byte at a time; how long it was borne, and what it was answered.
fn dawdle(port: u16, head: &str) -> (Duration, String) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut answer = Vec::new();
    stream.write_all(head.as_bytes()).unwrap();
    while begun.elapsed() < Duration::from_secs(15) {
        let mut piece = [0; 1024];
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&piece[..n]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
        if stream.write_all(b"x").is_err() {
            break;
        }
    }
    (begun.elapsed(), String::from_utf8_lossy(&answer).into_owned())
}

/// A good client that posts until it is told to stop.
fn good_client(port: u16, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let stop = stop.clone();
    std::thread::spawn(move || {
        let mut posts = Posts::new(format!("http://127.0.0.1:{port}/")).with_token(TOKEN);
        while !stop.load(Ordering::Relaxed) {
            posts.send(50).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
        posts.sent()
    })
}

/// Every request that must be refused, with the status and a word of the answer.
fn besiege(client: &Client) {
    let refused = |what: &str, (status, body): (i32, String), wanted: i32, word: &str| {
        assert!(status == wanted && body.contains(word), "{what}: {status} {body}");
    };
    let bomb = gzip(&vec![b'a'; 64 << 20]);
    assert!(bomb.len() < 1 << 20);
    refused("a bomb", client.with_token(&[GZIP], &bomb), 413, "error");
    let twice = gzip(&bomb);
    refused("a bomb in a bomb", client.with_token(&[("Content-Encoding", "gzip, gzip")], &twice), 415, "error");
    refused("half a gzip", client.with_token(&[GZIP], &gzip(b"{\"seq\":1}\n")[..15]), 400, "error");
    refused("no gzip at all", client.with_token(&[GZIP], b"{\"seq\":1}\n"), 400, "error");
    refused("a body above the limit", client.with_token(&[], &vec![b' '; (1 << 20) + 1]), 413, "error");
    refused("no token", client.post(&[NDJSON], b"{\"seq\":1}\n"), 401, "error");
    for wrong in ["Bearer wrong", "Bearer ", "Basic YTpi", TOKEN] {
        let answer = client.post(&[NDJSON, ("Authorization", wrong)], b"{\"seq\":1}\n");
        refused("a wrong token", answer, 401, "error");
    }
    let torn = b"{\"seq\":900001}\n{\"seq\":900002}\n{\"seq\": oops}\n{\"seq\":900003}\n";
    refused("one malformed record", client.with_token(&[], torn), 400, "record 2");
    refused("no UTF-8", client.with_token(&[], b"{\"seq\":\"\xff\"}\n"), 400, "record 0");
    refused("NUL", client.with_token(&[], b"{\"seq\":\0}\n"), 400, "record 0");
    refused("nothing of a kind", client.with_token(&[("Content-Type", "image/png")], b"x"), 415, "error");
}

#[test]
fn clients_that_mean_ill_are_answered_and_disturb_nobody() {
    if service("http under siege", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let agent = start(path, port);
    let client = Client(port);
    let stop = Arc::new(AtomicBool::new(false));
    let good = good_client(port, &stop);
    besiege(&client);

    let head = format!("POST / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: text/plain\r\n");
    let slow: Vec<_> = (0..8)
        .map(|n| {
            // Half of them never end their head, half never end their body.
            let head = if n % 2 == 0 { head.clone() } else { format!("{head}content-length: 1000\r\n\r\n") };
            std::thread::spawn(move || dawdle(port, &head))
        })
        .collect();
    for slow in slow {
        let (borne, answer) = slow.join().unwrap();
        assert!(borne < Duration::from_secs(8), "a slow client was borne for {borne:?}");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }

    let key = ("Idempotency-Key", "once");
    let (one, other) = (plain(1_000_000) + "\n", plain(1_000_001) + "\n");
    assert_eq!(client.with_token(&[key], one.as_bytes()).0, 200);
    assert_eq!(client.with_token(&[key], one.as_bytes()).0, 200);
    let (status, body) = client.with_token(&[key], other.as_bytes());
    assert!(status == 422 && body.contains("Idempotency-Key"), "{status} {body}");
    agent.kill().unwrap();
    let mut agent = start(path, port);
    assert_eq!(client.with_token(&[key], one.as_bytes()).0, 200, "known over a kill");
    assert_eq!(client.with_token(&[key], other.as_bytes()).0, 422, "with its body");
    besiege(&client);

    stop.store(true, Ordering::Relaxed);
    let sent = good.join().unwrap();
    let mut expected: Vec<u64> = (0..sent).collect();
    expected.push(1_000_000);
    let rows = || read::folder(&path.join("lake")).unwrap();
    agent.wait_until("every acknowledged row", WAIT_MAX, || Ok(rows().len() >= expected.len())).unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(compare(&rows(), &expected), (0, 0, 0), "of {sent}: {}", agent.log_tail());
    control(&Folder(path.join("lake"))).unwrap();
    assert_eq!(Ledger::of(path).unwrap().count("lake", "web", "delivered"), expected.len() as u64);
    let log = agent.log();
    assert!(!log.contains(TOKEN) && !log.contains("900001"), "its own log shows no secret and no record");
    println!("{sent} records of a good client beside 36 refused requests and 8 slow clients: lost 0, duplicated 0");
    agent.terminate().unwrap();
}

//! What decoding costs: nanoseconds per record and megabytes per second of one core, medians of 101 short turns, beside a floor
//! (line ends by memchr, one SIMD pass for UTF-8) and serde_json over the same lines in the same run.
//!
//! `cargo run --release -p sawlog-record --example decode_cost [RECORDS [ONLY_THIS_CASE]]`
#![allow(clippy::unwrap_used, clippy::disallowed_types, clippy::disallowed_methods)]

use sawlog_record::batch::{Input, InputRecord, Span};
use sawlog_record::decode::{DecodeSpec, Decoder, Format, Source, TimestampSpec};
use sawlog_record::id::Generation;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Many short turns: on a busy machine the median is one that nothing interrupted.
const TURNS: usize = 101;

fn main() {
    let count = std::env::args().nth(1).map_or(500, |n| n.parse().unwrap());
    let k8s = Source {
        fields: ["k8s.namespace.name", "k8s.pod.name", "k8s.pod.uid", "k8s.container.name", "log.file.path"]
            .map(|name| (name.to_owned(), format!("value-of-{name}")))
            .to_vec(),
        streams: true,
    };
    let none = Source::default();
    let json = lines(count, json_line);
    let korean = lines(count, korean_line);
    let access = lines(count, access_line);
    let logfmt = lines(count, logfmt_line);
    let cri = lines(count, |i| format!("2026-11-24T13:55:36.{i:09}Z stdout F {}", json_line(i)));
    floor("floor: memchr + utf-8", &json);
    serde("serde_json::Value", &json);
    ours("json", &[Format::Json], &none, &json, false);
    ours("json, time", &[Format::Json], &none, &json, true);
    ours("json, 6 source fields", &[Format::Json], &k8s, &json, false);
    ours("json, korean", &[Format::Json], &none, &korean, false);
    serde("serde_json, korean", &korean);
    ours("cri, json", &[Format::Cri, Format::Json], &none, &cri, false);
    ours("logfmt", &[Format::Logfmt], &none, &logfmt, false);
    ours("combined", &[Format::Combined], &none, &access, false);
    let expression = r#"^(?P<addr>\S+) \S+ (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?P<method>\S+) (?P<url>\S+) [^"]*" (?P<status>\d+) (?P<size>\d+) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)"$"#;
    ours("combined by regex", &[Format::Regex(expression.into())], &none, &access, false);
    ours("text", &[Format::Text], &none, &access, false);
}

fn json_line(i: usize) -> String {
    let level = ["INFO", "WARN", "DEBUG", "ERROR"][i % 4];
    format!(
        r#"{{"time":"2026-11-24T13:{:02}:{:02}.{:06}Z","level":"{level}","logger":"com.example.orders.OrderService","thread":"http-nio-8080-exec-{}","message":"order {} accepted after {} ms, waiting for payment","order_id":{},"customer":{{"id":{},"tier":"gold"}},"items":[{{"sku":"A-{}","n":2}},{{"sku":"B-7","n":1}}],"amount":{}.5,"ok":true,"trace_id":"4bf92f3577b34da6a3ce929d{:08x}","span_id":"00f067aa0ba902b7"}}"#,
        i / 60 % 60,
        i % 60,
        i % 1_000_000,
        i % 32,
        i * 7,
        i % 900,
        i * 7,
        i % 5000,
        i % 77,
        i % 300,
        i
    )
}

fn korean_line(i: usize) -> String {
    format!(
        r#"{{"time":"2026-11-24T13:55:36Z","level":"INFO","message":"주문 {i}번이 접수되었습니다. 결제를 기다리는 중입니다. 잠시만 기다려 주세요.","user":"김철수","path":"C:\\logs\\app.log","note":"줄\n바꿈 \"인용\"","n":{i}}}"#
    )
}

fn access_line(i: usize) -> String {
    format!(
        r#"203.0.113.{} - - [24/Nov/2026:13:{:02}:{:02} +0000] "GET /api/v1/orders/{i}?page={} HTTP/1.1" 200 {} "https://shop.example.com/cart" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36""#,
        i % 256,
        i / 60 % 60,
        i % 60,
        i % 9,
        i * 13
    )
}

fn logfmt_line(i: usize) -> String {
    format!(
        r#"time=2026-11-24T13:55:36Z level=info caller=server.go:{} msg="request served, \"ok\"" method=GET path=/api/v1/orders/{i} status=200 duration={}ms user_id={} trace=4bf92f3577b34da6a3ce929d0e0e4736"#,
        i % 400,
        i % 90,
        i * 3
    )
}

fn lines(count: usize, line: impl Fn(usize) -> String) -> Input {
    let mut input = Input { generation: Generation([1; 16]), arena: vec![], records: vec![], open: vec![] };
    for i in 0..count {
        let line = line(i);
        let (start, len) = (input.arena.len() as u32, line.len() as u32);
        input.arena.extend_from_slice(line.as_bytes());
        input.arena.push(b'\n');
        let pos = u64::from(start);
        input.records.push(InputRecord {
            pos,
            end: pos + u64::from(len) + 1,
            text: Span { start, len },
            received: 1,
            flags: 0,
        });
    }
    input
}

/// Median of the turns, printed.
fn report(name: &str, input: &Input, mut turn: impl FnMut(Input) -> Duration) {
    if std::env::args().nth(2).is_some_and(|only| only != name) {
        return;
    }
    let mut times: Vec<Duration> = (0..TURNS).map(|_| turn(input.clone())).collect();
    times.sort();
    let nanos = times[TURNS / 2].as_nanos() as f64;
    let records = input.records.len() as f64;
    let bytes = input.arena.len() as f64;
    println!(
        "{name:24} {:7.1} ns/record {:7.0} MB/s  ({:.0} B/record)",
        nanos / records,
        bytes * 1e3 / nanos,
        bytes / records
    );
}

fn floor(name: &str, input: &Input) {
    report(name, input, |input| {
        let start = Instant::now();
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', &input.arena) {
            black_box(simdutf8::basic::from_utf8(&input.arena[from..end]).is_ok());
            from = end + 1;
        }
        start.elapsed()
    });
}

fn serde(name: &str, input: &Input) {
    report(name, input, |input| {
        let start = Instant::now();
        for record in &input.records {
            black_box(serde_json::from_slice::<serde_json::Value>(record.text.of(&input.arena)).unwrap());
        }
        start.elapsed()
    });
}

fn ours(name: &str, attempts: &[Format], source: &Source, input: &Input, time: bool) {
    let timestamp = time.then(|| TimestampSpec { field: "time".into(), format: "rfc3339".into() });
    let spec = DecodeSpec { attempts: attempts.to_vec(), timestamp, ..DecodeSpec::default() };
    let decoder = Decoder::new(&spec).unwrap();
    report(name, input, |input| {
        let start = Instant::now();
        let decoded = black_box(decoder.decode(input, source, 1, 0));
        let spent = start.elapsed();
        assert_eq!((decoded.undecoded, decoded.without_time), (0, 0));
        spent
    });
}

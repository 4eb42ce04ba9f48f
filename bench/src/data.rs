//! Input from a seed: the same bytes for everybody who runs the same bench. Every record has a number, so that a reader can
//! tell which is missing and which came twice.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Result;

/// One record in so many is not what it claims to be.
pub const MALFORMED_EVERY: u64 = 10_000;
/// How the one address in a JSON record begins and ends.
pub const ADDRESS: (&str, &str) = ("customer", "@example.org");

/// Forms of lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Form {
    /// JSON application logs of about 410 bytes.
    Json,
    /// Lines of a web server, about 180 bytes.
    Nginx,
    /// JSON in lines of a container runtime; every fifth record comes in two parts.
    Cri,
}

/// Numbers that look random and are the same everywhere (SplitMix64).
pub struct Numbers(u64);

impl Numbers {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[(self.next() % choices.len() as u64) as usize]
    }
}

const SERVICES: [&str; 6] = ["checkout", "cart", "search", "payments", "profile", "gateway"];
const PATHS: [&str; 5] = ["/api/v1/orders", "/api/v1/cart/items", "/healthz", "/static/app.js", "/api/v2/search"];

/// Appends record `number` to `text`, with its line end.
pub fn line(form: Form, number: u64, numbers: &mut Numbers, text: &mut Vec<u8>) {
    match form {
        Form::Json => json(number, numbers, text),
        Form::Nginx => nginx(number, numbers, text),
        Form::Cri => cri(number, numbers, text),
    }
    text.push(b'\n');
}

/// Half of the records are of the level that row B drops.
pub fn is_debug(number: u64) -> bool {
    number % 2 == 1
}

/// Whether a record is not what it claims to be: JSON lacks its end.
pub fn is_malformed(number: u64) -> bool {
    number % MALFORMED_EVERY == MALFORMED_EVERY - 2
}

fn json(number: u64, numbers: &mut Numbers, text: &mut Vec<u8>) {
    let level = if is_debug(number) { "debug" } else { numbers.of(&["info", "info", "warn", "error"]) };
    let close = if is_malformed(number) { "" } else { "}" };
    let (a, b, c) = (numbers.next(), numbers.next(), numbers.next());
    push(
        text,
        format_args!(
            r#"{{"seq":{number},"timestamp":"2026-11-24T{:02}:{:02}:{:02}.{:03}Z","level":"{level}","service":"{}","host":"node-{:03}.example.internal","trace_id":"{a:016x}{b:016x}","span_id":"{c:016x}","message":"request of customer{}@example.org for order {} took {} ms in queue, retried {} times","http":{{"method":"GET","path":"{}","status":{},"bytes":{},"duration_ms":{}.{:03}}},"k8s":{{"pod":"{}-{:08x}"}}{close}"#,
            a % 24,
            b % 60,
            c % 60,
            a % 1000,
            numbers.of(&SERVICES),
            b % 250,
            a % 100_000,
            b % 10_000_000,
            c % 5_000,
            c % 3,
            numbers.of(&PATHS),
            [200, 200, 200, 404, 500][(b % 5) as usize],
            c % 100_000,
            a % 900,
            b % 1000,
            numbers.of(&SERVICES),
            c as u32,
        ),
    );
}

fn nginx(number: u64, numbers: &mut Numbers, text: &mut Vec<u8>) {
    let (a, b) = (numbers.next(), numbers.next());
    if is_malformed(number) {
        return push(text, format_args!("{number} upstream timed out while connecting"));
    }
    push(
        text,
        format_args!(
            r#"10.{}.{}.{} - user{number} [24/Nov/2026:{:02}:{:02}:{:02} +0000] "GET {}?id={} HTTP/1.1" {} {} "https://shop.example.org/cart" "Mozilla/5.0 (X11; Linux x86_64) Firefox/132.0""#,
            a % 256,
            b % 256,
            (a >> 8) % 256,
            a % 24,
            b % 60,
            (b >> 8) % 60,
            numbers.of(&PATHS),
            a % 100_000,
            [200, 200, 301, 404][(b % 4) as usize],
            b % 100_000,
        ),
    );
}

fn cri(number: u64, numbers: &mut Numbers, text: &mut Vec<u8>) {
    let mut record = Vec::with_capacity(512);
    json(number, numbers, &mut record);
    let time = format!("2026-11-24T13:55:36.{:09}Z stdout ", number % 1_000_000_000);
    if number.is_multiple_of(5) {
        let (first, last) = record.split_at(record.len() / 2);
        text.extend_from_slice(time.as_bytes());
        text.extend_from_slice(b"P ");
        text.extend_from_slice(first);
        text.push(b'\n');
        record = last.to_vec();
    }
    text.extend_from_slice(time.as_bytes());
    text.extend_from_slice(b"F ");
    text.extend_from_slice(&record);
}

fn push(text: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a Vec takes every byte");
}

/// Writes records until the file has `bytes` bytes, and tells how many and how long it became.
pub fn write(form: Form, path: &Path, bytes: u64) -> Result<(u64, u64)> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let (mut numbers, mut text) = (Numbers::new(7), Vec::with_capacity(1 << 20));
    let (mut written, mut number) = (0, 0);
    while written < bytes {
        text.clear();
        line(form, number, &mut numbers, &mut text);
        out.write_all(&text)?;
        written += text.len() as u64;
        number += 1;
    }
    out.flush()?;
    Ok((number, written))
}

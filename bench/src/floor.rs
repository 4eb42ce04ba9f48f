//! The floor: what the machine itself asks for the same work, in one plain loop. Blocks are read, line ends found with memchr,
//! JSON is parsed whole by SIMD into borrowed values, a field with the received time is added, and lines are written. Nothing
//! is allocated per record, nothing is made durable, nothing survives a crash.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use memchr::memmem::Finder;
use simd_json::{Buffers, Tape};

/// What the loop does with each line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Work {
    /// Parses JSON and adds a field.
    Json,
    /// Parses JSON, drops records at debug level, adds a field more and replaces what looks like an e-mail address.
    Redact,
    /// Cuts lines of a web server into fields, and writes them as JSON.
    Nginx,
    /// Takes container lines apart, joins parts, parses the JSON in them, and adds a field.
    Cri,
}

const BLOCK_BYTES: usize = 1 << 20;

/// Runs the loop over `input`.
pub fn run(work: Work, input: &Path, output: &Path) -> Result<()> {
    let mut input = File::open(input).with_context(|| format!("cannot read {}", input.display()))?;
    let mut output = File::create(output)?;
    let mut block = vec![0; BLOCK_BYTES];
    let (mut kept, mut out) = (0, Vec::with_capacity(2 * BLOCK_BYTES));
    let mut parser = Parser::new(work);
    loop {
        let read = input.read(&mut block[kept..])?;
        if read == 0 {
            return Ok(output.write_all(&out)?);
        }
        let text = &block[..kept + read];
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', text) {
            parser.line(&text[begin..end], &mut out);
            begin = end + 1;
        }
        let rest = begin..kept + read;
        kept = rest.len();
        block.copy_within(rest, 0);
        if out.len() >= BLOCK_BYTES {
            output.write_all(&out)?;
            out.clear();
        }
    }
}

/// The loop over lines that are at hand already.
pub struct Lines {
    parser: Parser,
    out: Vec<u8>,
}

impl Default for Lines {
    fn default() -> Self {
        Self { parser: Parser::new(Work::Json), out: Vec::new() }
    }
}

impl Lines {
    /// The rows of a body of JSON lines.
    pub fn json(&mut self, body: &[u8]) -> &[u8] {
        self.out.clear();
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.parser.json(line, &mut self.out);
        }
        &self.out
    }
}

struct Parser {
    work: Work,
    buffers: Buffers,
    tape: Option<Tape<'static>>,
    scratch: Vec<u8>,
    joined: Vec<u8>,
    received: String,
    debug: Finder<'static>,
}

impl Parser {
    fn new(work: Work) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let added = if work == Work::Redact { ",\"cluster\":\"eu-1\"" } else { "" };
        Self {
            work,
            buffers: Buffers::new(4096),
            tape: Some(Tape(Vec::with_capacity(256))),
            scratch: Vec::with_capacity(4096),
            joined: Vec::with_capacity(4096),
            received: format!("{added},\"received\":{now}}}\n"),
            debug: Finder::new(br#""level":"debug""#),
        }
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        match self.work {
            Work::Json => self.json(line, out),
            Work::Redact if self.debug.find(line).is_some() => {}
            Work::Redact => self.redact(line, out),
            Work::Nginx => self.nginx(line, out),
            Work::Cri => self.cri(line, out),
        }
    }

    /// Whether the bytes are one JSON value; all of it is parsed.
    fn is_json(&mut self, line: &[u8]) -> bool {
        self.scratch.clear();
        self.scratch.extend_from_slice(line);
        let Some(mut tape) = self.tape.take().map(Tape::reset) else { return false };
        let good = simd_json::fill_tape(&mut self.scratch, &mut self.buffers, &mut tape).is_ok();
        self.tape = Some(tape.reset());
        good
    }

    fn json(&mut self, line: &[u8], out: &mut Vec<u8>) {
        if self.is_json(line) {
            out.extend_from_slice(&line[..line.len() - 1]);
        } else {
            escaped(line, out);
        }
        out.extend_from_slice(self.received.as_bytes());
    }

    fn redact(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let begin = out.len();
        self.json(line, out);
        let mut from = begin;
        while let Some(at) = memchr::memchr(b'@', &out[from..]).map(|at| from + at) {
            let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+');
            let before = out[begin..at].iter().rev().take_while(|byte| is_part(byte)).count();
            let after = out[at + 1..].iter().take_while(|byte| is_part(byte)).count();
            from = at + 1;
            if before > 0 && after > 0 {
                out.splice(at - before..at + 1 + after, *b"[redacted]");
                from = at - before + 10;
            }
        }
    }

    fn nginx(&mut self, line: &[u8], out: &mut Vec<u8>) {
        const NAMES: [&str; 8] = ["remote", "user", "time", "request", "status", "bytes", "referer", "agent"];
        let Some(fields) = nginx_fields(line) else {
            escaped(line, out);
            return out.extend_from_slice(self.received.as_bytes());
        };
        for (index, (name, value)) in NAMES.iter().zip(fields).enumerate() {
            out.extend_from_slice(if index == 0 { b"{\"" } else { b",\"" });
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":\"");
            out.extend_from_slice(value);
            out.push(b'"');
        }
        out.extend_from_slice(self.received.as_bytes());
    }

    fn cri(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let mut spaces = memchr::memchr_iter(b' ', line);
        let (_, Some(_), Some(third)) = (spaces.next(), spaces.next(), spaces.next()) else { return };
        let part = &line[third + 1..];
        self.joined.extend_from_slice(part);
        if line[third - 1] == b'F' {
            let joined = std::mem::take(&mut self.joined);
            self.json(&joined, out);
            self.joined = joined;
            self.joined.clear();
        }
    }
}

fn escaped(line: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"body\":\"");
    for &byte in line {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Address, user, time, request, status, size, referer, agent.
fn nginx_fields(line: &[u8]) -> Option<[&[u8]; 8]> {
    let space = memchr::memchr(b' ', line)?;
    let open = memchr::memchr(b'[', line)?;
    let close = open + memchr::memchr(b']', &line[open..])?;
    let mut quotes = memchr::memchr_iter(b'"', &line[close..]).map(|at| close + at);
    let mut quote = || quotes.next();
    let (a, b, c, d, e, f) = (quote()?, quote()?, quote()?, quote()?, quote()?, quote()?);
    let numbers = line.get(b + 2..c - 1)?;
    let middle = memchr::memchr(b' ', numbers)?;
    let user = line.get(space + 3..open - 1)?;
    Some([
        &line[..space],
        user,
        &line[open + 1..close],
        &line[a + 1..b],
        &numbers[..middle],
        &numbers[middle + 1..],
        &line[c + 1..d],
        &line[e + 1..f],
    ])
}

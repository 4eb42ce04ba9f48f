//! Access logs of nginx and Apache, "combined" and "common", by hand: one pass, no regular expression. Field names are those
//! of OpenTelemetry; `-` is a missing field; quoted texts stay as the server wrote them, with its own escapes.

use super::Decode;
use super::draft::{Dictionary, Draft, Outcome, Refusal, Word};
use super::timestamp::common_log;
use crate::batch::ValueKind;

/// The decoder `combined`.
#[derive(Debug)]
pub(super) struct Combined {
    address: Word,
    user: Word,
    method: Word,
    url: Word,
    version: Word,
    line: Word,
    status: Word,
    size: Word,
    referer: Word,
    agent: Word,
}

impl Combined {
    pub(super) fn new(dictionary: &mut Dictionary) -> Self {
        let mut word = |name| dictionary.add(name);
        Self {
            address: word("client.address"),
            user: word("user.name"),
            method: word("http.request.method"),
            url: word("url.original"),
            version: word("network.protocol.version"),
            line: word("http.request.line"),
            status: word("http.response.status_code"),
            size: word("http.response.body.size"),
            referer: word("http.request.header.referer"),
            agent: word("user_agent.original"),
        }
    }

    /// `METHOD URL HTTP/1.1`, or whatever a client sent instead.
    fn request(&self, draft: &mut Draft<'_>, start: usize, end: usize) {
        let line = &draft.text()[start..end];
        let parts = memchr::memchr(b' ', line).zip(memchr::memrchr(b' ', line));
        match parts {
            Some((first, last)) if first < last && line[last + 1..].starts_with(b"HTTP/") => {
                draft.put(self.method, draft.place(start, start + first), ValueKind::Text);
                draft.put(self.url, draft.place(start + first + 1, start + last), ValueKind::Text);
                draft.put(self.version, draft.place(start + last + 6, end), ValueKind::Text);
            }
            _ => put_unless_dash(draft, self.line, start, end, ValueKind::Text),
        }
    }
}

/// A cursor over the line.
struct Line<'a> {
    text: &'a [u8],
    at: usize,
}

impl Line<'_> {
    fn refuse(&self, expected: &'static str) -> Refusal {
        Refusal::Shape { format: "combined", offset: self.at, expected }
    }

    /// Skips `literal`.
    fn skip(&mut self, literal: &'static str) -> Result<(), Refusal> {
        if !self.text[self.at..].starts_with(literal.as_bytes()) {
            return Err(self.refuse(literal));
        }
        self.at += literal.len();
        Ok(())
    }

    /// Everything up to `stop`, which must come and is skipped; not empty.
    fn until(&mut self, stop: u8, expected: &'static str) -> Result<(usize, usize), Refusal> {
        let start = self.at;
        match memchr::memchr(stop, &self.text[start..]) {
            Some(len) if len > 0 => {
                self.at = start + len + 1;
                Ok((start, start + len))
            }
            _ => Err(self.refuse(expected)),
        }
    }

    /// The inside of a text in double quotes.
    fn quoted(&mut self) -> Result<(usize, usize), Refusal> {
        self.skip("\"")?;
        let start = self.at;
        let mut end = start;
        loop {
            let found = memchr::memchr2(b'"', b'\\', self.text.get(end..).unwrap_or_default());
            end += found.ok_or(self.refuse("a closing quote"))?;
            if self.text[end] == b'"' {
                self.at = end + 1;
                return Ok((start, end));
            }
            end += 2;
        }
    }

    /// A number or a dash.
    fn number(&mut self) -> Result<(usize, usize), Refusal> {
        let start = self.at;
        let rest = &self.text[start..];
        let len = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let json = len == 1 || (len > 1 && rest[0] != b'0');
        let len = if rest.first() == Some(&b'-') { 1 } else { len };
        if !json && rest.first() != Some(&b'-') {
            return Err(self.refuse("a number or a dash"));
        }
        self.at = start + len;
        Ok((start, self.at))
    }
}

fn put_unless_dash(draft: &mut Draft<'_>, word: Word, start: usize, end: usize, kind: ValueKind) {
    if &draft.text()[start..end] != b"-" {
        draft.put(word, draft.place(start, end), kind);
    }
}

impl Decode for Combined {
    fn decode(&self, draft: &mut Draft<'_>) -> Result<Outcome, Refusal> {
        let mut line = Line { text: draft.text(), at: 0 };
        let address = line.until(b' ', "the client's address")?;
        line.until(b' ', "the identity, or a dash")?;
        let user = line.until(b'[', "the user, a space and the time in brackets")?;
        let at = line.at;
        let time = line.until(b']', "the time in brackets")?;
        line.skip(" ")?;
        let request = line.quoted()?;
        line.skip(" ")?;
        let status = line.number()?;
        line.skip(" ")?;
        let size = line.number()?;
        let shape =
            Refusal::Shape { format: "combined", offset: at, expected: "a time like 24/Nov/2026:13:55:36 +0100" };
        let instant = common_log(&line.text[time.0..time.1]).ok_or(shape)?;
        put_unless_dash(draft, self.address, address.0, address.1, ValueKind::Text);
        put_unless_dash(draft, self.user, user.0, (user.1 - 1).max(user.0), ValueKind::Text);
        self.request(draft, request.0, request.1);
        put_unless_dash(draft, self.status, status.0, status.1, ValueKind::Json);
        put_unless_dash(draft, self.size, size.0, size.1, ValueKind::Json);
        if line.at < line.text.len() {
            line.skip(" ")?;
            let referer = line.quoted()?;
            line.skip(" ")?;
            let agent = line.quoted()?;
            put_unless_dash(draft, self.referer, referer.0, referer.1, ValueKind::Text);
            put_unless_dash(draft, self.agent, agent.0, agent.1, ValueKind::Text);
        }
        if line.at < line.text.len() {
            return Err(line.refuse("the end of the line"));
        }
        draft.set_time(instant);
        Ok(Outcome::Complete)
    }
}

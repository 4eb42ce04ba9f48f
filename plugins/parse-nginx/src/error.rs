//! Lines of the error log: `2026/01/31 05:06:07 [error] 71#72: *9 MESSAGE, client: …, server: …, request: "…", …`.
//!
//! What clients send stands unescaped in such a line, so the end is read as nginx writes it, from the last `, client: ` from which
//! all that follows has its form: a path can't pass for a client.

use crate::request;
use plugin_members::Members;
use plugin_text::time::Format;

/// How a time is written.
const TIME: &str = "2026/01/31 05:06:07";
/// Where what nginx says of a connection begins.
const CONTEXT: &str = ", client: ";
/// Places that are tried for it, from the end: each may be read to the end of the line.
const CONTEXTS_MAX: usize = 8;
/// What may follow the client, in this order: the word, whether its value stands in quotes, the member.
const PARTS: [(&str, bool, &str); 6] = [
    ("server", false, "server.address"),
    ("request", true, ""),
    ("subrequest", true, "nginx.subrequest"),
    ("upstream", true, "nginx.upstream"),
    ("host", true, "http.request.header.host"),
    ("referrer", true, "http.request.header.referer"),
];
const LEVELS: [&str; 8] = ["debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"];

/// Whether `line` begins as a line of the error log does.
pub fn looks_like(line: &str) -> bool {
    let bytes = line.as_bytes();
    bytes.len() >= TIME.len() && bytes[4] == b'/' && bytes[7] == b'/' && bytes[..4].iter().all(u8::is_ascii_digit)
}

/// Puts what `line` says into `members`; its time, unix nanoseconds, or what was expected instead of what stands there.
pub fn read<'a>(line: &'a str, zone_seconds: i64, members: &mut Members<'a>) -> Result<i64, &'static str> {
    let expected = "a time like 2026/01/31 05:06:07";
    let (time, rest) = line.split_at_checked(TIME.len()).ok_or(expected)?;
    let format = Format::Pattern("%Y/%m/%d %H:%M:%S".into());
    let time = format.parse(time, zone_seconds, 0).ok_or(expected)?;
    let (level, rest) =
        rest.strip_prefix(" [").and_then(|rest| rest.split_once("] ")).ok_or("the level in brackets")?;
    if !LEVELS.contains(&level) {
        return Err("a level of nginx");
    }
    let (process, rest) = rest.split_once(": ").ok_or("PROCESS#THREAD and a colon")?;
    let (process, thread) = process.split_once('#').ok_or("PROCESS#THREAD")?;
    let (process, thread) = (number(process)?, number(thread)?);
    let connection = rest.strip_prefix('*').and_then(|rest| rest.split_once(' '));
    let connection = connection.and_then(|(digits, behind)| Some((number(digits).ok()?, behind)));
    let rest = connection.map_or(rest, |(_, behind)| behind);
    members.put_text("level", level);
    members.put("process.pid", process);
    members.put("thread.id", thread);
    connection.into_iter().for_each(|(number, _)| members.put("nginx.connection", number));
    let mut contexts = rest.rmatch_indices(CONTEXT).take(CONTEXTS_MAX);
    let context = contexts.find_map(|(at, _)| Some((at, parts(&rest[at + CONTEXT.len()..])?)));
    members.put_text("message", context.as_ref().map_or(rest, |(at, _)| &rest[..*at]));
    let Some((_, (client, parts))) = context else { return Ok(time) };
    members.put_text("client.address", client);
    for ((word, _, name), value) in PARTS.iter().zip(parts) {
        match value {
            Some(value) if *word == "request" => request::put(value, members),
            Some(value) if !value.is_empty() => request::put_unless_hyphen(name, value, members),
            _ => {}
        }
    }
    Ok(time)
}

/// A number as JSON has it.
fn number(digits: &str) -> Result<&str, &'static str> {
    let is_number = !digits.is_empty() && digits.len() <= 20 && digits.bytes().all(|b| b.is_ascii_digit());
    if is_number && (digits == "0" || !digits.starts_with('0')) { Ok(digits) } else { Err("a number") }
}

/// The client and the values of `PARTS`, if `text` is nothing but these.
fn parts(text: &str) -> Option<(&str, [Option<&str>; PARTS.len()])> {
    let end = text.find([',', ' ', '"']).unwrap_or(text.len());
    let (client, mut rest) = text.split_at(end);
    let mut values = [None; PARTS.len()];
    for (i, (word, is_quoted, _)) in PARTS.iter().enumerate() {
        let Some(value) = rest.strip_prefix(", ").and_then(|r| r.strip_prefix(word)?.strip_prefix(": ")) else {
            continue;
        };
        let (value, behind) =
            if *is_quoted { quoted(value)? } else { value.split_at(value.find(", ").unwrap_or(value.len())) };
        (values[i], rest) = (Some(value), behind);
    }
    (rest.is_empty() && !client.is_empty()).then_some((client, values))
}

/// The text in quotes at the front, up to the first quote that ends a part, and what is behind it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('"')?;
    let ends = |at: &usize| inside[at + 1..].is_empty() || inside[at + 1..].starts_with(", ");
    let end = inside.match_indices('"').map(|(at, _)| at).find(ends)?;
    Some((&inside[..end], &inside[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        let mut members = Members::default();
        match read(line, 0, &mut members) {
            Ok(time) => format!("{time} {}", members.object()),
            Err(expected) => expected.into(),
        }
    }

    const START: &str = "2026/01/31 05:06:07 [error] 71#72: *9 ";
    const READ: &str = r#"1769835967000000000 {"level":"error","process.pid":71,"thread.id":72,"nginx.connection":9,"#;

    #[test]
    fn a_line_with_everything() {
        let line = format!(
            "{START}connect() failed (111: Connection refused) while connecting to upstream, client: 10.0.0.9, server: shop, \
             request: \"GET /a?b=c HTTP/1.1\", subrequest: \"/auth\", upstream: \"http://10.0.0.1:80/a\", host: \"shop.example\", \
             referrer: \"https://x/\""
        );
        let expected = concat!(
            r#""message":"connect() failed (111: Connection refused) while connecting to upstream","client.address":"10.0.0.9","#,
            r#""server.address":"shop","http.request.method":"GET","url.original":"/a?b=c","network.protocol.version":"1.1","#,
            r#""nginx.subrequest":"/auth","nginx.upstream":"http://10.0.0.1:80/a","http.request.header.host":"shop.example","#,
            r#""http.request.header.referer":"https://x/"}"#
        );
        assert_eq!(shown(&line), format!("{READ}{expected}"));
    }

    #[test]
    fn a_path_is_no_client() {
        let line = format!("{START}open() \"/x, client: 6.6.6.6, server: y\" failed, client: 10.0.0.9, server: ");
        let expected = r#""message":"open() \"/x, client: 6.6.6.6, server: y\" failed","client.address":"10.0.0.9"}"#;
        assert_eq!(shown(&line), format!("{READ}{expected}"));
        let line = format!(
            "{START}m, client: 10.0.0.9, server: s, request: \"GET / HTTP/1.1\", referrer: \"a, client: 6.6.6.6\""
        );
        assert!(shown(&line).contains(r#""client.address":"10.0.0.9""#), "{}", shown(&line));
    }

    #[test]
    fn lines_that_are_none_and_cuts() {
        let line = format!("{START}é failed, client: 1.2.3.4, server: s");
        for end in (0..line.len()).filter(|end| line.is_char_boundary(*end)) {
            let is_read = shown(&line[..end]).starts_with("1769835967000000000 {");
            assert_eq!(is_read, end >= "2026/01/31 05:06:07 [error] 71#72: ".len(), "{end}");
        }
        for text in [
            "2026/02/30 05:06:07 [error] 1#1: x",
            "2026/01/31 05:06:07 [loud] 1#1: x",
            "2026/01/31 05:06:07 [info] 1#01: x",
        ] {
            assert!(!shown(text).starts_with('1'), "{text}");
        }
        assert!(!looks_like("") && !looks_like("127.0.0.1 - - [31/Jan/2026"));
    }
}

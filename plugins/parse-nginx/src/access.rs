//! Access lines: "common", "combined", and with one more text in quotes the `main` of nginx's packages. Names are those of the
//! transform `parse`; quoted texts stay as the server wrote them, with its own escapes.

use crate::request::{self, put_unless_hyphen};
use plugin_members::Members;
use plugin_text::time::Format;

/// Puts what `line` says into `members`; its time, unix nanoseconds, or what was expected instead of what stands there.
pub fn read<'a>(line: &'a str, members: &mut Members<'a>) -> Result<i64, &'static str> {
    let (address, rest) = word(line, ' ').ok_or("the client's address")?;
    let (_, rest) = word(rest, ' ').ok_or("the identity, or a hyphen")?;
    let (user, rest) = word(rest, '[').ok_or("the user, a space and the time in brackets")?;
    let (time, rest) = word(rest, ']').ok_or("the time in brackets")?;
    let time = Format::Clf.parse(time, 0, 0).ok_or("a time like 24/Nov/2026:13:55:36 +0100")?;
    let (line, rest) = quoted(rest)?;
    let (status, rest) = number(rest)?;
    let (size, mut rest) = number(rest)?;
    let mut headers = [None; 3];
    for header in &mut headers {
        if !rest.is_empty() {
            let (text, behind) = quoted(rest)?;
            (*header, rest) = (Some(text), behind);
        }
    }
    if !rest.is_empty() || (headers[0].is_some() && headers[1].is_none()) {
        return Err("the end of the line behind the size, the user agent, or one more text in quotes");
    }
    put_unless_hyphen("client.address", address, members);
    put_unless_hyphen("user.name", user.strip_suffix(' ').unwrap_or(user), members);
    request::put(line, members);
    put_number("http.response.status_code", status, members);
    put_number("http.response.body.size", size, members);
    let names = ["http.request.header.referer", "user_agent.original", "http.request.header.x-forwarded-for"];
    for (name, text) in names.into_iter().zip(headers) {
        text.into_iter().for_each(|text| put_unless_hyphen(name, text, members));
    }
    Ok(time)
}

/// What stands before `stop`, not empty, and what is behind it.
fn word(text: &str, stop: char) -> Option<(&str, &str)> {
    text.split_once(stop).filter(|(word, _)| !word.is_empty())
}

/// The inside of a text in quotes behind a space, and what is behind it.
fn quoted(text: &str) -> Result<(&str, &str), &'static str> {
    let inside = text.strip_prefix(" \"").ok_or("a space and a text in quotes")?;
    let mut escaped = false;
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Ok((&inside[..at], &inside[at + 1..])),
            _ => {}
        }
    }
    Err("a closing quote")
}

/// A number as JSON has it, or a hyphen, behind a space; and what is behind it.
fn number(text: &str) -> Result<(&str, &str), &'static str> {
    let text = text.strip_prefix(' ').ok_or("a space and a number or a hyphen")?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let len = if text.starts_with('-') { 1 } else { digits };
    let is_number = len == 1 || (len > 1 && !text.starts_with('0'));
    if is_number { Ok(text.split_at(len)) } else { Err("a number or a hyphen") }
}

fn put_number<'a>(name: &'a str, token: &'a str, members: &mut Members<'a>) {
    if token != "-" {
        members.put(name, token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        let mut members = Members::default();
        match read(line, &mut members) {
            Ok(time) => format!("{time} {}", members.object()),
            Err(expected) => expected.into(),
        }
    }

    #[test]
    fn lines_of_three_formats() {
        let common = r#"::1 - - [31/Jan/2026:05:06:07 +0000] "GET / HTTP/1.1" 304 -"#;
        let read = concat!(
            r#"1769835967000000000 {"client.address":"::1","http.request.method":"GET","url.original":"/","#,
            r#""network.protocol.version":"1.1","http.response.status_code":304"#
        );
        assert_eq!(shown(common), format!("{read}}}"));
        assert_eq!(
            shown(&format!("{common} \"-\" \"curl \\\"7\"")),
            format!(r#"{read},"user_agent.original":"curl \\\"7"}}"#)
        );
        let main = format!("{common} \"-\" \"-\" \"10.0.0.1, 10.0.0.2\"");
        assert_eq!(shown(&main), format!(r#"{read},"http.request.header.x-forwarded-for":"10.0.0.1, 10.0.0.2"}}"#));
        assert!(shown(&format!("{common} \"-\"")).starts_with("the end of the line"));
        assert!(shown(&format!("{main} \"more\"")).starts_with("the end of the line"));
    }

    #[test]
    fn no_cut_of_a_line_panics_and_only_whole_ones_are_read() {
        let line = r#"é - bob [31/Jan/2026:05:06:07 +0000] "GET /é HTTP/1.1" 200 5 "r" "a\"b" "f""#;
        let read: Vec<usize> = (0..=line.len())
            .filter(|end| line.is_char_boundary(*end) && shown(&line[..*end]).starts_with("1769835967000000000 {"))
            .collect();
        // Behind the size, behind the user agent, and whole.
        assert_eq!(read, [line.len() - 15, line.len() - 4, line.len()]);
    }
}

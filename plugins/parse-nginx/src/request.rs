//! The request line of a client, in both logs. Field names are those of OpenTelemetry.

use plugin_members::Members;

/// Puts `METHOD URL HTTP/1.1`, or whatever a client sent instead, into `members`; a hyphen is nothing.
pub fn put<'a>(line: &'a str, members: &mut Members<'a>) {
    let parts = line.split_once(' ').and_then(|(method, rest)| Some((method, rest.rsplit_once(" HTTP/")?)));
    match parts {
        Some((method, (url, version))) if !version.contains(' ') => {
            members.put_text("http.request.method", method);
            members.put_text("url.original", url);
            members.put_text("network.protocol.version", version);
        }
        _ => put_unless_hyphen("http.request.line", line, members),
    }
}

/// Puts `text` into member `name` unless it is a hyphen.
pub fn put_unless_hyphen<'a>(name: &'a str, text: &str, members: &mut Members<'a>) {
    if text != "-" {
        members.put_text(name, text);
    }
}

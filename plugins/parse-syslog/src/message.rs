//! One message. Knows both forms; a field that is a hyphen is not there.

use plugin_text::time::Format;
use sawlog_plugin::record::quote;

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
const LEVELS: [&str; 8] = ["critical", "critical", "critical", "error", "warn", "notice", "info", "debug"];

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    priority: usize,
    /// Unix nanoseconds.
    pub time: Option<i64>,
    pub host: Option<&'a str>,
    pub app: Option<&'a str>,
    pub pid: Option<&'a str>,
    pub id: Option<&'a str>,
    /// A JSON object of objects.
    pub data: Option<String>,
    pub text: &'a str,
}

impl<'a> Message<'a> {
    /// Reads a message. `near` (unix nanoseconds) decides the year of the older form.
    pub fn parse(text: &'a str, zone_seconds: i64, near: i64) -> Option<Self> {
        let (priority, rest) = text.strip_prefix('<')?.split_once('>')?;
        if priority.is_empty() || priority.len() > 3 || !priority.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let priority = priority.parse().ok().filter(|priority| *priority < 8 * FACILITIES.len())?;
        match rest.strip_prefix("1 ") {
            Some(rest) => Self::new_form(priority, rest, zone_seconds),
            None => Self::old_form(priority, rest, zone_seconds, near),
        }
    }

    /// RFC 5424: `TIME HOST APP PID ID DATA TEXT`.
    fn new_form(priority: usize, rest: &'a str, zone_seconds: i64) -> Option<Self> {
        let mut rest = rest;
        let mut word = || {
            let (word, behind) = rest.split_once(' ')?;
            rest = behind;
            Some((word != "-").then_some(word))
        };
        let (time, host, app, pid, id) = (word()?, word()?, word()?, word()?, word()?);
        let time = match time {
            Some(time) => Some(Format::Iso.parse(time, zone_seconds, 0)?),
            None => None,
        };
        let (data, text) = match rest.strip_prefix('-') {
            Some(behind) => (None, behind),
            None => structured(rest)?,
        };
        if !text.is_empty() && !text.starts_with(' ') {
            return None;
        }
        let text = text.strip_prefix(' ').unwrap_or(text);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Some(Self { priority, time, host, app, pid, id, data, text })
    }

    /// `Jan 31 05:06:07 HOST APP[PID]: TEXT`; some leave out the host, some the time.
    fn old_form(priority: usize, rest: &'a str, zone_seconds: i64, near: i64) -> Option<Self> {
        let stamp = rest.get(..15).and_then(|stamp| Format::Syslog.parse(stamp, zone_seconds, near));
        let rest = if stamp.is_some() { rest[15..].trim_start_matches(' ') } else { rest };
        let (host, behind) = match rest.split_once(' ') {
            // A word with a colon or a bracket is the program already.
            Some((word, behind)) if stamp.is_some() && !word.ends_with(':') && !word.contains('[') => {
                (Some(word), behind)
            }
            _ => (None, rest),
        };
        let (app, pid, text) = tag(behind);
        Some(Self { priority, time: stamp, host, app, pid, id: None, data: None, text })
    }

    pub fn facility(&self) -> &'static str {
        FACILITIES[self.priority / 8]
    }

    pub fn severity(&self) -> usize {
        self.priority % 8
    }

    pub fn level(&self) -> &'static str {
        LEVELS[self.severity()]
    }
}

/// `APP[PID]: TEXT`; a text without a tag is all text.
fn tag(text: &str) -> (Option<&str>, Option<&str>, &str) {
    let end =
        text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))).unwrap_or(text.len());
    let (app, rest) = text.split_at(end);
    let (pid, rest) = match rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((pid, behind)) => (Some(pid), behind),
        None => (None, rest),
    };
    match rest.strip_prefix(':') {
        Some(behind) if !app.is_empty() => (Some(app), pid, behind.strip_prefix(' ').unwrap_or(behind)),
        _ => (None, None, text),
    }
}

/// `[id name="value" …][…]` as JSON, and what is behind it.
fn structured(text: &str) -> Option<(Option<String>, &str)> {
    let (mut rest, mut out) = (text, String::from("{"));
    while let Some(element) = rest.strip_prefix('[') {
        let end = element.find([' ', ']'])?;
        if out.len() > 1 {
            out.push(',');
        }
        quote(&element[..end], &mut out);
        out.push_str(":{");
        let (members, behind) = parameters(&element[end..])?;
        out.push_str(&members);
        out.push('}');
        rest = behind;
    }
    out.push('}');
    (out != "{}").then_some((Some(out), rest))
}

/// ` name="value" …]`
fn parameters(text: &str) -> Option<(String, &str)> {
    let (mut rest, mut out) = (text, String::new());
    loop {
        rest = rest.trim_start_matches(' ');
        if let Some(behind) = rest.strip_prefix(']') {
            return Some((out, behind));
        }
        let (name, behind) = rest.split_once("=\"")?;
        let (value, behind) = quoted(behind)?;
        if !out.is_empty() {
            out.push(',');
        }
        quote(name, &mut out);
        out.push(':');
        quote(&value, &mut out);
        rest = behind;
    }
}

/// Up to the closing quote; `\"`, `\\` and `\]` are the signs themselves.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                sign @ ('"' | '\\' | ']') => value.push(sign),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standards() {
        let line = r#"<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="App\"lication"] An event"#;
        let message = Message::parse(line, 0, 0).expect("a message");
        assert_eq!(
            (message.facility(), message.level(), message.host),
            ("local4", "notice", Some("mymachine.example.com"))
        );
        assert_eq!((message.id, message.text), (Some("ID47"), "An event"));
        assert_eq!(message.data.as_deref(), Some(r#"{"exampleSDID@32473":{"iut":"3","eventSource":"App\"lication"}}"#));
        let message = Message::parse("<34>Oct 11 22:14:15 mymachine su[7]: 'su root' failed", 0, 0).expect("a message");
        assert_eq!((message.host, message.app, message.pid), (Some("mymachine"), Some("su"), Some("7")));
        assert_eq!((message.level(), message.text), ("critical", "'su root' failed"));
    }

    #[test]
    fn what_is_none_is_refused() {
        for line in [
            "",
            "<",
            "<>x",
            "<192>x",
            "<1234>x",
            "<1>1 - - -",
            "<1>1 yesterday - - - - - x",
            "<1>1 - - - - - [a x",
            "<1>1 - - - - - [a b=\"c]",
        ] {
            assert_eq!(Message::parse(line, 0, 0), None, "{line}");
        }
    }
}

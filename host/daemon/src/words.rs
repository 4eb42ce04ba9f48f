//! The words of others (names of files, lines of plugins, answers of servers) in what a person reads: they make no lines that look
//! like ours there, and do not talk to the terminal that shows them.

use std::borrow::Cow;

/// What stands before each further line of an event.
const INDENT: &str = "\n    ";

fn is_tame(c: char) -> bool {
    !c.is_control() || c == '\t'
}

/// Text with its control characters spelt out; line ends become `end`.
fn spelt_out<'a>(text: &'a str, end: &str) -> Cow<'a, str> {
    if text.chars().all(is_tame) {
        return Cow::Borrowed(text);
    }
    let mut spelt = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        match c {
            '\n' => spelt.push_str(end),
            c if is_tame(c) => spelt.push(c),
            c => spelt.extend(c.escape_default()),
        }
    }
    Cow::Owned(spelt)
}

/// An event of the own log with its line end; its further lines are indented.
pub fn event(event: &str) -> Cow<'_, str> {
    let body = event.strip_suffix('\n').unwrap_or(event);
    match spelt_out(body, INDENT) {
        Cow::Borrowed(_) => Cow::Borrowed(event),
        Cow::Owned(spelt) => Cow::Owned(spelt + &event[body.len()..]),
    }
}

/// Somebody's words as a part of one line.
pub fn in_line(text: &str) -> Cow<'_, str> {
    spelt_out(text, "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_others_make_no_lines_of_our_own_and_do_not_talk_to_the_terminal() {
        for (text, wanted) in [
            ("WARN a b=\"c\"\n", "WARN a b=\"c\"\n"),
            ("WARN /l/x\n2026 ERROR forged.log\n", "WARN /l/x\n    2026 ERROR forged.log\n"),
            ("a\r\nb\n", "a\\r\n    b\n"),
            ("\u{1b}[2Jx\u{9b}31m\u{7f}\0\n", "\\u{1b}[2Jx\\u{9b}31m\\u{7f}\\u{0}\n"),
            ("tab\tstays, å too\n\n", "tab\tstays, å too\n    \n"),
            ("no end\u{7}", "no end\\u{7}"),
            ("", ""),
        ] {
            assert_eq!(event(text), wanted);
        }
        assert_eq!(in_line("/l/x\n2026 ERROR\u{1b}"), "/l/x\\n2026 ERROR\\u{1b}");
        assert_eq!(in_line("/l/x.log"), "/l/x.log");
    }
}

//! What an e-mail address in a text is, as the plugin `redact` says it: letters, digits or `._%+-`, one letter or digit at least; an
//! `@`; letters, digits, `.` and `-`, of which the first is no point, as far as the last point that has two letters or more behind it,
//! and these letters. Letters and digits are those of ASCII; a quoted local part is none.

use std::ops::Range;

const LOCAL: u8 = 1;
const DOMAIN: u8 = 2;
const LETTER: u8 = 4;
const NAMED: u8 = 8;

/// What each byte may be: part of a local part, part of a domain, a letter, a letter or a digit.
const CLASSES: [u8; 256] = {
    let (mut classes, mut byte) = ([0; 256], 0);
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'A'..=b'Z' | b'a'..=b'z' => LOCAL | DOMAIN | LETTER | NAMED,
            b'0'..=b'9' => LOCAL | DOMAIN | NAMED,
            b'.' | b'-' => LOCAL | DOMAIN,
            b'_' | b'%' | b'+' => LOCAL,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// The first address of `text`, nothing of which lies before `from`.
pub fn next(text: &[u8], from: usize) -> Option<Range<usize>> {
    let mut at = from;
    loop {
        at += memchr::memchr(b'@', &text[at..])?;
        if let Some(end) = end_of_domain(text, at + 1)
            && let Some(start) = start_of_local(text, from, at)
        {
            return Some(start..end);
        }
        at += 1;
    }
}

fn start_of_local(text: &[u8], from: usize, at: usize) -> Option<usize> {
    let (mut start, mut classes) = (at, 0);
    while start > from && is(text[start - 1], LOCAL) {
        start -= 1;
        classes |= CLASSES[usize::from(text[start])];
    }
    (classes & NAMED != 0).then_some(start)
}

fn end_of_domain(text: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut end) = (start, None);
    while let Some(byte) = text.get(at).filter(|byte| is(**byte, DOMAIN)) {
        at += 1;
        if *byte != b'.' {
            continue;
        }
        if at == start + 1 {
            return None;
        }
        let letters = text[at..].iter().take_while(|byte| is(**byte, LETTER)).count();
        at += letters;
        if letters >= 2 {
            end = Some(at);
        }
    }
    end
}

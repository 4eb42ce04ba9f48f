//! One pass over a text. Knows what an address and a card number look like.

/// What takes the place of what is found; `None` = it is not looked for.
pub struct Words {
    pub email: Option<String>,
    pub card: Option<String>,
}

/// Digits of a card number.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

impl Words {
    /// Writes `text` without addresses and card numbers to `out`; false (and nothing of use in `out`) if there were none.
    pub fn redact(&self, text: &[u8], out: &mut Vec<u8>) -> bool {
        out.clear();
        let (mut done, mut at) = (0, 0);
        while at < text.len() {
            let found = match text[at] {
                b'@' => self.email.as_deref().and_then(|word| Some((email(text, done, at)?, word))),
                b'0'..=b'9' if at == 0 || !is_part_of_number(text[at - 1]) => {
                    self.card.as_deref().and_then(|word| Some((card(text, at)?, word)))
                }
                _ => None,
            };
            match found {
                Some(((start, end), word)) => {
                    out.extend_from_slice(&text[done..start]);
                    out.extend_from_slice(word.as_bytes());
                    (done, at) = (end, end);
                }
                None => at += 1,
            }
        }
        if done > 0 {
            out.extend_from_slice(&text[done..]);
        }
        done > 0
    }
}

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-')
}

fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')
}

/// A digit run that goes on to the left is no start of a number.
fn is_part_of_number(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// The address around the `@` at `at`, not reaching before `from`.
fn email(text: &[u8], from: usize, at: usize) -> Option<(usize, usize)> {
    let start = (from..at).rev().take_while(|i| is_local(text[*i])).last()?;
    if !text[start..at].iter().any(u8::is_ascii_alphanumeric) {
        return None;
    }
    let end = at + 1 + text[at + 1..].iter().take_while(|b| is_domain(**b)).count();
    // A sentence's full stop is not part of the domain.
    let domain = text[at + 1..end].trim_ascii_end();
    let domain = &domain[..domain.iter().rposition(|b| b.is_ascii_alphanumeric())? + 1];
    let top = domain.len() - domain.iter().rposition(|b| *b == b'.')? - 1;
    let letters = domain[domain.len() - top..].iter().all(u8::is_ascii_alphabetic);
    (top >= 2 && letters && domain[0] != b'.').then_some((start, at + 1 + domain.len()))
}

/// The card number that starts at `at`.
fn card(text: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut digits = [0u8; 19];
    let (mut count, mut end, mut i) = (0, at, at);
    while i < text.len() {
        match text[i] {
            digit @ b'0'..=b'9' => {
                *digits.get_mut(count)? = digit - b'0';
                count += 1;
                end = i + 1;
            }
            b' ' | b'-' if end == i => {} // one separator between digits
            _ => break,
        }
        i += 1;
    }
    let followed = text.get(end).is_some_and(u8::is_ascii_alphanumeric);
    (CARD_DIGITS.contains(&count) && !followed && luhn(&digits[..count])).then_some((at, end))
}

fn luhn(digits: &[u8]) -> bool {
    let doubled = |d: u8| if d > 4 { 2 * d - 9 } else { 2 * d };
    let sum: u32 =
        digits.iter().rev().enumerate().map(|(i, d)| u32::from(if i % 2 == 1 { doubled(*d) } else { *d })).sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str) -> Option<String> {
        let words = Words { email: Some("[email]".into()), card: Some("[card]".into()) };
        let mut out = Vec::new();
        words.redact(text.as_bytes(), &mut out).then(|| String::from_utf8(out).expect("utf-8"))
    }

    #[test]
    fn addresses_and_cards_go_the_rest_stays() {
        let cases = [
            ("mail bob.b+x@mail.example.com.", Some("mail [email].")),
            ("a@b.co,c@d.org", Some("[email],[email]")),
            ("paid 4111 1111 1111 1111 today", Some("paid [card] today")),
            ("5500-0000-0000-0004", Some("[card]")),
            ("4111111111111112", None),
            ("id 41111111111111111111111", None),
            ("x4111111111111111", None),
            ("user@host @ a@b .@x.yz", None),
            ("é a@b.io é", Some("é [email] é")),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(redacted(text).as_deref(), expected, "{text}");
        }
    }
}

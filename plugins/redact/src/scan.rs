//! One pass over a text. Knows what an address and a card number look like.

/// What takes the place of what is found; `None` = it is not looked for.
pub struct Words {
    pub email: Option<String>,
    pub card: Option<String>,
}

/// Digits of a card number.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

impl Words {
    /// The first address or card number of `text`, nothing of which reaches before `from`: its place, and what takes it.
    pub fn find(&self, text: &[u8], from: usize) -> Option<(usize, usize, &str)> {
        let mut at = from;
        while let Some(found) = self.candidate(text, at) {
            at = found;
            let place = match text[at] {
                b'@' => self.email.as_deref().and_then(|word| Some((email(text, from, at)?, word))),
                _ if at == 0 || !text[at - 1].is_ascii_alphanumeric() => {
                    self.card.as_deref().and_then(|word| Some((card(text, at)?, word)))
                }
                // A digit run that goes on to the left is no start of a number.
                _ => None,
            };
            if let Some(((start, end), word)) = place {
                return Some((start, end, word));
            }
            at += 1;
        }
        None
    }

    /// The first byte at or after `from` that an address or a card number may have.
    fn candidate(&self, text: &[u8], from: usize) -> Option<usize> {
        match self.card {
            None => at_sign(text, from),
            Some(_) => text[from..].iter().position(|b| matches!(b, b'@' | b'0'..=b'9')).map(|at| from + at),
        }
    }

    /// Appends `text` with everything replaced from `first` on, the first thing found.
    pub fn replace(&self, text: &[u8], first: (usize, usize, &str), out: &mut Vec<u8>) {
        let (mut done, mut found) = (0, Some(first));
        while let Some((start, end, word)) = found {
            out.extend_from_slice(&text[done..start]);
            out.extend_from_slice(word.as_bytes());
            done = end;
            found = self.find(text, done);
        }
        out.extend_from_slice(&text[done..]);
    }
}

/// The first `@` at or after `from`. Eight bytes are looked at in one step: most texts have none, and all have many bytes.
fn at_sign(text: &[u8], from: usize) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let mut at = from;
    while let Some(block) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let differs = u64::from_le_bytes(*block) ^ (ONES * b'@' as u64);
        // The lowest bit that is set here is in the first byte that is zero, if one is.
        let zeros = differs.wrapping_sub(ONES) & !differs & (ONES << 7);
        if zeros != 0 {
            return Some(at + zeros.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    text[at..].iter().position(|b| *b == b'@').map(|found| at + found)
}

const LOCAL: u8 = 1;
const DOMAIN: u8 = 2;
const LETTER: u8 = 4;

/// Of which parts of an address each byte may be, and whether it is a letter.
const PARTS: [u8; 256] = {
    let (mut parts, mut byte) = ([0; 256], 0);
    while byte < 256 {
        parts[byte] = match byte as u8 {
            b'A'..=b'Z' | b'a'..=b'z' => LOCAL | DOMAIN | LETTER,
            b'.' | b'-' | b'0'..=b'9' => LOCAL | DOMAIN,
            b'_' | b'%' | b'+' => LOCAL,
            _ => 0,
        };
        byte += 1;
    }
    parts
};

fn is_local(byte: u8) -> bool {
    PARTS[usize::from(byte)] & LOCAL != 0
}

fn is_domain(byte: u8) -> bool {
    PARTS[usize::from(byte)] & DOMAIN != 0
}

fn is_letter(byte: u8) -> bool {
    PARTS[usize::from(byte)] & LETTER != 0
}

/// The address around the `@` at `at`, not reaching before `from`.
fn email(text: &[u8], from: usize, at: usize) -> Option<(usize, usize)> {
    let start = (from..at).rev().take_while(|i| is_local(text[*i])).last()?;
    if !text[start..at].iter().any(u8::is_ascii_alphanumeric) {
        return None;
    }
    Some((start, domain_end(text, at + 1)?))
}

/// Where the domain that begins at `start` ends: as late as it can with a point and two or more letters. What stands behind them, the
/// full stop of a sentence or whatever was put there, is not part of it.
fn domain_end(text: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut end) = (start, None);
    while at < text.len() && is_domain(text[at]) {
        at += 1;
        if text[at - 1] != b'.' {
            continue;
        }
        if at == start + 1 {
            return None;
        }
        let letters = text[at..].iter().take_while(|b| is_letter(**b)).count();
        at += letters;
        if letters >= 2 {
            end = Some(at);
        }
    }
    end
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

    fn replaced(words: &Words, text: &str) -> Option<String> {
        let (text, mut out) = (text.as_bytes(), Vec::new());
        words.replace(text, words.find(text, 0)?, &mut out);
        Some(String::from_utf8(out).expect("utf-8"))
    }

    fn redacted(text: &str) -> Option<String> {
        let words = Words { email: Some("[email]".into()), card: Some("[card]".into()) };
        replaced(&words, text)
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

    #[test]
    fn addresses_alone_are_found_wherever_they_stand() {
        let words = Words { email: Some("*".into()), card: None };
        let cases = [
            ("4111 1111 1111 1111 of a@b.co", Some("4111 1111 1111 1111 of *")),
            ("@@a@b.co@c.de@", Some("@@*@c.de@")),
            ("_%+-.@b.co", None),
            ("a@b.c a@b.c1 a@.bc a@bc a@b..co", Some("a@b.c a@b.c1 a@.bc a@bc *")),
            ("<A.B-c_d%e+f@X-1.Y2.ORG>, (g@h.ij)...", Some("<*>, (*)...")),
            ("\u{e9}a@b.co\u{e9}", Some("\u{e9}*\u{e9}")),
            ("a@b.co-", Some("*-")),
            ("a@b.co2 a@b.com.2026 a@b.co-x a@b.org.x a@b.co..", Some("*2 *.2026 *-x *.x *..")),
        ];
        for (text, expected) in cases {
            assert_eq!(replaced(&words, text).as_deref(), expected, "{text}");
        }
        for length in 0..40 {
            let mut text = vec![b'x'; length];
            assert_eq!(at_sign(&text, 0), None);
            for place in 0..length {
                text[place] = b'@';
                for from in 0..=length {
                    assert_eq!(at_sign(&text, from), (place >= from).then_some(place), "{length}, {place}, {from}");
                }
                // Neighbours of the sign, and bytes beyond ASCII.
                text[place] = [b'?', b'A', 0xc0, 0xbf, 0][place % 5];
            }
        }
    }
}

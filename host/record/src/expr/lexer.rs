//! Words of an expression. Knows nothing of their order.

use super::ExprError;

/// A word.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token {
    /// A name.
    Name(String),
    /// A string, unescaped.
    Text(String),
    /// A number as it is written.
    Number(String),
    /// An operator or bracket.
    Sign(&'static str),
    /// The end of the text.
    End,
}

const SIGNS: [&str; 18] =
    ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ",", ".", "-", "?", "+"];

/// The words of `text` and where each begins; the last one is `End`.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, ExprError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else {
            tokens.push((at, Token::End));
            return Ok(tokens);
        };
        let (token, len) = match first {
            'a'..='z' | 'A'..='Z' | '_' => name(rest),
            '0'..='9' => number(rest),
            '"' | '\'' => string(rest, first).map_err(|(offset, reason)| ExprError { offset: at + offset, reason })?,
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => (Token::Sign(sign), sign.len()),
                None => {
                    let reason = format!("`{}` is not part of an expression", first.escape_default());
                    return Err(ExprError { offset: at, reason });
                }
            },
        };
        tokens.push((at, token));
        at += len;
    }
}

fn name(rest: &str) -> (Token, usize) {
    let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    (Token::Name(rest[..len].to_owned()), len)
}

fn number(rest: &str) -> (Token, usize) {
    let bytes = rest.as_bytes();
    let digits = |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
            end = digits(end + 1 + sign);
        }
    }
    (Token::Number(rest[..end].to_owned()), end)
}

/// A string in `quote`s; an error carries its offset in `rest`.
fn string(rest: &str, quote: char) -> Result<(Token, usize), (usize, String)> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok((Token::Text(text), at + 1)),
            '\\' => text.push(match chars.next().map(|(_, c)| c) {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some(c @ ('\\' | '"' | '\'' | '`' | '?')) => c,
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                    code.and_then(char::from_u32)
                        .ok_or((at, "expected four hexadecimal digits after \\u".to_owned()))?
                }
                _ => return Err((at, "unknown escape, known are \\n \\t \\r \\\\ \\\" \\' and \\uXXXX".to_owned())),
            }),
            _ => text.push(c),
        }
    }
    Err((0, "the string has no closing quote".to_owned()))
}

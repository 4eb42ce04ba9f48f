//! Pairs in a text. A value in quotes may hold the signs; a word without a key is passed over; of a key that stands twice the
//! last value counts.

use sawlog_plugin::record::quote;

/// What stands between pairs, and between a key and its value.
pub struct Signs {
    pub pair: String,
    pub key: String,
}

/// Pairs that are read from one text.
const PAIRS_MAX: usize = 256;

impl Signs {
    /// The pairs of `text` as a JSON object; `None` if there are none.
    pub fn object(&self, text: &str) -> Option<String> {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() && pairs.len() < PAIRS_MAX {
            rest = self.skip(rest);
            let Some((key, behind)) = self.key(rest) else {
                rest = rest.find(&self.pair).map_or("", |end| &rest[end..]);
                continue;
            };
            let (value, behind) = self.value(behind);
            match pairs.iter_mut().find(|(other, _)| *other == key) {
                Some(pair) => pair.1 = value,
                None => pairs.push((key, value)),
            }
            rest = behind;
        }
        (!pairs.is_empty()).then(|| write(&pairs))
    }

    fn skip<'a>(&self, mut text: &'a str) -> &'a str {
        loop {
            let next = text.trim_start();
            let next = next.strip_prefix(self.pair.trim()).filter(|_| !self.pair.trim().is_empty()).unwrap_or(next);
            if next.len() == text.len() {
                return text;
            }
            text = next;
        }
    }

    /// The key at the front of `text`, and what follows its sign.
    fn key<'a>(&self, text: &'a str) -> Option<(&'a str, &'a str)> {
        let end = text.find(&self.key)?;
        let key = text[..end].trim();
        let is_key = !key.is_empty() && !text[..end].contains(&self.pair) && !key.contains(['"', '\n']);
        is_key.then(|| (key, &text[end + self.key.len()..]))
    }

    /// The value at the front of `text`, and what is behind it.
    fn value<'a>(&self, text: &'a str) -> (String, &'a str) {
        let inner = text.trim_start_matches(|c: char| c == ' ' && self.pair != " ");
        for sign in ['"', '\''] {
            if let Some(quoted) = inner.strip_prefix(sign)
                && let Some((value, behind)) = unquoted(quoted, sign)
            {
                return (value, behind);
            }
        }
        let end = text.find(&self.pair).unwrap_or(text.len());
        (text[..end].trim().to_owned(), &text[end..])
    }
}

/// The text up to the closing `sign`, without its backslashes, and what is behind.
fn unquoted(text: &str, sign: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            _ if letter == sign => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

fn write(pairs: &[(&str, String)]) -> String {
    let mut out = String::from("{");
    for (key, value) in pairs {
        if out.len() > 1 {
            out.push(',');
        }
        quote(key, &mut out);
        out.push(':');
        quote(value, &mut out);
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pair: &str, key: &str, text: &str) -> Option<String> {
        Signs { pair: pair.into(), key: key.into() }.object(text)
    }

    #[test]
    fn pairs_of_all_kinds() {
        let cases = [
            (" ", "=", r#"a=1 b="two words" c='3' d="#, Some(r#"{"a":"1","b":"two words","c":"3","d":""}"#)),
            (" ", "=", "no pairs here", None),
            (" ", "=", "noise a=1 noise b=2", Some(r#"{"a":"1","b":"2"}"#)),
            (" ", "=", r#"a="open b=2"#, Some(r#"{"a":"\"open","b":"2"}"#)),
            (" ", "=", r#"a="q\"uo\\te" a=2"#, Some(r#"{"a":"2"}"#)),
            (";", ":", "a: 1; b : two ;c:", Some(r#"{"a":"1","b":"two","c":""}"#)),
            ("&", "=", "x=1&y=%20&z", Some(r#"{"x":"1","y":"%20"}"#)),
            (" | ", "=", "k=v w | l=m", Some(r#"{"k":"v w","l":"m"}"#)),
            (" ", "=", "", None),
            (" ", "=", "=x", None),
        ];
        for (pair, key, text, expected) in cases {
            assert_eq!(read(pair, key, text).as_deref(), expected, "{text}");
        }
    }
}

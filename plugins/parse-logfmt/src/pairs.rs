//! Pairs of logfmt. Every word must be one: prose with a stray `=` in it is no logfmt.

use plugin_members::Members;

/// Where a text stops to be logfmt, bytes before it, and what should be there.
type Mistake = (usize, &'static str);

/// Puts the pairs of `text` into `members`; all values are texts.
pub fn read<'a>(text: &'a str, members: &mut Members<'a>) -> Result<(), Mistake> {
    let bytes = text.as_bytes();
    let mut at = skip_spaces(bytes, 0);
    if at == bytes.len() {
        return Err((at, "key=value"));
    }
    while at < bytes.len() && !members.are_too_many() {
        let key_end = at + key_len(&bytes[at..]).ok_or((at, "key=value"))?;
        let (key, value) = (&text[at..key_end], key_end + 1);
        let end = if bytes.get(value) == Some(&b'"') {
            let end = quoted_end(bytes, value).ok_or((value, "a closing quote"))?;
            let token = &text[value..end];
            // What JSON takes as a string is kept as it stands.
            serde_json::from_str::<String>(token).map_err(|_| (value, "a text with the escapes of JSON"))?;
            members.put(key, token);
            end
        } else {
            let plain = bytes[value..].iter().take_while(|b| **b > b' ' && **b != b'"').count();
            members.put_text(key, &text[value..value + plain]);
            value + plain
        };
        if !matches!(bytes.get(end), None | Some(b' ' | b'\t')) {
            return Err((end, "a space"));
        }
        at = skip_spaces(bytes, end);
    }
    Ok(())
}

fn skip_spaces(bytes: &[u8], from: usize) -> usize {
    from + bytes[from..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count()
}

/// Length of the key that `=` follows.
fn key_len(bytes: &[u8]) -> Option<usize> {
    let len = bytes.iter().position(|b| *b <= b' ' || *b == b'=' || *b == b'"')?;
    (len > 0 && bytes[len] == b'=').then_some(len)
}

/// Where the text in quotes that opens at `open` ends, behind its closing quote.
fn quoted_end(bytes: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_what_is_none() {
        let cases = [
            ("a=1 b=\"two words\"\tc=", r#"{"a":"1","b":"two words","c":""}"#),
            ("  é=ü\\n a==b  ", r#"{"é":"ü\\n","a":"=b"}"#),
            (r#"a="q\"\n\u00e9" a=2"#, r#"{"a":"2"}"#),
            ("", "0: key=value"),
            ("plain words", "0: key=value"),
            ("a=1 word", "4: key=value"),
            ("=1", "0: key=value"),
            ("\"a\"=1", "0: key=value"),
            ("a=\"open", "2: a closing quote"),
            ("a=\"open\\", "2: a closing quote"),
            ("a=\"\\q\"", "2: a text with the escapes of JSON"),
            ("a=\"\\ud800\"", "2: a text with the escapes of JSON"),
            ("a=\"x\"y", "5: a space"),
            ("a=b\"c\"", "3: a space"),
            ("a=1\0b=2", "3: a space"),
            ("a=1\nb=2", "3: a space"),
        ];
        for (text, expected) in cases {
            let mut members = Members::default();
            let shown = match read(text, &mut members) {
                Ok(()) => members.object(),
                Err((at, wanted)) => format!("{at}: {wanted}"),
            };
            assert_eq!(shown, expected, "{text:?}");
        }
    }
}

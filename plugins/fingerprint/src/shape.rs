//! What stays of a text when that which varies is left out.

/// Letters of a shape.
const SHAPE_BYTES_MAX: usize = 1_024;

/// The shape of `text`: its first line and the first `frames` lines of a stack below it, with `#` for what varies.
pub fn of(text: &str, frames: usize) -> String {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let mut shape = String::new();
    if let Some(first) = lines.next() {
        line(first.trim(), &mut shape);
    }
    for frame in lines.take(frames) {
        shape.push('\n');
        line(frame.trim(), &mut shape);
    }
    shape.truncate(shape.floor_char_boundary(SHAPE_BYTES_MAX));
    shape
}

fn line(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let taken = quoted(rest).or_else(|| word(rest, out));
        match taken {
            Some(bytes) => {
                // Neighbours that vary are one: a list of numbers has no length.
                if !out.ends_with('#') {
                    out.push('#');
                }
                rest = &rest[bytes..];
            }
            None => {
                out.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
    }
}

/// The length of what stands in quotes at the front.
fn quoted(text: &str) -> Option<usize> {
    let sign = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    let inner = &text[1..];
    let end = inner.find(sign)?;
    // An apostrophe is no quote: what it encloses begins and ends with letters.
    (end < 200 && !inner[..end].contains('\n')).then_some(end + 2)
}

/// The length of the word at the front, if it varies: it has a digit or is a long hexadecimal one. Only where a word begins.
fn word(text: &str, before: &str) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '@') || c == '.' || c == ':';
    if before.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let word = text[..end].trim_end_matches(['.', ':', '-', '_']);
    // A source file and its class stay; the line behind them varies.
    if let Some((name, number)) = word.rsplit_once(':')
        && !name.chars().any(|c| c.is_ascii_digit())
        && number.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    (!word.is_empty() && varies(word)).then_some(word.len())
}

fn varies(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let first_is_letter = word.chars().next().is_some_and(char::is_alphabetic);
    let hexadecimal = word.len() >= 8 && word.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    // `utf8` and `Http2Connection` are names; `u8f3a91` and `10.0.0.1` are not.
    digits > 0 && (!first_is_letter || hexadecimal || digits >= 3) || word.contains('@') && word.contains('.')
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn what_varies_is_left_out() {
        let cases = [
            ("user 1234 not found", "user # not found"),
            ("took 12.5ms, 3 retries", "took #, # retries"),
            ("cannot open \"/var/x/1.log\": denied", "cannot open #: denied"),
            ("key 550e8400-e29b-41d4-a716-446655440000 gone", "key # gone"),
            ("connect to 10.0.0.1:5432 refused", "connect to # refused"),
            ("mail to ann@example.com failed", "mail to # failed"),
            ("utf8 in Http2Connection", "utf8 in Http2Connection"),
            ("deadbeefcafe", "deadbeefcafe"),
            ("0xdeadbeef at [1, 2, 3]", "# at [#, #, #]"),
            ("it's a dog's life", "it#s life"),
            ("", ""),
        ];
        for (text, shape) in cases {
            assert_eq!(of(text, 0), shape, "{text}");
        }
    }

    #[test]
    fn lines_of_a_stack_lose_their_numbers_and_their_depth() {
        let stack = "java.lang.IllegalStateException: order 77\n\tat shop.Cart.add(Cart.java:31)\n\tat shop.Main.run(Main.java:7)\n\tat x.Y.z(Y.java:1)";
        let other = stack.replace("77", "78").replace(":31)", ":32)");
        assert_eq!(of(stack, 2), of(&other, 2));
        assert_eq!(of(stack, 2).lines().count(), 3);
        assert_ne!(of(stack, 2), of(stack, 1));
    }
}

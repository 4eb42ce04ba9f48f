//! Whether two patterns of file names can match the same name. Pure text; it looks at no disk.

/// Some name matches both patterns. `*` and `?` match within a folder, `**` any number of folders.
pub fn overlap(a: &str, b: &str) -> bool {
    let split = |pattern: &str| {
        pattern.split('/').filter(|part| !part.is_empty() && *part != ".").map(parse).collect::<Vec<_>>()
    };
    folders(&split(a), &split(b))
}

fn folders(a: &[Vec<Token>], b: &[Vec<Token>]) -> bool {
    match (a.split_first(), b.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if is_any_folders(first) => folders(rest, b) || (!b.is_empty() && folders(a, &b[1..])),
        (_, Some((first, rest))) if is_any_folders(first) => folders(a, rest) || (!a.is_empty() && folders(&a[1..], b)),
        (Some((x, a)), Some((y, b))) => names(x, y) && folders(a, b),
        _ => false,
    }
}

fn is_any_folders(tokens: &[Token]) -> bool {
    tokens == [Token::Any, Token::Any]
}

/// One element of a pattern within a folder.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    Char(char),
    /// `?`
    One,
    /// `*`
    Any,
    /// `[abc]`, `[a-z]`, `[!a-z]`
    Class {
        inverted: bool,
        ranges: Vec<(char, char)>,
    },
}

fn parse(part: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = part;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        tokens.push(match (c, rest.split_once(']')) {
            ('*', _) => Token::Any,
            ('?', _) => Token::One,
            ('[', Some((class, after))) => {
                rest = after;
                parse_class(class)
            }
            _ => Token::Char(c),
        });
    }
    tokens
}

fn parse_class(class: &str) -> Token {
    let (inverted, class) = class.strip_prefix(['!', '^']).map_or((false, class), |class| (true, class));
    let chars: Vec<char> = class.chars().collect();
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let is_range = at + 2 < chars.len() && chars[at + 1] == '-';
        ranges.push((chars[at], if is_range { chars[at + 2] } else { chars[at] }));
        at += if is_range { 3 } else { 1 };
    }
    Token::Class { inverted, ranges }
}

/// Some text matches both token lists.
fn names(a: &[Token], b: &[Token]) -> bool {
    // possible[j]: what of `a` is behind us can be the same text as the first j tokens of `b`.
    let mut possible = vec![false; b.len() + 1];
    possible[0] = true;
    for j in 1..=b.len() {
        possible[j] = possible[j - 1] && b[j - 1] == Token::Any;
    }
    for x in a {
        let before = possible.clone();
        possible[0] = before[0] && *x == Token::Any;
        for j in 1..=b.len() {
            let y = &b[j - 1];
            let both = before[j - 1] && share(x, y);
            let any_x = *x == Token::Any && (before[j] || possible[j - 1]);
            let any_y = *y == Token::Any && (before[j] || possible[j - 1]);
            possible[j] = both || any_x || any_y;
        }
    }
    possible[b.len()]
}

/// Some one character matches both tokens.
fn share(x: &Token, y: &Token) -> bool {
    match (x, y) {
        (Token::Char(x), Token::Char(y)) => x == y,
        (Token::Char(c), Token::Class { inverted, ranges }) | (Token::Class { inverted, ranges }, Token::Char(c)) => {
            ranges.iter().any(|(low, high)| low <= c && c <= high) != *inverted
        }
        (Token::Class { inverted: false, ranges: x }, Token::Class { inverted: false, ranges: y }) => {
            x.iter().any(|(a, b)| y.iter().any(|(c, d)| a <= d && c <= b))
        }
        // Two inverted classes, or one, leave some character free in any pattern that a person writes.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::overlap;

    #[test]
    fn patterns_that_can_meet() {
        for (a, b) in [
            ("/var/log/*.log", "/var/log/app*"),
            ("/var/log/**/*.log", "/var/log/app/x/y.log"),
            ("/var/log/**", "/var/log/a"),
            ("/var/**/b/*.log", "/var/log/**/x.log"),
            ("/a/[ab]x", "/a/[b-d]?"),
            ("/a/*b*", "/a/*c*"),
            ("/a/x", "/a/./x"),
            ("/a/*", "/a/*"),
        ] {
            assert!(overlap(a, b) && overlap(b, a), "{a} {b}");
        }
    }

    #[test]
    fn patterns_that_cannot_meet() {
        for (a, b) in [
            ("/var/log/*.log", "/var/log/*.gz"),
            ("/var/log/*.log", "/var/log/app/x.log"),
            ("/a/[ab]", "/a/[cd]"),
            ("/a/[!ab]", "/a/a"),
            ("/a/b?", "/a/b"),
            ("/a/**/x", "/a/y"),
            ("/a/x*y", "/a/x*z"),
        ] {
            assert!(!overlap(a, b) && !overlap(b, a), "{a} {b}");
        }
    }
}

//! One line of separated values: quotes as RFC 4180 has them, any one-character separator.

/// Why a line can't be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CsvError {
    /// A quoted value has no end.
    OpenQuote,
    /// A quoted value goes on behind its closing quote.
    BehindQuote,
}

impl std::fmt::Display for CsvError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OpenQuote => "a quoted value has no closing quote",
            Self::BehindQuote => "text stands behind a closing quote",
        })
    }
}

/// The values of `line`. A quote inside an unquoted value is an ordinary character.
pub fn values(line: &str, separator: char) -> Result<Vec<String>, CsvError> {
    let mut values = Vec::new();
    let mut rest = line;
    loop {
        let (value, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted)?,
            None => {
                let end = rest.find(separator).unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        values.push(value);
        match behind.strip_prefix(separator) {
            Some(next) => rest = next,
            None if behind.is_empty() => return Ok(values),
            None => return Err(CsvError::BehindQuote),
        }
    }
}

/// The value behind an opening quote, and what follows its closing one.
fn quoted_value(text: &str) -> Result<(String, &str), CsvError> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"').ok_or(CsvError::OpenQuote)?;
        value.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                value.push('"');
                rest = next;
            }
            None => return Ok((value, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_separators_and_empty_values() {
        let read = |line| values(line, ',').map(|all| all.join("|"));
        assert_eq!(read(r#"a,"b, ""c""",,d"#), Ok(r#"a|b, "c"||d"#.into()));
        assert_eq!(read(""), Ok(String::new()));
        assert_eq!(read(r#"5" disk,ok"#), Ok(r#"5" disk|ok"#.into()));
        assert_eq!(read(r#"a,"b"#), Err(CsvError::OpenQuote));
        assert_eq!(read(r#""a"b,c"#), Err(CsvError::BehindQuote));
    }
}

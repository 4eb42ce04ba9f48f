//! Conditions, regular expressions and templates that stand in options: what is wrong with one, in a sentence.
//! What they mean is the record room's business.

/// Why a condition can't be used; the part after the semicolon says how to mend it.
pub fn error(condition: &str) -> Option<String> {
    condition.trim().is_empty().then(|| "the condition is empty; write one such as severity == \"ERROR\"".to_owned())
}

/// Why a regular expression can't be used.
pub fn regex_error(pattern: &str) -> Option<String> {
    let error = regex::bytes::Regex::new(pattern).err()?.to_string();
    let last = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    Some(format!("not a regular expression: {last}"))
}
